#include "cli/top_frame.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/text.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

constexpr std::size_t kLeastBar = 8, kMostBar = 40;
constexpr std::size_t kGrantBar = 10;

double share(const std::optional<std::uint64_t>& part, const std::optional<std::uint64_t>& whole) {
  if (!part || !whole || *whole == 0) return 0;
  return static_cast<double>(*part) / static_cast<double>(*whole);
}

// Green while there is room, yellow when it gets tight, red at the limit; the figures beside it say the same.
Style fullness(double part) { return part >= 0.98 ? Style::Bad : part >= 0.8 ? Style::Warning : Style::Good; }

class Frame {
 public:
  Frame(const Snapshot& snapshot, WallTime now, const Output& output, std::size_t columns)
      : snapshot_(snapshot), now_(now), output_(output), columns_(columns) {}

  std::vector<std::string> lines() {
    header();
    for (const DeviceView& device : snapshot_.devices) show(device);
    grants();
    waiting();
    return std::move(lines_);
  }

 private:
  // Plain text; cut to the width.
  void add(std::string_view text, Style style = Style::Plain) {
    lines_.push_back(output_.styled(style, fitted(text, columns_)));
  }

  std::string styled_bar(double part, std::size_t cells) const {
    return output_.styled(fullness(part), bar(part, cells));
  }

  void header() {
    const auto waiting = std::ranges::count_if(snapshot_.grants, [](const GrantView& g) { return g.is("waiting"); });
    add(fmt::format("kiboko on {}: {}{}, {} devices, {} grants, {} waiting   {}", snapshot_.meta.host,
                    snapshot_.meta.mode, snapshot_.meta.simulated ? ", simulated" : "", snapshot_.devices.size(),
                    static_cast<std::ptrdiff_t>(snapshot_.grants.size()) - waiting, waiting, format_time(now_)),
        Style::Bold);
    if (!snapshot_.trouble.empty()) add(split(snapshot_.trouble, '\n').front(), Style::Bad);
    lines_.emplace_back();
  }

  void show(const DeviceView& device) {
    add(fmt::format("{}  {}  {}{}", device.index.value_or(-1), device.model, device.uuid,
                    device.health == "healthy" ? "" : "  " + device.health + ": " + device.reason),
        device.health == "healthy" ? Style::Plain : Style::Bad);
    const std::string memory = fmt::format("{} used, {} granted of {}", bytes_or_dash(device.used_bytes),
                                           bytes_or_dash(device.granted_bytes), bytes_or_dash(device.total_bytes));
    const std::size_t beside = 13 + display_width(memory);
    const std::size_t cells = std::clamp(columns_ > beside ? columns_ - beside : 0, kLeastBar, kMostBar);
    bar_line("memory ", share(device.used_bytes, device.total_bytes), cells, memory);
    bar_line("compute", device.compute_percent.value_or(0) / 100, cells, percent_or_dash(device.compute_percent));
    for (const ProcessView& process : device.strangers)
      add(fmt::format("   process {} ({}) uses {} without a grant", process.pid, process.command,
                      bytes_or_dash(process.used_bytes)),
          Style::Bad);
  }

  void bar_line(std::string_view name, double part, std::size_t cells, std::string_view figures) {
    const std::size_t taken = 3 + display_width(name) + 1 + cells + 1;
    lines_.push_back(fmt::format("   {} {} {}", name, styled_bar(part, cells),
                                 fitted(figures, columns_ > taken ? columns_ - taken : 0)));
  }

  void grants() {
    lines_.emplace_back();
    add(fmt::format("{:<12}{:<10}{:<10}{:<5}{:<{}}  {:<20}{:<{}}  {:<15}{}", "GRANT", "OWNER", "STATE", "DEV", "MEMORY",
                    kGrantBar, "", "CORES", kGrantBar, "", "COMMAND"),
        Style::Bold);
    for (const GrantView& grant : snapshot_.grants)
      if (!grant.is("waiting")) lines_.push_back(grant_line(grant));
  }

  std::string grant_line(const GrantView& grant) const {
    const double memory = share(memory_used(grant), memory_limit(grant));
    const double limit = grant.devices.empty() ? 0 : grant.devices.front().core_percent.value_or(100);
    const double cores = limit > 0 ? compute_used(grant).value_or(0) / limit : 0;
    const std::string left = fmt::format("{:<12}{}{:<10}{}", grant.id, cell(owner_text(grant), 10), state_text(grant),
                                         cell(devices_text(grant), 5));
    const std::string amount = cell(used_of(memory_used(grant), memory_limit(grant)), 20);
    const std::string percent = cell(cores_text(grant), 15);
    const std::size_t taken = 37 + 2 * kGrantBar + 4 + 35;
    // A terminal too narrow for the bars gets the figures alone.
    if (taken > columns_) return fitted(left + amount + percent + command_text(grant), columns_);
    return left + styled_bar(memory, kGrantBar) + "  " + amount + styled_bar(cores, kGrantBar) + "  " + percent +
           fitted(command_text(grant), columns_ - taken);
  }

  static std::string cell(std::string_view text, std::size_t width) {
    const std::string shown = fitted(text, width - 1);
    return shown + std::string(width - display_width(shown), ' ');
  }

  void waiting() {
    std::vector<const GrantView*> queue;
    for (const GrantView& grant : snapshot_.grants)
      if (grant.is("waiting") && grant.waiting) queue.push_back(&grant);
    std::ranges::sort(queue, {}, [](const GrantView* grant) { return grant->waiting->position; });
    if (!queue.empty()) lines_.emplace_back();
    for (const GrantView* grant : queue)
      add(fmt::format("waiting {}: {} of {}: {}", grant->waiting->position, grant->id, owner_text(*grant),
                      grant->waiting->reason),
          Style::Warning);
  }

  const Snapshot& snapshot_;
  const WallTime now_;
  const Output& output_;
  const std::size_t columns_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string bar(double part, std::size_t cells) {
  constexpr std::array<std::string_view, 8> kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double bounded = std::isfinite(part) ? std::clamp(part, 0.0, 1.0) : 0.0;
  const auto eighths = static_cast<std::size_t>(std::lround(bounded * static_cast<double>(cells) * 8));
  std::string text;
  for (std::size_t i = 0; i < eighths / 8; ++i) text += "█";
  text += kEighths[eighths % 8];
  for (std::size_t i = (eighths + 7) / 8; i < cells; ++i) text += "░";
  return text;
}

std::vector<std::string> top_frame(const Snapshot& snapshot, WallTime now, const Output& output, std::size_t columns,
                                   std::size_t rows) {
  std::vector<std::string> lines = Frame{snapshot, now, output, columns}.lines();
  if (lines.size() > rows && rows > 0) {
    const std::size_t hidden = lines.size() - rows + 1;
    lines.resize(rows - 1);
    lines.push_back(output.styled(Style::Dim, fitted(fmt::format("… {} lines more", hidden), columns)));
  }
  return lines;
}

}  // namespace kiboko::cli
