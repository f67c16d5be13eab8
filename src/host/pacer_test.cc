#include "host/pacer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <functional>
#include <thread>

#include "host/testing.h"
#include "region/layout.h"
#include "region/os.h"

namespace kiboko::host {
namespace {

using testing_host::Directory;
using namespace std::chrono_literals;

constexpr std::uint64_t kSecond = 1'000'000'000;

bool eventually(const std::function<bool()>& condition) {
  for (const auto give_up = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < give_up;) {
    if (condition()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

// A grant of one device, and a region that says what the test says.
class Tenant {
 public:
  Tenant(const Directory& directory, const std::string& id, std::uint32_t priority) : id_(id), path_(directory / id) {
    region::GrantSettings settings{};
    settings.priority = priority;
    region::seal_new_page(*page_, settings);
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(::ftruncate(fd, region::kRegionBytes), 0);
    bytes_ = static_cast<char*>(::mmap(nullptr, region::kRegionBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ::close(fd);
    extension().header.live[0] = 1;
  }
  ~Tenant() { ::munmap(bytes_, region::kRegionBytes); }
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  void works_until(std::uint64_t when) {
    extension().devices[0].busy_until_ns[0] = when;
    extension().devices[0].backlog_until_ns = when;
    extension().devices[0].last_launch_ns = region::os::now_ns();
  }
  region::GrantLiveDevice& live() { return page_->live.devices[0]; }
  PacedGrant paced() const { return {id_, page_, path_, ::getuid(), {{"GPU-1", 0}}}; }

 private:
  region::Extension& extension() { return *reinterpret_cast<region::Extension*>(bytes_ + region::kExtensionOffset); }
  std::string id_, path_;
  std::shared_ptr<region::GrantPage> page_ = std::make_shared<region::GrantPage>();
  char* bytes_;
};

class PacerOf : public testing::Test {
 protected:
  Directory directory;
  Tenant high{directory, "high", 0}, low{directory, "low", 1};
  Pacer pacer;
};

TEST_F(PacerOf, GrantsOfTwoPrioritiesHoldsTheLowerBackForAsLongAsTheHigherWorks) {
  pacer.grants_changed({high.paced(), low.paced()});
  high.works_until(region::os::now_ns() + 30 * kSecond);
  low.works_until(region::os::now_ns() + kSecond);
  EXPECT_TRUE(eventually([&] { return low.live().blocked == 1; }));
  EXPECT_GT(low.live().blocked_until_ns, 0U);
  EXPECT_LT(low.live().blocked_until_ns, region::os::now_ns() + kSecond) << "ends soon if nobody renews it";
  const std::uint64_t first = low.live().blocked_until_ns;
  EXPECT_TRUE(eventually([&] { return low.live().blocked_until_ns > first; })) << "is renewed";
  EXPECT_EQ(high.live().blocked, 0U);
  high.works_until(0);
  EXPECT_TRUE(eventually([&] { return low.live().blocked == 0; }));
}

TEST_F(PacerOf, GrantsOfTwoPrioritiesAllowsTheLowerLittleInFlight) {
  pacer.grants_changed({high.paced(), low.paced()});
  low.works_until(region::os::now_ns() + 30 * kSecond);
  EXPECT_TRUE(eventually([&] { return low.live().in_flight_us != 0 && high.live().watched == 1; }));
  EXPECT_EQ(high.live().in_flight_us, 0U);
  EXPECT_EQ(low.live().watched, 0U);
  EXPECT_EQ(low.live().blocked, 0U);
}

TEST_F(PacerOf, AGrantThatIsAloneAgainTakesEverythingBack) {
  pacer.grants_changed({high.paced(), low.paced()});
  high.works_until(region::os::now_ns() + 30 * kSecond);
  low.works_until(region::os::now_ns() + 30 * kSecond);
  ASSERT_TRUE(eventually([&] { return low.live().blocked == 1; }));
  pacer.grants_changed({low.paced()});
  EXPECT_TRUE(eventually([&] { return low.live().blocked == 0 && low.live().in_flight_us == 0; }));
}

// Somebody's coming or going is no reason to forget what was said of the others.
TEST_F(PacerOf, AGrantThatCameInBetweenLeavesNobodyContendedForLonger) {
  Tenant one{directory, "one", 1}, third{directory, "third", 1};
  pacer.grants_changed({one.paced(), low.paced()});
  one.works_until(region::os::now_ns() + 30 * kSecond);
  low.works_until(region::os::now_ns() + 30 * kSecond);
  ASSERT_TRUE(eventually([&] { return one.live().contended_until_ns != 0; }));
  pacer.grants_changed({third.paced(), low.paced(), one.paced()});
  low.works_until(0);
  EXPECT_TRUE(eventually([&] { return one.live().contended_until_ns == 0; }));
}

}  // namespace
}  // namespace kiboko::host
