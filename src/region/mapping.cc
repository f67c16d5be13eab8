// mapping.h. A store to a page that the file system has no room for raises SIGBUS in the program, so every page is
// reserved by fallocate first. File systems without it (some network ones) get all their zeros written at creation.
#include "region/mapping.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "region/message.h"
#include "region/os.h"
#include "region/step.h"

namespace kiboko::region {
namespace {

constexpr std::uint64_t kLockWaitNs = 5'000'000'000;
constexpr std::uint64_t kLockPollNs = 500'000;
constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kHamiMajor = 1, kHamiMinor = 2;
constexpr std::int32_t kRunningKernels = 2;  // what HAMi-core writes at creation and at each launch

constexpr std::size_t kExt = kExtensionOffset;
constexpr char kNextStep[] = "; end the programs that use it and delete it, it is made anew";

bool has_room_at(int fd, std::size_t offset, std::size_t bytes) {
  const std::size_t from = offset / kPage * kPage;
  const std::size_t to = (offset + bytes + kPage - 1) / kPage * kPage;
  long result;
  do result = ::syscall(SYS_fallocate, fd, 0, static_cast<long>(from), static_cast<long>(to - from));
  while (result != 0 && errno == EINTR);
  return result == 0;
}

bool cannot_reserve(int error) { return error == EOPNOTSUPP || error == ENOSYS; }

bool write_zeros(int fd) {
  static constexpr char kZeros[kPage] = {};
  for (std::size_t at = 0; at < kRegionBytes;) {
    const std::size_t bytes = kRegionBytes - at < kPage ? kRegionBytes - at : kPage;
    const long wrote = ::syscall(SYS_pwrite64, fd, kZeros, bytes, static_cast<long>(at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    at += static_cast<std::size_t>(wrote);
  }
  return true;
}

// Gives an empty file its size and, where pages cannot be reserved later, its pages.
bool make_room(int fd) {
  if (::syscall(SYS_ftruncate, fd, static_cast<long>(kRegionBytes)) != 0) return false;
  if (has_room_at(fd, kExt, kPage)) return true;
  return cannot_reserve(errno) && write_zeros(fd);
}

bool is_published(const HamiRegion& hami, const Extension& ext) {
  return hami.magic.load(std::memory_order_acquire) != 0 && ext.header.magic.load(std::memory_order_acquire) != 0;
}

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

void fill_hami(HamiRegion& hami, const RegionSeed& seed) {
  hami.major_version = kHamiMajor;
  hami.minor_version = kHamiMinor;
  hami.sm_init = 0;
  hami.owner_pid = 0;
  fill_semaphore(hami.semaphore);
  fill_semaphore(hami.post_init_semaphore);
  hami.device_count = seed.device_count;
  for (unsigned i = 0; i < kMaxDevices; ++i) {
    fill_text(hami.uuids[i], uuid_of(seed, i));
    hami.memory_limit[i] = seed.memory_limit[i];
    hami.sm_limit[i] = seed.sm_limit[i];
  }
  hami.slot_count = 0;
  hami.utilization_switch = 1;
  hami.recent_kernel = kRunningKernels;
  hami.priority = seed.priority;
  hami.last_kernel_time = 0;
}

void fill_extension(ExtensionHeader& header, const RegionSeed& seed) {
  header.version = kExtensionVersion;
  header.header_bytes = sizeof(ExtensionHeader);
  header.bytes = kExtensionBytes;
  header.nonce = os::random_word();
  header.device_count = seed.device_count;
  fill_text(header.grant_id, seed.grant_id);
}

void fill(HamiRegion& hami, Extension& ext, const RegionSeed& seed) {
  fill_hami(hami, seed);
  KIBOKO_STEP("first part filled");
  fill_extension(ext.header, seed);
  KIBOKO_STEP("extension filled");
  ext.header.magic.store(kExtensionMagic, std::memory_order_release);
  KIBOKO_STEP("extension published");
  hami.magic.store(kHamiMagic, std::memory_order_release);
  KIBOKO_STEP("region published");
}

bool check_seed(const RegionSeed& seed, PageError* error) {
  if (seed.device_count > kMaxDevices)
    return refuse(error, "region: ", seed.device_count, " devices are asked for, ", kMaxDevices, " can be");
  for (unsigned i = 0; i < seed.device_count; ++i)
    if (std::strlen(uuid_of(seed, i)) >= sizeof(HamiRegion::uuids[0]))
      return refuse(error, "region: the UUID of device ", i, " is longer than 95 characters");
  return true;
}

bool check_devices(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed, const char* path,
                   PageError* error) {
  const std::uint64_t count = hami.device_count.load(std::memory_order_relaxed);
  if (count != seed.device_count || ext.header.device_count != seed.device_count)
    return refuse(error, "region ", path, ": it is for ", count, " devices, this grant has ", seed.device_count,
                  kNextStep);
  for (unsigned i = 0; i < seed.device_count; ++i) {
    char uuid[sizeof hami.uuids[i]];
    std::memcpy(uuid, hami.uuids[i], sizeof uuid);
    uuid[sizeof uuid - 1] = '\0';
    if (std::strcmp(uuid, uuid_of(seed, i)) != 0)
      return refuse(error, "region ", path, ": its device ", i, " is '", uuid, "', this grant's is '", uuid_of(seed, i),
                    "'", kNextStep);
  }
  return true;
}

bool check_contents(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed, const char* path,
                    PageError* error) {
  if (hami.magic.load(std::memory_order_acquire) != kHamiMagic ||
      ext.header.magic.load(std::memory_order_acquire) != kExtensionMagic)
    return refuse(error, "region ", path, ": it does not begin as a region does", kNextStep);
  if (hami.major_version != kHamiMajor || hami.minor_version != kHamiMinor)
    return refuse(error, "region ", path, ": its first part has version ", hami.major_version, ".", hami.minor_version,
                  ", not 1.2", kNextStep);
  if (ext.header.version != kExtensionVersion || ext.header.header_bytes != sizeof(ExtensionHeader) ||
      ext.header.bytes != kExtensionBytes)
    return refuse(error, "region ", path, ": its extension has version ", ext.header.version, ", this library reads ",
                  kExtensionVersion, kNextStep);
  return check_devices(hami, ext, seed, path, error);
}

bool check_file(const struct stat& status, const char* path, PageError* error) {
  if (!S_ISREG(status.st_mode)) return refuse(error, "region ", path, ": it is not a regular file");
  if (status.st_size >= 0 && static_cast<std::uint64_t>(status.st_size) >= kRegionBytes) return true;
  return refuse(error, "region ", path, ": it has ", static_cast<std::uint64_t>(status.st_size), " bytes, ",
                kRegionBytes, " are needed; it was cut short or made by another library", kNextStep);
}

constexpr os::Range kCreation{0, kRegionBytes};
// Behind the end of the file, where nothing else is locked: one byte a slot.
os::Range presence_of(unsigned index) { return {kRegionBytes + index, 1}; }

// Kernels before 3.15 have no locks of the file description; for creation an older kind will do.
bool try_creation_lock(int fd) {
  if (os::try_lock(fd, kCreation)) return true;
  return errno == EINVAL && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
}

// Holds the creation lock; `held()` is false when it could not be had within 5 s.
class CreationLock {
 public:
  explicit CreationLock(int fd) : fd_(fd) {
    const std::uint64_t give_up = os::now_ns() + kLockWaitNs;
    while (!(held_ = try_creation_lock(fd)) && (errno == EAGAIN || errno == EACCES) && os::now_ns() < give_up)
      os::sleep_ns(kLockPollNs);
    error_ = errno;
  }
  ~CreationLock() {
    if (!held_) return;
    os::unlock(fd_, kCreation);
    ::flock(fd_, LOCK_UN);
  }
  CreationLock(const CreationLock&) = delete;
  CreationLock& operator=(const CreationLock&) = delete;
  bool held() const { return held_; }
  int error() const { return error_; }

 private:
  int fd_;
  bool held_ = false;
  int error_ = 0;
};

// The file gets its full size; on return true it has it, whoever gave it.
bool size_file(int fd, const char* path, PageError* error) {
  struct stat status;
  if (!os::file_status(fd, &status))
    return refuse(error, "region ", path, ": its size cannot be read (", os::error_text(errno), ")");
  if (S_ISREG(status.st_mode) && status.st_size == 0) {
    const CreationLock lock(fd);
    if (!lock.held())
      return refuse(error, "region ", path, ": another process has held its lock for 5 s (",
                    os::error_text(lock.error()), ")", kNextStep);
    if (os::file_status(fd, &status) && status.st_size == 0 && !make_room(fd)) {
      const int why = errno;
      (void)::syscall(SYS_ftruncate, fd, 0L);  // so that the next try begins anew
      return refuse(error, "region ", path, ": there is no room for it (", os::error_text(why),
                    "); free some space in its file system");
    }
    KIBOKO_STEP("region sized");
    (void)os::file_status(fd, &status);
  }
  return check_file(status, path, error);
}

}  // namespace

// A program that was started with its standard descriptors closed must not find our file in their place.
static int above_standard(int fd) {
  if (fd > 2) return fd;
  const long moved = ::syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 64L);
  if (moved < 0) return fd;
  os::close_file(fd);
  return static_cast<int>(moved);
}

bool Mapping::open(const char* path, const RegionSeed& seed, PageError* error) {
  const os::KeepErrno keep;
  if (hami_ != nullptr) return true;
  if (!check_seed(seed, error)) return false;
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const int fd = os::open_file(path, flags, 0600);
  if (fd < 0)
    return refuse(error, "region ", path, ": it cannot be opened (", os::error_text(errno),
                  "); its folder must exist and be writable for this user");
  const int kept = above_standard(fd);
  if (size_file(kept, path, error) && adopt(kept, path, seed, error)) return true;
  fd_ = kept;
  close();
  return false;
}

void Mapping::close() {
  if (hami_ != nullptr) ::munmap(hami_, kRegionBytes);
  if (fd_ >= 0) os::close_file(fd_);
  *this = Mapping();
}

bool Mapping::adopt(int fd, const char* path, const RegionSeed& seed, PageError* error) {
  struct stat status;
  void* at = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED || !os::file_status(fd, &status))
    return refuse(error, "region ", path, ": it cannot be mapped (", os::error_text(errno), ")");
  hami_ = static_cast<HamiRegion*>(at);
  ext_ = reinterpret_cast<Extension*>(static_cast<char*>(at) + kExtensionOffset);
  fd_ = fd;
  file_ = true;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  bool room = reserve(0, offsetof(HamiRegion, slots)) && reserve(offsetof(HamiRegion, slot_count), 56) &&
              reserve(kExt, sizeof(ExtensionHeader)) && reserve_identities(0);
  for (unsigned i = 0; i < seed.device_count; ++i) room = room && reserve_device(i);
  if (!room)
    return refuse(error, "region ", path, ": there is no room for it (", os::error_text(errno),
                  "); free some space in its file system");
  if (!is_published(*hami_, *ext_)) {
    const CreationLock lock(fd);
    if (!lock.held())
      return refuse(error, "region ", path, ": another process has been filling it for 5 s (",
                    os::error_text(lock.error()), ")", kNextStep);
    // A creator killed half way leaves no magic: all is filled again.
    if (hami_->magic.load(std::memory_order_acquire) == 0) fill(*hami_, *ext_, seed);
  }
  return check_contents(*hami_, *ext_, seed, path, error);
}

bool Mapping::open_private(const RegionSeed& seed, PageError* error) {
  const os::KeepErrno keep;
  if (hami_ != nullptr) return true;
  if (!check_seed(seed, error)) return false;
  // Shared, as a file would be: a forked child charges to the same account.
  void* at = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED)
    return refuse(error, "region: no memory for ", kRegionBytes, " bytes (", os::error_text(errno), ")");
  hami_ = static_cast<HamiRegion*>(at);
  ext_ = reinterpret_cast<Extension*>(static_cast<char*>(at) + kExtensionOffset);
  fill(*hami_, *ext_, seed);
  return true;
}

