// What people read when a pod goes nowhere: every case of explain_cases.cc beside the text that it must give.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "sched/explain.h"
#include "sched/explain_cases.h"

namespace kiboko {
namespace {

using namespace testing_values;

constexpr const char* kGolden = KIBOKO_SCHED_TESTDATA "/refusals.golden";
constexpr const char* kWrite = "KIBOKO_WRITE_GOLDEN";
const vendors::Catalog kFamilies = families();
const EngineSettings kPack{.node_policy = Policy::Binpack};

std::string counts_text(const Explanation& why) {
  std::vector<std::string> parts;
  for (const auto& [code, count] : why.counts) parts.push_back(fmt::format("{} {}", count, name(code)));
  return join(parts, ", ");
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string text_of(const ExplainCase& one, const Explanation& why) {
  std::string text = fmt::format("# {}\n", one.name);
  text += why.fits ? fmt::format("fits on {}\n", why.on) : fmt::format("{}: {}\n", name(why.code), why.sentence);
  if (!why.counts.empty()) text += fmt::format("nodes: {}\n", counts_text(why));
  for (const NodeExplanation& node : why.nodes) {
    text +=
        fmt::format("  {}: {}, container {}: {}\n", node.node, name(node.code), or_dash(node.container), node.sentence);
    for (const DeviceRefusal& device : node.devices)
      text += fmt::format("    {}: {}, asked {}, free {}\n      {}\n", device.uuid.text, name(device.code),
                          or_dash(device.asked), or_dash(device.free), device.sentence);
  }
  return text + fmt::format("nearest: {}\n\n", or_dash(why.nearest));
}

Explanation explained(const Engine& engine, const ExplainCase& one) {
  const NodeSet candidates = candidates_of(engine, one);
  return explain(engine, one.pod, one.candidates.empty() ? nullptr : &candidates);
}

std::string file_text(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(ExplainGolden, EveryRefusalReadsAsWritten) {
  std::string now;
  for (const ExplainCase& one : explain_cases()) {
    Engine engine{kFamilies, kPack};
    one.arrange(engine);
    now += text_of(one, explained(engine, one));
  }
  if (std::getenv(kWrite) != nullptr) std::ofstream(kGolden, std::ios::trunc) << now;
  const std::string written = file_text(kGolden);
  EXPECT_EQ(now, written) << kGolden << " is written anew with " << kWrite
                          << "=1 in the environment: read every changed line as the one who waits for the pod would";
}

}  // namespace
}  // namespace kiboko
