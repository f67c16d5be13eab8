#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/commands.h"

namespace kiboko::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAcme = R"(key: ACME
title: Acme boards
resources:
  count: {name: acme.example/board}
discover: {source: annotation, key: acme.example/boards}
emit: {allocated: acme.example/allocated}
)";

class Vendors : public testing::Test {
 protected:
  Vendors() {
    char name[] = "/tmp/kiboko-vendors-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~Vendors() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name, std::string_view text) const {
    const std::string path = folder_ + "/" + name;
    EXPECT_TRUE(write_file_atomically(path, text));
    return path;
  }

  int run(std::vector<std::string> words) {
    out_.clear();
    err_.clear();
    Output out{&out_, 200}, err{&err_, 200};
    const FakeClock clock;
    Context context{out, err, clock, [](const auto&) { return find_agent("/nonexistent/agent.sock"); }};
    words.insert(words.begin(), "vendors");
    return run_command_line(words, context);
  }

  std::string folder_, out_, err_;
};

TEST_F(Vendors, AreListedWithoutAnAgent) {
  EXPECT_EQ(run({}), kDone);
  EXPECT_THAT(out_, AllOf(HasSubstr("NVIDIA"), HasSubstr("nvidia.com/gpu"), HasSubstr("Ascend310P"),
                          HasSubstr("3 sizes"), HasSubstr("512 MiB"), HasSubstr("vastai.yaml")));
}

TEST_F(Vendors, TheJsonHasEveryFamily) {
  EXPECT_EQ(run({"list", "-o", "json"}), kDone);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["families"].size(), 25U);
  EXPECT_EQ(json["families"][0]["resources"]["memory"], "nvidia.com/gpumem");
  EXPECT_EQ(json["families"][2]["modes"][0], "huawei.com/vnpu-mode=hami-core");
}

TEST_F(Vendors, OneIsShownInFull) {
  EXPECT_EQ(run({"show", "DCU"}), kDone);
  EXPECT_THAT(out_, AllOf(HasSubstr("key: DCU"), HasSubstr("name: hygon.com/dcumem")));
  EXPECT_EQ(run({"show", "DUC"}), kNegative);
  EXPECT_THAT(err_, HasSubstr("there is no family 'DUC'"));
}

TEST_F(Vendors, AFolderAddsAndChangesFamilies) {
  file("b.yaml", "extends: DCU\ntitle: Our DCUs\n");
  file("a.yaml", kAcme);
  file("notes.txt", "no profile");
  EXPECT_EQ(run({"list", "--profiles", folder_}), kDone) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("ACME"), HasSubstr("Our DCUs"), Not(HasSubstr("notes"))));
  EXPECT_EQ(run({"list", "--profiles", folder_ + "/none"}), kNegative);
}

TEST_F(Vendors, AFileIsCheckedByLineAndKey) {
  const std::string good = file("good.yaml", kAcme), bad = file("bad.yaml", "key: X\nresource: {}\n");
  EXPECT_EQ(run({"check", good}), kDone);
  EXPECT_EQ(out_, good + ": good: ACME\n");
  EXPECT_EQ(run({"check", bad, good, folder_ + "/none.yaml"}), kNegative);
  EXPECT_THAT(err_, AllOf(HasSubstr("bad.yaml"), HasSubstr("resources: is missing"), HasSubstr("none.yaml")));
  EXPECT_THAT(out_, HasSubstr("good: ACME"));
}

TEST_F(Vendors, AnImportedConfigurationIsAProfileFile) {
  const std::string config = file(
      "device-config.yaml", "nvidia:\n  resourceCountName: my.org/gpu\n  colour: green\nhygon:\n  memoryFactor: 4\n");
  EXPECT_EQ(run({"import", config}), kDone);
  EXPECT_THAT(err_, HasSubstr("device-config.yaml:3: nvidia.colour is ignored"));
  std::filesystem::create_directory(folder_ + "/profiles");
  file("profiles/hami.yaml", out_);
  EXPECT_EQ(run({"list", "--profiles", folder_ + "/profiles"}), kDone) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("my.org/gpu"), HasSubstr("4 MiB")));
}

TEST_F(Vendors, WrongUsageSaysWhatThereIs) {
  EXPECT_EQ(run({"lst"}), kWrongUsage);
  EXPECT_THAT(err_, HasSubstr("import device-config.yaml"));
  EXPECT_EQ(run({"show"}), kWrongUsage);
  EXPECT_EQ(run({"import", file("x.yaml", "a: 1\n")}), kWrongUsage);
}

}  // namespace
}  // namespace kiboko::cli
