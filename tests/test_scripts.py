#!/usr/bin/env python3
"""The scripts of tools/ with their programs played by small stand-ins: what they print, and what they leave in the folder for
temporary files. Usage: test_scripts.py TOOLS"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOOLS = os.path.abspath(sys.argv[1])
failures = 0


def expect(name, true, text):
    global failures
    if not true:
        failures += 1
        print(f"FAIL {name}: {text}")


def write_program(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def environment(folder):
    """The stand-ins come first; temporary files go to a folder of their own."""
    os.makedirs(f"{folder}/temporary", exist_ok=True)
    return {**os.environ, "PATH": f"{folder}/programs:{os.environ['PATH']}", "TMPDIR": f"{folder}/temporary"}


def check_logs(folder):
    """Logs have names that nobody can guess: a link of such a name in a shared folder would be written through."""
    write_program(f"{folder}/programs/meson", "echo configuring went wrong; exit 1\n")
    line = f'. "{TOOLS}/setup"; build "{folder}/build"'
    logs = set()
    for attempt in range(2):
        result = subprocess.run(["sh", "-c", line, "quickstart"], capture_output=True, text=True, env=environment(folder))
        named = result.stderr.rpartition("(see ")[2].strip().rstrip(")")
        expect("a log", result.returncode == 1 and "configuring went wrong" in result.stderr, result.stderr)
        inside = named.startswith(f"{folder}/temporary/") and os.path.exists(named)
        expect("a log", inside and "went wrong" in open(named).read(), f"{named} is not a log below {folder}/temporary")
        logs.add(named)
    expect("a log", len(logs) == 2, f"twice the same name: {logs}")
    write_program(f"{folder}/programs/meson", "mkdir -p $2; touch $2/build.ninja\n")
    write_program(f"{folder}/programs/ninja", "exit 0\n")
    before = sorted(os.listdir(f"{folder}/temporary"))
    result = subprocess.run(["sh", "-c", line, "quickstart"], capture_output=True, text=True, env=environment(folder))
    expect("a log", result.returncode == 0, result.stderr)
    expect("a log", sorted(os.listdir(f"{folder}/temporary")) == before, "a build that succeeded leaves its log")


def check_packages(folder):
    """The README names the packages that the scripts install before they build."""
    line = ". tools/setup; for entry in $BUILD_PACKAGES $DEVICE_PACKAGES; do echo ${entry%%:*}; done"
    wanted = subprocess.run(["sh", "-c", line], cwd=f"{TOOLS}/..", capture_output=True, text=True, check=True).stdout.split()
    with open(f"{TOOLS}/../README.md") as file:
        named = re.search(r"sudo apt install ((?:.*\\\n)*.*)\n", file.read()).group(1).replace("\\", "").split()
    expect("the README", named == wanted, f"{named} are not {wanted}")


def check_quickstart(folder):
    """The final accuracy is the result; that of the best epoch was chosen on the test set and is called so."""
    if not os.path.isdir("/usr/share/datasets/fashion-mnist"):
        print("skipped: quickstart (Fashion-MNIST is not here)")
        return
    shutil.copytree(TOOLS, f"{folder}/house/tools")
    summary = {"accuracy_set": "test", "accuracy_best": 0.875, "accuracy_final": 0.8125, "epoch_best": 3,
               "epoch_best_chosen_on": "test", "samples_per_second": 10.0, "device": "none"}
    with open(f"{folder}/summary.json", "w") as file:
        json.dump(summary, file)
    write_program(f"{folder}/house/build/src/expanse", f'while [ $# -gt 1 ]; do [ "$1" = --out ] && mkdir -p "$2" && '
                  f'cp "{folder}/summary.json" "$2"; shift; done\n')
    open(f"{folder}/house/build/build.ninja", "w").close()
    for program in ("ninja", "apt-get", "sudo"):
        write_program(f"{folder}/programs/{program}", "exit 0\n")
    result = subprocess.run([f"{folder}/house/tools/quickstart", "--out", f"{folder}/run"], capture_output=True, text=True,
                            env=environment(folder))
    lines = [line for line in result.stdout.splitlines() if "%" in line]
    expect("quickstart", lines and "test accuracy  81.25 % final" in lines[0], result.stdout + result.stderr)
    best = [line for line in lines if "87.50 %" in line]
    expect("quickstart", best and "best epoch, 3, chosen on the test set" in best[0], result.stdout)


def write_files(folder, files):
    for name, text in files.items():
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)


def check_plan(folder):
    """What plan.py writes builds a project, its generated source and its tests without Meson and Ninja, in another place."""
    write_files(f"{folder}/house", {
        "meson.build": "project('p', 'c')\n"
                       "made = custom_target('made', output: 'made.c', input: 'made.txt', \n"
                       "  command: [import('python').find_installation('python3'), files('copy.py'), '@INPUT@', '@OUTPUT@'])\n"
                       "inner = static_library('inner', made)\n"
                       "outer = shared_library('outer', 'outer.c', link_with: inner)\n"
                       "test('right', executable('right', 'main.c', link_with: outer, c_args: '-DANSWER=\"a b\"'), args: ['x'], env: ['V=1'], suite: ['c', 'quick'])\n"
                       "test('wrong', executable('wrong', 'wrong.c', link_with: inner))\n"
                       "page = custom_target(output: 'page', command: [find_program('true'), '/nowhere'], capture: true, build_by_default: true)\n"
                       "test('late', executable('late', 'main.c', link_with: outer), suite: 'long')\n",
        "copy.py": "import shutil, sys\nshutil.copyfile(*sys.argv[1:])\n", "made.txt": "int made(void) { return 7; }\n",
        "outer.c": "int made(void);\nint outer(void) { return made(); }\n",
        "main.c": '#include <stdio.h>\nint outer(void);\nint main(int count, char **words) {\n'
                  '    return printf("%s %d %s", ANSWER, outer(), words[count - 1]) < 0;\n}\n',
        "wrong.c": "int main(void) { return nothing; }\n"})
    quiet = dict(check=True, capture_output=True, text=True)
    subprocess.run(["meson", "setup", "on-device/build"], cwd=f"{folder}/house", **quiet)
    subprocess.run(["ninja", "-C", "on-device/build", "made.c"], cwd=f"{folder}/house", **quiet)
    subprocess.run([sys.executable, f"{TOOLS}/on_device/plan.py", "on-device/build", "on-device/plan", "on-device/tests"],
                   cwd=f"{folder}/house", **quiet)
    os.rename(f"{folder}/house", f"{folder}/elsewhere")
    build = f"{folder}/elsewhere/on-device/build"
    with open(f"{build}/../plan") as file:
        plan = [line.rstrip("\n").split("\t") for line in file]
    expect("a plan", [int(level) for level, _, _ in plan] == sorted(int(level) for level, _, _ in plan), plan)
    for _, output, command in plan:
        os.makedirs(f"{build}/{os.path.dirname(output)}", exist_ok=True)
        subprocess.run(["sh", "-c", command], cwd=build, env={**os.environ, "CC": "cc", "AR": "ar", "PYTHON": sys.executable}, capture_output=True)
    expect("a plan", not os.path.exists(f"{build}/wrong"), "a program that cannot be compiled was made")
    with open(f"{build}/../tests") as file:
        expect("a plan", file.read() == "right\tright\tV=1\tx\nwrong\twrong\t\t\n", "the tests")
    result = subprocess.run([f"{build}/right", "x"], capture_output=True, text=True)
    expect("a plan", result.stdout == "a b 7 x", result)


def check_on_device(folder):
    """A run, with stand-ins for what is built: drivers, the device, and what a crash, a broken source and a slow step cost."""
    house, out, library = f"{folder}/house", f"{folder}/out", f"{folder}/libnvidia-opencl.so"
    shutil.copytree(TOOLS, f"{house}/tools")
    write_files(house, {
        "meson.build": "", "src/meson.build": "", "tests/meson.build": "",
        "crash.c": "static __attribute__((noinline)) void planted(volatile int *where) { *where = 1; }\n"
                   '#include <stdio.h>\nint main(void) { printf("printed before\\n"); planted((volatile int *)8); return 0; }\n',
        "broken.c": "int main(void) { return nothing; }\n",
        "prototype": '#!/bin/sh\n[ $# -gt 2 ] && exec echo "runs $*"\n[ "$2" = cpu ] && echo "0:0 CPU stand-in" && exit 0\n'
                     'echo "there is only 0:0 CPU stand-in" >&2; exit 1\n',
        "expanse": '#!/bin/sh\n[ "$2" = --json ] || sleep 600\n', "good": "#!/bin/sh\n[ \"$A\" = 1 ]\n",
        "on-device/plan": "".join(f"{line}\n" for line in (
            "0\ttests/libbacktrace.so\t$CC -shared -fPIC -o tests/libbacktrace.so ../../tools/on_device/backtrace.c -ldl",
            *(f"0\t{output}\tinstall -m 755 ../../{source} {output}" for output, source in (
                ("tests/prototype", "prototype"), ("src/expanse", "expanse"), ("tests/good", "good"))),
            "0\ttests/crash.o\t$CC -g1 -O2 -c ../../crash.c -o tests/crash.o", "1\ttests/crash\t$CC tests/crash.o -o tests/crash",
            "0\ttests/broken\t$CC ../../broken.c -o tests/broken")),
        "on-device/tests": "".join(f"{name}\ttests/{name}\tA=1\t\n" for name in ("broken", "crash", "good"))})
    sums = subprocess.run(["cksum", "meson.build", "src/meson.build", "tests/meson.build"], cwd=house, capture_output=True, text=True, check=True)
    write_files(house, {"on-device/meson.cksum": sums.stdout})
    write_program(f"{house}/on-device/build/tests/broken", "exit 0\n")  # of an earlier run
    write_files(folder, {"libnvidia-opencl.so.580": "", "vendors/foreign.icd": "/nowhere/libforeign.so.1\n", "kernel.cl": ""})
    os.symlink(f"{library}.580", f"{library}.1")
    write_program(f"{folder}/programs/ldconfig", f'echo "	libnvidia-opencl.so.1 (libc6,x86-64) => {library}.1"\n')

    def run(*words, **more):
        shutil.rmtree(out, ignore_errors=True)
        result = subprocess.run([f"{house}/tools/on-device", "run", out, *words], capture_output=True, text=True, cwd=folder,
                                env={**environment(folder), "VENDORS": f"{folder}/vendors", **more})
        with open(f"{out}/summary.md") as summary, open(f"{out}/log.txt") as log:
            return result, result.stdout.splitlines(), summary.read(), log.read()

    result, lines, summary, _ = run()
    expect("no GPU", result.returncode == 1 and "NO GPU FOUND: there is only 0:0 CPU stand-in" in lines[0], result)
    expect("no GPU", summary.startswith("# NO GPU FOUND: there is only 0:0 CPU stand-in\n"), summary)
    expect("no GPU", lines[-1] == "0 passed, 1 failed", lines)
    expect("drivers", any("/nowhere/libforeign.so.1" in line for line in lines), lines)
    expect("drivers", any(f"{library}.1 (found" in line for line in lines), lines)
    for named in ("libnvidia-opencl.so.1", f"{library}.580", f"{folder}/link.so"):
        write_files(folder, {"vendors/foreign.icd": f"{named}\n"})
        if not os.path.lexists(f"{folder}/link.so"):
            os.symlink(f"{library}.580", f"{folder}/link.so")
        lines = run()[1]
        expect("drivers", not any(f"{library}.1 (found" in line for line in lines), f"{named} is taken twice: {lines}")

    write_files(folder, {"vendors/foreign.icd": "/nowhere/libnvidia-opencl.so.1\n"})
    lines = run()[1]
    expect("drivers", any(f"{library}.1 (found" in line for line in lines), f"an ICD file names what is not there: {lines}")

    result, lines, summary, log = run("devices", "tests", DEVICE="cpu", TIMEOUTS="devices=1 tests=100")
    rows = {cells[1].strip(): (cells[2].strip(), cells[4]) for cells in (line.split("|") for line in summary.splitlines()) if len(cells) == 6}
    expect("a run", result.returncode == 1 and lines[-1] == "2 passed, 3 failed" and "Device: 0:0 CPU stand-in" in lines[0], result)
    expect("a run", rows["build"][0] == "passed" and rows["test good"][0] == "passed", summary)
    expect("a slow step", rows["devices"][0] == "FAILED" and "not done in 1 s" in rows["devices"][1], summary)
    expect("a broken test", rows["test broken"][0] == "FAILED" and "does not build" in rows["test broken"][1], summary)
    expect("a crash", rows["test crash"][0] == "FAILED" and "exit status 139" in rows["test crash"][1], summary)
    expect("a crash", "planted at" in rows["test crash"][1] and "crash.c:1" in rows["test crash"][1], summary)
    expect("a crash", "printed before" in log and "in main at" in log, log)
    expect("a run", len(os.listdir(out)) <= 8, os.listdir(out))

    result, lines, summary, log = run("prototype", "kernel.cl", "m=3", "prototype", "kernel.cl", DEVICE="cpu")
    expect("a kernel", result.returncode == 0 and lines[-1] == "2 passed, 0 failed" and log.count(f"runs --device cpu {folder}/kernel.cl m=3\n") == 1, result)
    expect("a kernel", "building" not in result.stdout, "one kernel file needs no build of the rest")
    result = subprocess.run([f"{house}/tools/on-device", "--help"], capture_output=True, text=True)
    told = dict(re.findall(r"^  (\w+) +(\d+)  ", result.stdout, re.M))
    with open(f"{TOOLS}/on-device") as script:
        limits = dict(re.findall(r"\[(\w+)\]=(\d+)", script.read()))
    expect("limits", told and {**told, "prototype": "30"} == limits and sum(map(int, told.values())) <= 200, f"{told} {limits}")
    write_files(house, {"src/meson.build": "# changed\n"})
    result = run("devices", DEVICE="cpu")[0]
    expect("an old folder", result.returncode == 1 and "run prepare again" in result.stderr, result)
    result = subprocess.run([f"{house}/tools/on-device", "run", out, "bend"], capture_output=True, text=True)
    expect("a step", result.returncode == 1 and "unknown step 'bend'" in result.stderr, result)


def check_beside_pytorch(folder):
    """The table with a stand-in for Expanse and without PyTorch; a row that fails costs itself."""
    write_files(folder, {"modules/torch.py": "raise ImportError\n"})
    write_program(f"{folder}/expanse", """case "$*" in
