#include "model/node_marks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/pod_marks.h"

namespace kiboko {
namespace {

using namespace std::chrono_literals;

const WallTime kThen = parse_rfc3339("2026-01-02T03:04:05Z").value();

TEST(NodeMarks, TimesAreReadWithTheirOffset) {
  EXPECT_EQ(parse_rfc3339("2026-01-02T11:04:05+08:00").value(), kThen);
  EXPECT_EQ(parse_rfc3339("2026-01-02T03:04:05.250Z").value(), kThen + 250ms);
  for (const char* text :
       {"", "2026-01-02", "2026-13-02T03:04:05Z", "2026-02-30T03:04:05Z", "2026-01-02T25:04:05Z", "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+8", "4052-01-02T03:04:05Z", "1600-01-02T03:04:05Z"})
    EXPECT_FALSE(parse_rfc3339(text)) << text;
}

TEST(NodeMarks, TheHandshakesOfAllReleasesAreRead) {
  const auto asked = parse_handshake("Requesting_2026-01-02 11:04:05", 480min);
  EXPECT_EQ(asked.state, HandshakeState::Requesting);
  EXPECT_EQ(asked.since, kThen);
  EXPECT_EQ(parse_handshake("Requesting_2026.01.02 03:04:05", 0min).since, kThen);
  EXPECT_EQ(parse_handshake("Requesting_soon", 0min).since, std::nullopt);
  EXPECT_EQ(parse_handshake("Requesting_4052-01-02 03:04:05", 0min).since, std::nullopt);
  EXPECT_EQ(parse_handshake("Requesting", 0min).state, HandshakeState::Requesting);
  EXPECT_EQ(parse_handshake("Reported 2026-01-02 03:04:05.1 +0000 UTC", 0min).state, HandshakeState::Reported);
  EXPECT_EQ(parse_handshake("Reported_2026-01-02 03:04:05", 0min).state, HandshakeState::Reported);
  EXPECT_EQ(parse_handshake("Deleted_2026-01-02 03:04:05", 0min).state, HandshakeState::Deleted);
  EXPECT_EQ(parse_handshake("", 0min).state, HandshakeState::Other);
  EXPECT_EQ(requesting_text(kThen, 480min), "Requesting_2026-01-02 11:04:05");
}

TEST(NodeMarks, TheLockKnowsItsHolder) {
  constexpr const char* kText = "2026-01-02T03:04:05Z,ns,pod";
  const NodeLock lock = parse_node_lock(kText).value();
  EXPECT_EQ(to_text(lock), kText);
  EXPECT_TRUE(may_take(lock, "ns", "pod", kThen + 1min, 5min));
  EXPECT_FALSE(may_take(lock, "ns", "other", kThen + 1min, 5min));
  EXPECT_FALSE(may_take(lock, "other", "pod", kThen + 1min, 5min));
  EXPECT_TRUE(may_take(lock, "ns", "other", kThen + 6min, 5min));
}

TEST(NodeMarks, AnOldLockIsTheTimeAlone) {
  const NodeLock lock = parse_node_lock("2026-01-02T03:04:05Z").value();
  EXPECT_EQ(to_text(lock), "2026-01-02T03:04:05Z");
  EXPECT_FALSE(may_take(lock, "", "", kThen + 1min, 5min));
  EXPECT_FALSE(parse_node_lock("2026-01-02T03:04:05Z,ns"));
  EXPECT_FALSE(parse_node_lock("yesterday,ns,pod"));
}

TEST(PodMarks, PhasesAndTimesAreReadAsTheyAreWritten) {
  for (const BindPhase phase : {BindPhase::Allocating, BindPhase::Success, BindPhase::Failed})
    EXPECT_EQ(parse_bind_phase(name(phase)), phase);
  EXPECT_EQ(parse_bind_phase("Success"), std::nullopt);
  EXPECT_EQ(parse_unix_seconds(unix_seconds(kThen)).value(), kThen);
  for (const char* text : {"", "-1", "1.5", "soon", "99999999999999999999", "18446744073709551615"})
    EXPECT_FALSE(parse_unix_seconds(text)) << text;
}

}  // namespace
}  // namespace kiboko
