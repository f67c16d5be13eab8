// snapshot.h. Pieces are read into byte buffers and words are taken out by offset: no object of the layout is ever made
// of foreign bytes. A piece that the file no longer has reads as zeros.
#include "region/snapshot.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "region/message.h"
#include "region/os.h"
#include "region/slots.h"

namespace kiboko::region {
namespace {

constexpr unsigned kBlock = 64;

template <std::size_t Size>
class Bytes {
 public:
  // False when `wanted` bytes could not be read; what is missing is zero.
  bool read(int fd, std::size_t offset, std::size_t wanted = Size) {
    std::size_t got = 0;
    while (got < wanted) {
      const ssize_t n = ::pread(fd, bytes_ + got, wanted - got, static_cast<off_t>(offset + got));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    std::memset(bytes_ + got, 0, wanted - got);
    return got == wanted;
  }
  template <class T>
  T at(std::size_t offset) const {
    T value;
    std::memcpy(&value, bytes_ + offset, sizeof value);
    return value;
  }
  void copy(void* to, std::size_t offset, std::size_t size) const { std::memcpy(to, bytes_ + offset, size); }
  std::uint64_t word(std::size_t offset) const { return at<std::uint64_t>(offset); }
  std::uint32_t half(std::size_t offset) const { return at<std::uint32_t>(offset); }

 private:
  unsigned char bytes_[Size];
};

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

bool read_first_part(int fd, RegionSnapshot* out, PageError* error) {
  Bytes<offsetof(HamiRegion, slots)> head;
  Bytes<4> recent;
  if (!head.read(fd, 0) || !recent.read(fd, offsetof(HamiRegion, recent_kernel)))
    return refuse(error, "the region is shorter than a region; it was cut");
  if (head.at<std::int32_t>(offsetof(HamiRegion, magic)) != kHamiMagic)
    return refuse(error, "the region does not begin as a region does; it is not made yet, or overwritten");
  const std::uint32_t major = head.half(offsetof(HamiRegion, major_version));
  const std::uint32_t minor = head.half(offsetof(HamiRegion, minor_version));
  if (major != 1 || minor != 2)
    return refuse(error, "the region's first part has version ", major, ".", minor, ", not 1.2");
  for (unsigned i = 0; i < kMaxDevices; ++i) {
    out->devices[i].limit_mirror = head.word(offsetof(HamiRegion, memory_limit) + i * sizeof(std::uint64_t));
    out->devices[i].core_mirror = head.word(offsetof(HamiRegion, sm_limit) + i * sizeof(std::uint64_t));
  }
  out->recent_kernel = recent.at<std::int32_t>(0);
  return true;
}

bool read_header(int fd, Bytes<sizeof(ExtensionHeader)>* header, RegionSnapshot* out, PageError* error) {
  if (!header->read(fd, kExtensionOffset)) return refuse(error, "the region ends before its extension; it was cut");
  if (header->word(offsetof(ExtensionHeader, magic)) != kExtensionMagic)
    return refuse(error, "the region's extension does not begin as one does; it is not made yet, or overwritten");
  const std::uint32_t version = header->half(offsetof(ExtensionHeader, version));
  if (version != kExtensionVersion || header->half(offsetof(ExtensionHeader, header_bytes)) != sizeof(ExtensionHeader))
    return refuse(error, "the region's extension has version ", version, ", this program reads ", kExtensionVersion);
  const std::uint32_t devices = header->half(offsetof(ExtensionHeader, device_count));
  if (devices > kMaxDevices)
    return refuse(error, "the region says that it has ", devices, " devices, ", kMaxDevices, " can be");
  out->device_count = devices;
  out->nonce = header->word(offsetof(ExtensionHeader, nonce));
  out->mirrored_generation = header->word(offsetof(ExtensionHeader, mirrored_generation));
  header->copy(out->grant_id, offsetof(ExtensionHeader, grant_id), sizeof out->grant_id);
  out->grant_id[sizeof out->grant_id - 1] = '\0';
  return true;
}

void read_device(int fd, unsigned index, SnapshotCover cover, SnapshotDevice* out) {
  Bytes<sizeof(DeviceWords)> words;
  const bool with_cover = cover == SnapshotCover::Read;
  const std::size_t wanted = with_cover ? sizeof(DeviceWords) : offsetof(DeviceWords, cover);
  words.read(fd, kExtensionOffset + offsetof(Extension, devices) + index * sizeof(DeviceWords), wanted);
  out->charged = 0;
  out->tat_ns = words.at<std::int64_t>(offsetof(DeviceWords, tat_ns));
  out->applied_give_back_ns = words.word(offsetof(DeviceWords, applied_give_back_ns));
  out->charged_ns = words.word(offsetof(DeviceWords, charged_ns));
  out->covered_ns = words.word(offsetof(DeviceWords, covered_ns));
  out->last_launch_ns = words.word(offsetof(DeviceWords, last_launch_ns));
  out->longest_unit_ns = words.word(offsetof(DeviceWords, longest_unit_ns));
  out->backlog_until_ns = words.word(offsetof(DeviceWords, backlog_until_ns));
  out->busy_until_ns = 0;
  for (unsigned i = 0; i < kBusyWords; ++i) {
    const std::uint64_t busy = words.word(offsetof(DeviceWords, busy_until_ns) + i * sizeof(std::uint64_t));
    if (busy > out->busy_until_ns) out->busy_until_ns = busy;
  }
  out->waiting = words.half(offsetof(DeviceWords, waiting));
  Bytes<sizeof(WaitCounts)> waits;
  waits.read(fd, kExtensionOffset + offsetof(Extension, waits) + index * sizeof(WaitCounts));
  waits.copy(out->waits, 0, sizeof out->waits);
  out->has_cover = with_cover;
  if (with_cover) words.copy(out->cover, offsetof(DeviceWords, cover), sizeof out->cover);
}

// The pieces of 64 slots. They are read one after another while the tenant runs: a charge may be of a later instant
// than its slot's identity, never of another slot.
struct Block {
  Bytes<kBlock * sizeof(SlotIdentity)> identities;
  Bytes<kBlock / 8 * sizeof(ChargeGroup)> charges;
  Bytes<kBlock * sizeof(SlotCounterBlock)> counters;

