// The files of a grant, under <runtime>/grants/<id>/: the page that only the agent writes, and the region that the
// program writes.
//
// Owned by the Host. A page that programs may have mapped is never replaced: it is opened again after a restart and
// rewritten in place. The directory belongs to the agent, so that a tenant can neither replace the page nor put a link
// in place of the region; the region's file belongs to the grant's owner.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "model/grant.h"
#include "region/grant_page.h"

namespace kiboko {

struct GrantPaths {
  std::string directory, page, region;
};
GrantPaths paths_of(const std::string& runtime_dir, const GrantId& id);

enum class RegionFile { Fresh, Kept };

// The agent's writable mapping of one page.
class GrantPageFile {
 public:
  // A new page with the grant's limits, and an empty region of the owner's. What a crashed attempt left is replaced;
  // with Kept, only the page is.
  static Result<GrantPageFile> create(const GrantPaths& paths, const Grant& grant,
                                      RegionFile region = RegionFile::Fresh);
  // The page of a grant that may be running: its identity must be this grant's, its limits are brought in line.
  static Result<GrantPageFile> reopen(const GrantPaths& paths, const Grant& grant);
  GrantPageFile(GrantPageFile&&) noexcept = default;
  GrantPageFile& operator=(GrantPageFile&&) noexcept = default;

  void publish(const Grant& grant);  // limits changed
  void beat(std::uint64_t now_ns);   // the agent is alive
  void suspend(bool on);             // or resume
  void process_died();               // makes the others take back its slots
  region::GrantPage& page() { return *mapping_; }
  // For the pacer, which may use it a little longer than the grant lives.
  const std::shared_ptr<region::GrantPage>& mapping() const { return mapping_; }

 private:
  explicit GrantPageFile(std::shared_ptr<region::GrantPage> mapping) : mapping_(std::move(mapping)) {}
  std::shared_ptr<region::GrantPage> mapping_;
};

// Removes the grant's directory. It is an error when something stays.
Result<void> remove_grant_files(const GrantPaths& paths);

// Directories below <runtime>/grants that name no grant of `known`.
std::vector<std::string> stray_grant_directories(const std::string& runtime_dir, const std::vector<GrantId>& known);

}  // namespace kiboko
