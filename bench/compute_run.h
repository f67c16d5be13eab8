// Runs grants side by side and judges what each had of the device, by the device's own log and never by our counters.
//
// The log reaches back 32 s, which bounds how long one run may be. All shares are percent of the device, all errors
// points of it; times are of CLOCK_MONOTONIC in nanoseconds unless a name says otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compute_tenants.h"

namespace kiboko::bench {

struct Schedule {
  int procs = 1;  // of each grant
  double settle_s = 1;
  double seconds = 10;
  int change_to = 0;   // percent of the first grant, after `seconds`; 0 = it stays as it is
  double watch_s = 0;  // after the change
};

// What a grant had in each millisecond of a run.
class Usage {
 public:
  Usage() = default;
  Usage(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to);
  double share(std::uint64_t from, std::uint64_t to) const;  // of the whole milliseconds in between

 private:
  std::uint64_t first_ = 0;                // millisecond
  std::vector<std::uint64_t> busy_until_;  // nanoseconds, summed up
};

struct Record {
  Plan plan;
  Usage usage;
  std::uint64_t begin = 0, from = 0, to = 0;  // it is judged by what it had in [from, to)
  std::uint64_t changed = 0, end = 0;         // 0 = its limit was not changed
  double longest_launch_ms = 0;               // in [from, to)
};

std::vector<Record> run(const std::vector<Plan>& plans, const Schedule& schedule);

struct Verdict {
  double mean, sd_100ms, worst_1s;  // the last against the target
};
Verdict judge(const Record& record, double target, std::uint64_t from, std::uint64_t to);
inline Verdict judge(const Record& record, double target) { return judge(record, target, record.from, record.to); }

// Windows by which a change is seen: 100 ms, or twenty units where that is longer, so that one unit more or less in a
// window is within the 5 points that are allowed.
std::uint64_t change_window_ns(const Plan& plan);
double change_watch_s(const Plan& plan);

// Milliseconds from the change to the first window from which on all windows that begin within half a second (and
// within one window) are within 5 points of the target; infinity: there is none. A window begins at the moment that
// counts and looks ahead, so the old rate may have gone on for as long as 5 points of the window hide: of a change by c
// points 5/c of the window.
double settled_ms(const Record& record, double target);

// How long `early` had more than 10 points over its later mean, counted from the first work of `late`.
double gave_way_ms(const Record& early, const Record& late, double mean);

// 1 when each got the same part of its ask.
double jain_index(const std::vector<Record>& records);

}  // namespace kiboko::bench
