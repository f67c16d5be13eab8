// Reads profiles: a YAML document for one family, or for several that differ in a few words.
//
// Pure functions: text in, families out. docs/adding-a-vendor.md describes the keys.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vendors/family.h"
#include "vendors/yaml_tree.h"

namespace kiboko::vendors {

// The families of a document, its variants filled in and laid over. What `extends` names must have been resolved.
Result<std::vector<YamlTree>> expand_profile(const YamlTree& document);

// One family from its expanded tree. Errors name file, line and key.
Result<Family> read_family(const YamlTree& tree);

// A family as people and `kiboko vendors show` see it: the merged tree as YAML.
std::string to_yaml(const YamlTree& tree);

}  // namespace kiboko::vendors
