// How well compute shares are kept, on the simulated driver: judged by the device's own busy log.
//
//   bench_compute --grants 30:force,60:force --kernel-us 1300 --mode async --procs 1 --seconds 10
//   bench_compute --grants 30:force --resize 60    changes the first grant's ask half-way
//   bench_compute --sweep         one grant, {10,30,50,80} % x kernels of {20 µs, 132 µs, 1.32 ms, 13.2 ms} x
//                                 every mode x {1, 4} processes, against the budgets (compute_sweep.h)
//   bench_compute --pairs         several grants side by side (compute_pairs.h)
//   bench_compute --conserving    what the default policy leaves of an idle device (compute_pairs.h)
//   bench_compute --priority      a client of high priority beside a saturating one of low (compute_priority.h)
//
// MODE says how a program works: async (never waits), sync50 (waits after every fifty launches), sync (after each), and
// graph, graph-sync50, graph-sync, which launch graphs of ten kernels.
//
// --grants: a grant is PERCENT[:POLICY[:KERNEL_US[:MODE[:DELAY_S]]]]; what is left out comes from the general options.
// POLICY is force, default, elastic, disable, or native: without libkiboko.so. DELAY_S starts that grant's programs
// later than the others. Prints, per grant, the mean over --seconds, the standard deviation of 100 ms windows, the
// worst error over any second, in points of the device, and how long the longest launch call took; with a DELAY_S also
// how long the earlier ones took to give way: until their share over 100 ms was within 10 points of their later mean;
// after a --resize, how long until it was within 5 points of the new ask for good. With a --resize only the second half
// is judged. Several grants: their total, and Jain's index of what each got of its ask.
//
// --sweep: first the noise floor: a program without the library, waiting for each kernel, twice. Then groups of rows,
// one for each program, led by what it reaches without a limit. The target is the smaller of the ask and of that. Error
// against it, standard deviation of 100 ms windows, worst error over any second, longest launch call, the milliseconds
// from a change of the limit until the windows stayed within 5 points of the new target (settled_ms in compute_run.h),
// and which budgets the row is over: error 2 points; worst second 5 points, or one unit if that is more; deviation
// 5 points where a unit is no longer than 5 ms; change 50 ms and one unit. A unit is one kernel or one graph launch.
// At the end: how many rows are over, and which. Takes an hour; --percents 10,30 --kernels 132,1320 --modes async,sync
// --procs 1 pick a part of it, and --kernels and --modes of --pairs and --conserving too.
//
// --seconds is the judged time of each row, --settle what is left out before it; a row may take 30 s in all, which is
// what the device's log holds. --json prints an object for each row. No agent runs: the grant pages and the pacer are
// made here.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "compute_pairs.h"
#include "compute_priority.h"
#include "compute_run.h"
#include "compute_sweep.h"
#include "compute_tenants.h"

