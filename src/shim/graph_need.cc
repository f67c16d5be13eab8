// Memory that a node frees may serve a later node of the same launch, but only one that is bound to come later: nodes
// on branches side by side may run in any order. So the nodes are taken in an order that the edges allow, each
// allocation is laid into what nodes before it on its own paths have freed, and what is left over makes the need grow.
// The outcome is never less than the driver needs for any order of execution, and for a chain of nodes it is exact.
#include "shim/graph_need.h"

#include <algorithm>

#include "region/account.h"
#include "shim/pointers.h"
#include "shim/state.h"
#include "shim/table.h"

namespace kiboko::shim {
namespace {

constexpr int kChildGraph = 4, kMemAlloc = 10, kMemFree = 11;
constexpr int kMostLevels = 64;                      // of graphs within graphs
constexpr std::size_t kMostReachBytes = 64UL << 20;  // of a huge graph only the order is looked at, not the paths
constexpr std::uint32_t kNoNode = UINT32_MAX;

template <class T>
class Pages {
 public:
  explicit Pages(std::size_t count)
      : bytes_(room_for((count == 0 ? 1 : count) * kItemBytes)), items_(static_cast<T*>(take_room(bytes_))) {}
  ~Pages() {
    if (items_ != nullptr) give_room(items_, bytes_);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  explicit operator bool() const { return items_ != nullptr; }
  T& operator[](std::size_t at) const { return items_[at]; }
  T* begin() const { return items_; }

 private:
  static constexpr std::size_t kItemBytes = sizeof(T);  // NOLINT(bugprone-sizeof-expression): some are handles
  // Room comes in 512, 1,024 and 2,048 bytes, and from 4,096 on in what is asked.
  static std::size_t room_for(std::size_t bytes) { return bytes > 2048 && bytes < 4096 ? 4096 : bytes; }
  std::size_t bytes_;
  T* items_;
};

bool driver_tells() {
  return real.cuGraphGetNodes != nullptr && real.cuGraphNodeGetType != nullptr &&
         real.cuGraphMemAllocNodeGetParams != nullptr;
}

class Nodes {
 public:
  explicit Nodes(CUgraph graph) : count_(count_of(graph)), nodes_(count_) {
    if (!nodes_ || count_ == 0 || real.cuGraphGetNodes(graph, nodes_.begin(), &count_) != CUDA_SUCCESS) count_ = 0;
    std::sort(nodes_.begin(), nodes_.begin() + count_);
  }
  std::size_t count() const { return count_; }
  CUgraphNode operator[](std::size_t at) const { return nodes_[at]; }
  int type(std::size_t at) const {
    int type = -1;
    return real.cuGraphNodeGetType(nodes_[at], &type) == CUDA_SUCCESS ? type : -1;
  }
  std::uint32_t index_of(CUgraphNode node) const {
    const CUgraphNode* const end = nodes_.begin() + count_;
    const CUgraphNode* const found = std::lower_bound(nodes_.begin(), const_cast<CUgraphNode*>(end), node);
    return found != end && *found == node ? static_cast<std::uint32_t>(found - nodes_.begin()) : kNoNode;
  }
  CUgraph child(std::size_t at) const {
    CUgraph graph = nullptr;
    if (real.cuGraphChildGraphNodeGetGraph != nullptr) real.cuGraphChildGraphNodeGetGraph(nodes_[at], &graph);
    return graph;
  }

