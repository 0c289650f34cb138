#!/usr/bin/env python3
"""Classification of token sequences: tables of texts, pairs of texts, images as sequences of pixels, and the data that
`expanse make` draws. Usage: test_tokens.py EXPANSE"""
import csv
import filecmp
import io
import json
import math
import os
import struct

import numpy as np
from commands import ROOT, expanse, expect, finish, images, must, rejected, write

TINY = ["--set", "model.kind=tokens", "--set", "width=16", "--set", "heads=2", "--set", "layers=1", "--set", "feed_forward=16", "--set", "dropout=0",
        "--family", "wide", "--no-tune", "--quiet"]


def train(out, data, *words):
    must("train", *TINY, "--train", data, "--out", os.path.join(ROOT, out), *words)
    return os.path.join(ROOT, out)


# ---- ListOps --------------------------------------------------------------------------------------------------------

def value_and_depth(words):
    """Of an expression, from its definition."""
    stack, depth = [], 0
    for word in words:
        if word.startswith("["):
            stack.append([word])
            depth = max(depth, len(stack) + 1)  # a digit inside is one deeper
            continue
        if word == "]":
            name, *values = stack.pop()
            expect("listops", 2 <= len(values) <= 10, f"{len(values)} arguments")
            values = {"[MIN": min(values), "[MAX": max(values), "[MED": int(np.median(values)), "[SM": sum(values) % 10}[name]
        else:
            values = int(word)
        if not stack:
            return values, depth
        stack[-1].append(values)
    return None, depth


def check_listops():
    parts = {"train.tsv": 150, "validation.tsv": 10, "test.tsv": 20}
    made = [os.path.join(ROOT, f"listops-{i}") for i in range(3)]
    for folder, seed in zip(made, ("5", "5", "6")):
        must("make", "listops", "--out", folder, "--seed", seed, "--samples", "150,10,20")
    expect("listops", all(filecmp.cmp(f"{made[0]}/{name}", f"{made[1]}/{name}", False) for name in parts), "the same seed, other bytes")
    expect("listops", not filecmp.cmp(f"{made[0]}/train.tsv", f"{made[2]}/train.tsv", False), "another seed, the same bytes")
    seen, words = [], set()
    for name, count in parts.items():
        head, *lines = open(f"{made[0]}/{name}").read().splitlines()
        expect("listops", head == "Source\tTarget" and len(lines) == count, f"{name}: {head}, {len(lines)} lines")
        for line in lines:
            source, target = line.split("\t")
            found, depth = value_and_depth(source.split(" "))
            expect("listops", str(found) == target, f"{found}, not {target}")
            expect("listops", 500 < len(source.split(" ")) < 2000 and depth <= 10, f"length {len(source.split(' '))}, depth {depth}")
            seen.append(source)
            words |= set(source.split(" "))
    expect("listops", len(set(seen)) == len(seen) and len(words) == 15, f"{len(seen)} expressions, {len(set(seen))} different, of {words}")
    rejected("files that are there", ["make", "listops", "--out", made[0], "--samples", "1,1,1"], ["train.tsv: exists"], 1)
    rejected("samples that are none", ["make", "listops", "--out", made[0], "--samples", "1,1"], ["three whole numbers"], 2)
    told = must("train", "--preset", "lra-listops", "--train", f"{made[0]}/train.tsv", "--test", f"{made[0]}/test.tsv", "--dry-run").stdout
    expect("listops", "tokens, " in told and "classes" in told and "test         20 samples" in told, told)


# ---- Pathfinder -----------------------------------------------------------------------------------------------------

