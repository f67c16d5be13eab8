// A control group for each grant, so that whatever a program starts belongs to the grant too.
//
// Found once at start in /proc/self/mountinfo: version 2 wherever it is mounted, else a version 1 hierarchy. Used on
// the Host's loop. Without the right to make groups there are none, and grants are held by pidfds alone.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/quantities.h"

namespace kiboko {

struct CgroupMounts {
  std::string version2;  // where the unified hierarchy is mounted, empty if it is not
  std::string version1;  // a version 1 hierarchy that can only group, or the next best
  std::string devices;   // the version 1 device controller
  bool operator==(const CgroupMounts&) const = default;
};
CgroupMounts parse_mountinfo(std::string_view mountinfo);

class Cgroups {
 public:
  // No groups at all.
  Cgroups() = default;
  static Cgroups none(std::string why) {
    Cgroups groups;
    groups.why_ = std::move(why);
    return groups;
  }
  // Makes <mount>/<parent> and tries whether a process can be moved there. Not being able to is not an error: `why`
  // then says so.
  static Cgroups open(const CgroupMounts& mounts, const std::string& parent);

  bool available() const { return !root_.empty(); }
  const std::string& why() const { return why_; }  // it is not available
  const std::string& root() const { return root_; }

  Result<void> create(const GrantId& id) const;
  Result<void> add(const GrantId& id, pid_t pid) const;
  std::vector<pid_t> processes(const GrantId& id) const;
  bool exists(const GrantId& id) const;
  // Fails while processes are in it.
  Result<void> remove(const GrantId& id) const;
  std::vector<GrantId> all() const;

  // Takes device nodes away from the grant: /dev/nvidia<minor> for each of `minors`. False: no device controller.
  Result<bool> deny_devices(const GrantId& id, const std::vector<int>& minors) const;

 private:
  std::string root_;          // <mount>/<parent>
  std::string devices_root_;  // of the version 1 device controller, empty without one
  std::string why_;
};

}  // namespace kiboko
