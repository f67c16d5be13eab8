// Small text helpers: human sizes and times, splitting, numbers that must match whole, JSON-safe strings.
//
// Pure functions. Tables for terminals live in cli.
#pragma once

#include <charconv>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace kiboko {

std::string format_bytes(std::uint64_t bytes);      // "512 B", "4.0 GiB"
std::string format_duration(Nanoseconds duration);  // "850 ms", "12 s", "3 min 5 s", "2 h 4 min", "3 d 4 h"
std::string format_time(WallTime time);             // "2024-01-02T03:04:05Z"
std::string format_time_millis(WallTime time);      // "2024-01-02T03:04:05.067Z"

std::string_view trim(std::string_view text);                                // spaces, tabs and line ends of both sides
std::vector<std::string_view> split(std::string_view text, char separator);  // "a,,b" is three parts, "" is one
std::string to_lower(std::string_view text);                                 // ASCII

template <class Range>
std::string join(const Range& parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) {
    if (&part != &*std::begin(parts)) text += separator;
    text += part;
  }
  return text;
}

// The whole text must be the number: no sign for unsigned types, no spaces, no "12abc".
template <std::integral T>
Result<T> parse_integer(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) return fail(Errc::Invalid, "'{}' is too large", text);
  if (error != std::errc{} || end != text.data() + text.size())
    return fail(Errc::Invalid, "'{}' is not a whole number", text);
  return number;
}

// How many of the first bytes are whole UTF-8 characters: all of them, or where the first that is none begins.
std::size_t valid_utf8(std::string_view text);
// The text as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD.
std::string json_escape(std::string_view text);
// Control characters as \n, \t, \x1b: what is logged or shown stays on its line and moves no cursor.
std::string one_line(std::string_view text);

}  // namespace kiboko
