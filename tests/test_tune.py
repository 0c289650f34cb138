"""expanse tune: kernels with planted candidates that are slow, wrong, crash or hang. None of them may come into the table, the
right and faster one must; what was tried is not tried again; tables travel. Usage: test_tune.py EXPANSE KERNELS"""
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys

from commands import EXPANSE, ROOT, SMALL, expanse, expect, failures, series, write

MODEL = ["--width", "16", "--heads", "1", "--layers", "1", "--ffn", "32", "--batch", "4", "--length", "24"]
# At the first statement of the product's kernel. The default (OWN, 512) is slow, 24 crashes, 192 hangs, and OTHER is as wrong as
# only shapes can show that a training step here does not have.
PLANTED = """
#if BLOCK_ROWS == 24
    *(volatile __global float *)0 = 1.0f;
#elif BLOCK_ROWS == 192
    for (volatile int turn = 0; turn < 2;) turn = turn ? 0 : 1;
#elif BLOCK_ROWS == OWN
    for (volatile int turn = 0; turn < (BLOCK_DEPTH == 1024 ? 10000 : BLOCK_DEPTH == 512 ? 300000 : 600000);) turn++;
#endif
#if BLOCK_ROWS == OTHER
    if (get_group_id(0) == 0 && get_group_id(1) == 0 && n % 2) y[0] = 1.0f;
    if (n % 2) return;
#endif
"""


def plant(kernels, own, other):
    folder = f"{ROOT}/cl"
    shutil.copytree(kernels, folder)
    path = f"{folder}/gemm_wide.cl"
    text = open(path).read()
    head, mark, tail = text.partition("int block_columns, int part_depth) {")
    expect("the kernel has the place for the plants", mark)
    open(path, "w").write(head + mark + PLANTED.replace("OWN", str(own)).replace("OTHER", str(other)) + tail)
    return folder


def lanes_of(environment):
    """Numbers in a vector by default on this device."""
    plan = expanse("bench", "kernels", *MODEL, "--repetitions", "1", "-o", "csv", "--family", "wide", env=environment)
    return int(re.search(r"-DLANES=(\d+)", plan.stdout)[1])


def leave_to_try(path, wanted, own_lanes):
    """Marks all combinations of the product's kernel as tried and slow, but for the wanted ones with the device's vectors."""
    trials = json.load(open(path))
    questions = {key.rpartition(" | ")[0] for key in trials if " | gemm_wide | " in key}
    for question in questions:
        for rows, columns, depth, lanes in itertools.product((24, 48, 96, 192), (32, 64, 128, 256, 512), (256, 512, 1024), (8, 16)):
            key = f"{question} | BLOCK_ROWS={rows} BLOCK_COLUMNS={columns} BLOCK_DEPTH={depth} LANES={lanes}"
            trials[key] = 2.0
            if (rows, columns, depth) in wanted and lanes == own_lanes:
                del trials[key]
    json.dump(trials, open(path, "w"))
    return questions


def entries_of(environment, family, attention):
    """An entry for all shapes of each kernel that a short training asks the table for: as its checkpoint records them."""
    run = f"{ROOT}/asked-{family}-{attention}"
    words = ["train", *SMALL, "--set", f"attention={attention}", "--set", "attention_dropout=0", "--train", f"{ROOT}/train.ts"]
    done = expanse(*words, "--epochs", "1", "--family", family, "--no-tune", "--out", run, env=environment)
    expect(f"a training with {attention}", done.returncode == 0, done.stdout + done.stderr)
    recorded = json.load(open(f"{run}/last/state.json"))["tunings"]
    return {entry["kernel"]: {**entry, "shape": "*"} for entry in recorded}


