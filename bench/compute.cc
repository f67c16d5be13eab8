// How well compute shares are kept, on the simulated driver: judged by the device's own busy log.
//
//   bench_compute --grants 30:force,60:force --kernel-us 1300 --mode async --procs 1 --seconds 10
//   bench_compute --grants 30:force --resize 60         changes the first grant's ask half-way
//   bench_compute --sweep        {10,30,50,80} x {20 µs, 130 µs, 1.3 ms, 13 ms} x {async, sync, graph} x {1, 4
//   processes}
//
// A grant is PERCENT[:POLICY[:KERNEL_US[:MODE[:DELAY_S]]]]; what is left out comes from the general options. DELAY_S
// starts that grant's programs later than the others. Prints, per grant, the mean over the whole time, the standard
// deviation of 100 ms windows and the worst error over any second, in points of the device; with a DELAY_S also how
// long the earlier ones took to give way: until their share over 100 ms was within 10 points of their later mean; after
// a --resize, how long until it was within 5 points of the new ask. Several grants: their total, and Jain's index of
// what each got of its ask. No agent runs: the grant pages and the pacer are made here.
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "../sim/device.h"
#include "host/pacer.h"
#include "region/layout.h"

namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;
namespace region = kiboko::region;

std::uint64_t now_ns() { return sim::now_ns(); }

// ---- the load ------------------------------------------------------------------------------------------------------

using Pointer = unsigned long long;
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

int load(const std::string& mode, std::uint64_t kernel_ns) {
  const Driver driver;
  if (driver.library == nullptr) {
    fmt::print(stderr, "{}\n", dlerror());
    return 1;
  }
  must(driver.get<int (*)(unsigned)>("cuInit")(0), "cuInit");
  void *context = nullptr, *module = nullptr, *function = nullptr, *stream = nullptr;
  must(driver.get<int (*)(void**, unsigned, int)>("cuCtxCreate_v2")(&context, 0, 0), "cuCtxCreate");
  must(driver.get<int (*)(void**, const void*)>("cuModuleLoadData")(&module, ".entry kiboko_spin_ns"),
       "cuModuleLoadData");
  must(driver.get<int (*)(void**, void*, const char*)>("cuModuleGetFunction")(&function, module, "kiboko_spin_ns"),
       "cuModuleGetFunction");
  must(driver.get<int (*)(void**, unsigned)>("cuStreamCreate")(&stream, 1), "cuStreamCreate");
  using Launch =
      int (*)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
  const auto launch = driver.get<Launch>("cuLaunchKernel");
  const auto synchronize = driver.get<int (*)(void*)>("cuStreamSynchronize");
  void* parameters[] = {&kernel_ns};
  const auto kernel = [&] {
    must(launch(function, 64, 1, 1, 128, 1, 1, 0, stream, parameters, nullptr), "cuLaunchKernel");
  };
  if (mode == "graph") {
    void *graph = nullptr, *exec = nullptr;
    must(driver.get<int (*)(void*, int)>("cuStreamBeginCapture_v2")(stream, 2), "cuStreamBeginCapture");
    for (int i = 0; i < kGraphKernels; ++i) kernel();
    must(driver.get<int (*)(void*, void**)>("cuStreamEndCapture")(stream, &graph), "cuStreamEndCapture");
    must(driver.get<int (*)(void**, void*, unsigned long long)>("cuGraphInstantiateWithFlags")(&exec, graph, 0),
         "cuGraphInstantiateWithFlags");
    const auto graph_launch = driver.get<int (*)(void*, void*)>("cuGraphLaunch");
    for (;;) must(graph_launch(exec, stream), "cuGraphLaunch");
  }
  const int every = mode == "sync" ? 1 : mode == "sync50" ? 50 : 0;
  for (int i = 1;; ++i) {
    kernel();
    if (every != 0 && i % every == 0) must(synchronize(stream), "cuStreamSynchronize");
  }
}

// ---- grants --------------------------------------------------------------------------------------------------------

struct Plan {
  int percent = 100;
  std::string policy = "force";
  double kernel_us = 130;
  std::string mode = "async";
  double delay_s = 0;
};

