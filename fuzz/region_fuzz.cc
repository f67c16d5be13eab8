// The region is the tenant's to write. An input is a list of patches on a good region file, and where to cut it; then
// the agent's snapshot is taken, a new process opens it, and one that has it open already goes on with it. Whatever the
// bytes are, all of it ends, stays in bounds and gives values in range.
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "region/account.h"
#include "region/bucket.h"
#include "region/snapshot.h"

using namespace kiboko::region;

namespace {

void require(bool held) {
  if (!held) std::abort();
}

RegionSeed seed() {
  RegionSeed seed;
  seed.grant_id = "g-1";
  seed.device_count = 2;
  seed.uuids[0] = "GPU-1";
  seed.uuids[1] = "GPU-2";
  return seed;
}

// Where patches do something: the rest of the file is more of the same.
struct Area {
  std::size_t offset, bytes;
};
constexpr Area kAreas[] = {
    {0, offsetof(HamiRegion, slots)},
    {offsetof(HamiRegion, slots), 4 * sizeof(HamiSlot)},
    {offsetof(HamiRegion, slot_count), 56},
    {kExtensionOffset, sizeof(ExtensionHeader)},
    {kExtensionOffset + offsetof(ExtensionHeader, live), 160},
    {kExtensionOffset + offsetof(Extension, devices), 2 * sizeof(DeviceWords)},
    {kExtensionOffset + offsetof(Extension, slots), 8 * sizeof(SlotIdentity)},
    {kExtensionOffset + offsetof(Extension, charges), 2 * sizeof(ChargeGroup)},
    {kExtensionOffset + offsetof(Extension, counters), 4 * sizeof(SlotCounterBlock)},
};

// One file and one mapping for all inputs; the pages are made good again before each.
class World {
 public:
  World() {
    require(::mkdtemp(dir_) != nullptr);
    path_ = std::string(dir_) + "/region";
    PageError error;
    require(region_.open(path_.c_str(), seed(), &error));
    require(claim_slot(region_, ProcessIdentity::self(), 1, &slot_, &error));
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    good_.resize(kRegionBytes);
    require(::pread(fd_, good_.data(), good_.size(), 0) == static_cast<ssize_t>(good_.size()));
    ::atexit([] { world().remove(); });
  }
  static World& world() {
    static World world;
    return world;
  }
  void make_good() {
    require(::ftruncate(fd_, 0) == 0 && ::ftruncate(fd_, kRegionBytes) == 0);
    for (const Area& area : kAreas)
      require(::pwrite(fd_, good_.data() + area.offset, area.bytes, static_cast<off_t>(area.offset)) ==
              static_cast<ssize_t>(area.bytes));
  }
  void patch(FuzzedDataProvider& input) {
    for (int i = 0; i < 64 && input.remaining_bytes() > 4; ++i) {
      const Area& area = kAreas[input.ConsumeIntegralInRange<std::size_t>(0, std::size(kAreas) - 1)];
      const std::size_t at = input.ConsumeIntegralInRange<std::size_t>(0, area.bytes - 1);
      const auto bytes = input.ConsumeBytes<char>(input.ConsumeIntegralInRange<std::size_t>(1, 16));
      require(::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(area.offset + at)) ==
              static_cast<ssize_t>(bytes.size()));
    }
  }
  void take_snapshot() {
    PageError error;
    error.text[0] = '\0';
    if (!read_snapshot(fd_, SnapshotCover::Read, snapshot_.get(), &error)) return require(error.text[0] != '\0');
    require(snapshot_->device_count <= kMaxDevices && snapshot_->slot_count <= kMaxSlots);
    require(std::memchr(snapshot_->grant_id, '\0', sizeof snapshot_->grant_id) != nullptr);
    for (unsigned i = 0; i < snapshot_->slot_count; ++i) {
      require(snapshot_->slots[i].index < kMaxSlots);
      require(i == 0 || snapshot_->slots[i - 1].index < snapshot_->slots[i].index);
    }
    for (unsigned i = 0; i < snapshot_->device_count; ++i)
      (void)overlap_ns(snapshot_->devices[0], snapshot_->devices[i], 0, snapshot_->devices[i].covered_ns);
  }
  void cut(std::size_t size) { require(::ftruncate(fd_, static_cast<off_t>(size)) == 0); }
  void come_new() {
    Mapping fresh;
    PageError error;
    if (!fresh.open(path_.c_str(), seed(), &error)) return require(error.text[0] != '\0');
    use(fresh, nullptr);
    fresh.close();
  }
  void go_on() { use(region_, &slot_); }

 private:
  static void use(Mapping& region, const Slot* have) {
    PageError error;
    Slot slot;
    const bool claimed = claim_slot(region, ProcessIdentity::self(), 1, &slot, &error);
    if (have != nullptr) slot = *have;
    if (have == nullptr && !claimed) return;
    Account account(region, slot);
    const AccountView view{100u << 20, 0};
    for (unsigned device = 0; device < 2; ++device) {
      const bool kept = account.charge(device, 2u << 20, ChargeKind::Data, view);
      require(!kept || account.total(device) <= view.limit);
      account.add(device, 1u << 20, ChargeKind::Context);
      account.refund(device, 4u << 20, ChargeKind::Data);
      DeviceWords& words = region.ext().devices[device];
      (void)ready_at(words, Rate{3000}, 1'000'000'000, 5'000'000);
      charge_time(words, Rate{3000}, 1'000'000'000, 1'000'000, 5'000'000);
      correct_time(words, Rate{3000}, 1'000'000'000, -500'000, 5'000'000);
      require(cover(words, 900'000'000, 1'000'000'000) <= 100'000'000);
    }
    reap_dead_slots(region);
    if (claimed) release_slot(region, slot);
  }
  void remove() {
    ::unlink(path_.c_str());
    ::rmdir(dir_);
  }

  char dir_[32] = "/dev/shm/kiboko-fuzz-XXXXXX";
  std::string path_;
  Mapping region_;
  Slot slot_;
  int fd_ = -1;
  std::string good_;
  std::unique_ptr<RegionSnapshot> snapshot_ = std::make_unique<RegionSnapshot>();
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  World& world = World::world();
  FuzzedDataProvider input(data, size);
  const bool is_cut = input.ConsumeBool();
  const std::size_t cut_at = input.ConsumeIntegralInRange<std::size_t>(0, kRegionBytes);
  world.make_good();
  world.patch(input);
  if (is_cut) world.cut(cut_at);
  world.take_snapshot();
  if (is_cut) return 0;  // who has it mapped would get SIGBUS: the tenant's own doing
  world.come_new();
  world.go_on();
  return 0;
}
