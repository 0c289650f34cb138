"""expanse tune: kernels with planted candidates that are slow, wrong, crash or hang. None of them may come into the table, the
right and faster one must; what was tried is not tried again; tables travel. Searches end when what was left to try is tried, whatever
time that takes: only the kernel that hangs meets a limit. All runs have one model, so that kernels are compiled once, and take them
from the driver's cache. Usage: test_tune.py EXPANSE KERNELS"""
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys

from commands import EXPANSE, ROOT, expanse, expect, failures, write

MODEL = """model: {width: 16, heads: 2, layers: 1, feed_forward: 16, dropout: 0, mask_padding: off}
training: {batch: 16}
"""
LENGTH = 9
# No limit that a busy machine could reach.
PATIENTLY = ["--minutes", "10000", "--timeout", "3600"]
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


def series(count):
    """Two classes of series with two features; all sizes of the products are even."""
    lines = ["@problemName waves", "@univariate false", "@classLabel true a b", "@data"]
    for i in range(count):
        rows = [",".join(f"{(i * 7 + t * (3 + 5 * (i % 2)) + row) % 11 / 11:.2f}" for t in range(LENGTH)) for row in range(2)]
        lines.append(":".join(rows) + f":{'ab'[i % 2]}")
    return "\n".join(lines) + "\n"


def cache(environment, name, *files):
    """The environment with an own cache folder for tables and trials, which begins with these files. Not by
    EXPANSE_CACHE_DIR: with that, PoCL would compile every kernel twice."""
    home = f"{ROOT}/{name}"
    folder = f"{home}/expanse"
    os.makedirs(folder, mode=0o700)
    for file in files:
        shutil.copy(file, folder)
    return {**environment, "XDG_CACHE_HOME": home}, folder


def tune(environment, *words):
    return expanse("tune", "--config", f"{ROOT}/model.yaml", "--length", str(LENGTH), "--features", "2", "--classes", "2", *words, env=environment)


def launches(environment, family, *flags):
    """All launches of a training step with their options; nothing is compiled."""
    words = ["train", "--config", f"{ROOT}/model.yaml", "--train", f"{ROOT}/train.ts", "--family", family, "--dry-run", "--launches", *flags]
    done = expanse(*words, env=environment)
    expect("a dry run", done.returncode == 0, done.stderr)
    return " ".join(done.stdout.split())


def lanes_of(environment):
    """Numbers in a vector by default on this device."""
    return int(re.search(r"gemm_wide.*-DLANES=(\d+)", launches(environment, "wide"))[1])


def ask(environment, family, kernels):
    """The requests of some kernels: what a search of no round leaves among its trials, by kernel."""
    begun = tune(environment, "--rounds", "0", "--filter", kernels, "--family", family, *PATIENTLY)
    expect("a search of no round", begun.returncode == 0 and "nothing was written: nothing faster was found" in begun.stdout,
           begun.stdout + begun.stderr)
    trials = json.load(open(f"{environment['XDG_CACHE_HOME']}/expanse/tuning-trials.json"))
    return {tuple(key.split(" | ")[:5]) for key in trials if re.fullmatch(kernels, key.split(" | ")[2])}


def leave_to_try(folder, requests, wanted, names, values):
    """Marks all combinations of values as tried and slow, but for the wanted ones."""
    path = f"{folder}/tuning-trials.json"
    trials = json.load(open(path))
    for request in requests:
        for combination in itertools.product(*values):
            key = " | ".join((*request, " ".join(f"{name}={value}" for name, value in zip(names, combination))))
            trials[key] = 2.0
            if combination in wanted:
                del trials[key]
    json.dump(trials, open(path, "w"))


def entries_of(environment, family, attention):
    """An entry for all shapes of each kernel that a short training asks the table for: as its checkpoint records them."""
    run = f"{ROOT}/asked-{family}-{attention}"
    words = ["train", "--config", f"{ROOT}/model.yaml", "--attention", attention, "--train", f"{ROOT}/train.ts", "--limit", "16"]
    done = expanse(*words, "--epochs", "1", "--family", family, "--no-tune", "--out", run, env=environment)
    expect(f"a training with {attention}", done.returncode == 0, done.stdout + done.stderr)
    recorded = json.load(open(f"{run}/last/state.json"))["tunings"]
    return {entry["kernel"]: {**entry, "shape": "*"} for entry in recorded}


def write_table(folder, *entries):
    json.dump({"format": 1, "entries": entries}, open(f"{folder}/tuning.json", "w"))


def entries_in(folder, kernel):
    path = f"{folder}/tuning.json"
    return [entry for entry in json.load(open(path))["entries"] if entry["kernel"] == kernel] if os.path.exists(path) else []


