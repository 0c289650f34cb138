"""Breaks the kernels mechanically, one small change at a time, and expects `expanse check` to notice.

usage: mutations.py EXPANSE KERNELS [--files REGEX] [--count N] [--all] [--seed S] [--cases N] [--minutes M] [--jobs N]

Each mutant is one change that a hand could make (see OPERATORS), compiled and checked in the families that use its file,
until the first case fails; what passes there runs under Oclgrind, which sees the race or the access outside that a CPU
device happens to bear. N mutants of each file are drawn (12), as evenly over the operators as the file allows; --all takes
every one. A mutant that no compiler takes is not counted. The run fails when fewer than 90 % are killed; what survives is listed with its
reason from EQUIVALENT, or with none yet."""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ENOUGH = 0.9
PATIENCE = 600  # seconds after which Oclgrind looks at no further operation
LIMIT_SECONDS = 100  # of processor time, which a busy machine does not stretch: a loop that does not end
NAMES_SWAPPED = [("row", "column"), ("rows", "columns"), ("i", "j"), ("batch", "head"), ("heads", "rows"), ("query", "key"),
                 ("queries", "keys"), ("sample", "row"), ("q", "k"), ("m", "n"), ("first", "last"), ("item", "lane")]

# Survivors that change no result: file (and function), text of the changed line (a part of it), what it became (a part), the reason.
# What graphs never ask for is checked by a test alone, which takes the kernels from below EXPANSE_ROOT.
TESTS = {"storage.clh": "test_attention_properties"}
EQUIVALENT = [
    ("batch_norm.cl", "column < columns; column += get_global_size(0) * WIDTH", "column <= columns",
     "block_start brings the block behind the last back to it: the same numbers are written twice"),
    ("attention_score.clh", "MODULO > 1", "MODULO >= 1", "every key is a multiple of 1 apart"),
    ("columns.clh", "left >= LANES", "left > LANES", "at a whole vector the slower way does the same"),
    ("cross_entropy.cl", "smoothing > 0.0f", "smoothing >= 0.0f", "without smoothing it takes away 0 times a sum"),
    ("math.clh", "float8)(64.0f) < power", "float8)(64.0f) <= power", "at the bound itself both sides are the same number"),
    ("linear_attention_tiled.cl", "tile < end; tile += BLOCK_COLUMNS", "tile <= end", "a tile too many has no queries"),
    ("math.clh", "F)(-127.0f) > x", "F)(-127.0f) >= x", "at the bound itself both sides are the same number"),
    ("math.clh", "F)(64.0f) < power", "F)(64.0f) <= power", "at the bound itself both sides are the same number"),
    ("cross_entropy.cl", "scale = total > 0.0f", "total >= 0.0f", "with no weight at all, no sample counts and the scale is not used"),
    ("attention_score.clh", "a >= 0 ? a / b", "a > 0", "0 divided rounds to 0 either way"),
    ("attention_score.clh", "(BIAS ?", "BIAS || 1", "without a bias nobody reads through the pointer"),
    ("features.clh", "x >= (F)(0.0f) ? x + (F)(1.0f)", "x > (F)(0.0f)", "at 0 both sides are 1"),
    ("attention_wide.clh pack_block", "g < panels; g++) {", "g <= panels; g++) {", "pack_block: the panel too many ends in an array that is filled next"),
    ("attention_tiled_backward.cl", "MASKED ? tile_kind", "MASKED || 1", "without a mask every tile is full anyway"),
]
RARE = "differs where a random word equals the threshold: one element in 2^32"
EQUIVALENT += [(file, ">= " + bound, "> " + bound, RARE) for bound in ("threshold", "(uint4)(threshold)") for file in ("embedding.cl", "random.clh", "elementwise.cl", "layer_norm.cl")]


def code_only(text):
    """The same text with comments and preprocessor lines blanked, so that places stay."""
    blank = lambda match: re.sub(r"[^\n]", " ", match[0])
    text = re.sub(r"/\*.*?\*/", blank, text, flags=re.DOTALL)
    return re.sub(r"^[ \t]*#.*$", blank, text, flags=re.MULTILINE)


