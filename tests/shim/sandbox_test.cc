// Where a container or the program itself has taken something away: files, system calls, room on the disk, the usual
// way of loading. Limits hold, or CUDA is refused in one line; nothing hangs and nothing dies of a signal.
#include <signal.h>

#include <gmock/gmock.h>

#include "region/slots.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class Sandbox : public OnDriver {
 protected:
  // Runs a script in mount namespace of its own. Exit code 77: this machine does not let us.
  Ended in_own_mounts(const std::string& script) {
    return tenant.run({"unshare", "-m", "sh", "-c", "set -e\n" + script});
  }
  bool may_mount() { return in_own_mounts("mount -t tmpfs none " + tenant.path("")).exit_code == 0; }
};
KIBOKO_ON_EVERY_DRIVER(Sandbox);

void expect_one_line(const std::string& text, const std::string& part) {
  EXPECT_EQ(lines_of(text).size(), 1u) << text;
  EXPECT_THAT(text, AllOf(StartsWith("kiboko: CUDA is refused: "), HasSubstr(part)));
}

// ---- system calls

TEST_P(Sandbox, HoldsTheLimitWhereMembarrierAndRandomNumbersAreDenied) {
  tenant.grant({{0, kGiB}});
  expect_well({"no-membarrier", "1024"});
}

TEST_P(Sandbox, HoldsTheLimitWhereFutexesAreDenied) {
  tenant.with_shim(false);
  if (guest({"no-futex", "65536"}).exit_code != 0) GTEST_SKIP() << "this driver needs them itself";
  tenant.with_shim(true);
  tenant.grant({{0, kGiB}});
  expect_well({"no-futex", "1024"});
}

// ---- processes of an uncommon kind

TEST_P(Sandbox, HoldsTheLimitOfAProcessThatSharesItsMemory) {
  tenant.grant({{0, kGiB}});
  expect_well({"shared-memory", "1024"});
}

TEST_P(Sandbox, IsNotDisturbedByAVfork) {
  tenant.grant({{0, kGiB}});
  expect_well({"vfork", "1024"});
}

TEST_P(Sandbox, AProcessWhoseMainThreadHasEndedKeepsItsMemory) {
  tenant.grant({{0, kGiB}});
  Process process(tenant.start({program("shim_guest_program"), "headless", "600"}));
  ASSERT_EQ(process.read_line(), "headless");
  const std::string bytes = std::to_string(600 * kMiB);
  EXPECT_THAT(tenant.probe_run({"init", "context", "0", "alloc", bytes}).out, HasSubstr("alloc 2"));
  process.write_line("end");
  EXPECT_EQ(process.wait().exit_code, 0);
  EXPECT_THAT(tenant.probe_run({"init", "context", "0", "alloc", bytes}).out, HasSubstr("alloc 0"));
}

// ---- files and disks

TEST_P(Sandbox, GoesOnWhenTheProgramMayOpenNoMoreFiles) {
  tenant.grant({{0, kGiB}});
  expect_well({"no-more-files", "1024"});
}

TEST_P(Sandbox, RefusesCudaWhenItMayOpenNoFile) {
  tenant.with_shim(false);
  if (guest({"no-files"}).out != "0\n") GTEST_SKIP() << "this driver needs files itself";
  tenant.with_shim(true);
  tenant.grant({{0, kGiB}});
  const Ended ended = guest({"no-files"});
  EXPECT_EQ(ended.out, "304\n");
  expect_one_line(ended.err, "Too many open files");
}

TEST_P(Sandbox, RefusesCudaWhereTheRegionCannotBeMade) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount";
  tenant.grant({{0, kGiB}}, tenant.path("mnt/region"));
  const std::string mount = "mkdir -p " + tenant.path("mnt") + "\nmount -t tmpfs ";
  const std::string probe = " none " + tenant.path("mnt") + "\nexec " + program("shim_probe") + " init";
  const Ended read_only = in_own_mounts(mount + "-o ro" + probe);
  EXPECT_EQ(read_only.out, "init 304\n");
  expect_one_line(read_only.err, "Read-only file system");
  const Ended full = in_own_mounts(mount + "-o size=16k" + probe);
  EXPECT_EQ(full.out, "init 304\n") << full.exit_code;
  expect_one_line(full.err, "free some space");
}

