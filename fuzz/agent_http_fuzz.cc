// Asks, resizes and whatever else comes, into the handlers of the agent: two bytes choose who sends what where, the
// rest is the body. After each request no device may have more granted than it has. Attaching is left out on purpose: a
// grant's processes are ended with it, and a random number is somebody's pid.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "host/metrics.h"
#include "host/routes.h"
#include "node/fake_library.h"

namespace {

using namespace kiboko;

constexpr const char* kRequests[][2] = {
    {"POST", "/api/v1/grants"},    {"POST", "/api/v1/explain"}, {"PATCH", "/api/v1/grants/"},
    {"DELETE", "/api/v1/grants/"}, {"GET", "/api/v1/grants/"},  {"GET", "/api/v1/grants"},
    {"GET", "/api/v1/devices"},    {"GET", "/api/v1/events"},   {"GET", "/api/v1/queue"},
};

// One host for the whole run, as an agent has it; what each input leaves behind is taken away again.
struct Agent {
  std::string directory = [] {
    std::string pattern =
        (std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/kiboko-fuzz-XXXXXX");
    return std::string(::mkdtemp(pattern.data()));
  }();
  SystemClock clock;
  net::Loop loop;
  Watcher watcher{std::make_shared<FakeLibrary>(survey_of(2)), clock, std::chrono::hours(1)};
  std::unique_ptr<Host> host;
  net::Metrics metrics{host_metric_families()};
  net::Router router;

  Agent() {
    set_up_log("fuzz", LogLevel::Off);
    watcher.first(std::chrono::seconds(60));
    std::filesystem::create_directories(directory + "/grants");
    (void)write_file_atomically(directory + "/libkiboko.so", "");
    HostOptions options;
    options.runtime_dir = directory;
    options.programs.shim = directory + "/libkiboko.so";
    host = std::make_unique<Host>(options, loop, clock, std::move(*Ledger::open(directory + "/state")),
                                  Cgroups::none("fuzzing"), watcher);
    if (!host->recover()) std::abort();
    add_host_routes(router, *host, loop, metrics, {});
  }
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  ~Agent() {
    host.reset();
    std::filesystem::remove_all(directory);
  }
};

void check(const Host& host) {
  for (const DeviceState& state : host.devices())
    if (state.memory_granted > state.memory_grantable() || state.cores_granted > kAllCores ||
        (state.exclusive && state.grants != 1))
      std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Agent agent;
  Caller everybody{true, ::geteuid(), ::getegid(), ::getpid(), true};
  // Several requests an input, each up to a zero byte.
  while (size > 2) {
    const auto& [method, path] = kRequests[data[0] % std::size(kRequests)];
    const bool known = data[1] % 4 != 0;
    data += 2, size -= 2;
    const auto* end = static_cast<const std::uint8_t*>(std::memchr(data, 0, size));
    const std::size_t length = end == nullptr ? size : static_cast<std::size_t>(end - data);
    net::Request request;
    request.method = method;
    request.path = path;
    request.body.assign(reinterpret_cast<const char*>(data), length);
    const auto live = agent.host->live();
    const std::string id = live.empty() ? "g-00000000" : live.back()->grant().id.text;
    if (request.path.ends_with("grants/")) request.path += id;
    if (known) request.peer = {net::Peer::Via::Unix, ::geteuid(), ::getegid(), ::getpid(), {}, "unix"};
    agent.router.dispatch(request, net::responder_to([](net::Response) {}));
    check(*agent.host);
    const std::size_t step = std::min(size, length + 1);
    data += step, size -= step;
  }
  for (const LiveGrant* left : agent.host->live())
    (void)agent.host->release(left->grant().id, std::chrono::milliseconds(0), everybody);
  return 0;
}
