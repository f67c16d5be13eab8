// The library file itself: what it exports, and what it asks of the system it is loaded into.
#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

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

TEST_F(Library, ExportsTheHooksAndNothingElse) {
  std::set<std::string> wanted = {"dlsym", "dlvsym"}, exported;
  std::ifstream in(KIBOKO_HOOKS_DEF);
  const std::regex row(R"((?:CUDA|NVML)_HOOK\((\w+).*)");
  std::smatch m;
  for (std::string line; std::getline(in, line);)
    if (std::regex_match(line, m, row)) wanted.insert(m[1]);
  for (const std::string& line : output_of({"nm", "-D", "--defined-only", "--no-demangle"}))
    exported.insert(line.substr(line.rfind(' ') + 1));
  EXPECT_THAT(exported, ElementsAreArray(wanted));
}

TEST_F(Library, NeedsNothingNewerThanGlibc217) {
  const std::regex versioned(R"(.*@GLIBC_(\d+)\.(\d+).*)");
  std::vector<std::string> newer;
  std::smatch m;
  for (const std::string& line : output_of({"nm", "-D", "--undefined-only"}))
    if (std::regex_match(line, m, versioned) && (std::stoi(m[1]) > 2 || std::stoi(m[2]) > 17)) newer.push_back(line);
  EXPECT_THAT(newer, IsEmpty());
}

TEST_F(Library, NeedsNoRuntimeOfCxxNorAnAllocator) {
  const std::regex forbidden(
      R"(.* (_Z\w*|__cxa_(?!finalize)\w*|__gxx\w*|_Unwind\w*|malloc|calloc|realloc|free|exit|_exit|abort|signal|sigaction|setenv|putenv|unsetenv|umask|printf|puts|dlopen|pthread_create)(@.*)?)");
  std::vector<std::string> found;
  for (const std::string& line : output_of({"nm", "-D", "--undefined-only", "--no-demangle"}))
    if (std::regex_match(line, forbidden)) found.push_back(line);
  EXPECT_THAT(found, IsEmpty());
}

TEST_F(Library, NeedsOnlyLibc) {
  std::vector<std::string> needed;
  const std::regex row(R"(.*\(NEEDED\).*\[(.*)\])"), allowed(R"(libc\.so\.6|ld-linux.*)");
  std::smatch m;
  for (const std::string& line : output_of({"readelf", "-dW"}))
    if (std::regex_match(line, m, row) && !std::regex_match(m[1].str(), allowed)) needed.push_back(m[1]);
  EXPECT_THAT(needed, IsEmpty());
}

// Programs with many libraries run out of the loader's reserve for thread-local data.
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
