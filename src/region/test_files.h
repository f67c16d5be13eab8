// For tests: a folder that goes away, and golden files.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace kiboko::region {

class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "kiboko-region-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    dir_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes, ::mode_t mode) const {
    std::ofstream(path(name), std::ios::binary | std::ios::trunc) << bytes;
    ::chmod(path(name).c_str(), mode);
    return path(name);
  }

 private:
  std::string dir_;
};

inline std::string file_bytes(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

// The bytes of testdata/`name`. KIBOKO_WRITE_GOLDEN=1 in the environment writes `now` there first: for the one who
// changed a layout on purpose, together with its version.
inline std::string golden(const std::string& name, const std::string& now) {
  const std::string path = std::string(KIBOKO_REGION_TESTDATA) + "/" + name;
  if (std::getenv("KIBOKO_WRITE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary | std::ios::trunc) << now;
  return file_bytes(path);
}

}  // namespace kiboko::region
