#include "shim/pointers.h"

#include <sys/mman.h>

namespace kiboko::shim {

Table<PointerEntry, 6> pointers;
HandleTable allocations, mappings, arrays, modules, libraries, graphs, pools;

void* map_pages(std::size_t bytes) {
  const region::os::KeepErrno keep;
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

void unmap_pages(void* pages, std::size_t bytes) {
  const region::os::KeepErrno keep;
  munmap(pages, bytes);
}

}  // namespace kiboko::shim
