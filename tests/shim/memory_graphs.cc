// Memory nodes of graphs: held to the limit before the launch, and given back by a trim.
#include <string.h>

#include <thread>

#include "memory_program.h"

namespace memory_program {
namespace {

constexpr unsigned long long kFreeFirst = 1;

using AddNode = CUresult(CUgraphNode*, CUgraph, const CUgraphNode*, std::size_t, CUDA_MEM_ALLOC_NODE_PARAMS*);
using AddFree = CUresult(CUgraphNode*, CUgraph, const CUgraphNode*, std::size_t, CUdeviceptr);
using AddChild = CUresult(CUgraphNode*, CUgraph, const CUgraphNode*, std::size_t, CUgraph);
using Create = CUresult(CUgraph*, unsigned);

// Not every driver does.
bool knows_memory_nodes() { return find_past_the_interposer("cuGraphAddMemAllocNode") != nullptr; }

struct Made {
  CUgraphNode node = nullptr;
  CUdeviceptr address = 0;
};

class Graph {
 public:
  Graph() { CHECK_OK(driver_function<Create>("cuGraphCreate")(&graph, 0)); }
  Made allocate(std::uint64_t bytes, CUgraphNode after = nullptr) const {
    CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
    parameters.properties.alloc_type = 1;
    parameters.properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
    parameters.bytes = bytes;
    Made made;
    CHECK_OK(driver_function<AddNode>("cuGraphAddMemAllocNode")(&made.node, graph, &after, after != nullptr ? 1 : 0,
                                                                &parameters));
    made.address = parameters.address;
    return made;
  }
  CUgraphNode free(const Made& made) const {
    CUgraphNode node = nullptr;
    CHECK_OK(driver_function<AddFree>("cuGraphAddMemFreeNode")(&node, graph, &made.node, 1, made.address));
    return node;
  }
  void add(const Graph& child) const {
    CUgraphNode node = nullptr;
    CHECK_OK(driver_function<AddChild>("cuGraphAddChildGraphNode")(&node, graph, nullptr, 0, child.graph));
  }
  CUgraphExec executable(unsigned long long flags = 0) const {
    CUgraphExec exec = nullptr;
    CHECK_OK(cuGraphInstantiateWithFlags(&exec, graph, flags));
    return exec;
  }

