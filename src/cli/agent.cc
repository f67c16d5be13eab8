#include "cli/agent.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "net/client.h"
#include "net/http.h"

namespace kiboko::cli {
namespace {

constexpr std::string_view kHowToStart =
    "\n  start one with  systemctl start kiboko-agent          (installed, for everybody)"
    "\n             or   kiboko-agent --standalone             (yours, on this host's devices)"
    "\n             or   kiboko-agent --standalone --simulate 1xH100-80GB   (no accelerator needed)";

std::string name_of(uid_t uid) { return uid == 0 ? "root" : fmt::format("user id {}", uid); }

// Who listens there. Errors say why nobody can be asked.
Result<uid_t> listener(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(Errc::Invalid, "the socket's path is longer than {} bytes: {}", sizeof address.sun_path - 1, path);
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno(errno, "make a socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errno, fmt::format("connect to {}", path));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail_errno(errno, fmt::format("ask who listens at {}", path));
  return peer.uid;
}

class SocketAgent final : public Agent {
 public:
  explicit SocketAgent(std::string path) : path_(std::move(path)) {}
  std::string where() const override { return path_; }
  Result<Answer> call(std::string_view method, const std::string& target, const std::string& body,
                      std::chrono::milliseconds patience, int interrupt_fd) override {
    net::CallOptions options;
    options.timeout = patience;
    options.interrupt_fd = interrupt_fd;
    auto response = TRY(net::request({path_, {}, 0}, method, target, body, options));
    return Answer{response.status, std::move(response.body)};
  }

 private:
  const std::string path_;
};

tl::unexpected<Error> nobody(const std::vector<std::string>& looked_at) {
  return fail(Errc::Unavailable, "no agent answers at {}{}", join(looked_at, " or "), kHowToStart);
}

}  // namespace

Error error_of(const Answer& answer) {
  return {net::errc_of_status(answer.status), error_sentence(answer.status, answer.body)};
}

Result<Json> Agent::json(std::string_view method, const std::string& target, const std::string& body) {
  const Answer answer = TRY(call(method, target, body));
  if (!answer.good()) return tl::unexpected(error_of(answer));
  return read_body(answer.body);
}

std::vector<std::string> socket_candidates(unsigned uid, const std::optional<std::string>& runtime_directory) {
  std::vector<std::string> paths;
  if (uid != 0 && runtime_directory) paths.push_back(*runtime_directory + "/kiboko/agent.sock");
  if (uid != 0) paths.push_back(fmt::format("/tmp/kiboko-{}/agent.sock", uid));
  paths.emplace_back("/run/kiboko/agent.sock");
  return paths;
}

Result<std::unique_ptr<Agent>> find_agent(const std::optional<std::string>& named) {
  const std::optional<std::string> wanted = named ? named : variable("KIBOKO_SOCKET");
  if (wanted) {
    const auto uid = listener(*wanted);
    if (!uid) return fail(Errc::Unavailable, "no agent answers: {}{}", uid.error().message, kHowToStart);
    return std::make_unique<SocketAgent>(*wanted);
  }
  const auto candidates = socket_candidates(::getuid(), variable("XDG_RUNTIME_DIR"));
  std::string distrusted;
  for (const std::string& path : candidates) {
    const auto uid = listener(path);
    if (uid && (*uid == 0 || *uid == ::getuid())) return std::make_unique<SocketAgent>(path);
    if (uid) distrusted = fmt::format("the agent at {} is run by {}, neither root nor you", path, name_of(*uid));
    if (!uid && uid.error().code == Errc::Forbidden) distrusted = uid.error().message;
  }
  if (!distrusted.empty())
    return fail(Errc::Unavailable, "{}; name it with --socket if you trust it{}", distrusted, kHowToStart);
  return nobody(candidates);
}

}  // namespace kiboko::cli
