// For tests: kills a process at every instruction of what it does to memory that it shares with this one.
//
// A child runs the body one instruction at a time under ptrace. What its death leaves to others is the shared memory
// as it stood, and the fact that it is dead. So one walk through the body is enough: the memory's bytes are kept after
// each instruction that changed them, the child is killed, and then each of these states is put back and looked at.
// That the reasoning holds is tested too: some children really die half way.
#pragma once

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

namespace kiboko::region {

// The parts of shared memory that the body may write.
class Watched {
 public:
  struct Part {
    void* at;
    std::size_t bytes;
  };
  explicit Watched(std::vector<Part> parts) : parts_(std::move(parts)) {}

  std::string image() const {
    std::string image;
    for (const Part& part : parts_) image.append(static_cast<const char*>(part.at), part.bytes);
    return image;
  }
  bool is(const std::string& image) const {
    const char* at = image.data();
    for (const Part& part : parts_) {
      if (std::memcmp(part.at, at, part.bytes) != 0) return false;
      at += part.bytes;
    }
    return true;
  }
  void put_back(const std::string& image) const {
    const char* at = image.data();
    for (const Part& part : parts_) {
      std::memcpy(part.at, at, part.bytes);
      at += part.bytes;
    }
  }

 private:
  std::vector<Part> parts_;
};

// A child stopped where its body called `begin`.
class SteppedChild {
 public:
  template <class Body>
  explicit SteppedChild(Body body) {
    pid_ = ::fork();
    if (pid_ == 0) {
      ::alarm(120);
      if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(kNotAllowed);
      body([] { ::raise(SIGSTOP); });
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    wait();
    allowed_ = WIFSTOPPED(status_) && WSTOPSIG(status_) == SIGSTOP;
    if (allowed_) ::ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL);
  }
  ~SteppedChild() {
    if (ended_) return;
    ::kill(pid_, SIGKILL);
    while (!ended_) wait();
  }
  SteppedChild(const SteppedChild&) = delete;
  SteppedChild& operator=(const SteppedChild&) = delete;

  bool allowed() const { return allowed_; }
  // One instruction (of one that repeats itself, one round). False once the body is through.
  bool step() {
    if (ended_ || ::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0) return false;
    wait();
    return WIFSTOPPED(status_) && WSTOPSIG(status_) == SIGTRAP;
  }

 private:
  static constexpr int kNotAllowed = 77;
  void wait() {
    if (::waitpid(pid_, &status_, 0) != pid_ || !WIFSTOPPED(status_)) ended_ = true;
  }

  pid_t pid_ = -1;
  int status_ = 0;
  bool allowed_ = false, ended_ = false;
};

// How many of `count` instructions to stop at for a real kill, evenly spread: as single steps are slow, for as many
// of them as KIBOKO_REAL_KILL_STEPS says.
inline long real_kills(long count) {
  const char* asked = std::getenv("KIBOKO_REAL_KILL_STEPS");
  const long kills = (asked != nullptr ? std::atol(asked) : 8'000) / (count / 2 + 1) + 1;
  return kills < count ? kills : count;
}

// Kills `body` at each of its instructions from where it calls its argument, and calls `check` on what that leaves.
// Returns the number of instructions; 0 = this process may not trace another.
template <class Body, class Check>
long kill_at_every_instruction(const Watched& memory, Body body, Check check) {
  const std::string before = memory.image();
  struct State {
    long instruction;
    std::string image;
  };
  std::vector<State> states;
  long count = 0;
  {
    SteppedChild child(body);
    if (!child.allowed()) return 0;
    states.push_back({0, memory.image()});
    while (child.step()) {
      ++count;
      if (!memory.is(states.back().image)) states.push_back({count, memory.image()});
    }
  }
  for (const State& state : states) {
    SCOPED_TRACE("killed after instruction " + std::to_string(state.instruction) + " of " + std::to_string(count));
    memory.put_back(state.image);
    check();
    if (testing::Test::HasFailure()) return count;
  }
  memory.put_back(before);
  const long kills = real_kills(count);
  for (long kill = 0; kill < kills && !testing::Test::HasFailure(); ++kill) {
    const long last = count * kill / kills;
    SCOPED_TRACE("really killed after instruction " + std::to_string(last));
    {
      SteppedChild child(body);
      for (long i = 0; i < last && child.step(); ++i) {
      }
    }
    check();
    memory.put_back(before);
  }
  std::cout << "[ " << count << " instructions, " << states.size() << " states, " << kills << " real kills ]\n";
  return count;
}

}  // namespace kiboko::region
