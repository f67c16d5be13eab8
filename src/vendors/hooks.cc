#include "vendors/hooks.h"

#include <algorithm>
#include <bit>

#include "model/mig_allocation.h"
#include "model/registration.h"
#include "vendors/enflame.h"
#include "vendors/kunlun.h"
#include "vendors/metax.h"

namespace kiboko::vendors {
namespace {

template <class Function>
struct Hook {
  std::string_view name;
  Function function;
};

template <class Hooks>
std::vector<std::string_view> names_of(const Hooks& hooks) {
  std::vector<std::string_view> names;
  for (const auto& hook : hooks) names.push_back(hook.name);
  return names;
}

template <class Hooks>
auto find_in(const Hooks& hooks, std::string_view name) -> decltype(std::begin(hooks)->function) {
  for (const auto& hook : hooks)
    if (hook.name == name) return hook.function;
  return nullptr;
}

using Devices = Result<std::vector<RegisteredDevice>>;
constexpr Hook<Devices (*)(std::string_view, std::string_view)> kCodecs[] = {
    {"registration", [](std::string_view text, std::string_view) { return decode_registration(text); }},
    {"enflame.profiles", decode_enflame_capacity},
    {"metax.devices", [](std::string_view text, std::string_view) { return decode_metax_devices(text); }},
};

double kunlun_bubbles(const ScoreInput& input) {
  std::vector<unsigned> before, after;
  for (const ScoredDevice& device : input.devices) {
    if (device.used_before) before.push_back(device.index);
    if (device.used_before || device.taken) after.push_back(device.index);
  }
  return kunlun_score(before, after);
}

constexpr Hook<double (*)(const ScoreInput&)> kScores[] = {{"kunlun.bubbles", kunlun_bubbles},
                                                           {"metax.links", metax_score}};

std::optional<std::string> nvidia_mig(const EmissionInput& input) {
  std::vector<MigAllocation> allocations;
  for (unsigned c = 0; c < input.containers.size(); ++c)
    for (unsigned d = 0; d < input.containers[c].devices.size(); ++d) {
      const PlacedDevice& placed = input.containers[c].devices[d];
      if (placed.mig) allocations.push_back({c, d, placed.device.uuid, placed.template_name, *placed.mig, {}});
    }
  if (allocations.empty()) return std::nullopt;
  return encode_mig_allocations(allocations);
}

// Indexes of devices, or of cores where single cores were asked for.
std::optional<std::string> neuron_ids(const EmissionInput& input) {
  std::string ids;
  const auto add = [&](std::uint64_t id) { ids += fmt::format("{}{}", ids.empty() ? "" : ",", id); };
  for (const PlacedContainer& container : input.containers)
    for (const PlacedDevice& placed : container.devices) {
      if (!container.traits.contains("resource")) {
        add(placed.index);
        continue;
      }
      auto mask = static_cast<std::uint64_t>(placed.device.cores.count);
      for (; mask != 0; mask &= mask - 1)
        add(std::uint64_t{placed.index} * static_cast<std::uint64_t>(std::max(placed.slots, 1)) +
            static_cast<unsigned>(std::countr_zero(mask)));
    }
  return ids;
}

constexpr Hook<std::optional<std::string> (*)(const EmissionInput&)> kEmissions[] = {{"nvidia.mig", nvidia_mig},
                                                                                     {"neuron.ids", neuron_ids}};

}  // namespace

std::vector<std::string_view> registration_codecs() { return names_of(kCodecs); }
bool is_registration_codec(std::string_view name) { return find_in(kCodecs, name) != nullptr; }
Devices decode_devices(std::string_view codec, std::string_view text, std::string_view node) {
  const auto decode = find_in(kCodecs, codec);
  if (decode == nullptr) return fail(Errc::Internal, "there is no registration codec '{}'", codec);
  return decode(text, node);
}

std::vector<std::string_view> score_hooks() { return names_of(kScores); }
bool is_score_hook(std::string_view name) { return find_in(kScores, name) != nullptr; }
double hook_score(std::string_view hook, const ScoreInput& input) {
  const auto score = find_in(kScores, hook);
  return score == nullptr ? 0 : score(input);
}

std::vector<std::string_view> emission_hooks() { return names_of(kEmissions); }
bool is_emission_hook(std::string_view name) { return find_in(kEmissions, name) != nullptr; }
std::optional<std::string> hook_emission(std::string_view hook, const EmissionInput& input) {
  const auto make = find_in(kEmissions, hook);
  return make == nullptr ? std::nullopt : make(input);
}

}  // namespace kiboko::vendors
