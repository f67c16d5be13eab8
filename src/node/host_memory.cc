#include "node/host_memory.h"

#include <charconv>
#include <optional>

#include "base/file.h"

namespace kiboko {
namespace {

// "MemTotal:       24604328 kB"
std::optional<Bytes> line_of(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (!line.starts_with(name) || !line.ends_with(" kB")) continue;
    line.remove_prefix(std::min(line.find_first_not_of(' ', name.size()), line.size()));
    line.remove_suffix(3);
    std::uint64_t kib = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), kib);
    if (error != std::errc{} || end != line.data() + line.size() || kib > ~0ULL / 1024) return std::nullopt;
    return Bytes{kib * 1024};
  }
  return std::nullopt;
}

}  // namespace

Result<HostMemory> parse_host_memory(std::string_view meminfo) {
  const auto total = line_of(meminfo, "MemTotal:"), available = line_of(meminfo, "MemAvailable:");
  if (!total || !available) return fail(Errc::Invalid, "/proc/meminfo does not tell MemTotal and MemAvailable");
  return HostMemory{*total, *available};
}

Result<HostMemory> read_host_memory() { return parse_host_memory(TRY(read_file("/proc/meminfo"))); }

}  // namespace kiboko