def check_pathfinder():
    made = [os.path.join(ROOT, f"pathfinder-{i}") for i in range(2)]
    for folder in made:
        must("make", "pathfinder", "--out", folder, "--seed", "3", "--samples", "40,2,3")
    names = sorted(os.listdir(made[0]))
    expect("pathfinder", names == sorted(f"{part}-{kind}-ubyte" for part in ("train", "validation", "t10k") for kind in ("images-idx3", "labels-idx1")), f"{names}")
    expect("pathfinder", all(filecmp.cmp(f"{made[0]}/{name}", f"{made[1]}/{name}", False) for name in names), "the same seed, other bytes")
    drawn = np.fromfile(f"{made[0]}/train-images-idx3-ubyte", np.uint8)[16:].reshape(40, 32, 32)
    labels = np.fromfile(f"{made[0]}/train-labels-idx1-ubyte", np.uint8)[8:]
    expect("pathfinder", set(labels) == {0, 1} and 10 < labels.sum() < 30, f"labels {labels}")
    for image in drawn:  # a dot covers two pixels by two, a dash never does
        dots = np.argwhere((image[:-1, :-1] == 255) & (image[1:, :-1] == 255) & (image[:-1, 1:] == 255) & (image[1:, 1:] == 255))
        expect("pathfinder", np.ptp(dots, 0).max() >= 3 and 100 < (image > 0).sum() < 400, f"dots at {dots.tolist()}")
    told = must("train", "--preset", "lra-pathfinder", "--train", made[0], "--test", made[0], "--dry-run").stdout
    expect("pathfinder", "test         3 samples of 1024 tokens, 2 classes" in told, told)


# ---- tables of texts ------------------------------------------------------------------------------------------------

def check_tables():
    good = "Source\tTarget\nab b\tyes\nb a a\tno\n"
    bad = {"a line with a tab too many": ("Source\tTarget\nx\ty\tz\n", ":2: the line has 3 columns, but the header has 2"),
           "a line without a class column": ("Source\tTarget\nx\n", ":2: the line has 1 column,"),
           "an empty text": ("Source\tTarget\n\tyes\n", ":2: the text of column 1 is empty"),
           "an empty line": ("Source\tTarget\n\nx\tyes\n", ":2: the line is empty"),
           "three texts": ("A\tB\tC\tTarget\n1\t2\t3\t4\n", ":1: the header has 4 columns"),
           "no line": ("Source\tTarget\n", "no line after the header")}
    for name, (text, message) in bad.items():
        rejected(name, ["train", *TINY, "--train", write("bad.tsv", text)], [message], 1)
    table = write("good.tsv", good)
    rejected("a word that is none", ["train", *TINY, "--train", table, "--set", "data.words=a b"], [":2: the word 'ab' is none"], 1)
    rejected("a word twice", ["train", *TINY, "--train", table, "--set", "data.words=a b a"], ["'a' stands there twice"], 1)
    rejected("statistics of tokens", ["train", *TINY, "--train", table, "--set", "data.mean=1", "--set", "data.deviation=1"],
             ["data.mean and data.deviation are for series and images"], 1)
    rejected("tokens for an encoder", ["train", "--train", table, "--quiet"], ["model.kind to tokens"], 1)
    for words, wanted in ((["--set", "data.words=a b ab"], "of 2 to 3 tokens, 2 classes"), ([], "of 4 to 5 tokens, 2 classes"),
                          (["--max-length", "3"], "of 3 tokens, 2 classes")):
        told = must("train", *TINY[:-1], "--train", table, "--dry-run", *words).stdout
        expect("tables", wanted in told, f"{words}: {told}")
    told = must("train", *TINY[:-1], "--train", images("pixels", 4, 6), "--dry-run").stdout
    expect("pixels", "of 36 tokens, 2 classes" in told, told)


# ---- pairs ----------------------------------------------------------------------------------------------------------

