// Initialisation, faults on demand, fork and the end of the process.
//
// A fresh library is closed: the first entry point goes through closed_gate, which reads the fault table. After cuInit
// the gate is open and costs one load. In the child of an initialised parent everything answers 3, as with the
// real driver; the child of an uninitialised parent may initialise for itself.
#include "driver.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

#include "context.h"
#include "lookup.h"

namespace sim {

Driver driver;

namespace {

constexpr int kGateOpen = 0, kGateFresh = 1, kGateFaults = 2;

// --- faults --------------------------------------------------------------------------------------------------------

enum class FaultKind { kCode, kDelay, kNull, kKill };
struct Fault {
  char symbol[64];
  std::uint64_t nth;  // 0: every call
  FaultKind kind;
  std::uint64_t value;
  std::atomic<std::uint64_t> calls;
};
constexpr int kMaxFaults = 32;
Fault faults[kMaxFaults];
int fault_count = 0;
char last_error[512];
pthread_once_t faults_once = PTHREAD_ONCE_INIT;

bool parse_u64(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

bool parse_delay(std::string_view text, std::uint64_t& ns) {
  constexpr std::pair<std::string_view, std::uint64_t> kUnits[] = {
      {"ns", 1}, {"us", 1000}, {"ms", 1'000'000}, {"s", 1'000'000'000}};
  for (const auto& [unit, factor] : kUnits) {
    if (!text.ends_with(unit) || !parse_u64(text.substr(0, text.size() - unit.size()), ns)) continue;
    ns *= factor;
    return true;
  }
  return false;
}

// "symbol[:n]=code|delay:5ms|null|kill"
bool parse_fault(std::string_view text, Fault& fault) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return false;
  std::string_view symbol = text.substr(0, equals);
  const std::string_view action = text.substr(equals + 1);
  const auto colon = symbol.find(':');
  fault.nth = 0;
  if (colon != std::string_view::npos) {
    if (!parse_u64(symbol.substr(colon + 1), fault.nth) || fault.nth == 0) return false;
    symbol = symbol.substr(0, colon);
  }
  if (symbol.empty() || symbol.size() >= sizeof fault.symbol) return false;
  memcpy(fault.symbol, symbol.data(), symbol.size());
  fault.symbol[symbol.size()] = 0;
  if (!is_known_symbol(fault.symbol)) return false;
  if (action == "null") {
    fault.kind = FaultKind::kNull;
  } else if (action == "kill") {
    fault.kind = FaultKind::kKill;
  } else if (action.starts_with("delay:")) {
    fault.kind = FaultKind::kDelay;
    return parse_delay(action.substr(6), fault.value);
  } else {
    fault.kind = FaultKind::kCode;
    return parse_u64(action, fault.value);
  }
  return true;
}

void read_faults() {
  static char read_last[1024];
  const char* variable = getenv("KIBOKO_SIM_FAULT");
  if (variable == nullptr) variable = "";
  if (strncmp(variable, read_last, sizeof read_last - 1) == 0) return;  // counting goes on
  strncpy(read_last, variable, sizeof read_last - 1);
  fault_count = 0;
  std::string_view text = variable;
  while (!text.empty() && fault_count < kMaxFaults) {
    const auto comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    if (parse_fault(item, faults[fault_count])) {
      ++fault_count;
    } else if (!item.empty()) {
      const std::string message = "KIBOKO_SIM_FAULT: cannot use '" + std::string(item) + "'";
      strncpy(last_error, message.c_str(), sizeof last_error - 1);
    }
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
}

bool apply_fault(const char* name, void* output, std::size_t output_bytes, CUresult& result) {
  for (int i = 0; i < fault_count; ++i) {
    Fault& fault = faults[i];
    if (strcmp(fault.symbol, name) != 0) continue;
    if (++fault.calls != fault.nth && fault.nth != 0) continue;
    switch (fault.kind) {
      case FaultKind::kCode:
        result = static_cast<CUresult>(fault.value);
        return true;
      case FaultKind::kNull:
        if (output != nullptr) memset(output, 0, output_bytes);
        result = CUDA_SUCCESS;
        return true;
      case FaultKind::kKill:
        kill(getpid(), SIGKILL);
        break;
      case FaultKind::kDelay: {
        const timespec time{static_cast<time_t>(fault.value / 1'000'000'000),
                            static_cast<long>(fault.value % 1'000'000'000)};
        nanosleep(&time, nullptr);
        break;
      }
    }
  }
  return false;
}

// --- which devices ---------------------------------------------------------------------------------------------------

// One entry of CUDA_VISIBLE_DEVICES; -1 when it names no device.
int visible_device(std::string_view entry, const Shared& shared) {
  std::uint64_t index = 0;
  if (parse_u64(entry, index)) return index < shared.device_count ? static_cast<int>(index) : -1;
  if (!entry.starts_with("GPU-")) return -1;
  int found = -1;
  for (int i = 0; i < static_cast<int>(shared.device_count); ++i) {
    const std::string uuid = uuid_text(shared.devices[i].uuid);
    if (entry.size() > uuid.size() || strncasecmp(uuid.c_str(), entry.data(), entry.size()) != 0) continue;
    if (found >= 0) return -1;  // an ambiguous prefix names nothing
    found = i;
  }
  return found;
}

// As the real driver: the list ends at the first entry that is no device or was there before.
void choose_devices(const Shared& shared) {
  const char* variable = getenv("CUDA_VISIBLE_DEVICES");
  if (variable == nullptr) {
    driver.device_count = static_cast<int>(shared.device_count);
    for (int i = 0; i < driver.device_count; ++i) driver.devices[i] = i;
    return;
  }
  std::string_view text = variable;
  driver.device_count = 0;
  while (!text.empty()) {
    const auto comma = text.find(',');
    std::string_view entry = text.substr(0, comma);
    while (!entry.empty() && entry.front() == ' ') entry.remove_prefix(1);
    while (!entry.empty() && entry.back() == ' ') entry.remove_suffix(1);
    const int device = visible_device(entry, shared);
    if (device < 0) return;
    for (int i = 0; i < driver.device_count; ++i) {
      if (driver.devices[i] == device) return;
    }
    driver.devices[driver.device_count++] = device;
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
}

// --- life ------------------------------------------------------------------------------------------------------------

// A fork in one thread while another initialises: the child has neither that thread nor the locks that it held, unless
// the fork waits for it.
void before_fork() {
  pthread_once(&faults_once, read_faults);
  driver.lock.lock();
}

void after_fork() { driver.lock.unlock(); }

void after_fork_in_child() {
  driver.lock.unlock();
  State expected = State::kReady;
  if (driver.state.compare_exchange_strong(expected, State::kForked)) driver.gate = kGateFresh;
}

__attribute__((constructor)) void watch_forks() { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

CUresult initialise() {
  std::string error;
  read_driver_version();
  read_faults();  // the environment of a child may differ from what its parent had
  driver.shared = attach_from_environment(error);
  if (driver.shared == nullptr) {
    strncpy(last_error, error.c_str(), sizeof last_error - 1);
    return error.find("version") != std::string::npos ? CUDA_ERROR_SYSTEM_DRIVER_MISMATCH : CUDA_ERROR_NO_DEVICE;
  }
  choose_devices(*driver.shared);
  if (driver.device_count == 0) return CUDA_ERROR_NO_DEVICE;
  for (int i = 0; i < driver.device_count; ++i) {
    auto* queue = new Queue;
    queue->ordinal = i;
    queue->device = driver.devices[i];
    queue->sms = device_at(i).spec.sm_count;
    driver.queues[i] = queue;
  }
  driver.state = State::kReady;
  driver.gate = fault_count > 0 ? kGateFaults : kGateOpen;
  return CUDA_SUCCESS;
}

// The process ends in order: what it holds goes back now instead of when somebody misses it.
__attribute__((destructor)) void end_of_process() {
  State expected = State::kReady;
  if (!driver.state.compare_exchange_strong(expected, State::kEnded)) return;
  driver.gate = kGateFresh;
  for (int i = 0; i < driver.device_count; ++i) {
    Queue* queue = driver.queues[i];
    if (queue != nullptr && queue->channel >= 0) release_channel(*driver.shared, queue->channel);
  }
}

}  // namespace

bool closed_gate(const char* name, void* output, std::size_t output_bytes, bool needs_init, CUresult& result) {
  pthread_once(&faults_once, read_faults);
  if (fault_count > 0 && apply_fault(name, output, output_bytes, result)) return true;
  if (!needs_init) return false;
  switch (driver.state.load()) {
    case State::kReady:
      return false;
    case State::kEnded:
      result = CUDA_ERROR_DEINITIALIZED;
      return true;
    case State::kFresh:
    case State::kForked:
      result = CUDA_ERROR_NOT_INITIALIZED;
      return true;
  }
  return false;
}

}  // namespace sim

using sim::driver;

SIM_EARLY_FN(cuInit, (unsigned flags), (flags)) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (driver.state == sim::State::kForked) return CUDA_ERROR_NOT_INITIALIZED;
  if (driver.state == sim::State::kEnded) return CUDA_ERROR_DEINITIALIZED;
  std::lock_guard<std::mutex> lock(driver.lock);
  if (driver.state == sim::State::kReady) return CUDA_SUCCESS;
  return sim::initialise();
}

// --- for the agent: makes a device set, says what went wrong ---------------------------------------------------------

SIM_API int kiboko_sim_create(const char* name, const char* devices, char* error, std::size_t error_bytes) {
  std::string message;
  const sim::Shared* shared = sim::demand(name == nullptr ? "" : name, devices == nullptr ? "" : devices, message);
  if (shared != nullptr) return static_cast<int>(shared->device_count);
  if (error != nullptr && error_bytes > 0) {
    strncpy(error, message.c_str(), error_bytes - 1);
    error[error_bytes - 1] = 0;
  }
  return -1;
}

SIM_API const char* kiboko_sim_last_error() { return sim::last_error; }
