// Sets of devices as a whole: asking for particular ones, and removing them.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string_view>

#include "device.h"
#include "spec.h"

namespace sim {
namespace {

bool same_devices(const Shared& shared, const std::vector<DeviceSpec>& specs) {
  if (shared.device_count != specs.size()) return false;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Device& device = shared.devices[i];
    const Product& wanted = specs[i].product;
    if (strcmp(device.product, wanted.key) != 0 || device.spec.memory_mib != wanted.memory_mib ||
        device.spec.sm_count != wanted.sm_count || device.spec.compute_major != wanted.compute_major ||
        device.spec.compute_minor != wanted.compute_minor)
      return false;
    if (specs[i].numa >= 0 && device.numa_node != static_cast<std::uint32_t>(specs[i].numa)) return false;
    Uuid uuid = device.uuid;
    if (!specs[i].uuid.empty() && parse_uuid(specs[i].uuid, uuid.bytes) &&
        memcmp(uuid.bytes, device.uuid.bytes, sizeof uuid.bytes) != 0)
      return false;
  }
  return true;
}

std::string devices_text(const Shared& shared) {
  std::string text;
  for (std::uint32_t i = 0; i < shared.device_count;) {
    std::uint32_t next = i;
    while (next < shared.device_count && strcmp(shared.devices[next].product, shared.devices[i].product) == 0) ++next;
    text += (text.empty() ? "" : ",") + std::to_string(next - i) + "x" + shared.devices[i].product;
    i = next;
  }
  return text;
}

}  // namespace

std::size_t processes_on(Shared& shared) {
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < shared.device_count; ++i) count += processes_of(shared, static_cast<int>(i)).size();
  return count;
}

Shared* demand(const std::string& name, const std::string& devices, std::string& error) {
  std::vector<DeviceSpec> specs;
  if (!read_devices(devices.empty() ? kDefaultDevices : devices, specs, error)) return nullptr;
  for (int attempt = 0; attempt < 3; ++attempt) {
    Shared* shared = attach(name, devices, error);
    if (shared == nullptr || same_devices(*shared, specs)) return shared;
    error = path_of(name) + " holds " + devices_text(*shared) + ", not " + devices;
    const std::size_t users = processes_on(*shared);
    if (users != 0)
      error += ", and " + std::to_string(users) +
               (users == 1 ? " process is on it; end it, or ask for the same"
                           : " processes are on it; end them, or ask for the same");
    const bool removed = users == 0 && remove_files(name, *shared, error);
    munmap(shared, sizeof(Shared));
    if (!removed) return nullptr;
  }
  return nullptr;
}

bool remove_files(const std::string& name, const Shared& shared, std::string& error) {
  const std::string shared_memory = std::string("kiboko-sim-mem-") + shared.name + "-";
  DIR* folder = opendir("/dev/shm");
  while (const dirent* entry = folder == nullptr ? nullptr : readdir(folder)) {
    const std::string_view file = entry->d_name;
    const bool ours = file.substr(0, shared_memory.size()) == shared_memory &&
                      file.substr(shared_memory.size()).find_first_not_of("0123456789") == std::string_view::npos;
    if (ours) unlink(("/dev/shm/" + std::string(file)).c_str());
  }
  if (folder != nullptr) closedir(folder);
  unlink(management_path(name).c_str());
  if (unlink(path_of(name).c_str()) == 0 || errno == ENOENT) return true;
  error = path_of(name) + ": " + strerror(errno);
  return false;
}

}  // namespace sim
