#include "cli/preload_check.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/file.h"
#include "base/text.h"

namespace kiboko::cli {
namespace {

constexpr const char* kProgram = "/bin/true";

class SpawnActions {
 public:
  SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  void redirect(int from, int to) { ::posix_spawn_file_actions_adddup2(&actions_, from, to); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

}  // namespace

Result<void> can_be_preloaded(const std::string& library) {
  if (::access(library.c_str(), R_OK) != 0) return fail_errno(errno, library);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "make a pipe");
  const UniqueFd output{ends[0]};
  UniqueFd input{ends[1]};
  SpawnActions actions;
  actions.redirect(input.get(), STDERR_FILENO);
  std::string program = kProgram, preload = "LD_PRELOAD=" + library;
  std::array<char*, 2> arguments = {program.data(), nullptr};
  std::array<char*, 2> environment = {preload.data(), nullptr};
  pid_t pid = 0;
  if (const int error = ::posix_spawn(&pid, kProgram, actions.get(), nullptr, arguments.data(), environment.data()))
    return fail_errno(error, fmt::format("start {}", kProgram));
  input.reset();
  const auto said = read_file(output.get(), "what the loader says", 64U << 10U);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && said && said->empty()) return {};
  if (said && !said->empty()) return fail(Errc::Internal, "{}", trim(*said));
  return fail(Errc::Internal, "{} ends with status {} when {} is loaded into it", kProgram, status, library);
}

}  // namespace kiboko::cli
