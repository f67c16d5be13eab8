#include "vendors/catalog.h"

#include <algorithm>

#include "vendors/profile.h"

namespace kiboko::vendors {
namespace {

void drop(YamlTree& tree, std::string_view key) {
  std::erase_if(tree.members, [&](const YamlTree::Member& member) { return member.key == key; });
}

// Two families may not listen to one name: nobody could say which of them a pod means.
Result<void> check_names(const std::vector<Family>& families, const Family& added) {
  const auto names = [](const Family& family) {
    const Resources& r = family.resources;
    std::vector<std::string> all = {r.count.name, r.memory.name, r.memory_percent,
                                    r.cores.name, r.slices,      family.emission.allocated};
    std::erase(all, "");
    return all;
  };
  for (const Family& other : families) {
    if (other.key == added.key) continue;
    const auto taken = names(other);
    for (const std::string& name : names(added))
      if (std::ranges::find(taken, name) != taken.end())
        return fail(Errc::Conflict, "{}: '{}' of {} belongs to {} already", added.origin, name, added.key, other.key);
  }
  return {};
}

}  // namespace

Result<Catalog> Catalog::shipped() {
  Catalog catalog;
  for (const ProfileText& profile : shipped_profiles()) TRY(catalog.add(profile));
  return catalog;
}

Result<std::vector<YamlTree>> Catalog::trees_of(YamlTree document) const {
  const YamlTree* base_key = document.find("extends");
  if (base_key == nullptr) return expand_profile(document);
  const auto base = std::ranges::find(families_, base_key->text, &Family::key);
  if (base == families_.end())
    return fail(Errc::NotFound, "{}: extends: there is no family '{}'", place_of(*base_key), base_key->text);
  drop(document, "extends");
  return expand_profile(merged(trees_[static_cast<std::size_t>(base - families_.begin())], document));
}

Result<void> Catalog::add_document(YamlTree document) {
  for (YamlTree& tree : TRY(trees_of(std::move(document)))) {
    Family family = TRY(read_family(tree));
    TRY(check_names(families_, family));
    const auto same = std::ranges::find(families_, family.key, &Family::key);
    const auto at = static_cast<std::size_t>(same - families_.begin());
    if (same == families_.end()) {
      families_.push_back(std::move(family));
      trees_.push_back(std::move(tree));
    } else {
      families_[at] = std::move(family);
      trees_[at] = std::move(tree);
    }
  }
  return {};
}

Result<void> Catalog::add(const ProfileText& profile) {
  Catalog next = *this;
  auto documents = TRY(parse_yaml_documents(profile.text, profile.file));
  if (documents.empty()) return fail(Errc::Invalid, "{}: there is no profile in it", profile.file);
  for (YamlTree& document : documents) TRY(next.add_document(std::move(document)));
  *this = std::move(next);
  return {};
}

const Family* Catalog::find(std::string_view key) const {
  const auto found = std::ranges::find(families_, key, &Family::key);
  return found == families_.end() ? nullptr : &*found;
}

std::vector<const Family*> Catalog::with_resource(std::string_view resource) const {
  std::vector<const Family*> found;
  for (const Family& family : families_) {
    const Resources& r = family.resources;
    for (const std::string* name : {&r.count.name, &r.memory.name, &r.memory_percent, &r.cores.name, &r.slices})
      if (!resource.empty() && *name == resource) {
        found.push_back(&family);
        break;
      }
  }
  return found;
}

Result<std::string> Catalog::profile_of(std::string_view key) const {
  const auto found = std::ranges::find(families_, key, &Family::key);
  if (found == families_.end())
    return fail(Errc::NotFound, "there is no family '{}'; `kiboko vendors list` shows all", key);
  return to_yaml(trees_[static_cast<std::size_t>(found - families_.begin())]);
}

}  // namespace kiboko::vendors
