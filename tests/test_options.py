#!/usr/bin/env python3
"""Each option of the table, changed: what it describes changes, as the command shows it in the weights that it writes, in
metrics.csv, summary.json and state.json, or in what it rejects. A key of --print-config without an entry here fails.
Usage: test_options.py EXPANSE"""
import csv
import filecmp
import itertools
import json
import os
import re
import shutil
import struct
import subprocess

from commands import EXPANSE, ROOT, expanse, expect, finish, images, must, rejected, series, share_programs, write

share_programs()
TRAIN, TEST, OTHER = (write(f"{name}.ts", series(count, length=length)) for name, count, length in (
    ("train", 16, 9), ("test", 6, 9), ("other", 20, 9)))
IMAGES = images("images", 12)

BASE = {
    "data.train": TRAIN, "data.test": TEST, "model.width": 16, "model.heads": 2, "model.layers": 1, "model.feed_forward": 16,
    "model.dropout": 0, "training.batch": 8, "training.epochs": 2, "training.learning_rate": 0.01, "device.family": "wide",
}
VISION = {"data.train": IMAGES, "data.test": "", "model.kind": "vision"}
TEXT = {"data.train": write("words.txt", "all the words that a model learns\n" * 12), "data.test": "", "model.kind": "language",
        "model.head": "tied", "model.attention": "softmax+causal"}
TABLE_OVER_TIME = "".join(f"{i},{i % 4 + i % 7 / 7},{i % 5}\n" for i in range(60))
FORECAST = {"data.train": write("measured.csv", "time,load,heat\n" + TABLE_OVER_TIME), "data.test": "", "data.context": 8, "data.horizon": 2,
            "data.season": 4, "model.mask_padding": "off"}
TOKENS = {"data.train": write("texts.tsv", "Source\tTarget\n" + "".join(f"{'a b c d a'[i % 5:]} a\t{i % 2}\n" for i in range(0, 16, 2)) + "b a\t1\n"),
          "data.test": "", "model.kind": "tokens"}
SGD = {"training.optimiser": "sgd", "training.momentum": 0.5}
COSINE = {"training.schedule": "cosine", "training.epochs": 4}
STEPS = {"training.schedule": "step", "training.epochs": 4, "training.step_epochs": 2}


# ---- what the command does ------------------------------------------------------------------------------------------

def words(settings):
    return list(itertools.chain(*(("--set", f"{key}={value}") for key, value in {**BASE, **settings}.items())))


def configuration(*extra):
    """{key: printed value} of --print-config."""
    section, found = "", {}
    for line in must("train", "--print-config", *extra).stdout.splitlines():
        name, _, value = line.split("#")[0].partition(":")
        if not name.strip():
            continue
        if not name.startswith(" ") and not value.strip():
            section = name + "."
        else:
            found[(section if name.startswith(" ") else "") + name.strip()] = value.strip()
    return found


def dry_run(settings):
    return must("train", *words(settings), "--dry-run").stdout


