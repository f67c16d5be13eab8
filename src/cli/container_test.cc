#include "cli/container.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "base/file.h"

namespace kiboko::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GrantView share() {
  GrantView grant;
  grant.id = "g-1";
  grant.page = "/run/k/page";
  grant.region = "/run/k/region";
  grant.devices.emplace_back().uuid = "GPU-1";
  grant.environment = {{"LD_PRELOAD", "/lib/libkiboko.so"}, {"KIBOKO_GRANT", "/run/k/page"}, {"GONE", std::nullopt}};
  return grant;
}

TEST(ContainerArguments, StandRightBehindRunAndLeaveTheRestAlone) {
  EXPECT_THAT(
      container_arguments("podman", {"--log-level", "debug", "run", "--rm", "image", "run"}, share(), {}, "/c").value(),
      ElementsAre("podman", "--log-level", "debug", "run", "--env", "KIBOKO_GRANT=/run/k/page", "--env",
                  "LD_PRELOAD=/lib/libkiboko.so", "--volume", "/lib/libkiboko.so:/lib/libkiboko.so:ro", "--volume",
                  "/run/k/page:/run/k/page:ro", "--volume", "/run/k/region:/run/k/region", "--device",
                  "nvidia.com/gpu=GPU-1", "--cidfile", "/c", "--rm", "image", "run"));
}

TEST(ContainerArguments, BringASimulatedDeviceInAndAskForNoRealOne) {
  GrantView grant = share();
  grant.environment = {{"KIBOKO_SIM", "one"}, {"LD_LIBRARY_PATH", "/lib/sim"}};
  EXPECT_THAT(
      container_arguments("docker", {"run", "image"}, grant, {{"/dev/shm/kiboko-sim-one"}, false}, "").value(),
      ElementsAre("docker", "run", "--env", "KIBOKO_SIM=one", "--env", "LD_LIBRARY_PATH=/lib/sim", "--volume",
                  "/run/k/page:/run/k/page:ro", "--volume", "/run/k/region:/run/k/region", "--volume",
                  "/lib/sim:/lib/sim:ro", "--volume", "/dev/shm/kiboko-sim-one:/dev/shm/kiboko-sim-one", "image"));
}

TEST(ContainerArguments, UseDockersOwnOptionWhereNoToolkitHasDescribedTheDevices) {
  const auto arguments = container_arguments("docker", {"run", "image"}, share(), {}, "").value();
  EXPECT_THAT(arguments, testing::IsSupersetOf({"--gpus", "\"device=GPU-1\""}));
}

TEST(ContainerArguments, NeedARun) {
  const auto result = container_arguments("docker", {"image"}, share(), {}, "");
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("run [OPTIONS] IMAGE"));
}

TEST(CidFile, IsTheUsersOrOneThatGoesAgain) {
  EXPECT_EQ(CidFile::choose({"run", "--cidfile", "/x", "image"})->path(), "/x");
  EXPECT_EQ(CidFile::choose({"run", "--cidfile=/y", "image"})->path(), "/y");
  std::string directory;
  {
    const CidFile ours = CidFile::choose({"run", "image"}).value();
    directory = directory_of(ours.path());
    EXPECT_TRUE(ours.is_ours());
    EXPECT_EQ(::access(directory.c_str(), F_OK), 0);
  }
  EXPECT_NE(::access(directory.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace kiboko::cli
