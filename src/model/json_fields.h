// A reader of JSON that others wrote for others too: takes what it is asked for, passes over the rest, and names the
// way to what is wrong.
//
// Short-lived: lives on the stack of one reading function, beside the document and the error that it points to. The
// first error of all fields of one document is kept; what is read after it means nothing. Absent and null are the same.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/objects.h"

namespace kiboko {

class JsonFields {
 public:
  JsonFields(const nlohmann::json& document, std::optional<Error>& error) : json_(&document), error_(&error) {}

  // A member of an object. The parent must outlive it.
  JsonFields at(std::string_view key) const;
  // Calls visit(JsonFields) for each element of a list, visit(key, JsonFields) for each member of an object.
  template <class Visit>
  void each_item(Visit visit) const {
    for (std::size_t index = 0; index < list_size(); ++index) visit(item(index));
  }
  template <class Visit>
  void each_member(Visit visit) const {
    for (const std::string& key : keys()) visit(key, at(key));
  }

  bool present() const { return json_ != nullptr; }
  std::string text(std::string_view absent = {}) const;
  bool truth(bool absent = false) const;
  std::int64_t number(std::int64_t low, std::int64_t high, std::int64_t absent) const;
  Texts texts() const;  // an object of texts
  // A number or a text, as Kubernetes writes amounts; nothing when absent.
  std::string amount() const;
  Texts amounts() const;  // an object of such

  // An error about this field.
  void refuse(std::string_view why) const;
  bool failed() const { return error_->has_value(); }
  std::string path() const;  // "spec.containers[0].name"

 private:
  JsonFields(const JsonFields& parent, std::string_view key, std::size_t index, const nlohmann::json* json)
      : json_(json), error_(parent.error_), parent_(&parent), key_(key), index_(index) {}
  std::size_t list_size() const;
  JsonFields item(std::size_t index) const;
  std::vector<std::string> keys() const;
  void refuse_kind(std::string_view wanted) const;

  const nlohmann::json* json_;
  std::optional<Error>* error_;
  const JsonFields* parent_ = nullptr;
  std::string_view key_;   // in the parent
  std::size_t index_ = 0;  // where key_ is empty
};

// A JSON value as it can stand in an error: "'abc'", "the number 5", "a list".
std::string described(const nlohmann::json& json);

}  // namespace kiboko
