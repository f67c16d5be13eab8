#include "cli/flags.h"

#include <algorithm>

#include "base/text.h"

namespace kiboko::cli {
namespace {

const Flag* find_long(std::span<const Flag> flags, std::string_view name) {
  const auto found = std::ranges::find(flags, name, &Flag::name);
  return found == flags.end() ? nullptr : &*found;
}

const Flag* find_short(std::span<const Flag> flags, char letter) {
  const auto found =
      std::ranges::find_if(flags, [&](const Flag& flag) { return flag.letter == letter && letter != 0; });
  return found == flags.end() ? nullptr : &*found;
}

tl::unexpected<Error> unknown_flag(std::string_view written, std::string_view name, std::span<const Flag> flags) {
  std::vector<std::string_view> names;
  for (const Flag& flag : flags) names.push_back(flag.name);
  if (const auto near = nearest(name, names))
    return fail(Errc::Invalid, "unknown option '{}': did you mean '--{}'?", written, *near);
  return fail(Errc::Invalid, "unknown option '{}'", written);
}

Result<void> check_choice(const Flag& flag, const std::string& value) {
  if (flag.choices.empty()) return {};
  const auto choices = split(flag.choices, '|');
  if (std::ranges::find(choices, value) != choices.end()) return {};
  return fail(Errc::Invalid, "--{}: '{}' is none of {}", flag.name, value, join(choices, ", "));
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

// Walks the arguments; one call of `flag` eats one flag and its value.
class Parser {
 public:
  Parser(std::span<const std::string> arguments, std::span<const Flag> flags) : arguments_(arguments), flags_(flags) {}

  Result<Given> all(Words words) {
    while (at_ < arguments_.size()) {
      const std::string& argument = arguments_[at_];
      if (argument == "--") {
        take_rest(at_ + 1);
      } else if (argument.size() > 1 && argument[0] == '-') {
        TRY(flag(argument));
      } else if (words == Words::Program) {
        take_rest(at_);
      } else {
        given_.words.push_back(argument);
        ++at_;
      }
    }
    return std::move(given_);
  }

 private:
  void take_rest(std::size_t from) {
    given_.words.insert(given_.words.end(), arguments_.begin() + static_cast<std::ptrdiff_t>(from), arguments_.end());
    at_ = arguments_.size();
  }

  Result<void> flag(const std::string& argument) {
    ++at_;
    const bool is_long = argument[1] == '-';
    const std::size_t equals = argument.find('=');
    const std::string written = argument.substr(0, equals);
    const std::string name = is_long ? written.substr(2) : written.substr(1);
    const Flag* found = is_long ? find_long(flags_, name) : name.size() == 1 ? find_short(flags_, name[0]) : nullptr;
    if (found == nullptr) return unknown_flag(written, name, flags_);
    std::string value;
    if (equals != std::string::npos) {
      if (found->value.empty()) return fail(Errc::Invalid, "{} takes no value", written);
      value = argument.substr(equals + 1);
    } else if (!found->value.empty()) {
      if (at_ == arguments_.size())
        return fail(Errc::Invalid, "{} needs a value: {} {}", written, written, found->value);
      value = arguments_[at_++];
    }
    TRY(check_choice(*found, value));
    given_.add(found->name, std::move(value));
    return {};
  }

  std::span<const std::string> arguments_;
  std::span<const Flag> flags_;
  std::size_t at_ = 0;
  Given given_;
};

}  // namespace

std::optional<std::string> Given::value(std::string_view flag) const {
  const auto found = values_.find(flag);
  if (found == values_.end()) return std::nullopt;
  return found->second.back();
}

const std::vector<std::string>& Given::values(std::string_view flag) const {
  static const std::vector<std::string> kNone;
  const auto found = values_.find(flag);
  return found == values_.end() ? kNone : found->second;
}

void Given::add(std::string_view flag, std::string value) { values_[std::string(flag)].push_back(std::move(value)); }

Result<Given> parse(std::span<const std::string> arguments, std::span<const Flag> flags, Words words) {
  Given given = TRY(Parser{arguments, flags}.all(words));
  if (given.has("help")) return given;  // whatever else is wrong, help was asked for
  if (words == Words::None && !given.words.empty())
    return fail(Errc::Invalid, "unexpected argument '{}'", given.words.front());
  return given;
}

std::optional<std::string_view> nearest(std::string_view text, std::span<const std::string_view> known) {
  std::optional<std::string_view> best;
  std::size_t best_distance = 3;  // more than two slips is another word
  for (const std::string_view candidate : known) {
    const bool prefix = text.size() >= 3 && candidate.starts_with(text);
    const std::size_t distance = prefix ? 1 : edit_distance(text, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace kiboko::cli
