// Kubernetes' objects out of a text, one at a time: a dump of a whole cluster is never one tree in memory.
//
// Whoever reads a text (JSON here, YAML elsewhere) tells the builder of its parts as they come; the builder hands over
// every finished object. The elements of a list (v1 List, PodList, …) are handed over one by one, each with kind and
// apiVersion, also where only the list names them. What is large and never needed (managed fields, a node's images) is
// passed over. One thread; memory is in proportion to the largest object.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace kiboko {

class ObjectBuilder {
 public:
  using Visit = std::function<Result<void>(const nlohmann::json& object)>;
  explicit ObjectBuilder(Visit visit) : visit_(std::move(visit)) {}

  // The parts of one document, in order. False: stop, error() says why.
  bool value(nlohmann::json value);
  bool begin_object() { return begin(nlohmann::json::value_t::object); }
  bool begin_list() { return begin(nlohmann::json::value_t::array); }
  bool key(const std::string& key);
  bool end();  // of the object or list that began last

  // What began last and has not ended; nullptr where it is passed over.
  const nlohmann::json* innermost() const { return open_.empty() || passed_over_ > 0 ? nullptr : open_.back(); }
  std::size_t depth() const { return open_.size() + passed_over_; }
  const Error& error() const { return error_; }
  bool stop(Error error);

 private:
  bool begin(nlohmann::json::value_t kind);
  nlohmann::json* put(nlohmann::json value);
  bool finish_item();
  bool finish_document();

  Visit visit_;
  Error error_;
  nlohmann::json root_;
  std::vector<nlohmann::json*> open_;  // outermost first
  std::string key_;                    // of the member that comes next
  std::size_t passed_over_ = 0;        // levels of what is passed over
  nlohmann::json* items_ = nullptr;    // the document's own list
};

inline constexpr std::size_t kMostObjectDepth = 64;

// Reads the JSON object that the text begins with and returns the rest of the text. Errors (Invalid) name the line, the
// text's first being `first_line`.
Result<std::string_view> read_json_object(std::string_view text, const ObjectBuilder::Visit& visit,
                                          std::size_t first_line = 1);

}  // namespace kiboko
