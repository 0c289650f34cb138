#!/usr/bin/env python3
"""Makes every allocation, OpenCL call and file operation of whole commands fail, one run for each, and judges how each ends.
Usage: sweep.py EXPANSE SHIMS [--runs N] [--seed S] [--only WORDS] [--output FILE] [--cc COMMAND] [--stub FOLDER]
SHIMS: the folder of the preloaded libraries beside this file. Without --runs, every single failure is tried; with it, about
N of them. `--only "train allocations 17+"` tries one and shows its output; fewer words try more."""
import argparse
import collections
import concurrent.futures
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from commands import EXPANSE, SMALL, series

PATIENCE = 30  # seconds; an undisturbed run takes a tenth of one
GOOD = ("same", "warned", "error", "killed")
ENDINGS = {
    "same": "exit 0; stdout, every file and every command for the device are those of an undisturbed run",
    "warned": "exit 0 with the same results, and a message about a folder that could not be removed",
    "error": "exit 1 with a message that says what failed",
    "killed": "killed, as requested",
    "wrong": "exit 0, but something differs from an undisturbed run",
    "silent": "another exit code, or no message",
    "vague": "exit 1 with a message that does not say what failed",
    "crash": "ended by a signal",
    "hang": f"still running after {PATIENCE} seconds",
    "leak": "an OpenCL object was not released",
    "misuse": "an invalid handle, a transfer out of bounds, or similar",
    "lost": "the run could not be continued afterwards, or ended with other results",
}
# What a message must say about a failure, by what fails.
REASONS = {"allocations": r"memory", "opencl": r"\bcl[A-Z]\w+|CL_[A-Z_]+|OpenCL|does not build",
           "files": r"No space left on device|Input/output error"}

# What a killed process leaves half removed may stay, until the next checkpoint.
PASSING = r"run/(last|best)\.(partial|previous)(\.\d+)?/"

Fault = collections.namedtuple("Fault", "case kind name how number on")
Outcome = collections.namedtuple("Outcome", "code stdout stderr report files")


def spell(fault):
    """How a fault is named on the command line."""
    words = [fault.case, fault.kind, fault.name, fault.how, f"{fault.number}{'+' if fault.on else ''}"]
    return " ".join(word for word in words if word)


class Case:
    """A command and the folder that it starts in."""

    def __init__(self, name, words, start=None, resume=None, gpu=False, cold=False):
        self.name, self.words, self.start, self.resume, self.gpu, self.cold = name, words, start, resume, gpu, cold
        self.commands = []  # of undisturbed runs: with an empty cache, where the device is measured, and with a full one


class Bench:
    """Folders to run in, one for each thread. Owns all that is written."""

    def __init__(self, options):
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.scratch = tempfile.TemporaryDirectory(prefix="sweep-", dir=memory)
        self.root, self.options = self.scratch.name, options
        self.thread = threading.local()
        self.data = self.path("data")
        os.makedirs(self.path("signatures"))
        os.makedirs(self.data)
        for name, count in (("train.ts", 24), ("test.ts", 12)):
            with open(os.path.join(self.data, name), "w") as file:
                file.write(series(count))
        subprocess.run(["gzip", os.path.join(self.data, "test.ts")], check=True)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def place(self):
        """The folder of this thread."""
        if not hasattr(self.thread, "place"):
            self.thread.place = tempfile.mkdtemp(prefix="place-", dir=self.root)
        return self.thread.place

    def prepare(self, case, forget=False):
        place = self.place()
        for name in os.listdir(place):
            path = os.path.join(place, name)
            if os.path.isfile(path):
                os.remove(path)
            elif name != "cache" or case.cold or forget:
                shutil.rmtree(path)
        if case.start:
            shutil.copytree(case.start, os.path.join(place, "run"))

    def run(self, case, words, extra):
        place, report = self.place(), self.place() + ".report"  # beside the folder whose files fail
        if os.path.exists(report):
            os.remove(report)
        shims = ["null_opencl", "failing_allocations", "failing_files", "still_clock"]
        environment = {
            "PATH": os.environ["PATH"], "HOME": place, "LD_LIBRARY_PATH": self.options.stub or "",
            "LD_PRELOAD": " ".join(os.path.join(self.options.shims, f"lib{shim}.so") for shim in shims),
            "EXPANSE_CACHE_DIR": os.path.join(place, "cache"), "NULL_OPENCL_REPORT": report,
            "NULL_OPENCL_SIGNATURES": self.path("signatures"), "NULL_OPENCL_CC": self.options.cc,
            "NULL_OPENCL_TYPE": "gpu" if case.gpu else "cpu", "FAILING_ALLOCATIONS_REPORT": report,
            "FAILING_FILES_REPORT": report, "FAILING_FILES_BELOW": place + "/", **extra}
        words = [word.replace("DATA", self.data) for word in words]
        try:
            done = subprocess.run([EXPANSE, *words], cwd=place, env=environment, capture_output=True, timeout=PATIENCE,
                                  stdin=subprocess.DEVNULL)
            code, stdout, stderr = done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            code, stdout, stderr = "hang", b"", ""
        lines = open(report).read().splitlines() if os.path.exists(report) else []
        return Outcome(code, stdout, stderr, lines, self.files(place))

    def files(self, place):
        """Digests of all that a command left; what it keeps in the cache is apart, since it may keep nothing."""
        found = {}
        for base, _, names in os.walk(place):
            for name in names:
                path = os.path.join(base, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, place)] = hashlib.sha256(file.read()).hexdigest()
        return found

    def keep(self, name):
        """Copies the run folder of this thread away, as a start for others."""
        shutil.copytree(os.path.join(self.place(), "run"), self.path(name))
        return self.path(name)