bool Mapping::part(Mapping* left) {
  const os::KeepErrno keep;
  if (!file_ || !is_ours(fd_)) return false;
  void* again = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (again == MAP_FAILED) return false;
  void* copy = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd_, 0);
  if (copy == MAP_FAILED ||
      ::mremap(copy, kRegionBytes, kRegionBytes, MREMAP_MAYMOVE | MREMAP_FIXED, hami_) == MAP_FAILED) {
    if (copy != MAP_FAILED) ::munmap(copy, kRegionBytes);
    ::munmap(again, kRegionBytes);
    return false;
  }
  *left = *this;
  left->hami_ = static_cast<HamiRegion*>(again);
  left->ext_ = reinterpret_cast<Extension*>(static_cast<char*>(again) + kExtensionOffset);
  return true;
}

bool Mapping::is_ours(int fd) const {
  struct stat status;
  return os::file_status(fd, &status) && status.st_dev == device_ && status.st_ino == inode_;
}

bool Mapping::reserve(std::size_t offset, std::size_t bytes) const {
  if (!file_) return true;
  const std::size_t page_start = offset / kPage * kPage;
  if (is_ours(fd_)) return has_room_at(fd_, offset, bytes) || cannot_reserve(errno);
  // The program closed our descriptor (and its number may be another file by now): let the kernel touch the pages for
  // us, it reports what would have been a SIGBUS. Kernels before 5.14 cannot; there the pages are taken on trust.
  constexpr int kPopulateWrite = 23;
  if (::madvise(reinterpret_cast<char*>(hami_) + page_start, offset + bytes - page_start, kPopulateWrite) == 0)
    return true;
  return errno == EINVAL;
}

