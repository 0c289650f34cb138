#!/usr/bin/env python3
"""The command line itself: help, ranges, exit codes, and the manual page and completions that come from the same tables.
Only the exit codes of signals need a device. Usage: test_flags.py EXPANSE"""
import glob
import os
import re
import shutil
import signal
import subprocess

from commands import EXPANSE, ROOT, expanse, expect, finish, must, rejected, write

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
WIDTH = 100
TABLES = "devices info check doctor svr tune train eval predict analyze study".split() + [f"bench {name}" for name in "peak gemm attention kernels step".split()]


class Help:
    """What `expanse COMMAND --help` prints: [(flag, argument or None, sentence)] and the names of its commands."""

    def __init__(self, name):
        self.name, self.text = name, must(*name.split(), "--help").stdout
        self.flags = [self.entry(lines) for lines in self.entries("Flags")]
        self.commands = [lines[0].split()[0] for lines in self.entries("Commands")]

    def entries(self, title):
        found = re.search(rf"^{title}:\n((?:  .*\n)+)", self.text, re.M)
        entries = []
        for line in found[1].splitlines() if found else []:
            if line[2] == " ":
                entries[-1].append(line)
            else:
                entries.append([line])
        return entries

    @staticmethod
    def entry(lines):
        name, _, rest = lines[0].strip().partition(" ")
        argument = None if not rest or rest.startswith("  ") else rest.split("  ")[0].strip()
        sentence = " ".join([lines[0].partition(argument)[2] if argument else rest, *lines[1:]])
        return name, argument, " ".join(sentence.split())


def all_help():
    pages, names = [], [""]
    for name in names:
        pages.append(Help(name))
        names += [f"{name} {word}".strip() for word in pages[-1].commands]
    return pages


def check_help(pages):
    expect("commands", len(pages) > 15, str([page.name for page in pages]))
    meanings = {"--limit": ("N", "samples|first N"), "--timeout": ("SECONDS", "hanging"), "--out": ("DIR", "folder"), "--output": ("FILE", ""),
                "-o": ("FORMAT", "text, md, csv or json")}
    for page in pages:
        name, lines = f"help of expanse {page.name}", page.text.split("\n")
        expect(name, page.text.endswith("\n") and not page.text.endswith("\n\n"), "does not end with one newline")
        expect(name, all(len(line) <= WIDTH and line == line.rstrip() for line in lines), f"a long line: {max(lines, key=len)}")
        example = page.text.partition("\nExample:\n")[2]
        expect(name, all(line.startswith("  ") for line in example.splitlines()), f"the example is not indented: {example}")
        for flag, argument, sentence in page.flags:
            expect(name, argument is None or flag == "--set" or sentence.endswith(")"), f"{flag} tells no default: {sentence}")
            wanted, part = meanings.get(flag, (argument, ""))
            expect(name, argument == wanted and re.search(part, sentence), f"{flag} {argument} means something else: {sentence}")
    for page in pages:
        expect(f"-o of {page.name}", any(flag == "-o" for flag, _, _ in page.flags) == (page.name in TABLES), str(page.flags))


def check_ranges(pages):
    """Every flag whose default is a number rejects what is none and what is out of its range, before anything is opened."""
    count = 0
    for page in pages:
        for flag, argument, sentence in page.flags:
            if argument in (None, "FILE", "DIR") or not re.search(r"\((\d[\d.]*|all|as many as [^()]*)\)$", sentence):
                continue
            if not re.fullmatch("N|K|D|E|X|L|SIDE|SECONDS", argument):
                continue
            count += 1
            for value in ("9" * 25, "-1", "3x", ""):
                result = expanse(*page.name.split(), flag, value)
                one = len(result.stderr.splitlines()) == 1 and result.stdout == ""
                expect(f"{page.name} {flag} '{value}'", result.returncode == 2 and one, f"{result.returncode} {result.stderr}")
    expect("numbers", count > 40, f"only {count} flags were tried")
    print(f"{count} flags with numbers reject what is none")


