// Profiles and HAMi's configuration are files of an administrator, and the amounts in a pod anybody's: any text must
// give families, an ask or an error.
#include <cstdlib>
#include <string>

#include "vendors/ask.h"
#include "vendors/catalog.h"
#include "vendors/discover.h"
#include "vendors/hami_config.h"

namespace {

using namespace kiboko::vendors;

void require(bool held) {
  if (!held) std::abort();
}

const Catalog& catalog() {
  static const Catalog kCatalog = Catalog::shipped().value();
  return kCatalog;
}

// Whatever a family makes of amounts that make sense is refused or can be asked of a device.
void check_ask(const Family& family) {
  const Resources& r = family.resources;
  const auto admission =
      admit(family, {"c", {{r.count.name, "2"}, {r.memory.name, "3000"}, {r.cores.name, "30"}}, {}}, {});
  if (!admission || !admission->ask) return;
  const auto& ask = *admission->ask;
  require(ask.count > 0 && ask.memory.value >= 0 && ask.cores.value >= 0);
}

void check_profile(const std::string& text) {
  Catalog known = catalog();
  const auto added = known.add({"f.yaml", text});
  require(added.has_value() ? known.families().size() >= catalog().families().size() : !added.error().message.empty());
  if (!added) return;
  for (const Family& family : known.families())
    if (family.origin == "f.yaml") check_ask(family);
}

// The first byte says which family.
void check_node_and_pod(const Family& family, const std::string& text) {
  const kiboko::Node node{"n", {{family.discovery.key, text}}, {}, {}};
  const auto devices = discover(family, node);
  require(devices.has_value() || devices.error().message.find("node n") == 0);
  const Resources& r = family.resources;
  for (const std::string& name : {r.count.name, r.memory.name, r.cores.name, r.slices}) {
    if (name.empty()) continue;
    const auto admission = admit(family, {"c", {{r.count.name, "1"}, {name, text}}, {}}, {});
    if (admission && admission->ask) require(admission->ask->memory.value >= 0 && admission->ask->cores.value >= 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto& families = catalog().families();
  check_node_and_pod(families[data[0] % families.size()], text);
  check_profile(text);
  const auto made = import_hami_config(catalog(), text, "c.yaml");
  if (!made) return 0;
  Catalog known = catalog();
  for (const ProfileText& profile : made->profiles) (void)known.add(profile);
  return 0;
}