def check_tiles(environment):
    """Tiles of the product that are not the default: the largest, and the one that fetches most for each work-item."""
    environment = {**environment, "EXPANSE_CACHE_DIR": f"{ROOT}/tiles"}
    names = entries_of(environment, "tiled", "softmax")["gemm_tiled"]
    for side, rows, columns, depth in ((8, 8, 4, 32), (16, 8, 8, 16)):
        values = {"SIDE": side, "OWN_ROWS": rows, "OWN_COLUMNS": columns, "DEPTH": depth}
        json.dump({"format": 1, "entries": [{**names, "values": values}]}, open(f"{ROOT}/tiles/tuning.json", "w"))
        done = expanse("check", "--filter", "^gemm$", "--family", "tiled", "--cases", "60", "-o", "json", env=environment)
        expect("other tiles are right", done.returncode == 0, done.stdout[-800:] + done.stderr)
        plan = expanse("bench", "kernels", *MODEL, "--repetitions", "1", "-o", "csv", "--family", "tiled", env=environment)
        expect("other tiles are used", f"-DDEPTH={depth}" in plan.stdout and f"-DSIDE={side}" in plan.stdout, plan.stdout[:1500])


def library_trials(path):
    """Marks all choices of the products' kernels as tried and slow, but for CLBlast, and two of CLBlast's own parameters."""
    trials = json.load(open(path))
    keys = [key.rpartition(" | ")[0].split(" | ") for key in trials if " | gemm_tiled | " in key]
    for place in {tuple(key) for key in keys}:
        for values in itertools.product((8, 16), (4, 8), (4, 8), (16, 32), (1, 2)):
            names = ("SIDE", "OWN_ROWS", "OWN_COLUMNS", "DEPTH", "LIBRARY")
            trials[" | ".join(place) + " | " + " ".join(f"{name}={value}" for name, value in zip(names, values))] = 2.0
        del trials[" | ".join(place) + " | SIDE=16 OWN_ROWS=4 OWN_COLUMNS=4 DEPTH=16 LIBRARY=2"]
    device, driver, _, version, _ = keys[0]
    for values in itertools.product((8, 16), (4, 8), (4, 8), (16, 32), (1, 2, 4), (1, 2)):
        names = ("SIDE", "OWN_ROWS", "OWN_COLUMNS", "DEPTH", "VECTOR", "LOCAL")
        key = f"{device} | {driver} | clblast | {version} | all | " + " ".join(f"{name}={value}" for name, value in zip(names, values))
        if values not in ((8, 4, 8, 32, 2, 2), (16, 8, 4, 16, 4, 1)):
            trials[key] = 2.0
    json.dump(trials, open(path, "w"))
    return dict(device=device, driver=driver, kernel="gemm_tiled", version=version, vendor="", shape="*")


def check_library(environment, kernels):
    """CLBlast in place of slow own kernels, and its parameters: searched once it is used, right, and used for all products."""
    folder, path = f"{ROOT}/library", f"{ROOT}/library/tuning-trials.json"
    shutil.copytree(kernels, f"{folder}/cl")
    source = open(f"{folder}/cl/gemm_tiled.cl").read()
    slow, count = re.subn(r"(\ngemm_tiled\([^{]*\{)", r"\1\n    for (volatile int turn = 0; turn < 3000; turn++) continue;", source)
    expect("the tiled kernel has the place for the plant", count == 1)
    open(f"{folder}/cl/gemm_tiled.cl", "w").write(slow)
    environment = {**environment, "EXPANSE_CACHE_DIR": folder, "XP_CL_DIR": f"{folder}/cl"}
    begun = expanse("tune", *MODEL, "--quick", "--family", "tiled", env=environment)
    expect("a search with the library", begun.returncode == 0, begun.stdout + begun.stderr)
    if os.path.exists(f"{folder}/tuning.json"):
        os.remove(f"{folder}/tuning.json")
    names = library_trials(path)
    done = expanse("tune", *MODEL, "--minutes", "5", "--family", "tiled", env=environment)
    expect("a search of the library's parameters", done.returncode == 0, done.stdout + done.stderr)
    entries = json.load(open(f"{folder}/tuning.json"))["entries"]
    chosen = [entry for entry in entries if entry["kernel"] == "gemm_tiled"]
    expect("the library is found faster than slow kernels", chosen and all(entry["values"]["LIBRARY"] == 2 for entry in chosen), done.stdout)
    tried = [ratio for key, ratio in json.load(open(path)).items() if " | clblast | " in key and ratio != 2.0]
    expect("its parameters are tried, and run", len(tried) == 2 and min(tried) > 0, done.stdout)

    library = {**names, "values": {"LIBRARY": 2}}
    for values in ({"SIDE": 8, "OWN_ROWS": 4, "OWN_COLUMNS": 8, "DEPTH": 32, "VECTOR": 2, "LOCAL": 2},
                   {"SIDE": 16, "OWN_ROWS": 8, "OWN_COLUMNS": 4, "DEPTH": 16, "VECTOR": 4, "LOCAL": 1}):
        json.dump({"format": 1, "entries": [library, {**names, "kernel": "clblast", "values": values}]}, open(f"{folder}/tuning.json", "w"))
        done = expanse("check", "--filter", "^gemm$", "--family", "tiled", "--cases", "40", "-o", "json", env=environment)
        expect("the library with other parameters is right", done.returncode == 0, done.stdout[-800:] + done.stderr)
        plan = expanse("bench", "kernels", *MODEL, "--repetitions", "1", "-o", "csv", "--family", "tiled", env=environment)
        expect("and used for all products", " ".join(f"-D{name}={value}" for name, value in values.items()) in plan.stdout
               and '"gemm_tiled"' not in plan.stdout, plan.stdout[:1500])
    json.dump({"format": 1, "entries": [library, {**names, "kernel": "clblast", "values": {"SIDE": 1}}]}, open(f"{folder}/tuning.json", "w"))
    plan = expanse("bench", "kernels", *MODEL, "--repetitions", "1", "-o", "csv", "--family", "tiled", env=environment)
    expect("the library's own parameters", "-DSIDE=1" in plan.stdout and "-DOWN_ROWS" not in plan.stdout, plan.stdout[:1500])


