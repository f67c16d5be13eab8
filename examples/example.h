// What all examples do around their loop: options, an orderly end on SIGTERM or Ctrl-C, and a summary.
#pragma once

#include <signal.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct Options {
  double seconds = 10;  // 0: until told to stop
  std::uint64_t kernel_us = 1000;
  std::uint64_t memory = 256ULL << 20;  // bytes
  bool json = false;
  bool managed = false;  // training_loop: memory that may live on the host, too
};

// "1073741824", "512M", "4G", "512MiB", "4GiB". The whole text must match.
inline bool parse_bytes(const char* text, std::uint64_t& out) {
  const char* end = text + std::strlen(text);
  const auto [unit, error] = std::from_chars(text, end, out);
  if (error != std::errc{}) return false;
  const std::string_view name(unit, static_cast<std::size_t>(end - unit));
  const int shift = name == "" ? 0 : name == "M" || name == "MiB" ? 20 : name == "G" || name == "GiB" ? 30 : -1;
  if (shift < 0 || out > ~0ULL >> shift) return false;
  out <<= shift;
  return true;
}

inline Options parse_options(int argc, char** argv, Options options = {}) {
  const auto usage = [&](const char* wrong) {
    std::fprintf(stderr,
                 "%s: cannot read '%s'\n"
                 "usage: %s [--seconds N] [--kernel-us N] [--memory BYTES|512MiB|4GiB] [--managed] [--json]\n",
                 argv[0], wrong, argv[0]);
    std::exit(2);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--json" || name == "--managed") {
      (name == "--json" ? options.json : options.managed) = true;
      continue;
    }
    if (i + 1 == argc) usage(argv[i]);
    const char* value = argv[++i];
    char* end = nullptr;
    bool good = false;
    if (name == "--seconds") {
      options.seconds = std::strtod(value, &end);
      good = *value != 0 && *end == 0 && options.seconds >= 0;
    } else if (name == "--kernel-us") {
      options.kernel_us = std::strtoull(value, &end, 10);
      good = *value != 0 && *end == 0;
    } else if (name == "--memory") {
      good = parse_bytes(value, options.memory);
    }
    if (!good) usage(argv[i]);
  }
  return options;
}

// Counts down the time, and ends early on a signal.
class Clock {
 public:
  explicit Clock(double seconds) : seconds_(seconds) {
    struct sigaction action {};
    action.sa_handler = [](int) { told_to_stop = 1; };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
  }
  double passed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  bool running() const { return told_to_stop == 0 && (seconds_ == 0 || passed() < seconds_); }

 private:
  inline static volatile sig_atomic_t told_to_stop = 0;
  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The value that `percent` of the others do not exceed.
inline double percentile(std::vector<double>& values, double percent) {
  if (values.empty()) return 0;
  const auto index = static_cast<std::size_t>(percent / 100 * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

class Summary {
 public:
  Summary(const char* program, const char* device) : program_(program), device_(device) {}
  void add(const char* key, double value) { values_.emplace_back(key, value); }
  void print(bool json) const {
    if (json) std::printf("{\"program\":\"%s\",\"device\":\"%s\"", program_, device_);
    if (!json) std::printf("%s on %s\n", program_, device_);
    for (const auto& [key, value] : values_)
      std::printf(json ? ",\"%s\":%.*f" : "  %-24s %.*f\n", key, digits(value), value);
    if (json) std::printf("}\n");
    std::fflush(stdout);
  }

 private:
  static int digits(double value) { return value == static_cast<double>(static_cast<long long>(value)) ? 0 : 3; }

  const char* program_;
  const char* device_;
  std::vector<std::pair<const char*, double>> values_;
};
