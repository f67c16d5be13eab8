// Signs that what a grant's region says is not what its programs do: somebody wrote into it, or takes memory past the
// library. Limits of a preloaded library stop accidents; this is how those who go round it come to light.
//
// Whoever writes the region can write it so that nothing shows. What is looked for is what cannot be hidden there
// without being refused memory for it, and what ordinary programs never do:
//
//   Memory  the driver counts more for a process than it has charged, by more than code and contexts explain, at each
//           look for more than two seconds. A program that allocates and frees all the time is charged at some of them.
//   Region  another region than before, while processes that were in the old one run on: nobody sees their charges.
//   Slot    a slot of a living process of another user that is no descendant of the grant's processes.
//   Limits  limit words beyond the page's. (Lower ones are honoured.) They are the library's copy of the page.
//
// One per grant, on the Host's loop. A look costs what it compares, and one stat per slot of no member.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/usage.h"

namespace kiboko {

struct Tampering {
  enum class Kind { Memory, Region, Slot, Limits };
  Kind kind = Kind::Memory;
  DeviceUuid device;  // empty: of no device in particular
  pid_t pid = 0;      // 0: of no process in particular
  std::string sentence;
  bool same_as(const Tampering& other) const {
    return kind == other.kind && device == other.device && pid == other.pid;
  }
};
const char* name(Tampering::Kind kind);

class TamperWatch {
 public:
  struct Look {
    const Grant& grant;
    const RegionView& region;
    std::uint64_t page_generation = 0;
    const Survey* survey = nullptr;  // null: the driver does not answer
    std::uint64_t survey_serial = 0;
    std::uint64_t now_ns = 0;
    std::function<bool(pid_t)> belongs;  // to the grant: it or an ancestor is a member
  };
  // What became certain at this look, not what was before.
  std::vector<Tampering> look(const Look& look);
  // All that is certain now.
  const std::vector<Tampering>& found() const { return found_; }

 private:
  struct Excess {  // of one process on one device, since it was first seen
    DeviceUuid device;
    ProcessId process;
    std::uint64_t since_ns = 0;
    unsigned surveys = 0;
    Bytes least_driver, most_charged;
  };
  void look_at_memory(const Look& look, std::vector<Tampering>& found);
  void look_at_region(const Look& look, std::vector<Tampering>& found);
  void look_at_slots(const Look& look, std::vector<Tampering>& found);
  void look_at_limits(const Look& look, std::vector<Tampering>& found);
  bool again(Tampering one);  // seen at the last look too

  std::vector<Tampering> found_, suspected_, suspects_;
  std::vector<Excess> excesses_;
  std::uint64_t surveys_seen_ = 0;
  std::uint64_t region_nonce_ = 0;  // of the last look; 0 = none yet
  std::vector<ProcessId> in_region_, orphans_;
};

}  // namespace kiboko
