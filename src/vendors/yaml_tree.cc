#include "vendors/yaml_tree.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko::vendors {
namespace {

constexpr std::size_t kMostBytes = 256U << 10U;
constexpr int kMostDepth = 32;
constexpr std::size_t kMostDocuments = 64;
constexpr std::size_t kMostValues = 20'000;  // aliases can make few bytes many values

class TreeMaker {
 public:
  explicit TreeMaker(std::string_view file) : file_(std::make_shared<const std::string>(file)) {}

  Result<YamlTree> tree_of(const YAML::Node& node, int depth = 0) {
    YamlTree tree;
    tree.file = file_;
    tree.line = node.Mark().line + 1;
    if (depth > kMostDepth) return fail(Errc::Invalid, "{}: nested deeper than {} levels", place_of(tree), kMostDepth);
    if (++values_ > kMostValues) return fail(Errc::Invalid, "{}: more than {} values", place_of(tree), kMostValues);
    if (node.IsScalar()) {
      tree.kind = YamlTree::Kind::Scalar;
      tree.text = node.Scalar();
    } else if (node.IsSequence()) {
      tree.kind = YamlTree::Kind::List;
      for (const YAML::Node& item : node) tree.items.push_back(TRY(tree_of(item, depth + 1)));
    } else if (node.IsMap()) {
      tree.kind = YamlTree::Kind::Map;
      for (const auto& member : node) TRY(add(tree, member.first, member.second, depth));
    }
    return tree;
  }

 private:
  Result<void> add(YamlTree& tree, const YAML::Node& key, const YAML::Node& value, int depth) {
    const int line = key.Mark().line + 1;
    if (!key.IsScalar()) return fail(Errc::Invalid, "{}:{}: a key must be a text", *file_, line);
    if (tree.find(key.Scalar()) != nullptr)
      return fail(Errc::Invalid, "{}:{}: the key '{}' is given twice", *file_, line, shown(key.Scalar()));
    YamlTree made = TRY(tree_of(value, depth + 1));
    tree.members.push_back({key.Scalar(), line, std::move(made)});
    return {};
  }

  std::shared_ptr<const std::string> file_;
  std::size_t values_ = 0;
};

std::string with_words(std::string text, const std::map<std::string, std::string>& words) {
  for (const auto& [word, value] : words) {
    const std::string mark = "<" + word + ">";
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size()))
      text.replace(at, mark.size(), value);
  }
  return text;
}

// YAML::LoadAll never ends on some broken texts, and YAML::Load passes over what stands behind the first document. So
// texts are cut where a document begins or ends; empty lines in front keep the numbers of the lines.
std::vector<std::string> separate_documents(std::string_view text) {
  std::vector<std::string> documents(1);
  std::size_t line_number = 0;
  for (const std::string_view line : split(text, '\n')) {
    if (documents.size() > kMostDocuments) break;
    const bool begins = line == "---" || line.starts_with("--- ") || line == "---\r";
    const bool ends = line == "..." || line.starts_with("... ") || line == "...\r";
    if (begins || ends) documents.emplace_back(line_number, '\n');
    documents.back() += begins || ends ? "   " + std::string(line.substr(3)) : std::string(line);
    documents.back() += '\n';
    ++line_number;
  }
  return documents;
}

std::string_view kind_name(const YamlTree& tree) {
  constexpr std::string_view kNames[] = {"nothing", "a value", "a list", "a map"};
  return kNames[static_cast<std::size_t>(tree.kind)];
}

}  // namespace

const YamlTree* YamlTree::find(std::string_view key) const {
  const auto found = std::ranges::find(members, key, &Member::key);
  return found == members.end() ? nullptr : &found->value;
}

std::string place_of(const YamlTree& tree) {
  const std::string file = tree.file == nullptr ? "?" : *tree.file;
  return tree.line > 0 ? fmt::format("{}:{}", file, tree.line) : file;
}

