// bench_instructions: the gate that no neighbour's load can blur. How many instructions libkiboko.so adds to a call,
// counted by callgrind on the stand-in driver: what a program executes for 4,000 calls less what it does for 2,000.
// Fails when a call costs more than interposer_arms.cc allows. SKIP and status 77 where valgrind is not installed.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "interposer_arms.h"
#include "interposer_worker.h"

namespace kiboko::bench {
namespace {

constexpr int kSkipped = 77;
constexpr const char* kValgrind = "/usr/bin/valgrind";
constexpr unsigned kFew = 2000, kMany = 4000;

// The last line is "==123== I   refs:      2,042,413".
std::optional<double> collected(Place& place, const Arm& arm, const Subject& subject, unsigned count) {
  auto environment = place.environment(arm, subject.limit);
  environment.push_back("KIBOKO_BENCH_COUNT=" + std::to_string(count));
  Worker worker = start(subject, environment, -1, {kValgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"});
  const std::string said = finish(worker);
  if (said.find("refs:") == std::string::npos) return std::nullopt;
  std::string digits;
  for (const char c : said.substr(said.rfind(':')))
    if (c >= '0' && c <= '9') digits += c;
  return number(digits);
}

std::optional<double> per_call(Place& place, const Arm& arm, const Subject& subject) {
  const auto few = collected(place, arm, subject, kFew), many = collected(place, arm, subject, kMany);
  if (!few || !many) return std::nullopt;
  return (*many - *few) / (kMany - kFew);
}

int count_all(const std::string& lib) {
  if (::access(kValgrind, X_OK) != 0) return std::printf("SKIP: valgrind is not installed\n"), kSkipped;
  Place place(lib + "/standin");
  place.uuid = measure(place, {"native", ""}, {"", "uuid", "", Limit::None, 0, 0});
  std::printf("  %-28s %10s %10s %10s\n", "instructions a call", "driver", "kiboko", "at most");
  bool within = true;
  for (const Subject& subject : kSubjects) {
    if (subject.instructions == 0) continue;
    const auto native = per_call(place, {"native", ""}, subject);
    const auto ours = per_call(place, {"kiboko", lib + "/libkiboko.so"}, subject);
    if (!native || !ours) return std::printf("  %-28s callgrind counted nothing\n", subject.what), 1;
    const double added = *ours - *native;
    const bool well = added <= subject.instructions;
    std::printf("  %-28s %10.1f %+10.1f %+10d%s\n", subject.what, *native, added,
                static_cast<int>(subject.instructions), well ? "" : "   TOO MANY");
    std::fflush(stdout);
    within = within && well;
  }
  return within ? 0 : 1;
}

}  // namespace
}  // namespace kiboko::bench

int main(int count, char** arguments) {
  namespace bench = kiboko::bench;
  if (count >= 4 && std::strcmp(arguments[1], "--worker") == 0) return bench::run_worker(arguments[2], arguments[3]);
  return bench::count_all(bench::fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "lib");
}
