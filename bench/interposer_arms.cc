#include "interposer_arms.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "region/grant_page.h"

namespace kiboko::bench {

// Instructions: what a release build added when this was last looked at, and a sixth more.
const std::vector<Subject> kSubjects = {
    {"launch, nothing limited", "launch", "", Limit::None, 3, 58},
    {"launch, limit with credit", "launch", "", Limit::MemoryAndCores, 8, 135},
    {"alloc + free, 0 live", "alloc", "0", Limit::Memory, 60, 900},
    {"alloc + free, 1,000 live", "alloc", "1000", Limit::Memory, 60, 900},
    {"alloc + free, 10,000 live", "alloc", "10000", Limit::Memory, 60, 960},
    {"alloc + free, 100,000 live", "alloc", "100000", Limit::Memory, 60, 0},
    {"cuMemGetInfo", "info", "", Limit::Memory, 10, 151},
    {"cuGetProcAddress, not ours", "lookup", "cuDeviceGet", Limit::Memory, 60, 125},
    {"cuGetProcAddress, hooked", "lookup", "cuMemAlloc", Limit::Memory, 60, 595},
    {"dlsym, not ours", "dlsym", "cuDeviceGet", Limit::Memory, 5, 70},
    {"dlsym, of no driver", "dlsym", "snprintf", Limit::Memory, 5, 11},
    {"dlsym, hooked", "dlsym", "cuMemAlloc_v2", Limit::Memory, 0, 400},
    {"cuInit", "init", "", Limit::MemoryAndCores, 300'000, 0},
};

Place::Place(std::string driver_folder) : driver_(std::move(driver_folder)) {
  std::string pattern = fs::temp_directory_path() / "kiboko-bench-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  folder_ = pattern;
}

Place::~Place() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::vector<std::string> Place::environment(const Arm& arm, Limit limit) {
  std::vector<std::string> out = {"PATH=/usr/bin:/bin",
                                  "LD_LIBRARY_PATH=" + driver_,
                                  "KIBOKO_SIM=" + folder_ + "/sim",
                                  "KIBOKO_SIM_DEVICES=1xH100-80GB",
                                  "STANDIN_DEVICES=1",
                                  "LIBCUDA_LOG_LEVEL=0"};
  if (arm.library.empty()) return out;
  out.push_back("LD_PRELOAD=" + arm.library);
  if (limit == Limit::None) return out;
  if (arm.name == "kiboko") {
    out.push_back("KIBOKO_GRANT=" + page(limit));
    return out;
  }
  out.push_back("CUDA_DEVICE_MEMORY_LIMIT=8192m");
  out.push_back("CUDA_DEVICE_MEMORY_SHARED_CACHE=" + folder_ + "/peer.cache");
  if (limit == Limit::MemoryAndCores) out.push_back("CUDA_DEVICE_SM_LIMIT=90");
  return out;
}

std::string Place::page(Limit limit) {
  const std::string path = folder_ + (limit == Limit::Memory ? "/memory" : "/cores");
  if (fs::exists(path)) return path;
  region::GrantPage page{};
  page.identity.owner_uid = ::getuid();
  page.identity.device_count = 1;
  std::strcpy(page.identity.grant_id, "g-bench");
  std::strcpy(page.identity.owner, "bench");
  std::strcpy(page.identity.region_path, (path + ".region").c_str());
  std::strncpy(page.identity.devices[0].uuid, uuid.c_str(), sizeof page.identity.devices[0].uuid - 1);
  page.identity.devices[0].physical_bytes = 16ULL << 30;
  region::GrantSettings settings{};
  settings.core_policy = static_cast<std::uint32_t>(region::CorePolicy::Force);
  settings.priority = 1;
  settings.devices[0].limit_bytes = 8ULL << 30;
  settings.devices[0].core_percent = limit == Limit::MemoryAndCores ? 90 : 0;
  region::seal_new_page(page, settings);
  std::ofstream(path, std::ios::binary) << std::string(reinterpret_cast<const char*>(&page), sizeof page);
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  return path;
}

Worker start(const Subject& subject, const std::vector<std::string>& environment, int standard_input,
             const std::vector<std::string>& before) {
  const std::string self = fs::read_symlink("/proc/self/exe");
  std::vector<std::string> words = before, texts = environment;
  for (const std::string& word :
       {self, std::string("--worker"), std::string(subject.worker), std::string(subject.argument)})
    words.push_back(word);
  std::vector<char*> arguments, variables;
  for (std::string& word : words) arguments.push_back(word.data());
  for (std::string& text : texts) variables.push_back(text.data());
  arguments.push_back(nullptr);
  variables.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  Worker worker;
  worker.pid = ::fork();
  if (worker.pid == 0) {
    ::dup2(ends[1], 1);
    if (!before.empty()) ::dup2(ends[1], 2);
    if (standard_input >= 0) ::dup2(standard_input, 0);
    ::execve(arguments[0], arguments.data(), variables.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  worker.out = ::fdopen(ends[0], "r");
  return worker;
}

std::string finish(Worker& worker) {
  char line[256] = "", next[256];
  while (std::fgets(next, sizeof next, worker.out) != nullptr) std::strcpy(line, next);
  std::fclose(worker.out);
  int status = 0;
  ::waitpid(worker.pid, &status, 0);
  std::string text = line;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? "skip the program ended with status " + std::to_string(status) : text;
}

std::string measure(Place& place, const Arm& arm, const Subject& subject) {
  Worker worker = start(subject, place.environment(arm, subject.limit), -1);
  return finish(worker);
}

std::optional<double> number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return end != text.c_str() && *end == 0 ? std::optional(value) : std::nullopt;
}

}  // namespace kiboko::bench
