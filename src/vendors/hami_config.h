// HAMi's device-config.yaml, turned into profiles of ours that say the same.
//
// Pure function. What has no meaning here is not lost silently: each ignored key is named with its line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vendors/catalog.h"

namespace kiboko::vendors {

struct HamiImport {
  std::vector<ProfileText> profiles;  // for Catalog::add, in this order
  std::vector<std::string> ignored;   // one sentence each
};

// `base` has the shipped families: the profiles are laid over them. A text that is no such configuration is Invalid.
Result<HamiImport> import_hami_config(const Catalog& base, std::string_view text, std::string_view file);

}  // namespace kiboko::vendors