Result<std::vector<YamlTree>> parse_yaml_documents(std::string_view text, std::string_view file) {
  if (text.size() > kMostBytes) return fail(Errc::Invalid, "{}: longer than {} bytes", file, kMostBytes);
  try {
    TreeMaker maker(file);
    std::vector<YamlTree> documents;
    const std::vector<std::string> texts = separate_documents(text);
    if (texts.size() > kMostDocuments) return fail(Errc::Invalid, "{}: more than {} documents", file, kMostDocuments);
    for (const std::string& document : texts)
      if (const YAML::Node node = YAML::Load(document); !node.IsNull()) documents.push_back(TRY(maker.tree_of(node)));
    return documents;
  } catch (const YAML::Exception& error) {
    return fail(Errc::Invalid, "{}:{}: {}", file, error.mark.line + 1, shown(error.msg));
  }
}

Result<YamlTree> parse_yaml(std::string_view text, std::string_view file) {
  auto documents = TRY(parse_yaml_documents(text, file));
  if (documents.size() > 1) return fail(Errc::Invalid, "{}: has {} documents, not one", file, documents.size());
  if (!documents.empty()) return std::move(documents.front());
  YamlTree nothing;
  nothing.file = std::make_shared<const std::string>(file);
  return nothing;
}

YamlTree merged(const YamlTree& base, const YamlTree& over) {
  if (base.kind != YamlTree::Kind::Map || over.kind != YamlTree::Kind::Map) return over;
  YamlTree result = base;
  result.file = over.file;
  result.line = over.line;
  for (const YamlTree::Member& member : over.members) {
    const auto same = std::ranges::find(result.members, member.key, &YamlTree::Member::key);
    if (same == result.members.end())
      result.members.push_back(member);
    else
      *same = {member.key, member.line, merged(same->value, member.value)};
  }
  return result;
}

YamlTree filled(const YamlTree& tree, const std::map<std::string, std::string>& words) {
  YamlTree result = tree;
  result.text = with_words(std::move(result.text), words);
  for (YamlTree& item : result.items) item = filled(item, words);
  for (YamlTree::Member& member : result.members) {
    member.key = with_words(std::move(member.key), words);
    member.value = filled(member.value, words);
  }
  return result;
}

Result<bool> truth_from(std::string_view text) {
  for (const std::string_view yes : {"true", "True", "TRUE", "yes", "on"})
    if (text == yes) return true;
  for (const std::string_view no : {"false", "False", "FALSE", "no", "off", ""})
    if (text == no) return false;
  return fail(Errc::Invalid, "must be true or false, not '{}'", shown(text));
}

YamlReader::YamlReader(const YamlTree& tree, std::string path, std::optional<Error>& error)
    : tree_(tree), path_(std::move(path)), error_(&error) {
  if (tree.kind != YamlTree::Kind::Map && tree.kind != YamlTree::Kind::Null)
    refuse_at(tree, "", fmt::format("must be a map, not {}", kind_name(tree)));
}

std::string YamlReader::path_of(std::string_view key) const {
  if (path_.empty()) return std::string(key);
  return key.empty() ? path_ : fmt::format("{}.{}", path_, key);
}

void YamlReader::refuse_at(const YamlTree& tree, std::string_view key, std::string_view why) {
  if (error_->has_value()) return;
  const std::string path = path_of(key);
  *error_ = Error{Errc::Invalid, fmt::format("{}: {}{}{}", place_of(tree), path, path.empty() ? "" : ": ", why)};
}

void YamlReader::refuse(std::string_view key, std::string_view why) {
  const YamlTree* found = tree_.find(key);
  refuse_at(found == nullptr ? tree_ : *found, key, why);
}

const YamlTree* YamlReader::asked(std::string_view key) {
  asked_.insert(std::string(key));
  const YamlTree* found = failed() ? nullptr : tree_.find(key);
  return found == nullptr || found->kind == YamlTree::Kind::Null ? nullptr : found;
}

std::optional<std::string> YamlReader::scalar(std::string_view key) {
  const YamlTree* found = asked(key);
  if (found == nullptr) return std::nullopt;
  if (found->kind == YamlTree::Kind::Scalar) return found->text;
  refuse_at(*found, key, fmt::format("must be a single value, not {}", kind_name(*found)));
  return std::nullopt;
}

std::string YamlReader::text(std::string_view key, std::string_view absent) {
  return scalar(key).value_or(std::string(absent));
}

std::string YamlReader::needed_text(std::string_view key) {
  const auto found = scalar(key);
  if (!found || found->empty()) refuse(key, "is missing");
  return found.value_or("");
}

