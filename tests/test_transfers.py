#!/usr/bin/env python3
"""A step of training waits for nothing but the step before it: an OpenCL without a device counts the calls of runs that
differ by a few steps within an epoch.

usage: test_transfers.py EXPANSE LIBRARY (tests/faults/null_opencl.c) FOLDER"""
import os
import subprocess
import sys
import tempfile

EXPANSE, LIBRARY, FOLDER = sys.argv[1:4]
BATCH, FEW, MANY = 4, 3, 8


def write_series(path, count):
    with open(path, "w") as file:
        file.write("@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true a b\n@data\n")
        for i in range(count):
            file.write(f"{i},{i + 1},{i % 3}:{i % 5},1,{i}:{'ab'[i % 2]}\n")


def count_calls(folder, steps, flags):
    """How often each function was called, and how often with waiting for what it enqueued, or what was before."""
    data, report = os.path.join(folder, f"{steps}.ts"), os.path.join(folder, "report")
    write_series(data, BATCH * steps)
    if os.path.exists(report):
        os.remove(report)
    words = [EXPANSE, "train", "--preset", "uea-mvts", "--train", data, "--epochs", "1", "--batch", str(BATCH), "--no-tune", "--quiet",
             "--set", "width=16", "--set", "layers=1", "--set", "heads=2", "--set", "feed_forward=32",
             "--out", os.path.join(folder, f"run-{steps}"), *flags]
    environment = {**os.environ, "LD_PRELOAD": LIBRARY, "LD_LIBRARY_PATH": FOLDER, "EXPANSE_CACHE_DIR": os.path.join(folder, "cache"),
                   "NULL_OPENCL_REPORT": report, "NULL_OPENCL_SIGNATURES": folder}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in open(report)]
    assert not [line for line in lines if line[0] in ("misuse", "leak")], lines
    return tuple({line[1]: int(line[2]) for line in lines if line[0] == word} for word in ("calls", "blocking"))


def more(many, few):
    """Calls of the longer run beyond those of the shorter one."""
    return {name: count - few.get(name, 0) for name, count in many.items() if count != few.get(name, 0)}


def check(name, flags, parts):
    with tempfile.TemporaryDirectory(prefix="expanse-transfers-") as folder:
        _, few, many = (count_calls(folder, steps, flags) for steps in (FEW - 1, FEW, MANY))  # the first one fills caches
    calls, blocking = more(many[0], few[0]), more(many[1], few[1])
    runs = (MANY - FEW) * parts
    print(f"{name}: {MANY - FEW} more steps: {calls}; of them blocking: {blocking}")
    assert blocking == {"clWaitForEvents": runs}, f"{name}: a step waits for more than the one before: {blocking}"
    assert calls.get("clEnqueueWriteBuffer") == runs, f"{name}: a run has more than one upload: {calls}"
    assert calls.get("clEnqueueReadBuffer") == runs, f"{name}: a run has more than one download: {calls}"
    created = [call for call in calls if call.startswith("clCreate")]
    assert not created, f"{name}: a step creates objects: {created}"


check("a step", [], 1)
check("a step in two parts", ["--accumulate", "2"], 2)
check("a step with dropout and recomputation", ["--set", "dropout=0.1", "--recompute"], 1)
