#include "model/pod_marks.h"

#include <charconv>

#include "model/annotation.h"

namespace kiboko {
namespace {

constexpr std::string_view kPhases[] = {"allocating", "success", "failed"};
constexpr std::int64_t kYear2200 = 7'258'118'400;

}  // namespace

std::string_view name(BindPhase phase) { return kPhases[static_cast<std::size_t>(phase)]; }

std::optional<BindPhase> parse_bind_phase(std::string_view text) {
  for (std::size_t i = 0; i < std::size(kPhases); ++i)
    if (kPhases[i] == text) return static_cast<BindPhase>(i);
  return std::nullopt;
}

std::string unix_seconds(WallTime time) {
  return std::to_string(std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count());
}

Result<WallTime> parse_unix_seconds(std::string_view text) {
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size() || seconds < 0 || seconds > kYear2200)
    return fail(Errc::Invalid, "'{}' is not a time in seconds since 1970", shown(text));
  return WallTime{std::chrono::seconds{seconds}};
}

}  // namespace kiboko
