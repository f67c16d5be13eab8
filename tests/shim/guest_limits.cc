// What a sandbox takes away, and what a program may do to itself: the limits of the grant hold all the same, or CUDA is
// refused in one line.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <thread>

#include "guest_program.h"

namespace guest_program {
namespace {

// The kernel answers EPERM to these from now on, as a container's filter does.
void deny(const long (&calls)[2]) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(calls[0]), 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(calls[1]), 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  const sock_fprog program{sizeof filter / sizeof *filter, filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
        "no filter: %s", strerror(errno));
}

CUcontext start() {
  CHECK_OK(CALL(cuInit, 0));
  CUcontext context = nullptr;
  CHECK_OK(CALL(cuCtxCreate_v2, &context, 0, 0));
  return context;
}

// Takes all that there is, then gives it back. The number of the command line is the limit in MiB.
void fill_to_the_limit(CUcontext context) {
  CHECK_OK(CALL(cuCtxSetCurrent, context));
  constexpr std::size_t kUnit = 16 << 20;
  CUdeviceptr pointers[1024];
  unsigned count = 0;
  while (count < 1024 && CALL(cuMemAlloc_v2, &pointers[count], kUnit) == CUDA_SUCCESS) ++count;
  CHECK(count != 0 && count <= number(0) / 16, "%u pieces of 16 MiB fit into %lu MiB", count, number(0));
  while (count != 0) CHECK_OK(CALL(cuMemFree_v2, pointers[--count]));
}

}  // namespace

void no_membarrier() {
  load_driver();
  deny({SYS_membarrier, SYS_getrandom});
  CUcontext const context = start();
  fill_to_the_limit(context);
  std::thread([=] { fill_to_the_limit(context); }).join();
  fill_to_the_limit(context);
}

// Without futexes no program has threads; locks of the region that nobody else holds do without.
void no_futex() {
  load_driver();
  deny({SYS_futex, SYS_getrandom});
  fill_to_the_limit(start());
}

void no_more_files() {
  load_driver();
  CUcontext const context = start();
  const rlimit none{0, 0};
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0, "%s", strerror(errno));
  fill_to_the_limit(context);
}

// The driver's own files are open by then; the library's are not.
void no_files() {
  load_driver();
  const rlimit none{0, 0};
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0, "%s", strerror(errno));
  printf("%d\n", CALL(cuInit, 0));
}

// A process that shares the memory, but not the pid.
void shared_memory() {
  load_driver();
  static CUcontext context;
  context = start();
  static char stack[1 << 18];
  const int child = clone(
      [](void*) -> int {
        fill_to_the_limit(context);
        _exit(0);
      },
      stack + sizeof stack, CLONE_VM | SIGCHLD, nullptr);
  CHECK(child > 0, "%s", strerror(errno));
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0, "the clone ended with status %x",
        static_cast<unsigned>(status));
  fill_to_the_limit(context);
}

void vfork_and_exec() {
  load_driver();
  CUcontext const context = start();
  const pid_t child = vfork();
  if (child == 0) {
    execl("/bin/true", "true", nullptr);
    _exit(127);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with status %x",
        static_cast<unsigned>(status));
  fill_to_the_limit(context);
}

// Holds that many MiB while the main thread is gone: the process looks like a zombie from outside.
void headless() {
  load_driver();
  static CUcontext context;
  context = start();
  std::thread([] {
    CHECK_OK(CALL(cuCtxSetCurrent, context));
    CUdeviceptr pointer = 0;
    CHECK_OK(CALL(cuMemAlloc_v2, &pointer, number(0) << 20));
    char state = 0;
    while (state != 'Z') {
      FILE* stat = fopen("/proc/self/stat", "re");
      CHECK(stat != nullptr && fscanf(stat, "%*d %*s %c", &state) == 1, "no /proc/self/stat");
      fclose(stat);
    }
    puts("headless");
    fflush(stdout);
    getchar();
    CHECK_OK(CALL(cuMemFree_v2, pointer));
    exit(0);
  }).detach();
  pthread_exit(nullptr);
}

}  // namespace guest_program
