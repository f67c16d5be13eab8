// units.h. One scanner for "digits[.digits]unit"; the two byte syntaxes differ in their table of units only.
#include "region/units.h"

#include <cstddef>

namespace kiboko::region {
namespace {

using Wide = unsigned __int128;

struct Unit {
  const char* word;
  bool any_case;
  std::uint64_t factor;
};

constexpr std::uint64_t kKi = 1024, kMi = kKi << 10, kGi = kMi << 10, kTi = kGi << 10, kPi = kTi << 10, kEi = kPi << 10;

constexpr Unit kUnits[] = {
    {"", false, 1},
    {"B", false, 1},
    {"Ki", false, kKi},
    {"KiB", true, kKi},
    {"Mi", false, kMi},
    {"MiB", true, kMi},
    {"Gi", false, kGi},
    {"GiB", true, kGi},
    {"Ti", false, kTi},
    {"TiB", true, kTi},
    {"Pi", false, kPi},
    {"PiB", true, kPi},
    {"Ei", false, kEi},
    {"EiB", true, kEi},
    {"k", false, 1'000},
    {"kB", false, 1'000},
    {"M", false, 1'000'000},
    {"MB", false, 1'000'000},
    {"G", false, 1'000'000'000},
    {"GB", false, 1'000'000'000},
    {"T", false, 1'000'000'000'000},
    {"TB", false, 1'000'000'000'000},
    {"P", false, 1'000'000'000'000'000},
    {"PB", false, 1'000'000'000'000'000},
    {"E", false, 1'000'000'000'000'000'000},
    {"EB", false, 1'000'000'000'000'000'000},
};

constexpr Unit kHamiUnits[] = {{"", false, 1}, {"k", true, kKi}, {"m", true, kMi}, {"g", true, kGi}};

constexpr unsigned kFractionDigits = 18;  // more than any unit here can tell apart

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(const char* a, const char* b, bool any_case) {
  for (; *a != '\0' && *b != '\0'; ++a, ++b)
    if (any_case ? lower(*a) != lower(*b) : *a != *b) return false;
  return *a == *b;
}

template <std::size_t N>
const Unit* find_unit(const char* word, const Unit (&table)[N]) {
  for (const Unit& unit : table)
    if (same_word(word, unit.word, unit.any_case)) return &unit;
  return nullptr;
}

// What stands before the unit.
struct Number {
  std::uint64_t whole = 0;
  std::uint64_t fraction = 0;  // of `scale`
  std::uint64_t scale = 1;
  const char* rest = nullptr;
  UnitError error = UnitError::None;
};

UnitError no_number(const char* text) {
  if (text == nullptr || *text == '\0') return UnitError::Empty;
  if (*text == '-' && is_digit(text[1])) return UnitError::Negative;
  return UnitError::NotANumber;
}

Number scan_whole(const char* text) {
  Number number;
  if (text == nullptr || !is_digit(*text)) {
    number.error = no_number(text);
    return number;
  }
  Wide whole = 0;
  for (; is_digit(*text); ++text) {
    whole = whole * 10 + static_cast<unsigned>(*text - '0');
    if (whole <= UINT64_MAX) continue;
    number.error = UnitError::TooLarge;
    whole = UINT64_MAX;  // so that any number of digits stays in range
  }
  number.whole = static_cast<std::uint64_t>(whole);
  number.rest = text;
  return number;
}

Number scan_decimal(const char* text) {
  Number number = scan_whole(text);
  if (number.error == UnitError::Empty || number.error == UnitError::NotANumber || number.error == UnitError::Negative)
    return number;
  if (*number.rest != '.') return number;
  const char* digit = number.rest + 1;
  if (!is_digit(*digit)) number.error = UnitError::NotANumber;
  unsigned count = 0;
  for (; is_digit(*digit); ++digit) {
    if (count++ == kFractionDigits) number.error = UnitError::NotANumber;
    if (count > kFractionDigits) continue;
    number.fraction = number.fraction * 10 + static_cast<unsigned>(*digit - '0');
    number.scale *= 10;
  }
  number.rest = digit;
  return number;
}

ParsedBytes scaled(const Number& number, const Unit* unit) {
  if (unit == nullptr) return {0, UnitError::UnknownUnit};
  if (unit->factor == 1 && number.scale != 1) return {0, UnitError::NotANumber};  // a part of a byte
  const Wide bytes =
      static_cast<Wide>(number.whole) * unit->factor + static_cast<Wide>(number.fraction) * unit->factor / number.scale;
  if (bytes > UINT64_MAX) return {0, UnitError::TooLarge};
  return {static_cast<std::uint64_t>(bytes), UnitError::None};
}

}  // namespace

ParsedBytes parse_bytes(const char* text) {
  const Number number = scan_decimal(text);
  if (number.error != UnitError::None) return {0, number.error};
  return scaled(number, find_unit(number.rest, kUnits));
}

ParsedBytes parse_hami_bytes(const char* text) {
  const Number number = scan_whole(text);
  if (number.error != UnitError::None) return {0, number.error};
  return scaled(number, find_unit(number.rest, kHamiUnits));
}

ParsedPercent parse_percent(const char* text) {
  const Number number = scan_whole(text);
  if (number.error != UnitError::None) return {0, number.error};
  if (*number.rest == '.') return {0, UnitError::NotANumber};
  if (*number.rest != '\0' && !same_word(number.rest, "%", false)) return {0, UnitError::UnknownUnit};
  if (number.whole > 100) return {0, UnitError::TooLarge};
  return {static_cast<std::uint32_t>(number.whole), UnitError::None};
}

const char* describe(UnitError error) {
  switch (error) {
    case UnitError::None:
      return "is fine";
    case UnitError::Empty:
      return "is empty (write a number, such as 4GiB or 30)";
    case UnitError::NotANumber:
      return "is not a number (write digits, such as 4GiB, 1.5GiB or 30)";
    case UnitError::UnknownUnit:
      return "has an unknown unit (use KiB, MiB, GiB, TiB or k, M, G, T; % for shares)";
    case UnitError::TooLarge:
      return "is too large";
    case UnitError::Negative:
      return "is negative";
  }
  return "cannot be read";
}

}  // namespace kiboko::region
