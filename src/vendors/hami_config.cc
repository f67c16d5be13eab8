#include "vendors/hami_config.h"

#include <algorithm>

#include "base/text.h"
#include "model/annotation.h"
#include "vendors/profile.h"

namespace kiboko::vendors {
namespace {

using Kind = YamlTree::Kind;

YamlTree scalar(std::string text) {
  YamlTree tree;
  tree.kind = Kind::Scalar;
  tree.text = std::move(text);
  return tree;
}

// Sets "resources.count.name" in a tree of maps.
void set(YamlTree& tree, std::string_view path, YamlTree value) {
  YamlTree* at = &tree;
  for (const std::string_view key : split(path, '.')) {
    at->kind = Kind::Map;
    auto found = std::ranges::find(at->members, key, &YamlTree::Member::key);
    if (found == at->members.end())
      found = at->members.insert(found, YamlTree::Member{std::string(key), 0, YamlTree{}});
    at = &found->value;
  }
  *at = std::move(value);
}

// Where a key of a section goes. An empty path: read by nobody here, without loss.
struct Row {
  std::string_view section, key, family, path;
};
constexpr Row kRows[] = {
    {"nvidia", "resourceCountName", "NVIDIA", "resources.count.name"},
    {"nvidia", "resourceMemoryName", "NVIDIA", "resources.memory.name"},
    {"nvidia", "resourceMemoryPercentageName", "NVIDIA", "resources.memoryPercent"},
    {"nvidia", "resourceCoreName", "NVIDIA", "resources.cores.name"},
    {"nvidia", "defaultMemory", "NVIDIA", "resources.memory.default"},
    {"nvidia", "defaultCores", "NVIDIA", "resources.cores.default"},
    {"nvidia", "defaultGPUNum", "NVIDIA", "resources.count.implied"},
    {"nvidia", "memoryFactor", "NVIDIA", "resources.memory.unitMiB"},
    {"nvidia", "runtimeClassName", "NVIDIA", "runtimeClass"},
    {"nvidia", "deviceSplitCount", "NVIDIA", "options.deviceSplitCount"},
    {"nvidia", "deviceMemoryScaling", "NVIDIA", "options.deviceMemoryScaling"},
    {"nvidia", "deviceCoreScaling", "NVIDIA", "options.deviceCoreScaling"},
    {"nvidia", "preConfiguredDeviceMemory", "NVIDIA", "options.preConfiguredDeviceMemory"},
    {"nvidia", "enableNumaTopology", "NVIDIA", "options.enableNumaTopology"},
    {"nvidia", "libCudaLogLevel", "NVIDIA", "options.libCudaLogLevel"},
    {"nvidia", "disableCoreLimit", "NVIDIA", "options.disableCoreLimit"},
    {"cambricon", "resourceCountName", "MLU", "resources.count.name"},
    {"cambricon", "resourceMemoryName", "MLU", "resources.memory.name"},
    {"cambricon", "resourceCoreName", "MLU", "resources.cores.name"},
    {"hygon", "resourceCountName", "DCU", "resources.count.name"},
    {"hygon", "resourceMemoryName", "DCU", "resources.memory.name"},
    {"hygon", "resourceCoreName", "DCU", "resources.cores.name"},
    {"hygon", "memoryFactor", "DCU", "resources.memory.unitMiB"},
    {"metax", "resourceCountName", "Metax-GPU", "resources.count.name"},
    {"metax", "resourceVCountName", "Metax-SGPU", "resources.count.name"},
    {"metax", "resourceVMemoryName", "Metax-SGPU", "resources.memory.name"},
    {"metax", "resourceVCoreName", "Metax-SGPU", "resources.cores.name"},
    {"metax", "sgpuTopologyAware", "Metax-SGPU", "options.topologyAware"},
    {"mthreads", "resourceCountName", "Mthreads", "resources.count.name"},
    {"mthreads", "resourceMemoryName", "Mthreads", "resources.memory.name"},
    {"mthreads", "resourceCoreName", "Mthreads", "resources.cores.name"},
    {"amd", "resourceCountName", "AMD", "resources.count.name"},
    {"amd", "resourceMemoryName", "AMD", "resources.memory.name"},
    {"amd", "resourceCoreName", "AMD", "resources.cores.name"},
    {"enflame", "resourceNameGCU", "GCU", "resources.count.name"},
    {"enflame", "resourceNameDRSGCU", "Enflame", "resources.slices"},
    {"enflame", "resourceNameGCUMemory", "Enflame", "resources.memory.name"},
    {"enflame", "resourceNameGCUCore", "Enflame", "resources.cores.name"},
    {"kunlun", "resourceCountName", "kunlun", "resources.count.name"},
    {"kunlun", "resourceVCountName", "XPU", "resources.count.name"},
    {"kunlun", "resourceVMemoryName", "XPU", "resources.memory.name"},
    {"awsneuron", "resourceCountName", "AWSNeuron", "resources.count.name"},
    {"awsneuron", "resourceCoreName", "AWSNeuron", "resources.cores.name"},
    {"vastai", "resourceCountName", "Vastai", "resources.count.name"},
    {"biren", "resourceCountName", "Biren", "resources.count.name"},
    {"iluvatars", "chipName", "", ""},
    {"iluvatars", "commonWord", "", ""},
    {"iluvatars", "resourceCountName", "*", "resources.count.name"},
    {"iluvatars", "resourceMemoryName", "*", "resources.memory.name"},
    {"iluvatars", "resourceCoreName", "*", "resources.cores.name"},
    {"vnpus", "chipName", "*", "options.chip"},
    {"vnpus", "commonWord", "", ""},
    {"vnpus", "resourceName", "*", "resources.count.name"},
    {"vnpus", "resourceMemoryName", "*", "resources.memory.name"},
    {"vnpus", "resourceCoreName", "*", "resources.cores.name"},
    {"vnpus", "memoryAllocatable", "*", "resources.memory.whole"},
    {"vnpus", "memoryCapacity", "*", "resources.memory.wholeUpTo"},
    {"vnpus", "memoryFactor", "*", "resources.memory.unitMiB"},
    {"vnpus", "aiCore", "*", "options.aiCore"},
    {"vnpus", "aiCPU", "*", "options.aiCPU"},
    {"vnpus", "runtimeClassName", "*", "runtimeClass"},
};

class Importer {
 public:
  Importer(const Catalog& base, std::string_view file) : base_(base), file_(file) {}

