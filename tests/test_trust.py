#!/usr/bin/env python3
"""Whose code runs: a run folder's score is rejected unless this user gave it, or vouches for it now; and where the command
keeps what it runs later. Usage: test_trust.py EXPANSE"""
import json
import os
import re
import shutil
import stat
import subprocess

from commands import EXPANSE, ROOT, SMALL, expanse, expect, fault, finish, must, rejected, series, snapshot, write

STATE = os.path.join(ROOT, "state")
os.environ["XDG_STATE_HOME"] = STATE
SCORE = 'softmax+score("score - 0.1f * abs(query_index - key_index)")'


def path(*names):
    return os.path.join(ROOT, *names)


def copy(name, *without):
    """Another folder with all of the run but these files."""
    shutil.rmtree(path(name), ignore_errors=True)
    shutil.copytree(path("run"), path(name))
    for file in without:
        os.remove(path(name, file))
    return path(name)


def commands(run):
    """Each command that runs a run's score. The data are missing, so that none goes further than to look for them."""
    return {"eval": ["eval", run, "--data", "missing.ts"], "predict": ["predict", run, "--data", "missing.ts"],
            "analyze": ["analyze", run, "--data", "missing.ts"], "train": ["train", "--resume", run, "--epochs", "3"]}


def asks(name, run, *reasons, which=("eval", "predict", "analyze", "train")):
    for command in which:
        words = commands(run)[command]
        rejected(f"{command}: {name}", words, [r"score\(", "which is code", "--trust-code", *reasons], 1)
        takes(f"{command}: {name}, vouched for", [*words, "--trust-code"])


def takes(name, words):
    rejected(name, words, [r"(missing|waves)\.ts"], 1)


def check_runs():
    data = write("waves.ts", series())
    must("train", *SMALL, "--no-tune", "--train", data, "--epochs", "1", "--out", path("run"), "--attention", SCORE, "--quiet")
    os.rename(data, path("moved.ts"))  # a resume must not go on
    key = path("state", "expanse", "key")
    expect("the key", stat.S_IMODE(os.stat(key).st_mode) == 0o600 and os.path.getsize(key) == 32, "is not the user's own")
    expect("the key's folder", stat.S_IMODE(os.stat(os.path.dirname(key)).st_mode) == 0o700, "is not the user's own")
    for command, words in commands(copy("moved")).items():
        takes(f"{command}: an own run", words)
    marks = ["score.mark", "best/score.mark", "last/score.mark"]
    expect("marks", all(os.path.exists(path("run", mark)) for mark in marks), "are missing")
    asks("a run without a mark", copy("bare", *marks))
    asks("a run whose last checkpoint has no mark", copy("last", marks[2]), which=["train"])
    asks("a run whose best checkpoint has no mark", copy("best", marks[1]), which=["eval", "predict", "analyze"])
    for name, old, new in (("score", "0.1f", "0.2f"), ("name", r'abs\(query_index - key_index\)\\"', r'a\\", a=1')):
        changed = copy("changed")
        for file in ("best/config.yaml", "last/config.yaml"):
            text = open(path("changed", file)).read()
            expect("the configuration", re.search(old, text), text)
            write(f"changed/{file}", re.sub(old, new, text))
        asks(f"another {name} with the old mark", changed)
    for mark in marks:
        write(f"changed/{mark}", "0" * 64 + "\n")
    asks("a mark that was made up", path("changed"))
    os.makedirs(path("other", "expanse"), 0o700)
    os.chmod(write("other/expanse/key", os.urandom(32)), 0o600)
    os.environ["XDG_STATE_HOME"] = path("other")
    asks("another user's run", path("run"))
    write("file", "")
    os.environ["XDG_STATE_HOME"] = path("file")
    asks("no key can be made", path("run"), "no key to mark your runs: .*file")
    os.environ["XDG_STATE_HOME"] = STATE
    for mode, name in ((0o620, "a key that others may write"), (0o640, "a key that others may read")):
        os.chmod(key, mode)
        asks(name, path("run"), "no key to mark your runs: .*key", which=["eval"])
    os.chmod(key, 0o600)


def check_scores():
    """What a score must not say is rejected whoever gave it."""
    evil = "softmax+score(\\\"score + 0.0f * *(volatile __global float*)(8ul)\\\")"
    run = copy("evil")
    for folder in ("best", "last"):
        text = open(path("evil", folder, "config.yaml")).read()
        write(f"evil/{folder}/config.yaml", re.sub(r"attention: .*", lambda _: f'attention: "{evil}"', text, count=1))
    rejected("an address, vouched for", ["train", "--resume", run, "--trust-code"], [r"column 31: \"\*\" is not allowed here"], 1)
    write("evil.yaml", f'model:\n  attention: "{evil}"\n')
    rejected("an address in a file", ["train", "--config", path("evil.yaml"), "--train", "missing.ts"], ["is not allowed here"], 2)
    rejected("--trust-code of a new run", ["train", "--trust-code", "--train", "missing.ts"], ["--resume"], 2)


