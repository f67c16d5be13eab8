// The place where the compute benchmarks run: a simulated device of their own, grants made here, without an agent, and
// programs (compute_load.h) started under them. For one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "../sim/device.h"
#include "compute_load.h"
#include "host/pacer.h"

namespace kiboko::bench {

namespace fs = std::filesystem;

inline constexpr const char* kNative = "native";  // as a policy: without libkiboko.so, whatever else is asked

struct Plan {
  int percent = 100;  // 0 = no limit
  std::string policy = "force";
  double kernel_us = 130;
  std::string mode = "async";
  double delay_s = 0;
  std::uint32_t priority = 1;
};
std::uint64_t unit_ns(const Plan& plan);  // device time of one launch: a kernel or a whole graph

class Grant {
 public:
  Grant(const fs::path& root, int number, const Plan& plan, const sim::Device& device);
  void resize(int percent);
  void beat();
  std::string region_path() const { return (directory_ / "region.cache").string(); }
  std::string page_path() const { return (directory_ / "page").string(); }
  std::string launch_times_path() const { return (directory_ / "launches").string(); }
  LaunchTimes& launches() const { return *launches_; }
  const Plan& plan() const { return plan_; }
  host::PacedGrant paced(const sim::Device& device) const;
  std::vector<pid_t> pids;

 private:
  Plan plan_;
  fs::path directory_;
  std::shared_ptr<region::GrantPage> page_;
  std::unique_ptr<LaunchTimes> launches_;
};

// A simulated device of our own, until it is destroyed; and a folder for the grants.
class Place {
 public:
  Place();
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  sim::Shared& shared() const { return *shared_; }
  const sim::Device& device() const;
  const fs::path& root() const { return root_; }

 private:
  std::string name_;
  fs::path root_;
  sim::Shared* shared_;
};

// Starts this program anew under the grant, as `arguments` say: {"--load", MODE, KERNEL_NS, FILE} for load(), or
// {"--client", KERNEL_NS, KERNELS, PERIOD_NS, FILE} for client().
pid_t start(const Grant& grant, const std::vector<std::string>& arguments);
pid_t start_load(const Grant& grant);
void stop(const std::vector<const Grant*>& grants);

// The device's own record of each of a grant's programs, and what they had of the device by it, in percent.
std::vector<int> channels(sim::Shared& shared, const Grant& grant);
double share(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to);

}  // namespace kiboko::bench
