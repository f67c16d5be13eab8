// Which single change of a pod, or of what is around it, would let it fit.
//
// A change of the pod is made in its own words (a resource of a container, an annotation) and goes through admission
// like any pod: what is said here can be done as it stands. Amounts are searched for by halving: what fits at an amount
// fits at less.
#include <algorithm>
#include <span>

#include "base/text.h"
#include "sched/explain.h"
#include "vendors/ask.h"

namespace kiboko {
namespace {

using Around = void (*)(BookedNode&);

// More amounts than any family has where each of them is tried.
constexpr std::int64_t kMostTried = 512;

// Amounts that a family refuses between two that it hands out.
constexpr std::int64_t kWidestGap = 64;

// One amount of one container, in the unit of its resource.
struct Dial {
  std::size_t container = 0;
  std::string resource;
  std::int64_t implied = 0;  // what a pod that does not name it is taken to say
  std::int64_t mib = 0;      // of one unit; 0: it is no memory
  bool bare_is_gib = false;
};

struct Found {
  std::int64_t amount = 0;
  std::string place;  // "n7/GPU-3", or "n7" where several devices are taken
};

std::string amount_text(const Dial& dial, std::int64_t amount) {
  if (!dial.bare_is_gib) return std::to_string(amount);
  return amount % 1024 == 0 ? std::to_string(amount / 1024) : fmt::format("{}Mi", amount);
}

const std::string* text_of(const Container& container, const std::string& resource) {
  for (const Texts* const texts : {&container.limits, &container.requests})
    if (const auto found = texts->find(resource); found != texts->end()) return &found->second;
  return nullptr;
}

class Search {
 public:
  Search(const Engine& engine, const Pod& pod, const PodRequest& request, const NodeSet* candidates)
      : engine_(engine), pod_(pod), request_(request), candidates_(candidates), fitter_(engine.types()) {}

  const Pod& pod() const { return pod_; }
  const FamilyAsk& ask(std::size_t container, std::size_t ask) const {
    return request_.containers[container].asks[ask];
  }
  const PodRequest& request() const { return request_; }
  bool ignore_quota = false;

  // Where it would fit, or nothing. `around` may change each node before it is tried.
  std::optional<std::string> fits(const PodRequest& request, Around around = nullptr) {
    std::optional<std::string> found;
    for_each_node([&](const BookedNode& node) {
      if (found) return;
      BookedNode changed;
      if (around != nullptr) around(changed = node);
      if (!fitter_.fit(around == nullptr ? node : changed, request, {}, plan_)) found = accepted(node);
    });
    return found;
  }

  std::optional<std::string> fits(const Pod& changed) {
    const auto request = admitted(changed);
    return request && request->any() ? fits(*request) : std::nullopt;
  }

  Pod with_amount(const Dial& dial, std::int64_t amount) const {
    Pod changed = pod_;
    Container& container = changed.containers[dial.container];
    container.limits[dial.resource] = amount_text(dial, amount);
    if (const auto found = container.requests.find(dial.resource); found != container.requests.end())
      found->second = amount_text(dial, amount);
    return changed;
  }

  // The largest amount from `least` to `most` at which the pod fits.
  std::optional<Found> largest(const Dial& dial, std::int64_t least, std::int64_t most) {
    for (const std::int64_t lowest = least; least < lowest + kWidestGap && !admitted(with_amount(dial, least));)
      ++least;
    if (least > most) return std::nullopt;
    auto best = at_most(dial, least, least);
    if (!best) return std::nullopt;
    for (std::int64_t fitting = least, refused = most + 1; refused - fitting > 1;) {
      const std::int64_t middle = fitting + (refused - fitting) / 2;
      if (auto found = at_most(dial, middle, fitting)) {
        best = std::move(found);
        fitting = middle;
      } else {
        refused = middle;
      }
    }
    return best;
  }

  // The first of these at which the pod fits, where less does not always fit if more does.
  std::optional<Found> first(const Dial& dial, std::span<const std::int64_t> amounts) {
    for (const std::int64_t amount : amounts)
      if (auto place = fits(with_amount(dial, amount))) return Found{amount, std::move(*place)};
    return std::nullopt;
  }

  // The most memory that a device of the family has, in MiB.
  std::int64_t most_memory(FamilyIndex family) {
    std::int64_t most = 0;
    for_each_node([&](const BookedNode& node) {
      for (const BookedDevice& device : node.devices)
        if (device.family == family) most = std::max(most, device.memory);
    });
    return most;
  }

