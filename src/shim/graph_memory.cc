// The driver keeps one reserve per device for the memory nodes of all graphs, fills it when a graph is launched or
// uploaded, and lends it out again to other graphs that do not run at the same time; it shrinks by a trim only. A
// launch therefore takes at most what graphs use now and its own need, less the reserve; and nothing if since the
// graph's last launch nothing else touched the reserve. Which of the used memory the driver could lend it is not known,
// so a graph that would pass the limit by this reckoning is given another chance after a trim.
//
// What exists already (a reserve that grew more than was reckoned, or unseen) is charged when it is seen.
#include "shim/graph_memory.h"

#include "shim/charge.h"
#include "shim/context.h"
#include "shim/graph.h"
#include "shim/graph_need.h"

namespace kiboko::shim {

using region::ChargeKind;

std::atomic<bool> graphs_hold_memory{false};

namespace {

constexpr int kUsedNow = 0;
constexpr unsigned long long kFreeFirst = 1, kUpload = 2;  // flags of an instantiation
constexpr int kInstantiateError = 1;

std::atomic<std::uint64_t> charged[kMaxOrdinals];  // as Pool::charged
std::atomic<std::uint64_t> changes{1};             // launches, frees, trims: whatever moves the reserve or its use
std::atomic<std::uint64_t> frees{1};

// The needs of executable graphs: `graphs` holds where each lies. It is read and written under the table's lock.
ExecNeed* need_of(const HandleEntry& entry) { return reinterpret_cast<ExecNeed*>(entry.link); }

bool find_exec(std::uint64_t key, ExecNeed* need) {
  return graphs.change(key, [=](const HandleEntry& entry) {
    *need = *need_of(entry);
    return true;
  });
}

ExecNeed take_exec(std::uint64_t key) {
  const HandleEntry entry = graphs.take(key);
  if (entry.key == 0) return ExecNeed{};
  const ExecNeed need = *need_of(entry);
  give_room(need_of(entry), sizeof(ExecNeed));
  return need;
}

bool put_exec(const ExecNeed& need) {
  auto* kept = static_cast<ExecNeed*>(take_room(sizeof(ExecNeed)));
  if (kept == nullptr) return false;
  *kept = need;
  HandleEntry entry{}, displaced;
  entry.key = need.key;
  entry.link = reinterpret_cast<std::uintptr_t>(kept);
  const bool there_is_room = graphs.put(entry, &displaced);
  if (!there_is_room) give_room(kept, sizeof(ExecNeed));
  if (there_is_room && displaced.key != 0) give_room(need_of(displaced), sizeof(ExecNeed));
  return there_is_room;
}

std::uint64_t key_of(CUgraphExec exec) { return reinterpret_cast<std::uintptr_t>(exec); }

bool ask(CUdevice ordinal, int attribute, std::uint64_t* bytes) {
  return real.cuDeviceGetGraphMemAttribute != nullptr &&
         real.cuDeviceGetGraphMemAttribute(ordinal, attribute, bytes) == CUDA_SUCCESS;
}

// `credit` bytes of the charge are made already.
void settle(CUdevice ordinal, std::uint64_t credit, bool may_refuse) {
  const int device = index_of(ordinal);
  if (device < 0) return;
  settle_charge(
      charged[ordinal], static_cast<unsigned>(device), credit, may_refuse,
      [=](std::uint64_t* bytes) { return ask(ordinal, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, bytes); },
      [=] {
        if (real.cuDeviceGraphMemTrim != nullptr) real.cuDeviceGraphMemTrim(ordinal);
        changes.fetch_add(1);
      });
}

CUdevice ordinal_of(unsigned device) {
  for (CUdevice ordinal = 0; ordinal < static_cast<CUdevice>(state.ordinal_count); ++ordinal)
    if (index_of(ordinal) == static_cast<int>(device)) return ordinal;
  return -1;
}

// False: the graph takes no memory, as far as the driver tells.
bool find_need(CUgraph graph, ExecNeed* need) {
  const GraphDevices devices = graph_devices(graph);
  need->devices = devices.granted;
  need->others = devices.others;
  for (unsigned device = 0; device < region::kMaxDevices; ++device) {
    if ((devices.granted >> device & 1U) == 0) continue;
    const GraphNeed one = graph_need(graph, device);
    need->peak[device] = one.peak;
    need->kept[device] = one.kept;
  }
  return devices.granted != 0 || devices.others;
}

}  // namespace

void watch_graph_memory() {
  if (graphs_hold_memory.load(std::memory_order_relaxed)) return;
  graphs_hold_memory.store(true, std::memory_order_relaxed);
  pools_used.store(true, std::memory_order_release);
}

void settle_graph_memory() {
  if (!graphs_hold_memory.load(std::memory_order_relaxed)) return;
  const Place place = current_place();
  for (CUdevice ordinal = 0; ordinal < static_cast<CUdevice>(state.ordinal_count); ++ordinal)
    if (charged_bytes(charged[ordinal].load(std::memory_order_relaxed)) != 0 || ordinal == place.ordinal)
      settle(ordinal, 0, false);
}

bool trim_graph_memory(unsigned device) {
  const CUdevice ordinal = ordinal_of(device);
  if (ordinal < 0 || real.cuDeviceGraphMemTrim == nullptr) return false;
  const std::uint64_t before = charged_bytes(charged[ordinal].load(std::memory_order_relaxed));
  if (before == 0 || real.cuDeviceGraphMemTrim(ordinal) != CUDA_SUCCESS) return false;
  changes.fetch_add(1);
  settle(ordinal, 0, false);
  return charged_bytes(charged[ordinal].load(std::memory_order_relaxed)) < before;
}

void note_graph_memory_freed() {
  frees.fetch_add(1);
  changes.fetch_add(1);
}

// ---- one launch ----------------------------------------------------------------------------------------------------

GraphCharge::GraphCharge(CUgraphExec exec, CUstream stream) {
  if (enter() != Gate::Account || !find_exec(key_of(exec), &need_) || capturing(stream)) return;
  if (need_.launched == changes.load()) return;  // it is the last that touched the reserve
  admitted_ = charge_all();
}

GraphCharge::GraphCharge(const ExecNeed& need) : need_(need), admitted_(charge_all()) {}

GraphCharge::~GraphCharge() {
  if (pending_) refund_all();
}

bool GraphCharge::charge_all() {
  if (need_.others) return false;
  pending_ = true;
  for (unsigned device = 0; device < region::kMaxDevices; ++device)
    if ((need_.devices >> device & 1U) != 0 && !charge(device)) {
      refund_all();
      return false;
    }
  return true;
}

void GraphCharge::refund_all() {
  pending_ = false;
  for (unsigned device = 0; device < region::kMaxDevices; ++device)
    if (credit_[device] != 0) account().refund(device, credit_[device], ChargeKind::Data);
}

bool GraphCharge::charge(unsigned device) {
  constexpr int kMostLooks = 8;
  const CUdevice ordinal = ordinal_of(device);
  bool reclaimed = false;
  for (int look = 0; ordinal >= 0 && look < kMostLooks; ++look) {
    const std::uint64_t word = charged[ordinal].load();
    std::uint64_t used = 0;
    if (!ask(ordinal, kUsedNow, &used)) break;  // seen afterwards
    const bool still_has = need_.frees_first && need_.launched != 0 && need_.frees == frees.load();
    const std::uint64_t own = still_has ? need_.kept[device] : 0;
    const std::uint64_t target = region::rounded((used > own ? used - own : 0) + need_.peak[device]);
    const std::uint64_t more = target > charged_bytes(word) ? target - charged_bytes(word) : 0;
    if (more != 0 && !account().charge(device, more, ChargeKind::Data, account_view(device))) {
      if (reclaimed || !pool_reclaim(device)) return false;
      reclaimed = true;
      continue;
    }
    credit_[device] = more;
    if (charged[ordinal].load() == word) break;  // else it was reckoned from a reserve that is no more
    if (more != 0) account().refund(device, more, ChargeKind::Data);
    credit_[device] = 0;
  }
  return true;
}

void GraphCharge::finish(bool launched) {
  if (!pending_) return;
  pending_ = false;
  const std::uint64_t freed = frees.load(), now = changes.fetch_add(1) + 1;
  for (unsigned device = 0; device < region::kMaxDevices; ++device)
    if ((need_.devices >> device & 1U) != 0) settle(ordinal_of(device), credit_[device], true);
  if (!launched) return;
  graphs.change(need_.key, [=](const HandleEntry& entry) {
    need_of(entry)->launched = now;
    need_of(entry)->frees = freed;
    return true;
  });
}

// ---- executable graphs ---------------------------------------------------------------------------------------------

namespace {

void forget(CUgraphExec exec) {
  if (graphs_hold_memory.load(std::memory_order_relaxed)) take_exec(key_of(exec));
}

bool remember(CUgraphExec exec, ExecNeed need) {
  need.key = key_of(exec);
  return put_exec(need);
}

template <class Call>
CUresult instantiate(CUgraphExec* exec, CUgraph graph, unsigned long long flags, Call&& call) {
  if (exec == nullptr) return call();
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  ExecNeed need{};
  if (!find_need(graph, &need)) {
    const CUresult result = call();
    if (result == CUDA_SUCCESS) forget(*exec);  // the handle of one that went unseen
    return result;
  }
  watch_graph_memory();
  need.frees_first = (flags & kFreeFirst) != 0;
  ExecNeed uploaded = need;
  if ((flags & kUpload) == 0) uploaded.devices = 0, uploaded.others = false;
  GraphCharge charge(uploaded);
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  charge.finish(false);
  if (result != CUDA_SUCCESS || remember(*exec, need)) return result;
  if (real.cuGraphExecDestroy != nullptr) real.cuGraphExecDestroy(*exec);
  *exec = nullptr;
  return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult with_parameters(CUgraphExec* exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters,
                         CUresult (*call)(CUgraphExec*, CUgraph, CUDA_GRAPH_INSTANTIATE_PARAMS*)) {
  if (parameters == nullptr) return call(exec, graph, parameters);
  const CUresult result = instantiate(exec, graph, parameters->flags, [=] { return call(exec, graph, parameters); });
  if (result == CUDA_ERROR_OUT_OF_MEMORY && parameters->result == 0) parameters->result = kInstantiateError;
  return result;
}

// The executable graph has become what `graph` is.
CUresult updated(CUresult result, CUgraphExec exec, CUgraph graph) {
  if (result != CUDA_SUCCESS || enter() != Gate::Account) return result;
  ExecNeed need{}, before{};
  const bool known = graphs_hold_memory.load(std::memory_order_relaxed) && find_exec(key_of(exec), &before);
  if (!find_need(graph, &need)) {
    forget(exec);
    return result;
  }
  watch_graph_memory();
  need.frees_first = known && before.frees_first;
  remember(exec, need);
  return result;
}

// Memory comes with the upload, or with the launch after it: so an upload does not count as one.
CUresult upload(CUgraphExec exec, CUstream stream, CUresult (*call)(CUgraphExec, CUstream)) {
  if (!graphs_hold_memory.load(std::memory_order_relaxed)) return call(exec, stream);
  GraphCharge charge(exec, stream);
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call(exec, stream);
  charge.finish(false);
  return result;
}

}  // namespace
}  // namespace kiboko::shim

using namespace kiboko::shim;

SHIM_EXPORT CUresult cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log,
                                        std::size_t bytes) {
  if (!ready(real.cuGraphInstantiate)) return CUDA_ERROR_NOT_INITIALIZED;
  return instantiate(exec, graph, 0, [=] { return real.cuGraphInstantiate(exec, graph, error_node, log, bytes); });
}
SHIM_EXPORT CUresult cuGraphInstantiate_v2(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log,
                                           std::size_t bytes) {
  if (!ready(real.cuGraphInstantiate_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return instantiate(exec, graph, 0, [=] { return real.cuGraphInstantiate_v2(exec, graph, error_node, log, bytes); });
}
SHIM_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
  if (!ready(real.cuGraphInstantiateWithFlags)) return CUDA_ERROR_NOT_INITIALIZED;
  return instantiate(exec, graph, flags, [=] { return real.cuGraphInstantiateWithFlags(exec, graph, flags); });
}
SHIM_EXPORT CUresult cuGraphInstantiateWithParams(CUgraphExec* exec, CUgraph graph,
                                                  CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
  if (!ready(real.cuGraphInstantiateWithParams)) return CUDA_ERROR_NOT_INITIALIZED;
  return with_parameters(exec, graph, parameters, real.cuGraphInstantiateWithParams);
}
SHIM_EXPORT CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec* exec, CUgraph graph,
                                                       CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
  if (!ready(real.cuGraphInstantiateWithParams_ptsz)) return CUDA_ERROR_NOT_INITIALIZED;
  return with_parameters(exec, graph, parameters, real.cuGraphInstantiateWithParams_ptsz);
}

