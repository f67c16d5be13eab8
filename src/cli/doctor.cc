// `kiboko doctor`: what is well on this host and what is not, with the next step. First what the command line sees by
// itself, then what the agent says of itself.
#include <gnu/libc-version.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"
#include "cli/spawn.h"

namespace kiboko::cli {
namespace {

constexpr std::uint64_t kLittleSharedMemory = 64U << 20U;

CheckView well(std::string name, std::string sentence) { return {std::move(name), "well", std::move(sentence), {}}; }
CheckView notice(std::string name, std::string sentence, std::string next_step) {
  return {std::move(name), "notice", std::move(sentence), std::move(next_step)};
}
CheckView trouble(std::string name, std::string sentence, std::string next_step) {
  return {std::move(name), "trouble", std::move(sentence), std::move(next_step)};
}

CheckView check_versions(const MetaView& meta) {
  if (meta.version == KIBOKO_VERSION) return well("versions", fmt::format("kiboko and agent are {}", meta.version));
  return notice("versions", fmt::format("kiboko is {}, the agent {}", KIBOKO_VERSION, meta.version),
                "restart the agent after an update; running programs are not touched");
}

CheckView check_rights(const MetaView& meta, const std::string& socket) {
  struct stat found {};
  const bool others = ::stat(socket.c_str(), &found) == 0 && (found.st_mode & S_IWOTH) != 0;
  const std::string who = meta.manages_all ? "you manage all grants" : "you manage your own grants";
  if (::access(socket.c_str(), W_OK) != 0)
    return trouble("socket", socket + " may not be written by you", "ask for membership in the group kiboko");
  return well("socket", fmt::format("{}; {}{}", socket, who, others ? ", other users theirs" : ""));
}

CheckView check_driver(const MetaView& meta) {
  if (meta.simulated) return notice("devices", "simulated: programs run, nothing is computed", "");
  const auto version = read_file("/proc/driver/nvidia/version");
  if (!version)
    return notice("devices", "no NVIDIA kernel driver is loaded", "kiboko-agent --standalone --simulate H100");
  if (::access("/dev/nvidiactl", R_OK | W_OK) != 0)
    return trouble("devices", "/dev/nvidiactl may not be opened by you", "check the mode of /dev/nvidia*");
  return well("devices", std::string(trim(split(*version, '\n').front())));
}

CheckView check_library(const MetaView& meta) {
  if (meta.library.empty()) return notice("preload", "the agent names no library", "");
  const Result<void> loads = can_be_preloaded(meta.library);
  if (loads) return well("preload", meta.library + " loads into programs");
  return trouble("preload", loads.error().message, "programs would run without their limits: install Kiboko anew");
}

CheckView check_glibc() { return well("glibc", ::gnu_get_libc_version()); }

bool is_cgroup2(const char* path) {
  struct statfs found {};
  return ::statfs(path, &found) == 0 && found.f_type == CGROUP2_SUPER_MAGIC;
}

CheckView check_cgroups() {
  if (is_cgroup2("/sys/fs/cgroup")) return well("cgroup", "version 2");
  if (is_cgroup2("/sys/fs/cgroup/unified"))
    return well("cgroup", "version 1, with version 2 at /sys/fs/cgroup/unified");
  if (::access("/sys/fs/cgroup/devices", F_OK) == 0) return well("cgroup", "version 1");
  return notice("cgroup", "no control groups are mounted", "grants are held by process handles instead");
}

CheckView check_shared_memory() {
  struct statvfs found {};
  if (::statvfs("/dev/shm", &found) != 0 || ::access("/dev/shm", W_OK) != 0)
    return trouble("/dev/shm", "is missing or may not be written", "mount a tmpfs there, mode 1777");
  const std::uint64_t free = std::uint64_t{found.f_bavail} * found.f_frsize;
  if (free < kLittleSharedMemory)
    return notice("/dev/shm", fmt::format("only {} free", format_bytes(free)), "containers: --shm-size 256m or more");
  return well("/dev/shm", format_bytes(free) + " free");
}

std::vector<CheckView> examine(const Context& context) {
  std::vector<CheckView> checks;
  const auto agent = context.agent();
  if (!agent) {
    checks.push_back(trouble("agent", "none answers", agent.error().message));
  } else if (const auto json = (*agent)->json("GET", "/api/v1/meta"); !json) {
    checks.push_back(trouble("agent", json.error().message, "look at its log: journalctl -u kiboko-agent"));
  } else {
    const MetaView meta = read_meta_view(*json);
    checks.push_back(well("agent", fmt::format("answers on {}, {}", meta.host, meta.mode)));
    checks.push_back(check_versions(meta));
    checks.push_back(check_rights(meta, (*agent)->where()));
    checks.push_back(check_driver(meta));
    checks.push_back(check_library(meta));
  }
  for (const auto& check : {check_glibc(), check_cgroups(), check_shared_memory()}) checks.push_back(check);
  if (!agent) return checks;
  const auto rows = fetch_rows(**agent, "/api/v1/doctor", "checks");
  if (!rows) checks.push_back(trouble("agent's view", rows.error().message, ""));
  if (rows)
    for (const Json& row : *rows) {
      checks.push_back(read_check_view(row));
      checks.back().name = "agent: " + checks.back().name;
    }
  return checks;
}

std::string check_line(const Output& out, const CheckView& check) {
  struct Word {
    std::string_view health, shown;
    Style style;
  };
  constexpr Word kWords[] = {{"well", "ok  ", Style::Good}, {"notice", "warn", Style::Warning}};
  Word word{{}, "fail", Style::Bad};
  for (const Word& known : kWords)
    if (known.health == check.health) word = known;
  std::string text =
      fmt::format("{}  {:<24}{}\n", out.styled(word.style, word.shown), harmless(check.name), harmless(check.sentence));
  if (!check.next_step.empty())
    for (const std::string_view line : split(check.next_step, '\n')) text += fmt::format("{:<30}{}\n", "", line);
  return text;
}

Result<int> run(Context& context) {
  const std::vector<CheckView> checks = examine(context);
  bool failed = false;
  Json list = Json::array();
  for (const CheckView& check : checks) {
    failed = failed || (check.health != "well" && check.health != "notice");
    if (!context.as_json()) context.out.write(check_line(context.out, check));
    list.push_back({{"name", check.name},
                    {"health", check.health},
                    {"sentence", check.sentence},
                    {"next_step", check.next_step.empty() ? Json(nullptr) : Json(check.next_step)}});
  }
  if (context.as_json()) write_json(context.out, {{"well", !failed}, {"checks", std::move(list)}});
  return failed ? kNegative : kDone;
}

}  // namespace

extern const Command kDoctor;
constexpr Command kDoctor{.name = "doctor",
                          .summary = "what is well on this host and what is not, with the next step",
                          .listing = true,
                          .about = R"(
exit status: 0 if nothing fails (warnings do not count), 1 otherwise.)",
                          .examples = R"(
kiboko doctor
kiboko doctor -o json | jq '.checks[] | select(.health != "well")')",
                          .run = run};

}  // namespace kiboko::cli
