#include "cli/container.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/spawn.h"
#include "cli/supervise.h"

namespace kiboko::cli {
namespace {

namespace fs = std::filesystem;

std::string changed_variable(const GrantView& grant, const std::string& name) {
  const auto found = grant.environment.find(name);
  return found == grant.environment.end() ? std::string() : found->second.value_or("");
}

// A file or folder of the host at the same path inside.
void mount(std::vector<std::string>& options, const std::string& path, bool writable) {
  if (!path.empty()) options.insert(options.end(), {"--volume", path + ":" + path + (writable ? "" : ":ro")});
}

void add_devices(std::vector<std::string>& options, const std::string& engine, const GrantView& grant, bool has_cdi) {
  std::vector<std::string> uuids;
  for (const DeviceShare& share : grant.devices) uuids.push_back(share.uuid);
  if (engine == "docker" && !has_cdi) {
    options.insert(options.end(), {"--gpus", fmt::format("\"device={}\"", join(uuids, ","))});
    return;
  }
  for (const std::string& uuid : uuids) options.insert(options.end(), {"--device", "nvidia.com/gpu=" + uuid});
}

bool is_cdi_spec(const fs::path& path) {
  const auto text = read_file(path.string());
  return text && text->find("nvidia.com/gpu") != std::string::npos;
}

std::string container_id(const std::string& cid_file) {
  const auto text = read_file(cid_file, 256);
  return text ? std::string(trim(*text)) : std::string();
}

// Only there may a program be moved out of its container's control group without leaving its limits behind.
bool has_version_1_groups() {
  struct statfs found {};
  return ::statfs("/sys/fs/cgroup", &found) == 0 && found.f_type != CGROUP2_SUPER_MAGIC;
}

}  // namespace

ContainerHost look_at_host(const GrantView& grant) {
  ContainerHost host;
  std::error_code ignored;
  if (const std::string name = changed_variable(grant, "KIBOKO_SIM"); !name.empty())
    for (const fs::directory_entry& entry : fs::directory_iterator("/dev/shm", ignored))
      if (entry.path().filename().string().starts_with("kiboko-sim-" + name))
        host.simulation_files.push_back(entry.path());
  std::ranges::sort(host.simulation_files);
  for (const char* directory : {"/etc/cdi", "/var/run/cdi"})
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored))
      host.has_cdi = host.has_cdi || is_cdi_spec(entry.path());
  return host;
}

Result<std::vector<std::string>> container_arguments(const std::string& engine, const std::vector<std::string>& words,
                                                     const GrantView& grant, const ContainerHost& host,
                                                     const std::string& cid_file) {
  const auto run = std::ranges::find(words, "run");
  if (run == words.end())
    return fail(Errc::Invalid, "behind `--` write what stands behind `{}`: run [OPTIONS] IMAGE [COMMAND…]", engine);
  std::vector<std::string> options;
  for (const auto& [name, value] : grant.environment)
    if (value) options.insert(options.end(), {"--env", name + "=" + *value});
  mount(options, changed_variable(grant, "LD_PRELOAD"), false);
  mount(options, grant.page, false);
  mount(options, grant.region, true);
  mount(options, changed_variable(grant, "LD_LIBRARY_PATH"), false);
  for (const std::string& file : host.simulation_files) mount(options, file, true);
  if (changed_variable(grant, "KIBOKO_SIM").empty()) add_devices(options, engine, grant, host.has_cdi);
  if (!cid_file.empty()) options.insert(options.end(), {"--cidfile", cid_file});

  std::vector<std::string> arguments = {engine};
  arguments.insert(arguments.end(), words.begin(), run + 1);
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), run + 1, words.end());
  return arguments;
}

Result<CidFile> CidFile::choose(const std::vector<std::string>& words) {
  constexpr std::string_view kFlag = "--cidfile";
  CidFile file;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == kFlag && i + 1 < words.size()) file.path_ = words[i + 1];
    if (words[i].starts_with(std::string(kFlag) + "=")) file.path_ = words[i].substr(kFlag.size() + 1);
  }
  if (!file.path_.empty()) return file;
  std::string directory = "/tmp/kiboko-run-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) return fail_errno(errno, "make a folder in /tmp");
  file.directory_ = directory;
  file.path_ = directory + "/cid";  // must not exist yet: engines refuse to overwrite it
  return file;
}

CidFile::CidFile(CidFile&& other) noexcept
    : path_(std::move(other.path_)), directory_(std::exchange(other.directory_, {})) {}

CidFile::~CidFile() {
  if (directory_.empty()) return;
  ::unlink(path_.c_str());
  ::rmdir(directory_.c_str());
}

std::vector<pid_t> container_processes(const std::string& engine_path, const std::string& cid_file) {
  const std::string id = container_id(cid_file);
  if (id.empty()) return {};
  const auto said = output_of({engine_path, "inspect", "--format", "{{.State.Pid}}", id});
  const auto first = said ? parse_integer<pid_t>(trim(*said)) : Result<pid_t>(0);
  if (!first || *first <= 0) return {};
  std::vector<pid_t> processes;
  if (const auto stat = process_stat(*first); stat && stat->parent > 1) processes.push_back(stat->parent);
  if (!has_version_1_groups()) return processes;
  processes.push_back(*first);
  for (const pid_t descendant : descendants_of(*first)) processes.push_back(descendant);
  return processes;
}

void tidy_container(const std::string& engine_path, const std::vector<std::string>& words,
                    const std::string& cid_file) {
  const std::string id = container_id(cid_file);
  if (id.empty()) return;
  // Podman notices at the first attempt that the container has gone, and removes it at the second.
  (void)output_of({engine_path, "stop", "--time", "0", id});
  if (std::ranges::find(words, "--rm") != words.end()) (void)output_of({engine_path, "rm", "--force", id});
}

}  // namespace kiboko::cli
