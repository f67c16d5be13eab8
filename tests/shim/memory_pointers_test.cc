#include "shim/pointers.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

namespace kiboko::shim {
namespace {

using Small = Table<PointerEntry, 2>;

PointerEntry entry(std::uint64_t key, std::uint64_t units) {
  return pointer_entry(key, units * kUnitBytes, 0, PointerKind::Plain, 1);
}

TEST(Pointers, KeepsWhatAnEntrySays) {
  const PointerEntry one = pointer_entry(0x7f1234567000, 3ULL << 40, 15, PointerKind::Pool, 65535);
  EXPECT_EQ(one.bytes(), 3ULL << 40);
  EXPECT_EQ(one.device, 15U);
  EXPECT_EQ(one.what(), PointerKind::Pool);
  EXPECT_EQ(one.owner, 65535U);
}

TEST(Pointers, KnowsNothingOfAnEmptyTableAndOfTheNullPointer) {
  auto table = std::make_unique<Small>();
  PointerEntry out;
  EXPECT_FALSE(table->find(1, &out));
  EXPECT_EQ(table->take(0).key, 0U);
  ASSERT_TRUE(table->put(entry(512, 1), &out));
  EXPECT_EQ(table->take(0).key, 0U);
}

TEST(Pointers, HandsBackWhatAnAddressStoodForBefore) {
  auto table = std::make_unique<Small>();
  PointerEntry old;
  ASSERT_TRUE(table->put(entry(4096, 1), &old));
  EXPECT_EQ(old.key, 0U);
  ASSERT_TRUE(table->put(entry(4096, 2), &old));
  EXPECT_EQ(old.units, 1U);
  EXPECT_EQ(table->take(4096).units, 2U);
  EXPECT_EQ(table->take(4096).key, 0U);
}

// Against a model, with keys that collide and with ages of coming and going.
TEST(PointersProperty, AgreesWithAMap) {
  for (const std::uint64_t stride : {1ULL, 512ULL, 2ULL << 20, 1ULL << 36}) {
    auto table = std::make_unique<Small>();
    std::unordered_map<std::uint64_t, std::uint64_t> model;
    std::mt19937_64 random(stride);
    PointerEntry out;
    for (int step = 0; step < 60'000; ++step) {
      const std::uint64_t key = (1 + random() % (step < 40'000 ? 3000 : 50)) * stride;
      const auto known = model.find(key);
      if (random() % 2 == 0) {
        const std::uint64_t units = random() % 1000;
        ASSERT_TRUE(table->put(entry(key, units), &out));
        ASSERT_EQ(out.key != 0, known != model.end());
        if (known != model.end()) {
          ASSERT_EQ(out.units, known->second);
        }
        model[key] = units;
      } else {
        out = table->take(key);
        ASSERT_EQ(out.key, known != model.end() ? key : 0);
        if (known == model.end()) continue;
        ASSERT_EQ(out.units, known->second);
        model.erase(known);
      }
    }
    table->sweep([&](const PointerEntry& one) {
      EXPECT_EQ(model.at(one.key), one.units);
      return false;
    });
    table->sweep([&](const PointerEntry& one) { return one.units % 2 == 0; });
    for (const auto& [key, units] : model) ASSERT_EQ(table->find(key, &out), units % 2 != 0);
  }
}

TEST(Pointers, StayWithThreadsThatComeWhileTheFirstIsAtWork) {
  auto table = std::make_unique<Small>();
  const auto work = [&](std::uint64_t first) {
    PointerEntry out;
    for (int round = 0; round < 200; ++round) {
      for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(table->put(entry((first + i) << 9, i), &out));
      for (std::uint64_t i = 0; i < 100; ++i) {
        out = table->take((first + i) << 9);
        ASSERT_EQ(out.key, (first + i) << 9);
        ASSERT_EQ(out.units, i);
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t i = 1; i <= 3; ++i) threads.emplace_back(work, i * 1000);
  work(5000);
  for (std::thread& thread : threads) thread.join();
  std::size_t left = 0;
  table->sweep([&](const PointerEntry&) { return ++left != 0; });
  EXPECT_EQ(left, 0U);
}

TEST(Pointers, AreTakenByExactlyOneOfManyFrees) {
  auto table = std::make_unique<Small>();
  PointerEntry out;
  for (std::uint64_t i = 1; i <= 2000; ++i) ASSERT_TRUE(table->put(entry(i << 9, 1), &out));
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (std::uint64_t i = 1; i <= 2000; ++i) taken += table->take(i << 9).key != 0 ? 1 : 0;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), 2000);
}

TEST(Pointers, ChangeInPlaceAndGoWhenToldTo) {
  auto table = std::make_unique<HandleTable>();
  HandleEntry handle{}, out;
  handle.key = 7;
  handle.references = 1;
  ASSERT_TRUE(table->put(handle, &out));
  EXPECT_TRUE(table->change(7, [](HandleEntry& one) { return ++one.references != 0; }));
  ASSERT_TRUE(table->find(7, &out));
  EXPECT_EQ(out.references, 2U);
  EXPECT_TRUE(table->change(7, [](HandleEntry&) { return false; }));
  EXPECT_FALSE(table->find(7, &out));
  EXPECT_FALSE(table->change(7, [](HandleEntry&) { return true; }));
}

}  // namespace
}  // namespace kiboko::shim
