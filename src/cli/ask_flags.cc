#include "cli/ask_flags.h"

#include "base/text.h"
#include "region/units.h"

namespace kiboko::cli {
namespace {

constexpr std::string_view kMemoryExample = "write it like 4GiB, 512MiB, 4GB (10^9 bytes) or 25%";
// Nothing runs in less, so a smaller number is a forgotten unit.
constexpr Bytes kLeastMemory = 1_MiB;

Result<std::uint32_t> read_percent(std::string_view flag, const std::string& text, std::string_view example) {
  const region::ParsedPercent parsed = region::parse_percent(text.c_str());
  if (parsed.error != region::UnitError::None)
    return fail(Errc::Invalid, "--{}: '{}' {}; {}", flag, text, region::describe(parsed.error), example);
  if (parsed.percent < 1 || parsed.percent > 100)
    return fail(Errc::Invalid, "--{}: '{}' is not between 1 and 100 percent; {}", flag, text, example);
  return parsed.percent;
}

Result<std::uint32_t> read_count(const std::string& text) {
  const auto count = parse_integer<std::uint32_t>(text);
  if (!count || *count < 1 || *count > kMaxAskDevices)
    return fail(Errc::Invalid, "--count: '{}' is not a number of devices from 1 to {}", text, kMaxAskDevices);
  return *count;
}

std::vector<std::string> read_devices(const std::vector<std::string>& given) {
  std::vector<std::string> devices;
  for (const std::string& value : given)
    for (const std::string_view part : split(value, ',')) devices.emplace_back(trim(part));
  return devices;
}

Result<void> check_exclusive(const Given& given) {
  for (const std::string_view flag : {"memory", "cores"})
    if (given.has(flag))
      return fail(Errc::Invalid, "--exclusive gives the whole device: leave out --{}, or leave out --exclusive", flag);
  return {};
}

}  // namespace

Result<Amount> read_memory(const std::string& text) {
  if (text.ends_with('%')) return Amount{std::nullopt, TRY(read_percent("memory", text, kMemoryExample))};
  const region::ParsedBytes parsed = region::parse_bytes(text.c_str());
  if (parsed.error != region::UnitError::None)
    return fail(Errc::Invalid, "--memory: '{}' {}; {}", text, region::describe(parsed.error), kMemoryExample);
  if (parsed.bytes < kLeastMemory.count)
    return fail(Errc::Invalid, "--memory: '{}' is {} bytes, too little for any program; {}", text, parsed.bytes,
                kMemoryExample);
  return Amount{Bytes{parsed.bytes}, std::nullopt};
}

Result<CorePercent> read_cores(const std::string& text) {
  return CorePercent{TRY(read_percent("cores", text, "write it like 30 or 30%"))};
}

Result<Ask> read_ask(const Given& given) {
  Ask ask;
  if (const auto memory = given.value("memory")) {
    const Amount amount = TRY(read_memory(*memory));
    ask.memory = amount.bytes;
    ask.memory_percent = amount.percent;
  }
  if (const auto cores = given.value("cores")) ask.cores = TRY(read_cores(*cores));
  if (const auto count = given.value("count")) ask.count = TRY(read_count(*count));
  ask.devices = read_devices(given.values("device"));
  for (const std::string& device : ask.devices)
    if (device.empty()) return fail(Errc::Invalid, "--device: empty; write an index (0) or a UUID (GPU-…)");
  ask.type = given.value("type").value_or("");
  ask.priority = given.value("priority") == "low" ? Priority::Low : Priority::High;
  const auto policy = given.value("policy");
  ask.policy = policy == "force"     ? CorePolicy::Force
               : policy == "disable" ? CorePolicy::Disable
               : policy == "elastic" ? CorePolicy::Elastic
                                     : CorePolicy::Default;
  ask.exclusive = given.has("exclusive");
  if (ask.exclusive) TRY(check_exclusive(given));
  return ask;
}

}  // namespace kiboko::cli
