#include "compute_priority.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "compute_tenants.h"

namespace kiboko::bench {
namespace {

constexpr double kLoad = 0.2;
constexpr double kKernelMs = 0.1;    // of the client
constexpr double kLeastSeconds = 4;  // of either part
constexpr double kSettleSeconds = 1;

struct Latency {
  double p50, p99;  // ms
  std::size_t requests;
};

struct Outcome {
  Latency alone, beside;
  double client_percent, neighbour_percent;  // of the device, side by side
};

Latency latency(const std::vector<Request>& requests, std::uint64_t from, std::uint64_t to) {
  std::vector<double> took;
  for (const Request& request : requests)
    if (request.began_ns >= from && request.began_ns + request.took_ns <= to)
      took.push_back(static_cast<double>(request.took_ns) / 1e6);
  std::sort(took.begin(), took.end());
  if (took.empty()) return {0, 0, 0};
  const auto at = [&](double part) {
    const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(took.size())));
    return took[std::clamp<std::size_t>(rank, 1, took.size()) - 1];
  };
  return {at(0.5), at(0.99), took.size()};
}

std::vector<Request> read_requests(const fs::path& file) {
  std::vector<Request> requests;
  std::ifstream in(file, std::ios::binary);
  for (Request request{}; in.read(reinterpret_cast<char*>(&request), sizeof request);) requests.push_back(request);
  return requests;
}

Outcome measure(double request_ms, double neighbour_us, const PriorityOptions& options) {
  const Place place;
  Grant high(place.root(), 0, {.percent = 0, .policy = "default", .priority = 0}, place.device());
  Grant low(place.root(), 1,
            {.percent = 0, .policy = "default", .kernel_us = neighbour_us, .priority = options.equal ? 0U : 1U},
            place.device());
  const std::vector<const Grant*> both = {&high, &low};
  host::Pacer pacer;
  pacer.grants_changed({high.paced(place.device()), low.paced(place.device())});
  const auto run_for = [&](double seconds) {
    const std::uint64_t from = sim::now_ns(), to = from + static_cast<std::uint64_t>(seconds * 1e9);
    while (sim::now_ns() < to) {
      high.beat();
      low.beat();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return from;
  };
  const double kernel_ms = std::min(kKernelMs, request_ms), period_ms = request_ms / kLoad;
  const double seconds = std::max(kLeastSeconds, options.requests * period_ms / 1000);
  const fs::path file = place.root() / "requests";
  const auto whole = [](double value) { return std::to_string(static_cast<std::uint64_t>(std::llround(value))); };
  high.beat();
  low.beat();
  high.pids = {start(high, {"--client", whole(kernel_ms * 1e6), whole(request_ms / kernel_ms), whole(period_ms * 1e6),
                            file.string()})};
  run_for(kSettleSeconds);
  const std::uint64_t alone = run_for(seconds), alone_until = sim::now_ns();
  low.pids = {start_load(low)};
  run_for(kSettleSeconds);
  const std::uint64_t beside = run_for(seconds), beside_until = sim::now_ns();
  const std::vector<Request> requests = read_requests(file);
  const Outcome outcome{latency(requests, alone, alone_until), latency(requests, beside, beside_until),
                        share(place.shared(), high, beside, beside_until),
                        share(place.shared(), low, beside, beside_until)};
  stop(both);
  return outcome;
}

void print(double request_ms, double neighbour_us, const PriorityOptions& options, const Outcome& o) {
  const double of_idle = 100 * o.neighbour_percent / (100 - o.client_percent);
  if (options.json) {
    const nlohmann::ordered_json row = {{"request_ms", request_ms},
                                        {"neighbour_kernel_us", neighbour_us},
                                        {"priority", options.equal ? "equal" : "high beside low"},
                                        {"requests", o.beside.requests},
                                        {"p50_alone_ms", o.alone.p50},
                                        {"p99_alone_ms", o.alone.p99},
                                        {"p50_beside_ms", o.beside.p50},
                                        {"p99_beside_ms", o.beside.p99},
                                        {"client_percent", o.client_percent},
                                        {"neighbour_percent", o.neighbour_percent},
                                        {"neighbour_of_idle_percent", of_idle}};
    fmt::print("{}\n", row.dump());
  } else {
    fmt::print(
        "request {:>6} ms, neighbour's kernel {:>6} us: p50 {:7.2f} -> {:7.2f}  p99 {:7.2f} -> {:7.2f} ms  "
        "x{:.3f} {:+6.2f} ms  client {:5.2f} %  neighbour {:5.2f} % = {:5.1f} % of what was idle\n",
        request_ms, neighbour_us, o.alone.p50, o.beside.p50, o.alone.p99, o.beside.p99, o.beside.p99 / o.alone.p99,
        o.beside.p99 - o.alone.p99, o.client_percent, o.neighbour_percent, of_idle);
  }
  std::fflush(stdout);
}

}  // namespace

void run_priority(const PriorityOptions& options) {
  for (const double neighbour_us : options.neighbour_us)
    for (const double request_ms : options.request_ms)
      print(request_ms, neighbour_us, options, measure(request_ms, neighbour_us, options));
}

}  // namespace kiboko::bench
