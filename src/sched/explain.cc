#include "sched/explain.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "vendors/neuron.h"

namespace kiboko {
namespace {

std::vector<std::pair<RefusalCode, std::size_t>> most_first(const RefusalCounts& counts) {
  std::vector<std::pair<RefusalCode, std::size_t>> reasons;
  for (const RefusalWords& words : refusal_words())
    if (const auto count = counts[static_cast<std::size_t>(words.code)]; count > 0)
      reasons.emplace_back(words.code, count);
  std::ranges::stable_sort(reasons, std::greater{}, &std::pair<RefusalCode, std::size_t>::second);
  return reasons;
}

std::string quota_sentence(const QuotaMiss& miss) {
  const std::string_view unit = miss.memory ? " MiB" : "";
  if (miss.free == 0)
    return fmt::format("quota {} leaves nothing of {}, {}{} asked for", miss.quota, miss.resource, miss.asked, unit);
  return fmt::format("quota {} leaves {}{} of {}, {}{} asked for", miss.quota, miss.free, unit, miss.resource,
                     miss.asked, unit);
}

// "2 NVIDIA devices"
std::string asked_by(const FamilyAsk& one) {
  const bool divided = one.ask.cores.kind == CoresAsk::Kind::Divided;
  const std::int64_t count = divided ? one.ask.cores.value : one.ask.count;
  return fmt::format("{} {} {}{}", count, one.ask.family, divided ? "core" : "device", count == 1 ? "" : "s");
}

// "5 for memory, 3 for type"
std::string counted(const std::vector<DeviceRefusal>& devices) {
  RefusalCounts counts{};
  for (const DeviceRefusal& device : devices) ++counts[static_cast<std::size_t>(device.code)];
  std::vector<std::string> parts;
  for (const auto& [code, count] : most_first(counts)) parts.push_back(fmt::format("{} for {}", count, name(code)));
  return join(parts, ", ");
}

std::string unreadable_pods_sentence(unsigned pods) {
  return pods == 1 ? "what one of its pods holds cannot be read: nothing comes here until it has ended or is put right"
                   : fmt::format(
                         "what {} of its pods hold cannot be read: nothing comes here until they have ended or "
                         "are put right",
                         pods);
}

// Cores that are no whole number of this node's devices.
std::string divided_sentence(const BookedNode& node, const FamilyAsk& one) {
  for (const BookedDevice& device : node.devices) {
    if (device.family != one.index || !device.present) continue;
    const auto per_device = static_cast<unsigned>(std::popcount(static_cast<std::uint64_t>(device.cores)));
    const auto share = vendors::neuron_share(static_cast<std::uint64_t>(one.ask.cores.value), per_device);
    if (!share) return share.error().message;
  }
  return std::string(words_of(RefusalCode::Template).sentence);
}

std::string node_sentence(const BookedNode& node, const NodeMiss& miss, const FamilyAsk* one,
                          const std::vector<DeviceRefusal>& devices) {
  if (miss.code == RefusalCode::NodeUnknown) return "the node is gone, or has not been seen yet";
  if (node.unreadable_pods > 0) return unreadable_pods_sentence(node.unreadable_pods);
  const std::string asked = asked_by(*one);
  switch (miss.code) {
    case RefusalCode::NodeUnreadable:
      return node.trouble;
    case RefusalCode::NoDevices:
      return fmt::format("has no {} device", one->ask.family);
    case RefusalCode::Count:
      return fmt::format("asked for {}, there {} {}", asked, miss.fitting + devices.size() == 1 ? "is" : "are",
                         miss.fitting + devices.size());
    case RefusalCode::Numa:
    case RefusalCode::Topology:
      return fmt::format("asked for {}, {} fit by themselves, but {}", asked, miss.fitting,
                         words_of(miss.code).sentence);
    case RefusalCode::Template:
      if (one->ask.cores.kind == CoresAsk::Kind::Divided) return divided_sentence(node, *one);
      break;
    default:
      break;
  }
  if (miss.fitting == 0 && devices.size() == 1) return fmt::format("asked for {}; {}", asked, devices.front().sentence);
  if (miss.code == RefusalCode::Mig && miss.fitting > 0)
    return fmt::format("asked for {}, and the free places do not hold as many MIG instances", asked);
  return fmt::format("asked for {}, {} of {} fit; refused: {}", asked, miss.fitting, miss.fitting + devices.size(),
                     counted(devices));
}

class Explaining {
 public:
  Explaining(const Engine& engine, const Pod& pod, const PodRequest& request)
      : engine_(engine), pod_(pod), request_(request), fitter_(engine.types()) {}

