// The accelerators that can be simulated: what each shows of itself, as its vendor's tools print it.
//
// One constant table; nobody owns it, anybody may read it. `key` is the word used in KIBOKO_SIM_DEVICES.
// Figures are those the vendor publishes (data sheets, driver output of such cards); the context cost is what a bare
// context takes on such a card, rounded, and is a plausible constant, not a promise.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sim {

struct Product {
  const char* key;             // "H100-80GB"
  const char* name;            // "NVIDIA H100 80GB HBM3"
  std::uint32_t memory_mib;    // total as the management library reports it; 0 = unified
  std::uint32_t reserved_mib;  // kept by the driver; the compute library reports memory_mib less this
  std::uint32_t sm_count;
  std::uint16_t compute_major;
  std::uint16_t compute_minor;
  std::uint32_t pci_device;     // device id << 16 | vendor id
  std::uint32_t pci_subsystem;  // subsystem id << 16 | subsystem vendor
  std::uint32_t power_watts;
  std::uint32_t bar1_mib;
  std::uint32_t sm_clock_mhz;
  std::uint32_t memory_clock_mhz;
  std::uint32_t memory_bus_bits;
  std::uint32_t bandwidth_gbs;  // device memory, 10^9 bytes per second
  std::uint32_t l2_kib;
  std::uint32_t context_mib;
  std::uint32_t pcie_generation;
  std::uint32_t nvlinks;
  // The device has no memory of its own but uses the host's, all of it; the management library does not tell it.
  bool unified = false;
};

std::span<const Product> products();

// The product called `key`, letter case ignored, or nullptr.
const Product* find_product(std::string_view key);

// "A10-24GB, A100-40GB, …" for messages.
std::string known_products();

}  // namespace sim
