// Amounts come from people, YAML and the environment: any text must give an amount or an error, and never both.
#include "region/units.h"

#include <cstdlib>
#include <string>

using kiboko::region::UnitError;

namespace {
void require(bool held) {
  if (!held) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto bytes = kiboko::region::parse_bytes(text.c_str());
  const auto hami = kiboko::region::parse_hami_bytes(text.c_str());
  const auto percent = kiboko::region::parse_percent(text.c_str());
  require(bytes.error == UnitError::None || bytes.bytes == 0);
  require(hami.error == UnitError::None || hami.bytes == 0);
  require(percent.error == UnitError::None ? percent.percent <= 100 : percent.percent == 0);
  for (const UnitError error : {bytes.error, hami.error, percent.error})
    require(kiboko::region::describe(error)[0] != '\0');
  return 0;
}