  Result<HamiImport> run(const YamlTree& document) {
    if (document.kind != Kind::Map)
      return fail(Errc::Invalid, "{}: this is no device-config.yaml: it has no sections", file_);
    for (const YamlTree::Member& section : document.members) TRY(read_section(section));
    for (auto& [family, changes] : changes_) {
      YamlTree named;
      set(named, "extends", scalar(family));
      for (YamlTree::Member& member : changes.members) named.members.push_back(std::move(member));
      add(family, named);
    }
    if (known_sections_ == 0)
      return fail(Errc::Invalid, "{}: this is no device-config.yaml: it has none of its sections (nvidia, vnpus, …)",
                  file_);
    return std::move(result_);
  }

 private:
  void ignore(const YamlTree& at, int line, std::string_view path, std::string_view why) {
    YamlTree place = at;
    if (line > 0) place.line = line;
    result_.ignored.push_back(fmt::format("{}: {} is ignored: {}", place_of(place), path, why));
  }
  void add(const std::string& family, const YamlTree& tree) {
    result_.profiles.push_back({fmt::format("{} ({})", file_, family), to_yaml(tree)});
  }

  Result<void> read_section(const YamlTree::Member& section) {
    const bool known = std::ranges::any_of(kRows, [&](const Row& row) { return row.section == section.key; });
    if (!known) {
      ignore(section.value, section.line, section.key, "no family has this section");
      return {};
    }
    ++known_sections_;
    if (section.key == "iluvatars") return read_list("iluvatars", section.value);
    if (section.key == "vnpus") return read_vnpus(section.value);
    if (section.value.kind != Kind::Map && section.value.kind != Kind::Null)
      return fail(Errc::Invalid, "{}: {} must be a map", place_of(section.value), section.key);
    for (const YamlTree::Member& member : section.value.members) {
      if (section.key == "nvidia" && read_nvidia_member(member)) continue;
      read_member(section.key, "", member, nullptr);
    }
    return {};
  }

