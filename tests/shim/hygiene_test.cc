// A preloaded library is a guest in every program. Those that use no accelerator must not notice it; those that do
// must find everything but their limits as they left it.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

bool found(const std::string& program) {
  Start start;
  start.command = {"sh", "-c", "command -v " + program};
  start.environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}};
  return run(start).exit_code == 0;
}

// ---- programs that use no accelerator

class Bystander : public testing::Test {
 protected:
  Tenant tenant{drivers().front()};
  // Output, messages and exit code are the same with us and without.
  void unchanged(const std::vector<std::string>& command, unsigned uid = 0) {
    Start start = tenant.start(command);
    start.uid = uid;
    const Ended with = run(start);
    tenant.with_shim(false);
    start.environment = tenant.environment;
    const Ended without = run(start);
    EXPECT_EQ(with.exit_code, without.exit_code);
    EXPECT_EQ(with.out, without.out);
    EXPECT_EQ(with.err, without.err);
    EXPECT_NE(without.exit_code, 127) << command[0] << " did not run";
  }
};

TEST_F(Bystander, ShellAndItsPipelines) {
  unchanged(
      {"bash", "-c", "set -o pipefail; for i in 1 2 3; do echo $i; done | sort -r | head -2; false | true; echo $?"});
}

TEST_F(Bystander, APageThatCannotBeReadIsNoConcernOfTheirs) {
  tenant.environment["KIBOKO_GRANT"] = tenant.path("nowhere");
  unchanged({"bash", "-c", "echo a; ls /nowhere; exit 7"});
}

TEST_F(Bystander, MapsNoDriver) {
  const Ended ended = tenant.run({"cat", "/proc/self/maps"});
  EXPECT_THAT(ended.out, HasSubstr("libkiboko.so"));
  EXPECT_THAT(ended.out, Not(HasSubstr("libcuda")));
  EXPECT_THAT(ended.out, Not(HasSubstr("libnvidia")));
  if (std::string_view(KIBOKO_SANITIZER_RUNTIME).empty()) {  // a sanitizer's runtime brings its own
    if (!sanitized()) {
      EXPECT_THAT(ended.out, Not(HasSubstr("libstdc++"))) << "cat needs none; neither do we";
    }
  }
}

TEST_F(Bystander, MakesNoRegion) {
  tenant.grant({{0, kGiB}});
  EXPECT_EQ(tenant.run({"true"}).exit_code, 0);
  EXPECT_NE(::access(tenant.region_path().c_str(), F_OK), 0);
}

TEST_F(Bystander, PythonWithThreadsSubprocessesAndForks) {
  if (!found("python3")) GTEST_SKIP() << "no python3";
  unchanged({"python3", "-c",
             "import ctypes, os, subprocess, threading, json, ssl\n"
             "print(subprocess.run(['echo', 'x'], capture_output=True, close_fds=False).stdout)\n"
             "print(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn('/bin/true', ['true'], os.environ), 0)[1]))\n"
             "pid = os.fork()\n"
             "if pid == 0: os._exit(5)\n"
             "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
             "t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n"
             "c = ctypes.CDLL(None); print(c.abs(-3), c.dlsym is not None)\n"
             "try: ctypes.CDLL(None).cuNoSuchThing\n"
             "except AttributeError as e: print('undefined symbol' in str(e))\n"});
}

TEST_F(Bystander, Node) {
  if (!found("node")) GTEST_SKIP() << "no node";
  if (sanitized()) GTEST_SKIP() << "node does not start under a preloaded sanitizer";
  unchanged({"node", "-e", "console.log(require('child_process').execFileSync('echo', ['x']).toString())"});
}

TEST_F(Bystander, StartsWithItsStandardFilesClosed) {
  Start start = tenant.start({"true"});
  start.standard_files = false;
  EXPECT_EQ(run(start).exit_code, 0);
}

TEST_F(Bystander, SetuidProgramsRunAsBefore) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root to become another user";
  struct stat status;
  if (::stat("/usr/bin/su", &status) != 0 || (status.st_mode & S_ISUID) == 0) GTEST_SKIP() << "no setuid su";
  unchanged({"/usr/bin/su", "--version"}, 65534);
}

// ---- programs that do

class Guest : public OnDriver {};

TEST_P(Guest, LeavesSignalsUmaskEnvironmentAndFolderAlone) {
  tenant.grant({{0, kGiB, 30}});
  const Ended ended =
      tenant.probe_run({"surroundings", "init", "context", "0", "alloc", "1024", "launch", "10", "surroundings"});
  const auto lines = lines_of(ended.out);
  ASSERT_EQ(lines.size(), 6u) << ended.out << ended.err;
  EXPECT_EQ(lines.front(), lines.back());
  EXPECT_EQ(ended.err, "");
}

TEST_P(Guest, LeavesErrnoAlone) {
  tenant.grant({{0, kGiB}});
  EXPECT_THAT(lines_of(tenant.probe_run({"init", "context", "0", "errno"}).out),
              ElementsAre("init 0", "context 0", "errno 0"));
}

TEST_P(Guest, TakesNoneOfTheStandardDescriptors) {
  tenant.grant({{0, kGiB}});
  tenant.with_shim(false);
  Start start = tenant.probe({"init", "context", "0", "still-closed"});
  start.standard_files = false;
  if (run(start).exit_code == 9) GTEST_SKIP() << "this driver takes them itself";
  tenant.with_shim(true);
  start.environment = tenant.environment;
  EXPECT_EQ(run(start).exit_code, 0) << "9: a descriptor of ours is where the program's output goes";
}

