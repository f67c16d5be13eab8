#include "cli/environment.h"

#include <gmock/gmock.h>

namespace kiboko::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(MergedEnvironment, SetsReplacesAndRemoves) {
  EXPECT_THAT(merged({"HOME=/root", "CUDA_VISIBLE_DEVICES=all", "OLD=1"},
                     {{"CUDA_VISIBLE_DEVICES", "GPU-1"}, {"OLD", std::nullopt}, {"KIBOKO_GRANT", "/run/page"}}),
              ElementsAre("HOME=/root", "CUDA_VISIBLE_DEVICES=GPU-1", "KIBOKO_GRANT=/run/page"));
}

TEST(MergedEnvironment, PutsLibrariesInFrontOfTheCallers) {
  const EnvironmentChanges changes = {{"LD_PRELOAD", "/lib/k.so"}, {"LD_LIBRARY_PATH", "/lib/sim"}};
  EXPECT_THAT(merged({"LD_PRELOAD=/usr/lib/jemalloc.so", "LD_LIBRARY_PATH=/opt/cuda:"}, changes),
              ElementsAre("LD_LIBRARY_PATH=/lib/sim:/opt/cuda:", "LD_PRELOAD=/lib/k.so:/usr/lib/jemalloc.so"));
  EXPECT_THAT(merged({"LD_PRELOAD="}, changes), ElementsAre("LD_LIBRARY_PATH=/lib/sim", "LD_PRELOAD=/lib/k.so"));
}

TEST(MergedEnvironment, DoesNotRepeatALibraryInARunInsideARun) {
  EXPECT_THAT(merged({"LD_PRELOAD=/lib/k.so:/a.so"}, {{"LD_PRELOAD", "/lib/k.so"}}),
              ElementsAre("LD_PRELOAD=/lib/k.so:/a.so"));
}

TEST(MergedEnvironment, AWholeDeviceInsideAShareGoesWithoutTheLibrary) {
  const EnvironmentChanges whole = {{"KIBOKO_GRANT", std::nullopt}};
  EXPECT_THAT(merged({"KIBOKO_GRANT=/page", "LD_PRELOAD=/opt/lib/libkiboko.so:/a.so"}, whole),
              ElementsAre("LD_PRELOAD=/a.so"));
  EXPECT_THAT(merged({"KIBOKO_GRANT=/page", "LD_PRELOAD=/opt/lib/libkiboko.so"}, whole), IsEmpty());
  EXPECT_THAT(merged({"LD_PRELOAD=/a.so"}, whole), ElementsAre("LD_PRELOAD=/a.so"));
}

TEST(MergedEnvironment, LeavesOddEntriesAlone) {
  EXPECT_THAT(merged({"odd", "A=1", "A=2"}, {{"odd", "x"}}), ElementsAre("odd", "A=1", "A=2", "odd=x"));
  EXPECT_THAT(merged({"A=1", "A=2"}, {{"A", std::nullopt}}), IsEmpty());
}

TEST(Variables, AreFoundByTheirWholeName) {
  EXPECT_EQ(find_variable({"PATHS=x", "PATH=/bin"}, "PATH"), "/bin");
  EXPECT_EQ(find_variable({"PATHS=x"}, "PATH"), std::nullopt);
}

}  // namespace
}  // namespace kiboko::cli
