#include "model/allocation.h"

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko {
namespace {

Result<ContainerDevice> device_from(std::string_view piece, std::size_t byte) {
  const auto fields = split(piece, ',');
  if (fields.size() < 4)
    return fail(Errc::Invalid, "byte {}: a device has 4 fields, '{}' has {}", byte, shown(piece), fields.size());
  const auto at = [&](std::size_t i) { return byte + static_cast<std::size_t>(fields[i].data() - piece.data()); };
  ContainerDevice device;
  device.uuid.text = fields[0];
  device.type = fields[1];
  device.memory.count = TRY(wire_number(fields[2], "memory", at(2)));
  device.cores.count = TRY(wire_number(fields[3], "cores", at(3)));
  return device;
}

Result<ContainerDevices> container_from(std::string_view text, std::size_t byte) {
  ContainerDevices devices;
  std::string_view id_begins;  // pieces that may be the beginning of an id
  for (const std::string_view piece : split(text, ':')) {
    if (piece.find(',') == std::string_view::npos) {
      if (id_begins.empty()) id_begins = piece;
      if (piece.empty()) id_begins = {};
      continue;
    }
    const std::string_view whole =
        id_begins.empty() ? piece
                          : std::string_view(id_begins.data(),
                                             static_cast<std::size_t>(piece.data() + piece.size() - id_begins.data()));
    devices.push_back(TRY(device_from(whole, byte + static_cast<std::size_t>(whole.data() - text.data()))));
    id_begins = {};
  }
  return devices;
}

std::string without_separators(std::string_view text) {
  std::string clean(text);
  for (char& c : clean)
    if (c == ',' || c == ':' || c == ';') c = '_';
  return clean;
}

}  // namespace

Result<PodDevices> decode_allocation(std::string_view text) {
  TRY(check_length(text));
  PodDevices containers;
  if (text.empty()) return containers;
  for (const std::string_view container : split(text, ';'))
    containers.push_back(TRY(container_from(container, static_cast<std::size_t>(container.data() - text.data()))
                                 .map_error(about("container {}", containers.size()))));
  return containers;
}

Result<std::string> encode_allocation(std::span<const ContainerDevices> containers) {
  std::string out;
  for (const ContainerDevices& devices : containers) {
    for (const ContainerDevice& device : devices) {
      const std::string& id = device.uuid.text;
      if (id.empty() || id.find_first_of(",;") != std::string::npos || id.front() == ':' || id.back() == ':' ||
          id.find("::") != std::string::npos)
        return fail(Errc::Invalid, "the device id '{}' cannot be written into an allocation", shown(id));
      out += fmt::format("{},{},{},{}:", id, without_separators(device.type), device.memory.count, device.cores.count);
    }
    out += ";";
  }
  return out;
}

std::optional<OldMigUuid> parse_old_mig_uuid(std::string_view text) {
  const std::size_t open = text.find('[');
  if (open == std::string_view::npos || open == 0 || !text.ends_with(']')) return std::nullopt;
  const auto numbers = split(text.substr(open + 1, text.size() - open - 2), '-');
  if (numbers.size() != 2) return std::nullopt;
  const auto geometry = parse_integer<unsigned>(numbers[0]);
  const auto position = parse_integer<unsigned>(numbers[1]);
  if (!geometry || !position) return std::nullopt;
  return OldMigUuid{{std::string(text.substr(0, open))}, *geometry, *position};
}

std::vector<std::string> parse_name_list(std::string_view text) {
  std::vector<std::string> names;
  for (const std::string_view part : split(text, ','))
    if (const std::string_view name = trim(part); !name.empty()) names.emplace_back(name);
  return names;
}

}  // namespace kiboko
