// Programs that get onto a device past the library: not stopped, but reported.
#include <fcntl.h>
#include <unistd.h>

#include "one_host.h"
#include "region/mapping.h"

namespace kiboko::host_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

class Violations : public OneHost {
 protected:
  // As `env -i` would start it: a driver, and nothing of ours.
  Start bare() const {
    Start how = start({program("device_user"), "open 0", "alloc 1073741824", "pid", "hold"});
    how.environment = {{"LD_LIBRARY_PATH", KIBOKO_SIM_LIBRARIES}, {"KIBOKO_SIM", simulation()}};
    return how;
  }
};

TEST_F(Violations, AProcessWithoutAGrantIsReportedEverywhere) {
  start_agent();
  Child stranger(bare());
  ASSERT_EQ(stranger.read_line(), "open 0");
  ASSERT_EQ(stranger.read_line(), "alloc 0");
  const auto pid = numbers(stranger.read_line(), "pid");
  ASSERT_THAT(pid, SizeIs(1));
  ASSERT_TRUE(eventually([&] { return device()["strangers"].size() == 1; }));
  EXPECT_EQ(device()["strangers"][0]["pid"], pid[0]);
  EXPECT_GT(device()["strangers"][0]["used_bytes"], kGiB);
  EXPECT_THAT(kiboko({"ps"}).out, AllOf(HasSubstr("violation"), HasSubstr(std::to_string(pid[0]))));
  EXPECT_THAT(events("stranger"), SizeIs(1));
  EXPECT_THAT(text("/metrics"),
              HasSubstr("kiboko_device_strangers{device=\"" + device()["uuid"].get<std::string>() + "\"} 1\n"));
  stranger.signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return device()["strangers"].empty(); }));
}

TEST_F(Violations, AProgramOfAGrantThatDropsTheLibraryIsReportedWithItsGrant) {
  start_agent();
  Child escaped = spawn({"run", "--memory", "10GiB", "--", "/usr/bin/env", "-u", "LD_PRELOAD", "-u", "KIBOKO_GRANT",
                         program("device_user"), "open 0", "alloc 21474836480", "hold"});
  ASSERT_EQ(escaped.read_line(), "open 0");
  ASSERT_EQ(escaped.read_line(), "alloc 0");  // a preload cannot stop it
  ASSERT_TRUE(eventually([&] { return device()["strangers"].size() == 1; }));
  const std::string id = grants().at(0)["id"];
  EXPECT_EQ(device()["strangers"][0]["grant"], id);
  EXPECT_THAT(kiboko({"ps"}).out, AllOf(HasSubstr("violation"), HasSubstr("in grant " + id)));
  EXPECT_THAT(events("without_slot"), SizeIs(1));
}

TEST_F(Violations, ProgramsWithinTheirGrantsAreNotReported) {
  start_agent();
  Child share = tenant({"--memory", "10GiB"});
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(kiboko({"run", "--memory", "1GiB", "--", program("device_user"), "open 0", "alloc 4194304"}).exit_code(),
              0);
    EXPECT_TRUE(device()["strangers"].empty());
  }
  EXPECT_THAT(events("stranger"), SizeIs(0));
  EXPECT_THAT(events("without_slot"), SizeIs(0));
}

// ---- what a grant's own programs do to their region, or past it

