#include "cli/queue_wait.h"

#include <poll.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace kiboko::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kPoll = 10'000ms;            // one long poll; a change of state answers earlier
constexpr auto kAgentMayBeAway = 60'000ms;  // an agent that is being restarted finds the ask in its ledger

// One line that is rewritten on a terminal; elsewhere one line per change.
class StatusLine {
 public:
  explicit StatusLine(Output& err) : err_(err) {}
  ~StatusLine() {
    if (err_.is_terminal() && !shown_.empty()) err_.write("\r\x1b[2K");
  }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  void show(const std::string& sentence) {
    if (sentence == shown_) return;
    shown_ = sentence;
    if (!err_.is_terminal())
      err_.print("kiboko: {}\n", harmless(sentence));
    else
      err_.print("\r\x1b[2K{}", fitted("kiboko: " + sentence, err_.columns() - 1));
  }

 private:
  Output& err_;
  std::string shown_;
};

class QueueWait {
 public:
  QueueWait(Agent& agent, const GrantView& waiting, const Signals& signals, Output& err)
      : agent_(agent), target_("/api/v1/grants/" + waiting.id), signals_(signals), line_(err), grant_(waiting) {}

  Result<Waited> run() {
    Instant last_answer = std::chrono::steady_clock::now();
    while (grant_.is("waiting")) {
      if (grant_.waiting) line_.show(waiting_sentence(*grant_.waiting));
      const auto answer = agent_.call("GET", target_ + poll_, {}, kPoll + Agent::kPatience, signals_.fd());
      if (const int signal = next_signal()) return withdraw(signal);
      if (answer && answer->good()) {
        last_answer = std::chrono::steady_clock::now();
        grant_ = TRY(read_grant_view(TRY(read_body(answer->body))));
        continue;
      }
      if (answer && answer->status < 500) return tl::unexpected(error_of(*answer));
      if (std::chrono::steady_clock::now() - last_answer > kAgentMayBeAway)
        return fail(Errc::Unavailable, "the agent has not answered for a minute: {}",
                    answer ? error_of(*answer).message : answer.error().message);
      line_.show("the agent does not answer; trying again (Ctrl-C gives up)");
      if (const int signal = pause(1000ms)) return withdraw(signal);
    }
    if (grant_.live()) return Waited{grant_, 0};
    return fail(Errc::Conflict, "the ask ended while it waited{}{}", grant_.end_reason.empty() ? "" : ": ",
                grant_.end_reason);
  }

 private:
  int pause(std::chrono::milliseconds time) const {
    pollfd ready{signals_.fd(), POLLIN, 0};
    ::poll(&ready, 1, static_cast<int>(time.count()));
    return next_signal();
  }

  int next_signal() const {
    const auto signal = signals_.next();
    return signal ? static_cast<int>(signal->ssi_signo) : 0;
  }

  Result<Waited> withdraw(int signal) {
    [[maybe_unused]] const auto ignored = agent_.call("DELETE", target_, {}, 2000ms);
    return Waited{std::nullopt, signal};
  }

  Agent& agent_;
  const std::string target_;
  const std::string poll_ = fmt::format("?wait_ms={}", kPoll.count());
  const Signals& signals_;
  StatusLine line_;
  GrantView grant_;
};

}  // namespace

std::string waiting_sentence(const Waiting& waiting) {
  return fmt::format("waiting, place {} in the queue{}{}", waiting.position, waiting.reason.empty() ? "" : ": ",
                     waiting.reason);
}

Result<Waited> wait_for_grant(Agent& agent, const GrantView& waiting, const Signals& signals, Output& err) {
  return QueueWait{agent, waiting, signals, err}.run();
}

}  // namespace kiboko::cli
