#include "vendors/ask.h"

#include <algorithm>

#include "base/text.h"
#include "model/allocation.h"
#include "model/annotation.h"
#include "model/quantity.h"

namespace kiboko::vendors {
namespace {

using Amount = std::optional<std::int64_t>;

// What a pod may list. Every device of the cluster is held against it, and whoever may create a pod may write it.
constexpr std::size_t kMostTypes = 64, kMostUuids = 1024, kMostModeBytes = 1024;

// strconv.ParseBool, as users of such annotations are used to; anything else is false.
bool go_truth(std::string_view text) {
  for (const std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"})
    if (text == yes) return true;
  return false;
}

std::string listed(const std::vector<std::int64_t>& numbers) {
  std::vector<std::string> texts;
  for (const std::int64_t number : numbers) texts.push_back(std::to_string(number));
  return join(texts, ", ");
}

class Reading {
 public:
  Reading(const Family& family, const Container& container, const Annotations& pod)
      : family_(family.in_mode(pod)), rules_(family_.resources), container_(container), pod_(pod) {}

  Result<Admission> run() {
    TRY(read_amounts());
    if (!named()) return std::move(admission_);
    admission_.claimed = true;
    TRY(read_traits());
    TRY(settle_count());
    if (count_ == 0 && rules_.count.least > 0) TRY(check_count());
    if (count_ == 0 || (!count_ && !divided_)) return std::move(admission_);
    TRY(settle_memory());
    if (!cores_ && rules_.cores.preset > 0) cores_ = rules_.cores.preset;
    TRY(apply_rules());
    TRY(check_count());
    TRY(make_ask());
    for (const ExtraResource& extra : rules_.extra)
      if (const Amount amount = TRY(amount_of(extra.name))) admission_.env[extra.env] = std::to_string(*amount);
    admission_.runtime_class = family_.runtime_class;
    return std::move(admission_);
  }

 private:
  template <class... Args>
  tl::unexpected<Error> refuse(fmt::format_string<Args...> format, Args&&... args) const {
    return fail(Errc::Invalid, "container {}: {}", container_.name, fmt::format(format, std::forward<Args>(args)...));
  }

  const std::string* text_of(const std::string& resource) const {
    if (resource.empty()) return nullptr;
    if (const auto found = container_.limits.find(resource); found != container_.limits.end()) return &found->second;
    if (rules_.limits_only) return nullptr;
    const auto found = container_.requests.find(resource);
    return found == container_.requests.end() ? nullptr : &found->second;
  }

  Result<Amount> amount_of(const std::string& resource) const {
    const std::string* text = text_of(resource);
    if (text == nullptr) return Amount();
    return Amount(TRY(parse_quantity(*text).map_error(about("container {}: {}", container_.name, resource))));
  }

  // Memory where a bare number is GiB and anything with a letter in it is bytes; both come to MiB.
  Result<Amount> gib_or_bytes() const {
    const std::string* text = text_of(rules_.memory.name);
    if (text == nullptr) return Amount();
    const std::int64_t number = *TRY(amount_of(rules_.memory.name));
    const bool bare = std::ranges::all_of(*text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
    if (!bare) return Amount(number >> 20U);
    if (number > kMostWireNumber / 1024)
      return refuse("{} {} GiB is more than any device has", rules_.memory.name, number);
    return Amount(number * 1024);
  }

  Result<void> read_amounts() {
    count_ = TRY(amount_of(rules_.count.name));
    memory_ = TRY(rules_.memory.bare_is_gib ? gib_or_bytes() : amount_of(rules_.memory.name));
    percent_ = TRY(amount_of(rules_.memory_percent));
    cores_ = TRY(amount_of(rules_.cores.name));
    slices_ = TRY(amount_of(rules_.slices));
    if (percent_ && *percent_ > 100) return refuse("{} {} is not within 0 and 100", rules_.memory_percent, *percent_);
    if (percent_ == 0) percent_.reset();
    if (slices_ == 0) return refuse("{} must be more than 0", rules_.slices);
    return {};
  }

  bool named() const { return count_ || memory_ || percent_ || cores_ || slices_; }

  Result<void> read_traits() {
    for (const Trait& trait : family_.traits) {
      const auto found = pod_.find(trait.annotation);
      std::string word(found == pod_.end() ? "" : std::string_view(trim(found->second)));
      if (!word.empty() && !trait.one_of.empty() && std::ranges::find(trait.one_of, word) == trait.one_of.end())
        return refuse("annotation {} is '{}': use one of {}", trait.annotation, shown(word), join(trait.one_of, ", "));
      if (word.empty() && !trait.preset.empty() && !(trait.unless && TRY(truth(*trait.unless)))) {
        word = trait.preset;
        admission_.annotate[trait.annotation] = word;
      }
      if (!word.empty()) traits_[trait.name] = word;
    }
    return {};
  }

  // ---- expressions ----

  Amount value_of(std::string_view name) const {
    if (name == "count") return count_;
    if (name == "memory") return memory_;
    if (name == "memoryPercent") return percent_;
    if (name == "cores") return cores_;
    if (name == "slices") return slices_;
    if (name == "whole")
      return rules_.memory.whole ? Amount(rules_.memory.whole->count / rules_.memory.unit_mib) : Amount();
    const std::size_t equals = name.find('=');
    const auto found = traits_.find(name.substr(0, equals));
    if (found == traits_.end()) return std::nullopt;
    return equals == std::string_view::npos || found->second == name.substr(equals + 1) ? 1 : 0;
  }
  Result<bool> truth(const Expression& expression) const {
    const auto value = expression.evaluate([this](std::string_view name) { return value_of(name); });
    return TRY(value.map_error(about("container {}: {}", container_.name, family_.key))) != 0;
  }

  // ---- in order ----

  Result<void> settle_count() {
    const CountRule& rule = rules_.count;
    if (!count_ && rule.fixed > 0) {
      count_ = rule.fixed;
    } else if (!count_ && rule.implied > 0) {
      count_ = rule.implied;
      admission_.limits[rule.name] = *count_;
    } else if (!count_ && rules_.cores.asked == CoreUnit::Bitmask && cores_) {
      divided_ = true;
    }
    if (!count_) return {};
    if (const auto up = rule.round_up.find(*count_); up != rule.round_up.end()) {
      count_ = up->second;
      admission_.limits[rule.name] = *count_;
    }
    return {};
  }

  Result<void> check_count() const {
    const CountRule& rule = rules_.count;
    const std::int64_t count = count_.value_or(1);
    if (count < rule.least || count > rule.most)
      return refuse("{} {} is not within {} and {}", rule.name, count, rule.least, rule.most);
    if (count % rule.multiple_of != 0) return refuse("{} {} is no multiple of {}", rule.name, count, rule.multiple_of);
    if (!rule.one_of.empty() && std::ranges::find(rule.one_of, count) == rule.one_of.end())
      return refuse("{} {}: only {} can be had", rule.name, count, listed(rule.one_of));
    return {};
  }

  Result<void> settle_memory() {
    const MemoryRule& rule = rules_.memory;
    if (!memory_ && !percent_ && rule.preset > 0) memory_ = rule.preset / rule.unit_mib;
    if (!memory_ || rule.ladder.empty() || (*memory_ == 0 && rule.zero_is_absent)) return {};
    const std::int64_t asked = TRY(in_mib(*memory_));
    const auto step = std::ranges::find_if(rule.ladder, [&](const Step& s) { return asked <= s.memory.count; });
    std::int64_t given = 0;
    if (step != rule.ladder.end()) {
      given = step->memory.count;
    } else if (rule.whole_up_to && asked <= rule.whole_up_to->count) {
      given = rule.whole->count;
    } else {
      const std::int64_t most = rule.whole_up_to ? rule.whole_up_to->count : rule.ladder.back().memory.count;
      return refuse("{} {} is more than the {} MiB of a device", rule.name, *memory_, most);
    }
    memory_ = (given + rule.unit_mib - 1) / rule.unit_mib;
    laddered_ = given;
    admission_.limits[rule.name] = *memory_;
    return {};
  }

  Result<std::int64_t> in_mib(std::int64_t amount) const {
    const std::int64_t unit = rules_.memory.bare_is_gib ? 1 : rules_.memory.unit_mib;
    if (amount <= kMostWireNumber / unit) return amount * unit;
    const std::int64_t mib = amount >> 20U;
    const std::string hint =
        mib > 0 ? fmt::format("; if bytes were meant, write {}", std::max<std::int64_t>(mib / unit, 1)) : "";
    return refuse("{} {} (in units of {} MiB) is more than any device has{}", rules_.memory.name, amount, unit, hint);
  }

  Result<void> apply_rules() {
    const TextLookup words = [this](std::string_view name) -> std::optional<std::string> {
      if (name == "container") return container_.name;
      if (const auto trait = traits_.find(name); trait != traits_.end()) return trait->second;
      const Amount value = value_of(name);
      return value ? std::optional(std::to_string(*value)) : std::nullopt;
    };
    for (const AdmissionRule& rule : family_.admission) {
      if (rule.when && !TRY(truth(*rule.when))) continue;
      if (!rule.deny.empty()) return refuse("{}", rule.deny);
      for (const auto& [name, expression] : rule.set) TRY(set(name, expression));
      for (const auto& [name, text] : rule.env) admission_.env[name] = TRY(text.fill(words));
      for (const auto& [name, text] : rule.annotate) admission_.annotate[name] = TRY(text.fill(words));
    }
    return {};
  }

  Result<void> set(const std::string& name, const Expression& expression) {
    const auto value = TRY(expression.evaluate([this](std::string_view n) { return value_of(n); })
                               .map_error(about("container {}: {}", container_.name, family_.key)));
    const std::int64_t least = name == "count" ? 1 : 0;
    const std::int64_t most = name == "memoryPercent" ? 100 : kMostWireNumber;
    if (value < least || value > most)
      return refuse("{} sets {} to '{}', which is {}: not within {} and {}", family_.key, name, expression.text(),
                    value, least, most);
    Amount& amount = name == "count" ? count_ : name == "memory" ? memory_ : name == "cores" ? cores_ : percent_;
    const std::string& resource = name == "count"    ? rules_.count.name
                                  : name == "memory" ? rules_.memory.name
                                  : name == "cores"  ? rules_.cores.name
                                                     : rules_.memory_percent;
    amount = value;
    if (!resource.empty()) admission_.limits[resource] = value;
    return {};
  }

  // ---- the ask ----

  Result<void> make_ask() {
    DeviceAsk ask;
    ask.family = family_.key;
    ask.count = static_cast<std::uint32_t>(count_.value_or(1));
    ask.traits = traits_;
    ask.memory = TRY(memory_ask());
    ask.cores = TRY(cores_ask(ask));
    if (const Step* step = laddered_ ? step_of(family_, MiB{*laddered_}) : nullptr) {
      ask.template_name = step->name;
      ask.template_cores = step->cores;
    }
    if (divided_) ask.traits["resource"] = rules_.cores.name;
    TRY(select(ask));
    admission_.ask = std::move(ask);
    return {};
  }

  Result<MemoryAsk> memory_ask() {
    const MemoryRule& rule = rules_.memory;
    if (slices_) return MemoryAsk{MemoryAsk::Kind::Slices, *slices_, false};
    if (rule.as_given) return MemoryAsk{MemoryAsk::Kind::Spec, memory_.value_or(0), false};
    if (memory_ && (*memory_ > 0 || !rule.zero_is_absent)) {
      std::int64_t mib = laddered_ ? *laddered_ : TRY(in_mib(*memory_));
      if (!rule.per_device) mib /= static_cast<std::int64_t>(count_.value_or(1));
      return MemoryAsk{MemoryAsk::Kind::Amount, mib, rule.whole == MiB{mib}};
    }
    if (percent_) return MemoryAsk{MemoryAsk::Kind::Percent, *percent_, false};
    if (!rule.whole) return MemoryAsk{};
    if (!rule.name.empty()) admission_.limits[rule.name] = rule.whole->count / rule.unit_mib;
    return MemoryAsk{MemoryAsk::Kind::Amount, rule.whole->count, true};
  }

  Result<CoresAsk> cores_ask(const DeviceAsk& ask) const {
    const CoresRule& rule = rules_.cores;
    const bool mask = rule.asked == CoreUnit::Bitmask;
    if (mask && !divided_) return CoresAsk{CoresAsk::Kind::All, 0};
    if (rule.from_memory) {
      const std::int64_t memory = ask.memory.value;
      const auto value = TRY(rule.from_memory->evaluate([&](std::string_view) { return Amount(memory); })
                                 .map_error(about("container {}: {}", container_.name, family_.key)));
      if (value < 0 || value > kMostWireNumber)
        return refuse("{}: the compute '{}' is {}: not within 0 and {}", family_.key, rule.from_memory->text(), value,
                      kMostWireNumber);
      return CoresAsk{CoresAsk::Kind::Units, value};
    }
    std::int64_t value = cores_.value_or(rule.when_absent);
    if (cores_ && (value < rule.least || value > rule.most))
      return refuse("{} {} is not within {} and {}", rule.name, value, rule.least, rule.most);
    if (mask) return CoresAsk{CoresAsk::Kind::Divided, value};
    if (!rule.per_device && cores_) value /= static_cast<std::int64_t>(ask.count);
    if (rule.asked == CoreUnit::Percent) value = std::min<std::int64_t>(value, 100);
    const bool converted = rule.asked == CoreUnit::Percent && rule.device == CoreUnit::Count && value > 0;
    return CoresAsk{converted ? CoresAsk::Kind::PercentOfDevice : CoresAsk::Kind::Units, value};
  }

  Result<void> select(DeviceAsk& ask) const {
    const Selectors& keys = family_.selectors;
    ask.use_types = TRY(names_at({keys.use_type}, kMostTypes));
    ask.no_use_types = TRY(names_at({keys.no_use_type}, kMostTypes));
    ask.use_uuids = TRY(names_at(keys.use_uuid, kMostUuids));
    ask.no_use_uuids = TRY(names_at(keys.no_use_uuid, kMostUuids));
    if (const auto found = pod_.find(keys.numa_bind); found != pod_.end()) ask.numa_bind = go_truth(found->second);
    if (const auto found = pod_.find(keys.mode); found != pod_.end() && !keys.mode.empty()) ask.modes = found->second;
    if (ask.modes.size() > kMostModeBytes)
      return refuse("annotation {}: {} bytes are more than the {} that modes may have", keys.mode, ask.modes.size(),
                    kMostModeBytes);
    return {};
  }

  Result<std::vector<std::string>> names_at(const std::vector<std::string>& keys, std::size_t most) const {
    std::vector<std::string> names;
    for (const std::string& key : keys) {
      const auto found = key.empty() ? pod_.end() : pod_.find(key);
      if (found == pod_.end()) continue;
      for (std::string& name : parse_name_list(found->second)) names.push_back(std::move(name));
      if (names.size() > most)
        return refuse("annotation {}: {} names are more than the {} that a pod may list", key, names.size(), most);
    }
    return names;
  }

  const Family& family_;
  const Resources& rules_;
  const Container& container_;
  const Annotations& pod_;
  Admission admission_;
  Amount count_, memory_, percent_, cores_, slices_;  // in units of the resources
  Amount laddered_;                                   // MiB
  bool divided_ = false;
  std::map<std::string, std::string, std::less<>> traits_;
};

}  // namespace

Result<Admission> admit(const Family& family, const Container& container, const Annotations& pod) {
  return Reading(family, container, pod).run();
}

std::map<std::string, std::string> hidden_env(const std::vector<const Family*>& all,
                                              const std::vector<const Family*>& claimed) {
  std::map<std::string, std::string> env;
  for (const Family* family : all) {
    const bool used = std::ranges::any_of(claimed, [&](const Family* other) { return other->group == family->group; });
    if (!used) env.insert(family->hide_env.begin(), family->hide_env.end());
  }
  return env;
}

const Step* step_of(const Family& family, MiB memory) {
  const auto& ladder = family.resources.memory.ladder;
  const auto found = std::ranges::find(ladder, memory, &Step::memory);
  return found == ladder.end() ? nullptr : &*found;
}

}  // namespace kiboko::vendors