def closing(text, at):
    """The place of the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    return -1


def replace(pattern, becomes):
    """A mutation for every place where the pattern fits."""
    def mutate(code):
        for match in re.finditer(pattern, code):
            yield match.start(), match.end(), match.expand(becomes)
    return mutate


def condition_true(code):
    for match in re.finditer(r"\bif \(", code):
        end = closing(code, match.end() - 1)
        if end > 0:
            yield match.end(), end, "true"


def index_swapped(code):
    for match in re.finditer(r"\[[^\[\]\n]+\]|(?<=[=(] )[^;\n]*\* *\w*(?:stride|columns|rows|width)\w*[^;\n]*;", code):
        for pair in NAMES_SWAPPED:
            for one, other in (pair, pair[::-1]):
                for name in re.finditer(rf"(?<![\w.]){one}\b(?! *\()", match[0]):
                    yield match.start() + name.start(), match.start() + name.end(), other


SCALES = r"\w*(?:scale|factor|weight|gamma|rate|decay|strength|share|momentum|slope|LOG|divisor|count)\w*(?:\[\w+\])?"
OPERATORS = {
    "bound": lambda code: [(a, b, {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[t.strip()].join("  "))
                           for a, b, t in replace(r" (?:<=?|>=?) ", r"\g<0>")(code)],
    "one": replace(r"(?<=[\w)\]] [+-] )1\b(?![.\w])", "0"),
    "barrier": replace(r"\bbarrier\([^)]*\);", ";"),
    "sign": lambda code: [(a, b, {"+=": "-=", "-=": "+=", "+": "-", "-": "+"}[t.strip()].join("  "))
                          for a, b, t in replace(r" (?:\+=?|-=?) ", r"\g<0>")(code)],
    "scale": replace(rf" [*/] {SCALES}(?![\w(\[])", ""),
    "mask": replace(r" \? ", " || 1 ? "),
    "condition": condition_true,
    "index": index_swapped,
    "extreme": lambda code: [(a, b, {"min": "max", "max": "min", "fmin": "fmax", "fmax": "fmin"}[t])
                             for a, b, t in replace(r"\bf?(?:min|max)(?=\()", r"\g<0>")(code)],
    "constant": lambda code: [(a, b, {"0.0f": "1.0f", "1.0f": "0.0f", "0": "1", "1": "0", "-INFINITY": "0.0f"}[t])
                              for a, b, t in replace(r"(?<== )(?:0\.0f|1\.0f|-INFINITY|0|1)(?=[;,])", r"\g<0>")(code)],
}

# Attention has too many variants to compile all of them for each mutant: a mutant runs those that its place is about, by
# the conditions around it, or else PLAIN ones and those that its line names. Macro -> what the names of such variants contain.
PLAIN = "plain|narrow|both lengths|packed.causal|grouped heads.causal"
VARIANTS = {"LINEAR": "linear", "NORMALISER": "linear", "LEFT": "window|causal", "RIGHT": "window|causal", "WINDOWED": "window|causal",
            "STRIDE": "strided", "MODULO": "pooled.*strided", "ALIGN_LAST": "last", "MASK": "mask|blocks", "MASK_BLOCK": "blocks",
            "MASKED": "window|mask|strided", "SOFT_CAP": "soft cap", "ALIBI": "alibi", "BIAS": "bias", "SCORE": "score",
            "SCORED": "score|alibi|bias", "SLOPED": "score|soft cap", "POOLED": "pooled", "GROUP": "grouped",
            "PAIRS": "lengths by head|narrow|dq alone", "DROPOUT": "dropout", "D_LSE": "lse", "WRITE_DQ": "alone|packed|strided", "WRITE_DK": "alone|packed|strided",
            "WRITE_DV": "alone|packed|strided",
            "KEY_LENGTHS": "lengths|packed", "QUERY_LENGTHS": "lengths|packed", "user": "score", "slope": "score|soft cap|alibi",
            "count_seen": "linear", "hide_linear": "linear", "tile_kind": "window|mask|blocks", "mask_bit": "mask|blocks",
            "seen_by": "window|causal", "sees": "mask|blocks|strided", "score_pair": "score|alibi|bias"}
PASSES = {"_forward.": "attention", "_backward.": "attention_backward", "_map.": "attention_map"}

Mutant = collections.namedtuple("Mutant", "file operator start end becomes line before after kernel")


def mutants_of(path):
    text = path.read_text()
    code = code_only(text)
    functions = [(match.start(), match[1]) for match in re.finditer(r"\b(\w+)\((?=[^;{}]*\) *\{)", code)
                 if match[1] not in ("if", "for", "while", "reqd_work_group_size", "__attribute__")]
    steps = []  # of loops: their signs make loops that do not end, which proves nothing about the check
    for match in re.finditer(r"\bfor \(", code):
        end = closing(code, match.end() - 1)
        steps.append((code.rfind(";", 0, end), end))
    found = []
    for operator, mutate in OPERATORS.items():
        for start, end, becomes in mutate(code):
            if operator == "sign" and any(a < start < b for a, b in steps):
                continue
            around = [at for at, _ in functions if at <= start][-1:] + [at for at, _ in functions if at > start][:1]
            if operator == "index" and not re.search(rf"\b{becomes}\b", code[slice(*(around + [len(code)])[:2])]):
                continue
            line = text.count("\n", 0, start)
            first, last = text.rfind("\n", 0, start) + 1, (text + "\n").find("\n", end)
            before = text[first:last].strip()
            after = (text[first:start] + becomes + text[end:last]).strip()
            kernel = ([name for at, name in functions if at <= start] or [""])[-1]
            found.append(Mutant(path.name, operator, start, end, becomes, line + 1, before, after, kernel))
    return found


def sample(mutants, count, generator):
    """`count` of them, in turn from each operator."""
    by_operator = collections.defaultdict(list)
    for mutant in mutants:
        by_operator[mutant.operator].append(mutant)
    groups = [by_operator[name] for name in OPERATORS if name in by_operator]
    for group in groups:
        generator.shuffle(group)
    drawn = []
    while len(drawn) < count and any(groups):
        for group in groups:
            if group and len(drawn) < count:
                drawn.append(group.pop())
    generator.shuffle(drawn)  # so that a run cut short has tried a bit of everything
    return drawn


def uses(kernels):
    """Kernel file -> operations that launch it, and files that include it; read from the sources."""
    operations = {path.name: set() for path in sorted(kernels.iterdir())}
    for path in sorted((kernels.parent / "src/ops").glob("*.c")):
        text = path.read_text()
        owner = path.with_name(f"{path.stem.rsplit('_', 1)[0]}.c")  # attention_wide.c launches attention.c's operations
        defined = r"^const xp_operation xp_operation_(\w+)"
        names = set(re.findall(defined, text, re.MULTILINE) or owner.exists() and re.findall(defined, owner.read_text(), re.MULTILINE))
        for file in re.findall(r"\"(\w+)\"", text):
            if (kernels / f"{file}.cl").exists():
                operations[f"{file}.cl"] |= names
    return operations


def including(kernels, header):
    """The kernel files that include a header, through others or not."""
    found, files = {header}, {path.name: path.read_text() for path in sorted(kernels.iterdir())}
    for _ in files:
        found |= {file for file, text in files.items() if any(f'#include "{name}"' in text for name in found)}
    return {file for file in found if file.endswith(".cl")}


def concerned(kernels, operations, mutant):
    """The operations that a mutant may concern, those with the shortest kernels first: of its own file, or of all files
    that call its function."""
    names, files = {mutant.kernel}, {mutant.file}
    texts = {path.name: code_only(path.read_text()) for path in sorted(kernels.iterdir())}
    if mutant.file.endswith(".clh"):
        called = rf"\b{mutant.kernel}\b"
        if len(mutant.kernel) < 2:  # within a macro that makes functions
            called = "|".join(rf"\b{name}[18]\b" for name in re.findall(r"\b(\w+_)##N\(", texts[mutant.file]))
        for _ in range(2):  # a function of one header that a function of another calls
            called = "|".join([called] + [rf"\b{name}\b" for file, text in texts.items() if file.endswith(".clh")
                                          for name in re.findall(r"\binline \w+ (\w+)\(", text)
                                          if re.search(called, text)])
        files = {file for file, text in texts.items() if file.endswith(".cl") and re.search(called, text)}
        files = files or including(kernels, mutant.file)  # a macro's text, or a table
    ordered = sorted((len(texts[file]), name) for file in files for name in operations[file])
    return list(dict.fromkeys(name for _, name in ordered))


def conditions(text, at):
    """The conditions of the preprocessor around a place, inner ones last."""
    around = []
    for match in re.finditer(r"^#(if|elif|else|endif)\w*(.*)$", text[:at], re.MULTILINE):
        if match[1] == "if":
            around.append(re.sub(r"![A-Z_]+", "", match[2]))  # what is left out names no variant
        elif match[1] == "endif":
            around.pop()
        else:  # what follows #else is the case without the option
            around[-1] = match[2]
    return around


def filters(kernels, mutant, operations):
    """(operation, variants) that a mutant may concern: regular expressions; None for all of an operation's variants."""
    if not re.match("attention_(wide|tiled|score)", mutant.file):
        return [(operation, None) for operation in operations]
    around = conditions((kernels / mutant.file).read_text(), mutant.start)
    passes = [name for text, name in PASSES.items() if text in mutant.file]
    named = lambda texts: sorted({VARIANTS[word] for word in re.findall(r"\w+", " ".join(texts)) if word in VARIANTS})
    variants = "|".join(named(around + [mutant.kernel]) or [PLAIN, *named([mutant.before])])
    return [(operation, variants) for operation in operations if operation in (passes or PASSES.values())]


