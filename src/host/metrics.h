// What the host shows at /metrics: one table of names, filled from the Host whenever somebody asks.
#pragma once

#include <span>

#include "host/host.h"
#include "net/metrics.h"

namespace kiboko {

std::span<const net::MetricFamily> host_metric_families();
void fill_metrics(const Host& host, net::Metrics& metrics);

}  // namespace kiboko
