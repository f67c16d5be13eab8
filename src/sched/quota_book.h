// What namespaces may have in sum, and have: the ResourceQuotas that name memory or compute of accelerators.
//
// Owned by the scheduler's loop. Each quota is kept by itself: all of them that count a pod must allow it. Amounts are
// MiB, and compute in the unit in which it is asked for.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/objects.h"
#include "sched/pod_tally.h"
#include "vendors/catalog.h"

namespace kiboko {

// What a quota looks at in a pod.
struct QuotaSubject {
  std::string pod_namespace, priority_class;
  bool has_deadline = false, best_effort = false;
  bool operator==(const QuotaSubject&) const = default;
  static QuotaSubject of(const Pod& pod) {
    return {pod.pod_namespace, pod.priority_class, pod.has_deadline, pod.best_effort};
  }
};

struct QuotaMiss {
  std::string quota, resource;
  std::int64_t asked = 0, free = 0;  // MiB or units of compute
  bool memory = false;
};

class QuotaBook {
 public:
  explicit QuotaBook(const vendors::Catalog& catalog) : catalog_(catalog) {}

  // New or changed. What pods of the namespace hold is counted anew: call `add` for each of them.
  void set(const ResourceQuota& quota);
  void remove(const std::string& quota_namespace, const std::string& name);
  void forget_use(const std::string& quota_namespace);  // before counting anew
  bool watches(const std::string& quota_namespace) const;

  void add(const QuotaSubject& pod, std::span<const QuotaNeed> needs) { move(pod, needs, 1); }
  void subtract(const QuotaSubject& pod, std::span<const QuotaNeed> needs) { move(pod, needs, -1); }

  // The first quota that does not allow it. A limit of 0 allows nothing.
  std::optional<QuotaMiss> miss(const QuotaSubject& pod, std::span<const QuotaNeed> needs) const;

 private:
  struct Limit {
    std::string resource;
    FamilyIndex family = 0;
    bool memory = false;
    std::int64_t most = 0, used = 0;
  };
  struct Entry {
    ResourceQuota quota;
    std::vector<Limit> limits;
  };
  void move(const QuotaSubject& pod, std::span<const QuotaNeed> needs, std::int64_t sign);

  const vendors::Catalog& catalog_;
  std::map<std::string, std::map<std::string, Entry>, std::less<>> quotas_;  // by namespace, by name
};

}  // namespace kiboko
