// grant_page.h. Settings are read while the agent may be writing the other copy, and a program may be stopped so long
// that the agent comes round to the copy it reads: so they move word by word, and the checksum (seeded with the
// generation) decides whether what was read is one of the published settings.
#include "region/grant_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <climits>
#include <cstring>

#include "region/message.h"
#include "region/os.h"
#include "region/step.h"

namespace kiboko::region {
namespace {

constexpr std::uint64_t kChecksumSeed = 0xcbf29ce484222325u;  // FNV-1a's offset basis
constexpr int kReadTries = 8;

using Word [[gnu::may_alias]] = std::uint64_t;
constexpr std::size_t kSettingsWords = sizeof(GrantSettings) / sizeof(Word);
static_assert(sizeof(GrantSettings) % sizeof(Word) == 0 && alignof(GrantSettings) == alignof(Word));

void load_words(GrantSettings* to, const GrantSettings& from) {
  Word* target = reinterpret_cast<Word*>(to);
  const Word* source = reinterpret_cast<const Word*>(&from);
  for (std::size_t i = 0; i < kSettingsWords; ++i) target[i] = __atomic_load_n(&source[i], __ATOMIC_ACQUIRE);
}

void store_words(GrantSettings& to, const GrantSettings& from) {
  Word* target = reinterpret_cast<Word*>(&to);
  const Word* source = reinterpret_cast<const Word*>(&from);
  for (std::size_t i = 0; i < kSettingsWords; ++i) {
    __atomic_store_n(&target[i], source[i], __ATOMIC_RELAXED);
    KIBOKO_STEP("settings word");
  }
}

bool in_range(const GrantSettings& settings) {
  if (settings.core_policy > static_cast<std::uint32_t>(CorePolicy::Elastic)) return false;
  for (const GrantSettingsDevice& device : settings.devices)
    if (device.core_percent > 100) return false;
  return true;
}

bool holds(const GrantSettings& settings, std::uint64_t generation) {
  return settings.checksum == settings_checksum(settings, generation) && in_range(settings);
}

// The copy that is valid at `generation`, or else the one before or the one not yet announced.
bool read_at(const GrantPage& page, std::uint64_t generation, GrantSettings* out) {
  load_words(out, page.settings[generation & 1]);
  return holds(*out, generation);
}
bool read_other(const GrantPage& page, std::uint64_t generation, GrantSettings* out) {
  load_words(out, page.settings[(generation + 1) & 1]);
  return holds(*out, generation - 1) || holds(*out, generation + 1);
}

template <std::size_t N>
bool ends(const char (&text)[N]) {
  return std::memchr(text, '\0', N) != nullptr;
}

bool check_texts(const GrantIdentity& identity, PageError* error) {
  if (!ends(identity.grant_id) || !ends(identity.owner) || !ends(identity.region_path))
    return refuse(error, "a text in it does not end; the page is damaged, ask the agent for a new grant");
  if (identity.region_path[0] != '/')
    return refuse(error, "its region path '", identity.region_path, "' is not absolute; ask the agent for a new grant");
  for (std::uint32_t i = 0; i < identity.device_count; ++i)
    if (!ends(identity.devices[i].uuid) || identity.devices[i].uuid[0] == '\0')
      return refuse(error, "device ", i, " has no UUID; ask the agent for a new grant");
  return true;
}

bool check_identity(const GrantIdentity& identity, PageError* error) {
  if (identity.magic != kGrantPageMagic)
    return refuse(error, "it does not begin as a grant page does; KIBOKO_GRANT must name a file that the agent made");
  if (identity.version != kGrantPageVersion || identity.bytes != kGrantPageBytes)
    return refuse(error, "it has version ", identity.version, " and ", identity.bytes, " bytes, this library reads ",
                  kGrantPageVersion, " and ", kGrantPageBytes, "; use the library of the agent's release");
  if (identity.checksum != identity_checksum(identity))
    return refuse(error, "the checksum of its fixed part is wrong; the page is damaged, ask the agent for a new grant");
  if (identity.device_count == 0 || identity.device_count > kMaxDevices)
    return refuse(error, "it has ", identity.device_count, " devices, 1 to ", kMaxDevices,
                  " can be; ask the agent for a new grant");
  return check_texts(identity, error);
}

bool check_page(const GrantPage& page, PageError* error) {
  if (!check_identity(page.identity, error)) return false;
  GrantSettings settings;
  if (!read_settings(page, &settings))
    return refuse(error, "neither copy of its limits is whole; the page is damaged, ask the agent for a new grant");
  return true;
}

bool check_file(int fd, const char* path, PageError* error) {
  struct stat status;
  if (!os::file_status(fd, &status))
    return refuse(error, "grant page ", path, ": its owner cannot be read (", os::error_text(errno), ")");
  if (!S_ISREG(status.st_mode))
    return refuse(error, "grant page ", path, ": it is not a regular file; KIBOKO_GRANT must name the page itself");
  if (status.st_size != static_cast<off_t>(kGrantPageBytes))
    return refuse(error, "grant page ", path, ": it has ", static_cast<std::uint64_t>(status.st_size), " bytes, not ",
                  kGrantPageBytes, "; KIBOKO_GRANT must name a file that the agent made");
  if (status.st_uid != 0 && status.st_uid != ::geteuid())
    return refuse(error, "grant page ", path, ": it belongs to uid ", status.st_uid,
                  ", neither root nor this process (", ::geteuid(), "); its limits would be somebody else's to set");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return refuse(error, "grant page ", path, ": others may write it (mode ", Octal{status.st_mode & 07777},
                  "); chmod go-w it or ask the agent for a new grant");
  return true;
}

// Puts the page's name before what is wrong with it.
void name_page(const char* path, PageError* error) {
  if (error == nullptr) return;
  const PageError what = *error;
  refuse(error, "grant page ", path, ": ", what.text);
}

const GrantPage* map_page(int fd, const char* path, PageError* error) {
  void* at = ::mmap(nullptr, kGrantPageBytes, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    refuse(error, "grant page ", path, ": it cannot be mapped (", os::error_text(errno), ")");
    return nullptr;
  }
  const GrantPage* page = static_cast<const GrantPage*>(at);
  if (check_page(*page, error)) return page;
  name_page(path, error);
  ::munmap(at, kGrantPageBytes);
  return nullptr;
}

std::uint64_t settings_to_write(const GrantPage& page) {
  const std::uint64_t now = page.live.generation.load(std::memory_order_relaxed);
  GrantSettings valid;
  // If the announced copy is damaged, it is the one to overwrite: the other is all that readers have.
  return read_at(page, now, &valid) ? now + 1 : now + 2;
}

}  // namespace

std::uint64_t checksum_of(const void* bytes, std::size_t size, std::uint64_t seed) {
  std::uint64_t sum = seed;
  const unsigned char* byte = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < size; ++i) sum = (sum ^ byte[i]) * 0x100000001b3u;
  return sum;
}

