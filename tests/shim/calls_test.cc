// Whatever is called, with sense or without: where nothing is limited, it answers as the driver does by itself, gives
// the same, and leaves the driver with as much taken. The calls are made by calls.cc.
#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class Calls : public OnDriver {
 protected:
  std::vector<std::string> calls() const {
    std::vector<std::string> command = {program("shim_calls")};
    if (std::string(GetParam().name) == "standin") command.push_back("sensible");
    if (tenant.environment.count("KIBOKO_GRANT") != 0) command.push_back("granted");
    return command;
  }
  std::vector<std::string> plain() {
    const std::vector<std::string> command = calls();
    const Environment kept = tenant.environment;
    tenant.environment.erase("KIBOKO_GRANT");
    tenant.with_shim(false);
    const Ended ended = tenant.run(command);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_THAT(ended.out, Not(HasSubstr("never asked"))) << "a hook that calls.cc does not know";
    tenant.environment = kept;
    return lines_of(ended.out);
  }
  void expect_the_drivers_answers() {
    const std::vector<std::string> want = plain();
    const Ended ended = tenant.run(calls());
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    const std::vector<std::string> got = lines_of(ended.out);
    EXPECT_EQ(got.size(), want.size());
    EXPECT_GT(want.size(), 150u);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < want.size() && i < got.size(); ++i)
      if (got[i] != want[i] && ++wrong <= 10) ADD_FAILURE() << "driver " << want[i] << "\n  got    " << got[i];
  }
};

TEST_P(Calls, AreAnsweredAsByTheDriverWithoutAGrant) { expect_the_drivers_answers(); }

TEST_P(Calls, AreAnsweredAsByTheDriverWhereEverythingIsOnlyCounted) {
  std::vector<Share> shares;
  for (unsigned i = 0; i < tenant.devices().size(); ++i) shares.push_back({i, 0});
  tenant.grant(shares);
  expect_the_drivers_answers();
}

KIBOKO_ON_EVERY_DRIVER(Calls);

}  // namespace
}  // namespace kiboko::shim_test
