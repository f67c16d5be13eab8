#!/usr/bin/env python3
"""Checks of the preloaded library that mean something on a real GPU only; run there from the bundle, without a build.

  check [--quick] [--json FILE] [--only TEXT] [--simulated]

Each check compares programs without the library to programs with it, in the same run, on the first device. Prints one
line per finding: what, without, with, and "ok", "FAIL" or, where nothing is promised, nothing. Exit status 1 after a
FAIL, 77 without a GPU. It allocates device memory that is free, never managed memory, and changes no setting.
--simulated runs it on the simulated driver, which tests the checks themselves.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GIB = 1 << 30
MIB = 1 << 20


class Worker:
    """A program on the device: one command, one answer."""

    def __init__(self, bench, quiet=False, **limits):
        self.process = subprocess.Popen(
            [bench.worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=bench.environment(**limits),
            stderr=subprocess.DEVNULL if quiet else None
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)

    def send(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended with status {self.process.wait(60)}")
        return line.strip()

    def ask(self, command):
        self.send(command)
        return self.receive()

    def numbers(self, command):
        return [float(word) if "." in word else int(word) for word in self.ask(command).split()]


class Bench:
    def __init__(self, options):
        build = self.build = HERE if (HERE / "lib").exists() else pathlib.Path(options.build)
        self.library = build / "lib" / "libkiboko.so"
        self.worker = str(build / "bin" / "gpu_worker")
        self.simulated = build / "lib" / "sim" if options.simulated else None
        self.quick = options.quick
        self.timed = not (options.simulated and options.quick)  # a busy machine's own clock proves nothing in a test
        self.folder = tempfile.mkdtemp(prefix="kiboko-gpu-")
        self.regions = 0
        self.rows = []

    def environment(self, preload=False, memory=None, cores=None, region=None, **more):
        """Without `preload`, the driver alone. A region of its own unless `region` says whose to share."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_DEVICE_", "KIBOKO_GRANT", "LD_PRELOAD"))}
        if self.simulated:
            env.update(LD_LIBRARY_PATH=str(self.simulated), KIBOKO_SIM=self.folder + "/devices")
            env.update(KIBOKO_SIM_DEVICES="1xH100-80GB")
        if preload:
            env["LD_PRELOAD"] = str(self.library)
            self.regions += 1
            env["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = region or f"{self.folder}/region-{self.regions}"
            if memory:
                env["CUDA_DEVICE_MEMORY_LIMIT"] = f"{memory // MIB}m"
            if cores:
                env["CUDA_DEVICE_SM_LIMIT"] = str(cores)
                env["GPU_CORE_UTILIZATION_POLICY"] = "force"
        env.update(more)
        return env

    def say(self, check, what, without, with_, ok=None):
        self.rows.append({"check": check, "what": what, "without": without, "with": with_, "ok": ok})
        verdict = "" if ok is None else "ok" if ok else "FAIL"
        print(f"  {what:44} {without!s:>22} {with_!s:>22}  {verdict}", flush=True)


# ---- the checks ----------------------------------------------------------------------------------------------------


def look_ups(bench):
    """Every hooked function is ours whichever way it is looked up; the driver's own verdicts stay."""

    def all_of(**limits):
        with Worker(bench, **limits) as worker:
            worker.send("look-ups")
            return dict(line.split(" = ") for line in iter(worker.receive, "."))

    without, with_ = all_of(), all_of(preload=True)
    changed = [q for q in without if without[q].replace("driver's", "ours") != with_[q].replace("driver's", "ours")]
    passed = [q for q in with_ if with_[q].endswith("driver's")]
    bench.say("look-ups", "asked", len(without), len(with_), len(without) == len(with_))
    bench.say("look-ups", "another verdict", 0, len(changed), not changed)
    bench.say("look-ups", "the driver's own function was given", 0, len(passed), not passed)
    for question in (changed + passed)[:20]:
        print("    ", question, "|", without[question], "|", with_[question])


def charges(bench):
    """What the driver takes for an allocation, against what is charged: within 2 % or 64 MiB."""
    families = [
        ("alloc", 1, 1000), ("alloc", 4096, 1000), ("alloc", MIB, 200), ("alloc", 3 * MIB, 50), ("alloc", 100 * MIB, 5),
        ("alloc", GIB, 2), ("pitch", 10 * MIB, 20), ("pool", MIB, 200), ("pool", 100 * MIB, 4), ("vmm", 2 * MIB, 50),
        ("vmm", 300 * MIB, 2), ("array", 16 * MIB, 20), ("module", 0, 20), ("context", 0, 2),
    ]  # fmt: skip
    with Worker(bench) as observer, Worker(bench, preload=True, memory=16 * GIB) as worker:
        observer.ask("open"), worker.ask("open")
        for family, size, count in families:
            free, charged = observer.numbers("info")[0], worker.numbers("info")[0]
            result, given = worker.numbers(f"take {family} {size} {count}")
            taken, told = free - observer.numbers("info")[0], charged - worker.numbers("info")[0]
            well = result == 0 and abs(taken - told) <= max(0.02 * taken, 64 * MIB)
            what = f"{given} x {family}" + (f" of {size:,}" if size else "")
            bench.say("charges", what, f"{taken:,}", f"{told:,}", well)
            worker.ask("drop")


def limit(bench):
    """The memory limit is reached and not passed; one program that fills it leaves nothing to a second one."""

    def is_all(given, free):
        return free - 4 * MIB <= 2 * given * MIB <= free

    with Worker(bench, preload=True, memory=2 * GIB, region=bench.folder + "/limit") as worker:
        worker.ask("open")
        free, total = worker.numbers("info")
        bench.say("limit", "total, bytes", "-", f"{total:,}", total == 2 * GIB)
        fill = f"fill {2 * MIB}"  # the driver hands device memory out in such pieces
        result, given = worker.numbers(fill)
        bench.say("limit", "MiB until refused", f"{free // MIB} free", 2 * given, is_all(given, free))
        bench.say("limit", "the refusal", "2", result, result == 2)
        with Worker(bench, quiet=True, preload=True, memory=2 * GIB, region=bench.folder + "/limit") as second:
            second.send("open")
            try:
                second.receive()
                result, given = second.numbers(fill)
            except RuntimeError:
                result, given = 2, 0  # not even a context
            bench.say("limit", "MiB for a second program", "0", 2 * given, given <= 2 and result == 2)
        worker.ask("drop")
        given = worker.numbers(fill)[1]
        bench.say("limit", "MiB after freeing all", "-", 2 * given, is_all(given, free))


def compute(bench):
    """The share of what the same program reaches without a limit, in the same run: within 2 points."""
    seconds = 2 if bench.quick else 4
    modes = ("async", "sync", "graph", "per-thread", "cooperative")
    for mode in modes:
        for microseconds in (200, 2000) if bench.quick else (20, 200, 2000, 20000):
            if mode in ("per-thread", "cooperative") and microseconds != 2000:
                continue
            order = f"rate {mode} {microseconds * 1000} {seconds}"

            def rate(**limits):
                with Worker(bench, **limits) as worker:
                    worker.ask("open")
                    kernels, took = worker.numbers(order)
                    return kernels / took

            reach = rate()
            free = rate(preload=True)
            bench.say("compute", f"{mode} {microseconds} us, kernels/s, no limit", f"{reach:.0f}", f"{free:.0f}")
            device = min(100.0, reach * microseconds / 1e4)  # percent of the device that it keeps busy
            for cores in (30,) if bench.quick else (10, 30, 60, 90):
                share = rate(preload=True, cores=cores) * microseconds / 1e4
                wanted = min(cores, device)
                what = f"{mode} {microseconds} us, percent at {cores}"
                bench.say("compute", what, f"{wanted:.1f}", f"{share:.1f}", abs(share - wanted) <= 2 if bench.timed else None)


def between_programs(bench):
    """Memory of another program is opened and not charged again."""
    limits = dict(preload=True, memory=4 * GIB, region=bench.folder + "/shared")

    def used(maker_limits, taker_limits):
        with Worker(bench, **maker_limits) as maker, Worker(bench, **taker_limits) as taker:
            maker.ask("open"), taker.ask("open")
            handle = maker.ask(f"share {256 * MIB}")
            before = taker.numbers("info")[0]
            result = taker.numbers(f"import {handle}")[0]
            return result, before - taker.numbers("info")[0]

    alone, ours = used({}, {}), used(limits, limits)
    bench.say("between programs", "opening", alone[0], ours[0], alone[0] == ours[0])
    bench.say("between programs", "bytes it takes", f"{alone[1]:,}", f"{ours[1]:,}", abs(ours[1] - alone[1]) <= 4 * MIB)


def tools(bench):
    """nvidia-smi shows the share and starts no CUDA."""
    smi = shutil.which("nvidia-smi")
    if smi is None or bench.simulated:
        return bench.say("tools", "nvidia-smi", "none here", "-")

    def asked(what, **limits):
        words = [smi, "-i", "0", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
        return subprocess.run(words, env=bench.environment(**limits), capture_output=True, text=True, timeout=60)

    share = dict(preload=True, memory=4 * GIB, region=bench.folder + "/tools")
    total, limited = asked("memory.total"), asked("memory.total", **share)
    bench.say("tools", "memory.total", total.stdout.strip(), limited.stdout.strip(), limited.stdout.strip() == "4096")
    bench.say("tools", "words on stderr", len(total.stderr), len(limited.stderr), limited.stderr == total.stderr)
    name, ours = asked("name,driver_version"), asked("name,driver_version", **share)
    bench.say("tools", "name and driver", name.stdout.strip(), ours.stdout.strip(), name.stdout == ours.stdout)


def starts(bench):
    """300 programs start at once on one region."""
    count = 64 if bench.quick else 300

    def at_once(**limits):
        if limits:
            limits["region"] = bench.folder + "/starts"
        workers = [Worker(bench, **limits) for _ in range(count)]
        for worker in workers:
            worker.send("times")
        times = sorted(float(worker.receive()) for worker in workers)
        for worker in workers:
            worker.__exit__()
        return times

    without, with_ = at_once(), at_once(preload=True, memory=GIB)
    bench.say("starts", f"cuInit of {count} at once, median ms", f"{without[count // 2]:.1f}", f"{with_[count // 2]:.1f}")
    bench.say("starts", f"cuInit of {count} at once, slowest ms", f"{without[-1]:.1f}", f"{with_[-1]:.1f}",
              with_[-1] <= without[-1] + 1000 if bench.timed else None)  # fmt: skip


def tenants(bench):
    """Several grants of one agent side by side, each held to its share: the showcase's verdict."""
    showcase = bench.build / "bin" / "kiboko-showcase"
    if bench.quick:
        return bench.say("tenants", "the showcase", "not in --quick", "-")
    words = [showcase, "--check", "--json"] + (["--simulate", "1xH100-80GB"] if bench.simulated else [])
    environment = bench.environment(LD_LIBRARY_PATH=str(bench.build / "lib" / "needed"))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    if not done.stdout.startswith("{"):
        return bench.say("tenants", "the showcase", "-", (done.stderr.splitlines() or ["said nothing"])[-1], False)
    for sample in json.loads(done.stdout)["samples"]:
        asked = sample["asked"].get("core_percent", 0)
        what = f"{sample['program']}, percent of the device at {asked}"
        bench.say("tenants", what, "-", sample["compute_percent"], sample["held"])


def torch(bench):
    """PyTorch, where it is: the limit becomes its own out-of-memory error, and nothing is lost without a limit."""
    program = HERE / "torch_user.py"

    def run(*words, **limits):
        done = subprocess.run([sys.executable, program, *words], env=bench.environment(**limits), capture_output=True,
                              text=True, timeout=300)  # fmt: skip
        return json.loads(done.stdout) if done.returncode == 0 else {"error": (done.stderr.splitlines() or ["?"])[-1]}

    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode != 0 or bench.simulated:
        return bench.say("torch", "PyTorch", "none here", "-")
    for allocator in ("native", "expandable_segments:True", "backend:cudaMallocAsync"):
        config = {} if allocator == "native" else {"PYTORCH_CUDA_ALLOC_CONF": allocator}
        without, free = run("speed", **config), run("speed", preload=True, **config)
        if "error" in without:
            bench.say("torch", allocator, without["error"], "-")
            continue
        ratio = free.get("per_second", 0) / without["per_second"]
        bench.say("torch", f"{allocator}, steps/s", f"{without['per_second']:.1f}", f"{100 * ratio:.1f} %", ratio >= 0.97)
        said = run("fill", preload=True, memory=8 * GIB, **config)
        bench.say("torch", f"{allocator}, filled 8 GiB", "OutOfMemoryError", said.get("refused", said.get("error")),
                  said.get("refused") == "OutOfMemoryError" and 7 * GIB < said["bytes"] <= 8 * GIB)  # fmt: skip


CHECKS = (look_ups, charges, limit, between_programs, starts, tools, compute, tenants, torch)


def device_of(bench):
    with Worker(bench, quiet=True) as worker:
        try:
            return worker.ask("open")
        except RuntimeError:
            return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute instead of a quarter of an hour")
    parser.add_argument("--json", metavar="FILE", help="the findings as JSON")
    parser.add_argument("--only", default="", metavar="TEXT", help="checks whose name holds TEXT")
    parser.add_argument("--simulated", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--build", default=HERE.parent.parent / "build" / "release", help=argparse.SUPPRESS)
    options = parser.parse_args()
    checks = [check for check in CHECKS if options.only in check.__name__.replace("_", " ")]
    if not checks:
        parser.error(f"no check is called '{options.only}'; " + ", ".join(c.__name__.replace("_", " ") for c in CHECKS))
    bench = Bench(options)
    try:
        name = device_of(bench)
        if name is None:
            print("no GPU that a program can open: nothing was checked")
            return 77
        print(f"{name}\n  {'':44} {'driver alone':>22} {'with the library':>22}")
        for check in checks:
            print(check.__name__.replace("_", " "))
            try:
                check(bench)
            except Exception as error:  # the others still run
                bench.say(check.__name__, "the check ended", "-", error, False)
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps({"device": name, "findings": bench.rows}, indent=2) + "\n")
        failed = [row for row in bench.rows if row["ok"] is False]
        print(f"\n{len(bench.rows)} findings, {len(failed)} failed")
        return 1 if failed else 0
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
