// Sentences about asks and grants that several commands print: what is granted, why not, what each device answers.
//
// Pure but for explain_to, which asks the agent. Main thread.
#pragma once

#include "cli/command.h"

namespace kiboko::cli {

// "4.0 GiB and 30 % of device 0 (NVIDIA H100 80GB HBM3)", several joined by ", "; "all of device 0 (…)" when exclusive.
std::string granted_text(std::string_view kind, const std::vector<DeviceShare>& shares);
// The refusal's sentence, what each device said, the nearest change that would fit; several lines.
std::string refusal_text(const RefusalView& refusal);

// Asks what would happen now to the ask that the options make, and prints it with where each number came from. True: it
// would be granted, now or after waiting.
Result<bool> explain_to(Context& context, Agent& agent, const Ask& ask);

}  // namespace kiboko::cli
