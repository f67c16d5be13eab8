// The grammar of a command line, as a table: parsing, `--help` and shell completion all walk the same rows.
//
// Constant tables and pure functions. CLI11 is not used here because `run` must leave everything after its own options
// untouched, and because the completion scripts are made from these rows.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace kiboko::cli {

struct Flag {
  std::string_view name;          // "memory" is written --memory
  char letter = 0;                // 'o' is also written -o
  std::string_view value = {};    // what stands for the value in help; empty: a switch
  std::string_view help = {};     // one clause
  std::string_view choices = {};  // "high|low": anything else is refused by name
  bool repeated = false;
};

// What a command takes besides its flags.
enum class Words {
  None,
  Optional,  // any number, zero included
  Some,      // at least one
  Program,   // flags end at the first word or at "--"; all the rest belongs to the program
};

// What was given. Names are those of the table.
class Given {
 public:
  bool has(std::string_view flag) const { return values_.find(flag) != values_.end(); }
  std::optional<std::string> value(std::string_view flag) const;        // the last one given
  const std::vector<std::string>& values(std::string_view flag) const;  // all, in order
  std::vector<std::string> words;

  void add(std::string_view flag, std::string value);

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

// `arguments` without the program's and the command's name.
Result<Given> parse(std::span<const std::string> arguments, std::span<const Flag> flags, Words words);

// The entry of `known` that looks most like `text`, or nothing when none is near: "did you mean --memory?"
std::optional<std::string_view> nearest(std::string_view text, std::span<const std::string_view> known);

}  // namespace kiboko::cli
