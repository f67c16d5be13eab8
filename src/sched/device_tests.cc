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

bool is_mask(const FamilyAsk& one) { return one.family->resources.cores.device == vendors::CoreUnit::Bitmask; }

bool is_part_of(std::string_view part, const std::string& text) {
  return to_lower(text).find(to_lower(part)) != std::string::npos;
}

bool flag_is_set(const BookedNode& node, const std::string& flag) {
  const auto found = node.marks.find(flag);
  return found != node.marks.end() && found->second == "true";
}

std::int64_t free_memory(const DeviceLook& look) { return look.device.memory - look.use.memory; }
std::int64_t free_cores(const DeviceLook& look) {
  if (!is_mask(look.one)) return look.device.cores - look.use.cores;
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
  const bool whole = look.one.ask.memory.kind == MemoryAsk::Kind::Whole ||
                     (look.one.ask.memory.kind == MemoryAsk::Kind::Percent && look.one.ask.memory.value >= 100);
  return vendors::mig_choice(look.device.extras->mig_profiles, look.mig_live, MiB{look.need.memory},
                             CoreUnits{look.need.cores}, whole)
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

std::string cores_text(const FamilyAsk& one, std::int64_t cores) {
  constexpr std::string_view kUnits[] = {" %", " compute units", " cores", " sixteenths"};
  return fmt::format("{}{}", cores, kUnits[static_cast<std::size_t>(one.family->resources.cores.device)]);
}

std::string asked_amount(const FamilyAsk& one) {
  const DeviceAsk& ask = one.ask;
  if (ask.memory.kind == MemoryAsk::Kind::Slices) return fmt::format("a slice of size {}", ask.memory.value);
  return fmt::format("{} {}, {} %", one.family->resources.memory.name, ask.memory.value, ask.cores.value);
}

// Two amounts that differ must not read the same.
void tell_apart(std::int64_t asked, std::int64_t free, DeviceRefusal& refusal) {
  if (refusal.asked != refusal.free) return;
  refusal.asked = fmt::format("{} MiB", asked);
  refusal.free = fmt::format("{} MiB", free);
}

std::string qos_word(const FamilyAsk& one, std::uint8_t number) {
  const auto trait = std::ranges::find(one.family->traits, std::string_view("qos"), &vendors::Trait::name);
  return number == 0 || trait == one.family->traits.end() ? "none" : trait->one_of[number - 1U];
}

// Fills asked and free, and returns the clause behind the device's name.
std::string clause(const DeviceLook& look, RefusalCode code, DeviceRefusal& r) {
  const DeviceAsk& ask = look.one.ask;
  switch (code) {
    case RefusalCode::Memory:
      r.asked = mib(look.need.charge.memory);
      r.free = mib(free_memory(look));
      tell_apart(look.need.charge.memory, free_memory(look), r);
      return fmt::format("asked {}, {} free", r.asked, r.free);
    case RefusalCode::Cores:
      r.asked = cores_text(look.one, is_mask(look.one) ? look.need.cores : look.need.charge.cores);
      r.free = cores_text(look.one, std::max<std::int64_t>(free_cores(look), 0));
      return fmt::format("asked {}, {} free", r.asked, r.free);
    case RefusalCode::Type:
      r.asked = join(ask.use_types.empty() ? ask.no_use_types : ask.use_types, ", ");
      r.free = look.type;
      return fmt::format("is a {}, {} {}", look.type, ask.use_types.empty() ? "which is ruled out by" : "asked for",
                         r.asked);
    case RefusalCode::Device:
      r.asked = join(ask.use_uuids.empty() ? ask.no_use_uuids : ask.use_uuids, ", ");
      return ask.use_uuids.empty() ? "is ruled out by name" : fmt::format("is not among {}", r.asked);
    case RefusalCode::Slots:
      r.asked = std::to_string(look.need.charge.slots);
      r.free = std::to_string(look.device.slots - look.use.slots);
      return fmt::format("{} of {} slots are in use, {} more asked for", look.use.slots, look.device.slots, r.asked);
    case RefusalCode::Mode:
      r.asked = ask.modes.empty() ? look.one.node_flag : ask.modes;
      r.free = look.mode;
      if (!ask.modes.empty()) return fmt::format("is in mode '{}', asked for '{}'", look.mode, ask.modes);
      return look.one.node_flag.empty()
                 ? fmt::format("its node shares devices in software ({}), asked for a hard slice",
                               look.one.forbidden_flag)
                 : fmt::format("its node does not share devices in software ({})", look.one.node_flag);
    case RefusalCode::Template:
      r.asked = asked_amount(look.one);
      return fmt::format("has no size that holds {}", r.asked);
    case RefusalCode::SliceSize:
      r.asked = mib(look.need.memory);
      r.free = mib(look.use.slots > 0 ? look.use.memory / look.use.slots : 0);
      return fmt::format("is cut into slices of {}, asked for {}", r.free, r.asked);
    case RefusalCode::Qos:
      r.asked = qos_word(look.one, look.one.qos);
      r.free = qos_word(look.one, qos_in_use(look));
      return fmt::format("is shared as {}, asked for {}", r.free, r.asked);
    case RefusalCode::Mig:
      r.asked = mib(look.need.memory);
      return fmt::format("no profile with {} has a free place beside {} instances", r.asked, look.mig_live.size());
    case RefusalCode::Unhealthy:
      return look.device.blocked ? "what pods say of it contradicts itself" : "is unhealthy";
    case RefusalCode::Exclusive:
    case RefusalCode::Mutex:
      r.asked = "the whole device";
      return fmt::format("asked for alone, {} containers use it", look.use.slots);
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
  if (is_mask(one)) {
    need.whole_mask = ask.cores.kind == CoresAsk::Kind::All;
    if (ask.cores.kind == CoresAsk::Kind::Divided) {
      const auto width = static_cast<unsigned>(std::popcount(static_cast<std::uint64_t>(device.cores)));
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
