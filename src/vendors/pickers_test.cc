#include "vendors/pickers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "vendors/catalog.h"
#include "vendors/kunlun.h"
#include "vendors/pair_search.h"

namespace kiboko::vendors {
namespace {

using testing::ElementsAre;
using testing::Optional;
using testing::UnorderedElementsAre;

// Candidates with their custom info, which stays where it is.
struct Devices {
  std::deque<CustomInfo> customs;
  std::vector<Candidate> candidates;
  Candidate& add(unsigned index, const char* key = nullptr, std::int64_t group = 0) {
    CustomInfo& custom = customs.emplace_back();
    if (key != nullptr) set_custom(custom, key, group);
    candidates.push_back({index, {"d" + std::to_string(index)}, &custom, true, 0, 0});
    return candidates.back();
  }
};

std::optional<std::vector<unsigned>> picked(const char* strategy, const Devices& devices, std::size_t wanted,
                                            const Selection& selection, bool exclusive = false, bool online = false) {
  const auto positions = pick(strategy, {devices.candidates, wanted, selection, nullptr, exclusive, online});
  if (!positions) return std::nullopt;
  std::vector<unsigned> indexes;
  for (const std::size_t position : *positions) indexes.push_back(devices.candidates[position].index);
  return indexes;
}

TEST(FirstFit, TakesWhatThePolicyPutFirst) {
  Devices devices;
  for (const unsigned index : {3U, 1U, 2U}) devices.add(index);
  EXPECT_THAT(picked("firstFit", devices, 2, {}), Optional(ElementsAre(3U, 1U)));
  EXPECT_EQ(picked("firstFit", devices, 4, {}), std::nullopt);
}

TEST(GroupPack, CrossesAsFewGroupsAsPossible) {
  Selection selection;
  selection.group = "NetworkID";
  Devices devices;
  devices.add(0, "NetworkID", 0);
  for (const unsigned index : {4U, 5U, 6U, 7U}) devices.add(index, "NetworkID", 1);
  EXPECT_THAT(picked("groupPack", devices, 4, selection), Optional(ElementsAre(4U, 5U, 6U, 7U)));
  EXPECT_THAT(picked("groupPack", devices, 5, selection), Optional(ElementsAre(4U, 5U, 6U, 7U, 0U)));
  EXPECT_THAT(picked("groupPack", devices, 1, selection), Optional(ElementsAre(0U)));
  const std::vector<const CustomInfo*> one = {&devices.customs[1], &devices.customs[2], &devices.customs[3],
                                              &devices.customs[4]};
  EXPECT_EQ(concentration(one, "NetworkID"), 1.0);
  std::vector<const CustomInfo*> both = one;
  both.push_back(&devices.customs[0]);
  EXPECT_EQ(concentration(both, "NetworkID"), 0.8);
  EXPECT_EQ(concentration(both, "Other"), std::nullopt);
}

TEST(GroupPack, AppliesOnlyWhereEveryDeviceHasItsGroup) {
  Selection selection;
  selection.group = "AIC";
  selection.group_when_key = "DeviceStrategy";
  selection.group_when_value = "die";
  Devices devices;
  devices.add(0, "AIC", 0);
  devices.add(1, "AIC", 1);
  devices.add(2, "AIC", 1);
  EXPECT_THAT(picked("groupPack", devices, 2, selection), Optional(ElementsAre(0U, 1U)));
  for (CustomInfo& custom : devices.customs) set_custom(custom, "DeviceStrategy", std::string_view("die"));
  EXPECT_THAT(picked("groupPack", devices, 2, selection), Optional(ElementsAre(1U, 2U)));
}

TEST(PairPack, TakesWholePairsOnly) {
  Devices devices;
  for (const unsigned index : {7U, 0U, 1U, 3U, 4U, 5U, 6U}) devices.add(index);  // 2 is used
  EXPECT_THAT(picked("pairPack", devices, 4, {}), Optional(UnorderedElementsAre(0U, 1U, 6U, 7U)));
  EXPECT_EQ(picked("pairPack", devices, 6, {})->size(), 6U);
  EXPECT_EQ(picked("pairPack", devices, 8, {}), std::nullopt);
  devices.add(2).idle = false;
  EXPECT_EQ(picked("pairPack", devices, 8, {}), std::nullopt);
}

TEST(AlignedRun, IsAnyRunOnWideNodesAndAnAlignedOneElsewhere) {
  Selection selection;
  selection.wide_label = "AWSNodeType";
  selection.wide_word = "inf";
  selection.run_sizes = {1, 4, 8, 16};
  Devices devices;
  for (const unsigned index : {7U, 6U, 5U, 4U, 3U, 1U, 0U}) devices.add(index);
  EXPECT_THAT(picked("alignedRun", devices, 4, selection), Optional(ElementsAre(4U, 5U, 6U, 7U)));
  EXPECT_EQ(picked("alignedRun", devices, 2, selection), std::nullopt);
  set_custom(devices.customs[0], "AWSNodeType", std::string_view("Inf1.24xlarge"));
  EXPECT_THAT(picked("alignedRun", devices, 2, selection), Optional(ElementsAre(0U, 1U)));
  EXPECT_THAT(picked("alignedRun", devices, 3, selection), Optional(ElementsAre(3U, 4U, 5U)));
  EXPECT_EQ(picked("alignedRun", devices, 6, selection), std::nullopt);
}

TEST(LinkZone, TakesTheSmallestZoneThatHoldsAll) {
  Selection selection;
  selection.group = "LinkZone";
  Devices devices;
  devices.add(9, "LinkZone", 0);
  for (const unsigned index : {2U, 3U, 4U}) devices.add(index, "LinkZone", 2);
  for (const unsigned index : {0U, 1U}) devices.add(index, "LinkZone", 1);
  EXPECT_THAT(picked("linkZone", devices, 2, selection, true), Optional(ElementsAre(0U, 1U)));
  EXPECT_THAT(picked("linkZone", devices, 4, selection, true), Optional(ElementsAre(0U, 1U, 2U, 3U)));
  EXPECT_THAT(picked("linkZone", devices, 6, selection, true), Optional(ElementsAre(0U, 1U, 2U, 3U, 4U, 9U)));
  EXPECT_THAT(picked("linkZone", devices, 2, selection, false), Optional(ElementsAre(9U, 2U)));
}

TEST(LinkZone, OnlineWorkGoesWhereItDisturbsLeast) {
  Devices devices;
  devices.add(0).offline = 1;
  devices.add(1).online = 2;
  devices.add(2).online = 1;
  EXPECT_THAT(picked("linkZone", devices, 1, {}, false, true), Optional(ElementsAre(2U)));
  devices.add(3);
  EXPECT_THAT(picked("linkZone", devices, 1, {}, false, true), Optional(ElementsAre(3U)));
}

std::vector<unsigned> all_but(std::initializer_list<unsigned> used, unsigned cards = 8) {
  std::vector<unsigned> free;
  for (unsigned card = 0; card < cards; ++card)
    if (std::find(used.begin(), used.end(), card) == used.end()) free.push_back(card);
  return free;
}

TEST(Kunlun, KeepsToAWingWhereOneFits) {
  EXPECT_THAT(kunlun_cards(all_but({4}), 4), Optional(ElementsAre(0U, 1U, 2U, 3U)));
  EXPECT_THAT(kunlun_cards(all_but({0, 4}), 2), Optional(ElementsAre(1U, 2U)));
  EXPECT_THAT(kunlun_cards(all_but({0, 1, 2, 4, 5, 6}), 2), Optional(ElementsAre(3U, 7U)));
  EXPECT_THAT(kunlun_cards(all_but({0, 1, 2}), 1), Optional(ElementsAre(3U)));
  EXPECT_THAT(kunlun_cards(all_but({0, 4}), 4), Optional(ElementsAre(2U, 3U, 6U, 7U)));
}

TEST(Kunlun, CardsAreCountedWhateverTheOrderTheyComeIn) {
  Devices devices;
  for (const unsigned index : {7U, 6U, 5U, 3U, 2U, 1U, 0U}) devices.add(index);  // 4 is used; a sorted list began at 7
  EXPECT_THAT(picked("kunlun.wings", devices, 4, {}), Optional(ElementsAre(0U, 1U, 2U, 3U)));
}

TEST(Kunlun, NeverPromisesFewerCardsThanAsked) {
  for (unsigned used = 0; used < 256; ++used)
    for (const std::size_t wanted : {1U, 2U, 3U, 4U, 8U}) {
      std::vector<unsigned> free;
      for (unsigned card = 0; card < 8; ++card)
        if ((used >> card & 1U) == 0) free.push_back(card);
      const auto cards = kunlun_cards(free, wanted);
      if (!cards) continue;
      EXPECT_EQ(cards->size(), wanted);
      for (const unsigned card : *cards) EXPECT_EQ(used >> card & 1U, 0U);
    }
}

TEST(Kunlun, ASecondBoardIsABoardOfItsOwn) {
  EXPECT_THAT(kunlun_cards(all_but({0}, 16), 8), Optional(ElementsAre(8U, 9U, 10U, 11U, 12U, 13U, 14U, 15U)));
  EXPECT_THAT(kunlun_cards(all_but({0, 1, 2, 3, 4, 5, 6, 7}, 16), 4), Optional(ElementsAre(8U, 9U, 10U, 11U)));
}

PairScores linked(std::initializer_list<std::tuple<const char*, const char*, std::int32_t>> pairs) {
  PairScores scores;
  for (const auto& [a, b, score] : pairs) scores[{a}][{b}] = scores[{b}][{a}] = score;
  return scores;
}

TEST(PairMatrix, OneGpuIsTheOneThatTheOthersMissLeast) {
  const std::vector<DeviceUuid> gpus = {{"a"}, {"b"}, {"c"}};
  EXPECT_THAT(best_linked(gpus, linked({{"a", "b", 100}, {"a", "c", 10}, {"b", "c", 10}}), 1), ElementsAre(2U));
}

TEST(PairMatrix, SeveralAreTheBestLinked) {
  const std::vector<DeviceUuid> gpus = {{"a"}, {"b"}, {"c"}, {"d"}};
  const PairScores scores = linked({{"a", "b", 10}, {"b", "d", 90}, {"c", "d", 20}, {"a", "c", 50}});
  EXPECT_THAT(best_linked(gpus, scores, 2), ElementsAre(1U, 3U));
  EXPECT_THAT(best_linked(gpus, {}, 2), ElementsAre(0U, 1U));
  EXPECT_THAT(best_linked(gpus, scores, 4), ElementsAre(0U, 1U, 2U, 3U));
}

TEST(PairMatrix, BranchAndBoundFindsWhatTryingAllFinds) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const std::size_t count = 2 + random() % 7, wanted = 2 + random() % (count - 1);
    std::vector<DeviceUuid> gpus;
    for (std::size_t i = 0; i < count; ++i) gpus.push_back({std::to_string(i)});
    PairScores scores;
    for (const DeviceUuid& a : gpus)
      for (const DeviceUuid& b : gpus)
        if (a < b) scores[a][b] = scores[b][a] = static_cast<std::int32_t>(random() % 5 * 10);
    std::int64_t best = -1;
    std::vector<std::size_t> first;
    std::vector<char> chosen(count, 0);
    std::fill(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(wanted), 1);
    do {  // from the first choice in order to the last
      std::int64_t sum = 0;
      std::vector<std::size_t> positions;
      for (std::size_t i = 0; i < count; ++i)
        if (chosen[i] != 0) positions.push_back(i);
      for (const std::size_t a : positions)
        for (const std::size_t b : positions)
          if (a < b) sum += score_of(scores, gpus[a], gpus[b]);
      if (sum > best) {
        best = sum;
        first = positions;
      }
    } while (std::prev_permutation(chosen.begin(), chosen.end()));
    EXPECT_EQ(best_linked(gpus, scores, wanted), first);
  }
}

TEST(PairMatrix, ALargeNodeEndsInTime) {
  std::vector<DeviceUuid> gpus;
  PairScores scores;
  for (int i = 0; i < 64; ++i) gpus.push_back({std::to_string(i)});
  for (const DeviceUuid& a : gpus)
    for (const DeviceUuid& b : gpus)
      if (a != b)
        scores[a][b] =
            10 + static_cast<std::int32_t>((std::hash<std::string>{}(a.text) ^ std::hash<std::string>{}(b.text)) % 7);
  EXPECT_EQ(best_linked(gpus, scores, 16).size(), 16U);
}

}  // namespace
}  // namespace kiboko::vendors
