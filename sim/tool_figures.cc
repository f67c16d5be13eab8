#include "tool_figures.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "nvml_pids.h"

namespace sim::tool {
namespace {

constexpr std::uint64_t kStep = 50'000'000;

double percent_of(std::uint64_t busy, std::uint64_t length) {
  return length == 0 ? 0 : 100.0 * static_cast<double>(busy) / static_cast<double>(length);
}

std::optional<double> worst_second(Shared& shared, int channel, Interval within, double target) {
  constexpr std::size_t kStepsPerSecond = kSecond / kStep;
  std::vector<std::uint64_t> busy_until{0};
  for (std::uint64_t at = within.from; at + kStep <= within.to; at += kStep) {
    busy_until.push_back(busy_until.back() + process_busy_ns(shared, channel, at, at + kStep));
  }
  std::optional<double> worst;
  for (std::size_t end = kStepsPerSecond; end < busy_until.size(); ++end) {
    const double share = percent_of(busy_until[end] - busy_until[end - kStepsPerSecond], kSecond);
    worst = std::max(worst.value_or(0), std::abs(share - target));
  }
  return worst;
}

}  // namespace

Interval whole_milliseconds(Interval interval) {
  return {(interval.from + kBucketNs - 1) / kBucketNs * kBucketNs, interval.to / kBucketNs * kBucketNs};
}

std::vector<Figure> figures(Shared& shared, int device, const Request& request) {
  const Interval& interval = request.interval;
  std::vector<Figure> all;
  for (const ProcessUse& use : processes_of(shared, device, true)) {
    const std::int32_t seen = pid_for_caller(use);
    const std::int32_t pid = seen != 0 ? seen : use.pid;
    if (request.pid && pid != *request.pid) continue;
    Figure figure{};
    figure.device = device;
    figure.channel = use.channel;
    figure.pid = pid;
    figure.namespace_pid = use.pid;
    figure.alive = use.alive;
    figure.command = use.command;
    figure.memory_bytes = use.memory_used;
    figure.busy_ns_total = use.busy_ns;
    figure.busy_ns = process_busy_ns(shared, use.channel, interval.from, interval.to);
    figure.share_percent = percent_of(figure.busy_ns, interval.to - interval.from);
    if (request.target_percent) {
      const Interval present = whole_milliseconds({std::max(interval.from, use.born_ns + request.settle_ns),
                                                   use.alive ? interval.to : std::min(interval.to, use.died_ns)});
      figure.error_points = figure.share_percent - *request.target_percent;
      figure.worst_1s_error_points = worst_second(shared, use.channel, present, *request.target_percent);
    }
    all.push_back(figure);
  }
  return all;
}

std::optional<std::uint64_t> parse_duration(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0 || value > 1e9) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  struct Unit {
    std::string_view name;
    double ns;
  };
  for (const Unit& known : {Unit{"", 1e9}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}}) {
    if (known.name == unit) return static_cast<std::uint64_t>(std::llround(value * known.ns));
  }
  return std::nullopt;
}

}  // namespace sim::tool