struct Options {
  std::vector<Plan> grants;
  int procs = 1;
  double seconds = 10, settle = 1;
  int resize = 0;  // percent, 0 = none
  bool json = false;
};

class Grant {
 public:
  Grant(const fs::path& root, int number, const Plan& plan, const sim::Device& device) : plan_(plan) {
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
    settings.priority = 1;
    settings.devices[0].core_percent = static_cast<std::uint32_t>(plan.percent);
    region::seal_new_page(*page_, settings);
    beat();
  }
  void resize(int percent) {
    region::GrantSettings settings{};
    if (!region::read_settings(*page_, &settings)) throw std::runtime_error("the grant page holds no settings");
    settings.devices[0].core_percent = static_cast<std::uint32_t>(percent);
    region::publish_settings(*page_, settings);
    region::wake_waiters(*page_);
    plan_.percent = percent;
  }
  void beat() { page_->live.heartbeat_ns.store(now_ns()); }
  std::string region_path() const { return (directory_ / "region.cache").string(); }
  std::string page_path() const { return (directory_ / "page").string(); }
  const Plan& plan() const { return plan_; }
  kiboko::host::PacedGrant paced(const sim::Device& device) const {
    return {.id = directory_.filename(),
            .page = page_,
            .region_path = region_path(),
            .region_owner = getuid(),
            .devices = {{sim::uuid_text(device.uuid), 0}}};
  }
  std::vector<pid_t> pids;

 private:
  Plan plan_;
  fs::path directory_;
  std::shared_ptr<region::GrantPage> page_;
};

pid_t start(const Grant& grant, const fs::path& build) {
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setenv("LD_PRELOAD", (build / "lib/libkiboko.so").c_str(), 1);
  setenv("LD_LIBRARY_PATH", (build / "lib/sim").c_str(), 1);
  setenv("KIBOKO_GRANT", grant.page_path().c_str(), 1);
  const std::string ns = std::to_string(static_cast<std::uint64_t>(grant.plan().kernel_us * 1000));
  execl("/proc/self/exe", "bench_compute", "--load", grant.plan().mode.c_str(), ns.c_str(), nullptr);
  _exit(127);
}

// ---- judging -------------------------------------------------------------------------------------------------------

struct Verdict {
  double mean, sd_100ms, worst_1s;
  double gave_way_ms;  // negative: nobody came later
  double settled_ms;   // negative: it was not resized
};

double share(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to) {
  std::uint64_t busy = 0;
  for (const sim::ProcessUse& process : sim::processes_of(shared, 0, true))
    if (std::find(grant.pids.begin(), grant.pids.end(), process.pid) != grant.pids.end())
      busy += sim::process_busy_ns(shared, process.channel, from, to);
  return 100.0 * static_cast<double>(busy) / static_cast<double>(to - from);
}

