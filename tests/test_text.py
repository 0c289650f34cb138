#!/usr/bin/env python3
"""A language model through the command: a run that is extended is the run that was long from the beginning, and what
expanse generate writes depends on seed and prompt as it says. Usage: test_text.py EXPANSE"""
import filecmp
import os
import pty
import re
import subprocess

from commands import EXPANSE, ROOT, SMALL, expect, finish, must, rejected, series, write

CONTEXT = 24
WORDS = write("words.txt", "".join(f"{'the king ' * (i % 3)}is {i % 7} years old,\n" for i in range(60)))
LONG, SHORT = os.path.join(ROOT, "long"), os.path.join(ROOT, "short")
FLAGS = ["--preset", "text-small", "--train", WORDS, "--context", str(CONTEXT), "--set", "width=16", "--set", "heads=2",
         "--set", "layers=1", "--set", "feed_forward=16", "--set", "schedule=constant", "--no-tune", "--quiet"]


def generate(*words):
    result = subprocess.run([EXPANSE, "generate", LONG, "--quiet", *words], capture_output=True)
    if result.returncode != 0:
        expect("generate", False, result.stderr.decode())
    return result.stdout[:-1]  # without the line end after the text


def on_terminal(*words):
    """What a terminal gets, with the line ends of a file."""
    ours, its = pty.openpty()
    process = subprocess.Popen([EXPANSE, "generate", LONG, "--quiet", *words], stdout=its)
    os.close(its)
    text = b""
    try:
        while part := os.read(ours, 4096):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    expect("a terminal", process.wait() == 0)
    return text.replace(b"\r\n", b"\n")[:-1].decode()


must("train", *FLAGS, "--epochs", "2", "--out", LONG)
must("train", *FLAGS, "--epochs", "1", "--out", SHORT)
must("train", "--resume", SHORT, "--epochs", "2", "--quiet")
expect("extended", filecmp.cmp(f"{LONG}/last/model.safetensors", f"{SHORT}/last/model.safetensors", False), "other bits")
judged = must("eval", LONG, "--data", WORDS).stdout
expect("eval", "bits_per_byte" in judged, judged)
rows = must("predict", LONG, "--data", WORDS).stdout.splitlines()
expect("predict", rows[0] == "sample,first_byte,bits_per_byte,accuracy" and rows[2].startswith(f"1,{CONTEXT},"), f"{rows[:3]}")

one = generate("--prompt", "the ", "--bytes", "100", "--seed", "4")
expect("generate", one.startswith(b"the ") and len(one) == 104, f"{one}")
expect("generate", one == generate("--prompt", "the ", "--bytes", "100", "--seed", "4"), "the same seed, another text")
expect("generate", one != generate("--prompt", "the ", "--bytes", "100", "--seed", "5"), "another seed, the same text")
expect("generate", one[:34] == generate("--prompt", "the ", "--bytes", "30", "--seed", "4"), "the beginning depends on the length")
likeliest = generate("--prompt", "the ", "--bytes", "60", "--temperature", "0")
expect("generate", likeliest == generate("--prompt", "the ", "--bytes", "60", "--top-k", "1", "--seed", "9"), "top-k 1 is not the likeliest")
# What is generated and what is read are the same to the model, also where the context is full.
for cut in (10, CONTEXT):
    rest = generate("--prompt", likeliest[:cut].decode(), "--bytes", str(64 - cut), "--temperature", "0")
    expect("generate", rest == likeliest, f"after {cut} bytes: {rest} instead of {likeliest}")

wild = ["--prompt", "a\x1b[2Jé\x9b…", "--bytes", "300", "--temperature", "1000"]
escaped = re.sub(r"[^\n\t -~\xa0-\U0010ffff]", lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()),
                 generate(*wild).decode(errors="backslashreplace"))
expect("a terminal", on_terminal(*wild) == escaped and "\\x1b[2Jé\\xc2\\x9b…" in escaped, f"{on_terminal(*wild)!r} instead of {escaped!r}")

book = write("book.txt", "Chapter 1\n" + "It was a bright cold day.\n" * 9)  # a label and a value, by its first line
told = must("train", *FLAGS, "--train", book, "--epochs", "0", "--out", os.path.join(ROOT, "book"), "--dry-run")
expect("the preset of a text", "MB of text" in told.stdout, told.stdout)

other = os.path.join(ROOT, "series")
must("train", *SMALL, "--train", write("waves.ts", series()), "--epochs", "0", "--no-tune", "--quiet", "--out", other)
rejected("a model of series", ["generate", other], ["expanse generate needs a model of text; this is a model of series"], 1)
rejected("an empty prompt", ["generate", LONG, "--prompt", ""], ["--prompt: give at least one character"], 2)
rejected("no run", ["generate"], ["give one run folder"], 2)
rejected("top-p", ["generate", LONG, "--top-p", "0"], ["--top-p"], 2)
rejected("attention", ["train", *FLAGS, "--attention", "softmax", "--out", os.path.join(ROOT, "none")],
         ["must not see later tokens: use 'softmax.causal'"], 2)
finish()
