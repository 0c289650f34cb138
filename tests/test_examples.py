#!/usr/bin/env python3
"""What an installed library is good for: it is installed into an empty folder, the examples are compiled with what
pkg-config says and nothing else, and run. And what a file of weights is good for: examples/load.py and predict.py give
the numbers of `expanse predict`. Needs NumPy. Usage: test_examples.py SOURCE BUILD COMPILER..."""
import csv
import glob
import io
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

source, build, compiler = sys.argv[1], sys.argv[2], sys.argv[3:]


def run(*words, **options):
    result = subprocess.run(words, capture_output=True, text=True, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(words)} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def write_series(path):
    """Series of unequal lengths, with gaps inside, at both ends and over a whole dimension."""
    text = "@timeStamps false\n@dimensions 3\n@equalLength false\n@classLabel true a b c\n@data\n"
    for i in range(21):
        parts = []
        for feature in range(3):
            values = [f"{(1 + feature) * math.sin(0.3 * t * (1 + i % 3) + i + feature):.4f}" for t in range(9 + i % 6)]
            if i % 4 == 0:
                values[0] = values[-1] = "?"
                values[3] = values[4] = "NaN"
            parts.append(",".join(["?"] * len(values) if i % 7 == feature else values))
        text += ":".join(parts) + ":" + "abc"[i % 3] + "\n"
    open(path, "w").write(text)


with tempfile.TemporaryDirectory() as folder:
    run("meson", "install", "-C", build, "--no-rebuild", "--destdir", folder)
    package = glob.glob(f"{folder}/**/pkgconfig/expanse.pc", recursive=True)[0]
    library = os.path.dirname(glob.glob(f"{folder}/**/libexpanse.so", recursive=True)[0])
    installed = {os.path.basename(path) for path in glob.glob(f"{folder}/**/include/expanse/*.h", recursive=True)}
    expected = {os.path.basename(path) for path in glob.glob(f"{source}/include/expanse/*.h")}
    if installed != expected:
        sys.exit(f"installed headers are {installed}, not {expected}")
    # The folder stands in for /: the prefix of the .pc file is moved below it.
    text = open(package).read()
    open(package, "w").write(re.sub(r"^prefix=", f"prefix={folder}", text, flags=re.M))
    environment = {**os.environ, "PKG_CONFIG_PATH": os.path.dirname(package), "LD_LIBRARY_PATH": library}
    for path in glob.glob(f"{source}/examples/*"):
        shutil.copy(path, folder)
    print(run("make", "-C", folder, f"CC={' '.join(compiler)}", "CFLAGS=-std=c11 -O2 -Wall -Wextra -Werror",
              env=environment))
    for example in ("attention", "model"):
        print(run(f"./{example}", cwd=folder, env=environment), end="")
    for example, most in (("attention.c", 60), ("train.c", 45), ("load.py", 60)):
        lines = len(open(f"{source}/examples/{example}").read().splitlines())
        if lines > most:
            sys.exit(f"examples/{example} has grown to {lines} lines")

    # A preset, trained from C: the same weights as the command's.
    write_series(f"{folder}/series.ts")
    options = ["training.epochs=2", "training.batch=8", "width=16", "heads=2", "layers=1", "feed_forward=16", "attention=softmax"]
    told = run("./train", "series.ts", "run", *options, cwd=folder, env=environment)
    print(told, end="")
    if not re.fullmatch(r"epoch 1 of 2: loss [\d.]+, accuracy [\d.]+ %\nepoch 2 of 2: loss .*\nepoch [12] was the best: run/best/.*\n", told):
        sys.exit(f"examples/train.c tells something else:\n{told}")
    flags = [word for option in options for word in ("--set", option)]
    run(f"{build}/src/expanse", "train", "--preset", "uea-flowformer", "--train", "series.ts", *flags, "--no-tune", "--quiet",
        "--out", "command", cwd=folder)
    if open(f"{folder}/run/best/model.safetensors", "rb").read() != open(f"{folder}/command/best/model.safetensors", "rb").read():
        sys.exit("examples/train.c: other weights than expanse train's")
    for words, message in ((["epochs=-1"], "epochs"), (["epoch=1"], "epochs")):
        rejected = subprocess.run(["./train", "series.ts", "other", *words], capture_output=True, text=True, cwd=folder, env=environment)
        if rejected.returncode != 1 or not rejected.stderr.startswith("invalid argument: ") or message not in rejected.stderr:
            sys.exit(f"./train with {words}: {rejected}")


# ---- examples/load.py, predict.py -----------------------------------------------------------------------------------

