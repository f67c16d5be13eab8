// What the compute benchmarks run: grants made here, without an agent, and programs that keep the simulated device
// busy.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "../sim/device.h"
#include "host/pacer.h"

namespace kiboko::bench {

namespace fs = std::filesystem;

struct Plan {
  int percent = 100;  // 0 = no limit
  std::string policy = "force";
  double kernel_us = 130;
  std::string mode = "async";
  double delay_s = 0;
  std::uint32_t priority = 1;
};

class Grant {
 public:
  Grant(const fs::path& root, int number, const Plan& plan, const sim::Device& device);
  void resize(int percent);
  void beat();
  std::string region_path() const { return (directory_ / "region.cache").string(); }
  std::string page_path() const { return (directory_ / "page").string(); }
  const Plan& plan() const { return plan_; }
  host::PacedGrant paced(const sim::Device& device) const;
  std::vector<pid_t> pids;

 private:
  Plan plan_;
  fs::path directory_;
  std::shared_ptr<region::GrantPage> page_;
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

// Starts this program anew under the grant, as `arguments` say: {"--load", MODE, KERNEL_NS} or
// {"--client", KERNEL_NS, KERNELS, PERIOD_NS, FILE}.
pid_t start(const Grant& grant, const std::vector<std::string>& arguments);
pid_t start_load(const Grant& grant);
void stop(const std::vector<const Grant*>& grants);

// What those arguments do.
int load(const std::string& mode, std::uint64_t kernel_ns);
// Asks for `kernels` kernels at once, waits for them, and begins anew each period. Appends to the file: when a request
// began, and how long it took.
struct Request {
  std::uint64_t began_ns, took_ns;
};
int client(std::uint64_t kernel_ns, unsigned kernels, std::uint64_t period_ns, const std::string& file);

// Of the device, in percent, by the device's own log.
double share(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to);

}  // namespace kiboko::bench
