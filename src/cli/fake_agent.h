// For tests: an agent with scripted answers behind a real unix socket.
//
// Made and destroyed by a test's main thread; its loop runs on a thread of its own.
#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/loop.h"
#include "net/router.h"
#include "net/server.h"

namespace kiboko::cli {

class FakeAgent {
 public:
  using Script = std::function<net::Response(const net::Request&)>;

  explicit FakeAgent(std::vector<std::tuple<std::string, std::string, Script>> routes) {
    static std::atomic<int> serial{0};
    directory_ = std::filesystem::temp_directory_path() / fmt::format("kiboko-cli-{}-{}", ::getpid(), serial++);
    std::filesystem::create_directory(directory_);
    for (auto& [method, pattern, script] : routes)
      router_.add(method, pattern, [this, script = std::move(script)](const net::Request& request) {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request.method + " " + request.path + " " + request.body);
        return script(request);
      });
    server_ = std::make_unique<net::Server>(loop_, router_);
    auto listener = net::listen_unix({socket(), 0600, {}});
    if (!listener || !server_->add(std::move(*listener), {})) std::abort();
    thread_ = std::jthread([this] { loop_.run(); });
  }
  ~FakeAgent() {
    loop_.post([this] {
      server_->stop();
      loop_.stop();
    });
    thread_.join();
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  std::string socket() const { return directory_ / "agent.sock"; }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::string all_requests() const {
    std::string text;
    for (const std::string& request : requests()) text += request + "\n";
    return text;
  }

 private:
  std::filesystem::path directory_;
  net::Loop loop_;
  net::Router router_;
  std::unique_ptr<net::Server> server_;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::jthread thread_;
};

// The answer of every route that says the same each time.
inline FakeAgent::Script says(int status, std::string body) {
  return [=](const net::Request&) { return net::json(status, body); };
}

}  // namespace kiboko::cli