def check_right(environment, what, operations, family, cases):
    done = expanse("check", "--filter", operations, "--family", family, "--cases", str(cases), "-o", "json", env=environment)
    expect(f"{what} are right", done.returncode == 0, done.stdout[-800:] + done.stderr)


WIDE = ("BLOCK_ROWS", "BLOCK_COLUMNS", "BLOCK_DEPTH", "LANES"), ((24, 48, 96, 192), (32, 64, 128, 256, 512), (256, 512, 1024), (8, 16))


def check_search(plain, kernels, lanes):
    """Of a crashing, a wrong, a slow and a faster candidate the last one is kept."""
    own, other = (48, 96) if lanes == 8 else (96, 48)
    environment, folder = cache({**plain, "XP_CL_DIR": plant(kernels, own, other)}, "searched")
    requests = ask(environment, "wide", "gemm_wide")
    hanging, other_folder = cache(environment, "hanging", f"{folder}/tuning-trials.json")
    leave_to_try(folder, requests, [(rows, 512, depth, lanes) for rows, depth in ((24, 512), (other, 512), (own, 1024))], *WIDE)
    done = tune(environment, "--filter", "gemm_wide", "--family", "wide", *PATIENTLY)
    expect("a search with bad candidates ends well", done.returncode == 0, done.stdout[-800:] + done.stderr)
    products = entries_in(folder, "gemm_wide")
    expect("the faster one is found", len(products) > len(requests) / 2, done.stdout[-1500:])
    for entry in products:
        expect("it is neither slow, nor wrong, nor crashing",
               entry["values"] == {"BLOCK_ROWS": own, "BLOCK_COLUMNS": 512, "BLOCK_DEPTH": 1024, "LANES": lanes}, entry)
        expect("a winner says its gain", entry["gain"] > 1, entry)
    tried = json.load(open(f"{folder}/tuning-trials.json"))
    for rows, text in ((24, "the driver crashes"), (other, "wrong results")):
        expect(f"what is rejected is named: {text}", re.search(f"rejected: gemm_wide BLOCK_ROWS={rows} .*{text}", done.stdout), done.stdout[-3000:])
        expect("and remembered as such", -1 in [value for key, value in tried.items() if f"BLOCK_ROWS={rows} BLOCK_COLUMNS=512 BLOCK_DEPTH=512" in key], rows)
    again = tune(environment, "--filter", "gemm_wide", "--family", "wide", "--rounds", "1", *PATIENTLY)
    expect("what was tried is not tried again", again.returncode == 0 and "rejected" not in again.stdout and "round" not in again.stdout, again.stdout)

    leave_to_try(other_folder, requests, [(192, 512, 512, lanes)], *WIDE)
    done = tune(hanging, "--filter", "gemm_wide", "--family", "wide", "--minutes", "10000", "--timeout", "5")
    expect("a hang ends", done.returncode == 0 and re.search("rejected: gemm_wide BLOCK_ROWS=192 .*the driver hangs", done.stdout), done.stdout + done.stderr)
    expect("nothing is written without a gain", not entries_in(other_folder, "gemm_wide") and "nothing was written" in done.stdout, done.stdout)

    nothing = tune({**environment, "XDG_CACHE_HOME": f"{ROOT}/no-cache"}, "--export", "--output", f"{ROOT}/none.json")
    expect("nothing to export is told", nothing.returncode == 1 and "there is nothing to export: no table is at" in nothing.stderr, nothing.stderr)
    table, shared = json.load(open(f"{folder}/tuning.json")), f"{ROOT}/shared.json"
    expect("a table is exported", tune(environment, "--export", "--output", shared).returncode == 0)
    expect("as it is", json.load(open(shared)) == table)
    os.remove(f"{folder}/tuning.json")
    expect("and imported", tune(environment, "--import", shared).returncode == 0 and json.load(open(f"{folder}/tuning.json")) == table)
    plan = launches(environment, "wide")
    expect("a run uses it", "-DBLOCK_DEPTH=1024" in plan, plan[:2000])
    open(shared, "w").write('{"format": 1, "entries": [{"device": 3}]}')
    bad = tune(environment, "--import", shared)
    expect("a table that is none is rejected by its place", bad.returncode == 1 and "entry 1" in bad.stderr, bad.stderr)
    open(shared, "w").write("{")
    bad = tune(environment, "--import", shared)
    expect("and damaged JSON by line and column", bad.returncode == 1 and re.search(r"shared.json:1:\d", bad.stderr), bad.stderr)
    bad = tune(environment, "--filter", "gem_wide", "--family", "wide")
    expect("a filter that fits nothing", bad.returncode == 2 and "there are gemm_wide" in bad.stderr, bad.stderr)


