// Where a pod goes: the policies, and the one that keeps book for them.
//
// Owned by the scheduler's loop with the Cluster it places in. The same asks in the same order give the same spots:
// a tie goes to the candidate that comes first, then to the lower device.
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

#include <map>
#include <optional>
#include <span>
#include <string_view>

#include "sched/ask_mix.h"
#include "sched/cluster.h"
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

  // The best spot now among the candidates, or nothing. Takes nothing; allocates only for an ask never seen before.
  std::optional<Spot> choose(const PodAsk& ask, std::span<const NodeIndex> candidates);
  std::optional<Spot> choose(const PodAsk& ask);  // all nodes

  // Every change of the cluster while a Placer looks at it goes through here.
  void take(const PodAsk& ask, const Spot& spot);
  void give_back(const PodAsk& ask, const Spot& spot);
  void changed(NodeIndex node);  // health, or a node that was added

 private:
  struct Choice {
    double cost = 0;  // less is better
    Spot spot;
  };
  Choice judge(NodeIndex node, const PodAsk& ask) const;
  Choice judge_by_use(NodeIndex node, const PodAsk& ask, Devices fitting) const;
  double cost(NodeIndex node, const PodAsk& ask, Devices devices) const;
  Choice judge_by_usable(NodeIndex node, const PodAsk& ask, Devices fitting) const;
  void weigh();
  // The cost of a node in the same state, if one was judged for the ask at hand.
  std::optional<double> cost_of_twin(NodeIndex node) const;
  double judged(NodeIndex node, const PodAsk& ask);
  struct Memory;
  Memory* memory_of(const PodAsk& ask);
  void look_again(Memory& memory, const PodAsk& ask);
  template <class NodeAt>
  std::optional<Spot> best_of(const PodAsk& ask, std::size_t count, NodeAt node_at);

  Cluster& cluster_;
  Policy policy_;
  std::optional<Usable> usable_;
  std::vector<double> weights_;
  struct Twin {
    std::uint64_t key = 0;
    std::uint64_t decision = 0;
    double cost = 0;
  };
  // What each node cost for one ask when it was last judged. Prices move on by a hair with each placement, so what is
  // remembered is only good to tell the few nodes that are worth judging now, and is brought up to date by and by.
  struct Memory {
    std::vector<std::uint64_t> keys;  // the node's state then
    std::vector<float> costs;
    NodeIndex next = 0;  // to look at again
  };
  std::map<PodAsk, Memory, AskLess> memories_;
  std::vector<Twin> twins_;  // a hash table without chains, of a power of two; what does not fit is judged again
  std::uint64_t decision_ = 0;
};

}  // namespace kiboko
