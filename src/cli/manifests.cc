#include "cli/manifests.h"

#include <algorithm>

#include "base/text.h"
#include "cli/output.h"
#include "cli/yaml_objects.h"

namespace kiboko::cli {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// A stretch of the file between two lines that begin with "---" or "...".
struct Stretch {
  std::string_view text;
  std::size_t first_line = 1;
};

bool separates(std::string_view line) {
  if (!line.starts_with("---") && !line.starts_with("...")) return false;
  return line.size() == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r';
}

std::vector<Stretch> stretches_of(std::string_view text) {
  std::vector<Stretch> stretches;
  std::size_t begin = 0, first_line = 1, line_number = 1;
  for (std::size_t at = 0; at < text.size(); ++line_number) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (separates(text.substr(at, end - at))) {
      stretches.push_back({text.substr(begin, at - begin), first_line});
      begin = at + 3;
      first_line = line_number;
    }
    at = end + 1;
  }
  stretches.push_back({text.substr(begin), first_line});
  return stretches;
}

std::string_view without_front_space(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

class FileReader {
 public:
  FileReader(std::string_view file, Objects& objects) : file_(file), objects_(objects) {}

  Result<void> read(const Stretch& stretch) {
    if (without_front_space(stretch.text).empty()) return {};
    if (without_front_space(stretch.text).starts_with('{')) return read_json(stretch);
    ++document_;
    return read_yaml_object(stretch.text, visit(), stretch.first_line).map_error(here());
  }

 private:
  // Several may follow one another without anything between them.
  Result<void> read_json(const Stretch& stretch) {
    std::string_view rest = stretch.text;
    for (std::size_t line = stretch.first_line; !without_front_space(rest).empty();) {
      ++document_;
      const std::string_view after = TRY(read_json_object(rest, visit(), line).map_error(here()));
      line += static_cast<std::size_t>(std::count(rest.data(), after.data(), '\n'));
      rest = after;
    }
    return {};
  }

  ObjectBuilder::Visit visit() {
    return [this](const nlohmann::json& object) { return objects_.add(object); };
  }
  std::function<Error(Error)> here() const {
    return [this](Error error) {
      error.message = fmt::format("{}: document {}, {}", file_, document_, error.message);
      return error;
    };
  }

  std::string_view file_;
  Objects& objects_;
  std::size_t document_ = 0;
};

}  // namespace

bool looks_like_a_trace(std::string_view text) {
  const std::string_view line = without_front_space(text.substr(0, 4096));
  const std::string_view first = line.substr(0, line.find('\n'));
  return !first.starts_with('{') && first.find(',') != std::string_view::npos &&
         first.find("cpu_milli") != std::string_view::npos;
}

Result<void> read_manifests(std::string_view text, std::string_view file, Objects& objects) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  FileReader reader(file, objects);
  for (const Stretch& stretch : stretches_of(text)) TRY(reader.read(stretch));
  return {};
}

std::vector<std::string> passed_over(const Objects& objects) {
  std::vector<std::string> sentences;
  if (!objects.others.empty()) {
    std::vector<std::string> kinds;
    for (const auto& [kind, count] : objects.others) kinds.push_back(fmt::format("{} {}", count, harmless(kind)));
    sentences.push_back(fmt::format("passed over what is neither node, pod nor quota: {}", join(kinds, ", ")));
  }
  if (objects.live_workloads > 0)
    sentences.push_back(
        fmt::format("{} Deployments, ReplicaSets, StatefulSets or Jobs come from a live cluster: of their pods those "
                    "count that are "
                    "in the file themselves",
                    objects.live_workloads));
  return sentences;
}

}  // namespace kiboko::cli
