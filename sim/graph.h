// Graphs: nodes and what they follow; the plan an executable graph is launched by; memory nodes.
//
// A graph belongs to the program, which may not change one from two threads at once; so nothing here is locked but
// the graph memory of a device.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "copy.h"
#include "launch.h"
#include "memory.h"

namespace sim {

struct Graph;
struct UserObject;

// Memory that alloc nodes of a graph and of its clones stand for. The address is fixed when the node is made; memory
// is behind it from the launch of the alloc node until it is freed, by a node or by hand.
struct GraphMemory {
  Allocation* allocation = nullptr;
  bool mapped = false;
  ~GraphMemory();
};
using GraphMemoryPtr = std::shared_ptr<GraphMemory>;

struct Node : Object<Tag::kNode> {
  static constexpr Tag kTag = Tag::kNode;
  Graph* graph = nullptr;
  int type = 0;
  bool enabled = true;
  std::vector<Node*> before, after;

  CUDA_KERNEL_NODE_PARAMS kernel{};
  KernelCost cost{};
  std::uint64_t first_parameter = 0;
  void* own_parameters[2] = {};
  CUDA_MEMCPY3D copy{};
  Move move;
  CUDA_MEMSET_NODE_PARAMS set{};
  Fill fill;
  CUDA_HOST_NODE_PARAMS host{};
  CUevent event = nullptr;
  std::unique_ptr<Graph> child;
  CUDA_MEM_ALLOC_NODE_PARAMS alloc{};
  GraphMemoryPtr memory;
  CUdeviceptr freed = 0;
};

struct Graph : Object<Tag::kGraph> {
  static constexpr Tag kTag = Tag::kGraph;
  std::vector<std::unique_ptr<Node>> nodes;
  std::unordered_map<const Node*, Node*> from;  // a clone: node of the original -> node here
  std::unordered_map<UserObject*, unsigned> objects;
  bool is_child = false;
  ~Graph();

  Node* add(int type, const CUgraphNode* before, std::size_t count);
  bool has(const Node* node) const { return node != nullptr && node->graph == this; }
};

// One thing a launch does. `before` are the steps it follows, by index, all smaller than its own.
struct PlanStep {
  enum class Kind { kNothing, kKernel, kTime, kHost, kRecord, kWait };
  Kind kind = Kind::kNothing;
  std::uint64_t duration = 0;
  std::uint32_t sms = 0;
  std::uint32_t before_begin = 0, before_end = 0;  // in Plan::before
  const Node* node = nullptr;
};
struct Plan {
  std::vector<PlanStep> steps;
  std::vector<std::uint32_t> before;
  std::shared_ptr<const Graph> graph;  // the steps point into it
  bool linear = false;                 // host functions or events to wait for: launched step by step, in order
};

struct Exec : Object<Tag::kExec> {
  static constexpr Tag kTag = Tag::kExec;
  std::shared_ptr<Graph> graph;  // a clone
  std::shared_ptr<const Plan> plan;
  unsigned long long flags = 0;
  int ordinal = 0;
};

std::unique_ptr<Graph> clone(const Graph& graph);
// The nodes so that each comes after what it follows; empty when there is a cycle (and nodes are not).
std::vector<Node*> in_order(const Graph& graph);
std::shared_ptr<const Plan> make_plan(const std::shared_ptr<Graph>& graph, int ordinal);
CUresult launch_graph(Exec& exec, Stream& stream);

// Filling nodes in; each checks what it is given. `ordinal` is the device's, that of the current context if not said.
int ordinal_here();
CUDA_KERNEL_NODE_PARAMS widen(const CUDA_KERNEL_NODE_PARAMS_v1& params);
CUresult set_kernel(Node& node, const CUDA_KERNEL_NODE_PARAMS& params, int ordinal);
CUresult set_copy(Node& node, const CUDA_MEMCPY3D& copy);
CUresult set_fill(Node& node, const CUDA_MEMSET_NODE_PARAMS& params);
CUresult set_alloc(Node& node, CUDA_MEM_ALLOC_NODE_PARAMS& params, int ordinal);
CUresult set_free(Node& node, CUdeviceptr address);
CUresult set_child(Node& node, CUgraph child);
CUresult set_event(Node& node, CUevent event);
CUresult set_host(Node& node, const CUDA_HOST_NODE_PARAMS& params);
// In the form of cuGraphAddNode, for any kind of node.
CUresult set_any(Node& node, CUgraphNodeParams& params);

// Graph memory of a device.
CUresult map_graph_memory(Exec& exec);
void return_to_graph(Allocation* allocation);

}  // namespace sim
