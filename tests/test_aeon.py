#!/usr/bin/env python3
"""Reads files of series as aeon reads them: those that the packages aeon and sktime bring, and those that aeon writes.

    test_aeon.py DATASET_PRINT     exit code 77: there is no aeon

Where this interpreter has no aeon, the one of tools/check --long is taken, ~/.cache/expanse-peers/aeon/bin/python. aeon
makes all letters of labels small, which Expanse does not.
"""
import importlib.util
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

if importlib.util.find_spec("aeon") is None:
    python = os.path.expanduser("~/.cache/expanse-peers/aeon/bin/python")
    if os.path.exists(python) and os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(python))):
        os.execv(python, [python, *sys.argv])
    print("skipped: there is no aeon; tools/check --long brings it, or pip install aeon")
    sys.exit(77)

import numpy  # noqa: E402
from aeon.datasets import load_from_arff_file, load_from_ts_file, load_from_tsv_file, save_to_ts_file  # noqa: E402

READERS = {".ts": load_from_ts_file, ".arff": load_from_arff_file, ".tsv": load_from_tsv_file}
RANDOM = numpy.random.default_rng(5)


def ours(program, path):
    """Labels or targets and series [dimensions, steps] of a file, or the message that rejects it."""
    done = subprocess.run([program, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return done.stderr.strip()
    head, *lines = done.stdout.splitlines()
    count, dimensions, classes = map(int, head.split())
    names, rows = lines[:classes], [line.split(" ") for line in lines[classes:]]
    assert len(rows) == count, f"{path}: {count} samples are announced, and {len(rows)} come"
    labels = [row[0] for row in rows] if is_regression(path) else [names[int(row[0])] if int(row[0]) >= 0 else "" for row in rows]
    return labels, [numpy.array(row[2:], numpy.float32).reshape(dimensions, int(row[1])) for row in rows]


def compare(program, path):
    series, labels = READERS[path.suffix](str(path))
    read = ours(program, path)
    assert not isinstance(read, str), read
    if is_regression(path):
        assert numpy.array_equal(numpy.array(read[0], numpy.float32), numpy.array(labels, numpy.float32)), f"{path}: targets differ"
    else:
        assert [label.lower() for label in read[0]] == [str(label).lower() for label in labels], f"{path}: labels differ"
    assert len(read[1]) == len(series), f"{path}: {len(read[1])} samples where aeon has {len(series)}"
    for number, (mine, theirs) in enumerate(zip(read[1], series)):
        theirs = numpy.asarray(theirs, numpy.float32)
        assert mine.shape == theirs.shape, f"{path}: sample {number} has the shape {mine.shape} where aeon has {theirs.shape}"
        assert numpy.array_equal(mine, theirs, equal_nan=True), f"{path}: the values of sample {number} differ"


def is_regression(path):
    if path.suffix != ".ts":
        return False
    with open(path, encoding="utf-8") as file:
        return any(line.lower().split() == ["@targetlabel", "true"] for line in itertools.takewhile(lambda line: line.lower().strip() != "@data", file))


def brought_files():
    for package in "aeon", "sktime":
        found = importlib.util.find_spec(package)
        for folder in found.submodule_search_locations if found else []:
            yield from (path for path in sorted(pathlib.Path(folder, "datasets", "data").glob("*/*")) if path.suffix in READERS)


def written_files(folder):
    """Every combination of what aeon's writer distinguishes."""
    labels = {"words": ["run", "walk up", "Walk", "walk  down", "up"], "numbers": [1, -2, 10], "floats": [1.0, 2.0, 10.0], "truths": [True, False],
              "letters": ["été", "夏", "naïve 😀"], "none": None}
    for kind, dimensions, equal, missing in itertools.product(labels, (1, 3), (True, False), (True, False)):
        count = 12
        series = [RANDOM.normal(size=(dimensions, 7 if equal else int(RANDOM.integers(2, 9)))) for _ in range(count)]
        series[0] = series[0].astype(numpy.float32)
        if missing:
            series[1][0, 1] = series[2][-1, 0] = numpy.nan
        name = f"{kind}-{dimensions}-{'equal' if equal else 'unequal'}{'-missing' if missing else ''}"
        chosen = labels[kind] and numpy.resize(numpy.array(labels[kind]), count)
        save_to_ts_file(series, chosen, label_type="classification" if labels[kind] else None, path=folder, problem_name=name,
                        header="About these data. " * 9 if equal else None)
        yield pathlib.Path(folder, name + ".ts")
    save_to_ts_file(RANDOM.normal(size=(4, 1, 5)), RANDOM.normal(size=4), label_type="regression", path=folder, problem_name="regression")
    yield pathlib.Path(folder, "regression.ts")


def main():
    program, failures, compared = sys.argv[1], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for path in itertools.chain(brought_files(), written_files(folder)):
            try:
                compare(program, path)
                compared += 1
            except AssertionError as fault:
                failures.append(str(fault))
    print("\n".join(failures + [f"{compared} files as aeon reads them, {len(failures)} otherwise"]))
    return 1 if failures or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