TEST_P(Guest, SurvivesAProgramThatClosesDescriptorsItDoesNotKnow) {
  tenant.grant({{0, 2 * kGiB}});
  const Ended ended = tenant.probe_run({"init", "context", "0", "close-all", "alloc", std::to_string(kGiB), "alloc",
                                        std::to_string(2 * kGiB), "free-all"});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "context 0", "closed", "alloc 0", "alloc 2", "free-all 0"));
}

TEST_P(Guest, ForkedChildrenOfAParentWithoutCudaHaveTheirOwnCharge) {
  tenant.grant({{0, 2 * kGiB}});
  const std::string bytes = std::to_string(kGiB);
  const Ended ended = tenant.probe_run({"fork", "5", "init", "context", "0", "alloc", bytes,  //
                                        "fork", "5", "init", "context", "0", "alloc", bytes,  //
                                        "init", "context", "0", "alloc", bytes});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "context 0", "alloc 0", "child 0", "init 0", "context 0",
                                               "alloc 0", "child 0", "init 0", "context 0", "alloc 0"))
      << ended.err;
}

TEST_P(Guest, AForkedChildThatUsesNoCudaChangesNothingForItsParent) {
  tenant.grant({{0, 2 * kGiB}});
  const Ended ended = tenant.probe_run(
      {"init", "context", "0", "alloc", std::to_string(kGiB), "info", "fork", "1", "maps", "info", "free-all"});
  const auto lines = lines_of(ended.out);
  ASSERT_EQ(lines.size(), 8u) << ended.out << ended.err;
  EXPECT_EQ(lines[6], lines[3]);
  EXPECT_EQ(lines[7], "free-all 0");
}

TEST_P(Guest, AnExecGivesBackWhatTheProgramBeforeItHeld) {
  tenant.grant({{0, 2 * kGiB}});
  const std::string bytes = std::to_string(kGiB);
  const Ended ended = tenant.probe_run({"init", "context", "0", "alloc", bytes, "exec",  //
                                        "init", "context", "0", "alloc", bytes});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "context 0", "alloc 0", "init 0", "context 0", "alloc 0"));
}

TEST_P(Guest, ReachesLibrariesThatAScriptLoads) {
  if (!found("python3")) GTEST_SKIP() << "no python3";
  tenant.grant({{0, kGiB}});
  const Ended ended = tenant.run({"python3", "-c",
                                  "import ctypes\n"
                                  "c = ctypes.CDLL('libcuda.so.1')\n"
                                  "n = ctypes.c_size_t()\n"
                                  "print(c.cuInit(0), c.cuDeviceTotalMem_v2(ctypes.byref(n), 0), n.value)\n"
                                  "p = ctypes.c_void_p()\n"
                                  "print(c.cuGetProcAddress_v2(b'cuDeviceTotalMem', ctypes.byref(p), 12000, "
                                  "ctypes.c_uint64(0), None))\n"
                                  "f = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(p.value)\n"
                                  "m = ctypes.c_size_t()\n"
                                  "print(f(ctypes.addressof(m), 0), m.value)\n"});
  EXPECT_EQ(ended.out, "0 0 1073741824\n0\n0 1073741824\n") << ended.err;
}

// ---- many at once

class Crowd : public OnDriver {
 protected:
  void start_together(std::size_t count, const std::vector<std::string>& script,
                      const std::vector<std::string>& answers) {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    std::vector<std::string> words = {"await"};
    words.insert(words.end(), script.begin(), script.end());
    words.push_back("await");
    std::vector<Process> processes;
    for (std::size_t i = 0; i < count; ++i) processes.emplace_back(tenant.probe(words));
    for (Process& process : processes) ASSERT_EQ(process.read_line(), "await");
    for (Process& process : processes) process.write_line("go");
    std::size_t wrong = 0;
    for (Process& process : processes) {
      std::vector<std::string> said;
      while (said.size() < answers.size()) said.push_back(process.read_line());
      if (said == answers) {
        process.read_line();
        continue;
      }
      if (++wrong <= 3) ADD_FAILURE() << testing::PrintToString(said) << process.errors();
    }
    EXPECT_EQ(wrong, 0u) << "of " << count;
    for (Process& process : processes) process.write_line("end");
    for (Process& process : processes) EXPECT_EQ(process.wait().exit_code, 0);
  }
};

TEST_P(Crowd, SixtyFourProcessesStartAtOnceAndShareOneLimit) {
  tenant.grant({{0, 64 * 2 * kMiB * 512}});
  start_together(64, {"init", "context", "0", "alloc", "1048576"}, {"init 0", "context 0", "alloc 0"});
}

TEST_P(Crowd, TwoHundredFiftySixProcessesStartAtOnce) {
  tenant.grant({{0, kGiB}});
  const std::size_t count = sanitized() ? 64 : 256;  // a sanitized program takes a second to start here
  start_together(count, {"init", "total", "0"}, {"init 0", "total 0 1073741824"});
  const Ended after = tenant.probe_run({"nvml-init", "nvml-memory", "0"});
  EXPECT_THAT(after.out, HasSubstr("nvml-memory 0 1073741824 0 1073741824")) << "all slots are free again";
}

KIBOKO_ON_EVERY_DRIVER(Guest);
KIBOKO_ON_EVERY_DRIVER(Crowd);

}  // namespace
}  // namespace kiboko::shim_test
