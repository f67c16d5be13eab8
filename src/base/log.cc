#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <iterator>
#include <memory>
#include <string>

#include "base/text.h"

namespace kiboko {
namespace {

struct LevelName {
  std::string_view name;
  LogLevel level;
  spdlog::level::level_enum spdlog_level;
};
constexpr LevelName kLevels[] = {
    {"debug", LogLevel::Debug, spdlog::level::debug},    {"info", LogLevel::Info, spdlog::level::info},
    {"warning", LogLevel::Warning, spdlog::level::warn}, {"error", LogLevel::Error, spdlog::level::err},
    {"off", LogLevel::Off, spdlog::level::off},
};

spdlog::level::level_enum spdlog_level(LogLevel level) { return kLevels[static_cast<std::size_t>(level)].spdlog_level; }

std::shared_ptr<spdlog::logger> make_logger(std::string_view program, LogLevel level) {
  auto logger =
      std::make_shared<spdlog::logger>(std::string(program), std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %-7l %n: %v", spdlog::pattern_time_type::utc);
  logger->set_level(spdlog_level(level));
  logger->flush_on(spdlog::level::debug);
  return logger;
}

// Replaced only by set_up_log, before main() starts threads.
std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance = make_logger("kiboko", LogLevel::Warning);
  return instance;
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view text) {
  for (const LevelName& known : kLevels)
    if (known.name == text) return known.level;
  return fail(Errc::Invalid, "'{}' is not a log level: use debug, info, warning, error or off", text);
}

void set_up_log(std::string_view program, LogLevel level) { logger() = make_logger(program, level); }

bool log::enabled(LogLevel level) { return logger()->should_log(spdlog_level(level)); }

void log::write(LogLevel level, fmt::string_view format, fmt::format_args args) {
  const std::string line = one_line(fmt::vformat(format, args));
  logger()->log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace kiboko
