// Device memory of code that the driver loads when it is first used: a library in each context, under lazy loading the
// functions of a module too. Nothing tells its size but the free memory around the first use.
#pragma once

#include "shim/abi.h"

namespace kiboko::shim {

// `bytes` are charged to the device of context `owner` already, as Module; they go with the context, or with `library`
// (null: of no library that we know).
void keep_code(std::uint32_t owner, unsigned device, CUlibrary library, std::uint64_t bytes);
// Its code in all contexts is gone.
void drop_code(CUlibrary library);

// Around the launch of a function that was not launched before, as far as we remember: what it makes the driver load
// is charged. On the thread that launches; true: the second has to be called after the launch.
bool before_first_launch(const void* function);
void after_first_launch();

}  // namespace kiboko::shim
