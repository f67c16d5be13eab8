#include "compute_tenants.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "region/layout.h"

namespace kiboko::bench {
namespace {

struct Driver {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  template <class F>
  F get(const char* name) const {
    return reinterpret_cast<F>(dlsym(library, name));
  }
};

void must(int result, const char* what) {
  if (result == 0) return;
  fmt::print(stderr, "{} failed: {}\n", what, result);
  _exit(1);
}

constexpr int kGraphKernels = 10;

// A stream, and a kernel of so many nanoseconds.
class Gpu {
 public:
  explicit Gpu(std::uint64_t kernel_ns) : kernel_ns_(kernel_ns) {
    if (driver.library == nullptr) {
      fmt::print(stderr, "{}\n", dlerror());
      _exit(1);
    }
    must(driver.get<int (*)(unsigned)>("cuInit")(0), "cuInit");
    void *context = nullptr, *module = nullptr;
    must(driver.get<int (*)(void**, unsigned, int)>("cuCtxCreate_v2")(&context, 0, 0), "cuCtxCreate");
    must(driver.get<int (*)(void**, const void*)>("cuModuleLoadData")(&module, ".entry kiboko_spin_ns"),
         "cuModuleLoadData");
    must(driver.get<int (*)(void**, void*, const char*)>("cuModuleGetFunction")(&function_, module, "kiboko_spin_ns"),
         "cuModuleGetFunction");
    must(driver.get<int (*)(void**, unsigned)>("cuStreamCreate")(&stream, 1), "cuStreamCreate");
    launch_ = driver.get<Launch>("cuLaunchKernel");
    synchronize_ = driver.get<int (*)(void*)>("cuStreamSynchronize");
  }
  void kernel() {
    void* parameters[] = {&kernel_ns_};
    must(launch_(function_, 64, 1, 1, 128, 1, 1, 0, stream, parameters, nullptr), "cuLaunchKernel");
  }
  void synchronize() { must(synchronize_(stream), "cuStreamSynchronize"); }

  Driver driver;
  void* stream = nullptr;

 private:
  using Launch = int (*)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                         void**);
  std::uint64_t kernel_ns_;
  void* function_ = nullptr;
  Launch launch_ = nullptr;
  int (*synchronize_)(void*) = nullptr;
};

}  // namespace

int load(const std::string& mode, std::uint64_t kernel_ns) {
  Gpu gpu(kernel_ns);
  if (mode == "graph") {
    void *graph = nullptr, *exec = nullptr;
    must(gpu.driver.get<int (*)(void*, int)>("cuStreamBeginCapture_v2")(gpu.stream, 2), "cuStreamBeginCapture");
    for (int i = 0; i < kGraphKernels; ++i) gpu.kernel();
    must(gpu.driver.get<int (*)(void*, void**)>("cuStreamEndCapture")(gpu.stream, &graph), "cuStreamEndCapture");
    must(gpu.driver.get<int (*)(void**, void*, unsigned long long)>("cuGraphInstantiateWithFlags")(&exec, graph, 0),
         "cuGraphInstantiateWithFlags");
    const auto graph_launch = gpu.driver.get<int (*)(void*, void*)>("cuGraphLaunch");
    for (;;) must(graph_launch(exec, gpu.stream), "cuGraphLaunch");
  }
  const int every = mode == "sync" ? 1 : mode == "sync50" ? 50 : 0;
  for (int i = 1;; ++i) {
    gpu.kernel();
    if (every != 0 && i % every == 0) gpu.synchronize();
  }
}

