#include "sched/free_index.h"

#include <algorithm>
#include <bit>

namespace kiboko {
namespace {

constexpr unsigned kMostCounted = 8;   // devices; more are as good
constexpr Share kShareStep = 100;      // a tenth of a device
constexpr unsigned kMemoryShift = 26;  // memory is told apart from 64 MiB on
constexpr std::uint64_t kStepsPerOctave = 4;

// 0, then four steps to each power of two. More is never a lower step: that is all the index relies on.
std::uint8_t quarter_octaves(std::uint64_t amount) {
  if (amount == 0) return 0;
  const auto octave = static_cast<std::uint64_t>(std::bit_width(amount) - 1);
  const std::uint64_t quarter = octave >= 2 ? amount >> (octave - 2) & 3U : (amount << (2 - octave)) & 3U;
  return static_cast<std::uint8_t>(1 + octave * kStepsPerOctave + quarter);
}

std::uint8_t steps_of_share(Share share) {
  return static_cast<std::uint8_t>(std::clamp(share, 0, kWholeDevice + kShareStep) / kShareStep);
}
std::uint8_t steps_of_memory(std::uint64_t bytes) { return quarter_octaves(bytes >> kMemoryShift); }
std::uint8_t steps_of_cpu(std::int64_t milli) {
  return quarter_octaves(static_cast<std::uint64_t>(std::max<std::int64_t>(milli, 0)));
}
std::uint8_t steps_of_count(unsigned devices) { return static_cast<std::uint8_t>(std::min(devices, kMostCounted)); }

}  // namespace

FreeIndex::Steps FreeIndex::steps_of(const NodeFree& free) {
  return {steps_of_count(free.open),          steps_of_count(free.whole),
          steps_of_share(free.largest_share), steps_of_memory(free.largest_memory),
          steps_of_cpu(free.cpu_milli),       steps_of_memory(free.host_memory)};
}

FreeIndex::Steps FreeIndex::steps_needed(const PodAsk& ask) {
  Steps needed{};
  needed[kCpu] = steps_of_cpu(ask.cpu_milli);
  needed[kHostMemory] = steps_of_memory(ask.host_memory.count);
  if (ask.count == 0) return needed;
  const bool whole = ask.exclusive || ask.share == kWholeDevice;
  needed[kOpen] = steps_of_count(ask.count);
  needed[kWhole] = steps_of_count(whole ? ask.count : 0);
  needed[kShare] = steps_of_share(ask.share);
  needed[kMemory] = steps_of_memory(ask.memory.count);
  return needed;
}

FreeIndex::Query FreeIndex::query_for(const PodAsk& ask) const {
  Query query;
  query.words = present_.words();
  query.all_of[query.sets++] = &present_;
  const Steps needed = steps_needed(ask);
  for (std::size_t measure = 0; measure < kMeasures; ++measure) {
    if (needed[measure] == 0) continue;
    if (needed[measure] > at_least_[measure].size()) return {};  // no node ever had as much
    query.all_of[query.sets++] = &at_least_[measure][needed[measure] - 1U];
  }
  const Models known = with_model_.size() == kMaxModels ? kAnyModel : (Models{1} << with_model_.size()) - 1;
  if (ask.count == 0 || (known & ~ask.models) == 0) return query;
  query.any_of = known & ask.models;
  return query.any_of != 0 ? query : Query{};
}

std::uint64_t FreeIndex::word(const Query& query, std::size_t index) const {
  std::uint64_t bits = ~std::uint64_t{0};
  for (std::size_t set = 0; set < query.sets; ++set) bits &= query.all_of[set]->word(index);
  if (query.any_of == 0 || bits == 0) return bits;
  std::uint64_t with_one = 0;
  for (Models left = query.any_of; left != 0; left &= left - 1)
    with_one |= with_model_[static_cast<std::size_t>(std::countr_zero(left))].word(index);
  return bits & with_one;
}

void FreeIndex::set(NodeIndex node, const NodeFree& free) {
  present_.add(node);
  if (node >= steps_.size()) {
    steps_.resize(node + 1, Steps{});
    models_.resize(node + 1, 0);
  }
  move(node, steps_of(free), free.models);
}

void FreeIndex::remove(NodeIndex node) {
  if (!present_.contains(node)) return;
  present_.remove(node);
  move(node, Steps{}, 0);
}

void FreeIndex::move(NodeIndex node, const Steps& steps, Models models) {
  for (std::size_t measure = 0; measure < kMeasures; ++measure) {
    std::vector<NodeSet>& at_least = at_least_[measure];
    const std::size_t before = steps_[node][measure];
    const std::size_t now = steps[measure];
    if (now > at_least.size()) at_least.resize(now);
    for (std::size_t step = before; step < now; ++step) at_least[step].add(node);
    for (std::size_t step = now; step < before; ++step) at_least[step].remove(node);
  }
  if (static_cast<std::size_t>(std::bit_width(models)) > with_model_.size())
    with_model_.resize(static_cast<std::size_t>(std::bit_width(models)));
  for (Models changed = models ^ models_[node]; changed != 0; changed &= changed - 1) {
    const auto model = static_cast<std::size_t>(std::countr_zero(changed));
    if ((models >> model & 1U) != 0) {
      with_model_[model].add(node);
    } else {
      with_model_[model].remove(node);
    }
  }
  steps_[node] = steps;
  models_[node] = models;
}

}  // namespace kiboko
