// The program's metrics and their Prometheus text.
//
// main() owns one and declares every family in one table; a name that is not in the table is a bug (assert). Any
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http.h"

namespace kiboko::net {

enum class MetricKind { Counter, Gauge, Histogram };

struct MetricFamily {
  std::string_view name;  // as Prometheus wants it: snake_case, unit last, "_total" for counters
  MetricKind kind;
  std::string_view help;
  std::span<const double> buckets = {};  // upper bounds, of a histogram
};

using Labels = std::vector<std::pair<std::string, std::string>>;

struct Sample {
  Labels labels;
  double value = 0;
};

struct HistogramSample {
  Labels labels;
  std::vector<std::uint64_t> counts;  // one for each bucket and one for what is above; not cumulative
  double sum = 0;
};

class Metrics {
 public:
  explicit Metrics(std::span<const MetricFamily> families);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics();

  void add(std::string_view counter, const Labels& labels = {}, double by = 1);
  void observe(std::string_view histogram, const Labels& labels, double value);
  void set(std::string_view gauge, const Labels& labels, double value);
  // All samples of a family at once: what is not among them is no longer shown. For things that come and go, such as
  // grants, and for counters that are kept elsewhere.
  void replace(std::string_view family, std::vector<Sample> samples);
  void replace(std::string_view histogram, std::vector<HistogramSample> samples);

  std::string text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The answer for GET /metrics.
Response metrics_response(const Metrics& metrics);

}  // namespace kiboko::net
