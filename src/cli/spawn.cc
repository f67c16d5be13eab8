#include "cli/spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/text.h"
#include "cli/environment.h"

namespace kiboko::cli {
namespace {

constexpr std::size_t kMostOutput = 64U << 10U;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct Outcome {
  int status = 0;
  std::string text;
};

// Captures the descriptor `captured` (standard output or standard error); the other one goes nowhere.
Result<Outcome> spawn(std::vector<std::string> arguments, Variables variables, int captured) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "make a pipe");
  const UniqueFd output{ends[0]};
  UniqueFd input{ends[1]};
  const std::vector<char*> argument_pointers = pointers(arguments), variable_pointers = pointers(variables);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), captured);
  ::posix_spawn_file_actions_addopen(&actions, captured == STDOUT_FILENO ? STDERR_FILENO : STDOUT_FILENO, "/dev/null",
                                     O_WRONLY, 0);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, arguments.front().c_str(), &actions, nullptr, argument_pointers.data(),
                                  variable_pointers.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail_errno(error, fmt::format("start {}", arguments.front()));
  input.reset();
  const auto said = read_file(output.get(), "what it prints", kMostOutput);
  Outcome outcome;
  while (::waitpid(pid, &outcome.status, 0) < 0 && errno == EINTR) continue;
  outcome.text = TRY(said);
  return outcome;
}

bool well(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

}  // namespace

Result<std::string> output_of(const std::vector<std::string>& arguments) {
  Outcome outcome = TRY(spawn(arguments, own_variables(), STDOUT_FILENO));
  if (!well(outcome.status)) return fail(Errc::Unavailable, "{} failed", arguments.front());
  return std::move(outcome.text);
}

Result<void> can_be_preloaded(const std::string& library) {
  constexpr const char* kProgram = "/bin/true";
  if (::access(library.c_str(), R_OK) != 0) return fail_errno(errno, library);
  const Outcome outcome = TRY(spawn({kProgram}, {"LD_PRELOAD=" + library}, STDERR_FILENO));
  if (!outcome.text.empty()) return fail(Errc::Internal, "{}", trim(outcome.text));
  if (!well(outcome.status)) return fail(Errc::Internal, "{} fails when {} is loaded into it", kProgram, library);
  return {};
}

}  // namespace kiboko::cli
