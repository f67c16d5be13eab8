// The copies are taken by a constructor, or by the first question if another library's constructor asks before it ran.
#include "shim/variables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <atomic>

#include "region/units.h"

namespace kiboko::shim {
namespace {

constexpr char kDefaultHamiRegion[] = "/tmp/cudevshr.cache";
constexpr unsigned kEveryDevice = region::kMaxDevices;  // place of the value without a number

struct Copies {
  char grant[4096], region[4096];
  char memory[region::kMaxDevices + 1][64], cores[region::kMaxDevices + 1][64];
  char policy[64], priority[64];
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

// The same for NAME or NAME_number; *index is kEveryDevice without a number.
const char* value_of(const char* entry, const char* name, unsigned* index) {
  *index = kEveryDevice;
  if (const char* value = value_of(entry, name); value != nullptr) return value;
  const std::size_t length = strlen(name);
  if (strncmp(entry, name, length) != 0 || entry[length] != '_') return nullptr;
  const char* digits = entry + length + 1;
  if (*digits < '0' || *digits > '9') return nullptr;
  char* end = nullptr;
  const unsigned long number = strtoul(digits, &end, 10);
  *index = static_cast<unsigned>(number);
  return *end == '=' && number < region::kMaxDevices ? end + 1 : nullptr;
}

__attribute__((constructor)) void take_copies() {
  if (taken.load(std::memory_order_acquire)) return;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const char* text = *entry;
    if (*text != 'K' && *text != 'C' && *text != 'G') continue;
    unsigned index = 0;
    if (const char* grant = value_of(text, "KIBOKO_GRANT"))
      copy(grant, copies.grant);
    else if (const char* memory = value_of(text, "CUDA_DEVICE_MEMORY_LIMIT", &index))
      copy(memory, copies.memory[index]);
    else if (const char* cores = value_of(text, "CUDA_DEVICE_SM_LIMIT", &index))
      copy(cores, copies.cores[index]);
    else if (const char* region = value_of(text, "CUDA_DEVICE_MEMORY_SHARED_CACHE"))
      copy(region, copies.region);
    else if (const char* policy = value_of(text, "GPU_CORE_UTILIZATION_POLICY"))
      copy(policy, copies.policy);
    else if (const char* priority = value_of(text, "CUDA_TASK_PRIORITY"))
      copy(priority, copies.priority);
  }
  taken.store(true, std::memory_order_release);
}

const Copies& at_load() {
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

}  // namespace

const char* grant_page_path() { return at_load().grant; }

bool has_variable_limits() {
  const Copies& c = at_load();
  bool any = c.region[0] != 0;
  for (unsigned i = 0; i <= kEveryDevice && !any; ++i) any = c.memory[i][0] != 0 || c.cores[i][0] != 0;
  return any;
}

bool read_variable_limits(VariableLimits* out, region::PageError* error) {
  const Copies& c = at_load();
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
  const char* text = at_load().priority;
  return *text != 0 && atoi(text) == 0 ? 0 : 1;
}

}  // namespace kiboko::shim
