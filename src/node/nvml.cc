// Facts behind the order of the calls: NVML may be initialised before the kernel module is loaded and then fails, so an
// initialisation that failed is tried again at the next survey. Sizes of process lists change between the question and
// the answer, so the list is asked for with room to spare and again when that was not enough. A driver that does not
// keep a figure says "not supported" and the figure stays unknown; it is never made zero.
#include "node/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "node/host_memory.h"

namespace kiboko {

struct NvmlLibrary::Functions {
  nvml::Return (*init)() = nullptr;
  const char* (*error_string)(nvml::Return) = nullptr;
  nvml::Return (*driver_version)(char*, unsigned) = nullptr;
  nvml::Return (*count)(unsigned*) = nullptr;
  nvml::Return (*handle)(unsigned, nvml::Device*) = nullptr;
  nvml::Return (*uuid)(nvml::Device, char*, unsigned) = nullptr;
  nvml::Return (*name)(nvml::Device, char*, unsigned) = nullptr;
  nvml::Return (*minor)(nvml::Device, unsigned*) = nullptr;
  nvml::Return (*pci)(nvml::Device, nvml::Pci*) = nullptr;
  nvml::Return (*memory)(nvml::Device, nvml::MemoryV1*) = nullptr;
  nvml::Return (*memory_v2)(nvml::Device, nvml::MemoryV2*) = nullptr;
  nvml::Return (*utilization)(nvml::Device, nvml::Utilization*) = nullptr;
  nvml::Return (*processes)(nvml::Device, unsigned*, nvml::ProcessV2*) = nullptr;
  nvml::Return (*graphics)(nvml::Device, unsigned*, nvml::ProcessV2*) = nullptr;
  nvml::Return (*processes_v1)(nvml::Device, unsigned*, nvml::ProcessV1*) = nullptr;
  nvml::Return (*process_utilization)(nvml::Device, nvml::ProcessUtilization*, unsigned*, unsigned long long) = nullptr;
};

struct NvmlLibrary::Unit {
  nvml::Device handle = nullptr;
  Device device;
  unsigned long long last_seen_us = 0;  // newest utilisation sample read
};

namespace {

// The newest name of a function that the library has; null when it has none.
template <class Function>
void find(void* library, Function& out, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    out = reinterpret_cast<Function>(::dlsym(library, name));
    if (out != nullptr) return;
  }
}

// A list of unknown length: asks with room, then with what the library says it needs.
template <class Item, class Ask>
std::optional<std::vector<Item>> whole_list(Ask ask) {
  unsigned room = 64;
  for (int tries = 0; tries < 5; ++tries) {
    std::vector<Item> items(room);
    unsigned count = room;
    const nvml::Return code = ask(&count, items.data());
    if (code == nvml::kSuccess) {
      items.resize(std::min(count, room));
      return items;
    }
    if (code == nvml::kNotFound) return std::vector<Item>{};
    if (code != nvml::kInsufficientSize) return std::nullopt;
    room = std::clamp(count, room, 1U << 16U) + 64;
  }
  return std::nullopt;
}

std::optional<Bytes> known(unsigned long long bytes) {
  if (bytes == nvml::kMemoryNotAvailable) return std::nullopt;
  return Bytes{bytes};
}

// The same process can be in the compute and in the graphics list.
void add_process(std::vector<DeviceProcess>& list, unsigned pid, std::optional<Bytes> used) {
  const auto same = std::ranges::find(list, static_cast<pid_t>(pid), &DeviceProcess::pid);
  if (same == list.end())
    list.push_back({static_cast<pid_t>(pid), used, std::nullopt});
  else if (used)
    same->used = std::max(*used, same->used.value_or(Bytes{}));
}

}  // namespace

NvmlLibrary::NvmlLibrary(std::string path, bool simulated) : path_(std::move(path)), simulated_(simulated) {}
NvmlLibrary::~NvmlLibrary() = default;

Result<Survey> NvmlLibrary::survey() {
  TRY(load());
  if (units_.empty()) TRY(find_units());
  Survey survey;
  survey.driver_version = driver_version_;
  for (Unit& unit : units_) {
    const auto total = unit.device.total == Bytes{} ? find_total(unit.device, unit.handle) : Result<void>{};
    survey.samples.push_back(sample(unit));
    if (!total && survey.samples.back().trouble.empty()) survey.samples.back().trouble = total.error().message;
    survey.devices.push_back(unit.device);
    survey.devices.back().trouble = survey.samples.back().trouble;
    survey.devices.back().healthy = survey.samples.back().trouble.empty();
  }
  return survey;
}

