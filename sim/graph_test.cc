// Graphs, stream capture, host functions, values in memory.
#include <atomic>
#include <vector>

#include "test_driver.h"

namespace sim::test {
namespace {

using std::size_t;
constexpr double kExact = 1e-3;

CUgraph new_graph() {
  CUgraph graph = nullptr;
  EXPECT_EQ(call("cuGraphCreate", &graph, 0u), kOk);
  return graph;
}

CUgraphNode add_spin(const Program& program, CUgraph graph, std::vector<CUgraphNode> before, std::uint64_t ns,
                     unsigned blocks = 132 * 16) {
  void* parameters[] = {&ns};
  const CUDA_KERNEL_NODE_PARAMS params{program.spin, blocks, 1, 1, 256, 1, 1, 0, parameters, nullptr, nullptr, nullptr};
  CUgraphNode node = nullptr;
  EXPECT_EQ(call("cuGraphAddKernelNode_v2", &node, graph, static_cast<const CUgraphNode*>(before.data()), before.size(),
                 &params),
            kOk);
  return node;
}

CUgraphExec instantiate(CUgraph graph) {
  CUgraphExec exec = nullptr;
  EXPECT_EQ(call("cuGraphInstantiateWithFlags", &exec, graph, 0ull), kOk);
  return exec;
}

// Simulated milliseconds between the end of a kernel that runs before and the end of the graph.
double run_graph(const Program& program, CUgraphExec exec) {
  const CUstream stream = new_stream();
  const CUevent start = new_event(), end = new_event();
  behind_work(program, stream, start, [&] {
    EXPECT_EQ(call("cuGraphLaunch", exec, stream), kOk);
    cuEventRecord(end, stream);
  });
  return ms_between(start, end);
}

TEST(Graphs, RunByTheirDependencies) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUgraph graph = new_graph();
    const CUgraphNode root = add_spin(program, graph, {}, 1 * kMs);
    const CUgraphNode left = add_spin(program, graph, {root}, 3 * kMs, 16);
    const CUgraphNode right = add_spin(program, graph, {root}, 2 * kMs, 16);
    add_spin(program, graph, {left, right}, 1 * kMs);
    const CUgraphExec exec = instantiate(graph);
    EXPECT_NEAR(run_graph(program, exec), 5, kExact);
    EXPECT_NEAR(run_graph(program, exec), 5, kExact) << "again";
  });
}

TEST(Graphs, AreInPlaceOfTheirChildren) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUgraph child = new_graph();
    const CUgraphNode a = add_spin(program, child, {}, 1 * kMs);
    add_spin(program, child, {a}, 1 * kMs);
    const CUgraph graph = new_graph();
    CUgraphNode node = nullptr;
    EXPECT_EQ(
        call("cuGraphAddChildGraphNode", &node, graph, static_cast<const CUgraphNode*>(nullptr), size_t{0}, child),
        kOk);
    add_spin(program, graph, {node}, 1 * kMs);
    EXPECT_NEAR(run_graph(program, instantiate(graph)), 3, kExact);
  });
}

TEST(Graphs, TakeNewParametersWhenInstantiated) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUgraph graph = new_graph();
    const CUgraphNode node = add_spin(program, graph, {}, 1 * kMs);
    const CUgraphExec exec = instantiate(graph);
    std::uint64_t ns = 4 * kMs;
    void* parameters[] = {&ns};
    const CUDA_KERNEL_NODE_PARAMS params{program.spin, 1, 1, 1, 1, 1, 1, 0, parameters, nullptr, nullptr, nullptr};
    EXPECT_EQ(call("cuGraphExecKernelNodeSetParams_v2", exec, node, &params), kOk);
    EXPECT_NEAR(run_graph(program, exec), 4, kExact);
    EXPECT_EQ(call("cuGraphNodeSetEnabled", exec, node, 0u), kOk);
    EXPECT_NEAR(run_graph(program, exec), 0, kExact);
    CUgraphExecUpdateResultInfo info{};
    EXPECT_EQ(call("cuGraphExecUpdate_v2", exec, graph, &info), kOk);
    EXPECT_NEAR(run_graph(program, exec), 1, kExact);
    add_spin(program, graph, {node}, 1 * kMs);
    EXPECT_EQ(call("cuGraphExecUpdate_v2", exec, graph, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  });
}

TEST(Graphs, WithACycleAreRefused) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUgraph graph = new_graph();
    const CUgraphNode a = add_spin(program, graph, {}, kMs);
    const CUgraphNode b = add_spin(program, graph, {a}, kMs);
    EXPECT_EQ(call("cuGraphAddDependencies", graph, static_cast<const CUgraphNode*>(&b),
                   static_cast<const CUgraphNode*>(&a), size_t{1}),
              kOk);
    CUgraphExec exec = nullptr;
    EXPECT_EQ(call("cuGraphInstantiateWithFlags", &exec, graph, 0ull), CUDA_ERROR_INVALID_VALUE);
  });
}

