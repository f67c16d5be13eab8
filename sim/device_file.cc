// Making and opening the file of a device set.
//
// A file is built under a name of its own and then linked to the final one, so nobody ever sees half a file and of two
// makers one wins. The final name is opened without O_CREAT: in a sticky directory the kernel refuses O_CREAT on a
// file of another user.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <new>

#include "device_internal.h"
#include "spec.h"

namespace sim {
namespace {

std::uint64_t constant(const char* name, std::uint64_t fallback) {
  const char* text = getenv(name);
  if (text == nullptr || *text == 0) return fallback;
  char* end = nullptr;
  const unsigned long long value = strtoull(text, &end, 10);
  return *end == 0 && value > 0 ? value : fallback;
}

Constants constants_from_environment() {
  return {
      .slice_ns = constant("KIBOKO_SIM_SLICE_US", 2000) * 1000,
      .wave_ns = constant("KIBOKO_SIM_WAVE_NS", 10'000),
      .blocks_per_sm = constant("KIBOKO_SIM_BLOCKS_PER_SM", 16),
      .copy_latency_ns = constant("KIBOKO_SIM_COPY_LATENCY_NS", 2000),
      .host_bytes_per_us = constant("KIBOKO_SIM_HOST_MBS", 25'000),
  };
}

std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

Uuid make_uuid(const std::string& name, int index) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  const std::uint64_t high = mix(hash + static_cast<std::uint64_t>(index) * 2);
  const std::uint64_t low = mix(high ^ hash);
  Uuid uuid;
  memcpy(uuid.bytes, &high, 8);
  memcpy(uuid.bytes + 8, &low, 8);
  uuid.bytes[6] = static_cast<unsigned char>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<unsigned char>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

void fill_device(Device& device, const DeviceSpec& spec, const std::string& name, int index, int count) {
  snprintf(device.product, sizeof device.product, "%s", spec.product.key);
  snprintf(device.name, sizeof device.name, "%s", spec.product.name);
  device.spec = spec.product;
  device.spec.key = nullptr;
  device.spec.name = nullptr;
  device.uuid = make_uuid(name, index);
  if (!spec.uuid.empty()) parse_uuid(spec.uuid, device.uuid.bytes);
  device.numa_node = spec.numa >= 0 ? static_cast<std::uint32_t>(spec.numa) : (index >= (count + 1) / 2 ? 1 : 0);
  device.pci_domain = 0;
  device.pci_bus = static_cast<std::uint32_t>(0x17 + index * 0x0c);
  device.pci_slot = 0;
  device.memory_total = spec.product.unified ? host_memory().total : spec.product.memory_mib * kMiB;
  device.memory_reserved = spec.product.reserved_mib * kMiB;
  if (device.memory_reserved > device.memory_total / 8) device.memory_reserved = device.memory_total / 8;
  init_robust(device.memory_lock);
  init_robust(device.time_lock);
  device.clock = now_ns();
}

Shared* map(int file) {
  void* address = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  return address == MAP_FAILED ? nullptr : static_cast<Shared*>(address);
}

std::string failure(const std::string& path, const char* what) { return path + ": " + what + ": " + strerror(errno); }

Shared* open_existing(const std::string& path, std::string& error) {
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    error = failure(path, "cannot open");
    return nullptr;
  }
  struct stat info;
  Shared* shared = nullptr;
  if (fstat(file, &info) != 0 || static_cast<std::uint64_t>(info.st_size) != sizeof(Shared)) {
    error = path + ": made by another version of the simulation; remove it when nobody uses it";
  } else if (shared = map(file); shared == nullptr) {
    error = failure(path, "cannot map");
  } else if (shared->magic != kMagic || shared->layout_version != kLayoutVersion || shared->bytes != sizeof(Shared)) {
    error = path + ": not a device set of this version; remove it when nobody uses it";
    munmap(shared, sizeof(Shared));
    shared = nullptr;
  }
  close(file);
  return shared;
}

// Goes into the names of files in one folder: of two sets with paths, the last parts may be the same.
std::string tag_of(const std::string& name) {
  if (name.find('/') == std::string::npos) return name;
  char tag[64];
  snprintf(tag, sizeof tag, "%.30s-%016zx", name.substr(name.rfind('/') + 1).c_str(),
           std::hash<std::string>()(std::filesystem::absolute(name).lexically_normal()));
  return tag;
}

bool fill(Shared& shared, const std::string& name, const std::vector<DeviceSpec>& specs) {
  shared.layout_version = kLayoutVersion;
  shared.device_count = static_cast<std::uint32_t>(specs.size());
  shared.bytes = sizeof(Shared);
  snprintf(shared.name, sizeof shared.name, "%s", tag_of(name).c_str());
  shared.constants = constants_from_environment();
  shared.next_id = 1;
  init_robust(shared.table_lock);
  const int count = static_cast<int>(specs.size());
  for (int i = 0; i < count; ++i) fill_device(shared.devices[i], specs[static_cast<std::size_t>(i)], name, i, count);
  shared.magic = kMagic;
  return true;
}

// Builds the file; true when the final name exists afterwards, made by us or by somebody quicker.
bool make(const std::string& path, const std::string& name, const std::vector<DeviceSpec>& specs, std::string& error) {
  const std::string draft = path + "." + std::to_string(getpid()) + "." + std::to_string(now_ns());
  const int file = open(draft.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) {
    error = failure(draft, "cannot make");
    return false;
  }
  bool made = false;
  Shared* shared = ftruncate(file, sizeof(Shared)) == 0 ? map(file) : nullptr;
  if (shared == nullptr) {
    error = failure(draft, "cannot map");
  } else {
    fill(*shared, name, specs);
    munmap(shared, sizeof(Shared));
    made = fchmod(file, 0666) == 0 && (link(draft.c_str(), path.c_str()) == 0 || errno == EEXIST);
    if (!made) error = failure(path, "cannot make");
  }
  unlink(draft.c_str());
  close(file);
  return made;
}

}  // namespace

std::string path_of(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  return "/dev/shm/kiboko-sim-" + (name.empty() ? std::string("default") : name);
}

std::string management_path(const std::string& name) { return path_of(name) + ".management-1"; }

std::string shared_file(const Shared& shared, std::uint64_t id) {
  return std::string("/dev/shm/kiboko-sim-mem-") + shared.name + "-" + std::to_string(id);
}

HostMemory host_memory() {
  HostMemory memory{};
  FILE* file = fopen("/proc/meminfo", "re");
  char line[128];
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr) {
    unsigned long long kib = 0;
    if (sscanf(line, "MemTotal: %llu kB", &kib) == 1) memory.total = kib * 1024;
    if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) memory.available = kib * 1024;
  }
  if (file != nullptr) fclose(file);
  return memory;
}

Shared* attach(const std::string& name, const std::string& devices, std::string& error) {
  const std::string set = name.empty() ? "default" : name;
  const std::string path = path_of(set);
  if (access(path.c_str(), F_OK) != 0) {
    std::vector<DeviceSpec> specs;
    if (!read_devices(devices.empty() ? kDefaultDevices : devices, specs, error)) return nullptr;
    if (!make(path, set, specs, error)) return nullptr;
  }
  return open_existing(path, error);
}

Shared* attach_from_environment(std::string& error) {
  const char* name = getenv("KIBOKO_SIM");
  const char* devices = getenv("KIBOKO_SIM_DEVICES");
  return attach(name == nullptr ? "" : name, devices == nullptr ? "" : devices, error);
}

std::string uuid_text(const Uuid& uuid) {
  char text[48];
  const unsigned char* b = uuid.bytes;
  snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
           b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
  return text;
}

}  // namespace sim
