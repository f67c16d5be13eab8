#include "host/ledger.h"

#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/mount.h>

#include <thread>

#include "host/testing.h"

namespace kiboko {
namespace {

using namespace testing_host;
using testing::HasSubstr;

GrantRecord a_record(const std::string& id, GrantState state = GrantState::Granted) {
  return {a_grant(id, state),
          {{Holder::Role::Keeper, {1, 2, 3}}, {Holder::Role::Member, {4, ~std::uint64_t{0}, 6}}},
          "boot"};
}

void run_sql(const std::string& path, const char* sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(::sqlite3_open(path.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(::sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK);
  ::sqlite3_close(database);
}

TEST(Ledger, WhatIsSavedIsThereTheNextTime) {
  const Directory directory;
  GrantRecord record = a_record("g-00000001");
  {
    Ledger ledger = Ledger::open(directory.path()).value();
    ASSERT_TRUE(ledger.save(record));
    record.grant.state = GrantState::Running;
    ASSERT_TRUE(ledger.save(record));
  }
  EXPECT_THAT(Ledger::open(directory.path())->grants().value(), testing::ElementsAre(record));
}

TEST(Ledger, EventsAreNumberedAndReadOn) {
  const Directory directory;
  Ledger ledger = Ledger::open(directory.path()).value();
  std::vector<Event> events(3);
  for (Event& event : events) event.kind = "granted";
  events[1].sentence = "alice has 4.0 GiB";
  ASSERT_TRUE(ledger.save(a_record("g-00000001"), events));
  EXPECT_EQ(events[2].id, 3);
  const auto read = ledger.events_after(1, 10).value();
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].sentence, "alice has 4.0 GiB");
}

TEST(Ledger, PruningKeepsTheNewestAndAllThatLive) {
  const Directory directory;
  Ledger ledger = Ledger::open(directory.path()).value();
  for (int i = 0; i < 5; ++i) {
    GrantRecord record = a_record(fmt::format("g-0000000{}", i), i == 0 ? GrantState::Running : GrantState::Ended);
    record.grant.created_ms = i;
    std::vector<Event> events(1);
    ASSERT_TRUE(ledger.save(record, events));
  }
  ASSERT_TRUE(ledger.prune(2, 3));
  const auto left = ledger.grants().value();
  ASSERT_EQ(left.size(), 3U);
  EXPECT_EQ(left[0].grant.id.text, "g-00000000");
  EXPECT_EQ(left[1].grant.id.text, "g-00000003");
  EXPECT_EQ(ledger.events_after(0, 10)->size(), 3U);
}

// A child saves grants and reports each one that the ledger has acknowledged, until it is killed in the middle of it.
TEST(Ledger, WhatWasAcknowledgedSurvivesAKill) {
  for (const int after_us : {0, 300, 1000, 3000, 7000, 15'000, 40'000, 90'000}) {
    const Directory directory;
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto ledger = Ledger::open(directory.path());
      for (char i = 0; ledger && i < 100; ++i) {
        std::vector<Event> events(1);
        if (ledger->save(a_record(fmt::format("g-000000{:02}", int{i})), events) && ::write(pipe[1], &i, 1) != 1) break;
      }
      for (;;) ::pause();
    }
    std::this_thread::sleep_for(std::chrono::microseconds(after_us));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(pipe[1]);
    char last = 0;
    std::size_t acknowledged = 0;
    while (::read(pipe[0], &last, 1) == 1) ++acknowledged;
    ::close(pipe[0]);
    const auto ledger = Ledger::open(directory.path());
    ASSERT_TRUE(ledger) << ledger.error().message;
    const std::size_t kept = ledger->grants().value().size();
    EXPECT_GE(kept, acknowledged);
    EXPECT_LE(kept, acknowledged + 1);  // written, but killed before it could say so
    EXPECT_EQ(ledger->events_after(0, 1000)->size(), kept);
  }
}

TEST(Ledger, ASecondAgentIsTurnedAway) {
  const Directory directory;
  const Ledger first = Ledger::open(directory.path()).value();
  const auto second = Ledger::open(directory.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::Conflict);
  EXPECT_THAT(second.error().message, HasSubstr("another agent"));
  EXPECT_TRUE(first.grants());
}

TEST(Ledger, ADatabaseOfAnotherProgramIsLeftAlone) {
  const Directory directory;
  run_sql(directory / "ledger.db", "CREATE TABLE songs (title TEXT)");
  const std::string before = read_file(directory / "ledger.db").value();
  EXPECT_THAT(Ledger::open(directory.path()).error().message, HasSubstr("another program"));
  EXPECT_EQ(read_file(directory / "ledger.db").value(), before);
}

TEST(Ledger, ATextFileIsNotALedger) {
  const Directory directory;
  ASSERT_TRUE(write_file_atomically(directory / "ledger.db", std::string(5000, 'x')));
  EXPECT_THAT(Ledger::open(directory.path()).error().message, HasSubstr("not a database"));
  EXPECT_EQ(read_file(directory / "ledger.db")->size(), 5000U);
}

TEST(Ledger, ANewerSchemaIsNotTouched) {
  const Directory directory;
  { ASSERT_TRUE(Ledger::open(directory.path())); }
  run_sql(directory / "ledger.db", "PRAGMA user_version=99");
  EXPECT_THAT(Ledger::open(directory.path()).error().message, HasSubstr("newer agent"));
}

TEST(Ledger, ADamagedFileIsNamedAndKept) {
  const Directory directory;
  {
    Ledger ledger = Ledger::open(directory.path()).value();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(ledger.save(a_record(fmt::format("g-000000{:02}", i))));
  }
  std::string bytes = read_file(directory / "ledger.db").value();
  for (std::size_t i = 4096; i < bytes.size(); ++i) bytes[i] = static_cast<char>(bytes[i] ^ 0x5a);
  ASSERT_TRUE(write_file_atomically(directory / "ledger.db", bytes));
  EXPECT_THAT(Ledger::open(directory.path()).error().message, HasSubstr("move"));
  EXPECT_EQ(read_file(directory / "ledger.db").value(), bytes);
}

TEST(Ledger, ADirectoryThatCannotBeWrittenIsAnError) {
  const Directory directory;
  { ASSERT_TRUE(Ledger::open(directory / "state")); }
  ::chmod((directory / "state").c_str(), 0500);
  ::chmod((directory / "state/ledger.db").c_str(), 0400);
  // Root may write anywhere: look as somebody else.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0) {
      (void)::chown((directory / "state").c_str(), 65534, 65534);
      (void)::chown((directory / "state/ledger.db").c_str(), 65534, 65534);
      (void)::chown((directory / "state/lock").c_str(), 65534, 65534);
      if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    }
    const auto ledger = Ledger::open(directory / "state");
    const bool clear = !ledger && ledger.error().message.find("ledger.db") != std::string::npos;
    if (!clear) std::fprintf(stderr, "%s\n", ledger ? "it opened" : ledger.error().message.c_str());
    ::_exit(clear ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Ledger, OnAFullDiskASaveIsAnErrorAndNothingIsLost) {
  const Directory directory;
  const std::string disk = directory / "disk";
  ::mkdir(disk.c_str(), 0755);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=512k") != 0) GTEST_SKIP() << "no right to mount a small disk";
  struct Unmount {
    std::string where;
    ~Unmount() { ::umount2(where.c_str(), MNT_DETACH); }
  } unmount{disk};
  std::size_t saved = 0;
  {
    Ledger ledger = Ledger::open(disk).value();
    for (int i = 0; i < 5000; ++i) {
      const auto kept = ledger.save(a_record(fmt::format("g-{:08}", i)));
      if (!kept) {
        EXPECT_EQ(kept.error().code, Errc::Unavailable);
        EXPECT_THAT(kept.error().message, HasSubstr("full"));
        break;
      }
      ++saved;
    }
    EXPECT_EQ(ledger.grants().value().size(), saved);
  }
  EXPECT_GT(saved, 10U);
  EXPECT_LT(saved, 5000U);
}

}  // namespace
}  // namespace kiboko
