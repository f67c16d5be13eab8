// cuGraph*: making and changing graphs.
#include <string.h>

#include <algorithm>

#include "capture.h"
#include "context.h"
#include "graph.h"

namespace sim {

struct UserObject : Object<Tag::kUserObject> {
  static constexpr Tag kTag = Tag::kUserObject;
  void* pointer = nullptr;
  CUhostFn destroy = nullptr;
  std::atomic<unsigned> references{0};

  void drop(unsigned count) {
    if (references.fetch_sub(count) != count) return;
    destroy(pointer);
    delete this;
  }
};

Graph::~Graph() {
  for (const auto& [object, count] : objects) object->drop(count);
}

}  // namespace sim

using namespace sim;

namespace {

// Adds a node and fills it; the node goes again when it cannot be filled.
template <class Fill>
CUresult add(CUgraphNode* out, CUgraph given, const CUgraphNode* before, std::size_t count, int type, Fill fill) {
  Graph* graph = object<Graph>(given);
  if (graph == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Node* node = graph->add(type, before, count);
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = fill(*node);
  if (result != CUDA_SUCCESS) {
    for (Node* other : node->before) std::erase(other->after, node);
    graph->nodes.pop_back();
    return result;
  }
  *out = handle<CUgraphNode>(node);
  return CUDA_SUCCESS;
}

// The node behind a handle if it is of that type.
Node* typed(CUgraphNode given, int type) {
  Node* node = object<Node>(given);
  return node != nullptr && node->type == type ? node : nullptr;
}

// Copies as many handles as the caller has room for; with no room, says how many there are.
template <class Range>
CUresult list(const Range& nodes, CUgraphNode* out, std::size_t* count) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (out == nullptr) {
    *count = nodes.size();
    return CUDA_SUCCESS;
  }
  const std::size_t room = *count;
  for (std::size_t i = 0; i < room; ++i) out[i] = i < nodes.size() ? handle<CUgraphNode>(nodes[i]) : nullptr;
  *count = std::min(room, nodes.size());
  return CUDA_SUCCESS;
}

CUresult list_edges(CUgraph given, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* data, std::size_t* count) {
  const Graph* graph = object<Graph>(given);
  if (graph == nullptr || count == nullptr || (from == nullptr) != (to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::pair<Node*, Node*>> edges;
  for (const auto& node : graph->nodes) {
    for (Node* next : node->after) edges.emplace_back(node.get(), next);
  }
  const std::size_t room = from == nullptr ? 0 : *count;
  for (std::size_t i = 0; i < std::min(room, edges.size()); ++i) {
    from[i] = handle<CUgraphNode>(edges[i].first);
    to[i] = handle<CUgraphNode>(edges[i].second);
    if (data != nullptr) data[i] = {};
  }
  *count = from == nullptr ? edges.size() : std::min(room, edges.size());
  return CUDA_SUCCESS;
}

CUresult change_edges(CUgraph given, const CUgraphNode* from, const CUgraphNode* to, std::size_t count, bool adding) {
  Graph* graph = object<Graph>(given);
  if (graph == nullptr || (count > 0 && (from == nullptr || to == nullptr))) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    Node* a = object<Node>(from[i]);
    Node* b = object<Node>(to[i]);
    if (!graph->has(a) || !graph->has(b) || a == b) return CUDA_ERROR_INVALID_VALUE;
    const bool there = std::find(a->after.begin(), a->after.end(), b) != a->after.end();
    if (there == adding) return CUDA_ERROR_INVALID_VALUE;
    if (adding) {
      a->after.push_back(b);
      b->before.push_back(a);
    } else {
      std::erase(a->after, b);
      std::erase(b->before, a);
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace

// --- graphs ---

SIM_FN(cuGraphCreate, (CUgraph * out, unsigned flags), (out, flags)) {
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUgraph>(new Graph);
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphDestroy, (CUgraph given), (given)) {
  Graph* graph = object<Graph>(given);
  if (graph == nullptr || graph->is_child) return CUDA_ERROR_INVALID_VALUE;
  delete graph;
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphClone, (CUgraph * out, CUgraph given), (out, given)) {
  const Graph* graph = object<Graph>(given);
  if (out == nullptr || graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUgraph>(clone(*graph).release());
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphNodeFindInClone, (CUgraphNode * out, CUgraphNode original, CUgraph given), (out, original, given)) {
  const Graph* graph = object<Graph>(given);
  if (out == nullptr || graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto found = graph->from.find(object<Node>(original));
  if (found == graph->from.end()) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUgraphNode>(found->second);
  return CUDA_SUCCESS;
}

// --- nodes ---

#define SIM_ADD_PARAMETERS CUgraphNode *out, CUgraph graph, const CUgraphNode *before, std::size_t count

SIM_FN(cuGraphAddKernelNode, (SIM_ADD_PARAMETERS, const CUDA_KERNEL_NODE_PARAMS_v1* params),
       (out, graph, before, count, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, kGraphKernel,
             [&](Node& node) { return set_kernel(node, widen(*params), ordinal_here()); });
}
SIM_FN(cuGraphAddKernelNode_v2, (SIM_ADD_PARAMETERS, const CUDA_KERNEL_NODE_PARAMS* params),
       (out, graph, before, count, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, kGraphKernel,
             [&](Node& node) { return set_kernel(node, *params, ordinal_here()); });
}
SIM_FN(cuGraphAddMemcpyNode, (SIM_ADD_PARAMETERS, const CUDA_MEMCPY3D* copy, CUcontext context),
       (out, graph, before, count, copy, context)) {
  if (copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, kGraphMemcpy, [&](Node& node) { return set_copy(node, *copy); });
}
SIM_FN(cuGraphAddMemsetNode, (SIM_ADD_PARAMETERS, const CUDA_MEMSET_NODE_PARAMS* params, CUcontext context),
       (out, graph, before, count, params, context)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, kGraphMemset, [&](Node& node) { return set_fill(node, *params); });
}
SIM_FN(cuGraphAddHostNode, (SIM_ADD_PARAMETERS, const CUDA_HOST_NODE_PARAMS* params),
       (out, graph, before, count, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, kGraphHost, [&](Node& node) { return set_host(node, *params); });
}
SIM_FN(cuGraphAddChildGraphNode, (SIM_ADD_PARAMETERS, CUgraph child), (out, graph, before, count, child)) {
  return add(out, graph, before, count, kGraphChild, [&](Node& node) { return set_child(node, child); });
}
SIM_FN(cuGraphAddEmptyNode, (SIM_ADD_PARAMETERS), (out, graph, before, count)) {
  return add(out, graph, before, count, kGraphEmpty, [](Node&) { return CUDA_SUCCESS; });
}
SIM_FN(cuGraphAddEventRecordNode, (SIM_ADD_PARAMETERS, CUevent event), (out, graph, before, count, event)) {
  return add(out, graph, before, count, kGraphEventRecord, [&](Node& node) { return set_event(node, event); });
}
SIM_FN(cuGraphAddEventWaitNode, (SIM_ADD_PARAMETERS, CUevent event), (out, graph, before, count, event)) {
  return add(out, graph, before, count, kGraphWaitEvent, [&](Node& node) { return set_event(node, event); });
}
SIM_FN(cuGraphAddMemAllocNode, (SIM_ADD_PARAMETERS, CUDA_MEM_ALLOC_NODE_PARAMS* params),
       (out, graph, before, count, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, kGraphMemAlloc,
             [&](Node& node) { return set_alloc(node, *params, ordinal_here()); });
}
SIM_FN(cuGraphAddMemFreeNode, (SIM_ADD_PARAMETERS, CUdeviceptr address), (out, graph, before, count, address)) {
  return add(out, graph, before, count, kGraphMemFree, [&](Node& node) { return set_free(node, address); });
}
SIM_FN(cuGraphAddNode, (SIM_ADD_PARAMETERS, CUgraphNodeParams* params), (out, graph, before, count, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, params->type, [&](Node& node) { return set_any(node, *params); });
}
SIM_FN(cuGraphAddNode_v2,
       (CUgraphNode * out, CUgraph graph, const CUgraphNode* before, const CUgraphEdgeData* edges, std::size_t count,
        CUgraphNodeParams* params),
       (out, graph, before, edges, count, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(out, graph, before, count, params->type, [&](Node& node) { return set_any(node, *params); });
}
SIM_FN(cuGraphDestroyNode, (CUgraphNode given), (given)) {
  Node* node = object<Node>(given);
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (Node* other : node->before) std::erase(other->after, node);
  for (Node* other : node->after) std::erase(other->before, node);
  std::erase_if(node->graph->nodes, [&](const auto& owned) { return owned.get() == node; });
  return CUDA_SUCCESS;
}

// --- what nodes say of themselves ---

SIM_FN(cuGraphNodeGetType, (CUgraphNode given, int* out), (given, out)) {
  const Node* node = object<Node>(given);
  if (node == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = node->type;
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphKernelNodeGetParams, (CUgraphNode given, CUDA_KERNEL_NODE_PARAMS_v1* out), (given, out)) {
  const Node* node = typed(given, kGraphKernel);
  if (node == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  memcpy(static_cast<void*>(out), &node->kernel, sizeof *out);
  return CUDA_SUCCESS;
}
#define SIM_NODE_GET(symbol, node_type, out_type, field)                    \
  SIM_FN(symbol, (CUgraphNode given, out_type * out), (given, out)) {       \
    const Node* node = typed(given, node_type);                             \
    if (node == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE; \
    *out = node->field;                                                     \
    return CUDA_SUCCESS;                                                    \
  }
SIM_NODE_GET(cuGraphKernelNodeGetParams_v2, kGraphKernel, CUDA_KERNEL_NODE_PARAMS, kernel)
SIM_NODE_GET(cuGraphMemcpyNodeGetParams, kGraphMemcpy, CUDA_MEMCPY3D, copy)
SIM_NODE_GET(cuGraphMemsetNodeGetParams, kGraphMemset, CUDA_MEMSET_NODE_PARAMS, set)
SIM_NODE_GET(cuGraphHostNodeGetParams, kGraphHost, CUDA_HOST_NODE_PARAMS, host)
SIM_NODE_GET(cuGraphEventRecordNodeGetEvent, kGraphEventRecord, CUevent, event)
SIM_NODE_GET(cuGraphEventWaitNodeGetEvent, kGraphWaitEvent, CUevent, event)
SIM_NODE_GET(cuGraphMemAllocNodeGetParams, kGraphMemAlloc, CUDA_MEM_ALLOC_NODE_PARAMS, alloc)
SIM_NODE_GET(cuGraphMemFreeNodeGetParams, kGraphMemFree, CUdeviceptr, freed)
SIM_FN(cuGraphChildGraphNodeGetGraph, (CUgraphNode given, CUgraph* out), (given, out)) {
  const Node* node = typed(given, kGraphChild);
  if (node == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUgraph>(node->child.get());
  return CUDA_SUCCESS;
}

#define SIM_NODE_SET(symbol, node_type, in_type, expression)     \
  SIM_FN(symbol, (CUgraphNode given, in_type in), (given, in)) { \
    Node* node = typed(given, node_type);                        \
    if (node == nullptr || !in) return CUDA_ERROR_INVALID_VALUE; \
    return expression;                                           \
  }
SIM_NODE_SET(cuGraphKernelNodeSetParams, kGraphKernel, const CUDA_KERNEL_NODE_PARAMS_v1*,
             set_kernel(*node, widen(*in), ordinal_here()))
SIM_NODE_SET(cuGraphKernelNodeSetParams_v2, kGraphKernel, const CUDA_KERNEL_NODE_PARAMS*,
             set_kernel(*node, *in, ordinal_here()))
SIM_NODE_SET(cuGraphMemcpyNodeSetParams, kGraphMemcpy, const CUDA_MEMCPY3D*, set_copy(*node, *in))
SIM_NODE_SET(cuGraphMemsetNodeSetParams, kGraphMemset, const CUDA_MEMSET_NODE_PARAMS*, set_fill(*node, *in))
SIM_NODE_SET(cuGraphHostNodeSetParams, kGraphHost, const CUDA_HOST_NODE_PARAMS*, set_host(*node, *in))
SIM_NODE_SET(cuGraphEventRecordNodeSetEvent, kGraphEventRecord, CUevent, set_event(*node, in))
SIM_NODE_SET(cuGraphEventWaitNodeSetEvent, kGraphWaitEvent, CUevent, set_event(*node, in))
SIM_FN(cuGraphNodeSetParams, (CUgraphNode given, CUgraphNodeParams* params), (given, params)) {
  Node* node = params == nullptr ? nullptr : typed(given, params->type);
  return node == nullptr ? CUDA_ERROR_INVALID_VALUE : set_any(*node, *params);
}

// --- the shape of a graph ---

SIM_FN(cuGraphGetNodes, (CUgraph given, CUgraphNode* out, std::size_t* count), (given, out, count)) {
  const Graph* graph = object<Graph>(given);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Node*> nodes;
  for (const auto& node : graph->nodes) nodes.push_back(node.get());
  return list(nodes, out, count);
}
SIM_FN(cuGraphGetRootNodes, (CUgraph given, CUgraphNode* out, std::size_t* count), (given, out, count)) {
  const Graph* graph = object<Graph>(given);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Node*> nodes;
  for (const auto& node : graph->nodes) {
    if (node->before.empty()) nodes.push_back(node.get());
  }
  return list(nodes, out, count);
}
SIM_FN(cuGraphGetEdges, (CUgraph graph, CUgraphNode* from, CUgraphNode* to, std::size_t* count),
       (graph, from, to, count)) {
  return list_edges(graph, from, to, nullptr, count);
}
SIM_FN(cuGraphGetEdges_v2,
       (CUgraph graph, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* data, std::size_t* count),
       (graph, from, to, data, count)) {
  return list_edges(graph, from, to, data, count);
}
#define SIM_NEIGHBOURS(symbol, field)                                                                        \
  SIM_FN(symbol, (CUgraphNode given, CUgraphNode * out, std::size_t * count), (given, out, count)) {         \
    const Node* node = object<Node>(given);                                                                  \
    return node == nullptr ? CUDA_ERROR_INVALID_VALUE : list(node->field, out, count);                       \
  }                                                                                                          \
  SIM_FN(symbol##_v2, (CUgraphNode given, CUgraphNode * out, CUgraphEdgeData * data, std::size_t * count),   \
         (given, out, data, count)) {                                                                        \
    const Node* node = object<Node>(given);                                                                  \
    if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;                                                    \
    const CUresult result = list(node->field, out, count);                                                   \
    if (result == CUDA_SUCCESS && data != nullptr && out != nullptr) memset(data, 0, *count * sizeof *data); \
    return result;                                                                                           \
  }
SIM_NEIGHBOURS(cuGraphNodeGetDependencies, before)
SIM_NEIGHBOURS(cuGraphNodeGetDependentNodes, after)

#define SIM_EDGES(symbol, adding)                                                                                      \
  SIM_FN(symbol, (CUgraph graph, const CUgraphNode* from, const CUgraphNode* to, std::size_t count),                   \
         (graph, from, to, count)) {                                                                                   \
    return change_edges(graph, from, to, count, adding);                                                               \
  }                                                                                                                    \
  SIM_FN(                                                                                                              \
      symbol##_v2,                                                                                                     \
      (CUgraph graph, const CUgraphNode* from, const CUgraphNode* to, const CUgraphEdgeData* data, std::size_t count), \
      (graph, from, to, data, count)) {                                                                                \
    return change_edges(graph, from, to, count, adding);                                                               \
  }
SIM_EDGES(cuGraphAddDependencies, true)
SIM_EDGES(cuGraphRemoveDependencies, false)

// --- user objects ---

SIM_FN(cuUserObjectCreate, (CUuserObject * out, void* pointer, CUhostFn destroy, unsigned references, unsigned flags),
       (out, pointer, destroy, references, flags)) {
  if (out == nullptr || destroy == nullptr || references == 0) return CUDA_ERROR_INVALID_VALUE;
  auto* made = new UserObject;
  made->pointer = pointer;
  made->destroy = destroy;
  made->references = references;
  *out = handle<CUuserObject>(made);
  return CUDA_SUCCESS;
}
SIM_FN(cuUserObjectRetain, (CUuserObject given, unsigned count), (given, count)) {
  UserObject* target = object<UserObject>(given);
  if (target == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  target->references += count;
  return CUDA_SUCCESS;
}
SIM_FN(cuUserObjectRelease, (CUuserObject given, unsigned count), (given, count)) {
  UserObject* target = object<UserObject>(given);
  if (target == nullptr || count == 0 || count > target->references) return CUDA_ERROR_INVALID_VALUE;
  target->drop(count);
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphRetainUserObject, (CUgraph graph_handle, CUuserObject given, unsigned count, unsigned flags),
       (graph_handle, given, count, flags)) {
  constexpr unsigned kMove = 1;
  Graph* graph = object<Graph>(graph_handle);
  UserObject* target = object<UserObject>(given);
  if (graph == nullptr || target == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & kMove) == 0) target->references += count;
  graph->objects[target] += count;
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphReleaseUserObject, (CUgraph graph_handle, CUuserObject given, unsigned count),
       (graph_handle, given, count)) {
  Graph* graph = object<Graph>(graph_handle);
  UserObject* target = object<UserObject>(given);
  if (graph == nullptr || target == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto found = graph->objects.find(target);
  if (found == graph->objects.end() || found->second < count) return CUDA_ERROR_INVALID_VALUE;
  found->second -= count;
  if (found->second == 0) graph->objects.erase(found);
  target->drop(count);
  return CUDA_SUCCESS;
}