  CUgraph graph = nullptr;
};

void expect_launched(CUgraphExec exec, const Balance& balance, const char* when) {
  CHECK_OK(cuGraphLaunch(exec, nullptr));
  balance.expect_same(when);
}

void expect_refused(CUgraphExec exec, const char* when) {
  const Balance balance;
  const CUresult result = cuGraphLaunch(exec, nullptr);
  CHECK(result == CUDA_ERROR_OUT_OF_MEMORY, "%s: answered %d", when, result);
  balance.expect_same(when);
  CHECK(charged() <= balance.charge, "%s: charged %llu", when,
        static_cast<unsigned long long>(charged() - balance.charge));
}

// captured: what is captured is charged when it is launched, whatever the driver tells of nodes.
void captured() {
  start();
  CUstream stream = nullptr;
  CHECK_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  const Balance balance;
  CUdeviceptr pointer = 0;
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CHECK_OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  CHECK_OK(cuMemAllocAsync(&pointer, 8 * kMiB, stream));
  CHECK_OK(cuStreamEndCapture(stream, &graph));
  if (driver_taken() != balance.driver) return;  // a driver that only pretends to capture
  balance.expect_same("the capture");
  CHECK_OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  CHECK_OK(cuGraphLaunch(exec, stream));
  CHECK_OK(cuStreamSynchronize(stream));
  CHECK(charged() >= balance.charge + 8 * kMiB, "charged %llu for it",
        static_cast<unsigned long long>(charged() - balance.charge));
  balance.expect_same("the launch");
  CHECK_OK(cuMemFree_v2(pointer));
  CHECK_OK(cuDeviceGraphMemTrim(ordinal));
  balance.expect_as_before("the trim");
}

// limit BYTES: a launch that would pass the limit is refused before anything is taken, and one that fits is not.
void limited() {
  start();
  if (!knows_memory_nodes()) return;
  const Balance balance;
  const std::uint64_t room = (number(0) - charged()) / (8 * kBlock) * (8 * kBlock), quarter = room / 4;
  const Graph large, larger, whole, inside;
  const Made held = large.allocate(3 * quarter), wanted = larger.allocate(2 * quarter);
  whole.allocate(4 * quarter + 2 * kBlock * 8);
  inside.allocate(2 * quarter);
  const CUgraphExec first = large.executable(), second = larger.executable();
  balance.expect_as_before("instantiation");
  expect_refused(whole.executable(), "more than the limit");
  expect_launched(first, balance, "three quarters of the room");
  CHECK(charged() == balance.charge + 3 * quarter, "not what it takes");
  expect_refused(second, "a half beside three quarters");
  CHECK_OK(cuMemFree_v2(held.address));
  expect_launched(second, balance, "a half out of what the other one has left");
  CHECK(charged() == balance.charge + 3 * quarter, "more than the reserve is charged");
  expect_refused(first, "three quarters beside a half");
  CHECK_OK(cuMemFree_v2(wanted.address));
  CUdeviceptr plain = 0;
  CHECK_OK(cuMemAlloc_v2(&plain, 4 * quarter));  // out of what graphs have no use for
  balance.expect_same("memory that graphs gave back");
  CHECK_OK(cuMemFree_v2(plain));
  balance.expect_as_before("its end");
  expect_launched(large.executable(), balance, "what was refused for the other's sake");
  CHECK_OK(cuMemFree_v2(held.address));
  CHECK_OK(cuDeviceGraphMemTrim(ordinal));
  balance.expect_as_before("the trim");
  CHECK_OK(cuMemAlloc_v2(&plain, quarter + 8 * kBlock));
  const Balance beside;
  const Graph both;
  both.allocate(quarter);
  both.add(inside);
  expect_refused(both.executable(), "a quarter and the half of a graph within it");
  beside.expect_as_before("all that");
}

// paths BYTES: memory serves again along a path, and not across paths that may run side by side.
void paths() {
  start();
  if (!knows_memory_nodes()) return;
  const Balance balance;
  const std::uint64_t half = (number(0) - charged()) / (4 * kBlock) * (2 * kBlock), most = half + half / 2;
  const Graph chain, fan, fork;
  CUgraphNode last = nullptr;
  for (int i = 0; i < 5; ++i) last = chain.free(chain.allocate(most, last));
  const CUgraphExec exec = chain.executable();
  for (int round = 0; round < 3; ++round) expect_launched(exec, balance, "a chain");
  CHECK(charged() == balance.charge + most, "more than one of its allocations is charged");
  CHECK_OK(cuDeviceGraphMemTrim(ordinal));
  for (int i = 0; i < 2; ++i) fan.free(fan.allocate(most));
  expect_refused(fan.executable(), "two side by side");
  const CUgraphNode root = fork.free(fork.allocate(2 * half));
  for (int i = 0; i < 2; ++i) fork.free(fork.allocate(half, root));
  expect_launched(fork.executable(), balance, "two halves after a whole");
  CHECK_OK(cuDeviceGraphMemTrim(ordinal));
  balance.expect_as_before("the trim");
}

// again BYTES: an executable graph that frees first what it left, between launches of others; one that is updated.
void again() {
  start();
  if (!knows_memory_nodes()) return;
  const Balance balance;
  const std::uint64_t quarter = (number(0) - charged()) / (8 * kBlock) * (2 * kBlock);
  const Graph keeps, other, small, large;
  keeps.allocate(2 * quarter);
  other.free(other.allocate(quarter));
  const Made less = small.allocate(quarter);
  large.allocate(3 * quarter);
  const CUgraphExec first = keeps.executable(kFreeFirst), second = other.executable();
  for (int round = 0; round < 4; ++round) {
    expect_launched(first, balance, "a launch that frees first");
    expect_launched(second, balance, "another graph's launch");
  }
  CHECK(charged() == balance.charge + 3 * quarter, "charged %llu",
        static_cast<unsigned long long>(charged() - balance.charge));
  const CUgraphExec changed = small.executable();
  expect_launched(changed, balance, "a small graph");
  CHECK_OK(cuMemFree_v2(less.address));
  CHECK_OK(cuGraphUpload(changed, nullptr));
  balance.expect_same("an upload");
  std::uint64_t outcome[8] = {};
  CHECK_OK(cuGraphExecUpdate_v2(changed, large.graph, outcome));
  expect_refused(changed, "what has become large");
  CHECK_OK(cuGraphExecDestroy(changed));
  CHECK_OK(cuGraphExecDestroy(first));
  CHECK_OK(cuGraphExecDestroy(second));
  balance.expect_same("their end");
}

// threads COUNT ROUNDS: each its own graphs.
void side_by_side() {
  start();
  if (!knows_memory_nodes()) return;
  const Balance balance;
  std::vector<std::thread> threads;
  for (unsigned long i = 0; i < number(0); ++i)
    threads.emplace_back([i] {
      CHECK_OK(cuCtxSetCurrent(first_context));
      for (unsigned long round = 0; round < number(1); ++round) {
        const Graph graph;
        const Made made = graph.allocate((i + 1 + round % 3) * kBlock);
        const CUgraphExec exec = graph.executable();
        CHECK_OK(cuGraphLaunch(exec, nullptr));
        CHECK_OK(cuMemFree_v2(made.address));
        if (round % 4 == 0) CHECK_OK(cuDeviceGraphMemTrim(ordinal));
        CHECK_OK(cuGraphExecDestroy(exec));
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK_OK(cuCtxSynchronize());
  balance.expect_same("all threads have ended");
  CHECK_OK(cuDeviceGraphMemTrim(ordinal));
  balance.expect_as_before("the trim");
}

}  // namespace

std::vector<Scenario> graph_cases() {
  return {{"graphs", captured},
          {"graph-limit", limited},
          {"graph-paths", paths},
          {"graph-again", again},
          {"graph-threads", side_by_side}};
}

}  // namespace memory_program
