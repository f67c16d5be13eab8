#include "host/doctor.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"

namespace kiboko {
namespace {

constexpr std::uint64_t kLittleRoom = 64U << 20U;

Check devices(const Host& host) {
  const Watcher::View view = host.survey();
  if (const auto trouble = host.driver_trouble())
    return {"driver", Health::Trouble, *trouble, "look at dmesg and nvidia-smi; running programs are not touched"};
  if (!view.survey || view.survey->devices.empty())
    return {"driver", Health::Trouble, "no device was found",
            "start the agent with --simulate H100-80GB to try without one"};
  const std::size_t count = view.survey->devices.size();
  return {"driver",
          Health::Well,
          fmt::format("{} device{}, driver {}", count, count == 1 ? "" : "s",
                      view.survey->driver_version.empty() ? "unknown" : view.survey->driver_version),
          {}};
}

Check health_of_devices(const Host& host) {
  for (const DeviceState& state : host.devices())
    if (!state.device.healthy)
      return {"devices", Health::Trouble, fmt::format("device {}: {}", state.device.index, state.device.trouble),
              "nothing new is granted on it until it answers again"};
  return {"devices", Health::Well, "all devices answer", {}};
}

Check mode(const Host& host) {
  if (host.enforces())
    return {"mode", Health::Well, "enforced: programs of other users cannot change their limits", {}};
  return {"mode", Health::Notice,
          "cooperative: agent and programs are the same user, so accidents are stopped, intent is not",
          "run the agent as root to enforce limits"};
}

Check groups(const Host& host) {
  if (host.cgroups().available())
    return {"control groups", Health::Well, fmt::format("each grant has one under {}", host.cgroups().root()), {}};
  return {"control groups", Health::Notice,
          fmt::format("none ({}): a grant holds the processes that `kiboko run` reports", host.cgroups().why()),
          host.enforces() ? "mount a cgroup hierarchy that the agent may write" : "run the agent as root to have them"};
}

Check library(const Host& host) {
  const std::string& shim = host.options().programs.shim;
  if (::access(shim.c_str(), R_OK) == 0) return {"library", Health::Well, shim + " is there", {}};
  return {"library", Health::Trouble, shim + " is missing: shares would start without their limits",
          "build or install Kiboko as a whole"};
}

Check ledger(const Host& host) {
  if (host.ledger_trouble())
    return {"ledger", Health::Trouble, *host.ledger_trouble(), "no grant is made until it can be written"};
  return {"ledger", Health::Well, host.ledger().path() + " is written", {}};
}

Check room(const Host& host) {
  struct statvfs found {};
  const std::string& path = host.options().runtime_dir;
  if (::statvfs(path.c_str(), &found) != 0)
    return {"room", Health::Trouble, path + " cannot be looked at", "check that it exists"};
  const std::uint64_t free = std::uint64_t{found.f_bavail} * found.f_frsize;
  if (free >= kLittleRoom) return {"room", Health::Well, fmt::format("{} has {} free", path, format_bytes(free)), {}};
  return {"room", Health::Trouble,
          fmt::format("{} has only {} free; a grant needs up to 3 MiB", path, format_bytes(free)), "free some space"};
}

Check strangers(const Host& host) {
  const std::size_t count = host.strangers().size();
  if (count == 0) return {"strangers", Health::Well, "every process on the devices has a grant", {}};
  return {"strangers", Health::Notice,
          fmt::format("{} process{} on the devices without a grant or past the library", count,
                      count == 1 ? " is" : "es are"),
          "see `kiboko devices`"};
}

}  // namespace

std::vector<Check> examine(const Host& host) {
  std::vector<Check> checks;
  for (const auto check : {devices, health_of_devices, mode, groups, library, ledger, room, strangers})
    checks.push_back(check(host));
  return checks;
}

}  // namespace kiboko