std::int64_t YamlReader::number(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t absent) {
  const auto found = scalar(key);
  if (!found) return absent;
  const auto number = parse_integer<std::int64_t>(*found);
  if (number && *number >= low && *number <= high) return *number;
  refuse(key, fmt::format("must be a whole number from {} to {}, not '{}'", low, high, shown(*found)));
  return absent;
}

bool YamlReader::truth(std::string_view key, bool absent) {
  const auto found = scalar(key);
  if (!found) return absent;
  const auto truth = truth_from(*found);
  if (!truth) refuse(key, truth.error().message);
  return truth.value_or(absent);
}

double YamlReader::decimal(std::string_view key, double absent) {
  const auto found = scalar(key);
  if (!found) return absent;
  double number = 0;
  const auto [end, error] = std::from_chars(found->data(), found->data() + found->size(), number);
  if (error == std::errc{} && end == found->data() + found->size() && number >= -1e6 && number <= 1e6) return number;
  refuse(key, fmt::format("must be a number, not '{}'", shown(*found)));
  return absent;
}

std::size_t YamlReader::word(std::string_view key, std::span<const std::string_view> words, std::size_t absent) {
  const auto found = scalar(key);
  if (!found) return absent;
  for (std::size_t i = 0; i < words.size(); ++i)
    if (words[i] == *found) return i;
  refuse(key, fmt::format("is '{}': use one of {}", shown(*found), join(words, ", ")));
  return absent;
}

std::vector<std::string> YamlReader::texts(std::string_view key) {
  const YamlTree* found = asked(key);
  if (found == nullptr) return {};
  if (found->kind == YamlTree::Kind::Scalar) return {found->text};
  std::vector<std::string> texts;
  for (const YamlTree& item : found->items) {
    if (item.kind != YamlTree::Kind::Scalar) refuse_at(item, key, "must be a list of texts");
    texts.push_back(item.text);
  }
  if (found->kind != YamlTree::Kind::List) refuse(key, "must be a list of texts");
  return texts;
}

std::vector<std::int64_t> YamlReader::numbers(std::string_view key) {
  std::vector<std::int64_t> numbers;
  for (const std::string& text : texts(key)) {
    const auto number = parse_integer<std::int64_t>(text);
    if (!number) refuse(key, number.error().message);
    numbers.push_back(number.value_or(0));
  }
  return numbers;
}

std::map<std::string, std::string> YamlReader::text_map(std::string_view key) {
  std::map<std::string, std::string> map;
  for (const auto& [name, value] : open_map(key)) {
    if (value->kind == YamlTree::Kind::List || value->kind == YamlTree::Kind::Map)
      refuse_at(*value, fmt::format("{}.{}", key, name),
                fmt::format("must be a single value, not {}", kind_name(*value)));
    map.emplace(name, value->text);
  }
  return map;
}

std::optional<YamlReader> YamlReader::child(std::string_view key) {
  const YamlTree* found = asked(key);
  if (found == nullptr) return std::nullopt;
  return YamlReader(*found, path_of(key), *error_);
}

std::vector<YamlReader> YamlReader::children(std::string_view key) {
  const YamlTree* found = asked(key);
  std::vector<YamlReader> readers;
  if (found == nullptr) return readers;
  if (found->kind != YamlTree::Kind::List) refuse(key, fmt::format("must be a list, not {}", kind_name(*found)));
  for (const YamlTree& item : found->items)
    readers.emplace_back(item, fmt::format("{}[{}]", path_of(key), readers.size()), *error_);
  return readers;
}

std::vector<std::pair<std::string, const YamlTree*>> YamlReader::open_map(std::string_view key) {
  const YamlTree* found = asked(key);
  std::vector<std::pair<std::string, const YamlTree*>> members;
  if (found == nullptr) return members;
  if (found->kind != YamlTree::Kind::Map) refuse(key, fmt::format("must be a map, not {}", kind_name(*found)));
  for (const YamlTree::Member& member : found->members) members.emplace_back(member.key, &member.value);
  return members;
}

void YamlReader::finish() {
  for (const YamlTree::Member& member : tree_.members) {
    if (asked_.contains(member.key)) continue;
    YamlTree at = member.value;
    at.line = member.line;
    refuse_at(at, member.key, fmt::format("there is no such key here; known: {}", join(asked_, ", ")));
  }
}

}  // namespace kiboko::vendors