def results(files):
    return {path: digest for path, digest in files.items() if not path.startswith("cache/")}


def commands_of(outcome):
    return [line for line in outcome.report if line.startswith("commands ")]


def differences(outcome, base, commands):
    """What of a run that calls itself a success is not as undisturbed."""
    found = []
    if outcome.stdout != base.stdout:
        found.append("stdout")
    ours, theirs = results(outcome.files), results(base.files)
    found += sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    found += sorted(path for path, digest in outcome.files.items()
                    if path.startswith("cache/") and base.files.get(path, digest) != digest)
    if commands_of(outcome) not in commands:
        found.append("commands for the device")
    return found


def judge(fault, outcome, base, commands):
    """The ending of a run, and the text to print about it."""
    if outcome.code == "hang":
        return "hang", ""
    if outcome.code == -9 and fault.how == "KILL":
        return "killed", ""
    if outcome.code < 0:
        return "crash", f"signal {-outcome.code}"
    for word in ("misuse", "leak"):
        lines = [line for line in outcome.report if line.startswith(word + " ")]
        if lines:
            return word, "; ".join(lines) + " | " + outcome.stderr.strip()
    if outcome.code == 0:
        found = differences(outcome, base, commands)
        rest = [path for path in found if path != "stdout" and not re.match(PASSING, path)]
        text = ", ".join(found) + " | " + outcome.stderr.strip()
        if found and not rest and re.search(b"cannot be (removed|opened to remove)", outcome.stdout):
            return "warned", text
        return ("wrong", text) if found else ("same", "")
    message = [line for line in outcome.stderr.splitlines() if line.startswith("expanse: ")]
    if outcome.code != 1 or not message:
        return "silent", f"exit {outcome.code} | {outcome.stderr.strip()}"
    if not re.search(REASONS[fault.kind], outcome.stderr):
        return "vague", outcome.stderr.strip()
    return "error", ""


def environment_of(fault):
    number = f"{fault.number}{'+' if fault.on else ''}"
    if fault.kind == "allocations":
        return {"FAILING_ALLOCATION": number}
    if fault.kind == "opencl":
        return {"NULL_OPENCL_FAIL": f"{fault.name}:{number}"}
    return {"FAILING_FILES": f"{fault.name}:{number}:{fault.how}"}


def go_on(bench, case, base):
    """After a run ended badly: continues it, or starts it again if there was no checkpoint, and compares the results."""
    outcome = bench.run(case, case.resume, {})
    if outcome.code != 0 and not any(path.startswith("run/last/") for path in outcome.files):
        shutil.rmtree(os.path.join(bench.place(), "run"), ignore_errors=True)
        outcome = bench.run(case, case.words, {})
    if outcome.code != 0:
        return outcome.stderr.strip()
    ours, theirs = results(outcome.files), results(base.files)
    rest = [path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)]
    return ", ".join(sorted(path for path in rest if not re.match(PASSING, path)))


