#include "capture.h"

#include <algorithm>
#include <unordered_set>

#include "context.h"
#include "graph.h"
#include "pool.h"

namespace sim {

std::atomic<int> captures_active{0};

// One capture: begun on its origin, joined by streams that wait for events recorded in it.
struct Capture {
  std::uint64_t id = 0;
  int mode = 0;
  bool spoiled = false, ended = false;
  Stream* origin = nullptr;
  std::unordered_set<Stream*> streams;
  std::unique_ptr<Graph> own;  // the graph being made, unless the program gave one
  Graph* graph = nullptr;
  std::uint64_t thread = 0;
};

namespace {

constexpr int kGlobal = 0, kThreadLocal = 1, kRelaxed = 2;

std::mutex capture_lock;  // the list
auto& captures = kept_to_the_end<std::vector<Capture*>>();
thread_local int thread_mode = kGlobal;
thread_local char thread_mark;  // its address tells threads apart

std::uint64_t this_thread() { return reinterpret_cast<std::uint64_t>(&thread_mark); }

void unite(std::vector<Node*>& into, const std::vector<Node*>& more) {
  for (Node* node : more) {
    if (std::find(into.begin(), into.end(), node) == into.end()) into.push_back(node);
  }
}

// The next node of the stream; what the stream captures afterwards follows it.
Node* add_node(Stream& stream, int type) {
  std::vector<CUgraphNode> before;
  for (Node* node : stream.frontier) before.push_back(handle<CUgraphNode>(node));
  Node* node = stream.capture->graph->add(type, before.data(), before.size());
  if (node != nullptr) stream.frontier = {node};
  return node;
}

CUresult usable(const Stream& stream) {
  return stream.capture->spoiled ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
}

void leave(const std::shared_ptr<Capture>& capture) {
  capture->ended = true;
  for (Stream* stream : capture->streams) {
    stream->frontier.clear();
    stream->capture.reset();
  }
  std::lock_guard<std::mutex> lock(capture_lock);
  std::erase(captures, capture.get());
  captures_active.fetch_sub(1);
}

// Everything on joined streams must have been waited for by the origin.
bool is_joined(const Capture& capture) {
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> open(capture.origin->frontier.begin(), capture.origin->frontier.end());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    open.insert(open.end(), node->before.begin(), node->before.end());
  }
  for (const Stream* stream : capture.streams) {
    for (const Node* node : stream->frontier) {
      if (seen.count(node) == 0) return false;
    }
  }
  return true;
}

CUresult begin(Stream& stream, int mode, Graph* given, const CUgraphNode* before, std::size_t count) {
  if (mode < kGlobal || mode > kRelaxed) return CUDA_ERROR_INVALID_VALUE;
  if (stream.legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream.capture != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  std::vector<Node*> frontier;
  for (std::size_t i = 0; i < count; ++i) {
    Node* node = before == nullptr ? nullptr : object<Node>(before[i]);
    if (node == nullptr || given == nullptr || !given->has(node)) return CUDA_ERROR_INVALID_VALUE;
    frontier.push_back(node);
  }
  auto capture = std::make_shared<Capture>();
  capture->id = driver.next_id.fetch_add(1);
  capture->mode = mode;
  capture->origin = &stream;
  capture->streams.insert(&stream);
  capture->thread = this_thread();
  if (given == nullptr) capture->own = std::make_unique<Graph>();
  capture->graph = given == nullptr ? capture->own.get() : given;
  stream.capture = capture;
  stream.frontier = std::move(frontier);
  std::lock_guard<std::mutex> lock(capture_lock);
  captures.push_back(capture.get());
  captures_active.fetch_add(1);
  return CUDA_SUCCESS;
}

CUresult end(Stream& stream, CUgraph* out) {
  const std::shared_ptr<Capture> capture = stream.capture;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = nullptr;
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != &stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != kRelaxed && capture->thread != this_thread()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  CUresult result = usable(stream);
  if (result == CUDA_SUCCESS && !is_joined(*capture)) result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  leave(capture);
  if (result != CUDA_SUCCESS) return result;
  *out = handle<CUgraph>(capture->own != nullptr ? capture->own.release() : capture->graph);
  return CUDA_SUCCESS;
}

int status_of(const Stream& stream) {
  constexpr int kNone = 0, kActive = 1, kInvalidated = 2;
  return stream.capture == nullptr ? kNone : stream.capture->spoiled ? kInvalidated : kActive;
}

struct CaptureInfo {
  int* status;
  std::uint64_t* id = nullptr;
  CUgraph* graph = nullptr;
  const CUgraphNode** nodes = nullptr;
  std::size_t* count = nullptr;
};
CUresult info(Stream& stream, const CaptureInfo& out) {
  if (out.status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out.status = status_of(stream);
  if (stream.capture == nullptr) return CUDA_SUCCESS;
  if (out.id != nullptr) *out.id = stream.capture->id;
  if (out.graph != nullptr) *out.graph = handle<CUgraph>(stream.capture->graph);
  if (out.nodes != nullptr) *out.nodes = reinterpret_cast<const CUgraphNode*>(stream.frontier.data());
  if (out.count != nullptr) *out.count = stream.frontier.size();
  return CUDA_SUCCESS;
}

CUresult update(Stream& stream, const CUgraphNode* nodes, std::size_t count, unsigned flags) {
  constexpr unsigned kAdd = 0, kSet = 1;
  if (stream.capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (flags > kSet || (nodes == nullptr && count > 0)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Node*> given;
  for (std::size_t i = 0; i < count; ++i) {
    Node* node = object<Node>(nodes[i]);
    if (!stream.capture->graph->has(node)) return CUDA_ERROR_INVALID_VALUE;
    given.push_back(node);
  }
  if (flags == kAdd) {
    unite(stream.frontier, given);
  } else {
    stream.frontier = std::move(given);
  }
  return CUDA_SUCCESS;
}

// begin, checked and filled; a node that cannot be filled is taken out again.
template <class Fill>
CUresult capture_node(Stream& stream, int type, Fill fill) {
  if (const CUresult result = usable(stream); result != CUDA_SUCCESS) return result;
  const std::vector<Node*> before = stream.frontier;
  Node* node = add_node(stream, type);
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = fill(*node);
  if (result == CUDA_SUCCESS) return result;
  for (Node* other : before) std::erase(other->after, node);
  stream.frontier = before;
  stream.capture->graph->nodes.pop_back();
  return result;
}

}  // namespace

CUresult capture_kernel(Stream& stream, const Launch& launch, const KernelCost&) {
  return capture_node(stream, kGraphKernel, [&](Node& node) {
    const CUDA_KERNEL_NODE_PARAMS params{launch.function,   launch.grid[0],  launch.grid[1],  launch.grid[2],
                                         launch.block[0],   launch.block[1], launch.block[2], launch.shared_bytes,
                                         launch.parameters, launch.extra,    nullptr,         nullptr};
    return set_kernel(node, params, stream.context->ordinal);
  });
}

CUresult capture_host(Stream& stream, CUhostFn function, void* user_data) {
  return capture_node(stream, kGraphHost, [&](Node& node) { return node.host = {function, user_data}, CUDA_SUCCESS; });
}

CUresult capture_copy(Stream& stream, const Move& move) {
  return capture_node(stream, kGraphMemcpy, [&](Node& node) {
    node.move = move;
    node.copy.src_type = kMemoryTypeUnified;
    node.copy.src_device = reinterpret_cast<CUdeviceptr>(move.from);
    node.copy.src_pitch = move.from_pitch;
    node.copy.dst_type = kMemoryTypeUnified;
    node.copy.dst_device = reinterpret_cast<CUdeviceptr>(move.to);
    node.copy.dst_pitch = move.to_pitch;
    node.copy.width = move.width;
    node.copy.height = move.height;
    node.copy.depth = move.depth;
    return CUDA_SUCCESS;
  });
}

CUresult capture_fill(Stream& stream, const Fill& fill) {
  return capture_node(stream, kGraphMemset, [&](Node& node) {
    return set_fill(node, {fill.to, fill.pitch, fill.value, fill.element, fill.width, fill.height});
  });
}

CUresult capture_alloc(Stream& stream, std::uint64_t bytes, CUdeviceptr* out) {
  return capture_node(stream, kGraphMemAlloc, [&](Node& node) {
    CUDA_MEM_ALLOC_NODE_PARAMS params{};
    params.pool_props.alloc_type = 1;
    params.pool_props.location = {kLocationDevice, stream.context->ordinal};
    params.bytes = bytes;
    const CUresult result = set_alloc(node, params, stream.context->ordinal);
    if (result == CUDA_SUCCESS) *out = params.address;
    return result;
  });
}

CUresult capture_free(Stream& stream, CUdeviceptr address) {
  return capture_node(stream, kGraphMemFree, [&](Node& node) { return set_free(node, address); });
}

CUresult capture_graph(Stream& stream, const Graph& graph) {
  return capture_node(stream, kGraphChild, [&](Node& node) { return node.child = clone(graph), CUDA_SUCCESS; });
}

CUresult capture_record(Stream& stream, Event& event, unsigned flags) {
  if (const CUresult result = usable(stream); result != CUDA_SUCCESS) return result;
  constexpr unsigned kExternal = 1;
  if (flags == kExternal) {
    return capture_node(stream, kGraphEventRecord,
                        [&](Node& node) { return node.event = handle<CUevent>(&event), CUDA_SUCCESS; });
  }
  event.capture = stream.capture;
  event.captured = stream.frontier;
  return CUDA_SUCCESS;
}

CUresult capture_wait(Stream& stream, Event& event, unsigned flags) {
  constexpr unsigned kExternal = 1;
  if (stream.capture != nullptr && flags == kExternal) {
    return capture_node(stream, kGraphWaitEvent,
                        [&](Node& node) { return node.event = handle<CUevent>(&event), CUDA_SUCCESS; });
  }
  if (event.capture == nullptr || event.capture->ended) {
    if (stream.capture == nullptr) return CUDA_ERROR_INVALID_VALUE;
    stream.capture->spoiled = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (stream.capture == nullptr) {
    if (stream.legacy) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    stream.capture = event.capture;
    stream.capture->streams.insert(&stream);
    stream.frontier = event.captured;
    return CUDA_SUCCESS;
  }
  if (stream.capture != event.capture) {
    stream.capture->spoiled = event.capture->spoiled = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  unite(stream.frontier, event.captured);
  return usable(stream);
}

CUresult refuse_capture(Stream& stream) {
  stream.capture->spoiled = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult forbid_in_capture(Stream* stream) {
  return stream->capture == nullptr ? CUDA_SUCCESS : refuse_capture(*stream);
}

CUresult forbid_unsafe() {
  if (captures_active.load(std::memory_order_relaxed) == 0 || thread_mode == kRelaxed) return CUDA_SUCCESS;
  std::lock_guard<std::mutex> lock(capture_lock);
  CUresult result = CUDA_SUCCESS;
  for (Capture* capture : captures) {
    const bool mine = capture->thread == this_thread();
    const bool forbids =
        capture->mode == kGlobal ? (mine || thread_mode == kGlobal) : capture->mode == kThreadLocal && mine;
    if (!forbids) continue;
    capture->spoiled = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult forbid_implicit(Stream& legacy) {
  std::lock_guard<std::mutex> lock(capture_lock);
  CUresult result = CUDA_SUCCESS;
  for (Capture* capture : captures) {
    if (capture->origin->context != legacy.context || !capture->origin->blocking()) continue;
    capture->spoiled = true;
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  return result;
}

void abandon_capture(Stream& stream) {
  const std::shared_ptr<Capture> capture = stream.capture;
  capture->spoiled = true;
  if (capture->origin == &stream) {
    leave(capture);
  } else {
    capture->streams.erase(&stream);
  }
}

}  // namespace sim

using namespace sim;

#define SIM_CAPTURED_STREAM(given)                                            \
  Stream* stream = nullptr;                                                   \
  if (const CUresult found = find_stream(given, mode, stream);                \
      found != CUDA_SUCCESS && found != CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) { \
    return found;                                                             \
  }

SIM_STREAM_FN(cuStreamBeginCapture, (CUstream given), (given)) {
  SIM_CAPTURED_STREAM(given);
  return begin(*stream, kGlobal, nullptr, nullptr, 0);
}
SIM_TWIN_FN_(cuStreamBeginCapture_v2, cuStreamBeginCapture_v2_ptsz, (CUstream given, int capture_mode),
             (given, capture_mode)) {
  SIM_CAPTURED_STREAM(given);
  return begin(*stream, capture_mode, nullptr, nullptr, 0);
}
SIM_STREAM_FN(cuStreamBeginCaptureToGraph,
              (CUstream given, CUgraph graph, const CUgraphNode* before, const CUgraphEdgeData* edges,
               std::size_t count, int capture_mode),
              (given, graph, before, edges, count, capture_mode)) {
  SIM_CAPTURED_STREAM(given);
  Graph* target = object<Graph>(graph);
  return target == nullptr ? CUDA_ERROR_INVALID_VALUE : begin(*stream, capture_mode, target, before, count);
}
SIM_STREAM_FN(cuStreamEndCapture, (CUstream given, CUgraph* out), (given, out)) {
  SIM_CAPTURED_STREAM(given);
  return end(*stream, out);
}
SIM_STREAM_FN(cuStreamIsCapturing, (CUstream given, int* status), (given, status)) {
  SIM_CAPTURED_STREAM(given);
  return info(*stream, {status});
}
SIM_STREAM_FN(cuStreamGetCaptureInfo, (CUstream given, int* status, std::uint64_t* id), (given, status, id)) {
  SIM_CAPTURED_STREAM(given);
  return info(*stream, {status, id});
}
SIM_TWIN_FN_(cuStreamGetCaptureInfo_v2, cuStreamGetCaptureInfo_v2_ptsz,
             (CUstream given, int* status, std::uint64_t* id, CUgraph* graph, const CUgraphNode** nodes,
              std::size_t* count),
             (given, status, id, graph, nodes, count)) {
  SIM_CAPTURED_STREAM(given);
  return info(*stream, {status, id, graph, nodes, count});
}
SIM_TWIN_FN_(cuStreamGetCaptureInfo_v3, cuStreamGetCaptureInfo_v3_ptsz,
             (CUstream given, int* status, std::uint64_t* id, CUgraph* graph, const CUgraphNode** nodes,
              const CUgraphEdgeData** edges, std::size_t* count),
             (given, status, id, graph, nodes, edges, count)) {
  SIM_CAPTURED_STREAM(given);
  if (edges != nullptr) *edges = nullptr;
  return info(*stream, {status, id, graph, nodes, count});
}
SIM_STREAM_FN(cuStreamUpdateCaptureDependencies,
              (CUstream given, CUgraphNode* nodes, std::size_t count, unsigned flags), (given, nodes, count, flags)) {
  SIM_CAPTURED_STREAM(given);
  return update(*stream, nodes, count, flags);
}
SIM_TWIN_FN_(cuStreamUpdateCaptureDependencies_v2, cuStreamUpdateCaptureDependencies_v2_ptsz,
             (CUstream given, CUgraphNode* nodes, const CUgraphEdgeData* edges, std::size_t count, unsigned flags),
             (given, nodes, edges, count, flags)) {
  SIM_CAPTURED_STREAM(given);
  return update(*stream, nodes, count, flags);
}
SIM_FN(cuThreadExchangeStreamCaptureMode, (int* mode), (mode)) {
  if (mode == nullptr || *mode < kGlobal || *mode > kRelaxed) return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, thread_mode);
  return CUDA_SUCCESS;
}
