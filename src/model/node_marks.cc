#include "model/node_marks.h"

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko {
namespace {

using namespace std::chrono;

// `pattern`: '0' stands for a digit, anything else for itself.
bool looks_like(std::string_view text, std::string_view pattern) {
  if (text.size() != pattern.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (pattern[i] == '0' ? !digit : text[i] != pattern[i]) return false;
  }
  return true;
}

int digits(std::string_view text, std::size_t at, std::size_t count) {
  int number = 0;
  for (std::size_t i = at; i < at + count; ++i) number = number * 10 + (text[i] - '0');
  return number;
}

// "YYYY?MM?DD?hh:mm:ss", known to look like one. Our clock counts nanoseconds, which end in 2262.
std::optional<sys_seconds> date_and_time(std::string_view text) {
  const year_month_day date{year{digits(text, 0, 4)}, month{static_cast<unsigned>(digits(text, 5, 2))},
                            day{static_cast<unsigned>(digits(text, 8, 2))}};
  const int hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (!date.ok() || date.year() < year{1900} || date.year() > year{2261} || hour > 23 || minute > 59 || second > 59)
    return std::nullopt;
  return sys_days{date} + hours{hour} + minutes{minute} + seconds{second};
}

std::optional<WallTime> local_time(std::string_view text, minutes utc_offset) {
  if (!looks_like(text, "0000-00-00 00:00:00") && !looks_like(text, "0000.00.00 00:00:00")) return std::nullopt;
  const auto local = date_and_time(text);
  if (!local) return std::nullopt;
  return WallTime{*local - utc_offset};
}

}  // namespace

Handshake parse_handshake(std::string_view text, minutes utc_offset) {
  // The order of the original: a text is first searched for "Requesting".
  if (text.find("Requesting") != std::string_view::npos || text.starts_with("Deleted")) {
    Handshake handshake{text.starts_with("Deleted") ? HandshakeState::Deleted : HandshakeState::Requesting, {}};
    if (const std::size_t at = text.find('_'); at != std::string_view::npos)
      handshake.since = local_time(text.substr(at + 1), utc_offset);
    return handshake;
  }
  return {text.starts_with("Reported") ? HandshakeState::Reported : HandshakeState::Other, {}};
}

std::string requesting_text(WallTime now, minutes utc_offset) {
  std::string text = format_time(now + utc_offset);
  text[10] = ' ';
  return "Requesting_" + text.substr(0, 19);
}

Result<WallTime> parse_rfc3339(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::Invalid, "'{}' is not a time such as 2024-01-02T03:04:05Z", shown(text));
  };
  if (text.size() < 20 || !looks_like(text.substr(0, 19), "0000-00-00T00:00:00")) return wrong();
  const auto seconds_part = date_and_time(text);
  if (!seconds_part) return wrong();
  WallTime time{*seconds_part};
  std::string_view rest = text.substr(19);
  if (rest.starts_with('.')) {
    std::size_t end = 1;
    std::int64_t nanoseconds_part = 0, unit = 100'000'000;
    for (; end < rest.size() && rest[end] >= '0' && rest[end] <= '9'; ++end, unit /= 10)
      nanoseconds_part += (rest[end] - '0') * unit;
    if (end == 1) return wrong();
    time += duration_cast<WallTime::duration>(nanoseconds{nanoseconds_part});
    rest.remove_prefix(end);
  }
  if (rest == "Z") return time;
  if (!looks_like(rest, "+00:00") && !looks_like(rest, "-00:00")) return wrong();
  const minutes offset{digits(rest, 1, 2) * 60 + digits(rest, 4, 2)};
  return rest.front() == '+' ? time - offset : time + offset;
}

Result<NodeLock> parse_node_lock(std::string_view text) {
  const auto fields = split(text, ',');
  if (fields.size() != 1 && fields.size() != 3)
    return fail(Errc::Invalid, "the lock '{}' is not TIME,NAMESPACE,POD", shown(text));
  NodeLock lock;
  lock.since = TRY(parse_rfc3339(fields[0]));
  if (fields.size() == 3) {
    lock.pod_namespace = fields[1];
    lock.pod = fields[2];
  }
  return lock;
}

std::string to_text(const NodeLock& lock) {
  const std::string time = format_time(lock.since);
  if (lock.pod_namespace.empty() && lock.pod.empty()) return time;
  return fmt::format("{},{},{}", time, lock.pod_namespace, lock.pod);
}

bool may_take(const NodeLock& lock, std::string_view pod_namespace, std::string_view pod, WallTime now,
              seconds expiry) {
  if (now - lock.since > expiry) return true;
  return !pod.empty() && lock.pod == pod && lock.pod_namespace == pod_namespace;
}

}  // namespace kiboko