namespace kiboko::bench {
namespace {

// ---- --grants ------------------------------------------------------------------------------------------------------

struct GrantsOptions {
  std::vector<Plan> grants;
  int procs = 1;
  double settle_s = 1, seconds = 10;
  int resize = 0;  // percent, 0 = none
  bool json = false;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

Plan parse_grant(const std::string& text, const Plan& defaults) {
  const std::vector<std::string> fields = split(text, ':');
  Plan plan = defaults;
  plan.percent = std::stoi(fields.at(0));
  if (fields.size() > 1) plan.policy = fields[1];
  if (fields.size() > 2) plan.kernel_us = std::stod(fields[2]);
  if (fields.size() > 3) plan.mode = fields[3];
  if (fields.size() > 4) plan.delay_s = std::stod(fields[4]);
  return plan;
}

struct Row {
  Plan plan;
  Verdict verdict;
  double longest_launch_ms;
  std::optional<double> gave_way_ms, settled_ms;
};

void print(const Row& row, const GrantsOptions& options) {
  const auto& [plan, verdict, longest_launch_ms, gave_way, settled] = row;
  if (!options.json) {
    fmt::print(
        "{:>4} % {:<8} {:>8} us {:<7} x{:<2} mean {:6.2f}  error {:+6.2f}  sd(100 ms) {:5.2f}  worst 1 s {:5.2f}  "
        "longest launch {:.2f} ms{}{}\n",
        plan.percent, plan.policy, plan.kernel_us, plan.mode, options.procs, verdict.mean, verdict.mean - plan.percent,
        verdict.sd_100ms, verdict.worst_1s, longest_launch_ms,
        gave_way ? fmt::format("  gave way in {:.0f} ms", *gave_way) : "",
        !settled               ? ""
        : std::isinf(*settled) ? "  never settled"
                               : fmt::format("  settled in {:.0f} ms", *settled));
    return;
  }
  nlohmann::ordered_json object = {{"row", "grant"},
                                   {"percent", plan.percent},
                                   {"policy", plan.policy},
                                   {"kernel_us", plan.kernel_us},
                                   {"mode", plan.mode},
                                   {"processes", options.procs},
                                   {"mean", verdict.mean},
                                   {"sd_100ms", verdict.sd_100ms},
                                   {"worst_1s", verdict.worst_1s},
                                   {"longest_launch_ms", longest_launch_ms}};
  if (gave_way) object["gave_way_ms"] = *gave_way;
  if (settled) object["settled_ms"] = *settled;
  fmt::print("{}\n", object.dump());
}

void run_grants(const GrantsOptions& options) {
  Schedule schedule{.procs = options.procs, .settle_s = options.settle_s, .seconds = options.seconds};
  if (options.resize != 0) {
    schedule.seconds = options.seconds / 2;
    schedule.change_to = options.resize;
    schedule.watch_s = options.settle_s + options.seconds / 2;
  }
  const std::vector<Record> records = run(options.grants, schedule);
  double total = 0;
  for (const Record& record : records) {
    Row row{record.plan, {}, record.longest_launch_ms, {}, {}};
    if (record.changed != 0) row.plan.percent = options.resize;
    const bool second_half = options.resize != 0;
    row.verdict = second_half ? judge(record, row.plan.percent,
                                      record.to + static_cast<std::uint64_t>(options.settle_s * 1e9), record.end)
                              : judge(record, row.plan.percent);
    if (record.changed != 0) row.settled_ms = settled_ms(record, row.plan.percent);
    for (const Record& late : records)
      if (late.plan.delay_s > record.plan.delay_s) row.gave_way_ms = gave_way_ms(record, late, row.verdict.mean);
    total += row.verdict.mean;
    print(row, options);
  }
  if (records.size() > 1 && !options.json)
    fmt::print("       together {:.2f} %, Jain's index {:.4f}\n", total, jain_index(records));
}

// ---- command line --------------------------------------------------------------------------------------------------

template <class T>
void choose(std::vector<T>& target, const std::vector<T>& given) {
  if (!given.empty()) target = given;
}

int bench(int argc, char** argv) {
  CLI::App app("How well compute shares are kept, on the simulated driver; the head of bench/compute.cc says more.");
  bool sweep = false, pairs = false, conserving = false, priority = false, json = false;
  std::vector<std::string> grants = {"30"}, modes;
  std::vector<double> kernels_us;
  std::vector<int> percents, procs;
  Plan defaults;
  double seconds = 10, settle_s = 1;
  int resize = 0;
  PriorityOptions client;
  app.add_flag("--sweep", sweep, "one grant: every ask, kernel, mode and number of processes");
  app.add_flag("--pairs", pairs, "several grants side by side");
  app.add_flag("--conserving", conserving, "what the default policy leaves of an idle device");
  app.add_flag("--priority", priority, "a client of high priority beside a saturating one of low");
  app.add_option("--grants", grants, "PERCENT[:POLICY[:KERNEL_US[:MODE[:DELAY_S]]]], ...")->delimiter(',');
  app.add_option("--kernel-us", defaults.kernel_us, "of --grants");
  app.add_option("--mode", defaults.mode, "of --grants");
  app.add_option("--resize", resize, "of --grants: the first one's percent, half-way");
  app.add_option("--procs", procs, "processes of each grant; a list for --sweep")->delimiter(',');
  app.add_option("--modes", modes, "of --sweep, --pairs, --conserving")->delimiter(',');
  app.add_option("--kernels", kernels_us, "microseconds; of --sweep, --pairs, --conserving")->delimiter(',');
  app.add_option("--percents", percents, "of --sweep")->delimiter(',');
  app.add_option("--seconds", seconds, "judged, of each row");
  app.add_option("--settle", settle_s, "seconds before that");
  app.add_flag("--json", json, "an object for each row");
  app.add_flag("--equal", client.equal, "of --priority: both of one");
  app.add_option("--request-ms", client.request_ms, "of --priority")->delimiter(',');
  app.add_option("--neighbour-us", client.neighbour_us, "of --priority: its kernels")->delimiter(',');
  app.add_option("--requests", client.requests, "of --priority: at least so many");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& mode : modes) mode_called(mode);
  client.json = json;
  if (priority) return run_priority(client), 0;
  if (sweep) {
    SweepOptions options{.settle_s = settle_s, .seconds = seconds, .json = json};
    choose(options.percents, percents);
    choose(options.kernels_us, kernels_us);
    choose(options.modes, modes);
    choose(options.procs, procs);
    return run_sweep(options), 0;
  }
  if (pairs || conserving) {
    PairsOptions options{.modes = modes, .settle_s = settle_s, .seconds = seconds, .json = json};
    choose(options.kernels_us, kernels_us);
    return pairs ? run_pairs(options) : run_conserving(options), 0;
  }
  GrantsOptions options{.grants = {},
                        .procs = procs.empty() ? 1 : procs.front(),
                        .settle_s = settle_s,
                        .seconds = seconds,
                        .resize = resize,
                        .json = json};
  for (const std::string& grant : grants) options.grants.push_back(parse_grant(grant, defaults));
  for (const Plan& plan : options.grants) mode_called(plan.mode);
  return run_grants(options), 0;
}

}  // namespace
}  // namespace kiboko::bench

int main(int argc, char** argv) {
  using namespace kiboko::bench;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 4 && arguments[0] == "--load")
      return load(arguments[1], std::stoull(arguments[2]), arguments[3]);
    if (arguments.size() == 5 && arguments[0] == "--client")
      return client(std::stoull(arguments[1]), static_cast<unsigned>(std::stoul(arguments[2])),
                    std::stoull(arguments[3]), arguments[4]);
    return bench(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_compute: {}\n", error.what());
    return 1;
  }
}
