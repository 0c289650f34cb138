#!/usr/bin/env python3
"""What an installed library is good for: it is installed into an empty folder, the examples are compiled with what
pkg-config says and nothing else, and run. Usage: test_examples.py SOURCE BUILD COMPILER..."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

source, build, compiler = sys.argv[1], sys.argv[2], sys.argv[3:]


def run(*words, **options):
    result = subprocess.run(words, capture_output=True, text=True, timeout=600, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(words)} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


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
    for example in ("attention", "train"):
        print(run(f"./{example}", cwd=folder, env=environment), end="")
    lines = len(open(f"{source}/examples/attention.c").read().splitlines())
    if lines > 62:
        sys.exit(f"examples/attention.c has grown to {lines} lines")