size_t free_now() {
  size_t free = 0, total = 0;
  EXPECT_EQ(cuMemGetInfo_v2(&free, &total), kOk);
  return free;
}

std::uint64_t graph_memory(int attribute) {
  std::uint64_t value = 0;
  EXPECT_EQ(call("cuDeviceGetGraphMemAttribute", CUdevice{0}, attribute, static_cast<void*>(&value)), kOk);
  return value;
}

TEST(Graphs, ReserveTheirMemoryUntilTrimmed) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUgraph graph = new_graph();
    CUDA_MEM_ALLOC_NODE_PARAMS params{};
    params.pool_props.alloc_type = 1;
    params.pool_props.location = {kLocationDevice, 0};
    params.bytes = 100 * kMiB;
    const size_t before = free_now();
    CUgraphNode alloc = nullptr, gone = nullptr;
    EXPECT_EQ(
        call("cuGraphAddMemAllocNode", &alloc, graph, static_cast<const CUgraphNode*>(nullptr), size_t{0}, &params),
        kOk);
    EXPECT_EQ(
        call("cuGraphAddMemFreeNode", &gone, graph, static_cast<const CUgraphNode*>(&alloc), size_t{1}, params.address),
        kOk);
    const CUgraphExec exec = instantiate(graph);
    EXPECT_EQ(free_now(), before) << "nothing is taken before the launch";
    EXPECT_EQ(call("cuGraphLaunch", exec, CUstream{}), kOk);
    cuCtxSynchronize();
    EXPECT_EQ(before - free_now(), 100 * kMiB);
    EXPECT_EQ(graph_memory(0), 0u);
    EXPECT_EQ(graph_memory(1), 100 * kMiB);
    EXPECT_EQ(graph_memory(2), 100 * kMiB);
    EXPECT_EQ(call("cuDeviceGraphMemTrim", CUdevice{0}), kOk);
    EXPECT_EQ(free_now(), before);
  });
}

TEST(Graphs, ThatNeedMoreThanThereIsAreNotLaunched) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUgraph graph = new_graph();
    CUDA_MEM_ALLOC_NODE_PARAMS params{};
    params.pool_props.alloc_type = 1;
    params.pool_props.location = {kLocationDevice, 0};
    params.bytes = 200ull << 30;
    CUgraphNode alloc = nullptr;
    EXPECT_EQ(
        call("cuGraphAddMemAllocNode", &alloc, graph, static_cast<const CUgraphNode*>(nullptr), size_t{0}, &params),
        kOk);
    EXPECT_EQ(call("cuGraphLaunch", instantiate(graph), CUstream{}), CUDA_ERROR_OUT_OF_MEMORY);
  });
}

CUgraph end_capture(CUstream stream) {
  CUgraph graph = nullptr;
  EXPECT_EQ(call("cuStreamEndCapture", stream, &graph), kOk);
  return graph;
}

TEST(Capture, TurnsCallsIntoNodesAcrossStreams) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream one = new_stream(), two = new_stream();
    const CUevent fork = new_event(), join = new_event();
    EXPECT_EQ(call("cuStreamBeginCapture_v2", one, 0), kOk);
    program.run(1 * kMs, one);
    cuEventRecord(fork, one);
    EXPECT_EQ(cuStreamWaitEvent(two, fork, 0), kOk);
    program.run(2 * kMs, one, 16);
    program.run(4 * kMs, two, 16);
    cuEventRecord(join, two);
    EXPECT_EQ(cuStreamWaitEvent(one, join, 0), kOk);
    program.run(1 * kMs, one);
    EXPECT_EQ(cuEventQuery(join), CUDA_ERROR_CAPTURED_EVENT);
    const CUgraph graph = end_capture(one);
    size_t count = 0;
    EXPECT_EQ(call("cuGraphGetNodes", graph, static_cast<CUgraphNode*>(nullptr), &count), kOk);
    EXPECT_EQ(count, 4u);
    EXPECT_NEAR(run_graph(program, instantiate(graph)), 6, kExact);
  });
}

