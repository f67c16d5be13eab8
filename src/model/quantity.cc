#include "model/quantity.h"

#include <cstddef>

#include "model/annotation.h"

namespace kiboko {
namespace {

using Wide = unsigned __int128;

struct Suffix {
  std::string_view text;
  std::uint64_t factor;  // 0: divides
  int decimals;          // of what divides
};
constexpr Suffix kSuffixes[] = {
    {"", 1, 0},
    {"k", 1'000, 0},
    {"M", 1'000'000, 0},
    {"G", 1'000'000'000, 0},
    {"m", 0, 3},
    {"u", 0, 6},
    {"n", 0, 9},
    {"T", 1'000'000'000'000, 0},
    {"Ki", 1ULL << 10, 0},
    {"Mi", 1ULL << 20, 0},
    {"Gi", 1ULL << 30, 0},
    {"Ti", 1ULL << 40, 0},
    {"Pi", 1ULL << 50, 0},
    {"Ei", 1ULL << 60, 0},
    {"P", 1'000'000'000'000'000, 0},
    {"E", 1'000'000'000'000'000'000, 0},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The number without its point, and where that stood.
struct Decimal {
  Wide digits = 0;
  int decimals = 0;
};

enum class Fraction { Refused, RoundedUp };

// Divides or multiplies by a power of ten; false when that leaves a fraction (if it is refused) or 2^100.
bool shift(Decimal& number, int tens, Fraction fraction) {
  number.decimals -= tens;
  for (; number.decimals > 0; --number.decimals) {
    const bool whole = number.digits % 10 == 0;
    if (!whole && fraction == Fraction::Refused) return false;
    number.digits = number.digits / 10 + (whole ? 0 : 1);
  }
  for (; number.decimals < 0 && number.digits != 0; ++number.decimals) {
    number.digits *= 10;
    if (number.digits >> 100U != 0) return false;
  }
  return true;
}

// `finer` is the power of ten by which the result counts in smaller units than the text.
Result<std::int64_t> parse(std::string_view text, int finer, Fraction fraction) {
  const auto wrong = [&](std::string_view why) { return fail(Errc::Invalid, "'{}' {}", shown(text), why); };
  std::string_view rest = text;
  if (rest.starts_with('-')) return wrong("is negative");
  if (rest.starts_with('+')) rest.remove_prefix(1);
  Decimal number;
  bool any = false, point = false;
  for (; !rest.empty() && (is_digit(rest.front()) || (rest.front() == '.' && !point)); rest.remove_prefix(1)) {
    if (rest.front() == '.') {
      point = true;
      continue;
    }
    any = true;
    number.digits = number.digits * 10 + static_cast<unsigned>(rest.front() - '0');
    if (point) ++number.decimals;
    if (number.digits >> 96U != 0) return wrong("is too large");
  }
  if (!any) return wrong("is not an amount (write a number such as 4, 3k or 2Gi)");
  int tens = 0;
  std::uint64_t factor = 1;
  if (rest.size() > 1 && (rest.front() == 'e' || rest.front() == 'E') && rest != "Ei") {
    rest.remove_prefix(1);
    const bool negative = rest.front() == '-';
    if (negative || rest.front() == '+') rest.remove_prefix(1);
    if (rest.empty() || rest.size() > 2) return wrong("has an exponent that is no number from -99 to 99");
    for (const char c : rest) {
      if (!is_digit(c)) return wrong("has an exponent that is no number from -99 to 99");
      tens = tens * 10 + (c - '0');
    }
    if (negative) tens = -tens;
  } else {
    const Suffix* suffix = nullptr;
    for (const Suffix& known : kSuffixes)
      if (known.text == rest) suffix = &known;
    if (suffix == nullptr) return wrong("has an unknown suffix (use k, M, G, T, P, E or Ki, Mi, Gi, Ti, Pi, Ei)");
    factor = suffix->factor == 0 ? 1 : suffix->factor;
    tens = -suffix->decimals;
  }
  if (number.digits >> 60U != 0 && factor > 1) return wrong("is too large");
  number.digits *= factor;
  if (!shift(number, tens + finer, fraction))
    return wrong(number.digits >> 96U != 0 ? "is too large" : "is not a whole number");
  if (number.digits > static_cast<Wide>(INT64_MAX)) return wrong("is too large");
  return static_cast<std::int64_t>(number.digits);
}

}  // namespace

Result<std::int64_t> parse_quantity(std::string_view text) { return parse(text, 0, Fraction::Refused); }
Result<std::int64_t> parse_milli_quantity(std::string_view text) { return parse(text, 3, Fraction::RoundedUp); }
Result<std::int64_t> parse_rounded_quantity(std::string_view text) { return parse(text, 0, Fraction::RoundedUp); }

}  // namespace kiboko
