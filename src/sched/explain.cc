#include "sched/explain.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace kiboko {
namespace {

std::string quota_sentence(const QuotaMiss& miss) {
  const auto amount = [&](std::int64_t value) {
    return miss.memory ? to_text(to_bytes(MiB{value})) : std::to_string(value);
  };
  return fmt::format("quota {} leaves {} of {}, {} asked for", miss.quota, amount(miss.free), miss.resource,
                     amount(miss.asked));
}

// "5 memory, 3 type"
std::string counted(const std::vector<DeviceRefusal>& devices) {
  std::array<std::size_t, kRefusalCodes> counts{};
  for (const DeviceRefusal& device : devices) ++counts[static_cast<std::size_t>(device.code)];
  std::vector<std::string> parts;
  for (const RefusalWords& words : refusal_words())
    if (const auto count = counts[static_cast<std::size_t>(words.code)]; count > 0)
      parts.push_back(fmt::format("{} {}", count, words.name));
  return join(parts, ", ");
}

std::string node_sentence(const BookedNode& node, const NodeMiss& miss, const FamilyAsk* one,
                          const std::vector<DeviceRefusal>& devices) {
  switch (miss.code) {
    case RefusalCode::NodeUnknown:
      return "no device has been registered for this node";
    case RefusalCode::NodeUnreadable:
      return node.unreadable_pods > 0 ? fmt::format("what {} of its pods hold cannot be read", node.unreadable_pods)
                                      : node.trouble;
    case RefusalCode::NoDevices:
      return fmt::format("has no {} device", one->ask.family);
    case RefusalCode::Count:
      return fmt::format("asked for {} {} devices, there are {}", one->ask.count, one->ask.family,
                         miss.fitting + devices.size());
    case RefusalCode::Numa:
    case RefusalCode::Topology:
    case RefusalCode::Template:
      return fmt::format("{}; asked for {}, {} fit by themselves", words_of(miss.code).sentence, one->ask.count,
                         miss.fitting);
    default:
      return fmt::format("asked for {} {}, {} fit; refused: {}", one->ask.count, one->ask.family, miss.fitting,
                         counted(devices));
  }
}

class Explaining {
 public:
  Explaining(const Engine& engine, const Pod& pod, const PodRequest& request)
      : engine_(engine), pod_(pod), request_(request), fitter_(engine.types()) {}

  Explanation run(const NodeSet* candidates) {
    const auto look = [&](NodeIndex index) { look_at(index); };
    if (candidates != nullptr) {
      candidates->for_each(look);
    } else {
      for (NodeIndex index = 0; index < engine_.nodes().size(); ++index)
        if (engine_.nodes()[index].known) look(index);
    }
    if (out_.fits) return std::move(out_);
    std::array<std::size_t, kRefusalCodes> counts{};
    for (const NodeExplanation& node : out_.nodes) ++counts[static_cast<std::size_t>(node.code)];
    for (const RefusalWords& words : refusal_words())
      if (const auto count = counts[static_cast<std::size_t>(words.code)]; count > 0)
        out_.counts.emplace_back(words.code, count);
    std::ranges::stable_sort(out_.counts, std::greater{}, &std::pair<RefusalCode, std::size_t>::second);
    out_.sentence = summary();
    out_.nearest = nearest_change(engine_, pod_, request_, out_.code, candidates);
    return std::move(out_);
  }

 private:
  std::string summary() const {
    if (out_.nodes.empty()) return "there is no node to choose from";
    std::vector<std::string> parts;
    for (const auto& [code, count] : out_.counts) parts.push_back(fmt::format("{} {}", count, name(code)));
    return fmt::format("none of {} nodes fits: {}; {}", out_.nodes.size(), join(parts, ", "),
                       words_of(out_.code).sentence);
  }

  void look_at(NodeIndex index) {
    static const BookedNode kNowhere;
    const BookedNode& node = index < engine_.nodes().size() ? engine_.nodes()[index] : kNowhere;
    NodeExplanation one;
    one.node = node.name;
    const auto miss = fitter_.fit(node, request_, {}, plan_, &one.devices);
    if (!miss) {
      const auto quota = engine_.quotas().miss(QuotaSubject::of(pod_), plan_.holding.quota);
      if (!quota) {
        if (!out_.fits) out_.on = node.name;
        out_.fits = true;
        return;
      }
      one.code = RefusalCode::Quota;
      one.sentence = quota_sentence(*quota);
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

Explanation explain(const Engine& engine, const Pod& pod, const NodeSet* candidates) {
  const auto request = request_of(pod, engine.catalog(), engine.settings().preset);
  Explanation out;
  if (!request) {
    out.code = RefusalCode::Ask;
    out.sentence = request.error().message;
    return out;
  }
  if (!request->any()) {
    out.fits = true;
    return out;
  }
  return Explaining(engine, pod, *request).run(candidates);
}

}  // namespace kiboko
