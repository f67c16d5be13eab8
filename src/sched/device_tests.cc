#include "sched/device_tests.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "vendors/ask.h"
#include "vendors/metax.h"
#include "vendors/mig.h"
#include "vendors/neuron.h"

namespace kiboko {
namespace {

using vendors::Test;

bool is_part_of(std::string_view part, const std::string& text) {
  return to_lower(text).find(to_lower(part)) != std::string::npos;
}

bool flag_is_set(const BookedNode& node, const std::string& flag) {
  const auto found = node.marks.find(flag);
  return found != node.marks.end() && found->second == "true";
}

std::int64_t free_memory(const DeviceLook& look) { return look.device.memory - look.use.memory; }
std::int64_t free_cores(const DeviceLook& look) {
  if (!look.device.mask) return look.device.cores - look.use.cores;
  return std::popcount(static_cast<std::uint64_t>(look.device.cores & ~look.use.cores));
}

bool type_allowed(const DeviceLook& look) {
  const DeviceAsk& ask = look.one.ask;
  const auto matches = [&](const std::string& part) { return is_part_of(part, look.type); };
  return (ask.use_types.empty() || std::ranges::any_of(ask.use_types, matches)) &&
         std::ranges::none_of(ask.no_use_types, matches);
}

bool uuid_allowed(const DeviceLook& look) {
  const DeviceAsk& ask = look.one.ask;
  return (ask.use_uuids.empty() || std::ranges::find(ask.use_uuids, look.device.uuid) != ask.use_uuids.end()) &&
         std::ranges::find(ask.no_use_uuids, look.device.uuid) == ask.no_use_uuids.end();
}

bool mode_allowed(const DeviceLook& look) {
  const FamilyAsk& one = look.one;
  if (!one.node_flag.empty() && !flag_is_set(look.node, one.node_flag)) return false;
  if (!one.forbidden_flag.empty() && flag_is_set(look.node, one.forbidden_flag)) return false;
  return one.ask.modes.empty() || one.ask.modes.find(look.mode) != std::string::npos;
}

// Compute that is counted in hundredths of a whole device, where 100 is all of it.
bool wants_all_cores(const DeviceLook& look) { return look.device.cores == 100 && look.need.cores == 100; }

std::int64_t device_cpus(const FamilyAsk& one) {
  const auto found = one.family->options.find("aiCPU");
  return found == one.family->options.end() ? 0 : parse_integer<std::int64_t>(found->second).value_or(0);
}

bool cores_left(const DeviceLook& look) {
  if (look.need.charge.cpus > 0) {
    const std::int64_t cpus = device_cpus(look.one);
    if (cpus > 0 && look.need.charge.cpus > cpus - look.use.cpus) return false;
  }
  return look.need.charge.cores <= free_cores(look);
}

bool mask_left(const DeviceLook& look) {
  if (look.need.whole_mask) return look.use.cores == 0 && look.use.slots == 0;
  return look.need.cores <= free_cores(look);
}

std::uint8_t qos_in_use(const DeviceLook& look) {
  for (std::size_t i = 0; i < kMaxQosPolicies; ++i)
    if (look.use.qos[i] > 0) return static_cast<std::uint8_t>(i + 1);
  if (!look.device.extras) return 0;
  const auto reported = custom_text(look.device.extras->custom, "QosPolicy");
  return reported ? qos_number(*look.one.family, *reported) : std::uint8_t{0};
}

bool qos_allowed(const DeviceLook& look) {
  if (look.one.online || look.use.slots == 0 || look.need.cores == 100) return true;
  const std::uint8_t in_use = qos_in_use(look);
  return in_use == 0 || in_use == look.one.qos;
}

bool app_class_allowed(const DeviceLook& look) {
  const std::string_view app_class = look.one.online ? "online" : look.one.offline ? "offline" : "";
  return vendors::metax_class_fits(app_class, look.use.online, look.use.offline, look.use.slots == 0);
}

bool mig_place_left(const DeviceLook& look) {
  if (!look.device.mig) return true;
  if (!look.device.extras) return false;
  return vendors::mig_choice(look.device.extras->mig_profiles, look.mig_live, MiB{look.need.memory},
                             CoreUnits{look.need.cores}, wants_whole_memory(look.one.ask))
      .has_value();
}

struct Row {
  Test test;
  RefusalCode code;
  bool (*allows)(const DeviceLook&);
  bool of_mig = true;  // also for devices given out in MIG instances, where the hardware counts memory and compute
};
// Online work has no compute limit.
constexpr Row kRows[] = {
    {Test::Health, RefusalCode::Unhealthy, [](const DeviceLook& l) { return l.device.healthy && !l.device.blocked; }},
    {Test::Cordon, RefusalCode::Cordoned, [](const DeviceLook& l) { return !l.device.cordoned; }},
    {Test::Type, RefusalCode::Type, type_allowed},
    {Test::Numa, RefusalCode::Numa, [](const DeviceLook&) { return true; }},
    {Test::Uuid, RefusalCode::Device, uuid_allowed},
    {Test::Slots, RefusalCode::Slots,
     [](const DeviceLook& l) { return l.need.charge.slots <= l.device.slots - l.use.slots; }},
    {Test::Mutex, RefusalCode::Mutex,
     [](const DeviceLook& l) { return !l.policy.mutex || (l.use.slots == 0 && l.group_idle); }},
    {Test::Quota, RefusalCode::Quota, [](const DeviceLook&) { return true; }},
    {Test::Memory, RefusalCode::Memory, [](const DeviceLook& l) { return l.need.charge.memory <= free_memory(l); },
     false},
    {Test::Cores, RefusalCode::Cores, [](const DeviceLook& l) { return l.one.online || cores_left(l); }, false},
    {Test::ExclusiveCores, RefusalCode::Exclusive,
     [](const DeviceLook& l) { return l.one.online || !wants_all_cores(l) || l.use.slots == 0; }, false},
    {Test::Exhausted, RefusalCode::Exhausted,
     [](const DeviceLook& l) {
       return l.one.online || l.device.cores == 0 || l.need.charge.cores > 0 || l.use.cores < l.device.cores;
     },
     false},
    {Test::Idle, RefusalCode::Exclusive, [](const DeviceLook& l) { return l.use.slots == 0; }},
    {Test::Mode, RefusalCode::Mode, mode_allowed},
    {Test::SamePodDevice, RefusalCode::OneDevice, [](const DeviceLook& l) { return !l.other_pod_device; }},
    {Test::SameSliceSize, RefusalCode::SliceSize,
     [](const DeviceLook& l) { return l.use.slots == 0 || l.use.memory == l.need.memory * l.use.slots; }},
    {Test::AppClass, RefusalCode::AppClass, app_class_allowed},
    {Test::Qos, RefusalCode::Qos, qos_allowed},
    {Test::Mig, RefusalCode::Mig, mig_place_left},
    {Test::Mask, RefusalCode::Cores, mask_left},
    {Test::Slices, RefusalCode::Template, [](const DeviceLook& l) { return l.need.has_size; }},
};
consteval bool one_row_each() {
  for (std::size_t i = 0; i < std::size(kRows); ++i)
    if (kRows[i].test != static_cast<Test>(i)) return false;
  return true;
}
static_assert(one_row_each());

std::string mib(std::int64_t amount) { return to_text(to_bytes(MiB{std::max<std::int64_t>(amount, 0)})); }

// "1 core", "2 cores"
std::string counted(std::int64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

std::string cores_text(const FamilyAsk& one, std::int64_t cores) {
  constexpr std::string_view kUnits[] = {"%", "compute unit", "core", "sixteenth"};
  const auto unit = one.family->resources.cores.device;
  if (unit == vendors::CoreUnit::Percent) return fmt::format("{} %", cores);
  return counted(cores, kUnits[static_cast<std::size_t>(unit)]);
}

std::string asked_slice(const FamilyAsk& one) {
  const DeviceAsk& ask = one.ask;
  const vendors::Resources& names = one.family->resources;
  if (ask.memory.kind == MemoryAsk::Kind::Slices) return fmt::format("{} {}", names.slices, ask.memory.value);
  const std::string memory = fmt::format("{} {}", names.memory.name, ask.memory.value);
  return ask.cores.value > 0 ? fmt::format("{} and {} {}", memory, names.cores.name, ask.cores.value) : memory;
}

std::string qos_word(const FamilyAsk& one, std::uint8_t number) {
  const auto trait = std::ranges::find(one.family->traits, std::string_view("qos"), &vendors::Trait::name);
  return number == 0 || trait == one.family->traits.end() ? "none" : trait->one_of[number - 1U];
}

std::string memory_clause(const DeviceLook& look, DeviceRefusal& r) {
  const std::int64_t asked = look.need.charge.memory, free = std::max<std::int64_t>(free_memory(look), 0);
  r.asked = mib(asked);
  r.free = mib(free);
  if (r.asked == r.free) {  // two amounts that differ must not read the same
    r.asked = fmt::format("{} MiB", asked);
    r.free = fmt::format("{} MiB", free);
  }
  if (asked > look.device.memory) return fmt::format("asked {}, it has {} in all", r.asked, mib(look.device.memory));
  return fmt::format("asked {}, {} free", r.asked, r.free);
}

std::string cores_clause(const DeviceLook& look, DeviceRefusal& r) {
  if (look.need.whole_mask) {
    r.asked = "the whole device";
    r.free = cores_text(look.one, free_cores(look));
    return fmt::format("asked whole, {} of its {} free", free_cores(look),
                       cores_text(look.one, std::popcount(static_cast<std::uint64_t>(look.device.cores))));
  }
  const std::int64_t asked = look.device.mask ? look.need.cores : look.need.charge.cores;
  const std::int64_t free = std::max<std::int64_t>(free_cores(look), 0);
  if (asked <= free) {  // then it is the device's own processors that the size takes besides
    r.asked = counted(look.need.charge.cpus, "AI CPU");
    r.free = counted(std::max<std::int64_t>(device_cpus(look.one) - look.use.cpus, 0), "AI CPU");
    return fmt::format("the size takes {}, {} free", r.asked, r.free);
  }
  r.asked = cores_text(look.one, asked);
  r.free = cores_text(look.one, free);
  return fmt::format("asked {}{}, {} free", r.asked, r.asked.ends_with('%') ? " of its compute" : "", r.free);
}

std::string type_clause(const DeviceLook& look, DeviceRefusal& r) {
  const DeviceAsk& ask = look.one.ask;
  const auto matches = [&](const std::string& part) { return is_part_of(part, look.type); };
  r.free = look.type;
  if (const auto ruled_out = std::ranges::find_if(ask.no_use_types, matches); ruled_out != ask.no_use_types.end()) {
    r.asked = "not " + *ruled_out;
    return fmt::format("is a '{}', and the pod rules out '{}'", look.type, *ruled_out);
  }
  r.asked = join(ask.use_types, ", ");
  return fmt::format("is a '{}', asked for '{}'", look.type, join(ask.use_types, "' or '"));
}

std::string uuid_clause(const DeviceLook& look, DeviceRefusal& r) {
  const DeviceAsk& ask = look.one.ask;
  r.free = look.device.uuid;
  if (std::ranges::find(ask.no_use_uuids, look.device.uuid) != ask.no_use_uuids.end()) {
    r.asked = "not " + look.device.uuid;
    return "the pod rules it out by name";
  }
  r.asked = join(ask.use_uuids, ", ");
  return fmt::format("the pod names others: {}", r.asked);
}

std::string mode_clause(const DeviceLook& look, DeviceRefusal& r) {
  const FamilyAsk& one = look.one;
  const auto flag = [](std::string_view name, bool set) { return fmt::format("{}={}", name, set ? "true" : "false"); };
  if (!one.node_flag.empty() && !flag_is_set(look.node, one.node_flag)) {
    r.asked = flag(one.node_flag, true);
    r.free = flag(one.node_flag, false);
    return fmt::format("asked for a soft share, its node gives hard slices (annotation {} is not true)", one.node_flag);
  }
  if (!one.forbidden_flag.empty() && flag_is_set(look.node, one.forbidden_flag)) {
    r.asked = flag(one.forbidden_flag, false);
    r.free = flag(one.forbidden_flag, true);
    return fmt::format("asked for a hard slice, its node gives soft shares (annotation {} is true)",
                       one.forbidden_flag);
  }
  r.asked = one.ask.modes;
  r.free = look.mode;
  return fmt::format("is in mode '{}', asked for '{}'", look.mode, one.ask.modes);
}

std::string slice_clause(const DeviceLook& look, DeviceRefusal& r) {
  r.asked = asked_slice(look.one);
  std::vector<std::string> names;
  if (look.device.extras)
    for (const vendors::Slice& slice : look.device.extras->slices) names.push_back(slice.name);
  r.free = join(names, ", ");
  return fmt::format("has slices {}, none for {}", r.free, r.asked);
}

std::string mig_clause(const DeviceLook& look, DeviceRefusal& r) {
  std::vector<std::string> names;
  bool large_enough = false;
  const auto profiles =
      look.device.extras ? std::span(look.device.extras->mig_profiles) : std::span<const MigProfile>();
  for (const MigProfile& profile : profiles) {
    large_enough = large_enough || profile.memory.count >= look.need.memory;
    if (vendors::mig_choice({&profile, 1}, look.mig_live, MiB{}, CoreUnits{}, true)) names.push_back(profile.name);
  }
  r.asked = mib(look.need.memory);
  r.free = names.empty() ? "none" : join(names, ", ");
  if (!large_enough) return fmt::format("no MIG profile has {}", r.asked);
  return fmt::format("no MIG profile with {} has a free place beside {}; free: {}", r.asked,
                     counted(static_cast<std::int64_t>(look.mig_live.size()), "instance"), r.free);
}

std::string in_use_clause(const DeviceLook& look, DeviceRefusal& r) {
  r.asked = "the whole device";
  r.free = fmt::format("{} of {}", counted(look.device.slots - look.use.slots, "slot"), look.device.slots);
  if (look.use.slots == 0) return "asked for alone, and another device of its group is in use";
  return fmt::format("asked for alone, and {} of its slots {} in use", look.use.slots,
                     look.use.slots == 1 ? "is" : "are");
}

std::string app_class_clause(const DeviceLook& look, DeviceRefusal& r) {
  r.asked = look.one.online ? "online" : look.one.offline ? "offline" : "no class";
  r.free = look.use.online > 0 ? "online" : look.use.offline > 0 ? "offline" : "no class";
  return fmt::format("is used by work of {}, asked for {}", r.free == "no class" ? r.free : "class " + r.free, r.asked);
}

// Fills asked and free, and returns the clause behind the device's name.
std::string clause(const DeviceLook& look, RefusalCode code, DeviceRefusal& r) {
  switch (code) {
    case RefusalCode::Memory:
      return memory_clause(look, r);
    case RefusalCode::Cores:
      return cores_clause(look, r);
    case RefusalCode::Type:
      return type_clause(look, r);
    case RefusalCode::Device:
      return uuid_clause(look, r);
    case RefusalCode::Slots:
      r.asked = counted(look.need.charge.slots, "slot");
      r.free = counted(std::max(look.device.slots - look.use.slots, 0), "slot");
      return fmt::format("asked {}, {} of {} free", r.asked, std::max(look.device.slots - look.use.slots, 0),
                         look.device.slots);
    case RefusalCode::Mode:
      return mode_clause(look, r);
    case RefusalCode::Template:
      return slice_clause(look, r);
    case RefusalCode::SliceSize:
      r.asked = mib(look.need.memory);
      r.free = mib(look.use.slots > 0 ? look.use.memory / look.use.slots : 0);
      return fmt::format("is cut into slices of {}, asked for {}", r.free, r.asked);
    case RefusalCode::AppClass:
      return app_class_clause(look, r);
    case RefusalCode::Qos:
      r.asked = qos_word(look.one, look.one.qos);
      r.free = qos_word(look.one, qos_in_use(look));
      return fmt::format("is shared under QoS policy {}, asked for {}", r.free, r.asked);
    case RefusalCode::Mig:
      return mig_clause(look, r);
    case RefusalCode::Exhausted:
      r.asked = "no compute limit";
      r.free = cores_text(look.one, 0);
      return "all of its compute is given away, and a pod without a compute limit needs some that is not";
    case RefusalCode::Unhealthy:
      return look.device.blocked ? "its pods hold it both in MIG instances and otherwise" : "is unhealthy";
    case RefusalCode::Cordoned:
      return fmt::format("is cordoned (node annotation {})", look.one.family->selectors.cordon);
    case RefusalCode::OneDevice:
      return "an earlier container of the pod has another device of this family, and all must have the same";
    case RefusalCode::Exclusive:
    case RefusalCode::Mutex:
      return in_use_clause(look, r);
    default:
      return std::string(words_of(code).sentence);
  }
}

DeviceNeed slice_need(const FamilyAsk& one, const BookedDevice& device) {
  DeviceNeed need;
  need.has_size = false;
  need.charge.slots = 1;
  if (!device.extras) return need;
  const auto found = vendors::slice_for(device.extras->slices, one.ask);
  if (!found) return need;
  const auto same = std::ranges::find(device.extras->slices, *found);
  need.slice = &*same;
  need.has_size = true;
  need.memory = need.charge.memory = same->memory().count;
  need.cores = need.charge.cores = same->cores.count;
  if (one.family->charge_slices) need.charge.slots = static_cast<std::int32_t>(same->size);
  return need;
}

}  // namespace

DeviceNeed need_on(const FamilyAsk& one, const BookedDevice& device) {
  const DeviceAsk& ask = one.ask;
  const bool sized = ask.memory.kind == MemoryAsk::Kind::Slices || ask.memory.kind == MemoryAsk::Kind::Spec;
  DeviceNeed need = sized ? slice_need(one, device) : DeviceNeed{};
  if (!sized) {
    need.memory = need.charge.memory = memory_on(ask, MiB{device.memory}).count;
    need.cores = need.charge.cores = cores_on(ask, CoreUnits{device.cores}).count;
    need.charge.slots = 1;
  }
  if (device.mask) {
    need.whole_mask = ask.cores.kind == CoresAsk::Kind::All;
    const auto width = static_cast<unsigned>(std::popcount(static_cast<std::uint64_t>(device.cores)));
    if (need.whole_mask) need.cores = width;
    if (ask.cores.kind == CoresAsk::Kind::Divided) {
      // What no number of devices makes up is refused for the whole node.
      if (const auto share = vendors::neuron_share(static_cast<std::uint64_t>(ask.cores.value), width))
        need.cores = share->cores;
    }
    need.charge.cores = 0;
  } else if (one.online) {
    need.cores = need.charge.cores = 0;
  } else if (!ask.template_name.empty()) {
    need.charge.cores = ask.template_cores.count;
    if (const vendors::Step* const step = vendors::step_of(*one.family, MiB{ask.memory.value}))
      need.charge.cpus = static_cast<std::int32_t>(step->cpus);
  } else if (ask.memory.whole && need.cores == 0) {
    need.charge.cores = device.cores;
  }
  need.charge.online = one.online ? 1 : 0;
  need.charge.offline = one.offline ? 1 : 0;
  if (one.qos > 0 && need.cores != 100) need.charge.qos[one.qos - 1U] = 1;
  return need;
}

std::optional<TestResult> first_refusal(const DeviceLook& look) {
  unsigned passed = 0;
  for (const Test test : look.one.family->tests) {
    const Row& row = kRows[static_cast<std::size_t>(test)];
    if ((row.of_mig || !look.device.mig) && !row.allows(look)) return TestResult{row.code, passed};
    ++passed;
  }
  return std::nullopt;
}

DeviceRefusal explained(const DeviceLook& look, RefusalCode code) {
  DeviceRefusal refusal{DeviceUuid{look.device.uuid}, look.device.index, code, {}, {}, {}};
  const std::string reason = clause(look, code, refusal);
  refusal.sentence = fmt::format("{}: {}", look.device.uuid, reason);
  return refusal;
}

}  // namespace kiboko
