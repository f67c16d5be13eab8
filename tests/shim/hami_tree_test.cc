// A tree of processes as HAMi's device plugin starts it: the installed library under HAMi's name in the hook folder,
// the folder of the container, the variables of an allocation, and the loader told by /etc/ld.so.preload.
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "hami_reader.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class HamiTree : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(std::string(KIBOKO_TEST_SIM_DIR) + "/libcuda.so.1")) GTEST_SKIP() << "no simulated driver";
    install();
    allocate();
  }
  void install() {
    Start start;
    start.command = {KIBOKO_CMAKE, "--install", KIBOKO_BUILD, "--component", "hami", "--prefix", hook_};
    start.environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}};
    const Ended ended = run(start);
    ASSERT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  }
  // As Allocate answers for two devices of one container.
  void allocate() {
    const auto& known = tenant.devices();
    auto& environment = tenant.environment;
    environment["NVIDIA_VISIBLE_DEVICES"] = known.at(1).uuid + "," + known.at(0).uuid;
    environment["CUDA_DEVICE_MEMORY_LIMIT_0"] = "2048m";
    environment["CUDA_DEVICE_MEMORY_LIMIT_1"] = "3072m";
    environment["CUDA_DEVICE_SM_LIMIT"] = "50";
    environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = folder_ + "/0b5e93c7-8f3c-4a8f-9d60-1f0c7e1f2b11.cache";
    environment["CUDA_OVERSUBSCRIBE"] = "true";
    environment["LIBCUDA_LOG_LEVEL"] = "1";
    environment["GPU_CORE_UTILIZATION_POLICY"] = "force";
    environment["CUDA_TASK_PRIORITY"] = "0";
    ::chmod(folder_.c_str(), 0777);
    environment.erase("LD_PRELOAD");
  }
  std::string library() const { return folder_ + "/libvgpu.so"; }
  // A shell with two programs at once, one of which sees one device only, as a launcher of ranks starts them. The
  // devices are those of the simulation, of which the container was given two.
  Start tree() const {
    const std::string probe = program("shim_probe");
    return tenant.start({"sh", "-c",
                         "CUDA_VISIBLE_DEVICES=0 " + probe + " init total 0 context 0 alloc 1073741824 > " +
                             tenant.path("rank-0") + " & first=$!; CUDA_VISIBLE_DEVICES=1 " + probe +
                             " init total 0 context 0 alloc 1073741824 alloc 1073741824 > " + tenant.path("rank-1") +
                             "; status=$?; wait $first && exit $status"});
  }
  std::vector<std::string> output(const char* name) const {
    std::ostringstream text;
    text << std::ifstream(tenant.path(name)).rdbuf();
    return lines_of(text.str());
  }
  void expect_limits_held(const Ended& ended) const {
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    EXPECT_THAT(output("rank-0"), ElementsAre("init 0", "total 0 3221225472", "context 0", "alloc 0"));
    EXPECT_THAT(output("rank-1"), ElementsAre("init 0", "total 0 2147483648", "context 0", "alloc 0", "alloc 2"));
  }

  Tenant tenant{drivers().back()};
  std::string hook_ = tenant.path("usr/local"), folder_ = hook_ + "/vgpu";
};

TEST_F(HamiTree, IsInstalledUnderHamisNamesAndNothingElseIs) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(hook_))
    if (!entry.is_directory()) files.push_back(fs::relative(entry.path(), hook_));
  EXPECT_THAT(files, testing::UnorderedElementsAre("vgpu/libvgpu.so", "vgpu/ld.so.preload"));
  std::ifstream preload(folder_ + "/ld.so.preload");
  std::string line;
  std::getline(preload, line);
  EXPECT_EQ(line, library());
  EXPECT_NE(fs::status(library()).permissions() & fs::perms::others_read, fs::perms::none);
  const auto inode = [this] {
    struct stat status = {};
    ::stat(library().c_str(), &status);
    return status.st_ino;
  };
  const auto before = inode();
  install();
  EXPECT_NE(inode(), before) << "programs run from the old file: it must not be written to";
}

TEST_F(HamiTree, IsHeldToItsLimitsAndReadByTheMonitor) {
  tenant.environment["LD_PRELOAD"] = library();
  expect_limits_held(run(tree()));
  const auto view = read_hami_region(hami_region_in(folder_));
  ASSERT_TRUE(view.has_value());
  ASSERT_EQ(view->devices.size(), 2u);
  EXPECT_EQ(view->devices[0].uuid, tenant.devices().at(1).uuid);
  EXPECT_EQ(view->devices[0].memory_limit, 2 * kGiB);
  EXPECT_EQ(view->devices[1].memory_limit, 3 * kGiB);
  EXPECT_EQ(view->devices[0].sm_limit, 50u);
  EXPECT_EQ(view->priority, 0);
  EXPECT_TRUE(view->processes.empty());
  struct stat status = {};
  ::stat(hami_region_in(folder_).c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777u, 0666u);
}

// In a mount namespace of its own, whose /etc is a copy with the one file more.
TEST_F(HamiTree, IsLoadedByTheLoadersOwnListInEveryProgram) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root for a mount namespace";
  const std::string etc = tenant.path("etc");
  fs::copy("/etc", etc, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::copy_file(folder_ + "/ld.so.preload", etc + "/ld.so.preload", fs::copy_options::overwrite_existing);
  const Start start = tree();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(etc.c_str(), "/etc", nullptr, MS_BIND, nullptr) != 0)
      ::_exit(77);
    const Ended maps = run(tenant.start({"cat", "/proc/self/maps"}));
    const Ended ended = run(start);
    std::ofstream(tenant.path("ended.err")) << ended.err << maps.err;
    ::_exit(maps.out.find(library()) == std::string::npos ? 78 : ended.exit_code);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "this root has no right to a mount namespace";
  Ended ended;
  ended.exit_code = WEXITSTATUS(status);
  for (const std::string& line : output("ended.err")) ended.err += line + "\n";
  expect_limits_held(ended);
}

}  // namespace
}  // namespace kiboko::shim_test
