// Annotations come from plugins, users and whoever may write them: any bytes must give a value or an error that says
// where, and what was read once must survive being written and read again.
#include <cstdlib>
#include <string>

#include "model/allocation.h"
#include "model/mig_allocation.h"
#include "model/node_marks.h"
#include "model/pair_scores.h"
#include "model/quantity.h"
#include "model/registration.h"

namespace {

using namespace kiboko;

void require(bool held) {
  if (!held) std::abort();
}

template <class T>
bool good(const Result<T>& result) {
  require(result.has_value() || !result.error().message.empty());
  return result.has_value();
}

void check_registration(std::string_view text) {
  const auto devices = decode_registration(text);
  if (!good(devices)) return;
  const auto again = decode_registration(encode_registration_json(*devices));
  require(again.has_value() && again->size() == devices->size());
  if (const auto rows = encode_registration_csv(*devices); rows && !devices->empty())
    require(decode_registration(*rows)->size() == devices->size());
}

void check_allocation(std::string_view text) {
  auto pod = decode_allocation(text);
  if (!good(pod) || pod->empty()) return;
  require(pod->size() <= text.size() + 1);
  const auto written = encode_allocation(*pod);
  if (!written) return;  // an empty id
  auto again = decode_allocation(*written);
  require(again.has_value() && again->size() == pod->size() + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_registration(text);
  check_allocation(text);
  if (const auto mig = decode_mig_allocations(text); good(mig))
    require(decode_mig_allocations(encode_mig_allocations(*mig)).value() == *mig);
  if (const auto scores = decode_pair_scores(text); good(scores))
    require(decode_pair_scores(encode_pair_scores(*scores)).value() == *scores);
  if (const auto lock = parse_node_lock(text); good(lock)) require(!to_text(*lock).empty());
  (void)parse_handshake(text, std::chrono::minutes{0});
  if (const auto amount = parse_quantity(text); good(amount)) require(*amount >= 0);
  (void)parse_old_mig_uuid(text);
  return 0;
}
