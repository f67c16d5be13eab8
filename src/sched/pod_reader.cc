#include "sched/pod_reader.h"

#include <algorithm>
#include <bit>

#include "model/allocation.h"
#include "model/mig_allocation.h"
#include "model/pod_marks.h"
#include "sched/pod_request.h"
#include "vendors/ask.h"

namespace kiboko {
namespace {

// The pod's words for the traits of the family, or those that admission would have written.
void read_traits(FamilyAsk& one, const Texts& annotations) {
  for (const vendors::Trait& trait : one.family->traits) {
    const auto found = annotations.find(trait.annotation);
    const std::string& word = found == annotations.end() ? trait.preset : found->second;
    if (!word.empty()) one.ask.traits.insert_or_assign(trait.name, word);
  }
  resolve_traits(one);
}

const vendors::Slice* slice_of(const BookedDevice& device, const ContainerDevice& given) {
  if (!device.extras) return nullptr;
  const auto& slices = device.extras->slices;
  const auto found = std::ranges::find_if(
      slices, [&](const vendors::Slice& s) { return s.memory() == given.memory && s.cores == given.cores; });
  if (found != slices.end()) return &*found;
  const auto by_memory = std::ranges::find(slices, given.memory, &vendors::Slice::memory);
  return by_memory == slices.end() ? nullptr : &*by_memory;
}

// Compute in the unit in which it is asked for, rounded up.
std::int64_t asked_cores(const vendors::CoresRule& rule, const BookedDevice& device, std::int64_t cores) {
  if (device.mask) return std::popcount(static_cast<std::uint64_t>(cores));
  const bool converted = rule.asked == vendors::CoreUnit::Percent && rule.device == vendors::CoreUnit::Count;
  return converted && device.cores > 0 ? (cores * 100 + device.cores - 1) / device.cores : cores;
}

bool asks_for(const Container& container, const vendors::Family& family) {
  const vendors::Resources& rules = family.resources;
  const auto named = [&](const std::string& resource) {
    return !resource.empty() && (container.limits.contains(resource) || container.requests.contains(resource));
  };
  return named(rules.count.name) || named(rules.memory.name) || named(rules.memory_percent) ||
         named(rules.cores.name) || named(rules.slices);
}

// The container of each entry. As a rule they stand in the same order, and entries that plugins leave behind are empty.
// HAMi up to 2.10 leaves out containers without devices of some families (NVIDIA, DCU, AMD, Biren): then the entries
// are of those that ask, in order. Where even that does not come out, all is held by the last container, which is there
// for as long as the pod.
std::vector<unsigned> containers_of(const PodDevices& entries, const Pod& pod, const vendors::Family& family) {
  std::vector<unsigned> same, asking;
  for (unsigned c = 0; c < pod.containers.size(); ++c)
    if (asks_for(pod.containers[c], family)) asking.push_back(c);
  std::size_t given = 0;
  bool in_place = true;
  for (unsigned entry = 0; entry < entries.size(); ++entry) {
    same.push_back(entry);
    if (entries[entry].empty()) continue;
    ++given;
    in_place = in_place && entry < pod.containers.size() &&
               (asking.empty() || std::ranges::find(asking, entry) != asking.end());
  }
  if (in_place) return same;
  const auto last = static_cast<unsigned>(pod.containers.size() - 1);
  auto next = asking.begin();
  for (unsigned entry = 0; entry < entries.size(); ++entry)
    if (!entries[entry].empty()) same[entry] = given == asking.size() ? *next++ : last;
  return same;
}

DeviceUse charge_of(const FamilyAsk& one, const BookedDevice& device, const ContainerDevice& given, Taken& taken) {
  DeviceUse charge;
  charge.memory = given.memory.count;
  charge.cores = given.cores.count;
  charge.slots = 1;
  const vendors::Family& family = *one.family;
  if (const vendors::Step* const step = vendors::step_of(family, given.memory);
      step != nullptr && step->cores.count > 0) {
    charge.cores = step->cores.count;
    charge.cpus = static_cast<std::int32_t>(step->cpus);
    taken.size_name = step->name;
  } else if (family.resources.memory.whole == given.memory && given.cores.count == 0) {
    charge.cores = device.cores;
  }
  if (family.charge_slices) {
    if (const vendors::Slice* const slice = slice_of(device, given)) {
      charge.slots = static_cast<std::int32_t>(slice->size);
      taken.size_name = slice->name;
    }
  }
  charge.online = one.online ? 1 : 0;
  charge.offline = one.offline ? 1 : 0;
  if (one.qos > 0 && given.cores.count != 100) charge.qos[one.qos - 1U] = 1;
  return charge;
}

class Reader {
 public:
  Reader(const Pod& pod, const BookedNode& node, const vendors::Catalog& catalog, const FindDevice& find)
      : pod_(pod), node_(node), catalog_(catalog), find_(find) {}

