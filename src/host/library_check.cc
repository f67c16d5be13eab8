#include "host/library_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/file.h"

namespace kiboko {
namespace {
constexpr std::size_t kMostOfAMap = 16U << 20U;
}

bool maps_the_library(std::string_view maps) {
  return maps.find("/libkiboko.so") != maps.npos || maps.find("/libvgpu.so") != maps.npos;
}

// Newcomers first, then those whom a suspicion rests on; of those that had the library, the one that was not read for
// longest.
void LibraryCheck::begin_round() {
  std::erase_if(seen_, [this](const auto& entry) { return entry.second.round != round_; });
  ++round_;
  std::vector<Seen*> order;
  for (auto& [pid, seen] : seen_) order.push_back(&seen);
  std::ranges::sort(order, {}, [](const Seen* seen) {
    return std::pair(seen->read == 0 ? 0 : seen->lacks ? 1 : 2, seen->read);
  });
  for (std::size_t i = 0; i < order.size() && i < kReadsPerRound; ++i) {
    const bool had_it = order[i]->read != 0 && !order[i]->lacks;
    const auto maps = read_file(fmt::format("/proc/{}/maps", order[i]->process.pid), kMostOfAMap);
    order[i]->lacks = maps && !maps->empty() && !maps_the_library(*maps);
    order[i]->read = round_;
    if (had_it) break;
  }
}

bool LibraryCheck::lacks_library(const ProcessId& process) {
  Seen& seen = seen_[process.pid];
  if (seen.process != process) seen = {process};
  seen.round = round_;
  return seen.lacks;
}

}  // namespace kiboko
