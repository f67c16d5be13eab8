// Which single change of a pod, or of what is around it, would let it fit.
//
// Each kind of change is a row of a table: how to loosen the request, and how to say it. Amounts are searched for by
// halving: what fits at an amount fits at less.
#include <algorithm>

#include "sched/explain.h"
#include "vendors/ask.h"

namespace kiboko {
namespace {

struct Place {
  NodeIndex node = kNoNode;
  std::string text;  // "n7/GPU-3", or "n7" where several devices are taken
};

class Search {
 public:
  Search(const Engine& engine, const Pod& pod, const PodRequest& request, const NodeSet* candidates)
      : engine_(engine), pod_(pod), request_(request), candidates_(candidates), fitter_(engine.types()) {}

  const PodRequest& request() const { return request_; }

  // Where the changed request would fit. `around` may change each node before it is tried.
  std::optional<Place> fits(const PodRequest& request, void (*around)(BookedNode&) = nullptr) {
    std::optional<Place> found;
    const auto look = [&](NodeIndex index) {
      if (found || index >= engine_.nodes().size()) return;
      const BookedNode& node = engine_.nodes()[index];
      if (around == nullptr) {
        if (!fitter_.fit(node, request, {}, plan_)) found = accepted(index);
        return;
      }
      BookedNode changed = node;
      around(changed);
      if (!fitter_.fit(changed, request, {}, plan_)) found = accepted(index);
    };
    if (candidates_ != nullptr) {
      candidates_->for_each(look);
    } else {
      for (NodeIndex index = 0; index < engine_.nodes().size(); ++index)
        if (engine_.nodes()[index].known) look(index);
    }
    return found;
  }

  bool ignore_quota = false;

  // The request with one ask of it changed.
  template <class Change>
  PodRequest with(std::size_t container, std::size_t ask, Change change) const {
    PodRequest changed = request_;
    change(changed.containers[container].asks[ask]);
    return changed;
  }

  // The largest amount in [low, high) at which the ask fits, and where.
  template <class Change>
  std::optional<std::pair<std::int64_t, Place>> largest(std::size_t container, std::size_t ask, std::int64_t low,
                                                        std::int64_t high, Change change) {
    const auto at = [&](std::int64_t amount) {
      return fits(with(container, ask, [&](FamilyAsk& one) { change(one, amount); }));
    };
    if (low >= high) return std::nullopt;
    std::optional<Place> best = at(low);
    if (!best) return std::nullopt;
    std::int64_t fitting = low, refused = high;
    while (refused - fitting > 1) {
      const std::int64_t middle = fitting + (refused - fitting) / 2;
      if (auto place = at(middle)) {
        best = std::move(place);
        fitting = middle;
      } else {
        refused = middle;
      }
    }
    return std::pair(fitting, *best);
  }

 private:
  std::optional<Place> accepted(NodeIndex index) const {
    if (!ignore_quota && engine_.quotas().miss(QuotaSubject::of(pod_), plan_.holding.quota)) return std::nullopt;
    const BookedNode& node = engine_.nodes()[index];
    Place place{index, node.name};
    if (plan_.holding.devices.size() == 1) place.text += "/" + node.devices[plan_.holding.devices[0].device].uuid;
    return place;
  }

