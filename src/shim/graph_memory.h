// Memory nodes of graphs: charged before the launch that needs them, by what a walk of the graph said when it was
// instantiated; afterwards the charge follows what the driver has reserved for graphs on the device.
//
// Any thread may call. Where no graph holds memory a launch pays for one load.
#pragma once

#include <atomic>

#include "region/grant_page.h"
#include "shim/abi.h"
#include "shim/pool.h"

namespace kiboko::shim {

extern std::atomic<bool> graphs_hold_memory;
// Graphs may hold memory from now on: looked at after each synchronisation.
void watch_graph_memory();

// Makes the charges agree with what the driver has reserved.
void settle_graph_memory();
// Has the driver give back what graphs on `device` do not use. True if that was anything.
bool trim_graph_memory(unsigned device);

// A pointer was freed that no allocation of ours stands for: it may be a graph's.
void note_graph_memory_freed();
inline void graph_memory_freed() {
  if (__builtin_expect(graphs_hold_memory.load(std::memory_order_relaxed), 0)) note_graph_memory_freed();
}

// What an executable graph takes, on each device of the grant.
struct ExecNeed {
  std::uint64_t key;       // the handle; 0 = none
  std::uint64_t launched;  // `changes` (graph_memory.cc) right after its last launch; 0 = never launched
  std::uint64_t frees;     // `frees` at that time
  unsigned devices;        // a bit for each that it takes memory on
  bool others;             // it takes memory on a device that was not granted
  bool frees_first;        // what it allocated last time and nobody freed is freed by its next launch
  std::uint64_t peak[region::kMaxDevices], kept[region::kMaxDevices];
};

// The charge around one launch or upload; lives on the stack of the hook.
class GraphCharge {
 public:
  GraphCharge(CUgraphExec exec, CUstream stream);
  explicit GraphCharge(const ExecNeed& need);  // not in the table yet
  ~GraphCharge();                              // not finished: the call was not made
  GraphCharge(const GraphCharge&) = delete;
  GraphCharge& operator=(const GraphCharge&) = delete;
  explicit operator bool() const { return admitted_; }
  void finish(bool launched);

 private:
  bool charge_all();
  bool charge(unsigned device);
  void refund_all();

  ExecNeed need_{};
  std::uint64_t credit_[region::kMaxDevices] = {};
  bool admitted_ = true, pending_ = false;
};

// Runs `call`, the driver's launch of `exec`.
template <class Call>
inline CUresult with_graph_memory(CUgraphExec exec, CUstream stream, Call call) {
  if (__builtin_expect(!graphs_hold_memory.load(std::memory_order_relaxed), 1)) return call();
  GraphCharge charge(exec, stream);
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  charge.finish(result == CUDA_SUCCESS);
  return result;
}

}  // namespace kiboko::shim
