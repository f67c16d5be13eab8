#include "host/grant_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"

namespace kiboko {
namespace {

namespace fs = std::filesystem;

// Copies a text into a fixed field, cut to fit and always ended by a zero.
template <std::size_t N>
void put(char (&field)[N], const std::string& text) {
  const std::size_t size = std::min(text.size(), N - 1);
  std::memcpy(field, text.data(), size);
  std::memset(field + size, 0, N - size);
}

region::GrantIdentity identity_of(const GrantPaths& paths, const Grant& grant) {
  region::GrantIdentity identity{};
  identity.magic = region::kGrantPageMagic;
  identity.version = region::kGrantPageVersion;
  identity.bytes = region::kGrantPageBytes;
  identity.owner_uid = grant.owner.uid;
  identity.device_count = static_cast<std::uint32_t>(grant.devices.size());
  put(identity.grant_id, grant.id.text);
  put(identity.owner, one_line(fmt::format("{}: {}", grant.owner.user, join(grant.asked.command, " "))));
  put(identity.region_path, paths.region);
  for (std::size_t i = 0; i < grant.devices.size(); ++i) {
    put(identity.devices[i].uuid, grant.devices[i].uuid.text);
    identity.devices[i].physical_bytes = grant.devices[i].physical.count;
  }
  return identity;
}

region::GrantSettings settings_of(const Grant& grant) {
  region::GrantSettings settings{};
  settings.core_policy = static_cast<std::uint32_t>(grant.asked.policy);
  settings.priority = static_cast<std::uint32_t>(grant.asked.priority);
  for (std::size_t i = 0; i < grant.devices.size(); ++i) {
    settings.devices[i].limit_bytes = grant.devices[i].limit.count;
    settings.devices[i].core_percent = grant.devices[i].cores.value_or(CorePercent{0}).count;
  }
  return settings;
}

bool same_limits(const region::GrantSettings& a, const region::GrantSettings& b) {
  return a.core_policy == b.core_policy && a.priority == b.priority &&
         std::memcmp(a.devices, b.devices, sizeof a.devices) == 0;
}

Result<std::shared_ptr<region::GrantPage>> map_page(int fd, const std::string& path) {
  void* mapping = ::mmap(nullptr, region::kGrantPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) return fail_errno(errno, fmt::format("map {}", path));
  return std::shared_ptr<region::GrantPage>(static_cast<region::GrantPage*>(mapping),
                                            [](region::GrantPage* page) { ::munmap(page, region::kGrantPageBytes); });
}

Result<void> fits_the_page(const GrantPaths& paths, const Grant& grant) {
  if (grant.devices.empty() || grant.devices.size() > region::kMaxDevices)
    return fail(Errc::Invalid, "a grant has 1 to {} devices, not {}", region::kMaxDevices, grant.devices.size());
  if (paths.region.size() >= sizeof(region::GrantIdentity::region_path))
    return fail(Errc::Invalid, "the path {} is too long: choose a shorter --runtime-dir", paths.region);
  return {};
}

// An empty file of the owner's; the first program of the grant fills it.
Result<void> create_region(const std::string& path, const Owner& owner, RegionFile wanted) {
  struct stat found {};
  if (wanted == RegionFile::Kept && ::lstat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
      found.st_uid == owner.uid)
    return {};
  ::unlink(path.c_str());
  const UniqueFd fd = TRY(open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (owner.uid != ::geteuid() && ::fchown(fd.get(), owner.uid, owner.gid) != 0)
    return fail_errno(errno, fmt::format("give {} to user {}", path, owner.uid));
  return {};
}

}  // namespace

GrantPaths paths_of(const std::string& runtime_dir, const GrantId& id) {
  const std::string directory = runtime_dir + "/grants/" + id.text;
  return {directory, directory + "/page", directory + "/region.cache"};
}

Result<GrantPageFile> GrantPageFile::create(const GrantPaths& paths, const Grant& grant, RegionFile region) {
  TRY(fits_the_page(paths, grant));
  TRY(make_directories(paths.directory, 0755));
  TRY(create_region(paths.region, grant.owner, region));
  // Filled under another name, so that nobody ever opens half a page.
  const std::string fresh = paths.page + ".new";
  ::unlink(fresh.c_str());
  const UniqueFd fd = TRY(open_file(fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  if (::fchmod(fd.get(), 0644) != 0) return fail_errno(errno, fmt::format("set the mode of {}", fresh));
  // Written and not only extended: on a full disk this fails here and not with a SIGBUS later.
  TRY(write_all(fd.get(), std::string(region::kGrantPageBytes, '\0'), fresh));
  GrantPageFile file(TRY(map_page(fd.get(), fresh)));
  file.page().identity = identity_of(paths, grant);
  region::seal_new_page(file.page(), settings_of(grant));
  if (::rename(fresh.c_str(), paths.page.c_str()) != 0) return fail_errno(errno, fmt::format("make {}", paths.page));
  return file;
}

Result<GrantPageFile> GrantPageFile::reopen(const GrantPaths& paths, const Grant& grant) {
  TRY(fits_the_page(paths, grant));
  const UniqueFd fd = TRY(open_file(paths.page, O_RDWR | O_NOFOLLOW));
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return fail_errno(errno, fmt::format("look at {}", paths.page));
  if (!S_ISREG(found.st_mode) || found.st_size != static_cast<off_t>(region::kGrantPageBytes))
    return fail(Errc::Invalid, "{} is not a grant page", paths.page);
  GrantPageFile file(TRY(map_page(fd.get(), paths.page)));
  region::PageError error{};
  if (!region::check_grant_page(&file.page(), region::kGrantPageBytes, &error))
    return fail(Errc::Invalid, "{}: {}", paths.page, error.text);
  const region::GrantIdentity identity = identity_of(paths, grant);
  if (std::memcmp(identity.grant_id, file.page().identity.grant_id, sizeof identity.grant_id) != 0)
    return fail(Errc::Invalid, "{} belongs to another grant", paths.page);
  // A resize that was promised but not yet published when the agent died.
  region::GrantSettings present{};
  if (!region::read_settings(file.page(), &present) || !same_limits(present, settings_of(grant))) file.publish(grant);
  return file;
}

void GrantPageFile::publish(const Grant& grant) {
  region::publish_settings(page(), settings_of(grant));
  region::wake_waiters(page());
}

void GrantPageFile::beat(std::uint64_t now_ns) { page().live.heartbeat_ns.store(now_ns, std::memory_order_relaxed); }

void GrantPageFile::suspend(bool on) {
  page().live.suspended.store(on ? 1 : 0, std::memory_order_release);
  region::wake_waiters(page());
}

void GrantPageFile::process_died() {
  page().live.reap_generation.fetch_add(1, std::memory_order_release);
  region::wake_waiters(page());
}

Result<void> remove_grant_files(const GrantPaths& paths) {
  std::error_code error;
  fs::remove_all(paths.directory, error);
  if (error) return fail(Errc::Unavailable, "remove {}: {}", paths.directory, error.message());
  return {};
}

std::vector<std::string> stray_grant_directories(const std::string& runtime_dir, const std::vector<GrantId>& known) {
  std::vector<std::string> stray;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(runtime_dir + "/grants", error)) {
    const GrantId id{entry.path().filename().string()};
    if (std::ranges::find(known, id) == known.end()) stray.push_back(entry.path().string());
  }
  return stray;
}

}  // namespace kiboko
