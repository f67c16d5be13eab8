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

void write_line(const char* about, const char* text) {
  char line[sizeof(region::PageError) + 128];
  const int n = snprintf(line, sizeof line, "kiboko: %s%s\n", about, text);
  if (n > 0 && write(2, line, strlen(line)) < 0) return;  // nobody to tell
}

void say(const char* text) { write_line("CUDA is refused: ", text); }

// What LIBCUDA_LOG_LEVEL asks for. Once, when CUDA has started.
void report_start() {
  const unsigned level = variable_log_level();
  region::PageError text;
  unsigned step = 0;
  while (level >= 1 && next_complaint(&step, &text)) write_line("", text.text);
  for (unsigned i = 0; level >= 3 && i < state.device_count; ++i) {
    const std::uint64_t bytes = account_view(i).limit;
    const std::uint32_t percent = state.limits[i].core_percent.load(std::memory_order_relaxed);
    snprintf(text.text, sizeof text.text, "slot %u, device %u %s: memory limit %llu bytes, compute limit %u%%",
             state.slot.index, i, state.uuids[i], static_cast<unsigned long long>(bytes), percent == 0 ? 100 : percent);
    write_line("", text.text);
  }
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

// `number` is that of the device for the variables of one device.
void set_limit(unsigned device, std::uint64_t bytes, std::uint32_t percent, unsigned number) {
  state.limits[device].memory_bytes.store(tighter_of(bytes, tighter.memory_bytes[number]), std::memory_order_relaxed);
  state.limits[device].core_percent.store(static_cast<std::uint32_t>(tighter_of(percent, tighter.core_percent[number])),
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
    set_limit(i, settings.devices[i].limit_bytes, settings.devices[i].core_percent, i);
  state.policy.store(static_cast<region::CorePolicy>(settings.core_policy), std::memory_order_relaxed);
  state.priority.store(settings.priority, std::memory_order_relaxed);
}

region::RegionSeed seed_of(const region::GrantSettings& settings) {
  region::RegionSeed seed;
  seed.grant_id = state.page->identity.grant_id;
  seed.device_count = state.device_count;
  for (unsigned i = 0; i < state.device_count; ++i) {
    seed.uuids[i] = state.uuids[i];
    seed.memory_limit[i] = settings.devices[i].limit_bytes;
    seed.sm_limit[i] = mirrored(settings.devices[i].core_percent);
  }
  seed.priority = static_cast<std::int32_t>(settings.priority);
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
  if (!state.region.open(page->identity.region_path, seed_of(settings), error)) return false;
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

// The container's devices as far as this process knows them: what NVIDIA_VISIBLE_DEVICES lists, then what CUDA shows
// beside that. Into state.uuids, for now in this order.
bool gather_devices(region::PageError* error) {
  state.device_count = listed_devices();
  for (unsigned i = 0; i < state.device_count; ++i)
    snprintf(state.uuids[i], sizeof state.uuids[i], "%s", listed_device(i));
  int count = 0;
  if (real.cuDeviceGetCount != nullptr && real.cuDeviceGetCount(&count) != CUDA_SUCCESS) count = 0;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUuuid uuid;
    char text[96];
    if (!ordinal_uuid(ordinal, &uuid)) {
      snprintf(error->text, sizeof error->text, "the driver does not say which device is number %d", ordinal);
      return false;
    }
    write_uuid(uuid, "GPU", text, sizeof text);
    unsigned place = 0;
    while (place < state.device_count && !region::is_same_device(state.uuids[place], text)) ++place;
    if (place < state.device_count) continue;
    if (place == region::kMaxDevices) {
      snprintf(error->text, sizeof error->text,
               "this program sees more than %u devices; name fewer in CUDA_VISIBLE_DEVICES",
               static_cast<unsigned>(region::kMaxDevices));
      return false;
    }
    memcpy(state.uuids[state.device_count++], text, sizeof text);
  }
  return true;
}

region::RegionSeed seed_of_variables() {
  region::RegionSeed seed;
  seed.sharing = region::Sharing::Container;
  seed.device_count = state.device_count;
  seed.numbered = listed_devices();
  for (unsigned i = 0; i < state.device_count; ++i) seed.uuids[i] = state.uuids[i];
  for (unsigned i = 0; i < region::kMaxDevices; ++i) {
    seed.memory_limit[i] = tighter.memory_bytes[i];
    seed.sm_limit[i] = mirrored(tighter.core_percent[i]);
  }
  seed.priority = static_cast<std::int32_t>(variable_priority());
  return seed;
}

// From now on a device has the index that the region gives it, for all processes of the container.
void take_devices_of_region() {
  const region::HamiRegion& hami = state.region.hami();
  state.device_count = region::devices_in(hami);
  for (unsigned i = 0; i < region::kMaxDevices; ++i) {
    memcpy(state.uuids[i], hami.uuids[i], sizeof state.uuids[i]);
    state.uuids[i][sizeof state.uuids[i] - 1] = 0;
    set_limit(i, 0, 0, number_of_device(state.uuids[i], i));
  }
}

bool attach_to_variables(region::PageError* error) {
  if (!gather_devices(error)) return false;
  state.policy.store(variable_policy(), std::memory_order_relaxed);
  state.priority.store(variable_priority(), std::memory_order_relaxed);
  const region::RegionSeed seed = seed_of_variables();
  if (!state.region.open(variable_region_path(), seed, error)) {
    // HAMi names a region in every container, those that it does not limit too.
    if (!state.region.unwritable() || tighter.any()) return false;
    write_line("no limit is asked for, so this program is counted for itself alone: ", error->text);
    if (!state.region.open_private(seed, error)) return false;
  }
  take_devices_of_region();
  return true;
}

constexpr int kAttributeIntegrated = 18;

bool has_no_memory_of_its_own(CUdevice ordinal) {
  int integrated = 0;
  return real.cuDeviceGetAttribute != nullptr &&
         real.cuDeviceGetAttribute(&integrated, kAttributeIntegrated, ordinal) == CUDA_SUCCESS && integrated != 0;
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
    const int index = state.index_of_ordinal[ordinal];
    if (index >= 0 && has_no_memory_of_its_own(ordinal)) state.unified.fetch_or(1U << static_cast<unsigned>(index));
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
  state.record_interval_ns = variable_record_interval_ns();
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
  report_start();
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

std::uint64_t variable_limit(const char* uuid, unsigned index) {
  const unsigned number = number_of_device(uuid, index);
  return number < region::kMaxDevices ? tighter.memory_bytes[number] : 0;
}

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
void reap_once_a_second(region::Mapping& region) {
  static std::atomic<std::int64_t> last{0};
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  std::int64_t seen = last.load(std::memory_order_relaxed);
  if (now.tv_sec != seen && last.compare_exchange_strong(seen, now.tv_sec, std::memory_order_relaxed))
    region::reap_dead_slots(region);
}

void follow_page() {
  if (state.page == nullptr) return reap_once_a_second(state.region);
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

int ask_current_device() {
  CUdevice device = -1;
  if (real.cuCtxGetDevice == nullptr || real.cuCtxGetDevice(&device) != CUDA_SUCCESS) return -1;
  return index_of(device);
}

// Without a page another process may have added the device since we came.
int index_of_uuid(const char* uuid) {
  if (state.page == nullptr && state.region) return region::index_of_device(state.region.hami(), uuid);
  for (unsigned i = 0; i < state.device_count; ++i)
    if (strcasecmp(state.uuids[i], uuid) == 0) return static_cast<int>(i);
  return -1;
}

}  // namespace kiboko::shim
