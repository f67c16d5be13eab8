// kiboko-sim: makes, shows, disturbs and removes sets of simulated devices.
//
// Every command attaches to the set's shared memory, does one thing and ends; nothing stays behind. Exit codes: 0 done,
// 1 could not, and what CLI11 gives for wrong usage.
#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nvml_state.h"
#include "tool_figures.h"

namespace sim::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(What the figures mean
  busy   time during which at least one kernel of the process ran while the process held the device, from the device's
         own log, exact to the nanosecond. The log counts per millisecond of the clock, so an interval is narrowed to
         whole milliseconds; "since" and "until" of --json tell which were counted.
  pid    as the caller's pid namespace counts; of a process that it cannot see, the pid in the process's own namespace
         ("namespace_pid" of --json).
  share  busy / length of the interval. The log keeps 32 s: an interval may not begin earlier.
  worst 1 s error  the largest |share - target| of any stretch of one second (one begins every 50 ms) inside the
         interval during which the process was on the device; "--settle" leaves out the time after its arrival.
Times are nanoseconds of CLOCK_MONOTONIC ("kiboko-sim now"). Durations: 10s, 100ms, 250us, 2m.

Devices (SPEC of create): "2xH100-80GB,1xA10-24GB", or the path of a YAML file.
The set is chosen by --set, else KIBOKO_SIM, else "default".)";

struct Failure {
  std::string message;
};
[[noreturn]] void fail(std::string message) { throw Failure{std::move(message)}; }

struct Options {
  std::string set;
  bool json = false;
  std::string name, spec;  // create, remove
  bool keep = false, force = false;
  std::string device;  // index or identifier; empty = all
  std::string window = "10s", settle = "0s", every = "1s";
  std::uint64_t since = 0, until = 0;
  double target = -1;
  std::int32_t pid = 0;
  double seconds = 0;
  std::uint64_t xid = kXidDeviceLost;
};

std::string environment_or(const char* name, const char* fallback) {
  const char* value = getenv(name);
  return value == nullptr || *value == 0 ? fallback : value;
}

std::uint64_t duration(const std::string& option, const std::string& text) {
  const auto ns = parse_duration(text);
  if (!ns || *ns == 0) fail(fmt::format("--{} {}: not a duration; write for example 10s or 100ms", option, text));
  return *ns;
}

Shared& open_set(const std::string& name) {
  if (access(path_of(name).c_str(), F_OK) != 0) {
    fail(fmt::format("there is no device set \"{}\" ({}); make one with: kiboko-sim create {} 1xH100-80GB", name,
                     path_of(name), name));
  }
  std::string error;
  Shared* shared = attach(name, "", error);
  if (shared == nullptr) fail(error);
  return *shared;
}

ManagementState& open_management(const std::string& name) {
  std::string error;
  ManagementState* state = attach_management(name, error);
  if (state == nullptr) fail(error);
  return *state;
}

// The devices that --device (or an argument) names.
std::vector<int> chosen(const Shared& shared, const std::string& text) {
  std::vector<int> all;
  for (int i = 0; i < static_cast<int>(shared.device_count); ++i) {
    const std::string uuid = uuid_text(shared.devices[i].uuid);
    if (text.empty() || text == std::to_string(i) || strcasecmp(uuid.c_str(), text.c_str()) == 0) all.push_back(i);
  }
  if (all.empty()) {
    fail(fmt::format("no device \"{}\" in this set: give an index from 0 to {} or a GPU-… identifier", text,
                     shared.device_count - 1));
  }
  return all;
}