TEST(Capture, RefusesWhatCannotBeCaptured) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream stream = new_stream(), blocking = new_stream(0), other = new_stream();
    CUgraph graph = nullptr;
    EXPECT_EQ(call("cuStreamBeginCapture_v2", CUstream{}, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);

    EXPECT_EQ(call("cuStreamBeginCapture_v2", stream, 2), kOk);
    EXPECT_EQ(cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    EXPECT_EQ(program.run(kMs, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    EXPECT_EQ(call("cuStreamEndCapture", stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    EXPECT_EQ(call("cuStreamBeginCapture_v2", blocking, 2), kOk);
    EXPECT_EQ(program.run(kMs, nullptr), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    EXPECT_EQ(call("cuStreamEndCapture", blocking, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    EXPECT_EQ(call("cuStreamBeginCapture_v2", stream, 0), kOk);
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, 512), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    EXPECT_EQ(call("cuStreamEndCapture", stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    EXPECT_EQ(call("cuStreamBeginCapture_v2", stream, 2), kOk);
    EXPECT_EQ(cuMemAlloc_v2(&address, 512), kOk) << "relaxed";
    const CUevent event = new_event();
    program.run(kMs, stream);
    cuEventRecord(event, stream);
    cuStreamWaitEvent(other, event, 0);
    program.run(kMs, other);
    EXPECT_EQ(call("cuStreamEndCapture", other, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    EXPECT_EQ(call("cuStreamEndCapture", stream, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    EXPECT_EQ(program.run(kMs, other), kOk) << "usable again";
  });
}

TEST(Capture, MakesMemoryNodesOfAsyncAllocations) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream stream = new_stream();
    const size_t before = free_now();
    EXPECT_EQ(call("cuStreamBeginCapture_v2", stream, 2), kOk);
    CUdeviceptr address = 0;
    EXPECT_EQ(call("cuMemAllocAsync", &address, 64 * kMiB, stream), kOk);
    EXPECT_EQ(call("cuMemsetD8Async", address, static_cast<unsigned char>(5), size_t{4096}, stream), kOk);
    EXPECT_EQ(call("cuMemFreeAsync", address, stream), kOk);
    const CUgraph graph = end_capture(stream);
    EXPECT_EQ(free_now(), before);
    EXPECT_EQ(call("cuGraphLaunch", instantiate(graph), stream), kOk);
    EXPECT_EQ(cuStreamSynchronize(stream), kOk);
    EXPECT_EQ(before - free_now(), 64 * kMiB);
  });
}

TEST(HostFunctions, RunInOrderWhenSomebodyWaits) {
  DeviceSet set;
  in_child([] {
    Program program;
    static std::atomic<std::uint64_t> ran_at{0};
    const CUstream stream = new_stream();
    const std::uint64_t before = now_ns();
    program.run(10 * kMs, stream);
    EXPECT_EQ(cuLaunchHostFunc(
                  stream, [](void* at) { *static_cast<std::atomic<std::uint64_t>*>(at) = now_ns(); }, &ran_at),
              kOk);
    const CUevent start = new_event(), end = new_event();
    cuEventRecord(start, stream);
    program.run(3 * kMs, stream);
    cuEventRecord(end, stream);
    EXPECT_EQ(cuEventQuery(end), CUDA_ERROR_NOT_READY);
    EXPECT_EQ(cuStreamSynchronize(stream), kOk);
    EXPECT_GE(ran_at - before, 10 * kMs);
    EXPECT_LE(ran_at.load(), now_ns() - 3 * kMs);
    EXPECT_GE(ms_between(start, end), 3 - kExact);
  });
}

TEST(Values, HoldAStreamUntilTheyAreWritten) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream waiting = new_stream(), writing = new_stream();
    CUdeviceptr flag = 0;
    EXPECT_EQ(cuMemAlloc_v2(&flag, 4), kOk);
    EXPECT_EQ(cuStreamWaitValue32_v2(waiting, flag, 7, 1), kOk);
    program.run(1 * kMs, waiting);
    EXPECT_EQ(cuStreamQuery(waiting), CUDA_ERROR_NOT_READY);
    program.run(5 * kMs, writing);
    EXPECT_EQ(call("cuStreamWriteValue32_v2", writing, flag, std::uint32_t{7}, 0u), kOk);
    EXPECT_EQ(cuStreamSynchronize(waiting), kOk);
    EXPECT_EQ(cuStreamQuery(writing), kOk);
  });
}

TEST(Events, OrderTwoDevices) {
  DeviceSet set("2xT4-16GB");
  in_child([] {
    Program first(0);
    const CUstream one = new_stream();
    const CUevent done = new_event();
    Program second(1);
    const CUstream two = new_stream();
    const std::uint64_t before = now_ns();
    first.run(20 * kMs, one);
    EXPECT_EQ(cuEventRecord(done, one), kOk);
    EXPECT_EQ(cuStreamWaitEvent(two, done, 0), kOk);
    second.run(1 * kMs, two);
    EXPECT_EQ(cuStreamSynchronize(two), kOk);
    EXPECT_GE(now_ns() - before, 21 * kMs);
  });
}

}  // namespace
}  // namespace sim::test