def families(mutant):
    for name in (mutant.kernel, mutant.file.split(".")[0]):
        for family in ("wide", "tiled"):
            if re.search(f"_{family}(_|$)", name) or (name == mutant.kernel and name.endswith("_8") and family == "wide"):
                return [family]
    return ["wide", "tiled"]


def run(command, environment):
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS))
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", preexec_fn=limit)
    return result.returncode, result.stdout


def verdict(options, mutant, operations):
    """("killed" | "survived" | "not compiled", how)"""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        shutil.copytree(options.kernels, folder / "cl")
        path = folder / "cl" / mutant.file
        text = path.read_text()
        path.write_text(text[:mutant.start] + mutant.becomes + text[mutant.end:])
        environment = dict(os.environ, XP_CL_DIR=str(folder / "cl"), EXPANSE_CACHE_DIR="", POCL_CACHE_DIR=str(folder / "pocl"),
                           POCL_EXTRA_BUILD_FLAGS="-cl-opt-disable")  # compiles three times as fast
        on_device = lambda operation, family, variants: [
            options.expanse, "check", "--filter", f"^{operation} {family} .*({variants}).* B=" if variants else f"^{operation}$",
            "--until-failure", "--family", family, "--cases", str(max(options.cases, 168 if variants else 0))]  # each variant four times
        log = folder / "log"
        watched = lambda operation, family, variants: [
            "oclgrind", "--build-options", "-cl-opt-disable", "--data-races", "--log", str(log),
            *on_device(operation, family, variants)[:-1], str(options.cases if variants else 20), "--small", "--device", "0:0"]
        if mutant.file in TESTS:
            test = pathlib.Path(options.expanse).parents[1] / "tests" / TESTS[mutant.file]
            code, output = run([str(test)], {**environment, "EXPANSE_ROOT": str(folder)})
            return ("not compiled", "") if "does not build" in output else ("killed", test.name) if code else ("survived", "")
        concerned_by = [(*pair, family) for pair in filters(options.kernels, mutant, operations) for family in families(mutant)]
        if not concerned_by:
            sys.exit(f"{mutant.file}:{mutant.line}: no operation launches it")
        begin = time.monotonic()
        ways = [on_device, watched] if shutil.which("oclgrind") else [on_device]
        if mutant.operator == "barrier":
            ways.reverse()
        for way in ways:
            for operation, variants, family in concerned_by:
                if way is watched and time.monotonic() - begin > PATIENCE:
                    return "survived", "as far as it was looked at"
                code, output = run(way(operation, family, variants), environment)
                if "does not build" in output:
                    return "not compiled", ""
                if way is watched and log.exists() and log.stat().st_size > 0:
                    return "killed", f"seen by Oclgrind in {operation} {family}"
                if code in (-signal.SIGXCPU, -signal.SIGKILL):
                    return "killed", "does not end"
                if code == 1 and "again:" in output:
                    return "killed", f"{operation} {family}"
                if code < 0 or code >= 128:
                    return "killed", "crash"
                if code != 0:
                    sys.exit(f"{mutant.file}:{mutant.line}: exit code {code}: {output[-500:]}")
    return "survived", ""


