// One of several processes of a grant that walk at once, on two devices, through contexts, graphs, memory of each
// other, forks and execs. The test (memory_crowd_test.cc) says when: it sends a line and reads the answer.
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "memory_walk.h"

namespace memory_program {
namespace {

constexpr unsigned kLazyPeerAccess = 1;

using IpcGet = CUresult(CUipcMemHandle*, CUdeviceptr);

// Whether the driver gave what was asked for; refusing it for lack of room is all that it may do instead.
bool given(CUresult result) {
  CHECK(result == CUDA_SUCCESS || result == CUDA_ERROR_OUT_OF_MEMORY, "answered %d", result);
  return result == CUDA_SUCCESS;
}

class Member {
 public:
  // Handles of memory for others are files in `folder`.
  Member(unsigned seed, const char* folder)
      : random_(seed),
        folder_(folder),
        walks_{Walk(seed + 1, Walk::With::OtherProcesses), Walk(seed + 2, Walk::With::OtherProcesses)} {
    CHECK_OK(cuInit(0));
  }
  // False: there is no room for its contexts.
  bool begin() {
    for (unsigned device = 0; device < 2; ++device)
      if (!given(cuCtxCreate_v2(&contexts_[device], 0, static_cast<CUdevice>(device)))) return false;
    return true;
  }

  void steps(unsigned long count) {
    for (unsigned long i = 0; i < count; ++i) {
      go_to(below(2));
      step();
    }
  }

  // What is measured by the memory that is free before and after, and so only right while no other process moves.
  void change_what_is_measured() {
    for (unsigned device = 0; device < 2; ++device) {
      go_to(device);
      below(2) == 0 ? make_context() : end_context();
      for (int i = 0; i < 5; ++i) walks_[device].change_code();
    }
  }

  // Lets go of what others made, and lets the driver do what it has put off.
  void settle() {
    for (unsigned device = 0; device < 2; ++device) {
      go_to(device);
      while (!opened_[device].empty()) close_one();
      CHECK_OK(cuCtxSynchronize());
    }
  }

  void end() {
    settle();
    for (unsigned device = 0; device < 2; ++device) {
      go_to(device);
      while (!made_[device].empty()) take_back_one();
      walks_[device].end_everything();
      while (!more_contexts_[device].empty()) end_context();
      CHECK_OK(cuDeviceGraphMemTrim(ordinal));
    }
  }

  std::string figures() {
    std::string text;
    for (unsigned device = 0; device < 2; ++device) {
      go_to(device);
      text += std::to_string(charged(device)) + " " + std::to_string(driver_taken()) + " ";
    }
    return text;
  }

 private:
  struct Shared {
    CUdeviceptr pointer;
    std::string file;
  };

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  void go_to(std::uint64_t device) {
    ordinal = static_cast<CUdevice>(device);
    CHECK_OK(cuCtxSetCurrent(contexts_[device]));
  }
  void step() {
    switch (below(40)) {
      case 0:
      case 1:
        return make_for_others();
      case 2:
        return take_back_one();
      case 3:
      case 4:
        return open_one();
      case 5:
        return close_one();
      case 6:
        return run_graph();
      case 7:
        CHECK_OK(cuDeviceGraphMemTrim(ordinal));
        return;
      case 8:
        return below(8) == 0 ? leave_child() : void();
      default:
        walks_[ordinal].step();
    }
  }

  void make_context() {
    CUcontext context = nullptr;
    if (more_contexts_[ordinal].size() >= 2 || !given(cuCtxCreate_v2(&context, 0, ordinal))) return;
    more_contexts_[ordinal].push_back(context);
    CUdeviceptr pointer = 0;
    for (int i = 0; i < 5; ++i) given(cuMemAlloc_v2(&pointer, (1 + below(30)) * kMiB));
    CHECK_OK(cuCtxSetCurrent(contexts_[ordinal]));
  }
  void end_context() {
    if (more_contexts_[ordinal].empty()) return;
    CHECK_OK(cuCtxDestroy_v2(more_contexts_[ordinal].back()));
    more_contexts_[ordinal].pop_back();
    CHECK_OK(cuCtxSetCurrent(contexts_[ordinal]));
  }

