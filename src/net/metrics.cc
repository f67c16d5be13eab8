#include "net/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <map>
#include <mutex>

namespace kiboko::net {
namespace {

std::map<std::string, std::string> to_map(const Labels& labels) { return {labels.begin(), labels.end()}; }

prometheus::ClientMetric labelled(const Labels& labels) {
  prometheus::ClientMetric metric;
  for (const auto& [label, value] : to_map(labels)) metric.label.push_back({label, value});
  return metric;
}

prometheus::ClientMetric to_client_metric(const Sample& sample, MetricKind kind) {
  prometheus::ClientMetric metric = labelled(sample.labels);
  if (kind == MetricKind::Counter)
    metric.counter.value = sample.value;
  else
    metric.gauge.value = sample.value;
  return metric;
}

prometheus::ClientMetric to_client_metric(const HistogramSample& sample, std::span<const double> bounds) {
  prometheus::ClientMetric metric = labelled(sample.labels);
  assert(sample.counts.size() == bounds.size() + 1);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < sample.counts.size(); ++i) {
    below += sample.counts[i];
    metric.histogram.bucket.push_back({below, i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity()});
  }
  metric.histogram.sample_count = below;
  metric.histogram.sample_sum = sample.sum;
  return metric;
}

prometheus::MetricType type_of(MetricKind kind) {
  switch (kind) {
    case MetricKind::Counter:
      return prometheus::MetricType::Counter;
    case MetricKind::Gauge:
      return prometheus::MetricType::Gauge;
    case MetricKind::Histogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

}  // namespace

// What changes one by one lives in the library's registry; what is replaced whole is kept here and joined on reading.
struct Metrics::Impl {
  struct Entry {
    MetricFamily declared;
    prometheus::Family<prometheus::Counter>* counters = nullptr;
    prometheus::Family<prometheus::Gauge>* gauges = nullptr;
    prometheus::Family<prometheus::Histogram>* histograms = nullptr;
    std::vector<prometheus::ClientMetric> replaced;
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
  std::vector<prometheus::ClientMetric> metrics;
  for (const Sample& sample : samples) metrics.push_back(to_client_metric(sample, found->second.declared.kind));
  const std::lock_guard lock(impl_->mutex);
  found->second.replaced = std::move(metrics);
}

void Metrics::replace(std::string_view histogram, std::vector<HistogramSample> samples) {
  Impl::Entry& entry = impl_->entry(histogram, MetricKind::Histogram);
  std::vector<prometheus::ClientMetric> metrics;
  for (const HistogramSample& sample : samples) metrics.push_back(to_client_metric(sample, entry.declared.buckets));
  const std::lock_guard lock(impl_->mutex);
  entry.replaced = std::move(metrics);
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [name, entry] : impl_->entries) {
      if (entry.replaced.empty()) continue;
      auto shown = std::ranges::find(families, name, &prometheus::MetricFamily::name);
      if (shown == families.end()) {
        shown =
            families.insert(families.end(), {name, std::string(entry.declared.help), type_of(entry.declared.kind), {}});
      }
      shown->metric.insert(shown->metric.end(), entry.replaced.begin(), entry.replaced.end());
    }
  }
  std::ranges::sort(families, {}, &prometheus::MetricFamily::name);
  return prometheus::TextSerializer{}.Serialize(families);
}

Response metrics_response(const Metrics& metrics) {
  return {200, "text/plain; version=0.0.4; charset=utf-8", metrics.text(), {}};
}

}  // namespace kiboko::net
