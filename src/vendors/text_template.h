// Texts with places to fill in: "${node}-mthreads-${i}", "${index}_${cores}_${memory / 256}", "${json(id)}".
//
// Plain value and pure functions. Between the braces stands a name, an expression whose names are numbers, or
//   json(NAME)         the value as a JSON string
//   member(KEY, NAME)  ,"KEY":"value" of a JSON object, nothing where the value is empty
//   number(KEY, NAME)  ,"KEY":value, nothing where it is 0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vendors/expression.h"

namespace kiboko::vendors {

using TextLookup = std::function<std::optional<std::string>(std::string_view name)>;

class TextTemplate {
 public:
  static Result<TextTemplate> parse(std::string_view text, const KnowsName& knows);
  // A name that has no value now is left empty; in an expression it is an error.
  Result<std::string> fill(const TextLookup& lookup) const;
  const std::string& text() const { return text_; }

 private:
  struct Part {
    enum class Form { Plain, Json, Member, Number };
    std::string literal, name;
    Form form = Form::Plain;
    std::string key;
    std::optional<Expression> expression;
  };
  static Result<Part> part_of(std::string_view text, std::string_view inside, const KnowsName& knows);
  static std::string shaped(const Part& part, const std::string& value);

  std::string text_;
  std::vector<Part> parts_;
};

}  // namespace kiboko::vendors
