#!/usr/bin/env bash
# cudart_test.sh CHECKOUT BUILD PACKAGE: the real CUDA runtime library, which PACKAGE carries, looks its driver functions
# up on the simulated driver. With our library it must be given exactly the same, but for hooked functions, which must be
# ours of the same variant.
set -euo pipefail
checkout=$1 build=$2 package=$3
unpacked=$("$checkout/tests/clients/wheel" "$build/tests/clients/wheels" "$package") || exit $?
runtime=$(find "$unpacked" -name 'libcudart.so.1*' | head -n 1)
work=$(mktemp -d)
export KIBOKO_SIM=$work/devices KIBOKO_SIM_DEVICES=1xH100-80GB LD_LIBRARY_PATH=$build/lib/sim
trap 'rm -rf "$work"' EXIT

arm() {  # name preload
  LOOK_UPS=$work/$1.look-ups LD_PRELOAD=$build/tests/clients/libclients_recorder.so${2:+:$2} \
    "$build/tests/clients/clients_cudart" "$runtime" >"$work/$1.out"
}
arm without ''
arm with "$build/lib/libkiboko.so"
sort -u "$work/without.look-ups" >"$work/without"
sort -u "$work/with.look-ups" >"$work/with"
count=$(wc -l <"$work/without")
echo "$(basename "$runtime"): $count different look-ups; it says:"
sed 's/^/  /' "$work/without.out"
[ "$count" -ge 200 ] || { echo "too few to mean anything" >&2; exit 1; }

diff "$work/without.out" "$work/with.out" || { echo "the runtime library's answers differ" >&2; exit 1; }
diff "$work/without" <(sed 's/libkiboko\.so:/libcuda.so.1:/' "$work/with") ||
  { echo "a look-up gave another function" >&2; exit 1; }
hooked=$(sed -n 's/^CUDA_HOOK(\(\w*\),.*/\1/p' "$checkout/src/shim/hooks.def" | sort)
ours=$(sed -n 's/.* libkiboko\.so:\(\w*\)$/\1/p' "$work/with" | sort -u)
passed=$(sed -n 's/.* libcuda\.so\.1:\(\w*\)$/\1/p' "$work/with" | sort -u)
[ -z "$(comm -12 <(echo "$hooked") <(echo "$passed"))" ] ||
  { echo "hooked, but the driver's own was given: $(comm -12 <(echo "$hooked") <(echo "$passed"))" >&2; exit 1; }
echo "the same with our library, $(echo "$ours" | wc -l) of them hooked"
