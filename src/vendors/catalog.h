// All families that are known: those shipped in the program, and what a folder or HAMi's configuration changes or adds.
//
// Plain value; reading files is the caller's. A document whose `key` is known replaces that family; one with `extends`
// is laid over the family it names.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vendors/family.h"
#include "vendors/yaml_tree.h"

namespace kiboko::vendors {

struct ProfileText {
  std::string file, text;
};

// src/vendors/profiles, as they were when the program was built.
std::span<const ProfileText> shipped_profiles();

class Catalog {
 public:
  static Result<Catalog> shipped();

  // One document or several. The first error leaves the catalog as it was.
  Result<void> add(const ProfileText& profile);

  const std::vector<Family>& families() const { return families_; }
  const Family* find(std::string_view key) const;  // exactly; nullptr when there is none
  // The families that name this resource.
  std::vector<const Family*> with_resource(std::string_view resource) const;
  // The whole profile, what it was laid over included, as YAML.
  Result<std::string> profile_of(std::string_view key) const;

 private:
  Result<std::vector<YamlTree>> trees_of(YamlTree document) const;
  Result<void> add_document(YamlTree document);

  std::vector<Family> families_;  // by the order of the files, added ones last
  std::vector<YamlTree> trees_;   // of the same places
};

}  // namespace kiboko::vendors
