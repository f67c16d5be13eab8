// Memory nodes, and the memory that graphs of a device keep between launches.
//
// As with the real driver, memory freed inside a graph stays reserved for graphs of that device until it is trimmed,
// and within one launch what is freed before can be used again: so the need of a launch is its peak.
#include <string.h>

#include <algorithm>

#include "context.h"
#include "graph.h"

namespace sim {
namespace {

struct GraphPool {
  std::uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
};
std::mutex graph_memory_lock;  // before memory_lock
GraphPool graph_pools[kMaxDevices];
auto& by_address = kept_to_the_end<std::unordered_map<std::uint64_t, std::weak_ptr<GraphMemory>>>();

GraphMemoryPtr memory_at(CUdeviceptr address) {
  const auto found = by_address.find(address);
  return found == by_address.end() ? nullptr : found->second.lock();
}

struct Need {
  std::int64_t now = 0, peak = 0;
};

// What one launch needs, in order; nodes of child graphs included.
void add_need(const Graph& graph, Need& need) {
  for (const Node* node : in_order(graph)) {
    if (node->child) add_need(*node->child, need);
    if (node->type == kGraphMemAlloc) need.now += static_cast<std::int64_t>(node->memory->allocation->charged);
    if (node->type == kGraphMemFree) {
      if (const GraphMemoryPtr memory = memory_at(node->freed)) {
        need.now -= static_cast<std::int64_t>(memory->allocation->charged);
      }
    }
    need.peak = std::max(need.peak, need.now);
  }
}

bool has_memory_nodes(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const auto& node) {
    return node->type == kGraphMemAlloc || node->type == kGraphMemFree ||
           (node->child && has_memory_nodes(*node->child));
  });
}

void unmap(GraphMemory& memory) {
  if (!memory.mapped) return;
  memory.mapped = false;
  graph_pools[memory.allocation->ordinal].used -= memory.allocation->charged;
}

// Some memory of an earlier launch is still there: an error, or freed first if the graph was made for that.
bool check_mapped(const Graph& graph, bool free_first) {
  for (const auto& node : graph.nodes) {
    if (node->child && !check_mapped(*node->child, free_first)) return false;
    if (node->type != kGraphMemAlloc || !node->memory->mapped) continue;
    if (!free_first) return false;
    unmap(*node->memory);
  }
  return true;
}

void apply(const Graph& graph) {
  for (const Node* node : in_order(graph)) {
    if (node->child) apply(*node->child);
    if (node->type == kGraphMemAlloc) {
      node->memory->mapped = true;
      graph_pools[node->memory->allocation->ordinal].used += node->memory->allocation->charged;
    }
    if (node->type == kGraphMemFree) {
      if (const GraphMemoryPtr memory = memory_at(node->freed)) unmap(*memory);
    }
  }
}

}  // namespace

GraphMemory::~GraphMemory() {
  if (allocation == nullptr) return;
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  by_address.erase(allocation->address);
  std::lock_guard<std::mutex> memory(memory_lock);
  if (mapped) {
    allocation->orphan = true;  // the program still has it; cuMemFree will end it
  } else {
    give_address(allocation);
  }
}

CUresult set_alloc(Node& node, CUDA_MEM_ALLOC_NODE_PARAMS& params, int ordinal) {
  if (params.bytes == 0 || params.pool_props.location.type != kLocationDevice) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(params.pool_props.location.id)) return CUDA_ERROR_INVALID_DEVICE;
  if (params.bytes > (std::uint64_t{1} << 48)) return CUDA_ERROR_OUT_OF_MEMORY;
  auto memory = std::make_shared<GraphMemory>();
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    memory->allocation = take_address(rounded(params.bytes));
    if (memory->allocation == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    memory->allocation->bytes = params.bytes;
    memory->allocation->ordinal = params.pool_props.location.id;
    memory->allocation->context = current_context();
    memory->allocation->kind = MemoryKind::kGraph;
    memory->allocation->id = driver.next_id.fetch_add(1);
  }
  params.address = memory->allocation->address;
  node.alloc = params;
  node.memory = memory;
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  by_address[params.address] = memory;
  return CUDA_SUCCESS;
}

CUresult set_free(Node& node, CUdeviceptr address) {
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  if (memory_at(address) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  node.freed = address;
  return CUDA_SUCCESS;
}

CUresult map_graph_memory(Exec& exec) {
  if (!has_memory_nodes(*exec.graph)) return CUDA_SUCCESS;
  constexpr unsigned long long kAutoFree = 1;
  Queue& queue = *driver.queues[exec.ordinal];
  GraphPool& pool = graph_pools[exec.ordinal];
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  if (!check_mapped(*exec.graph, (exec.flags & kAutoFree) != 0)) return CUDA_ERROR_INVALID_VALUE;
  Need need;
  add_need(*exec.graph, need);
  const std::uint64_t peak = pool.used + static_cast<std::uint64_t>(need.peak);
  if (peak > pool.reserved) {
    const std::uint64_t growth = round_up(peak - pool.reserved, kBlock);
    if (!charge(*driver.shared, queue.channel, growth)) return CUDA_ERROR_OUT_OF_MEMORY;
    pool.reserved += growth;
  }
  pool.used_high = std::max(pool.used_high, peak);
  pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
  apply(*exec.graph);
  return CUDA_SUCCESS;
}

void return_to_graph(Allocation* allocation) {
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  if (const GraphMemoryPtr memory = memory_at(allocation->address)) {
    unmap(*memory);
    return;
  }
  if (!allocation->orphan) return;
  graph_pools[allocation->ordinal].used -= allocation->charged;
  std::lock_guard<std::mutex> memory(memory_lock);
  give_address(allocation);
}

}  // namespace sim

using namespace sim;

static constexpr int kGraphUsed = 0, kGraphUsedHigh = 1, kGraphReservedHigh = 3;  // 2: reserved now

SIM_FN(cuDeviceGetGraphMemAttribute, (CUdevice device, int attribute, void* value), (device, attribute, value)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr || attribute < kGraphUsed || attribute > kGraphReservedHigh) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  const GraphPool& pool = graph_pools[device];
  const std::uint64_t numbers[] = {pool.used, pool.used_high, pool.reserved, pool.reserved_high};
  memcpy(value, &numbers[attribute], sizeof numbers[attribute]);
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceSetGraphMemAttribute, (CUdevice device, int attribute, void* value), (device, attribute, value)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::uint64_t number = 1;
  if (value != nullptr) memcpy(&number, value, sizeof number);
  if (number != 0) return CUDA_ERROR_INVALID_VALUE;  // high marks can only be reset
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  GraphPool& pool = graph_pools[device];
  if (attribute == kGraphUsedHigh) {
    pool.used_high = pool.used;
  } else if (attribute == kGraphReservedHigh) {
    pool.reserved_high = pool.reserved;
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGraphMemTrim, (CUdevice device), (device)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard<std::mutex> lock(graph_memory_lock);
  GraphPool& pool = graph_pools[device];
  const std::uint64_t keep = round_up(pool.used, kBlock);
  if (pool.reserved > keep) {
    refund(*driver.shared, driver.queues[device]->channel, pool.reserved - keep);
    pool.reserved = keep;
  }
  return CUDA_SUCCESS;
}
