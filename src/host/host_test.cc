#include "host/host.h"

#include <gmock/gmock.h>

#include "host/testing.h"

namespace kiboko {
namespace {

using namespace testing_host;
using testing::Contains;
using testing::HasSubstr;

bool is_root() { return ::geteuid() == 0; }

TEST_F(HostTest, AnAskThatFitsIsGrantedWithAPageAndAnEnvironment) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_EQ(state(id), GrantState::Granted);
  const LiveGrant& live = *host_->find(id);
  EXPECT_TRUE(std::filesystem::exists(live.paths.page));
  EXPECT_EQ(host_->environment(live).at("KIBOKO_GRANT"), live.paths.page);
  EXPECT_EQ(host_->environment(live).at("CUDA_VISIBLE_DEVICES"), "GPU-0");
  EXPECT_EQ(host_->devices()[0].memory_granted, 4_GiB);
}

TEST_F(HostTest, AnAskThatNeverFitsIsRefusedAtOnce) {
  const Child keeper;
  const auto answer = host_->ask(asking(100_GiB, keeper.pid()), me()).value();
  ASSERT_TRUE(answer.refusal);
  EXPECT_EQ(answer.refusal->code, RefusalCode::Memory);
  EXPECT_FALSE(answer.refusal->fits_when_free);
  EXPECT_TRUE(host_->live().empty());
}

TEST_F(HostTest, AnAskThatDoesNotWaitLeavesNothingBehind) {
  const Child keeper;
  ASSERT_FALSE(granted(asking(80_GiB, keeper.pid())).text.empty());
  ASSERT_FALSE(granted(asking(80_GiB, keeper.pid())).text.empty());
  const auto answer = host_->ask(asking(1_GiB, keeper.pid(), false), me()).value();
  ASSERT_TRUE(answer.refusal);
  EXPECT_TRUE(answer.refusal->fits_when_free);
  EXPECT_EQ(host_->live().size(), 2U);
}

TEST_F(HostTest, TheDefaultShareIsMarkedAsSuch) {
  const Child keeper;
  Ask ask;
  ask.keeper_pid = keeper.pid();
  const GrantId id = granted(ask);
  ASSERT_EQ(state(id), GrantState::Granted);
  EXPECT_TRUE(host_->find(id)->grant().default_applied);
  EXPECT_EQ(host_->find(id)->grant().devices[0].limit, 20_GiB);
  EXPECT_EQ(host_->find(id)->grant().devices[0].cores, std::nullopt);
}

TEST_F(HostTest, AWholeDeviceHasNoPageAndNoLibrary) {
  const Child keeper;
  Ask ask;
  ask.exclusive = true;
  ask.keeper_pid = keeper.pid();
  const GrantId id = granted(ask);
  ASSERT_EQ(state(id), GrantState::Granted);
  EXPECT_FALSE(host_->environment(*host_->find(id)).contains("LD_PRELOAD"));
  EXPECT_EQ(host_->environment(*host_->find(id)).at("KIBOKO_GRANT"), std::nullopt);
  EXPECT_FALSE(std::filesystem::exists(host_->find(id)->paths.page));
  EXPECT_TRUE(host_->devices()[0].exclusive);
}

TEST_F(HostTest, AWaitingAskStartsWhenARunningOneEnds) {
  const Child keeper;
  const GrantId first = granted(asking(80_GiB, keeper.pid())), second = granted(asking(80_GiB, keeper.pid()));
  const GrantId third = granted(asking(60_GiB, keeper.pid()));
  ASSERT_EQ(state(third), GrantState::Waiting);
  EXPECT_EQ(host_->find(third)->grant().waiting->position, 1U);
  EXPECT_THAT(host_->find(third)->grant().waiting->reason, HasSubstr("asked 60.0 GiB"));
  int told = 0;
  host_->watch(third, [&] { ++told; });
  ASSERT_TRUE(host_->release(second, 0ms, me()));
  EXPECT_EQ(state(third), GrantState::Granted);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(state(first), GrantState::Granted);
}

TEST_F(HostTest, AGrantWithoutAProcessLivesAsLongAsItsKeeper) {
  Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  keeper.end();
  ASSERT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
  EXPECT_EQ(why_ended(id), "whoever asked has gone");
  EXPECT_FALSE(std::filesystem::exists(directory_ / ("run/grants/" + id.text)));
  EXPECT_EQ(host_->devices()[0].memory_granted, Bytes{0});
}

TEST_F(HostTest, AWaitingAskIsWithdrawnWithItsKeeper) {
  const Child keeper;
  Child other;
  granted(asking(80_GiB, keeper.pid()));
  granted(asking(80_GiB, keeper.pid()));
  const GrantId id = granted(asking(1_GiB, other.pid()));
  ASSERT_EQ(state(id), GrantState::Waiting);
  other.end();
  EXPECT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
  EXPECT_THAT(event_kinds(), Contains("withdrawn"));
}

TEST_F(HostTest, AGrantRunsUntilItsLastProcessHasEnded) {
  Child keeper, program, descendant;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  EXPECT_EQ(state(id), GrantState::Running);
  ASSERT_TRUE(host_->attach(id, descendant.pid(), me()));
  program.end();
  keeper.end();
  ASSERT_TRUE(eventually([&] { return host_->find(id)->members.processes().size() == 1; }));
  EXPECT_EQ(state(id), GrantState::Running);
  descendant.end();
  ASSERT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
  EXPECT_EQ(why_ended(id), "its last process ended");
}

TEST_F(HostTest, ADeathMovesThePagesReapWord) {
  const Child keeper;
  Child program, other;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  ASSERT_TRUE(host_->attach(id, other.pid(), me()));
  region::PageError error{};
  const auto* page = region::open_grant_page(host_->find(id)->paths.page.c_str(), &error);
  const auto before = page->live.reap_generation.load();
  program.end();
  EXPECT_TRUE(eventually([&] { return page->live.reap_generation.load() != before; }));
}

TEST_F(HostTest, OnlyWhatLivesAndBelongsToTheCallerIsAttached) {
  const Child keeper;
  Child gone;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  const pid_t pid = gone.pid();
  gone.end();
  EXPECT_FALSE(host_->attach(id, pid, me()));
  for (const pid_t never : {0, 1, static_cast<int>(::getpid())})
    EXPECT_EQ(host_->attach(id, never, me()).error().code, Errc::Invalid);
  EXPECT_EQ(host_->attach({"g-ffffffff"}, keeper.pid(), me()).error().code, Errc::NotFound);
  EXPECT_EQ(host_->attach(id, keeper.pid(), somebody(54321)).error().code, Errc::Forbidden);
  EXPECT_EQ(state(id), GrantState::Granted);
}

TEST_F(HostTest, ReleasingEndsTheProcesses) {
  const Child keeper;
  Child program;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  ASSERT_TRUE(host_->release(id, 10s, me()));
  EXPECT_EQ(state(id), GrantState::Ending);
  EXPECT_EQ(WTERMSIG(program.wait()), SIGTERM);
  ASSERT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
  EXPECT_THAT(why_ended(id), HasSubstr("released by"));
}

TEST_F(HostTest, WhoIgnoresTheTermIsKilledAfterTheGrace) {
  const Child keeper;
  Child program(true);
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  ASSERT_TRUE(host_->release(id, 10s, me()));
  host_->tick();
  EXPECT_EQ(state(id), GrantState::Ending);
  clock_.advance(11s);
  host_->tick();
  EXPECT_EQ(WTERMSIG(program.wait()), SIGKILL);
  EXPECT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
}

TEST_F(HostTest, AResizeIsCheckedAndPublished) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->resize(id, {60_GiB, CorePercent{50}}, me()));
  EXPECT_EQ(host_->devices()[0].memory_granted, 60_GiB);
  EXPECT_EQ(host_->devices()[0].cores_granted, CorePercent{50});
  const auto refused = host_->resize(id, {81_GiB, {}}, me());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::Conflict);
  EXPECT_EQ(host_->devices()[0].memory_granted, 60_GiB);
  region::PageError error{};
  region::GrantSettings settings{};
  ASSERT_TRUE(region::read_settings(*region::open_grant_page(host_->find(id)->paths.page.c_str(), &error), &settings));
  EXPECT_EQ(settings.devices[0].limit_bytes, (60_GiB).count);
  EXPECT_EQ(settings.devices[0].core_percent, 50U);
}

