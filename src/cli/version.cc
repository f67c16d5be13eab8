// `kiboko version`: of this program, and of the agent when one answers.
#include <nlohmann/json.hpp>

#include "cli/command.h"

namespace kiboko::cli {
namespace {

std::string text_of(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

Result<int> run(Context& context) {
  std::string agent_version;
  if (const auto agent = context.agent())
    if (const auto meta = (*agent)->json("GET", "/api/v1/meta")) agent_version = text_of(*meta, "version");
  if (context.as_json()) {
    Json json = {{"version", KIBOKO_VERSION}, {"agent", nullptr}};
    if (!agent_version.empty()) json["agent"] = agent_version;
    context.out.write(json.dump(2) + "\n");
    return kDone;
  }
  context.out.print("kiboko {}\n", KIBOKO_VERSION);
  context.out.print("agent  {}\n", agent_version.empty() ? "none answers" : agent_version);
  return kDone;
}

}  // namespace

extern const Command kVersion;
constexpr Command kVersion{
    .name = "version", .summary = "the version of kiboko and of the agent", .listing = true, .run = run};

}  // namespace kiboko::cli
