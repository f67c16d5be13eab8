// Other people's programs under `kiboko run`: monitors from PyPI, and containers.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "one_host.h"

namespace kiboko::host_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kClients[] = {"nvidia-ml-py", "nvitop", "gpustat"};

class PythonClients : public OneHost {
 protected:
  // Installed once, beside the tests. Empty: not possible here.
  static std::string python() {
    const std::string venv = std::string(KIBOKO_HOST_PROGRAMS) + "/clients", done = venv + "/complete";
    if (fs::exists(done)) return venv + "/bin/python";
    for (const char* base : {"/usr/bin/python3", "/root/.pyenv/shims/python3", "/usr/local/bin/python3"}) {
      const UniqueFd lock = open_file(std::string(KIBOKO_HOST_PROGRAMS) + "/clients.lock", O_RDWR | O_CREAT).value();
      if (::flock(lock.get(), LOCK_EX) != 0) return {};
      if (fs::exists(done)) return venv + "/bin/python";
      if (::access(base, X_OK) != 0) continue;
      Start make{.command = {base, "-m", "venv", "--clear", venv}, .environment = caller_environment()};
      if (run(make).status != 0) continue;
      Start install{.command = {venv + "/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
                                "--retries", "1", "--timeout", "10"},
                    .environment = caller_environment()};
      install.command.insert(install.command.end(), std::begin(kClients), std::end(kClients));
      if (run(install).status != 0) return {};
      return write_file_atomically(done, "") ? venv + "/bin/python" : std::string();
    }
    return {};
  }
  static Environment caller_environment() {
    Environment all;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text = *entry;
      all[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
    }
    return all;
  }
  void SetUp() override {
    python_ = python();
    if (python_.empty())
      GTEST_SKIP() << "no Python environment with nvidia-ml-py, nvitop and gpustat: pip has no network";
    start_agent();
    // A neighbour that nobody else may see.
    other_.emplace(tenant({"--memory", "30GiB"}));
    ASSERT_EQ(allocate(*other_, 20 * kGiB), 0);
    neighbour_ = std::to_string(numbers(other_->ask("pid"), "pid").at(0));
  }
  // Beside a program that holds 1 GiB in the same grant.
  Ended beside_program(const std::string& client) const {
    return kiboko({"run", "--memory", "10GiB", "--", "/bin/sh", "-c",
                   fmt::format("{} 'open 0' 'alloc 1073741824' hold > {} & "
                               "until grep -q alloc {} 2>/dev/null; do sleep 0.05; done; {}; status=$?; "
                               "kill $!; exit $status",
                               program("device_user"), path("said"), path("said"), client)});
  }

  std::string python_, neighbour_;
  std::optional<Child> other_;
};

