#include "model/refusal.h"

#include <array>

namespace kiboko {
namespace {

using enum RefusalCode;

constexpr std::array<RefusalWords, kRefusalCodes> kWords = {{
    {Memory, "memory", "CardInsufficientMemory", "less memory is free on the device than was asked for"},
    {Cores, "cores", "CardInsufficientCore", "less compute is free on the device than was asked for"},
    {Count, "count", "NodeInsufficientDevice", "there are fewer such devices than were asked for"},
    {Type, "type", "CardTypeMismatch", "the device is not of a type that was asked for"},
    {Device, "device", "CardUuidMismatch", "the device is not one of those named, or is one of those ruled out"},
    {Exclusive, "exclusive", "ExclusiveDeviceAllocateConflict",
     "a whole device was asked for, or given, and it is shared"},
    {Busy, "busy", "", "somebody else comes first"},
    {Slots, "slots", "CardTimeSlicingExhausted", "as many share the device as may share it"},
    {Unhealthy, "unhealthy", "CardNotHealth", "the device is unhealthy"},
    {NoDevices, "no_devices", "Device type not found", "there is no such device"},
    {Ask, "ask", "", "what was asked for can be had nowhere"},
    {Cordoned, "cordoned", "CardCordoned", "an operator keeps the device from new pods"},
    {Mode, "mode", "ModeNotFit", "the device or its node is not in the mode asked for"},
    {Numa, "numa", "NumaNotFit", "no one NUMA node has enough devices that fit"},
    {Topology, "topology", "NumaNotFit", "the devices that fit are not linked as the family wants it"},
    {Mutex, "mutex", "ExclusiveDeviceAllocateConflict", "a device of one's own was asked for, and it is in use"},
    {Exhausted, "exhausted", "CardComputeUnitsExhausted", "all of the device's compute is given away"},
    {OneDevice, "one_device", "CardNotFoundCustomFilterRule",
     "all containers of a pod get the same device of this family"},
    {SliceSize, "slice_size", "CardNotFoundCustomFilterRule",
     "all slices of a device have one size, and it has another"},
    {Template, "template", "ModeNotFit", "the device has no fixed size that holds what was asked for"},
    {AppClass, "app_class", "CardAppClassMismatch", "online and offline work do not share this device"},
    {Qos, "qos", "CardQosPolicyMismatch", "the device is shared under another QoS policy"},
    {Mig, "mig", "CardMigTopologyInfeasible", "no MIG profile that is large enough has a free place"},
    {Quota, "quota", "ResourceQuotaNotFit", "the namespace's quota does not allow it"},
    {NodeUnknown, "node_unknown", "node unregistered", "the node is not known"},
    {NodeUnreadable, "node_unreadable", "node unregistered",
     "what the node or a pod on it says of its devices cannot be read"},
    {Cpu, "cpu", "", "less CPU is free on the node than the pod requests"},
    {HostMemory, "host_memory", "", "less memory is free on the node than the pod requests"},
}};

consteval bool in_order() {
  for (std::size_t i = 0; i < kWords.size(); ++i)
    if (kWords[i].code != static_cast<RefusalCode>(i)) return false;
  return true;
}
static_assert(in_order());

}  // namespace

std::span<const RefusalWords> refusal_words() { return kWords; }
const RefusalWords& words_of(RefusalCode code) { return kWords[static_cast<std::size_t>(code)]; }
std::string_view name(RefusalCode code) { return words_of(code).name; }

}  // namespace kiboko