Verdict judge(sim::Shared& shared, const Grant& grant, double target, std::uint64_t from, std::uint64_t to) {
  Verdict verdict{share(shared, grant, from, to), 0, 0, -1, -1};
  double sum = 0;
  int windows = 0;
  for (std::uint64_t at = from; at + 100'000'000 <= to; at += 100'000'000, ++windows)
    sum += std::pow(share(shared, grant, at, at + 100'000'000) - verdict.mean, 2);
  verdict.sd_100ms = windows > 1 ? std::sqrt(sum / (windows - 1)) : 0;
  for (std::uint64_t at = from; at + 1'000'000'000 <= to; at += 50'000'000)
    verdict.worst_1s = std::max(verdict.worst_1s, std::abs(share(shared, grant, at, at + 1'000'000'000) - target));
  return verdict;
}

constexpr std::uint64_t kMillisecond = 1'000'000;

// From the first work of `late` on.
double gave_way_ms(sim::Shared& shared, const Grant& early, const Grant& late, std::uint64_t begin, double mean) {
  std::uint64_t arrival = begin;
  while (share(shared, late, arrival, arrival + kMillisecond) == 0 && arrival < now_ns()) arrival += kMillisecond;
  std::uint64_t at = arrival;
  while (share(shared, early, at, at + 100 * kMillisecond) > mean + 10 && at < now_ns()) at += kMillisecond;
  return static_cast<double>(at - arrival) / 1e6;
}

double settled_ms(sim::Shared& shared, const Grant& grant, std::uint64_t changed) {
  std::uint64_t at = changed;
  while (std::abs(share(shared, grant, at, at + 100 * kMillisecond) - grant.plan().percent) > 5 && at < now_ns())
    at += kMillisecond;
  return static_cast<double>(at - changed) / 1e6;
}

// Runs the grants side by side and returns a verdict each.
std::vector<Verdict> run(const Options& options, const fs::path& build) {
  const std::string name = fmt::format("bench-{}", getpid());
  setenv("KIBOKO_SIM", name.c_str(), 1);
  std::string error;
  sim::Shared* shared = sim::attach(name, "1xH100-80GB", error);
  if (shared == nullptr) throw std::runtime_error(error);
  const fs::path root = fs::temp_directory_path() / name;
  std::vector<std::unique_ptr<Grant>> grants;
  kiboko::host::Pacer pacer;
  std::vector<kiboko::host::PacedGrant> paced;
  for (std::size_t i = 0; i < options.grants.size(); ++i) {
    grants.push_back(std::make_unique<Grant>(root, static_cast<int>(i), options.grants[i], shared->devices[0]));
    paced.push_back(grants.back()->paced(shared->devices[0]));
  }
  pacer.grants_changed(paced);
  const std::uint64_t begin = now_ns();
  double last_delay = 0;
  std::vector<Grant*> waiting;
  for (const auto& grant : grants) {
    waiting.push_back(grant.get());
    last_delay = std::max(last_delay, grant->plan().delay_s);
  }
  const auto total = static_cast<std::uint64_t>((last_delay + options.settle + options.seconds) * 1e9);
  std::uint64_t resized = 0;
  while (now_ns() < begin + total) {
    if (options.resize != 0 && resized == 0 && now_ns() > begin + total / 2) {
      resized = now_ns();
      grants[0]->resize(options.resize);
    }
    for (Grant*& grant : waiting) {
      if (grant == nullptr || now_ns() < begin + static_cast<std::uint64_t>(grant->plan().delay_s * 1e9)) continue;
      for (int i = 0; i < options.procs; ++i) grant->pids.push_back(start(*grant, build));
      grant = nullptr;
    }
    for (const auto& grant : grants) grant->beat();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::uint64_t to = now_ns();
  const std::uint64_t from = std::max(to - static_cast<std::uint64_t>(options.seconds * 1e9),
                                      resized == 0 ? 0 : resized + static_cast<std::uint64_t>(options.settle * 1e9));
  std::vector<Verdict> verdicts;
  for (const auto& grant : grants) {
    Verdict verdict = judge(*shared, *grant, grant->plan().percent, from, to);
    for (const auto& late : grants)
      if (late->plan().delay_s > grant->plan().delay_s)
        verdict.gave_way_ms = gave_way_ms(*shared, *grant, *late,
                                          begin + static_cast<std::uint64_t>(late->plan().delay_s * 1e9), verdict.mean);
    if (resized != 0 && grant == grants.front()) verdict.settled_ms = settled_ms(*shared, *grant, resized);
    verdicts.push_back(verdict);
  }
  for (const auto& grant : grants)
    for (const pid_t pid : grant->pids) kill(pid, SIGKILL);
  while (wait(nullptr) > 0) {
  }
  fs::remove_all(root);
  fs::remove(sim::path_of(name));
  return verdicts;
}

// ---- command line --------------------------------------------------------------------------------------------------

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<Plan> parse_grants(const std::string& text, const Plan& defaults) {
  std::vector<Plan> plans;
  for (const std::string& one : split(text, ',')) {
    const std::vector<std::string> fields = split(one, ':');
    Plan plan = defaults;
    plan.percent = std::stoi(fields.at(0));
    if (fields.size() > 1) plan.policy = fields[1];
    if (fields.size() > 2) plan.kernel_us = std::stod(fields[2]);
    if (fields.size() > 3) plan.mode = fields[3];
    if (fields.size() > 4) plan.delay_s = std::stod(fields[4]);
    plans.push_back(plan);
  }
  return plans;
}

// 1 when each got the same part of its ask.
double jain_index(const Options& options, const std::vector<Verdict>& verdicts) {
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const double part = verdicts[i].mean / options.grants[i].percent;
    sum += part;
    squares += part * part;
  }
  return squares == 0 ? 0 : sum * sum / (static_cast<double>(verdicts.size()) * squares);
}

void print_json(const Options& options, const Plan& plan, const Verdict& v) {
  const nlohmann::ordered_json row = {{"percent", plan.percent},      {"policy", plan.policy},
                                      {"kernel_us", plan.kernel_us},  {"mode", plan.mode},
                                      {"processes", options.procs},   {"mean", v.mean},
                                      {"sd_100ms", v.sd_100ms},       {"worst_1s", v.worst_1s},
                                      {"gave_way_ms", v.gave_way_ms}, {"settled_ms", v.settled_ms}};
  fmt::print("{}\n", row.dump());
}

void print(const Options& options, const std::vector<Verdict>& verdicts) {
  double total = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    Plan plan = options.grants[i];
    if (i == 0 && options.resize != 0) plan.percent = options.resize;
    const Verdict& v = verdicts[i];
    total += v.mean;
    if (options.json)
      print_json(options, plan, v);
    else
      fmt::print(
          "{:>4} % {:<8} {:>8} us {:<7} x{:<2} mean {:6.2f}  error {:+6.2f}  sd(100 ms) {:5.2f}  worst 1 s "
          "{:5.2f}{}{}\n",
          plan.percent, plan.policy, plan.kernel_us, plan.mode, options.procs, v.mean, v.mean - plan.percent,
          v.sd_100ms, v.worst_1s, v.gave_way_ms < 0 ? "" : fmt::format("  gave way in {:.0f} ms", v.gave_way_ms),
          v.settled_ms < 0 ? "" : fmt::format("  settled in {:.0f} ms", v.settled_ms));
  }
  if (verdicts.size() > 1 && !options.json)
    fmt::print("       together {:.2f} %, Jain's index {:.4f}\n", total, jain_index(options, verdicts));
  std::fflush(stdout);
}

void sweep(Options options, const fs::path& build) {
  for (const int procs : {1, 4})
    for (const char* mode : {"async", "sync", "graph"})
      for (const double kernel_us : {20.0, 130.0, 1300.0, 13000.0}) {
        options.procs = procs;
        // What the same program reaches without a limit, in the same run: the target is the smaller of the two.
        options.grants = {Plan{100, "disable", kernel_us, mode, 0}};
        Options reach = options;
        reach.seconds = 2;
        print(reach, run(reach, build));
        for (const int percent : {10, 30, 50, 80}) {
          options.grants = {Plan{percent, "force", kernel_us, mode, 0}};
          print(options, run(options, build));
        }
      }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 3 && arguments[0] == "--load") return load(arguments[1], std::stoull(arguments[2]));
  const fs::path build = fs::read_symlink("/proc/self/exe").parent_path().parent_path();
  Options options;
  Plan defaults;
  std::string grants = "30";
  bool all = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto value = [&] { return arguments.at(++i); };
    if (arguments[i] == "--grants")
      grants = value();
    else if (arguments[i] == "--kernel-us")
      defaults.kernel_us = std::stod(value());
    else if (arguments[i] == "--mode")
      defaults.mode = value();
    else if (arguments[i] == "--procs")
      options.procs = std::stoi(value());
    else if (arguments[i] == "--seconds")
      options.seconds = std::stod(value());
    else if (arguments[i] == "--settle")
      options.settle = std::stod(value());
    else if (arguments[i] == "--resize")
      options.resize = std::stoi(value());
    else if (arguments[i] == "--json")
      options.json = true;
    else if (arguments[i] == "--sweep")
      all = true;
    else {
      fmt::print(stderr, "bench_compute: '{}' is not an option; the head of bench/compute.cc lists them\n",
                 arguments[i]);
      return 2;
    }
  }
  try {
    options.grants = parse_grants(grants, defaults);
    all ? sweep(options, build) : print(options, run(options, build));
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_compute: {}\n", error.what());
    return 1;
  }
}
