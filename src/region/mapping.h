// One process's view of its grant's region: opens the file (or makes it), checks every byte it relies on, reserves
// pages before they are touched.
//
// Constant-initialised and never destroyed by the shim; used from any thread once `open` has returned true. The file
// is opened O_NOFOLLOW|O_CLOEXEC; the descriptor is kept for page reservation, and because programs close descriptors
// that they do not know, it is compared with the file before each use.
#pragma once

#include <cstddef>
#include <cstdint>

#include "region/layout.h"

namespace kiboko::region {

// Who shares a region, and so what an existing file must hold.
enum class Sharing : std::uint8_t {
  // The programs of a grant, which are one user's: mode 0600, exactly the seed's devices in the seed's order.
  Grant,
  // Whatever runs in a container under HAMi's variables, as any user and with any part of the devices visible, in any
  // order: mode 0666. A device has the index at which the file holds its UUID; the seed's devices that it does not hold
  // are appended, under the creation lock. A file that HAMi-core left is taken over (hami_file.h).
  Container,
};

struct RegionSeed {  // what a new file is filled with
  Sharing sharing = Sharing::Grant;
  const char* grant_id = "";
  unsigned device_count = 0;
  const char* uuids[kMaxDevices] = {};
  // Of device i. In a container, of number i: the seed's first `numbered` devices have the number of their place in
  // it, whatever index they get; every other has its index in the file.
  std::uint64_t memory_limit[kMaxDevices] = {};
  std::uint64_t sm_limit[kMaxDevices] = {};
  unsigned numbered = 0;
  std::int32_t priority = 1;
};

// Whether two texts name one device: in any case of letters, and a MIG device may be called by the name of a GPU, for
// CUDA does not tell which of them a UUID is. Reads at most 95 characters.
bool is_same_device(const char* uuid, const char* other);
// The index of that device in the region, or -1.
int index_of_device(const HamiRegion& hami, const char* uuid);
// How many devices the region says that it has, at most kMaxDevices.
unsigned devices_in(const HamiRegion& hami);

class Mapping {
 public:
  // Opens `path`, creating and filling it when absent or empty (creation is serialised by an OFD lock on the file and
  // published by the magic words, so a creator killed half way is finished by the next). False with *error filled when
  // it cannot be: not a regular file, a link, too short, foreign version, other devices, disk full. Waits at most 5 s
  // for another creator. Not for two threads at once.
  bool open(const char* path, const RegionSeed& seed, PageError* error);
  // After an open that failed: it did because the file cannot be made or written here, not for what it holds.
  bool unwritable() const { return unwritable_; }
  // A region of this process alone (no path, or nothing to enforce).
  bool open_private(const RegionSeed& seed, PageError* error);

  // For tools and tests: the shim keeps its mapping for the life of the process, for a hook may run at any time.
  void close();

  // Leaves the region while other threads may be in the middle of it: to it they end here, for from the return on they
  // see and write a copy of this process alone. *left is the region itself. False: it cannot be, nothing has changed.
  bool part(Mapping* left);

  explicit operator bool() const { return hami_ != nullptr; }
  HamiRegion& hami() const { return *hami_; }
  Extension& ext() const { return *ext_; }
  // Makes sure that the pages of slot `index` (its identity is reserved by the block of 64) or of `device` exist on
  // disk, so that touching them cannot raise SIGBUS. Errors: disk full (false).
  bool reserve_slot(unsigned index) const;
  bool reserve_identities(unsigned block) const;
  bool reserve_device(unsigned device) const;

  // Presence: a lock on the file for each slot, which the kernel gives back when its holder is gone. It is what tells
  // that a process of another pid namespace (the container before its restart) has died; pids cannot. A forked child
  // keeps its parent's open file description and so the lock: errors are on the side of "alive".
  bool show_presence(unsigned index) const;
  void end_presence(unsigned index) const;
  bool is_absent(unsigned index) const;  // surely nobody holds it

  // The nonce of the last claim: tells this load of the library from the program's image before an exec.
  std::uint64_t load_nonce() const { return load_nonce_; }
  void set_load_nonce(std::uint64_t nonce) { load_nonce_ = nonce; }

 private:
  bool adopt(int fd, const char* path, const RegionSeed& seed, PageError* error);
  bool finish(int fd, const char* path, const RegionSeed& seed, PageError* error);
  bool is_ours(int fd) const;
  bool reserve(std::size_t offset, std::size_t bytes) const;

  HamiRegion* hami_ = nullptr;
  Extension* ext_ = nullptr;
  int fd_ = -1;
  bool file_ = false;  // false: anonymous memory, nothing to reserve
  bool unwritable_ = false;
  std::uint64_t device_ = 0, inode_ = 0;
  std::uint64_t load_nonce_ = 0;
};

}  // namespace kiboko::region
