#include "host/metrics.h"

#include <algorithm>
#include <array>

#include "region/layout.h"

namespace kiboko {
namespace {

using net::Labels;
using net::Sample;

struct DeviceFigure {
  std::string_view name, help;
  std::optional<double> (*value)(const DeviceState&, const DeviceSample&);
};
struct GrantFigure {
  std::string_view name, help;
  std::optional<double> (*value)(const GrantDevice&, const DeviceUse&);
};

double number(Bytes bytes) { return static_cast<double>(bytes.count); }
std::optional<double> number(const std::optional<Bytes>& bytes) {
  return bytes ? std::optional(number(*bytes)) : std::nullopt;
}

constexpr DeviceFigure kDeviceFigures[] = {
    {"kiboko_device_memory_total_bytes", "Memory of the device",
     [](const DeviceState& s, const DeviceSample&) { return std::optional(number(s.device.total)); }},
    {"kiboko_device_memory_granted_bytes", "Memory promised to grants",
     [](const DeviceState& s, const DeviceSample&) { return std::optional(number(s.memory_granted)); }},
    {"kiboko_device_memory_used_bytes", "Memory in use, as the driver says",
     [](const DeviceState&, const DeviceSample& d) { return number(d.used); }},
    {"kiboko_device_compute_granted_percent", "Sum of the compute limits granted",
     [](const DeviceState& s, const DeviceSample&) {
       return std::optional(static_cast<double>(s.cores_granted.count));
     }},
    {"kiboko_device_compute_percent", "Compute in use, as the driver says",
     [](const DeviceState&, const DeviceSample& d) {
       return d.compute_percent ? std::optional<double>(*d.compute_percent) : std::nullopt;
     }},
    {"kiboko_device_healthy", "1 if the device answers",
     [](const DeviceState& s, const DeviceSample&) { return std::optional(s.device.healthy ? 1.0 : 0.0); }},
};

constexpr GrantFigure kGrantFigures[] = {
    {"kiboko_grant_memory_limit_bytes", "Memory that the grant may use on the device",
     [](const GrantDevice& d, const DeviceUse&) { return std::optional(number(d.limit)); }},
    {"kiboko_grant_memory_used_bytes", "Memory that its processes use there",
     [](const GrantDevice&, const DeviceUse& u) { return number(u.used); }},
    {"kiboko_grant_compute_limit_percent", "Compute that it may use there; absent without a limit",
     [](const GrantDevice& d, const DeviceUse&) {
       return d.cores ? std::optional<double>(d.cores->count) : std::nullopt;
     }},
    {"kiboko_grant_compute_percent", "Compute that its processes use there, over the last second",
     [](const GrantDevice&, const DeviceUse& u) { return u.compute_percent; }},
};

constexpr double kSecond = 1e9;

constexpr GrantFigure kGrantCounters[] = {
    {"kiboko_grant_launches_total", "Kernels and graphs that its processes launched there",
     [](const GrantDevice&, const DeviceUse& u) {
       return u.counters ? std::optional(static_cast<double>(u.counters->launches)) : std::nullopt;
     }},
    {"kiboko_grant_throttled_seconds_total", "Time that their threads waited for the grant's compute share",
     [](const GrantDevice&, const DeviceUse& u) {
       return u.counters ? std::optional(static_cast<double>(u.counters->throttled_ns) / kSecond) : std::nullopt;
     }},
    {"kiboko_grant_memory_refusals_total", "Allocations that were refused for the grant's limit",
     [](const GrantDevice&, const DeviceUse& u) {
       return u.counters ? std::optional(static_cast<double>(u.counters->refusals)) : std::nullopt;
     }},
};

constexpr std::array kWaitBounds = [] {
  std::array<double, region::kWaitLengths - 1> seconds{};
  for (unsigned i = 0; i < seconds.size(); ++i)
    seconds[i] = static_cast<double>(region::kShortestWaitNs << i) / kSecond;
  return seconds;
}();

constexpr net::MetricFamily kOthers[] = {
    {"kiboko_grant_wait_seconds", net::MetricKind::Histogram,
     "How long launches that had to wait for the grant's compute share waited", kWaitBounds},
    {"kiboko_grants", net::MetricKind::Gauge, "Grants by state", {}},
    {"kiboko_queue_length", net::MetricKind::Gauge, "Asks that wait", {}},
    {"kiboko_grant_tampering",
     net::MetricKind::Gauge,
     "Signs that the grant's programs go past its limits, by kind",
     {}},
    {"kiboko_device_strangers", net::MetricKind::Gauge, "Processes on the device that no grant covers", {}},
    {"kiboko_events_total", net::MetricKind::Counter, "Events since the agent started, by kind", {}},
    {"kiboko_driver_up", net::MetricKind::Gauge, "1 if the management library answers", {}},
};

template <class Figure, std::size_t N>
void describe(std::vector<net::MetricFamily>& families, const Figure (&figures)[N],
              net::MetricKind kind = net::MetricKind::Gauge) {
  for (const Figure& figure : figures) families.push_back({figure.name, kind, figure.help, {}});
}

Labels labels_of(const Grant& grant, const GrantDevice& device) {
  return {{"grant", grant.id.text}, {"user", grant.owner.user}, {"device", device.uuid.text}};
}

// One sample per grant and device that has a value.
std::vector<Sample> samples_of(const Host& host, const GrantFigure& figure) {
  std::vector<Sample> samples;
  for (const LiveGrant* live : host.live()) {
    const auto& used = live->meter.usage().devices;
    for (std::size_t i = 0; i < live->grant().devices.size(); ++i) {
      const GrantDevice& device = live->grant().devices[i];
      if (const auto value = figure.value(device, i < used.size() ? used[i] : DeviceUse{}))
        samples.push_back({labels_of(live->grant(), device), *value});
    }
  }
  return samples;
}

std::vector<net::HistogramSample> waits_of(const Host& host) {
  std::vector<net::HistogramSample> samples;
  for (const LiveGrant* live : host.live()) {
    const auto& used = live->meter.usage().devices;
    for (std::size_t i = 0; i < std::min(used.size(), live->grant().devices.size()); ++i)
      if (used[i].waits.size() == kWaitBounds.size() + 1 && used[i].counters)
        samples.push_back({labels_of(live->grant(), live->grant().devices[i]), used[i].waits,
                           static_cast<double>(used[i].counters->throttled_ns) / kSecond});
  }
  return samples;
}

}  // namespace

std::span<const net::MetricFamily> host_metric_families() {
  static const std::vector<net::MetricFamily> kFamilies = [] {
    std::vector<net::MetricFamily> families(std::begin(kOthers), std::end(kOthers));
    describe(families, kDeviceFigures);
    describe(families, kGrantFigures);
    describe(families, kGrantCounters, net::MetricKind::Counter);
    return families;
  }();
  return kFamilies;
}

void fill_metrics(const Host& host, net::Metrics& metrics) {
  const Watcher::View view = host.survey();
  const std::vector<DeviceState> states = host.devices();
  for (const DeviceFigure& figure : kDeviceFigures) {
    std::vector<Sample> samples;
    for (std::size_t i = 0; i < states.size(); ++i)
      if (const auto value = figure.value(states[i], view.survey->samples[i]))
        samples.push_back(
            {{{"device", states[i].device.uuid.text}, {"index", std::to_string(states[i].device.index)}}, *value});
    metrics.replace(figure.name, std::move(samples));
  }
  for (const GrantFigure& figure : kGrantFigures) metrics.replace(figure.name, samples_of(host, figure));
  for (const GrantFigure& figure : kGrantCounters) metrics.replace(figure.name, samples_of(host, figure));
  metrics.replace("kiboko_grant_wait_seconds", waits_of(host));
  std::array<double, 4> by_state{};
  for (const LiveGrant* live : host.live()) ++by_state[static_cast<std::size_t>(live->grant().state)];
  std::vector<Sample> states_now;
  for (std::size_t i = 0; i < by_state.size(); ++i)
    states_now.push_back({{{"state", std::string(name(static_cast<GrantState>(i)))}}, by_state[i]});
  metrics.replace("kiboko_grants", std::move(states_now));
  metrics.set("kiboko_queue_length", {}, by_state[0]);
  metrics.set("kiboko_driver_up", {}, host.driver_trouble() ? 0 : 1);
  std::vector<Sample> strangers;
  for (const DeviceState& state : states) {
    const auto count = std::ranges::count(host.strangers(), state.device.uuid, &Stranger::device);
    strangers.push_back({{{"device", state.device.uuid.text}}, static_cast<double>(count)});
  }
  metrics.replace("kiboko_device_strangers", std::move(strangers));
  std::vector<Sample> tampering;
  for (const LiveGrant* live : host.live())
    for (const auto kind :
         {Tampering::Kind::Memory, Tampering::Kind::Region, Tampering::Kind::Slot, Tampering::Kind::Limits})
      if (const auto count = std::ranges::count(live->tampering.found(), kind, &Tampering::kind); count != 0)
        tampering.push_back(
            {{{"grant", live->grant().id.text}, {"user", live->grant().owner.user}, {"kind", name(kind)}},
             static_cast<double>(count)});
  metrics.replace("kiboko_grant_tampering", std::move(tampering));
  std::vector<Sample> events;
  for (const char* kind : kEventKinds) {
    const auto found = host.event_counts().find(kind);
    events.push_back({{{"kind", kind}}, found == host.event_counts().end() ? 0.0 : static_cast<double>(found->second)});
  }
  metrics.replace("kiboko_events_total", std::move(events));
}

}  // namespace kiboko
