// How the figures come about. Memory: what the slots of living processes have charged; a dead process's slot counts for
// nothing from the moment we look. Compute: the device time that the grant's work covered since the last look (the
// union over its processes), by the time that passed; the region keeps the sum, we keep the last value. Time that
// others held a time-sliced device is within it, so that the driver's own figure for the grant's processes, where there
// is one, bounds it from above.
#include "host/usage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"
#include "region/snapshot.h"

namespace kiboko {
namespace {

RegionSlotView view_of(const region::SnapshotSlot& slot, std::size_t device_count, std::uint64_t own_namespace) {
  RegionSlotView view;
  view.process = {static_cast<pid_t>(slot.pid), slot.start_time, slot.pid_ns};
  view.host_pid = static_cast<pid_t>(slot.pid_ns == own_namespace ? slot.pid : slot.host_pid);
  view.nonce = slot.nonce;
  view.imports = (slot.flags & region::kSlotImports) != 0;
  for (std::size_t device = 0; device < device_count; ++device) {
    const region::SnapshotCounters& counters = slot.counters[device];
    view.charged.push_back(Bytes{slot.charged[device]});
    view.counters.push_back({counters.launches, counters.throttled_ns, counters.oom_refusals});
  }
  return view;
}

}  // namespace

namespace {

// What the driver says that these processes computed on the device; nothing if it does not know for each of them.
std::optional<double> driver_percent(const Survey* survey, const DeviceUuid& uuid, const std::vector<pid_t>& pids) {
  if (survey == nullptr || pids.empty()) return std::nullopt;
  const auto sample = std::ranges::find(survey->samples, uuid, &DeviceSample::uuid);
  if (sample == survey->samples.end()) return std::nullopt;
  double sum = 0;
  for (const pid_t pid : pids) {
    const auto process = std::ranges::find(sample->processes, pid, &DeviceProcess::pid);
    if (process == sample->processes.end() || !process->compute_percent) return std::nullopt;
    sum += *process->compute_percent;
  }
  return sum;
}

}  // namespace

RegionReader::RegionReader() : snapshot_(std::make_unique<region::RegionSnapshot>()) {}
RegionReader::~RegionReader() = default;

Result<RegionView> RegionReader::read(const std::string& path, const Grant& grant) {
  const UniqueFd fd = TRY(open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return fail_errno(errno, fmt::format("look at {}", path));
  if (!S_ISREG(found.st_mode)) return fail(Errc::Invalid, "{} is not a file any more", path);
  if (found.st_size == 0) return fail(Errc::NotFound, "{} is not filled yet", path);
  if (found.st_uid != grant.owner.uid) return fail(Errc::Invalid, "{} is not the owner's", path);
  region::PageError error{};
  if (!region::read_snapshot(fd.get(), region::SnapshotCover::Skip, snapshot_.get(), &error))
    return fail(Errc::Invalid, "{}: {}", path, error.text);
  if (snapshot_->device_count != grant.devices.size())
    return fail(Errc::Invalid, "{} is for {} devices, the grant has {}", path, snapshot_->device_count,
                grant.devices.size());
  const std::uint64_t own_namespace = own_pid_namespace().value_or(0);
  RegionView view;
  for (unsigned i = 0; i < snapshot_->slot_count; ++i) {
    RegionSlotView slot = view_of(snapshot_->slots[i], grant.devices.size(), own_namespace);
    // The tenant's word: it would cover whomever it names.
    if (slot.host_pid != 0 && slot.process.pid_namespace != own_namespace)
      if (const auto inside = identify_from_inside(slot.host_pid); !inside || *inside != slot.process)
        slot.host_pid = 0;
    if (liveness(slot.process) != Liveness::Gone) view.slots.push_back(std::move(slot));
  }
  for (unsigned i = 0; i < snapshot_->device_count; ++i) {
    const region::SnapshotDevice& device = snapshot_->devices[i];
    view.covered_ns.push_back(device.covered_ns);
    view.limits.push_back({Bytes{device.limit_mirror}, device.core_mirror});
    view.waits.emplace_back(std::begin(device.waits), std::end(device.waits));
    view.busy_until_ns = std::max({view.busy_until_ns, device.busy_until_ns, device.backlog_until_ns});
  }
  view.mirrored_generation = snapshot_->mirrored_generation;
  view.nonce = snapshot_->nonce;
  return view;
}

void UsageMeter::name_processes(const std::vector<ProcessId>& members) {
  for (const ProcessId& member : members)
    if (std::ranges::find(usage_.processes, member.pid, &ProcessUse::pid) == usage_.processes.end())
      usage_.processes.push_back({member.pid, std::nullopt, {}});
  for (ProcessUse& process : usage_.processes)
    if (const auto stat = process_stat(process.pid)) process.command = stat->command;
}

// A slot's counters end with its process: what was added since the last look is kept. The words are the tenant's.
void UsageMeter::count(const RegionView& region) {
  counted_.resize(usage_.devices.size());
  std::map<std::uint64_t, std::vector<UseCounters>> now;
  for (const RegionSlotView& slot : region.slots) {
    const auto known = last_counted_.find(slot.nonce);
    for (std::size_t i = 0; i < std::min(slot.counters.size(), counted_.size()); ++i) {
      const UseCounters before =
          known != last_counted_.end() && i < known->second.size() ? known->second[i] : UseCounters{};
      const auto more = [](std::uint64_t then, std::uint64_t value) { return value > then ? value - then : 0; };
      counted_[i].launches += more(before.launches, slot.counters[i].launches);
      counted_[i].throttled_ns += more(before.throttled_ns, slot.counters[i].throttled_ns);
      counted_[i].refusals += more(before.refusals, slot.counters[i].refusals);
    }
    now[slot.nonce] = slot.counters;
  }
  last_counted_ = std::move(now);
  for (std::size_t i = 0; i < counted_.size(); ++i) usage_.devices[i].counters = counted_[i];
}

void UsageMeter::read_share(const Grant& grant, const RegionView& region, const std::vector<ProcessId>& members,
                            const Survey* survey, std::uint64_t now_ns) {
  usage_ = {};
  usage_.devices.resize(grant.devices.size());
  slot_pids_.clear();
  slots_elsewhere_.clear();
  for (std::size_t i = 0; i < usage_.devices.size(); ++i) {
    usage_.devices[i].used = Bytes{};
    if (i < region.waits.size()) usage_.devices[i].waits = region.waits[i];
  }
  for (const RegionSlotView& slot : region.slots) {
    if (slot.host_pid != 0)
      slot_pids_.push_back(slot.host_pid);
    else
      slots_elsewhere_.push_back(slot.process);
    Bytes sum;
    for (std::size_t i = 0; i < usage_.devices.size(); ++i) {
      *usage_.devices[i].used += slot.charged[i];
      sum += slot.charged[i];
    }
    if (slot.host_pid != 0) usage_.processes.push_back({slot.host_pid, sum, {}});
  }
  const bool before = last_ns_ != 0 && now_ns > last_ns_ && last_covered_.size() == region.covered_ns.size();
  for (std::size_t i = 0; i < usage_.devices.size(); ++i) {
    if (!before || region.covered_ns[i] < last_covered_[i]) continue;  // a tenant may have turned it back
    const auto covered = static_cast<double>(region.covered_ns[i] - last_covered_[i]);
    const double share = 100.0 * covered / static_cast<double>(now_ns - last_ns_);
    usage_.devices[i].compute_percent =
        std::min({100.0, share, driver_percent(survey, grant.devices[i].uuid, slot_pids_).value_or(100.0)});
  }
  count(region);
  last_covered_ = region.covered_ns;
  last_ns_ = now_ns;
  name_processes(members);
}

void UsageMeter::read_whole(const Grant& grant, const std::vector<ProcessId>& members, const Survey& survey) {
  usage_ = {};
  slot_pids_.clear();
  slots_elsewhere_.clear();
  const auto is_member = [&](pid_t pid) { return std::ranges::find(members, pid, &ProcessId::pid) != members.end(); };
  for (const GrantDevice& granted : grant.devices) {
    DeviceUse use;
    const auto sample = std::ranges::find(survey.samples, granted.uuid, &DeviceSample::uuid);
    if (sample != survey.samples.end()) {
      // Nobody else may be on the device: its own figure is the grant's.
      if (sample->compute_percent) use.compute_percent = static_cast<double>(*sample->compute_percent);
      use.used = Bytes{};
      for (const DeviceProcess& process : sample->processes) {
        if (!is_member(process.pid)) continue;
        use.used = use.used && process.used ? std::optional(*use.used + *process.used) : std::nullopt;
        const auto same = std::ranges::find(usage_.processes, process.pid, &ProcessUse::pid);
        if (same == usage_.processes.end())
          usage_.processes.push_back({process.pid, process.used, {}});
        else if (process.used)
          same->used = same->used.value_or(Bytes{}) + *process.used;
      }
    }
    usage_.devices.push_back(use);
  }
  name_processes(members);
}

bool UsageMeter::has_slot(pid_t pid) const {
  if (std::ranges::find(slot_pids_, pid) != slot_pids_.end()) return true;
  if (slots_elsewhere_.empty()) return false;
  const auto inside = identify_from_inside(pid);
  return inside && std::ranges::find(slots_elsewhere_, *inside) != slots_elsewhere_.end();
}

}  // namespace kiboko
