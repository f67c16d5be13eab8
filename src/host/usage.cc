// How the figures come about. Memory: what the slots of living processes have charged; a dead process's slot counts for
// nothing from the moment we look. Compute: the device time that the grant's work covered since the last look (the
// union over its processes), by the time that passed; the region keeps the sum, we keep the last value.
#include "host/usage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/file.h"
#include "region/layout.h"
#include "region/slots.h"

namespace kiboko {
namespace {

using region::Extension;

// One aligned word of a copy of the region.
std::uint64_t word_at(const char* bytes, std::size_t offset) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes + offset, sizeof word);
  return word;
}

bool read_at(int fd, char* out, std::size_t size, std::size_t offset) {
  return ::pread(fd, out, size, static_cast<off_t>(region::kExtensionOffset + offset)) == static_cast<ssize_t>(size);
}

std::optional<RegionSlotView> read_slot(int fd, std::size_t index, std::size_t device_count) {
  char identity[sizeof(region::SlotIdentity)];
  if (!read_at(fd, identity, sizeof identity, offsetof(Extension, slots) + index * sizeof identity))
    return std::nullopt;
  const region::SlotWord word = region::unpack(word_at(identity, offsetof(region::SlotIdentity, state)));
  if (word.state != region::SlotState::Live) return std::nullopt;
  RegionSlotView slot;
  slot.process = {static_cast<pid_t>(word.pid), word_at(identity, offsetof(region::SlotIdentity, start_time)),
                  word_at(identity, offsetof(region::SlotIdentity, pid_ns))};
  char group[sizeof(region::ChargeGroup)];
  if (!read_at(fd, group, sizeof group, offsetof(Extension, charges) + index / 8 * sizeof group)) return std::nullopt;
  for (std::size_t device = 0; device < device_count; ++device)
    slot.charged.push_back(Bytes{word_at(group, (device * 8 + index % 8) * sizeof(std::uint64_t))});
  return slot;
}

}  // namespace

Result<RegionView> read_region(const std::string& path, std::size_t device_count) {
  const UniqueFd fd = TRY(open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  char header[sizeof(region::ExtensionHeader)];
  if (!read_at(fd.get(), header, sizeof header, 0)) return fail(Errc::NotFound, "{} is not filled yet", path);
  if (word_at(header, offsetof(region::ExtensionHeader, magic)) != region::kExtensionMagic)
    return fail(Errc::Invalid, "{} is not a region", path);
  RegionView view;
  for (std::size_t device = 0; device < device_count; ++device) {
    char words[128];  // the bucket's line and the lock's, without the timeline
    const std::size_t at = offsetof(Extension, devices) + device * sizeof(region::DeviceWords);
    if (!read_at(fd.get(), words, sizeof words, at)) return fail(Errc::Invalid, "{} is cut short", path);
    view.devices.push_back({word_at(words, offsetof(region::DeviceWords, charged_ns)),
                            word_at(words, offsetof(region::DeviceWords, covered_ns))});
  }
  for (std::size_t index = 0; index < region::kMaxSlots; ++index) {
    const std::uint64_t live =
        word_at(header, offsetof(region::ExtensionHeader, live) + index / 64 * sizeof(std::uint64_t));
    if ((live >> index % 64U & 1U) == 0) continue;
    auto slot = read_slot(fd.get(), index, device_count);
    if (slot && liveness(slot->process) != Liveness::Gone) view.slots.push_back(std::move(*slot));
  }
  return view;
}

void UsageMeter::name_processes(const std::vector<ProcessId>& members) {
  for (const ProcessId& member : members)
    if (std::ranges::find(usage_.processes, member.pid, &ProcessUse::pid) == usage_.processes.end())
      usage_.processes.push_back({member.pid, std::nullopt, {}});
  for (ProcessUse& process : usage_.processes)
    if (const auto stat = process_stat(process.pid)) process.command = stat->command;
}

void UsageMeter::read_share(const Grant& grant, const RegionView& region, const std::vector<ProcessId>& members,
                            std::uint64_t now_ns) {
  usage_ = {};
  usage_.devices.resize(grant.devices.size());
  slot_pids_.clear();
  for (DeviceUse& device : usage_.devices) device.used = Bytes{};
  for (const RegionSlotView& slot : region.slots) {
    slot_pids_.push_back(slot.process.pid);
    Bytes sum;
    for (std::size_t i = 0; i < usage_.devices.size(); ++i) {
      *usage_.devices[i].used += slot.charged[i];
      sum += slot.charged[i];
    }
    usage_.processes.push_back({slot.process.pid, sum, {}});
  }
  const bool before = last_ns_ != 0 && now_ns > last_ns_ && last_covered_.size() == region.devices.size();
  for (std::size_t i = 0; i < usage_.devices.size(); ++i) {
    if (!before || region.devices[i].covered_ns < last_covered_[i]) continue;  // a tenant may have turned it back
    const auto covered = static_cast<double>(region.devices[i].covered_ns - last_covered_[i]);
    usage_.devices[i].compute_percent = std::min(100.0, 100.0 * covered / static_cast<double>(now_ns - last_ns_));
  }
  last_covered_.clear();
  for (const RegionDeviceView& device : region.devices) last_covered_.push_back(device.covered_ns);
  last_ns_ = now_ns;
  name_processes(members);
}

void UsageMeter::read_whole(const Grant& grant, const std::vector<ProcessId>& members, const Survey& survey) {
  usage_ = {};
  slot_pids_.clear();
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

bool UsageMeter::has_slot(pid_t pid) const { return std::ranges::find(slot_pids_, pid) != slot_pids_.end(); }

}  // namespace kiboko
