#include "module.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "context.h"
#include "memory.h"

namespace sim {

struct Library : Object<Tag::kLibrary> {
  static constexpr Tag kTag = Tag::kLibrary;
  std::string image;  // kept: each context loads it at first use
  Module names;       // what it holds; not in any context
  std::unordered_map<Context*, Module*> loaded;
};

namespace {

std::mutex module_lock;

constexpr std::uint32_t kElfMagic = 0x464c457f, kFatbinMagic = 0xba55ed50, kFatbinWrapper = 0x466243b1;

template <class T>
T read_at(const void* image, std::size_t offset) {
  T value;
  memcpy(&value, static_cast<const char*>(image) + offset, sizeof value);
  return value;
}

// Byte by byte: a short text may end before the fourth.
bool begins_with(const void* image, std::uint32_t magic) {
  const auto* bytes = static_cast<const unsigned char*>(image);
  for (unsigned i = 0; i < 4; ++i) {
    if (bytes[i] != (magic >> (8 * i) & 0xff)) return false;
  }
  return true;
}

// An image comes without a length: binary formats say theirs, text ends at its zero byte.
std::size_t image_bytes(const void* image) {
  if (begins_with(image, kFatbinWrapper)) return image_bytes(read_at<const void*>(image, 8));
  if (begins_with(image, kFatbinMagic)) return read_at<std::uint16_t>(image, 6) + read_at<std::uint64_t>(image, 8);
  if (begins_with(image, kElfMagic)) {
    return read_at<std::uint64_t>(image, 40) +
           std::size_t{read_at<std::uint16_t>(image, 58)} * read_at<std::uint16_t>(image, 60);
  }
  return strlen(static_cast<const char*>(image));
}

bool is_ptx(std::string_view text) { return text.find(".version") != text.npos && text.find(".target") != text.npos; }

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

std::vector<std::string> entries_of(std::string_view text) {
  std::vector<std::string> names;
  constexpr std::string_view kEntry = ".entry";
  for (auto at = text.find(kEntry); at != text.npos; at = text.find(kEntry, at)) {
    at += kEntry.size();
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n')) ++at;
    const auto start = at;
    while (at < text.size() && is_name(text[at])) ++at;
    if (at > start) names.emplace_back(text.substr(start, at - start));
  }
  return names;
}

void read_names(Module& module, const void* image, std::size_t bytes) {
  const std::string_view text(static_cast<const char*>(image), bytes);
  module.listed = is_ptx(text);
  if (module.listed) module.names = entries_of(text);
}

CUresult load(Context& context, const void* image, std::size_t bytes, Module** out) {
  auto module = std::make_unique<Module>();
  module->context = &context;
  module->charged = rounded(std::max<std::uint64_t>(bytes, 2 * kMiB));
  read_names(*module, image, bytes);
  if (!charge(*driver.shared, context.queue().channel, module->charged)) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard<std::mutex> lock(module_lock);
  context.modules.insert(module.get());
  *out = module.release();
  return CUDA_SUCCESS;
}

CUresult load_here(CUmodule* out, const void* image, std::size_t bytes) {
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  Module* module = nullptr;
  const CUresult result = load(*context, image, bytes, &module);
  if (result == CUDA_SUCCESS) *out = handle<CUmodule>(module);
  return result;
}

CUresult read_file(const char* path, std::string& text) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return CUDA_ERROR_FILE_NOT_FOUND;
  char buffer[65536];
  ssize_t size;
  while ((size = read(file, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<std::size_t>(size));
  close(file);
  return text.empty() ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS;
}

void fill_attributes(Function& function) {
  function.attributes[0] = 1024;  // threads per block
  function.attributes[4] = 32;    // registers
  function.attributes[5] = 80;    // PTX version
  function.attributes[6] = 80;    // binary version
  function.attributes[8] = 49152;
  function.attributes[9] = -1;
}

// module_lock held. The function of that name, made at the first question; nullptr when the image has none.
Function* function_of(Module& module, const char* name) {
  const auto known = module.functions.find(name);
  if (known != module.functions.end()) return known->second.get();
  if (module.listed && std::find(module.names.begin(), module.names.end(), name) == module.names.end()) return nullptr;
  auto function = std::make_unique<Function>();
  function->name = name;
  function->spin = function->name == "kiboko_spin_ns";
  function->module = &module;
  function->library = module.library;
  fill_attributes(*function);
  Function* made = function.get();
  module.functions.emplace(name, std::move(function));
  return made;
}

void unload(Module* module) {
  refund(*driver.shared, module->context->queue().channel, module->charged);
  for (const auto& [name, address] : module->globals) {
    std::unique_lock<std::mutex> lock(memory_lock);
    Allocation* allocation = find_allocation(address);
    lock.unlock();
    if (allocation != nullptr) release(allocation);
  }
  delete module;
}

CUresult global_of(Module& module, const char* name, CUdeviceptr* address, std::size_t* bytes) {
  constexpr std::size_t kGlobalBytes = 512;
  std::lock_guard<std::mutex> lock(module_lock);
  if (module.listed) return CUDA_ERROR_NOT_FOUND;
  auto at = module.globals.find(name);
  if (at == module.globals.end()) {
    CUdeviceptr made = 0;
    const CUresult result = allocate(*module.context, kGlobalBytes, MemoryKind::kDevice, &made);
    if (result != CUDA_SUCCESS) return result;
    at = module.globals.emplace(name, made).first;
  }
  if (address != nullptr) *address = at->second;
  if (bytes != nullptr) *bytes = kGlobalBytes;
  return CUDA_SUCCESS;
}

// The library's module in the context, loaded at the first need.
CUresult module_in(Context& context, Library& library, Module** out) {
  {
    std::lock_guard<std::mutex> lock(module_lock);
    const auto known = library.loaded.find(&context);
    if (known != library.loaded.end()) {
      *out = known->second;
      return CUDA_SUCCESS;
    }
  }
  if (const CUresult result = load(context, library.image.data(), library.image.size(), out); result != CUDA_SUCCESS) {
    return result;
  }
  std::lock_guard<std::mutex> lock(module_lock);
  (*out)->library = &library;
  library.loaded[&context] = *out;
  return CUDA_SUCCESS;
}

CUresult module_in_context(Library& library, Module** out) {
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  return module_in(*context, library, out);
}

CUresult make_library(CUlibrary* out, std::string image) {
  auto library = std::make_unique<Library>();
  library->image = std::move(image);
  read_names(library->names, library->image.data(), library->image.size());
  library->names.library = library.get();
  *out = handle<CUlibrary>(library.release());
  return CUDA_SUCCESS;
}

}  // namespace

Function* find_function(CUfunction given) { return object<Function>(given); }

CUresult load_kernel(CUfunction given, Context& context) {
  const Function* function = find_function(given);
  if (function == nullptr || function->library == nullptr || function->module != &function->library->names)
    return CUDA_SUCCESS;
  Module* module = nullptr;
  return module_in(context, *function->library, &module);
}

void free_modules_of(Context& context) {
  std::vector<Module*> modules;
  {
    std::lock_guard<std::mutex> lock(module_lock);
    modules.assign(context.modules.begin(), context.modules.end());
    context.modules.clear();
    for (Module* module : modules) {
      if (module->library != nullptr) module->library->loaded.erase(&context);
    }
  }
  for (Module* module : modules) unload(module);
}

}  // namespace sim

using namespace sim;

// --- modules ---

SIM_FN(cuModuleLoadData, (CUmodule * out, const void* image), (out, image)) {
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return load_here(out, image, image_bytes(image));
}
SIM_FN(cuModuleLoadDataEx, (CUmodule * out, const void* image, unsigned count, int* options, void** values),
       (out, image, count, options, values)) {
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return load_here(out, image, image_bytes(image));
}
SIM_FN(cuModuleLoadFatBinary, (CUmodule * out, const void* image), (out, image)) {
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return load_here(out, image, image_bytes(image));
}
SIM_FN(cuModuleLoad, (CUmodule * out, const char* path), (out, path)) {
  if (out == nullptr || path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::string text;
  if (const CUresult result = read_file(path, text); result != CUDA_SUCCESS) return result;
  return load_here(out, text.data(), text.size());
}
SIM_FN(cuModuleUnload, (CUmodule given), (given)) {
  Module* module = object<Module>(given);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  {
    std::lock_guard<std::mutex> lock(module_lock);
    module->context->modules.erase(module);
  }
  unload(module);
  return CUDA_SUCCESS;
}
SIM_FN(cuModuleGetFunction, (CUfunction * out, CUmodule given, const char* name), (out, given, name)) {
  if (out == nullptr || name == nullptr || *name == 0) return CUDA_ERROR_INVALID_VALUE;
  Module* module = object<Module>(given);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::lock_guard<std::mutex> lock(module_lock);
  Function* function = function_of(*module, name);
  if (function == nullptr) return CUDA_ERROR_NOT_FOUND;
  *out = handle<CUfunction>(function);
  return CUDA_SUCCESS;
}
SIM_FN(cuModuleGetFunctionCount, (unsigned* out, CUmodule given), (out, given)) {
  Module* module = object<Module>(given);
  if (out == nullptr || module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(module_lock);
  *out = static_cast<unsigned>(module->listed ? module->names.size() : module->functions.size());
  return CUDA_SUCCESS;
}
SIM_FN(cuModuleEnumerateFunctions, (CUfunction * out, unsigned count, CUmodule given), (out, count, given)) {
  Module* module = object<Module>(given);
  if (out == nullptr || module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(module_lock);
  for (const std::string& name : module->names) function_of(*module, name.c_str());
  unsigned i = 0;
  for (const auto& [name, function] : module->functions) {
    if (i < count) out[i++] = handle<CUfunction>(function.get());
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuModuleGetGlobal_v2, (CUdeviceptr * address, std::size_t* bytes, CUmodule given, const char* name),
       (address, bytes, given, name)) {
  Module* module = object<Module>(given);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return global_of(*module, name, address, bytes);
}
SIM_FN(cuModuleGetLoadingMode, (int* out), (out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = 2;  // lazy
  return CUDA_SUCCESS;
}

// --- libraries and kernels ---

SIM_FN(cuLibraryLoadData,
       (CUlibrary * out, const void* image, int* jit, void** jit_values, unsigned jit_count, int* options,
        void** option_values, unsigned option_count),
       (out, image, jit, jit_values, jit_count, options, option_values, option_count)) {
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (begins_with(image, kFatbinWrapper)) image = read_at<const void*>(image, 8);
  return make_library(out, std::string(static_cast<const char*>(image), image_bytes(image)));
}
SIM_FN(cuLibraryLoadFromFile,
       (CUlibrary * out, const char* path, int* jit, void** jit_values, unsigned jit_count, int* options,
        void** option_values, unsigned option_count),
       (out, path, jit, jit_values, jit_count, options, option_values, option_count)) {
  if (out == nullptr || path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::string text;
  if (const CUresult result = read_file(path, text); result != CUDA_SUCCESS) return result;
  return make_library(out, std::move(text));
}
SIM_FN(cuLibraryUnload, (CUlibrary given), (given)) {
  Library* library = object<Library>(given);
  if (library == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::vector<Module*> modules;
  {
    std::lock_guard<std::mutex> lock(module_lock);
    for (const auto& [context, module] : library->loaded) {
      context->modules.erase(module);
      modules.push_back(module);
    }
  }
  for (Module* module : modules) unload(module);
  delete library;
  return CUDA_SUCCESS;
}
SIM_FN(cuLibraryGetKernel, (CUkernel * out, CUlibrary given, const char* name), (out, given, name)) {
  if (out == nullptr || name == nullptr || *name == 0) return CUDA_ERROR_INVALID_VALUE;
  Library* library = object<Library>(given);
  if (library == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::lock_guard<std::mutex> lock(module_lock);
  Function* function = function_of(library->names, name);
  if (function == nullptr) return CUDA_ERROR_NOT_FOUND;
  *out = handle<CUkernel>(function);
  return CUDA_SUCCESS;
}
SIM_FN(cuLibraryGetModule, (CUmodule * out, CUlibrary given), (out, given)) {
  Library* library = object<Library>(given);
  if (out == nullptr || library == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Module* module = nullptr;
  const CUresult result = module_in_context(*library, &module);
  if (result == CUDA_SUCCESS) *out = handle<CUmodule>(module);
  return result;
}
SIM_FN(cuLibraryGetKernelCount, (unsigned* out, CUlibrary given), (out, given)) {
  Library* library = object<Library>(given);
  if (out == nullptr || library == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = static_cast<unsigned>(library->names.names.size());
  return CUDA_SUCCESS;
}
SIM_FN(cuLibraryEnumerateKernels, (CUkernel * out, unsigned count, CUlibrary given), (out, count, given)) {
  Library* library = object<Library>(given);
  if (out == nullptr || library == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(module_lock);
  unsigned i = 0;
  for (const std::string& name : library->names.names) {
    if (i < count) out[i++] = handle<CUkernel>(function_of(library->names, name.c_str()));
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuLibraryGetGlobal, (CUdeviceptr * address, std::size_t* bytes, CUlibrary given, const char* name),
       (address, bytes, given, name)) {
  Library* library = object<Library>(given);
  if (library == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Module* module = nullptr;
  if (const CUresult result = module_in_context(*library, &module); result != CUDA_SUCCESS) return result;
  return global_of(*module, name, address, bytes);
}
SIM_FN(cuKernelGetFunction, (CUfunction * out, CUkernel given), (out, given)) {
  Function* kernel = object<Function>(given);
  if (out == nullptr || kernel == nullptr || kernel->library == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Module* module = nullptr;
  if (const CUresult result = module_in_context(*kernel->library, &module); result != CUDA_SUCCESS) return result;
  std::lock_guard<std::mutex> lock(module_lock);
  *out = handle<CUfunction>(function_of(*module, kernel->name.c_str()));
  return CUDA_SUCCESS;
}
SIM_FN(cuKernelGetLibrary, (CUlibrary * out, CUkernel given), (out, given)) {
  Function* kernel = object<Function>(given);
  if (out == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = handle<CUlibrary>(kernel->library);
  return CUDA_SUCCESS;
}

// --- functions ---

static CUresult get_attribute(int* out, int attribute, Function* function) {
  if (out == nullptr || attribute < 0 || attribute >= 16) return CUDA_ERROR_INVALID_VALUE;
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = function->attributes[attribute];
  return CUDA_SUCCESS;
}
static CUresult set_attribute(Function* function, int attribute, int value) {
  if (attribute < 8 || attribute >= 16) return CUDA_ERROR_INVALID_VALUE;
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  function->attributes[attribute] = value;
  return CUDA_SUCCESS;
}
static CUresult get_name(const char** out, Function* function) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = function->name.c_str();
  return CUDA_SUCCESS;
}
SIM_FN(cuFuncGetAttribute, (int* out, int attribute, CUfunction function), (out, attribute, function)) {
  return get_attribute(out, attribute, find_function(function));
}
SIM_FN(cuFuncSetAttribute, (CUfunction function, int attribute, int value), (function, attribute, value)) {
  return set_attribute(find_function(function), attribute, value);
}
SIM_FN(cuKernelGetAttribute, (int* out, int attribute, CUkernel kernel, CUdevice device),
       (out, attribute, kernel, device)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  return get_attribute(out, attribute, object<Function>(kernel));
}
SIM_FN(cuKernelSetAttribute, (int attribute, int value, CUkernel kernel, CUdevice device),
       (attribute, value, kernel, device)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  return set_attribute(object<Function>(kernel), attribute, value);
}
SIM_FN(cuFuncGetName, (const char** out, CUfunction function), (out, function)) {
  return get_name(out, find_function(function));
}
SIM_FN(cuKernelGetName, (const char** out, CUkernel kernel), (out, kernel)) {
  return get_name(out, object<Function>(kernel));
}
SIM_FN(cuFuncGetModule, (CUmodule * out, CUfunction given), (out, given)) {
  Function* function = find_function(given);
  if (out == nullptr || function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = handle<CUmodule>(function->module);
  return CUDA_SUCCESS;
}
static CUresult check_function(CUfunction function) {
  return find_function(function) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
SIM_FN(cuFuncSetCacheConfig, (CUfunction function, int config), (function, config)) { return check_function(function); }
SIM_FN(cuFuncSetSharedMemConfig, (CUfunction function, int config), (function, config)) {
  return check_function(function);
}
SIM_FN(cuKernelSetCacheConfig, (CUkernel kernel, int config, CUdevice device), (kernel, config, device)) {
  return object<Function>(kernel) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
SIM_FN(cuFuncLoad, (CUfunction function), (function)) { return check_function(function); }
SIM_FN(cuFuncIsLoaded, (int* state, CUfunction function), (state, function)) {
  if (state == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *state = 1;
  return check_function(function);
}

// --- occupancy ---

SIM_FN(cuOccupancyMaxActiveBlocksPerMultiprocessor,
       (int* out, CUfunction function, int block, std::size_t shared_bytes), (out, function, block, shared_bytes)) {
  if (out == nullptr || block <= 0) return CUDA_ERROR_INVALID_VALUE;
  *out = std::clamp(2048 / block, block <= 1024 ? 1 : 0, 32);
  return check_function(function);
}
SIM_FN(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
       (int* out, CUfunction function, int block, std::size_t shared_bytes, unsigned flags),
       (out, function, block, shared_bytes, flags)) {
  if (out == nullptr || block <= 0 || flags > 1) return CUDA_ERROR_INVALID_VALUE;
  *out = std::clamp(2048 / block, block <= 1024 ? 1 : 0, 32);
  return check_function(function);
}
using BlockToShared = std::size_t (*)(int block);
static CUresult potential_block_size(int* grid, int* block, CUfunction function, int limit) {
  if (grid == nullptr || block == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  *block = limit > 0 && limit < 1024 ? limit : 1024;
  *grid = static_cast<int>(device_at(context->ordinal).spec.sm_count) * std::max(1, 2048 / *block);
  return check_function(function);
}
SIM_FN(cuOccupancyMaxPotentialBlockSize,
       (int* grid, int* block, CUfunction function, BlockToShared to_shared, std::size_t shared_bytes, int limit),
       (grid, block, function, to_shared, shared_bytes, limit)) {
  return potential_block_size(grid, block, function, limit);
}
SIM_FN(cuOccupancyMaxPotentialBlockSizeWithFlags,
       (int* grid, int* block, CUfunction function, BlockToShared to_shared, std::size_t shared_bytes, int limit,
        unsigned flags),
       (grid, block, function, to_shared, shared_bytes, limit, flags)) {
  return potential_block_size(grid, block, function, limit);
}
SIM_FN(cuOccupancyAvailableDynamicSMemPerBlock, (std::size_t * out, CUfunction function, int blocks, int block_size),
       (out, function, blocks, block_size)) {
  if (out == nullptr || blocks <= 0 || block_size <= 0) return CUDA_ERROR_INVALID_VALUE;
  *out = 49152 / static_cast<std::size_t>(blocks);
  return check_function(function);
}
