#include "vendors/expression.h"

#include <algorithm>

#include "base/text.h"

namespace kiboko::vendors {
namespace {

constexpr std::size_t kMostText = 512;
constexpr int kMostDepth = 32;

bool is_name_character(char c, bool first) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') return true;
  return !first && ((c >= '0' && c <= '9') || c == '.');
}

struct Operator {
  std::string_view text;
  char op;
};
// By precedence, weakest first; of two that begin alike, the longer one first.
constexpr Operator kLevels[][6] = {{{"||", '|'}},
                                   {{"&&", '&'}},
                                   {{"==", '='}, {"!=", '!'}, {"<=", 'l'}, {">=", 'g'}, {"<", '<'}, {">", '>'}},
                                   {{"+", '+'}, {"-", '-'}},
                                   {{"*", '*'}, {"/", '/'}, {"%", '%'}}};
constexpr std::size_t kLevelCount = std::size(kLevels);

}  // namespace

class ExpressionParser {
 public:
  ExpressionParser(std::string_view text, const KnowsName& knows) : text_(text), knows_(knows) {}

  Result<std::vector<Expression::Node>> parse() {
    TRY(level(0));
    skip_space();
    if (at_ != text_.size()) return unexpected();
    return std::move(nodes_);
  }

 private:
  using Node = Expression::Node;
  using Kind = Node::Kind;

  tl::unexpected<Error> unexpected() const {
    if (at_ >= text_.size()) return fail(Errc::Invalid, "'{}' ends too early", text_);
    return fail(Errc::Invalid, "'{}': column {}: '{}' is not expected", text_, at_ + 1, text_.substr(at_, 1));
  }

  void skip_space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(std::string_view token) {
    skip_space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  std::size_t of_one(Kind kind, std::size_t part) { return add({kind, 0, 0, {}, {part}}); }
  std::size_t of_name(Kind kind, std::string name) { return add({kind, 0, 0, std::move(name), {}}); }
  std::size_t add(Node node) {
    nodes_.push_back(std::move(node));
    return nodes_.size() - 1;
  }

  // The operators of one level, from left to right.
  Result<std::size_t> level(std::size_t depth) {
    if (depth == kLevelCount) return unary();
    std::size_t left = TRY(level(depth + 1));
    for (;;) {
      const Operator* found = nullptr;
      for (const Operator& candidate : kLevels[depth])
        if (found == nullptr && !candidate.text.empty() && take(candidate.text)) found = &candidate;
      if (found == nullptr) return left;
      const std::size_t right = TRY(level(depth + 1));
      left = add({Kind::Binary, found->op, 0, {}, {left, right}});
    }
  }

  Result<std::size_t> unary() {
    if (++depth_ > kMostDepth) return fail(Errc::Invalid, "'{}' is nested too deep", text_);
    auto result = inner_unary();
    --depth_;
    return result;
  }

  Result<std::size_t> inner_unary() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '!' && !text_.substr(at_).starts_with("!=")) {
      ++at_;
      return of_one(Kind::Not, TRY(unary()));
    }
    if (take("-")) return of_one(Kind::Negate, TRY(unary()));
    if (take("(")) {
      const std::size_t inside = TRY(level(0));
      if (!take(")")) return unexpected();
      return inside;
    }
    if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') return number();
    return name_or_call();
  }

  Result<std::size_t> number() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    const auto value = TRY(parse_integer<std::int64_t>(text_.substr(begin, at_ - begin)));
    return add({Kind::Number, 0, value, {}, {}});
  }

  Result<std::string> word() {
    skip_space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name_character(text_[at_], at_ == begin)) ++at_;
    if (at_ == begin) return unexpected();
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<std::string> known_name() {
    std::string name = TRY(word());
    if (!knows_(name)) return fail(Errc::Invalid, "'{}': there is no '{}' here", text_, name);
    return name;
  }

  Result<std::size_t> name_or_call() {
    const std::size_t begin = at_;
    const std::string name = TRY(word());
    if (!take("(")) {
      if (!knows_(name)) return fail(Errc::Invalid, "'{}': column {}: there is no '{}' here", text_, begin + 1, name);
      return of_name(Kind::Name, name);
    }
    const std::size_t call = TRY(arguments_of(name));
    if (!take(")")) return unexpected();
    return call;
  }

  Result<std::size_t> arguments_of(const std::string& name) {
    if (name == "has") return of_name(Kind::Has, TRY(known_name()));
    if (name == "is") {
      const std::string trait = TRY(known_name());
      if (!take(",")) return unexpected();
      return of_name(Kind::Name, trait + "=" + TRY(word()));
    }
    static constexpr struct {
      std::string_view name;
      Kind kind;
      std::size_t least, most;
    } kCalls[] = {
        {"in", Kind::In, 2, 64}, {"min", Kind::Min, 2, 2}, {"max", Kind::Max, 2, 2}, {"bits", Kind::Bits, 1, 1}};
    for (const auto& known : kCalls) {
      if (known.name != name) continue;
      std::vector<std::size_t> parts;
      parts.push_back(TRY(level(0)));
      while (take(",")) parts.push_back(TRY(level(0)));
      if (parts.size() < known.least || parts.size() > known.most)
        return fail(Errc::Invalid, "'{}': {} does not take {} arguments", text_, name, parts.size());
      return add({known.kind, 0, 0, {}, parts});
    }
    return fail(Errc::Invalid, "'{}': there is no function '{}' (has, is, in, min, max, bits)", text_, name);
  }

  std::string_view text_;
  const KnowsName& knows_;
  std::vector<Node> nodes_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

