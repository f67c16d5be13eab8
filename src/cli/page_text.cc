#include "cli/page_text.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/file.h"
#include "base/text.h"
#include "region/grant_page.h"

namespace kiboko::cli {
namespace {

using region::GrantPage;

constexpr const char* kPolicies[] = {"default", "force", "disable", "elastic"};

std::string text_of(const char* bytes, std::size_t size) { return one_line({bytes, ::strnlen(bytes, size)}); }

std::string device_lines(const GrantPage& page, const region::GrantSettings& settings, std::size_t i,
                         std::uint64_t now_ns) {
  const auto& identity = page.identity.devices[i];
  const auto& limits = settings.devices[i];
  const auto& live = page.live.devices[i];
  std::string text = fmt::format(
      "  {}  {} physical, limit {}, cores {}\n", text_of(identity.uuid, sizeof identity.uuid),
      format_bytes(identity.physical_bytes), limits.limit_bytes == 0 ? "none" : format_bytes(limits.limit_bytes),
      limits.core_percent == 0 ? "without a limit" : fmt::format("{} %", limits.core_percent));
  if (const std::uint32_t rate = live.rate_permyriad.load())
    text += fmt::format("    rate now {:.2f} %\n", rate / 100.0);
  if (live.contended_until_ns.load() > now_ns) text += "    others use the device, too\n";
  if (live.blocked.load() != 0) text += "    blocked: nothing new is launched\n";
  if (const std::int64_t extra = live.correction_bytes.load(); extra > 0)
    text += fmt::format("    {} on the device that no process of the grant charged\n",
                        format_bytes(static_cast<std::uint64_t>(extra)));
  return text;
}

}  // namespace

Result<std::string> page_text(const std::string& path, std::uint64_t now_ns) {
  const UniqueFd file = TRY(open_file(path, O_RDONLY | O_NOFOLLOW));
  const std::string bytes = TRY(read_file(file.get(), path, region::kGrantPageBytes));
  region::PageError error{};
  // Checked as it lies in a page of ours: the file may change under us.
  const auto page = std::make_unique<GrantPage>();
  std::memcpy(static_cast<void*>(page.get()), bytes.data(), std::min(bytes.size(), sizeof(GrantPage)));
  if (!region::check_grant_page(page.get(), bytes.size(), &error)) return fail(Errc::Invalid, "{}", error.text);
  region::GrantSettings settings{};
  if (!region::read_settings(*page, &settings)) return fail(Errc::Unavailable, "{}: its settings do not verify", path);
  const std::uint64_t heartbeat = page->live.heartbeat_ns.load();
  std::string text =
      fmt::format("page version {}, generation {}, policy {}, priority {}, agent's heartbeat {}\n",
                  page->identity.version, page->live.generation.load(),
                  kPolicies[std::min<std::uint32_t>(settings.core_policy, 3)], settings.priority == 0 ? "high" : "low",
                  heartbeat == 0 || heartbeat > now_ns
                      ? "not seen"
                      : format_duration(Nanoseconds(static_cast<std::int64_t>(now_ns - heartbeat))) + " ago");
  if (page->live.suspended.load() != 0) text += "suspended: nothing new is launched or copied\n";
  for (std::size_t i = 0; i < page->identity.device_count; ++i) text += device_lines(*page, settings, i, now_ns);
  return text;
}

}  // namespace kiboko::cli
