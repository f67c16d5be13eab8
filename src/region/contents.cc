// contents.h. The count of devices stands in both parts. HAMi's is stored last and is the one that counts; readers may
// see a device's text and limits only once it is counted.
#include "region/contents.h"

#include <atomic>
#include <cstring>

#include "region/message.h"
#include "region/os.h"
#include "region/step.h"

namespace kiboko::region {
namespace {

constexpr std::uint32_t kHamiMajor = 1, kHamiMinor = 2;
constexpr std::int32_t kRunningKernels = 2;  // what HAMi-core writes at creation and at each launch
constexpr std::size_t kUuidBytes = sizeof HamiRegion::uuids[0];

const char* uuid_of(const RegionSeed& seed, unsigned device) {
  return seed.uuids[device] != nullptr ? seed.uuids[device] : "";
}

// A glibc sem_t, process-shared, with value 1, as 64-bit glibc lays it out: {value and waiters:64, private:32, …}.
// "private" holds 128 for a shared one. Nobody of ours takes it; a foreign library that does finds it free.
void fill_semaphore(std::uint8_t (&semaphore)[32]) {
  std::memset(semaphore, 0, sizeof semaphore);
  semaphore[0] = 1;
  semaphore[8] = 128;
}

template <std::size_t N>
void fill_text(char (&to)[N], const char* from) {
  std::memset(to, 0, N);
  for (std::size_t i = 0; i + 1 < N && from != nullptr && from[i] != '\0'; ++i) to[i] = from[i];
}

void fill_frame(HamiRegion& hami, const RegionSeed& seed) {
  hami.major_version = kHamiMajor;
  hami.minor_version = kHamiMinor;
  hami.sm_init = 0;
  hami.owner_pid = 0;
  fill_semaphore(hami.semaphore);
  fill_semaphore(hami.post_init_semaphore);
  hami.slot_count = 0;
  hami.priority = seed.priority;
}

void fill_hami(HamiRegion& hami, const RegionSeed& seed) {
  fill_frame(hami, seed);
  hami.device_count = seed.device_count;
  for (unsigned i = 0; i < kMaxDevices; ++i) {
    fill_text(hami.uuids[i], uuid_of(seed, i));
    hami.memory_limit[i] = seed.memory_limit[i];
    hami.sm_limit[i] = seed.sm_limit[i];
  }
  hami.utilization_switch = 1;
  hami.recent_kernel = kRunningKernels;
  hami.last_kernel_time = 0;
}

void fill_extension(ExtensionHeader& header, const RegionSeed& seed, unsigned device_count) {
  header.version = kExtensionVersion;
  header.header_bytes = sizeof(ExtensionHeader);
  header.bytes = kExtensionBytes;
  header.nonce = os::random_word();
  header.device_count = device_count;
  fill_text(header.grant_id, seed.grant_id);
}

// Not strncasecmp, which asks the program's locale.
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_same_text(const char* a, const char* b, std::size_t most) {
  for (std::size_t i = 0; i < most; ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
    if (a[i] == '\0') return true;
  }
  return true;
}

constexpr std::size_t kPrefix = 4;
bool has_prefix(const char* uuid) { return is_same_text(uuid, "gpu-", kPrefix) || is_same_text(uuid, "mig-", kPrefix); }

// Another process may be counting while this one looks.
std::atomic_ref<std::uint32_t> second_count(const Extension& ext) {
  return std::atomic_ref<std::uint32_t>(const_cast<Extension&>(ext).header.device_count);
}

// The seed's place of the device at `index` of the file, or -1.
int place_of(const RegionSeed& seed, const char* uuid) {
  for (unsigned i = 0; i < seed.device_count; ++i)
    if (is_same_device(uuid_of(seed, i), uuid)) return static_cast<int>(i);
  return -1;
}

void fill_limits(HamiRegion& hami, unsigned index, const RegionSeed& seed, unsigned place) {
  const unsigned number = place < seed.numbered ? place : index;
  hami.memory_limit[index] = seed.memory_limit[number];
  hami.sm_limit[index] = seed.sm_limit[number];
}

bool check_same_devices(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed, const char* path,
                        PageError* error) {
  const std::uint64_t count = hami.device_count.load(std::memory_order_relaxed);
  if (count != seed.device_count || ext.header.device_count != seed.device_count)
    return refuse(error, "region ", path, ": it is for ", count, " devices, this grant has ", seed.device_count,
                  kMakeAnew);
  for (unsigned i = 0; i < seed.device_count; ++i) {
    char uuid[kUuidBytes];
    std::memcpy(uuid, hami.uuids[i], sizeof uuid);
    uuid[sizeof uuid - 1] = '\0';
    if (std::strcmp(uuid, uuid_of(seed, i)) != 0)
      return refuse(error, "region ", path, ": its device ", i, " is '", uuid, "', this grant's is '", uuid_of(seed, i),
                    "'", kMakeAnew);
  }
  return true;
}

}  // namespace

bool is_same_device(const char* uuid, const char* other) {
  if (has_prefix(uuid) && has_prefix(other))
    return is_same_text(uuid + kPrefix, other + kPrefix, kUuidBytes - 1 - kPrefix);
  return is_same_text(uuid, other, kUuidBytes - 1);
}

unsigned devices_in(const HamiRegion& hami) {
  const std::uint64_t count = hami.device_count.load(std::memory_order_acquire);
  return count < kMaxDevices ? static_cast<unsigned>(count) : static_cast<unsigned>(kMaxDevices);
}

int index_of_device(const HamiRegion& hami, const char* uuid) {
  const unsigned count = devices_in(hami);
  for (unsigned i = 0; i < count; ++i)
    if (is_same_device(hami.uuids[i], uuid)) return static_cast<int>(i);
  return -1;
}

bool check_seed(const RegionSeed& seed, PageError* error) {
  if (seed.device_count > kMaxDevices)
    return refuse(error, "region: ", seed.device_count, " devices are asked for, ", kMaxDevices, " can be");
  for (unsigned i = 0; i < seed.device_count; ++i)
    if (std::strlen(uuid_of(seed, i)) >= kUuidBytes)
      return refuse(error, "region: the UUID of device ", i, " is longer than 95 characters");
  return true;
}

bool is_published(const HamiRegion& hami, const Extension& ext) {
  return hami.magic.load(std::memory_order_acquire) != 0 && ext.header.magic.load(std::memory_order_acquire) != 0;
}

void fill(HamiRegion& hami, Extension& ext, const RegionSeed& seed) {
  fill_hami(hami, seed);
  KIBOKO_STEP("first part filled");
  fill_extension(ext.header, seed, seed.device_count);
  KIBOKO_STEP("extension filled");
  ext.header.magic.store(kExtensionMagic, std::memory_order_release);
  KIBOKO_STEP("extension published");
  hami.magic.store(kHamiMagic, std::memory_order_release);
  KIBOKO_STEP("region published");
}

void fill_around_devices(HamiRegion& hami, Extension& ext, const RegionSeed& seed) {
  fill_frame(hami, seed);
  const unsigned count = devices_in(hami);
  hami.device_count = count;
  for (unsigned i = 0; i < count; ++i) {
    hami.uuids[i][kUuidBytes - 1] = '\0';
    if (const int place = place_of(seed, hami.uuids[i]); place >= 0)
      fill_limits(hami, i, seed, static_cast<unsigned>(place));
  }
  KIBOKO_STEP("first part taken over");
  fill_extension(ext.header, seed, count);
  KIBOKO_STEP("extension added");
  ext.header.magic.store(kExtensionMagic, std::memory_order_release);
  KIBOKO_STEP("region taken over");
}

bool check_contents(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed, const char* path,
                    PageError* error) {
  if (hami.magic.load(std::memory_order_acquire) != kHamiMagic ||
      ext.header.magic.load(std::memory_order_acquire) != kExtensionMagic)
    return refuse(error, "region ", path, ": it does not begin as a region does", kMakeAnew);
  if (hami.major_version != kHamiMajor || hami.minor_version != kHamiMinor)
    return refuse(error, "region ", path, ": its first part has version ", hami.major_version, ".", hami.minor_version,
                  ", not 1.2", kMakeAnew);
  if (ext.header.version != kExtensionVersion || ext.header.header_bytes != sizeof(ExtensionHeader) ||
      ext.header.bytes != kExtensionBytes)
    return refuse(error, "region ", path, ": its extension has version ", ext.header.version, ", this library reads ",
                  kExtensionVersion, kMakeAnew);
  if (seed.sharing == Sharing::Grant) return check_same_devices(hami, ext, seed, path, error);
  const std::uint64_t count = hami.device_count.load(std::memory_order_acquire);
  if (count <= kMaxDevices) return true;
  return refuse(error, "region ", path, ": it says that it has ", count, " devices, ", kMaxDevices, " can be",
                kMakeAnew);
}

bool has_devices(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed) {
  if (second_count(ext).load(std::memory_order_relaxed) != devices_in(hami)) return false;
  for (unsigned i = 0; i < seed.device_count; ++i)
    if (index_of_device(hami, uuid_of(seed, i)) < 0) return false;
  return true;
}

bool add_devices(HamiRegion& hami, Extension& ext, const RegionSeed& seed, const char* path, PageError* error) {
  second_count(ext).store(devices_in(hami), std::memory_order_relaxed);
  for (unsigned place = 0; place < seed.device_count; ++place) {
    if (index_of_device(hami, uuid_of(seed, place)) >= 0) continue;
    const unsigned index = devices_in(hami);
    if (index == kMaxDevices)
      return refuse(error, "region ", path, ": it has ", kMaxDevices, " devices already and '", uuid_of(seed, place),
                    "' is none of them", kMakeAnew);
    fill_text(hami.uuids[index], uuid_of(seed, place));
    fill_limits(hami, index, seed, place);
    KIBOKO_STEP("device written");
    second_count(ext).store(index + 1, std::memory_order_relaxed);
    KIBOKO_STEP("device counted once");
    hami.device_count.store(index + 1, std::memory_order_release);
    KIBOKO_STEP("device added");
  }
  return true;
}

}  // namespace kiboko::region
