// What a grant uses, put together from its region (which the tenant writes, so nothing in it is believed beyond
// bounds) and from what the driver says. Used on the Host's loop.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "model/grant.h"
#include "node/device_library.h"

namespace kiboko::region {
struct RegionSnapshot;
}

namespace kiboko {

// What a grant's library has counted on one device. Ever-growing.
struct UseCounters {
  std::uint64_t launches = 0;      // kernels and graphs
  std::uint64_t throttled_ns = 0;  // that threads waited for the compute share
  std::uint64_t refusals = 0;      // of memory, for the limit
};

// How many waits for the compute share were of which length: region/layout.h has the bounds. Of one device.
using WaitsByLength = std::vector<std::uint64_t>;

struct RegionSlotView {
  ProcessId process;                       // as its own pid namespace counts
  pid_t host_pid = 0;                      // as we count; 0 = not known
  std::vector<Bytes> charged;              // by device of the grant
  std::uint64_t nonce = 0;                 // of the library's load: the slot's counters began with it
  std::vector<UseCounters> counters = {};  // by device of the grant
  bool imports = false;                    // has opened memory that others made
};

struct RegionLimits {  // as the region's first part shows them
  Bytes memory;
  std::uint64_t cores = 0;
};

struct RegionView {
  std::vector<RegionSlotView> slots;      // of processes that are not known to be dead
  std::vector<std::uint64_t> covered_ns;  // ever-growing, by device of the grant
  std::vector<RegionLimits> limits = {};  // by device of the grant
  std::vector<WaitsByLength> waits = {};  // by device of the grant
  std::uint64_t mirrored_generation = 0;  // of the page that the limits were taken from
  std::uint64_t nonce = 0;                // of this region's creation
  std::uint64_t busy_until_ns = 0;        // when what it has in flight anywhere is expected to be done
};

// Reads regions, one after the other, into the same large buffer.
class RegionReader {
 public:
  RegionReader();
  RegionReader(const RegionReader&) = delete;
  RegionReader& operator=(const RegionReader&) = delete;
  ~RegionReader();
  // Errors: not filled yet, not the owner's, not a region of this grant.
  Result<RegionView> read(const std::string& path, const Grant& grant);

 private:
  std::unique_ptr<region::RegionSnapshot> snapshot_;
};

struct DeviceUse {
  std::optional<Bytes> used;
  std::optional<double> compute_percent;
  std::optional<UseCounters> counters;  // of all its processes so far; a share's alone
  WaitsByLength waits;                  // likewise; empty where not known
};
struct ProcessUse {
  pid_t pid = 0;
  std::optional<Bytes> used;  // over all devices of the grant
  std::string command;
};
struct GrantUsage {
  std::vector<DeviceUse> devices;
  std::vector<ProcessUse> processes;
};

// Keeps what is needed to turn ever-growing counters into percentages. One per grant.
class UsageMeter {
 public:
  // A share: from the region, its processes and the time. `survey` may be null.
  void read_share(const Grant& grant, const RegionView& region, const std::vector<ProcessId>& members,
                  const Survey* survey, std::uint64_t now_ns);
  // A whole device: from what the driver says of the grant's processes.
  void read_whole(const Grant& grant, const std::vector<ProcessId>& members, const Survey& survey);
  // What it uses is not known now.
  void forget() { usage_ = {}; }
  const GrantUsage& usage() const { return usage_; }
  // Is it a process that charges to the grant? One in a container counts by what it is inside.
  bool has_slot(pid_t pid) const;
  bool was_read() const { return last_ns_ != 0; }  // a share whose region had something in it

 private:
  void count(const RegionView& region);
  void name_processes(const std::vector<ProcessId>& members);

  GrantUsage usage_;
  std::vector<pid_t> slot_pids_;
  std::vector<ProcessId> slots_elsewhere_;                          // of other pid namespaces
  std::map<std::uint64_t, std::vector<UseCounters>> last_counted_;  // by nonce, of the slots there are
  std::vector<UseCounters> counted_;                                // by device
  std::vector<std::uint64_t> last_covered_;
  std::uint64_t last_ns_ = 0;
};

}  // namespace kiboko