def load(path):
    """The metadata and the tensors of a checkpoint."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    about = header.pop("__metadata__")
    return about, {name: np.frombuffer(data, "<f4", math.prod(entry["shape"]), entry["data_offsets"][0]).reshape(entry["shape"]).astype(float)
                   for name, entry in header.items()}


def answer(weights, texts):
    """The probabilities for a sample, from the definition of the model."""
    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(x, name):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weights[name + ".weight"] + weights[name + ".bias"]

    def softmax(x):
        x = np.exp(x - x.max(-1, keepdims=True))
        return x / x.sum(-1, keepdims=True)

    def encode(text):
        x = weights["embedding.weight"][list(text.encode())] + weights["positions"][:len(text)]
        q, k, v = linear(norm(x, "encoder.0.norm1"), "encoder.0.attention.qkv").reshape(len(text), 3, 2, 8).transpose(1, 2, 0, 3)
        o = softmax(q @ k.swapaxes(1, 2) / math.sqrt(8)) @ v
        x = x + linear(o.swapaxes(0, 1).reshape(len(text), 16), "encoder.0.attention.output")
        hidden = linear(norm(x, "encoder.0.norm2"), "encoder.0.feed_forward.linear1")
        hidden = hidden / 2 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        return norm(x + linear(hidden, "encoder.0.feed_forward.linear2"), "final_norm").mean(0)

    vectors = [encode(text) for text in texts]
    x = vectors[0] if len(vectors) == 1 else np.concatenate([*vectors, vectors[0] * vectors[1], vectors[0] - vectors[1]])
    return softmax(linear(np.maximum(linear(x, "head_hidden"), 0), "head"))


def check_answers(name, run, table):
    """What predict writes is what the definition gives, padding or not."""
    about, weights = load(f"{run}/best/model.safetensors")
    rows = list(csv.DictReader(io.StringIO(must("predict", run, "--data", table, "--quiet").stdout)))
    lines = open(table).read().splitlines()[1:]
    worst = 0
    for row, line in zip(rows, lines):
        expected = dict(zip(json.loads(about["class_names"]), answer(weights, line.split("\t")[:-1])))
        worst = max([worst, *(abs(float(row[f"probability {key}"]) - value) for key, value in expected.items())])
    print(f"{name}: {len(rows)} samples, largest difference from the definition {worst:.1e}")
    expect(name, len(rows) == len(lines) and worst < 2e-6, f"{len(rows)} of {len(lines)} samples, largest difference {worst}")


def check_pairs():
    """Whether both texts have the same letter: neither of them tells, so an encoder of one, or a sum of both, learns nothing."""
    table = "First\tSecond\tTarget\n"
    for i in range(128):
        first, second = i % 4, (i // 4 + i // 16) % 4 if i % 2 else i % 4
        table += f"{'abcd'[first] * (3 + i % 5)}\t{'abcd'[second] * (4 + i % 3)}\t{'same' if first == second else 'other'}\n"
    path = write("pairs.tsv", table)
    head = ["--set", "model.head_width=16", "--set", "model.head_activation=relu"]
    run = train("pairs", path, "--epochs", "12", "--batch", "16", "--set", "learning_rate=0.01", *head)
    accuracy = json.load(open(f"{run}/summary.json"))["training_accuracy_final"]
    majority = max(table.count("\tsame"), table.count("\tother")) / 128
    print(f"pairs: accuracy {accuracy:.3f}, majority {majority:.3f}")
    expect("pairs", accuracy > 0.95 > majority + 0.2, f"accuracy {accuracy}, majority {majority}")
    check_answers("pairs", run, path)
    single = write("single.tsv", "Source\tTarget\n" + "".join(f"{'ab'[i % 2] * (3 + i % 4)}\t{'xy'[i % 2]}\n" for i in range(16)))
    check_answers("single texts", train("single", single, "--epochs", "2", "--batch", "8", *head), single)
    rejected("the heads of a model of pairs", ["analyze", run, "--data", path], ["pairs of texts"], 1)
    rejected("one text for a model of pairs", ["eval", run, "--data", single], ["2 texts a sample", "has 1"], 1)


def main():
    check_listops()
    check_pathfinder()
    check_tables()
    check_pairs()
    finish()


main()
