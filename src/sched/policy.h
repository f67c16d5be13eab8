// Where a pod goes: the policies, and the one that keeps book for them.
//
// Owned by the scheduler's loop with the Cluster it places in. The same asks in the same order give the same spots:
// a tie goes to the lower node, then to the lower device.
//
//  binpack       the node most in use that fits, then its fullest device
//  spread        the emptiest node, its emptiest device
//  hami-default  node binpack and device spread as HAMi has them; pods without devices go where kube-scheduler's own
//                default puts them, on the node with most left
//  bestfit       least left over of CPU and compute, in hundredths (as in the published comparison)
//  fgd           fragmentation gradient descent as published: the change of the compute that typical asks cannot use,
//                squashed and cut to hundredths
//  supply        ours: of all placements that fit, the one that costs the supply of what is asked for least; see below
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "sched/ask_mix.h"
#include "sched/cluster.h"
#include "sched/cost_memory.h"
#include "sched/shortlist.h"
#include "sched/usable.h"

namespace kiboko {

enum class Policy { Binpack, Spread, HamiDefault, BestFit, Fgd, Supply };
std::string_view name(Policy policy);
Result<Policy> parse_policy(std::string_view text);
bool needs_mix(Policy policy);

// Places pods in a cluster by one policy. While a policy that needs a mix has none, it packs.
//
// `supply` looks at every class m of asks that is known. S(m) is the places that the whole cluster has for the class
// (usable.h), f(m) how often it is asked for. A placement is judged by what it takes from sum f(m) log S(m): losing a
// hundredth of a class's supply counts alike whether the supply is large or small. So what few devices can serve (eight
// whole devices on one node, a rare model, much CPU beside a device) is kept for those who need it, the more so the
// scarcer it gets, and an ask that any device can serve goes where nobody in particular is waiting.
class Placer {
 public:
  Placer(Cluster& cluster, Policy policy) : cluster_(cluster), policy_(policy) {}

  Policy policy() const { return policy_; }
  // The asks to expect. Costs a pass over the cluster.
  void expect(const AskMix& mix);

  // The best nodes now that the ask fits on, best first, up to Shortlist::kMost: of the candidates (null: of all), and
  // none that was tried (null: none was). None are left when the list is empty. Valid until the next call; takes
  // nothing; allocates only for an ask that is new or was long away.
  std::span<const Ranked> rank(const PodAsk& ask, const NodeSet* candidates = nullptr, const NodeSet* tried = nullptr);
  // What a placement on these devices of the node costs, to order devices of one node by.
  double cost(NodeIndex node, const PodAsk& ask, Devices devices) const;

  // The spot on the first node of the rank, or nothing.
  std::optional<Spot> choose(const PodAsk& ask, const NodeSet& candidates);
  std::optional<Spot> choose(const PodAsk& ask, std::span<const NodeIndex> candidates);
  std::optional<Spot> choose(const PodAsk& ask);  // all nodes

  // Every change of the cluster while a Placer looks at it goes through here: takes and gives back, or tells what has
  // been changed: what is free, health, other devices, a node that was added or removed.
  void take(const PodAsk& ask, const Spot& spot);
  void give_back(const PodAsk& ask, const Spot& spot);
  void changed(NodeIndex node);

 private:
  struct Choice {
    double cost = 0;  // less is better
    Devices devices = 0;
  };
  Choice judge(NodeIndex node, const PodAsk& ask) const;
  double cost_by_use(NodeIndex node, const PodAsk& ask) const;
  void rank_by_use(const PodAsk& ask, const NodeSet* candidates, const NodeSet* tried);
  void rank_by_usable(const PodAsk& ask, const NodeSet* candidates, const NodeSet* tried);
  float judge_and_note(NodeIndex node, const PodAsk& ask, CostMemory::Costs& known);
  void look_again(const PodAsk& ask, std::size_t most, CostMemory::Costs& known);
  double judged(NodeIndex node, const PodAsk& ask);
  std::optional<Spot> spot_of(const PodAsk& ask, std::span<const Ranked> ranked) const;
  void weigh();

  Cluster& cluster_;
  Policy policy_;
  std::optional<Usable> usable_;
  std::vector<double> weights_;
  Shortlist shortlist_;
  CostMemory memory_;
  // Nodes that one decision judges because nothing is known of them or they have changed since: the fullest, by the
  // negative of their use. The others wait for a later decision.
  static constexpr std::size_t kJudgedAtOnce = 64;
  Best<kJudgedAtOnce> unjudged_;
  // What nodes in one state cost, for one decision: a hash table without chains; what does not fit is judged again.
  struct Twin {
    std::uint64_t key = 0;
    std::uint64_t decision = 0;
    double cost = 0;
  };
  std::vector<Twin> twins_;
  std::uint64_t decision_ = 0;
  NodeSet named_;  // candidates that came as a list
};

}  // namespace kiboko