  Result<ReadPod> run() {
    if (const auto found = pod_.annotations.find(kMigAllocationsKey); found != pod_.annotations.end())
      mig_ = TRY(decode_mig_allocations(found->second).map_error(where(kMigAllocationsKey)));
    mig_used_.assign(mig_.size(), false);
    for (std::size_t index = 0; index < catalog_.families().size(); ++index) {
      const vendors::Family& family = catalog_.families()[index];
      const auto found = pod_.annotations.find(family.emission.allocated);
      if (!family.enabled || found == pod_.annotations.end()) continue;
      const PodDevices devices = TRY(decode_allocation(found->second).map_error(where(found->first)));
      TRY(add(static_cast<FamilyIndex>(index), devices).map_error(where(found->first)));
    }
    TRY(add_strays().map_error(where(kMigAllocationsKey)));
    std::ranges::stable_sort(read_.taken, {}, &Taken::container);
    return std::move(read_);
  }

 private:
  std::function<Error(Error)> where(std::string_view key) const {
    return about("pod {}: annotation {}", pod_.full_name(), key);
  }

  Result<unsigned> device(FamilyIndex family, const std::string& uuid) {
    const auto at = find_(family, uuid);
    if (!at) return fail(Errc::Invalid, "device '{}' would be one more than the {} of a node", uuid, kMaxNodeDevices);
    return *at;
  }

  Result<void> add(FamilyIndex index, const PodDevices& entries) {
    FamilyAsk one = family_for(catalog_, index, pod_.annotations);
    read_traits(one, pod_.annotations);
    if (pod_.containers.empty() && std::ranges::any_of(entries, [](const auto& entry) { return !entry.empty(); }))
      return fail(Errc::Invalid, "the pod has no container to hold devices");
    const std::vector<unsigned> containers = containers_of(entries, pod_, *one.family);
    for (unsigned entry = 0; entry < entries.size(); ++entry)
      for (unsigned place = 0; place < entries[entry].size(); ++place)
        TRY(add_device(one, {containers[entry], entry, place}, entries[entry][place]));
    return {};
  }

  struct Where {
    unsigned container = 0;  // of the pod
    unsigned entry = 0;      // of the annotation
    unsigned place = 0;      // in the entry
  };
  Result<void> add_device(const FamilyAsk& one, const Where& at, ContainerDevice given) {
    const auto old = parse_old_mig_uuid(given.uuid.text);
    const std::string& uuid = old ? old->gpu.text : given.uuid.text;
    Taken taken;
    taken.container = at.container;
    taken.device = TRY(device(one.index, uuid));
    taken.family = one.index;
    const BookedDevice& booked = node_.devices[taken.device];
    if (!one.family->emission.amounts) given.memory.count = booked.memory;
    taken.memory = given.memory.count;
    taken.cores = given.cores.count;
    taken.quota_cores = asked_cores(one.family->resources.cores, booked, given.cores.count);
    taken.charge = charge_of(one, booked, given, taken);
    for (std::size_t i = 0; i < mig_.size(); ++i) {
      const MigAllocation& mig = mig_[i];
      if (mig_used_[i] || mig.container != at.entry || mig.device != at.place || mig.gpu.text != uuid) continue;
      mig_used_[i] = true;
      taken.mig = mig.placement;
      taken.size_name = mig.profile;
      break;
    }
    read_.taken.push_back(std::move(taken));
    return {};
  }

  Result<void> add_strays() {
    for (std::size_t i = 0; i < mig_.size(); ++i) {
      if (mig_used_[i]) continue;
      const auto family = std::ranges::find_if(
          catalog_.families(), [](const vendors::Family& f) { return has_test(f, vendors::Test::Mig); });
      if (family == catalog_.families().end()) return {};
      const auto index = static_cast<FamilyIndex>(family - catalog_.families().begin());
      const unsigned at = TRY(device(index, mig_[i].gpu.text));
      read_.stray_mig.push_back({static_cast<std::uint8_t>(at), false, mig_[i].placement});
    }
    return {};
  }

  const Pod& pod_;
  const BookedNode& node_;
  const vendors::Catalog& catalog_;
  const FindDevice& find_;
  std::vector<MigAllocation> mig_;
  std::vector<bool> mig_used_;
  ReadPod read_;
};

}  // namespace

Result<ReadPod> read_pod(const Pod& pod, const BookedNode& node, const vendors::Catalog& catalog,
                         const FindDevice& find_device) {
  return Reader(pod, node, catalog, find_device).run();
}

}  // namespace kiboko
