// How busy each process of the region was in the last second, for HAMi's monitor, which shows it for the container.
#pragma once

#include <cstdint>

namespace kiboko::shim {

// Writes this process's words, and clears those of processes that have stopped working. `now`: CLOCK_MONOTONIC; called
// about once a second while the process works, by whichever of its threads comes by.
void publish_busy_share(std::int64_t now);

}  // namespace kiboko::shim
