#include "compute_load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <stdexcept>

#include "../sim/device.h"
#include "driver.h"

namespace kiboko::bench {
namespace {

void must(int result, const char* what) {
  if (result == 0) return;
  fmt::print(stderr, "{} failed: {}\n", what, result);
  _exit(1);
}

// A stream, and a kernel of so many nanoseconds.
class Gpu {
 public:
  explicit Gpu(std::uint64_t kernel_ns) : kernel_ns_(kernel_ns) {
    if (!driver_.open()) {
      const char* why = dlerror();
      fmt::print(stderr, "the driver cannot be used: {}\n", why != nullptr ? why : "it lacks a function");
      _exit(1);
    }
    void *context = nullptr, *module = nullptr;
    must(driver_.init(0), "cuInit");
    must(driver_.context_create(&context, 0, 0), "cuCtxCreate");
    must(driver_.module_load(&module, ".entry kiboko_spin_ns"), "cuModuleLoadData");
    must(driver_.module_function(&function_, module, "kiboko_spin_ns"), "cuModuleGetFunction");
    must(driver_.stream_create(&stream_, 1), "cuStreamCreate");
  }
  void kernel() {
    void* parameters[] = {&kernel_ns_};
    must(driver_.launch(function_, 64, 1, 1, 128, 1, 1, 0, stream_, parameters, nullptr), "cuLaunchKernel");
  }
  void synchronize() { must(driver_.stream_synchronize(stream_), "cuStreamSynchronize"); }
  void* graph(int kernels) {
    void *graph = nullptr, *exec = nullptr;
    must(driver_.begin_capture(stream_, 2), "cuStreamBeginCapture");
    for (int i = 0; i < kernels; ++i) kernel();
    must(driver_.end_capture(stream_, &graph), "cuStreamEndCapture");
    must(driver_.graph_instantiate(&exec, graph, 0), "cuGraphInstantiateWithFlags");
    return exec;
  }
  void launch(void* graph) { must(driver_.graph_launch(graph, stream_), "cuGraphLaunch"); }

 private:
  Driver driver_;
  std::uint64_t kernel_ns_;
  void* stream_ = nullptr;
  void* function_ = nullptr;
};

}  // namespace

const Mode& mode_called(const std::string& name) {
  for (const Mode& mode : kModes)
    if (name == mode.name) return mode;
  std::string known;
  for (const Mode& mode : kModes) known += std::string(known.empty() ? "" : ", ") + mode.name;
  throw std::runtime_error(fmt::format("'{}' is not a mode; there are {}", name, known));
}

LaunchTimes::LaunchTimes(const std::filesystem::path& file) {
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  void* mapped = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, sizeof(File)) == 0)
    mapped = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  if (mapped == MAP_FAILED) throw std::runtime_error("cannot make " + file.string());
  file_ = static_cast<File*>(mapped);  // zeroes are its first state
}

LaunchTimes::~LaunchTimes() { munmap(file_, sizeof(File)); }

LaunchTimes::Slot& LaunchTimes::take() {
  const std::size_t slot = file_->taken.fetch_add(1);
  if (slot >= kSlots) throw std::runtime_error(fmt::format("more than {} programs in one grant", kSlots));
  return file_->slots[slot];
}

void LaunchTimes::forget() {
  for (Slot& slot : file_->slots) slot.longest_ns.store(0, std::memory_order_relaxed);
}

double LaunchTimes::longest_ms() const {
  std::uint64_t longest = 0;
  for (const Slot& slot : file_->slots) {
    const std::uint64_t began = slot.began_ns.load(std::memory_order_relaxed), now = sim::now_ns();
    longest = std::max(longest, slot.longest_ns.load(std::memory_order_relaxed));
    if (began != 0 && began < now) longest = std::max(longest, now - began);
  }
  return static_cast<double>(longest) / 1e6;
}

int load(const std::string& name, std::uint64_t kernel_ns, const std::string& launch_times) {
  const Mode& mode = mode_called(name);
  LaunchTimes times(launch_times);
  LaunchTimes::Slot& slot = times.take();
  Gpu gpu(kernel_ns);
  void* graph = mode.graph ? gpu.graph(kGraphKernels) : nullptr;
  for (std::uint64_t launches = 1;; ++launches) {
    const std::uint64_t began = sim::now_ns();
    slot.began_ns.store(began, std::memory_order_relaxed);
    graph != nullptr ? gpu.launch(graph) : gpu.kernel();
    const std::uint64_t took = sim::now_ns() - began;
    slot.began_ns.store(0, std::memory_order_relaxed);
    if (took > slot.longest_ns.load(std::memory_order_relaxed)) slot.longest_ns.store(took, std::memory_order_relaxed);
    if (mode.wait_every != 0 && launches % mode.wait_every == 0) gpu.synchronize();
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

}  // namespace kiboko::bench
