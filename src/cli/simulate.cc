// `kiboko simulate`: what a placement policy would make of a trace, of manifests, or of a live cluster's dump. Asks no
// agent.
#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/manifest_report.h"
#include "cli/manifests.h"
#include "cli/simulation_report.h"
#include "cli/what_if.h"
#include "sched/trace.h"

namespace kiboko::cli {
namespace {

constexpr std::uint64_t kMostSeeds = 10'000;
constexpr unsigned kMostDemandPercent = 1'000;
constexpr unsigned kBarColumns = 24;
constexpr std::uint64_t kSeed = 42;
constexpr unsigned kDemandPercent = 130;

constexpr Flag kFlags[] = {
    {"nodes", 'n', "FILE", "the nodes: of a trace, or manifests in YAML or JSON"},
    {"pods", 'p', "FILE", "the pods: of a trace, to draw from, or manifests"},
    {"cluster", 'c', "FILE", "nodes and pods in one: what kubectl get nodes,pods,resourcequotas -A -o json prints"},
    {"policy", 'P', "P[,P…]", "binpack, spread, hami-default, bestfit, fgd, supply; the first is compared with"},
    {"seeds", 's', "N-M", "one seed, some (1,5,9) or a range; for a trace 42 if not given"},
    {"demand", 'd', "PERCENT", "draw pods until this much has been asked for; for a trace 130% if not given"},
    {"mix", 0, "SOURCE", "what fgd and supply know: all pods beforehand, or those that have arrived", "trace|arrivals"},
    {.name = "add-nodes", .value = "N:LIKE", .help = "what if there were N more nodes like LIKE", .repeated = true},
    {.name = "remove-nodes", .value = "NAME[,NAME…]", .help = "what if these nodes were not there", .repeated = true},
    {"chart", 0, "FILE.svg", "also draw allocation against demand"},
    {"output", 'o', "FORMAT", "how to print the result", "table|json|csv"},
};

struct Request {
  std::vector<Policy> policies;
  std::vector<std::uint64_t> seeds;        // none were given: empty
  std::optional<unsigned> demand_percent;  // likewise
  MixSource mix = MixSource::Trace;
  NodeChanges changes;
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
  if (const auto seeds = given.value("seeds")) request.seeds = TRY(parse_seeds(*seeds));
  if (const auto demand = given.value("demand")) request.demand_percent = TRY(parse_demand(*demand));
  if (given.value("mix") == "arrivals") request.mix = MixSource::Arrivals;
  request.changes = TRY(parse_node_changes(given.values("add-nodes"), given.values("remove-nodes")));
  return request;
}

Result<std::string> file_of(const Given& given, std::string_view flag) {
  const auto path = given.value(flag);
  if (!path) return fail(Errc::Invalid, "--{} is missing: the file to read", flag);
  return read_file(*path, kMostManifestBytes);
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

  void show(double done, Policy policy, std::size_t run, std::size_t runs) {
    if (!out_.is_terminal()) return;
    const auto full = static_cast<unsigned>(done * kBarColumns);
    std::string bar;
    for (unsigned column = 0; column < kBarColumns; ++column) bar += column < full ? "█" : "░";
    out_.print("\r{} {:3.0f} %  {}, run {} of {}\x1b[K", bar, 100 * done, name(policy), run, runs);
  }

 private:
  Output& out_;
};

// Each policy with each seed. `run(policy, seed, progress)` is one.
template <class Result, class Seed, class One>
kiboko::Result<std::vector<RunsOf<Result>>> run_all(const Request& request, const std::vector<Seed>& seeds,
                                                    Context& context, One run) {
  ProgressLine line{context.err};
  const auto runs = static_cast<double>(request.policies.size() * seeds.size());
  double finished = 0;
  std::vector<RunsOf<Result>> all;
  for (const Policy policy : request.policies) {
    RunsOf<Result>& into = all.emplace_back(RunsOf<Result>{policy, {}});
    for (std::size_t index = 0; index < seeds.size(); ++index) {
      const auto show = [&](double part) { line.show((finished + part) / runs, policy, index + 1, seeds.size()); };
      into.results.push_back(TRY(run(policy, seeds[index], show)));
      ++finished;
    }
  }
  return all;
}

struct Printed {
  std::string text, chart;
};

Result<Printed> simulate_trace(const Request& request, std::string_view nodes, std::string_view pods,
                               Context& context) {
  Cluster cluster;
  TRY(read_trace_nodes(nodes, *context.given.value("nodes"), cluster));
  const auto asks = TRY(read_trace_pods(pods, *context.given.value("pods"), cluster));
  Simulated all;
  all.seeds = request.seeds.empty() ? std::vector<std::uint64_t>{kSeed} : request.seeds;
  const std::int64_t demand_of = cluster.compute_capacity();
  const auto on = [&](const Cluster& there) {
    return run_all<SimulationResult>(
        request, all.seeds, context, [&](Policy policy, std::uint64_t seed, const Progress& progress) {
          const SimulationSettings settings{policy, request.mix, seed, request.demand_percent.value_or(kDemandPercent),
                                            demand_of};
          return simulate(there, asks, settings, context.clock, progress);
        });
  };
  Cluster changed = cluster;
  TRY(apply(request.changes, changed));
  all.policies = TRY(on(cluster));
  all.changes = request.changes.text();
  if (request.changes.any()) all.what_if = TRY(on(changed));
  const std::string format = context.given.value("output").value_or("table");
  return Printed{format == "json"  ? simulation_json(all)
                 : format == "csv" ? simulation_csv(all)
                                   : simulation_table(all, context.out),
                 simulation_chart(all)};
}

void warn(Context& context, const std::vector<std::string>& sentences) {
  for (const std::string& sentence : sentences)
    context.err.print("{} {}\n", context.err.styled(Style::Warning, "warning:"), harmless(sentence));
}

Result<Printed> simulate_manifests(const Request& request, Objects objects, Context& context) {
  warn(context, passed_over(objects));
  const auto catalog = TRY(vendors::Catalog::shipped());
  settle_assigned(objects);
  const ManifestCase there = TRY(manifest_case(objects, catalog));
  TRY(apply(request.changes, objects));
  const ManifestCase changed = TRY(manifest_case(objects, catalog));
  warn(context, there.warnings);
  ManifestReport all;
  all.nodes = there.nodes.size();
  all.bound = there.held.size() + there.seated.size();
  all.seeds.assign(request.seeds.begin(), request.seeds.end());
  if (all.seeds.empty()) all.seeds = {request.demand_percent ? std::optional(kSeed) : std::nullopt};
  const auto on = [&](const ManifestCase& cluster) {
    return run_all<ManifestResult>(
        request, all.seeds, context, [&](Policy policy, std::optional<std::uint64_t> seed, const Progress& progress) {
          const ManifestSettings settings{policy, request.mix, seed, request.demand_percent, there.devices};
          return simulate(cluster, catalog, settings, context.clock, progress);
        });
  };
  all.policies = TRY(on(there));
  all.changes = request.changes.text();
  if (request.changes.any()) all.what_if = TRY(on(changed));
  if (const std::size_t unseated = all.policies.front().results.front().unseated; unseated > 0)
    warn(context, {fmt::format("{} pods run without saying on which devices, and do not fit on their nodes: they hold "
                               "nothing here",
                               unseated)});
  const std::string format = context.given.value("output").value_or("table");
  return Printed{format == "json"  ? manifest_json(all)
                 : format == "csv" ? manifest_csv(all)
                                   : manifest_table(all, context.out),
                 manifest_chart(all)};
}

// `--cluster` is short for the same file twice; one file is read once.
Result<Printed> simulate_files(const Request& request, Context& context) {
  const auto cluster = context.given.value("cluster");
  if (cluster && (context.given.has("nodes") || context.given.has("pods")))
    return fail(Errc::Invalid, "--cluster has nodes and pods in one file; leave out --nodes and --pods");
  const std::string nodes = TRY(file_of(context.given, cluster ? "cluster" : "nodes"));
  const bool one_file = cluster || context.given.value("nodes") == context.given.value("pods");
  const std::string pods = one_file ? "" : TRY(file_of(context.given, "pods"));
  if (looks_like_a_trace(nodes) != looks_like_a_trace(one_file ? nodes : pods))
    return fail(Errc::Invalid, "--nodes and --pods must both be of a trace, or both manifests");
  if (looks_like_a_trace(nodes)) {
    if (one_file) return fail(Errc::Invalid, "a trace has its nodes and its pods in two files: --nodes and --pods");
    return simulate_trace(request, nodes, pods, context);
  }
  Objects objects;
  TRY(read_manifests(nodes, cluster ? *cluster : *context.given.value("nodes"), objects));
  if (!one_file) TRY(read_manifests(pods, *context.given.value("pods"), objects));
  return simulate_manifests(request, std::move(objects), context);
}

Result<int> run(Context& context) {
  const Request request = TRY(request_of(context.given));
  const Printed printed = TRY(simulate_files(request, context));
  context.out.write(printed.text);
  if (const auto chart = context.given.value("chart")) TRY(write_file_atomically(*chart, printed.chart));
  return kDone;
}

}  // namespace

extern const Command kSimulate;
constexpr Command kSimulate{.name = "simulate",
                            .summary = "what a placement policy would make of a trace, of manifests or of a cluster",
                            .flags = kFlags,
                            .about = R"(
Of a trace (comma-separated) pods are drawn with replacement until they ask for as much compute as --demand says,
shuffled, and placed one after the other on the nodes; none ends. Columns: sn,cpu_milli,memory_mib,gpu,model and
name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec].

Of manifests, or of what kubectl prints of a live cluster, the scheduler's own engine places each pod that is bound to no
node, once, in the order of the file; --seeds shuffles them, --demand draws them as from a trace. Bound pods keep what
their annotations say. Deployment, ReplicaSet, StatefulSet and Job count as the pods that they make.

--add-nodes and --remove-nodes ask what if: the same pods on the changed cluster, with the differences. The pods of a
node that is removed wait again, before the others. The same seed gives the same result on every machine. No agent is
asked.)",
                            .examples = R"(
kiboko simulate -n nodes.csv -p pods.csv -s 42-51              the published best against ours, ten seeds
kiboko simulate -n nodes.csv -p pods.csv -P supply -o json     for scripts
kiboko simulate -n nodes.csv -p pods.csv --chart placed.svg    a picture
kiboko simulate -c cluster.json -P binpack,supply              what the pods that wait now would get
kiboko simulate -c cluster.json --add-nodes 2:gpu-1            and with two more nodes)",
                            .run = run};

}  // namespace kiboko::cli
