// bench_interposer: what libkiboko.so adds to driver calls, in nanoseconds, beside the budgets of the design.
//
//   bench_interposer [--json] [--rounds N] [--driver standin|sim] [--only TEXT] [--lib DIR]
//
// Every figure is a difference between arms that ran turn by turn: the driver alone, the driver alone once more (their
// difference is the noise, printed first), with libkiboko.so, and with the library that PEER_INTERPOSER names. A run's
// figure is a median of batches; an arm's is the median of the quieter half of its runs, for a neighbour on the same
// core can slow a whole run twofold and never hastens one. The stand-in driver's calls cost next to nothing, so it
// shows our cost best; the simulated one is closer to what a program does. Nothing here is a test: figures of a busy
// machine are busy figures.
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "interposer_arms.h"
#include "interposer_worker.h"

namespace kiboko::bench {
namespace {

constexpr unsigned kStarts[] = {1, 16, 64, 256};
constexpr double kStartBudgetNs = 10e6;  // of 256
constexpr unsigned kCrowds[] = {8, 32, 64};
constexpr double kCrowdBudgetNs = 10e3;  // of 64

struct Options {
  bool json = false;
  int rounds = 9;
  std::string driver, only, lib;
};

double at(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

double quiet(const std::vector<double>& runs) { return at(runs, 0.25); }

using Results = std::map<std::string, std::vector<double>>;  // by arm

std::string nanoseconds(double ns) {
  char text[32];
  if (std::abs(ns) >= 1e6)
    std::snprintf(text, sizeof text, "%.2f ms", ns / 1e6);
  else if (std::abs(ns) >= 1e4)
    std::snprintf(text, sizeof text, "%.1f µs", ns / 1e3);
  else
    std::snprintf(text, sizeof text, "%.1f ns", ns);
  return text;
}

// Columns are counted in characters: "µ" is two bytes.
std::string column(const std::string& text, int width) {
  int seen = 0;
  for (const char c : text) seen += (c & 0xc0) != 0x80 ? 1 : 0;
  return std::string(static_cast<std::size_t>(std::max(0, width - seen)), ' ') + text;
}

std::string added(const Results& results, const char* arm, double native) {
  const auto found = results.find(arm);
  if (found == results.end() || found->second.empty()) return "SKIP";
  const double difference = quiet(found->second) - native;
  return (difference < 0 ? "" : "+") + nanoseconds(difference);
}

void print_row(const char* what, const Results& results, double budget) {
  if (!results.contains("native") || results.at("native").empty()) return;
  const double native = quiet(results.at("native")), again = quiet(results.at("again"));
  std::printf("  %-38s %s %s %s %s %s\n", what, column("±" + nanoseconds(std::abs(native - again)), 12).c_str(),
              column(nanoseconds(native), 12).c_str(), column(added(results, "kiboko", native), 12).c_str(),
              column(added(results, "peer", native), 12).c_str(),
              column(budget > 0 ? "+" + nanoseconds(budget) : "-", 12).c_str());
  std::fflush(stdout);
}

nlohmann::json to_json(const char* driver, const char* what, const Results& results, double budget) {
  nlohmann::json row = {{"driver", driver}, {"what", what}, {"budget_ns", budget}};
  for (const auto& [arm, values] : results)
    if (!values.empty()) row["ns"][arm] = quiet(values);
  return row;
}

// `count` programs at once, released by the end of a pipe.
std::vector<double> together(Place& place, const Arm& arm, const char* work, unsigned count) {
  const Subject subject{"", work, "", Limit::MemoryAndCores, 0, 0};
  int barrier[2];
  if (::pipe2(barrier, O_CLOEXEC) != 0) std::abort();
  std::vector<Worker> workers;
  const auto environment = place.environment(arm, subject.limit);
  for (unsigned i = 0; i < count; ++i) workers.push_back(start(subject, environment, barrier[0]));
  ::usleep(1'500'000);  // until the last one has been linked and waits
  ::close(barrier[0]);
  ::close(barrier[1]);
  std::vector<double> results;
  for (Worker& worker : workers)
    if (const auto value = number(finish(worker))) results.push_back(*value);
  return results;
}

// From the start to the end of a program that does nothing.
double start_of_nothing(const Arm& arm) {
  std::string program = "/bin/true", preload = "LD_PRELOAD=" + arm.library;
  char* arguments[] = {program.data(), nullptr};
  char* variables[] = {arm.library.empty() ? nullptr : preload.data(), nullptr};
  timespec begin{}, end{};
  ::clock_gettime(CLOCK_MONOTONIC, &begin);
  pid_t pid = -1;
  int status = 0;
  if (::posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, variables) != 0) std::abort();
  ::waitpid(pid, &status, 0);
  ::clock_gettime(CLOCK_MONOTONIC, &end);
  return static_cast<double>(end.tv_sec - begin.tv_sec) * 1e9 + static_cast<double>(end.tv_nsec - begin.tv_nsec);
}

class Bench {
 public:
  Bench(const Options& options, std::vector<Arm> arms) : options_(options), arms_(std::move(arms)) {}