class Run:
    """A finished run: columns of metrics.csv, summary.json, state.json and tensors."""
    made = {}

    def __init__(self, settings):
        self.folder = os.path.join(ROOT, f"run-{len(Run.made)}")
        must("train", *words(settings), "--quiet", "--out", self.folder)
        self.read()

    def read(self):
        with open(os.path.join(self.folder, "metrics.csv")) as file:
            rows = list(csv.DictReader(file))
        self.columns = {name: [float(row[name]) if row[name] else None for row in rows] for name in (rows[0] if rows else ())}
        with open(os.path.join(self.folder, "summary.json")) as file:
            self.summary = json.load(file)
        with open(os.path.join(self.folder, "last/state.json")) as file:
            self.state = json.load(file)
        with open(os.path.join(self.folder, "last/model.safetensors"), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
            data = file.read()
        self.about = header.pop("__metadata__")
        self.shapes = {name: entry["shape"] for name, entry in header.items()}
        self.tensors = {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}

    def losses(self):
        return tuple(self.columns["train_loss"])

    def rates(self):
        return [rate / self.columns["learning_rate"][0] for rate in self.columns["learning_rate"]]


def run(settings):
    key = tuple(sorted((name, str(value)) for name, value in {**BASE, **settings}.items()))
    if key not in Run.made:
        Run.made[key] = Run(settings)
    return Run.made[key]


def start(settings):
    """The initial weights."""
    return run({**settings, "training.epochs": 0})


# ---- what may change ------------------------------------------------------------------------------------------------

def losses(key, values, base):
    """The losses of the training differ for all values."""
    found = [run({**base, key: value}).losses() for value in values]
    expect(key, len(set(found)) == len(values), f"the losses with {values} are {found}")


def image_crop(key, values, base):
    """What is seen of an image, which the weights tell."""
    losses(key, values, base)
    told = [run({**base, key: value}).about["image_crop"] for value in values]
    expect(key, [float(crop) for crop in told] == list(values) and "image_crop" not in run({}).about, f"the weights tell {told}")


def shape(tensor, axis, *sizes):
    """The initial tensor has these sizes along an axis, value by value."""
    def look(key, values, base):
        found = [start({**base, key: value}).shapes[tensor][axis] for value in values]
        expect(key, found == list(sizes), f"{tensor} has {found} along axis {axis} with {values}")
    return look


def tensor_appears(name):
    """There is such a tensor with the second value only."""
    def look(key, values, base):
        found = [name in start({**base, key: value}).shapes for value in values]
        expect(key, found == [False, True], f"whether there is a {name} with {values}: {found}")
    return look


def recorded(file, name, *wanted):
    """What summary.json or a checkpoint's state.json says, value by value."""
    def look(key, values, base):
        found = [getattr(run({**base, key: value}), file)[name] for value in values]
        expect(key, found == list(wanted), f"{name} is {found} with {values}")
    return look


def rates(*expected):
    """The learning rates of the epochs over that of the first, value by value."""
    def look(key, values, base):
        for value, wanted in zip(values, expected):
            found = run({**base, "training.batch": 16, key: value}).rates()
            expect(key, all(abs(a - b) < 1e-9 for a, b in zip(found, wanted)) and len(found) == len(wanted),
                   f"learning rates {found} with {value}, expected {wanted}")
    return look


def kind(key, values, base):
    """A model of images takes none but images, a model of series none but series."""
    for value, data, wanted in (("encoder", IMAGES, "holds images: set model.kind to vision"), ("vision", TRAIN, "holds series: set model.kind to encoder")):
        result = expanse("train", *words({"data.test": "", "data.train": data, key: value}), "--dry-run")
        expect(key, result.returncode == 1 and wanted in result.stderr, f"{value}: {result.stderr}")


def task(key, values, base):
    """A file of series is text, too, if asked for; a text has no classes."""
    series_as_text = {**base, "data.train": TRAIN, "data.context": 8}
    expect(key, start({**series_as_text, key: "text"}).state["data"] == "text", "series are not read as text")
    rejected(key, ["train", *words({**base, key: "classification"}), "--dry-run"], ["words.txt holds text", "classification"], 1)
    rejected(key, ["train", *words({**base, key: "translation"}), "--dry-run"], ["no task; there are text, forecasting, regression, classification"], 1)


def season(key, values, base):
    """The forecast that repeats the last season has another error; the model has the same."""
    found = [run({**base, "data.test_part": 0.25, key: value}).summary for value in values]
    skills, errors = ([summary[name] for summary in found] for name in ("skill_final", "mse_final"))
    expect(key, len(set(skills)) == len(values) and len(set(errors)) == 1, f"skills {skills} and errors {errors} with {values}")


def head_activation(key, values, base):
    """Three different activations, and two words of older files."""
    losses(key, ("none", "relu", "gelu"), {})
    for old, name in (("on", "relu"), ("off", "none")):
        printed = configuration("--set", f"{key}={old}")[key]
        expect(key, printed == name, f"{old} is printed as {printed}")
        checkpoint = os.path.join(ROOT, f"older-{old}")
        shutil.copytree(os.path.join(run({key: name}).folder, "last"), checkpoint)
        with open(os.path.join(checkpoint, "config.yaml")) as file:
            text = file.read()
        expect(key, f"head_activation: {name}" in text, f"the checkpoint does not say {name}:\n{text}")
        write(f"older-{old}/config.yaml", text.replace(f"head_activation: {name}", f"head_activation: {old}"))
        answers = {must("predict", folder, "--data", TEST).stdout for folder in (checkpoint, run({key: name}).folder + "/last")}
        expect(key, len(answers) == 1, f"{old} in an older checkpoint does not answer as {name}")


def positions(key, values, base):
    found = {value: start({key: value}).tensors["positions"][:8] for value in values}
    expect(key, struct.unpack("2f", found["sinusoidal"]) == (0, 1), "the first sinusoidal position is not sin 0, cos 0")
    expect(key, found["learned"] != found["sinusoidal"], "both are the same")


def test_file(key, values, base):
    found = [run({key: value}).columns["test_loss"] for value in values]
    expect(key, found[0] != found[1] and None not in found[1] and run({key: ""}).columns["test_loss"] == [None, None],
           f"the test losses are {found}")


def validation(key, values, base):
    found = run({key: 0.25}).columns["validation_loss"], run({}).columns["validation_loss"]
    expect(key, None not in found[0] and set(found[1]) == {None}, f"the validation losses are {found}")
    expect(key, run({key: 0.25}).summary["samples"] == 12, "a quarter of 16 samples is not split off")


def class_weights(key, values, base):
    """The losses differ; unbalanced classes get the weights of the definition; what is no weight is rejected."""
    losses(key, values, base)
    found = dry_run({"data.train": write("rare.ts", series(16, length=9).replace(":b", ":a", 6)), "data.test": "", key: "balanced"})
    expect(key, "weighted in the loss: a 0.5714, b 4" in found, f"14 samples of a and 2 of b: {found}")
    rejected(key, ["train", *words({key: "1"}), "--dry-run"], ["each of the 2 classes"], 1)
    rejected(key, ["train", *words({key: "1,0"}), "--dry-run"], ["weight 0 of the class 'b'"], 1)
    rejected(key, ["train", *words({**FORECAST, key: "balanced"}), "--dry-run"], ["'forecasting' has no classes"], 1)


def patience(key, values, base):
    """A run that learns nothing (its learning rate is tiny) has its best result first, and ends so many epochs later."""
    idle = {"data.validation": 0.25, "training.epochs": 9, "training.learning_rate": 1e-12, "training.optimiser": "sgd"}
    for value, epochs in zip(values, (9, 3)):
        found = run({**idle, key: value})
        expect(key, len(found.losses()) == epochs and found.summary["stopped_early"] == (epochs < 9) and found.summary["finished"],
               f"{found.summary} with {value}")
    slow = run({**idle, key: 1, "training.epochs": 3, "training.learning_rate": 1e-3})  # its loss falls, at the same accuracy
    judged = [slow.columns[f"validation_{name}"] for name in ("accuracy", "loss")]
    expect(key, len(set(judged[0])) == 1 and judged[1] == sorted(judged[1], reverse=True) and slow.summary["epoch_best"] == 3,
           f"an equal accuracy is not decided by the loss: {judged}, {slow.summary}")
    again = must("train", "--resume", found.folder).stdout
    expect(key, "epoch 3 of 9 is done; the run stopped early" in again, again)
    rejected(key, ["train", "--resume", found.folder, "--epochs", "20"], ["stopped early, after epoch 3"], 1)
    rejected(key, ["train", *words({key: 2}), "--dry-run"], ["--validation"], 2)


def from_weights(key, values, base):
    """All tensors are those of the other run; the head only where the classes are. What does not fit is named."""
    first = run({})
    shutil.copytree(first.folder, values[1])
    begun = {key: values[1] + "/last"}
    expect(key, start(begun).tensors == first.tensors, "not the weights of the other run")
    must("train", *words({**begun, "training.epochs": 1}), "--quiet", "--out", os.path.join(ROOT, "from-run"))
    for name, data in (("three", series(16, "a b c")), ("named", series(16, "a c").replace(":b", ":c"))):
        settings = {**begun, "data.train": write(f"{name}.ts", data), "data.test": ""}
        taken = {tensor for tensor, data in start(settings).tensors.items() if data == first.tensors.get(tensor)}
        expect(key, taken == first.tensors.keys() - {"head.weight", "head.bias"}, f"{name}: {taken} are taken")
    expect(key, "newly drawn: head.weight, head.bias" in dry_run(settings), dry_run(settings))
    wide, narrow = ({**TOKENS, "model.head_width": width} for width in (24, 16))
    found = dry_run({**narrow, key: start(wide).folder})
    expect(key, "newly drawn: head_hidden.weight, head_hidden.bias, head.weight, head.bias\n" in found, found)
    file = values[1] + "/best/model.safetensors"
    rejected(key, ["train", *words({key: file, "data.max_length": 20}), "--dry-run"], [r"'positions' is \[9,16\], but this model's is \[20,16\]"], 1)
    rejected(key, ["train", *words({key: file, "model.width": 32}), "--dry-run"], [r"'\S+' is \[.*16.*\], but this model's"], 1)
    rejected(key, ["train", *words({key: TRAIN}), "--dry-run"], ["--from", "train.ts"], 1)


def normalise_windows(key, values, base):
    """The rows of a window are others, which the weights tell."""
    found = [run({**base, key: value}) for value in values]
    errors, told = ([one.columns["train_mse"] for one in found], [one.about.get("normalise_windows") for one in found])
    expect(key, errors[0] != errors[1] and told == [None, "true"], f"{errors}, and the weights tell {told}")


def standardise(key, values, base):
    losses(key, values, base)
    expect(key, len(run({key: "on"}).state["mean"]) == 1 and run({key: "off"}).state["mean"] == [], "means of the features")


def epochs(key, values, base):
    """No epochs: the initial weights, which answer, and from which a longer run goes on like one that began as long."""
    begun = start({})
    folder = begun.folder
    expect(key, begun.columns == {} and begun.summary["finished"] and begun.summary.get("accuracy_best") is None,
           f"a run of no epochs: {begun.summary}")
    expect(key, sorted(os.listdir(folder)) == ["best", "config.yaml", "last", "metrics.csv", "summary.json"], f"{os.listdir(folder)}")
    must("eval", folder, "--data", TEST)
    expect(key, must("predict", folder, "--data", TEST).stdout != must("predict", run({}).folder, "--data", TEST).stdout,
           "the training changes no answer")
    for name, settings in (("constant", {}), ("cosine", {"training.schedule": "cosine", "training.warmup": 1})):
        copy = os.path.join(ROOT, f"longer-{name}")
        shutil.copytree(start(settings).folder, copy)
        weights = os.path.join(copy, "last/model.safetensors")
        must("train", "--resume", copy)
        expect(key, filecmp.cmp(weights, os.path.join(folder, "last/model.safetensors"), False), f"{name}: resumed, not the initial weights")
        must("train", "--resume", copy, "--epochs", "2", "--quiet")
        expect(key, filecmp.cmp(weights, os.path.join(run(settings).folder, "last/model.safetensors"), False),
               f"{name}: 0 and then 2 epochs are not the same as 2")
    shorter = expanse("train", "--resume", run({}).folder, "--epochs", "0")
    expect(key, shorter.returncode == 1 and "has 2 epochs" in shorter.stderr, f"fewer epochs: {shorter.stderr}")
    for value in values:
        expect(key, len(run({key: value}).columns["train_loss"]) == value, f"not {value} rows of metrics")


def accumulate(key, values, base):
    recorded("state", "batch", 8, 4)(key, values, base)
    one, other = (run({key: value}).losses() for value in values)
    expect(key, one != other and all(abs(a - b) < 1e-4 for a, b in zip(one, other)), f"losses {one} and {other}")


def seed(key, values, base):
    one, other = (start({key: value}).tensors["head.weight"] for value in values)
    expect(key, one != other, "two seeds draw the same weights")


def learning_rate(key, values, base):
    found = [run({key: value}).columns["learning_rate"] for value in values]
    expect(key, found == [[value] * 2 for value in values], f"learning rates {found} with {values}")


def schedule(key, values, base):
    fall = [0.25 + 0.75 * x for x in (1, 0.75, 0.25, 0)]
    rates([1] * 4, fall, fall, [1, 1, 0.1, 0.1])(key, values, base)
    rising = {**base, "training.batch": 16, "training.warmup": 2}
    first = [run({**rising, key: value}).columns["learning_rate"][0] for value in values]
    expect(key, all(abs(a / b - 1) < 1e-9 for a, b in zip(first, (0.005, 0.005, 0.01 / 25, 0.005))),
           f"the first rates of a warm-up of two epochs are {first}")


def warmup(key, values, base):
    rates([1] * 4, [1, 2, 2, 2])(key, values, {"training.epochs": 4})


def recompute(key, values, base):
    found = [int(re.search(r"^launches +(\d+)", dry_run({key: value}), re.MULTILINE).group(1)) for value in values]
    expect(key, found[0] < found[1], f"launches of a step {found}")
    expect(key, run({key: values[0]}).losses() == run({key: values[1]}).losses(), "other bits")


def precision(key, values, base):
    for value in ("fp32-matrix", "tf32"):
        rejected(key, ["train", *words({key: value}), "--dry-run"], [f"precision {value}", "matrix units", "bf16"], 1)
        found = dry_run({key: value, "device.family": "matrix"})
        expect(key, f"precision    {value}: products of fp32 tensors" in found, found)
    expect(key, [run({key: value}).summary["precision"] for value in values] == list(values), "summary.json")
    one, *others = (run({key: value}).losses() for value in values)
    for other in others:
        expect(key, one != other and all(abs(a - b) < 0.02 for a, b in zip(one, other)), f"losses {one} and {other}")
    found = dry_run({key: values[1]})
    expect(key, "precision    bf16" in found and "casts  " not in found, found)
    found = dry_run({key: values[1], "model.attention": "softmax+conv1d(3)"})
    for cast in ("casts        2 × y to fp32 for depthwise_convolution", " 2 × convolved of depthwise_convolution to bf16"):
        expect(key, cast in found, found)


def glimpse(path):
    """[what the file says], or nothing while there is none: the folder of a run that goes is replaced now and then."""
    try:
        with open(path) as file:
            return [json.load(file)]
    except FileNotFoundError:
        return []


def checkpoint_every(key, values, base):
    """Within an epoch, last/ is written after so many steps, or so much time, or not at all."""
    for number, value in enumerate(values):
        folder = os.path.join(ROOT, f"every-{number}")
        long = {"data.train": write("long.ts", series(4000))} if value == "1s" else {}  # its epoch takes longer
        settings = words({"training.batch": 1, "training.epochs": 100000, key: value, **long})
        epochs = os.path.join(folder, "metrics.csv")
        with subprocess.Popen([EXPANSE, "train", *settings, "--out", folder, "--quiet"]) as process:
            found, ended = set(), 0
            while ended < (1 if long else 20) and (value == "off" or not found - {0, 16, 4000}):  # steps of an epoch
                ended = open(epochs).read().count("\n") - 1 if os.path.exists(epochs) else 0  # below a line of names
                found |= {state["position"] for state in glimpse(f"{folder}/last/state.json")}
                if not expect(key, process.poll() is None, f"the run with {value} ended"):
                    break
            process.kill()
        good = {"off": found <= {0}, "2": found <= set(range(0, 17, 2)) and found - {0, 16}, "1s": found - {0, 4000}}[value]
        expect(key, good, f"with {value} at steps {found} of the epoch")


def events(path):
    """[(step, {tag: value})] of an event file, read by the definition of its format; what TensorBoard reads, if it is there."""
    def number(data, at):
        value, shift = 0, 0
        while True:
            value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
            if data[at - 1] < 128:
                return value, at

    def fields(data):
        at, found = 0, []
        while at < len(data):
            tag, at = number(data, at)
            size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 0:
                value, at = number(data, at)
            else:
                if size is None:
                    size, at = number(data, at)
                value, at = data[at:at + size], at + size
            found.append((tag >> 3, value))
        return found

    def checksum(data):
        crc = 0xffffffff
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ 0x82f63b78 * (crc & 1)
        crc ^= 0xffffffff
        return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff

    with open(path, "rb") as file:
        data = file.read()
    expect("events", checksum(b"123456789") == ((0xe3069283 >> 15 | 0xe3069283 << 17) + 0xa282ead8) & 0xffffffff, "the checksum of this test")
    at, found = 0, []
    while at < len(data):
        size, head = struct.unpack("<QI", data[at:at + 12])
        event, tail = data[at + 12:at + 12 + size], struct.unpack("<I", data[at + 12 + size:at + 16 + size])[0]
        expect("events", (head, tail) == (checksum(data[at:at + 8]), checksum(event)), f"a checksum at byte {at}")
        parts = dict(fields(event))
        values = [dict(fields(value)) for _, value in fields(parts.get(5, b""))]
        found.append((parts[2], {value[1].decode(): struct.unpack("<f", value[2])[0] for value in values}))
        expect("events", (parts.get(3) == b"brain.Event:2") == (len(found) == 1), "the version is not first alone")
        at += 16 + size
    return found[1:]


def tensorboard(key, values, base):
    """The events are the rows of metrics.csv, also after an end in the middle of a record, and of a run that had none before."""
    begun = run({key: "on"})
    path = os.path.join(begun.folder, "events.out.tfevents.expanse")
    expect(key, not os.path.exists(os.path.join(run({}).folder, os.path.basename(path))), "events without being asked for")
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "wb") as file:
        file.write(whole[:-5])
    must("train", "--resume", begun.folder, "--epochs", "3", "--quiet")
    later = os.path.join(ROOT, "events-later")
    shutil.copytree(run({}).folder, later)
    must("train", "--resume", later, "--epochs", "3", "--tensorboard", "--quiet")
    begun.read()
    for folder in (begun.folder, later):
        found = events(os.path.join(folder, os.path.basename(path)))
        expect(key, [step for step, _ in found] == [1, 2, 3], f"epochs {[step for step, _ in found]}")
        for tag, column in (("loss/training", "train_loss"), ("accuracy/test", "test_accuracy"), ("learning_rate", "learning_rate")):
            told = [values.get(tag) for _, values in found]
            expect(key, told == [struct.unpack("<f", struct.pack("<f", value))[0] for value in begun.columns[column]], f"{tag} {told}")
        expect(key, all("loss/validation" not in values for _, values in found), "a set that there is not")