int client(std::uint64_t kernel_ns, unsigned kernels, std::uint64_t period_ns, const std::string& file) {
  Gpu gpu(kernel_ns);
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  for (std::uint64_t next = sim::now_ns();; next = std::max(next + period_ns, sim::now_ns())) {
    const timespec at{static_cast<time_t>(next / 1'000'000'000), static_cast<long>(next % 1'000'000'000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
    Request request{sim::now_ns(), 0};
    for (unsigned i = 0; i < kernels; ++i) gpu.kernel();
    gpu.synchronize();
    request.took_ns = sim::now_ns() - request.began_ns;
    if (write(fd, &request, sizeof request) != sizeof request) return 1;
  }
}

Grant::Grant(const fs::path& root, int number, const Plan& plan, const sim::Device& device) : plan_(plan) {
  directory_ = root / fmt::format("g{}", number);
  fs::create_directories(directory_);
  const fs::path page = directory_ / "page";
  const int fd = open(page.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || ftruncate(fd, region::kGrantPageBytes) != 0) throw std::runtime_error("cannot make " + page.string());
  auto* mapped = static_cast<region::GrantPage*>(
      mmap(nullptr, region::kGrantPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  close(fd);
  page_ = {mapped, [](region::GrantPage* p) { munmap(p, region::kGrantPageBytes); }};
  region::GrantIdentity& identity = page_->identity;
  identity.owner_uid = getuid();
  identity.device_count = 1;
  snprintf(identity.grant_id, sizeof identity.grant_id, "g-bench%d", number);
  snprintf(identity.region_path, sizeof identity.region_path, "%s", region_path().c_str());
  snprintf(identity.devices[0].uuid, sizeof identity.devices[0].uuid, "%s", sim::uuid_text(device.uuid).c_str());
  identity.devices[0].physical_bytes = device.memory_total;
  region::GrantSettings settings{};
  settings.core_policy = static_cast<std::uint32_t>(plan.policy == "force"     ? region::CorePolicy::Force
                                                    : plan.policy == "disable" ? region::CorePolicy::Disable
                                                    : plan.policy == "elastic" ? region::CorePolicy::Elastic
                                                                               : region::CorePolicy::Default);
  settings.priority = plan.priority;
  settings.devices[0].core_percent = static_cast<std::uint32_t>(plan.percent);
  region::seal_new_page(*page_, settings);
  beat();
}

void Grant::resize(int percent) {
  region::GrantSettings settings{};
  if (!region::read_settings(*page_, &settings)) throw std::runtime_error("the grant page holds no settings");
  settings.devices[0].core_percent = static_cast<std::uint32_t>(percent);
  region::publish_settings(*page_, settings);
  region::wake_waiters(*page_);
  plan_.percent = percent;
}

void Grant::beat() { page_->live.heartbeat_ns.store(sim::now_ns()); }

host::PacedGrant Grant::paced(const sim::Device& device) const {
  return {.id = directory_.filename(),
          .page = page_,
          .region_path = region_path(),
          .region_owner = getuid(),
          .devices = {{sim::uuid_text(device.uuid), 0}}};
}

Place::Place() : name_(fmt::format("bench-{}", getpid())), root_(fs::temp_directory_path() / name_) {
  setenv("KIBOKO_SIM", name_.c_str(), 1);
  std::string error;
  shared_ = sim::attach(name_, "1xH100-80GB", error);
  if (shared_ == nullptr) throw std::runtime_error(error);
}

Place::~Place() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
  fs::remove(sim::path_of(name_), ignored);
}

const sim::Device& Place::device() const { return shared_->devices[0]; }

pid_t start(const Grant& grant, const std::vector<std::string>& arguments) {
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const fs::path build = fs::read_symlink("/proc/self/exe").parent_path().parent_path();
  setenv("LD_PRELOAD", (build / "lib/libkiboko.so").c_str(), 1);
  setenv("LD_LIBRARY_PATH", (build / "lib/sim").c_str(), 1);
  setenv("KIBOKO_GRANT", grant.page_path().c_str(), 1);
  std::vector<char*> words{const_cast<char*>("bench_compute")};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execv("/proc/self/exe", words.data());
  _exit(127);
}

pid_t start_load(const Grant& grant) {
  return start(
      grant, {"--load", grant.plan().mode, std::to_string(static_cast<std::uint64_t>(grant.plan().kernel_us * 1000))});
}

void stop(const std::vector<const Grant*>& grants) {
  for (const Grant* grant : grants)
    for (const pid_t pid : grant->pids) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
}

double share(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to) {
  std::uint64_t busy = 0;
  for (const sim::ProcessUse& process : sim::processes_of(shared, 0, true))
    if (std::find(grant.pids.begin(), grant.pids.end(), process.pid) != grant.pids.end())
      busy += sim::process_busy_ns(shared, process.channel, from, to);
  return 100.0 * static_cast<double>(busy) / static_cast<double>(to - from);
}

}  // namespace kiboko::bench
