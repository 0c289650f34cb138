"""What the tests of the command share: a scratch folder, small data, and ways to run the command and to look at what it did.
Owns ROOT, which goes when the test ends. The first argument of a test is the path of the command."""
import hashlib
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest.mock

scratch = tempfile.TemporaryDirectory()
ROOT = scratch.name
EXPANSE = os.path.abspath(sys.argv[1])
SMALL = ["--preset", "uea-mvts", "--set", "width=16", "--set", "heads=2", "--set", "layers=1", "--set", "feed_forward=16"]
failures = []
# What is ignored here would stay so in the command: a test that runs in the background of a script could not interrupt it.
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
# A check with this saves its compiled kernels in a folder of the test's: where no file may grow, PoCL compiles nothing.
own_programs = unittest.mock.patch.dict(os.environ, EXPANSE_CACHE_DIR=os.path.join(ROOT, "programs"))


def share_programs():
    """For tests of many short runs, which build the same programs. PoCL's cache spares them the compilation, but not
    the preprocessing of each source; Expanse's spares them both, and compiles each program twice. It does not know
    PoCL's flags, so the programs of each set of flags have their own folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.makedirs(cache, exist_ok=True)
    flags = os.environ.get("POCL_EXTRA_BUILD_FLAGS", "").replace(" ", "")
    os.environ.setdefault("EXPANSE_CACHE_DIR", os.path.join(cache, "expanse-tests" + flags))


def fault(name, text):
    failures.append(name)
    print(f"FAIL {name}: {text}")


def expect(name, true, text=""):
    if not true:
        fault(name, text)
    return true


def expanse(*words, **options):
    return subprocess.run([EXPANSE, *words], capture_output=True, text=True, **options)


def must(*words):
    result = expanse(*words)
    if result.returncode != 0:
        sys.exit(f"expanse {' '.join(words)} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def snapshot(roots):
    """Every path below some folders with a digest of its bytes."""
    found = {}
    for root in roots:
        for base, folders, files in os.walk(root):
            for name in folders:
                found[os.path.join(base, name)] = "folder"
            for name in files:
                path = os.path.join(base, name)
                found[path] = hashlib.sha256(open(path, "rb").read()).hexdigest()
    return found


def rejected(name, words, expected, code=None, watched=None, **options):
    """The command must say one sentence that holds all of `expected`, exit non-zero, and leave every file as it was."""
    watched = watched or [ROOT]
    before = snapshot(watched)
    result = expanse(*words, **options)
    lines = result.stderr.splitlines()
    if not expect(name, result.returncode in ((1, 2) if code is None else (code,)), f"exit {result.returncode}\n{result.stderr}"):
        return
    if not expect(name, len(lines) == 1 and lines[0].startswith("expanse: "), f"not one sentence:\n{result.stderr}"):
        return
    for part in expected:
        expect(name, re.search(part, lines[0]), f"'{part}' is not in: {lines[0]}")
    after = snapshot(watched)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    expect(name, not changed, f"changed: {changed}")
    print(f"{name}: {lines[0]}")


def write(path, text):
    path = os.path.join(ROOT, path)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


def series(count=24, classes="a b", length=9):
    text = "@problemName waves\n@timeStamps false\n@missing false\n@univariate true\n@equalLength false\n"
    text += f"@classLabel true {classes}\n@data\n"
    for i in range(count):
        values = [((i * 7 + t * (3 + 5 * (i % 2))) % 11) / 11 for t in range(length - i % 3)]
        text += ",".join(f"{x:.3f}" for x in values) + f":{'ab'[i % 2]}\n"
    return text


def images(folder, count=20, side=8, magic=0x803, cut=0, labels=True, classes=2):
    os.makedirs(os.path.join(ROOT, folder), exist_ok=True)
    pixels = bytes((i * 37 + j * 11) % 256 for i in range(count) for j in range(side * side))
    body = struct.pack(">IIII", magic, count, side, side) + pixels
    path = write(f"{folder}/train-images-idx3-ubyte", body[: len(body) - cut])
    if labels:
        write(f"{folder}/train-labels-idx1-ubyte", struct.pack(">II", 0x801, count) + bytes(i % classes for i in range(count)))
    return path


def finish():
    """Says what failed and ends the test."""
    print(f"{len(failures)} failures" + (": " + ", ".join(failures) if failures else ""))
    sys.exit(len(failures) > 0)
