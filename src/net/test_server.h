// For tests: a server that runs on a thread of its own, on a temporary unix socket and a loopback port, and a raw
// client that says exactly what it is told.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <string>
#include <string_view>
#include <thread>

#include "base/file.h"
#include "net/client.h"
#include "net/server.h"

namespace kiboko::net {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = testing::TempDir() + "kiboko-net-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    std::filesystem::permissions(path_, std::filesystem::perms{0755});
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Longer than any loaded machine takes; a test that waits this long has failed.
inline constexpr std::chrono::seconds kPatience{60};

class RawClient {
 public:
  explicit RawClient(const std::string& socket_path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
    connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  // False once the server has hung up.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // Reads until `end` has been seen, or the server closes; whatever came.
  std::string read_until(std::string_view end) {
    std::string text;
    while (end.empty() || text.find(end) == std::string::npos) {
      pollfd waiting{fd_.get(), POLLIN, 0};
      if (::poll(&waiting, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) != 1) break;
      char chunk[4096];
      const ssize_t got = ::recv(fd_.get(), chunk, sizeof chunk, 0);
      if (got <= 0) break;
      text.append(chunk, static_cast<std::size_t>(got));
    }
    return text;
  }
  std::string read_to_end() { return read_until({}); }
  std::string ask(std::string_view bytes) {
    send(bytes);
    return read_to_end();
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  bool connected_ = false;
};

class RunningServer {
 public:
  // Runs `task` on the loop's thread and waits for it.
  template <class Task>
  auto on_loop(Task task) {
    std::packaged_task<decltype(task())()> packaged(std::move(task));
    auto result = packaged.get_future();
    loop_.post([&packaged] { packaged(); });
    return result.get();
  }
  explicit RunningServer(const Router& router, ServerLimits limits = {}) : server_(loop_, router, limits) {
    Listener tcp = listen_tcp("127.0.0.1", 0).value();
    port_ = tcp.port();
    EXPECT_TRUE(server_.add(std::move(tcp), loopback_policy()));
    EXPECT_TRUE(server_.add(listen_unix({socket(), 0666, {}}).value(), {}));
    thread_ = std::jthread([this] { loop_.run(); });
  }
  RunningServer(const RunningServer&) = delete;
  RunningServer& operator=(const RunningServer&) = delete;
  ~RunningServer() {
    on_loop([this] { server_.stop(); });
    loop_.stop();
  }
  std::string socket() const { return directory_.file("s"); }
  Endpoint unix_endpoint() const { return {socket(), {}, 0}; }
  Endpoint tcp_endpoint() const { return {{}, "127.0.0.1", port_}; }
  std::uint16_t port() const { return port_; }
  Loop& loop() { return loop_; }
  Server& server() { return server_; }
  // Waits until `condition`, looked at on the loop's thread, holds.
  template <class Condition>
  bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (on_loop(condition)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    return false;
  }

 private:
  TemporaryDirectory directory_;
  Loop loop_;
  Server server_;
  std::uint16_t port_ = 0;
  std::jthread thread_;
};

}  // namespace kiboko::net
