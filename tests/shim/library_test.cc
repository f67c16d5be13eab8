// The library file itself: what it exports, and what it asks of the system it is loaded into.
#include <cstdio>
#include <filesystem>
#include <set>
#include <sstream>

#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::ElementsAreArray;
using testing::IsEmpty;

class Library : public testing::Test {
 protected:
  void SetUp() override {
    if (sanitized()) GTEST_SKIP() << "a sanitized build needs its runtime";
  }
  static std::vector<std::string> output_of(std::vector<std::string> command) {
    Start start;
    command.push_back(shim_path());
    start.command = std::move(command);
    start.environment = {{"PATH", "/usr/bin:/bin"}, {"LC_ALL", "C"}};
    const Ended ended = run(start);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    return lines_of(ended.out);
  }
};

// The last word of a line of nm, without the version behind '@'; the version separately.
std::string name_of(const std::string& line) {
  const std::string word = line.substr(line.rfind(' ') + 1);
  return word.substr(0, word.find('@'));
}
std::string version_of(const std::string& line) {
  const auto at = line.rfind('@');
  return at == std::string::npos ? "" : line.substr(at + 1);
}

TEST_F(Library, ExportsTheHooksAndNothingElse) {
  const std::set<std::string> wanted = {
#define CUDA_HOOK(symbol, base, version, mode) #symbol,
#define NVML_HOOK(symbol) #symbol,
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
      "dlsym", "dlvsym"};
  std::set<std::string> exported;
  for (const std::string& line : output_of({"nm", "-D", "--defined-only", "--no-demangle"}))
    exported.insert(name_of(line));
  EXPECT_THAT(exported, ElementsAreArray(wanted));
}

TEST_F(Library, NeedsNothingNewerThanGlibc217) {
  std::vector<std::string> newer;
  for (const std::string& line : output_of({"nm", "-D", "--undefined-only"})) {
    int major = 0, minor = 0;
    if (std::sscanf(version_of(line).c_str(), "GLIBC_%d.%d", &major, &minor) == 2 && (major > 2 || minor > 17))
      newer.push_back(line);
  }
  EXPECT_THAT(newer, IsEmpty());
}

TEST_F(Library, NeedsNoRuntimeOfCxxNorWhatAGuestMustNotCall) {
  const std::set<std::string> forbidden = {"malloc", "calloc", "realloc",   "free",           "exit",    "_exit",
                                           "abort",  "signal", "sigaction", "setenv",         "putenv",  "umask",
                                           "printf", "puts",   "dlopen",    "pthread_create", "unsetenv"};
  std::vector<std::string> found;
  for (const std::string& line : output_of({"nm", "-D", "--undefined-only", "--no-demangle"})) {
    const std::string name = name_of(line);
    const bool runtime = name.rfind("_Z", 0) == 0 || name.rfind("__gxx", 0) == 0 || name.rfind("_Unwind", 0) == 0 ||
                         (name.rfind("__cxa", 0) == 0 && name != "__cxa_finalize");
    if (runtime || forbidden.count(name) != 0) found.push_back(name);
  }
  EXPECT_THAT(found, IsEmpty());
}

TEST_F(Library, NeedsOnlyLibc) {
  std::vector<std::string> needed;
  for (const std::string& line : output_of({"readelf", "-dW"})) {
    const auto open = line.find('['), close = line.find(']');
    if (line.find("(NEEDED)") == std::string::npos || close == std::string::npos) continue;
    const std::string name = line.substr(open + 1, close - open - 1);
    if (name != "libc.so.6" && name.rfind("ld-linux", 0) != 0) needed.push_back(name);
  }
  EXPECT_THAT(needed, IsEmpty());
}

TEST_F(Library, IsSmallAndRelocatesNoCode) {
  EXPECT_LE(std::filesystem::file_size(shim_path()), 300'000u);
  for (const std::string& line : output_of({"readelf", "-dW"})) EXPECT_EQ(line.find("TEXTREL"), std::string::npos);
}

// Programs with many libraries run out of the loader's reserve for thread-local data.
// The compiler's own and the one that reads the environment. Any other would be an object that is set up at run time:
// after hooks may have used it, and page by page in every program that is started.
TEST_F(Library, HasNoConstructorsButTwo) {
  std::string size;
  for (const std::string& line : output_of({"readelf", "-SW"}))
    if (std::istringstream words(line.substr(line.find(']') + 1)); line.find(".init_array") != std::string::npos) {
      std::string name, type, address, offset;
      words >> name >> type >> address >> offset >> size;
    }
  EXPECT_EQ(size, "000010") << "bytes of pointers";
}

TEST_F(Library, TakesLittleThreadLocalRoomAndNoWritableCode) {
  for (const std::string& line : output_of({"readelf", "-lW"})) {
    std::istringstream in(line);
    std::string type, offset, address, physical, in_file, in_memory, flags;
    in >> type >> offset >> address >> physical >> in_file >> in_memory >> flags;
    if (type == "TLS") {
      EXPECT_LE(std::stoul(in_memory, nullptr, 16), 256u) << line;
    }
    EXPECT_EQ(line.find("RWE"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace kiboko::shim_test
