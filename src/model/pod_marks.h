// The keys that a scheduler and a node's plugin keep on a pod whatever the family of its devices, and their values.
//
// Pure functions. The families' own keys are in their profiles.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace kiboko {

inline constexpr std::string_view kAssignedNodeKey = "hami.io/vgpu-node";  // annotation, and label where it fits in one
inline constexpr std::string_view kAssignedTimeKey = "hami.io/vgpu-time";
inline constexpr std::string_view kBindTimeKey = "hami.io/bind-time";
inline constexpr std::string_view kBindPhaseKey = "hami.io/bind-phase";
inline constexpr std::string_view kMigAllocationsKey = "hami.io/vgpu-mig-allocations";
// Of nodes.
inline constexpr std::string_view kNodeLockKey = "hami.io/mutex.lock";
inline constexpr std::string_view kDeviceCordonKey = "hami.io/device-cordon";
inline constexpr std::string_view kPairScoresKey = "hami.io/node-nvidia-score";

// allocating --the plugin served the last container--> success, or failed
enum class BindPhase { Allocating, Success, Failed };
std::string_view name(BindPhase phase);
std::optional<BindPhase> parse_bind_phase(std::string_view text);

// Times of pods are seconds since 1970.
std::string unix_seconds(WallTime time);
Result<WallTime> parse_unix_seconds(std::string_view text);

}  // namespace kiboko
