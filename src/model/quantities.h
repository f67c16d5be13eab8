// Amounts and names with their unit in the type: bytes of device memory, parts of a device's compute, identities.
//
// Plain values, usable from any thread. Subtraction stops at zero and addition at the top: an amount never wraps.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/result.h"

namespace kiboko {

struct Bytes {
  std::uint64_t count = 0;
  auto operator<=>(const Bytes&) const = default;
};
constexpr Bytes operator+(Bytes a, Bytes b) {
  constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();
  return Bytes{a.count > kTop - b.count ? kTop : a.count + b.count};
}
constexpr Bytes operator-(Bytes a, Bytes b) { return Bytes{a.count > b.count ? a.count - b.count : 0}; }
constexpr Bytes& operator+=(Bytes& a, Bytes b) { return a = a + b; }

constexpr Bytes operator""_MiB(unsigned long long count) { return Bytes{count << 20U}; }
constexpr Bytes operator""_GiB(unsigned long long count) { return Bytes{count << 30U}; }

// Whole hundredths of one device's compute.
struct CorePercent {
  std::uint32_t count = 0;
  auto operator<=>(const CorePercent&) const = default;
};
constexpr CorePercent operator+(CorePercent a, CorePercent b) { return CorePercent{a.count + b.count}; }
constexpr CorePercent operator-(CorePercent a, CorePercent b) {
  return CorePercent{a.count > b.count ? a.count - b.count : 0};
}
constexpr CorePercent& operator+=(CorePercent& a, CorePercent b) { return a = a + b; }
inline constexpr CorePercent kAllCores{100};

// Whole mebibytes: what annotations of a cluster count device memory in. Where a family counts in units that are no
// memory (a card that is only given whole), these.
struct MiB {
  std::int64_t count = 0;
  auto operator<=>(const MiB&) const = default;
};
constexpr Bytes to_bytes(MiB amount) {
  return Bytes{amount.count <= 0                          ? 0
               : amount.count >= (std::int64_t{1} << 44U) ? std::numeric_limits<std::uint64_t>::max()
                                                          : static_cast<std::uint64_t>(amount.count) << 20U};
}

// Compute in the unit of the device's family: hundredths, compute units, sixteenths, or a mask of cores.
struct CoreUnits {
  std::int64_t count = 0;
  auto operator<=>(const CoreUnits&) const = default;
};

// As NVML writes it: "GPU-…" or "MIG-…".
struct DeviceUuid {
  std::string text;
  auto operator<=>(const DeviceUuid&) const = default;
};

// "g-" and eight hexadecimal digits.
struct GrantId {
  std::string text;
  auto operator<=>(const GrantId&) const = default;
};

// `percent` hundredths of `whole`, rounded down; right up to 2^64.
constexpr Bytes part_of(Bytes whole, std::uint32_t percent) {
  return Bytes{whole.count / 100 * percent + whole.count % 100 * percent / 100};
}

// The units that the command line, the agent and the library agree on (region/units.h), as a Result.
Result<Bytes> parse_bytes(std::string_view text);

std::string to_text(Bytes amount);  // "4.0 GiB"

}  // namespace kiboko
