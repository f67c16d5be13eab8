// Result, Error and the ways to make, pass on and prefix an error.
//
// Plain values: copy, move and return them freely, from any thread. Whatever a caller can act on is a Result; an
// exception never crosses a folder. How a code becomes an HTTP status or an exit code is decided where those are made.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace kiboko {

enum class Errc {
  Invalid,      // the request is wrong and will stay wrong
  NotFound,     // what it names does not exist
  Conflict,     // it clashes with the present state: does not fit now, exists already
  Forbidden,    // who asks may not: host mode tells users apart by peer credentials
  Unavailable,  // something we need does not answer; trying again may help
  Internal,     // our own fault
};

// The code's name in JSON and logs: "invalid", "not_found", …
constexpr std::string_view name(Errc code) {
  constexpr std::string_view kNames[] = {"invalid", "not_found", "conflict", "forbidden", "unavailable", "internal"};
  return kNames[static_cast<std::size_t>(code)];
}

struct Error {
  Errc code = Errc::Internal;
  std::string message;
  bool operator==(const Error&) const = default;
};

template <class T>
using Result = tl::expected<T, Error>;

// `return fail(Errc::Invalid, "slot '{}' is not a number", text);` in any function that returns a Result.
template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(Errc code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The same for a failed system call: appends the text of `saved_errno` and picks the code from it.
[[nodiscard]] tl::unexpected<Error> fail_errno(int saved_errno, std::string_view what);

// For map_error: prefixes the message with what it is about. `parse(text).map_error(about("pod {}", name))`.
template <class... Args>
[[nodiscard]] auto about(fmt::format_string<Args...> format, Args&&... args) {
  return [prefix = fmt::format(format, std::forward<Args>(args)...)](Error error) {
    error.message = prefix + ": " + error.message;
    return error;
  };
}

namespace detail {
template <class T>
T take(Result<T>& result) {
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace detail

}  // namespace kiboko

// The value of a Result, or return its error from the enclosing function. Not inside a coroutine (g++ 12 crashes on a
// statement expression there): test the Result by hand. Nor inside braces, T{a, TRY(b)}: the members built before it
// are leaked when it returns.
#define KIBOKO_TRY_NAMED(name, ...)                                               \
  ({                                                                              \
    auto name = (__VA_ARGS__);                                                    \
    if (!name) return ::tl::unexpected<::kiboko::Error>(std::move(name).error()); \
    ::kiboko::detail::take(name);                                                 \
  })
#define KIBOKO_TRY_NUMBERED(number, ...) KIBOKO_TRY_NAMED(kiboko_try_##number, __VA_ARGS__)
#define KIBOKO_TRY_COUNTED(number, ...) KIBOKO_TRY_NUMBERED(number, __VA_ARGS__)
#define TRY(...) KIBOKO_TRY_COUNTED(__COUNTER__, __VA_ARGS__)
