// What makes the driver's figure and the charges differ without anybody's ill will:
// - They are not read in the same instant. So the least that the driver said since the excess began is held against the
//   most that was charged.
// - Contexts and code are charged by measurement where nobody else disturbs it, else by tables.
// - Memory of another process is charged to its maker, and the driver counts it for whom it likes. So a process that
//   has some open (kSlotImports) is held against what the whole grant may have.
#include "host/tampering.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

namespace kiboko {
namespace {

constexpr Bytes kExcess = 64_MiB;       // what is not worth a word
constexpr Bytes kMostOfCode = 256_MiB;  // code that was not measured, at most, and by what is charged
constexpr std::uint64_t kPatienceNs = 2'000'000'000;
constexpr unsigned kLeastSurveys = 3;

Bytes allowed(Bytes charged) { return charged + kExcess + std::min(Bytes{charged.count / 8}, kMostOfCode); }

struct Charged {
  bool any = false, imports = false;
  Bytes bytes;
};

// What process `pid` (as we count) has charged on a device: an executed program has a slot beside that of the program
// before it.
Charged charged_by(const RegionView& region, pid_t pid, std::size_t device) {
  Charged charged;
  std::optional<ProcessId> inside;
  for (const RegionSlotView& slot : region.slots) {
    if (slot.host_pid != 0 && slot.host_pid != pid) continue;
    if (slot.host_pid == 0) {
      if (!inside) inside = identify_from_inside(pid).value_or(ProcessId{});
      if (*inside != slot.process) continue;
    }
    charged.any = true;
    charged.imports = charged.imports || slot.imports;
    charged.bytes += slot.charged[device];
  }
  return charged;
}

}  // namespace

const char* name(Tampering::Kind kind) {
  switch (kind) {
    case Tampering::Kind::Memory:
      return "memory";
    case Tampering::Kind::Region:
      return "region";
    case Tampering::Kind::Slot:
      return "slot";
    case Tampering::Kind::Limits:
      return "limits";
  }
  return "";
}

std::vector<Tampering> TamperWatch::look(const Look& look) {
  std::vector<Tampering> found;
  suspected_ = std::exchange(suspects_, {});
  look_at_memory(look, found);
  look_at_region(look, found);
  look_at_slots(look, found);
  look_at_limits(look, found);
  std::vector<Tampering> fresh;
  for (const Tampering& one : found)
    if (std::ranges::none_of(found_, [&](const Tampering& before) { return before.same_as(one); }))
      fresh.push_back(one);
  found_ = std::move(found);
  return fresh;
}

bool TamperWatch::again(Tampering one) {
  const bool seen = std::ranges::any_of(suspected_, [&](const Tampering& before) { return before.same_as(one); });
  suspects_.push_back(std::move(one));
  return seen;
}

void TamperWatch::look_at_memory(const Look& look, std::vector<Tampering>& found) {
  const bool is_new = look.survey != nullptr && look.survey_serial != surveys_seen_;
  surveys_seen_ = look.survey_serial;
  std::vector<Excess> excesses;
  for (std::size_t i = 0; look.survey != nullptr && i < look.grant.devices.size(); ++i) {
    const GrantDevice& device = look.grant.devices[i];
    const auto sample = std::ranges::find(look.survey->samples, device.uuid, &DeviceSample::uuid);
    if (sample == look.survey->samples.end()) continue;
    for (const DeviceProcess& seen : sample->processes) {
      const Charged charged = charged_by(look.region, seen.pid, i);
      const auto process = charged.any && seen.used ? identify_process(seen.pid) : fail(Errc::NotFound, "no slot");
      if (!process) continue;
      const Bytes most = charged.imports ? std::max(charged.bytes, device.limit) : charged.bytes;
      Excess excess{device.uuid, *process, look.now_ns, 0, *seen.used, most};
      const auto before = std::ranges::find_if(
          excesses_, [&](const Excess& e) { return e.device == device.uuid && e.process == *process; });
      if (before != excesses_.end()) {
        excess = *before;
        excess.least_driver = std::min(excess.least_driver, *seen.used);
        excess.most_charged = std::max(excess.most_charged, most);
      }
      if (excess.least_driver <= allowed(excess.most_charged))
        excess = {device.uuid, *process, look.now_ns, 0, *seen.used, most};
      if (excess.least_driver <= allowed(excess.most_charged)) continue;
      excess.surveys += is_new ? 1 : 0;
      if (excess.surveys >= kLeastSurveys && look.now_ns - excess.since_ns > kPatienceNs)
        found.push_back(
            {Tampering::Kind::Memory, device.uuid, seen.pid,
             fmt::format("process {} of grant {} has {} of device {}, and charged {} to the grant", seen.pid,
                         look.grant.id.text, to_text(*seen.used), device.index, to_text(charged.bytes))});
      excesses.push_back(std::move(excess));
    }
  }
  excesses_ = std::move(excesses);
}

void TamperWatch::look_at_region(const Look& look, std::vector<Tampering>& found) {
  std::vector<ProcessId> there;
  for (const RegionSlotView& slot : look.region.slots)
    if (liveness(slot.process) == Liveness::Alive) there.push_back(slot.process);
  if (region_nonce_ != 0 && look.region.nonce != region_nonce_)
    orphans_.insert(orphans_.end(), in_region_.begin(), in_region_.end());
  std::erase_if(orphans_, [&](const ProcessId& process) {
    return liveness(process) != Liveness::Alive || std::ranges::find(there, process) != there.end();
  });
  region_nonce_ = look.region.nonce;
  in_region_ = std::move(there);
  if (orphans_.empty()) return;
  found.push_back({Tampering::Kind::Region,
                   {},
                   0,
                   fmt::format("the region of grant {} was replaced while process {}{} used it: what it has charged is "
                               "not seen any more",
                               look.grant.id.text, orphans_.front().pid,
                               orphans_.size() == 1 ? "" : fmt::format(" and {} more", orphans_.size() - 1))});
}

void TamperWatch::look_at_slots(const Look& look, std::vector<Tampering>& found) {
  for (const RegionSlotView& slot : look.region.slots) {
    const pid_t pid = slot.process.pid;
    struct stat proc {};
    if (liveness(slot.process) != Liveness::Alive || ::stat(fmt::format("/proc/{}", pid).c_str(), &proc) != 0 ||
        proc.st_uid == look.grant.owner.uid || look.belongs(pid))
      continue;
    Tampering one{Tampering::Kind::Slot,
                  {},
                  pid,
                  fmt::format("the region of grant {} has a slot of process {}, which is uid {}'s and none of its own",
                              look.grant.id.text, pid, proc.st_uid)};
    if (again(one)) found.push_back(std::move(one));
  }
}

void TamperWatch::look_at_limits(const Look& look, std::vector<Tampering>& found) {
  // A page that has moved on is not copied before one of the grant's programs next asks.
  if (look.region.mirrored_generation != look.page_generation) return;
  for (std::size_t i = 0; i < look.grant.devices.size() && i < look.region.limits.size(); ++i) {
    const GrantDevice& device = look.grant.devices[i];
    const RegionLimits& words = look.region.limits[i];
    const std::uint32_t cores = device.cores ? device.cores->count : kAllCores.count;
    const bool memory = device.limit != Bytes{} && (words.memory == Bytes{} || words.memory > device.limit);
    if (!memory && words.cores != 0 && words.cores <= cores) continue;
    const std::string what = memory ? fmt::format("a memory limit of {} on device {}, its page has {}",
                                                  to_text(words.memory), device.index, to_text(device.limit))
                                    : fmt::format("a compute limit of {} % on device {}, its page has {} %",
                                                  words.cores, device.index, cores);
    Tampering one{Tampering::Kind::Limits, device.uuid, 0,
                  fmt::format("the region of grant {} says {}: somebody wrote into it", look.grant.id.text, what)};
    if (again(one)) found.push_back(std::move(one));
  }
}

}  // namespace kiboko
