#include "model/ask.h"
#include "model/grant.h"

namespace kiboko {

std::string_view name(GrantState state) {
  constexpr std::string_view kNames[] = {"waiting", "granted", "running", "ending", "ended"};
  return kNames[static_cast<std::size_t>(state)];
}

std::string_view name(GrantKind kind) { return kind == GrantKind::Share ? "share" : "exclusive"; }
std::string_view name(GrantMode mode) { return mode == GrantMode::Enforced ? "enforced" : "cooperative"; }

}  // namespace kiboko
