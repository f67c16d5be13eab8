#include "model/object_stream.h"

#include <algorithm>
#include <iterator>

#include "model/annotation.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kListSuffix = "List";

// Lists that make up half of a dump and say nothing here.
bool never_needed(std::string_view key) { return key == "managedFields" || key == "images"; }

bool has_kind(const Json& object) {
  const auto kind = object.find("kind");
  return kind != object.end() && kind->is_string();
}

// A pointer that others can ask how far it is.
class Cursor {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** seen) : at_(at), seen_(seen) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const char** seen_;
};

// The parser's events; it asks for these names.
class JsonEvents {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  explicit JsonEvents(ObjectBuilder& builder) : builder_(builder) {}
  bool null() { return builder_.value(nullptr); }
  bool boolean(bool truth) { return builder_.value(truth); }
  bool number_integer(number_integer_t number) { return builder_.value(number); }
  bool number_unsigned(number_unsigned_t number) { return builder_.value(number); }
  bool number_float(number_float_t number, const string_t& /*text*/) { return builder_.value(number); }
  bool string(string_t& text) { return builder_.value(std::move(text)); }
  bool binary(binary_t& /*bytes*/) { return false; }  // not in JSON
  bool start_object(std::size_t /*size*/) { return builder_.begin_object(); }
  bool key(string_t& key) { return builder_.key(key); }
  bool end_object() { return builder_.end(); }
  bool start_array(std::size_t /*size*/) { return builder_.begin_list(); }
  bool end_array() { return builder_.end(); }
  bool parse_error(std::size_t /*byte*/, const std::string& token, const Json::exception& /*why*/) {
    return builder_.stop({Errc::Invalid, fmt::format("this is not JSON: '{}'", shown(token))});
  }

 private:
  ObjectBuilder& builder_;
};

}  // namespace

bool ObjectBuilder::stop(Error error) {
  error_ = std::move(error);
  return false;
}

Json* ObjectBuilder::put(Json value) {
  if (open_.empty()) return &(root_ = std::move(value));
  Json& parent = *open_.back();
  if (parent.is_array()) return &parent.emplace_back(std::move(value));
  return &(parent[key_] = std::move(value));
}

bool ObjectBuilder::value(Json value) {
  if (open_.empty() && passed_over_ == 0)
    return stop({Errc::Invalid, "a document must be an object with kind and metadata"});
  if (passed_over_ == 0) put(std::move(value));
  return true;
}

bool ObjectBuilder::key(const std::string& key) {
  if (passed_over_ > 0) return true;
  if (open_.back()->contains(key)) return stop({Errc::Invalid, fmt::format("the key '{}' is given twice", shown(key))});
  key_ = key;
  return true;
}

bool ObjectBuilder::begin(Json::value_t kind) {
  const bool list = kind == Json::value_t::array;
  if (depth() >= kMostObjectDepth)
    return stop({Errc::Invalid, fmt::format("nested deeper than {} levels", kMostObjectDepth)});
  const bool member = !open_.empty() && open_.back()->is_object();
  if (passed_over_ > 0 || (list && member && never_needed(key_))) {
    ++passed_over_;
    return true;
  }
  if (open_.empty() && list) return value(nullptr);  // refused there
  open_.push_back(put(Json(kind)));
  if (list && open_.size() == 2 && key_ == "items") items_ = open_.back();
  return true;
}

bool ObjectBuilder::end() {
  if (passed_over_ > 0) {
    --passed_over_;
    return true;
  }
  open_.pop_back();
  if (open_.empty()) return finish_document();
  if (items_ != nullptr && open_.size() == 2 && open_.back() == items_) return finish_item();
  if (open_.size() == 1) items_ = nullptr;
  return true;
}

// What neither the element nor the list has named so far waits for the list's end.
bool ObjectBuilder::finish_item() {
  Json& item = items_->back();
  if (item.is_object() && !has_kind(item) && has_kind(root_)) {
    const auto& list = root_["kind"].get_ref<const std::string&>();
    if (list.size() > kListSuffix.size() && list.ends_with(kListSuffix)) {
      item["kind"] = list.substr(0, list.size() - kListSuffix.size());
      if (const auto version = root_.find("apiVersion"); version != root_.end()) item["apiVersion"] = *version;
    }
  }
  if (!item.is_object() || !has_kind(item)) return true;
  const auto visited = visit_(item);
  items_->erase(items_->size() - 1);
  return visited ? true : stop(visited.error());
}

bool ObjectBuilder::finish_document() {
  items_ = nullptr;
  Json document = std::exchange(root_, nullptr);
  const auto items = document.find("items");
  const bool list = !has_kind(document) || document["kind"].get_ref<const std::string&>().ends_with(kListSuffix);
  if (list && items != document.end() && items->is_array() && !items->empty()) {
    // The list's kind came after its elements: now they can be named.
    Json waiting = std::exchange(*items, Json::array());
    root_ = document;
    items_ = &root_["items"];
    for (Json& item : waiting) {
      const bool object = item.is_object();
      items_->push_back(std::move(item));
      if (!finish_item()) return false;
      if (!items_->empty())
        return stop(
            {Errc::Invalid, object ? "an element of 'items' has no kind" : "'items' must be a list of objects"});
    }
    items_ = nullptr;
    document = std::exchange(root_, nullptr);
  }
  const auto visited = visit_(document);
  return visited ? true : stop(visited.error());
}

Result<std::string_view> read_json_object(std::string_view text, const ObjectBuilder::Visit& visit,
                                          std::size_t first_line) {
  ObjectBuilder builder(visit);
  JsonEvents events(builder);
  const char* seen = text.data();
  const char* const end = text.data() + text.size();
  const bool read =
      Json::sax_parse(Cursor(text.data(), &seen), Cursor(end, &seen), &events, Json::input_format_t::json, false);
  const auto taken = static_cast<std::size_t>(seen - text.data());
  if (read) return text.substr(taken);
  const auto line = first_line + static_cast<std::size_t>(std::count(text.data(), seen, '\n'));
  return tl::unexpected(about("line {}", line)(builder.error()));
}

}  // namespace kiboko
