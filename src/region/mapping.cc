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

#include "region/contents.h"
#include "region/hami_file.h"
#include "region/message.h"
#include "region/os.h"
#include "region/step.h"

namespace kiboko::region {
namespace {

constexpr std::uint64_t kLockWaitNs = 5'000'000'000;
constexpr std::uint64_t kLockPollNs = 500'000;
constexpr std::uint64_t kModeWaitNs = 2'000'000'000;
constexpr int kOpenAttempts = 10'000;  // of a file that others make and remove at the same time
constexpr std::size_t kPage = 4096;
constexpr std::size_t kExt = kExtensionOffset;
constexpr std::uint32_t kOfItsUser = 0600, kOfEverybody = 0666;

bool has_room_at(int fd, std::size_t offset, std::size_t bytes) {
  const std::size_t from = offset / kPage * kPage;
  const std::size_t to = (offset + bytes + kPage - 1) / kPage * kPage;
  long result;
  do result = ::syscall(SYS_fallocate, fd, 0, static_cast<long>(from), static_cast<long>(to - from));
  while (result != 0 && errno == EINTR);
  return result == 0;
}

bool cannot_reserve(int error) { return error == EOPNOTSUPP || error == ENOSYS; }

// Writes what every page holds, zeros where there was nothing.
bool write_pages(int fd) {
  for (std::size_t at = 0; at < kRegionBytes;) {
    char page[kPage] = {};
    const std::size_t bytes = kRegionBytes - at < kPage ? kRegionBytes - at : kPage;
    long wrote = ::syscall(SYS_pread64, fd, page, bytes, static_cast<long>(at));
    if (wrote >= 0) wrote = ::syscall(SYS_pwrite64, fd, page, bytes, static_cast<long>(at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    at += static_cast<std::size_t>(wrote);
  }
  return true;
}

// Gives an empty file, or one that HAMi-core left, its size and, where pages cannot be reserved later, its pages.
bool make_room(int fd) {
  if (::syscall(SYS_ftruncate, fd, static_cast<long>(kRegionBytes)) != 0) return false;
  if (has_room_at(fd, kExt, kPage)) return true;
  return cannot_reserve(errno) && write_pages(fd);
}

bool check_file(int fd, const struct stat& status, const char* path, PageError* error) {
  if (!S_ISREG(status.st_mode)) return refuse(error, "region ", path, ": it is not a regular file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= kRegionBytes) return true;
  const HamiFile left = hami_file(fd, size);
  if (left != HamiFile::None)
    return refuse(error, "region ", path, ": it is ", name_of(left), " (", size, " bytes), which ",
                  left == HamiFile::Version12 || left == HamiFile::Unfinished ? "a grant has no use for"
                                                                              : "this library does not read",
                  kMakeAnew);
  return refuse(error, "region ", path, ": it has ", size, " bytes, ", kRegionBytes,
                " are needed; it was cut short or made by another library", kMakeAnew);
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

bool can_be_taken_over(int fd, std::uint64_t size) {
  const HamiFile left = hami_file(fd, size);
  return left == HamiFile::Version12 || left == HamiFile::Unfinished;
}

bool no_room(int why, const char* path, PageError* error) {
  return refuse(error, "region ", path, ": there is no room for it (", os::error_text(why),
                "); free some space in its file system");
}

bool still_locked(int why, const char* path, PageError* error) {
  return refuse(error, "region ", path, ": another process has held its lock for 5 s (", os::error_text(why), ")",
                kMakeAnew);
}

// By the holder of the creation lock. Nobody of ours has mapped the file yet, for it is not valid before the end.
bool take_over(int fd, const char* path, const RegionSeed& seed, PageError* error) {
  if (const std::uint32_t pid = process_using(fd, path); pid != 0)
    return refuse(error, "region ", path, ": process ", pid,
                  " uses it through HAMi-core; end it, or restart the container");
  if (!make_room(fd)) return no_room(errno, path, error);
  KIBOKO_STEP("region of HAMi-core grown");
  if (hami_file(fd, kRegionBytes) != HamiFile::Version12) return true;  // an empty one: it is filled as a new one is
  if (!clear_slots(fd) || !(has_room_at(fd, 0, offsetof(HamiRegion, slots)) || cannot_reserve(errno)) ||
      !(has_room_at(fd, offsetof(HamiRegion, slot_count), kPage) || cannot_reserve(errno)))
    return no_room(errno, path, error);
  KIBOKO_STEP("slots of HAMi-core cleared");
  void* at = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return refuse(error, "region ", path, ": it cannot be mapped (", os::error_text(errno), ")");
  fill_around_devices(*static_cast<HamiRegion*>(at),
                      *reinterpret_cast<Extension*>(static_cast<char*>(at) + kExtensionOffset), seed);
  ::munmap(at, kRegionBytes);
  return true;
}

// The file gets its full size; on return true it has it, whoever gave it.
bool size_file(int fd, const char* path, const RegionSeed& seed, bool* unwritable, PageError* error) {
  struct stat status;
  const bool container = seed.sharing == Sharing::Container;
  const auto is_to_be_sized = [&] {
    const auto size = static_cast<std::uint64_t>(status.st_size);
    return S_ISREG(status.st_mode) && (size == 0 || (container && can_be_taken_over(fd, size)));
  };
  if (!os::file_status(fd, &status))
    return refuse(error, "region ", path, ": its size cannot be read (", os::error_text(errno), ")");
  if (is_to_be_sized()) {
    const CreationLock lock(fd);
    if (!lock.held()) return still_locked(lock.error(), path, error);
    if (!os::file_status(fd, &status))
      return refuse(error, "region ", path, ": its size cannot be read (", os::error_text(errno), ")");
    if (status.st_size == 0 && !make_room(fd)) {
      const int why = errno;
      (void)::syscall(SYS_ftruncate, fd, 0L);  // so that the next try begins anew
      *unwritable = true;
      return no_room(why, path, error);
    }
    if (status.st_size != 0 && is_to_be_sized() && !take_over(fd, path, seed, error)) return false;
    KIBOKO_STEP("region sized");
    (void)os::file_status(fd, &status);
  }
  return check_file(fd, status, path, error);
}

// In a container the creator's umask must not keep the other users out; a new file gets its mode a moment after its
// name, so another user's process that came in between asks again.
int open_or_make(const char* path, Sharing sharing) {
  const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const bool container = sharing == Sharing::Container;
  std::uint64_t give_up = 0;
  for (int attempt = 0; attempt < kOpenAttempts; ++attempt) {
    // Without O_CREAT first: in a sticky folder the kernel may refuse it for a file of another user.
    int fd = os::open_file(path, flags, 0);
    if (fd >= 0) return fd;
    if (errno == ENOENT) {
      fd = os::open_file(path, flags | O_CREAT | O_EXCL, container ? kOfEverybody : kOfItsUser);
      if (fd >= 0 && container) (void)::syscall(SYS_fchmod, fd, kOfEverybody);
      if (fd >= 0 || errno != EEXIST) return fd;
      continue;  // somebody was quicker: there it is, however long we were kept from looking
    }
    const int why = errno;
    if (why != EACCES || !container) return fd;
    if (give_up == 0) give_up = os::now_ns() + kModeWaitNs;
    if (os::now_ns() >= give_up) return errno = why, -1;
    os::sleep_ns(kLockPollNs);
  }
  return -1;
}

bool is_unwritable(int error) {
  return error == EACCES || error == EPERM || error == EROFS || error == ENOENT || error == ENOTDIR ||
         error == ENOSPC || error == EDQUOT;
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
  const int fd = open_or_make(path, seed.sharing);
  unwritable_ = fd < 0 && is_unwritable(errno);
  if (fd < 0)
    return refuse(error, "region ", path, ": it cannot be opened (", os::error_text(errno),
                  "); its folder must exist and be writable for this user");
  const int kept = above_standard(fd);
  bool unwritable = false;
  if (size_file(kept, path, seed, &unwritable, error) && adopt(kept, path, seed, error)) return true;
  fd_ = kept;
  close();
  unwritable_ = unwritable;
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
  const bool room = reserve(0, offsetof(HamiRegion, slots)) && reserve(offsetof(HamiRegion, slot_count), 56) &&
                    reserve(kExt, sizeof(ExtensionHeader)) && reserve_identities(0);
  if (!room) return no_room(errno, path, error);
  return finish(fd, path, seed, error);
}

// What must be written before the region is the seed's, by one process at a time.
bool Mapping::finish(int fd, const char* path, const RegionSeed& seed, PageError* error) {
  if (!is_published(*hami_, *ext_)) {
    const CreationLock lock(fd);
    if (!lock.held()) return still_locked(lock.error(), path, error);
    // A creator killed half way leaves no magic: all is filled again.
    if (hami_->magic.load(std::memory_order_acquire) == 0) fill(*hami_, *ext_, seed);
  }
  if (!check_contents(*hami_, *ext_, seed, path, error)) return false;
  if (seed.sharing == Sharing::Container && !has_devices(*hami_, *ext_, seed)) {
    const CreationLock lock(fd);
    if (!lock.held()) return still_locked(lock.error(), path, error);
    if (!add_devices(*hami_, *ext_, seed, path, error)) return false;
  }
  for (unsigned i = 0; i < devices_in(*hami_); ++i)
    if (!reserve_device(i)) return no_room(errno, path, error);
  return true;
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