def check_extremes(pages):
    """No number crashes or hangs the command: it is rejected before a device is looked for, or taken."""
    count = 0
    needed = {"eval": ["missing", "--data", "missing.ts"], "predict": ["missing", "--data", "missing.ts"],
              "analyze": ["missing", "--data", "missing.ts"], "train": ["--train", "missing.ts"],
              "bench attention": ["softmax"], "doctor": ["--only", "missing"], "tune": ["--rounds", "0"]}
    for page in pages:
        nowhere = ["--device", "9:9"] if any(flag == "--device" for flag, _, _ in page.flags) else []
        for flag, argument, _ in page.flags:
            if not re.fullmatch("N|K|D|E|X|L|SIDE|SECONDS", argument or ""):
                continue
            count += 1
            for value in ("0", "-1", "2147483647", "2147483648", "99999999999999999", "nan", "inf", "1e999", ""):
                words = [*page.name.split(), *needed.get(page.name, []), *nowhere, flag, value]
                result = expanse(*words, timeout=120)
                told = result.returncode == 2 or (result.returncode == 1 and re.search("9:9|missing|does not run", result.stderr))
                expect(" ".join(words), told and result.stdout == "", f"{result.returncode} {result.stdout} {result.stderr}")
                if value in ("-1", "nan", "inf", "1e999", ""):
                    expect(" ".join(words), result.returncode == 2, f"is taken: {result.stderr}")
    for key in re.findall(r"^  (\w+): (?=[\d.])", must("train", "--print-config").stdout, re.M):
        count += 1
        for value in ("-1", "99999999999999999999", "nan", "inf", ""):
            result = expanse("train", "--train", "missing.ts", "--set", f"{key}={value}", timeout=120)
            expect(f"--set {key}={value}", result.returncode == 2 and key in result.stderr, f"{result.returncode} {result.stderr}")
    expect("extremes", count > 90, f"only {count} numbers were tried")
    print(f"{count} numbers reject what is out of their range, and crash at none")


def check_sizes():
    """The largest sizes, each in its range, are too large together: that is computed, and not tried."""
    largest = {"--width": 65536, "--heads": 1024, "--layers": 256, "--ffn": 1 << 20, "--length": 1 << 20, "--features": 1 << 16,
               "--classes": 1 << 20, "--batch": 65536}
    result = expanse("bench", "step", *[str(word) for pair in largest.items() for word in pair], timeout=300)
    expect("the largest step", result.returncode == 1 and len(result.stderr.splitlines()) == 1 and "size" in result.stderr, f"{result.returncode} {result.stderr}")
    largest = {"--batch": 1 << 20, "--heads": 1024, "--length": 1 << 20, "--width": 4096}
    result = expanse("bench", "attention", "softmax", *[str(word) for pair in largest.items() for word in pair], timeout=300)
    expect("the largest attention", result.returncode == 2 and "too large" in result.stderr, f"{result.returncode} {result.stderr}")


def check_choices():
    rejected("a format that is none", ["devices", "-o", "xml"], ["-o: 'xml' is not text, md, csv or json"], 2)
    rejected("a family that is none", ["check", "--family", "tilde"], ["--family: 'tilde' is not auto, wide, tiled or matrix"], 2)
    rejected("a shell that is none", ["--completion", "csh"], ["bash, zsh or fish"], 2)
    rejected("a number below its range", ["check", "--cases", "0"], ["--cases: 0 is not between 1 and 1000000"], 2)
    rejected("a cadence that is none", ["train", "--checkpoint-every", "5x"], ["training.checkpoint_every: '5x' is not a whole number of steps"], 2)
    rejected("a real out of its range", ["svr", "--C", "0"], ["--C: 0 is not between 1e-09 and 1000000000"], 2)