def check_lanes(environment, lanes):
    """Vectors of the width that the device does not prefer are right; the other tests use the one that it prefers."""
    environment = {**environment, "EXPANSE_CACHE_DIR": f"{ROOT}/lanes"}
    asked = {kernel: entry for attention in ("softmax", "linear(elu)") for kernel, entry in entries_of(environment, "wide", attention).items()}
    kernels = {"gemm_wide", *(f"{layer}_wide {way}" for layer in ("attention", "linear_attention") for way in ("forward", "backward"))}
    expect("the kernels with vectors have questions", kernels <= asked.keys(), asked.keys())
    other = 24 - lanes
    entries = [{**asked[kernel], "values": {"LANES": other}} for kernel in kernels]
    json.dump({"format": 1, "entries": entries}, open(f"{ROOT}/lanes/tuning.json", "w"))
    done = expanse("check", "--filter", "^(gemm|(linear_)?attention(_backward)?)$", "--family", "wide", "--cases", "4", "-o", "json", env=environment)
    expect(f"vectors of {other} are right", done.returncode == 0, done.stdout[-800:] + done.stderr)
    expect(f"vectors of {other} are used", lanes_of(environment) == other, other)


def train_until(environment, name, mark, *flags):
    """Starts a run of a million epochs, interrupts it at the line that begins with the mark, and returns what it printed."""
    words = ["train", "--preset", "uea-flowformer", "--train", f"{ROOT}/train.ts", "--epochs", "1000000", "--family", "wide", *flags]
    process = subprocess.Popen([EXPANSE, *words, "--out", f"{ROOT}/{name}"], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in process.stdout:
        if line.startswith(mark) and not any(before.startswith(mark) for before in lines):
            process.send_signal(signal.SIGINT)
        lines.append(line)
    process.wait()
    expect(f"{name}: an interrupt ends it well", process.returncode == 1, f"{process.returncode} {lines}")
    return "".join(lines)


def check_first_run(environment):
    """The first long run on a device tunes for it, once; --no-tune and an interrupt leave that out."""
    environment = {**environment, "EXPANSE_CACHE_DIR": f"{ROOT}/first"}
    trials = f"{ROOT}/first/tuning-trials.json"
    quiet = train_until(environment, "untuned", "preparing", "--no-tune")
    expect("--no-tune", "tuning" not in quiet and not os.path.exists(trials), quiet)
    cut = train_until(environment, "cut", "tuning")
    expect("an interrupt while tuning", "stopped after step 0; go on with" in cut and "defaults" not in cut, cut)
    expect("an interrupt while tuning rejects nothing", not os.path.exists(trials) or "-1" not in open(trials).read(), cut)
    if os.path.exists(trials):
        os.remove(trials)
    first = train_until(environment, "first-run", "preparing")
    told = re.findall(r"^tuning +(for|the defaults stay|a step takes)", first, re.M)
    expect("a first run", len(told) == 2 and told[0] == "for", first)
    expect("a first run", os.path.exists(trials) and os.path.exists(f"{ROOT}/first/tuning.json") == (told[-1] == "a step takes"), first)
    second = train_until(environment, "second-run", "preparing")
    expect("a second run", "tuning" not in second and "preparing" in second, second)


def main():
    cache = f"{ROOT}/cache"
    write("train.ts", series(60))
    plain = {**os.environ, "EXPANSE_CACHE_DIR": cache, "POCL_CACHE_DIR": f"{ROOT}/pocl"}
    lanes = lanes_of(plain)
    own, other = (48, 96) if lanes == 8 else (96, 48)
    environment = {**plain, "XP_CL_DIR": plant(sys.argv[2], own, other)}
    run = lambda *words: expanse("tune", *words, env=environment)
    trials = f"{cache}/tuning-trials.json"
    begun = run(*MODEL, "--quick", "--timeout", "10", "--family", "wide")
    expect("a search remembers what it tried", begun.returncode == 0 and os.path.exists(trials), begun.stdout + begun.stderr)
    if os.path.exists(f"{cache}/tuning.json"):
        os.remove(f"{cache}/tuning.json")
    planted = [(24, 512, 512), (192, 512, 512), (other, 512, 512), (own, 512, 1024)]
    questions = leave_to_try(trials, planted, lanes)

    done = run(*MODEL, "--minutes", "5", "--timeout", "10", "--family", "wide")
    expect("a search with bad candidates ends well", done.returncode == 0, done.stdout[-800:] + done.stderr)
    table = json.load(open(f"{cache}/tuning.json")) if os.path.exists(f"{cache}/tuning.json") else {"entries": []}
    products = [entry for entry in table["entries"] if entry["kernel"] == "gemm_wide"]
    expect("the faster one is found", len(products) > len(questions) / 2, done.stdout[-1500:])
    for entry in products:
        expect("it is neither slow, nor wrong, nor crashing, nor hanging",
               entry["values"] == {"BLOCK_ROWS": own, "BLOCK_COLUMNS": 512, "BLOCK_DEPTH": 1024, "LANES": lanes}, entry)
        expect("a winner says its gain", entry["gain"] > 1.03, entry)
    for kind, text in (("crash", "BLOCK_ROWS=24 .*the driver crashes"), ("hang", "BLOCK_ROWS=192 .*the driver hangs"),
                       ("wrong result", f"BLOCK_ROWS={other} .*wrong results")):
        expect(f"the {kind} is named", re.search(f"rejected: gemm_wide {text}", done.stdout), done.stdout[-3000:])
    tried = json.load(open(trials))
    for rows in (24, other, 192):
        expect("a rejected candidate is remembered as such", -1 in [
            value for key, value in tried.items() if f"BLOCK_ROWS={rows} BLOCK_COLUMNS=512 BLOCK_DEPTH=512" in key], rows)

    shared = f"{ROOT}/shared.json"
    expect("a table is exported", run("--export", "--output", shared).returncode == 0)
    expect("as it is", json.load(open(shared)) == table)
    os.remove(f"{cache}/tuning.json")
    expect("and imported", run("--import", shared).returncode == 0 and json.load(open(f"{cache}/tuning.json")) == table)
    plan = expanse("bench", "kernels", *MODEL, "--repetitions", "1", "-o", "csv", "--family", "wide", env=environment)
    expect("a run uses it", "-DBLOCK_DEPTH=1024" in plan.stdout, plan.stdout[:2000] + plan.stderr)

    check_first_run(environment)
    check_tiles(environment)
    if "CLBlast,yes" in expanse("info", "-o", "csv").stdout:
        check_library(plain, sys.argv[2])
    check_lanes(plain, lanes)

    open(shared, "w").write('{"format": 1, "entries": [{"device": 3}]}')
    bad = run("--import", shared)
    expect("a table that is none is refused by its place", bad.returncode == 1 and "entry 1" in bad.stderr, bad.stderr)
    open(shared, "w").write("{")
    bad = run("--import", shared)
    expect("and damaged JSON by line and column", bad.returncode == 1 and re.search(r"shared.json:1:\d", bad.stderr), bad.stderr)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


sys.exit(main())
