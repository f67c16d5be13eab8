// What the interposer's benchmarks have in common: the arms, what limits them, and programs that run one subject.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kiboko::bench {

namespace fs = std::filesystem;

enum class Limit { None, Memory, MemoryAndCores };

struct Subject {
  const char* what;  // as printed
  const char* worker;
  const char* argument;
  Limit limit;
  double budget_ns;       // added by us; 0 = none stated
  unsigned instructions;  // the most that we may add, 0 = not counted
};
struct Arm {
  std::string name;
  std::string library;  // "" = none
};

// One driver's folder, with what the arms need to be limited on it.
class Place {
 public:
  explicit Place(std::string driver_folder);
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::vector<std::string> environment(const Arm& arm, Limit limit);

  std::string uuid;

 private:
  std::string page(Limit limit);
  std::string driver_, folder_;
};

// A program under way that runs one subject; it prints one line.
struct Worker {
  pid_t pid = -1;
  FILE* out = nullptr;
};
// `before` are words in front of the program; with any, its error output comes too, and finish() keeps the last line.
Worker start(const Subject& subject, const std::vector<std::string>& environment, int standard_input,
             const std::vector<std::string>& before = {});
std::string finish(Worker& worker);
std::string measure(Place& place, const Arm& arm, const Subject& subject);
std::optional<double> number(const std::string& text);

extern const std::vector<Subject> kSubjects;

}  // namespace kiboko::bench
