// The agent's hand on shared devices: tells grants when they are not alone, what they may take, and gives back device
// time that the driver's clock charged them for while others ran.
//
// Own thread; sleeps for as long as no device has two grants, ticks every 10 ms otherwise, and looks every half
// millisecond where a grant works on a device that one of higher priority may want. Reads the tenants' regions
// by pread and trusts nothing in them; writes only the live words of grant pages. A dead pacer loosens nothing: a page
// whose heartbeat is silent makes the shim hold every program to its limit. Nor does it hold anybody back for long.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "region/grant_page.h"

namespace kiboko::host {

struct PacedDevice {
  std::string uuid;
  unsigned index_in_grant = 0;
};

struct PacedGrant {
  std::string id;
  std::shared_ptr<region::GrantPage> page;  // the agent's writable mapping, kept alive while we use it
  std::string region_path;
  std::uint32_t region_owner = 0;  // uid; a file of anybody else is not read
  std::vector<PacedDevice> devices;
};

class Pacer {
 public:
  Pacer();
  ~Pacer();
  // The grants whose programs may run now. Thread-safe; takes effect at the next tick.
  void grants_changed(std::vector<PacedGrant> grants);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiboko::host