  Explanation run(const NodeSet* candidates) {
    engine_.for_each_candidate(candidates, [&](NodeIndex index) { look_at(index); });
    if (out_.fits) return std::move(out_);
    RefusalCounts counts{};
    for (const NodeExplanation& node : out_.nodes) ++counts[static_cast<std::size_t>(node.code)];
    out_.counts = most_first(counts);
    out_.sentence = refusal_sentence(counts);
    out_.nearest = nearest_change(engine_, pod_, request_, out_.code, candidates);
    return std::move(out_);
  }

 private:
  void look_at(NodeIndex index) {
    static const BookedNode kNowhere;
    const BookedNode& node = index < engine_.nodes().size() ? engine_.nodes()[index] : kNowhere;
    NodeExplanation one;
    one.node = node.name;
    const auto miss = fitter_.fit(node, request_, {}, plan_, &one.devices);
    if (!miss) {
      const auto host = engine_.host_refusal(index, pod_);
      const auto quota = engine_.quotas().miss(QuotaSubject::of(pod_), plan_.holding.quota);
      if (!host && !quota) {
        if (!out_.fits) out_.on = node.name;
        out_.fits = true;
        return;
      }
      one.code = host.value_or(RefusalCode::Quota);
      one.sentence = host ? std::string(words_of(*host).sentence) : quota_sentence(*quota);
      note(std::move(one), {~0U, ~0U});
      return;
    }
    one.code = miss->code;
    const bool of_node = miss->code == RefusalCode::NodeUnknown || node.unreadable_pods > 0;
    const ContainerRequest* const container = of_node ? nullptr : &request_.containers[miss->container];
    if (container != nullptr) one.container = container->name;
    one.sentence =
        node_sentence(node, *miss, container == nullptr ? nullptr : &container->asks[miss->ask], one.devices);
    note(std::move(one), {miss->container, miss->passed});
  }

  // The pod's reason is that of the node which is nearest to fitting.
  void note(NodeExplanation one, std::pair<unsigned, unsigned> near) {
    if (!nearest_ || near > *nearest_) {
      nearest_ = near;
      out_.code = one.code;
    }
    out_.nodes.push_back(std::move(one));
  }

  const Engine& engine_;
  const Pod& pod_;
  const PodRequest& request_;
  NodeFitter fitter_;
  NodePlan plan_;
  Explanation out_;
  std::optional<std::pair<unsigned, unsigned>> nearest_;
};

}  // namespace

std::string refusal_sentence(const RefusalCounts& counts) {
  const auto reasons = most_first(counts);
  std::size_t nodes = 0;
  std::vector<std::string> parts;
  for (const auto& [code, count] : reasons) {
    nodes += count;
    parts.push_back(fmt::format("{} {} ({})", count, name(code), words_of(code).sentence));
  }
  if (nodes == 0) return "there is no node to choose from";
  if (nodes == 1)
    return fmt::format("the one node to choose from does not fit: {}", words_of(reasons[0].first).sentence);
  return fmt::format("none of {} nodes fits: {}", nodes, join(parts, ", "));
}

Explanation explain(const Engine& engine, const Pod& pod, const NodeSet* candidates) {
  const auto request = request_of(pod, engine.catalog(), engine.settings().preset);
  Explanation out;
  if (!request) {
    out.code = RefusalCode::Ask;
    out.sentence = request.error().message;
    return out;
  }
  if (const PodPlacement* const reserved = engine.reservation(pod.uid)) {
    out.fits = true;
    out.on = engine.nodes()[reserved->node].name;
    return out;
  }
  if (!request->any() && !engine.settings().count_host) {
    out.fits = true;
    return out;
  }
  return Explaining(engine, pod, *request).run(candidates);
}

}  // namespace kiboko
