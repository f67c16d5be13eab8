#include "tenant.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kiboko::shim_test {

namespace fs = std::filesystem;

void PrintTo(const Driver& driver, std::ostream* out) { *out << driver.name; }

std::vector<Driver> drivers() { return {{"standin", KIBOKO_STANDIN_DIR}, {"sim", KIBOKO_TEST_SIM_DIR}}; }

std::string shim_path() { return KIBOKO_SHIM_PATH; }
std::string program(const char* name) { return std::string(KIBOKO_PROBE_DIR) + "/" + name; }
bool sanitized() { return std::strlen(KIBOKO_SANITIZER_RUNTIME) != 0; }

std::string preload(bool shim) {
  std::string list = KIBOKO_SANITIZER_RUNTIME;
  if (shim) list += (list.empty() ? "" : ":") + shim_path();
  return list;
}

Tenant::Tenant(const Driver& driver) {
  std::string pattern = fs::temp_directory_path() / "kiboko-shim-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  folder_ = pattern;
  environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"HOME", folder_},
                 {"LD_LIBRARY_PATH", driver.folder},       {"KIBOKO_SIM", path("sim")},
                 {"KIBOKO_SIM_DEVICES", "3xA10-24GB"},     {"ASAN_OPTIONS", "detect_leaks=0:verify_asan_link_order=0"},
                 {"UBSAN_OPTIONS", "print_stacktrace=1"}};
  with_shim(true);
}

Tenant::~Tenant() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Tenant::with_shim(bool on) {
  environment["LD_PRELOAD"] = preload(on);
  if (environment["LD_PRELOAD"].empty()) environment.erase("LD_PRELOAD");
}

Start Tenant::start(std::vector<std::string> command) const {
  Start start;
  start.command = std::move(command);
  start.environment = environment;
  return start;
}

Start Tenant::probe(std::vector<std::string> script) const {
  script.insert(script.begin(), program("shim_probe"));
  return start(std::move(script));
}

const std::vector<Device>& Tenant::devices() {
  if (!devices_.empty()) return devices_;
  const Environment kept = environment;
  environment.erase("KIBOKO_GRANT");
  with_shim(false);
  const Ended ended = probe_run({"init", "devices"});
  environment = kept;
  for (const std::string& line : lines_of(ended.out)) {
    std::istringstream words(line);
    std::string word;
    Device device;
    if (words >> word >> device.uuid >> device.bytes && word == "device") devices_.push_back(device);
  }
  if (devices_.size() < 2) ADD_FAILURE() << "the driver shows no devices: " << ended.out << ended.err;
  return devices_;
}

region::GrantSettings Tenant::settings_of(const std::vector<Share>& shares) const {
  region::GrantSettings settings{};
  settings.priority = 1;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    settings.devices[i].limit_bytes = shares[i].limit_bytes;
    settings.devices[i].core_percent = shares[i].percent;
  }
  return settings;
}

void Tenant::grant(const std::vector<Share>& shares, const std::string& region) {
  region::GrantPage page{};
  page.identity.owner_uid = ::getuid();
  page.identity.device_count = static_cast<std::uint32_t>(shares.size());
  std::strcpy(page.identity.grant_id, "g-test");
  std::strcpy(page.identity.owner, "tests");
  std::strcpy(page.identity.region_path, (region.empty() ? region_path() : region).c_str());
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const Device& device = devices().at(shares[i].ordinal);
    std::strcpy(page.identity.devices[i].uuid, device.uuid.c_str());
    page.identity.devices[i].physical_bytes = device.bytes;
  }
  region::seal_new_page(page, settings_of(shares));
  put_page(std::string(reinterpret_cast<const char*>(&page), sizeof page));
}

void Tenant::put_page(const std::string& bytes, unsigned mode) {
  std::ofstream(page_path(), std::ios::binary | std::ios::trunc) << bytes;
  ::chmod(page_path().c_str(), mode);
  environment["KIBOKO_GRANT"] = page_path();
}

std::string Tenant::page_bytes() const {
  std::ostringstream bytes;
  bytes << std::ifstream(page_path(), std::ios::binary).rdbuf();
  return bytes.str();
}

void Tenant::resize(const std::vector<Share>& shares) {
  const int fd = ::open(page_path().c_str(), O_RDWR | O_CLOEXEC);
  void* at = ::mmap(nullptr, sizeof(region::GrantPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  ASSERT_NE(at, MAP_FAILED);
  region::publish_settings(*static_cast<region::GrantPage*>(at), settings_of(shares));
  ::munmap(at, sizeof(region::GrantPage));
}

void OnDriver::SetUp() {
  if (!fs::exists(std::string(GetParam().folder) + "/libcuda.so.1"))
    GTEST_SKIP() << "no driver in " << GetParam().folder << " (not built)";
}

Ended OnDriver::guest(std::vector<std::string> scenario) {
  scenario.insert(scenario.begin(), program("shim_guest_program"));
  return tenant.run(scenario);
}

void OnDriver::expect_well(const std::vector<std::string>& scenario) {
  const Ended ended = guest(scenario);
  EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  EXPECT_EQ(ended.err, "");
}

}  // namespace kiboko::shim_test