TEST_P(Sandbox, IsFoundThroughThePreloadFileOfAContainer) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount";
  if (sanitized()) GTEST_SKIP() << "a sanitizer's runtime must come first";
  tenant.grant({{0, kGiB}});
  tenant.environment.erase("LD_PRELOAD");
  const auto preloaded = [&](const std::string& library) {
    return in_own_mounts("cp -a /etc " + tenant.path("etc") + "\necho " + library + " >" +
                         tenant.path("etc/ld.so.preload") + "\nmount --bind " + tenant.path("etc") + " /etc\nexec " +
                         program("shim_probe") + " init total 0");
  };
  const Ended there = preloaded(shim_path());
  EXPECT_EQ(there.out, "init 0\ntotal 0 1073741824\n") << there.err;
  EXPECT_EQ(there.err, "");
  const Ended missing = preloaded("/nowhere/libkiboko.so");
  EXPECT_THAT(missing.out, StartsWith("init 0\n"));
  EXPECT_EQ(lines_of(missing.err).size(), 1u) << "the loader says so, and that is all: " << missing.err;
}

// ---- ways around

// docs/quirks.md: such a library reaches the driver directly. What matters is that nobody else does.
TEST_P(Sandbox, ADeeplyBoundLibraryGoesAroundUsAlone) {
  if (sanitized()) GTEST_SKIP() << "a sanitizer's runtime refuses deep binding";
  tenant.grant({{0, kGiB}});
  const Ended ended = guest({"deep-binding", std::to_string(kGiB)});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, std::to_string(tenant.devices()[0].bytes) + "\n");
}

TEST_P(Sandbox, ANamespaceOfLibrariesGoesAroundUsAlone) {
  if (sanitized()) GTEST_SKIP() << "a sanitizer's runtime does not load twice";
  tenant.grant({{0, kGiB}});
  const Ended ended = guest({"another-namespace", std::to_string(kGiB)});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "other\n");
}

// ---- too many

TEST_P(Sandbox, TheOneThousandTwentyFifthProcessIsRefusedUntilAnotherEnds) {
  tenant.grant({{0, kGiB}});
  ASSERT_EQ(tenant.probe_run({"init"}).out, "init 0\n");
  Process last(tenant.start({"sleep", "300"}));
  region::RegionSeed seed;
  seed.device_count = 1;
  seed.uuids[0] = tenant.devices()[0].uuid.c_str();
  region::Mapping books;
  region::PageError error;
  ASSERT_TRUE(books.open(tenant.region_path().c_str(), seed, &error)) << error.text;
  const auto self = region::ProcessIdentity::self();
  books.ext().header.slot_blocks = region::kMaxSlots / 64;
  for (unsigned i = 0; i < region::kMaxSlots; ++i) {
    const auto pid = i + 1 == region::kMaxSlots ? static_cast<std::uint32_t>(last.pid()) : self.pid;
    books.ext().slots[i].pid_ns = self.pid_ns;
    books.ext().slots[i].state = region::pack({2, region::SlotState::Live, pid});
  }
  const Ended refused = tenant.probe_run({"init"});
  EXPECT_EQ(refused.out, "init 304\n");
  expect_one_line(refused.err, "all 1024 slots are used by live processes");
  ::kill(last.pid(), SIGKILL);
  last.wait();
  EXPECT_EQ(tenant.probe_run({"init", "total", "0"}).out, "init 0\ntotal 0 1073741824\n");
  books.close();
}

}  // namespace
}  // namespace kiboko::shim_test
