// Everything this file calls must exist in glibc 2.17 under its old version, start no thread, and leave the program's
// signals, umask and environment alone.
#include "shim/state.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim/fork.h"
#include "shim/launch.h"
#include "shim/route.h"
#include "shim/table.h"
#include "shim/variables.h"

namespace kiboko::shim {

State state;

namespace {

void say(const char* text) {
  char line[sizeof(region::PageError) + 64];
  const int n = snprintf(line, sizeof line, "kiboko: CUDA is refused: %s\n", text);
  if (n > 0 && write(2, line, strlen(line)) < 0) return;  // nobody to tell
}

bool in_kiboko_cgroup() {
  const int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[4096];
  const auto n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  return strstr(text, "/kiboko/g-") != nullptr;
}

VariableLimits tighter;

void set_limit(unsigned device, std::uint64_t bytes, std::uint32_t percent) {
  state.limits[device].memory_bytes.store(tighter_of(bytes, tighter.memory_bytes[device]), std::memory_order_relaxed);
  state.limits[device].core_percent.store(static_cast<std::uint32_t>(tighter_of(percent, tighter.core_percent[device])),
                                          std::memory_order_relaxed);
}

std::uint64_t mirrored(std::uint32_t percent) { return percent == 0 ? 100 : percent; }

// The region's v1.2 words show the page's limits; whoever lowers one there tightens it until the page changes. What the
// environment of one process says is not the grant's.
void mirror_limits(const region::GrantSettings& settings, std::uint64_t generation) {
  region::Shared<std::uint64_t>& mirrored_generation = state.region.ext().header.mirrored_generation;
  if (mirrored_generation.exchange(generation, std::memory_order_relaxed) == generation) return;
  region::HamiRegion& hami = state.region.hami();
  for (unsigned i = 0; i < state.device_count; ++i) {
    hami.memory_limit[i].store(settings.devices[i].limit_bytes, std::memory_order_relaxed);
    hami.sm_limit[i].store(mirrored(settings.devices[i].core_percent), std::memory_order_relaxed);
  }
}

void take_settings(const region::GrantSettings& settings) {
  for (unsigned i = 0; i < state.device_count; ++i)
    set_limit(i, settings.devices[i].limit_bytes, settings.devices[i].core_percent);
  state.policy.store(static_cast<region::CorePolicy>(settings.core_policy), std::memory_order_relaxed);
  state.priority.store(settings.priority, std::memory_order_relaxed);
}

// Without settings of a page, the limits are those of the variables.
region::RegionSeed seed(const region::GrantSettings* settings) {
  region::RegionSeed seed;
  seed.grant_id = state.page != nullptr ? state.page->identity.grant_id : "";
  seed.device_count = state.device_count;
  for (unsigned i = 0; i < state.device_count; ++i) {
    seed.uuids[i] = state.uuids[i];
    seed.memory_limit[i] = settings != nullptr ? settings->devices[i].limit_bytes
                                               : state.limits[i].memory_bytes.load(std::memory_order_relaxed);
    seed.sm_limit[i] = mirrored(settings != nullptr ? settings->devices[i].core_percent
                                                    : state.limits[i].core_percent.load(std::memory_order_relaxed));
  }
  seed.priority = static_cast<std::int32_t>(state.priority.load(std::memory_order_relaxed));
  return seed;
}

bool attach_to_page(region::PageError* error) {
  const region::GrantPage* page = region::open_grant_page(grant_page_path(), error);
  if (page == nullptr) return false;
  region::GrantSettings settings;
  if (!region::read_settings(*page, &settings)) {
    snprintf(error->text, sizeof error->text, "grant page %.200s holds no valid settings; ask for the grant again",
             grant_page_path());
    return false;
  }
  state.page = page;
  state.device_count = page->identity.device_count;
  for (unsigned i = 0; i < state.device_count; ++i) {
    memcpy(state.uuids[i], page->identity.devices[i].uuid, sizeof page->identity.devices[i].uuid);
    state.physical_bytes[i] = page->identity.devices[i].physical_bytes;
  }
  const std::uint64_t generation = page->live.generation.load(std::memory_order_acquire);
  state.generation.store(generation, std::memory_order_relaxed);
  take_settings(settings);
  if (!state.region.open(page->identity.region_path, seed(&settings), error)) return false;
  mirror_limits(settings, generation);
  return true;
}

void write_uuid(const CUuuid& uuid, const char* prefix, char* out, std::size_t size) {
  const unsigned char* b = uuid.bytes;
  snprintf(out, size, "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", prefix, b[0], b[1],
           b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

bool ordinal_uuid(int ordinal, CUuuid* uuid) {
  CUdevice device = 0;
  if (real.cuDeviceGet == nullptr || real.cuDeviceGet(&device, ordinal) != CUDA_SUCCESS) return false;
  if (real.cuDeviceGetUuid_v2 != nullptr) return real.cuDeviceGetUuid_v2(uuid, device) == CUDA_SUCCESS;
  return real.cuDeviceGetUuid != nullptr && real.cuDeviceGetUuid(uuid, device) == CUDA_SUCCESS;
}

// Without a page the devices are those that the program sees, in its order, as HAMi's numbered variables mean them.
bool attach_to_variables(region::PageError* error) {
  int count = 0;
  if (real.cuDeviceGetCount != nullptr && real.cuDeviceGetCount(&count) != CUDA_SUCCESS) count = 0;
  if (count > static_cast<int>(region::kMaxDevices)) count = region::kMaxDevices;
  state.device_count = static_cast<unsigned>(count < 0 ? 0 : count);
  for (unsigned i = 0; i < state.device_count; ++i) {
    CUuuid uuid;
    if (ordinal_uuid(static_cast<int>(i), &uuid)) write_uuid(uuid, "GPU", state.uuids[i], sizeof state.uuids[i]);
    set_limit(i, 0, 0);
  }
  state.policy.store(variable_policy(), std::memory_order_relaxed);
  state.priority.store(variable_priority(), std::memory_order_relaxed);
  return state.region.open(variable_region_path(), seed(nullptr), error);
}

void map_ordinals() {
  int count = 0;
  if (real.cuDeviceGetCount == nullptr || real.cuDeviceGetCount(&count) != CUDA_SUCCESS) count = 0;
  if (count > static_cast<int>(kMaxOrdinals)) count = kMaxOrdinals;
  state.ordinal_count = static_cast<unsigned>(count);
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    state.index_of_ordinal[ordinal] = -1;
    CUuuid uuid;
    if (!ordinal_uuid(ordinal, &uuid)) continue;
    for (const char* prefix : {"GPU", "MIG"}) {
      char text[96];
      write_uuid(uuid, prefix, text, sizeof text);
      if (const int index = index_of_uuid(text); index >= 0) state.index_of_ordinal[ordinal] = index;
    }
  }
  state.single_device.store(count == 1 && state.index_of_ordinal[0] == 0, std::memory_order_relaxed);
}

// `cuda` says whether the driver may be asked; without a page the device list comes from it.
int try_attach(bool cuda, region::PageError* error) {
  const bool has_page = grant_page_path()[0] != 0;
  if (!has_page) {
    if (in_kiboko_cgroup()) {
      snprintf(error->text, sizeof error->text,
               "this process belongs to a grant but KIBOKO_GRANT is not set; do not clear it from the environment");
      return 2;
    }
    if (!has_variable_limits()) return 3;
  }
  if (!read_variable_limits(&tighter, error)) return 2;
  if (has_page) return attach_to_page(error) ? 1 : 2;
  if (!cuda) return 0;
  return attach_to_variables(error) ? 1 : 2;
}

std::atomic<int> attach_lock{0};

int attach_once(bool cuda, region::PageError* error) {
  int done = state.attached.load(std::memory_order_acquire);
  if (done != 0) return done;
  watch_forks();
  int expected = 0;
  while (!attach_lock.compare_exchange_weak(expected, 1, std::memory_order_acquire)) {
    expected = 0;
    sched_yield();
  }
  done = state.attached.load(std::memory_order_relaxed);
  if (done == 0) {
    done = try_attach(cuda, error);
    state.attached.store(done, std::memory_order_release);
  }
  attach_lock.store(0, std::memory_order_release);
  return done;
}

std::uint64_t random_nonce() {
  std::uint64_t nonce = 0;
  if (syscall(SYS_getrandom, &nonce, sizeof nonce, 1 /* GRND_NONBLOCK */) != static_cast<long>(sizeof nonce))
    nonce = static_cast<std::uint64_t>(getpid()) * 0x9e3779b97f4a7c15ULL ^ reinterpret_cast<std::uintptr_t>(&nonce);
  return nonce;
}

// Other threads run on, and may be about to charge or refund: from part() on only a copy of ours sees that.
__attribute__((destructor)) void leave() {
  if (state.phase.load(std::memory_order_acquire) != Phase::Active) return;
  region::Mapping left;
  region::release_slot(state.region.part(&left) ? left : state.region, state.slot);
}

Phase start() {
  region::PageError error{};
  switch (attach_once(true, &error)) {
    case 3:
      return Phase::Free;
    case 1:
      break;
    default:
      if (error.text[0] == 0) snprintf(error.text, sizeof error.text, "its limits could not be read");
      say(error.text);
      return Phase::Refused;
  }
  map_ordinals();
  const region::ProcessIdentity self = region::ProcessIdentity::self();
  if (!region::claim_slot(state.region, self, random_nonce(), &state.slot, &error)) {
    say(error.text);
    return Phase::Refused;
  }
  for (unsigned i = 0; i < state.device_count; ++i) {
    if (state.region.reserve_device(i)) continue;
    region::release_slot(state.region, state.slot);
    say("the disk that holds its region is full");
    return Phase::Refused;
  }
  return Phase::Active;
}

}  // namespace

void state_after_fork() {
  if (attach_lock.exchange(0, std::memory_order_relaxed) != 0 && state.attached.load(std::memory_order_relaxed) == 0)
    state.region.close();  // opened and not checked yet
  const Phase phase = state.phase.load(std::memory_order_relaxed);
  if (phase != Phase::Starting && phase != Phase::Active) return;
  state.phase.store(Phase::Forked, std::memory_order_relaxed);
  launch_after_fork();
}

bool activate() {
  watch_forks();
  Phase seen = Phase::Idle;
  if (state.phase.compare_exchange_strong(seen, Phase::Starting, std::memory_order_acq_rel)) {
    seen = start();
    launch_configure(seen);
    state.phase.store(seen, std::memory_order_release);
    syscall(SYS_futex, &state.phase, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  }
  while (seen == Phase::Starting) {  // another thread is at it: a handful of file operations
    timespec patience{0, 10'000'000};
    syscall(SYS_futex, &state.phase, FUTEX_WAIT_PRIVATE, static_cast<int>(Phase::Starting), &patience, nullptr, 0);
    seen = state.phase.load(std::memory_order_acquire);
  }
  return seen != Phase::Refused;
}

bool attach() {
  region::PageError error{};
  return attach_once(false, &error) == 1;
}

std::uint64_t variable_limit(unsigned index) { return index < region::kMaxDevices ? tighter.memory_bytes[index] : 0; }

Gate enter_slowly() {
  switch (state.phase.load(std::memory_order_acquire)) {
    case Phase::Active:
      refresh_limits();
      return Gate::Account;
    case Phase::Free:
    case Phase::Forked:
      return Gate::Pass;
    case Phase::Refused:
      return Gate::Refuse;
    case Phase::Idle:
    case Phase::Starting:
      break;
  }
  // The program started CUDA on a way that we do not see, or not at all: then the driver refuses the call itself.
  int count = 0;
  if (real.cuDeviceGetCount == nullptr || real.cuDeviceGetCount(&count) != CUDA_SUCCESS) return Gate::Pass;
  if (!activate()) return Gate::Refuse;
  return active() ? Gate::Account : Gate::Pass;
}

// Without an agent to say that a process died, somebody must look now and then.
static void reap_once_a_second() {
  static std::atomic<std::int64_t> last{0};
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  std::int64_t seen = last.load(std::memory_order_relaxed);
  if (now.tv_sec != seen && last.compare_exchange_strong(seen, now.tv_sec, std::memory_order_relaxed))
    region::reap_dead_slots(state.region);
}

void follow_page() {
  if (state.page == nullptr) return reap_once_a_second();
  const std::uint32_t deaths = state.page->live.reap_generation.load(std::memory_order_relaxed);
  if (deaths != state.reap_generation.load(std::memory_order_relaxed)) {
    state.reap_generation.store(deaths, std::memory_order_relaxed);
    region::reap_dead_slots(state.region);
  }
  const std::uint64_t generation = state.page->live.generation.load(std::memory_order_acquire);
  if (generation == state.generation.load(std::memory_order_relaxed)) return;
  region::GrantSettings settings;
  if (!region::read_settings(*state.page, &settings)) return;  // keep what we had
  take_settings(settings);
  mirror_limits(settings, generation);
  state.generation.store(generation, std::memory_order_relaxed);
}

int index_of(CUdevice ordinal) {
  return ordinal >= 0 && static_cast<unsigned>(ordinal) < state.ordinal_count ? state.index_of_ordinal[ordinal] : -1;
}

int current_device() {
  if (state.single_device.load(std::memory_order_relaxed)) return 0;
  CUdevice device = -1;
  if (real.cuCtxGetDevice == nullptr || real.cuCtxGetDevice(&device) != CUDA_SUCCESS) return -1;
  return index_of(device);
}

int index_of_uuid(const char* uuid) {
  for (unsigned i = 0; i < state.device_count; ++i)
    if (strcasecmp(state.uuids[i], uuid) == 0) return static_cast<int>(i);
  return -1;
}

}  // namespace kiboko::shim
