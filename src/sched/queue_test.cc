#include "sched/queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/testing.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uid_t kAlice = 1000, kBob = 1001;

WaitingAsk waiting(std::size_t key, uid_t uid, Ask ask, std::int64_t since_ms = 0) {
  return {key, uid, since_ms, key, std::move(ask)};
}
std::vector<std::size_t> started(const QueueStep& step) {
  std::vector<std::size_t> keys;
  for (const auto& item : step.started) keys.push_back(item.key);
  return keys;
}
std::vector<std::size_t> delayed(const QueueStep& step) {
  std::vector<std::size_t> keys;
  for (const auto& item : step.delayed) keys.push_back(item.key);
  return keys;
}

TEST(Queue, WhatFitsStartsInTheOrderOfArrival) {
  const QueueStep step = step_queue(
      {gpu(0)}, {waiting(1, kAlice, asking(40_GiB)), waiting(2, kBob, asking(40_GiB)), waiting(3, kBob, asking(1_GiB))},
      {});
  EXPECT_THAT(started(step), ElementsAre(1, 2));
  EXPECT_THAT(delayed(step), ElementsAre(3));
}

TEST(Queue, ASmallLaterAskDoesNotTakeTheRoomTheFirstIsWaitingFor) {
  const QueueStep step =
      step_queue({holding(gpu(0), 60_GiB)}, {waiting(1, kAlice, asking(40_GiB)), waiting(2, kBob, asking(10_GiB))}, {});
  EXPECT_THAT(started(step), IsEmpty());
  EXPECT_THAT(delayed(step), ElementsAre(1, 2));
  EXPECT_EQ(step.delayed[1].refusal.code, RefusalCode::Busy);
  EXPECT_EQ(step.delayed[1].position, 2U);
}

TEST(Queue, ALaterAskPassesOnADeviceTheFirstDoesNotNeed) {
  const QueueStep step = step_queue({holding(gpu(0), 60_GiB), holding(gpu(1), 65_GiB)},
                                    {waiting(1, kAlice, asking(40_GiB)), waiting(2, kBob, asking(10_GiB))}, {});
  ASSERT_THAT(started(step), ElementsAre(2));
  EXPECT_EQ(step.started[0].placement.devices[0].position, 1U);
}

TEST(Queue, ALaterAskPassesWhereItAddsNothingToWhatTheFirstLacks) {
  // The first lacks compute; the second takes memory, of which enough is left for both.
  const QueueStep step = step_queue({holding(gpu(0), 10_GiB, 90)},
                                    {waiting(1, kAlice, asking(10_GiB, 30)), waiting(2, kBob, asking(10_GiB))}, {});
  EXPECT_THAT(started(step), ElementsAre(2));
}

TEST(Queue, AnAskForAWholeDeviceKeepsTheDeviceWithTheFewestGrants) {
  const QueueStep step = step_queue({holding(gpu(0), 1_GiB, 0, 3), holding(gpu(1), 1_GiB, 0, 1)},
                                    {waiting(1, kAlice, asking_whole()), waiting(2, kBob, asking(1_GiB))}, {});
  ASSERT_THAT(started(step), ElementsAre(2));
  EXPECT_EQ(step.started[0].placement.devices[0].position, 0U);
}

TEST(Queue, AUserWithManyAsksDoesNotShutOutAUserWithOne) {
  std::vector<WaitingAsk> asks;
  for (std::size_t i = 0; i < 5; ++i) asks.push_back(waiting(i, kAlice, asking(1_GiB), static_cast<std::int64_t>(i)));
  asks.push_back(waiting(5, kBob, asking(1_GiB), 10));
  EXPECT_THAT(fair_order(asks, {}), ElementsAre(0, 5, 1, 2, 3, 4));
  EXPECT_THAT(fair_order(asks, {{kAlice, 2}}), ElementsAre(5, 0, 1, 2, 3, 4));
}

TEST(Queue, ALongWaitOutweighsAnyHandicap) {
  const std::vector<WaitingAsk> asks{waiting(0, kAlice, asking(1_GiB), 0),
                                     waiting(1, kBob, asking(1_GiB), 3 * kTurnMs + 1)};
  EXPECT_THAT(fair_order(asks, {{kAlice, 3}}), ElementsAre(0, 1));
}

TEST(Queue, ASickDeviceIsNotKept) {
  DeviceState sick = gpu(0);
  sick.device.healthy = false;
  const QueueStep step = step_queue({sick, holding(gpu(1), 60_GiB)},
                                    {waiting(1, kAlice, asking(40_GiB)), waiting(2, kBob, asking(10_GiB))}, {});
  EXPECT_THAT(started(step), IsEmpty());
}

}  // namespace
}  // namespace kiboko