Result<void> NvmlLibrary::load() {
  if (initialised_) return {};
  if (!functions_) {
    void* library = ::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return fail(Errc::NotFound, "no management library: {}", ::dlerror());
    auto f = std::make_unique<Functions>();
    find(library, f->init, {"nvmlInit_v2", "nvmlInit"});
    find(library, f->error_string, {"nvmlErrorString"});
    find(library, f->driver_version, {"nvmlSystemGetDriverVersion"});
    find(library, f->count, {"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"});
    find(library, f->handle, {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"});
    find(library, f->uuid, {"nvmlDeviceGetUUID"});
    find(library, f->name, {"nvmlDeviceGetName"});
    find(library, f->minor, {"nvmlDeviceGetMinorNumber"});
    find(library, f->pci, {"nvmlDeviceGetPciInfo_v3"});
    find(library, f->memory, {"nvmlDeviceGetMemoryInfo"});
    find(library, f->memory_v2, {"nvmlDeviceGetMemoryInfo_v2"});
    find(library, f->utilization, {"nvmlDeviceGetUtilizationRates"});
    find(library, f->processes, {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"});
    find(library, f->graphics,
         {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"});
    find(library, f->processes_v1, {"nvmlDeviceGetComputeRunningProcesses"});
    find(library, f->process_utilization, {"nvmlDeviceGetProcessUtilization"});
    if (f->init == nullptr || f->count == nullptr || f->handle == nullptr || f->uuid == nullptr || f->memory == nullptr)
      return fail(Errc::Unavailable, "{} lacks functions that every management library has", path_);
    functions_ = std::move(f);
  }
  const nvml::Return code = functions_->init();
  if (code != nvml::kSuccess) return fail(Errc::Unavailable, "{} does not start: {}", path_, why(code));
  char version[nvml::kVersionBytes] = {};
  if (functions_->driver_version != nullptr && functions_->driver_version(version, sizeof version) == nvml::kSuccess)
    driver_version_ = version;
  initialised_ = true;
  return {};
}

Result<void> NvmlLibrary::find_units() {
  unsigned count = 0;
  if (const nvml::Return code = functions_->count(&count); code != nvml::kSuccess)
    return fail(Errc::Unavailable, "{} cannot count devices: {}", path_, why(code));
  std::vector<Unit> units;
  for (unsigned index = 0; index < count; ++index) units.push_back(TRY(describe(index)));
  units_ = std::move(units);
  return {};
}

Result<NvmlLibrary::Unit> NvmlLibrary::describe(unsigned index) const {
  Unit unit;
  unit.device.index = index;
  unit.device.simulated = simulated_;
  if (const nvml::Return code = functions_->handle(index, &unit.handle); code != nvml::kSuccess)
    return fail(Errc::Unavailable, "device {} does not open: {}", index, why(code));
  char text[nvml::kUuidBytes] = {};
  if (const nvml::Return code = functions_->uuid(unit.handle, text, sizeof text); code != nvml::kSuccess)
    return fail(Errc::Unavailable, "device {} has no UUID: {}", index, why(code));
  unit.device.uuid.text.assign(text, ::strnlen(text, sizeof text));
  char name[nvml::kNameBytes] = {};
  if (functions_->name != nullptr && functions_->name(unit.handle, name, sizeof name) == nvml::kSuccess)
    unit.device.model.assign(name, ::strnlen(name, sizeof name));
  unsigned minor = 0;
  if (functions_->minor != nullptr && functions_->minor(unit.handle, &minor) == nvml::kSuccess)
    unit.device.minor = static_cast<int>(minor);
  nvml::Pci pci{};
  if (functions_->pci != nullptr && functions_->pci(unit.handle, &pci) == nvml::kSuccess)
    unit.device.pci.assign(pci.bus_id, ::strnlen(pci.bus_id, sizeof pci.bus_id));
  return unit;
}

// One that uses the host's memory (GB10, Jetson) is not supported here; what it can have is what the host has.
Result<void> NvmlLibrary::find_total(Device& device, nvml::Device handle) const {
  nvml::MemoryV1 memory{};
  const nvml::Return code = functions_->memory(handle, &memory);
  device.unified = code == nvml::kNotSupported;
  if (device.unified)
    device.total = TRY(read_host_memory()).total;
  else if (code == nvml::kSuccess)
    device.total = Bytes{memory.total};
  else
    return fail(Errc::Unavailable, "it does not tell its memory: {}", why(code));
  return {};
}

DeviceSample NvmlLibrary::sample(Unit& unit) const {
  DeviceSample out;
  out.uuid = unit.device.uuid;
  sample_memory(unit, out);
  if (!out.trouble.empty()) return out;
  sample_processes(unit, out);
  sample_compute(unit, out);
  return out;
}

void NvmlLibrary::sample_memory(const Unit& unit, DeviceSample& out) const {
  if (unit.device.unified) {  // whoever uses it, programs of the host too
    if (const auto host = read_host_memory()) out.used = host->total - host->available;
    return;
  }
  if (functions_->memory_v2 != nullptr) {
    nvml::MemoryV2 memory{};
    memory.version = nvml::kMemoryV2;
    if (functions_->memory_v2(unit.handle, &memory) == nvml::kSuccess) {
      out.used = known(memory.used);
      return;
    }
  }
  nvml::MemoryV1 memory{};
  const nvml::Return code = functions_->memory(unit.handle, &memory);
  if (code == nvml::kSuccess)
    out.used = known(memory.used);
  else if (code != nvml::kNotSupported)
    out.trouble = "the driver does not answer for it: " + why(code);
}

void NvmlLibrary::sample_processes(const Unit& unit, DeviceSample& out) const {
  if (functions_->processes != nullptr) {
    for (const auto function : {functions_->processes, functions_->graphics}) {
      if (function == nullptr) continue;
      const auto list = whole_list<nvml::ProcessV2>(
          [&](unsigned* count, nvml::ProcessV2* items) { return function(unit.handle, count, items); });
      if (!list) continue;
      for (const nvml::ProcessV2& process : *list) add_process(out.processes, process.pid, known(process.used));
    }
  } else if (functions_->processes_v1 != nullptr) {
    const auto list = whole_list<nvml::ProcessV1>(
        [&](unsigned* count, nvml::ProcessV1* items) { return functions_->processes_v1(unit.handle, count, items); });
    if (!list) return;
    for (const nvml::ProcessV1& process : *list) add_process(out.processes, process.pid, known(process.used));
  }
}

void NvmlLibrary::sample_compute(Unit& unit, DeviceSample& out) const {
  nvml::Utilization utilization{};
  if (functions_->utilization != nullptr && functions_->utilization(unit.handle, &utilization) == nvml::kSuccess)
    out.compute_percent = std::min(utilization.gpu, 100U);
  if (functions_->process_utilization == nullptr) return;
  const auto samples = whole_list<nvml::ProcessUtilization>([&](unsigned* count, nvml::ProcessUtilization* items) {
    return functions_->process_utilization(unit.handle, items, count, unit.last_seen_us);
  });
  if (!samples) return;
  struct Sum {
    unsigned total = 0, count = 0;
  };
  std::map<pid_t, Sum> sums;
  for (const nvml::ProcessUtilization& sample : *samples) {
    // The buffer may hold entries from before the question; some drivers fill the rest with zeros.
    if (sample.pid == 0 || sample.timestamp_us <= unit.last_seen_us) continue;
    Sum& sum = sums[static_cast<pid_t>(sample.pid)];
    sum.total += std::min(sample.sm, 100U);
    ++sum.count;
  }
  for (const nvml::ProcessUtilization& sample : *samples)
    unit.last_seen_us = std::max(unit.last_seen_us, sample.timestamp_us);
  for (DeviceProcess& process : out.processes)
    if (const auto sum = sums.find(process.pid); sum != sums.end())
      process.compute_percent = sum->second.total / sum->second.count;
}

std::string NvmlLibrary::why(nvml::Return code) const {
  const char* text = functions_ && functions_->error_string != nullptr ? functions_->error_string(code) : nullptr;
  return text != nullptr ? fmt::format("{} (NVML {})", text, code) : fmt::format("NVML {}", code);
}

}  // namespace kiboko
