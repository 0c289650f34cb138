#!/usr/bin/env python3
"""The shared library exports what the public headers declare, and nothing else; every header compiles alone, as C and as
C++. Public functions take no variable arguments, which other languages cannot call, and the versions of headers, build and
soname agree. Usage: test_symbols.py LIBRARY INCLUDE VERSION COMPILER..."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

library, include, version, compiler = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
failures = 0


def fault(text):
    global failures
    failures += 1
    print(f"FAIL {text}")


headers = sorted(glob.glob(os.path.join(include, "expanse", "*.h")))
assert headers, "no headers found"
declared = set()
for header in headers:
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
    text = re.sub(r"^#.*(\\\n.*)*$", "", text, flags=re.M)
    for statement in re.findall(r"XP_API\b[^;]*;", text):
        name = re.search(r"\b(xp_\w+)\s*\(", statement).group(1)
        declared.add(name)
        if "..." in statement:
            fault(f"{header}: {name} takes variable arguments")
    bare = re.sub(r"XP_API\b[^;]*;|static inline [^{]*\{[^}]*\}", "", text)
    for name in re.findall(r"^[\w \t*]+?\b(xp_\w+)\s*\([^;{]*\)\s*;", bare, flags=re.M):
        fault(f"{header}: {name} is declared without XP_API")

listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
exported = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
for name in sorted(declared - exported):
    fault(f"{name} is declared, but not in the library")
for name in sorted(exported - declared):
    fault(f"{name} is in the library, but in no public header")

defined = dict(re.findall(r"^#define (XP_\w+)\s+(\S+)", open(os.path.join(include, "expanse", "version.h")).read(), flags=re.M))
if defined["XP_VERSION"] != f'"{version}"':
    fault(f"version.h says {defined['XP_VERSION']}, and the build {version}")
dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
soname = re.search(r"SONAME.*\[(.*)\]", dynamic)[1]
if soname != f"libexpanse.so.{defined['XP_API_VERSION']}":
    fault(f"the soname is {soname}, and the interface has version {defined['XP_API_VERSION']}")

compilers = [("C", compiler + ["-std=c11", "-xc"])]
if shutil.which("c++"):
    compilers.append(("C++", ["c++", "-std=c++11", "-xc++"]))
with tempfile.TemporaryDirectory() as folder:
    for header in headers:
        source = os.path.join(folder, "alone")
        open(source, "w").write(f"#define CL_TARGET_OPENCL_VERSION 120\n#include <expanse/{os.path.basename(header)}>\n")
        for language, command in compilers:
            result = subprocess.run(
                command + ["-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{include}", "-fsyntax-only", source],
                capture_output=True, text=True)
            if result.returncode != 0:
                fault(f"{header} alone as {language}:\n{result.stderr}")

print(f"{len(declared)} functions in {len(headers)} headers, {failures} failures")
sys.exit(failures > 0)
