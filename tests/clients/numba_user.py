"""Uses Numba's CUDA support as far as a simulated device goes: it compiles, loads and launches, and computes nothing."""

import warnings

import numpy as np

import numba.cuda as cuda

warnings.simplefilter("ignore")
print("available", cuda.is_available(), len(cuda.gpus))
device = cuda.get_current_device()
print("device", device.name, device.compute_capability, device.MULTIPROCESSOR_COUNT)
context = cuda.current_context()
total = context.get_memory_info().total
print("memory 0", total, "limited" if total < 20 << 30 else "whole")

sent = np.arange(1 << 20, dtype=np.float32)
there = cuda.to_device(sent)
print("copied", np.array_equal(there.copy_to_host(), sent))
stream = cuda.stream()
also = cuda.device_array(1000, dtype=np.float64, stream=stream)
begin, end = cuda.event(), cuda.event()
begin.record(stream)
end.record(stream)
end.synchronize()
print("timed", begin.elapsed_time(end) >= 0)
print("host memory", cuda.pinned_array(100).size, cuda.mapped_array(100).size, cuda.managed_array(100).size)
print("to be shared", type(there.get_ipc_handle()).__name__)


@cuda.jit
def add(x, y):
    i = cuda.grid(1)
    if i < x.size:
        y[i] += x[i]


for _ in range(3):
    add[64, 256](there, there)
cuda.synchronize()
print("launched", len(add.overloads))

before = context.get_memory_info().free
more = cuda.device_array(1 << 30, dtype=np.uint8)
print("taken", before - context.get_memory_info().free)
del more
try:
    cuda.device_array(1 << 40, dtype=np.uint8)
    print("too much was given")
except Exception as error:
    print("too much", type(error).__name__)