bool Mapping::show_presence(unsigned index) const {
  return file_ && is_ours(fd_) && os::try_lock(fd_, presence_of(index));
}

void Mapping::end_presence(unsigned index) const {
  if (file_ && is_ours(fd_)) os::unlock(fd_, presence_of(index));
}

bool Mapping::is_absent(unsigned index) const {
  return file_ && is_ours(fd_) && os::lock_state(fd_, presence_of(index)) == os::LockState::Free;
}

bool Mapping::reserve_identities(unsigned block) const {
  return reserve(kExt + offsetof(Extension, slots) + block * 64 * sizeof(SlotIdentity), 64 * sizeof(SlotIdentity));
}

bool Mapping::reserve_slot(unsigned index) const {
  if (index >= kMaxSlots) return false;
  return reserve(offsetof(HamiRegion, slots) + index * sizeof(HamiSlot), sizeof(HamiSlot)) &&
         reserve(kExt + offsetof(Extension, charges) + index / 8 * sizeof(ChargeGroup), sizeof(ChargeGroup)) &&
         reserve(kExt + offsetof(Extension, counters) + index * sizeof(SlotCounterBlock), sizeof(SlotCounterBlock));
}

bool Mapping::reserve_device(unsigned device) const {
  return device < kMaxDevices &&
         reserve(kExt + offsetof(Extension, devices) + device * sizeof(DeviceWords), sizeof(DeviceWords));
}

}  // namespace kiboko::region
