#include "model/json_fields.h"

#include <nlohmann/json.hpp>

#include "model/annotation.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

std::string number_text(const Json& json) {
  if (json.is_number_float()) return fmt::format("{}", json.get<double>());
  if (json.is_number_unsigned()) return std::to_string(json.get<std::uint64_t>());
  return std::to_string(json.get<std::int64_t>());
}

}  // namespace

std::string described(const Json& json) {
  if (json.is_string()) return fmt::format("'{}'", shown(json.get_ref<const std::string&>()));
  if (json.is_number()) return fmt::format("the number {}", number_text(json));
  if (json.is_boolean()) return json.get<bool>() ? "true" : "false";
  return json.is_null() ? "nothing" : json.is_object() ? "an object" : "a list";
}

JsonFields JsonFields::at(std::string_view key) const {
  const Json* found = nullptr;
  if (json_ != nullptr && json_->is_object()) {
    const auto member = json_->find(key);
    if (member != json_->end() && !member->is_null()) found = &*member;
  } else if (json_ != nullptr) {
    refuse_kind("an object");
  }
  return {*this, key, 0, found};
}

std::size_t JsonFields::list_size() const {
  if (json_ == nullptr) return 0;
  if (json_->is_array()) return json_->size();
  refuse_kind("a list");
  return 0;
}

JsonFields JsonFields::item(std::size_t index) const { return {*this, {}, index, &(*json_)[index]}; }

std::vector<std::string> JsonFields::keys() const {
  std::vector<std::string> keys;
  if (json_ == nullptr) return keys;
  if (!json_->is_object()) refuse_kind("an object");
  if (json_->is_object())
    for (const auto& member : json_->items()) keys.push_back(member.key());
  return keys;
}

std::string JsonFields::text(std::string_view absent) const {
  if (json_ == nullptr) return std::string(absent);
  if (json_->is_string()) return json_->get<std::string>();
  refuse_kind(json_->is_primitive() ? "a text (put it in quotes)" : "a text");
  return {};
}

bool JsonFields::truth(bool absent) const {
  if (json_ == nullptr) return absent;
  if (json_->is_boolean()) return json_->get<bool>();
  refuse_kind("true or false");
  return absent;
}

std::int64_t JsonFields::number(std::int64_t low, std::int64_t high, std::int64_t absent) const {
  if (json_ == nullptr) return absent;
  const bool beyond = json_->is_number_unsigned() && json_->get<std::uint64_t>() > static_cast<std::uint64_t>(high);
  if (json_->is_number_integer() && !beyond) {
    const auto number = json_->get<std::int64_t>();
    if (number >= low && number <= high) return number;
  }
  refuse_kind(fmt::format("a whole number from {} to {}", low, high));
  return absent;
}

Texts JsonFields::texts() const {
  Texts texts;
  each_member([&](const std::string& key, const JsonFields& value) { texts.emplace(key, value.text()); });
  return texts;
}

std::string JsonFields::amount() const {
  if (json_ == nullptr) return {};
  if (json_->is_string()) return json_->get<std::string>();
  if (json_->is_number()) return number_text(*json_);
  refuse_kind("an amount such as 4, \"500m\" or \"2Gi\"");
  return {};
}

Texts JsonFields::amounts() const {
  Texts amounts;
  each_member([&](const std::string& key, const JsonFields& value) {
    if (value.present()) amounts.emplace(key, value.amount());
  });
  return amounts;
}

std::string JsonFields::path() const {
  if (parent_ == nullptr) return {};
  const std::string before = parent_->path();
  if (key_.empty()) return fmt::format("{}[{}]", before, index_);
  return before.empty() ? shown(key_) : fmt::format("{}.{}", before, shown(key_));
}

void JsonFields::refuse(std::string_view why) const {
  if (failed()) return;
  const std::string where = path();
  *error_ = Error{Errc::Invalid, where.empty() ? std::string(why) : fmt::format("{}: {}", where, why)};
}

void JsonFields::refuse_kind(std::string_view wanted) const {
  refuse(fmt::format("must be {}, not {}", wanted, described(*json_)));
}

}  // namespace kiboko
