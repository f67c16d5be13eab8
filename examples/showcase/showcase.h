// The first look: an agent of its own, four sample programs that share one device, and a verdict on how well they were
// held. Single-threaded; everything it starts dies with it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/client.h"

namespace kiboko::showcase {

struct Sample {
  const char* name;
  const char* program;  // in examples/
  std::uint64_t memory_bytes;
  unsigned core_percent;
  std::uint64_t unit_ns;  // its longest kernel or graph launch: what one second's error may also be off by
  std::vector<std::string> arguments;
};
const std::vector<Sample>& samples();

enum class Sabotage { None, ShimOff, MemoryOff, ShareOff };

struct Options {
  bool check = false;
  bool json = false;
  double seconds = 20;  // measured, after everything has settled
  std::optional<std::string> simulate;
  Sabotage sabotage = Sabotage::None;
};

// A child that is ended with us.
class Child {
 public:
  Child() = default;
  Child(const std::vector<std::string>& command, const std::vector<std::pair<std::string, std::string>>& environment,
        const std::filesystem::path& output);
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();
  pid_t pid() const { return pid_; }
  std::optional<int> wait_status();  // as waitpid gives it, once it has ended
  void stop();                       // TERM, then KILL after three seconds

 private:
  pid_t pid_ = -1;
};

struct Running {
  const Sample* sample;
  Child child;  // `kiboko run …`
  std::filesystem::path output;
};

// What the device itself saw of one sample, and whether that was within its grant.
struct Judged {
  const Sample* sample;
  std::string grant;
  std::uint64_t memory_peak_bytes = 0;
  double compute_percent = 0;
  double worst_second_points = 0;  // largest error over any second of the measured time
  std::string fault;               // empty when it held
};

// One grant as the agent reports it now.
struct GrantSeen {
  std::string id;
  std::string program;
  std::uint64_t used_bytes = 0;
  std::optional<double> compute_percent;
  std::vector<pid_t> pids;
};
Result<std::vector<GrantSeen>> grants(const net::Endpoint& agent);

// Watches for options.seconds and judges each sample. `simulation` names the simulated set, empty on a real device.
Result<std::vector<Judged>> watch_and_judge(const net::Endpoint& agent, const std::vector<Running>& running,
                                            const std::string& simulation, double seconds);
std::string as_table(const std::vector<Judged>& judged);
std::string as_json(const std::vector<Judged>& judged, const std::string& device_log);

}  // namespace kiboko::showcase
