#include "model/quantities.h"

#include "base/text.h"
#include "region/units.h"

namespace kiboko {

Result<Bytes> parse_bytes(std::string_view text) {
  const region::ParsedBytes parsed = region::parse_bytes(std::string(text).c_str());
  if (parsed.error != region::UnitError::None) return fail(Errc::Invalid, "'{}' {}", text, describe(parsed.error));
  return Bytes{parsed.bytes};
}

std::string to_text(Bytes amount) { return format_bytes(amount.count); }

}  // namespace kiboko