TEST_F(PythonClients, PynvmlSeesTheGrant) {
  const Ended ended = beside_program(python_ + R"( -c '
import pynvml as n
n.nvmlInit()
h = n.nvmlDeviceGetHandleByIndex(0)
m = n.nvmlDeviceGetMemoryInfo(h)
p = n.nvmlDeviceGetComputeRunningProcesses(h)
print(n.nvmlDeviceGetCount(), m.total, m.used > 2**30, len(p), p[0].usedGpuMemory > 2**30)
n.nvmlShutdown()')");
  EXPECT_EQ(ended.out, fmt::format("1 {} True 1 True\n", 10 * kGiB)) << ended.err;
}

TEST_F(PythonClients, NvitopSeesTheGrant) {
  const Ended ended = beside_program(python_ + " -m nvitop --once --no-unicode --colorful 2>&1 | cat");
  EXPECT_THAT(ended.out, AllOf(HasSubstr("H100"), HasSubstr("10240MiB"), Not(HasSubstr(neighbour_)))) << ended.err;
}

TEST_F(PythonClients, GpustatSeesTheGrant) {
  const Ended ended = beside_program(python_ + " -m gpustat --json");
  const Json json = Json::parse(ended.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ended.out << ended.err;
  ASSERT_EQ(json["gpus"].size(), 1U);
  EXPECT_EQ(json["gpus"][0]["memory.total"], 10 * 1024);
  EXPECT_EQ(json["gpus"][0]["processes"].size(), 1U) << ended.out;
  EXPECT_THAT(ended.out, Not(HasSubstr(neighbour_)));
}

class Containers : public OneHost {
 protected:
  void SetUp() override {
    SKIP_UNLESS_ROOT();
    if (kiboko({"run", "--help"}).out.find("--container") == std::string::npos)
      GTEST_SKIP() << "kiboko run has no --container";
    if (::access("/usr/bin/podman", X_OK) != 0) GTEST_SKIP() << "podman is not installed";
    make_root();
    if (run(start(podman({"/bin/true"}))).status != 0) GTEST_SKIP() << "podman cannot start a container here";
    start_agent();
  }
  // A root folder that shows the host's own programs: no image is needed.
  void make_root() const {
    for (const char* folder : {"usr", "etc", "proc", "sys", "dev", "tmp", "run"})
      fs::create_directories(path("root/") + folder);
    for (const char* link : {"bin", "lib", "lib64", "sbin"})
      fs::create_symlink(std::string("usr/") + link, path("root/") + link);
  }
  static Words options() {
    return {"run",       "--rm",
            "--runtime", "runc",
            "--ulimit",  "nofile=1024:1024",
            "--ulimit",  "nproc=4096:4096",
            "-i",        "--network=none",
            "--volume",  "/usr:/usr:ro",
            "--volume",  KIBOKO_HOST_PROGRAMS ":" KIBOKO_HOST_PROGRAMS ":ro",
            "--rootfs"};
  }
  Words podman(const Words& command) const {
    Words words{"/usr/bin/podman"};
    for (const Words& part : {options(), Words{path("root")}, command})
      words.insert(words.end(), part.begin(), part.end());
    return words;
  }
  Child in_container(const Words& flags, const Words& command) const {
    Words words{"run", "--container", "podman"};
    for (const Words& part : {flags, Words{"--"}, options(), Words{path("root")}, command})
      words.insert(words.end(), part.begin(), part.end());
    return spawn(words);
  }
};

TEST_F(Containers, HaveTheSameGrantAsAProgram) {
  Child inside = in_container({"--memory", "10GiB"}, {program("device_user"), "-"});
  ASSERT_EQ(inside.ask("open 0"), "open 0") << inside.errors();
  EXPECT_EQ(memory_of(inside).total, 10 * kGiB);
  EXPECT_EQ(allocate(inside, 11 * kGiB), kOutOfMemory);
  EXPECT_EQ(allocate(inside, 9 * kGiB), 0);
  const auto nvml = numbers(inside.ask("nvml"), "nvml");
  ASSERT_EQ(nvml.size(), 4U);
  EXPECT_EQ(nvml[0], 10 * kGiB);
  EXPECT_EQ(nvml[2], 10 * kGiB);
  const std::string id = grant_of(inside);
  EXPECT_TRUE(eventually([&] {
    const Json used = grant(id)["devices"][0]["used_bytes"];
    return used.is_number() && used > 9 * kGiB;
  })) << grant(id);
  EXPECT_TRUE(device()["strangers"].empty()) << device();
  EXPECT_EQ(inside.wait().exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return grants().empty() && granted_bytes() == 0; }));
}

TEST_F(Containers, EndWithTheirExitStatusAndOnRelease) {
  EXPECT_EQ(in_container({}, {"/bin/sh", "-c", "exit 7"}).wait().exit_code(), 7);
  Child inside = in_container({}, {program("device_user"), "open 0", "hold"});
  ASSERT_EQ(inside.read_line(), "open 0") << inside.errors();
  ASSERT_TRUE(eventually([&] { return grants().size() == 1; }));
  EXPECT_EQ(kiboko({"release", "--force", "--grace", "1s", grants()[0]["id"]}).exit_code(), 0);
  EXPECT_NE(inside.wait().exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return grants().empty() && device()["used_bytes"] == 0; })) << device();
}

}  // namespace
}  // namespace kiboko::host_test
