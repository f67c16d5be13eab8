// The environment: what this program reads from its own, and what a granted program gets.
//
// The only file of `kiboko` that calls getenv. Call from the main thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kiboko::cli {

// What the agent wants changed: a value to set, or nothing for "remove it".
using EnvironmentChanges = std::map<std::string, std::optional<std::string>>;
using Variables = std::vector<std::string>;  // "NAME=value", as execve takes them

std::optional<std::string> variable(std::string_view name);  // unset and empty are the same: nothing
Variables own_variables();

// `base` with the changes made. LD_PRELOAD and LD_LIBRARY_PATH are put in front of what is there, the program's own
// entries staying; an entry that is in front already (a run inside a run) is not repeated. Order is kept, and so are
// variables that look odd ("A" without "=", or a name given twice): they are the caller's business. Where KIBOKO_GRANT
// is removed, so is our library in LD_PRELOAD: a whole device inside a share has no page for it to read.
Variables merged(const Variables& base, const EnvironmentChanges& changes);

// The value of `name` in `variables`, as a program would find it.
std::optional<std::string_view> find_variable(const Variables& variables, std::string_view name);

}  // namespace kiboko::cli
