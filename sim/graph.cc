#include "graph.h"

#include <algorithm>

#include "context.h"
#include "module.h"

namespace sim {

Node* Graph::add(int type, const CUgraphNode* before, std::size_t count) {
  if (count > 0 && before == nullptr) return nullptr;
  auto node = std::make_unique<Node>();
  node->graph = this;
  node->type = type;
  for (std::size_t i = 0; i < count; ++i) {
    Node* other = object<Node>(before[i]);
    if (!has(other)) return nullptr;
    node->before.push_back(other);
  }
  for (Node* other : node->before) other->after.push_back(node.get());
  nodes.push_back(std::move(node));
  return nodes.back().get();
}

std::unique_ptr<Graph> clone(const Graph& graph) {
  auto copy = std::make_unique<Graph>();
  copy->is_child = graph.is_child;
  for (const auto& node : graph.nodes) {
    auto twin = std::make_unique<Node>();
    twin->graph = copy.get();
    twin->type = node->type;
    twin->enabled = node->enabled;
    twin->kernel = node->kernel;
    twin->cost = node->cost;
    twin->first_parameter = node->first_parameter;
    twin->own_parameters[0] = &twin->first_parameter;
    twin->kernel.kernel_params = twin->own_parameters;
    twin->copy = node->copy;
    twin->move = node->move;
    twin->set = node->set;
    twin->fill = node->fill;
    twin->host = node->host;
    twin->event = node->event;
    twin->alloc = node->alloc;
    twin->memory = node->memory;
    twin->freed = node->freed;
    if (node->child) twin->child = clone(*node->child);
    copy->from[node.get()] = twin.get();
    copy->nodes.push_back(std::move(twin));
  }
  for (const auto& node : graph.nodes) {
    Node* twin = copy->from[node.get()];
    for (const Node* other : node->before) twin->before.push_back(copy->from[other]);
    for (const Node* other : node->after) twin->after.push_back(copy->from[other]);
  }
  return copy;
}

std::vector<Node*> in_order(const Graph& graph) {
  std::unordered_map<const Node*, std::size_t> open;
  std::vector<Node*> order;
  for (const auto& node : graph.nodes) {
    open[node.get()] = node->before.size();
    if (node->before.empty()) order.push_back(node.get());
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (Node* next : order[i]->after) {
      if (--open[next] == 0) order.push_back(next);
    }
  }
  if (order.size() != graph.nodes.size()) order.clear();
  return order;
}

namespace {

void fill_step(PlanStep& step, const Node& node, const Device& device) {
  if (!node.enabled) return;
  switch (node.type) {
    case kGraphKernel:
      step.kind = PlanStep::Kind::kKernel;
      step.duration = node.cost.duration;
      step.sms = node.cost.sms;
      break;
    case kGraphMemcpy:
      step.kind = PlanStep::Kind::kTime;
      step.duration = copy_ns(device, node.move.bytes(), node.move.host_side);
      break;
    case kGraphMemset:
      step.kind = PlanStep::Kind::kTime;
      step.duration = copy_ns(device, node.fill.bytes(), false);
      break;
    case kGraphHost:
      step.kind = PlanStep::Kind::kHost;
      break;
    case kGraphWaitEvent:
      step.kind = PlanStep::Kind::kWait;
      break;
    case kGraphEventRecord:
      step.kind = PlanStep::Kind::kRecord;
      break;
    default:
      break;
  }
}

// Adds the nodes of `graph` behind the steps `entry`; returns the step that stands for the end of each.
void add_steps(Plan& plan, const Graph& graph, const std::vector<std::uint32_t>& entry, const Device& device) {
  std::unordered_map<const Node*, std::uint32_t> end_of;
  for (const Node* node : in_order(graph)) {
    std::vector<std::uint32_t> before = entry;
    for (const Node* other : node->before) before.push_back(end_of[other]);
    if (node->child) {
      const std::size_t first = plan.steps.size();
      add_steps(plan, *node->child, before, device);
      for (std::size_t i = first; i < plan.steps.size(); ++i) before.push_back(static_cast<std::uint32_t>(i));
    }
    PlanStep step;
    fill_step(step, *node, device);
    step.node = node;
    step.before_begin = static_cast<std::uint32_t>(plan.before.size());
    plan.before.insert(plan.before.end(), before.begin(), before.end());
    step.before_end = static_cast<std::uint32_t>(plan.before.size());
    plan.linear |= step.kind == PlanStep::Kind::kHost || step.kind == PlanStep::Kind::kWait;
    end_of[node] = static_cast<std::uint32_t>(plan.steps.size());
    plan.steps.push_back(step);
  }
}

void move_bytes(const PlanStep& step) {
  if (step.kind != PlanStep::Kind::kTime) return;
  if (step.node->type == kGraphMemcpy) run(step.node->move);
  if (step.node->type == kGraphMemset) run(step.node->fill);
}

CUresult launch_step(Stream& stream, const PlanStep& step, const std::shared_ptr<const Plan>& plan) {
  Work work;
  switch (step.kind) {
    case PlanStep::Kind::kNothing:
      return CUDA_SUCCESS;
    case PlanStep::Kind::kKernel:
      work.kind = Work::Kind::kKernel;
      work.sms = step.sms;
      break;
    case PlanStep::Kind::kTime:
      work.kind = Work::Kind::kTime;
      work.action = [plan, &step] { move_bytes(step); };
      break;
    case PlanStep::Kind::kHost:
      work.kind = Work::Kind::kHost;
      work.host = step.node->host.function;
      work.user_data = step.node->host.user_data;
      break;
    case PlanStep::Kind::kRecord:
      return record_on(stream, step.node->event);
    case PlanStep::Kind::kWait: {
      Event* event = object<Event>(step.node->event);
      return event == nullptr ? CUDA_ERROR_INVALID_HANDLE : wait_event(stream, *event, 0);
    }
  }
  work.duration = step.duration;
  submit(stream, std::move(work));
  return CUDA_SUCCESS;
}

}  // namespace

std::shared_ptr<const Plan> make_plan(const std::shared_ptr<Graph>& graph, int ordinal) {
  auto plan = std::make_shared<Plan>();
  plan->graph = graph;
  add_steps(*plan, *graph, {}, device_at(ordinal));
  return plan;
}

CUresult launch_graph(Exec& exec, Stream& stream) {
  if (const CUresult result = map_graph_memory(exec); result != CUDA_SUCCESS) return result;
  const std::shared_ptr<const Plan> plan = exec.plan;
  if (!plan->linear) {
    for (const PlanStep& step : plan->steps) move_bytes(step);
    Work work;
    work.kind = Work::Kind::kGraph;
    work.plan = plan;
    work.counts = true;
    submit(stream, std::move(work));
    return CUDA_SUCCESS;
  }
  Work mark;  // one pending launch for the whole
  mark.kind = Work::Kind::kMark;
  mark.counts = true;
  submit(stream, std::move(mark));
  for (const PlanStep& step : plan->steps) {
    if (const CUresult result = launch_step(stream, step, plan); result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

// --- filling nodes in ---

CUresult set_kernel(Node& node, const CUDA_KERNEL_NODE_PARAMS& params, int ordinal) {
  CUfunction function = params.function != nullptr ? params.function : handle<CUfunction>(params.kernel);
  const Launch launch{function,
                      {params.grid_x, params.grid_y, params.grid_z},
                      {params.block_x, params.block_y, params.block_z},
                      params.shared_bytes,
                      params.kernel_params,
                      params.extra};
  KernelCost cost;
  if (const CUresult result = cost_of(launch, ordinal, cost); result != CUDA_SUCCESS) return result;
  node.cost = cost;
  node.kernel = params;
  node.kernel.function = function;
  node.kernel.extra = nullptr;
  node.first_parameter = find_function(function)->spin ? first_parameter(params.kernel_params, params.extra) : 0;
  node.own_parameters[0] = &node.first_parameter;
  node.kernel.kernel_params = node.own_parameters;
  return CUDA_SUCCESS;
}

CUresult set_copy(Node& node, const CUDA_MEMCPY3D& copy) {
  Move move;
  if (const CUresult result = lay_out(copy, move); result != CUDA_SUCCESS) return result;
  node.copy = copy;
  node.move = move;
  return CUDA_SUCCESS;
}

CUresult set_fill(Node& node, const CUDA_MEMSET_NODE_PARAMS& params) {
  if (params.element_size != 1 && params.element_size != 2 && params.element_size != 4) return CUDA_ERROR_INVALID_VALUE;
  const Fill fill{params.dst,          params.pitch, params.value,
                  params.element_size, params.width, std::max<std::size_t>(params.height, 1)};
  if (const CUresult result = check(fill); result != CUDA_SUCCESS) return result;
  node.set = params;
  node.fill = fill;
  return CUDA_SUCCESS;
}

}  // namespace sim
