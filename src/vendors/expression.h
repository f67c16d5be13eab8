// Arithmetic and conditions in profiles: "capacity(cores) / 16", "has(count) && count > 1", "in(memory, 2, 4, 8)".
//
// Plain value and pure functions. Whole numbers of 64 bits; true is 1. Overflow and division by zero are errors, never
// wrong numbers. There are no loops: an expression costs at most what its text is long.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace kiboko::vendors {

// The value of a name, or nothing where it has none now. `is(trait, word)` asks for "trait=word".
using Lookup = std::function<std::optional<std::int64_t>(std::string_view name)>;
using KnowsName = std::function<bool(std::string_view name)>;

class Expression {
 public:
  // Errors name the column. A name that `knows` does not know is an error here, not when it is evaluated.
  static Result<Expression> parse(std::string_view text, const KnowsName& knows);
  static Expression constant(std::int64_t value);

  // Functions: has(NAME), is(NAME, WORD), in(X, A, B, …), min(A, B), max(A, B), bits(N) = 2^N - 1.
  Result<std::int64_t> evaluate(const Lookup& lookup) const;
  const std::string& text() const { return text_; }

 private:
  friend class ExpressionParser;
  struct Node {
    enum class Kind { Number, Name, Has, Not, Negate, Binary, In, Min, Max, Bits };
    Kind kind = Kind::Number;
    char op = 0;  // of Binary: + - * / % < > l(<=) g(>=) = ! & |
    std::int64_t number = 0;
    std::string name;
    std::vector<std::size_t> parts;
  };
  Result<std::int64_t> value_of(std::size_t at, const Lookup& lookup) const;
  Result<std::int64_t> binary(const Node& node, const Lookup& lookup) const;

  std::string text_;
  std::vector<Node> nodes_;  // the last one is the whole
};

}  // namespace kiboko::vendors
