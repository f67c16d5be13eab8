// The few rules that are code: each has a name, and a profile says by that name where it wants it.
//
// Pure functions. A family without a hook is data alone.
//
//   registration codec  enflame.profiles, metax.devices  what devices a node's annotation lists (besides
//   `registration`) strategy            pickers.h                         which of the devices that passed score
//   kunlun.bubbles, metax.links       how good a node is emission            nvidia.mig, neuron.ids            a value
//   that no template makes
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/cluster_device.h"
#include "vendors/emit.h"
#include "vendors/family.h"
#include "vendors/pickers.h"

namespace kiboko::vendors {

std::vector<std::string_view> registration_codecs();
bool is_registration_codec(std::string_view name);
Result<std::vector<RegisteredDevice>> decode_devices(std::string_view codec, std::string_view text,
                                                     std::string_view node);

std::vector<std::string_view> score_hooks();
bool is_score_hook(std::string_view name);
// A device of the node as a score sees it.
struct ScoredDevice {
  unsigned index = 0;
  const CustomInfo* custom = nullptr;
  bool used_before = false;
  bool taken = false;  // by this pod
  bool exclusive = false;
  unsigned online = 0, offline = 0;  // containers of an application class on it
};
struct ScoreInput {
  std::span<const ScoredDevice> devices;
  bool online = false;          // the pod is of that class
  bool topology_aware = false;  // the pod or the settings want it
};
// Higher is better.
double hook_score(std::string_view hook, const ScoreInput& input);

std::vector<std::string_view> emission_hooks();
bool is_emission_hook(std::string_view name);
// Nothing: the annotation is not written.
std::optional<std::string> hook_emission(std::string_view hook, const EmissionInput& input);

}  // namespace kiboko::vendors
