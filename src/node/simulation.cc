#include "node/simulation.h"

#include <dlfcn.h>

#include <cstdlib>

namespace kiboko {

Result<void> create_simulation(const Simulation& simulation) {
  const std::string path = simulation.library_dir + "/libcuda.so.1";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return fail(Errc::NotFound, "no simulated driver: {}", ::dlerror());
  using Create = int (*)(const char* name, const char* spec, char* error, std::size_t error_bytes);
  const auto create = reinterpret_cast<Create>(::dlsym(library, "kiboko_sim_create"));
  if (create == nullptr) return fail(Errc::Invalid, "{} is not Kiboko's simulated driver", path);
  char error[512] = {};
  // The number of devices, or -1.
  if (create(simulation.name.c_str(), simulation.spec.c_str(), error, sizeof error) <= 0)
    return fail(Errc::Invalid, "cannot simulate '{}': {}", simulation.spec, error);
  ::setenv("KIBOKO_SIM", simulation.name.c_str(), 1);
  return {};
}

}  // namespace kiboko
