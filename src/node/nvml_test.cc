#include "node/nvml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace kiboko {
namespace {

using testing::HasSubstr;

class Variable {
 public:
  explicit Variable(const char* name) : name_(name) { ::setenv(name, "1", 1); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { ::unsetenv(name_); }

 private:
  const char* name_;
};

TEST(Nvml, DevicesAreRead) {
  NvmlLibrary library(TINY_NVML, true);
  const Survey survey = library.survey().value();
  ASSERT_EQ(survey.devices.size(), 2U);
  EXPECT_EQ(survey.driver_version, "535.1");
  EXPECT_EQ(survey.devices[1].uuid.text, "GPU-tiny-1");
  EXPECT_EQ(survey.devices[1].index, 1U);
  EXPECT_EQ(survey.devices[1].model, "Tiny 16GB");
  EXPECT_EQ(survey.devices[1].total, 16_GiB);
  EXPECT_EQ(survey.devices[1].minor, -1);
  EXPECT_TRUE(survey.devices[1].simulated);
  EXPECT_EQ(survey.samples[1].used, 4_GiB);
}

TEST(Nvml, AListLongerThanExpectedIsReadWhole) {
  NvmlLibrary library(TINY_NVML, false);
  const Survey survey = library.survey().value();
  ASSERT_EQ(survey.samples[0].processes.size(), 100U);
  EXPECT_EQ(survey.samples[0].processes[1].used, Bytes{1024});
}

TEST(Nvml, AFigureThatIsNotKnownIsNotZero) {
  NvmlLibrary library(TINY_NVML, false);
  const Survey survey = library.survey().value();
  EXPECT_EQ(survey.samples[0].processes[99].used, std::nullopt);
  EXPECT_EQ(survey.samples[0].processes[99].compute_percent, std::nullopt);
  EXPECT_EQ(survey.samples[0].compute_percent, std::nullopt);
}

TEST(Nvml, UtilisationIsTheMeanOfTheNewSamples) {
  NvmlLibrary library(TINY_NVML, false);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(library.survey().value().samples[0].processes[0].compute_percent, 30U);
}

TEST(Nvml, ALostDeviceIsSickAndTheOtherIsNot) {
  NvmlLibrary library(TINY_NVML, false);
  ASSERT_TRUE(library.survey());
  const Variable lost("TINY_NVML_LOST");
  const Survey survey = library.survey().value();
  EXPECT_TRUE(survey.devices[0].healthy);
  EXPECT_FALSE(survey.devices[1].healthy);
  EXPECT_THAT(survey.devices[1].trouble, HasSubstr("GPU is lost"));
}

TEST(Nvml, AFailedStartIsTriedAgain) {
  NvmlLibrary library(TINY_NVML, false);
  {
    const Variable broken("TINY_NVML_BROKEN");
    EXPECT_THAT(library.survey().error().message, HasSubstr("Driver Not Loaded"));
  }
  EXPECT_TRUE(library.survey());
}

TEST(Nvml, AMissingLibraryIsNamed) {
  NvmlLibrary library("/nonexistent/libnvidia-ml.so.1", false);
  const auto survey = library.survey();
  ASSERT_FALSE(survey);
  EXPECT_EQ(survey.error().code, Errc::NotFound);
  EXPECT_THAT(survey.error().message, HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace kiboko
