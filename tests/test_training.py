#!/usr/bin/env python3
"""Whole runs of the command on small data: the same run twice gives the same bits, and a run that is cut by SIGINT at a
random step and resumed gives the same bits as one that was never cut. Usage: test_training.py EXPANSE"""
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

EXPANSE = sys.argv[1]
FASHION = "/usr/share/datasets/fashion-mnist"
failures = 0


def write_series(path, count, seed):
    """Two-dimensional series of unequal length in three classes that differ in frequency and trend."""
    generator = random.Random(seed)
    with open(path, "w") as file:
        file.write("@problemName waves\n@timeStamps false\n@missing true\n@univariate false\n@dimensions 2\n")
        file.write("@equalLength false\n@classLabel true a b c\n@data\n")
        for i in range(count):
            label, length, phase = i % 3, generator.randint(8, 21), generator.random() * 6
            rows = [
                [math.sin(phase + d + t * (0.3 + 0.4 * label)) + (label - 1) * 0.1 * t + generator.gauss(0, 0.3) for t in range(length)]
                for d in (0, 1)
            ]
            text = ":".join(",".join("?" if generator.random() < 0.01 else f"{x:.4f}" for x in row) for row in rows)
            file.write(f"{text}:{'abc'[label]}\n")


def expanse(*words, check=True):
    result = subprocess.run([EXPANSE, *words], capture_output=True, text=True)
    if check and result.returncode != 0:
        sys.exit(f"expanse {' '.join(words)} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def same(name, a, b, files=("last/model.safetensors", "last/training.safetensors", "best/model.safetensors")):
    global failures
    for file in files:
        equal = open(os.path.join(a, file), "rb").read() == open(os.path.join(b, file), "rb").read()
        if not equal:
            failures += 1
            print(f"FAIL {name}: {file} differs between {a} and {b}")
    losses = [json.load(open(os.path.join(folder, "summary.json")))["loss_final"] for folder in (a, b)]
    if losses[0] != losses[1]:
        failures += 1
        print(f"FAIL {name}: loss_final {losses[0]} and {losses[1]}")
    print(f"checked {name}")


def cut_and_resume(words, out, generator):
    """Starts the run, interrupts it after one or two epochs, and resumes it, three times. Returns how often it was cut."""
    words = [word for word in words if word != "--quiet"]
    cuts, command = 0, [EXPANSE, "train", *words, "--out", out]
    for attempt in range(4):
        left = generator.randint(1, 2) if attempt < 3 else 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("epoch"):
                    left -= 1
                    if left == 0:
                        time.sleep(generator.uniform(0, 0.05))  # some steps of the next epoch
                        process.send_signal(signal.SIGINT)
            error = process.stderr.read()
        if process.returncode == 0:
            return cuts
        if process.returncode != 128 + signal.SIGINT or "--resume" not in error:
            sys.exit(f"an interrupted run ends with {process.returncode}, or does not say how to go on:\n{error}")
        cuts += 1
        command = [EXPANSE, "train", "--resume", out]
    sys.exit(f"the resumed run did not end: {error}")


def main():
    generator = random.Random(11)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else a command of an ignoring parent would ignore it, too
    with tempfile.TemporaryDirectory() as folder:
        train, test = os.path.join(folder, "train.ts"), os.path.join(folder, "test.ts")
        write_series(train, 500, 1)
        write_series(test, 90, 2)
        series = ["--preset", "uea-flowformer", "--train", train, "--test", test, "--quiet", "--seed", "5"]
        series += ["--set", "model.width=32", "--set", "model.heads=4", "--set", "model.feed_forward=48"]
        cases = {
            "softmax+bn(beta=learned)+sh(1,2)": series + ["--attention", "softmax+bn(beta=learned)+sh(1,2)", "--epochs", "12"],
            "accumulation": series + ["--attention", "softmax", "--accumulate", "4", "--epochs", "6"],
            "batch norm": ["--preset", "uea-mvts", *series[2:], "--attention", "softmax+bn", "--epochs", "12"],
        }
        if os.path.isdir(FASHION):
            cases["vision"] = ["--preset", "vit-tiny-28", "--train", FASHION, "--test", FASHION, "--attention"]
            cases["vision"] += ["softmax+sh(1,1,2,2)", "--limit", "500", "--test-limit", "200", "--epochs", "3", "--quiet"]
            for setting in ("crop=0.3", "flip=0.5", "erase=0.5", "mixup=0.8", "cutmix=1", "repeats=2"):
                cases["vision"] += ["--set", f"augment.{setting}"]
            cases["vision"] += ["--set", "model.drop_path=0.2"]
        for number, (name, words) in enumerate(cases.items()):
            whole, again, cut = (os.path.join(folder, f"{kind}-{number}") for kind in ("whole", "again", "cut"))
            expanse("train", *words, "--out", whole)
            expanse("train", *words, "--out", again)
            same(f"{name}, the same run twice", whole, again)
            cuts = cut_and_resume(words, cut, generator)
            same(f"{name}, cut {cuts} times and resumed", whole, cut)
        accuracy = json.load(open(os.path.join(folder, "whole-0", "summary.json")))["accuracy_best"]
        print(f"accuracy on the waves {accuracy:.3f}")
        if accuracy < 0.8:
            sys.exit("the model did not learn to tell three trends apart")
    sys.exit(failures > 0)


main()
