// The agent as a command sees it: requests in, answers out, over its unix socket.
//
// Stateless between calls: each makes its own connection, so that an agent that was restarted in between is simply
// found again. Used from the main thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/wire.h"

namespace kiboko::cli {

struct Answer {
  int status = 0;
  std::string body;
  bool good() const { return status >= 200 && status < 300; }
};

class Agent {
 public:
  static constexpr std::chrono::milliseconds kPatience{10'000};

  virtual ~Agent() = default;
  // Errors only when there is no answer (Unavailable); a refusal is an Answer. Ends early, Unavailable as well, when
  // `interrupt_fd` becomes readable.
  virtual Result<Answer> call(std::string_view method, const std::string& target, const std::string& body = {},
                              std::chrono::milliseconds patience = kPatience, int interrupt_fd = -1) = 0;
  virtual std::string where() const = 0;  // for messages
  // The JSON of a good answer; any other becomes an error with the agent's sentence.
  Result<Json> json(std::string_view method, const std::string& target, const std::string& body = {});
};
Error error_of(const Answer& answer);

// Where an agent may be, in the order of asking: the caller's own first, then the system's.
std::vector<std::string> socket_candidates(unsigned uid, const std::optional<std::string>& runtime_directory);

// Finds the agent: `named` (from --socket or KIBOKO_SOCKET), or the first candidate that answers and is run by root or
// by the caller: whoever answers decides what is loaded into our programs.
Result<std::unique_ptr<Agent>> find_agent(const std::optional<std::string>& named);

}  // namespace kiboko::cli
