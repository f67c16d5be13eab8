// A grant page may be any file. Checksums stop a fuzzer at once, so each input is tried as it is and once more with the
// checksums put right, as an agent with a bug would write it.
#include "region/grant_page.h"

#include <cstdlib>
#include <cstring>
#include <memory>

using namespace kiboko::region;

namespace {

void require(bool held) {
  if (!held) std::abort();
}

template <std::size_t N>
bool ends(const char (&text)[N]) {
  return std::memchr(text, '\0', N) != nullptr;
}

void expect_usable(const GrantPage& page) {
  require(page.identity.device_count >= 1 && page.identity.device_count <= kMaxDevices);
  require(ends(page.identity.grant_id) && ends(page.identity.owner) && ends(page.identity.region_path));
  for (unsigned i = 0; i < page.identity.device_count; ++i) require(ends(page.identity.devices[i].uuid));
  GrantSettings settings;
  require(read_settings(page, &settings));
  require(settings.core_policy <= static_cast<std::uint32_t>(CorePolicy::Elastic));
  for (const GrantSettingsDevice& device : settings.devices) require(device.core_percent <= 100);
}

void check(const GrantPage& page) {
  PageError error;
  error.text[0] = '\0';
  if (check_grant_page(&page, sizeof page, &error))
    expect_usable(page);
  else
    require(error.text[0] != '\0' && ends(error.text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  PageError error;
  (void)check_grant_page(data, size, &error);
  if (size > kGrantPageBytes) size = kGrantPageBytes;
  auto page = std::make_unique<GrantPage>();
  std::memcpy(static_cast<void*>(page.get()), data, size);
  check(*page);
  page->identity.magic = kGrantPageMagic;
  page->identity.version = kGrantPageVersion;
  page->identity.bytes = kGrantPageBytes;
  page->identity.checksum = identity_checksum(page->identity);
  const std::uint64_t generation = page->live.generation;
  GrantSettings& valid = page->settings[generation & 1];
  valid.checksum = settings_checksum(valid, generation);
  check(*page);
  publish_settings(*page, GrantSettings{});
  GrantSettings settings;
  require(read_settings(*page, &settings));
  return 0;
}