  // One member by the table, into the changes of the row's family or into `changes`.
  void read_member(const std::string& section, std::string_view path, const YamlTree::Member& member,
                   YamlTree* changes) {
    const std::string name = fmt::format("{}{}.{}", section, path, member.key);
    const auto row =
        std::ranges::find_if(kRows, [&](const Row& r) { return r.section == section && r.key == member.key; });
    if (row == std::end(kRows)) {
      ignore(member.value, member.line, name, "it has no meaning here");
      return;
    }
    if (row->path.empty()) return;
    if (member.value.kind != Kind::Scalar) {
      if (member.value.kind != Kind::Null) ignore(member.value, member.line, name, "it must be a single value");
      return;
    }
    std::string text = member.value.text;
    if (text.empty() && row->path.ends_with("name")) {
      ignore(member.value, member.line, name, "a resource needs a name; the usual one stays");
      return;
    }
    // Zero means "not set" there; here such a value would be one.
    if (text == "0" &&
        (row->path.ends_with(".unitMiB") || row->path.ends_with(".whole") || row->path.ends_with(".wholeUpTo")))
      return;
    set(changes != nullptr ? *changes : changes_[std::string(row->family)], row->path, scalar(std::move(text)));
  }

  // What of NVIDIA's section is more than a name for a value.
  bool read_nvidia_member(const YamlTree::Member& member) {
    YamlTree& changes = changes_["NVIDIA"];
    const std::string& text = member.value.text;
    if (member.key == "resourcePriorityName") {
      YamlTree extra, list;
      set(extra, "name", scalar(text));
      set(extra, "env", scalar("CUDA_TASK_PRIORITY"));
      list.kind = Kind::List;
      list.items = {extra};
      set(changes, "resources.extra", list);
    } else if (member.key == "overwriteEnv") {
      if (truth_from(text).value_or(false)) set(changes, "hideEnv.NVIDIA_VISIBLE_DEVICES", scalar("none"));
    } else if (member.key == "gpuCorePolicy") {
      if (!text.empty() && text != "default") set(changes, "admission", with_policy(text));
    } else if (member.key == "migProfileAllowlist") {
      set(changes, "options.migProfileAllowlist", scalar(allow_list(member.value)));
    } else {
      return false;
    }
    return true;
  }

  YamlTree with_policy(const std::string& policy) const {
    YamlTree rule, env;
    set(env, "GPU_CORE_UTILIZATION_POLICY", scalar(policy));
    set(rule, "env", env);
    YamlTree list;
    list.kind = Kind::List;
    const auto profile = base_.profile_of("NVIDIA");
    if (profile)
      if (const auto tree = parse_yaml(*profile, "NVIDIA"))
        if (const YamlTree* rules = tree->find("admission")) list = *rules;
    list.items.push_back(rule);
    return list;
  }

  // "A30:1g.6gb,2g.12gb;…": the first entry that a model's name contains decides.
  static std::string allow_list(const YamlTree& list) {
    std::vector<std::string> entries;
    for (const YamlTree& item : list.items) {
      const YamlTree* models = item.find("models");
      const YamlTree* profiles = item.find("profiles");
      if (models == nullptr || profiles == nullptr) continue;
      std::vector<std::string> names;
      for (const YamlTree& profile : profiles->items) names.push_back(profile.text);
      for (const YamlTree& model : models->items) entries.push_back(fmt::format("{}:{}", model.text, join(names, ",")));
    }
    return join(entries, ";");
  }

  Result<void> read_vnpus(const YamlTree& section) {
    if (section.kind == Kind::List) return read_list("vnpus", section);  // before 2.9
    for (const YamlTree::Member& member : section.members) {
      if (member.key == "configs")
        TRY(read_list("vnpus", member.value));
      else if (member.key == "hamiVnpuCore")
        soft_ = member.value.text;
      else
        ignore(member.value, member.line, "vnpus." + member.key, "it has no meaning here");
    }
    if (!soft_.empty())
      for (const std::string& word : ascend_words_) set(changes_[word], "options.hamiVnpuCore", scalar(soft_));
    return {};
  }

