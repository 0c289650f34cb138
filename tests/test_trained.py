#!/usr/bin/env python3
"""What a trained model is used with: answers that are no numbers, classes and lengths that training did not have, damaged
run folders, and places that cannot be written to. Usage: test_trained.py EXPANSE [CHECK ...]"""
import csv
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib

from commands import ROOT, SMALL, expanse, expect, finish, must, rejected, series, write

FILES = {}  # paths of the data
RUN = os.path.join(ROOT, "run")  # two epochs of a small model
LAYER = ["--set", "norm=layer"]  # a batch's statistics would carry what is no number from one sample to the others


def answers(run, data, *words):
    return list(csv.DictReader(must("predict", run, "--data", data, "--quiet", *words).stdout.splitlines()))


def values(row):
    return [float(row[name]) for name in row if name.startswith("probability ")]


def check_numbers():
    """Answers that are no numbers are rejected by every command, with the first sample's number in its file, and leave nothing."""
    lines = series(12).splitlines()
    lines[-3] = re.sub(r"^[\d.]+", "3e38", lines[-3])  # sample 9
    huge = write("huge.ts", "\n".join(lines) + "\n")
    told = [r"huge\.ts: ", r"prediction for sample 9 \(counted from 0\) is not a number", r"are as large as (inf|\S*e\+3\d)", "extreme values"]
    for words in (["eval"], ["eval", "--limit", "11"], ["predict", "--output", os.path.join(ROOT, "no.csv")],
                  ["analyze", "--out", os.path.join(ROOT, "no")], ["eval", "--batch", "4"]):
        rejected(f"{words[0]} of a sample without an answer", [words[0], RUN, "--data", huge, "--quiet", *words[1:]], [*told, "earlier epoch"], 1)
    for name, words in (("test", ["--train", FILES["train"], "--test", huge]),
                        ("training", ["--train", huge, "--set", "standardise=off", "--batch", "12"])):
        result = expanse("train", *SMALL, *LAYER, *words, "--epochs", "1", "--out", os.path.join(ROOT, f"no-{name}"), "--quiet")
        expect(f"a {name} sample without an answer", result.returncode == 1 and all(re.search(part, result.stderr) for part in told), result.stderr)
        expect("advice", "lower the learning rate (now " in result.stderr and "last" not in result.stderr, result.stderr)


def check_images():
    """A damaged image is told without the remedy of an answer that is no number, and one folder too many with a way out."""
    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(8 * (b"\0" + 8 * bytes((255, 0, 128))))
    whole = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + part(b"IDAT", pixels) + part(b"IEND", b"")
    for name in ("wrap/pets/a/1.png", "wrap/pets/b/1.png", "test/a/1.png", "test/b/1.png"):
        os.makedirs(os.path.dirname(os.path.join(ROOT, name)), exist_ok=True)
        write(name, whole[:-24] if name == "test/b/1.png" else whole)
    words = ["train", *SMALL, "--set", "kind=vision", "--set", "head=mean", "--image-size", "8", "--epochs", "1", "--quiet", "--train"]
    rejected("one class", [*words, f"{ROOT}/wrap", "--dry-run"], [r"its only class is 'pets'.*; if that folder holds the classes, give \S*wrap/pets$"], 1)
    result = expanse(*words, f"{ROOT}/wrap/pets", "--test", f"{ROOT}/test", "--out", os.path.join(ROOT, "no-images"))
    must(*words, f"{ROOT}/wrap/pets", "--out", os.path.join(ROOT, "pets"))
    must("analyze", os.path.join(ROOT, "pets"), "--data", f"{ROOT}/wrap/pets", "--out", os.path.join(ROOT, "pets-heads"), "--quiet")
    picture = open(os.path.join(ROOT, "pets-heads/attention.svg")).read()
    sketch = re.search(r'<g shape-rendering="crispEdges">\n((<path fill="rgb\(255,0,128\)" d="[^"]*"/>\n){64})</g>', picture)
    expect("an image above its maps", sketch and ">sample 0, a<" in picture, picture[:2000])
    expect("a damaged image", result.returncode == 1 and re.search(r"test/b/1\.png: .*; replace or remove it$", result.stderr.strip()), result.stderr)


