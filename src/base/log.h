// The program's log: one line an event, on standard error.
//
// main() calls set_up_log once; until then, warnings and errors are printed. Callable from any thread. A line break or
// control character in a message is escaped, so that what a tenant sends cannot forge a line. Never pass a secret.
#pragma once

#include <fmt/core.h>

#include <string_view>

#include "base/result.h"

namespace kiboko {

enum class LogLevel { Debug, Info, Warning, Error, Off };

// "debug", "info", "warning", "error" or "off".
Result<LogLevel> parse_log_level(std::string_view text);
void set_up_log(std::string_view program, LogLevel level);

namespace log {

bool enabled(LogLevel level);
void write(LogLevel level, fmt::string_view format, fmt::format_args args);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::Debug)) write(LogLevel::Debug, format, fmt::make_format_args(args...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::Info)) write(LogLevel::Info, format, fmt::make_format_args(args...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::Warning)) write(LogLevel::Warning, format, fmt::make_format_args(args...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::Error)) write(LogLevel::Error, format, fmt::make_format_args(args...));
}

}  // namespace log
}  // namespace kiboko
