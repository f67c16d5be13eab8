// Who of a grant's waiters has waited longest for one device's bucket. They all wake up when the bucket is ready, and
// without an order one of them loses to the others by chance, time and again.
//
// A hint in one shared word, which anybody may overwrite and a crash may leave behind: it decides who goes first among
// those who may go, never whether. Any thread of any process of the grant.
#pragma once

#include "region/layout.h"

namespace kiboko::region {

// {since, µs of CLOCK_MONOTONIC:54, slot:10}: the earlier the smaller; never 0.
std::uint64_t place_in_line(std::int64_t since_ns, unsigned slot);

// Puts `place` first if nobody earlier is there; returns who is first then.
std::uint64_t stand_in_line(Shared<std::uint64_t>& first, std::uint64_t place);

// Since when whoever has this place waits; CLOCK_MONOTONIC. A word that makes no sense gives a time that makes none.
std::int64_t waits_since_ns(std::uint64_t place);

// Whoever is at `place` waits no more: the next one who looks is first.
void leave_line(Shared<std::uint64_t>& first, std::uint64_t place);

}  // namespace kiboko::region
