#!/usr/bin/env bash
# python_test.sh CHECKOUT BUILD PROGRAM PACKAGE…: tests/clients/PROGRAM.py, which needs the PACKAGEs of the Python index,
# on the simulated driver: the same answers with our library where nothing is limited, and a share's where something is.
# The program's line "memory" tells what it takes for the device's memory.
set -euo pipefail
checkout=$1 build=$2 program=$3
shift 3
folder=$build/tests/clients/$program
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
if [ ! -e "$folder/complete" ]; then
  python3 -m venv --clear "$folder/venv" >/dev/null 2>&1 || { echo "no python3-venv" >&2; exit 77; }
  timeout 300 "$folder/venv/bin/pip" install -q --disable-pip-version-check --retries 1 "$@" >&2 ||
    { echo "$* cannot be had from the package index" >&2; exit 77; }
  touch "$folder/complete"
fi
exec 9>&-
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export KIBOKO_SIM=$work/devices KIBOKO_SIM_DEVICES=1xH100-80GB LD_LIBRARY_PATH=$build/lib/sim
use() { "$folder/venv/bin/python" "$checkout/tests/clients/$program.py"; }

use >"$work/without"
LD_PRELOAD=$build/lib/libkiboko.so use >"$work/unlimited"
diff "$work/without" "$work/unlimited" || { echo "other answers although nothing is limited" >&2; exit 1; }
export CUDA_DEVICE_MEMORY_LIMIT=4096m CUDA_DEVICE_SM_LIMIT=50 CUDA_DEVICE_MEMORY_SHARED_CACHE=$work/region
LD_PRELOAD=$build/lib/libkiboko.so use >"$work/limited"
cat "$work/limited"
grep -qx "memory 0 4294967296 limited" "$work/limited" || { echo "the limit is not seen" >&2; exit 1; }
diff <(grep -v "^memory\|^total" "$work/without") <(grep -v "^memory\|^total" "$work/limited") ||
  { echo "a share changes more than the memory's size" >&2; exit 1; }
