// Segments reach the timeline when they are settled, some time after their work ended; the replay therefore stays
// behind the present by a few of the longest units (kLeastLagNs…kMostLagNs), and what arrives later than that is not
// given back.
#include "host/pacer.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "host/pacing.h"
#include "region/layout.h"

namespace kiboko::host {
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 10ms;
constexpr auto kQuickTick = 500us;
constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kActiveForNs = 200 * kMillisecond;
constexpr std::uint64_t kContendedForNs = 15'000 * kMillisecond;
constexpr std::uint64_t kBlockedForNs = 250 * kMillisecond;  // unless we say so again
constexpr std::uint64_t kLeastLagNs = 20 * kMillisecond;
constexpr std::uint64_t kMostLagNs = 900 * kMillisecond;      // the timeline reaches back little more
constexpr unsigned kMostSlots = 64;                           // of one grant that are looked at for turns
constexpr std::uint64_t kLeastStretchNs = 50 * kMillisecond;  // of covered time, for a look at concurrency
constexpr std::uint64_t kLongestStretchNs = 10'000 * kMillisecond;
constexpr std::uint64_t kUsageWindowNs = 200 * kMillisecond;

// Of this thread alone: a look that comes late is paid by those who wait for it. It is brief, and it must not queue
// behind the very programs that it watches. Without the right to this, it does what it can.
void be_prompt() {
  prctl(PR_SET_TIMERSLACK, 1);  // ns
  const sched_param least{.sched_priority = sched_get_priority_min(SCHED_RR)};
  sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &least);
}

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// A tenant's words for one device, copied.
struct WordsCopy {
  std::uint64_t raw[sizeof(region::DeviceWords) / 8];
  static constexpr std::size_t index_of(std::size_t offset) { return offset / 8; }
  std::uint64_t last_launch() const { return raw[index_of(offsetof(region::DeviceWords, last_launch_ns))]; }
  std::uint64_t charged() const { return raw[index_of(offsetof(region::DeviceWords, charged_ns))]; }
  std::uint64_t covered() const { return raw[index_of(offsetof(region::DeviceWords, covered_ns))]; }
  std::uint64_t longest_unit() const { return raw[index_of(offsetof(region::DeviceWords, longest_unit_ns))]; }
  std::uint64_t backlog_until() const { return raw[index_of(offsetof(region::DeviceWords, backlog_until_ns))]; }
  std::uint32_t waiting() const {
    return static_cast<std::uint32_t>(raw[index_of(offsetof(region::DeviceWords, waiting))]);
  }
  std::uint64_t busy_until() const {
    const std::uint64_t* first = raw + index_of(offsetof(region::DeviceWords, busy_until_ns));
    return *std::max_element(first, first + region::kBusyWords);
  }
  std::uint64_t bits_at(std::uint64_t word) const {
    const std::uint64_t value = raw[index_of(offsetof(region::DeviceWords, cover)) + word % region::kCoverWords];
    constexpr std::uint64_t kMask = (std::uint64_t{1} << region::kCoverBits) - 1;
    const std::uint64_t epoch = word / region::kCoverWords;
    return (value >> region::kCoverBits) == (epoch & 0xffff) ? value & kMask : 0;
  }
};

class Tenant {
 public:
  Tenant(PacedGrant grant, unsigned index) : grant_(std::move(grant)), index_(index) {}
  ~Tenant() {
    if (fd_ >= 0) ::close(fd_);
  }
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  bool is(const PacedGrant& grant, unsigned index) const {
    return grant_.id == grant.id && grant_.page == grant.page && grant_.region_path == grant.region_path &&
           grant_.region_owner == grant.region_owner && index_ == index;
  }

  // False while the region does not exist yet, or is not what it should be.
  bool read(bool timeline) {
    if (!open()) return false;
    const std::size_t bytes = timeline ? sizeof(region::DeviceWords) : offsetof(region::DeviceWords, cover);
    const auto at = static_cast<off_t>(region::kExtensionOffset + offsetof(region::Extension, devices) +
                                       index_ * sizeof(region::DeviceWords));
    return pread(fd_, words_.raw, bytes, at) == static_cast<ssize_t>(bytes);
  }

