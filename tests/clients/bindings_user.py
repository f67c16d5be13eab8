"""Uses the driver API through NVIDIA's own Python bindings and prints every answer that does not depend on addresses."""

import ctypes

from cuda.bindings import driver as cuda


def say(name, answer):
    print(name, *[int(answer[0])] + [str(value) for value in answer[1:]])
    return answer[1:] if len(answer) > 2 else (answer[1] if len(answer) == 2 else None)


say("init", cuda.cuInit(0))
say("version", cuda.cuDriverGetVersion())
say("count", cuda.cuDeviceGetCount())
device = say("device", cuda.cuDeviceGet(0))
say("name", (cuda.cuDeviceGetName(32, device)[0], cuda.cuDeviceGetName(32, device)[1].rstrip(b"\0")))
say("total", cuda.cuDeviceTotalMem(device))
for attribute in (
    cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
    cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
    cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
):
    say("attribute", cuda.cuDeviceGetAttribute(attribute, device))
error, context = cuda.cuDevicePrimaryCtxRetain(device)
print("primary", int(error))
say("current", cuda.cuCtxSetCurrent(context))
error, free, total = cuda.cuMemGetInfo()
print("memory", int(error), total, "limited" if total < 20 << 30 else "whole")

error, memory = cuda.cuMemAlloc(64 << 20)
print("alloc", int(error))
say("set", cuda.cuMemsetD8(memory, 7, 4096))
host = bytearray(4096)
say("copy", cuda.cuMemcpyDtoH(host, memory, 4096))
print("bytes", set(host))
say("free", cuda.cuMemFree(memory))
say("free again", cuda.cuMemFree(memory))
error, stream = cuda.cuStreamCreate(0)
print("stream", int(error))
error, memory = cuda.cuMemAllocAsync(1 << 20, stream)
print("alloc async", int(error))
say("free async", cuda.cuMemFreeAsync(memory, stream))
error, _ = cuda.cuMemAlloc(1 << 40)
print("alloc too much", int(error))

error, module = cuda.cuModuleLoadData(b".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry kiboko_spin_ns(.param .u64 n) { ret; }\0")
print("module", int(error))
error, function = cuda.cuModuleGetFunction(module, b"kiboko_spin_ns")
print("function", int(error))
for _ in range(3):
    say("launch", cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, ((100_000,), (ctypes.c_uint64,)), 0))
say("synchronise", cuda.cuStreamSynchronize(stream))
say("unload", cuda.cuModuleUnload(module))
say("release", cuda.cuDevicePrimaryCtxRelease(device))
