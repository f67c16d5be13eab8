// The programs that the compute benchmarks start under their grants, and how they work.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace kiboko::bench {

// How a program hands in its work: kernels one by one or graphs of ten, and after how many launches it waits for all.
struct Mode {
  const char* name;
  bool graph;
  unsigned wait_every;  // launches; 0 = never
};
inline constexpr Mode kModes[] = {
    {"async", false, 0}, {"sync50", false, 50},      {"sync", false, 1},
    {"graph", true, 0},  {"graph-sync50", true, 50}, {"graph-sync", true, 1},
};
inline constexpr int kGraphKernels = 10;
const Mode& mode_called(const std::string& name);  // throws: there is none

// How long the launch calls of a grant's programs take. Kept in a file that they all map, which tells also what a
// program was in the middle of when it was killed. Any process may make or open it; each launching thread takes a slot
// of its own.
class LaunchTimes {
 public:
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> began_ns;  // of the call under way; 0 = none
    std::atomic<std::uint64_t> longest_ns;
  };
  static constexpr std::size_t kSlots = 63;

  explicit LaunchTimes(const std::filesystem::path& file);
  ~LaunchTimes();
  LaunchTimes(const LaunchTimes&) = delete;
  LaunchTimes& operator=(const LaunchTimes&) = delete;
  Slot& take();
  void forget();
  double longest_ms() const;  // of the calls that ended since forget(), or are under way

 private:
  struct File {
    alignas(64) std::atomic<std::size_t> taken;
    std::array<Slot, kSlots> slots;
  };
  File* file_;
};

// Launches for ever.
int load(const std::string& mode, std::uint64_t kernel_ns, const std::string& launch_times);

// Asks for `kernels` kernels at once, waits for them, and begins anew each period. Appends to the file: when a request
// began, and how long it took.
struct Request {
  std::uint64_t began_ns, took_ns;
};
int client(std::uint64_t kernel_ns, unsigned kernels, std::uint64_t period_ns, const std::string& file);

}  // namespace kiboko::bench