def keep(key, values, base):
    for value in values:
        found = sorted(name for name in os.listdir(run({"training.epochs": 3, key: value}).folder) if name.startswith("epoch"))
        expect(key, found == [f"epoch-{epoch:04}" for epoch in range(4 - value, 4)], f"{found} with {value}")


def select(key, values, base):
    result = expanse("train", *words({key: values[1]}), "--dry-run")
    expect(key, result.returncode == 1 and values[1] in result.stderr, f"{values[1]}: {result.stderr}")
    must("train", *words({key: values[0]}), "--dry-run")


def family(key, values, base):
    for value, other in (values, values[::-1]):
        found = dry_run({key: value})
        expect(key, re.search(rf"\b{value}\b", found) and not re.search(rf"\b{other}\b", found), f"{value}:\n{found}")


def preset(key, values, base):
    expect(key, configuration("--preset", values[0]) != configuration("--preset", values[1]), "two presets are the same")


# Key: values (the first is the base's or the default), how to look, and what else has to be set.
TABLE = {
    "preset": (("uea-mvts", "uea-flowformer"), preset),
    "model.kind": (("encoder", "vision"), kind),
    "model.width": ((16, 32), shape("positions", 1, 16, 32)),
    "model.heads": ((2, 4), losses),
    "model.key_heads": ((0, 1), shape("encoder.0.attention.qkv.weight", 0, 48, 32)),
    "model.layers": ((1, 2), tensor_appears("encoder.1.norm1.weight")),
    "model.feed_forward": ((16, 24), shape("encoder.0.feed_forward.linear1.weight", 0, 16, 24)),
    "model.attention": (("softmax", "softmax+bn", "linear"), losses),
    "model.dropout": ((0, 0.5), losses),
    "model.attention_dropout": ((0, 0.5), losses),
    "model.drop_path": ((0, 0.5), losses),
    "model.pre_norm": (("on", "off"), losses),
    "model.norm": (("layer", "batch"), tensor_appears("encoder.0.norm1.running_mean")),
    "model.norm_epsilon": ((1e-5, 0.1), losses),
    "model.final_norm": (("off", "on"), tensor_appears("final_norm.weight")),
    "model.activation": (("gelu", "relu"), losses),
    "model.positions": (("learned", "sinusoidal"), positions),
    "model.scale_input": (("off", "on"), losses),
    "model.head": (("mean", "flatten"), shape("head.weight", 1, 16, 9 * 16)),
    "model.head_width": ((0, 24), tensor_appears("head_hidden.weight"), TOKENS),
    "model.head_activation": (("none", "gelu"), head_activation),
    "model.mask_padding": (("on", "off"), losses),
    "model.patch": ((4, 2), shape("embedding.weight", 1, 16, 4), VISION),
    "model.patch_steps": ((1, 2), shape("positions", 0, 8, 4), FORECAST),
    "data.task": (("text", "classification"), task, TEXT),
    "data.train": ((TRAIN, OTHER), recorded("summary", "samples", 16, 20)),
    "data.test": ((TEST, OTHER), test_file),
    "data.validation": ((0, 0.25), validation),
    "data.train_limit": ((0, 10), recorded("summary", "samples", 16, 10)),
    "data.test_limit": ((0, 4), recorded("summary", "test_samples", 6, 4)),
    "data.max_length": ((0, 20), shape("positions", 0, 9, 20)),
    "data.words": (("", "a b c d"), shape("embedding.weight", 0, 256, 5), TOKENS),
    "data.context": ((128, 20), shape("positions", 0, 128, 20), TEXT),
    "data.horizon": ((2, 3), shape("head.weight", 0, 4, 6), FORECAST),
    "data.season": ((1, 4), season, FORECAST),
    "data.predict": (("heat", "load,heat"), shape("head.weight", 0, 2, 4), FORECAST),
    "data.test_part": ((0, 0.25), recorded("summary", "samples", 51, 36), FORECAST),
    "data.stride": ((1, 2), recorded("summary", "samples", 51, 26), FORECAST),
    "data.standardise": (("on", "off"), standardise),
    "data.normalise_windows": (("off", "on"), normalise_windows, FORECAST),
    "data.mean": (("0.5", "0.25"), losses, {"data.deviation": "1"}),
    "data.deviation": (("1", "2"), losses, {"data.mean": "0.5"}),
    "data.image_size": ((0, 12), shape("positions", 0, 4, 9), VISION),
    "data.image_crop": ((1, 0.5), image_crop, {**VISION, "data.image_size": 8}),
    "augment.crop": ((1, 0.3), losses, VISION),
    "augment.flip": ((0, 1), losses, VISION),
    "augment.jitter": ((0, 0.5), losses, VISION),
    "augment.operations": ((0, 2), losses, VISION),
    "augment.magnitude": ((9, 2), losses, {**VISION, "augment.operations": 2}),
    "augment.magnitude_deviation": ((0.5, 2), losses, {**VISION, "augment.operations": 2}),
    "augment.erase": ((0, 1), losses, VISION),
    "augment.mixup": ((0, 0.8), losses, VISION),
    "augment.cutmix": ((0, 1), losses, VISION),
    "augment.repeats": ((1, 2), losses, VISION),
    "training.epochs": ((2, 3), epochs),
    "training.batch": ((8, 4), recorded("state", "step", 4, 8)),
    "training.accumulate": ((1, 2), accumulate),
    "training.seed": ((1, 2), seed),
    "training.optimiser": (("sgd", "adam", "adamw", "radam"), losses, {"training.weight_decay": 0.1}),
    "training.learning_rate": ((0.01, 0.02), learning_rate),
    "training.weight_decay": ((0, 0.5), losses),
    "training.beta1": ((0.9, 0.5), losses),
    "training.beta2": ((0.999, 0.5), losses),
    "training.epsilon": ((1e-8, 0.01), losses),
    "training.momentum": ((0, 0.5), losses, SGD),
    "training.gradient_clip": ((0, 0.01), losses, SGD),
    "training.label_smoothing": ((0, 0.2), losses),
    "training.class_weights": (("none", "1,3"), class_weights),
    "training.patience": ((0, 2), patience, {"data.validation": 0.25}),
    "training.from": (("", os.path.join(ROOT, "begun")), from_weights),
    "training.schedule": (("constant", "cosine", "one-cycle", "step"), schedule,
                          {"training.epochs": 4, "training.final_rate": 0.25, "training.step_epochs": 2}),
    "training.warmup": ((0, 2), warmup),
    "training.final_rate": ((0, 0.5), rates([1, 0.75, 0.25, 0], [1, 0.875, 0.625, 0.5]), COSINE),
    "training.step_factor": ((0.1, 0.5), rates([1, 1, 0.1, 0.1], [1, 1, 0.5, 0.5]), STEPS),
    "training.step_epochs": ((2, 1), rates([1, 1, 0.1, 0.1], [1, 0.1, 0.01, 0.001]), STEPS),
    "training.precision": (("fp32", "bf16", "fp16"), precision),
    "training.recompute": (("off", "on"), recompute),
    "training.checkpoint_every": (("off", "2", "1s"), checkpoint_every),
    "training.tensorboard": (("off", "on"), tensorboard),
    "training.keep": ((0, 2), keep),
    "device.select": (("cpu", "no such device"), select),
    "device.family": (("wide", "tiled"), family),
}


def main():
    known = configuration()
    for key in known.keys() - TABLE.keys():
        expect(key, False, "an option without an entry in this test")
    for key in TABLE.keys() - known.keys():
        expect(key, False, "an entry without an option")
    for key, (values, look, *base) in TABLE.items():
        if key != "preset":
            usual = [word for name, value in (base[0] if base else {}).items() if name != key for word in ("--set", f"{name}={value}")]
            one, other = (configuration(*usual, "--set", f"{key}={value}") for value in values[:2])
            changed = {name for name in known if one[name] != other[name]}
            expect(key, changed == {key}, f"--set {key} changes {changed or 'nothing'}")
        look(key, values, base[0] if base else {})
        print(f"checked {key}", flush=True)
    finish()


main()