  // Has it processes that use the device?
  bool look_for_processes() {
    std::uint64_t live[region::kMaxSlots / 64] = {};
    constexpr auto kAt = region::kExtensionOffset + offsetof(region::ExtensionHeader, live);
    if (fd_ < 0 || pread(fd_, live, sizeof live, static_cast<off_t>(kAt)) != sizeof live) return false;
    has_processes_ = std::any_of(std::begin(live), std::end(live), [](std::uint64_t word) { return word != 0; });
    return has_processes_;
  }

  Standing standing(std::uint64_t now) {
    pauses_.look(words_.busy_until(), now);
    return {.priority = priority_,
            .busy_until_ns = words_.busy_until(),
            .has_processes = has_processes_,
            .active = is_active(now),
            .pause_ns = pauses_.worth_waiting_ns()};
  }

  void obey(const Precedence& verdict, std::uint64_t now) {
    region::GrantLiveDevice& words = live();
    words.watched.store(verdict.watched ? 1 : 0, std::memory_order_relaxed);
    words.in_flight_us.store(verdict.in_flight_us, std::memory_order_relaxed);
    if (verdict.blocked) words.blocked_until_ns.store(now + kBlockedForNs, std::memory_order_relaxed);
    const std::uint32_t before = words.blocked.exchange(verdict.blocked ? 1 : 0, std::memory_order_release);
    if (before != 0 && !verdict.blocked) region::wake_waiters(page());
  }

  // How many of its processes were busy at once lately: their own times added up, over the time that they cover.
  double concurrency() {
    std::uint64_t busy = 0;
    for (unsigned slot = 0; slot < kMostSlots; ++slot) {
      std::uint64_t value = 0;
      const auto at =
          static_cast<off_t>(region::kExtensionOffset + offsetof(region::Extension, counters) +
                             slot * sizeof(region::SlotCounterBlock) + index_ * sizeof(region::SlotCounters));
      if (pread(fd_, &value, sizeof value, at) != sizeof value) break;
      busy += value;
    }
    const std::uint64_t covered = words_.covered();
    const std::uint64_t covered_since = covered - concurrency_covered_;
    if (covered < concurrency_covered_ || busy < concurrency_busy_ || covered_since > kLongestStretchNs) {
      concurrency_ = 1;  // the first look, a slot that was used again, or nonsense
    } else if (covered_since >= kLeastStretchNs) {
      concurrency_ = std::clamp(static_cast<double>(busy - concurrency_busy_) / static_cast<double>(covered_since), 1.0,
                                static_cast<double>(kMostSlots));
    } else {
      return concurrency_;
    }
    concurrency_covered_ = covered;
    concurrency_busy_ = busy;
    return concurrency_;
  }

  GrantDemand demand(std::uint64_t now) {
    GrantDemand demand;
    const region::GrantLive& live = grant_.page->live;
    const auto& settings = grant_.page->settings[live.generation.load(std::memory_order_acquire) & 1];
    demand.core_percent = settings.devices[index_].core_percent;
    demand.priority = priority_ = settings.priority;
    demand.elastic = settings.core_policy == static_cast<std::uint32_t>(region::CorePolicy::Elastic);
    demand.hungry = words_.waiting() != 0 && launched_lately(now);
    demand.active = is_active(now);
    if (now - usage_since_ >= kUsageWindowNs) {
      const std::uint64_t charged = words_.charged();
      const double used = charged >= usage_charged_ ? static_cast<double>(charged - usage_charged_) : 0;
      used_percent_ = usage_since_ == 0 ? 0 : std::min(100.0, 100.0 * used / static_cast<double>(now - usage_since_));
      usage_charged_ = charged;
      usage_since_ = now;
    }
    demand.used_percent = used_percent_;
    return demand;
  }

  // Says until when others are at work, 0 = nobody is; what Host has said of a stranger stays. True if it is news.
  bool contend(std::uint64_t until) {
    std::uint64_t ours = contended_until_;
    if (until != 0)
      live().contended_until_ns.store(until, std::memory_order_relaxed);
    else if (ours != 0)
      live().contended_until_ns.compare_exchange_strong(ours, 0, std::memory_order_relaxed);
    const bool news = (until != 0) != (contended_until_ != 0);
    contended_until_ = until;
    return news;
  }

  bool launched_lately(std::uint64_t now) const {
    return words_.last_launch() <= now && now - words_.last_launch() < kActiveForNs;
  }
  bool is_active(std::uint64_t now) const {
    const bool in_flight = words_.backlog_until() > now && words_.backlog_until() < now + 60'000 * kMillisecond;
    return in_flight || launched_lately(now);
  }