def check_links():
    """A link in a run folder that came from elsewhere must not make a resume remove what it points to."""
    if not expect("data", os.path.exists(path("moved.ts"))):
        return
    os.rename(path("moved.ts"), path("waves.ts"))
    run = copy("linked")
    os.rename(path("linked", "last"), path("precious"))
    write("precious/letter", "kept")
    before = snapshot([path("precious")])
    os.symlink(path("precious"), path("linked", "last"))
    os.symlink(path("precious"), path("linked", "last.partial"))
    must("train", "--resume", run, "--epochs", "2", "--quiet")
    expect("a link in a run folder", snapshot([path("precious")]) == before, "what it points to has changed")
    expect("the new checkpoint", not os.path.islink(path("linked", "last")), "is not in the folder")


def as_nobody(*words, **variables):
    environment = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "POCL_CACHE_DIR", "EXPANSE_CACHE_DIR")}
    environment.update(variables)
    return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", EXPANSE, *words], capture_output=True, text=True, env=environment)


def check_homes():
    """A home that cannot be written into hides no device, and where PoCL is not allowed at all that is what is told."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return print("homes: only root can be somebody else")
    temporary = path("temporary")
    os.makedirs(temporary)
    os.chmod(temporary, 0o1777)
    os.chmod(ROOT, 0o755)
    if as_nobody("info", HOME="/").returncode != 0:
        return print("homes: nobody cannot run the command here")
    for home in ("/nonexistent", "/"):
        result = as_nobody("devices", "-o", "json", HOME=home, TMPDIR=temporary)
        expect(f"devices with HOME={home}", result.returncode == 0 and len(json.loads(result.stdout)) > 0, result.stdout + result.stderr)
    folder = os.path.join(temporary, "expanse-65534")
    expect("PoCL's folder", stat.S_IMODE(os.stat(folder).st_mode) == 0o700, "is open to others")
    result = as_nobody("devices", HOME="/", POCL_CACHE_DIR="/nonexistent/pocl")
    expect("devices without a place", result.returncode == 1 and "/nonexistent/pocl" in result.stderr and "POCL_CACHE_DIR" in result.stderr, f"{result.returncode} {result.stderr}")
    result = as_nobody("doctor", HOME="/", POCL_CACHE_DIR="/nonexistent/pocl", EXPANSE_CACHE_DIR="")
    text = " ".join(result.stdout.split())
    expect("doctor without a place", result.returncode == 1 and "/nonexistent/pocl; let POCL_CACHE_DIR name a folder that can be written into." in text, text)


def check_drivers():
    """What is wrong below is called by its name."""
    os.makedirs(path("none"))
    os.makedirs(path("broken"))
    write("broken/broken.icd", "libnothere.so.9\n")
    for vendors, reason in ((path("none"), "no OpenCL driver is registered in .*none"), (path("broken"), "broken.icd names libnothere.so.9, which cannot be loaded: .*No such file"),
                            ("libnothere.so.9", "OCL_ICD_VENDORS names libnothere.so.9, which cannot be loaded")):
        os.environ["OCL_ICD_VENDORS"] = vendors
        rejected(f"devices, {reason}", ["devices"], [reason], 1)
    text = " ".join(expanse("doctor").stdout.split())
    expect("doctor's reason", "No such file or directory." in text, text)
    del os.environ["OCL_ICD_VENDORS"]


def check_caches():
    kept = os.environ.get("EXPANSE_CACHE_DIR")
    os.makedirs(path("shared"))
    os.chmod(path("shared"), 0o777)
    for folder, reason in ((path("shared"), "chmod 700"), ("/" + "x" * 5000, "too long"), (path("file", "below"), "cannot be made")):
        os.environ["EXPANSE_CACHE_DIR"] = folder
        rejected(f"tune with a cache folder: {reason}", ["tune"], ["--output", reason], 2)
        result = expanse("train", *SMALL, "--no-tune", "--train", "missing.ts")
        lines = [line for line in result.stderr.splitlines() if "nothing can be cached" in line]
        expect(f"train with a cache folder: {reason}", len(lines) == 1 and re.search(reason, lines[0]), result.stderr)
    if kept is None:
        del os.environ["EXPANSE_CACHE_DIR"]
    else:
        os.environ["EXPANSE_CACHE_DIR"] = kept


def main():
    check_runs()
    check_scores()
    check_links()
    check_homes()
    check_drivers()
    check_caches()
    finish()


main()