TEST_F(HostTest, ASuspendedGrantStaysSoUntilItIsResumed) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  region::PageError error{};
  const auto* page = region::open_grant_page(host_->find(id)->paths.page.c_str(), &error);
  ASSERT_TRUE(host_->suspend(id, true, me()));
  ASSERT_TRUE(host_->suspend(id, true, me())) << "once more changes nothing";
  EXPECT_EQ(page->live.suspended, 1U);
  stop();
  start();
  EXPECT_TRUE(host_->find(id)->grant().suspended);
  EXPECT_EQ(page->live.suspended, 1U);
  ASSERT_TRUE(host_->suspend(id, false, me()));
  EXPECT_EQ(page->live.suspended, 0U);
  const auto kinds = event_kinds();
  EXPECT_EQ(std::ranges::count(kinds, "suspended"), 1);
  EXPECT_EQ(std::ranges::count(kinds, "resumed"), 1);
}

TEST_F(HostTest, ASuspendedGrantHasDrainedWhenNothingIsInFlight) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->suspend(id, true, me()));
  host_->tick();
  EXPECT_FALSE(host_->find(id)->drained) << "somebody may have been about to launch";
  clock_.advance(1s);
  host_->tick();
  EXPECT_TRUE(host_->find(id)->drained);
  EXPECT_THAT(event_kinds(), Contains("drained"));
}

