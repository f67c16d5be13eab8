// A tenant of a share: a folder with a grant page and a region, and the environment that `kiboko run` would give.
//
// Every test runs once per driver: the simulated one and the minimal stand-in. A driver that was not built is skipped,
// and says so.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "process.h"
#include "region/grant_page.h"

namespace kiboko::shim_test {

inline constexpr std::uint64_t kMiB = 1ULL << 20;
inline constexpr std::uint64_t kGiB = 1ULL << 30;

struct Driver {
  const char* name;
  const char* folder;
};
void PrintTo(const Driver& driver, std::ostream* out);
std::vector<Driver> drivers();

struct Device {  // as the driver shows it without us
  std::string uuid;
  std::uint64_t bytes;
};

struct Share {
  unsigned ordinal;
  std::uint64_t limit_bytes;  // 0 = no limit
  std::uint32_t percent = 0;
};

class Tenant {
 public:
  explicit Tenant(const Driver& driver);
  ~Tenant();
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  const std::vector<Device>& devices();

  // Writes a page for these shares and names it in the environment.
  void grant(const std::vector<Share>& shares, const std::string& region = "");
  void resize(const std::vector<Share>& shares);  // in place, as the agent does
  // Writes these bytes where the page belongs instead.
  void put_page(const std::string& bytes, unsigned mode = 0644);
  std::string page_bytes() const;

  // Of what runs from now on. with_shim() is on at first.
  Environment environment;
  void with_shim(bool on);

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string region_path() const { return path("region"); }
  std::string page_path() const { return path("grant"); }

  // A program's start with this tenant's environment; probe() runs the scripted program of that name in tests/shim.
  Start start(std::vector<std::string> command) const;
  Ended run(std::vector<std::string> command) const { return shim_test::run(start(std::move(command))); }
  Start probe(std::vector<std::string> script) const;
  Ended probe_run(std::vector<std::string> script) const { return shim_test::run(probe(std::move(script))); }

 private:
  region::GrantSettings settings_of(const std::vector<Share>& shares) const;

  std::string folder_;
  std::vector<Device> devices_;
};

// The fixture of all tests that need a driver.
class OnDriver : public testing::TestWithParam<Driver> {
 protected:
  void SetUp() override;
  Ended guest(std::vector<std::string> scenario);  // of guest_program.cc
  void expect_well(const std::vector<std::string>& scenario);
  Tenant tenant{GetParam()};
};

#define KIBOKO_ON_EVERY_DRIVER(suite)                           \
  INSTANTIATE_TEST_SUITE_P(                                     \
      , suite, testing::ValuesIn(kiboko::shim_test::drivers()), \
      [](const testing::TestParamInfo<kiboko::shim_test::Driver>& row) { return std::string(row.param.name); })

std::string shim_path();
std::string program(const char* name);  // built from tests/shim
std::string preload(bool shim);         // what LD_PRELOAD must be: a sanitizer's runtime first
bool sanitized();

}  // namespace kiboko::shim_test