def check_labels():
    """predict answers for classes that training did not have, and without labels; eval, which has nothing to compare, rejects."""
    lines = series(12).replace("true a b", "true a b odd").splitlines()
    lines[-4] = lines[-4].rpartition(":")[0] + ":odd"  # sample 8
    odd = write("odd.ts", "\n".join(lines) + "\n")
    bare = write("bare.ts", re.sub(r":[ab]\n", "\n", series(12)).replace("@classLabel true a b", "@classLabel false"))
    plain, without = answers(RUN, FILES["test"]), answers(RUN, bare)
    found = answers(RUN, odd)
    expect("unseen classes", [row["true"] for row in found] == ["odd" if i == 8 else "ab"[i % 2] for i in range(12)], str(found))
    expect("unseen classes", [values(row) for row in found] == [values(row) for row in plain], "change the answers")
    expect("unseen classes", list(found[0]) == ["sample", "predicted", "true", "probability a", "probability b"], str(found[0]))
    expect("no labels", "true" not in without[0] and [values(row) for row in without] == [values(row) for row in plain], str(without))
    kept = json.loads(must("predict", RUN, "--data", odd, "--limit", "9", "-o", "json").stdout)
    expect("unseen classes", len(kept) == 9 and kept[8]["true"] == "odd", str(kept))
    told = [r"sample 8 \(counted from 0\) has the class 'odd'", "expanse predict"]
    for words in ([], ["--limit", "6"]):
        rejected("accuracy on a class that training did not have", ["eval", RUN, "--data", odd, "--quiet", *words], told, 1)
        rejected("accuracy without labels", ["eval", RUN, "--data", bare, "--quiet", *words], [r"bare\.ts has no class labels", "expanse predict"], 1)
        must("analyze", RUN, "--data", odd, "--quiet", *words)  # needs no labels
    words = ["train", *SMALL, "--epochs", "1", "--out", os.path.join(ROOT, "no"), "--train"]
    rejected("a test class that training does not have", [*words, FILES["train"], "--test", odd], told, 1)
    rejected("a test set without labels", [*words, FILES["train"], "--test", bare], ["no class labels", "expanse predict"], 1)


def check_lengths():
    """Longer series than those of training need reserved steps, or a model that nothing binds to a length; both answer alike."""
    long = write("long.ts", series(12, length=14))
    rejected("longer series", ["predict", RUN, "--data", long, "--quiet"], ["series of 14 steps", "at most 9", "--max-length 14"], 1)
    words = ["train", *SMALL, "--train", FILES["train"], "--epochs", "0", "--quiet", "--set", "positions=sinusoidal", "--set", "head=mean"]
    runs = {name: os.path.join(ROOT, f"length-{name}") for name in ("free", "reserved", "bound", "long")}
    must(*words, "--out", runs["free"])
    must(*words, "--max-length", "20", "--out", runs["reserved"])
    free, reserved = (answers(runs[name], long) for name in ("free", "reserved"))
    near = [abs(a - b) < 1e-6 for x, y in zip(free, reserved) for a, b in zip(values(x), values(y))]
    expect("a model of any length", len(near) == 24 and all(near), f"{free} {reserved}")
    short = [answers(runs["free"], FILES["test"]), answers(runs["reserved"], FILES["test"])]
    near = [abs(a - b) < 1e-6 for x, y in zip(*short) for a, b in zip(values(x), values(y))]
    expect("reserved steps change no answer", len(near) == 24 and all(near), str(short))
    must("analyze", runs["free"], "--data", long, "--quiet")
    state = json.load(open(os.path.join(runs["reserved"], "last", "state.json")))
    expect("reserved steps", state["length"] == 20, str(state["length"]))
    for setting in ("mask_padding=off", "attention=softmax+bias"):
        shutil.rmtree(runs["bound"], ignore_errors=True)
        must(*words, "--set", setting, "--out", runs["bound"])
        rejected(f"longer series with {setting}", ["predict", runs["bound"], "--data", long, "--quiet"], ["--max-length 14"], 1)
    words = ["train", *SMALL, "--train", FILES["train"], "--epochs", "1", "--quiet"]
    must(*words, "--test", long, "--out", runs["long"])  # a test set reserves its length by itself
    expect("a longer test set", len(answers(runs["long"], long)) == 12)
    must("train", "--resume", runs["reserved"], "--epochs", "1", "--quiet")
    rejected("too few reserved steps", [*words, "--max-length", "8", "--out", runs["long"] + "er"], [r"train\.ts has series of 9 steps", "raise it from 8 to 9"], 1)


