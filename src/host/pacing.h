// Who may use how much of a device that several grants want: the pure part, no clock and no I/O of its own.
//
// Three questions, asked every few milliseconds for each device with more than one grant:
//   precedence() who must hold back now because a grant of higher priority is at work
//   rates()      what each grant may take now, by max-min fairness over those without a limit of their own
//   attribute()  who really held the device when two grants were busy at the same moment. Each grant measures its work
//                from start to end by the driver's events, and a time-slicing device stretches both; replaying the
//                turns over the grants' own timelines tells how much of it was the other's, to be given back
// docs/decisions/0003-sharing-between-tenants.md has the measurements behind this choice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kiboko::host {

inline constexpr std::uint64_t kSliceNs = 2'000'000;  // turn of a process on a time-sliced device, about

// A pause shorter than this may be part of the work: a program that waits for each kernel does not stop in between.
inline constexpr std::uint64_t kPauseNs = 300'000;

// Learns from looks at a grant whether its work goes on after a short pause, or whether it pauses for long.
class Pauses {
 public:
  // `busy_until_ns` as in Standing. Looks that are far apart teach less: a pause may come and go between them.
  void look(std::uint64_t busy_until_ns, std::uint64_t now_ns);
  // For how long after its work has ended a grant is still taken to be at work: kPauseNs, or 0 where waiting for more
  // would only keep others from the device.
  std::uint64_t worth_waiting_ns() const;

 private:
  void judge(bool was_short);

  std::uint64_t open_since_ = 0;    // a pause that may yet prove short or long; 0 = none
  std::uint64_t judged_since_ = 0;  // the pause judged last
  std::uint64_t looked_ = 0;
  double short_part_ = 1;  // of the pauses, the later ones weighing more
};

struct Standing {
  std::uint32_t priority = 0;         // 0 is highest
  std::uint64_t busy_until_ns = 0;    // its work is in flight until then; 0 = none, or only its own limit holds it back
  bool has_processes = false;         // that may launch at any moment
  bool active = false;                // launched or waiting lately, or work is in flight
  std::uint64_t pause_ns = kPauseNs;  // so long after busy_until_ns it is still taken to be at work
};

struct Precedence {
  bool blocked = false;            // somebody of higher priority is at work
  bool watched = false;            // somebody of lower priority is there, and waits for its work to end
  std::uint32_t in_flight_us = 0;  // the most it may have in flight, for somebody higher may come; 0 = the usual
  bool operator==(const Precedence&) const = default;
};

// Of all who have somebody above them, together: with what they launch until they are seen to be in the way, 2 ms.
inline constexpr std::uint32_t kShyInFlightUs = 1600;
std::vector<Precedence> precedence(std::span<const Standing> grants, std::uint64_t now_ns);

struct GrantDemand {
  std::uint32_t priority = 0;
  std::uint32_t core_percent = 0;  // asked; 0 = no limit of its own
  bool elastic = false;            // what it asked for is a floor
  bool active = false;             // launched or waiting lately, or work is in flight
  bool hungry = false;             // would use more than it gets
  double used_percent = 0;         // of the device, lately
};

// Rate of each grant in 1/10000 of the device; 0 = its own percentage counts. Grants without a limit, and elastic ones
// that would use more than theirs, share what the limited ones leave; those that use less leave the rest to the others.
// Only grants of equal priority divide the device by rates; between others, precedence() decides.
// Never below kLeastPermyriad, nor below an elastic grant's own percentage.
inline constexpr std::uint32_t kLeastPermyriad = 200;
std::vector<std::uint32_t> rates(std::span<const GrantDemand> grants);

// One grant's timeline over a stretch of time: bit i of word w covers kCoverBitNs (region/layout.h).
struct Timeline {
  std::vector<std::uint64_t> words;  // 48 bits each, all timelines of one call are equally long
  double processes = 1;              // of the grant that were busy at once, on average; each has its own turns
};

inline constexpr std::size_t kMostInTurn = 64;  // grants on one device whose turns are followed

// State that lasts from one stretch to the next: whose turn it was and how much of it is left.
struct TurnState {
  int holder = -1;
  std::uint64_t left_ns = 0;
  std::uint64_t was_busy = 0;                           // bit per grant: busy in the last bit of the stretch before
  std::uint64_t bits = 0;                               // of the timeline, so far
  std::array<std::uint64_t, kMostInTurn> held_until{};  // the bit in which a grant last held the device
};

// The same turns when other grants are there: was[i] is where the grant at position i was before, -1 for a new one.
TurnState reordered(const TurnState& state, std::span<const int> was);

// How many nanoseconds of each grant's covered time others held the device.
std::vector<std::uint64_t> attribute(std::span<const Timeline> timelines, TurnState& state);

}  // namespace kiboko::host