 private:
  static std::size_t count_of(CUgraph graph) {
    std::size_t count = 0;
    return driver_tells() && real.cuGraphGetNodes(graph, nullptr, &count) == CUDA_SUCCESS && count < kNoNode ? count
                                                                                                             : 0;
  }
  std::size_t count_;
  Pages<CUgraphNode> nodes_;
};

// True: the node allocates on a device, whose index in the grant is then *device, or -1.
bool allocates(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS* parameters, int* device) {
  if (real.cuGraphMemAllocNodeGetParams(node, parameters) != CUDA_SUCCESS) return false;
  const CUmemLocation location = parameters->properties.location;
  if (location.type != CU_MEM_LOCATION_TYPE_DEVICE) return false;
  *device = index_of(location.id);
  return true;
}

void find_devices(CUgraph graph, int level, GraphDevices* found) {
  const Nodes nodes(graph);
  for (std::size_t i = 0; i < nodes.count(); ++i) {
    const int type = nodes.type(i);
    if (type == kChildGraph && level < kMostLevels) find_devices(nodes.child(i), level + 1, found);
    CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
    int device = -1;
    if (type != kMemAlloc || !allocates(nodes[i], &parameters, &device)) continue;
    found->others = found->others || device < 0;
    if (device >= 0) found->granted |= 1U << device;
  }
}

struct Edge {
  std::uint32_t from, to;
};
bool operator<(const Edge& a, const Edge& b) { return a.from < b.from; }

// Edges may carry data, which the older question refuses to leave out.
bool ask_edges(CUgraph graph, CUgraphNode* from, CUgraphNode* to, std::uint64_t* data, std::size_t* count) {
  if (real.cuGraphGetEdges_v2 != nullptr) return real.cuGraphGetEdges_v2(graph, from, to, data, count) == CUDA_SUCCESS;
  return real.cuGraphGetEdges != nullptr && real.cuGraphGetEdges(graph, from, to, count) == CUDA_SUCCESS;
}

struct Allocated {
  CUdeviceptr address;
  std::uint64_t bytes;
};
bool operator<(const Allocated& a, const Allocated& b) { return a.address < b.address; }

GraphNeed need_on(CUgraph graph, int device, int level);

// What each node of a graph takes from one device and what it gives back at its end.
class Flow {
 public:
  Flow(CUgraph graph, int device, int level)
      : graph_(graph), nodes_(graph), takes_(nodes_.count()), gives_(nodes_.count()) {
    if (*this) read(device, level);
  }
  explicit operator bool() const { return takes_ && gives_ && nodes_.count() != 0; }

  GraphNeed need() const {
    GraphNeed need;
    std::uint64_t taken = 0, given = 0;
    for (std::size_t i = 0; i < nodes_.count(); ++i) {
      taken += takes_[i];
      given += gives_[i];
    }
    need.kept = taken > given ? taken - given : 0;
    need.peak = given == 0 ? taken : peak(taken);
    return need;
  }

 private:
  void read(int device, int level) {
    const Pages<Allocated> allocated(nodes_.count());
    if (!allocated) return;
    std::size_t count = 0;
    for (std::size_t i = 0; i < nodes_.count(); ++i) {
      const int type = nodes_.type(i);
      if (type == kChildGraph && level < kMostLevels) {
        const GraphNeed child = need_on(nodes_.child(i), device, level + 1);
        takes_[i] = child.peak;
        gives_[i] = child.peak - child.kept;
      }
      CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
      int on = -1;
      if (type != kMemAlloc || !allocates(nodes_[i], &parameters, &on) || on != device) continue;
      takes_[i] = region::rounded(parameters.bytes);
      allocated[count++] = {parameters.address, takes_[i]};
    }
    std::sort(allocated.begin(), allocated.begin() + count);
    for (std::size_t i = 0; count != 0 && i < nodes_.count(); ++i) {
      CUdeviceptr address = 0;
      if (nodes_.type(i) != kMemFree || real.cuGraphMemFreeNodeGetParams == nullptr ||
          real.cuGraphMemFreeNodeGetParams(nodes_[i], &address) != CUDA_SUCCESS)
        continue;
      const Allocated* const end = allocated.begin() + count;
      const Allocated* const found =
          std::lower_bound(allocated.begin(), allocated.begin() + count, Allocated{address, 0});
      if (found != end && found->address == address) gives_[i] = found->bytes;
    }
  }

  std::uint64_t peak(std::uint64_t everything) const {
    std::size_t edge_count = 0;
    if (!ask_edges(graph_, nullptr, nullptr, nullptr, &edge_count)) return everything;
    const Pages<Edge> edges(edge_count);
    const Pages<std::uint32_t> first(nodes_.count() + 1), waits_for(nodes_.count()), order(nodes_.count());
    if (!edges || !first || !waits_for || !order || !read_edges(edges.begin(), &edge_count)) return everything;
    std::sort(edges.begin(), edges.begin() + edge_count);
    for (std::size_t i = 0; i < edge_count; ++i) {
      ++first[edges[i].from + 1];
      ++waits_for[edges[i].to];
    }
    std::size_t ready = 0;
    for (std::uint32_t i = 0; i < nodes_.count(); ++i) {
      first[i + 1] += first[i];
      if (waits_for[i] == 0) order[ready++] = i;
    }
    for (std::size_t done = 0; done < ready; ++done)
      for (std::uint32_t at = first[order[done]]; at < first[order[done] + 1]; ++at)
        if (--waits_for[edges[at].to] == 0) order[ready++] = edges[at].to;
    if (ready != nodes_.count()) return everything;  // a cycle: the driver will refuse it
    return lay_out(edges.begin(), first.begin(), order.begin(), everything);
  }

