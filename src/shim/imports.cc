// Who made it is not told by the driver. But the maker is charged for it, so when it is opened the maker is among the
// slots of the region that hold as much on that device; and when none of these does any longer (their processes have
// ended, or freed it) nobody is charged. A slot is known by its generation, so that a newcomer in it is not taken for
// the maker. As long as one of several that might be the maker holds as much, it is believed to be.
#include "shim/imports.h"

#include "shim/pointers.h"
#include "shim/state.h"

namespace kiboko::shim {

std::atomic<int> imports_held{0};

namespace {

constexpr unsigned kMaxImports = 256;  // at once; those beyond stay their makers'
constexpr unsigned kMaxMakers = 8;

struct Import {
  ImportKind kind;
  unsigned device, opens, maker_count;
  std::uint64_t key, bytes, charged;
  region::Slot makers[kMaxMakers];
};
Import imports[kMaxImports];
unsigned import_limit = 0;
std::atomic<std::uint32_t> imports_lock{0};  // guards all three; never held while the driver runs

std::uint64_t charge_of(unsigned slot, unsigned device) {
  return state.region.ext().charges[slot / 8].charged[device][slot % 8].load(std::memory_order_relaxed);
}

bool is_live(unsigned slot, std::uint32_t generation) {
  const region::SlotWord word = region::unpack(state.region.ext().slots[slot].state.load());
  return word.state == region::SlotState::Live && word.generation == generation;
}

void find_makers(Import& import) {
  import.maker_count = 0;
  const std::uint64_t blocks = state.region.ext().header.slot_blocks.load();
  const unsigned end = blocks < region::kMaxSlots / 64 ? static_cast<unsigned>(blocks) * 64 : region::kMaxSlots;
  for (unsigned slot = 0; slot < end && import.maker_count < kMaxMakers; ++slot) {
    const region::SlotWord word = region::unpack(state.region.ext().slots[slot].state.load());
    if (slot == state.slot.index || word.state != region::SlotState::Live) continue;
    if (charge_of(slot, import.device) >= import.bytes) import.makers[import.maker_count++] = {slot, word.generation};
  }
}

bool has_maker(const Import& import) {
  for (unsigned i = 0; i < import.maker_count; ++i)
    if (is_live(import.makers[i].index, import.makers[i].generation) &&
        charge_of(import.makers[i].index, import.device) >= import.bytes)
      return true;
  return false;
}

Import* find(ImportKind kind, std::uint64_t key) {
  for (unsigned i = 0; i < import_limit; ++i)
    if (imports[i].kind == kind && imports[i].key == key) return &imports[i];
  return nullptr;
}

Import* add(ImportKind kind, std::uint64_t key, unsigned device) {
  for (unsigned i = 0; i < kMaxImports; ++i) {
    if (imports[i].kind != ImportKind::None) continue;
    imports[i] = {};
    imports[i].kind = kind;
    imports[i].key = key;
    imports[i].device = device;
    if (i >= import_limit) import_limit = i + 1;
    imports_held.fetch_add(1);
    // For the agent: what the driver counts for this process need not be what it is charged.
    state.region.ext().slots[state.slot.index].flags.fetch_or(region::kSlotImports, std::memory_order_relaxed);
    return &imports[i];
  }
  return nullptr;
}

void charge_rest(Import& import) {
  if (import.charged >= import.bytes || has_maker(import)) return;
  account().add(import.device, import.bytes - import.charged, region::ChargeKind::Data);
  import.charged = import.bytes;
}

}  // namespace

void import_seen(ImportKind kind, std::uint64_t key, unsigned device, std::uint64_t bytes, unsigned opens) {
  const SpinBit held(imports_lock);
  Import* import = find(kind, key);
  if (import == nullptr && opens != 0) import = add(kind, key, device);
  if (import == nullptr) return;
  import->opens += opens;
  if (bytes <= import->bytes) return;
  import->bytes = bytes;
  if (import->charged == 0) find_makers(*import);
  charge_rest(*import);
}

void import_closed(ImportKind kind, std::uint64_t key) {
  const SpinBit held(imports_lock);
  Import* const import = find(kind, key);
  if (import == nullptr || --import->opens != 0) return;
  if (import->charged != 0) account().refund(import->device, import->charged, region::ChargeKind::Data);
  import->kind = ImportKind::None;
  imports_held.fetch_sub(1);
}

void charge_orphans() {
  const SpinBit held(imports_lock);
  for (unsigned i = 0; i < import_limit; ++i)
    if (imports[i].kind != ImportKind::None && imports[i].bytes != 0) charge_rest(imports[i]);
}

}  // namespace kiboko::shim
