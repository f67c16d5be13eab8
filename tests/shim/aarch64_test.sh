#!/usr/bin/env bash
# Builds the library, the stand-in driver and two programs for aarch64 and runs them in an emulator: every look-up gives
# there what it gives here, a limit is a limit, and nothing newer than glibc 2.17 is needed.
#   aarch64_test.sh SOURCE BUILD     BUILD: a release build for this machine. Exit 77: no cross compiler or no emulator
set -euo pipefail
source=$1 build=$2
cross=aarch64-linux-gnu root=/usr/aarch64-linux-gnu
for tool in $cross-g++ $cross-gcc $cross-nm qemu-aarch64; do
  command -v $tool >/dev/null || { echo "skipped: no $tool (apt-get install g++-$cross qemu-user)"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$source"

names() { grep -oE '\b[a-z0-9_]+\.cc\b' "$1" | sort -u; }
flags=(-std=c++20 -O2 -fPIC -Isrc -Wall -Wextra -Wshadow -Wconversion -Werror)
bare=(-fno-exceptions -fno-rtti -fno-threadsafe-statics)
shim=(-fvisibility=hidden -fno-semantic-interposition -ftls-model=initial-exec)
compile() { $cross-g++ "${flags[@]}" "$@"; }

# The same sources that CMake builds for this machine.
sed -n '/^set(sources/,/)/p' src/region/CMakeLists.txt >"$work/region.txt"
sed -n '/^set(SHIM_SOURCES/,/)/p' src/shim/CMakeLists.txt >"$work/shim.txt"
for file in $(names "$work/region.txt"); do echo "src/region/$file"; done >"$work/files"
for file in $(names "$work/shim.txt"); do echo "src/shim/$file"; done >>"$work/files"
mkdir "$work/o"
while read -r file; do
  compile "${bare[@]}" "${shim[@]}" -c "$file" -o "$work/o/$(echo "$file" | tr / _).o"
done <"$work/files"
$cross-gcc -c src/shim/route_aarch64.S -o "$work/o/route.o"
mkdir "$work/lib"
$cross-gcc -shared -o "$work/lib/libkiboko.so" "$work"/o/*.o -Wl,--version-script="$build/src/shim/exports.map" \
  -Wl,-z,nodelete -Wl,--as-needed -Wl,-z,lazy -Wl,--no-undefined

newer=$($cross-nm -D --undefined-only "$work/lib/libkiboko.so" |
  awk -F'GLIBC_2\\.' '/GLIBC_/ { split($2, part, "."); if (part[1] > 17) print }')
[ -z "$newer" ] || { echo "needs a newer glibc than 2.17: $newer"; exit 1; }

compile -Itests/standin -shared -Wl,-soname,libcuda.so.1 -o "$work/lib/libcuda.so.1" tests/standin/cuda.cc
compile -Itests/standin -shared -Wl,-soname,libnvidia-ml.so.1 -o "$work/lib/libnvidia-ml.so.1" tests/standin/nvml.cc
compile -shared -o "$work/lib/libother.so" tests/shim/other_library.cc
link=(-Wl,--no-as-needed "$work/lib/libcuda.so.1" "$work/lib/libnvidia-ml.so.1" "$work/lib/libother.so")
compile -fPIE -pie -o "$work/routes" tests/shim/routes.cc "${link[@]}" -ldl
compile -Wno-conversion -fPIE -pie -o "$work/probe" tests/shim/probe.cc "${link[@]}" -ldl

emulated() { qemu-aarch64 -L $root -E LD_LIBRARY_PATH="$work/lib:$root/lib" "$@"; }
preloaded() { emulated -E LD_PRELOAD="$work/lib/libkiboko.so" "$@"; }
emulated "$work/routes" >"$work/plain"
preloaded "$work/routes" >"$work/ours"
hooked=$(grep -c 'libkiboko.so:' "$work/ours")
[ "$hooked" -gt 3000 ] || { echo "only $hooked look-ups were answered by us"; exit 1; }
# A hook stands where the driver's function of that name stood (or one of another name at its address), and nothing else
# has changed.
paste -d'\n' "$work/plain" "$work/ours" | awk '
  NR % 2 { plain = $0; next }
  plain != $0 && plain !~ /inner |\+[0-9a-f]+$|= null| dlsym |nvml|cuIpcOpenMemHandle/ {
    after = $0
    sub(/libkiboko\.so:/, "libcuda.so.1:", after)
    if (after != plain) { print plain " -> " $0; wrong = 1 }
  }
  END { exit wrong }'
total=$(preloaded -E CUDA_DEVICE_MEMORY_LIMIT=1g -E CUDA_DEVICE_MEMORY_SHARED_CACHE="$work/region" "$work/probe" \
  init context 0 total 0 alloc 536870912 alloc 1073741824 free-all)
wanted='init 0
context 0
total 0 1073741824
alloc 0
alloc 2
free-all 0'
[ "$total" = "$wanted" ] || { printf 'the limit does not hold:\n%s\n' "$total"; exit 1; }
echo "aarch64: $hooked look-ups hooked, the limit holds"
