// Pods that go nowhere, each with the small cluster that has no place for it: what the golden file of explanations
// shows. For tests.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sched/engine_values.h"

namespace kiboko {

struct ExplainCase {
  std::string_view name;  // a sentence
  std::function<void(Engine&)> arrange;
  Pod pod;
  std::vector<std::string> candidates = {};  // names of nodes; empty: all
};

std::vector<ExplainCase> explain_cases();

// The candidates of the case as the engine knows them.
NodeSet candidates_of(const Engine& engine, const ExplainCase& one);

}  // namespace kiboko
