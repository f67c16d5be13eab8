#include "net/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiboko::net {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kBuckets[] = {0.001, 0.1};
constexpr MetricFamily kFamilies[] = {
    {"kiboko_requests_total", MetricKind::Counter, "Requests answered"},
    {"kiboko_grant_memory_bytes", MetricKind::Gauge, "Memory granted"},
    {"kiboko_request_seconds", MetricKind::Histogram, "Time to answer", kBuckets},
};

class MetricsTest : public testing::Test {
 protected:
  Metrics metrics_{kFamilies};
};

TEST_F(MetricsTest, ACounterCounts) {
  metrics_.add("kiboko_requests_total", {{"route", "/a"}});
  metrics_.add("kiboko_requests_total", {{"route", "/a"}}, 2);
  EXPECT_THAT(metrics_.text(), HasSubstr("# HELP kiboko_requests_total Requests answered\n"
                                         "# TYPE kiboko_requests_total counter\n"
                                         "kiboko_requests_total{route=\"/a\"} 3\n"));
}

TEST_F(MetricsTest, WhatIsReplacedForgetsWhatWentAway) {
  metrics_.replace("kiboko_grant_memory_bytes", {{{{"grant", "g-1"}}, 1024}, {{{"grant", "g-2"}}, 2048}});
  metrics_.replace("kiboko_grant_memory_bytes", {{{{"grant", "g-2"}}, 4096}});
  EXPECT_THAT(metrics_.text(), HasSubstr("# TYPE kiboko_grant_memory_bytes gauge\n"
                                         "kiboko_grant_memory_bytes{grant=\"g-2\"} 4096\n"));
  EXPECT_THAT(metrics_.text(), Not(HasSubstr("g-1")));
}

TEST_F(MetricsTest, AHistogramHasItsBuckets) {
  metrics_.observe("kiboko_request_seconds", {}, 0.05);
  EXPECT_THAT(metrics_.text(), HasSubstr("kiboko_request_seconds_bucket{le=\"0.1\"} 1\n"));
}

TEST_F(MetricsTest, AHistogramKeptElsewhereIsShownWhole) {
  metrics_.replace("kiboko_request_seconds", {HistogramSample{{{"grant", "g-1"}}, {4, 2, 1}, 3.5}});
  EXPECT_THAT(metrics_.text(), HasSubstr("# TYPE kiboko_request_seconds histogram\n"
                                         "kiboko_request_seconds_count{grant=\"g-1\"} 7\n"
                                         "kiboko_request_seconds_sum{grant=\"g-1\"} 3.5\n"
                                         "kiboko_request_seconds_bucket{grant=\"g-1\",le=\"0.001\"} 4\n"
                                         "kiboko_request_seconds_bucket{grant=\"g-1\",le=\"0.1\"} 6\n"
                                         "kiboko_request_seconds_bucket{grant=\"g-1\",le=\"+Inf\"} 7\n"));
}

TEST_F(MetricsTest, LabelsAreEscaped) {
  metrics_.set("kiboko_grant_memory_bytes", {{"command", "a\"b\\c\nd"}}, 1);
  EXPECT_THAT(metrics_.text(), HasSubstr(R"({command="a\"b\\c\nd"} 1)"));
}

TEST_F(MetricsTest, TheAnswerNamesTheFormat) {
  EXPECT_EQ(metrics_response(metrics_).content_type, "text/plain; version=0.0.4; charset=utf-8");
}

}  // namespace
}  // namespace kiboko::net
