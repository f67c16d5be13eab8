#!/bin/bash
# smoke_test.sh EXAMPLE KIBOKO_SIM LIBRARIES: runs an example on a simulated device of its own, once to its end and
# once until SIGTERM, and looks for the summary both times.
set -euo pipefail
example=$1 tool=$2 libraries=$3
name=$(basename "$example")
export KIBOKO_SIM="smoke-$name-$$" LD_LIBRARY_PATH=$libraries
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0  # samples leave the driver's objects to the end of the process
"$tool" create "$KIBOKO_SIM" 1xA10-24GB
trap '"$tool" remove --force "$KIBOKO_SIM"' EXIT

check() {  # the summary is one JSON object that names the program and the device
  echo "$1"
  grep -q "^{\"program\":\"$name\",\"device\":\"NVIDIA A10\",.*}$" <<<"$1"
}

echo "to its end:"
check "$("$example" --seconds 0.3 --kernel-us 200 --json)"

echo "until SIGTERM:"
"$example" --seconds 0 --json >"/tmp/$KIBOKO_SIM" &
pid=$!
for _ in $(seq 600); do  # until it is on the device
  "$tool" busy --json --window 10ms | grep -q '"alive": true' && break
  sleep 0.1
done
sleep 0.3
kill -TERM "$pid"
wait "$pid"
check "$(cat "/tmp/$KIBOKO_SIM")"
rm "/tmp/$KIBOKO_SIM"

echo "with an option it does not know:"
! "$example" --nonsense 2>/dev/null
