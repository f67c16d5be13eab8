// YAML as a tree of plain values, each knowing the file and line it came from, and a strict reader of it.
//
// Trees are copied, merged and filled in freely: an error still names the line that somebody wrote. Reading a tree is
// strict: a key that nobody asked for, a key given twice or a value of the wrong kind is an error with file, line and
// key.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace kiboko::vendors {

struct YamlTree {
  enum class Kind { Null, Scalar, List, Map };
  struct Member;
  Kind kind = Kind::Null;
  std::string text;  // of a scalar
  std::vector<YamlTree> items;
  std::vector<Member> members;  // in the order of the file
  std::shared_ptr<const std::string> file;
  int line = 0;

  const YamlTree* find(std::string_view key) const;
};
struct YamlTree::Member {
  std::string key;
  int line = 0;
  YamlTree value;
};

// At most 256 KiB, 32 levels and 20,000 values. `file` is for errors.
Result<YamlTree> parse_yaml(std::string_view text, std::string_view file);
// All documents of the text, empty ones left out.
Result<std::vector<YamlTree>> parse_yaml_documents(std::string_view text, std::string_view file);

// `over` laid over `base`: maps are merged key by key, anything else is replaced.
YamlTree merged(const YamlTree& base, const YamlTree& over);
// Every "<word>" in scalars and keys replaced by its value.
YamlTree filled(const YamlTree& tree, const std::map<std::string, std::string>& words);

std::string place_of(const YamlTree& tree);  // "file:7"

// Reads the members of one map. The first error of all readers of one document is kept; what comes after it reads as
// absent. Call finish() when everything was asked for.
class YamlReader {
 public:
  YamlReader(const YamlTree& tree, std::string path, std::optional<Error>& error);

  bool has(std::string_view key) const { return tree_.find(key) != nullptr; }
  std::string text(std::string_view key, std::string_view absent = {});
  std::string needed_text(std::string_view key);
  std::int64_t number(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t absent);
  bool truth(std::string_view key, bool absent);
  double decimal(std::string_view key, double absent);
  // The place of the value in `words`.
  std::size_t word(std::string_view key, std::span<const std::string_view> words, std::size_t absent);
  std::vector<std::string> texts(std::string_view key);  // a list, or a single text
  std::vector<std::int64_t> numbers(std::string_view key);
  std::map<std::string, std::string> text_map(std::string_view key);
  std::optional<YamlReader> child(std::string_view key);
  std::vector<YamlReader> children(std::string_view key);
  // Members whose keys are not known beforehand.
  std::vector<std::pair<std::string, const YamlTree*>> open_map(std::string_view key);
  void skip(std::string_view key) { asked_.insert(std::string(key)); }
  const YamlTree* tree_at(std::string_view key) { return asked(key); }

  void finish();
  // An error about `key`, or about the map itself where the key is not there.
  void refuse(std::string_view key, std::string_view why);
  bool failed() const { return error_->has_value(); }
  const YamlTree& tree() const { return tree_; }
  std::string path_of(std::string_view key) const;

 private:
  const YamlTree* asked(std::string_view key);
  std::optional<std::string> scalar(std::string_view key);
  void refuse_at(const YamlTree& tree, std::string_view key, std::string_view why);

  const YamlTree& tree_;
  std::string path_;
  std::optional<Error>* error_;
  std::set<std::string, std::less<>> asked_;
};

Result<bool> truth_from(std::string_view text);

}  // namespace kiboko::vendors
