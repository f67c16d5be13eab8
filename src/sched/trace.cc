#include "sched/trace.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <span>

#include "base/text.h"

namespace kiboko {
namespace {

// More than any node has, and far from where sums overflow.
constexpr std::int64_t kMostCpuMilli = 1'000'000'000;
constexpr std::int64_t kMostMemoryMib = 1'000'000'000;

// One line at a time, with the header's names.
class Rows {
 public:
  static Result<Rows> open(std::string_view text, std::string_view file, std::span<const std::string_view> required) {
    Rows rows{text, file};
    if (!rows.next()) return fail(Errc::Invalid, "{}: empty; the first line must name the columns", file);
    rows.titles_ = rows.fields_;
    for (const std::string_view title : required)
      if (!rows.column(title)) return fail(Errc::Invalid, "{}:1: there is no column '{}'", file, title);
    return rows;
  }

  // False at the end. Empty lines are passed over.
  bool next() {
    while (!rest_.empty()) {
      const std::size_t end = std::min(rest_.find('\n'), rest_.size());
      std::string_view line = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++line_;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty()) continue;
      fields_ = split(line, ',');
      return true;
    }
    return false;
  }

  Result<void> check_width() const {
    if (fields_.size() == titles_.size()) return {};
    return fail(Errc::Invalid, "{}:{}: {} fields, but the first line names {} columns", file_, line_, fields_.size(),
                titles_.size());
  }

  std::optional<std::size_t> column(std::string_view title) const {
    const auto found = std::ranges::find(titles_, title);
    if (found == titles_.end()) return {};
    return static_cast<std::size_t>(found - titles_.begin());
  }

  // Of a required column.
  std::string_view text(std::string_view title) const { return fields_[*column(title)]; }

  Result<std::int64_t> number(std::string_view title, std::int64_t least, std::int64_t most) const {
    const auto parsed = parse_integer<std::int64_t>(text(title));
    if (!parsed) return tl::unexpected(about_column(title)(parsed.error()));
    if (*parsed < least || *parsed > most)
      return fail(Errc::Invalid, "{}:{}: column {}: {} is not between {} and {}", file_, line_, title, *parsed, least,
                  most);
    return *parsed;
  }

  Error wrong(std::string_view title, Error error) const { return about_column(title)(std::move(error)); }

 private:
  Rows(std::string_view text, std::string_view file) : rest_(text), file_(file) {}
  std::function<Error(Error)> about_column(std::string_view title) const {
    return about("{}:{}: column {}", file_, line_, title);
  }

  std::string_view rest_;
  std::string_view file_;
  std::size_t line_ = 0;
  std::vector<std::string_view> titles_, fields_;
};

constexpr std::string_view kNodeColumns[] = {"sn", "cpu_milli", "memory_mib", "gpu", "model"};
constexpr std::string_view kPodColumns[] = {"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"};

Bytes mib(std::int64_t count) { return Bytes{static_cast<std::uint64_t>(count) << 20U}; }

Models models_of(std::string_view spec, const Cluster& cluster) {
  if (spec.empty()) return kAnyModel;
  Models models = 0;
  for (const std::string_view name : split(spec, '|'))
    if (const auto model = cluster.find_model(name)) models |= Models{1} << *model;
  return models;
}

Result<PodAsk> pod_of(const Rows& rows, const Cluster& cluster) {
  PodAsk ask;
  ask.cpu_milli = TRY(rows.number("cpu_milli", 0, kMostCpuMilli));
  ask.host_memory = mib(TRY(rows.number("memory_mib", 0, kMostMemoryMib)));
  ask.count = static_cast<unsigned>(TRY(rows.number("num_gpu", 0, kMaxNodeDevices)));
  const std::int64_t least = ask.count > 0 ? 1 : 0;
  const std::int64_t share = TRY(rows.number("gpu_milli", least, kWholeDevice));
  if (ask.count == 0) return ask;
  ask.share = static_cast<Share>(share);
  if (rows.column("gpu_spec")) ask.models = models_of(rows.text("gpu_spec"), cluster);
  return ask;
}

}  // namespace

Result<void> read_trace_nodes(std::string_view text, std::string_view file, Cluster& cluster) {
  Rows rows = TRY(Rows::open(text, file, kNodeColumns));
  while (rows.next()) {
    TRY(rows.check_width());
    ClusterNode node;
    node.name = rows.text("sn");
    node.cpu_milli = TRY(rows.number("cpu_milli", 0, kMostCpuMilli));
    node.host_memory = mib(TRY(rows.number("memory_mib", 0, kMostMemoryMib)));
    const auto count = static_cast<std::size_t>(TRY(rows.number("gpu", 0, kMaxNodeDevices)));
    if (count > 0) {
      const auto model = cluster.model_named(rows.text("model"));
      if (!model) return tl::unexpected(rows.wrong("model", model.error()));
      node.devices.assign(count, ClusterDevice{.model = *model});
    }
    TRY(cluster.add_node(node));
  }
  return {};
}

Result<std::vector<PodAsk>> read_trace_pods(std::string_view text, std::string_view file, const Cluster& cluster) {
  Rows rows = TRY(Rows::open(text, file, kPodColumns));
  std::vector<PodAsk> pods;
  while (rows.next()) {
    TRY(rows.check_width());
    pods.push_back(TRY(pod_of(rows, cluster)));
  }
  return pods;
}

}  // namespace kiboko
