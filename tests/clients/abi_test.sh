#!/usr/bin/env bash
# abi_test.sh CHECKOUT FOLDER PACKAGE: are our declarations of the driver's interface those of NVIDIA's headers, which
# PACKAGE carries?
set -euo pipefail
checkout=$1 folder=$2 package=$3
unpacked=$("$checkout/tests/clients/wheel" "$folder" "$package") || exit $?
header=$(find "$unpacked" -name cudaTypedefs.h)
include=$(dirname "$header")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unknown=()
while read -r symbol base version mode; do
  type=PFN_${base}_v$version
  [ "$mode" = 0 ] || type+=_ptsz
  if grep -qw "$type" "$header"; then
    echo "FUNCTION($symbol, $type)" >>"$work/functions.inc"
  else
    unknown+=("$symbol")
  fi
done < <(sed -n 's/^CUDA_HOOK(\(\w*\), \(\w*\), \([0-9]*\), \([0-9]*\)).*/\1 \2 \3 \4/p' "$checkout/src/shim/hooks.def")
checked=$(wc -l <"$work/functions.inc")
echo "$package: $checked functions; not in these headers: ${unknown[*]:-none}"
[ "$checked" -ge 70 ] || { echo "too few to mean anything" >&2; exit 1; }

compile() { g++ -std=c++20 -w -I"$work" "$@" "$checkout/tests/clients/abi_signatures.cc"; }
compile -I"$checkout/src" -o "$work/ours"
compile -DREAL_HEADERS -I"$include" -o "$work/theirs"
diff <("$work/ours") <("$work/theirs") && echo "no difference"
