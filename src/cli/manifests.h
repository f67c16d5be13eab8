// Files of Kubernetes' objects: manifests as people write them, and what `kubectl get … -o json|yaml` prints.
//
// A file has one object or many: YAML documents with "---" between them, JSON objects, lists of either. Errors
// (Invalid) name file, document, line, object and field. Pure functions; whoever calls has read the file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/objects_json.h"

namespace kiboko::cli {

// A dump of a large cluster has some hundred megabytes.
inline constexpr std::size_t kMostManifestBytes = std::size_t{1} << 30U;

// Is it a trace (comma-separated, its first line naming the columns) and no manifest?
bool looks_like_a_trace(std::string_view text);

// Adds the file's objects.
Result<void> read_manifests(std::string_view text, std::string_view file, Objects& objects);

// A sentence each about what was passed over.
std::vector<std::string> passed_over(const Objects& objects);

}  // namespace kiboko::cli