  void make_for_others() {
    CUdeviceptr pointer = 0;
    CUipcMemHandle handle{};
    if (made_[ordinal].size() >= 4 || !given(cuMemAlloc_v2(&pointer, (1 + below(10)) * kBlock))) return;
    CHECK_OK(driver_function<IpcGet>("cuIpcGetMemHandle")(&handle, pointer));
    const std::string file =
        folder_ + "/" + std::to_string(ordinal) + "-" + std::to_string(getpid()) + "-" + std::to_string(files_++);
    std::ofstream(file + "~", std::ios::binary).write(handle.reserved, sizeof handle.reserved);
    std::filesystem::rename(file + "~", file);
    made_[ordinal].push_back({pointer, file});
  }
  void take_back_one() {
    if (made_[ordinal].empty()) return;
    std::filesystem::remove(made_[ordinal].back().file);
    CHECK_OK(cuMemFree_v2(made_[ordinal].back().pointer));
    made_[ordinal].pop_back();
  }
  // Its maker may have freed it meanwhile, or be dead.
  void open_one() {
    const std::string prefix = std::to_string(ordinal) + "-", own = prefix + std::to_string(getpid()) + "-";
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      if (name.rfind(prefix, 0) != 0 || name.rfind(own, 0) == 0 || name.back() == '~' || below(2) == 0) continue;
      CUipcMemHandle handle{};
      if (!std::ifstream(entry.path(), std::ios::binary).read(handle.reserved, sizeof handle.reserved)) continue;
      CUdeviceptr pointer = 0;
      if (cuIpcOpenMemHandle_v2(&pointer, handle, kLazyPeerAccess) == CUDA_SUCCESS) opened_[ordinal].push_back(pointer);
      return;
    }
  }
  void close_one() {
    if (opened_[ordinal].empty()) return;
    CHECK_OK(cuIpcCloseMemHandle(opened_[ordinal].back()));
    opened_[ordinal].pop_back();
  }

  void run_graph() {
    CUstream stream = nullptr;
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    CUdeviceptr pointer = 0;
    CHECK_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CHECK_OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    const bool allocated = given(cuMemAllocAsync(&pointer, (1 + below(40)) * kMiB, stream));
    const bool freed_inside = allocated && below(2) == 0;
    if (freed_inside) CHECK_OK(cuMemFreeAsync(pointer, stream));
    CHECK_OK(cuStreamEndCapture(stream, &graph));
    CHECK_OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    const bool launched = given(cuGraphLaunch(exec, stream));
    CHECK_OK(cuStreamSynchronize(stream));
    if (launched && allocated && !freed_inside) CHECK_OK(cuMemFree_v2(pointer));
    CHECK_OK(cuGraphExecDestroy(exec));
    CHECK_OK(cuStreamDestroy_v2(stream));
  }

  // A child that does with its copy what it likes.
  void leave_child() {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      CUdeviceptr pointer = 0;
      cuMemAlloc_v2(&pointer, kMiB);
      for (const Shared& shared : made_[ordinal]) cuMemFree_v2(shared.pointer);
      below(2) == 0 ? _exit(0) : abort();
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child, "no child");
  }

  std::mt19937 random_;
  const std::string folder_;
  Walk walks_[2];
  CUcontext contexts_[2] = {};
  std::vector<CUcontext> more_contexts_[2];
  std::vector<Shared> made_[2];
  std::vector<CUdeviceptr> opened_[2];
  unsigned files_ = 0;
};

void say(const std::string& text) {
  puts(text.c_str());
  fflush(stdout);
}

// crowd SEED, with its folder as standard input's first line.
void be_one_of_a_crowd() {
  char line[400];
  setvbuf(stdin, nullptr, _IONBF, 0);  // what comes after an exec is the next image's to read
  CHECK(fgets(line, sizeof line, stdin) != nullptr, "nobody speaks to us");
  line[strcspn(line, "\n")] = 0;
  Member member(static_cast<unsigned>(number(0)), line);
  find_driver_info();
  if (!member.begin()) return say("no room");
  say("here");
  unsigned long count = 0;
  while (fgets(line, sizeof line, stdin) != nullptr) {
    if (sscanf(line, "step %lu", &count) == 1) {
      member.steps(count);
      say("done");
    } else if (strcmp(line, "alone\n") == 0) {
      member.change_what_is_measured();
      say("done");
    } else if (strcmp(line, "settle\n") == 0) {
      member.settle();
      say("settled");
    } else if (strcmp(line, "figures\n") == 0) {
      say(member.figures());
    } else if (strcmp(line, "exec\n") == 0) {
      exec_again();
    } else if (strcmp(line, "end\n") == 0) {
      member.end();
      say("ended");
    }
  }
}

}  // namespace

std::vector<Scenario> crowds() { return {{"crowd", be_one_of_a_crowd}}; }

}  // namespace memory_program