  const Engine& engine_;
  const Pod& pod_;
  const PodRequest& request_;
  const NodeSet* candidates_;
  NodeFitter fitter_;
  NodePlan plan_;
};

std::string mib(std::int64_t amount) { return to_text(to_bytes(MiB{amount})); }

// Several containers: say whose ask it is.
std::string whose(const PodRequest& request, std::size_t container) {
  std::size_t asking = 0;
  for (const ContainerRequest& one : request.containers)
    if (!one.asks.empty()) ++asking;
  return asking > 1 ? fmt::format(" for container {}", request.containers[container].name) : "";
}

void set_memory(FamilyAsk& one, std::int64_t amount) {
  one.ask.memory = {MemoryAsk::Kind::Amount, amount, false};
  one.ask.template_name.clear();
  one.ask.template_cores = {};
}

std::string less_memory(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.request().containers[container].asks[ask];
  const std::string of = whose(search.request(), container);
  if (one.ask.memory.kind == MemoryAsk::Kind::Percent) {
    const auto found = search.largest(container, ask, 1, one.ask.memory.value,
                                      [](FamilyAsk& a, std::int64_t amount) { a.ask.memory.value = amount; });
    return found ? fmt::format("{} % of the memory instead of {} %{} would fit on {}", found->first,
                               one.ask.memory.value, of, found->second.text)
                 : "";
  }
  if (one.ask.memory.kind != MemoryAsk::Kind::Amount) return "";
  const auto& ladder = one.family->resources.memory.ladder;
  for (auto step = ladder.rbegin(); step != ladder.rend(); ++step) {
    if (step->memory.count >= one.ask.memory.value) continue;
    const auto place = search.fits(search.with(container, ask, [&](FamilyAsk& a) {
      set_memory(a, step->memory.count);
      a.ask.template_name = step->name;
      a.ask.template_cores = step->cores;
    }));
    if (place) return fmt::format("{}{} would fit on {}", mib(step->memory.count), of, place->text);
  }
  if (!ladder.empty()) return "";
  const auto found = search.largest(container, ask, 1, one.ask.memory.value, set_memory);
  return found ? fmt::format("{} less memory{} would fit on {}", mib(one.ask.memory.value - found->first), of,
                             found->second.text)
               : "";
}

std::string less_compute(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.request().containers[container].asks[ask];
  if (one.ask.cores.kind == CoresAsk::Kind::All || one.ask.cores.value <= 0) return "";
  const std::int64_t least = one.ask.cores.kind == CoresAsk::Kind::Units ? 0 : 1;
  const auto found = search.largest(container, ask, least, one.ask.cores.value,
                                    [](FamilyAsk& a, std::int64_t amount) { a.ask.cores.value = amount; });
  return found ? fmt::format("{} of compute instead of {}{} would fit on {}", found->first, one.ask.cores.value,
                             whose(search.request(), container), found->second.text)
               : "";
}

std::string fewer_devices(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.request().containers[container].asks[ask];
  const auto& rule = one.family->resources.count;
  const auto most = std::min<std::int64_t>(std::int64_t{one.ask.count} - 1, kMaxNodeDevices);
  for (std::int64_t count = most; count >= std::max<std::int64_t>(rule.least, 1); --count) {
    if (count % rule.multiple_of != 0 || rule.round_up.contains(count)) continue;
    if (!rule.one_of.empty() && std::ranges::find(rule.one_of, count) == rule.one_of.end()) continue;
    const auto place = search.fits(
        search.with(container, ask, [&](FamilyAsk& a) { a.ask.count = static_cast<std::uint32_t>(count); }));
    if (place)
      return fmt::format("{} {} instead of {}{} would fit on {}", count, count == 1 ? "device" : "devices",
                         one.ask.count, whose(search.request(), container), place->text);
  }
  return "";
}

// A whole device was asked for: what could be had of a shared one.
std::string share_instead(Search& search, std::size_t container, std::size_t ask) {
  const FamilyAsk& one = search.request().containers[container].asks[ask];
  if (one.family->resources.memory.name.empty() || !one.family->resources.memory.ladder.empty()) return "";
  if (one.ask.cores.value != 100 && one.ask.memory.kind != MemoryAsk::Kind::Whole) return "";
  constexpr std::int64_t kMostMemory = std::int64_t{1} << 31U;
  const auto found = search.largest(container, ask, 1, kMostMemory, [](FamilyAsk& a, std::int64_t amount) {
    set_memory(a, amount);
    a.ask.cores = {CoresAsk::Kind::Units, 0};
  });
  return found ? fmt::format("a share of {} without a compute limit{} would fit on {}", mib(found->first),
                             whose(search.request(), container), found->second.text)
               : "";
}

struct Unbinding {
  std::string_view sentence;  // behind it: where
  void (*loosen)(FamilyAsk&);
};
constexpr Unbinding kUnbindings[] = {
    {"it would fit without naming a type of device",
     [](FamilyAsk& a) {
       a.ask.use_types.clear();
       a.ask.no_use_types.clear();
     }},
    {"it would fit without naming devices",
     [](FamilyAsk& a) {
       a.ask.use_uuids.clear();
       a.ask.no_use_uuids.clear();
     }},
    {"it would fit without binding to one NUMA node", [](FamilyAsk& a) { a.ask.numa_bind = false; }},
    {"it would fit in any device mode",
     [](FamilyAsk& a) {
       a.ask.modes.clear();
       a.node_flag.clear();
       a.forbidden_flag.clear();
     }},
    {"it would fit without an application class", [](FamilyAsk& a) { a.online = a.offline = false; }},
    {"it would fit under another QoS policy", [](FamilyAsk& a) { a.qos = 0; }},
};

std::string unbound(Search& search, std::size_t container, std::size_t ask) {
  for (const Unbinding& row : kUnbindings)
    if (const auto place = search.fits(search.with(container, ask, row.loosen)))
      return fmt::format("{}, on {}", row.sentence, place->text);
  return "";
}

std::string without_mutex(Search& search) {
  if (!search.request().policy.mutex) return "";
  PodRequest changed = search.request();
  changed.policy.mutex = false;
  const auto place = search.fits(changed);
  return place ? fmt::format("it would fit on devices that others use, too, on {}", place->text) : "";
}

struct Surrounding {
  std::string_view sentence;
  void (*change)(BookedNode&);
};
constexpr Surrounding kSurroundings[] = {
    {"it would fit on {} if that were not cordoned",
     [](BookedNode& node) {
       for (BookedDevice& device : node.devices) device.cordoned = false;
     }},
    {"it would fit on {} when other pods there have ended",
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
      return fmt::format(fmt::runtime(row.sentence), place->text);
  return "";
}

std::string larger_quota(Search& search) {
  search.ignore_quota = true;
  const auto place = search.fits(search.request());
  search.ignore_quota = false;
  return place ? fmt::format("a larger quota would let it fit on {}", place->text) : "";
}

using OfAsk = std::string (*)(Search&, std::size_t, std::size_t);

// First what the refusal is about, then the rest in this order.
std::vector<OfAsk> changes_for(RefusalCode code) {
  std::vector<OfAsk> order = {less_memory, less_compute, fewer_devices, unbound, share_instead};
  const OfAsk first = code == RefusalCode::Cores || code == RefusalCode::Exhausted  ? less_compute
                      : code == RefusalCode::Count || code == RefusalCode::Topology ? fewer_devices
                      : code == RefusalCode::Type || code == RefusalCode::Device || code == RefusalCode::Numa ||
                              code == RefusalCode::Mode
                          ? unbound
                      : code == RefusalCode::Exclusive ? share_instead
                                                       : less_memory;
  std::ranges::rotate(order, std::ranges::find(order, first));
  return order;
}

}  // namespace

std::string nearest_change(const Engine& engine, const Pod& pod, const PodRequest& request, RefusalCode code,
                           const NodeSet* candidates) {
  Search search(engine, pod, request, candidates);
  if (code == RefusalCode::Quota) {
    for (std::size_t c = 0; c < request.containers.size(); ++c)
      for (std::size_t a = 0; a < request.containers[c].asks.size(); ++a)
        if (std::string found = less_memory(search, c, a); !found.empty()) return found;
    return larger_quota(search);
  }
  if (std::string found = without_mutex(search); !found.empty()) return found;
  for (const OfAsk change : changes_for(code))
    for (std::size_t c = 0; c < request.containers.size(); ++c)
      for (std::size_t a = 0; a < request.containers[c].asks.size(); ++a)
        if (std::string found = change(search, c, a); !found.empty()) return found;
  if (std::string found = elsewhere(search); !found.empty()) return found;
  return larger_quota(search);
}

}  // namespace kiboko
