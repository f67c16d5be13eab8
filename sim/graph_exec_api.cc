// cuGraphInstantiate, cuGraphLaunch, cuGraphExec*: executable graphs.
#include "capture.h"
#include "context.h"
#include "graph.h"

using namespace sim;

namespace {

CUresult instantiate(CUgraphExec* out, CUgraph given, unsigned long long flags) {
  const Graph* graph = object<Graph>(given);
  if (out == nullptr || graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!graph->nodes.empty() && in_order(*graph).empty()) return CUDA_ERROR_INVALID_VALUE;  // a cycle
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  auto exec = std::make_unique<Exec>();
  exec->graph = clone(*graph);
  exec->ordinal = context->ordinal;
  exec->flags = flags;
  exec->plan = make_plan(exec->graph, exec->ordinal);
  *out = handle<CUgraphExec>(exec.release());
  return CUDA_SUCCESS;
}

// The node of the executable graph that `given` of the original became, if it is of that type.
Node* twin(CUgraphExec exec_handle, CUgraphNode given, Exec*& exec, int type) {
  exec = object<Exec>(exec_handle);
  if (exec == nullptr) return nullptr;
  const auto found = exec->graph->from.find(object<Node>(given));
  return found != exec->graph->from.end() && found->second->type == type ? found->second : nullptr;
}

// Launches under way keep the plan they began with, so nothing in it may change: a new graph takes its place.
template <class Change>
CUresult change_exec(CUgraphExec exec_handle, CUgraphNode given, int type, Change change) {
  Exec* exec = nullptr;
  Node* node = twin(exec_handle, given, exec, type);
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (exec->plan.use_count() > 1) {
    std::shared_ptr<Graph> fresh = clone(*exec->graph);
    std::unordered_map<const Node*, Node*> from;
    for (const auto& [original, old] : exec->graph->from) from[original] = fresh->from[old];
    fresh->from = std::move(from);
    exec->graph = std::move(fresh);
    node = exec->graph->from[object<Node>(given)];
  }
  const CUresult result = change(*node);
  if (result == CUDA_SUCCESS) exec->plan = make_plan(exec->graph, exec->ordinal);
  return result;
}

bool same_shape(const Graph& a, const Graph& b) {
  if (a.nodes.size() != b.nodes.size()) return false;
  for (std::size_t i = 0; i < a.nodes.size(); ++i) {
    const Node& x = *a.nodes[i];
    const Node& y = *b.nodes[i];
    if (x.type != y.type || x.before.size() != y.before.size() || (x.child == nullptr) != (y.child == nullptr))
      return false;
    if (x.child && !same_shape(*x.child, *y.child)) return false;
  }
  return true;
}

// The executable graph takes the parameters of another graph of the same shape.
CUresult update(CUgraphExec exec_handle, CUgraph given, CUgraphExecUpdateResultInfo& info) {
  constexpr int kTopologyChanged = 2, kFine = 0;
  Exec* exec = object<Exec>(exec_handle);
  const Graph* graph = object<Graph>(given);
  if (exec == nullptr || graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  info = {kTopologyChanged, nullptr, nullptr};
  if (!same_shape(*exec->graph, *graph)) return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  std::shared_ptr<Graph> fresh = clone(*graph);
  // The handles of the graph it was made from go on meaning the same nodes.
  for (const auto& [original, old] : exec->graph->from) {
    for (std::size_t i = 0; i < exec->graph->nodes.size(); ++i) {
      if (exec->graph->nodes[i].get() == old) fresh->from[original] = fresh->nodes[i].get();
    }
  }
  exec->graph = std::move(fresh);
  exec->plan = make_plan(exec->graph, exec->ordinal);
  info.result = kFine;
  return CUDA_SUCCESS;
}

}  // namespace

SIM_FN(cuGraphInstantiate,
       (CUgraphExec * out, CUgraph graph, CUgraphNode* error_node, char* log, std::size_t log_bytes),
       (out, graph, error_node, log, log_bytes)) {
  return instantiate(out, graph, 0);
}
SIM_FN(cuGraphInstantiate_v2,
       (CUgraphExec * out, CUgraph graph, CUgraphNode* error_node, char* log, std::size_t log_bytes),
       (out, graph, error_node, log, log_bytes)) {
  return instantiate(out, graph, 0);
}
SIM_FN(cuGraphInstantiateWithFlags, (CUgraphExec * out, CUgraph graph, unsigned long long flags), (out, graph, flags)) {
  return instantiate(out, graph, flags);
}
SIM_STREAM_FN(cuGraphInstantiateWithParams, (CUgraphExec * out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* params),
              (out, graph, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = instantiate(out, graph, params->flags);
  params->result = result == CUDA_SUCCESS ? 0 : 1;
  return result;
}
SIM_FN(cuGraphExecDestroy, (CUgraphExec given), (given)) {
  Exec* exec = object<Exec>(given);
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  delete exec;
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphExecGetFlags, (CUgraphExec given, std::uint64_t* out), (given, out)) {
  const Exec* exec = object<Exec>(given);
  if (exec == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = exec->flags;
  return CUDA_SUCCESS;
}
SIM_STREAM_FN(cuGraphUpload, (CUgraphExec given, CUstream stream_handle), (given, stream_handle)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(stream_handle, mode, stream); found != CUDA_SUCCESS) return found;
  return object<Exec>(given) == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
SIM_STREAM_FN(cuGraphLaunch, (CUgraphExec given, CUstream stream_handle), (given, stream_handle)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(stream_handle, mode, stream); found != CUDA_SUCCESS) return found;
  Exec* exec = object<Exec>(given);
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture != nullptr) return capture_graph(*stream, *exec->graph);
  return launch_graph(*exec, *stream);
}

SIM_FN(cuGraphExecKernelNodeSetParams, (CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1* params),
       (exec, node, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, kGraphKernel,
                     [&](Node& target) { return set_kernel(target, widen(*params), ordinal_here()); });
}
SIM_FN(cuGraphExecKernelNodeSetParams_v2, (CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS* params),
       (exec, node, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, kGraphKernel,
                     [&](Node& target) { return set_kernel(target, *params, ordinal_here()); });
}
SIM_FN(cuGraphExecMemcpyNodeSetParams,
       (CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D* copy, CUcontext context),
       (exec, node, copy, context)) {
  if (copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, kGraphMemcpy, [&](Node& target) { return set_copy(target, *copy); });
}
SIM_FN(cuGraphExecMemsetNodeSetParams,
       (CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS* params, CUcontext context),
       (exec, node, params, context)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, kGraphMemset, [&](Node& target) { return set_fill(target, *params); });
}
SIM_FN(cuGraphExecHostNodeSetParams, (CUgraphExec exec, CUgraphNode node, const CUDA_HOST_NODE_PARAMS* params),
       (exec, node, params)) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, kGraphHost, [&](Node& target) { return set_host(target, *params); });
}
SIM_FN(cuGraphExecChildGraphNodeSetParams, (CUgraphExec exec, CUgraphNode node, CUgraph child), (exec, node, child)) {
  return change_exec(exec, node, kGraphChild, [&](Node& target) {
    const Graph* graph = object<Graph>(child);
    if (graph == nullptr || !same_shape(*target.child, *graph)) return CUDA_ERROR_INVALID_VALUE;
    return set_child(target, child);
  });
}
SIM_FN(cuGraphExecEventRecordNodeSetEvent, (CUgraphExec exec, CUgraphNode node, CUevent event), (exec, node, event)) {
  return change_exec(exec, node, kGraphEventRecord, [&](Node& target) { return set_event(target, event); });
}
SIM_FN(cuGraphExecEventWaitNodeSetEvent, (CUgraphExec exec, CUgraphNode node, CUevent event), (exec, node, event)) {
  return change_exec(exec, node, kGraphWaitEvent, [&](Node& target) { return set_event(target, event); });
}
SIM_FN(cuGraphExecNodeSetParams, (CUgraphExec exec, CUgraphNode node, CUgraphNodeParams* params),
       (exec, node, params)) {
  if (params == nullptr || params->type == kGraphMemAlloc || params->type == kGraphMemFree)
    return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, params->type, [&](Node& target) { return set_any(target, *params); });
}
SIM_FN(cuGraphNodeSetEnabled, (CUgraphExec exec, CUgraphNode node, unsigned enabled), (exec, node, enabled)) {
  const Node* original = object<Node>(node);
  if (original == nullptr || original->type > kGraphMemset) return CUDA_ERROR_INVALID_VALUE;
  return change_exec(exec, node, original->type,
                     [&](Node& target) { return target.enabled = enabled != 0, CUDA_SUCCESS; });
}
SIM_FN(cuGraphNodeGetEnabled, (CUgraphExec exec_handle, CUgraphNode node, unsigned* enabled),
       (exec_handle, node, enabled)) {
  const Node* original = object<Node>(node);
  Exec* exec = nullptr;
  const Node* target = original == nullptr ? nullptr : twin(exec_handle, node, exec, original->type);
  if (target == nullptr || enabled == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *enabled = target->enabled ? 1 : 0;
  return CUDA_SUCCESS;
}
SIM_FN(cuGraphExecUpdate, (CUgraphExec exec, CUgraph graph, CUgraphNode* error_node, int* result),
       (exec, graph, error_node, result)) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult code = update(exec, graph, info);
  if (error_node != nullptr) *error_node = info.error_node;
  if (result != nullptr) *result = info.result;
  return code;
}
SIM_FN(cuGraphExecUpdate_v2, (CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo* info),
       (exec, graph, info)) {
  return info == nullptr ? CUDA_ERROR_INVALID_VALUE : update(exec, graph, *info);
}
