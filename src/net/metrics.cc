#include "net/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <mutex>

namespace kiboko::net {
namespace {

std::map<std::string, std::string> to_map(const Labels& labels) { return {labels.begin(), labels.end()}; }

prometheus::ClientMetric to_client_metric(const Sample& sample, MetricKind kind) {
  prometheus::ClientMetric metric;
  for (const auto& [label, value] : to_map(sample.labels)) metric.label.push_back({label, value});
  if (kind == MetricKind::Counter)
    metric.counter.value = sample.value;
  else
    metric.gauge.value = sample.value;
  return metric;
}

}  // namespace

// What changes one by one lives in the library's registry; what is replaced whole is kept here and joined on reading.
struct Metrics::Impl {
  struct Entry {
    MetricFamily declared;
    prometheus::Family<prometheus::Counter>* counters = nullptr;
    prometheus::Family<prometheus::Gauge>* gauges = nullptr;
    prometheus::Family<prometheus::Histogram>* histograms = nullptr;
    std::vector<Sample> replaced;
  };
  Entry& entry(std::string_view family, [[maybe_unused]] MetricKind kind) {
    const auto found = entries.find(family);
    assert(found != entries.end() && found->second.declared.kind == kind);
    return found->second;
  }

  prometheus::Registry registry;
  std::map<std::string, Entry, std::less<>> entries;
  mutable std::mutex mutex;  // guards Entry::replaced; the registry has its own
};

Metrics::Metrics(std::span<const MetricFamily> families) : impl_(std::make_unique<Impl>()) {
  for (const MetricFamily& family : families) {
    Impl::Entry entry{family, {}, {}, {}, {}};
    const std::string name(family.name), help(family.help);
    switch (family.kind) {
      case MetricKind::Counter:
        entry.counters = &prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry);
        break;
      case MetricKind::Gauge:
        entry.gauges = &prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry);
        break;
      case MetricKind::Histogram:
        entry.histograms = &prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->registry);
        break;
    }
    impl_->entries.emplace(name, std::move(entry));
  }
}

Metrics::~Metrics() = default;

void Metrics::add(std::string_view counter, const Labels& labels, double by) {
  impl_->entry(counter, MetricKind::Counter).counters->Add(to_map(labels)).Increment(by);
}

void Metrics::observe(std::string_view histogram, const Labels& labels, double value) {
  Impl::Entry& entry = impl_->entry(histogram, MetricKind::Histogram);
  const auto& bounds = entry.declared.buckets;
  entry.histograms->Add(to_map(labels), prometheus::Histogram::BucketBoundaries(bounds.begin(), bounds.end()))
      .Observe(value);
}

void Metrics::set(std::string_view gauge, const Labels& labels, double value) {
  impl_->entry(gauge, MetricKind::Gauge).gauges->Add(to_map(labels)).Set(value);
}

void Metrics::replace(std::string_view family, std::vector<Sample> samples) {
  const auto found = impl_->entries.find(family);
  assert(found != impl_->entries.end() && found->second.declared.kind != MetricKind::Histogram);
  const std::lock_guard lock(impl_->mutex);
  found->second.replaced = std::move(samples);
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [name, entry] : impl_->entries) {
      if (entry.replaced.empty()) continue;
      auto shown = std::ranges::find(families, name, &prometheus::MetricFamily::name);
      if (shown == families.end()) {
        const auto type = entry.declared.kind == MetricKind::Counter ? prometheus::MetricType::Counter
                                                                     : prometheus::MetricType::Gauge;
        shown = families.insert(families.end(), {name, std::string(entry.declared.help), type, {}});
      }
      for (const Sample& sample : entry.replaced)
        shown->metric.push_back(to_client_metric(sample, entry.declared.kind));
    }
  }
  std::ranges::sort(families, {}, &prometheus::MetricFamily::name);
  return prometheus::TextSerializer{}.Serialize(families);
}

Response metrics_response(const Metrics& metrics) {
  return {200, "text/plain; version=0.0.4; charset=utf-8", metrics.text(), {}};
}

}  // namespace kiboko::net
