// Events, not yaml-cpp's tree: its nodes take some hundred bytes each, and a cluster has millions.
#include "cli/yaml_objects.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko::cli {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostAliasedValues = 100'000;  // aliases can make few bytes many values

template <class T>
std::optional<T> whole(std::string_view digits, int base) {
  T number{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty()) return {};
  return number;
}

// As Go's parser has it: 0x1F, 0o17, 017, 0b11, 1_000, any with a sign.
std::optional<Json> integer(std::string_view text) {
  std::string digits;
  std::ranges::copy_if(text, std::back_inserter(digits), [](char c) { return c != '_'; });
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  int base = 10;
  constexpr std::pair<std::string_view, int> kBases[] = {{"0x", 16}, {"0X", 16}, {"0o", 8}, {"0b", 2}};
  for (const auto& [prefix, of] : kBases)
    if (rest.starts_with(prefix) && base == 10) {
      base = of;
      rest.remove_prefix(prefix.size());
    }
  if (base == 10 && rest.size() > 1 && rest.starts_with('0')) base = 8;
  const auto number = whole<std::uint64_t>(rest, base);
  if (!number) return {};
  if (!negative) return Json(*number);
  if (*number > static_cast<std::uint64_t>(INT64_MAX)) return {};
  return Json(-static_cast<std::int64_t>(*number));
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
std::optional<Json> decimal(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  const bool starts =
      !digits.empty() &&
      (std::isdigit(static_cast<unsigned char>(digits[0])) != 0 ||
       (digits.size() > 1 && digits[0] == '.' && std::isdigit(static_cast<unsigned char>(digits[1])) != 0));
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!starts || error != std::errc{} || end != text.data() + text.size()) return {};
  return Json(number);
}

struct Size {
  std::size_t values = 0, depth = 0;
};
Size size_of(const Json& json) {
  Size size{1, 0};
  if (!json.is_structured()) return size;
  for (const Json& part : json) {
    const Size inner = size_of(part);
    size.values += inner.values;
    size.depth = std::max(size.depth, inner.depth);
  }
  ++size.depth;
  return size;
}

class YamlEvents : public YAML::EventHandler {
 public:
  explicit YamlEvents(ObjectBuilder& builder) : builder_(builder) {}

  int line() const { return line_; }

  void OnDocumentStart(const YAML::Mark& mark) override { line_ = mark.line; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    line_ = mark.line;
    if (open_.empty()) return;  // nothing but comments
    if (takes_key()) return take_key("null");
    put(nullptr, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    line_ = mark.line;
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) stop("the alias stands inside what it names, or names what is not kept");
    if (takes_key()) return found->second.is_string() ? take_key(found->second) : stop("a key must be a text");
    const Size size = size_of(found->second);
    aliased_ += size.values;
    if (aliased_ > kMostAliasedValues) stop(fmt::format("aliases make more than {} values", kMostAliasedValues));
    if (builder_.depth() + size.depth > kMostObjectDepth)
      stop(fmt::format("nested deeper than {} levels", kMostObjectDepth));
    put(found->second, YAML::NullAnchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    line_ = mark.line;
    const bool plain = tag == "?" || tag.empty();
    if (takes_key()) {
      if (plain && text == "<<") stop("merge keys (<<) are not read here; write the members out");
      if (anchor != YAML::NullAnchor) anchors_[anchor] = text;
      return take_key(text);
    }
    // An explicit !!int or !!bool says what the text looks like anyway.
    const bool typed = tag == "tag:yaml.org,2002:int" || tag == "tag:yaml.org,2002:float" ||
                       tag == "tag:yaml.org,2002:bool" || tag == "tag:yaml.org,2002:null";
    put(plain || typed ? plain_scalar(text) : Json(text), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    begin(mark, anchor, false);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    begin(mark, anchor, true);
  }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    bool map = false, key_next = false;
    YAML::anchor_t anchor = YAML::NullAnchor;
  };

  // The parser has no other way to be stopped.
  void check(bool went_on) const {
    if (!went_on) stop(builder_.error().message);
  }
  [[noreturn]] void stop(const std::string& why) const { throw YAML::ParserException(YAML::Mark::null_mark(), why); }

  bool takes_key() const { return !open_.empty() && open_.back().map && open_.back().key_next; }
  void take_key(const std::string& key) {
    check(builder_.key(key));
    open_.back().key_next = false;
  }
  void put(Json value, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = value;
    check(builder_.value(std::move(value)));
    went_on();
  }
  void begin(const YAML::Mark& mark, YAML::anchor_t anchor, bool map) {
    line_ = mark.line;
    if (takes_key()) stop("a key must be a text");
    check(map ? builder_.begin_object() : builder_.begin_list());
    open_.push_back({map, map, anchor});
  }
  void end() {
    const YAML::anchor_t anchor = open_.back().anchor;
    open_.pop_back();
    if (anchor != YAML::NullAnchor && builder_.innermost() != nullptr) anchors_[anchor] = *builder_.innermost();
    check(builder_.end());
    went_on();
  }
  void went_on() {
    if (!open_.empty()) open_.back().key_next = open_.back().map;
  }

  ObjectBuilder& builder_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Json> anchors_;
  std::size_t aliased_ = 0;
  int line_ = 0;
};

}  // namespace

Json plain_scalar(std::string_view text) {
  for (const std::string_view nothing : {"", "~", "null", "Null", "NULL"})
    if (text == nothing) return nullptr;
  for (const std::string_view yes : {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
    if (text == yes) return true;
  for (const std::string_view no : {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
    if (text == no) return false;
  if (const auto number = integer(text)) return *number;
  if (const auto number = decimal(text)) return *number;
  return std::string(text);
}

Result<void> read_yaml_object(std::string_view text, const ObjectBuilder::Visit& visit, std::size_t first_line) {
  if (text.size() > kMostYamlBytes)
    return fail(Errc::Invalid, "line {}: more than {} of YAML; JSON may be longer (kubectl … -o json)", first_line,
                format_bytes(kMostYamlBytes));
  ObjectBuilder builder(visit);
  YamlEvents events(builder);
  const auto at = [&](int line, std::string_view why) {
    return fail(Errc::Invalid, "line {}: {}", first_line + static_cast<std::size_t>(std::max(line, 0)), why);
  };
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(events)) return {};
    // Asked for another document, the parser would find one without end in some broken texts.
    if (parser) return at(events.line(), "something stands behind the end of the document");
    return {};
  } catch (const YAML::Exception& error) {
    const bool ours = error.mark.is_null();
    return at(ours ? events.line() : error.mark.line, ours ? error.msg : shown(error.msg));
  }
}

}  // namespace kiboko::cli
