// Filling nodes of a graph with what they are to do.
#include <string.h>

#include "context.h"
#include "graph.h"

namespace sim {

int ordinal_here() {
  Context* context = nullptr;
  return require_context(context) == CUDA_SUCCESS ? context->ordinal : 0;
}

CUDA_KERNEL_NODE_PARAMS widen(const CUDA_KERNEL_NODE_PARAMS_v1& params) {
  CUDA_KERNEL_NODE_PARAMS wide{};
  memcpy(static_cast<void*>(&wide), &params, sizeof params);
  return wide;
}

CUresult set_child(Node& node, CUgraph given) {
  const Graph* child = object<Graph>(given);
  if (child == nullptr || child == node.graph) return CUDA_ERROR_INVALID_VALUE;
  node.child = clone(*child);
  node.child->is_child = true;
  return CUDA_SUCCESS;
}

CUresult set_event(Node& node, CUevent event) {
  if (object<Event>(event) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  node.event = event;
  return CUDA_SUCCESS;
}

CUresult set_host(Node& node, const CUDA_HOST_NODE_PARAMS& params) {
  if (params.function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  node.host = params;
  return CUDA_SUCCESS;
}

// The parameters of any kind of node, in the form of cuGraphAddNode.
CUresult set_any(Node& node, CUgraphNodeParams& params) {
  switch (params.type) {
    case kGraphKernel:
      return set_kernel(node, params.kernel, ordinal_here());
    case kGraphMemcpy:
      return set_copy(node, params.copy.copy);
    case kGraphMemset:
      return set_fill(node, params.set);
    case kGraphHost:
      return set_host(node, params.host);
    case kGraphChild:
      return set_child(node, params.child.graph);
    case kGraphEmpty:
      return CUDA_SUCCESS;
    case kGraphWaitEvent:
    case kGraphEventRecord:
      return set_event(node, params.event.event);
    case kGraphMemAlloc:
      return set_alloc(node, params.alloc, ordinal_here());
    case kGraphMemFree:
      return set_free(node, params.free.address);
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

}  // namespace sim
