// A weak body for every name of the list: "not supported", which is also what a real driver says of most of them on
// most devices. A function that the simulation does answer is an ordinary one elsewhere and wins at link time.
#include "nvml_core.h"

#define NVML(name)                                                              \
  extern "C" __attribute__((weak, visibility("default"))) nvml::Return name() { \
    const nvml::Return early = nvml::enter(#name);                              \
    return early != nvml::kSuccess ? early : nvml::kNotSupported;               \
  }
#include "nvml_functions.def"
#undef NVML
