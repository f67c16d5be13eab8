// How well compute shares are kept, on the simulated driver: judged by the device's own busy log.
//
//   bench_compute --grants 30:force,60:force --kernel-us 1300 --mode async --procs 1 --seconds 10
//   bench_compute --grants 30:force --resize 60         changes the first grant's ask half-way
//   bench_compute --priority            a client of high priority beside a saturating one of low (compute_priority.cc)
//   bench_compute --sweep        {10,30,50,80} x {20 µs, 130 µs, 1.3 ms, 13 ms} x {async, sync, graph} x {1, 4
//   processes}
//
// A grant is PERCENT[:POLICY[:KERNEL_US[:MODE[:DELAY_S]]]]; what is left out comes from the general options. DELAY_S
// starts that grant's programs later than the others. Prints, per grant, the mean over the whole time, the standard
// deviation of 100 ms windows and the worst error over any second, in points of the device; with a DELAY_S also how
// long the earlier ones took to give way: until their share over 100 ms was within 10 points of their later mean; after
// a --resize, how long until it was within 5 points of the new ask. Several grants: their total, and Jain's index of
// what each got of its ask. No agent runs: the grant pages and the pacer are made here.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "compute_priority.h"
#include "compute_tenants.h"

namespace kiboko::bench {
namespace {

struct Options {
  std::vector<Plan> grants;
  int procs = 1;
  double seconds = 10, settle = 1;
  int resize = 0;  // percent, 0 = none
  bool json = false;
};

// ---- judging -------------------------------------------------------------------------------------------------------

struct Verdict {
  double mean, sd_100ms, worst_1s;
  double gave_way_ms;  // negative: nobody came later
  double settled_ms;   // negative: it was not resized
};

Verdict judge(sim::Shared& shared, const Grant& grant, double target, std::uint64_t from, std::uint64_t to) {
  Verdict verdict{share(shared, grant, from, to), 0, 0, -1, -1};
  double sum = 0;
  int windows = 0;
  for (std::uint64_t at = from; at + 100'000'000 <= to; at += 100'000'000, ++windows)
    sum += std::pow(share(shared, grant, at, at + 100'000'000) - verdict.mean, 2);
  verdict.sd_100ms = windows > 1 ? std::sqrt(sum / (windows - 1)) : 0;
  for (std::uint64_t at = from; at + 1'000'000'000 <= to; at += 50'000'000)
    verdict.worst_1s = std::max(verdict.worst_1s, std::abs(share(shared, grant, at, at + 1'000'000'000) - target));
  return verdict;
}

constexpr std::uint64_t kMillisecond = 1'000'000;

// From the first work of `late` on.
double gave_way_ms(sim::Shared& shared, const Grant& early, const Grant& late, std::uint64_t begin, double mean) {
  std::uint64_t arrival = begin;
  while (share(shared, late, arrival, arrival + kMillisecond) == 0 && arrival < sim::now_ns()) arrival += kMillisecond;
  std::uint64_t at = arrival;
  while (share(shared, early, at, at + 100 * kMillisecond) > mean + 10 && at < sim::now_ns()) at += kMillisecond;
  return static_cast<double>(at - arrival) / 1e6;
}

double settled_ms(sim::Shared& shared, const Grant& grant, std::uint64_t changed) {
  std::uint64_t at = changed;
  while (std::abs(share(shared, grant, at, at + 100 * kMillisecond) - grant.plan().percent) > 5 && at < sim::now_ns())
    at += kMillisecond;
  return static_cast<double>(at - changed) / 1e6;
}

// Runs the grants side by side and returns a verdict each.
std::vector<Verdict> run(const Options& options) {
  const Place place;
  std::vector<std::unique_ptr<Grant>> grants;
  kiboko::host::Pacer pacer;
  std::vector<kiboko::host::PacedGrant> paced;
  for (std::size_t i = 0; i < options.grants.size(); ++i) {
    grants.push_back(std::make_unique<Grant>(place.root(), static_cast<int>(i), options.grants[i], place.device()));
    paced.push_back(grants.back()->paced(place.device()));
  }
  pacer.grants_changed(paced);
  const std::uint64_t begin = sim::now_ns();
  double last_delay = 0;
  std::vector<Grant*> waiting;
  for (const auto& grant : grants) {
    waiting.push_back(grant.get());
    last_delay = std::max(last_delay, grant->plan().delay_s);
  }
  const auto total = static_cast<std::uint64_t>((last_delay + options.settle + options.seconds) * 1e9);
  std::uint64_t resized = 0;
  while (sim::now_ns() < begin + total) {
    if (options.resize != 0 && resized == 0 && sim::now_ns() > begin + total / 2) {
      resized = sim::now_ns();
      grants[0]->resize(options.resize);
    }
    for (Grant*& grant : waiting) {
      if (grant == nullptr || sim::now_ns() < begin + static_cast<std::uint64_t>(grant->plan().delay_s * 1e9)) continue;
      for (int i = 0; i < options.procs; ++i) grant->pids.push_back(start_load(*grant));
      grant = nullptr;
    }
    for (const auto& grant : grants) grant->beat();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::uint64_t to = sim::now_ns();
  const std::uint64_t from = std::max(to - static_cast<std::uint64_t>(options.seconds * 1e9),
                                      resized == 0 ? 0 : resized + static_cast<std::uint64_t>(options.settle * 1e9));
  std::vector<Verdict> verdicts;
  for (const auto& grant : grants) {
    Verdict verdict = judge(place.shared(), *grant, grant->plan().percent, from, to);
    for (const auto& late : grants)
      if (late->plan().delay_s > grant->plan().delay_s)
        verdict.gave_way_ms = gave_way_ms(place.shared(), *grant, *late,
                                          begin + static_cast<std::uint64_t>(late->plan().delay_s * 1e9), verdict.mean);
    if (resized != 0 && grant == grants.front()) verdict.settled_ms = settled_ms(place.shared(), *grant, resized);
    verdicts.push_back(verdict);
  }
  std::vector<const Grant*> all;
  for (const auto& grant : grants) all.push_back(grant.get());
  stop(all);
  return verdicts;
}

// ---- command line --------------------------------------------------------------------------------------------------

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<Plan> parse_grants(const std::string& text, const Plan& defaults) {
  std::vector<Plan> plans;
  for (const std::string& one : split(text, ',')) {
    const std::vector<std::string> fields = split(one, ':');
    Plan plan = defaults;
    plan.percent = std::stoi(fields.at(0));
    if (fields.size() > 1) plan.policy = fields[1];
    if (fields.size() > 2) plan.kernel_us = std::stod(fields[2]);
    if (fields.size() > 3) plan.mode = fields[3];
    if (fields.size() > 4) plan.delay_s = std::stod(fields[4]);
    plans.push_back(plan);
  }
  return plans;
}

// 1 when each got the same part of its ask.
double jain_index(const Options& options, const std::vector<Verdict>& verdicts) {
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const double part = verdicts[i].mean / options.grants[i].percent;
    sum += part;
    squares += part * part;
  }
  return squares == 0 ? 0 : sum * sum / (static_cast<double>(verdicts.size()) * squares);
}

void print_json(const Options& options, const Plan& plan, const Verdict& v) {
  const nlohmann::ordered_json row = {{"percent", plan.percent},      {"policy", plan.policy},
                                      {"kernel_us", plan.kernel_us},  {"mode", plan.mode},
                                      {"processes", options.procs},   {"mean", v.mean},
                                      {"sd_100ms", v.sd_100ms},       {"worst_1s", v.worst_1s},
                                      {"gave_way_ms", v.gave_way_ms}, {"settled_ms", v.settled_ms}};
  fmt::print("{}\n", row.dump());
}

void print(const Options& options, const std::vector<Verdict>& verdicts) {
  double total = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    Plan plan = options.grants[i];
    if (i == 0 && options.resize != 0) plan.percent = options.resize;
    const Verdict& v = verdicts[i];
    total += v.mean;
    if (options.json)
      print_json(options, plan, v);
    else
      fmt::print(
          "{:>4} % {:<8} {:>8} us {:<7} x{:<2} mean {:6.2f}  error {:+6.2f}  sd(100 ms) {:5.2f}  worst 1 s "
          "{:5.2f}{}{}\n",
          plan.percent, plan.policy, plan.kernel_us, plan.mode, options.procs, v.mean, v.mean - plan.percent,
          v.sd_100ms, v.worst_1s, v.gave_way_ms < 0 ? "" : fmt::format("  gave way in {:.0f} ms", v.gave_way_ms),
          v.settled_ms < 0 ? "" : fmt::format("  settled in {:.0f} ms", v.settled_ms));
  }
  if (verdicts.size() > 1 && !options.json)
    fmt::print("       together {:.2f} %, Jain's index {:.4f}\n", total, jain_index(options, verdicts));
  std::fflush(stdout);
}

void sweep(Options options) {
  for (const int procs : {1, 4})
    for (const char* mode : {"async", "sync", "graph"})
      for (const double kernel_us : {20.0, 130.0, 1300.0, 13000.0}) {
        options.procs = procs;
        // What the same program reaches without a limit, in the same run: the target is the smaller of the two.
        options.grants = {Plan{100, "disable", kernel_us, mode}};
        Options reach = options;
        reach.seconds = 2;
        print(reach, run(reach));
        for (const int percent : {10, 30, 50, 80}) {
          options.grants = {Plan{percent, "force", kernel_us, mode}};
          print(options, run(options));
        }
      }
}

}  // namespace
}  // namespace kiboko::bench

using namespace kiboko::bench;

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 3 && arguments[0] == "--load") return load(arguments[1], std::stoull(arguments[2]));
  if (arguments.size() == 5 && arguments[0] == "--client")
    return client(std::stoull(arguments[1]), static_cast<unsigned>(std::stoul(arguments[2])), std::stoull(arguments[3]),
                  arguments[4]);
  Options options;
  Plan defaults;
  std::string grants = "30";
  bool all = false, priority = false;
  PriorityOptions client;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto value = [&] { return arguments.at(++i); };
    if (arguments[i] == "--grants")
      grants = value();
    else if (arguments[i] == "--kernel-us")
      defaults.kernel_us = std::stod(value());
    else if (arguments[i] == "--mode")
      defaults.mode = value();
    else if (arguments[i] == "--procs")
      options.procs = std::stoi(value());
    else if (arguments[i] == "--seconds")
      options.seconds = std::stod(value());
    else if (arguments[i] == "--settle")
      options.settle = std::stod(value());
    else if (arguments[i] == "--resize")
      options.resize = std::stoi(value());
    else if (arguments[i] == "--json")
      options.json = true;
    else if (arguments[i] == "--sweep")
      all = true;
    else if (arguments[i] == "--priority")
      priority = true;
    else if (arguments[i] == "--equal")
      client.equal = true;
    else if (arguments[i] == "--request-ms")
      client.request_ms = {std::stod(value())};
    else if (arguments[i] == "--neighbour-us")
      client.neighbour_us = {std::stod(value())};
    else if (arguments[i] == "--requests")
      client.requests = static_cast<unsigned>(std::stoul(value()));
    else {
      fmt::print(stderr, "bench_compute: '{}' is not an option; the head of bench/compute.cc lists them\n",
                 arguments[i]);
      return 2;
    }
  }
  try {
    client.json = options.json;
    if (priority) return run_priority(client), 0;
    options.grants = parse_grants(grants, defaults);
    all ? sweep(options) : print(options, run(options));
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_compute: {}\n", error.what());
    return 1;
  }
}
