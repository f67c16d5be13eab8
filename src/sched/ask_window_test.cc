#include "sched/ask_window.h"

#include <gmock/gmock.h>

#include "sched/cluster_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using std::chrono::hours;
using std::chrono::minutes;

constexpr WallTime kNoon{hours{12} + hours{24 * 365}};

void add(AskWindow& window, const PodAsk& ask, int times, WallTime now) {
  for (int i = 0; i < times; ++i) window.add(ask, now);
}

double part_of(const AskWindow& window, const PodAsk& ask) {
  for (const AskClass& one : window.mix().device_classes(kMixKnownFrom))
    if (one.ask == ask) return one.weight;
  return 0;
}

TEST(AskWindow, ForgetsAnAskADayLater) {
  AskWindow window;
  add(window, pod(1, 500), 3, kNoon);
  add(window, pod(1, 1000), 1, kNoon + hours{10});
  window.forget(kNoon + hours{23} + minutes{59});
  EXPECT_EQ(window.mix().asks(), 4U);
  window.forget(kNoon + hours{24});
  EXPECT_EQ(window.mix().asks(), 1U);
  EXPECT_EQ(part_of(window, pod(1, 1000)), 1);
  window.add(pod(1, 100), kNoon + hours{100});
  EXPECT_EQ(part_of(window, pod(1, 100)), 1);
}

TEST(AskWindow, KeepsWhatItHasWhenTheTimeGoesBack) {
  AskWindow window;
  add(window, pod(1, 500), 1, kNoon - hours{5});
  add(window, pod(1, 500), 1, kNoon + hours{10'000});
  EXPECT_EQ(window.mix().asks(), 1U);
  add(window, pod(1, 500), 1, kNoon);
  EXPECT_EQ(window.mix().asks(), 2U);
  window.forget(kNoon + hours{23});
  EXPECT_EQ(window.mix().asks(), 2U);
  window.forget(kNoon + hours{24});
  EXPECT_EQ(window.mix().asks(), 0U);
}

TEST(AskWindow, CountsOnlySoManyDifferentAsksOfOneHour) {
  AskWindow window;
  for (std::size_t i = 0; i < AskWindow::kMostAsks + 100; ++i) window.add({.count = 1, .memory = Bytes{i}}, kNoon);
  window.add({.count = 1, .memory = Bytes{7}}, kNoon);
  EXPECT_EQ(window.mix().asks(), AskWindow::kMostAsks + 1);
  window.add(pod(1, 1), kNoon + hours{1});
  EXPECT_EQ(window.mix().asks(), AskWindow::kMostAsks + 2);
}

TEST(AskWindow, IsToBeExpectedOnceKnownAndThenWhenATwentiethIsOther) {
  AskWindow window;
  add(window, pod(1, 500), kMixKnownFrom - 1, kNoon);
  EXPECT_FALSE(window.changed_enough());
  add(window, pod(1, 500), 1, kNoon);
  EXPECT_TRUE(window.changed_enough());
  EXPECT_TRUE(window.changed_enough());
  window.expected();
  EXPECT_FALSE(window.changed_enough());
  add(window, pod(1, 500), 1000, kNoon);
  EXPECT_FALSE(window.changed_enough());
  add(window, pod(1, 400), 40, kNoon);
  EXPECT_FALSE(window.changed_enough());
  add(window, pod(1, 400), 40, kNoon);
  EXPECT_TRUE(window.changed_enough());
}

TEST(AskWindow, IsToBeExpectedWhenFewAsksWantMuch) {
  AskWindow window;
  add(window, pod(1, 100), 1000, kNoon);
  window.expected();
  add(window, pod(8, 1000), 20, kNoon);
  EXPECT_TRUE(window.changed_enough());
}

TEST(AskWindow, IsToBeExpectedWhenMuchIsForgotten) {
  AskWindow window;
  add(window, pod(1, 100), 100, kNoon);
  add(window, pod(1, 200), 100, kNoon + hours{5});
  window.expected();
  window.forget(kNoon + hours{25});
  EXPECT_TRUE(window.changed_enough());
  window.forget(kNoon + hours{50});
  EXPECT_FALSE(window.changed_enough()) << "nothing is known any more";
}

TEST(AskMix, IsUnlikeAnotherByThePartThatIsOther) {
  AskMix one;
  one.add(pod(1, 500), 3);
  one.add(pod(0, 0), 1);
  AskMix other;
  EXPECT_EQ(one.unlike(one), 0);
  EXPECT_EQ(other.unlike(other), 0);
  EXPECT_EQ(one.unlike(other), 1);
  other.add(pod(1, 500), 3);
  other.add(pod(0, 0), 3);
  EXPECT_DOUBLE_EQ(one.unlike(other), 0.25);
  EXPECT_DOUBLE_EQ(other.unlike(one), 0.25);
  other.add(pod(2, 1000), 1);
  EXPECT_DOUBLE_EQ(one.unlike(other), 2000.0 / 3500);
}

}  // namespace
}  // namespace kiboko
