#!/usr/bin/env python3
"""How runs end and go on: signals in every phase, the time limit, checkpoints within an epoch and of epochs, one command that
is given again and again, what a folder lacks, and kill -9.
Usage: test_endings.py EXPANSE [--kills N] [CHECK ...]"""
import array
import csv
import fcntl
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

from commands import EXPANSE, ROOT, SMALL, expanse, expect, finish, must, own_programs, rejected, series, share_programs, snapshot, write

share_programs()

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGPIPE)
ENDLESS = ["--epochs", "100000"]
WORDS = ["train", *SMALL]
DATA = []
pipes = tempfile.TemporaryDirectory()  # not in ROOT, whose files are read


def path(name):
    return os.path.join(ROOT, name)


def start(*words, **options):
    return subprocess.Popen([EXPANSE, *words], text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def read_until(process, mark):
    """Lines up to the one that begins with the mark."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(mark):
            return lines
    sys.exit(f"the command ended before '{mark}': {lines} {process.stderr.read()}")


def ended(name, process, code, told=""):
    """The command ends with the code, and says one sentence at most."""
    error = process.communicate(timeout=60)[1]
    expect(name, process.returncode == code, f"ends with {process.returncode}: {error}")
    expect(name, len(error.splitlines()) <= 1 and told in error, error)
    return error


def state(run):
    with open(f"{path(run)}/last/state.json") as file:
        return json.load(file)


def wait_for_step(run, least):
    """Until a run that goes has saved so many steps; its folder is replaced now and then."""
    while True:
        try:
            if state(run)["step"] >= least:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.01)


def compare(name, run, whole, kept=()):
    """The run is the one that was never cut, bit for bit, and nothing is left over."""
    for checkpoint in ("last", "best", *kept):
        for file in ("model.safetensors", "training.safetensors", "config.yaml"):
            one, other = (open(f"{path(folder)}/{checkpoint}/{file}", "rb").read() for folder in (run, whole))
            expect(name, one == other, f"{checkpoint}/{file} differs from that of a run that was never cut")
    rows = [[list(row.values())[:8] for row in csv.DictReader(open(f"{path(folder)}/metrics.csv"))] for folder in (run, whole)]
    expect(name, rows[0] == rows[1], f"the rows are {rows[0]}, not {rows[1]}")
    expect(name, sorted(os.listdir(path(run))) == sorted(os.listdir(path(whole))), os.listdir(path(run)))
    pictures = [open(f"{path(folder)}/confusion.svg").read() for folder in (run, whole)]
    expect(name, pictures[0] == pictures[1], "another confusion.svg")


# ---- signals --------------------------------------------------------------------------------------------------------


def check_reading():
    """Nothing is read or made yet that would have to be saved: a signal ends every command that waits for its data at once."""
    run, fifo = path("answers"), os.path.join(pipes.name, "reading")
    must(*WORDS, *DATA, "--epochs", "1", "--out", run, "--quiet")
    os.mkfifo(fifo)
    commands = {"train": [*WORDS, "--train", fifo, "--out", path("unread")], "eval": ["eval", run, "--data", fifo],
                "predict": ["predict", run, "--data", fifo], "analyze": ["analyze", run, "--data", fifo]}
    before = snapshot([ROOT])
    for command, words in commands.items():
        for number in SIGNALS if command == "train" else SIGNALS[:2]:
            process = start(*words)
            with open(fifo, "w"):  # until the command has opened it, too
                process.send_signal(number)
                ended(f"{command}, reading, {number.name}", process, 128 + number)
    expect("a signal while data are read", snapshot([ROOT]) == before, "files were made")


def check_preparing():
    """A single kernel may take half a minute to build; a signal does not wait for it, and the folder can be gone on with."""
    for number in SIGNALS:
        environment = {**os.environ, "EXPANSE_CACHE_DIR": "", "POCL_CACHE_DIR": path(f"cold-pocl-{number}")}
        os.makedirs(environment["POCL_CACHE_DIR"])
        process = start(*WORDS, *DATA, "--epochs", "1", "--out", path("prepared"), env=environment)
        read_until(process, "preparing kernels")
        process.send_signal(number)
        told = "" if number == signal.SIGPIPE else f"stopped before the first step; continue with: expanse train --resume {path('prepared')}\n"
        ended(f"preparing kernels, {number.name}", process, 128 + number, told)
        expect("preparing kernels", sorted(os.listdir(path("prepared"))) == ["config.yaml", "metrics.csv"], os.listdir(path("prepared")))
        if number != SIGNALS[-1]:
            shutil.rmtree(path("prepared"))
    must("train", "--resume", path("prepared"), "--quiet")


def check_training():
    """Every signal finishes the step and saves; one that comes twice at once, as from timeout(1), is one."""
    for number in SIGNALS:
        run = path(f"training-{number}")
        process = start(*WORDS, *DATA, *ENDLESS, "--out", run)
        read_until(process, "epoch   2/")
        for _ in range(2):
            process.send_signal(number)
        ended(f"training, {number.name}", process, 128 + number, f"continue with: expanse train --resume {run}\n")
        expect(f"training, {number.name}", state(run)["step"] >= 2, str(state(run)))


def check_evaluating():
    """The epoch is not closed before its evaluation: its last step is saved."""
    large = write("large.ts", series(20000))
    for number in (signal.SIGINT, signal.SIGHUP):
        run = path(f"evaluating-{number}")
        end, inside = pty.openpty()
        process = start(*WORDS, *DATA[:2], "--test", large, "--batch", "1", "--epochs", "10", "--out", run, stdout=inside, env={**os.environ, "TERM": "xterm"})
        os.close(inside)
        text = ""
        while not re.search(r"epoch 1/10  test  ", re.sub(r"\033\[[\d;]*m", "", text)):
            text += os.read(end, 65536).decode()
        process.send_signal(number)
        ended(f"evaluating, {number.name}", process, 128 + number, "stopped after step 24;")
        os.close(end)
        found = state(run)
        expect("evaluating", found["position"] == 24 and found["epoch"] == 0, str(found))


def check_closed_output():
    """A pipe that nobody reads ends a run like a signal; an output that takes nothing more does not."""
    words = [*WORDS, *DATA, "--out"]
    process = start(*words, path("head"), *ENDLESS)
    read_until(process, "epoch   2/")
    process.stdout.close()
    process.wait()
    error = process.stderr.read()
    expect("a closed pipe", process.returncode == 128 + signal.SIGPIPE and "--resume" in error, f"{process.returncode} {error}")
    expect("a closed pipe", state("head")["step"] >= 2, str(state("head")))
    out, inside = os.pipe()
    os.close(out)
    result = subprocess.run([EXPANSE, *words, path("no-reader")], stdout=inside, stderr=subprocess.PIPE)
    os.close(inside)
    expect("a closed pipe at the start", result.returncode == 128 + signal.SIGPIPE and not os.path.exists(path("no-reader/last")), str(result))
    must(*words, path("heard"), "--epochs", "2", "--quiet")
    with open("/dev/full", "w") as full:
        outputs = {"full": {"stdout": full}, "closed": {"preexec_fn": lambda: os.close(1)}}
        for name, options in outputs.items():
            result = subprocess.run([EXPANSE, *words, path(name), "--epochs", "2"], stderr=subprocess.PIPE, text=True, **options)
            expect(f"a {name} output", result.returncode == 1 and "could not be written" in result.stderr, str(result))
            compare(f"a {name} output", name, "heard")


def check_ignored():
    """What is ignored when the command begins stays so: nohup works."""
    process = start(*WORDS, *DATA, *ENDLESS, "--out", path("nohup"), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    read_until(process, "epoch   1/")
    process.send_signal(signal.SIGHUP)
    for _ in range(3):
        read_until(process, "epoch")
    process.send_signal(signal.SIGTERM)
    ended("an ignored signal", process, 128 + signal.SIGTERM, "--resume")


def check_second():
    """A second signal does not wait for what is left to do: this run cannot go on before somebody reads what it says."""
    process = start(*WORDS, *DATA, *ENDLESS, "--out", path("second"))
    fcntl.fcntl(process.stdout, 1031, 4096)  # F_SETPIPE_SZ
    waiting, before = array.array("i", [0]), -1
    while waiting[0] < 3000 or waiting[0] != before:
        before = waiting[0]
        time.sleep(0.5)
        fcntl.ioctl(process.stdout, termios.FIONREAD, waiting)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.4)  # two at once are one
    expect("a signal", process.poll() is None, "does not wait for the step to be finished")
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    expect("a second signal", process.returncode == 128 + signal.SIGINT, f"ends with {process.returncode}")
    process.communicate()


@own_programs
def check_size_limit():
    """A file that may not grow is a write that fails, and no death."""
    words = [*WORDS, *DATA, "--epochs", "1", "--out", path("limited"), "--quiet"]
    must(*words[:-2], path("unlimited"), "--quiet")
    largest = os.path.getsize(path("unlimited/config.yaml")) + 500  # the weights are larger
    result = expanse(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)))
    expect("a limit of files", result.returncode == 1 and "File too large" in result.stderr, f"{result.returncode} {result.stderr}")
    must("train", "--resume", path("limited"), "--quiet")
    compare("a limit of files", "limited", "unlimited")


def children(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return [int(word) for word in file.read().split()]


def check_tuning():
    """The search ends its trial, which runs in a process of its own, and removes what it has made."""
    model = ["--width", "16", "--heads", "2", "--layers", "1", "--ffn", "16", "--length", "9", "--batch", "2"]
    environment = {**os.environ, "EXPANSE_CACHE_DIR": path("tuned")}
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start("tune", *model, env=environment)
        while not children(process) or b"--trial" not in open(f"/proc/{children(process)[0]}/cmdline", "rb").read():
            time.sleep(0.01)
        child = children(process)[0]
        folder = os.path.dirname(open(f"/proc/{child}/cmdline").read().split("\0")[3])
        process.send_signal(number)
        ended(f"tuning, {number.name}", process, 128 + number, "stopped")
        expect("tuning", not os.path.exists(folder), f"{folder} is left")
        expect("tuning", not os.path.exists(f"/proc/{child}"), "the trial goes on")


def check_bench():
    for number in (signal.SIGINT, signal.SIGHUP):
        process = start("bench", "gemm", "2048x2048x2048", "--repetitions", "1000")
        time.sleep(0.1)  # wherever it is
        process.send_signal(number)
        ended(f"bench, {number.name}", process, 128 + number)


def check_study():
    """A study hands a signal on and goes on where it was; a run that fails does not end it."""
    small = ", ".join(word.replace("=", ": ") for word in SMALL if "=" in word)
    for name, epochs, train in (("longer", 100000, DATA[1]), ("short", 2, DATA[1]), ("missing", 2, path("none.ts")), ("idle", 0, DATA[1])):
        write(f"{name}.yaml", f"attentions: [softmax, softmax+bn]\nseeds: 2\ndata:\n  - {{name: waves, train: {train}, test: {DATA[3]}}}\n"
              f"settings:\n  - name: small\n    preset: uea-mvts\n    options: {{{small}, epochs: {epochs}}}\n")
    words = ["study", path("longer.yaml"), "--out", path("studied")]
    for number in (signal.SIGINT, signal.SIGTERM):
        before = state("studied/waves/small/softmax-seed1")["step"] if os.path.exists(path("studied/waves/small/softmax-seed1/last")) else 0
        process = start(*words)
        wait_for_step("studied/waves/small/softmax-seed1", before + 1)
        process.send_signal(number)
        out, error = process.communicate()
        expect("a study", process.returncode == 128 + number, f"{process.returncode} {out}{error}")
        expect("a study that was stopped", "0 of 4 runs are finished" in open(path("studied/report.html")).read(), "the report does not tell so")
        os.remove(path("studied/report.html"))
    rejected("another study", ["study", path("short.yaml"), "--out", path("studied")], ["training.epochs is 100000, not 2"], 2)
    shutil.rmtree(path("studied"))
    words = ["study", path("short.yaml"), "--out", path("studied"), "-o", "json"]
    first = json.loads(must(*words, "--quiet").stdout)
    summaries = [json.load(open(path(f"studied/waves/small/{run}/summary.json")))["accuracy_final"]
                 for run in ("softmax-seed1", "softmax-seed2", "softmax-bn-seed1", "softmax-bn-seed2")]
    for group, values in zip(first["groups"], (summaries[:2], summaries[2:])):
        deviation = abs(values[0] - values[1]) / 2 ** 0.5
        expect("a mean", abs(group["final"] - sum(values) / 2) < 1e-9 and abs(group["final_deviation"] - deviation) < 1e-9, f"{group} {values}")
    differences = sorted(one - other for one, other in zip(summaries[2:], summaries[:2]))
    group = first["groups"][1]
    expect("a difference", abs(group["difference"] - sum(differences) / 2) < 1e-9, f"{group} {differences}")
    ends = (group["difference_low"] - differences[0], group["difference_high"] - differences[1])  # of two pairs, both
    expect("an interval", max(map(abs, ends)) < 1e-9, f"{group} {differences}")
    page = open(path("studied/report.html")).read()
    for part in ("4 of 4 runs are finished", "<code>softmax+<wbr>bn</code>", "waves, small", "accuracy, mean over the seeds"):
        expect("a report", part in page, f"no '{part}'")
    expect("a report", page.count("<svg") == page.count("</svg>") == 5, f"{page.count('<svg')} pictures")  # curves, 2 results, 2 maps
    expect("a report", not re.search(r"(src|href|@import|url\()", page), "it needs other files")
    expect("a report", "DATA · uea-mvts · softmax".replace("DATA", os.path.basename(DATA[1])) in page, "pictures do not name their data")
    shown = must(*words[:-2], "--report", "--quiet").stdout
    expect("the table of a study", re.search(r"attention +accuracy, best epoch +last epoch +difference \(95 %\)\n", shown) and
           len(re.findall(r"waves +\S+ +\S+ ± \S+ %  +\S+ ± \S+ %", shown)) == 2, shown)
    before = snapshot([path("studied")])
    again = must(*words, "--report")
    expect("a study that is done", json.loads(again.stdout) == first, again.stdout)
    expect("a study that is done", "4 runs, 4 done" in must(*words).stderr, "it trains again")
    expect("a study that is done", snapshot([path("studied")]) == before, "runs were changed")
    look_at_curves(path("studied/waves/small/softmax-seed1/metrics.csv"), [*words, "--report"])
    failed = expanse("study", path("idle.yaml"), "--out", path("idle"), timeout=100)
    expect("a study that fails", failed.returncode == 1 and len(re.findall("waves softmax.* failed: ", failed.stderr)) == 4 and
           "trying       waves softmax seed 1\n" in failed.stdout and "4 runs, 0 done, 1 failed" in failed.stdout and
           "no run is finished" in failed.stdout and "best epoch" not in failed.stdout, f"{failed.stdout}{failed.stderr}")
    rejected("a study without its data", ["study", path("missing.yaml"), "--out", path("missing")],
             [f"missing.yaml:4:26: {path('none.ts')} does not exist; paths are relative to"], 2)
    expect("a study without its data", not os.path.exists(path("missing")), "it made a folder")
    write("heights.ts", re.sub(r":[ab]\n", ":0.5\n", series().replace("@classLabel true a b", "@targetLabel true")))
    write("heights.yaml", f"attentions: [{{either: [softmax, softmax+bn]}}]\nvalidation: 0.25\nseeds: 1\ndata:\n  - {{name: heights, train: {path('heights.ts')}, test: {path('heights.ts')}}}\n"
          f"settings:\n  - name: small\n    preset: uea-mvts\n    options: {{{small}, epochs: 1}}\n")
    ignored = expanse("study", path("heights.yaml"), "--out", path("heights"), timeout=100, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    expect("a study whose caller ignores the ends of processes", ignored.returncode == 0, f"{ignored.stdout}{ignored.stderr}")
    expect("a study of numbers", "results: <code>either: softmax" in open(path("heights/report.html")).read(), "no predictions")
    look_at_candidates(ignored.stdout)


def look_at_candidates(shown):
    """An attention is the candidate with the least error on data that it was not trained with; all errors are shown."""
    folder = path("heights/heights/small")
    tried = {name: json.load(open(f"{folder}/either-candidates/{slug}-seed1/summary.json")) for name, slug in (("softmax", "softmax"), ("softmax+bn", "softmax-bn"))}
    words = ["study", path("heights.yaml"), "--out", path("heights")]
    chosen = min(tried, key=lambda name: tried[name]["validation_mse_best"])
    of_run = json.load(open(f"{folder}/either-seed1/summary.json"))
    expect("a choice", of_run["attention"] == chosen and of_run["validation_samples"] == 0 < of_run["test_samples"], f"{tried} {of_run}")
    for name, summary in tried.items():
        expect("a candidate", summary["test_samples"] == 0 < summary["validation_samples"] and summary["attention"] == name, f"{summary}")
        expect("a candidate's line", re.search(rf"heights +either: {re.escape(name)} +mse +\S+{' +chosen' if name == chosen else ' *'}\n", shown), shown)
        expect("a candidate in the report", f"<code>either: {name.replace('+', '+<wbr>')}</code>" in open(path("heights/report.html")).read(), name)
    before = snapshot([folder])
    again = must(*words, "-o", "json")
    listed = json.loads(again.stdout)["candidates"]
    expect("candidates", [(each["specification"], each["validation"], each["chosen"]) for each in listed] ==
           [(name, summary["validation_mse_best"], name == chosen) for name, summary in tried.items()], again.stdout)
    expect("a study with candidates that is done", "1 run and 2 runs of candidates, 3 done" in again.stderr and snapshot([folder]) == before, again.stderr)


def look_at_curves(rows, words):
    """A curve has the mean of an epoch where all runs have a number; rows that are damaged are a fault."""
    def curves():
        return re.findall(r'<path fill="none"[^>]* d="(M[^"]*)"', open(path("studied/report.html")).read())

    whole = open(rows).read()
    before = curves()[0]
    lines = list(csv.reader(whole.splitlines()))
    lines[1][lines[0].index("test_accuracy")] = ""
    for text, code in (("\n".join(map(",".join, lines)) + "\n", 0), (whole[:-9], 1)):
        write(rows, text)
        result = expanse(*words)
        expect("a study of damaged rows", result.returncode == code and ("metrics.csv:3: column" in result.stderr) == code, f"{result.returncode} {result.stderr}")
        expect("a curve", before.count("L") == 1 and curves()[0] == "M" + before.split("L")[1], f"{before} became {curves()[0]}")
    write(rows, whole)


# ---- time and checkpoints -------------------------------------------------------------------------------------------


def check_max_time():
    """When the time is up, a run is saved and leaves with 3, wherever it is; one that was done before leaves with 0."""
    words, step = [*WORDS, *DATA, *ENDLESS, "--out", path("timed")], 0
    for seconds in (1, 2, 4, 8, 16, 32, 64):  # a busy machine may need more to come to a second step
        result = expanse(*words, "--max-time", f"{seconds}s", "--quiet")
        words = ["train", "--resume", path("timed")]
        expect("a time limit", result.returncode == 3 and "continue with: expanse train --resume" in result.stderr, f"{result.returncode} {result.stderr}")
        before, step = step, state("timed")["step"] if os.path.exists(path("timed/last")) else 0
        if before:
            break
    expect("a time limit", step > before > 0, f"stopped after step {before} and {step}")
    must(*WORDS, *DATA, "--epochs", "1", "--out", path("in-time"), "--max-time", "1h", "--quiet")
    slow = os.path.join(pipes.name, "slow")
    os.mkfifo(slow)
    process = start(*WORDS, "--train", slow, "--out", path("unread"), "--max-time", "1s")
    with open(slow, "w"):
        ended("a time limit while data are read", process, 3, "stopped before the first step\n")
    for value in ("5", "0s", "2 h", "-1m", "1w", ""):
        rejected("a time that is none", [*WORDS, *DATA, "--max-time", value], ["--max-time", "such as 90s"], 2)


def check_auto():
    """One command, given again and again: it begins, goes on, and is done."""
    run = path("auto")
    words = [*WORDS, *DATA, "--batch", "4", "--out", run, "--resume", "auto"]
    environment = {**os.environ, "EXPANSE_CACHE_DIR": "", "POCL_CACHE_DIR": path("cold-auto-pocl")}
    os.makedirs(environment["POCL_CACHE_DIR"])
    os.makedirs(run)
    write("auto/config.yaml.1.partial", "mod")  # of one that was killed before it had a configuration
    process = start(*words, *ENDLESS, env=environment)
    read_until(process, "preparing kernels")
    process.kill()
    process.communicate()
    process = start(*words, *ENDLESS)
    read_until(process, "epoch   2/")
    process.terminate()
    ended("--resume auto", process, 128 + signal.SIGTERM, "--resume")
    process = start(*words, *ENDLESS)
    lines = read_until(process, "epoch")
    process.kill()
    process.communicate()
    expect("--resume auto", not any(line.startswith("epoch   1/") for line in lines), "begins again")
    rejected("--resume auto of another run", [*words, "--epochs", "3"], ["training.epochs is 100000, not 3", "--out"], 2)
    rejected("--resume auto of other data", [*words[:-6], "--limit", "20", *words[-6:], *ENDLESS], ["data.train_limit is 0, not 20"], 2)
    os.makedirs(path("other"))
    write("other/file", "")
    rejected("--resume auto of something else", [*words, "--out", path("other")], ["other/config.yaml"], 1)
    done = [*WORDS, *DATA, "--epochs", "2", "--out", path("done"), "--resume", "auto"]
    must(*done, "--quiet")
    expect("--resume auto of a finished run", "epoch 2 of 2 is done" in must(*done).stdout, "does not say so")
    must(*done, "--keep", "1", "--checkpoint-every", "5m")  # which checkpoints there are makes no other run
    named = subprocess.run([EXPANSE, *WORDS, "--train", "train.ts", "--epochs", "1", "--resume", "auto"], cwd=ROOT, capture_output=True, text=True)
    again = subprocess.run([EXPANSE, *WORDS, "--train", "./train.ts", "--epochs", "1", "--resume", "auto"], cwd=ROOT, capture_output=True, text=True)
    expect("a folder that the flags name", named.returncode == again.returncode == 0 and "is done" in again.stdout, str(again))
    expect("a folder that the flags name", os.listdir(path("runs")) == ["uea-mvts-softmax-seed1"], os.listdir(path("runs")))


def check_taken():
    taken = path("taken")
    must(*WORDS, *DATA, "--epochs", "0", "--out", taken, "--quiet")
    rejected("a folder that is taken", [*WORDS, *DATA, "--out", taken], ["not empty", f"--resume {taken}", "--out"], 2)
    rejected("a file in place of a folder", [*WORDS, *DATA, "--out", write("plain", "")], ["not a folder"], 2)
    must(*WORDS, *DATA, "--out", taken, "--dry-run")


def check_kept():
    """The last checkpoints of epochs are those of runs that ended there; a resume may ask for other ones."""
    words = [*WORDS, *DATA, "--quiet"]
    must(*words, "--epochs", "5", "--keep", "2", "--checkpoint-every", "1", "--out", path("kept"))
    must(*words, "--epochs", "4", "--out", path("four"))
    kept = sorted(name for name in os.listdir(path("kept")) if name.startswith("epoch"))
    expect("kept epochs", kept == ["epoch-0004", "epoch-0005"], str(kept))
    for file in ("model.safetensors", "training.safetensors"):
        same = open(path(f"kept/epoch-0004/{file}"), "rb").read() == open(path(f"four/last/{file}"), "rb").read()
        expect("kept epochs", same, f"{file} of epoch 4 is another")
    expect("kept epochs", "epoch 4" in must("eval", path("kept/epoch-0004"), "--data", DATA[3]).stdout, "cannot be evaluated")
    must("train", "--resume", path("kept"), "--epochs", "8", "--keep", "1", "--quiet")
    kept = [name for name in os.listdir(path("kept")) if name.startswith("epoch")]
    expect("kept epochs", kept == ["epoch-0008"] and "keep: 1" in open(path("kept/config.yaml")).read(), str(kept))


# ---- what a folder lacks --------------------------------------------------------------------------------------------


def check_completion():
    """A resume makes the files that a finished run lacks, and removes what a killed process left; it changes no other byte."""
    run = path("complete")
    must(*WORDS, *DATA, "--epochs", "2", "--out", run, "--quiet")
    before = snapshot([run])
    for name in ("confusion.svg", "curves.svg", "summary.json"):
        os.remove(f"{run}/{name}")
        for folder in ("last.partial", "best.partial.1", "last.previous", "epoch-0001.partial"):
            os.makedirs(f"{run}/{folder}")
            write(f"complete/{folder}/state.json", "{}")
        write("complete/confusion.svg.77.partial", "<svg")
        result = must("train", "--resume", run)
        expect("completion", f"{name} is missing and is written now" in result.stdout, result.stdout)
        after = snapshot([run])
        expect("completion", after.keys() == before.keys(), f"{after.keys() ^ before.keys()}")
        differing = [key for key in before if before[key] != after.get(key) and not key.endswith("summary.json")]
        expect("completion", not differing and (name == "summary.json" or before == after), f"without {name}: {differing}")
        before = snapshot([run])
    for name in ("last", "best"):  # ended between two renames, where a file system cannot exchange names
        os.rename(f"{run}/{name}", f"{run}/{name}.previous")
    must("train", "--resume", run, "--quiet")
    expect("a checkpoint without its name", snapshot([run]) == before, os.listdir(run))


def check_profile():
    run = path("profiled")
    must(*WORDS, *DATA, "--epochs", "1", "--out", run, "--quiet")
    expect("a profile of nothing", "nothing to profile" in must("train", "--resume", run, "--profile").stdout, "is not told")


# ---- kill -9 --------------------------------------------------------------------------------------------------------


def check_kills(kills=12):
    """Killed at any moment and resumed, a run is the one that was never cut."""
    words = [*WORDS, *DATA, "--batch", "6", "--set", "dropout=0.1", "--epochs", "12", "--keep", "2", "--checkpoint-every", "2", "--quiet"]
    must(*words, "--out", path("whole"))
    generator, cuts = random.Random(7), 0
    while cuts < kills:
        process = start(*words, "--out", path("killed"), "--resume", "auto")
        while process.poll() is None and not os.path.exists(path("killed/last")):
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.25))
        process.kill()
        error = process.communicate()[1]
        if not expect("a killed run", process.returncode in (0, -signal.SIGKILL), error):
            return
        cuts += process.returncode != 0
        if process.returncode == 0:
            compare("a killed run", "killed", "whole", ("epoch-0011", "epoch-0012"))
            shutil.rmtree(path("killed"))
    must(*words, "--out", path("killed"), "--resume", "auto")
    compare("a killed run", "killed", "whole", ("epoch-0011", "epoch-0012"))
    print(f"killed {cuts} times: the same bits")


def main():
    arguments, options = sys.argv[2:], {}
    if arguments[:1] == ["--kills"]:
        options["kills"], arguments = int(arguments[1]), ["check_kills", *arguments[2:]]
    DATA.extend(["--train", write("train.ts", series()), "--test", write("test.ts", series(12))])
    checks = {name: value for name, value in globals().items() if name.startswith("check_")}
    for name in arguments or checks:
        begin = time.monotonic()
        checks[name](**(options if name == "check_kills" else {}))
        print(f"{name}: {time.monotonic() - begin:.1f} s", flush=True)
    finish()


main()