class Tampered : public OneHost {
 protected:
  // The region of a grant as its owner can write it.
  void write_word(const std::string& id, std::size_t offset, std::uint64_t word) const {
    const int fd = ::open(region_of(id).c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(::pwrite(fd, &word, sizeof word, static_cast<off_t>(offset)), 8);
    ::close(fd);
  }
  std::string region_of(const std::string& id) const { return grant(id)["region"]; }
  // What the agent says of it, once it does.
  Json tampering(const std::string& id) const {
    EXPECT_TRUE(eventually([&] { return !grant(id)["tampering"].empty(); }));
    return grant(id)["tampering"].empty() ? Json::object() : grant(id)["tampering"][0];
  }
};

TEST_F(Tampered, ChargesThatSomebodyTookAwayAreReportedEverywhere) {
  start_agent();
  Child share = tenant({"--memory", "10GiB"});
  ASSERT_EQ(allocate(share, 2 * kGiB), 0);
  const std::string id = grant_of(share);
  write_word(id, region::kExtensionOffset + offsetof(region::Extension, charges), 0);  // no other slot was ever used
  for (unsigned slot = 1; slot < region::kMaxSlots; ++slot)
    write_word(id,
               region::kExtensionOffset + offsetof(region::Extension, charges) +
                   slot / 8 * sizeof(region::ChargeGroup) + slot % 8 * sizeof(std::uint64_t),
               0);
  const Json found = tampering(id);
  EXPECT_EQ(found["kind"], "memory") << found;
  EXPECT_EQ(found["pid"], numbers(share.ask("pid"), "pid")[0]);
  EXPECT_THAT(found["sentence"].get<std::string>(), AllOf(HasSubstr("2.5 GiB"), HasSubstr("charged 0 B")));
  EXPECT_THAT(kiboko({"ps"}).out, AllOf(HasSubstr("violation"), HasSubstr("charged 0 B")));
  EXPECT_THAT(kiboko({"grants", "show", id}).out, HasSubstr("charged 0 B"));
  EXPECT_THAT(events("tampered"), SizeIs(1));
  EXPECT_THAT(text("/metrics"), HasSubstr("kiboko_grant_tampering{grant=\"" + id + "\""));
}

TEST_F(Tampered, ALimitThatSomebodyRaisedInTheRegionIsReported) {
  start_agent();
  Child share = tenant({"--memory", "10GiB", "--cores", "30"});
  const std::string id = grant_of(share);
  write_word(id, offsetof(region::HamiRegion, memory_limit), 20 * kGiB);
  EXPECT_EQ(tampering(id)["kind"], "limits");
  EXPECT_EQ(memory_of(share).total, 10 * kGiB);
  write_word(id, offsetof(region::HamiRegion, memory_limit), 5 * kGiB);  // a lower one is honoured
  EXPECT_TRUE(eventually([&] { return grant(id)["tampering"].empty(); }));
  EXPECT_EQ(memory_of(share).total, 5 * kGiB);
  write_word(id, offsetof(region::HamiRegion, sm_limit), 90);
  EXPECT_THAT(tampering(id)["sentence"].get<std::string>(), HasSubstr("compute limit of 90 %"));
}

TEST_F(Tampered, ARegionThatWasReplacedUnderAProgramIsReported) {
  start_agent();
  Child share = tenant({"--memory", "10GiB"});
  const std::string id = grant_of(share);
  ASSERT_TRUE(eventually([&] { return grant(id)["devices"][0]["used_bytes"] > 0; }));
  ASSERT_EQ(::unlink(region_of(id).c_str()), 0);
  region::RegionSeed seed;
  seed.grant_id = id.c_str();
  seed.device_count = 1;
  const std::string uuid = device()["uuid"];
  seed.uuids[0] = uuid.c_str();
  seed.memory_limit[0] = 10 * kGiB;
  seed.sm_limit[0] = 100;
  region::Mapping other;
  region::PageError error{};
  ASSERT_TRUE(other.open(region_of(id).c_str(), seed, &error)) << error.text;
  const Json found = tampering(id);
  EXPECT_EQ(found["kind"], "region") << found;
  EXPECT_THAT(found["sentence"].get<std::string>(), HasSubstr(share.ask("pid").substr(4)));
}

TEST_F(Tampered, AProgramThatIsExecutedAnewWithoutTheLibraryIsReported) {
  start_agent();
  Child share = tenant({"--memory", "10GiB"});
  const std::string id = grant_of(share);
  ASSERT_EQ(share.ask("become open 0,alloc 21474836480,hold"), "open 0");
  ASSERT_EQ(share.read_line(), "alloc 0");  // a preload cannot stop it
  ASSERT_TRUE(eventually([&] { return device()["strangers"].size() == 1; }));
  EXPECT_EQ(device()["strangers"][0]["grant"], id);
  EXPECT_THAT(events("without_slot"), SizeIs(1));
}

// Contexts, code, memory that comes and goes, children, programs executed anew, limits that change: for some surveys.
TEST_F(Tampered, OrdinaryProgramsAreNot) {
  start_agent();
  Child share = tenant({"--memory", "10GiB", "--cores", "50"}), other = tenant({"--memory", "10GiB"});
  Child parent = user({"--memory", "4GiB"});
  EXPECT_THAT(parent.ask("child 1073741824"), HasSubstr("alloc 0"));
  EXPECT_EQ(parent.ask("open 0"), "open 0");
  const std::string id = grant_of(share);
  for (int round = 0; round < 6; ++round) {
    EXPECT_EQ(allocate(share, 4 * kGiB), 0);
    EXPECT_THAT(share.ask("spin 1000000 0.3"), HasSubstr("spin"));
    EXPECT_EQ(kiboko({"resize", id, "--memory", round % 2 == 0 ? "12GiB" : "8GiB"}).exit_code(), 0);
    EXPECT_THAT(other.ask("spin 1000000 0.3"), HasSubstr("spin"));
    EXPECT_EQ(share.ask("free"), "free 0");
    EXPECT_EQ(kiboko({"run", "--memory", "1GiB", "--", program("device_user"), "open 0", "alloc 4194304"}).exit_code(),
              0);
  }
  EXPECT_THAT(events("tampered"), SizeIs(0));
  EXPECT_THAT(events("without_slot"), SizeIs(0));
  EXPECT_THAT(events("stranger"), SizeIs(0));
}

}  // namespace
}  // namespace kiboko::host_test
