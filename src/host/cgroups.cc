// Kernel facts: a group is a directory; writing a pid to its cgroup.procs moves the process with its threads and what
// it forks later; rmdir works once it is empty. The fields of /proc/self/mountinfo after the " - " are type, source and
// options, and a version 1 hierarchy names its controllers among the options. NVIDIA's device nodes have major 195.
#include "host/cgroups.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"

namespace kiboko {
namespace {

namespace fs = std::filesystem;

constexpr int kNvidiaMajor = 195;

// Spaces and the like are written as \040 in mountinfo.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

Result<void> make_group(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(errno, fmt::format("make group {}", path));
  return {};
}

Result<void> write_to(const std::string& path, std::string_view text) {
  const UniqueFd fd = TRY(open_file(path, O_WRONLY));
  return write_all(fd.get(), text, path);
}

void collect(const std::string& directory, std::vector<pid_t>& pids, int depth) {
  if (const auto text = read_file(directory + "/cgroup.procs"))
    for (const std::string_view line : split(*text, '\n'))
      if (const auto pid = parse_integer<pid_t>(line)) pids.push_back(*pid);
  if (depth == 0) return;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error))
    if (entry.is_directory(error)) collect(entry.path().string(), pids, depth - 1);
}

}  // namespace

CgroupMounts parse_mountinfo(std::string_view mountinfo) {
  CgroupMounts mounts;
  bool grouping_only = false;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto front = split(line.substr(0, dash), ' ');
    const auto back = split(line.substr(dash + 3), ' ');
    if (front.size() < 5 || back.size() < 3) continue;
    const std::string where = unescape(front[4]);
    if (back[0] == "cgroup2" && mounts.version2.empty()) mounts.version2 = where;
    if (back[0] != "cgroup") continue;
    const auto options = split(back[2], ',');
    const bool named = std::ranges::any_of(options, [](std::string_view o) { return o.starts_with("name="); });
    if (std::ranges::find(options, "devices") != options.end()) mounts.devices = where;
    // systemd's own hierarchy is its own business; the freezer or pids ones are as good as any.
    if (std::ranges::find(options, "freezer") != options.end() ||
        (mounts.version1.empty() && !named && !grouping_only)) {
      mounts.version1 = where;
      grouping_only = std::ranges::find(options, "freezer") != options.end();
    }
  }
  return mounts;
}

Cgroups Cgroups::open(const CgroupMounts& mounts, const std::string& parent) {
  Cgroups groups;
  const std::string& mount = mounts.version2.empty() ? mounts.version1 : mounts.version2;
  if (mount.empty()) {
    groups.why_ = "no control group hierarchy is mounted";
    return groups;
  }
  const std::string root = mount + "/" + parent;
  if (const auto made = make_group(root); !made) {
    groups.why_ = made.error().message;
    return groups;
  }
  if (::access((root + "/cgroup.procs").c_str(), W_OK) != 0) {
    groups.why_ = root + " is not writable";
    return groups;
  }
  groups.root_ = root;
  if (!mounts.devices.empty() && make_group(mounts.devices + "/" + parent))
    groups.devices_root_ = mounts.devices + "/" + parent;
  return groups;
}

Result<void> Cgroups::create(const GrantId& id) const { return make_group(root_ + "/" + id.text); }

Result<void> Cgroups::add(const GrantId& id, pid_t pid) const {
  TRY(write_to(root_ + "/" + id.text + "/cgroup.procs", std::to_string(pid)));
  const std::string devices = devices_root_ + "/" + id.text;
  if (!devices_root_.empty() && ::access(devices.c_str(), F_OK) == 0)
    TRY(write_to(devices + "/cgroup.procs", std::to_string(pid)));
  return {};
}

std::vector<pid_t> Cgroups::processes(const GrantId& id) const {
  std::vector<pid_t> pids;
  if (available()) collect(root_ + "/" + id.text, pids, 4);
  return pids;
}

bool Cgroups::exists(const GrantId& id) const {
  return available() && ::access((root_ + "/" + id.text).c_str(), F_OK) == 0;
}

Result<void> Cgroups::remove(const GrantId& id) const {
  for (const std::string& root : {devices_root_, root_}) {
    const std::string path = root + "/" + id.text;
    if (!root.empty() && ::rmdir(path.c_str()) != 0 && errno != ENOENT)
      return fail_errno(errno, fmt::format("remove group {}", path));
  }
  return {};
}

std::vector<GrantId> Cgroups::all() const {
  std::vector<GrantId> ids;
  std::error_code error;
  if (!available()) return ids;
  for (const fs::directory_entry& entry : fs::directory_iterator(root_, error))
    if (entry.is_directory(error)) ids.push_back({entry.path().filename().string()});
  return ids;
}

Result<bool> Cgroups::deny_devices(const GrantId& id, const std::vector<int>& minors) const {
  if (devices_root_.empty()) return false;
  const std::string path = devices_root_ + "/" + id.text;
  TRY(make_group(path));
  for (const int minor : minors) TRY(write_to(path + "/devices.deny", fmt::format("c {}:{} rwm", kNvidiaMajor, minor)));
  return true;
}

}  // namespace kiboko
