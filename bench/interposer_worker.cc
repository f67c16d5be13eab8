// Batches are sized until one takes 2 ms, then the median of 15 counts: a preempted batch falls out.
#include "interposer_worker.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "driver.h"

namespace kiboko::bench {
namespace {

constexpr std::uint64_t kBatchNs = 2'000'000;
constexpr int kBatches = 15;
constexpr unsigned kPendingLaunches = 512;  // a stream takes 1,024 before a call waits

std::uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<std::uint64_t>(now.tv_nsec);
}

using Pointer = Driver::Pointer;

Driver driver;

int skip(const char* why) {
  std::printf("skip %s\n", why);
  return 0;
}

int print(double value) {
  std::printf("%.3f\n", value);
  return 0;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// `batch(n)` does n operations and returns the nanoseconds that count.
template <class Batch>
double per_operation(Batch batch) {
  if (const char* exactly = std::getenv("KIBOKO_BENCH_COUNT"); exactly != nullptr)
    return static_cast<double>(batch(std::strtoull(exactly, nullptr, 10)));
  std::uint64_t count = 64;
  while (count < (1U << 24) && batch(count) < kBatchNs) count *= 2;
  std::vector<double> results;
  for (int i = 0; i < kBatches; ++i) results.push_back(static_cast<double>(batch(count)) / static_cast<double>(count));
  return median(results);
}

template <class Operation>
double timed(Operation operation) {
  return per_operation([&](std::uint64_t count) {
    const std::uint64_t begin = now_ns();
    for (std::uint64_t i = 0; i < count; ++i) operation();
    return now_ns() - begin;
  });
}

int measure_launch() {
  void *module = nullptr, *function = nullptr;
  if (driver.module_load(&module, "") != 0 || driver.module_function(&function, module, "kiboko_spin_ns") != 0)
    return skip("no module");
  unsigned long long duration = 1;
  void* parameters[] = {&duration};
  const auto launch = [&] { return driver.launch(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr) == 0; };
  if (!launch() || driver.synchronize() != 0) return skip("launch refused");
  // The device works off what was launched outside the measured time, so that a full queue is not counted.
  return print(per_operation([&](std::uint64_t count) {
    std::uint64_t taken = 0;
    while (count != 0) {
      const std::uint64_t part = std::min<std::uint64_t>(count, kPendingLaunches);
      const std::uint64_t begin = now_ns();
      for (std::uint64_t i = 0; i < part; ++i) launch();
      taken += now_ns() - begin;
      driver.synchronize();
      count -= part;
    }
    return taken;
  }));
}

void wait_for_the_others() {
  char byte;
  while (::read(0, &byte, 1) > 0) {
  }
}

int measure_alloc(std::size_t live) {
  std::vector<Pointer> pointers(live);
  for (Pointer& pointer : pointers)
    if (driver.allocate(&pointer, 4096) != 0) return skip("the device is full");
  bool failed = false;
  const double ns = timed([&] {
    Pointer pointer = 0;
    failed = failed || driver.allocate(&pointer, 4096) != 0 || driver.release(pointer) != 0;
  });
  return failed ? skip("allocation refused") : print(ns);
}

// Released by the end of standard input, like `start`: allocates and frees for a second. Prints the 99th percentile of
// one pair's time; a pair that lost its CPU in between counts as long as it took.
int measure_contention() {
  constexpr std::uint64_t kSecond = 1'000'000'000, kStepNs = 10;
  std::vector<std::uint64_t> counts(100'000);  // steps of 10 ns; the last holds everything longer
  Pointer pointer = 0;
  wait_for_the_others();
  std::uint64_t pairs = 0;
  for (std::uint64_t end = now_ns() + kSecond, begin = now_ns(); begin < end; ++pairs) {
    if (driver.allocate(&pointer, 4096) != 0 || driver.release(pointer) != 0) return skip("allocation refused");
    const std::uint64_t now = now_ns();
    counts[std::min<std::uint64_t>((now - begin) / kStepNs, counts.size() - 1)] += 1;
    begin = now;
  }
  std::uint64_t seen = 0, at = 0;
  while (at + 1 < counts.size() && (seen += counts[at]) * 100 < pairs * 99) ++at;
  return print(static_cast<double>(at * kStepNs));
}

int measure_info() {
  return print(timed([] {
    std::size_t free = 0, total = 0;
    driver.memory_info(&free, &total);
  }));
}

int measure_lookup(const std::string& name) {
  return print(timed([&] {
    void* function = nullptr;
    int status = 0;
    driver.get_proc(name.c_str(), &function, 12000, 0, &status);
  }));
}

int measure_dlsym(const std::string& name) {
  return print(timed([&] { dlsym(driver.library, name.c_str()); }));
}

// Nanoseconds that this thread was ready to run and had no CPU: the machine's doing, not the library's.
std::uint64_t waited_for_cpu() {
  const int fd = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[128] = "";
  const auto got = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  unsigned long long on_cpu = 0, waited = 0;
  return got > 0 && std::sscanf(text, "%llu %llu", &on_cpu, &waited) == 2 ? waited : 0;
}

int measure_init() {
  const std::uint64_t waited = waited_for_cpu(), begin = now_ns();
  if (driver.init(0) != 0) return skip("cuInit refused");
  const std::uint64_t wall = now_ns() - begin, less = waited_for_cpu() - waited;
  return print(static_cast<double>(wall > less ? wall - less : 0));
}

int print_uuid() {
  unsigned char bytes[16];
  if (driver.init(0) != 0 || driver.device_uuid(bytes, 0) != 0) return skip("no device");
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%02x", bytes[i]);
    text += std::string(i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "") + hex;
  }
  std::printf("%s\n", text.c_str());
  return 0;
}

}  // namespace

int run_worker(const std::string& subject, const std::string& argument) {
  if (!driver.open()) return skip("no driver");
  if (subject == "uuid") return print_uuid();
  if (subject == "init") return measure_init();
  if (subject == "start") {
    wait_for_the_others();
    return measure_init();
  }
  if (subject == "dlsym") return measure_dlsym(argument);
  void* context = nullptr;
  if (driver.init(0) != 0 || driver.context_create(&context, 0, 0) != 0) return skip("CUDA does not start");
  if (subject == "launch") return measure_launch();
  if (subject == "alloc") return measure_alloc(std::strtoull(argument.c_str(), nullptr, 10));
  if (subject == "contend") return measure_contention();
  if (subject == "info") return measure_info();
  if (subject == "lookup") return measure_lookup(argument);
  std::fprintf(stderr, "unknown subject '%s'\n", subject.c_str());
  return 2;
}

}  // namespace kiboko::bench