def attempt(bench, case, fault, base):
    bench.prepare(case)
    outcome = bench.run(case, case.words, environment_of(fault))
    ending, text = judge(fault, outcome, base, case.commands)
    if fault.kind == "files" and case.resume and outcome.code != 0 and ending in GOOD:
        wrong = go_on(bench, case, base)
        if wrong:
            return fault, "lost", f"{wrong} | after: {outcome.stderr.strip()}", outcome
    return fault, ending, text, outcome


def faults_of(case, base):
    """Every failure of one command: what was counted in an undisturbed run."""
    for line in base.report:
        word, *rest = line.split()
        if word == "allocations" and not case.gpu:  # the host's code is the same
            for on in (False, True):
                yield [Fault(case.name, "allocations", "", "", n + 1, on) for n in range(int(rest[0]))]
        elif word == "calls" and not rest[0].startswith("clRelease"):  # of a release that fails, nothing can come
            for on in (False, True):
                yield [Fault(case.name, "opencl", rest[0], "", n + 1, on) for n in range(int(rest[1]))]
        elif word == "files":
            for how, on in (("ENOSPC", False), ("ENOSPC", True), ("EIO", False), ("KILL", False)):
                if not (how == "ENOSPC" and rest[0] == "read"):
                    yield [Fault(case.name, "files", rest[0], how, n + 1, on) for n in range(int(rest[1]))]


def next_prime(number):
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number