  bool read_edges(Edge* edges, std::size_t* count) const {
    const Pages<CUgraphNode> from(*count), to(*count);
    const Pages<std::uint64_t> data(*count);
    if (!from || !to || !data) return false;
    if (*count != 0 && !ask_edges(graph_, from.begin(), to.begin(), data.begin(), count)) return false;
    for (std::size_t i = 0; i < *count; ++i) {
      edges[i] = {nodes_.index_of(from[i]), nodes_.index_of(to[i])};
      if (edges[i].from == kNoNode || edges[i].to == kNoNode) return false;
    }
    return true;
  }

  // `before` has a row of bits for each node: which of the giving nodes are on its paths.
  std::uint64_t lay_out(const Edge* edges, const std::uint32_t* first, const std::uint32_t* order,
                        std::uint64_t everything) const {
    const std::size_t count = nodes_.count();
    const Pages<std::uint32_t> giver_of(count);
    const Pages<std::uint64_t> left(count);
    if (!giver_of || !left) return everything;
    std::uint32_t givers = 0;
    for (std::size_t i = 0; i < count; ++i) giver_of[i] = gives_[i] != 0 ? givers++ : kNoNode;
    const std::size_t words = (givers + 63) / 64;
    if (words * count > kMostReachBytes / 8) return peak_in_order(order);
    const Pages<std::uint64_t> before(words * count);
    if (!before) return everything;
    std::uint64_t peak = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t node = order[i];
      const std::uint64_t* const row = before.begin() + node * words;
      peak += lay_into(takes_[node], row, words, left.begin());
      if (giver_of[node] != kNoNode) left[giver_of[node]] = gives_[node];
      for (std::uint32_t at = first[node]; at < first[node + 1]; ++at) {
        std::uint64_t* const next = before.begin() + edges[at].to * words;
        for (std::size_t word = 0; word < words; ++word) next[word] |= row[word];
        if (giver_of[node] != kNoNode) next[giver_of[node] / 64] |= std::uint64_t{1} << (giver_of[node] % 64);
      }
    }
    return peak;
  }

  static std::uint64_t lay_into(std::uint64_t bytes, const std::uint64_t* row, std::size_t words, std::uint64_t* left) {
    for (std::size_t word = 0; bytes != 0 && word < words; ++word)
      for (std::uint64_t bits = row[word]; bytes != 0 && bits != 0; bits &= bits - 1) {
        std::uint64_t& room = left[word * 64 + static_cast<unsigned>(__builtin_ctzll(bits))];
        const std::uint64_t used = bytes < room ? bytes : room;
        room -= used;
        bytes -= used;
      }
    return bytes;
  }

  std::uint64_t peak_in_order(const std::uint32_t* order) const {
    std::uint64_t now = 0, peak = 0;
    for (std::size_t i = 0; i < nodes_.count(); ++i) {
      now += takes_[order[i]];
      if (now > peak) peak = now;
      now -= gives_[order[i]] < now ? gives_[order[i]] : now;
    }
    return peak;
  }

  CUgraph graph_;
  Nodes nodes_;
  Pages<std::uint64_t> takes_, gives_;
};

GraphNeed need_on(CUgraph graph, int device, int level) {
  const Flow flow(graph, device, level);
  return flow ? flow.need() : GraphNeed{};
}

}  // namespace

GraphDevices graph_devices(CUgraph graph) {
  GraphDevices found;
  find_devices(graph, 0, &found);
  return found;
}

GraphNeed graph_need(CUgraph graph, unsigned device) { return need_on(graph, static_cast<int>(device), 0); }

}  // namespace kiboko::shim