def check_exit_codes():
    text = must("--help").stdout
    for code in ("0", "1", "2", "3", r"128 \+ N"):
        expect("exit codes", re.search(rf"^  {code}  +\S", text, re.M), f"{code} is not told")
    rejected("no command", [], ["--help"], 2)
    rejected("no benchmark", ["bench"], ["bench --help"], 2)
    rejected("unknown command", ["bench", "peek"], ["did you mean 'peak'"], 2)
    rejected("unknown flag of all", ["--versoin"], ["did you mean '--version'"], 2)
    rejected("a product that is none", ["bench", "gemm", "3x4"], ["3x4"], 2)
    rejected("a specification that is none", ["bench", "attention", "softmx"], ["did you mean \"softmax\""], 2)
    rejected("a device that is not there", ["svr", "--device", "9:9"], ["9:9"], 1)
    expect("version", re.fullmatch(r"\d+\.\d+\.\d+\n", must("--version").stdout), "")
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen([EXPANSE, "check", "--filter", "^gemm$", "--cases", "100000", "-o", "csv"], stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # the head of the table
            process.send_signal(number)
        expect("a signal", process.returncode == 128 + number, f"{process.returncode} after {number}")


def plain(page):
    """A manual page without its escapes."""
    page = page.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(dq", '"').replace(r"\(ti", "~").replace(r"\(ha", "^").replace(r"\e", "\\")
    return re.sub(r"\\\[u([0-9A-F]+)\]", lambda found: chr(int(found[1], 16)), page)


def check_man(pages):
    page = must("--man").stdout
    text = plain(page)
    for entry in pages[1:]:
        part = text.partition(f"\n.SS expanse {entry.name}\n")[2].partition("\n.S")[0] + "\n"
        expect("manual page", part.strip(), f"{entry.name} is not there")
        for flag, argument, sentence in entry.flags:
            head = f'.BI "{flag}" " {argument}"' if argument else f'.B "{flag}"'
            expect("manual page", f"\n{head}\n{sentence}\n" in part, f"{entry.name} {flag} {argument}: {sentence}\n{part}")
    expect("manual page", ".SH EXIT STATUS" in text and '.B "128 + N"' in text, "no exit status")
    if shutil.which("groff"):
        result = subprocess.run(["groff", "-ww", "-man", "-Tascii"], input=page, capture_output=True, text=True)
        faults = [line for line in result.stderr.splitlines() if "can't find" not in line and "not defined" not in line]
        expect("manual page", result.returncode == 0 and not faults, str(faults))


def complete(script, *words):
    lines = f'source {script}; compopt() {{ :; }}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _expanse; printf "%s\\n" "${{COMPREPLY[@]}}"'
    result = subprocess.run(["bash", "-c", lines, "bash", "expanse", *words], capture_output=True, text=True, cwd=ROOT)
    expect("completion", result.stderr == "", result.stderr)
    return set(result.stdout.split())


def check_completion(pages):
    scripts = {shell: write(f"expanse.{shell}", must("--completion", shell).stdout) for shell in ("bash", "zsh", "fish")}
    for shell, script in scripts.items():
        if not shutil.which(shell):
            continue
        result = subprocess.run([shell, "-n", script], capture_output=True, text=True)
        expect(f"{shell} accepts its completion", result.returncode == 0 and result.stderr == "", result.stderr)
    for page in pages:
        for shell in ("zsh", "fish"):
            text = open(scripts[shell]).read()
            for flag, _, _ in page.flags:
                form = rf"'{flag}=?\[" if shell == "zsh" else rf" -[ls] {flag.lstrip('-')} "
                expect(f"completion in {shell}", re.search(form, text), f"{page.name} {flag}")
        if not shutil.which("bash"):
            continue
        offered = complete(scripts["bash"], *page.name.split(), "-" if page.flags else "")
        wanted = {flag for flag, _, _ in page.flags} | {"--help"}
        if not page.flags:
            wanted |= set(page.commands)
        expect("completion in bash", offered == wanted, f"expanse {page.name}: {offered ^ wanted}")
    if shutil.which("bash"):
        os.makedirs(os.path.join(ROOT, "folder"))
        write("file.ts", "")
        for words, wanted in ((["be"], {"bench"}), (["bench", "pe"], {"peak"}), (["svr", "-o", ""], {"text", "md", "csv", "json"}),
                              (["svr", "--family", "=", "t"], {"tiled"}), (["svr", "--points", ""], set()), (["svr", "--out", "fo"], {"folder"}),
                              (["svr", "--data", "fi"], {"file.ts"}), (["eval", "fo"], {"folder"}), (["--completion", "z"], {"zsh"}),
                              (["train", "--preset", "vit"], {"vit-tiny-28"})):
            expect("completion in bash", complete(scripts["bash"], *words) == wanted, f"{words}: {complete(scripts['bash'], *words)}")


def check_environment():
    """One table: what the sources read, what help and the manual page tell, and docs/ENVIRONMENT.md."""
    read = set()
    for path in glob.glob(f"{SOURCE}/src/**/*.[ch]", recursive=True) + glob.glob(f"{SOURCE}/tools/*.[ch]"):
        read |= set(re.findall(r'getenv\("(\w+)"\)', open(path).read()))
    part = plain(must("--man").stdout).partition("\n.SH ENVIRONMENT\n")[2]
    told = dict(re.findall(r'^\.B "(\w+)"\n(.*)$', part, re.M))
    expect("environment", len(read) >= 4 and read <= set(told), f"{read - set(told)} stand nowhere")
    text = " ".join(must("--help").stdout.split())
    document = open(f"{SOURCE}/docs/ENVIRONMENT.md").read()
    for name, sentence in told.items():
        expect("environment", f"{name} {sentence}" in text, f"{name} in --help")
        expect("environment", f"| `{name}` | {sentence} |\n" in document, f"{name} in docs/ENVIRONMENT.md")
    rows = set(re.findall(r"^\| `(\w+)` \|", document.partition("\n## Scripts\n")[0], re.M))
    expect("environment", rows == set(told), f"{rows ^ set(told)}")


def main():
    pages = all_help()
    check_help(pages)
    check_ranges(pages)
    check_extremes(pages)
    check_sizes()
    check_choices()
    check_exit_codes()
    check_man(pages)
    check_completion(pages)
    check_environment()
    finish()


main()