TEST_F(HostTest, WhatEndsIsNotHeldAnyMore) {
  const Child keeper;
  Child program;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  region::PageError error{};
  const auto* page = region::open_grant_page(host_->find(id)->paths.page.c_str(), &error);
  ASSERT_TRUE(host_->suspend(id, true, me()));
  ASSERT_TRUE(host_->release(id, 10s, me()));
  EXPECT_EQ(page->live.suspended, 0U);
}

TEST_F(HostTest, AWholeDeviceCannotBeSuspended) {
  const Child keeper;
  Ask ask;
  ask.exclusive = true;
  ask.keeper_pid = keeper.pid();
  const auto refused = host_->suspend(granted(ask), true, me());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::Invalid);
}

TEST_F(HostTest, AShrunkGrantMakesRoomForWhoWaits) {
  const Child keeper;
  const GrantId first = granted(asking(80_GiB, keeper.pid()));
  granted(asking(80_GiB, keeper.pid()));
  const GrantId waits = granted(asking(40_GiB, keeper.pid()));
  ASSERT_EQ(state(waits), GrantState::Waiting);
  ASSERT_TRUE(host_->resize(first, {40_GiB, {}}, me()));
  EXPECT_EQ(state(waits), GrantState::Granted);
}

TEST_F(HostTest, AUserManagesOnlyTheirOwnGrants) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  const Caller other = somebody(54321);
  EXPECT_EQ(host_->release(id, 0ms, other).error().code, Errc::Forbidden);
  EXPECT_EQ(host_->resize(id, {1_GiB, {}}, other).error().code, Errc::Forbidden);
  EXPECT_EQ(host_->suspend(id, true, other).error().code, Errc::Forbidden);
  EXPECT_EQ(host_->ask(asking(1_GiB, keeper.pid()), other).error().code, Errc::Forbidden);  // not their process
  EXPECT_EQ(host_->ask(asking(1_GiB, keeper.pid()), Caller{}).error().code, Errc::Forbidden);
}

TEST_F(HostTest, AShareIsNotGrantedWithoutTheLibrary) {
  const Child keeper;
  std::filesystem::remove(directory_ / "libkiboko.so");
  const auto answer = host_->ask(asking(4_GiB, keeper.pid()), me());
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("libkiboko.so is missing"));
}

TEST_F(HostTest, TheModeIsEnforcedForOthersOfARootAgentAlone) {
  if (!is_root()) GTEST_SKIP() << "needs root";
  const Child keeper;
  EXPECT_EQ(host_->find(granted(asking(1_GiB, keeper.pid())))->grant().mode, GrantMode::Cooperative);
  const Caller other = somebody(12345);
  const pid_t theirs = ::fork();
  if (theirs == 0) {
    close_inherited();
    if (::setresuid(12345, 12345, 12345) != 0) ::_exit(1);
    for (;;) ::pause();
  }
  GrantId id;
  ASSERT_TRUE(eventually([&] { return !(id = granted(asking(1_GiB, theirs), other)).text.empty(); }));
  EXPECT_EQ(host_->find(id)->grant().mode, GrantMode::Enforced);
  ::kill(theirs, SIGKILL);
  ::waitpid(theirs, nullptr, 0);
}

// ---- after a crash ------------------------------------------------------------------------------------------------

TEST_F(HostTest, ARunningProgramKeepsItsGrantThroughARestart) {
  Child keeper;
  Child program;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  region::PageError error{};
  const auto* page = region::open_grant_page(host_->find(id)->paths.page.c_str(), &error);
  const auto beat = page->live.heartbeat_ns.load();
  clock_.advance(5s);
  restart();
  EXPECT_EQ(state(id), GrantState::Running);
  EXPECT_TRUE(host_->find(id)->members.has(program.pid()));
  EXPECT_EQ(host_->devices()[0].memory_granted, 4_GiB);
  EXPECT_GT(page->live.heartbeat_ns.load(), beat);
  keeper.end();
  program.end();
  EXPECT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
}

