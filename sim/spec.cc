#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <charconv>

namespace sim {
namespace {

constexpr int kMostDevices = 16;

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

bool parse_number(std::string_view text, std::uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool fail(std::string& error, std::string text) {
  error = std::move(text);
  return false;
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

bool append(std::vector<DeviceSpec>& out, const DeviceSpec& spec, std::uint32_t count, std::string& error) {
  if (count < 1 || out.size() + count > kMostDevices) {
    return fail(error, "a simulated host has 1 to 16 devices, asked for " + std::to_string(out.size() + count));
  }
  out.insert(out.end(), count, spec);
  return true;
}

bool set_product(DeviceSpec& spec, std::string_view key, std::string& error) {
  const Product* product = find_product(key);
  if (product == nullptr) return fail(error, "unknown product " + quoted(key) + "; known are " + known_products());
  spec.product = *product;
  return true;
}

// One device entry of the YAML list while it is being read.
struct Entry {
  DeviceSpec spec;
  bool has_product = false;
  std::uint32_t count = 1;
  std::uint32_t memory_mib = 0, sm_count = 0, major = 0, minor = 0;
};

bool set_capability(Entry& entry, std::string_view value) {
  const auto dot = value.find('.');
  return dot != std::string_view::npos && parse_number(value.substr(0, dot), entry.major) &&
         parse_number(value.substr(dot + 1), entry.minor) && entry.major >= 1 && entry.major < 100 && entry.minor < 10;
}

bool set_field(Entry& entry, std::string_view key, std::string_view value, std::string& error) {
  bool good = false;
  std::uint32_t number = 0;
  if (key == "product") {
    entry.has_product = true;
    return set_product(entry.spec, value, error);
  }
  if (key == "count") {
    good = parse_number(value, entry.count) && entry.count >= 1;
  } else if (key == "memory_mib") {
    good = parse_number(value, entry.memory_mib) && entry.memory_mib >= 1024;
  } else if (key == "sm_count") {
    good = parse_number(value, entry.sm_count) && entry.sm_count >= 1 && entry.sm_count <= 1024;
  } else if (key == "compute_capability") {
    good = set_capability(entry, value);
  } else if (key == "numa") {
    good = parse_number(value, number) && number < 1024;
    entry.spec.numa = static_cast<int>(number);
  } else if (key == "uuid") {
    unsigned char bytes[16];
    good = parse_uuid(value, bytes);
    entry.spec.uuid = value;
  } else {
    return fail(error, "unknown key " + quoted(key) +
                           "; known are product, count, memory_mib, sm_count, compute_capability, numa, uuid");
  }
  return good || fail(error, "bad value " + quoted(value) + " for " + std::string(key));
}

bool finish(Entry& entry, std::vector<DeviceSpec>& out, std::string& error) {
  if (!entry.has_product) return fail(error, "a device without a product");
  if (!entry.spec.uuid.empty() && entry.count != 1) return fail(error, "a uuid needs count 1");
  Product& product = entry.spec.product;
  if (product.unified && entry.memory_mib != 0)
    return fail(error, "memory_mib cannot be set for " + std::string(product.key) + ": it has the host's memory");
  if (entry.memory_mib != 0) product.memory_mib = entry.memory_mib;
  if (entry.sm_count != 0) product.sm_count = entry.sm_count;
  if (entry.major != 0) {
    product.compute_major = static_cast<std::uint16_t>(entry.major);
    product.compute_minor = static_cast<std::uint16_t>(entry.minor);
  }
  return append(out, entry.spec, entry.count, error);
}

std::string_view unquote(std::string_view value) {
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) {
    return value.substr(1, value.size() - 2);
  }
  return value;
}

std::string_view without_comment(std::string_view line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) return line.substr(0, i);
  }
  return line;
}

}  // namespace

bool parse_devices(std::string_view text, std::vector<DeviceSpec>& out, std::string& error) {
  out.clear();
  while (true) {
    const auto comma = text.find(',');
    const std::string_view item = trim(text.substr(0, comma));
    const auto x = item.find('x');
    std::uint32_t count = 1;
    std::string_view key = item;
    if (x != std::string_view::npos && x > 0 && parse_number(item.substr(0, x), count)) key = item.substr(x + 1);
    DeviceSpec spec;
    if (!set_product(spec, key, error) || !append(out, spec, count, error)) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

bool parse_devices_yaml(std::string_view text, std::vector<DeviceSpec>& out, std::string& error) {
  out.clear();
  Entry entry;
  bool open = false;
  int number = 0;
  while (!text.empty()) {
    const auto newline = text.find('\n');
    std::string_view line = trim(without_comment(text.substr(0, newline)));
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    ++number;
    const auto at = [&] { return "line " + std::to_string(number) + ": "; };
    if (line.empty() || line == "---" || (line == "devices:" && !open)) continue;
    if (line.front() == '-') {
      if (open && !finish(entry, out, error)) return fail(error, "before " + at() + error);
      entry = Entry{};
      open = true;
      line = trim(line.substr(1));
      if (line.empty()) continue;
    }
    const auto colon = line.find(':');
    if (!open || colon == std::string_view::npos)
      return fail(error, at() + "expected '- product: …', got " + quoted(line));
    if (!set_field(entry, trim(line.substr(0, colon)), unquote(trim(line.substr(colon + 1))), error)) {
      return fail(error, at() + error);
    }
  }
  if (!open) return fail(error, "no devices in the list");
  return finish(entry, out, error);
}

bool read_devices(const std::string& source, std::vector<DeviceSpec>& out, std::string& error) {
  const bool is_file = source.find('/') != std::string::npos || source.ends_with(".yaml") || source.ends_with(".yml");
  if (!is_file) return parse_devices(source, out, error);
  const int file = open(source.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(error, source + ": " + strerror(errno));
  std::string text;
  char buffer[4096];
  ssize_t size;
  while ((size = read(file, buffer, sizeof buffer)) > 0 && text.size() < 1024 * 1024) {
    text.append(buffer, static_cast<std::size_t>(size));
  }
  close(file);
  if (!parse_devices_yaml(text, out, error)) return fail(error, source + ": " + error);
  return true;
}

bool parse_uuid(std::string_view text, unsigned char (&bytes)[16]) {
  if (!text.starts_with("GPU-") || text.size() != 40) return false;
  text.remove_prefix(4);
  int digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return false;
    if (dash) continue;
    unsigned value = 0;
    const auto [end, code] = std::from_chars(text.data() + i, text.data() + i + 1, value, 16);
    if (code != std::errc{} || end != text.data() + i + 1) return false;
    unsigned char& byte = bytes[digits / 2];
    byte = static_cast<unsigned char>(digits % 2 == 0 ? value << 4 : byte | value);
    ++digits;
  }
  return digits == 32;
}

}  // namespace sim
