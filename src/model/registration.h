// What a device plugin registers of its node's devices, as text: JSON (NVIDIA since HAMi 2.8, Ascend, AMD, …) or rows
// separated by colons (DCU, Iluvatar, NVIDIA before 2.8), of seven fields or nine.
//
// Pure functions. Reading is tolerant of unknown JSON keys (newer plugins) and of a missing part as its zero, as the
// format has it: no "health" means unhealthy. Anything else that does not fit is an error for the whole node.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/cluster_device.h"

namespace kiboko {

// Either form, told apart by the first character: a plugin of an old release beside a new scheduler is read, too.
Result<std::vector<RegisteredDevice>> decode_registration(std::string_view text);

std::string encode_registration_json(std::span<const RegisteredDevice> devices);

// Nine fields, or the seven of releases before 2.5, which know no index and no mode. A name with a comma or colon in it
// cannot be written: Invalid.
enum class CsvFields { Seven, Nine };
Result<std::string> encode_registration_csv(std::span<const RegisteredDevice> devices,
                                            CsvFields fields = CsvFields::Nine);

}  // namespace kiboko
