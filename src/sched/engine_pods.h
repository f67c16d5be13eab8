// What the engine keeps of a pod. For the engine's own files.
#pragma once

#include "sched/engine.h"

namespace kiboko {

struct Engine::PodRecord {
  NodeIndex node = kNoNode;
  bool init_done = false;
  bool unreadable = false;  // what it holds is not known
  PodHolding holding;
  std::shared_ptr<const QuotaSubject> subject;  // shared by the pods of a namespace that look alike to quotas
  std::int64_t cpu_milli = 0;
  Bytes host_memory = {};
};

}  // namespace kiboko