  region::GrantLiveDevice& live() const { return grant_.page->live.devices[index_]; }
  region::GrantPage& page() const { return *grant_.page; }
  const WordsCopy& words() const { return words_; }

 private:
  bool open() {
    if (fd_ >= 0) return true;
    fd_ = ::open(grant_.region_path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat status {};
    if (fd_ >= 0 && (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != grant_.region_owner)) {
      ::close(fd_);
      fd_ = -1;
    }
    return fd_ >= 0;
  }

  PacedGrant grant_;
  unsigned index_;
  int fd_ = -1;
  std::uint32_t priority_ = 0;  // as settings said at the last tick
  bool has_processes_ = false;
  WordsCopy words_{};
  Pauses pauses_;
  std::uint64_t concurrency_covered_ = 0, concurrency_busy_ = 0;
  double concurrency_ = 1;
  std::uint64_t usage_since_ = 0, usage_charged_ = 0;
  double used_percent_ = 0;
  std::uint64_t contended_until_ = 0;
};

// All grants of one device.
class SharedDevice {
 public:
  // A grant that was there `before` keeps what is known of it.
  void add(const PacedGrant& grant, unsigned index, SharedDevice& before) {
    const auto same = std::ranges::find_if(before.tenants_, [&](auto& t) { return t && t->is(grant, index); });
    const bool known = same != before.tenants_.end();
    was_.push_back(known ? static_cast<int>(same - before.tenants_.begin()) : -1);
    tenants_.push_back(known ? std::move(*same) : std::make_unique<Tenant>(grant, index));
  }
  void go_on_from(const SharedDevice& before) {
    turns_ = reordered(before.turns_, was_);
    replayed_to_ = before.replayed_to_;
  }
  std::size_t size() const { return tenants_.size(); }

  void tick(std::uint64_t now) {
    std::vector<GrantDemand> demands;
    std::vector<Tenant*> present;
    for (const auto& tenant : tenants_) {
      if (!tenant->read(true)) continue;
      present.push_back(tenant.get());
      demands.push_back(tenant->demand(now));
      tenant->look_for_processes();
    }
    urgent_ = set_precedence(present, now);
    const auto active = std::count_if(demands.begin(), demands.end(), [](const GrantDemand& d) { return d.active; });
    publish(present, demands, static_cast<std::size_t>(active), now);
    if (active > 1)
      give_back(present, now);
    else
      replayed_to_ = 0;
  }

  // Between two ticks, where grants of different priority are at work.
  bool urgent() const { return urgent_; }
  void look(std::uint64_t now) {
    std::vector<Tenant*> present;
    for (const auto& tenant : tenants_)
      if (tenant->read(false)) present.push_back(tenant.get());
    set_precedence(present, now);
  }

  // A grant that has the device to itself. If a stranger is there, Host says so again within a second.
  void alone() {
    for (const auto& tenant : tenants_) {
      tenant->live().contended_until_ns.store(0, std::memory_order_relaxed);
      tenant->live().rate_permyriad.store(0, std::memory_order_relaxed);
      tenant->obey({}, 0);
    }
  }

 private:
  // True where somebody works whom others may have to be put before: that needs a quick eye.
  static bool set_precedence(const std::vector<Tenant*>& present, std::uint64_t now) {
    std::vector<Standing> standings;
    for (Tenant* tenant : present) standings.push_back(tenant->standing(now));
    const std::vector<Precedence> verdicts = precedence(standings, now);
    bool quick = false;
    for (std::size_t i = 0; i < present.size(); ++i) {
      present[i]->obey(verdicts[i], now);
      quick = quick || (standings[i].active && verdicts[i].in_flight_us != 0);
    }
    return quick;
  }

  static void publish(const std::vector<Tenant*>& present, const std::vector<GrantDemand>& demands, std::size_t active,
                      std::uint64_t now) {
    const std::vector<std::uint32_t> rate = rates(demands);
    for (std::size_t i = 0; i < present.size(); ++i) {
      region::GrantLiveDevice& live = present[i]->live();
      const bool others = active > (demands[i].active ? 1U : 0U);
      live.rate_permyriad.store(rate[i], std::memory_order_relaxed);
      if (present[i]->contend(others ? now + kContendedForNs : 0)) region::wake_waiters(present[i]->page());
    }
  }

