#include "shim/nvml_view.h"

#include <fcntl.h>
#include <unistd.h>

#include "region/os.h"
#include "shim/fork.h"
#include "shim/variables.h"

namespace kiboko::shim {

namespace {

// Where only HAMi's variables limit and this process has not started CUDA, the devices are those that an earlier
// program of the container wrote into the region. This must not fix the order for a later cuInit of this process, so
// it is a mapping of its own.
region::Mapping variable_books;
std::atomic<int> variable_books_state{0};  // 0 closed, 1 somebody opens it, 2 open

struct RegionHead {  // the first bytes of region::HamiRegion, as plain words
  std::int32_t magic;
  char between[52];
  std::uint64_t device_count;
  char uuids[region::kMaxDevices][96];
};
static_assert(offsetof(RegionHead, device_count) == offsetof(region::HamiRegion, device_count) &&
              offsetof(RegionHead, uuids) == offsetof(region::HamiRegion, uuids));

bool read_head(const char* path, RegionHead* head) {
  const int fd = region::os::open_file(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd < 0) return false;
  const auto got = pread(fd, head, sizeof *head, 0);
  region::os::close_file(fd);
  return got == static_cast<ssize_t>(sizeof *head) && head->magic == region::kHamiMagic && head->device_count > 0 &&
         head->device_count <= region::kMaxDevices;
}

bool open_as_it_is(const char* path, region::Mapping* books) {
  RegionHead head;
  if (!read_head(path, &head)) return false;
  region::RegionSeed seed;
  seed.device_count = static_cast<unsigned>(head.device_count);
  for (unsigned i = 0; i < seed.device_count; ++i) {
    head.uuids[i][sizeof head.uuids[i] - 1] = 0;
    seed.uuids[i] = head.uuids[i];
  }
  region::PageError error;
  return books->open(path, seed, &error);
}

region::Mapping* open_variable_books() {
  int expected = 0;
  if (variable_books_state.load(std::memory_order_acquire) == 2) return &variable_books;
  if (!variable_books_state.compare_exchange_strong(expected, 1, std::memory_order_acquire)) return nullptr;
  const bool open = open_as_it_is(variable_region_path(), &variable_books);
  if (open) variable_books.set_load_nonce(region::os::random_word());
  variable_books_state.store(open ? 2 : 0, std::memory_order_release);
  return open ? &variable_books : nullptr;
}

}  // namespace

View view() {
  const region::os::KeepErrno keep;
  attach();
  switch (state.attached.load(std::memory_order_acquire)) {
    case 0: {
      // Perhaps nobody else is left to notice that the container's processes are dead.
      region::Mapping* const books = open_variable_books();
      if (books != nullptr) reap_once_a_second(*books);
      return {View::Variables, books};
    }
    case 1:
      refresh_limits();
      return {View::Grant, &state.region};
    case 3:
      return {View::Physical, nullptr};
    default:
      return {View::Unreadable, nullptr};
  }
}

int index_in(const View& seen, nvmlDevice_t device) {
  char uuid[96];
  if (seen.books == nullptr || real.nvmlDeviceGetUUID == nullptr ||
      real.nvmlDeviceGetUUID(device, uuid, sizeof uuid) != NVML_SUCCESS)
    return -1;
  uuid[sizeof uuid - 1] = 0;
  return seen.kind == View::Grant ? index_of_uuid(uuid) : region::index_of_device(seen.books->hami(), uuid);
}

void nvml_after_fork() {
  if (variable_books_state.load(std::memory_order_relaxed) != 1) return;
  variable_books.close();
  variable_books_state.store(0, std::memory_order_relaxed);
}

}  // namespace kiboko::shim
