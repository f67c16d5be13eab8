// Shares are judged by the simulated device's busy log and its own count of memory, never by what the programs or the
// library say of themselves. On a real device there is no such log: the agent's figures (NVML's) are used and named so.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "../sim/device.h"
#include "base/text.h"
#include "showcase.h"

namespace kiboko::showcase {
namespace {

using Json = nlohmann::json;
constexpr double kMeanError = 2.0;    // points
constexpr double kSecondError = 5.0;  // points, or one unit in a second if that is more

struct Track {
  std::string grant;
  std::vector<pid_t> pids;
  std::uint64_t memory_peak = 0;
  std::vector<double> agent_percent;
};

const GrantSeen* find(const std::vector<GrantSeen>& seen, const Sample& sample) {
  for (const GrantSeen& grant : seen)
    if (grant.program.find(sample.program) != std::string::npos) return &grant;
  return nullptr;
}

void note_pids(Track& track, const GrantSeen& grant) {
  for (const pid_t pid : grant.pids)
    if (std::find(track.pids.begin(), track.pids.end(), pid) == track.pids.end()) track.pids.push_back(pid);
}

std::uint64_t memory_now(sim::Shared& shared, const Track& track) {
  std::uint64_t sum = 0;
  for (unsigned device = 0; device < shared.device_count; ++device)
    for (const sim::ProcessUse& process : sim::processes_of(shared, static_cast<int>(device)))
      if (std::find(track.pids.begin(), track.pids.end(), process.pid) != track.pids.end()) sum += process.memory_used;
  return sum;
}

double share(sim::Shared& shared, const Track& track, std::uint64_t from, std::uint64_t to) {
  std::uint64_t busy = 0;
  for (unsigned device = 0; device < shared.device_count; ++device)
    for (const sim::ProcessUse& process : sim::processes_of(shared, static_cast<int>(device), true))
      if (std::find(track.pids.begin(), track.pids.end(), process.pid) != track.pids.end())
        busy += sim::process_busy_ns(shared, process.channel, from, to);
  return 100.0 * static_cast<double>(busy) / static_cast<double>(to - from);
}

double worst_second(sim::Shared& shared, const Track& track, double asked, std::uint64_t from, std::uint64_t to) {
  double worst = 0;
  constexpr std::uint64_t kSecond = 1'000'000'000;
  for (std::uint64_t at = from; at + kSecond <= to; at += kSecond / 10)
    worst = std::max(worst, std::abs(share(shared, track, at, at + kSecond) - asked));
  return worst;
}

std::string fault_of(const Sample& sample, const Judged& judged) {
  if (judged.grant.empty()) return "it never appeared among the agent's grants";
  if (judged.memory_peak_bytes == 0) return "the device never saw memory of it";
  if (judged.memory_peak_bytes > sample.memory_bytes)
    return fmt::format("held {} of memory, {} asked", format_bytes(judged.memory_peak_bytes),
                       format_bytes(sample.memory_bytes));
  const double error = judged.compute_percent - sample.core_percent;
  if (std::abs(error) > kMeanError) return fmt::format("compute share off by {:+.1f} points", error);
  const double one_unit = static_cast<double>(sample.unit_ns) / 1e7;  // in percent of a second
  if (judged.worst_second_points > std::max(kSecondError, one_unit))
    return fmt::format("compute share off by {:.1f} points over one second", judged.worst_second_points);
  return "";
}

}  // namespace

Result<std::vector<GrantSeen>> grants(const net::Endpoint& agent) {
  const net::HttpResponse response = TRY(net::request(agent, "GET", "/api/v1/grants"));
  if (!response.ok()) return fail(Errc::Internal, "the agent answered {} to a listing of grants", response.status);
  const Json body = Json::parse(response.body, nullptr, false);
  const Json list = body.is_object() && body.contains("grants") ? body["grants"] : body;
  std::vector<GrantSeen> result;
  if (!list.is_array()) return fail(Errc::Internal, "the agent's listing of grants is not a list");
  for (const Json& one : list) {
    GrantSeen seen;
    seen.id = one.value("id", "");
    for (const Json& word : one.value("command", Json::array())) seen.program += word.get<std::string>() + " ";
    for (const Json& device : one.value("devices", Json::array())) {
      if (device.contains("used_bytes") && device["used_bytes"].is_number())
        seen.used_bytes += device["used_bytes"].get<std::uint64_t>();
      if (device.contains("compute_percent") && device["compute_percent"].is_number())
        seen.compute_percent = seen.compute_percent.value_or(0) + device["compute_percent"].get<double>();
    }
    for (const Json& process : one.value("processes", Json::array())) seen.pids.push_back(process.value("pid", 0));
    result.push_back(std::move(seen));
  }
  return result;
}

Result<std::vector<Judged>> watch_and_judge(const net::Endpoint& agent, const std::vector<Running>& running,
                                            const std::string& simulation, double seconds) {
  sim::Shared* shared = nullptr;
  if (!simulation.empty()) {
    std::string error;
    shared = sim::attach(simulation, "", error);
    if (shared == nullptr) return fail(Errc::Unavailable, "simulated device '{}': {}", simulation, error);
  }
  std::vector<Track> tracks(running.size());
  const std::uint64_t from = sim::now_ns();
  const std::uint64_t to = from + static_cast<std::uint64_t>(seconds * 1e9);
  while (sim::now_ns() < to) {
    const std::vector<GrantSeen> seen = TRY(grants(agent));
    for (std::size_t i = 0; i < running.size(); ++i) {
      const GrantSeen* grant = find(seen, *running[i].sample);
      if (grant == nullptr) continue;
      tracks[i].grant = grant->id;
      note_pids(tracks[i], *grant);
      if (grant->compute_percent) tracks[i].agent_percent.push_back(*grant->compute_percent);
      tracks[i].memory_peak =
          std::max(tracks[i].memory_peak, shared != nullptr ? memory_now(*shared, tracks[i]) : grant->used_bytes);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  std::vector<Judged> judged;
  for (std::size_t i = 0; i < running.size(); ++i) {
    const Track& track = tracks[i];
    Judged one;
    one.sample = running[i].sample;
    one.grant = track.grant;
    one.memory_peak_bytes = track.memory_peak;
    if (shared != nullptr) {
      one.compute_percent = share(*shared, track, from, to);
      one.worst_second_points = worst_second(*shared, track, one.sample->core_percent, from, to);
    } else {
      double sum = 0;
      for (const double percent : track.agent_percent) {
        sum += percent;
        one.worst_second_points = std::max(one.worst_second_points, std::abs(percent - one.sample->core_percent));
      }
      one.compute_percent = track.agent_percent.empty() ? 0 : sum / static_cast<double>(track.agent_percent.size());
    }
    one.fault = fault_of(*one.sample, one);
    judged.push_back(std::move(one));
  }
  return judged;
}

std::string as_table(const std::vector<Judged>& judged) {
  std::string text = fmt::format("{:<12} {:>12} {:>12} {:>8} {:>9} {:>12}  {}\n", "PROGRAM", "MEMORY ASKED",
                                 "MEMORY HELD", "CORES", "COMPUTE", "WORST SECOND", "VERDICT");
  for (const Judged& one : judged)
    text += fmt::format("{:<12} {:>12} {:>12} {:>6} % {:>7.1f} % {:>10.1f} pt  {}\n", one.sample->name,
                        format_bytes(one.sample->memory_bytes), format_bytes(one.memory_peak_bytes),
                        one.sample->core_percent, one.compute_percent, one.worst_second_points,
                        one.fault.empty() ? "held" : "FAILED: " + one.fault);
  return text;
}

std::string as_json(const std::vector<Judged>& judged, const std::string& device_log) {
  Json samples = Json::array();
  bool held = true;
  for (const Judged& one : judged) {
    held = held && one.fault.empty();
    samples.push_back(
        {{"program", one.sample->name},
         {"grant", one.grant},
         {"asked", {{"memory_bytes", one.sample->memory_bytes}, {"core_percent", one.sample->core_percent}}},
         {"memory_peak_bytes", one.memory_peak_bytes},
         {"compute_percent", std::round(one.compute_percent * 100) / 100},
         {"error_points", std::round((one.compute_percent - one.sample->core_percent) * 100) / 100},
         {"worst_second_points", std::round(one.worst_second_points * 100) / 100},
         {"held", one.fault.empty()},
         {"fault", one.fault}});
  }
  return Json{{"held", held}, {"measured_by", device_log}, {"samples", samples}}.dump(2) + "\n";
}

}  // namespace kiboko::showcase
