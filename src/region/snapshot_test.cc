#include "region/snapshot.h"

#include <fcntl.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "region/bucket.h"
#include "region/fixture.h"

namespace kiboko::region {
namespace {

class Snapshot : public RegionTest {
 protected:
  bool read(SnapshotCover cover = SnapshotCover::Skip) {
    const int fd = ::open(path().c_str(), O_RDONLY | O_CLOEXEC);
    error_.text[0] = '\0';
    const bool whole = read_snapshot(fd, cover, snapshot_.get(), &error_);
    ::close(fd);
    return whole;
  }
  std::unique_ptr<RegionSnapshot> snapshot_ = std::make_unique<RegionSnapshot>();
  PageError error_;
};

TEST_F(Snapshot, HoldsWhatTheLiveSlotsHold) {
  const ProcessIdentity self = ProcessIdentity::self();
  const Slot first = claim(region_), second = claim(region_), third = claim(region_);
  Account(region_, first).add(0, kMi, ChargeKind::Data);
  Account(region_, third).add(0, 5 * kMi, ChargeKind::Data);
  region_.ext().counters[third.index].device[0].launches = 42;
  release_slot(region_, second);
  ASSERT_TRUE(read()) << error_.text;
  ASSERT_EQ(snapshot_->slot_count, 2u);
  EXPECT_EQ(snapshot_->slots[0].index, 0u);
  EXPECT_EQ(snapshot_->slots[0].charged[0], kMi);
  EXPECT_EQ(snapshot_->slots[1].index, 2u);
  EXPECT_EQ(snapshot_->slots[1].charged[0], 5 * kMi);
  EXPECT_EQ(snapshot_->slots[1].counters[0].launches, 42u);
  EXPECT_EQ(snapshot_->slots[1].pid, self.pid);
  EXPECT_EQ(snapshot_->slots[1].start_time, self.start_time);
  EXPECT_EQ(snapshot_->slots[1].nonce, kNonce);
  EXPECT_EQ(snapshot_->devices[0].charged, 6 * kMi);
  EXPECT_STREQ(snapshot_->grant_id, "g-7f3a");
}

TEST_F(Snapshot, FindsSlotsInEveryBlock) {
  for (unsigned i = 0; i < 200; ++i) Account(region_, claim(region_)).add(0, i + 1, ChargeKind::Data);
  ASSERT_TRUE(read()) << error_.text;
  ASSERT_EQ(snapshot_->slot_count, 200u);
  for (unsigned i = 0; i < 200; ++i) EXPECT_EQ(snapshot_->slots[i].charged[0], i + 1);
}

TEST_F(Snapshot, HoldsTheGovernorsWordsAndTheTimelineWhenAsked) {
  DeviceWords& words = region_.ext().devices[0];
  words.charged_ns = 7;
  cover(words, 100 * kCoverBitNs, 110 * kCoverBitNs);
  ASSERT_TRUE(read());
  EXPECT_EQ(snapshot_->devices[0].charged_ns, 7u);
  EXPECT_EQ(snapshot_->devices[0].covered_ns, 10 * kCoverBitNs);
  EXPECT_FALSE(snapshot_->devices[0].has_cover);
  ASSERT_TRUE(read(SnapshotCover::Read));
  EXPECT_EQ(overlap_ns(snapshot_->devices[0], snapshot_->devices[0], 0, 200'000'000), 10 * kCoverBitNs);
  EXPECT_EQ(overlap_ns(snapshot_->devices[0], snapshot_->devices[0], 105 * kCoverBitNs, 200'000'000), 5 * kCoverBitNs);
}

TEST_F(Snapshot, HoldsHowLongWaitsWere) {
  region_.ext().waits[0].count[2] = 7;
  region_.ext().waits[0].count[kWaitLengths - 1] = 9;
  ASSERT_TRUE(read());
  EXPECT_EQ(snapshot_->devices[0].waits[2], 7u);
  EXPECT_EQ(snapshot_->devices[0].waits[kWaitLengths - 1], 9u);
  EXPECT_EQ(snapshot_->devices[0].waits[0], 0u);
}

TEST(WaitLength, IsTheFirstBoundThatTheWaitDoesNotExceed) {
  EXPECT_EQ(wait_length(0), 0u);
  EXPECT_EQ(wait_length(kShortestWaitNs), 0u);
  for (unsigned length = 1; length < kWaitLengths - 1; ++length) {
    EXPECT_EQ(wait_length((kShortestWaitNs << (length - 1)) + 1), length);
    EXPECT_EQ(wait_length(kShortestWaitNs << length), length);
  }
  EXPECT_EQ(wait_length((kShortestWaitNs << (kWaitLengths - 2)) + 1), kWaitLengths - 1);
  EXPECT_EQ(wait_length(UINT64_MAX), kWaitLengths - 1);
}

TEST_F(Snapshot, SeesWhereTwoGrantsOverlapped) {
  cover(region_.ext().devices[0], 100 * kCoverBitNs, 200 * kCoverBitNs);
  ASSERT_TRUE(read(SnapshotCover::Read));
  auto other = std::make_unique<DeviceWords>();
  cover(*other, 150 * kCoverBitNs, 300 * kCoverBitNs);
  auto theirs = std::make_unique<SnapshotDevice>();
  theirs->has_cover = true;
  std::memcpy(theirs->cover, other->cover, sizeof theirs->cover);
  EXPECT_EQ(overlap_ns(snapshot_->devices[0], *theirs, 0, 200'000'000), 50 * kCoverBitNs);
}

TEST_F(Snapshot, OfACutFileIsRefusedOrWholeInItself) {
  claim(region_);
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{100}, std::uint64_t{4096}, kExtensionOffset,
                                   kExtensionOffset + sizeof(ExtensionHeader) - 1}) {
    std::filesystem::resize_file(path(), size);
    EXPECT_FALSE(read()) << size;
    EXPECT_STRNE(error_.text, "");
  }
}

TEST_F(Snapshot, OfAFileCutAfterItsHeaderHasNoSlots) {
  Account(region_, claim(region_)).add(0, kMi, ChargeKind::Data);
  std::filesystem::resize_file(path(), kExtensionOffset + 4096);
  ASSERT_TRUE(read()) << error_.text;
  EXPECT_EQ(snapshot_->slot_count, 0u);
  EXPECT_EQ(snapshot_->devices[0].charged, 0u);
}

TEST_F(Snapshot, StaysInRangeWhenTheTenantLies) {
  ExtensionHeader& header = region_.ext().header;
  for (auto& word : header.live) word = UINT64_MAX;
  for (unsigned i = 0; i < kMaxSlots; ++i) region_.ext().slots[i].state = pack({1, SlotState::Live, i});
  for (ChargeGroup& group : region_.ext().charges)
    for (auto& word : group.charged[0]) word = UINT64_MAX;
  std::memset(header.grant_id, 'x', sizeof header.grant_id);
  ASSERT_TRUE(read());
  EXPECT_EQ(snapshot_->slot_count, kMaxSlots);
  EXPECT_EQ(snapshot_->devices[0].charged, UINT64_MAX);
  EXPECT_EQ(std::strlen(snapshot_->grant_id), 63u);
  header.device_count = 17;
  EXPECT_FALSE(read());
}

}  // namespace
}  // namespace kiboko::region
