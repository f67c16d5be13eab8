#include "node/host_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiboko {
namespace {

using testing::HasSubstr;

TEST(HostMemory, IsReadFromTheKernelsTable) {
  const auto memory = parse_host_memory(
      "MemTotal:       24604328 kB\nMemFree:         1000000 kB\nMemAvailable:   22017404 kB\nHugePages_Total:       "
      "0\n");
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->total, Bytes{24604328ULL * 1024});
  EXPECT_EQ(memory->available, Bytes{22017404ULL * 1024});
}

TEST(HostMemory, ATableWithoutItIsAnError) {
  for (const char* text : {"", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB", "MemTotal:\nMemAvailable: kB",
                           "MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\n"}) {
    const auto memory = parse_host_memory(text);
    ASSERT_FALSE(memory) << text;
    EXPECT_THAT(memory.error().message, HasSubstr("MemTotal"));
  }
}

TEST(HostMemory, OfThisHostIsKnown) {
  const auto memory = read_host_memory();
  ASSERT_TRUE(memory);
  EXPECT_GT(memory->total, memory->available);
}

}  // namespace
}  // namespace kiboko