def check_failures_are_told(plain):
    """A first trial that fails says why in the words of the library, not that a process ended."""
    done = tune(plain, "--device", "9:9")
    expect("a device that there is not: one sentence with those that there are",
           done.returncode == 1 and re.fullmatch(r'expanse: no device matches "9:9"; available: 0:0 [^\n]+\n', done.stderr), done.stderr)
    done = tune({**plain, "XP_CL_DIR": f"{ROOT}/nowhere"}, "--family", "wide")
    expect("a kernel that cannot be read is named", done.returncode == 1 and f"{ROOT}/nowhere/" in done.stderr, done.stderr)


def check_tiles(plain):
    """Tiles of the product that are not the default, and a depth in parts: the largest tile, and the one that fetches most for each work-item."""
    environment, folder = cache(plain, "tiles")
    names = entries_of(environment, "tiled", "softmax")["gemm_tiled"]
    for side, rows, columns, depth, parts in ((8, 8, 4, 32, 4), (16, 8, 8, 16, 2)):
        write_table(folder, {**names, "values": {"SIDE": side, "OWN_ROWS": rows, "OWN_COLUMNS": columns, "DEPTH": depth, "PARTS": parts}})
        check_right(environment, "other tiles", "^gemm$", "tiled", 20)
        plan = launches(environment, "tiled")
        expect("other tiles are used", f"-DDEPTH={depth}" in plan and f"-DSIDE={side}" in plan, plan[:1500])


def check_library(plain, kernels):
    """CLBlast in place of slow own kernels, and its parameters: searched once it is used, right, and used for all products."""
    source = open(f"{kernels}/gemm_tiled.cl").read()
    slow, count = re.subn(r"(\ngemm_tiled\([^{]*\{)", r"\1\n    for (volatile int turn = 0; turn < 3000; turn++) continue;", source)
    expect("the tiled kernel has the place for the plant", count == 1)
    shutil.copytree(kernels, f"{ROOT}/slow")
    open(f"{ROOT}/slow/gemm_tiled.cl", "w").write(slow)
    environment, folder = cache({**plain, "XP_CL_DIR": f"{ROOT}/slow"}, "library")
    requests = ask(environment, "tiled", "gemm_tiled")
    own = ("SIDE", "OWN_ROWS", "OWN_COLUMNS", "DEPTH"), ((8, 16), (4, 8), (4, 8), (16, 32))
    tiles = (*own[1][:3], (8, 16, 32), (1, 2, 4, 8, 16, 32))
    leave_to_try(folder, requests, [(*tile, 2) for tile in itertools.product(*tiles)], (*own[0], "PARTS", "LIBRARY"), (*tiles, (1, 2)))
    device, driver, _, version, _ = next(iter(requests))
    leave_to_try(folder, [(device, driver, "clblast", version, "all")], [(8, 4, 8, 32, 2, 2), (16, 8, 4, 16, 4, 1)],
                 (*own[0], "VECTOR", "LOCAL"), (*own[1], (1, 2, 4), (1, 2)))
    done = tune(environment, "--filter", "gemm_tiled|clblast", "--family", "tiled", *PATIENTLY)
    expect("a search of the library's parameters", done.returncode == 0, done.stdout + done.stderr)
    chosen = entries_in(folder, "gemm_tiled")
    expect("the library is found faster than slow kernels", chosen and all(entry["values"]["LIBRARY"] == 2 for entry in chosen), done.stdout)
    trials = json.load(open(f"{folder}/tuning-trials.json"))
    tried = [ratio for key, ratio in trials.items() if " | clblast | " in key and ratio not in (1.0, 2.0)]
    expect("its parameters are tried, and run", len(tried) == 2 and min(tried) > 0, done.stdout)

    names = dict(device=device, driver=driver, kernel="gemm_tiled", version=version, vendor="", shape="*")
    library = {**names, "values": {"LIBRARY": 2}}
    for values in ({"SIDE": 8, "OWN_ROWS": 4, "OWN_COLUMNS": 8, "DEPTH": 32, "VECTOR": 2, "LOCAL": 2},
                   {"SIDE": 16, "OWN_ROWS": 8, "OWN_COLUMNS": 4, "DEPTH": 16, "VECTOR": 4, "LOCAL": 1}):
        write_table(folder, library, {**names, "kernel": "clblast", "values": values})
        check_right(environment, "products of the library with other parameters", "^gemm$", "tiled", 20)
        plan = launches(environment, "tiled")
        expect("and used for all products", " ".join(f"-D{name}={value}" for name, value in values.items()) in plan
               and "gemm_tiled " not in plan, plan[:1500])
    write_table(folder, library, {**names, "kernel": "clblast", "values": {"SIDE": 1}})
    plan = launches(environment, "tiled")
    expect("the library's own parameters", "-DSIDE=1" in plan and "-DOWN_ROWS" not in plan, plan[:1500])