def check_parts():
    """--part takes the part of the training data that the run had split off, of whatever kind they are."""
    run = os.path.join(ROOT, "parts")
    must("train", *SMALL, "--train", FILES["train"], "--test-part", "0.25", "--epochs", "1", "--out", run, "--quiet")
    summary = json.load(open(os.path.join(run, "summary.json")))
    told = {part: json.loads(must("eval", run, "--data", FILES["train"], "--part", part, "--quiet", "-o", "json").stdout) for part in ("test", "train")}
    expect("parts", (told["test"]["samples"], told["train"]["samples"]) == (summary["test_samples"], summary["samples"]), f"{told} {summary}")
    expect("parts", abs(told["test"]["accuracy"] - summary["accuracy_best"]) < 1e-6, f"{told} {summary}")


def check_targets():
    """Numbers are predicted in their own unit, and each command tells the errors that follow from the predictions."""
    lines = [line.split(":")[0] for line in series(24).splitlines()]
    begin = lines.index("@data") + 1
    truths = [1000 + 10 * i % 70 for i in range(24)]
    head = "\n".join(line for line in lines[:begin] if not line.startswith("@classLabel")).replace("@data", "@targetLabel true\n@data")
    rows = [f"{line}:{truth}" for line, truth in zip(lines[begin:], truths)]
    data = write("targets.ts", "\n".join([head, *rows]) + "\n")
    bare = write("targetless.ts", "\n".join([head, *lines[begin:]]) + "\n")
    run = os.path.join(ROOT, "targets")
    must("train", *SMALL, *LAYER, "--train", data, "--validation", "0.25", "--test", data, "--epochs", "2", "--out", run, "--quiet")
    summary = json.load(open(os.path.join(run, "summary.json")))
    found = answers(run, data)
    predicted, true = ([float(row[name]) for row in found] for name in ("predicted", "true"))
    expect("targets", true == truths and list(found[0]) == ["sample", "predicted", "true"], str(found))
    errors, mean = [a - b for a, b in zip(predicted, true)], sum(true) / 24
    mse, mae = sum(e * e for e in errors) / 24, sum(map(abs, errors)) / 24
    expected = {"mse": mse, "mae": mae, "r2": 1 - mse * 24 / sum((b - mean) ** 2 for b in true)}
    told = json.loads(must("eval", run, "--data", data, "--quiet", "-o", "json").stdout)
    for name, value in expected.items():
        expect("targets", abs(summary[f"{name}_best"] - value) < 1e-4 * abs(value), f"{name}: {summary} {value}")
        expect("targets", abs(told[name] - value) < 1e-4 * abs(value) and abs(told["targets"][0][name] - value) < 1e-4 * abs(value), str(told))
        expect("targets", f"{name}_final" in summary and f"training_{name}_final" in summary and f"validation_{name}_best" in summary, str(summary))
    expect("targets", mse < 2 * sum((b - mean) ** 2 for b in true) / 24, f"{predicted} are not in the unit of the data")
    rows = list(csv.DictReader(open(os.path.join(run, "metrics.csv"))))
    judged = [float(row["validation_mse"]) for row in rows]
    expect("targets", summary["epoch_best"] == 1 + judged.index(min(judged)) and summary["epoch_best_chosen_on"] == "validation", str(summary))
    expect("targets", open(os.path.join(run, "scatter.svg")).read().count("<circle") == 24, "scatter.svg has not a point for each sample")
    without = answers(run, bare)
    expect("no targets", [row["predicted"] for row in without] == [row["predicted"] for row in found] and "true" not in without[0], str(without))
    rejected("errors without targets", ["eval", run, "--data", bare, "--quiet"], [r"targetless\.ts has no targets", "expanse predict"], 1)
    rejected("a regression without targets", ["train", *SMALL, "--train", bare, "--out", run + "-no"], [r"targetless\.ts has no targets"], 1)
    whole = json.load(open(os.path.join(run, "best", "state.json")))
    for key, value in (("target_mean", []), ("target_deviation", [1, 1]), ("squared_error_sum", -1)):
        write("targets/best/state.json", json.dumps({**whole, key: value}))
        rejected(f"a state with {key} {value}", ["eval", run, "--data", data, "--quiet"], [r"state\.json: '"], 1)


