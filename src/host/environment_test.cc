#include "host/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiboko {
namespace {

using testing::Pair;
using testing::UnorderedElementsAre;

Grant on_two_devices(GrantKind kind) {
  Grant grant;
  grant.kind = kind;
  grant.devices = {{{"GPU-0"}, 0, "", {}, {}, {}}, {{"GPU-1"}, 1, "", {}, {}, {}}};
  return grant;
}

TEST(Environment, AShareHasTheLibraryAndItsPage) {
  EXPECT_THAT(
      environment_of(on_two_devices(GrantKind::Share), "/run/page", {"/lib/libkiboko.so", "/lib/sim", ""}),
      UnorderedElementsAre(Pair("KIBOKO_GRANT", "/run/page"), Pair("LD_PRELOAD", "/lib/libkiboko.so"),
                           Pair("CUDA_VISIBLE_DEVICES", "GPU-0,GPU-1"), Pair("NVIDIA_VISIBLE_DEVICES", "GPU-0,GPU-1")));
}

TEST(Environment, AWholeDeviceHasNeither) {
  EXPECT_THAT(environment_of(on_two_devices(GrantKind::Exclusive), "/run/page", {"/lib/libkiboko.so", "/lib/sim", ""}),
              UnorderedElementsAre(Pair("KIBOKO_GRANT", std::nullopt), Pair("CUDA_VISIBLE_DEVICES", "GPU-0,GPU-1"),
                                   Pair("NVIDIA_VISIBLE_DEVICES", "GPU-0,GPU-1")));
}

TEST(Environment, SimulatedDevicesAreFoundByNameAndPath) {
  const auto environment =
      environment_of(on_two_devices(GrantKind::Exclusive), "", {"/lib/libkiboko.so", "/lib/sim", "agent-0"});
  EXPECT_EQ(environment.at("KIBOKO_SIM"), "agent-0");
  EXPECT_EQ(environment.at("LD_LIBRARY_PATH"), "/lib/sim");
}

}  // namespace
}  // namespace kiboko
