// One accelerator family as its profile describes it: names, units and granularity, what is refused at admission, how
// its devices are found, chosen, counted and written down. Plain values, made by profile.h from YAML and never changed
// afterwards; any thread may read them.
//
// Everything that differs between families is here or in one of the named hooks (hooks.h). Nothing else may ask which
// family it has.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/cluster_device.h"
#include "vendors/expression.h"
#include "vendors/text_template.h"

namespace kiboko::vendors {

// ---- what containers may ask ----

struct CountRule {
  std::string name;  // empty: always `fixed`
  std::int64_t fixed = 0;
  std::int64_t least = 0;  // 0: a count of 0 asks for nothing
  std::int64_t most = 0x7FFF'FFFF;
  std::int64_t multiple_of = 1;
  std::vector<std::int64_t> one_of;  // empty: any
  std::map<std::int64_t, std::int64_t> round_up;
  std::int64_t implied = 0;  // the count when other amounts are given without one; 0: nothing is asked then
};

// One size of a family that only hands out some.
struct Step {
  std::string name;  // of the vendor's template; may be empty
  MiB memory;
  CoreUnits cores;
  std::int64_t cpus = 0;
};

struct MemoryRule {
  std::string name;  // empty: not asked for, a device is given whole
  std::int64_t unit_mib = 1;
  bool bare_is_gib = false;  // a number without suffix is GiB, one with a suffix is bytes
  bool as_given = false;     // the unit is for a hook to find out
  bool per_device = true;    // false: the sum over all devices
  bool zero_is_absent = true;
  std::int64_t preset = 0;         // in MiB: what an ask without memory is taken to say; 0: nothing
  std::vector<Step> ladder;        // sorted; an amount is raised to the next step
  std::optional<MiB> whole;        // what a whole device has, where the ladder ends in it
  std::optional<MiB> whole_up_to;  // amounts above the ladder and up to here take the whole device
};

enum class CoreUnit { Percent, Count, Bitmask, Sixteenth };
struct CoresRule {
  std::string name;
  CoreUnit asked = CoreUnit::Percent, device = CoreUnit::Percent;
  bool per_device = true;
  std::int64_t least = 0, most = 0x7FFF'FFFF;  // outside: refused
  std::int64_t preset = 0;
  std::int64_t when_absent = 0;
  std::optional<Expression> from_memory;  // of `memory`, in MiB per device
};

struct ExtraResource {
  std::string name, env;
};

// A word that the pod gives by an annotation.
struct Trait {
  std::string name, annotation;
  std::vector<std::string> one_of;  // empty: any
  std::string preset;               // written to the pod when it says nothing
  std::optional<Expression> unless;
};

struct Resources {
  CountRule count;
  std::string slices;  // a resource that gives the size of one slice instead of amounts
  MemoryRule memory;
  std::string memory_percent;
  CoresRule cores;
  std::vector<ExtraResource> extra;
  bool limits_only = false;
};

// ---- admission ----

struct AdmissionRule {
  std::optional<Expression> when;
  std::map<std::string, Expression> set;  // count, memory, memoryPercent, cores: in units of the resource
  std::string deny;                       // a sentence; empty: not refused
  std::map<std::string, TextTemplate> env, annotate;
};

// ---- what a node has ----

struct Discovery {
  enum class Source { Annotation, Capacity };
  Source source = Source::Annotation;
  std::string key;    // of the annotation
  std::string codec;  // "registration" or a hook's name
  std::optional<CoreUnits> force_cores;
  std::string type_must_contain;  // any case; empty: any
  // Synthesised from the node's capacity.
  std::optional<Expression> count, slots, memory, cores, numa;
  std::optional<TextTemplate> id;
  std::string type;
  std::map<std::string, std::string> custom_from_labels;
};

struct Liveness {
  enum class Mode { None, Handshake, Capacity, Annotation };
  Mode mode = Mode::None;
  std::string key;
};

struct Selectors {
  std::string use_type, no_use_type;
  std::vector<std::string> use_uuid, no_use_uuid;
  std::string numa_bind, mode, cordon;
};

// ---- fitting, choosing, counting ----

// The tests that a device must pass, in this order. What each means is the scheduler's to say once for all families.
enum class Test {
  Health,
  Cordon,
  Type,
  Numa,
  Uuid,
  Slots,
  Mutex,
  Quota,
  Memory,
  Cores,
  ExclusiveCores,
  Exhausted,
  Idle,
  Mode,
  SamePodDevice,
  SameSliceSize,
  AppClass,
  Qos,
  Mig,
  Mask,
  Slices,
};
std::string_view name(Test test);

struct Selection {
  std::string strategy = "firstFit";             // of the table in pickers.h
  std::string group;                             // custom info that names a device's group
  std::string group_when_key, group_when_value;  // only where the first device's custom info says so
  std::string mutex_group;                       // an idle device whose group is in use is not exclusive
  std::string wide_label, wide_word;             // nodes on which any run of neighbours will do
  std::vector<std::int64_t> run_sizes;
};

struct NodeScore {
  enum class Kind { None, GroupConcentration, Table, Hook };
  Kind kind = Kind::None;
  double weight = 1;
  std::string group;
  std::string loss_key, score_key;  // node annotations with a number for each count
  std::int64_t base = 0;
  std::string hook;
};

struct Emission {
  enum class Scope { Pod, FirstDevice, FirstContainer, Devices, Containers };
  struct Extra {
    std::string key;
    Scope scope = Scope::Pod;
    TextTemplate value;
    std::optional<TextTemplate> inner;  // of each device, where the scope is Containers
    std::string open, join, close;
    bool empty_containers = false;  // also those without a device
    std::optional<Expression> when;
    std::string hook;  // makes the value instead
  };
  std::string to_allocate, allocated;
  bool type_is_model = false;
  bool amounts = true;  // false: the allocation says 0 for memory and compute of devices that are only given whole
  std::vector<Extra> extra;
};

struct NodeLockRule {
  enum class Kind { None, Shared, Dedicated };
  Kind kind = Kind::None;
  std::string key;
  int expiry_seconds = 300;
};

struct Family;
// The family as it is for pods whose annotation says so.
struct Mode {
  std::string annotation, value;
  std::string node_flag;  // node annotation that must be "true"; empty: any node
  std::shared_ptr<const Family> family;
};

struct Family {
  std::string key;     // the word that annotations and asks know it by
  std::string title;   // one clause for people
  std::string group;   // families of one driver: hiding devices looks at all of them
  std::string origin;  // the file it came from
  bool enabled = true;
  Resources resources;
  std::vector<Trait> traits;
  std::vector<AdmissionRule> admission;
  std::string runtime_class;
  std::map<std::string, std::string> hide_env;  // for containers that ask for none of the group; empty: nothing
  Discovery discovery;
  Liveness liveness;
  Selectors selectors;
  std::vector<Test> tests;
  Selection selection;
  bool charge_slices = false;  // a placed device takes as many slots as it has slices
  NodeScore score;
  Emission emission;
  NodeLockRule lock;
  std::vector<Mode> modes;
  // Options that only a hook or the agent reads, kept by name: device split, MIG allow list, …
  std::map<std::string, std::string> options;

  // The family as it is for a pod with these annotations.
  const Family& in_mode(const std::map<std::string, std::string, std::less<>>& pod_annotations) const;
};

// Does it count cores in masks?
inline bool counts_masks(const Family& family) { return family.resources.cores.device == CoreUnit::Bitmask; }

inline bool has_test(const Family& family, Test test) {
  return std::ranges::find(family.tests, test) != family.tests.end();
}

}  // namespace kiboko::vendors
