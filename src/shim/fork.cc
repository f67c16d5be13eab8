// pthread_atfork is not in glibc's shared object; what it calls is.
#include "shim/fork.h"

#include <atomic>

#include "shim/elf.h"

extern "C" int __register_atfork(void (*before)(), void (*in_parent)(), void (*in_child)(), void* library);
extern "C" void* __dso_handle;

namespace kiboko::shim {
namespace {

void in_parent() { elf_after_fork(false); }

void in_child() {
  elf_after_fork(true);
  route_after_fork();
  state_after_fork();
  nvml_after_fork();
}

std::atomic<bool> watching{false};

}  // namespace

// Two threads may both register: all of the handlers may run twice. None waits for the other, for a fork could catch
// the one that is waited for.
void watch_forks() {
  if (watching.load(std::memory_order_acquire)) return;
  __register_atfork(elf_before_fork, in_parent, in_child, &__dso_handle);
  watching.store(true, std::memory_order_release);
}

namespace {
// A fork that has begun before we are registered does not call us, whatever another thread does meanwhile.
__attribute__((constructor)) void watch_from_the_start() { watch_forks(); }
}  // namespace

}  // namespace kiboko::shim
