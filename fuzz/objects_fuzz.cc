// Objects come from an API server, files and whoever calls a webhook: any text must give values in bounds, or an error.
#include "model/objects_json.h"

#include <cstdlib>

namespace {
void require(bool held) {
  if (!held) std::abort();
}

void check(const kiboko::Pod& pod) {
  require(!pod.name.empty() && !pod.pod_namespace.empty());
  require(pod.cpu_milli >= 0);
  bool apps = false;
  for (const kiboko::Container& container : pod.containers) {
    const bool app = container.kind == kiboko::ContainerKind::App;
    require(app || !apps);  // those that start first come first
    apps = app;
    for (const auto& [resource, amount] : container.limits) require(container.requests.contains(resource));
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto objects = kiboko::parse_objects({reinterpret_cast<const char*>(data), size});
  if (!objects) {
    require(objects.error().code == kiboko::Errc::Invalid && !objects.error().message.empty());
    return 0;
  }
  for (const kiboko::Pod& pod : objects->pods) check(pod);
  for (const kiboko::Node& node : objects->nodes) {
    require(!node.name.empty() && node.cpu_milli >= 0);
    for (const auto& [resource, amount] : node.capacity) require(kiboko::is_extended_resource(resource) && amount >= 0);
  }
  for (const kiboko::ResourceQuota& quota : objects->quotas)
    for (const auto& [resource, amount] : quota.hard) require(amount >= 0);
  return 0;
}
