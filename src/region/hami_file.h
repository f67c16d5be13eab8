// Region files that HAMi-core made, which a container finds when it is restarted in place after the node's library was
// exchanged. Its v1.2 is our first part, so such a file is taken over once no process of HAMi-core uses it; older
// layouts are told apart to be named. Sizes and offsets are those of its releases; the file may be a byte longer, for
// HAMi-core makes it by writing a byte at its end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "region/layout.h"

namespace kiboko::region {

enum class HamiFile : std::uint8_t {
  None,        // not a file of HAMi-core, or ours
  Version12,   // or 1.1 until March 2026, of the same offsets
  Unfinished,  // of that size and still empty: its creator died
  Version11b,  // March to April 2026: says 1.1 and has other offsets
  Version0,    // before August 2024
};

// Told by size, magic words and where the first UUID stands. A file that was grown to our size and not finished counts
// as Version12.
HamiFile hami_file(int fd, std::uint64_t size);
const char* name_of(HamiFile file);  // "HAMi-core's, version 1.2"

// A process that is named in a slot of a Version12 file, lives, and has the file mapped; one whose mappings cannot be
// read counts as having it. A pid alone says nothing: in a restarted container another process has it. 0 = there is
// none. The caller itself does not count, so it must not have mapped the file for another reason: others are asking
// too.
std::uint32_t process_using(int fd, const char* path);

// Forgets the processes of a Version12 file. False: a write failed.
bool clear_slots(int fd);

}  // namespace kiboko::region