def sample(groups, runs, seed):
    """About so many of all faults: one in a prime number, from a place that the seed draws. At least one of each group."""
    total = sum(len(group) for group in groups)
    stride = next_prime(max(2, total // runs))
    draw = random.Random(seed)
    return [group[draw.randrange(min(stride, len(group))) :: stride] for group in groups if group], stride


def make_cases(bench):
    train = ["train", *SMALL, "--set", "norm=layer", "--train", "DATA/train.ts", "--test", "DATA/test.ts.gz", "--batch", "16",
             "--attention", "softmax+bn(beta=learned)+sh(1,2)", "--no-tune", "--out", "run", "--epochs"]
    resume = ["train", "--resume", "run", "--epochs", "2"]
    whole = Case("train", [*train, "2"], resume=resume, cold=True)
    for name, words in (("half", [*train, "1"]), ("whole", whole.words)):
        bench.prepare(whole)
        outcome = bench.run(whole, words, {})
        if outcome.code != 0:
            sys.exit(f"an undisturbed run failed:\n{outcome.stderr}")
        bench.keep(name)
    cases = [whole, Case("resume", resume, start=bench.path("half"), resume=resume),
             Case("eval", ["eval", "run", "--data", "DATA/test.ts.gz"], start=bench.path("whole")),
             Case("predict", ["predict", "run", "--data", "DATA/test.ts.gz", "--output", "answers.csv"], start=bench.path("whole"))]
    if bench.options.stub:
        cases.append(Case("gpu", [*train, "2"], resume=resume, gpu=True, cold=True))
    return cases


def row_of(fault):
    if fault.kind == "files":
        kind = f"file operations, {fault.how if fault.how != 'KILL' else 'killed'}"
    else:
        kind = {"allocations": "allocations", "opencl": "OpenCL calls"}[fault.kind]
    return fault.case, kind + (", and all later ones" if fault.on else "")


def table(counts):
    """Markdown: a row for what fails in which command, a column for each ending."""
    shown = list(ENDINGS)
    lines = ["| command | what fails | runs | " + " | ".join(shown) + " |", "| --- | --- |" + " ---: |" * (len(shown) + 1)]
    total = collections.Counter()
    for (case, kind), row in counts.items():
        total.update(row)
        lines.append(f"| {case} | {kind} | {sum(row.values())} | " + " | ".join(str(row[ending]) for ending in shown) + " |")
    lines.append(f"| all | | {sum(total.values())} | " + " | ".join(str(total[ending]) for ending in shown) + " |")
    return "\n".join(lines)


REPORT = """# Reliability: when memory, the disk or the driver fails

<!-- Written by tests/faults/sweep.py --output docs/reliability.md -->

`tests/faults/sweep.py` runs whole commands again and again. In each run another allocation, OpenCL call or file
operation fails: alone, or together with all that follow. Every run must meet these conditions:

- Exit code 0 means that the result is that of an undisturbed run: the same bits in every file, the same text on stdout
  and the same commands for the device. The commands are compared by a digest of everything that is written to buffers
  and launched, and of the source and options of every kernel. If the cache cannot be read, they are those of a run with
  an empty cache. The only additional output allowed is a message about a folder that could not be removed.
- Anything else is exit code 1 and a message that says what failed. No run crashes, hangs or fails without a message.
- No OpenCL object leaks, is used after its release or is released twice; no transfer exceeds its buffer.
- After a failed file operation, or after the process was killed before one, the run can be continued and ends with the
  same bits: with `--resume`, or from the beginning if there was no checkpoint yet.

## Results

{what}

{table}

{endings}

Release calls (`clRelease...`) do not fail in these runs, because a program could not react. Neither do the allocations
of a driver, a compiler or the dynamic linker. Power failures are not tested: no `fsync` reaches the disk.

## How it works

Four libraries are preloaded; the comment at the head of each describes it. `null_opencl.c` is an OpenCL implementation
that checks every handle and runs nothing, so a training takes hundredths of a second. `failing_allocations.c` covers
the program, jansson, libyaml, zlib, xxHash and the C library. `failing_files.c` covers file operations. `still_clock.c`
stops the clock and hides the memory in use, so that files hold no measurements that differ. The commands are a small
training of two epochs, its resumption after the first one, `eval`, `predict`, and the training on a GPU, which takes its
matrix products from a stand-in for CLBlast.

    meson test -C build-check faults          # a sample of about 300 failures; the seed is printed
    meson test -C build-check faults_whole    # all failures, about an hour on two cores
    meson test -C build-check memory          # single functions, with every allocation of each

To repeat one failure with all its output, and to write this file again:

    tests/faults/sweep.py build-check/src/expanse build-check/tests --stub build-check/tests --only "train allocations 17+"
    tests/faults/sweep.py build-check/src/expanse build-check/tests --stub build-check/tests --output docs/reliability.md
"""


def write_report(path, what, counts):
    endings = [f"- **{ending}**: {ENDINGS[ending]}" for ending in ENDINGS]
    with open(path, "w") as file:
        file.write(REPORT.format(what=what, table=table(counts), endings="\n".join(endings)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n", 1)[1])
    parser.add_argument("expanse")
    parser.add_argument("shims")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("--only", default="")
    parser.add_argument("--output")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--stub")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.shims = os.path.abspath(options.shims)
    bench = Bench(options)
    groups, bases, cases, which = [], {}, {}, "Every failure was tried"
    for case in make_cases(bench):
        bench.prepare(case, forget=True)
        case.commands = [commands_of(bench.run(case, case.words, {}))]  # keeps its programs
        bench.prepare(case)
        cases[case.name], bases[case.name] = case, bench.run(case, case.words, {})
        case.commands.append(commands_of(bases[case.name]))
        groups += faults_of(case, bases[case.name])
    if options.only:
        wanted = options.only.split()
        groups = [[fault for fault in group if set(wanted) <= set(spell(fault).split())] for group in groups]
        groups = [group for group in groups if group]
    elif options.runs:
        groups, stride = sample(groups, options.runs, options.seed)
        which = f"One failure in {stride} was tried, seed {options.seed}"
        print(which)
    counts = collections.defaultdict(collections.Counter)
    seen = collections.Counter()
    jobs = [fault for group in groups for fault in group]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        work = lambda fault: attempt(bench, cases[fault.case], fault, bases[fault.case])
        for fault, ending, text, outcome in pool.map(work, jobs):
            counts[row_of(fault)][ending] += 1
            if len(jobs) == 1:
                print(outcome.stdout.decode("utf-8", "replace"), outcome.stderr, *outcome.report, f"exit {outcome.code}", sep="\n")
            key = (fault.case, fault.kind, ending, re.sub(r"\d+", "#", text))
            seen[key] += 1
            if ending not in GOOD and seen[key] <= 3:
                print(f"{ending}: {spell(fault)}: {text[-300:]}", flush=True)
    print(table(counts))
    bad = sum(count for row in counts.values() for ending, count in row.items() if ending not in GOOD)
    print(f"{len(jobs)} failures tried, {bad} ended badly")
    if options.output:
        write_report(options.output, f"{which}: {len(jobs)} runs, of which {bad} ended badly.", counts)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
