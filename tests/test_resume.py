#!/usr/bin/env python3
"""Runs that end badly, move, or are made longer: what a folder holds afterwards, and how one goes on with it.
Usage: test_resume.py EXPANSE [CHECK ...]"""
import csv
import fcntl
import json
import os
import re
import resource
import shutil
import sys

from commands import ROOT, SMALL, expanse, expect, finish, must, own_programs, rejected, series, snapshot, write

DATA = []  # words that name the data of a small run


def same_weights(name, a, b):
    for file in ("last/model.safetensors", "last/training.safetensors", "best/model.safetensors"):
        one, other = (open(os.path.join(run, file), "rb").read() for run in (a, b))
        expect(name, one == other, f"{file} differs between {a} and {b}")


def check_lock():
    """Another run may still be writing: nothing of the folder is read before it is ours."""
    run = os.path.join(ROOT, "locked")
    must("train", *SMALL, *DATA, "--epochs", "1", "--out", run, "--quiet")
    write("locked/last/state.json", "{")  # as if the other one were in the middle of it
    folder = os.open(run, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    rejected("a run that still goes", ["train", "--resume", run], ["another run is writing here"], 1)
    os.close(folder)


@own_programs
def check_early_end():
    """A run that ended before its first checkpoint starts again from its configuration."""
    whole, run = os.path.join(ROOT, "whole"), os.path.join(ROOT, "early")
    words = ["train", *SMALL, *DATA, "--epochs", "2", "--quiet", "--out"]
    must(*words, whole)

    def limit():  # the largest file: the configuration fits, the weights do not
        largest = os.path.getsize(f"{whole}/config.yaml") + 500
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    result = expanse(*words, run, preexec_fn=limit, restore_signals=False)
    expect("an early end", result.returncode == 1 and "writing failed" in result.stderr and not os.path.exists(f"{run}/last"), result.stderr)
    rejected("a folder of an early end", [*words, run], ["not empty", "--resume"], 2)
    os.remove(os.path.join(run, "metrics.csv"))  # the end may come before it is written
    result = must("train", "--resume", run)
    expect("an early end", "no checkpoint yet" in result.stdout, result.stdout)
    same_weights("an early end", whole, run)
    os.makedirs(os.path.join(ROOT, "nothing"))
    rejected("a folder without a run", ["train", "--resume", os.path.join(ROOT, "nothing")], ["contains no checkpoint"], 1)
    rejected("a checkpoint in place of a run", ["train", "--resume", f"{run}/last"], ["is a checkpoint"], 1)


def check_summary():
    """A run that ended between its last checkpoint and its summary writes the summary when it is resumed."""
    run = os.path.join(ROOT, "unsummarised")
    for data in (DATA, DATA[:2], [*DATA[:2], "--validation", "0.3"]):
        must("train", *SMALL, *data, "--epochs", "2", "--out", run, "--quiet")
        path = os.path.join(run, "summary.json")
        before = json.load(open(path))
        os.remove(path)
        must("train", "--resume", run, "--quiet")
        if expect("a missing summary", os.path.exists(path), "was not written"):
            after = json.load(open(path))
            measured = [key for key in before if "second" in key or key == "peak_bytes"]
            differing = [key for key in before if before[key] != after.get(key) and key not in measured]
            expect("a missing summary", not differing, f"{differing} differ: {before} {after}")
        shutil.rmtree(run)


def check_divergence():
    """Weights that an epoch's last step spoilt are noticed, and do not take the place of the last good ones."""
    run = os.path.join(ROOT, "diverged")
    words = ["train", *SMALL, *DATA, "--epochs", "40", "--batch", "64", "--out", run, "--quiet"]  # one step an epoch
    for setting in ("norm=layer", "dropout=0", "optimiser=adamw", "learning_rate=1000", "weight_decay=10"):
        words += ["--set", setting]
    result = expanse(*words)
    expect("divergence", result.returncode == 1 and re.search("after step .*learning rate", result.stderr)
           and len(result.stderr.splitlines()) == 1, result.stderr)
    found = must("eval", f"{run}/last", "--data", DATA[3], "--quiet").stdout
    expect("divergence", re.search(r"^loss +\d", found, re.M), found)
    for row in csv.DictReader(open(os.path.join(run, "metrics.csv"))):
        expect("divergence", row["test_loss"], f"an epoch without a loss was closed: {row}")


def check_data():
    """All data of a run are remembered, and found from whatever folder it is resumed in."""
    elsewhere = os.path.join(ROOT, "elsewhere")
    os.makedirs(elsewhere)
    words = ["train", *SMALL, "--train", "train.ts", "--test", "./test.ts", "--validation", "0.25", "--epochs", "1"]
    result = expanse(*words, "--out", "relative", "--quiet", cwd=ROOT)
    expect("relative paths", result.returncode == 0, result.stderr)
    result = expanse("train", "--resume", "../relative", "--quiet", cwd=elsewhere)
    expect("relative paths", result.returncode == 0, result.stderr)
    run, test = os.path.join(ROOT, "relative"), os.path.join(ROOT, "test.ts")
    kept = open(test).read()
    longer = ["train", "--resume", run, "--quiet", "--epochs", "2"]
    for name, changed in (("another test set", kept.replace("0.455", "0.456", 1)), ("a larger test set", kept + "0.1,0.2:a\n"),
                          ("a test set of longer series", kept + "1,1,1,1,1,1,1,1,1,1:a\n")):
        write("test.ts", changed)
        rejected(name, longer, [r"test\.ts is not the data", "give --test the right file"], 1)
    write("test.ts", kept)
    config = os.path.join(run, "last", "config.yaml")
    text = open(config).read()
    write(config, text.replace("seed: 1 ", "seed: 2 ").replace("seed: 1\n", "seed: 2\n"))  # another validation part
    rejected("another validation part", longer, [r"train\.ts is not the data"], 1)


def check_moved():
    """A run goes on where its folder and its data were moved to, on the kernels that it is given; other data are rejected."""
    old, new, run, moved = (os.path.join(ROOT, name) for name in ("old", "new", "moving", "moved"))
    os.makedirs(old)
    for name, text in (("train.ts", series()), ("test.ts", series(12))):
        write(f"old/{name}", text)
    result = expanse("train", *SMALL, "--train", "train.ts", "--test", "test.ts", "--epochs", "1", "--out", run, "--quiet", cwd=old)
    expect("a run to be moved", result.returncode == 0, result.stderr)
    os.rename(old, new)
    os.rename(run, moved)
    result = must("train", "--resume", moved)  # finished: it needs no data
    expect("a finished run without its data", re.search(r"^training +24 .*\n^test +12 ", result.stdout, re.M), result.stdout)
    must("eval", moved, "--data", f"{new}/test.ts", "--quiet")
    longer = ["train", "--resume", moved, "--epochs", "2"]
    rejected("data that were moved", [*longer, "--quiet"], [f"{old}/train.ts: cannot be opened", "give --train FILE"], 1)
    rejected("test data that were moved", [*longer, "--train", f"{new}/train.ts", "--quiet"], [f"{old}/test.ts: ", "give --test FILE"], 1)
    rejected("no file", [*longer, "--train", f"{new}/none.ts", "--quiet"], [r"none\.ts: cannot be opened: No such file or directory$"], 1)
    both = ["--train", f"{new}/test.ts", "--test", f"{new}/train.ts"]
    rejected("data that were exchanged", [*longer, *both, "--quiet"], [r"test\.ts is not the data .* trained with, nor \S*train\.ts"], 1)
    for name, text in (("more dimensions", re.sub(r"^(0.*):([ab])$", r"\1:\1:\2", series(), flags=re.M).replace("@univariate true", "@univariate false")),
                       ("other classes", series().replace(" a b", " c d").replace(":a", ":c").replace(":b", ":d"))):
        other = write("other.ts", text)
        rejected(f"data of {name}", [*longer, "--train", other, "--quiet"], [r"other\.ts is not the data that this run was trained with:"], 1)
    rejected("data of a finished run", ["train", "--resume", moved, "--test", f"{new}/train.ts", "--train", f"{new}/train.ts"],
            [r"train\.ts is not the data that this run was tested with"], 1)
    result = expanse(*longer[:2], "../moved", "--epochs", "2", "--train", "train.ts", "--test", "./test.ts", "--quiet", "--device", "cpu", cwd=new)
    expect("moved data", result.returncode == 0, result.stderr)
    for file in ("config.yaml", "last/config.yaml"):
        text = open(os.path.join(moved, file)).read()
        expect("moved data", f'train: "{new}/train.ts"' in text and f'test: "{new}/test.ts"' in text and 'select: "cpu"' in text, text)
    must("train", "--resume", moved, "--train", f"{new}/../new/train.ts", "--quiet")  # recorded of a finished run, too
    expect("moved data", "/../new/train.ts" in open(f"{moved}/last/config.yaml").read())
    must("train", "--resume", moved, "--epochs", "3", "--quiet")
    whole = os.path.join(ROOT, "unmoved")
    must("train", *SMALL, "--train", f"{new}/train.ts", "--test", f"{new}/test.ts", "--epochs", "3", "--out", whole, "--quiet")
    same_weights("moved data", whole, moved)
    result = must("train", "--resume", moved, "--epochs", "4", "--family", "tiled")
    expect("another family", "its bits will differ" in result.stdout and "kernels tiled" in result.stdout, result.stdout)
    alone = os.path.join(ROOT, "alone")
    must("train", *SMALL, "--train", f"{new}/train.ts", "--epochs", "1", "--out", alone, "--quiet")
    rejected("a test set that was none", ["train", "--resume", alone, "--test", f"{new}/test.ts"], ["has no test set", "expanse eval"], 1)
    rejected("another batch", ["train", "--resume", alone, "--limit", "3"], ["only other flags allowed are --epochs", "--train and --test"], 2)


def check_extension():
    """A run made longer is the run that was that long from the start, where that is true; else it is rejected."""
    long, run = os.path.join(ROOT, "long"), os.path.join(ROOT, "short")
    words = ["train", *SMALL, *DATA, "--set", "warmup=1.5", "--quiet"]
    must(*words, "--epochs", "5", "--out", long)
    must(*words, "--epochs", "2", "--out", run)
    result = must("train", "--resume", run, "--epochs", "5")
    expect("a longer run", "from 2 to 5 epochs" in result.stdout, result.stdout)
    same_weights("a longer run", long, run)
    for file in ("config.yaml", "last/config.yaml"):
        one, other = (open(os.path.join(folder, file)).read() for folder in (long, run))
        expect("a longer run", one == other, f"{file}: {other}")
    summary = json.load(open(os.path.join(run, "summary.json")))
    expect("a longer run", summary["epochs"] == 5 and summary["finished"], str(summary))
    rejected("a shorter run", ["train", "--resume", run, "--epochs", "4"], ["has 5 epochs", "only extend it"], 1)
    must("train", "--resume", run, "--epochs", "5", "--quiet")  # the same number changes nothing
    rejected("another setting", ["train", "--resume", run, "--batch", "4"], ["only other flags allowed are --epochs"], 2)
    rejected("no epochs", ["train", "--resume", run, "--epochs", "0"], ["has 5 epochs", "only extend it"], 1)
    rejected("no number of epochs", ["train", "--resume", run, "--epochs", "-1"], ["epochs"], 2)
    for schedule in ("cosine", "one-cycle"):
        folder = os.path.join(ROOT, schedule)
        must(*words, "--set", f"schedule={schedule}", "--epochs", "2", "--out", folder)
        must("train", "--resume", folder, "--epochs", "2", "--quiet")
        rejected(f"a longer {schedule} run", ["train", "--resume", folder, "--epochs", "5"], [schedule, "depends on the number"], 1)
    folder = os.path.join(ROOT, "step")  # of its length, a schedule in steps knows nothing
    steps = [*words, "--set", "schedule=step", "--set", "step_epochs=1", "--epochs"]
    must(*steps, "2", "--out", folder)
    must(*steps, "3", "--out", f"{folder}-long")
    must("train", "--resume", folder, "--epochs", "3", "--quiet")
    same_weights("a longer run in steps", folder, f"{folder}-long")


def check_finished():
    """Resuming a run that has all its epochs says so, and how it could be longer; it changes nothing and is no failure."""
    for schedule, how in (("constant", "--epochs N, with more than 2, extends it"), ("cosine", "cannot be extended")):
        run = os.path.join(ROOT, f"finished-{schedule}")
        must("train", *SMALL, *DATA, "--set", f"schedule={schedule}", "--epochs", "2", "--out", run)
        before = snapshot([run])
        for words in ([], ["--epochs", "2"]):
            result = must("train", "--resume", run, *words)
            expect("a finished run", "epoch 2 of 2 is done" in result.stdout and how in result.stdout, result.stdout)
            expect("a finished run", "chosen on the test set" in result.stdout and "kernels" not in result.stdout, result.stdout)
            expect("a finished run", snapshot([run]) == before, "was changed")
        print(result.stdout.splitlines()[1])


def check_recompute():
    """Recomputing activations changes no bit, whether it is asked for at the start or by a resume; it takes less memory."""
    plain, whole, late = (os.path.join(ROOT, name) for name in ("plain", "recomputed", "recomputed-late"))
    words = ["train", *SMALL, *DATA, "--set", "layers=3", "--set", "dropout=0.2", "--set", "attention_dropout=0.1"]
    must(*words, "--epochs", "4", "--out", plain, "--quiet")
    must(*words, "--epochs", "4", "--out", whole, "--quiet", "--recompute")
    must(*words, "--epochs", "2", "--out", late, "--quiet")
    must("train", "--resume", late, "--epochs", "4", "--recompute", "--quiet")
    rows = [[row["train_loss"] for row in csv.DictReader(open(os.path.join(run, "metrics.csv")))] for run in (plain, whole, late)]
    expect("recomputed losses", len(rows[0]) == 4 and rows[0] == rows[1] == rows[2], str(rows))
    for run in (whole, late):
        same_weights("recomputed weights", plain, run)
        for file in ("config.yaml", "last/config.yaml"):
            expect("a recorded choice", "recompute: on" in open(os.path.join(run, file)).read(), f"{run}/{file}")
    must("train", "--resume", late, "--epochs", "5", "--quiet")
    expect("a choice that lasts", "recompute: on" in open(f"{late}/last/config.yaml").read(), late)
    told = {}
    for choice, flags in (("off", []), ("on", ["--recompute"])):
        text = must(*words, *flags, "--dry-run", "--launches", "--out", os.path.join(ROOT, "dry")).stdout
        pattern = rf"^arena +([\d.]+) MiB: (?:.*\n)+recompute +{choice}; \w+ it: arena ([\d.]+) MiB, (\d+) launches"
        found = re.search(pattern, text, re.M)
        copies = len(re.findall(r"^ *\d+ +encoder\S+ recomputed ", text, re.M))
        if expect("a dry run", found, text):
            told[choice] = [float(number) for number in found.groups()]
            expect("a dry run", copies == (told[choice][2] if flags else 0), text)
    if len(told) == 2:
        expect("less memory", told["on"][0] < told["off"][0], str(told))
        expect("a dry run", told["on"] == [told["off"][1], told["off"][0], told["off"][2]], str(told))


def check_precision():
    """A run in 16 bits, cut and resumed, has the bits of one that was not; resumed in fp32, it goes on and says so."""
    whole, cut, other = (os.path.join(ROOT, f"precision-{name}") for name in ("whole", "cut", "other"))
    words = ["train", *SMALL, *DATA, "--set", "norm=layer", "--precision", "bf16", "--quiet", "--epochs"]
    must(*words, "3", "--out", whole)
    must(*words, "2", "--out", cut)
    shutil.copytree(cut, other)
    must("train", "--resume", cut, "--epochs", "3", "--quiet")
    same_weights("bf16", whole, cut)
    text = must("train", "--resume", other, "--epochs", "3", "--precision", "fp32").stdout
    expect("another precision", len(re.findall(r"trained in bf16 up to step \d+, and continues in fp32", text)) == 1, text)
    expect("another precision", "precision: fp32" in open(f"{other}/last/config.yaml").read(), other)
    losses = [[float(row["train_loss"]) for row in csv.DictReader(open(f"{run}/metrics.csv"))] for run in (whole, other)]
    expect("another precision", 0 < abs(losses[0][2] - losses[1][2]) < 0.01, str(losses))
    for command in ("eval", "predict", "analyze"):
        must(command, whole, "--data", DATA[1])


def check_loss_scale():
    """In fp16 the loss is scaled: a run that is cut has the bits of one that was not, also where steps are skipped."""
    whole, cut, high, late = (os.path.join(ROOT, f"scale-{name}") for name in ("whole", "cut", "high", "late"))
    words = ["train", *SMALL, *DATA, "--set", "norm=layer", "--batch", "4", "--precision", "fp16", "--quiet", "--epochs"]
    must(*words, "3", "--out", whole)
    must(*words, "2", "--out", cut)
    shutil.copytree(cut, high)
    must("train", "--resume", cut, "--epochs", "3", "--quiet")
    same_weights("fp16", whole, cut)
    path = os.path.join(high, "last/state.json")
    state = json.load(open(path))
    expect("fp16", state["loss_scale"] == {"scale": 65536, "good": 11, "skipped": 0, "held": 1}, str(state["loss_scale"]))
    state["loss_scale"]["scale"] = 2.0**29  # too high: gradients overflow
    write(path, json.dumps(state))
    shutil.copytree(high, late)
    text = must("train", "--resume", high, "--epochs", "4").stdout
    expect("a scale that is too high", "skipped, since gradients overflowed in fp16" in text, text)
    must("train", "--resume", late, "--epochs", "3", "--quiet")
    must("train", "--resume", late, "--epochs", "4", "--quiet")
    one, other = (open(os.path.join(run, "last/model.safetensors"), "rb").read() for run in (high, late))
    expect("a scale that is too high", one == other, "skipped steps differ where the run was cut")
    summary = json.load(open(f"{high}/summary.json"))
    expect("a scale that is too high", 0 < summary["steps_skipped"] < 20 and summary["loss_scale"] < 2**29, str(summary))
    text = must("train", "--resume", high, "--epochs", "5", "--precision", "bf16").stdout
    expect("from fp16 to bf16", re.search(r"trained in fp16 up to step \d+, and continues in bf16", text), text)
    later = json.load(open(f"{high}/summary.json"))
    expect("from fp16 to bf16", later["precision"] == "bf16" and later["steps_skipped"] == summary["steps_skipped"], str(later))
    state["loss_scale"]["scale"] = 3
    write(os.path.join(late, "last/state.json"), json.dumps(state))
    rejected("a scale that is no power of two", ["train", "--resume", late, "--quiet"], ["'loss_scale' is invalid"], 1)


def check_accumulation():
    """A batch in parts gives the step of the whole batch, up to rounding, in less memory; cut and resumed, its own bits."""
    # 27 samples: the last batch of an epoch, 3 of 8, is shorter than two parts of 2
    words = ["train", *SMALL, *DATA, "--batch", "8", "--set", "dropout=0", "--set", "attention_dropout=0", "--set", "norm=layer", "--limit", "27", "--quiet", "--epochs"]
    runs = {name: os.path.join(ROOT, f"parts-{name}") for name in ("whole", "four", "late")}
    must(*words, "4", "--out", runs["whole"])
    must(*words, "4", "--out", runs["four"], "--accumulate", "4")
    must(*words, "2", "--out", runs["late"], "--accumulate", "4")
    must("train", "--resume", runs["late"], "--epochs", "4", "--quiet")
    same_weights("accumulated weights", runs["four"], runs["late"])
    losses = [[float(row["train_loss"]) for row in csv.DictReader(open(f"{runs[name]}/metrics.csv"))] for name in ("whole", "four")]
    near = all(abs(a - b) <= 1e-5 * abs(a) for a, b in zip(*losses))
    expect("accumulated losses", len(losses[0]) == 4 and near, str(losses))
    must("eval", runs["four"], "--data", DATA[3], "--quiet")
    rejected("parts that do not divide", [*words, "1", "--accumulate", "3", "--out", runs["whole"]], ["training.accumulate", "--accumulate 2"], 2)
    arenas = []
    for parts in ("1", "4"):
        text = must(*words[:-2], "--accumulate", parts, "--dry-run", "--out", os.path.join(ROOT, "dry")).stdout
        arenas.append(float(re.search(r"^arena +([\d.]+) MiB", text, re.M)[1]))
        expect("a dry run", re.search(rf"^accumulate +{parts} parts? of {8 // int(parts)} samples", text, re.M), text)
    expect("less memory", arenas[1] < arenas[0] / 2, str(arenas))


@own_programs
def check_broken_extension():
    """Killed at any moment while it is made longer, a run is the short or the long one, and says which."""
    run = os.path.join(ROOT, "broken")
    must("train", *SMALL, *DATA, "--epochs", "1", "--out", run, "--quiet")

    def limit():  # the configuration fits, the weights do not
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    result = expanse("train", "--resume", run, "--epochs", "3", "--quiet", preexec_fn=limit, restore_signals=False)
    expect("a broken extension", result.returncode == 1 and "writing failed" in result.stderr, result.stderr)
    must("train", "--resume", run, "--quiet")
    expect("a broken extension", json.load(open(os.path.join(run, "summary.json")))["epochs"] == 1, "not the short run")
    must("train", "--resume", run, "--epochs", "3", "--quiet")
    expect("a broken extension", json.load(open(os.path.join(run, "summary.json")))["epochs"] == 3, "not the long run")


def check_tunings():
    """The tuning table may change between two parts of a run: the parameters of its kernels stay those that it began with."""
    long = write("long.ts", series(length=100))
    whole, run, other = (os.path.join(ROOT, f"tunings-{name}") for name in ("whole", "run", "other"))
    words = ["train", *SMALL, "--set", "feed_forward=600", "--train", long, "--test", long, "--batch", "4", "--quiet"]
    must(*words, "--epochs", "4", "--out", whole)
    must(*words, "--epochs", "2", "--out", run)
    recorded = json.load(open(f"{run}/last/state.json"))["tunings"]
    legal = {"PANELS": (1, 3), "BLOCK_DEPTH": (256, 512), "BLOCK_ROWS": (8, 16), "TILE_DEPTH": (16, 32)}
    for entry in recorded:
        for name, (one, another) in legal.items():
            if name in entry["values"]:
                entry["values"][name] = another if entry["values"][name] == one else one
    changed = write("changed.json", json.dumps({"format": 1, "entries": recorded}))
    environment = {**os.environ, "EXPANSE_TUNING": changed}

    def state(folder):
        return json.load(open(f"{folder}/last/state.json"))["tunings"]

    def weights(folder):
        return open(f"{folder}/last/model.safetensors", "rb").read()

    result = expanse(*words, "--epochs", "4", "--out", other, env=environment)
    expect("another table", result.returncode == 0 and weights(other) != weights(whole), "changes no bit: this test is blind")
    result = expanse("predict", f"{whole}/last", "--data", long, "--output", f"{ROOT}/whole.csv")
    expect("a prediction", result.returncode == 0, result.stderr)
    result = expanse("predict", f"{whole}/last", "--data", long, "--output", f"{ROOT}/changed.csv", env=environment)
    expect("a prediction beside another table", open(f"{ROOT}/whole.csv").read() == open(f"{ROOT}/changed.csv").read(), "differs")

    shutil.copytree(run, f"{run}-versions")
    result = expanse("train", "--resume", run, "--epochs", "4", env=environment)
    expect("a changed table", result.returncode == 0 and "another version" not in result.stdout, result.stdout + result.stderr)
    same_weights("a changed table", whole, run)
    expect("a changed table", state(run) == state(whole) != state(other), "is recorded in place of what the run has")

    run = f"{run}-versions"  # of kernels that are no longer there
    path = f"{run}/last/state.json"
    text = re.sub(r'"version": "[0-9a-f]+"', '"version": "0123456789abcdef"', open(path).read())
    write(path, text)
    result = expanse("train", "--resume", run, "--epochs", "4", env=environment)
    expect("kernels of another version", result.returncode == 0 and result.stdout.count("another version") == 1,
           result.stdout + result.stderr)
    expect("kernels of another version", state(run) == state(other), "their parameters are not those of the table")
    write(path, text.replace('"version"', '"edition"'))
    rejected("damaged parameters", ["train", "--resume", run, "--quiet"], [r"state\.json: 'tunings'"], 1)


def main():
    DATA.extend(["--train", write("train.ts", series()), "--test", write("test.ts", series(12))])
    checks = {name: value for name, value in globals().items() if name.startswith("check_")}
    for name in sys.argv[2:] or checks:
        checks[name]()
    finish()


main()
