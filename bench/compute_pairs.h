// Several grants side by side, and a grant that has the device to itself.
#pragma once

#include <string>
#include <vector>

namespace kiboko::bench {

struct PairsOptions {
  std::vector<double> kernels_us = {132, 1320};
  std::vector<std::string> modes;
  double settle_s = 1, seconds = 10;
  bool json = false;
};

// Forced limits of 10:90, 30:70, 30:60, 25:25:50, four of 25 and eight of 12 and 13 in turn, a process each.
void run_pairs(const PairsOptions& options);

// What the default policy leaves of an idle device: a grant of 30 % with nobody else there, as percent of what the same
// program has with the limit off, several times in turn; then one of 30 % and one of 60 % together, in percent of the
// device.
void run_conserving(const PairsOptions& options);

}  // namespace kiboko::bench
