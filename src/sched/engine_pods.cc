// Pods: what they hold, and what is reserved for them.
#include <algorithm>

#include "sched/engine.h"
#include "sched/engine_pods.h"
#include "sched/pod_reader.h"

namespace kiboko {

const std::shared_ptr<const QuotaSubject>& Engine::subject_of(const Pod& pod) {
  auto& known = subjects_[pod.pod_namespace];
  const QuotaSubject wanted = QuotaSubject::of(pod);
  const auto found = std::ranges::find_if(known, [&](const auto& subject) { return *subject == wanted; });
  if (found != known.end()) return *found;
  return known.emplace_back(std::make_shared<const QuotaSubject>(wanted));
}

void Engine::hold(const Pod& pod, NodeIndex node, PodHolding holding, bool unreadable) {
  const auto [at, made] = pods_.try_emplace(pod.uid);
  PodRecord& record = at->second;
  record.node = node;
  record.init_done = pod.init_done;
  record.unreadable = unreadable;
  record.holding = std::move(holding);
  record.subject = subject_of(pod);
  if (settings_.count_host) {
    record.cpu_milli = pod.cpu_milli;
    record.host_memory = pod.host_memory;
  }
  pods_on_[node].push_back(&record);
  quotas_.add(*record.subject, record.holding.quota);
  recount(node);
}

void Engine::let_go(PodMap::iterator found) {
  const NodeIndex node = found->second.node;
  quotas_.subtract(*found->second.subject, found->second.holding.quota);
  std::erase(pods_on_[node], &found->second);
  const std::string of_namespace = found->second.subject->pod_namespace;
  pods_.erase(found);
  if (const auto known = subjects_.find(of_namespace); known != subjects_.end()) {
    std::erase_if(known->second, [](const auto& subject) { return subject.use_count() == 1; });
    if (known->second.empty()) subjects_.erase(known);
  }
  recount(node);
}

PodHolding Engine::holding_of(const Pod& pod, NodeIndex node, const ReadPod& read) {
  PodTally tally;
  tally.begin(nodes_[node].devices);
  auto next = read.taken.begin();
  for (unsigned container = 0; container < pod.containers.size(); ++container) {
    for (; next != read.taken.end() && next->container == container; ++next) tally.add(*next);
    tally.end_container(pod.containers[container].kind);
  }
  PodHolding holding;
  tally.finish(holding);
  holding.mig.insert(holding.mig.end(), read.stray_mig.begin(), read.stray_mig.end());
  return holding;
}

Result<void> Engine::set_pod(const Pod& pod) {
  if (ended(pod)) {
    remove_pod(pod.uid);
    return {};
  }
  if (pod.node.empty()) return {};
  const NodeIndex node = node_named(pod.node);
  const auto read = read_pod(pod, nodes_[node], catalog_, [&](FamilyIndex family, const std::string& uuid) {
    return device_on(node, family, uuid);
  });
  const bool early = read && std::ranges::any_of(read->taken, [&](const Taken& taken) {
                       return !nodes_[node].devices[taken.device].present;
                     });
  if (early)
    nodes_[node].early_pods.insert_or_assign(pod.uid, pod);
  else
    nodes_[node].early_pods.erase(pod.uid);
  PodHolding holding = read ? holding_of(pod, node, *read) : PodHolding{};
  const bool nothing = read && read->empty() && !settings_.count_host;
  const auto known = pods_.find(pod.uid);
  const bool unchanged = known != pods_.end() && known->second.node == node && known->second.holding == holding &&
                         known->second.init_done == pod.init_done && known->second.unreadable == !read;
  reservations_.erase(pod.uid);
  if (unchanged) {
    tidy(node);
    return {};
  }
  const NodeIndex before = known == pods_.end() ? node : known->second.node;
  if (known != pods_.end()) let_go(known);
  if (!nothing) hold(pod, node, std::move(holding), !read);
  // Not earlier: the holding says devices by their place.
  tidy(node);
  if (before != node) {
    nodes_[before].early_pods.erase(pod.uid);
    tidy(before);
  }
  if (!read) return tl::unexpected<Error>(read.error());
  return {};
}

void Engine::remove_pod(std::string_view uid) {
  if (const auto found = pods_.find(uid); found != pods_.end()) {
    const NodeIndex node = found->second.node;
    if (const auto early = nodes_[node].early_pods.find(uid); early != nodes_[node].early_pods.end())
      nodes_[node].early_pods.erase(early);
    let_go(found);
    tidy(node);
  }
  if (const auto found = reservations_.find(uid); found != reservations_.end()) reservations_.erase(found);
}

const PodPlacement* Engine::reservation(std::string_view uid) const {
  const auto found = reservations_.find(uid);
  return found == reservations_.end() ? nullptr : &found->second.placement;
}

std::vector<std::string> Engine::expire(WallTime before) {
  std::vector<std::string> expired;
  for (const auto& [uid, reservation] : reservations_)
    if (reservation.since < before) expired.push_back(uid);
  std::ranges::sort(expired);
  for (const std::string& uid : expired) remove_pod(uid);
  return expired;
}

void Engine::set_quota(const ResourceQuota& quota) {
  quotas_.set(quota);
  quotas_.forget_use(quota.quota_namespace);
  for (const auto& [uid, pod] : pods_)
    if (pod.subject->pod_namespace == quota.quota_namespace) quotas_.add(*pod.subject, pod.holding.quota);
}

void Engine::remove_quota(const std::string& quota_namespace, const std::string& name) {
  quotas_.remove(quota_namespace, name);
}

}  // namespace kiboko
