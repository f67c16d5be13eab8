#include "node/watcher.h"

#include <gtest/gtest.h>

#include <thread>

#include "node/fake_library.h"

namespace kiboko {
namespace {

using namespace std::chrono_literals;

// Waits for something another thread brings about; the bound is only there so that a failure ends.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

TEST(Watcher, TheFirstSurveyIsWaitedFor) {
  const SystemClock clock;
  const Watcher watcher(std::make_shared<FakeLibrary>(survey_of(2)), clock, 1ms);
  const auto view = watcher.first(60s);
  ASSERT_NE(view.survey, nullptr);
  EXPECT_EQ(view.survey->devices.size(), 2U);
  EXPECT_TRUE(view.error.empty());
}

TEST(Watcher, AnErrorKeepsTheLastSurvey) {
  const SystemClock clock;
  const auto library = std::make_shared<FakeLibrary>(survey_of(2));
  const Watcher watcher(library, clock, 1ms);
  ASSERT_NE(watcher.first(60s).survey, nullptr);
  library->answer(fail(Errc::Unavailable, "the bus is gone"));
  ASSERT_TRUE(eventually([&] { return watcher.latest().error == "the bus is gone"; }));
  EXPECT_NE(watcher.latest().survey, nullptr);
}

TEST(Watcher, ALibraryThatHangsIsReportedAndStopsNobody) {
  FakeClock clock;
  const auto library = std::make_shared<FakeLibrary>(survey_of(1));
  const Watcher watcher(library, clock, 1ms);
  ASSERT_NE(watcher.first(60s).survey, nullptr);
  library->hang(true);
  ASSERT_TRUE(eventually([&] {
    clock.advance(1s);
    return watcher.latest().waiting > 5s;
  }));
  library->hang(false);
  EXPECT_TRUE(eventually([&] { return watcher.latest().waiting <= 5s; }));
}

TEST(Watcher, EachSurveyIsAnnounced) {
  const SystemClock clock;
  Watcher watcher(std::make_shared<FakeLibrary>(survey_of(1)), clock, 1ms);
  std::atomic<int> told{0};
  watcher.on_survey([&] { ++told; });
  EXPECT_TRUE(eventually([&] { return told >= 3; }));
  watcher.on_survey(nullptr);
}

}  // namespace
}  // namespace kiboko
