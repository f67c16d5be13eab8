// MetaX's shared GPUs: what a node's annotation lists, and how good a choice of them is.
//
// Pure functions.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "model/cluster_device.h"
#include "vendors/hooks.h"

namespace kiboko::vendors {

Result<std::vector<RegisteredDevice>> decode_metax_devices(std::string_view text);

double metax_score(const ScoreInput& input);

// May a container of this class, "" for none, join the device? Classes do not mix, and nothing offline joins what runs
// online.
bool metax_class_fits(std::string_view app_class, unsigned online, unsigned offline, bool idle);

// May it with this policy? An idle device takes any, a whole one has none, else all of a device have the same. `device`
// is the policy in use, empty: none yet.
bool metax_qos_fits(std::string_view qos, std::string_view app_class, CoreUnits cores, std::string_view device,
                    bool idle);

}  // namespace kiboko::vendors