def check_lanes(plain, lanes):
    """Vectors of the width that the device does not prefer are right; the other tests use the one that it prefers."""
    environment, folder = cache(plain, "lanes")
    asked = {kernel: entry for attention in ("softmax", "linear(elu)") for kernel, entry in entries_of(environment, "wide", attention).items()}
    kernels = {"gemm_wide", *(f"{layer}_wide {way}" for layer in ("attention", "linear_attention") for way in ("forward", "backward"))}
    expect("the kernels with vectors have requests", kernels <= asked.keys(), asked.keys())
    other = 24 - lanes
    write_table(folder, *({**asked[kernel], "values": {"LANES": other}} for kernel in kernels))
    check_right(environment, f"vectors of {other}", "^(gemm|(linear_)?attention(_backward)?)$", "wide", 4)
    expect(f"vectors of {other} are used", lanes_of(environment) == other, other)


def check_pairs(plain):
    """The instructions for bf16 are used where a device has them; without them, pairs that are taken apart are right, too."""
    environment, folder = cache(plain, "pairs")
    name, record, option = "bf16_instruction", f"{folder}/findings.json", "-DBF16_INSTRUCTION=1"
    half = lambda: launches(environment, "wide", "--precision", "bf16")
    plan = half()
    with open(record) as file:
        findings = json.load(file)
    for entry in findings.values():
        expect("the instructions are used where they were found", (option in plan) == entry[name], plan[:1500])
        entry[name] = False
    with open(record, "w") as file:
        json.dump(findings, file)
    plan = half()
    expect("and not otherwise", "-DSTORAGE=2" in plan and option not in plan, plan[:1500])
    check_right(environment, "pairs that are taken apart", "^(gemm|attention(_backward)?) wide .*bf16", "wide", 12)
    # A lane that no query has: its score is 0, where the derivative of this one is infinite.
    score = 'softmax+score("log(fabs(score))", derivative="1.0f / score")'
    words = "--width 16 --heads 2 --layers 1 --ffn 16 --batch 2 --length 9 --features 2 --repetitions 3 --precision bf16".split()
    done = expanse("bench", "step", *words, "--attention", score, env=environment)
    expect("an odd number of queries", done.returncode == 0, done.stdout + done.stderr)


def train_until(environment, name, mark, *flags):
    """Starts a run of a million epochs, interrupts it at the line that begins with the mark, and returns what it printed."""
    words = ["train", "--config", f"{ROOT}/model.yaml", "--train", f"{ROOT}/long.ts", "--epochs", "1000000", "--family", "wide", *flags]
    process = subprocess.Popen([EXPANSE, *words, "--out", f"{ROOT}/{name}"], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in process.stdout:
        if line.startswith(mark) and not any(before.startswith(mark) for before in lines):
            process.send_signal(signal.SIGINT)
        lines.append(line)
    process.wait()
    expect(f"{name}: an interrupt ends it well", process.returncode == 128 + signal.SIGINT, f"{process.returncode} {lines}")
    return "".join(lines)


def check_first_run(environment):
    """The first long run on a device tunes for it, once; --no-tune and an interrupt leave that out."""
    environment, folder = cache(environment, "first")
    trials = f"{folder}/tuning-trials.json"
    write("long.ts", series(400 * os.cpu_count()))  # enough steps for a run that is long on any processor
    quiet = train_until(environment, "untuned", "preparing", "--no-tune")
    expect("--no-tune", "tuning" not in quiet and not os.path.exists(trials), quiet)
    cut = train_until(environment, "cut", "tuning")
    expect("an interrupt while tuning", "stopped before the first step" in cut and "defaults" not in cut, cut)
    expect("an interrupt while tuning rejects nothing", not os.path.exists(trials) or "-1" not in open(trials).read(), cut)
    if os.path.exists(trials):
        os.remove(trials)
    first = train_until(environment, "first-run", "preparing")
    told = re.findall(r"^tuning +(for|the defaults are kept|a step now takes)", first, re.M)
    expect("a first run", len(told) == 2 and told[0] == "for", first)
    expect("a first run", os.path.exists(trials) and os.path.exists(f"{folder}/tuning.json") == (told[-1] == "a step now takes"), first)
    second = train_until(environment, "second-run", "preparing")
    expect("a second run", "tuning" not in second and "preparing" in second, second)


def main():
    kernels = sys.argv[2]
    write("model.yaml", MODEL)
    write("train.ts", series(48))
    cached = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    driver = {"POCL_CACHE_DIR": f"{cached}/pocl/kcache", **os.environ}
    driver.pop("EXPANSE_CACHE_DIR", None)
    plain, _ = cache(driver, "plain")
    lanes = lanes_of(plain)
    check_failures_are_told(plain)
    check_search(plain, kernels, lanes)
    check_first_run(plain)
    check_tiles(plain)
    if "CLBlast     yes" in expanse("info").stdout:
        check_library(plain, kernels)
    check_lanes(plain, lanes)
    check_pairs(plain)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


sys.exit(main())