def check_levels():
    """A forecast from windows without their levels follows the data to another unit and level."""
    values = [math.sin(i) + i % 5 for i in range(60)]
    tables = [write(f"levels-{factor}.csv", "time,a,b\n" + "".join(f"{i},{factor * value + shift},{value * value}\n" for i, value in enumerate(values)))
              for factor, shift in ((1, 0), (8, 1000))]
    run = os.path.join(ROOT, "levels")
    must("train", *SMALL, *LAYER, "--set", "mask_padding=off", "--set", "normalise_windows=on", "--train", tables[0], "--context", "16", "--horizon", "3",
         "--predict", "a", "--epochs", "2", "--out", run, "--quiet")
    found, moved = ([float(row["predicted"]) for row in answers(run, table)] for table in tables)
    expect("levels", all(abs(8 * x + 1000 - y) < 0.02 for x, y in zip(found, moved)) and max(found) - min(found) > 0.01, f"{found} {moved}")
    rejected("levels of what is not standardised", ["train", *SMALL, "--set", "normalise_windows=on", "--set", "standardise=off", "--train", tables[0], "--out", run + "-no"],
             ["data.normalise_windows: is for data that are standardised"], 2)


def check_forecasts():
    """A forecast is told with the truth and the forecast to beat, in the unit of the data, up to what comes after the file."""
    values = [500 + 100 * math.sin(math.pi * i / 4) + i % 3 for i in range(120)]
    lines = ["time,load,other", *(f"{i},{'' if i == 60 else f'{value:.4f}'},{i % 5}" for i, value in enumerate(values))]
    data, run = write("table.csv", "\n".join(lines) + "\n"), os.path.join(ROOT, "forecasts")
    words = ["train", *SMALL, *LAYER, "--set", "mask_padding=off", "--set", "patch_steps=4", "--train", data, "--context", "16", "--quiet"]
    must(*words, "--horizon", "4", "--season", "8", "--predict", "load", "--test-part", "0.2", "--validation", "0.2", "--epochs", "2", "--out", run)
    summary = json.load(open(os.path.join(run, "summary.json")))
    found = answers(run, data, "--part", "test", "--windows", "0")
    expect("forecasts", list(found[0]) == ["sample", "row", "time", "step", "predicted", "true", "naive"] and len(found) == 21 * 4, str(found[:1]))
    numbers = [{name: float(value) for name, value in row.items()} for row in found]
    for row in numbers:
        at = int(row["row"])
        expect("forecasts", at >= 96 and abs(row["true"] - values[at]) < 1e-3, str(row))
        expect("forecasts", abs(row["naive"] - values[at - 8]) < 1e-3, str(row))
    mse, naive = (sum((row[name] - row["true"]) ** 2 for row in numbers) / len(numbers) for name in ("predicted", "naive"))
    told = json.loads(must("eval", run, "--data", data, "--part", "test", "--quiet", "-o", "json").stdout)
    for known in (summary["mse_best"], told["mse"], sum(row["mse"] for row in told["steps"]) / 4):
        expect("forecasts", abs(known - mse) < 1e-3 * mse, f"{summary} {told} {mse}")
    expect("forecasts", abs(told["skill"] - (1 - mse / naive)) < 1e-3 * abs(told["skill"]), f"{told} {mse} {naive}")
    last = answers(run, data)
    expect("forecasts", [(row["sample"], row["row"]) for row in last] == [("104", str(row)) for row in range(120, 124)], str(last))
    expect("forecasts", all(row["true"] == "" and row["predicted"] for row in last), str(last))
    expect("forecasts", answers(run, data, "--windows", "0")[-4:] == last, str(last))
    expect("forecasts", os.path.exists(os.path.join(run, "forecast.svg")), "there is no picture")
    must("train", "--resume", run, "--epochs", "3", "--quiet")
    other = json.loads(must("eval", run, "--data", data, "--part", "test", "--season", "4", "--quiet", "-o", "json").stdout)
    naive = [numbers[i]["true"] - values[int(numbers[i]["row"]) - 4] for i in range(0, len(numbers), 4)]
    expect("another season", abs(other["steps"][0]["naive_mse"] - sum(x * x for x in naive) / len(naive)) < 1e-2, str(other))
    reserved = [*words, "--horizon", "4", "--max-length", "20", "--out", run + "-no"]
    rejected("reserved steps of windows", reserved, [r"--max-length\) is for series", r"data\.context \(--context\)"], 1)
    bare = write("bare.csv", "time,load\n" + "".join(f"{i},{i % 7 if i < 60 else ''}\n" for i in range(100)))
    without = [bare if word == data else word for word in words]
    once = [*without, "--horizon", "1", "--predict", "load", "--epochs", "1", "--set", "learning_rate=1e-12", "--set", "dropout=0", "--set", "attention_dropout=0"]
    must(*once, "--out", run + "-bare")
    known = json.loads(must("eval", run + "-bare", "--data", bare, "--quiet", "-o", "json").stdout)["mse"]
    told = float(next(csv.DictReader(open(os.path.join(run + "-bare", "metrics.csv"))))["train_mse"])
    expect("windows without a known target", abs(told - known) < 1e-3 * known, f"training measures {told}, not {known}")
    without += ["--horizon", "4", "--validation", "0.2", "--out", run + "-no"]
    rejected("a part without a known value", without, [r"bare\.csv, validation part: no value that is to be predicted is known"], 1)
    rejected("a table without a horizon", [*words, "--out", run + "-no"], [r"table\.csv is a table of measurements over time", "--horizon"], 1)
    rejected("patches that divide nothing", [*words, "--horizon", "4", "--set", "patch_steps=5", "--out", run + "-no"], ["5 does not divide the 16 steps"], 1)
    rejected("a horizon of series", ["train", *SMALL, "--train", FILES["train"], "--horizon", "4", "--out", run + "-no"], ["--horizon"], 1)
    rejected("another table", ["eval", run, "--data", write("narrow.csv", "time,load\n" + "".join(f"{i},{i}\n" for i in range(40)))], ["2 dimensions", "has 1"], 1)