*tf32*) exit 1 ;;
*gemm*) echo "no product today" >&2; exit 1 ;;
*attention*) echo '[{"shape": "forward B=2", "median_ms": 2}, {"shape": "both B=2", "median_ms": 5}]' ;;
*step*) echo ready; while read -r count; do echo "0.5 2.25"; done ;;
*) echo "0:0 a stand-in" ;;
esac
""")
    result = subprocess.run([sys.executable, f"{TOOLS}/on_device/beside_pytorch.py", "--expanse", f"{folder}/expanse", "--scale", "small", "--output",
                             f"{folder}/peers.md"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{folder}/modules"})
    with open(f"{folder}/peers.md") as file:
        page = file.read()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if re.match(r"\| (product|attention|step)", line)]
    expect("peers", "no PyTorch here" in page and "0:0 a stand-in" in page and page in result.stdout, result)
    expect("peers", result.returncode == 1 and "2 of 8 rows failed: product" in result.stdout, result)
    expect("peers", rows[0][-1].startswith("FAILED") and "no product today" in rows[0][-1], rows)
    expect("peers", [row[1] for row in rows] == ["fp32", "bf16"] * 4, rows)
    expect("peers", rows[2][2].startswith("2 (") and rows[4][2].startswith("5 (") and rows[6][2:] == ["250", "", "", "", "", "2.250000", ""], rows)
    sys.path[:0] = [f"{folder}/modules", f"{TOOLS}/on_device"]
    import beside_pytorch
    row = beside_pytorch.Row("a step", "fp32", None)
    row.judge("PyTorch", 2.0, 2.0001, 1e-4)
    expect("peers", row.verdict == "equal", row.verdict)
    row.judge("PyTorch", 2.0, 2.0003, 1e-4)
    row.judge("another", 2.0, 2.0, 1e-4)
    expect("peers", row.verdict.startswith("FAILED: PyTorch"), row.verdict)


EXPANSE = """#!/usr/bin/env python3
import json, sys
words = sys.argv[1:]
if "--on-request" in words:
    print("ready", flush=True)
    for line in sys.stdin:
        print(0.001 * int(line), "2.51" if "bf16" in words else "2.5", flush=True)