ENCODER = "--preset uea-flowformer --set width=16 --set heads=4 --set feed_forward=24"
VISION = "--preset vit-tiny-28 --set width=16 --set heads=2 --set feed_forward=24"
# Together they take every branch of both.
MODELS = {
    "post-norm": ("series.ts", f"{ENCODER} --attention softmax --set key_heads=2 --set mask_padding=off"),
    "pre-norm": ("series.ts", f"{ENCODER} --attention softmax+bn+sh(1,2) --set pre_norm=on --set norm=batch "
                 "--set head=mean --set activation=relu --set head_activation=none --set positions=sinusoidal"),
    "targets": ("targets.ts", f"{ENCODER} --attention softmax"),
    "vision": ("train-images-idx3-ubyte",
               f"{VISION} --attention softmax+bn+sh(1,2) --set head=class --set standardise=off"),
}


def write_images(folder):
    pixels = bytes((i * 37 + j * j * (1 + i % 2)) % 256 for i in range(16) for j in range(8 * 12))
    open(f"{folder}/train-images-idx3-ubyte", "wb").write(struct.pack(">IIII", 0x803, 16, 8, 12) + pixels)
    labels = bytes(i % 2 for i in range(16))
    open(f"{folder}/train-labels-idx1-ubyte", "wb").write(struct.pack(">II", 0x801, 16) + labels)


def write_targets(path):
    """Series with numbers to predict; see write_series."""
    head, rows = open(f"{os.path.dirname(path)}/series.ts").read().split("@data\n")
    head = "".join(line + "\n" for line in head.splitlines() if not line.lower().startswith("@classlabel"))
    rows = [f"{row.rpartition(':')[0]}:{1000 + 10 * i % 70}" for i, row in enumerate(rows.splitlines())]
    open(path, "w").write(head + "@targetLabel true\n@data\n" + "\n".join(rows) + "\n")


def table(text):
    """Class and probabilities of each sample; or what is predicted, which is a number of some hundreds."""
    rows = list(csv.DictReader(io.StringIO(text)))
    numbers = [{key: float(row[key]) for key in row if "probability " in key} for row in rows]
    return [(row["predicted"], found) if found else ("", {"": float(row["predicted"]) / 1000}) for row, found in zip(rows, numbers)]


with tempfile.TemporaryDirectory() as folder:
    expanse = f"{build}/src/expanse"
    write_series(f"{folder}/series.ts")
    write_images(folder)
    write_targets(f"{folder}/targets.ts")
    for name, (data, words) in MODELS.items():
        run(expanse, "train", *words.split(), "--set", "layers=2", "--train", data, "--epochs", "2", "--batch", "8",
            "--no-tune", "--quiet", "--out", name, cwd=folder)
        theirs = table(run(expanse, "predict", name, "--data", data, "--part", "train", "--quiet", cwd=folder))
        weights = f"{name}/best/model.safetensors"
        mine = table(run(sys.executable, f"{source}/examples/predict.py", weights, data, cwd=folder))
        if not theirs or [(row[0], row[1].keys()) for row in mine] != [(row[0], row[1].keys()) for row in theirs]:
            sys.exit(f"predict.py {name}: other samples or classes than predict's:\n{mine}\n{theirs}")
        worst = max(abs(a[1][key] - b[1][key]) for a, b in zip(mine, theirs) for key in a[1])
        print(f"predict.py {name}: {len(mine)} samples, largest difference from predict {worst:.1e}")
        if not worst <= 1e-6:
            sys.exit(f"predict.py {name}: differs from predict by {worst}")

# ---- a forecast, as docs/MODEL.md has it ----------------------------------------------------------------------------

with tempfile.TemporaryDirectory() as folder:
    sys.path.insert(0, f"{source}/examples")
    import numpy
    from load import load
    values = [500 + 3 * i + 100 * math.sin(i) for i in range(120)]
    open(f"{folder}/table.csv", "w").write("time,load\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    run(expanse, "train", *"--preset forecast --set width=16 --set heads=2 --set layers=1 --set feed_forward=24 --set patch_steps=4 --set warmup=1".split(),
        "--train", "table.csv", "--context", "16", "--horizon", "3", "--epochs", "2", "--no-tune", "--quiet", "--out", "run", cwd=folder)
    rows = csv.DictReader(io.StringIO(run(expanse, "predict", "run", "--data", "table.csv", "--quiet", cwd=folder)))
    theirs = numpy.array([float(row["predicted"]) for row in rows])
    about, answer = load(f"{folder}/run/best/model.safetensors")
    mean, deviation = about["mean"][0], about["deviation"][0]
    window = (numpy.array(values[-16:]) - mean) / deviation
    level, scale = window.mean(), math.sqrt(window.var() + 1e-5)
    numbers = (answer(((window - level) / scale).reshape(-1, 4)) - mean) / deviation  # load.py undoes the standardisation, too
    mine = (numbers * scale + level) * deviation + mean
    print(f"a forecast: {theirs}, largest difference {abs(mine - theirs).max():.1e}")
    if about["normalise_windows"] != "true" or not abs(mine - theirs).max() <= 1e-6 * theirs.max():
        sys.exit(f"the forecast {theirs} is not {mine}")