std::uint64_t identity_checksum(const GrantIdentity& identity) {
  constexpr std::size_t kAt = offsetof(GrantIdentity, checksum);
  constexpr std::size_t kAfter = kAt + sizeof identity.checksum;
  constexpr std::uint64_t kZero = 0;
  const unsigned char* bytes = reinterpret_cast<const unsigned char*>(&identity);
  std::uint64_t sum = checksum_of(bytes, kAt, kChecksumSeed);
  sum = checksum_of(&kZero, sizeof kZero, sum);
  return checksum_of(bytes + kAfter, sizeof identity - kAfter, sum);
}

std::uint64_t settings_checksum(const GrantSettings& settings, std::uint64_t generation) {
  constexpr std::size_t kAfter = offsetof(GrantSettings, checksum) + sizeof settings.checksum;
  const std::uint64_t sum = checksum_of(&generation, sizeof generation, kChecksumSeed);
  return checksum_of(reinterpret_cast<const unsigned char*>(&settings) + kAfter, sizeof settings - kAfter, sum);
}

const GrantPage* open_grant_page(const char* path, PageError* error) {
  const os::KeepErrno keep;
  // O_NONBLOCK: a fifo in the page's place must not hang the program.
  const int fd = os::open_file(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
  if (fd < 0) {
    refuse(error, "grant page ", path, ": it cannot be opened (", os::error_text(errno),
           "); the grant may have ended, start the program again with 'kiboko run'");
    return nullptr;
  }
  const GrantPage* page = check_file(fd, path, error) ? map_page(fd, path, error) : nullptr;
  os::close_file(fd);
  return page;
}

bool check_grant_page(const void* bytes, std::size_t size, PageError* error) {
  if (size != kGrantPageBytes) return refuse(error, "it has ", size, " bytes, a grant page has ", kGrantPageBytes);
  alignas(GrantPage) unsigned char copy[kGrantPageBytes];
  std::memcpy(copy, bytes, sizeof copy);
  return check_page(*reinterpret_cast<const GrantPage*>(copy), error);
}

bool read_settings(const GrantPage& page, GrantSettings* out) {
  GrantSettings read;
  for (int i = 0; i < kReadTries; ++i) {
    const std::uint64_t generation = page.live.generation.load(std::memory_order_acquire);
    KIBOKO_STEP("generation read");
    const bool whole = read_at(page, generation, &read);
    KIBOKO_STEP("settings read");
    // A generation that moved on meanwhile means newer settings than those just read: read again.
    if (page.live.generation.load(std::memory_order_relaxed) != generation) continue;
    if (!whole && !read_other(page, generation, &read)) continue;
    *out = read;
    return true;
  }
  return false;
}

void seal_new_page(GrantPage& page, const GrantSettings& first) {
  page.identity.magic = kGrantPageMagic;
  page.identity.version = kGrantPageVersion;
  page.identity.bytes = kGrantPageBytes;
  page.identity.checksum = identity_checksum(page.identity);
  const std::uint64_t generation = page.live.generation.load(std::memory_order_relaxed);
  for (std::uint64_t copy : {generation, generation + 1}) {
    GrantSettings sealed = first;
    sealed.checksum = settings_checksum(sealed, copy);
    store_words(page.settings[copy & 1], sealed);
  }
  page.live.generation.store(generation, std::memory_order_release);
}

void publish_settings(GrantPage& page, const GrantSettings& next) {
  const std::uint64_t generation = settings_to_write(page);
  GrantSettings sealed = next;
  sealed.checksum = settings_checksum(sealed, generation);
  store_words(page.settings[generation & 1], sealed);
  KIBOKO_STEP("settings written");
  page.live.generation.store(generation, std::memory_order_release);
  KIBOKO_STEP("settings announced");
  wake_waiters(page);
}

void wake_waiters(GrantPage& page) {
  const os::KeepErrno keep;
  page.live.wake.fetch_add(1, std::memory_order_release);
  os::futex_wake(&page.live.wake, INT_MAX);
  // Somebody may wait for a resize alone: little endian, so the low half of the generation comes first.
  os::futex_wake(reinterpret_cast<const std::atomic<std::uint32_t>*>(&page.live.generation), INT_MAX);
}

}  // namespace kiboko::region