  // The containers that want devices, first the one that no node could serve.
  std::vector<std::size_t> containers() {
    std::size_t stuck = 0;
    for_each_node([&](const BookedNode& node) {
      if (const auto miss = fitter_.fit(node, request_, {}, plan_))
        stuck = std::max<std::size_t>(stuck, miss->container);
    });
    std::vector<std::size_t> order;
    for (std::size_t c = 0; c < request_.containers.size(); ++c)
      if (!request_.containers[c].asks.empty()) order.insert(c == stuck ? order.begin() : order.end(), c);
    return order;
  }

  // Of the place that was found last: the one quota that is in its way; nothing if there are several, or none.
  std::optional<QuotaMiss> only_quota_miss() const {
    const auto miss = quota_miss(engine_.quotas());
    if (!miss) return std::nullopt;
    QuotaBook others = engine_.quotas();
    others.remove(pod_.pod_namespace, miss->quota);
    return quota_miss(others) ? std::nullopt : miss;
  }

  // The same search for a pod that is another already.
  Search of(const Pod& changed) const { return {engine_, changed, request_, candidates_}; }
  const vendors::Family& family_of(const FamilyAsk& one) const { return engine_.catalog().families()[one.index]; }

 private:
  std::optional<QuotaMiss> quota_miss(const QuotaBook& quotas) const {
    return quotas.miss(QuotaSubject::of(pod_), plan_.holding.quota);
  }

  Result<PodRequest> admitted(const Pod& changed) const {
    return request_of(changed, engine_.catalog(), engine_.settings().preset);
  }

  // Some families refuse amounts between those that they hand out: then the next one below.
  std::optional<Found> at_most(const Dial& dial, std::int64_t amount, std::int64_t least) {
    for (std::int64_t tried = amount; tried >= std::max(least, amount - kWidestGap); --tried) {
      const auto request = admitted(with_amount(dial, tried));
      if (!request) continue;
      auto place = fits(*request);
      return place ? std::optional(Found{tried, std::move(*place)}) : std::nullopt;
    }
    return std::nullopt;
  }

  template <class Visit>
  void for_each_node(Visit visit) const {
    const auto& nodes = engine_.nodes();
    engine_.for_each_candidate(candidates_, [&](NodeIndex index) {
      if (index < nodes.size() && nodes[index].known) visit(nodes[index]);
    });
  }

  std::optional<std::string> accepted(const BookedNode& node) const {
    if (!ignore_quota && quota_miss(engine_.quotas())) return std::nullopt;
    if (plan_.holding.devices.size() != 1) return node.name;
    return node.name + "/" + node.devices[plan_.holding.devices[0].device].uuid;
  }

