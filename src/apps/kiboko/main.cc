// The command line: a clock, two outputs, the way to the agent, and the table of commands.
#include <unistd.h>

#include <exception>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/environment.h"

int main(int argc, char** argv) {
  using namespace kiboko;
  const bool colour = !cli::variable("NO_COLOR").has_value();
  const SystemClock clock;
  cli::Output out{STDOUT_FILENO, colour};
  cli::Output err{STDERR_FILENO, colour};
  cli::Context context{.out = out, .err = err, .clock = clock, .connect = cli::find_agent};
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  try {
    return cli::run_command_line(arguments, context);
  } catch (const std::exception& error) {
    err.print("kiboko: {}\n", error.what());
    return cli::kOwnFailure;
  }
}
