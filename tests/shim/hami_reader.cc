#include "hami_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kiboko::shim_test {
namespace {

constexpr std::size_t kBytes = 2'008'952;
constexpr std::int32_t kMagic = 19'920'718;
constexpr std::size_t kMajor = 4, kMinor = 8, kOwner = 16, kSemaphore = 24, kCount = 56, kUuids = 64;
constexpr std::size_t kMemoryLimits = 1600, kSmLimits = 1728, kSlots = 1856;
constexpr std::size_t kSlotCount = 2'008'896, kSwitch = 2'008'900, kRecent = 2'008'904, kPriority = 2'008'908;
constexpr std::size_t kLastKernel = 2'008'912;
constexpr std::size_t kMostDevices = 16, kMostSlots = 1024;
constexpr std::size_t kUuidStep = 96, kUuidText = 40;
constexpr std::size_t kSlotStep = 1960, kHostPid = 4, kUsed = 8, kUsedStep = 64, kUtil = 1160, kUtilStep = 48;
constexpr std::size_t kStatus = 1928;

template <class T>
T at(const std::string& bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

HamiProcess process_at(const std::string& bytes, unsigned slot, std::size_t devices) {
  const std::size_t from = kSlots + slot * kSlotStep;
  HamiProcess process;
  process.slot = slot;
  process.pid = at<std::int32_t>(bytes, from);
  process.host_pid = at<std::int32_t>(bytes, from + kHostPid);
  process.status = at<std::int32_t>(bytes, from + kStatus);
  for (std::size_t i = 0; i < devices; ++i) {
    const std::size_t used = from + kUsed + i * kUsedStep;
    HamiUse use;
    use.context = at<std::uint64_t>(bytes, used);
    use.module = at<std::uint64_t>(bytes, used + 8);
    use.data = at<std::uint64_t>(bytes, used + 16);
    use.offset = at<std::uint64_t>(bytes, used + 24);
    use.total = at<std::uint64_t>(bytes, used + 32);
    use.sm = at<std::uint64_t>(bytes, from + kUtil + i * kUtilStep + 16);
    process.devices.push_back(use);
  }
  return process;
}

template <class T>
void put(const std::string& path, std::size_t offset, T value) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0 || ::pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)) != static_cast<ssize_t>(sizeof value))
    std::abort();
  ::close(fd);
}

}  // namespace

std::optional<HamiRegionView> read_hami_region(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string bytes = text.str();
  if (bytes.size() < kBytes || at<std::int32_t>(bytes, 0) != kMagic || at<std::uint32_t>(bytes, kMajor) != 1 ||
      at<std::uint32_t>(bytes, kMinor) != 2)
    return std::nullopt;
  HamiRegionView view;
  view.owner_pid = at<std::uint64_t>(bytes, kOwner);
  view.slot_count = at<std::int32_t>(bytes, kSlotCount);
  view.utilization_switch = at<std::int32_t>(bytes, kSwitch);
  view.recent_kernel = at<std::int32_t>(bytes, kRecent);
  view.priority = at<std::int32_t>(bytes, kPriority);
  view.last_kernel_time = at<std::int64_t>(bytes, kLastKernel);
  const std::uint64_t count = std::min<std::uint64_t>(at<std::uint64_t>(bytes, kCount), kMostDevices);
  for (std::size_t i = 0; i < count; ++i) {
    HamiDevice device;
    device.uuid = bytes.substr(kUuids + i * kUuidStep, kUuidText).c_str();
    device.memory_limit = at<std::uint64_t>(bytes, kMemoryLimits + i * 8);
    device.sm_limit = at<std::uint64_t>(bytes, kSmLimits + i * 8);
    view.devices.push_back(device);
  }
  for (unsigned slot = 0; slot < kMostSlots && static_cast<std::int32_t>(slot) < view.slot_count; ++slot) {
    const HamiProcess process = process_at(bytes, slot, count);
    if (process.status == 0) continue;
    for (std::size_t i = 0; i < count; ++i) view.devices[i].used += process.devices[i].total;
    view.processes.push_back(process);
  }
  return view;
}

std::string hami_region_in(const std::string& folder) {
  std::string found;
  unsigned candidates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool cache = name.ends_with(".cache");
    if (cache || name.find("libvgpu.so") != std::string::npos) ++candidates;
    if (cache) found = entry.path();
  }
  return candidates > 2 ? "" : found;
}

void set_hami_memory_limit(const std::string& path, unsigned device, std::uint64_t bytes) {
  put(path, kMemoryLimits + device * 8, bytes);
}

void set_hami_recent_kernel(const std::string& path, std::int32_t value) { put(path, kRecent, value); }

void leave_hami_region(const std::string& path, const std::vector<std::string>& uuids, std::int32_t pid,
                       std::uint64_t used) {
  put(path, 0, kMagic);
  put(path, kMajor, std::uint32_t{1});
  put(path, kMinor, std::uint32_t{2});
  put(path, kSemaphore, std::uint32_t{1});
  put(path, kCount, std::uint64_t{uuids.size()});
  for (std::size_t i = 0; i < uuids.size(); ++i)
    for (std::size_t c = 0; c < uuids[i].size(); ++c) put(path, kUuids + i * kUuidStep + c, uuids[i][c]);
  put(path, kSlots, pid);
  put(path, kSlots + kUsed + 32, used);
  put(path, kSlots + kStatus, std::int32_t{1});
  put(path, kSlotCount, std::int32_t{1});
  put(path, kSwitch, std::int32_t{1});
  put(path, kBytes, char{0});
}

}  // namespace kiboko::shim_test
