// `kiboko simulate`: what a placement policy would make of a trace. Asks no agent.
#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/simulation_report.h"
#include "sched/trace.h"

namespace kiboko::cli {
namespace {

constexpr std::size_t kMostTraceBytes = std::size_t{256} << 20U;
constexpr std::uint64_t kMostSeeds = 10'000;
constexpr unsigned kMostDemandPercent = 1'000;
constexpr unsigned kBarColumns = 24;

constexpr Flag kFlags[] = {
    {"nodes", 'n', "FILE", "the nodes: sn,cpu_milli,memory_mib,gpu,model"},
    {"pods", 'p', "FILE", "the pods to draw from: name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec]"},
    {"policy", 'P', "P[,P…]", "binpack, spread, hami-default, bestfit, fgd, supply; the first is compared with"},
    {"seeds", 's', "N-M", "one seed, some (1,5,9) or a range; 42 if not given"},
    {"demand", 'd', "PERCENT", "stop when this much of the compute has been asked for; 130% if not given"},
    {"mix", 0, "SOURCE", "what fgd and supply know: the whole trace beforehand, or what has arrived", "trace|arrivals"},
    {"chart", 0, "FILE.svg", "also draw allocation against demand"},
    {"output", 'o', "FORMAT", "how to print the result", "table|json|csv"},
};

struct Request {
  std::vector<Policy> policies;
  std::vector<std::uint64_t> seeds;
  unsigned demand_percent = 130;
  MixSource mix = MixSource::Trace;
};

Result<std::vector<std::uint64_t>> parse_seeds(std::string_view text) {
  std::vector<std::uint64_t> seeds;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t dash = part.find('-');
    const auto first = TRY(parse_integer<std::uint64_t>(part.substr(0, dash)).map_error(about("--seeds")));
    auto last = first;
    if (dash != std::string_view::npos)
      last = TRY(parse_integer<std::uint64_t>(part.substr(dash + 1)).map_error(about("--seeds")));
    if (last < first || last - first >= kMostSeeds - seeds.size())
      return fail(Errc::Invalid, "--seeds: '{}' is no range of at most {} seeds", part, kMostSeeds);
    for (std::uint64_t seed = first;; ++seed) {
      seeds.push_back(seed);
      if (seed == last) break;
    }
  }
  return seeds;
}

Result<unsigned> parse_demand(std::string_view text) {
  if (text.ends_with('%')) text.remove_suffix(1);
  const auto percent = TRY(parse_integer<unsigned>(text).map_error(about("--demand")));
  if (percent == 0 || percent > kMostDemandPercent)
    return fail(Errc::Invalid, "--demand: {} is not between 1 and {} %", percent, kMostDemandPercent);
  return percent;
}

Result<Request> request_of(const Given& given) {
  Request request;
  const std::string policies = given.value("policy").value_or("bestfit,fgd,supply");
  for (const std::string_view word : split(policies, ','))
    request.policies.push_back(TRY(parse_policy(word).map_error(about("--policy"))));
  request.seeds = TRY(parse_seeds(given.value("seeds").value_or("42")));
  request.demand_percent = TRY(parse_demand(given.value("demand").value_or("130")));
  if (given.value("mix") == "arrivals") request.mix = MixSource::Arrivals;
  return request;
}

Result<std::string> file_of(const Given& given, std::string_view flag) {
  const auto path = given.value(flag);
  if (!path) return fail(Errc::Invalid, "--{} is missing: the file to read", flag);
  return read_file(*path, kMostTraceBytes);
}

// One line on a terminal, rewritten in place; nothing elsewhere.
class ProgressLine {
 public:
  explicit ProgressLine(Output& out) : out_(out) {}
  ~ProgressLine() {
    if (out_.is_terminal()) out_.write("\r\x1b[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(double done, Policy policy, std::uint64_t seed) {
    if (!out_.is_terminal()) return;
    const auto full = static_cast<unsigned>(done * kBarColumns);
    std::string bar;
    for (unsigned column = 0; column < kBarColumns; ++column) bar += column < full ? "█" : "░";
    out_.print("\r{} {:3.0f} %  {}, seed {}\x1b[K", bar, 100 * done, name(policy), seed);
  }

 private:
  Output& out_;
};

Result<Simulated> run_all(const Request& request, const Cluster& cluster, const std::vector<PodAsk>& pods,
                          Context& context) {
  Simulated simulated{.seeds = request.seeds, .policies = {}};
  ProgressLine line{context.err};
  const auto runs = static_cast<double>(request.policies.size() * request.seeds.size());
  double finished = 0;
  for (const Policy policy : request.policies) {
    PolicyRuns& into = simulated.policies.emplace_back(PolicyRuns{policy, {}});
    for (const std::uint64_t seed : request.seeds) {
      const SimulationSettings settings{policy, request.mix, seed, request.demand_percent};
      into.results.push_back(TRY(simulate(cluster, pods, settings, context.clock,
                                          [&](double part) { line.show((finished + part) / runs, policy, seed); })));
      ++finished;
    }
  }
  return simulated;
}

Result<int> run(Context& context) {
  const Request request = TRY(request_of(context.given));
  const std::string node_text = TRY(file_of(context.given, "nodes"));
  const std::string pod_text = TRY(file_of(context.given, "pods"));
  Cluster cluster;
  TRY(read_trace_nodes(node_text, *context.given.value("nodes"), cluster));
  const auto pods = TRY(read_trace_pods(pod_text, *context.given.value("pods"), cluster));
  const Simulated simulated = TRY(run_all(request, cluster, pods, context));
  const std::string format = context.given.value("output").value_or("table");
  context.out.write(format == "json"  ? simulation_json(simulated)
                    : format == "csv" ? simulation_csv(simulated)
                                      : simulation_table(simulated, context.out));
  if (const auto chart = context.given.value("chart")) TRY(write_file_atomically(*chart, simulation_chart(simulated)));
  return kDone;
}

}  // namespace

extern const Command kSimulate;
constexpr Command kSimulate{.name = "simulate",
                            .summary = "what a placement policy would make of a trace of pods",
                            .flags = kFlags,
                            .about = R"(
Draws pods from the list with replacement until they ask for as much compute as --demand says, shuffles them, and places
one after the other on the nodes; none ends. The same seed gives the same result on every machine. No agent is asked.)",
                            .examples = R"(
kiboko simulate -n nodes.csv -p pods.csv -s 42-51              the published best against ours, ten seeds
kiboko simulate -n nodes.csv -p pods.csv -P supply -o json     for scripts
kiboko simulate -n nodes.csv -p pods.csv --chart placed.svg    a picture)",
                            .run = run};

}  // namespace kiboko::cli
