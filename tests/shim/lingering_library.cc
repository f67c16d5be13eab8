// Takes its time at the end of the program, after a preloaded library has been told that this is the end: a program's
// own libraries come behind it.
#include <unistd.h>

namespace {
unsigned lingering_us = 0;
__attribute__((destructor)) void linger() {
  if (lingering_us != 0) usleep(lingering_us);
}
}  // namespace

extern "C" __attribute__((visibility("default"))) void linger_at_exit(unsigned us) { lingering_us = us; }
