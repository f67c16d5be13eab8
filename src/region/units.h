// Amounts as people and HAMi's variables write them. No allocation, no exceptions, no locale: the shim reads limits
// with these, and the agent and the command line accept what these accept.
#pragma once

#include <cstdint>

namespace kiboko::region {

enum class UnitError : std::uint8_t { None, Empty, NotANumber, UnknownUnit, TooLarge, Negative };

struct ParsedBytes {
  std::uint64_t bytes = 0;
  UnitError error = UnitError::None;
};

// "4GiB", "4Gi", "4G" and "4GB" (the last two are 10^9), "512MiB", "1.5GiB", "1073741824", "1024B". Units are
// case-sensitive as Kubernetes has them (so "4m" is refused), but "gib"/"mib"/"kib"/"tib" in any case mean the binary
// unit. A fraction is rounded down to whole bytes and may have 18 digits. The whole text must match.
ParsedBytes parse_bytes(const char* text);

// HAMi's CUDA_DEVICE_MEMORY_LIMIT: decimal digits and at most one of k, m, g (either case, 1024-based). "0" is 0.
ParsedBytes parse_hami_bytes(const char* text);

struct ParsedPercent {
  std::uint32_t percent = 0;
  UnitError error = UnitError::None;
};

// "30" or "30%", 0…100, whole numbers only.
ParsedPercent parse_percent(const char* text);

// One clause for people, to follow the text it is about: "has an unknown unit (use KiB, MiB, …)".
const char* describe(UnitError error);

}  // namespace kiboko::region
