// Traces come from files that anybody wrote: any text must give nodes and pods in bounds, or an error with its place.
#include "sched/trace.h"

#include <cstdlib>

namespace {
void require(bool held) {
  if (!held) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  kiboko::Cluster cluster;
  const auto nodes = kiboko::read_trace_nodes(text, "nodes.csv", cluster);
  require(nodes || nodes.error().message.starts_with("nodes.csv:") || nodes.error().message.starts_with("node "));
  for (kiboko::NodeIndex node = 0; node < cluster.nodes(); ++node) {
    require(cluster.device_count(node) <= kiboko::kMaxNodeDevices);
    require(cluster.cpu_free(node) >= 0);
  }
  const auto pods = kiboko::read_trace_pods(text, "pods.csv", cluster);
  if (!pods) {
    require(pods.error().message.starts_with("pods.csv:"));
    return 0;
  }
  for (const kiboko::PodAsk& ask : *pods) {
    require(ask.share >= 0 && ask.share <= kiboko::kWholeDevice && ask.count <= kiboko::kMaxNodeDevices);
    for (kiboko::NodeIndex node = 0; node < cluster.nodes(); ++node)
      require(cluster.fits(node, ask) == (cluster.refusal(node, ask) == kiboko::NodeRefusal::None));
  }
  return 0;
}
