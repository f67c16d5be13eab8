// Sentences about asks and grants that several commands print: what is granted, why not, what each device answers.
//
// Pure but for explain_to, which asks the agent. Main thread.
#pragma once

#include "cli/command.h"

namespace kiboko::cli {

// "4.0 GiB and 30 % of device 0 (NVIDIA H100 80GB HBM3)", several joined by ", "; "all of device 0" when exclusive.
std::string granted_text(const Grant& grant);
// The refusal's sentence, what each device said, the nearest change that would fit; several lines.
std::string refusal_text(const Refusal& refusal);
// "device 0 (GPU-1234)" as sentences name a device; without an index the UUID alone.
std::string device_name(const std::optional<int>& index, const std::string& uuid);

// Asks what would happen now and prints it. True: it would be granted at once.
Result<bool> explain_to(Context& context, Agent& agent, const Ask& ask);

}  // namespace kiboko::cli
