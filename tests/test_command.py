#!/usr/bin/env python3
"""The command from outside: what a run folder holds, and what bad input gets: one sentence on stderr, a non-zero exit, and
nothing made or overwritten. Usage: test_command.py EXPANSE"""
import csv
import fcntl
import gzip
import json
import math
import os
import pty
import pwd
import re
import resource
import shutil
import signal
import struct
import subprocess
import termios
import xml.dom.minidom

from commands import EXPANSE, ROOT, SMALL, expanse, expect, fault, finish, images, must, own_programs, rejected, series, snapshot, write

KERNELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cl")


# ---- what a good run leaves behind -----------------------------------------------------------------------------------


def check_run(run, train, test):
    """Every file of a finished run against what it says about itself."""
    name = "a run's folder"
    summary = json.load(open(os.path.join(run, "summary.json")))
    for key in ("accuracy_best accuracy_final loss_final epoch_best parameters seconds samples_per_second device attention "
                "seed").split():
        expect(name, key in summary, f"summary.json has no {key}")
    rows = list(csv.DictReader(open(os.path.join(run, "metrics.csv"))))
    accuracies = [float(row["test_accuracy"]) for row in rows]
    expect(name, len(rows) == 3 and abs(accuracies[-1] - summary["accuracy_final"]) < 1e-9, f"metrics.csv: {rows}")
    expect(name, abs(max(accuracies) - summary["accuracy_best"]) < 1e-9, f"the best accuracy: {rows}")
    for picture in ("curves.svg", "confusion.svg"):
        xml.dom.minidom.parse(os.path.join(run, picture))
    raw = open(os.path.join(run, "best/model.safetensors"), "rb").read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    numbers = sum((entry["data_offsets"][1] - entry["data_offsets"][0]) // 4 for key, entry in header.items() if key[0] != "_")
    expect(name, numbers >= summary["parameters"], f"{numbers} numbers in the file, {summary['parameters']} parameters")

    result = must("eval", run, "--data", test)
    found = re.search(r"^accuracy +([\d.]+) % on these data$", result.stdout, re.M)
    expect(name, "of epoch" in result.stdout and "best on the test set" in result.stdout, result.stdout)
    expect(name, found and abs(float(found[1]) - 100 * summary["accuracy_best"]) < 0.006, result.stdout)
    answers = os.path.join(ROOT, "answers.csv")
    must("predict", run, "--data", test, "--output", answers, "--quiet")
    rows = list(csv.DictReader(open(answers, newline="")))
    expect(name, len(rows) == 12, f"{len(rows)} answers")
    for row in rows:
        shares = [float(row[key]) for key in row if key.startswith("probability ")]
        expect(name, abs(sum(shares) - 1) < 1e-5, f"probabilities {shares}")
        expect(name, row["predicted"] == "ab"[shares.index(max(shares))], f"row {row}")
    right = sum(row["predicted"] == row["true"] for row in rows) / len(rows)
    expect(name, abs(right - summary["accuracy_best"]) < 1e-9, f"{right} of the answers are right")
    rejected("answers that exist already", ["predict", run, "--data", test, "--output", answers], ["already exists"], 2)
    rejected("a run folder that exists", ["train", *SMALL, "--train", train, "--out", run], ["not empty", "--resume", "--out"])

    text = must("train", *SMALL, "--train", train, "--print-config").stdout
    config = write("printed.yaml", text)
    expect("printed configuration", must("train", "--config", config, "--print-config").stdout == text, "reads back changed")


def check_predict(run, test):
    """The answers stand in the order of the file, and a limit takes its first samples; labels are not needed."""
    def answers(*words):
        return list(csv.reader(must("predict", run, "--data", *words, "--quiet").stdout.splitlines()))

    whole = answers(test)
    expect("answers to the first samples", answers(test, "--limit", "5") == whole[:6], "others than the file's first five")
    expect("a limit beyond the file", answers(test, "--limit", "500") == whole)
    bare = re.sub(r":[ab]\n", "\n", series(12)).replace("@classLabel true a b", "@classLabel false")
    bare = write("bare.ts", bare)
    without = [row[:2] + row[3:] for row in whole]  # the column of the true classes
    expect("data without labels", answers(bare) == without, "other answers than to the same data with labels")
    expect("data without labels, the first", answers(bare, "--limit", "5") == without[:6], "others than the file's first five")
    for limit in ([], ["--limit", "5"]):
        rejected("accuracy without labels", ["eval", run, "--data", bare, "--quiet", *limit], [r"bare\.ts", "no class labels"], 1)


def change_queries(run, change):
    """Rewrites the rows of the best model's qkv weights and biases that make queries, a head of 8 rows behind the other."""
    path = os.path.join(run, "best", "model.safetensors")
    raw = bytearray(open(path, "rb").read())
    (length,) = struct.unpack("<Q", raw[:8])
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if ".qkv." not in name:
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        third = (end - begin) // 3
        for part in range(3):
            at = begin + part * third
            raw[at : at + third] = change(part, raw[at : at + third])
    write(path, bytes(raw))


def check_analyze(train, test):
    """The distances between heads whose maps are known: equal heads, and heads that look at all their keys alike."""
    name, run = "head analysis", os.path.join(ROOT, "heads")
    must("train", *SMALL, "--train", train, "--epochs", "1", "--attention", "softmax+sh(1,2)", "--out", run, "--quiet")

    def layers(out, *words):
        result = must("analyze", run, "--data", test, "--out", os.path.join(ROOT, out), "--quiet", *words)
        found = json.load(open(os.path.join(ROOT, out, "analysis.json")))
        row = result.stdout.splitlines()[-1].split()
        shown = [f"{found['layers'][0][key]:.5f}" for key in ("map_distance", "output_distance")]
        expect(name, row[2:4] == shown, f"{result.stdout} is not {found}")
        return found

    found = layers("analysed")
    expect(name, found["samples"] == 12 and found["scales"] == [1, 2] and len(found["layers"]) == 1, str(found))
    expect(name, found["layers"][0]["map_distance"] > 0 and found["layers"][0]["output_distance"] > 0, str(found))
    picture = xml.dom.minidom.parse(os.path.join(ROOT, "analysed", "attention.svg"))
    maps = [group for group in picture.getElementsByTagName("g") if group.getAttribute("class") == "map"]
    expect(name, len(maps) == 2, f"{len(maps)} maps of two heads")
    titles = [text.firstChild.data for text in picture.getElementsByTagName("text")]
    lines = [line.getAttribute("d").count("L") for line in picture.getElementsByTagName("path") if line.getAttribute("stroke-width") == "1.5"]
    expect(name, any(title.startswith("sample 0, ") for title in titles) and lines == [8], f"the sample of nine steps: {titles} {lines}")
    expect(name, layers("analysed-5", "--limit", "5")["samples"] == 5)

    change_queries(run, lambda part, rows: bytes(len(rows)) if part == 0 else rows)  # queries of 0: every key counts the same
    expected = keys_expected = 0
    attended = [0] * 9
    for i in range(12):
        length = 9 - i % 3
        keys = (length + 1) // 2
        pooled = [1 / keys / min(2, length - row // 2 * 2) for row in range(length)]
        expected += math.sqrt(sum((1 / length - share) ** 2 for share in pooled) / length) / 12
        keys_expected += (length + math.exp(-sum(share * math.log(share) for share in pooled))) / 2 / 12
        for row in range(length):
            attended[row] += 1 / length + pooled[row]
    found = layers("uniform", "--batch", "5", "--layer", "0")["layers"][0]
    distance, effective, most = found["map_distance"], found["effective_keys"], found["most_attended"]
    expect(name, abs(distance - expected) < 1e-6, f"{distance} is not {expected}")
    expect(name, abs(effective - keys_expected) < 1e-4, f"{effective} is not {keys_expected}")
    expect(name, most[0] == max(range(9), key=attended.__getitem__) and len(set(most)) == 3, f"{most} of {attended}")

    shutil.rmtree(run)
    must("train", *SMALL, "--train", train, "--epochs", "1", "--out", run, "--quiet")
    before = layers("different")["layers"][0]
    change_queries(run, lambda part, rows: rows[: len(rows) // 2] * 2)
    after = layers("same")["layers"][0]
    expect(name, before["map_distance"] > 1e-4 and before["output_distance"] > 1e-4, str(before))
    expect(name, after["map_distance"] == 0 and after["output_distance"] == 0, str(after))
    shutil.rmtree(run)
    must("train", *SMALL, "--train", train, "--epochs", "1", "--attention", "softmax+bn", "--out", run, "--quiet")
    some = layers("normalised")["layers"][0]
    expect(name, some["bn_mean"] > 1e-4 and some["bn_deviation"] > 0.01, str(some))
    # Keys that are their bias alone, 16 times 0.5: their variance is epsilon.
    change_queries(run, lambda part, rows: rows if part != 1 else bytes(len(rows)) if len(rows) > 64 else struct.pack("<f", 0.5) * 16)
    some = layers("constant")["layers"][0]
    expect(name, abs(some["bn_mean"] - 0.5) < 1e-5 and abs(some["bn_deviation"] - 1e-5**0.5) < 1e-6, str(some))
    rejected("no such layer", ["analyze", run, "--data", test, "--layer", "1"], ["no layer 1", "0 to 0"], 1)
    rejected("an analysis that exists", ["analyze", run, "--data", test, "--out", os.path.join(ROOT, "same")], ["already exists"], 2)
    rejected("an analysis of nothing", ["analyze", run], ["--data"], 2)


def check_sets(train, test):
    """Every accuracy names its set, and the set that chose the epoch: with a test set, a validation part, both and neither."""
    cases = {
        "neither": ([], None, "training"),
        "validation": (["--validation", "0.3"], "validation", "validation"),
        "both": (["--validation", "0.3", "--test", test], "test", "validation"),
    }
    for name, (words, measured, judge) in cases.items():
        run = os.path.join(ROOT, f"sets-{name}")
        printed = must("train", *SMALL, "--train", train, "--epochs", "2", "--out", run, *words).stdout
        summary = json.load(open(os.path.join(run, "summary.json")))
        rows = list(csv.DictReader(open(os.path.join(run, "metrics.csv"))))
        best = rows[summary["epoch_best"] - 1]
        column = judge.replace("training", "train")
        judged = [(-float(row[f"{column}_accuracy"]), float(row[f"{column}_loss"])) for row in rows]
        expect(name, summary["epoch_best"] == 1 + judged.index(min(judged)), f"{summary} {rows}")
        expect(name, summary.get("accuracy_set") == measured and summary["epoch_best_chosen_on"] == judge, str(summary))
        expect(name, abs(summary["training_accuracy_best"] - float(best["train_accuracy"])) < 1e-9, str(summary))
        expect(name, abs(summary["training_accuracy_final"] - float(rows[-1]["train_accuracy"])) < 1e-9, str(summary))
        for key, row in (("accuracy_best", best), ("accuracy_final", rows[-1])):
            if measured:
                expect(name, abs(summary[key] - float(row[f"{measured}_accuracy"])) < 1e-9, f"{key}: {summary} {rows}")
            else:
                expect(name, key not in summary, f"{key} without a set that it could be of: {summary}")
        expect(name, re.search(rf" best on\n.* time  {judge}\nepoch   1/2 .*  best\n", printed) and f"chosen on the {judge} set" in printed, printed)
        curves = open(os.path.join(run, "curves.svg")).read()
        expect(name, f"best epoch {summary['epoch_best']}, chosen on the {judge} set: {measured or 'training'} accuracy" in curves, curves)
        if measured:
            confusion = open(os.path.join(run, "confusion.svg")).read()
            expect(name, f">{measured} set in the best epoch, {summary['epoch_best']}: " in confusion, confusion[:600])
            shown = float(re.search(r"accuracy ([\d.]+) %", confusion)[1])
            expect(name, abs(shown - 100 * summary["accuracy_best"]) < 0.006, f"{shown} {summary}")


def check_formats(run, train, test):
    """-o FORMAT of train, eval, predict and analyze: the same numbers in each, and nothing else on the output."""
    out = os.path.join(ROOT, "formats")
    result = must("train", *SMALL, "--train", train, "--test", test, "--epochs", "2", "--out", out, "-o", "json")
    found = json.loads(result.stdout)
    summary = json.load(open(os.path.join(out, "summary.json")))
    rows = {row["set"]: row for row in found["sets"]}
    expect("train in JSON", list(rows) == ["training", "test"] and found["epoch_best"] == summary["epoch_best"], str(found))
    expect("train in JSON", abs(rows["test"]["accuracy_final"] - summary["accuracy_final"]) < 1e-9, str(found))
    expect("train in JSON", "epoch   1/2" in result.stderr and found["epoch_best_chosen_on"] == "test", result.stderr)
    table = list(csv.DictReader(must("train", "--resume", out, "--quiet", "-o", "csv").stdout.splitlines()))
    expect("train in CSV", [row["set"] for row in table] == ["training", "test"] and float(table[1]["accuracy_final"]) > 0, table)

    found = json.loads(must("eval", run, "--data", test, "-o", "json").stdout)
    table = list(csv.DictReader(must("eval", run, "--data", test, "-o", "csv").stdout.splitlines()))
    expect("eval in JSON", found["data"] == test and sum(row["samples"] for row in found["classes"]) == 12, str(found))
    for one, other in zip(found["classes"], table):
        expect("eval in CSV", one["class"] == other["class"] and abs(one["recall"] - float(other["recall"])) < 1e-8, f"{one} {other}")
    expect("eval in Markdown", "| class | samples |" in must("eval", run, "--data", test, "-o", "md").stdout)

    plain = list(csv.DictReader(must("predict", run, "--data", test).stdout.splitlines()))
    answers = os.path.join(ROOT, "answers.json")
    must("predict", run, "--data", test, "-o", "json", "--output", answers, "--quiet")
    for one, other in zip(plain, json.load(open(answers))):
        same = list(one) == list(other) and one["predicted"] == other["predicted"]
        expect("predict in JSON", same and abs(float(one["probability a"]) - other["probability a"]) < 1e-8, f"{one} {other}")
    found = json.loads(must("analyze", run, "--data", test, "-o", "json").stdout)
    expect("analyze in JSON", len(found["layers"]) == 1 and found["layers"][0]["map_distance"] > 0, str(found))
    rejected("a format of no result", ["train", *SMALL, "--train", train, "--dry-run", "-o", "json"], ["--dry-run"], 2)
    odd = os.path.join(os.fsencode(ROOT), b"caf\xe9")
    result = expanse("train", *SMALL, "--train", train, "--epochs", "1", "--out", odd, "-o", "json", errors="replace")
    expect("a folder that is not UTF-8", result.returncode == 0 and json.loads(result.stdout)["folder"].endswith("caf?"), str(result))
    result = expanse("eval", odd, "--data", test, errors="replace")
    expect("a folder that is not UTF-8", result.returncode == 0 and "accuracy" in result.stdout, str(result))
    huge = write("huge.ts", re.sub(r"0\.\d+", "3e38", open(test).read(), count=1))
    rejected("answers that are no numbers", ["eval", run, "--data", huge, "--quiet"], ["sample 0 ", "is not a number"], 1)
    timed = must("bench", "step", "--width", "16", "--heads", "2", "--layers", "1", "--ffn", "16", "--batch", "4", "--length", "8",
                 "--repetitions", "1", "--profile", "-o", "json")
    expect("a profile beside JSON", len(json.loads(timed.stdout)) == 1 and "idle between launches" in timed.stderr, str(timed))
    # With one sample of one step the gradients overflow in fp16 at first: the scale of the loss falls until they do not, as in training.
    tiny = ["--width", "2", "--heads", "1", "--layers", "1", "--ffn", "4", "--batch", "1", "--length", "1", "--classes", "2"]
    steps = expanse("bench", "step", *tiny, "--precision", "fp16", "--on-request", input="1\n" * 6).stdout.splitlines()[1:]
    losses = [line.split()[1] for line in steps]
    expect("a benchmark in fp16", len(losses) == 6 and losses[0] == losses[1] != losses[5], str(steps))
    rejected("a format that there is not", ["eval", run, "--data", test, "-o", "xml"], ["'xml' is not text, md, csv or json"], 2)
    rejected("an answer's folder", ["predict", run, "--data", test, "--out", answers], ["unknown flag '--out'"], 2)


def check_input(run, test):
    """Data from a pipe are the data of the file, damaged ones are told by their place, and --limit counts samples everywhere."""
    text = open(test).read()
    for words in (["predict", run], ["eval", run], ["analyze", run]):
        piped, plain = expanse(*words, "--data", "-", input=text), must(*words, "--data", test)
        lines = [[line for line in result.stdout.splitlines() if not line.startswith("data ")] for result in (piped, plain)]
        expect("standard input", piped.returncode == 0 and lines[0] == lines[1], piped.stdout + piped.stderr)
        limited = json.loads(must(*words, "--data", test, "--limit", "6", "-o", "json").stdout)
        count = len(limited) if isinstance(limited, list) else limited["samples"]
        expect("a limit", count == 6, f"{words[0]}: {count} samples")
    broken = expanse("predict", run, "--data", "-", input=text[: text.rindex(":")])
    expect("damaged standard input", broken.returncode == 1 and re.search(r"stdin:\d+:\d+: ", broken.stderr), broken.stderr)


def check_plan(train, test):
    """What is told before the first step; a dry run adds to it, lists launches only when it is asked, and leaves no file."""
    words = ["train", *SMALL, "--train", train, "--test", test, "--validation", "0.3", "--limit", "20"]
    printed = must(*words, "--epochs", "1", "--out", os.path.join(ROOT, "planned")).stdout
    block = printed[: printed.index("epoch   1/1")]
    told = ["device", "training +14 samples of length 7 to 9, 1 feature, 2 classes", "validation +6 samples", "test +12 samples",
            r"parameters +\d+", "batch +64 samples a step; 1 step an epoch, 1 epoch$", r"memory +[\d.]+ MiB", r"kernels +\d+, prepared"]
    places = [re.search(f"^{line}", block, re.M) for line in told]
    expect("before a run", all(places) and [p.start() for p in places] == sorted(p.start() for p in places), printed)
    expect("before a run", 1 <= block.count("preparing kernels") <= 12, block)

    for precision in ("fp32", "bf16"):
        flags = ["--set", "layers=2", "--family", "tiled", "--precision", precision, "--dry-run"]
        listing = must("train", "--preset", "uea-flowformer", "--train", train, *flags).stdout
        launches = re.search(r"^launches     (\d+) a training step", listing, re.M)
        expect("launches of two layers on a GPU", int(launches[1]) <= 60, listing)

    before = snapshot([ROOT])
    listing = must(*words, "--dry-run", "--out", os.path.join(ROOT, "dry")).stdout
    expect("dry run", listing.startswith("device ") and "recompute" in listing and "-D" not in listing, listing)
    launches = re.search(r"^launches     (\d+) a training step", listing, re.M)
    whole = must(*words, "--dry-run", "--launches", "--out", os.path.join(ROOT, "dry")).stdout
    expect("dry run", whole.startswith(listing), "the summary does not come first")
    rows = re.findall(r"^ {0,4}\d+  \S", whole, re.M)
    expect("dry run", launches and len(rows) == int(launches[1]), f"{len(rows)} rows\n{listing}")
    expect("dry run", all(len(line) <= 100 for line in whole.splitlines()), "longer than 100 columns")
    expect("dry run", snapshot([ROOT]) == before, "left files")
    rejected("launches of a run", [*words, "--launches"], ["--dry-run"], 2)
    profiled = must(*words, "--epochs", "1", "--profile", "--out", os.path.join(ROOT, "profiled")).stdout
    table = profiled[profiled.index("kernel   ") :].splitlines()
    rows = [line for line in table[1:] if re.match(r"\w+ +\d+ +[\d.]+ ", line)]
    expect("profile", len(rows) > 10 and all(len(line) <= 100 for line in table[: len(rows) + 4]), profiled)


# ---- what a run shows, and how it is stopped -----------------------------------------------------------------------


class Terminal:
    """A training run on a pseudo-terminal, and what it writes there."""

    def __init__(self, words, columns, **environment):
        self.end, inside = pty.openpty()
        self.resize(columns)
        self.text = ""
        self.process = subprocess.Popen([EXPANSE, *words], stdout=inside, stderr=inside, stdin=inside,
                                        env={**os.environ, "TERM": "xterm", **environment})
        os.close(inside)

    def resize(self, columns):
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        try:
            got = os.read(self.end, 65536).decode()
        except OSError:  # the other end is closed
            got = ""
        self.text += got
        return got

    def lines(self, count, phase="training"):
        """The next `count` versions of the live line, without colours. Each begins and ends in the first column."""
        begin = len(self.text)
        while True:
            found = re.findall(r"\r([^\r\n]*)\033\[J(?=\r)", self.text[begin:])
            found = [re.sub(r"\033\[[\d;]*m", "", line) for line in found]
            found = [line for line in found if phase in line]
            if len(found) >= count:
                return found[:count]
            if not self.read():
                fault("the live line", f"the run ended early:\n{self.text}")
                return found

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        while self.read():
            pass
        os.close(self.end)
        return self.process.wait()


def check_live(train, test):
    """The live line fits the terminal at each width, keeps speed and remaining time, and follows a terminal that is resized."""
    words = ["train", *SMALL, "--train", train, "--test", test, "--batch", "1", "--epochs", "100000"]
    terminal = Terminal([*words, "--out", os.path.join(ROOT, "live")], 120)
    kept = {120: "epoch, training, #|\\.{4}, loss, accuracy, lr, /s, left", 80: "epoch, training, accuracy, /s, left",
            40: "training, /s, left", 22: "/s, left"}
    for columns, fields in kept.items():
        terminal.resize(columns)
        phase = "training" if "training" in fields else " left"
        terminal.lines(2, phase)  # one may have been on its way
        for line in terminal.lines(3, phase):
            expect("the live line", len(line) < columns, f"{len(line)} characters on a terminal of {columns}: {line}")
            for field in fields.split(", "):
                expect("the live line", re.search(field, line), f"no {field} on a terminal of {columns}: {line}")
            expect("the live line", columns > 80 or "lr" not in line, f"the least important field is left: {line}")
    expect("the live line", "\033[32m" in terminal.text and "preparing kernels" in terminal.text, terminal.text[:2000])
    code = terminal.stop()
    expect("the live line", code == 130 and f"--resume {ROOT}/live" in terminal.text, f"{code}: {terminal.text[-300:]}")
    terminal = Terminal([*words, "--out", os.path.join(ROOT, "colourless")], 80, NO_COLOR="1")
    terminal.lines(2)
    terminal.stop()
    expect("NO_COLOR", "\033[J" in terminal.text and not re.search(r"\033\[[\d;]*m", terminal.text), terminal.text[-300:])
    terminal = Terminal([*words[:-1], "2", "--out", os.path.join(ROOT, "dumb")], 80, TERM="dumb")
    while terminal.read():
        pass
    expect("a dumb terminal", terminal.process.wait() == 0 and "\033" not in terminal.text and "epoch   2/2" in terminal.text, terminal.text)
    os.close(terminal.end)
    print("the live line: four widths, no colours, a dumb terminal")


# ---- bad input -----------------------------------------------------------------------------------------------------


def check_usage(train):
    rejected("no command", [], ["--help"], 2)
    rejected("unknown command", ["trian"], ["did you mean 'train'"], 2)
    rejected("unknown flag", ["train", "--epoch", "3"], ["did you mean '--epochs'"], 2)
    rejected("flag without value", ["train", "--epochs"], ["needs a value"], 2)
    rejected("no data", ["train", *SMALL], ["--train"], 2)
    rejected("no number", ["train", *SMALL, "--train", train, "--epochs", "many"], ["'many' is not a whole number"], 2)
    rejected("unknown preset", ["train", "--preset", "uea-mtvs", "--train", train], ["did you mean 'uea-mvts'"], 2)
    rejected("unknown key", ["train", *SMALL, "--train", train, "--set", "layerz=2"], ["did you mean 'layers'"], 2)
    rejected("heads", ["train", *SMALL, "--train", train, "--set", "heads=3"], ["3 heads do not divide the width 16"], 2)
    rejected("missing configuration", ["train", "--config", "/nonexistent.yaml", "--train", train], ["/nonexistent.yaml"], 2)
    result = expanse("train", "--train", train, "--set", "widht=4", "--set", "heads=x", "--attention", "sofmax")
    expect("several faults", result.returncode == 2 and len(result.stderr.splitlines()) == 3, result.stderr)
    config = write("bad.yaml", "model:\n  width: 16\n  heds: 2\n")
    rejected("bad configuration", ["train", "--config", config, "--train", train], [r"bad\.yaml:3:3: ", "did you mean 'heads'"], 2)
    for spec, expected in (("softmx", "softmax"), ("softmax+bm", "bn"), ("softmax+sh(1,", "softmax"), ("softmax+sh(0)", "0")):
        rejected(f"specification {spec}", ["train", *SMALL, "--train", train, "--attention", spec], ["model.attention", expected], 2)


def check_data(train):
    out = ["--out", os.path.join(ROOT, "rejected"), "--epochs", "1"]
    whole = series()

    def bad(name, text, *expected):
        path = write("bad.ts", text)
        rejected(name, ["train", *SMALL, "--train", path, *out], [r"bad\.ts", *expected])

    bad("a truncated .ts", whole[: whole.rindex(":")], r":\d+")
    bad("a letter in a .ts", whole.replace("0.455", "0.4s5", 1), r":\d+:\d+")
    bad("an empty .ts", "")
    bad("a .ts without samples", whole[: whole.index("@data") + 6])
    bad("a .ts with an empty series", whole + ":a\n", r":\d+")
    bad("a .ts with no classes", whole.replace("@classLabel true a b", "@classLabel true"))
    bad("a .ts with an unknown class", whole + "0.1,0.2:c\n", r":\d+")
    bad("a .ts without labels", re.sub(r":[ab]\n", "\n", whole).replace("@classLabel true a b", "@classLabel false"), "label")
    test = write("other.ts", whole.replace("@classLabel true a b", "@classLabel true a b c") + "0.1,0.2:c\n")
    rejected("a class that training lacks", ["train", *SMALL, "--train", train, "--test", test, *out], ["c"])
    rejected("no such file", ["train", *SMALL, "--train", "/nonexistent.ts", *out], ["/nonexistent.ts"], 1)
    rejected("a scale longer than the series", ["train", *SMALL, "--train", train, "--attention", "softmax+sh(1,10)", *out],
            ["10"])
    vision = ["train", "--preset", "vit-tiny-28", "--set", "patch=4", *out, "--train"]
    rejected("IDX with a wrong magic", [*vision, images("magic", magic=0x1234)], ["magic/"])
    rejected("IDX with short data", [*vision, images("short", cut=30)], ["short/"])
    rejected("IDX without labels", [*vision, images("lonely", labels=False)], ["lonely/"])
    rejected("IDX without images", [*vision, images("none", count=0)], ["none/"])
    rejected("a patch that does not divide the image", [*vision, images("odd", side=9)], ["patch|9"])
    path = images("packed")
    packed = gzip.compress(open(path, "rb").read())
    os.remove(path)
    path = write("packed/train-images-idx3-ubyte.gz", packed[: len(packed) // 2])
    rejected("a cut gzip file", [*vision, path], ["packed/"])


def check_device(train):
    out = ["--out", os.path.join(ROOT, "rejected"), "--epochs", "1"]
    rejected("a device that does not exist", ["train", *SMALL, "--train", train, "--device", "9:9", *out], ["9:9"])
    rejected("a device by a wrong name", ["train", *SMALL, "--train", train, "--device", "abacus", *out], ["abacus"])
    rejected("an unknown family", ["train", *SMALL, "--train", train, "--family", "tilde", *out], ["did you mean 'tiled'"], 2)


def check_svr():
    """The laboratory leaves a picture and all numbers, and says what is wrong with its input."""
    out = os.path.join(ROOT, "laboratory")
    must("svr", "--points", "120", "--out", out)
    result = json.load(open(os.path.join(out, "svr.json")))
    fits = {fit["attention"]: fit for fit in result["results"]}
    expect("svr", list(fits) == ["softmax", "linear(elu)", "softmax+bn", "softmax+sh(4)", "softmax+block(30)",
                                 'softmax+score("score + rate * key_index", rate=0.01)', "softmax+window(8,8)"], f"{list(fits)}")
    expect("svr", not fits["softmax+window(8,8)"]["positive_definite"], "a window")
    for name, fit in fits.items():
        if "values" not in fit:
            continue
        expect("svr", fit["difference"] < 1e-4 and fit["duality_gap"] < 1e-4 and len(fit["values"]) == fit["keys"], f"{fit}")
        expect("svr", sum(c != 0 for c in fit["coefficients"]) == fit["support_vectors"], f"{fit}")
    xml.dom.minidom.parse(os.path.join(out, "svr.svg"))
    rows = "".join(f"{i * 7 % 20},{i % 5}\n" for i in range(20))
    good = write("points.csv", "x,y\n" + rows)
    printed = json.loads(must("svr", "--attention", "softmax", "--data", good, "-o", "json").stdout)
    expect("svr", printed["points"] == 20 and len(printed["results"]) == 1, f"{printed}")
    rejected("an attention that the laboratory lacks", ["svr", "--attention", "sofmax"], ["did you mean 'softmax'"], 2)
    rejected("a cost that is no number", ["svr", "--C", "much"], ["--C: 'much' is not a number"], 2)
    rejected("a cost of nothing", ["svr", "--C", "0"], ["--C: 0 is not between 1e-09 and 1"], 2)
    rejected("an odd number of dimensions", ["svr", "--dimensions", "15"], ["15 dimensions"], 2)
    rejected("points twice", ["svr", "--points", "20", "--data", good], ["omit them with --data"], 2)
    rejected("no such points", ["svr", "--data", "/nonexistent.csv"], ["/nonexistent.csv"], 1)
    rejected("points with a word", ["svr", "--data", write("word.csv", "x,y\n" + rows + "a,2\n")], [r"word\.csv:22:1: "], 1)


def check_check():
    """`expanse check`: what the JSON tells, a filter on cases, and a kernel that is broken on purpose."""
    name = "check"
    keys = "operation family good variants cases failed hostile vacuous worst seconds largest_shape largest_seconds largest_flops largest_bytes failures".split()
    found = json.loads(must("check", "--filter", "^(add|mask_rows)$", "--cases", "30", "--time", "-o", "json").stdout)
    expect(name, found["good"] and len(found["verdicts"]) == 4, str(found))
    for verdict in found["verdicts"]:
        expect(name, list(verdict) == keys and verdict["cases"] == 30 and verdict["variants"] == {"add": 3, "mask_rows": 3}[verdict["operation"]], str(verdict))
        expect(name, verdict["largest_seconds"] > 0 and "=" in verdict["largest_shape"], str(verdict))
    found = json.loads(must("check", "--filter", "^gemm wide m=1 ", "-o", "json").stdout)["verdicts"]
    expect(name, len(found) == 1 and found[0]["family"] == "wide" and 0 < found[0]["cases"] < 100, str(found))
    rejected("arithmetic without matrix units", ["check", "--arithmetic", "tf32"], ["--family matrix"], 2)
    rejected("a filter that fits nothing", ["check", "--filter", "gemm sideways"], ["gemm sideways"], 2)
    broken = os.path.join(ROOT, "kernels")
    shutil.copytree(KERNELS, broken)
    path = os.path.join(broken, "copy.cl")
    text = open(path).read()
    write(path, text.replace("LOAD(a, i) + LOAD(b, i)", "LOAD(a, i) - LOAD(b, i)"))
    result = expanse("check", "--filter", "^(add|copy)$", "--until-failure", "-o", "json", env=dict(os.environ, XP_CL_DIR=broken))
    found = json.loads(result.stdout)
    expect(name, result.returncode == 1 and not found["good"] and len(found["verdicts"]) == 1, str(found))
    expect(name, found["verdicts"][0]["failed"] == 1 and len(found["verdicts"][0]["failures"]) == 1, str(found))
    expect(name, "--filter '^add$' --seed 1 --case " in found["verdicts"][0]["failures"][0]["again"], str(found))


def check_doctor():
    """`expanse doctor`: what is known to work here does, and a driver that hangs or crashes costs one line."""
    name = "doctor"
    found = json.loads(must("doctor", "-o", "json", "--timeout", "250").stdout)
    probes = {probe["probe"]: probe for probe in found["probes"]}
    expect(name, found["fit"] and found["verdict"].startswith("Fit for training, with the"), found["verdict"])
    expect(name, len(probes) >= 18 and "hang" not in probes, str(list(probes)))
    for probe in probes.values():
        expect(name, probe["works"] or probe["need"] != "needed", str(probe))
        expect(name, probe["figure"] and probe["meaning"], str(probe))
    expect(name, probes["double"]["works"], str(probes["double"]))  # every CPU has it
    expect(name, probes["groups"]["value"] >= 256 and probes["launch"]["value"] > 0, str(probes["groups"]))
    expect(name, probes["bandwidth"]["value"] > 1e7 and probes["memory"]["value"] >= 2**24, str(probes["memory"]))
    for probe, expected in (("hang", "no answer within 2 s"), ("crash", "the driver crashes: Abort")):
        result = expanse("doctor", "--only", probe, "--timeout", "2" if probe == "hang" else "100")
        expect(name, result.returncode == 1 and expected in result.stdout, result.stdout + result.stderr)
    result = expanse("doctor", "--device", "9:9")
    expect(name, result.returncode == 1 and "Not fit for training" in result.stdout and "9:9" in result.stdout, result.stdout)
    rejected("a probe that is none", ["doctor", "--only", "leg"], ["leg"], 2)


def check_bench():
    """Every benchmark answers in every format; what it cannot time is rejected in one sentence."""
    small = ["--width", "16", "--heads", "2", "--layers", "1", "--ffn", "16", "--batch", "2", "--length", "8", "--repetitions", "2"]
    products = ["gemm", "33x17x5nt", "--repetitions", "2"]
    for words in (["step", *small], ["kernels", *small], products, ["attention", "softmax", "--length", "16", "--repetitions", "2"]):
        rows = json.loads(must("bench", *words, "-o", "json").stdout)
        good = rows and all(row["median_ms"] > 0 and 0 <= row["share_of_roof"] and row["device"] and row["version"] for row in rows)
        expect("bench in JSON", good, f"{words}: {rows}")
    for words in (products, ["attention", "softmax", "--length", "16", "--repetitions", "2"]):
        single, half = (json.loads(must("bench", *words, "--precision", precision, "-o", "json").stdout)[0] for precision in ("fp32", "bf16"))
        expect("tensors of 16 bits take fewer bytes", 0 < half["gb_s"] * half["median_ms"] < 0.8 * single["gb_s"] * single["median_ms"], (single, half))
    table = list(csv.DictReader(must("bench", *products, "-o", "csv").stdout.splitlines()))
    expect("bench in CSV", len(table) == 1 and table[0]["shape"] == "33x17x5nt" and float(table[0]["gflops"]) > 0, table)
    expect("bench in Markdown", "| gemm | 33x17x5nt |" in must("bench", *products, "-o", "md").stdout)
    broken = os.path.join(ROOT, "products")
    shutil.copytree(KERNELS, broken)
    path = os.path.join(broken, "factors.clh")
    text = open(path).read()
    write(path, text.replace("fma(a, b, sum)", "fma(a, b, -sum)"))
    wrong = expanse("bench", *products, "--family", "wide", env=dict(os.environ, XP_CL_DIR=broken))
    expect("bench gives no times of wrong products", wrong.returncode == 1 and "instead of" in wrong.stderr and wrong.stderr.count("\n") == 1 and "33x17" not in wrong.stdout, wrong)
    peaks = [{row["name"]: row for row in json.loads(must("bench", "peak", "-o", "json", "--family", family).stdout)} for family in ("wide", "tiled")]
    expect("the peak belongs to the device, not to a family, and the best is kept", peaks[1]["best"]["gflops"] >= max(peak["now"]["gflops"] for peak in peaks) - 0.01, peaks)
    preset = must("bench", "step", "--preset", "vit-tiny-28", "--layers", "1", "--batch", "2", "--attention", "softmax+causal", "--repetitions", "1", "-o", "json")
    row = json.loads(preset.stdout)[0]
    shape = "vit-tiny-28 d=64 H=4 L=1 FFN=128 B=2 image=28 patch=4"
    expect("bench takes a preset, and flags beside it", row["shape"] == shape and row["name"] == "softmax+causal", row)
    assumed = "assumed: images of side 28, channels 1, 10 classes (--image, --channels, --classes)"
    expect("bench says what it assumes", preset.stderr.strip() == assumed, preset.stderr)
    for words, part in ((["gemm", "3x4"], "3x4"), (["gemm", "--precision", "tf32"], "has no matrix units"), (["gemm", "--precision", "half"], "'half' is not"), (["step", "-o", "xml"], "xml"), (["nothing"], "nothing"), (["step", "--image", "9"], "patches"),
                        (["step", "--heads", "0"], "model.heads: '0' is not a whole number from 1 to"),
                        (["kernels", "--layers", "2147483647"], "model.layers: '2147483647' is not"), (["step", "--length", "0"], "--length: 0 is not"),
                        (["step", "--preset", "uea-mtvs"], "did you mean 'uea-mvts'"), (["step", "--preset", "uea-mvts", "--image", "8"], "--image: the model uses series")):
        rejected = expanse("bench", *words)
        expect("bench rejects", rejected.returncode in (1, 2) and part in rejected.stderr and rejected.stderr.count("\n") == 1, rejected.stderr)
    rejected = expanse("tune", "--preset", "uea-mtvs", "--heads", "0")
    lines = ["expanse: unknown preset 'uea-mtvs'; did you mean 'uea-mvts'?", "expanse: model.heads: '0' is not a whole number from 1 to 1024"]
    expect("tune rejects a model as train does", rejected.returncode == 2 and rejected.stderr.splitlines() == lines, rejected.stderr)
    missing = expanse("bench", *products, env={**os.environ, "EXPANSE_TUNING": "/nowhere/table.json"})
    expect("a tuning table that is not there", missing.returncode == 1 and "/nowhere/table.json" in missing.stderr, missing.stderr)
    print("bench: every format, and rejections")


def check_models(run, train, test):
    other = os.path.join(ROOT, "other")
    must("train", *SMALL, "--set", "feed_forward=24", "--train", train, "--epochs", "1", "--out", other, "--quiet")
    mixed = os.path.join(ROOT, "mixed")
    shutil.copytree(run, mixed)
    for folder in ("best", "last"):
        shutil.copy(os.path.join(other, folder, "model.safetensors"), os.path.join(mixed, folder, "model.safetensors"))
    rejected("weights of another model", ["eval", mixed, "--data", test], ["another model", "tensor '"], 1)
    rejected("resume with weights of another model", ["train", "--resume", mixed, "--epochs", "4", "--quiet"], ["another model"], 1)
    images_path = images("fine")
    rejected("data of another kind", ["eval", run, "--data", images_path], ["holds images, but the model was trained on series"], 1)
    rejected("no run folder", ["eval", os.path.join(ROOT, "nowhere"), "--data", test], ["no such folder"], 1)
    rejected("a folder without a run", ["eval", os.path.dirname(images_path), "--data", test], ["no checkpoint"], 1)
    damaged = os.path.join(ROOT, "damaged")
    shutil.copytree(run, damaged)
    path = os.path.join(damaged, "best", "model.safetensors")
    os.truncate(path, os.path.getsize(path) - 4)
    rejected("cut weights", ["predict", damaged, "--data", test], ["model.safetensors", "tensor"], 1)
    write("damaged/best/state.json", "{")
    rejected("a damaged state", ["predict", damaged, "--data", test], [r"state\.json:\d+:\d+"], 1)
    changed = write("changed.ts", series(30))
    text = open(os.path.join(damaged, "last", "config.yaml")).read().replace(train, changed)
    write("damaged/last/config.yaml", text)
    rejected("resume with other data", ["train", "--resume", damaged, "--quiet", "--epochs", "9"], ["changed.ts"], 1)


def check_unreadable(run, test):
    """Root reads everything, so it asks as somebody else."""
    user = {}
    if os.geteuid() == 0:
        user = {"user": pwd.getpwnam("nobody").pw_uid}
        if expanse("info", **user).returncode != 0:
            print("skipped: an unreadable run folder (another user cannot start the command here)")
            return
    os.chmod(ROOT, 0o755)
    os.chmod(run, 0o000)
    result = expanse("eval", run, "--data", test, **user)
    os.chmod(run, 0o755)
    expect("an unreadable run folder", result.returncode == 1 and len(result.stderr.splitlines()) == 1
           and "Permission denied" in result.stderr, result.stderr)
    print(f"an unreadable run folder: {result.stderr.strip()}")


@own_programs
def check_full_disk(train, test):
    """A run is interrupted, resumed on a full disk, and resumed again with room: the failure costs nothing."""
    run = os.path.join(ROOT, "full")
    words = [EXPANSE, "train", *SMALL, "--train", train, "--test", test, "--epochs", "60", "--out", run]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch   2/"):
                process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    if not expect("an interrupted run", process.returncode == 130 and f"--resume {run}" in error, error):
        return

    def limit():  # the largest file: config.yaml fits, the weights do not
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    # Python ignores SIGXFSZ, and so the command gets EFBIG as it would get ENOSPC.
    checkpoints = [os.path.join(run, "last"), os.path.join(run, "best")]
    rejected("a full disk", ["train", "--resume", run, "--quiet"], ["writing failed"], 1, checkpoints, preexec_fn=limit,
            restore_signals=False)
    must("train", "--resume", run, "--quiet")
    summary = json.load(open(os.path.join(run, "summary.json")))
    expect("a full disk", summary["finished"] and summary["epochs"] == 60, str(summary))
    with open("/dev/full", "w") as full:
        for words in (["devices"], ["info"], ["train", "--print-config"], ["predict", run, "--data", test]):
            result = subprocess.run([EXPANSE, *words], stdout=full, stderr=subprocess.PIPE, text=True)
            expect("a full output", result.returncode == 1 and "disk full" in result.stderr, f"{words}: {result.stderr}")
            out, inside = os.pipe()
            os.close(out)  # and the command inherits from Python that SIGPIPE is ignored
            result = subprocess.run([EXPANSE, *words], stdout=inside, stderr=subprocess.PIPE, text=True, restore_signals=False)
            os.close(inside)
            expect("a closed output", (result.returncode, "expanse: " in result.stderr) == (141, False), f"{words}: {result}")

    script = f'mount -t tmpfs -o size=24k none "{ROOT}/small" && exec "$@"'
    words = ["train", *SMALL, "--train", train, "--out", f"{ROOT}/small/run"]
    os.makedirs(f"{ROOT}/small")
    confined = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script, "sh"]
    if not shutil.which("unshare") or subprocess.run([*confined, "true"], capture_output=True).returncode != 0:
        print("skipped: a full tmpfs (mounting is not allowed here)")
        return
    result = subprocess.run([*confined, EXPANSE, *words, "--quiet"], capture_output=True, text=True)
    expect("a full tmpfs", result.returncode == 1 and "and the disk has" in result.stderr
           and len(result.stderr.splitlines()) == 1, result.stderr)
    print(f"a full tmpfs: {result.stderr.strip()}")


def check_counted_pairs():
    """The arithmetic of attention, in the profile, is that of the pairs that are seen: a quarter in blocks of a quarter of the
    sequence, 5/8 when every other head pools its keys by four."""
    flops = {}
    for attention in ("softmax", "softmax+block(16)", "softmax+sh(1,4)"):
        words = ["bench", "kernels", "--width", "16", "--heads", "2", "--layers", "1", "--ffn", "16", "--batch", "2", "--length", "64"]
        text = must(*words, "--family", "wide", "--repetitions", "1", "-o", "csv", "--attention", attention).stdout
        row = next(row for row in csv.DictReader(text.splitlines()) if row["name"] == "attention_backward")
        flops[attention] = float(row["gflops"]) * float(row["median_ms"])
    for attention, share in (("softmax+block(16)", 1 / 4), ("softmax+sh(1,4)", 5 / 8)):
        expect("counted pairs", abs(flops[attention] / flops["softmax"] / share - 1) < 0.02, str(flops))


def main():
    train, test = write("train.ts", series()), write("test.ts", series(12))
    run = os.path.join(ROOT, "run")
    check_usage(train)
    result = must("train", *SMALL, "--train", train, "--test", test, "--epochs", "3", "--out", run)
    lines = [line for line in result.stdout.splitlines() if re.match(r"epoch +\d/3( +[\d.]+ +[\d.]+ %){2} +\d+ +\d+s", line)]
    expect("piped output", len(lines) == 3 and max(map(len, lines)) <= 100 and "\r" not in result.stdout and "\033" not in result.stdout, result.stdout)
    check_run(run, train, test)
    check_predict(run, test)
    check_formats(run, train, test)
    check_input(run, test)
    check_sets(train, test)
    check_plan(train, test)
    check_live(train, test)
    check_analyze(train, test)
    check_data(train)
    check_device(train)
    check_svr()
    check_check()
    check_doctor()
    check_bench()
    check_counted_pairs()
    check_models(run, train, test)
    check_unreadable(run, test)
    check_full_disk(train, test)
    finish()


main()
