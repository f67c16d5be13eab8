#include "nvml_pids.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

namespace sim {
namespace {

std::uint64_t own_pid_namespace() {
  struct stat info;
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

std::string read_text(const char* path) {
  FILE* file = fopen(path, "re");
  if (file == nullptr) return {};
  char text[4096];
  const std::size_t size = fread(text, 1, sizeof text, file);
  fclose(file);
  return std::string(text, size);
}

// Field 22 of /proc/<pid>/stat, counted after the name, which may contain anything.
std::uint64_t start_time_of(const std::string& stat_text) {
  std::size_t at = stat_text.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat_text.find(' ', at + 1);
  return at == std::string::npos ? 0 : strtoull(stat_text.c_str() + at, nullptr, 10);
}

// The last pid of the NSpid line, if the process lives in a namespace below ours; 0 otherwise.
int innermost_pid(const std::string& status_text) {
  const std::size_t line = status_text.find("\nNSpid:");
  if (line == std::string::npos) return 0;
  const std::string pids = status_text.substr(line + 7, status_text.find('\n', line + 1) - line - 7);
  const std::size_t last = pids.find_last_of("\t ");
  const bool nested = pids.find_first_of("0123456789") < last;
  return nested ? atoi(pids.c_str() + last + 1) : 0;
}

// Our pid of a process that calls itself `use.pid` in a namespace below ours; 0 if there is none.
int find_nested(const ProcessUse& use) {
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return 0;
  int found = 0;
  while (const dirent* entry = readdir(proc)) {
    const int pid = atoi(entry->d_name);
    if (pid <= 0) continue;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (innermost_pid(read_text(path)) != use.pid) continue;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (start_time_of(read_text(path)) != use.start_time) continue;
    found = pid;
    break;
  }
  closedir(proc);
  return found;
}

}  // namespace

std::int32_t pid_for_caller(const ProcessUse& use) {
  return use.pid_namespace == own_pid_namespace() ? use.pid : find_nested(use);
}

}  // namespace sim
