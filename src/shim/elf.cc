// The dynamic section of a loaded object holds addresses that glibc has relocated in place on most machines, but not
// on all (musl, vDSO): an address below the load bias is an offset still. Hash tables: GNU's where present, else the
// System V one, whose chain length is also the number of symbols.
#include "shim/elf.h"

#include <elf.h>
#include <link.h>

#include <atomic>

#include "region/os.h"

namespace kiboko::shim {
namespace {

struct Tables {
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
  const std::uint32_t* gnu_hash = nullptr;
  const std::uint32_t* sysv_hash = nullptr;
  std::uint64_t soname_offset = 0;
};

Tables tables_of(const LoadedLibrary& library) {
  Tables tables;
  const auto relocated = [&](ElfW(Addr) value) { return value < library.base ? value + library.base : value; };
  for (const auto* d = static_cast<const ElfW(Dyn)*>(library.dynamic); d->d_tag != DT_NULL; ++d) {
    switch (d->d_tag) {
      case DT_SYMTAB:
        tables.symbols = reinterpret_cast<const ElfW(Sym)*>(relocated(d->d_un.d_ptr));
        break;
      case DT_STRTAB:
        tables.strings = reinterpret_cast<const char*>(relocated(d->d_un.d_ptr));
        break;
      case DT_GNU_HASH:
        tables.gnu_hash = reinterpret_cast<const std::uint32_t*>(relocated(d->d_un.d_ptr));
        break;
      case DT_HASH:
        tables.sysv_hash = reinterpret_cast<const std::uint32_t*>(relocated(d->d_un.d_ptr));
        break;
      case DT_SONAME:
        tables.soname_offset = d->d_un.d_val;
        break;
      default:
        break;
    }
  }
  return tables;
}

bool is_definition(const Tables& tables, std::uint32_t index, const char* name) {
  const ElfW(Sym)& symbol = tables.symbols[index];
  const unsigned type = symbol.st_info & 0xfU;
  return symbol.st_shndx != SHN_UNDEF && symbol.st_value != 0 && (type == STT_FUNC || type == STT_NOTYPE) &&
         same_text(tables.strings + symbol.st_name, name);
}

std::uint32_t find_by_gnu_hash(const Tables& tables, const char* name) {
  std::uint32_t hash = 5381;
  for (const char* c = name; *c != 0; ++c) hash = hash * 33 + static_cast<unsigned char>(*c);
  const std::uint32_t bucket_count = tables.gnu_hash[0], first = tables.gnu_hash[1], bloom_words = tables.gnu_hash[2];
  const auto* buckets =
      tables.gnu_hash + 4 + static_cast<std::size_t>(bloom_words) * (sizeof(ElfW(Addr)) / sizeof(std::uint32_t));
  const std::uint32_t* chain = buckets + bucket_count;
  if (bucket_count == 0) return 0;
  for (std::uint32_t i = buckets[hash % bucket_count]; i >= first && i != 0; ++i) {
    const std::uint32_t entry = chain[i - first];
    if ((entry | 1U) == (hash | 1U) && is_definition(tables, i, name)) return i;
    if ((entry & 1U) != 0) break;
  }
  return 0;
}

std::uint32_t find_by_sysv_hash(const Tables& tables, const char* name) {
  const std::uint32_t symbol_count = tables.sysv_hash[1];
  for (std::uint32_t i = 1; i < symbol_count; ++i)
    if (is_definition(tables, i, name)) return i;
  return 0;
}

LoadedLibrary library_from(const dl_phdr_info& info) {
  LoadedLibrary library;
  library.base = info.dlpi_addr;
  library.begin = UINTPTR_MAX;
  for (unsigned i = 0; i < info.dlpi_phnum; ++i) {
    const auto& header = info.dlpi_phdr[i];
    if (header.p_type == PT_LOAD) {
      const std::uintptr_t begin = info.dlpi_addr + header.p_vaddr;
      if (begin < library.begin) library.begin = begin;
      if (begin + header.p_memsz > library.end) library.end = begin + header.p_memsz;
    } else if (header.p_type == PT_DYNAMIC) {
      library.dynamic = reinterpret_cast<const void*>(info.dlpi_addr + header.p_vaddr);
    }
  }
  return library;
}

struct Search {
  const char* soname = nullptr;
  const void* address = nullptr;
  LoadedLibrary found;
};

int visit(dl_phdr_info* info, std::size_t, void* argument) {
  auto& search = *static_cast<Search*>(argument);
  const LoadedLibrary library = library_from(*info);
  if (!library) return 0;
  if (search.soname != nullptr) {
    const char* soname = soname_of(library);
    if (soname == nullptr || !same_text(soname, search.soname)) return 0;
  } else if (!library.contains(search.address)) {
    return 0;
  }
  search.found = library;
  return 1;
}

// glibc gives the child of a fork two of the loader's locks anew, but not the one that a walk holds: a fork during
// another thread's walk would leave a child that hangs at its own first. So forks and walks keep out of each other's
// way. Both give up after a while, for one thread may be at both: a signal handler, or another library's fork handler.
// The while is longer than a busy machine keeps a thread from its processor in the middle of a walk.
constexpr unsigned kPatience = 10'000;
constexpr std::uint64_t kPatienceStepNs = 50'000;
std::atomic<int> forks{0}, walks{0};

void wait_until_none(const std::atomic<int>& others) {
  for (unsigned i = 0; others.load() > 0 && i < kPatience; ++i) region::os::sleep_ns(kPatienceStepNs);
}

LoadedLibrary find_library(Search search) {
  const region::os::KeepErrno keep;
  walks.fetch_add(1);
  while (forks.load() > 0) {
    walks.fetch_sub(1);
    wait_until_none(forks);
    walks.fetch_add(1);
    if (forks.load() > 0) break;  // perhaps our own
  }
  dl_iterate_phdr(visit, &search);
  walks.fetch_sub(1);
  return search.found;
}

}  // namespace

void elf_before_fork() {
  const region::os::KeepErrno keep;
  forks.fetch_add(1);
  wait_until_none(walks);
}

void elf_after_fork(bool in_child) {
  if (in_child) {
    forks.store(0);
    walks.store(0);
  } else {
    forks.fetch_sub(1);
  }
}

LoadedLibrary find_library_by_soname(const char* soname) {
  Search search;
  search.soname = soname;
  return find_library(search);
}

LoadedLibrary find_library_by_address(const void* address) {
  Search search;
  search.address = address;
  return find_library(search);
}

const char* soname_of(const LoadedLibrary& library) {
  const Tables tables = tables_of(library);
  return tables.strings != nullptr && tables.soname_offset != 0 ? tables.strings + tables.soname_offset : nullptr;
}

void* find_symbol(const LoadedLibrary& library, const char* name) {
  if (!library) return nullptr;
  const Tables tables = tables_of(library);
  if (tables.symbols == nullptr || tables.strings == nullptr) return nullptr;
  std::uint32_t index = 0;
  if (tables.gnu_hash != nullptr) index = find_by_gnu_hash(tables, name);
  if (index == 0 && tables.sysv_hash != nullptr) index = find_by_sysv_hash(tables, name);
  if (index == 0) return nullptr;
  const ElfW(Addr) address = library.base + tables.symbols[index].st_value;
  return reinterpret_cast<void*>(address);
}

}  // namespace kiboko::shim
