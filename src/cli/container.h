// `kiboko run --container podman -- run …`: the same grant, handed to a container.
//
// The engine's own command line stays the user's; what the grant needs is put behind its `run`: the environment, the
// library, the page (read-only) and the region at the paths they have outside, and the devices. Main thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/wire.h"

namespace kiboko::cli {

struct ContainerHost {
  std::vector<std::string> simulation_files;  // of the simulated device, in /dev/shm
  bool has_cdi = false;                       // the container toolkit has described the devices
};
ContainerHost look_at_host(const GrantView& grant);

// `words` are what stands behind the engine's name. Invalid when there is no `run` among them.
Result<std::vector<std::string>> container_arguments(const std::string& engine, const std::vector<std::string>& words,
                                                     const GrantView& grant, const ContainerHost& host,
                                                     const std::string& cid_file);

// Where the engine writes the container's ID: the user's --cidfile, or one of ours that is removed with this object.
class CidFile {
 public:
  static Result<CidFile> choose(const std::vector<std::string>& words);
  ~CidFile();
  CidFile(CidFile&& other) noexcept;
  CidFile& operator=(CidFile&&) = delete;
  const std::string& path() const { return path_; }
  bool is_ours() const { return !directory_.empty(); }

 private:
  CidFile() = default;
  std::string path_, directory_;
};

// The processes that stand for the container, once it runs: its monitor (conmon, a containerd shim), which lives as
// long as it does, and where that does not take them out of the container's own control group, its programs. Empty
// while it does not run yet.
std::vector<pid_t> container_processes(const std::string& engine_path, const std::string& cid_file);

// After the grant was ended by force, and with it the engine's own processes: lets the engine see that its container is
// gone, and remove it if `words` ask for that (--rm).
void tidy_container(const std::string& engine_path, const std::vector<std::string>& words, const std::string& cid_file);

}  // namespace kiboko::cli
