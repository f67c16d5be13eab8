#include "cli/explanation.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

std::string share_text(std::string_view kind, const DeviceShare& share) {
  const std::string index = share.index ? std::to_string(*share.index) : share.uuid;
  const std::string name = fmt::format("device {} ({})", index, share.model.empty() ? share.uuid : share.model);
  if (kind == "exclusive") return "all of " + name;
  const bool limited = share.core_percent && *share.core_percent > 0;
  return fmt::format("{} and {} of {}", bytes_or_dash(share.limit_bytes),
                     limited ? fmt::format("{:.0f} %", *share.core_percent) : "a fair part", name);
}

std::string memory_text(const Ask& ask, const MetaView& meta) {
  if (wants_whole_device(ask)) return "all of it";
  if (ask.memory) return format_bytes(ask.memory->count);
  if (ask.memory_percent) return fmt::format("{} % of the device", *ask.memory_percent);
  return meta.default_memory_percent ? fmt::format("{} % of the device", *meta.default_memory_percent) : "a share";
}

// What is asked, number by number, and whether it was given or is the default.
std::string ask_table(const Context& context, const Ask& ask, const MetaView& meta) {
  Table table{{{"ASKED"}, {"VALUE", false, 10}, {"FROM"}}};
  const auto row = [&](const char* name, const char* flag, std::string value) {
    const bool given = context.given.has(flag);
    table.add({name, std::move(value), given ? Cell{fmt::format("--{}", flag)} : Cell{"default", Style::Dim}});
  };
  row("memory", ask.exclusive ? "exclusive" : "memory", memory_text(ask, meta));
  row("cores", ask.exclusive ? "exclusive" : "cores",
      ask.exclusive ? "all of them"
      : ask.cores   ? fmt::format("{} %", ask.cores->count)
                    : "a fair part, no limit of its own");
  row("devices", "count", fmt::format("{}, the above on each", ask.count));
  row("chosen from", "device", ask.devices.empty() ? "all" : join(ask.devices, ", "));
  row("model", "type", ask.type.empty() ? "any" : "has " + ask.type + " in its name");
  row("policy", "policy",
      context.given.value("policy").value_or("default: the cores limit counts while others compete"));
  row("priority", "priority", ask.priority == Priority::Low ? "low" : "high");
  return table.text(context.out);
}

std::string answers_table(const Context& context, const std::vector<DeviceAnswer>& answers) {
  Table table{{{"DEVICE"}, {"FITS"}, {"ASKED"}, {"FREE"}, {"ANSWER", false, 20}}};
  for (const DeviceAnswer& answer : answers)
    table.add({answer.index ? std::to_string(*answer.index) : answer.uuid,
               answer.fits ? Cell{"yes", Style::Good} : Cell{"no", Style::Bad}, answer.asked, answer.free,
               answer.sentence});
  return table.empty() ? std::string() : "\n" + table.text(context.out);
}

std::string outcome_text(const Context& context, const Ask& ask, const ExplanationView& explanation) {
  if (explanation.outcome == "granted")
    return fmt::format("\n{} now: {}\n", context.out.styled(Style::Good, "granted"),
                       granted_text(wants_whole_device(ask) ? "exclusive" : "share", explanation.granted));
  const std::string why = explanation.refusal ? explanation.refusal->sentence : "";
  const std::string nearest = explanation.refusal && !explanation.refusal->nearest.empty()
                                  ? fmt::format("nearest: {}\n", harmless(explanation.refusal->nearest))
                                  : "";
  if (explanation.outcome == "waiting")
    return fmt::format("\n{}, place {} in the queue: {}\n{}", context.out.styled(Style::Warning, "waiting"),
                       explanation.position.value_or(1), harmless(why), nearest);
  return fmt::format("\n{}: {}\n{}", context.out.styled(Style::Bad, "refused"), harmless(why), nearest);
}

}  // namespace

std::string granted_text(std::string_view kind, const std::vector<DeviceShare>& shares) {
  std::vector<std::string> texts;
  for (const DeviceShare& share : shares) texts.push_back(share_text(kind, share));
  return harmless(join(texts, ", "));
}

std::string refusal_text(const RefusalView& refusal) {
  std::string text = harmless(refusal.sentence);
  for (const DeviceAnswer& answer : refusal.devices)
    if (!answer.sentence.empty() && answer.sentence != refusal.sentence) text += "\n  " + harmless(answer.sentence);
  if (!refusal.nearest.empty()) text += "\n  nearest: " + harmless(refusal.nearest);
  return text;
}

Result<bool> explain_to(Context& context, Agent& agent, const Ask& ask) {
  const Json json = TRY(agent.json("POST", "/api/v1/explain", ask_body(ask)));
  const ExplanationView explanation = read_explanation_view(json);
  const bool possible = explanation.outcome != "refused";
  if (context.as_json()) {
    write_json(context.out, json);
    return possible;
  }
  const MetaView meta = read_meta_view(TRY(agent.json("GET", "/api/v1/meta")));
  context.out.write(ask_table(context, ask, meta) + answers_table(context, explanation.devices) +
                    outcome_text(context, ask, explanation));
  return possible;
}

}  // namespace kiboko::cli
