#include "sched/pod_request.h"

#include <algorithm>

#include "vendors/ask.h"

namespace kiboko {
namespace {

const std::string* trait_of(const DeviceAsk& ask, std::string_view name) {
  const auto found = ask.traits.find(name);
  return found == ask.traits.end() ? nullptr : &found->second;
}

}  // namespace

std::uint8_t qos_number(const vendors::Family& family, std::string_view word) {
  const auto trait = std::ranges::find(family.traits, std::string_view("qos"), &vendors::Trait::name);
  if (trait == family.traits.end()) return 0;
  const auto found = std::ranges::find(trait->one_of, word);
  const auto place = static_cast<std::size_t>(found - trait->one_of.begin());
  return found == trait->one_of.end() || place >= kMaxQosPolicies ? 0 : static_cast<std::uint8_t>(place + 1);
}

void resolve_traits(FamilyAsk& one) {
  if (const std::string* const word = trait_of(one.ask, "appClass")) {
    one.online = *word == "online";
    one.offline = *word == "offline";
  }
  const std::string* const qos = trait_of(one.ask, "qos");
  if (qos != nullptr && !one.online) one.qos = qos_number(*one.family, *qos);
}

bool PodRequest::any() const {
  return std::ranges::any_of(containers, [](const ContainerRequest& c) { return !c.asks.empty(); });
}

FamilyAsk family_for(const vendors::Catalog& catalog, FamilyIndex index, const Texts& pod_annotations) {
  FamilyAsk one;
  const vendors::Family& base = catalog.families()[index];
  one.index = index;
  one.family = &base.in_mode(pod_annotations);
  one.in_mode = one.family != &base;
  for (const vendors::Mode& mode : base.modes) {
    if (mode.node_flag.empty()) continue;
    (mode.family.get() == one.family ? one.node_flag : one.forbidden_flag) = mode.node_flag;
  }
  return one;
}

Result<PodRequest> request_of(const Pod& pod, const vendors::Catalog& catalog, const PodPolicy& preset) {
  PodRequest request;
  request.policy = TRY(policy_of(pod.annotations, preset));
  for (const Container& container : pod.containers) {
    ContainerRequest& into = request.containers.emplace_back(ContainerRequest{container.name, container.kind, {}});
    if (container.limits.empty() && container.requests.empty()) continue;
    for (std::size_t index = 0; index < catalog.families().size(); ++index) {
      const vendors::Family& family = catalog.families()[index];
      if (!family.enabled) continue;
      vendors::Admission admission = TRY(vendors::admit(family, container, pod.annotations));
      if (!admission.ask) continue;
      FamilyAsk one = family_for(catalog, static_cast<FamilyIndex>(index), pod.annotations);
      one.ask = std::move(*admission.ask);
      resolve_traits(one);
      into.asks.push_back(std::move(one));
    }
  }
  return request;
}

}  // namespace kiboko