  void give_back(const std::vector<Tenant*>& present, std::uint64_t now) {
    std::uint64_t lag = kLeastLagNs;
    for (const Tenant* tenant : present) lag = std::max(lag, 4 * std::min(tenant->words().longest_unit(), kMostLagNs));
    lag = std::min(lag, kMostLagNs);
    const std::uint64_t to = (now - lag) / region::kCoverWordNs;
    const std::uint64_t from = std::max(replayed_to_, to > 40 ? to - 40 : 0);
    if (replayed_to_ == 0 || from >= to) {
      replayed_to_ = replayed_to_ == 0 ? to : replayed_to_;
      return;
    }
    std::vector<Timeline> timelines;
    for (Tenant* tenant : present) {
      Timeline timeline;
      for (std::uint64_t word = from; word < to; ++word) timeline.words.push_back(tenant->words().bits_at(word));
      timeline.processes = tenant->concurrency();
      timelines.push_back(std::move(timeline));
    }
    const std::vector<std::uint64_t> others = attribute(timelines, turns_);
    for (std::size_t i = 0; i < present.size(); ++i)
      if (others[i] != 0) present[i]->live().give_back_ns.fetch_add(others[i], std::memory_order_relaxed);
    replayed_to_ = to;
  }

  std::vector<std::unique_ptr<Tenant>> tenants_;
  std::vector<int> was_;           // where each of them was among those before
  std::uint64_t replayed_to_ = 0;  // word number
  TurnState turns_;
  bool urgent_ = false;
};

}  // namespace

class Pacer::Impl {
 public:
  Impl() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

  void grants_changed(std::vector<PacedGrant> grants) {
    {
      const std::lock_guard lock(mutex_);
      pending_ = std::move(grants);
      changed_ = true;
    }
    wake_.notify_one();
  }

 private:
  void run(const std::stop_token& stop) {
    be_prompt();
    std::uint64_t next_tick = 0;
    while (!stop.stop_requested()) {
      bool rebuild = false;
      std::vector<PacedGrant> grants;
      {
        std::unique_lock lock(mutex_);
        if (const auto pause = pause_until_next(next_tick))
          wake_.wait_for(lock, stop, *pause, [&] { return changed_; });
        else
          wake_.wait(lock, stop, [&] { return changed_; });
        rebuild = std::exchange(changed_, false);
        if (rebuild) grants = std::move(pending_);
      }
      if (rebuild) build(grants);
      const std::uint64_t now = now_ns();
      const bool full = rebuild || now >= next_tick;
      if (full) next_tick = now + std::chrono::nanoseconds(kTick).count();
      for (auto& [uuid, device] : devices_) {
        if (device.size() < 2) continue;
        if (full)
          device.tick(now);
        else if (device.urgent())
          device.look(now);
      }
    }
  }

  // None: no device is shared, there is nothing to look at.
  std::optional<std::chrono::nanoseconds> pause_until_next(std::uint64_t tick) const {
    const bool shared = std::any_of(devices_.begin(), devices_.end(), [](auto& d) { return d.second.size() > 1; });
    if (!shared) return std::nullopt;
    const std::uint64_t now = now_ns();
    const std::chrono::nanoseconds left(tick > now ? tick - now : 0);
    const bool urgent =
        std::any_of(devices_.begin(), devices_.end(), [](auto& d) { return d.second.size() > 1 && d.second.urgent(); });
    return urgent ? std::min<std::chrono::nanoseconds>(left, kQuickTick) : left;
  }

  void build(const std::vector<PacedGrant>& grants) {
    std::map<std::string, SharedDevice> before = std::exchange(devices_, {});
    for (const PacedGrant& grant : grants)
      for (const PacedDevice& device : grant.devices)
        devices_[device.uuid].add(grant, device.index_in_grant, before[device.uuid]);
    for (auto& [uuid, device] : devices_) {
      device.go_on_from(before[uuid]);
      if (device.size() == 1) device.alone();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<PacedGrant> pending_;
  bool changed_ = false;
  std::map<std::string, SharedDevice> devices_;  // the thread's own
  std::jthread thread_;
};

Pacer::Pacer() : impl_(std::make_unique<Impl>()) {}
Pacer::~Pacer() = default;
void Pacer::grants_changed(std::vector<PacedGrant> grants) { impl_->grants_changed(std::move(grants)); }

}  // namespace kiboko::host
