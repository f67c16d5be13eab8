// Finds loaded libraries and their symbols by walking the loader's own tables.
//
// The shim exports dlsym itself, so it cannot ask dlsym for the real one; and it must not dlopen anything, so that a
// program without CUDA never maps a driver. Everything here only reads what the loader has mapped already. Safe from
// any thread; takes the loader's lock for the length of one walk, and keeps forks waiting for that long (fork.h).
#pragma once

#include <cstdint>

namespace kiboko::shim {

struct LoadedLibrary {
  std::uintptr_t begin = 0, end = 0;  // of its segments
  std::uintptr_t base = 0;            // load bias
  const void* dynamic = nullptr;      // its dynamic section
  explicit operator bool() const { return dynamic != nullptr; }
  bool contains(const void* address) const {
    const auto a = reinterpret_cast<std::uintptr_t>(address);
    return a >= begin && a < end;
  }
};

// The first loaded library whose DT_SONAME is `soname`, or that contains `address`.
LoadedLibrary find_library_by_soname(const char* soname);
LoadedLibrary find_library_by_address(const void* address);

// Address of the defined, exported symbol `name` in that library, or nullptr. Versions are not looked at: the driver
// libraries have none, and libc's several versions of dlsym are one function.
void* find_symbol(const LoadedLibrary& library, const char* name);

// Compares two texts without libc: whoever else is preloaded may have taken strcmp and not be ready to answer.
inline bool same_text(const char* a, const char* b) {
  for (; *a != 0 && *a == *b; ++a, ++b) {
  }
  return *a == *b;
}

const char* soname_of(const LoadedLibrary& library);

void elf_before_fork();
void elf_after_fork(bool in_child);

}  // namespace kiboko::shim
