#include "vendors/profile.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "model/annotation.h"
#include "vendors/hooks.h"

namespace kiboko::vendors {
namespace {

constexpr std::int64_t kMost = 0x7FFF'FFFF;

constexpr std::array<std::string_view, 4> kCoreUnits = {"percent", "count", "bitmask", "sixteenth"};
constexpr std::array<std::string_view, 2> kSources = {"annotation", "capacity"};
constexpr std::array<std::string_view, 4> kLiveness = {"none", "handshake", "capacity", "annotation"};
constexpr std::array<std::string_view, 21> kTests = {
    "health", "cordon",         "type",      "numa", "uuid", "slots",         "mutex",         "quota",    "memory",
    "cores",  "exclusiveCores", "exhausted", "idle", "mode", "samePodDevice", "sameSliceSize", "appClass", "qos",
    "mig",    "mask",           "slices"};
constexpr std::array<std::string_view, 4> kScores = {"none", "groupConcentration", "table", "hook"};
constexpr std::array<std::string_view, 5> kScopes = {"pod", "firstDevice", "firstContainer", "devices", "containers"};
constexpr std::array<std::string_view, 3> kLocks = {"none", "shared", "dedicated"};

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

bool known_in_discovery(std::string_view name) { return one_of(name, {"count", "memory", "cores", "i", "n", "node"}); }

bool known_in_emission(std::string_view name) {
  return name.starts_with("custom.") || name.starts_with("trait.") ||
         one_of(name, {"node", "time", "time_ns", "count", "container", "inner", "i", "id", "index", "memory", "cores",
                       "template", "slices"});
}

// Expressions and templates of one document, where the error needs the reader to say where.
std::optional<Expression> expression(YamlReader& reader, std::string_view key, const KnowsName& knows) {
  const std::string text = reader.text(key);
  if (text.empty()) return std::nullopt;
  auto parsed = Expression::parse(text, knows);
  if (!parsed) {
    reader.refuse(key, parsed.error().message);
    return std::nullopt;
  }
  return std::move(*parsed);
}

std::optional<TextTemplate> text_template(YamlReader& reader, std::string_view key, const std::string& text,
                                          const KnowsName& knows) {
  auto parsed = TextTemplate::parse(text, knows);
  if (!parsed) {
    reader.refuse(key, parsed.error().message);
    return std::nullopt;
  }
  return std::move(*parsed);
}

// ---- resources ----

CountRule read_count(YamlReader& in) {
  CountRule rule;
  rule.name = in.text("name");
  rule.fixed = in.number("fixed", 1, kMost, 0);
  rule.least = in.number("min", 0, kMost, 0);
  rule.most = in.number("max", 1, kMost, kMost);
  rule.multiple_of = in.number("multipleOf", 1, kMost, 1);
  rule.one_of = in.numbers("oneOf");
  for (const auto& [from, to] : in.text_map("roundUp")) {
    const auto low = parse_integer<std::int64_t>(from), high = parse_integer<std::int64_t>(to);
    if (low && high)
      rule.round_up.emplace(*low, *high);
    else
      in.refuse("roundUp", "must map whole numbers to whole numbers");
  }
  rule.implied = in.number("implied", 0, kMost, 0);
  if (rule.name.empty() == (rule.fixed == 0)) in.refuse("name", "give either a name or a fixed count");
  in.finish();
  return rule;
}

Step read_step(YamlReader& in) {
  Step step;
  step.name = in.text("name");
  step.memory.count = in.number("memory", 1, kMost, 1);
  step.cores.count = in.number("cores", 0, kMost, 0);
  step.cpus = in.number("cpus", 0, kMost, 0);
  in.finish();
  return step;
}

std::optional<MiB> mebibytes(YamlReader& in, std::string_view key) {
  if (in.text(key).empty()) return std::nullopt;
  return MiB{in.number(key, 1, kMost, 1)};
}

MemoryRule read_memory(YamlReader& in) {
  MemoryRule rule;
  rule.name = in.needed_text("name");
  rule.unit_mib = in.number("unitMiB", 1, 1 << 20, 1);
  rule.bare_is_gib = in.truth("bareIsGiB", false);
  rule.as_given = in.truth("asGiven", false);
  rule.per_device = in.truth("perDevice", true);
  rule.zero_is_absent = in.truth("zeroIsAbsent", true);
  rule.preset = in.number("default", 0, kMost, 0);
  for (YamlReader& step : in.children("ladder")) rule.ladder.push_back(read_step(step));
  std::ranges::stable_sort(rule.ladder, {}, &Step::memory);
  rule.whole = mebibytes(in, "whole");
  rule.whole_up_to = mebibytes(in, "wholeUpTo");
  if (rule.whole_up_to && !rule.whole) in.refuse("wholeUpTo", "needs 'whole', the memory of a whole device");
  in.finish();
  return rule;
}

CoresRule read_cores(YamlReader& in) {
  CoresRule rule;
  rule.name = in.text("name");
  rule.asked = static_cast<CoreUnit>(in.word("unit", kCoreUnits, 0));
  rule.device = static_cast<CoreUnit>(in.word("deviceUnit", kCoreUnits, static_cast<std::size_t>(rule.asked)));
  rule.per_device = in.truth("perDevice", true);
  rule.least = in.number("min", 0, kMost, 0);
  rule.most = in.number("max", 1, kMost, kMost);
  rule.preset = in.number("default", 0, kMost, 0);
  rule.when_absent = in.number("whenAbsent", 0, kMost, 0);
  rule.from_memory = expression(in, "fromMemory", [](std::string_view name) { return name == "memory"; });
  in.finish();
  return rule;
}

Resources read_resources(YamlReader& in) {
  Resources resources;
  if (auto count = in.child("count"))
    resources.count = read_count(*count);
  else
    in.refuse("count", "is missing");
  resources.slices = in.text("slices");
  if (auto memory = in.child("memory")) resources.memory = read_memory(*memory);
  resources.memory_percent = in.text("memoryPercent");
  if (auto cores = in.child("cores")) resources.cores = read_cores(*cores);
  for (YamlReader& extra : in.children("extra")) {
    resources.extra.push_back({extra.needed_text("name"), extra.needed_text("env")});
    extra.finish();
  }
  resources.limits_only = in.truth("limitsOnly", false);
  in.finish();
  return resources;
}

// ---- admission ----

KnowsName ask_names(const Family& family) {
  return [&family](std::string_view name) {
    return one_of(name, {"count", "memory", "memoryPercent", "cores", "slices", "whole", "container"}) ||
           std::ranges::any_of(family.traits, [&](const Trait& trait) { return trait.name == name; });
  };
}

Trait read_trait(YamlReader& in, const Family& family) {
  Trait trait;
  trait.name = in.needed_text("name");
  trait.annotation = in.needed_text("annotation");
  trait.one_of = in.texts("oneOf");
  trait.preset = in.text("default");
  trait.unless = expression(in, "unless", ask_names(family));
  in.finish();
  return trait;
}

std::map<std::string, TextTemplate> read_templates(YamlReader& in, std::string_view key, const KnowsName& knows) {
  std::map<std::string, TextTemplate> templates;
  for (const auto& [name, value] : in.text_map(key))
    if (auto parsed = text_template(in, key, value, knows)) templates.emplace(name, std::move(*parsed));
  return templates;
}

AdmissionRule read_rule(YamlReader& in, const Family& family) {
  const KnowsName knows = ask_names(family);
  AdmissionRule rule;
  rule.when = expression(in, "when", knows);
  for (const auto& [name, value] : in.text_map("set")) {
    auto parsed = Expression::parse(value, knows);
    if (!one_of(name, {"count", "memory", "memoryPercent", "cores"}))
      in.refuse("set", fmt::format("'{}' cannot be set", name));
    if (parsed)
      rule.set.emplace(name, std::move(*parsed));
    else
      in.refuse("set", parsed.error().message);
  }
  rule.deny = in.text("deny");
  rule.env = read_templates(in, "env", knows);
  rule.annotate = read_templates(in, "annotate", knows);
  in.finish();
  return rule;
}

// ---- nodes ----

Discovery read_discovery(YamlReader& in) {
  Discovery discovery;
  discovery.source = static_cast<Discovery::Source>(in.word("source", kSources, 0));
  discovery.codec = in.text("codec", "registration");
  const bool annotation = discovery.source == Discovery::Source::Annotation;
  if (annotation) {
    discovery.key = in.needed_text("key");
    if (!is_registration_codec(discovery.codec))
      in.refuse("codec",
                fmt::format("there is no '{}': use one of {}", discovery.codec, join(registration_codecs(), ", ")));
  }
  if (in.has("forceCores")) discovery.force_cores = CoreUnits{in.number("forceCores", 0, kMost, 0)};
  discovery.type_must_contain = in.text("typeMustContain");
  discovery.count = expression(in, "count", known_in_discovery);
  discovery.slots = expression(in, "slots", known_in_discovery);
  discovery.memory = expression(in, "memory", known_in_discovery);
  discovery.cores = expression(in, "cores", known_in_discovery);
  discovery.numa = expression(in, "numa", known_in_discovery);
  if (in.has("id")) discovery.id = text_template(in, "id", in.text("id"), known_in_discovery);
  discovery.type = in.text("type");
  discovery.custom_from_labels = in.text_map("customFromLabels");
  if (!annotation && !(discovery.count && discovery.slots && discovery.id && !discovery.type.empty()))
    in.refuse("source", "devices made from capacity need count, slots, id and type");
  in.finish();
  return discovery;
}

Liveness read_liveness(YamlReader& in) {
  Liveness liveness;
  liveness.mode = static_cast<Liveness::Mode>(in.word("mode", kLiveness, 0));
  liveness.key = in.text("key");
  if (liveness.mode == Liveness::Mode::Handshake && liveness.key.empty()) in.refuse("key", "is missing");
  in.finish();
  return liveness;
}

Selectors read_selectors(YamlReader& in) {
  Selectors selectors;
  selectors.use_type = in.text("useType");
  selectors.no_use_type = in.text("noUseType");
  selectors.use_uuid = in.texts("useUuid");
  selectors.no_use_uuid = in.texts("noUseUuid");
  selectors.numa_bind = in.text("numaBind");
  selectors.mode = in.text("mode");
  selectors.cordon = in.text("cordon", "hami.io/device-cordon");
  in.finish();
  return selectors;
}

std::vector<Test> read_tests(YamlReader& in) {
  static const std::vector<Test> kUsual = {Test::Health, Test::Cordon, Test::Type,           Test::Numa,
                                           Test::Uuid,   Test::Slots,  Test::Mutex,          Test::Quota,
                                           Test::Memory, Test::Cores,  Test::ExclusiveCores, Test::Exhausted};
  std::vector<Test> tests;
  for (const std::string& word : in.texts("tests")) {
    const auto found = std::ranges::find(kTests, word);
    if (word == "usual")
      tests.insert(tests.end(), kUsual.begin(), kUsual.end());
    else if (found == kTests.end())
      in.refuse("tests", fmt::format("there is no '{}': use usual or some of {}", word, join(kTests, ", ")));
    else
      tests.push_back(static_cast<Test>(found - kTests.begin()));
  }
  return tests.empty() ? kUsual : tests;
}

Selection read_selection(YamlReader& in) {
  Selection selection;
  selection.strategy = in.text("strategy", "firstFit");
  if (!is_strategy(selection.strategy))
    in.refuse("strategy", fmt::format("there is no '{}': use one of {}", selection.strategy, join(strategies(), ", ")));
  selection.group = in.text("group");
  selection.group_when_key = in.text("groupWhenKey");
  selection.group_when_value = in.text("groupWhenValue");
  selection.mutex_group = in.text("mutexGroup");
  selection.wide_label = in.text("wideKey");
  selection.wide_word = in.text("wideWord");
  selection.run_sizes = in.numbers("runSizes");
  in.finish();
  return selection;
}

NodeScore read_score(YamlReader& in) {
  NodeScore score;
  score.kind = static_cast<NodeScore::Kind>(in.word("kind", kScores, 0));
  score.weight = in.decimal("weight", 1);
  score.group = in.text("group");
  score.loss_key = in.text("lossKey");
  score.score_key = in.text("scoreKey");
  score.base = in.number("base", 0, kMost, 0);
  score.hook = in.text("hook");
  if (score.kind == NodeScore::Kind::Hook && !is_score_hook(score.hook))
    in.refuse("hook", fmt::format("there is no '{}': use one of {}", score.hook, join(score_hooks(), ", ")));
  in.finish();
  return score;
}

// ---- what is written ----

Emission::Extra read_extra(YamlReader& in) {
  Emission::Extra extra;
  extra.key = in.needed_text("key");
  extra.scope = static_cast<Emission::Scope>(in.word("scope", kScopes, 0));
  if (auto value = text_template(in, "value", in.text("value"), known_in_emission)) extra.value = std::move(*value);
  if (in.has("inner")) extra.inner = text_template(in, "inner", in.text("inner"), known_in_emission);
  extra.open = in.text("open");
  extra.join = in.text("join");
  extra.close = in.text("close");
  extra.empty_containers = in.truth("emptyContainers", false);
  extra.when = expression(in, "when", known_in_emission);
  extra.hook = in.text("hook");
  if (!extra.hook.empty() && !is_emission_hook(extra.hook))
    in.refuse("hook", fmt::format("there is no '{}': use one of {}", extra.hook, join(emission_hooks(), ", ")));
  in.finish();
  return extra;
}

Emission read_emission(YamlReader& in) {
  Emission emission;
  emission.to_allocate = in.text("toAllocate");
  emission.allocated = in.needed_text("allocated");
  constexpr std::array<std::string_view, 2> kTags = {"key", "model"};
  emission.type_is_model = in.word("typeTag", kTags, 0) == 1;
  emission.amounts = in.truth("amounts", true);
  for (YamlReader& extra : in.children("extra")) emission.extra.push_back(read_extra(extra));
  in.finish();
  return emission;
}

NodeLockRule read_lock(YamlReader& in) {
  NodeLockRule lock;
  lock.kind = static_cast<NodeLockRule::Kind>(in.word("kind", kLocks, 0));
  lock.key = in.text("key", lock.kind == NodeLockRule::Kind::Shared ? "hami.io/mutex.lock" : "");
  lock.expiry_seconds = static_cast<int>(in.number("expirySeconds", 1, 86400, 300));
  if (lock.kind == NodeLockRule::Kind::Dedicated && lock.key.empty()) in.refuse("key", "is missing");
  in.finish();
  return lock;
}

Family read_plain_family(YamlReader& in) {
  Family family;
  family.key = in.needed_text("key");
  if (family.key.find_first_of(",:; ") != std::string::npos)
    in.refuse("key", "must have no comma, colon, semicolon or space");
  family.title = in.text("title");
  family.group = in.text("group", family.key);
  family.origin = in.tree().file == nullptr ? "" : *in.tree().file;
  family.enabled = in.truth("enabled", true);
  if (auto resources = in.child("resources"))
    family.resources = read_resources(*resources);
  else
    in.refuse("resources", "is missing");
  for (YamlReader& trait : in.children("traits")) family.traits.push_back(read_trait(trait, family));
  for (YamlReader& rule : in.children("admission")) family.admission.push_back(read_rule(rule, family));
  family.runtime_class = in.text("runtimeClass");
  family.hide_env = in.text_map("hideEnv");
  if (auto discovery = in.child("discover"))
    family.discovery = read_discovery(*discovery);
  else
    in.refuse("discover", "is missing");
  if (auto liveness = in.child("liveness")) family.liveness = read_liveness(*liveness);
  if (auto selectors = in.child("selectors")) family.selectors = read_selectors(*selectors);
  family.tests = read_tests(in);
  if (auto selection = in.child("select")) family.selection = read_selection(*selection);
  family.charge_slices = in.truth("chargeSlices", false);
  if (auto score = in.child("score")) family.score = read_score(*score);
  if (auto emission = in.child("emit"))
    family.emission = read_emission(*emission);
  else
    in.refuse("emit", "is missing");
  if (auto lock = in.child("lock")) family.lock = read_lock(*lock);
  family.options = in.text_map("options");
  return family;
}

Mode read_mode(YamlReader& in, const YamlTree& whole) {
  Mode mode;
  mode.annotation = in.needed_text("annotation");
  mode.value = in.needed_text("value");
  mode.node_flag = in.text("nodeFlag");
  const YamlTree* changes = in.tree_at("changes");
  in.finish();
  YamlTree plain = whole;
  std::erase_if(plain.members, [](const YamlTree::Member& member) { return member.key == "modes"; });
  auto family = read_family(changes == nullptr ? plain : merged(plain, *changes));
  if (family)
    mode.family = std::make_shared<const Family>(std::move(*family));
  else if (!in.failed())
    in.refuse("changes", family.error().message);
  return mode;
}

void emit(YAML::Emitter& out, const YamlTree& tree) {
  switch (tree.kind) {
    case YamlTree::Kind::Null:
      out << YAML::Null;
      break;
    case YamlTree::Kind::Scalar:
      out << tree.text;
      break;
    case YamlTree::Kind::List:
      out << YAML::BeginSeq;
      for (const YamlTree& item : tree.items) emit(out, item);
      out << YAML::EndSeq;
      break;
    case YamlTree::Kind::Map:
      out << YAML::BeginMap;
      for (const YamlTree::Member& member : tree.members) {
        out << YAML::Key << member.key << YAML::Value;
        emit(out, member.value);
      }
      out << YAML::EndMap;
      break;
  }
}

}  // namespace

std::string_view name(Test test) { return kTests[static_cast<std::size_t>(test)]; }

const Family& Family::in_mode(const std::map<std::string, std::string, std::less<>>& pod_annotations) const {
  for (const Mode& mode : modes) {
    const auto found = pod_annotations.find(mode.annotation);
    if (found != pod_annotations.end() && found->second == mode.value) return *mode.family;
  }
  return *this;
}

Result<std::vector<YamlTree>> expand_profile(const YamlTree& document) {
  if (document.kind != YamlTree::Kind::Map)
    return fail(Errc::Invalid, "{}: a profile must be a map with 'key', 'resources', 'discover' and 'emit'",
                place_of(document));
  YamlTree body = document;
  std::erase_if(body.members, [](const YamlTree::Member& member) { return member.key == "variants"; });
  const YamlTree* variants = document.find("variants");
  if (variants == nullptr) return std::vector<YamlTree>{body};
  std::vector<YamlTree> families;
  for (const YamlTree& variant : variants->items) {
    std::map<std::string, std::string> words;
    YamlTree changes = variant;
    if (const YamlTree* given = variant.find("words"))
      for (const YamlTree::Member& member : given->members) words.emplace(member.key, member.value.text);
    std::erase_if(changes.members, [](const YamlTree::Member& member) { return member.key == "words"; });
    if (variant.kind != YamlTree::Kind::Map || words.empty())
      return fail(Errc::Invalid, "{}: variants: each needs 'words', what to put in the place of <word>",
                  place_of(variant));
    families.push_back(filled(merged(body, changes), words));
  }
  return families;
}

Result<Family> read_family(const YamlTree& tree) {
  std::optional<Error> error;
  YamlReader in(tree, "", error);
  Family family = read_plain_family(in);
  for (YamlReader& mode : in.children("modes")) family.modes.push_back(read_mode(mode, tree));
  in.finish();
  if (error) return tl::unexpected(std::move(*error));
  return family;
}

std::string to_yaml(const YamlTree& tree) {
  YAML::Emitter out;
  emit(out, tree);
  return std::string(out.c_str()) + "\n";
}

}  // namespace kiboko::vendors
