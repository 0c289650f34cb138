#!/usr/bin/env python3
"""The scripts of tools/ with their programs played by small stand-ins: what they print, and what they leave in the folder for
temporary files. Usage: test_scripts.py TOOLS"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

TOOLS = os.path.abspath(sys.argv[1])
failures = 0


def expect(name, true, text):
    global failures
    if not true:
        failures += 1
        print(f"FAIL {name}: {text}")


def write_program(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def environment(folder):
    """The stand-ins come first; temporary files go to a folder of their own."""
    os.makedirs(f"{folder}/temporary", exist_ok=True)
    return {**os.environ, "PATH": f"{folder}/programs:{os.environ['PATH']}", "TMPDIR": f"{folder}/temporary"}


def check_logs(folder):
    """Logs have names that nobody can guess: a link of such a name in a shared folder would be written through."""
    write_program(f"{folder}/programs/meson", "echo configuring went wrong; exit 1\n")
    line = f'. "{TOOLS}/setup"; build "{folder}/build"'
    logs = set()
    for attempt in range(2):
        result = subprocess.run(["sh", "-c", line, "quickstart"], capture_output=True, text=True, env=environment(folder))
        named = result.stderr.rpartition("(see ")[2].strip().rstrip(")")
        expect("a log", result.returncode == 1 and "configuring went wrong" in result.stderr, result.stderr)
        inside = named.startswith(f"{folder}/temporary/") and os.path.exists(named)
        expect("a log", inside and "went wrong" in open(named).read(), f"{named} is not a log below {folder}/temporary")
        logs.add(named)
    expect("a log", len(logs) == 2, f"twice the same name: {logs}")
    write_program(f"{folder}/programs/meson", "mkdir -p $2; touch $2/build.ninja\n")
    write_program(f"{folder}/programs/ninja", "exit 0\n")
    before = sorted(os.listdir(f"{folder}/temporary"))
    result = subprocess.run(["sh", "-c", line, "quickstart"], capture_output=True, text=True, env=environment(folder))
    expect("a log", result.returncode == 0, result.stderr)
    expect("a log", sorted(os.listdir(f"{folder}/temporary")) == before, "a build that succeeded leaves its log")


def check_quickstart(folder):
    """The final accuracy is the result; that of the best epoch was chosen on the test set and is called so."""
    if not os.path.isdir("/usr/share/datasets/fashion-mnist"):
        print("skipped: quickstart (Fashion-MNIST is not here)")
        return
    shutil.copytree(TOOLS, f"{folder}/house/tools")
    summary = {"accuracy_set": "test", "accuracy_best": 0.875, "accuracy_final": 0.8125, "epoch_best": 3,
               "epoch_best_chosen_on": "test", "samples_per_second": 10.0, "device": "none"}
    with open(f"{folder}/summary.json", "w") as file:
        json.dump(summary, file)
    write_program(f"{folder}/house/build/src/expanse", f'while [ $# -gt 1 ]; do [ "$1" = --out ] && mkdir -p "$2" && '
                  f'cp "{folder}/summary.json" "$2"; shift; done\n')
    open(f"{folder}/house/build/build.ninja", "w").close()
    for program in ("ninja", "apt-get", "sudo"):
        write_program(f"{folder}/programs/{program}", "exit 0\n")
    result = subprocess.run([f"{folder}/house/tools/quickstart", "--out", f"{folder}/run"], capture_output=True, text=True,
                            env=environment(folder))
    lines = [line for line in result.stdout.splitlines() if "%" in line]
    expect("quickstart", lines and "test accuracy  81.25 % final" in lines[0], result.stdout + result.stderr)
    best = [line for line in lines if "87.50 %" in line]
    expect("quickstart", best and "best epoch, 3, chosen on the test set" in best[0], result.stdout)


for check in (check_logs, check_quickstart):
    with tempfile.TemporaryDirectory() as scratch:
        check(scratch)
print(f"{failures} failures")
sys.exit(failures > 0)
