#!/usr/bin/env python3
"""Writes down what Ninja would run in a build folder that Meson has set up, for a machine that has a shell and a C compiler alone.

    plan.py BUILD PLAN TESTS

PLAN gets a line a command: LEVEL, OUTPUT, COMMAND, with tabs between. Commands of one level need nothing of each other, and only
what lower levels have made; they run in a folder that lies in the checkout as BUILD does, and say $CC, $AR and $PYTHON. TESTS
gets a line a test that is a compiled program and takes no long time: NAME, PROGRAM, ENVIRONMENT, ARGUMENTS. Knows nothing of what
is built."""
import json
import os
import re
import shlex
import subprocess
import sys


def edges(text):
    """(outputs, rule, inputs of any kind) of each build statement."""
    for line in re.findall(r"^build (.*)$", text, re.M):
        words = [re.sub(r"\$([ :$])", r"\1", word) for word in re.findall(r"(?:\$.|[^ $])+", line)]
        words = [word for word in words if word not in ("|", "||")]
        colon = next(i for i, word in enumerate(words) if word.endswith(":"))
        yield [*words[:colon], words[colon][:-1]], words[colon + 1], words[colon + 2:]


def levels_of(statements):
    needs = {output: inputs for outputs, _, inputs in statements for output in outputs}
    known = {}

    def level(name):
        if name not in known:
            known[name] = 1 + max(map(level, needs[name]), default=-1) if name in needs else -1
        return known[name]

    return {output: level(output) for output in needs}


def main():
    build, plan, tests = sys.argv[1:]
    build = os.path.abspath(build)
    query = lambda *words: json.loads(subprocess.run(words, cwd=build, check=True, capture_output=True, text=True).stdout)
    with open(os.path.join(build, "build.ninja")) as file:
        statements = list(edges(file.read()))
    levels = levels_of(statements)
    used = {name for _, rule, inputs in statements for name in inputs if rule != "phony"}  # a manual page is not
    kept = {output for outputs, rule, _ in statements for output in outputs
            if rule.startswith(("c_", "STATIC")) or rule.startswith("CUSTOM") and output in used}
    source = os.path.dirname(query("meson", "introspect", "--buildsystem-files")[0])
    targets = query("meson", "introspect", "--targets")
    made = {name for target in targets for name in (os.path.relpath(name, build) for name in target["filename"])}
    tools = {word: "$AR" for word in ("ar", "gcc-ar", "llvm-ar")} | {"cc": "$CC", "gcc": "$CC", "clang": "$CC"}

    def relative(word):
        return word.replace(source, os.path.relpath(source, build))

    def portable(command):
        words = []
        for word in shlex.split(command, posix=False):
            name = os.path.basename(word)
            words.append(tools.get(word, "$PYTHON" if re.fullmatch(r"python[\d.]*", name) else relative(word)))
        return " ".join(words)

    lines = []
    for entry in query("ninja", "-t", "compdb"):
        output = entry["output"]
        if output in kept and (output in made or output.endswith(".o")):
            lines.append((levels[output], output, portable(entry["command"])))
    with open(plan, "w") as file:
        file.writelines(f"{level}\t{output}\t{command}\n" for level, output, command in sorted(lines))
    with open(tests, "w") as file:
        for test in query("meson", "introspect", "--tests"):
            program = os.path.relpath(test["cmd"][0], build)
            suites = {name.split(":")[-1] for name in test["suite"]}
            if program in made and not suites & {"long", "oclgrind"}:
                environment = [f"{name}={value}" for name, value in test["env"].items() if name != "LD_LIBRARY_PATH"]  # programs have run paths
                file.write("\t".join([test["name"], program, *(relative(shlex.join(words)) for words in (environment, test["cmd"][1:]))]) + "\n")
    for _, output, command in lines:
        if re.search(r"(?<![\w.$])/", command):
            sys.exit(f"plan.py: the command that makes {output} names a place of this machine: {command}")


if __name__ == "__main__":
    main()
