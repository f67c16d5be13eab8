// One grant alone on the device: every ask, kernel, way of waiting and number of processes, against the budgets.
//
// A group is one program. First comes what it reaches without a limit; the target of its other rows is the smaller of
// the ask and of that. A row is judged over `seconds`; then its limit is changed (asks below 50 to 80 %, others to
// 10 %: the larger the step, the less of a delay hides in the windows) and it is watched until it has settled.
// The head comment of compute.cc says what is printed; kBudgets in the source what is allowed.
#pragma once

#include <string>
#include <vector>

namespace kiboko::bench {

struct SweepOptions {
  std::vector<int> percents = {10, 30, 50, 80};
  std::vector<double> kernels_us = {20, 132, 1320, 13200};
  std::vector<std::string> modes = {"async", "sync50", "sync", "graph", "graph-sync50", "graph-sync"};
  std::vector<int> procs = {1, 4};
  double settle_s = 1, seconds = 10;
  bool json = false;
};

void run_sweep(const SweepOptions& options);

// The noise floor: one program without libkiboko.so, waiting for each kernel, twice. What it reaches differs only by
// what else the machine does.
void run_noise(const std::vector<double>& kernels_us, double settle_s, double seconds, bool json);

}  // namespace kiboko::bench