std::vector<std::string> all_sets() {
  std::vector<std::string> names;
  constexpr std::string_view kPrefix = "kiboko-sim-";
  DIR* folder = opendir("/dev/shm");
  while (const dirent* entry = folder == nullptr ? nullptr : readdir(folder)) {
    const std::string_view file = entry->d_name;
    const bool is_set =
        file.starts_with(kPrefix) && !file.starts_with("kiboko-sim-mem-") && file.find('.') == std::string_view::npos;
    if (is_set) names.emplace_back(file.substr(kPrefix.size()));
  }
  if (folder != nullptr) closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

// --- list ------------------------------------------------------------------------------------------------------------

Json describe(Shared& shared, ManagementState& state, int index) {
  const Device& device = shared.devices[index];
  const MemoryUse memory = memory_use(shared, index);
  const std::uint64_t now = now_ns();
  const double busy = static_cast<double>(device_busy_ns(shared, index, now - kSecond, now));
  return {{"index", index},
          {"product", device.product},
          {"name", device.name},
          {"uuid", uuid_text(device.uuid)},
          {"pci", fmt::format("{:08X}:{:02X}:{:02X}.0", device.pci_domain, device.pci_bus, device.pci_slot)},
          {"numa", device.numa_node},
          {"memory_total", memory.total},
          {"memory_reserved", memory.reserved},
          {"memory_used", memory.used},
          {"busy_percent_1s", busy * 100 / kSecond},
          {"busy_ns_total", device.busy.total_ns.load()},
          {"processes", processes_of(shared, index).size()},
          {"healthy", state.devices[index].lost.load() == 0}};
}

void list(const Options& options) {
  const bool one = !options.set.empty();
  const std::vector<std::string> sets = one ? std::vector<std::string>{options.set} : all_sets();
  Json all = Json::array();
  for (const std::string& name : sets) {
    Shared& shared = open_set(name);
    ManagementState& state = open_management(name);
    Json devices = Json::array();
    for (const int index : chosen(shared, "")) devices.push_back(describe(shared, state, index));
    all.push_back({{"set", name}, {"path", path_of(name)}, {"devices", devices}});
  }
  if (options.json) return fmt::print("{}\n", all.dump(2));
  if (all.empty()) fmt::print("no device sets; make one with: kiboko-sim create default 1xH100-80GB\n");
  for (const Json& set : all) {
    fmt::print("{} ({})\n", set["set"].get<std::string>(), set["path"].get<std::string>());
    for (const Json& d : set["devices"]) {
      fmt::print("  {}  {:<26} {}  {:>6}/{} MiB  {:>3.0f} %  {} processes{}\n", d["index"].get<int>(),
                 d["name"].get<std::string>(), d["uuid"].get<std::string>(),
                 d["memory_used"].get<std::uint64_t>() / kMiB, d["memory_total"].get<std::uint64_t>() / kMiB,
                 d["busy_percent_1s"].get<double>(), d["processes"].get<int>(),
                 d["healthy"].get<bool>() ? "" : "  UNHEALTHY");
    }
  }
}

// --- making and removing ---------------------------------------------------------------------------------------------

void create(const Options& options) {
  if (access(path_of(options.name).c_str(), F_OK) == 0 && !options.keep) {
    fail(fmt::format("device set \"{}\" exists; remove it first, or pass --keep to leave it as it is", options.name));
  }
  std::string error;
  const Shared* shared = attach(options.name, options.spec, error);
  if (shared == nullptr) fail(error);
  open_management(options.name);
  fmt::print("{}: {} devices at {}\n", options.name, shared->device_count, path_of(options.name));
}

void remove_set(const Options& options) {
  Shared& shared = open_set(options.name);
  const std::size_t live = processes_on(shared);
  if (live > 0 && !options.force) {
    fail(fmt::format("device set \"{}\" has {} processes on it; end them first, or pass --force", options.name, live));
  }
  std::string error;
  if (!remove_files(options.name, shared, error)) fail(error);
}

// --- shares ----------------------------------------------------------------------------------------------------------

Request request_of(const Options& options) {
  Request request{};
  const std::uint64_t now = now_ns();
  request.interval.to = whole_milliseconds({0, options.until != 0 ? options.until : now}).to;
  request.interval.from = options.since != 0 ? whole_milliseconds({options.since, 0}).from
                                             : request.interval.to - duration("window", options.window);
  if (request.interval.from >= request.interval.to) fail("the interval is empty: --since must lie before its end");
  if (request.interval.to > now)
    fail("the interval ends in the future: --until is CLOCK_MONOTONIC, see kiboko-sim now");
  if (now - request.interval.from >= kLogNs) {
    fail("the interval begins more than 32 s ago, and the log keeps 32 s; ask more often, or use busy_ns_total");
  }
  if (options.target >= 0) request.target_percent = options.target;
  if (options.pid != 0) request.pid = options.pid;
  request.settle_ns = parse_duration(options.settle).value_or(0);
  return request;
}

Json json_of(const Figure& f) {
  Json json = {{"pid", f.pid},         {"namespace_pid", f.namespace_pid}, {"alive", f.alive},
               {"command", f.command}, {"memory_bytes", f.memory_bytes},   {"busy_ns_total", f.busy_ns_total},
               {"busy_ns", f.busy_ns}, {"share_percent", f.share_percent}};
  if (f.error_points) json["error_points"] = *f.error_points;
  if (f.worst_1s_error_points) json["worst_1s_error_points"] = *f.worst_1s_error_points;
  return json;
}

void print_figure(const Figure& f) {
  fmt::print("{:>6} {:>8} {:<5} {:<16} {:>10.1f} {:>14.3f} {:>12.3f} {:>8.2f}", f.device, f.pid,
             f.alive ? "live" : "dead", f.command, static_cast<double>(f.memory_bytes) / kMiB,
             static_cast<double>(f.busy_ns_total) / 1e6, static_cast<double>(f.busy_ns) / 1e6, f.share_percent);
  if (f.error_points) fmt::print(" {:>+8.2f}", *f.error_points);
  if (f.error_points && !f.worst_1s_error_points) fmt::print(" {:>8}", "-");
  if (f.worst_1s_error_points) fmt::print(" {:>8.2f}", *f.worst_1s_error_points);
  fmt::print("\n");
}

void busy(const Options& options) {
  Shared& shared = open_set(options.set);
  const Request request = request_of(options);
  Json devices = Json::array();
  if (!options.json) {
    fmt::print("{:>6} {:>8} {:<5} {:<16} {:>10} {:>14} {:>12} {:>8}{}\n", "device", "pid", "state", "command",
               "memory MiB", "busy ever ms", "busy ms", "share %", request.target_percent ? "  error    worst 1s" : "");
  }
  for (const int index : chosen(shared, options.device)) {
    const std::vector<Figure> found = figures(shared, index, request);
    const std::uint64_t all = device_busy_ns(shared, index, request.interval.from, request.interval.to);
    const double share =
        100.0 * static_cast<double>(all) / static_cast<double>(request.interval.to - request.interval.from);
    Json processes = Json::array();
    for (const Figure& figure : found) {
      if (options.json) processes.push_back(json_of(figure));
      if (!options.json) print_figure(figure);
    }
    if (!options.json) {
      fmt::print("{:>6} {:>8} {:<5} {:<16} {:>10} {:>14} {:>12.3f} {:>8.2f}\n", index, "-", "", "(all)", "", "",
                 static_cast<double>(all) / 1e6, share);
    }
    devices.push_back({{"device", index},
                       {"uuid", uuid_text(shared.devices[index].uuid)},
                       {"busy_ns", all},
                       {"share_percent", share},
                       {"processes", processes}});
  }
  if (!options.json) return;
  const Json out = {{"since", request.interval.from}, {"until", request.interval.to}, {"devices", devices}};
  fmt::print("{}\n", out.dump(2));
}

void sleep_until(std::uint64_t ns) {
  const timespec at{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

// Ticks fall on multiples of the period after the start, so nothing is counted twice or left out between them.
void watch(const Options& options) {
  Shared& shared = open_set(options.set);
  const std::uint64_t every = duration("every", options.every);
  if (every >= kLogNs || every % kBucketNs != 0) fail("--every must be whole milliseconds and less than 32 s");
  const std::uint64_t start = whole_milliseconds({now_ns(), 0}).from;
  const auto end = start + static_cast<std::uint64_t>(options.seconds * kSecond);
  fmt::print("monotonic_ns,device,pid,command,alive,share_percent,busy_ns,memory_bytes\n");
  for (std::uint64_t tick = start + every; options.seconds <= 0 || tick <= end; tick += every) {
    sleep_until(tick);
    for (const int index : chosen(shared, options.device)) {
      for (const Figure& f :
           figures(shared, index, {.interval = {tick - every, tick}, .target_percent = {}, .pid = {}})) {
        if (!f.alive && f.busy_ns == 0) continue;
        fmt::print("{},{},{},{},{},{:.3f},{},{}\n", tick, index, f.pid, f.command, f.alive ? 1 : 0, f.share_percent,
                   f.busy_ns, f.memory_bytes);
      }
    }
    fflush(stdout);
  }
}

// --- health ----------------------------------------------------------------------------------------------------------

void inject_xid(const Options& options) {
  const Shared& shared = open_set(options.set);
  for (const int index : chosen(shared, options.device)) {
    post_event(open_management(options.set), index, kEventXid, options.xid);
  }
}

void set_health(const Options& options, bool healthy) {
  const Shared& shared = open_set(options.set);
  ManagementState& state = open_management(options.set);
  for (const int index : chosen(shared, options.device)) {
    state.devices[index].lost = healthy ? 0 : 1;
    if (!healthy) post_event(state, index, kEventXid, options.xid);
  }
}

// --- command line ----------------------------------------------------------------------------------------------------

int run(int argc, char** argv) {
  CLI::App app{"Makes, shows, disturbs and removes sets of simulated devices.", "kiboko-sim"};
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  Options options;
  const std::string from_environment = environment_or("KIBOKO_SIM", "");
  options.set = from_environment;
  app.add_option("--set", options.set, "device set: a name, or a path");
  const auto use_default_set = [&] { options.set = options.set.empty() ? "default" : options.set; };

  auto* list_command = app.add_subcommand("list", "the devices of a set, or of all sets if none is chosen");
  list_command->add_flag("--json", options.json);
  list_command->callback([&] { list(options); });

  auto* create_command = app.add_subcommand("create", "makes a set");
  create_command->add_option("NAME", options.name)->required();
  create_command->add_option("SPEC", options.spec, "2xH100-80GB,1xA10-24GB, or a YAML file")->required();
  create_command->add_flag("--keep", options.keep, "succeed if the set exists, and leave it as it is");
  create_command->callback([&] { create(options); });

  auto* remove_command = app.add_subcommand("remove", "removes a set; programs that use it keep their view of it");
  remove_command->add_option("NAME", options.name)->required();
  remove_command->add_flag("--force", options.force, "although processes are on it");
  remove_command->callback([&] { remove_set(options); });

  auto* busy_command = app.add_subcommand("busy", "per process: busy time, share of an interval, memory");
  busy_command->add_option("--device", options.device, "index or identifier; all if left out");
  busy_command->add_option("--pid", options.pid, "only this process");
  busy_command->add_option("--window", options.window, "length of the interval that ends now")->capture_default_str();
  busy_command->add_option("--since", options.since, "begin of the interval, ns of CLOCK_MONOTONIC");
  busy_command->add_option("--until", options.until, "its end; now if left out");
  busy_command->add_option("--target", options.target, "percent: adds the error, and the worst error over 1 s");
  busy_command->add_option("--settle", options.settle, "no worst second this soon after a process came");
  busy_command->add_flag("--json", options.json);
  busy_command->callback([&] { use_default_set(), busy(options); });

  auto* watch_command = app.add_subcommand("watch", "shares as CSV, one line per process and period");
  watch_command->add_option("--device", options.device, "index or identifier; all if left out");
  watch_command->add_option("--every", options.every, "the period")->capture_default_str();
  watch_command->add_option("--seconds", options.seconds, "end after this long; never if left out");
  watch_command->callback([&] { use_default_set(), watch(options); });

  auto* xid_command = app.add_subcommand("xid", "reports an error code to whoever waits for device events");
  xid_command->add_option("DEVICE", options.device)->required();
  xid_command->add_option("CODE", options.xid)->required();
  xid_command->callback([&] { use_default_set(), inject_xid(options); });

  auto* lose_command =
      app.add_subcommand("unhealthy", "the device falls off the bus: queries fail, an Xid is reported");
  lose_command->add_option("DEVICE", options.device)->required();
  lose_command->add_option("--xid", options.xid, "the code reported")->capture_default_str();
  lose_command->callback([&] { use_default_set(), set_health(options, false); });

  auto* heal_command = app.add_subcommand("healthy", "the device is back");
  heal_command->add_option("DEVICE", options.device)->required();
  heal_command->callback([&] { use_default_set(), set_health(options, true); });

  app.add_subcommand("now", "the time that --since and --until take")->callback([] { fmt::print("{}\n", now_ns()); });

  CLI11_PARSE(app, argc, argv);
  return 0;
}

}  // namespace
}  // namespace sim::tool

int main(int argc, char** argv) {
  try {
    return sim::tool::run(argc, argv);
  } catch (const sim::tool::Failure& failure) {
    fmt::print(stderr, "kiboko-sim: {}\n", failure.message);
    return 1;
  }
}
