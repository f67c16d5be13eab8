// The copies are taken by a constructor, or by the first question if another library's constructor asks before it ran.
#include "shim/variables.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <atomic>

#include "region/mapping.h"
#include "region/units.h"

namespace kiboko::shim {
namespace {

constexpr char kDefaultHamiRegion[] = "/tmp/cudevshr.cache";
constexpr std::size_t kUuidBytes = 41;                  // "GPU-", 36 characters, NUL
constexpr unsigned kEveryDevice = region::kMaxDevices;  // place of the value without a number

struct Copies {
  char grant[4096], region[4096];
  char memory[region::kMaxDevices + 1][64], cores[region::kMaxDevices + 1][64];
  char policy[64], priority[64], interval[64], log_level[64], nvml_use[64];
  char beyond[64];  // the first numbered limit of a device that cannot be
  char visible[region::kMaxDevices * 48];
  char listed[region::kMaxDevices][kUuidBytes];  // the same, taken apart; "" ends it
};
Copies copies;
std::atomic<bool> taken{false};

// The first of a name counts, as for getenv. A value that is too long is cut and marked, so that it cannot be mistaken
// for one that fits.
template <std::size_t kSize>
void copy(const char* value, char (&out)[kSize]) {
  if (out[0] != 0) return;
  const std::size_t length = strnlen(value, kSize);
  memcpy(out, value, length < kSize ? length + 1 : kSize);
  if (length < kSize) return;
  out[kSize - 2] = '~';
  out[kSize - 1] = 0;
}

// The value in NAME=value, or nullptr if `entry` is another variable.
const char* value_of(const char* entry, const char* name) {
  const std::size_t length = strlen(name);
  return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1 : nullptr;
}

// The same for NAME or NAME_number; *index is kEveryDevice without a number, and more for one that no device can have.
const char* value_of(const char* entry, const char* name, unsigned* index) {
  *index = kEveryDevice;
  if (const char* value = value_of(entry, name); value != nullptr) return value;
  const std::size_t length = strlen(name);
  if (strncmp(entry, name, length) != 0 || entry[length] != '_') return nullptr;
  const char* digits = entry + length + 1;
  if (*digits < '0' || *digits > '9') return nullptr;
  char* end = nullptr;
  const unsigned long number = strtoul(digits, &end, 10);
  *index = number < region::kMaxDevices ? static_cast<unsigned>(number) : kEveryDevice + 1;
  return *end == '=' ? end + 1 : nullptr;
}

template <std::size_t kSize>
void copy_limit(const char* entry, const char* value, unsigned index, char (&out)[kEveryDevice + 1][kSize]) {
  if (index <= kEveryDevice) return copy(value, out[index]);
  if (*value == 0 || copies.beyond[0] != 0) return;
  const std::size_t name = static_cast<std::size_t>(value - entry) - 1;
  const std::size_t room = sizeof copies.beyond - 1;
  memcpy(copies.beyond, entry, name < room ? name : room);
}

bool is_uuid(const char* text, std::size_t length) {
  if (length != kUuidBytes - 1) return false;
  if (strncasecmp(text, "GPU-", 4) != 0 && strncasecmp(text, "MIG-", 4) != 0) return false;
  for (std::size_t i = 4; i < length; ++i) {
    const bool dash = i == 12 || i == 17 || i == 22 || i == 27;
    const char c = static_cast<char>(text[i] | 0x20);
    if (dash ? text[i] != '-' : !((text[i] >= '0' && text[i] <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

// As NVML writes it: HAMi's monitor compares letter by letter.
void copy_uuid(const char* text, char (&out)[kUuidBytes]) {
  for (std::size_t i = 0; i + 1 < kUuidBytes; ++i) {
    const bool prefix = i < 4, letter = (text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'z';
    out[i] = !letter ? text[i] : static_cast<char>(prefix ? text[i] & ~0x20 : text[i] | 0x20);
  }
}

bool is_listed(const char* uuid) {
  for (unsigned i = 0; i < region::kMaxDevices; ++i)
    if (strcmp(copies.listed[i], uuid) == 0) return true;
  return false;
}

// All of it or nothing: a list that is understood in part would give the numbers to other devices.
void take_list_apart() {
  unsigned count = 0;
  bool whole = copies.visible[0] != 0;
  for (const char* at = copies.visible; whole;) {
    const std::size_t length = strcspn(at, ",");
    char uuid[kUuidBytes] = {};
    whole = count < region::kMaxDevices && is_uuid(at, length);
    if (!whole) break;
    copy_uuid(at, uuid);
    whole = !is_listed(uuid);
    if (whole) memcpy(copies.listed[count++], uuid, sizeof uuid);
    if (at[length] == 0) break;
    at += length + 1;
  }
  if (!whole) memset(copies.listed, 0, sizeof copies.listed);
}

__attribute__((constructor)) void take_copies() {
  if (taken.load(std::memory_order_acquire)) return;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const char* text = *entry;
    if (strchr("KCGLNR", *text) == nullptr) continue;
    unsigned index = 0;
    if (const char* grant = value_of(text, "KIBOKO_GRANT"))
      copy(grant, copies.grant);
    else if (const char* use = value_of(text, "KIBOKO_NVML_UTILIZATION"))
      copy(use, copies.nvml_use);
    else if (const char* memory = value_of(text, "CUDA_DEVICE_MEMORY_LIMIT", &index))
      copy_limit(text, memory, index, copies.memory);
    else if (const char* cores = value_of(text, "CUDA_DEVICE_SM_LIMIT", &index))
      copy_limit(text, cores, index, copies.cores);
    else if (const char* region = value_of(text, "CUDA_DEVICE_MEMORY_SHARED_CACHE"))
      copy(region, copies.region);
    else if (const char* policy = value_of(text, "GPU_CORE_UTILIZATION_POLICY"))
      copy(policy, copies.policy);
    else if (const char* priority = value_of(text, "CUDA_TASK_PRIORITY"))
      copy(priority, copies.priority);
    else if (const char* interval = value_of(text, "RECORD_KERNEL_INTERVAL"))
      copy(interval, copies.interval);
    else if (const char* level = value_of(text, "LIBCUDA_LOG_LEVEL"))
      copy(level, copies.log_level);
    else if (const char* visible = value_of(text, "NVIDIA_VISIBLE_DEVICES"))
      copy(visible, copies.visible);
  }
  take_list_apart();
  taken.store(true, std::memory_order_release);
}

// Kept whole: g++ 12 may lose its body when it optimises at link time ("in get_untransformed_body").
[[gnu::noinline]] const Copies& at_load() {
  take_copies();
  return copies;
}

bool read_memory(unsigned device, const char* text, std::uint64_t* out, region::PageError* error) {
  if (*text == 0) return true;
  const region::ParsedBytes parsed = region::parse_hami_bytes(text);
  if (parsed.error != region::UnitError::None) {
    snprintf(error->text, sizeof error->text,
             "CUDA_DEVICE_MEMORY_LIMIT for device %u is '%.64s', which %s; write for example 4096m", device, text,
             region::describe(parsed.error));
    return false;
  }
  *out = parsed.bytes;
  return true;
}

// HAMi-core takes any integer: 0 and above 100 mean no limit.
bool read_cores(unsigned device, const char* text, std::uint32_t* out, region::PageError* error) {
  if (*text == 0) return true;
  char* end = nullptr;
  const long value = strtol(text, &end, 10);
  if (end == text || *end != 0 || value < 0) {
    snprintf(error->text, sizeof error->text,
             "CUDA_DEVICE_SM_LIMIT for device %u is '%.64s', which is not a percentage; write for example 30", device,
             text);
    return false;
  }
  *out = value >= 100 ? 0 : static_cast<std::uint32_t>(value);
  return true;
}

template <std::size_t kSize>
const char* for_device(const char (&values)[region::kMaxDevices + 1][kSize], unsigned device) {
  return values[device][0] != 0 ? values[device] : values[kEveryDevice];
}

// A number from 0 to `most`; false when the text is another, or none.
bool read_number(const char* text, unsigned long most, unsigned long* out) {
  if (*text < '0' || *text > '9') return false;
  char* end = nullptr;
  errno = 0;
  const unsigned long value = strtoul(text, &end, 10);
  if (*end != 0 || errno != 0 || value > most) return false;
  *out = value;
  return true;
}

constexpr unsigned long kMostPriority = INT32_MAX, kMostLogLevel = 4, kMostSeconds = 86'400;

bool is_policy(const char* text) {
  return strcasecmp(text, "force") == 0 || strcasecmp(text, "disable") == 0 || strcasecmp(text, "default") == 0;
}

}  // namespace

bool VariableLimits::any() const {
  for (unsigned i = 0; i < region::kMaxDevices; ++i)
    if (memory_bytes[i] != 0 || core_percent[i] != 0) return true;
  return false;
}

const char* grant_page_path() { return at_load().grant; }

bool has_variable_limits() {
  const Copies& c = at_load();
  bool any = c.region[0] != 0 || c.beyond[0] != 0;
  for (unsigned i = 0; i <= kEveryDevice && !any; ++i) any = c.memory[i][0] != 0 || c.cores[i][0] != 0;
  return any;
}

bool read_variable_limits(VariableLimits* out, region::PageError* error) {
  const Copies& c = at_load();
  if (c.beyond[0] != 0) {
    snprintf(error->text, sizeof error->text,
             "%.63s is for a device that cannot be: their numbers go from 0 to %u; remove it", c.beyond,
             static_cast<unsigned>(region::kMaxDevices) - 1);
    return false;
  }
  for (unsigned i = 0; i < region::kMaxDevices; ++i)
    if (!read_memory(i, for_device(c.memory, i), &out->memory_bytes[i], error) ||
        !read_cores(i, for_device(c.cores, i), &out->core_percent[i], error))
      return false;
  return true;
}

const char* variable_region_path() {
  const Copies& c = at_load();
  return c.region[0] != 0 ? c.region : kDefaultHamiRegion;
}

region::CorePolicy variable_policy() {
  const char* text = at_load().policy;
  if (strcasecmp(text, "force") == 0) return region::CorePolicy::Force;
  if (strcasecmp(text, "disable") == 0) return region::CorePolicy::Disable;
  return region::CorePolicy::Default;
}

std::uint32_t variable_priority() {
  unsigned long priority = 1;
  (void)read_number(at_load().priority, kMostPriority, &priority);
  return static_cast<std::uint32_t>(priority);
}

std::int64_t variable_record_interval_ns() {
  unsigned long seconds = 1;
  (void)read_number(at_load().interval, kMostSeconds, &seconds);
  return static_cast<std::int64_t>(seconds) * 1'000'000'000;
}

unsigned variable_log_level() {
  unsigned long level = 0;
  (void)read_number(at_load().log_level, kMostLogLevel, &level);
  return static_cast<unsigned>(level);
}

bool variable_shows_share() { return strcasecmp(at_load().nvml_use, "share") == 0; }

unsigned listed_devices() {
  const Copies& c = at_load();
  unsigned count = 0;
  while (count < region::kMaxDevices && c.listed[count][0] != 0) ++count;
  return count;
}

const char* listed_device(unsigned place) { return at_load().listed[place]; }

unsigned number_of_device(const char* uuid, unsigned index) {
  const unsigned count = listed_devices();
  for (unsigned place = 0; place < count; ++place)
    if (region::is_same_device(copies.listed[place], uuid)) return place;
  return index;
}

bool next_complaint(unsigned* step, region::PageError* out) {
  const Copies& c = at_load();
  unsigned long number = 0;
  const struct {
    const char *name, *text, *instead;
    bool understood;
  } kWords[] = {
      {"CUDA_TASK_PRIORITY", c.priority, "a number from 0; 1 counts", read_number(c.priority, kMostPriority, &number)},
      {"RECORD_KERNEL_INTERVAL", c.interval, "a number of seconds up to 86400; 1 counts",
       read_number(c.interval, kMostSeconds, &number)},
      {"GPU_CORE_UTILIZATION_POLICY", c.policy, "force, disable or default; default counts", is_policy(c.policy)},
  };
  while (*step < sizeof kWords / sizeof kWords[0]) {
    const auto& word = kWords[(*step)++];
    if (*word.text == 0 || word.understood) continue;
    snprintf(out->text, sizeof out->text, "%s is '%.64s', not %s", word.name, word.text, word.instead);
    return true;
  }
  return false;
}

}  // namespace kiboko::shim