  void run(const char* driver, const std::string& folder) {
    if (!fs::exists(folder + "/libcuda.so.1")) {
      if (!options_.json) std::printf("%s driver: SKIP, nothing in %s\n", driver, folder.c_str());
      return;
    }
    Place place(folder);
    place.uuid = measure(place, {"native", ""}, {"", "uuid", "", Limit::None, 0, 0});
    if (!options_.json)
      std::printf("\n%s driver, %d runs; what each library adds to the driver alone\n  %-38s %s %s %s %s %s\n", driver,
                  options_.rounds, "", column("noise", 12).c_str(), column("driver", 12).c_str(),
                  column("kiboko", 12).c_str(), column("peer", 12).c_str(), column("budget", 12).c_str());
    for (const Subject& subject : kSubjects)
      if (wanted(subject.what)) report(driver, subject.what, run_subject(place, subject), subject.budget_ns);
    for (const unsigned count : kStarts)
      if (const auto what = "cuInit, " + std::to_string(count) + " at once"; wanted(what))
        run_together(driver, place, "start", count, what, count == 256 ? kStartBudgetNs : 0);
    for (const unsigned count : kCrowds)
      if (const auto what = "alloc + free, " + std::to_string(count) + " programs"; wanted(what))
        run_together(driver, place, "contend", count, what, count == 64 ? kCrowdBudgetNs : 0);
  }

  // Programs that never use CUDA, which need no driver here either.
  void run_bystanders() {
    constexpr int kPrograms = 200;
    if (!wanted("start of /bin/true")) return;
    Results results;
    for (int i = 0; i < kPrograms; ++i)
      for (const Arm& arm : arms_) results[arm.name].push_back(start_of_nothing(arm));
    if (!options_.json) std::printf("\nno driver\n");
    report("none", "start of /bin/true", results, 200'000);
  }

  const nlohmann::json& json() const { return json_; }

 private:
  bool wanted(const std::string& what) const { return what.find(options_.only) != std::string::npos; }

  Results run_subject(Place& place, const Subject& subject) {
    Results results;
    for (int round = 0; round < options_.rounds; ++round)
      for (const Arm& arm : arms_) {
        const std::string text = measure(place, arm, subject);
        if (const auto value = number(text))
          results[arm.name].push_back(*value);
        else if (round == 0 && !options_.json)
          std::printf("  %-38s %s: %s\n", subject.what, arm.name.c_str(), text.c_str());
      }
    return results;
  }

  // Of starts, the median and the 99th percentile; of crowds, what every program's own 99th percentile is: the median
  // program's and the worst one's.
  void run_together(const char* driver, Place& place, const char* work, unsigned count, const std::string& what,
                    double budget) {
    const bool starts = std::strcmp(work, "start") == 0;
    Results half, tail;
    const int rounds = std::max(1, options_.rounds / 3);
    for (int round = 0; round < rounds; ++round)
      for (const Arm& arm : arms_) {
        const auto times = together(place, arm, work, count);
        if (times.empty()) continue;
        half[arm.name].push_back(at(times, 0.5));
        tail[arm.name].push_back(at(times, starts ? 0.99 : 1));
      }
    report(driver, (what + (starts ? ", p50" : ": p99")).c_str(), half, 0);
    if (count > 1) report(driver, (what + (starts ? ", p99" : ": worst p99")).c_str(), tail, budget);
  }

  void report(const char* driver, const char* what, const Results& results, double budget) {
    if (!options_.json) print_row(what, results, budget);
    json_.push_back(to_json(driver, what, results, budget));
  }

  Options options_;
  std::vector<Arm> arms_;
  nlohmann::json json_ = nlohmann::json::array();
};

Options read_options(int count, char** arguments) {
  Options options;
  options.lib = fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "lib";
  for (int i = 1; i < count; ++i) {
    const std::string flag = arguments[i];
    const std::string value = i + 1 < count ? arguments[i + 1] : "";
    if (flag == "--json") {
      options.json = true;
      continue;
    }
    if (flag == "--rounds")
      options.rounds = std::max(1, std::atoi(value.c_str()));
    else if (flag == "--driver")
      options.driver = value;
    else if (flag == "--only")
      options.only = value;
    else if (flag == "--lib")
      options.lib = value;
    else {
      std::fprintf(stderr, "unknown flag %s\n", flag.c_str());
      std::exit(2);
    }
    ++i;
  }
  return options;
}

int bench(const Options& options) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  std::vector<Arm> arms = {{"native", ""}, {"again", ""}, {"kiboko", options.lib + "/libkiboko.so"}};
  const char* peer = std::getenv("PEER_INTERPOSER");
  if (peer != nullptr && *peer != 0)
    arms.push_back({"peer", peer});
  else if (!options.json)
    std::printf("peer: SKIP, set PEER_INTERPOSER to the path of another preload library\n");
  Bench all(options, std::move(arms));
  for (const auto& [name, folder] : {std::pair{"standin", "/standin"}, std::pair{"sim", "/sim"}})
    if (options.driver.empty() || options.driver == name) all.run(name, options.lib + folder);
  all.run_bystanders();
  if (options.json) std::printf("%s\n", all.json().dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace kiboko::bench

int main(int count, char** arguments) {
  if (count >= 4 && std::strcmp(arguments[1], "--worker") == 0)
    return kiboko::bench::run_worker(arguments[2], arguments[3]);
  return kiboko::bench::bench(kiboko::bench::read_options(count, arguments));
}