def check_states():
    """No value of a damaged state.json passes, and none is found only after kernels were compiled."""
    whole = json.load(open(os.path.join(RUN, "last", "state.json")))
    damaged, caches = os.path.join(ROOT, "damaged"), os.path.join(ROOT, "caches")
    shutil.copytree(RUN, damaged)
    os.makedirs(caches)
    environment = {**os.environ, "EXPANSE_CACHE_DIR": caches, "POCL_CACHE_DIR": caches}
    changes = [("step", 2**63 - 1), ("epoch", 7), ("position", 65536), ("samples", 1), ("counted", 2**31), ("samples_total", 0), ("correct", 2**31), ("batch", 1),
               ("classes", 3), ("length", 2**31 - 1), ("length", 7), ("features", 2**31 - 1), ("features", 7), ("channels", 1),
               ("epoch_best", 65536), ("seconds", None), ("mean", []), ("fingerprint", "x"), ("data", "images")]
    for key, value in changes:
        write("damaged/last/state.json", json.dumps({**whole, key: value}))
        for words in (["eval", f"{damaged}/last", "--data", FILES["test"]], ["train", "--resume", damaged, "--epochs", "9"]):
            rejected(f"{words[0]} of a state with {key} {value}", [*words, "--quiet"], [r"state\.json: '|state\.json and config|another model"], 1, env=environment, timeout=60)
    expect("a damaged state", not os.listdir(caches), f"kernels were compiled for it: {os.listdir(caches)}")


