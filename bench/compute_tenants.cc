#include "compute_tenants.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <stdexcept>

#include "region/layout.h"

namespace kiboko::bench {

std::uint64_t unit_ns(const Plan& plan) {
  const double kernels = mode_called(plan.mode).graph ? kGraphKernels : 1;
  return static_cast<std::uint64_t>(plan.kernel_us * 1000 * kernels);
}

namespace {

region::CorePolicy policy_called(const std::string& name) {
  if (name == "force") return region::CorePolicy::Force;
  if (name == "default") return region::CorePolicy::Default;
  if (name == "elastic") return region::CorePolicy::Elastic;
  if (name == "disable" || name == kNative) return region::CorePolicy::Disable;
  throw std::runtime_error(
      fmt::format("'{}' is not a policy; there are force, default, elastic, disable, {}", name, kNative));
}

}  // namespace

Grant::Grant(const fs::path& root, int number, const Plan& plan, const sim::Device& device) : plan_(plan) {
  directory_ = root / fmt::format("g{}", number);
  fs::create_directories(directory_);
  launches_ = std::make_unique<LaunchTimes>(launch_times_path());
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
  settings.core_policy = static_cast<std::uint32_t>(policy_called(plan.policy));
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
  if (grant.plan().policy != kNative) setenv("LD_PRELOAD", (build / "lib/libkiboko.so").c_str(), 1);
  setenv("LD_LIBRARY_PATH", (build / "lib/sim").c_str(), 1);
  setenv("KIBOKO_GRANT", grant.page_path().c_str(), 1);
  std::vector<char*> words{const_cast<char*>("bench_compute")};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execv("/proc/self/exe", words.data());
  _exit(127);
}

pid_t start_load(const Grant& grant) {
  const auto kernel_ns = static_cast<std::uint64_t>(grant.plan().kernel_us * 1000);
  return start(grant, {"--load", grant.plan().mode, std::to_string(kernel_ns), grant.launch_times_path()});
}

void stop(const std::vector<const Grant*>& grants) {
  for (const Grant* grant : grants)
    for (const pid_t pid : grant->pids) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
}

std::vector<int> channels(sim::Shared& shared, const Grant& grant) {
  std::vector<int> found;
  for (const sim::ProcessUse& process : sim::processes_of(shared, 0, true))
    if (std::find(grant.pids.begin(), grant.pids.end(), process.pid) != grant.pids.end())
      found.push_back(process.channel);
  return found;
}

double share(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to) {
  std::uint64_t busy = 0;
  for (const int channel : channels(shared, grant)) busy += sim::process_busy_ns(shared, channel, from, to);
  return 100.0 * static_cast<double>(busy) / static_cast<double>(to - from);
}

}  // namespace kiboko::bench
