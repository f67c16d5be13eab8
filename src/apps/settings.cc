#include "apps/settings.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"

namespace kiboko::apps {

std::string SettingNames::variable_of(std::string_view name) const {
  std::string variable = prefix_;
  for (const char c : name) variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

std::size_t SettingNames::find(std::string_view name) const {
  std::string wanted(name);
  std::ranges::replace(wanted, '_', '-');
  for (std::size_t i = 0; i < count(); ++i)
    if (this->name(i) == wanted) return i;
  return count();
}

Result<SettingNames::Flags> SettingNames::read_flags(int argc, char** argv,
                                                     std::span<const std::string_view> ignored) const {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") flags.wish = Wish::Help;
    if (argument == "--version" || argument == "version") flags.wish = Wish::Version;
    if (argument == "--print-config") flags.wish = Wish::PrintConfig;
    if (argument == "--help" || argument == "-h" || argument == "--version" || argument == "version" ||
        argument == "--print-config")
      continue;
    const std::size_t equals = argument.find('=');
    const std::string_view dashed = argument.substr(0, equals);
    const std::string_view name = dashed.substr(std::min<std::size_t>(dashed.find_first_not_of('-'), dashed.size()));
    if (name.size() < dashed.size() && std::ranges::find(ignored, name) != ignored.end()) {
      flags.ignored.emplace_back(argument);
      continue;
    }
    const std::size_t setting = dashed.starts_with("--") ? find(name) : count();
    if (setting == count()) return fail(Errc::Invalid, "there is no setting '{}'; see --help", argument);
    if (equals != argument.npos)
      flags.values[setting] = argument.substr(equals + 1);
    else if (is_truth(setting))
      flags.values[setting] = "true";
    else if (i + 1 < argc)
      flags.values[setting] = argv[++i];
    else
      return fail(Errc::Invalid, "{} needs a value", argument);
  }
  return flags;
}

SettingNames::Values SettingNames::read_environment() const {
  Values values;
  for (std::size_t i = 0; i < count(); ++i)
    if (const char* value = std::getenv(variable_of(name(i)).c_str())) values[i] = value;
  return values;
}

Result<SettingNames::Values> SettingNames::read_yaml(const std::string& path, std::size_t file_setting) const {
  const std::string content = TRY(read_file(path));
  Values values;
  try {
    const YAML::Node root = YAML::Load(content);
    if (root.IsNull()) return values;
    if (!root.IsMap()) return fail(Errc::Invalid, "{} is not a list of 'name: value'", path);
    for (const auto& entry : root) {
      const auto name = entry.first.as<std::string>();
      const std::size_t setting = find(name);
      if (setting == count() || setting == file_setting)
        return fail(Errc::Invalid, "{}:{}: there is no setting '{}'", path, entry.first.Mark().line + 1, name);
      if (!entry.second.IsScalar() && !entry.second.IsNull())
        return fail(Errc::Invalid, "{}:{}: '{}' needs one value", path, entry.second.Mark().line + 1, name);
      values[setting] = entry.second.IsNull() ? "" : entry.second.as<std::string>();
    }
  } catch (const YAML::Exception& wrong) {
    return fail(Errc::Invalid, "{}: {}", path, wrong.what());
  }
  return values;
}

// ---- one value ----

Result<void> read_value(std::string& out, const std::string& text, unsigned, unsigned) {
  out = text;
  return {};
}

Result<void> read_value(bool& out, const std::string& text, unsigned, unsigned) {
  if (text != "true" && text != "false" && text != "1" && text != "0")
    return fail(Errc::Invalid, "'{}' is neither true nor false", text);
  out = text == "true" || text == "1";
  return {};
}

Result<void> read_value(unsigned& out, const std::string& text, unsigned low, unsigned high) {
  const auto parsed = TRY(parse_integer<unsigned>(text));
  if (parsed < low || parsed > high) return fail(Errc::Invalid, "{} is not within {} and {}", parsed, low, high);
  out = parsed;
  return {};
}

Result<void> read_value(std::chrono::seconds& out, const std::string& text, unsigned low, unsigned high) {
  std::uint64_t seconds = 0;
  std::string_view rest = text;
  bool any = false;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find_first_not_of("0123456789"), rest.size());
    const auto number = TRY(parse_integer<unsigned>(rest.substr(0, end)));
    const std::string_view unit = rest.substr(end, 1);
    if (unit.empty() && any) return fail(Errc::Invalid, "'{}' is no time such as 90s, 5m or 1h30m", text);
    const std::uint64_t factor = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
    if (factor == 0) return fail(Errc::Invalid, "'{}' is no time such as 90s, 5m or 1h30m", text);
    seconds += number * factor;
    rest.remove_prefix(std::min(end + 1, rest.size()));
    any = true;
  }
  if (!any) return fail(Errc::Invalid, "'{}' is no time such as 90s, 5m or 1h30m", text);
  if (seconds < low || seconds > high) return fail(Errc::Invalid, "{} s is not within {} and {} s", seconds, low, high);
  out = std::chrono::seconds{seconds};
  return {};
}

std::string value_text(const std::string& value) { return fmt::format("\"{}\"", json_escape(value)); }
std::string value_text(bool value) { return value ? "true" : "false"; }
std::string value_text(unsigned value) { return fmt::format("{}", value); }
std::string value_text(std::chrono::seconds value) { return fmt::format("{}s", value.count()); }

Result<std::string> installation_prefix() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail(Errc::Internal, "cannot tell where the program is installed: {}", error.message());
  return self.parent_path().parent_path().string();
}

}  // namespace kiboko::apps
