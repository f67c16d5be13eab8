// Modules, libraries, functions. The code in an image is never run; only its size and its names matter.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "driver.h"

namespace sim {

// What a launch needs to know of a function. A kernel is the same thing before a context is chosen.
struct Function : Object<Tag::kFunction> {
  static constexpr Tag kTag = Tag::kFunction;
  std::string name;
  bool spin = false;  // kiboko_spin_ns: runs for as long as its first parameter says
  Module* module = nullptr;
  struct Library* library = nullptr;
  int attributes[16] = {};
  // The launch interface of old: cuFuncSetBlockShape, cuParamSet*, cuLaunch.
  unsigned block[3] = {1, 1, 1};
  unsigned char parameters[64] = {};
};

struct Module : Object<Tag::kModule> {
  static constexpr Tag kTag = Tag::kModule;
  Context* context = nullptr;
  std::uint64_t charged = 0;
  bool listed = false;  // PTX text: only these names exist
  std::vector<std::string> names;
  std::unordered_map<std::string, std::unique_ptr<Function>> functions;
  std::unordered_map<std::string, CUdeviceptr> globals;
  struct Library* library = nullptr;
};

// A CUkernel is launched without a CUfunction: loads its library's code in the context.
CUresult load_kernel(CUfunction handle, Context& context);

// The function behind a CUfunction or a CUkernel, or nullptr.
Function* find_function(CUfunction handle);

}  // namespace sim
