// Who may do what: programs under other users than the agent's, and everything under one user.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class Users : public OneHost {
 protected:
  // A shell command as an unprivileged user.
  int as_somebody(const std::string& script) const {
    return run(start({"/bin/sh", "-c", script}, kSomebody)).exit_code();
  }
};

TEST_F(Users, ATenantCannotWriteItsPageAndCanUseItsRegion) {
  SKIP_UNLESS_SOMEBODY_CAN_RUN_IT();
  start_agent();
  Child theirs = tenant({"--memory", "10GiB"}, kSomebody);
  const std::string id = grant_of(theirs), folder = folder_of(id);
  EXPECT_EQ(grant(id)["mode"], "enforced");
  EXPECT_EQ(grant(id)["owner"]["uid"], kSomebody);
  EXPECT_EQ(memory_of(theirs).total, 10 * kGiB);
  EXPECT_EQ(allocate(theirs, 11 * kGiB), kOutOfMemory);
  EXPECT_EQ(allocate(theirs, 9 * kGiB), 0);
  EXPECT_TRUE(eventually([&] { return grant(id)["devices"][0]["used_bytes"] > 9 * kGiB; }));
  EXPECT_EQ(as_somebody("test -r " + folder + "/page"), 0);
  EXPECT_NE(as_somebody("test -w " + folder + "/page"), 0);
  EXPECT_NE(as_somebody("echo x >> " + folder + "/page"), 0);
  EXPECT_NE(as_somebody("rm -f " + folder + "/page"), 0);
  EXPECT_NE(as_somebody("mv " + folder + " " + folder + "x"), 0);
  EXPECT_EQ(as_somebody("test -w " + folder + "/region.cache"), 0);
  EXPECT_EQ(memory_of(theirs).total, 10 * kGiB);
}

TEST_F(Users, AnothersGrantIsNeitherShownInFullNorManaged) {
  SKIP_UNLESS_SOMEBODY_CAN_RUN_IT();
  start_agent();
  Child mine = tenant({"--memory", "10GiB"}), theirs = tenant({"--memory", "20GiB"}, kSomebody);
  const std::string my_id = grant_of(mine), their_id = grant_of(theirs);
  const Json listed = Json::parse(spawn({"ps", "--output", "json"}, kSomebody).wait().out, nullptr, false);
  EXPECT_THAT(listed.dump(), HasSubstr(their_id));
  for (const Json& grant : listed["grants"]) {
    if (grant["id"] != my_id) continue;
    EXPECT_THAT(grant["command"], IsEmpty());
    EXPECT_FALSE(grant.contains("environment"));
    EXPECT_TRUE(!grant.contains("processes") || grant["processes"].empty());
  }
  EXPECT_EQ(spawn({"resize", my_id, "--memory", "1GiB"}, kSomebody).wait().exit_code(), 1);
  const Ended denied = spawn({"release", "--force", my_id}, kSomebody).wait();
  EXPECT_EQ(denied.exit_code(), 1);
  EXPECT_THAT(denied.err, HasSubstr("belongs to"));
  EXPECT_NE(as_somebody("cat " + folder_of(my_id) + "/region.cache"), 0);
  EXPECT_EQ(memory_of(mine).total, 10 * kGiB);
  EXPECT_EQ(kiboko({"release", "--force", their_id}).exit_code(), 0);  // root may
  EXPECT_EQ(state(my_id), "running");
}

TEST_F(Users, ATenantMayEndAndResizeItsOwn) {
  SKIP_UNLESS_SOMEBODY_CAN_RUN_IT();
  start_agent();
  Child theirs = tenant({"--memory", "20GiB"}, kSomebody);
  const std::string id = grant_of(theirs);
  EXPECT_EQ(spawn({"resize", id, "--memory", "30GiB"}, kSomebody).wait().exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return memory_of(theirs).total == 30 * kGiB; }));
  EXPECT_EQ(spawn({"release", "--force", id}, kSomebody).wait().exit_code(), 0);
  EXPECT_EQ(theirs.wait().exit_code(), 128 + SIGTERM);
}

// Everything under one ordinary user, as on a shared machine without root.
TEST_F(Users, AnAgentWithoutRootServesItsUser) {
  SKIP_UNLESS_SOMEBODY_CAN_RUN_IT();
  ASSERT_EQ(::chown(path("").c_str(), kSomebody, kSomebody), 0);
  start_agent({}, kSomebody);
  Child first = tenant({"--memory", "30GiB"}, kSomebody), second = tenant({"--memory", "45GiB"}, kSomebody);
  EXPECT_EQ(memory_of(first).total, 30 * kGiB);
  EXPECT_EQ(allocate(first, 31 * kGiB), kOutOfMemory);
  EXPECT_EQ(memory_of(second).total, 45 * kGiB);
  const std::string id = grant_of(first);
  EXPECT_EQ(grant(id)["mode"], "cooperative");
  EXPECT_THAT(spawn({"ps"}, kSomebody).wait().out, HasSubstr("cooperative"));
  EXPECT_THAT(spawn({"doctor"}, kSomebody).wait().out, HasSubstr("cooperative"));
  EXPECT_EQ(spawn({"release", "--force", id}, kSomebody).wait().exit_code(), 0);
  EXPECT_EQ(first.wait().exit_code(), 128 + SIGTERM);
  EXPECT_TRUE(eventually([&] { return granted_bytes() == 45 * kGiB; }));
}

TEST_F(Users, AStateFolderOfAnotherUserIsNamed) {
  SKIP_UNLESS_SOMEBODY_CAN_RUN_IT();
  std::filesystem::create_directory(path("run"));
  ASSERT_EQ(::chown(path("run").c_str(), kSomebody, kSomebody), 0);
  const Ended ended = run(start(agent_command(), kSomebody));
  EXPECT_EQ(ended.exit_code(), 125);
  EXPECT_THAT(ended.err, HasSubstr(path("state")));
}

}  // namespace
}  // namespace kiboko::host_test
