// What a region's file holds beside slots and charges: the heads of its two parts and the list of devices. Used by
// mapping.cc while it opens a file; those functions that change one say who may call them.
#pragma once

#include "region/mapping.h"

namespace kiboko::region {

inline constexpr char kMakeAnew[] = "; end the programs that use it and delete it, it is made anew";

bool check_seed(const RegionSeed& seed, PageError* error);

bool is_published(const HamiRegion& hami, const Extension& ext);

// By whoever holds the creation lock and finds the magic of the first part 0.
void fill(HamiRegion& hami, Extension& ext, const RegionSeed& seed);

// By whoever holds the creation lock, of a region that nobody uses: its first part is HAMi-core's and names no process
// any more. Its devices keep their indices; their limits are the seed's, for the container's variables may have changed
// with the library.
void fill_around_devices(HamiRegion& hami, Extension& ext, const RegionSeed& seed);

bool check_contents(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed, const char* path,
                    PageError* error);

// Sharing::Container: whether the region has all the seed's devices; and, by the holder of the creation lock, giving it
// those that it lacks. A holder killed in between leaves a list that the next one goes on with.
bool has_devices(const HamiRegion& hami, const Extension& ext, const RegionSeed& seed);
bool add_devices(HamiRegion& hami, Extension& ext, const RegionSeed& seed, const char* path, PageError* error);

}  // namespace kiboko::region