  const Engine& engine_;
  const Pod& pod_;
  const PodRequest& request_;
  const NodeSet* candidates_;
  NodeFitter fitter_;
  NodePlan plan_;
};

// ---- amounts ----

// Several containers: say whose ask it is.
std::string whose(const Search& search, std::size_t container) {
  const auto asks = [](const ContainerRequest& one) { return !one.asks.empty(); };
  const auto& containers = search.request().containers;
  return std::ranges::count_if(containers, asks) > 1 ? fmt::format(" for container {}", containers[container].name)
                                                     : "";
}

// "nvidia.com/gpumem 31920 (31.2 GiB) instead of 40000 would fit on n1/GPU-1"
std::string sentence(const Search& search, const Dial& dial, const std::optional<Found>& found) {
  if (!found) return "";
  const std::string* const asked = text_of(search.pod().containers[dial.container], dial.resource);
  const std::string size =
      dial.mib > 0 ? fmt::format(" ({})", to_text(to_bytes(MiB{found->amount * dial.mib}))) : std::string();
  return fmt::format("{} {}{} instead of {}{} would fit on {}", dial.resource, amount_text(dial, found->amount), size,
                     asked != nullptr ? *asked : fmt::format("the implied {}", amount_text(dial, dial.implied)),
                     whose(search, dial.container), found->place);
}

std::vector<std::int64_t> downwards(std::int64_t from, std::int64_t least) {
  std::vector<std::int64_t> amounts;
  for (std::int64_t amount = from; amount >= least; --amount) amounts.push_back(amount);
  return amounts;
}

Dial memory_dial(const FamilyAsk& one, std::size_t container) {
  const vendors::MemoryRule& rule = one.family->resources.memory;
  const std::int64_t unit = rule.bare_is_gib ? 1 : rule.unit_mib;
  const std::int64_t devices = rule.per_device ? 1 : one.ask.count;
  return {container, rule.name, one.ask.memory.value * devices / unit, rule.as_given ? 0 : unit, rule.bare_is_gib};
}

std::string smaller_slice(Search& search, std::size_t container, const FamilyAsk& one) {
  const Dial dial{container, one.family->resources.slices, one.ask.memory.value, 0, false};
  // A larger slice holds what was asked for; a smaller one does not.
  std::vector<std::int64_t> sizes;
  for (std::int64_t more = 1; more <= kMostTried; ++more) sizes.push_back(one.ask.memory.value + more);
  for (const std::int64_t less : downwards(std::min(one.ask.memory.value - 1, kMostTried), 1)) sizes.push_back(less);
  return sentence(search, dial, search.first(dial, sizes));
}

std::string less_memory(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.ask(container, ask);
  const vendors::Resources& rules = one.family->resources;
  const MemoryAsk& memory = one.ask.memory;
  if (memory.kind == MemoryAsk::Kind::Slices) return smaller_slice(search, container, one);
  if (memory.kind == MemoryAsk::Kind::Percent) {
    const Dial dial{container, rules.memory_percent, memory.value, 0, false};
    return sentence(search, dial, search.largest(dial, 1, memory.value - 1));
  }
  if (memory.kind == MemoryAsk::Kind::Whole || rules.memory.name.empty()) return "";
  const Dial dial = memory_dial(one, container);
  const std::int64_t unit = std::max<std::int64_t>(dial.mib, 1);
  if (rules.memory.ladder.empty()) {
    const std::int64_t most = std::min(dial.implied - 1, search.most_memory(one.index) * one.ask.count / unit);
    return sentence(search, dial, search.largest(dial, 1, most));
  }
  std::vector<std::int64_t> steps;
  for (const vendors::Step& step : rules.memory.ladder)
    if (step.memory.count < memory.value) steps.insert(steps.begin(), (step.memory.count + unit - 1) / unit);
  return sentence(search, dial, search.first(dial, steps));
}

std::string less_compute(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.ask(container, ask);
  const vendors::CoresRule& rule = one.family->resources.cores;
  const CoresAsk& cores = one.ask.cores;
  if (rule.name.empty() || cores.kind == CoresAsk::Kind::All || cores.value <= 0) return "";
  const std::int64_t asked = cores.value * (rule.per_device ? 1 : one.ask.count);
  const Dial dial{container, rule.name, asked, 0, false};
  if (cores.kind == CoresAsk::Kind::Divided)
    return sentence(search, dial, search.first(dial, downwards(std::min(asked - 1, kMostTried), 1)));
  return sentence(search, dial, search.largest(dial, std::max<std::int64_t>(rule.least, 0), asked - 1));
}

std::string fewer_devices(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.ask(container, ask);
  const vendors::CountRule& rule = one.family->resources.count;
  if (rule.name.empty() || one.ask.cores.kind == CoresAsk::Kind::Divided) return "";
  const Dial dial{container, rule.name, one.ask.count, 0, false};
  const auto most = std::min<std::int64_t>(std::int64_t{one.ask.count} - 1, kMaxNodeDevices);
  return sentence(search, dial, search.first(dial, downwards(most, std::max<std::int64_t>(rule.least, 1))));
}

// A whole device was asked for: what could be had of a shared one.
std::string share_instead(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.ask(container, ask);
  const vendors::Resources& rules = one.family->resources;
  if (one.ask.memory.kind != MemoryAsk::Kind::Whole || rules.memory.name.empty()) return "";
  Pod sharing = search.pod();
  Container& changed = sharing.containers[container];
  std::string besides;
  if (!rules.cores.name.empty() && (text_of(changed, rules.cores.name) != nullptr || rules.cores.when_absent > 0)) {
    const std::int64_t least = std::max<std::int64_t>(rules.cores.least, 0);
    changed.requests.erase(rules.cores.name);
    changed.limits[rules.cores.name] = std::to_string(least);
    besides = fmt::format(" and {} {}", rules.cores.name, least);
  }
  Search shared = search.of(sharing);
  Dial dial = memory_dial(one, container);
  const auto found = shared.largest(dial, 1, search.most_memory(one.index) / dial.mib);
  if (!found) return "";
  return fmt::format("{} {} ({}){} instead of a whole device{} would fit on {}", dial.resource,
                     amount_text(dial, found->amount), to_text(to_bytes(MiB{found->amount * dial.mib})), besides,
                     whose(search, container), found->place);
}

// ---- words ----

// "it would fit without annotation nvidia.com/use-gputype (A100), on n1"
std::string without(Search& search, const std::string& key) {
  const auto found = search.pod().annotations.find(key);
  if (key.empty() || found == search.pod().annotations.end()) return "";
  Pod changed = search.pod();
  changed.annotations.erase(key);
  const auto place = search.fits(changed);
  return place ? fmt::format("it would fit without annotation {} ({}), on {}", key, found->second, *place) : "";
}

std::string with(Search& search, const std::string& key, const std::string& word) {
  Pod changed = search.pod();
  changed.annotations.insert_or_assign(key, word);
  const auto place = search.fits(changed);
  return place ? fmt::format("it would fit with annotation {}: {}, on {}", key, word, *place) : "";
}

std::string other_annotations(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.ask(container, ask);
  const vendors::Family& base = search.family_of(one);
  const vendors::Selectors& s = one.family->selectors;
  std::vector<std::string> keys = {s.use_type, s.no_use_type};
  keys.insert(keys.end(), s.use_uuid.begin(), s.use_uuid.end());
  keys.insert(keys.end(), s.no_use_uuid.begin(), s.no_use_uuid.end());
  keys.push_back(s.numa_bind);
  keys.push_back(s.mode);
  for (const std::string& key : keys)
    if (std::string found = without(search, key); !found.empty()) return found;
  for (const vendors::Mode& mode : base.modes)
    if (std::string found = one.in_mode ? without(search, mode.annotation) : with(search, mode.annotation, mode.value);
        !found.empty())
      return found;
  for (const vendors::Trait& trait : one.family->traits) {
    if (std::string found = without(search, trait.annotation); !found.empty()) return found;
    for (const std::string& word : trait.one_of)
      if (std::string found = with(search, trait.annotation, word); !found.empty()) return found;
  }
  return "";
}

std::string without_mutex(Search& search) {
  if (!search.request().policy.mutex) return "";
  PodRequest changed = search.request();
  changed.policy.mutex = false;
  const auto place = search.fits(changed);
  return place
             ? fmt::format("it would fit beside others without mutex in annotation {}, on {}", kDevicePolicyKey, *place)
             : "";
}

// ---- what is around the pod ----

struct Surrounding {
  std::string_view sentence;
  Around change;
};
constexpr Surrounding kSurroundings[] = {
    {"it would fit on {} if that were not cordoned",
     [](BookedNode& node) {
       for (BookedDevice& device : node.devices) device.cordoned = false;
     }},
    {"it may fit on {} once the pods there that cannot be read have ended or been put right",
     [](BookedNode& node) { node.unreadable_pods = 0; }},
    {"it would fit on {} once other pods there have ended",
     [](BookedNode& node) {
       for (BookedDevice& device : node.devices) {
         device.use = {};
         device.mig_live.clear();
         device.blocked = false;
       }
       node.unreadable_pods = 0;
     }},
    {"it would fit on {} if that were healthy",
     [](BookedNode& node) {
       for (BookedDevice& device : node.devices) device.healthy = device.present;
     }},
};

std::string elsewhere(Search& search) {
  for (const Surrounding& row : kSurroundings)
    if (const auto place = search.fits(search.request(), row.change))
      return fmt::format(fmt::runtime(row.sentence), *place);
  return "";
}

std::string larger_quota(Search& search) {
  search.ignore_quota = true;
  const auto place = search.fits(search.request());
  search.ignore_quota = false;
  const auto miss = place ? search.only_quota_miss() : std::nullopt;
  return miss ? fmt::format("with a larger quota {} it would fit on {}", miss->quota, *place) : "";
}

using OfAsk = std::string (*)(Search&, std::size_t, std::size_t);

// First what the refusal is about, then the rest in this order.
std::vector<OfAsk> changes_for(RefusalCode code) {
  std::vector<OfAsk> order = {less_memory, less_compute, fewer_devices, other_annotations, share_instead};
  const auto first = [&]() -> OfAsk {
    switch (code) {
      case RefusalCode::Cores:
      case RefusalCode::Exhausted:
        return less_compute;
      case RefusalCode::Count:
      case RefusalCode::Topology:
        return fewer_devices;
      case RefusalCode::Type:
      case RefusalCode::Device:
      case RefusalCode::Numa:
      case RefusalCode::Mode:
      case RefusalCode::AppClass:
      case RefusalCode::Qos:
        return other_annotations;
      case RefusalCode::Exclusive:
        return share_instead;
      default:
        return less_memory;
    }
  }();
  std::rotate(order.begin(), std::ranges::find(order, first), order.end());
  return order;
}

}  // namespace

std::string nearest_change(const Engine& engine, const Pod& pod, const PodRequest& request, RefusalCode code,
                           const NodeSet* candidates) {
  Search search(engine, pod, request, candidates);
  if (std::string found = without_mutex(search); !found.empty()) return found;
  const std::vector<std::size_t> containers = search.containers();
  for (const OfAsk change : changes_for(code))
    for (const std::size_t c : containers)
      for (std::size_t a = 0; a < request.containers[c].asks.size(); ++a)
        if (std::string found = change(search, c, a); !found.empty()) return found;
  if (std::string found = larger_quota(search); !found.empty()) return found;
  return elsewhere(search);
}

}  // namespace kiboko