  // From slot `first` to `last` of the block; both within it.
  void read(int fd, unsigned block, unsigned first, unsigned last) {
    const unsigned slot = block * kBlock + first, count = last - first + 1;
    const unsigned group = slot / 8, groups = (block * kBlock + last) / 8 - group + 1;
    base = first;
    base_group = first / 8;
    identities.read(fd, kExtensionOffset + offsetof(Extension, slots) + slot * sizeof(SlotIdentity),
                    count * sizeof(SlotIdentity));
    charges.read(fd, kExtensionOffset + offsetof(Extension, charges) + group * sizeof(ChargeGroup),
                 groups * sizeof(ChargeGroup));
    counters.read(fd, kExtensionOffset + offsetof(Extension, counters) + slot * sizeof(SlotCounterBlock),
                  count * sizeof(SlotCounterBlock));
  }
  unsigned base = 0, base_group = 0;
};

void copy_charges(const Block& block, unsigned at, unsigned devices, SnapshotSlot* out) {
  const std::size_t group = (at / 8 - block.base_group) * sizeof(ChargeGroup);
  const std::size_t counters = (at - block.base) * sizeof(SlotCounterBlock);
  for (unsigned device = 0; device < kMaxDevices; ++device) {
    const bool of_grant = device < devices;
    out->charged[device] = of_grant ? block.charges.word(group + (device * 8 + at % 8) * sizeof(std::uint64_t)) : 0;
    out->counters[device] = of_grant ? block.counters.at<SnapshotCounters>(counters + device * sizeof(SnapshotCounters))
                                     : SnapshotCounters{};
  }
}

// False when the slot is not live.
bool copy_slot(const Block& block, unsigned at, SnapshotSlot* out) {
  const std::size_t identity = (at - block.base) * sizeof(SlotIdentity);
  const SlotWord word = unpack(block.identities.word(identity + offsetof(SlotIdentity, state)));
  if (word.state != SlotState::Live) return false;
  out->generation = word.generation;
  out->pid = word.pid;
  out->start_time = block.identities.word(identity + offsetof(SlotIdentity, start_time));
  out->pid_ns = block.identities.word(identity + offsetof(SlotIdentity, pid_ns));
  out->nonce = block.identities.word(identity + offsetof(SlotIdentity, nonce));
  out->host_pid = block.identities.half(identity + offsetof(SlotIdentity, host_pid));
  out->flags = block.identities.half(identity + offsetof(SlotIdentity, flags));
  return true;
}

void read_block(int fd, unsigned number, std::uint64_t live, RegionSnapshot* out) {
  Block block;
  block.read(fd, number, static_cast<unsigned>(__builtin_ctzll(live)),
             63u - static_cast<unsigned>(__builtin_clzll(live)));
  for (; live != 0; live &= live - 1) {
    const unsigned at = static_cast<unsigned>(__builtin_ctzll(live));
    SnapshotSlot& slot = out->slots[out->slot_count];
    if (!copy_slot(block, at, &slot)) continue;
    slot.index = number * kBlock + at;
    copy_charges(block, at, out->device_count, &slot);
    for (unsigned device = 0; device < out->device_count; ++device)
      out->devices[device].charged = saturating_add(out->devices[device].charged, slot.charged[device]);
    ++out->slot_count;
  }
}

std::uint64_t bits_at(const SnapshotDevice& device, std::uint64_t number) {
  const std::uint64_t word = device.cover[number % kCoverWords];
  return word >> kCoverBits == (number / kCoverWords & 0xffff) ? word & ((1ull << kCoverBits) - 1) : 0;
}

}  // namespace

bool read_snapshot(int fd, SnapshotCover cover, RegionSnapshot* out, PageError* error) {
  const os::KeepErrno keep;
  Bytes<sizeof(ExtensionHeader)> header;
  out->slot_count = 0;
  if (!read_first_part(fd, out, error) || !read_header(fd, &header, out, error)) return false;
  for (unsigned i = 0; i < out->device_count; ++i) read_device(fd, i, cover, &out->devices[i]);
  for (unsigned i = 0; i < kMaxSlots / kBlock; ++i) {
    const std::uint64_t live = header.word(offsetof(ExtensionHeader, live) + i * sizeof(std::uint64_t));
    if (live != 0) read_block(fd, i, live, out);
  }
  return true;
}

std::uint64_t overlap_ns(const SnapshotDevice& a, const SnapshotDevice& b, std::uint64_t from_ns, std::uint64_t to_ns) {
  if (!a.has_cover || !b.has_cover || to_ns <= from_ns) return 0;
  const std::uint64_t last = (to_ns - 1) / kCoverWordNs;
  std::uint64_t first = from_ns / kCoverWordNs;
  if (last - first >= kCoverWords) first = last - kCoverWords + 1;
  std::uint64_t bits = 0;
  for (std::uint64_t number = first; number <= last; ++number) {
    std::uint64_t both = bits_at(a, number) & bits_at(b, number);
    for (; both != 0; both &= both - 1) {
      const std::uint64_t at = (number * kCoverBits + static_cast<unsigned>(__builtin_ctzll(both))) * kCoverBitNs;
      bits += at >= from_ns && at < to_ns;
    }
  }
  return bits * kCoverBitNs;
}

}  // namespace kiboko::region
