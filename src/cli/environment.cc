#include "cli/environment.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/text.h"

namespace kiboko::cli {
namespace {

constexpr std::string_view kPutInFront[] = {"LD_PRELOAD", "LD_LIBRARY_PATH"};

bool is_put_in_front(std::string_view name) { return std::ranges::find(kPutInFront, name) != std::end(kPutInFront); }

bool names(std::string_view entry, std::string_view name) {
  return entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=';
}

std::string in_front(const std::string& ours, std::string_view theirs) {
  std::string list = ours;
  const auto added = split(ours, ':');
  for (const std::string_view part : split(theirs, ':')) {
    // An empty part of LD_LIBRARY_PATH means the current directory: it stays if the caller had it.
    if (std::ranges::find(added, part) == added.end()) (list += ':') += part;
  }
  return list;
}

// LD_PRELOAD without the library that an enclosing grant put there; empty if nothing is left.
std::string without_our_library(std::string_view list) {
  std::string rest;
  for (const std::string_view part : split(list, ':'))
    if (part.substr(part.rfind('/') + 1) != "libkiboko.so") (rest += rest.empty() ? "" : ":") += part;
  return rest;
}

}  // namespace

std::optional<std::string> variable(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Variables own_variables() {
  Variables variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) variables.emplace_back(*entry);
  return variables;
}

std::optional<std::string_view> find_variable(const Variables& variables, std::string_view name) {
  for (const std::string_view entry : variables)
    if (names(entry, name)) return entry.substr(name.size() + 1);
  return std::nullopt;
}

Variables merged(const Variables& base, const EnvironmentChanges& asked) {
  EnvironmentChanges changes = asked;
  const auto page = changes.find("KIBOKO_GRANT");
  const auto preloaded = find_variable(base, "LD_PRELOAD");
  if (page != changes.end() && !page->second && preloaded) {
    const std::string rest = without_our_library(*preloaded);
    if (rest != *preloaded) changes["LD_PRELOAD"] = rest.empty() ? std::nullopt : std::optional(rest);
  }
  Variables result;
  for (const std::string& entry : base) {
    const auto changed = changes.find(entry.substr(0, entry.find('=')));
    if (changed == changes.end() || entry.find('=') == std::string::npos) result.push_back(entry);
  }
  for (const auto& [name, value] : changes) {
    if (!value) continue;
    const auto present = find_variable(base, name);
    const bool join = is_put_in_front(name) && asked.contains(name) && present && !present->empty();
    result.push_back(name + "=" + (join ? in_front(*value, *present) : *value));
  }
  return result;
}

}  // namespace kiboko::cli
