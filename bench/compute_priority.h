// What priority is worth: a client of high priority that works a fifth of the time, beside a neighbour of low priority
// that always works. Prints, in one row each, how long its requests take alone and beside the neighbour in the same
// run, and what the neighbour got of the time that the client left idle, by the device's own log.
#pragma once

#include <vector>

namespace kiboko::bench {

struct PriorityOptions {
  std::vector<double> request_ms = {0.5, 2, 10, 50};
  std::vector<double> neighbour_us = {130, 1300, 13000};  // its kernels
  unsigned requests = 60;                                 // at least, alone and beside the neighbour
  bool equal = false;                                     // both of one priority, to compare with
  bool json = false;
};

void run_priority(const PriorityOptions& options);

}  // namespace kiboko::bench
