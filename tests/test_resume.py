#!/usr/bin/env python3
"""Runs that end badly, move, or are made longer: what a folder holds afterwards, and how one goes on with it.
Usage: test_resume.py EXPANSE [CHECK ...]"""
import fcntl
import os
import sys

from commands import ROOT, SMALL, finish, must, refused, series, write

DATA = []  # words that name the data of a small run


def check_lock():
    """Another run may still be writing: nothing of the folder is read before it is ours."""
    run = os.path.join(ROOT, "locked")
    must("train", *SMALL, *DATA, "--epochs", "1", "--out", run, "--quiet")
    write("locked/last/state.json", "{")  # as if the other one were in the middle of it
    folder = os.open(run, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    refused("a run that still goes", ["train", "--resume", run], ["another run is writing here"], 1)
    os.close(folder)


def main():
    DATA.extend(["--train", write("train.ts", series()), "--test", write("test.ts", series(12))])
    checks = {name: value for name, value in globals().items() if name.startswith("check_")}
    for name in sys.argv[2:] or checks:
        checks[name]()
    finish()


main()