TEST_F(HostTest, WhatEndedWhileNoAgentRanIsEnded) {
  Child keeper, program;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  stop();
  keeper.end();
  program.end();
  start();
  EXPECT_EQ(state(id), GrantState::Ended);
  EXPECT_EQ(host_->devices()[0].memory_granted, Bytes{0});
}

TEST_F(HostTest, APidThatAnotherProcessHasNowIsNotTakenForTheOldOne) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  GrantRecord record = host_->find(id)->record;
  stop();
  for (Holder& holder : record.holders) holder.process.start_time += 1;
  ASSERT_TRUE(Ledger::open(directory_ / "state")->save(record));
  start();
  EXPECT_EQ(state(id), GrantState::Ended);
}

TEST_F(HostTest, GrantsOfAnEarlierBootAreEnded) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  GrantRecord record = host_->find(id)->record;
  stop();
  record.boot_id = "another";
  ASSERT_TRUE(Ledger::open(directory_ / "state")->save(record));
  start();
  EXPECT_EQ(state(id), GrantState::Ended);
  EXPECT_EQ(why_ended(id), "the host was restarted");
}

TEST_F(HostTest, TheQueueSurvivesARestart) {
  const Child keeper;
  const GrantId first = granted(asking(80_GiB, keeper.pid()));
  granted(asking(80_GiB, keeper.pid()));
  const GrantId waits = granted(asking(40_GiB, keeper.pid()));
  restart();
  ASSERT_EQ(state(waits), GrantState::Waiting);
  EXPECT_TRUE(host_->find(waits)->grant().waiting.has_value());
  ASSERT_TRUE(host_->release(first, 0ms, me()));
  EXPECT_EQ(state(waits), GrantState::Granted);
}

TEST_F(HostTest, AResizeThatThePageDoesNotKnowIsMadeGood) {
  const Child keeper;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  GrantRecord record = host_->find(id)->record;
  region::PageError error{};
  const auto* page = region::open_grant_page(host_->find(id)->paths.page.c_str(), &error);
  stop();
  record.grant.devices[0].limit = 6_GiB;
  ASSERT_TRUE(Ledger::open(directory_ / "state")->save(record));
  start();
  region::GrantSettings settings{};
  ASSERT_TRUE(region::read_settings(*page, &settings));
  EXPECT_EQ(settings.devices[0].limit_bytes, (6_GiB).count);
}

TEST_F(HostTest, FilesThatNoGrantKnowsAreRemovedAndOthersStay) {
  stop();
  std::filesystem::create_directories(directory_ / "run/grants/g-00000000");
  std::filesystem::create_directories(directory_ / "run/grants/somebody-elses");
  start();
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run/grants/g-00000000"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "run/grants/somebody-elses"));
}

TEST_F(HostTest, AGrantThatWasEndingGoesOnEnding) {
  const Child keeper;
  Child program(true);
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  ASSERT_TRUE(host_->release(id, 3600s, me()));
  restart();
  EXPECT_EQ(state(id), GrantState::Ending);
  clock_.advance(60s);
  host_->tick();
  EXPECT_EQ(WTERMSIG(program.wait()), SIGKILL);
  EXPECT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
}

// ---- what the driver says -----------------------------------------------------------------------------------------

Survey with_process(pid_t pid, std::optional<Bytes> used = 1_GiB) {
  Survey survey = survey_of(2);
  survey.samples[0].processes.push_back({pid, used, 50U});
  survey.samples[0].compute_percent = 50;
  return survey;
}

TEST_F(HostTest, AProcessWithoutAGrantIsAStranger) {
  const Child child;
  surveys(with_process(child.pid()));
  ASSERT_EQ(host_->strangers().size(), 1U);
  EXPECT_EQ(host_->strangers()[0].process.pid, child.pid());
  EXPECT_EQ(host_->strangers()[0].seen.used, 1_GiB);
  EXPECT_TRUE(host_->strangers()[0].grant.text.empty());
  surveys(with_process(child.pid()));
  EXPECT_EQ(std::ranges::count(event_kinds(), "stranger"), 1);
  surveys(survey_of(2));
  EXPECT_TRUE(host_->strangers().empty());
}

TEST_F(HostTest, AShareBesideAStrangerIsNotAlone) {
  const Child keeper, child;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  region::PageError error{};
  const auto* page = region::open_grant_page(host_->find(id)->paths.page.c_str(), &error);
  EXPECT_EQ(page->live.devices[0].contended_until_ns.load(), 0U);
  surveys(with_process(child.pid()));
  EXPECT_GT(page->live.devices[0].contended_until_ns.load(), clock_.now_ns());
}