def check_pipes():
    """Something else than a file in a run folder is told, and not waited for; a link to nothing is not taken for a file."""
    copy = os.path.join(ROOT, "piped")
    for name in ("last/config.yaml", "last/model.safetensors", "last/training.safetensors", "metrics.csv", "best/config.yaml"):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(RUN, copy)
        os.remove(os.path.join(copy, name))
        os.mkfifo(os.path.join(copy, name))
        words = ["eval", copy, "--data", FILES["test"]] if name.startswith("best") else ["train", "--resume", copy, "--epochs", "9"]
        result = expanse(*words, "--quiet", timeout=60)
        expect("a pipe", result.returncode == 1 and f"{name}: is not a file" in result.stderr, f"{name}: {result.stderr}")
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)):
        shutil.rmtree(copy)
        shutil.copytree(RUN, copy)
        for name in ("best", "last"):
            os.remove(os.path.join(copy, name, "state.json"))
            make(os.path.join(copy, name, "state.json"))
        result = expanse("eval", copy, "--data", FILES["test"], "--quiet", timeout=60)
        expect("no file", result.returncode == 1 and "contains no checkpoint" in result.stderr, result.stderr)
    shutil.rmtree(copy)


def check_places():
    """What cannot be written is told before anything is read or compiled."""
    nowhere = "/nonexistent.ts"  # it would be told next
    file = write("plain", "")
    rejected("answers in no folder", ["predict", RUN, "--data", nowhere, "--output", f"{ROOT}/none/a.csv"], [r"the folder \S*none does not exist"], 1)
    rejected("answers below a file", ["predict", RUN, "--data", nowhere, "--output", f"{file}/a.csv"], ["plain is not a folder"], 1)
    rejected("an analysis below a file", ["analyze", RUN, "--data", nowhere, "--out", f"{file}/a/b"], ["plain is not a folder"], 1)
    words = ["train", *SMALL, "--train", nowhere, "--out"]
    rejected("a run below a file", [*words, f"{file}/a/b"], ["plain is not a folder"], 1)
    rejected("a run in place of a file", [*words, file], ["plain: exists and is not a folder"], 2)
    rejected("a run in a folder that is taken", [*words, RUN], ["not empty", "--resume"])
    os.symlink("nowhere", os.path.join(ROOT, "dangling"))
    rejected("a run in place of a link to nothing", [*words, os.path.join(ROOT, "dangling")], ["dangling: exists and is not a folder"], 2, [RUN])
    os.remove(os.path.join(ROOT, "dangling"))


def main():
    FILES.update(train=write("train.ts", series()), test=write("test.ts", series(12)))
    must("train", *SMALL, *LAYER, "--train", FILES["train"], "--test", FILES["test"], "--epochs", "2", "--out", RUN, "--quiet")
    checks = {name: value for name, value in globals().items() if name.startswith("check_")}
    for name in sys.argv[2:] or checks:
        checks[name]()
    finish()


main()
