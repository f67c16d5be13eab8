// The options that say how much is asked for: shared by `run` and `explain`.
//
// Constant rows and pure functions.
#pragma once

#include <array>

#include "cli/flags.h"
#include "model/ask.h"

namespace kiboko::cli {

inline constexpr std::array<Flag, 9> kAskFlags = {{
    {"memory", 'm', "SIZE|PERCENT", "device memory: 4GiB, 4GB (10^9 bytes), 512MiB, 25%; default: 25%"},
    {"cores", 'c', "PERCENT", "share of the device's compute, 1 to 100; default: a fair part, no limit of its own"},
    {"count", 'n', "N", "that many devices, the stated share on each; default: 1"},
    {"device", 'd', "UUID|INDEX", "only this device; may be given several times", {}, true},
    {"type", 0, "NAME", "only devices whose model contains NAME, as in H100"},
    {"priority", 0, "high|low", "low gives way while a high one works; default: high", "high|low"},
    {"policy", 0, "POLICY",
     "when the compute limit counts: default (while others compete), force (always), disable (never), "
     "elastic (as default, but more while others leave it idle)",
     "default|force|disable|elastic"},
    {"exclusive", 'x', {}, "whole devices that nobody else shares"},
    {"wait", 0, {}, "wait in the queue when it does not fit now (this is the default)"},
}};

// The ask that the options make: policy and amounts checked, the command and keeper not yet filled in.
Result<Ask> read_ask(const Given& given);

// "4GiB" or "25%": exactly one of the two is set.
struct Amount {
  std::optional<Bytes> bytes;
  std::optional<std::uint32_t> percent;
};
Result<Amount> read_memory(const std::string& text);
Result<CorePercent> read_cores(const std::string& text);

}  // namespace kiboko::cli