elif words[1] == "gemm":
    print(json.dumps([{"shape": word, "median_ms": 1.0} for word in words[2:words.index("--repetitions")]]))
else:
    print(json.dumps([{"shape": shape, "median_ms": 1.0} for shape in ("forward B=8", "both B=8")]))
"""


def check_peers(folder):
    """A peer that is not here is a gap in the table and one line that names its package."""
    write_program(f"{folder}/expanse", "")
    with open(f"{folder}/expanse", "w") as file:
        file.write(EXPANSE)
    write_program(f"{folder}/bare", f'exec "{sys.executable}" -I -S "$@"\n')  # without installed packages
    os.makedirs(f"{folder}/libraries")
    for name in ("libopenblas.so.0", "libOpenCL.so.1"):
        open(f"{folder}/libraries/{name}", "w").close()
    bare = [word for peer in ("", "jax-", "tinygrad-") for word in (f"--{peer}python", f"{folder}/bare")]
    fast = ["--expanse", f"{folder}/expanse", "--rounds", "2", "--steps", "1", "--only", "1"]
    command = [sys.executable, f"{TOOLS}/bench-peers"]
    hidden = {**environment(folder), "LD_LIBRARY_PATH": f"{folder}/libraries"}
    result = subprocess.run([*command, *fast, *bare], capture_output=True, text=True, env=hidden)
    expect("bench-peers", result.returncode == 0 and "Traceback" not in result.stdout + result.stderr, result.stderr)
    told = [("PyTorch", "torch", "python3-torch"), ("PyTorch, memory kept", "torch", "python3-torch"), ("JAX", "jax", "jax with pip"),
            ("OpenBLAS", "libopenblas.so.0", "libopenblas0-pthread"), ("CLBlast", "libOpenCL.so.1", "ocl-icd-libopencl1"),
            ("tinygrad", "tinygrad", "tinygrad with pip")]
    lines = [f"bench-peers: {name} is left out: {lacks} cannot be loaded: install {package}" for name, lacks, package in told]
    expect("bench-peers", result.stderr.splitlines() == lines, result.stderr)
    steps = [line.split("|")[2:4] for line in result.stdout.splitlines() if line.startswith("| d=512")]
    expect("bench-peers", steps == [[" Expanse ", " 1 "], [" PyTorch ", " – "], [" PyTorch, memory kept ", " – "], [" JAX ", " – "]], steps)
    for row in ("| 512x512x512nn | 1.00 | ±0 % | – | – | – | – |", "| both D=32 | 1.00 | ±0 % | – | – | – | – |"):
        expect("bench-peers", row in result.stdout.splitlines(), f"{row} is not in\n{result.stdout}")
    # In pieces: what was kept is not measured again, so the page comes out where nothing can be measured any more.
    pieces, without_memory = [*command, *fast, *bare, "--keep", f"{folder}/kept.json"], lambda text: re.sub(r"[0-9]+ \| 2\.5", "2.5", text)
    for words in (["gemm"], []):
        subprocess.run([*pieces, *words], capture_output=True, env=hidden)
    os.rename(f"{folder}/expanse", f"{folder}/hidden")
    again = subprocess.run(pieces, capture_output=True, text=True, env=hidden)
    os.rename(f"{folder}/hidden", f"{folder}/expanse")
    expect("bench-peers", without_memory(again.stdout) == without_memory(result.stdout), again.stdout + again.stderr)
    # Another build takes turns with this one; each of its rounds takes as long here.
    result = subprocess.run([*command, "steps", *fast, "--no-pytorch", "--no-jax", "--beside", f"{folder}/expanse"], capture_output=True, text=True, env=hidden)
    steps = [line.split("|")[2:6] for line in result.stdout.splitlines() if line.startswith("| d=512")]
    expect("bench-peers", [row[0] for row in steps] == [" Expanse ", " Expanse, other build "] and "**1.00** (1.00–1.00)" in steps[1][3], result.stdout + result.stderr)
    # In bf16 losses agree to 1 %, and fp32 takes turns, too.
    half = [*command, "--precision", "bf16", *fast, "--no-pytorch"]
    result = subprocess.run([*half, "steps", "--no-jax"], capture_output=True, text=True, env=hidden)
    steps = [line.split("|")[2:8] for line in result.stdout.splitlines() if line.startswith("| d=512")]
    expect("bench-peers", result.returncode == 0 and [(row[0], row[5]) for row in steps] == [(" Expanse ", " 2.510000 "), (" Expanse, fp32 ", " 2.500000 ")], result)
    expect("bench-peers", subprocess.run([*half, "gemm", "--no-jax"], capture_output=True, env=hidden).returncode == 2, "gemm in bf16")
    # Nothing can be installed; no interpreter has PyTorch, either.
    alone = {**hidden, "HOME": "/dev/null"}
    result = subprocess.run([*command, "steps", *fast, "--python", f"{folder}/none"], capture_output=True, text=True, env=alone)
    expect("bench-peers", result.returncode == 0 and "Traceback" not in result.stdout + result.stderr, result.stderr)
    expect("bench-peers", "jax is left out: it could not be installed" in result.stderr, result.stderr)
    expect("bench-peers", f"PyTorch is left out: {folder}/none: No such file" in result.stderr and len(result.stderr.splitlines()) == 5, result.stderr)


def check_sanitized(folder):
    """A leak check that crashed is made again; what a sanitizer finds fails at once."""
    wrapper = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sanitized.sh")
    crash = "LeakSanitizer has encountered a fatal error"
    for crashes, code, expected in ((0, 0, (0, 1)), (2, 0, (0, 3)), (9, 0, (1, 3)), (0, 7, (7, 1)), (1, 7, (7, 2))):
        runs = f"{folder}/runs-{crashes}-{code}"
        write_program(f"{folder}/test", f'echo >>"{runs}"; [ $(wc -l <"{runs}") -gt {crashes} ] || {{ echo "{crash}."; exit 1; }}; exit {code}\n')
        result = subprocess.run([wrapper, f"{folder}/test"], capture_output=True)
        seen = (result.returncode, len(open(runs).readlines()))
        expect("sanitized", seen == expected, f"{crashes} crashes, then exit code {code}: {seen}, not {expected}")


for check in (check_logs, check_sanitized, check_packages, check_quickstart, check_plan, check_on_device, check_beside_pytorch, check_peers):
    with tempfile.TemporaryDirectory() as scratch:
        check(scratch)
print(f"{failures} failures")
sys.exit(failures > 0)
