// `kiboko vendors`: the accelerator families that clusters know, by their profiles. Needs no agent.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"
#include "vendors/catalog.h"
#include "vendors/hami_config.h"

namespace kiboko::cli {
namespace {

using vendors::Catalog;
using vendors::Family;

constexpr Flag kFlags[] = {
    {.name = "profiles", .value = "DIR", .help = "a folder whose *.yaml change or add families", .repeated = true},
};

// The profiles of a folder, in the order of their names.
Result<std::vector<std::string>> profiles_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path().string());
  if (error) return fail(Errc::NotFound, "{}: {}", folder, error.message());
  std::ranges::sort(paths);
  return paths;
}

Result<Catalog> catalog_of(const Context& context) {
  Catalog catalog = TRY(Catalog::shipped());
  for (const std::string& folder : context.given.values("profiles"))
    for (const std::string& path : TRY(profiles_in(folder))) TRY(catalog.add({path, TRY(read_file(path))}));
  return catalog;
}

std::string memory_text(const Family& family) {
  const auto& rule = family.resources.memory;
  if (rule.name.empty()) return family.resources.slices.empty() ? "whole" : "slices";
  if (!rule.ladder.empty()) return fmt::format("{} sizes", rule.ladder.size());
  if (rule.as_given) return "slices";
  return rule.bare_is_gib ? "1 GiB" : fmt::format("{} MiB", rule.unit_mib);
}

std::string_view cores_text(const Family& family) {
  constexpr std::string_view kUnits[] = {"percent", "units", "cores", "1/16"};
  return family.resources.cores.name.empty() ? "-" : kUnits[static_cast<std::size_t>(family.resources.cores.asked)];
}

Json json_of(const Family& family) {
  const auto& r = family.resources;
  const auto or_null = [](const std::string& name) { return name.empty() ? Json(nullptr) : Json(name); };
  Json tests = Json::array(), modes = Json::array();
  for (const vendors::Test test : family.tests) tests.push_back(vendors::name(test));
  for (const vendors::Mode& mode : family.modes) modes.push_back(mode.annotation + "=" + mode.value);
  return {{"key", family.key},
          {"title", family.title},
          {"file", family.origin},
          {"enabled", family.enabled},
          {"resources",
           {{"count", or_null(r.count.name)},
            {"memory", or_null(r.memory.name)},
            {"memory_unit_mib", r.memory.unit_mib},
            {"memory_percent", or_null(r.memory_percent)},
            {"cores", or_null(r.cores.name)},
            {"slices", or_null(r.slices)}}},
          {"strategy", family.selection.strategy},
          {"tests", std::move(tests)},
          {"modes", std::move(modes)},
          {"to_allocate", or_null(family.emission.to_allocate)},
          {"allocated", family.emission.allocated}};
}

Result<int> list(Context& context) {
  const Catalog catalog = TRY(catalog_of(context));
  if (context.as_json()) {
    Json families = Json::array();
    for (const Family& family : catalog.families()) families.push_back(json_of(family));
    write_json(context.out, {{"families", std::move(families)}});
    return kDone;
  }
  Table table{{{"FAMILY"},
               {"RESOURCE", false, 16},
               {"MEMORY", true},
               {"COMPUTE", true},
               {"FROM", false, 8},
               {"WHAT", false, 12}}};
  for (const Family& family : catalog.families()) {
    const auto& r = family.resources;
    table.add({family.key, r.count.name.empty() ? r.slices : r.count.name, memory_text(family),
               std::string(cores_text(family)), family.origin, family.enabled ? family.title : "disabled"});
  }
  context.out.write(table.text(context.out));
  return kDone;
}

Result<int> show(Context& context, const std::string& key) {
  const Catalog catalog = TRY(catalog_of(context));
  context.out.write(TRY(catalog.profile_of(key)));
  return kDone;
}

// Each file by itself, on top of the families that are there without it.
Result<int> check(Context& context, std::span<const std::string> paths) {
  const Catalog catalog = TRY(catalog_of(context));
  int status = kDone;
  for (const std::string& path : paths) {
    Catalog with = catalog;
    const auto text = read_file(path);
    const Result<void> added = text ? with.add({path, *text}) : tl::unexpected(text.error());
    if (!added) {
      context.err.print("{} {}\n", context.err.styled(Style::Bad, "wrong:"), added.error().message);
      status = kNegative;
      continue;
    }
    std::vector<std::string> keys;
    for (const Family& family : with.families())
      if (family.origin == path) keys.push_back(family.key);
    context.out.print("{}: good: {}\n", path, join(keys, ", "));
  }
  return status;
}

// What HAMi's configuration comes to, as one file of profiles.
Result<int> import(Context& context, const std::string& path) {
  Catalog catalog = TRY(catalog_of(context));
  const auto made = TRY(vendors::import_hami_config(catalog, TRY(read_file(path)), path));
  std::string text = fmt::format("# Made from {} by `kiboko vendors import`.\n", path);
  for (const vendors::ProfileText& profile : made.profiles) {
    TRY(catalog.add(profile));
    text += "---\n" + profile.text;
  }
  context.out.write(text);
  for (const std::string& sentence : made.ignored)
    context.err.print("{} {}\n", context.err.styled(Style::Warning, "warning:"), sentence);
  return kDone;
}

Result<int> run(Context& context) {
  const std::vector<std::string>& words = context.given.words;
  const std::string what = words.empty() ? "list" : words.front();
  if (what == "list" && words.size() <= 1) return list(context);
  if (what == "show" && words.size() == 2) return show(context, words[1]);
  if (what == "check" && words.size() >= 2) return check(context, std::span(words).subspan(1));
  if (what == "import" && words.size() == 2) return import(context, words[1]);
  return fail(Errc::Invalid, "write `kiboko vendors list`, `show NAME`, `check FILE…` or `import device-config.yaml`");
}

}  // namespace

extern const Command kVendors;
constexpr Command kVendors{.name = "vendors",
                           .summary = "accelerator families that clusters know: list, show, check, import",
                           .operands = "[list | show NAME | check FILE… | import FILE]",
                           .words = Words::Optional,
                           .flags = kFlags,
                           .listing = true,
                           .about = R"(
A family is described by a profile: its resources and their units, what is refused, how its devices are found and
chosen, and what is written on pods. `show` prints one in full, `check` says what is wrong with a file that somebody
wrote, by line and key, and `import` turns HAMi's device-config.yaml into profiles and warns of what it left out.
docs/adding-a-vendor.md explains the keys.)",
                           .examples = R"(
kiboko vendors
kiboko vendors --profiles /etc/kiboko/vendors list
kiboko vendors check zephyr.yaml
kiboko vendors import device-config.yaml > /etc/kiboko/vendors/hami.yaml)",
                           .subwords = "list|show|check|import",
                           .run = run};

}  // namespace kiboko::cli