SHIM_EXPORT CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode* error_node, int* update_result) {
  if (!ready(real.cuGraphExecUpdate)) return CUDA_ERROR_NOT_INITIALIZED;
  return updated(real.cuGraphExecUpdate(exec, graph, error_node, update_result), exec, graph);
}
SHIM_EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, void* update_result) {
  if (!ready(real.cuGraphExecUpdate_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return updated(real.cuGraphExecUpdate_v2(exec, graph, update_result), exec, graph);
}

SHIM_EXPORT CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
  if (!ready(real.cuGraphUpload)) return CUDA_ERROR_NOT_INITIALIZED;
  return upload(exec, stream, real.cuGraphUpload);
}
SHIM_EXPORT CUresult cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream) {
  if (!ready(real.cuGraphUpload_ptsz)) return CUDA_ERROR_NOT_INITIALIZED;
  return upload(exec, stream, real.cuGraphUpload_ptsz);
}

SHIM_EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec) {
  if (!ready(real.cuGraphExecDestroy)) return CUDA_ERROR_NOT_INITIALIZED;
  if (!active() || !graphs_hold_memory.load(std::memory_order_relaxed)) return real.cuGraphExecDestroy(exec);
  const ExecNeed need = take_exec(key_of(exec));  // before the driver may give the handle to the next
  const CUresult result = real.cuGraphExecDestroy(exec);
  if (need.key == 0) return result;
  if (result != CUDA_SUCCESS) {
    remember(exec, need);
    return result;
  }
  note_graph_memory_freed();
  settle_graph_memory();
  return result;
}

SHIM_EXPORT CUresult cuDeviceGraphMemTrim(CUdevice device) {
  if (!ready(real.cuDeviceGraphMemTrim)) return CUDA_ERROR_NOT_INITIALIZED;
  const CUresult result = real.cuDeviceGraphMemTrim(device);
  if (result != CUDA_SUCCESS || enter() != Gate::Account || index_of(device) < 0) return result;
  changes.fetch_add(1);
  settle(device, 0, false);
  return result;
}
