#include "sched/quota_book.h"

#include <algorithm>
#include <limits>

namespace kiboko {
namespace {

bool counts(const ResourceQuota& quota, const QuotaSubject& pod) {
  using Scope = ResourceQuota::Scope;
  for (const Scope scope : quota.scopes) {
    const bool inside = scope == Scope::Terminating      ? pod.has_deadline
                        : scope == Scope::NotTerminating ? !pod.has_deadline
                        : scope == Scope::BestEffort     ? pod.best_effort
                                                         : !pod.best_effort;
    if (!inside) return false;
  }
  return quota.priority_classes.empty() ||
         std::ranges::find(quota.priority_classes, pod.priority_class) != quota.priority_classes.end();
}

std::int64_t amount_of(const QuotaNeed& need, bool memory) { return memory ? need.memory : need.cores; }

// In MiB; what is more than that can say is as good as no limit.
std::int64_t limit_of(std::int64_t most, std::int64_t unit) {
  constexpr std::int64_t kTop = std::numeric_limits<std::int64_t>::max();
  return most > kTop / unit ? kTop : std::max<std::int64_t>(most, 0) * unit;
}

}  // namespace

void QuotaBook::set(const ResourceQuota& quota) {
  Entry entry{quota, {}};
  const auto& families = catalog_.families();
  for (const auto& [key, most] : quota.hard) {
    constexpr std::string_view kPrefix = "limits.";
    if (!key.starts_with(kPrefix)) continue;
    const std::string resource = key.substr(kPrefix.size());
    for (std::size_t index = 0; index < families.size(); ++index) {
      const auto& resources = families[index].resources;
      const auto family = static_cast<FamilyIndex>(index);
      const std::int64_t unit = resources.memory.bare_is_gib ? 1024 : resources.memory.unit_mib;
      if (resource == resources.memory.name) entry.limits.push_back({resource, family, true, limit_of(most, unit), 0});
      if (resource == resources.cores.name) entry.limits.push_back({resource, family, false, limit_of(most, 1), 0});
    }
  }
  auto& of_namespace = quotas_[quota.quota_namespace];
  of_namespace.erase(quota.name);
  if (!entry.limits.empty()) of_namespace.emplace(quota.name, std::move(entry));
  if (of_namespace.empty()) quotas_.erase(quota.quota_namespace);
}

void QuotaBook::remove(const std::string& quota_namespace, const std::string& name) {
  const auto found = quotas_.find(quota_namespace);
  if (found == quotas_.end()) return;
  found->second.erase(name);
  if (found->second.empty()) quotas_.erase(found);
}

void QuotaBook::forget_use(const std::string& quota_namespace) {
  const auto found = quotas_.find(quota_namespace);
  if (found == quotas_.end()) return;
  for (auto& [name, entry] : found->second)
    for (Limit& limit : entry.limits) limit.used = 0;
}

bool QuotaBook::watches(const std::string& quota_namespace) const { return quotas_.contains(quota_namespace); }

void QuotaBook::move(const QuotaSubject& pod, std::span<const QuotaNeed> needs, std::int64_t sign) {
  const auto found = quotas_.find(pod.pod_namespace);
  if (found == quotas_.end()) return;
  for (auto& [name, entry] : found->second) {
    if (!counts(entry.quota, pod)) continue;
    for (Limit& limit : entry.limits)
      for (const QuotaNeed& need : needs)
        if (need.family == limit.family) limit.used += sign * amount_of(need, limit.memory);
  }
}

std::optional<QuotaMiss> QuotaBook::miss(const QuotaSubject& pod, std::span<const QuotaNeed> needs) const {
  const auto found = quotas_.find(pod.pod_namespace);
  if (found == quotas_.end()) return std::nullopt;
  for (const auto& [name, entry] : found->second) {
    if (!counts(entry.quota, pod)) continue;
    for (const Limit& limit : entry.limits)
      for (const QuotaNeed& need : needs) {
        const std::int64_t asked = amount_of(need, limit.memory);
        // Whoever asks for devices that this quota counts is held to it, even if the amount is nothing.
        if (need.family == limit.family && (asked > limit.most - limit.used || limit.most == 0))
          return QuotaMiss{name, limit.resource, asked, std::max<std::int64_t>(limit.most - limit.used, 0),
                           limit.memory};
      }
  }
  return std::nullopt;
}

}  // namespace kiboko
