#include "vendors/text_template.h"

#include <algorithm>

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko::vendors {
namespace {

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  }) && (text.front() < '0' || text.front() > '9');
}

}  // namespace

Result<TextTemplate::Part> TextTemplate::part_of(std::string_view text, std::string_view inside,
                                                 const KnowsName& knows) {
  static constexpr std::pair<std::string_view, Part::Form> kForms[] = {
      {"json(", Part::Form::Json}, {"member(", Part::Form::Member}, {"number(", Part::Form::Number}};
  Part part;
  std::string_view name = inside;
  for (const auto& [begin, form] : kForms) {
    if (!inside.starts_with(begin) || !inside.ends_with(')')) continue;
    part.form = form;
    name = trim(inside.substr(begin.size(), inside.size() - begin.size() - 1));
    if (form == Part::Form::Json) continue;
    const std::size_t comma = name.find(',');
    if (comma == std::string_view::npos) return fail(Errc::Invalid, "'{}': {} needs a key and a name", text, inside);
    part.key = trim(name.substr(0, comma));
    name = trim(name.substr(comma + 1));
  }
  if (is_name(name)) {
    if (!knows(name)) return fail(Errc::Invalid, "'{}': there is no '{}' here", text, name);
    part.name = name;
  } else if (part.form == Part::Form::Plain) {
    part.expression = TRY(Expression::parse(inside, knows));
  } else {
    return fail(Errc::Invalid, "'{}': '{}' is no name", text, name);
  }
  return part;
}

Result<TextTemplate> TextTemplate::parse(std::string_view text, const KnowsName& knows) {
  TextTemplate result;
  result.text_ = text;
  while (!text.empty()) {
    const std::size_t open = text.find("${");
    if (open != 0) {
      Part literal;
      literal.literal = text.substr(0, open);
      result.parts_.push_back(std::move(literal));
    }
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos) return fail(Errc::Invalid, "'{}': a brace is not closed", result.text_);
    result.parts_.push_back(TRY(part_of(result.text_, trim(text.substr(open + 2, close - open - 2)), knows)));
    text.remove_prefix(close + 1);
  }
  return result;
}

std::string TextTemplate::shaped(const Part& part, const std::string& value) {
  switch (part.form) {
    case Part::Form::Plain:
      return value;
    case Part::Form::Json:
      return json_string(value);
    case Part::Form::Member:
      return value.empty() ? "" : fmt::format(",{}:{}", json_string(part.key), json_string(value));
    case Part::Form::Number:
      return value.empty() || value == "0" ? "" : fmt::format(",{}:{}", json_string(part.key), value);
  }
  return value;
}

Result<std::string> TextTemplate::fill(const TextLookup& lookup) const {
  const Lookup numbers = [&](std::string_view name) -> std::optional<std::int64_t> {
    const auto text = lookup(name);
    if (!text) return std::nullopt;
    const auto number = parse_integer<std::int64_t>(*text);
    return number ? std::optional(*number) : std::nullopt;
  };
  std::string out;
  for (const Part& part : parts_) {
    out += part.literal;
    if (part.expression) out += std::to_string(TRY(part.expression->evaluate(numbers)));
    if (!part.name.empty()) out += shaped(part, lookup(part.name).value_or(""));
  }
  return out;
}

}  // namespace kiboko::vendors
