#!/usr/bin/env bash
# install_test.sh BUILD CHECKOUT: installs the build under a prefix of its own, uses it from there, and removes it again.
set -euo pipefail
build=$1 checkout=$2
work=$(mktemp -d /tmp/kiboko-install-XXXXXX)
prefix=$work/prefix agent=''
finish() {
  [ -z "$agent" ] || kill -9 "$agent" 2>/dev/null || true
  [ -z "${KIBOKO_SIM:-}" ] || "$build/bin/kiboko-sim" remove --force "$KIBOKO_SIM" || true
  rmdir /sys/fs/cgroup/{,unified/,devices/}"kiboko-install-$$" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

echo "-- install"
mkdir -p "$prefix/lib"
echo keep >"$prefix/lib/of-somebody-else"
cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || { cat "$work/log"; fail "install"; }
(cd "$prefix" && find . ! -type d | sort) | tee "$work/listing"
for file in bin/kiboko bin/kiboko-agent bin/kiboko-sim bin/kiboko-showcase bin/examples/training_loop lib/libkiboko.so \
  lib/sim/libcuda.so.1 lib/sim/libnvidia-ml.so.1 lib/systemd/system/kiboko-agent.service lib/sysusers.d/kiboko.conf \
  etc/kiboko/agent.yaml; do
  [ -e "$prefix/$file" ] || fail "$file is missing"
done
grep -qx "ExecStart=$prefix/bin/kiboko-agent --standalone --config $prefix/etc/kiboko/agent.yaml" \
  "$prefix/lib/systemd/system/kiboko-agent.service" || fail "the unit does not start the agent of this prefix"
# Nothing may need the build folder any more.
for file in bin/kiboko bin/kiboko-agent bin/kiboko-sim lib/libkiboko.so; do
  ! ldd "$prefix/$file" | grep -E "not found|$build" || fail "$file needs what is not installed"
done

echo "-- use"
export KIBOKO_SOCKET=$work/run/agent.sock
"$prefix/bin/kiboko-agent" --standalone --config "$prefix/etc/kiboko/agent.yaml" --simulate 1xH100-80GB \
  --runtime-dir "$work/run" --state-dir "$work/state" --listen none --nvml libnvidia-ml-absent.so.1 \
  --cgroup "kiboko-install-$$" 2>"$work/agent.log" &
agent=$!
for _ in $(seq 600); do [ -S "$KIBOKO_SOCKET" ] && break; sleep 0.1; done
[ -S "$KIBOKO_SOCKET" ] || { cat "$work/agent.log"; fail "the installed agent does not start"; }
KIBOKO_SIM=$("$prefix/bin/kiboko" run -- printenv KIBOKO_SIM)
[ "$("$prefix/bin/kiboko" run -- printenv LD_PRELOAD)" = "$prefix/lib/libkiboko.so" ] || fail "another library is preloaded"
"$prefix/bin/kiboko" run --memory 2GiB -- "$prefix/bin/examples/memory_hog" --seconds 0.2 --json | tee "$work/hog"
grep -q '"program":"memory_hog"' "$work/hog" || fail "the sample did not run"

echo "-- again, with settings that were changed"
echo "# mine" >>"$prefix/etc/kiboko/agent.yaml"
cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || fail "a second install"
tail -n 1 "$prefix/etc/kiboko/agent.yaml" | grep -qx "# mine" || fail "changed settings were overwritten"

echo "-- remove"
! "$checkout/scripts/uninstall" --prefix "$prefix" || fail "it removed the program of an agent that runs"
kill "$agent"
wait "$agent" || true
agent=''
"$checkout/scripts/uninstall" --prefix "$prefix" --dry-run >/dev/null
(cd "$prefix" && find . ! -type d | sort) | diff "$work/listing" - || fail "--dry-run changed something"
"$checkout/scripts/uninstall" --prefix "$prefix" | tee "$work/said"
grep -q "kept, as it was changed: $prefix/etc/kiboko/agent.yaml" "$work/said" || fail "it does not say what it kept"
[ "$(cd "$prefix" && find . | sort | tr '\n' ' ')" = ". ./etc ./etc/kiboko ./etc/kiboko/agent.yaml ./lib ./lib/of-somebody-else " ] ||
  { find "$prefix"; fail "something stayed, or too much went"; }
! "$checkout/scripts/uninstall" --prefix "$prefix" 2>/dev/null || fail "there was nothing left to remove"

echo "-- a prefix of its own goes wholly"
cmake --install "$build" --prefix "$work/other" >/dev/null
"$checkout/scripts/uninstall" --prefix "$work/other"
[ ! -e "$work/other" ] || { find "$work/other"; fail "something stayed"; }

echo "-- staged, as packages do it"
DESTDIR=$work/stage cmake --install "$build" --prefix /usr >/dev/null
[ -e "$work/stage/etc/kiboko/agent.yaml" ] || fail "with the prefix /usr the settings belong to /etc"
DESTDIR=$work/stage "$checkout/scripts/uninstall" --prefix /usr
[ -z "$(find "$work/stage" ! -type d)" ] || { find "$work/stage" ! -type d; fail "something stayed"; }
echo "-- all well"