TEST_F(HostTest, AMemberThatGoesPastTheLibraryIsReportedWithItsGrant) {
  const Child keeper, program;
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  surveys(with_process(program.pid()));
  ASSERT_EQ(host_->strangers().size(), 1U);
  EXPECT_EQ(host_->strangers()[0].grant, id);
  EXPECT_THAT(event_kinds(), Contains("without_slot"));
}

TEST_F(HostTest, AMemberOfAWholeDevicesGrantIsNoStranger) {
  const Child keeper, program;
  Ask ask;
  ask.exclusive = true;
  ask.keeper_pid = keeper.pid();
  const GrantId id = granted(ask);
  ASSERT_TRUE(host_->attach(id, program.pid(), me()));
  surveys(with_process(program.pid(), 3_GiB));
  EXPECT_TRUE(host_->strangers().empty());
  const GrantUsage& usage = host_->find(id)->meter.usage();
  EXPECT_EQ(usage.devices.at(0).used, 3_GiB);
  EXPECT_EQ(usage.devices.at(0).compute_percent, 50.0);
}

TEST_F(HostTest, NothingIsGrantedOnASickDeviceUntilItIsWell) {
  const Child keeper;
  Survey sick = survey_of(2);
  for (Device& device : sick.devices) {
    device.healthy = false;
    device.trouble = "fell off the bus";
  }
  surveys(sick);
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_EQ(state(id), GrantState::Waiting);
  EXPECT_THAT(host_->find(id)->grant().waiting->reason, HasSubstr("fell off the bus"));
  library_->answer(survey_of(2));
  EXPECT_TRUE(eventually([&] { return state(id) == GrantState::Granted; }));
  EXPECT_THAT(event_kinds(), Contains("device"));
}

TEST_F(HostTest, ExplainGrantsNothing) {
  const Child keeper;
  const auto fits = host_->explain(asking(4_GiB, keeper.pid()), me());
  EXPECT_FALSE(fits.refusal);
  ASSERT_EQ(fits.devices.size(), 1U);
  EXPECT_EQ(fits.answers.size(), 2U);
  const auto never = host_->explain(asking(100_GiB, keeper.pid()), me());
  ASSERT_TRUE(never.refusal);
  EXPECT_FALSE(never.would_wait);
  EXPECT_TRUE(host_->live().empty());
}

// ---- control groups -----------------------------------------------------------------------------------------------

class HostWithGroups : public HostTest {
 protected:
  HostWithGroups() { restart(); }  // the base's constructor could not call our cgroups()
  ~HostWithGroups() override {
    const std::string root = host_->cgroups().root();
    stop();
    if (!root.empty()) ::rmdir(root.c_str());
  }
  Cgroups cgroups() override {
    const auto mounts = parse_mountinfo(read_file("/proc/self/mountinfo").value());
    return is_root() ? Cgroups::open(mounts, fmt::format("kiboko-host-test-{}", ::getpid()))
                     : Cgroups::none("not root");
  }
};

// Forks once more when told to by a byte; both then wait.
TEST_F(HostWithGroups, ADescendantNobodyTellsOfBelongsToTheGrant) {
  if (!host_->cgroups().available()) GTEST_SKIP() << host_->cgroups().why();
  Child keeper;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t program = ::fork();
  if (program == 0) {
    char byte = 0;
    ::dup2(pipe[0], STDIN_FILENO);
    close_inherited();
    if (::read(STDIN_FILENO, &byte, 1) != 1 || ::fork() < 0) ::_exit(1);
    for (;;) ::pause();
  }
  const GrantId id = granted(asking(4_GiB, keeper.pid()));
  ASSERT_TRUE(host_->attach(id, program, me()));
  ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  EXPECT_TRUE(eventually([&] { return host_->find(id)->members.processes().size() == 2; }));
  ::kill(program, SIGKILL);
  ::waitpid(program, nullptr, 0);
  keeper.end();
  for (int i = 0; i < 5; ++i) host_->tick();
  EXPECT_EQ(state(id), GrantState::Running);
  restart();
  EXPECT_EQ(state(id), GrantState::Running);
  ASSERT_TRUE(host_->release(id, 0ms, me()));
  EXPECT_TRUE(eventually([&] { return state(id) == GrantState::Ended; }));
  EXPECT_FALSE(host_->cgroups().exists(id));
  ::close(pipe[0]);
  ::close(pipe[1]);
}

}  // namespace
}  // namespace kiboko