Result<Expression> Expression::parse(std::string_view text, const KnowsName& knows) {
  if (text.size() > kMostText) return fail(Errc::Invalid, "the expression is longer than {} bytes", kMostText);
  Expression expression;
  expression.text_ = text;
  expression.nodes_ = TRY(ExpressionParser(expression.text_, knows).parse());
  return expression;
}

Expression Expression::constant(std::int64_t value) {
  Expression expression;
  expression.text_ = std::to_string(value);
  expression.nodes_ = {{Node::Kind::Number, 0, value, {}, {}}};
  return expression;
}

Result<std::int64_t> Expression::evaluate(const Lookup& lookup) const {
  if (nodes_.empty()) return fail(Errc::Internal, "an empty expression");
  return value_of(nodes_.size() - 1, lookup).map_error(about("'{}'", text_));
}

Result<std::int64_t> Expression::value_of(std::size_t at, const Lookup& lookup) const {
  const Node& node = nodes_[at];
  const auto part = [&](std::size_t i) { return value_of(node.parts[i], lookup); };
  switch (node.kind) {
    case Node::Kind::Number:
      return node.number;
    case Node::Kind::Name: {
      const auto value = lookup(node.name);
      if (value) return *value;
      if (node.name.find('=') != std::string::npos) return 0;
      return fail(Errc::Invalid, "{} is not known", node.name);
    }
    case Node::Kind::Has:
      return lookup(node.name).has_value() ? 1 : 0;
    case Node::Kind::Not:
      return TRY(part(0)) == 0 ? 1 : 0;
    case Node::Kind::Negate: {
      std::int64_t result = 0;
      if (__builtin_sub_overflow(std::int64_t{0}, TRY(part(0)), &result)) return fail(Errc::Invalid, "overflow");
      return result;
    }
    case Node::Kind::Binary:
      return binary(node, lookup);
    case Node::Kind::In: {
      const std::int64_t wanted = TRY(part(0));
      for (std::size_t i = 1; i < node.parts.size(); ++i)
        if (TRY(part(i)) == wanted) return 1;
      return 0;
    }
    case Node::Kind::Min:
      return std::min(TRY(part(0)), TRY(part(1)));
    case Node::Kind::Max:
      return std::max(TRY(part(0)), TRY(part(1)));
    case Node::Kind::Bits: {
      const std::int64_t count = TRY(part(0));
      if (count < 0 || count > 62) return fail(Errc::Invalid, "bits({}) has no place in 63 bits", count);
      return (std::int64_t{1} << count) - 1;
    }
  }
  return 0;
}

Result<std::int64_t> Expression::binary(const Node& node, const Lookup& lookup) const {
  const std::int64_t left = TRY(value_of(node.parts[0], lookup));
  // The right side may have no value where the left one decides.
  if (node.op == '&' && left == 0) return 0;
  if (node.op == '|' && left != 0) return 1;
  const std::int64_t right = TRY(value_of(node.parts[1], lookup));
  std::int64_t result = 0;
  bool overflow = false;
  switch (node.op) {
    case '+':
      overflow = __builtin_add_overflow(left, right, &result);
      break;
    case '-':
      overflow = __builtin_sub_overflow(left, right, &result);
      break;
    case '*':
      overflow = __builtin_mul_overflow(left, right, &result);
      break;
    case '/':
    case '%':
      if (right == 0) return fail(Errc::Invalid, "division by zero");
      if (left == INT64_MIN && right == -1) return fail(Errc::Invalid, "overflow");
      result = node.op == '/' ? left / right : left % right;
      break;
    case '<':
      return left < right ? 1 : 0;
    case '>':
      return left > right ? 1 : 0;
    case 'l':
      return left <= right ? 1 : 0;
    case 'g':
      return left >= right ? 1 : 0;
    case '=':
      return left == right ? 1 : 0;
    case '!':
      return left != right ? 1 : 0;
    default:
      return right != 0 ? 1 : 0;
  }
  if (overflow) return fail(Errc::Invalid, "overflow");
  return result;
}

}  // namespace kiboko::vendors
