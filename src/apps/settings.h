// A program's settings: one struct, one table. Flags, environment names, the YAML file, --print-config and --help all
// walk the table. A flag beats the environment, which beats the file, which beats the default; an unknown key is an
// error.
//
// For main(), before there is another thread.
#pragma once

#include <chrono>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace kiboko::apps {

template <class Config>
struct Setting {
  using Member =
      std::variant<std::string Config::*, unsigned Config::*, bool Config::*, std::chrono::seconds Config::*>;
  const char* name;  // --name, PREFIX_NAME, name: in the file; '-' is '_' in the environment
  Member member;
  const char* help;
  unsigned low = 0, high = 0xFFFF'FFFF;  // of a number
};

enum class Wish { Run, Help, PrintConfig, Version };

template <class Config>
struct Invocation {
  Config config;
  Wish wish = Wish::Run;
};

// What the settings of a program have in common, whatever its Config: names and texts of values.
class SettingNames {
 public:
  explicit SettingNames(std::string prefix) : prefix_(std::move(prefix)) {}
  virtual ~SettingNames() = default;

  using Values = std::map<std::size_t, std::string>;  // by place in the table
  struct Flags {
    Values values;
    Wish wish = Wish::Run;
    std::vector<std::string> ignored;
  };

  // "--name value", "--name=value", "--truth"; `ignored` are other programs' flags that are taken and not looked at.
  Result<Flags> read_flags(int argc, char** argv, std::span<const std::string_view> ignored) const;
  Values read_environment() const;
  // `file_setting` names the file and cannot be in it.
  Result<Values> read_yaml(const std::string& path, std::size_t file_setting) const;
  std::string variable_of(std::string_view name) const;

  virtual std::size_t count() const = 0;
  virtual std::string_view name(std::size_t index) const = 0;
  virtual bool is_truth(std::size_t index) const = 0;
  std::size_t find(std::string_view name) const;  // count(): there is none

 private:
  std::string prefix_;
};

// ---- one value ----

Result<void> read_value(std::string& out, const std::string& text, unsigned low, unsigned high);
Result<void> read_value(bool& out, const std::string& text, unsigned low, unsigned high);
Result<void> read_value(unsigned& out, const std::string& text, unsigned low, unsigned high);
// "90", "90s", "5m", "1h30m".
Result<void> read_value(std::chrono::seconds& out, const std::string& text, unsigned low, unsigned high);
std::string value_text(const std::string& value);  // as YAML
std::string value_text(bool value);
std::string value_text(unsigned value);
std::string value_text(std::chrono::seconds value);

template <class Config>
class Settings : public SettingNames {
 public:
  // `file` is the member that names the YAML file.
  Settings(std::string prefix, std::span<const Setting<Config>> table, std::string Config::*file,
           std::span<const std::string_view> ignored_flags = {})
      : SettingNames(std::move(prefix)), table_(table), file_(file), ignored_flags_(ignored_flags) {}

  std::size_t count() const override { return table_.size(); }
  std::string_view name(std::size_t index) const override { return table_[index].name; }
  bool is_truth(std::size_t index) const override {
    return std::holds_alternative<bool Config::*>(table_[index].member);
  }

  Result<Invocation<Config>> read(int argc, char** argv, std::vector<std::string>* ignored = nullptr) const {
    Invocation<Config> invocation;
    Config& config = invocation.config;
    Flags flags = TRY(read_flags(argc, argv, ignored_flags_));
    invocation.wish = flags.wish;
    if (ignored != nullptr) *ignored = std::move(flags.ignored);
    const Values environment = read_environment();
    std::size_t file = 0;
    while (file < table_.size() && !is_file(file)) ++file;
    for (const Values* values : {&environment, static_cast<const Values*>(&flags.values)})
      if (const auto named = values->find(file); named != values->end()) config.*file_ = named->second;
    if (const std::string path = config.*file_; !path.empty()) TRY(apply(config, TRY(read_yaml(path, file)), path));
    TRY(apply(config, environment, "environment"));
    TRY(apply(config, flags.values, "flag"));
    return invocation;
  }

  // Of each setting: its flag, what it is, its variable.
  std::string help() const {
    std::string text;
    for (const Setting<Config>& setting : table_)
      text += fmt::format("  --{:<34} {}\n  {:<36} ({})\n", setting.name, setting.help, "", variable_of(setting.name));
    return text + fmt::format("\n  {:<36} show the settings in force and end\n  --version, --help\n", "--print-config");
  }

  // As the file.
  std::string text(const Config& config) const {
    std::string out;
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (is_file(i)) continue;
      const auto value = [&](auto member) { return value_text(config.*member); };
      out += fmt::format("# {}\n{}: {}\n\n", table_[i].help, table_[i].name, std::visit(value, table_[i].member));
    }
    return out;
  }

 private:
  bool is_file(std::size_t index) const {
    const auto* member = std::get_if<std::string Config::*>(&table_[index].member);
    return member != nullptr && *member == file_;
  }
  Result<void> apply(Config& config, const Values& values, std::string_view where) const {
    for (const auto& [index, value] : values) {
      const Setting<Config>& setting = table_[index];
      const auto set = [&, &text = value](auto member) {
        return read_value(config.*member, text, setting.low, setting.high);
      };
      TRY(std::visit(set, setting.member).map_error(about("{} {}", where, setting.name)));
    }
    return {};
  }

  std::span<const Setting<Config>> table_;
  std::string Config::*file_;
  std::span<const std::string_view> ignored_flags_;
};

// The directory above bin/, where lib/ and share/ are.
Result<std::string> installation_prefix();

}  // namespace kiboko::apps