def judged_before(path):
    """(file, line, operator, before, after) -> (verdict, how, seconds), from what an earlier run with the same seed printed."""
    line = re.compile(r"^(\S+):(\d+) (\w+): (killed|survived|not compiled)(?: \((.*)\))?, (\d+) s\n    (.*)\n    (.*)$", re.MULTILINE)
    return {(m[1], int(m[2]), m[3], m[7], m[8]): (m[4], m[5] or "", int(m[6])) for m in line.finditer(path.read_text() if path else "")}


def reason_for(mutant):
    for file, before, after, reason in EQUIVALENT:
        if file in (mutant.file, f"{mutant.file} {mutant.kernel}") and before in mutant.before and after in mutant.after:
            return reason
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("expanse", type=os.path.abspath)
    parser.add_argument("kernels", type=pathlib.Path)
    parser.add_argument("--files", default="", help="regular expression on the kernel files' names")
    parser.add_argument("--count", type=int, default=12, help="mutants of each file")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=60, help="of each operation and family")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no mutant after so many")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--after", type=pathlib.Path, help="what a run of the same kernels printed before it was cut: goes on from there")
    options = parser.parse_args()
    operations = uses(options.kernels)
    drawn = []
    for path in sorted(options.kernels.iterdir()):
        if re.search(options.files, path.name) and (operations[path.name] or path.suffix == ".clh"):
            mutants = mutants_of(path)
            generator = random.Random(f"{options.seed} {path.name}")
            drawn.append(mutants if options.all else sample(mutants, options.count, generator))
    if not any(drawn):
        sys.exit(f"no kernel file that an operation uses fits '{options.files}'")
    queue = [group[i] for i in range(max(map(len, drawn))) for group in drawn if i < len(group)]

    used = "|".join(sorted({name for mutant in queue for name in concerned(options.kernels, operations, mutant)}))
    whole = subprocess.run([options.expanse, "check", "--filter", f"^({used})$", "--cases", str(options.cases)],
                           env=dict(os.environ, XP_CL_DIR=str(options.kernels)), capture_output=True, text=True)
    if whole.returncode != 0:
        sys.exit(f"the kernels as they are do not pass:\n{whole.stdout[-2000:]}{whole.stderr}")
    if not shutil.which("oclgrind"):
        print("oclgrind is missing: some races will not be seen")

    start = time.monotonic()
    counts, survivors, left = collections.Counter(), [], 0

    known = judged_before(options.after)

    def attempt(mutant):
        before = known.get((mutant.file, mutant.line, mutant.operator, mutant.before, mutant.after))
        if before:
            return mutant, *before
        if time.monotonic() - start > 60 * options.minutes:
            return mutant, "left", "", 0
        begin = time.monotonic()
        try:
            return mutant, *verdict(options, mutant, concerned(options.kernels, operations, mutant)), time.monotonic() - begin
        except SystemExit as end:  # the others go on
            return mutant, "not judged", str(end), time.monotonic() - begin

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(attempt, mutant) for mutant in queue]):
            mutant, what, how, seconds = done.result()
            if what == "left":
                left += 1
                continue
            counts[what] += 1
            counts[mutant.file, what] += 1
            if what == "survived":
                survivors.append(mutant)
            print(f"{mutant.file}:{mutant.line} {mutant.operator}: {what}{how and f' ({how})'}, {seconds:.0f} s\n"
                  f"    {mutant.before}\n    {mutant.after}", flush=True)

    print("\nSurvivors:")
    equivalent = 0
    for mutant in survivors:
        reason = reason_for(mutant)
        equivalent += reason is not None
        print(f"  {mutant.file}:{mutant.line} {mutant.operator}: {reason or 'no reason yet'}\n"
              f"    {mutant.before}\n    {mutant.after}")
    for file in sorted({mutant.file for mutant in queue}):
        print(f"{file:28}" + ", ".join(f"{counts[file, what]} {what}" for what in ("killed", "survived", "not compiled", "not judged")))
    able = counts["killed"] + counts["survived"] - equivalent
    share = counts["killed"] / able if able else 0
    print(f"{counts['killed']} killed, {counts['survived']} survived ({equivalent} of them change no result), "
          f"{counts['not compiled']} not compiled, {counts['not judged']} not judged, {left} left for want of time: {100 * share:.1f} % killed of those that could be")
    return 0 if share >= ENOUGH and not counts["not judged"] else 1


if __name__ == "__main__":
    sys.exit(main())