  Result<void> read_list(const std::string& section, const YamlTree& list) {
    if (list.kind != Kind::List && list.kind != Kind::Null)
      return fail(Errc::Invalid, "{}: {} must be a list", place_of(list), section);
    for (std::size_t i = 0; i < list.items.size(); ++i) TRY(read_chip(section, fmt::format("[{}]", i), list.items[i]));
    return {};
  }

  Result<void> read_chip(const std::string& section, const std::string& path, const YamlTree& chip) {
    const YamlTree* word = chip.find("commonWord");
    if (word == nullptr || word->text.empty())
      return fail(Errc::Invalid, "{}: {}{}: commonWord is missing", place_of(chip), section, path);
    YamlTree changes;
    changes.kind = Kind::Map;
    for (const YamlTree::Member& member : chip.members) {
      if (section == "vnpus" && read_ascend_member(member, changes)) continue;
      read_member(section, path, member, &changes);
    }
    if (section == "vnpus") ascend_words_.push_back(word->text);
    if (base_.find(word->text) != nullptr) {
      changes_[word->text] =
          merged(changes_[word->text].kind == Kind::Map ? changes_[word->text] : YamlTree{}, changes);
      return {};
    }
    return add_new_chip(section == "vnpus" ? "ascend.yaml" : "iluvatar.yaml", word->text, chip, changes);
  }

  bool read_ascend_member(const YamlTree::Member& member, YamlTree& changes) {
    if (member.key == "overwriteEnv") {
      if (truth_from(member.value.text).value_or(false)) set(changes, "hideEnv.ASCEND_VISIBLE_DEVICES", scalar(""));
    } else if (member.key == "superPod") {
      if (!truth_from(member.value.text).value_or(false)) return true;
      set(changes, "resources.count.roundUp.1", scalar("2"));
      set(changes, "resources.count.multipleOf", scalar("2"));
      set(changes, "select.strategy", scalar("pairPack"));
    } else if (member.key == "templates") {
      YamlTree ladder;
      ladder.kind = Kind::List;
      for (const YamlTree& item : member.value.items) {
        YamlTree step;
        constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
            {"name", "name"}, {"memory", "memory"}, {"aiCore", "cores"}, {"aiCPU", "cpus"}};
        for (const auto& [from, to] : kKeys)
          if (const YamlTree* value = item.find(from)) set(step, to, scalar(value->text));
        ladder.items.push_back(step);
      }
      set(changes, "resources.memory.ladder", ladder);
    } else {
      return false;
    }
    return true;
  }

  // A chip that is not shipped: the family's document with this one variant.
  Result<void> add_new_chip(std::string_view document, const std::string& word, const YamlTree& chip,
                            YamlTree changes) {
    const auto shipped = std::ranges::find(shipped_profiles(), document, &ProfileText::file);
    YamlTree body = TRY(parse_yaml(shipped->text, shipped->file));
    constexpr std::pair<std::string_view, std::string_view> kWords[] = {{"chip", "chipName"},
                                                                        {"allocatable", "memoryAllocatable"},
                                                                        {"capacity", "memoryCapacity"},
                                                                        {"aicore", "aiCore"},
                                                                        {"aicpu", "aiCPU"}};
    set(changes, "words.word", scalar(word));
    for (const auto& [ours, theirs] : kWords) {
      const YamlTree* value = chip.find(theirs);
      set(changes, fmt::format("words.{}", ours), scalar(value == nullptr ? "0" : value->text));
    }
    YamlTree variants;
    variants.kind = Kind::List;
    variants.items = {changes};
    set(body, "variants", variants);
    // Written filled in: what is printed is the family as it will be.
    for (const YamlTree& family : TRY(expand_profile(body))) add(word, family);
    return {};
  }

  const Catalog& base_;
  std::string file_;
  HamiImport result_;
  std::map<std::string, YamlTree> changes_;
  std::vector<std::string> ascend_words_;
  std::string soft_;
  unsigned known_sections_ = 0;
};

}  // namespace

Result<HamiImport> import_hami_config(const Catalog& base, std::string_view text, std::string_view file) {
  const YamlTree document = TRY(parse_yaml(text, file));
  return Importer(base, file).run(document);
}

}  // namespace kiboko::vendors
