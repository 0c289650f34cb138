#!/usr/bin/env python3
"""Compares Expanse with this machine's PyTorch on the same GPU and on the CPU: training steps from the same weights and the same
batch, matrix products, attention, each in every precision that the device has. One table, written again after each row, the most
important rows first in case the time ends; the CPU comes last. Without a GPU for PyTorch, its CPU is the peer; without PyTorch,
Expanse is measured alone. Exits with 1 if the losses of steps differ or a row fails.

    beside_pytorch.py --expanse PROGRAM [--device ID] [--output FILE] [--scale full|small] [--rounds N]"""
import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from peers import kernels, steps  # noqa: E402

try:
    import torch
except (ImportError, OSError):  # OSError: a library that it needs is not there
    torch = None

WARM, STEPS, STEP_ROUNDS = 2, 2, 7  # steps before the first time is taken, steps a round, and rounds
MOST_SECONDS = 1  # a peer's kernel is repeated no longer than this in a round


# Precisions of Expanse, what PyTorch calls that (fp32-matrix is as exact as fp32), and how far losses may differ: bf16 rounds to 8 bits
# at other places in each library.
PRECISIONS = {"fp32": ("fp32", steps.TOLERANCES["fp32"]), "fp32-matrix": ("fp32", steps.TOLERANCES["fp32"]), "tf32": ("tf32", 1e-2), "bf16": ("bf16", steps.TOLERANCES["bf16"])}


class Side:
    """PyTorch on a device in a precision: fp32 is exact, tf32 lets products round their factors, bf16 computes under autocast."""

    def __init__(self, device, precision):
        self.device, self.precision = device, precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def use(self):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"

    def seconds(self, call):
        """The median of a call, each waited for."""
        def once():
            call()
            if self.device != "cpu":
                torch.cuda.synchronize()

        self.use()
        once()
        times = []
        while len(times) < kernels.REPETITIONS and sum(times) < MOST_SECONDS:
            times.append(kernels.seconds_of(once))
        return statistics.median(times)

    def product(self, text):
        m, n, k, ta, tb = kernels.sizes_of(text)
        draw = lambda *shape: torch.randn(*shape, device=self.device, dtype=self.dtype)
        a, b = draw(*((k, m) if ta else (m, k))), draw(*((n, k) if tb else (k, n)))
        return lambda: (a.T if ta else a) @ (b.T if tb else b)

    def attention(self, shape):
        return kernels.pytorch_attention(**shape, device=self.device, dtype=self.dtype)

    def step(self, start):
        return steps.pytorch_step(start, self.device, torch.bfloat16 if self.precision == "bf16" else None)

    def steps(self, step, count):
        """(seconds a step, loss after the last)."""
        self.use()
        begin = time.perf_counter()
        for _ in range(count):
            loss = step()
        loss = float(loss)
        return (time.perf_counter() - begin) / count, loss


class Row:
    """A case in one precision: the seconds of Expanse and of its peer round by round, those of PyTorch on the CPU, and the losses."""

    def __init__(self, label, precision, side, flops=None):
        self.label, self.precision, self.side, self.flops = label, precision, side, flops
        self.own, self.peer, self.cpu, self.losses, self.verdict = [], [], [], [], ""

    def cell(self, times):
        if not times:
            return ""
        seconds = statistics.median(times)
        return f"{seconds * 1e3:.4g}" + (f" ({self.flops / seconds * 1e-12:.3g})" if self.flops else "")

    def judge(self, name, own, other, tolerance):
        """Whether a peer's loss is ours; the verdict says so."""
        if abs(own - other) > tolerance * abs(own):
            self.verdict = f"FAILED: {name} has the loss {other:.6f}, Expanse {own:.6f}"
        elif not self.verdict:
            self.verdict = "equal"

    def line(self):
        ratio = f"{statistics.median(b / a for a, b in zip(self.own, self.peer)):.2f}" if self.own and self.peer else ""
        cells = [self.label, self.precision, self.cell(self.own), self.side.precision if self.side else "", self.cell(self.peer), ratio,
                 self.cell(self.cpu), " ".join(f"{loss:.6f}" for loss in self.losses), self.verdict]
        return "| " + " | ".join(cells) + " |"


class Page:
    def __init__(self, output, heading):
        self.output, self.rows, self.heading = output, [], heading

    def write(self):
        lines = ["| | precision | Expanse | of PyTorch | PyTorch | Expanse's speed, × PyTorch | PyTorch CPU fp32 | losses | |",
                 "|---|---|---:|---|---:|---:|---:|---|---|", *(row.line() for row in self.rows)]
        text = f"# Comparison with PyTorch\n\n{self.heading}\n\n" + "\n".join(lines) + "\n\n" + NOTE
        if self.output:
            with open(self.output + ".part", "w") as file:
                file.write(text)
            os.replace(self.output + ".part", self.output)
        return text


NOTE = """Milliseconds, medians of rounds in which the sides take turns; in brackets TFLOP/s. Losses are those of Expanse and of PyTorch after
equally many steps from equal weights; those of tf32 and bf16 may differ by 1 %. fp32 is exact in PyTorch (no TF32); fp32-matrix, which
makes fp32 products of three TF32 products, is compared with it. bf16 is autocast in PyTorch's steps and bf16 tensors elsewhere. A CPU
beside a GPU makes two steps, and its loss is compared after them.
"""


def ours(options, precision, *words):
    return kernels.ours(options, [*words, "--device", options.device, "--precision", precision])


def has_matrix_units(options):
    command = [options.expanse, "bench", "gemm", "64x64x64nn", "--repetitions", "1", "--precision", "tf32", "--device", options.device]
    return subprocess.run(command, capture_output=True).returncode == 0


def words_of(shape):
    return [word for name, value in shape.items() for word in (f"--{name}", str(value))]


# A case opens its rows, of all precisions, and keeps them as {precision: its rows}; it measures one precision after another.


class Products:
    def __init__(self, *texts):
        self.texts = texts

    def open(self, sides):
        self.of = {precision: [] for precision in sides}
        for text in self.texts:
            m, n, k, _, _ = kernels.sizes_of(text)
            for precision, side in sides.items():
                self.of[precision].append(Row(f"product {text}", precision, side, 2.0 * m * n * k))
        return [self.of[precision][i] for i in range(len(self.texts)) for precision in sides]

    def measure(self, options, precision):
        rows, side = self.of[precision], self.of[precision][0].side
        calls = [side.product(text) for text in self.texts] if side else []
        for _ in range(options.rounds):
            for row, answer in zip(rows, ours(options, precision, "gemm", *self.texts)):
                row.own.append(answer["median_ms"] / 1e3)
            for row, call in zip(rows, calls):
                row.peer.append(side.seconds(call))

    def measure_cpu(self, cpu):
        for row, text in zip(self.of["fp32"], self.texts):
            row.cpu.append(cpu.seconds(cpu.product(text)))


class Attention:
    PASSES = {"forward": 2, "both": 7}  # and how many products of B·H·N·N·D each makes

    def __init__(self, **shape):
        self.shape = shape

    def open(self, sides):
        size = 2.0 * self.shape["batch"] * self.shape["heads"] * self.shape["length"] ** 2 * self.shape["width"]
        text = "B{batch} H{heads} N{length} D{width}".format(**self.shape)
        self.of = {precision: [Row(f"attention {name} {text}", precision, side, size * products) for name, products in self.PASSES.items()]
                   for precision, side in sides.items()}
        return [self.of[precision][i] for i in range(len(self.PASSES)) for precision in sides]

    def measure(self, options, precision):
        rows, side = self.of[precision], self.of[precision][0].side
        calls = side.attention(self.shape) if side else []
        for _ in range(options.rounds):
            for answer in ours(options, precision, "attention", "softmax", *words_of(self.shape)):
                rows[[*self.PASSES].index(answer["shape"].split()[0])].own.append(answer["median_ms"] / 1e3)
            for row, call in zip(rows, calls):
                row.peer.append(side.seconds(call))

    def measure_cpu(self, cpu):
        for row, call in zip(self.of["fp32"], cpu.attention(self.shape)):
            row.cpu.append(cpu.seconds(call))


class Step:
    def __init__(self, **shape):
        self.shape = shape

    def open(self, sides):
        self.of = {precision: [Row(f"step {steps.shape_of(self.shape)}", precision, side)] for precision, side in sides.items()}
        return [row for (row,) in self.of.values()]

    def measure(self, options, precision):
        (row,) = self.of[precision]
        side = row.side
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "start.safetensors")
            runner = steps.Runner("Expanse", [options.expanse, "bench", "step", "--on-request", "--save-start", path, "--device",
                                              options.device, "--precision", precision, *words_of(self.shape)])
            start = steps.Start(path, steps.options_of(self.shape)) if side else None
        step = side.step(start) if side else None
        runner.steps(WARM)
        if side:
            side.steps(step, WARM)
        for _ in range(STEP_ROUNDS):
            row.own.append(runner.steps(STEPS))
            if side:
                seconds, loss = side.steps(step, STEPS)
                row.peer.append(seconds)
        runner.close()
        row.losses.append(runner.losses[-1])
        if side:
            row.losses.append(loss)
            row.judge("PyTorch", runner.losses[-1], loss, PRECISIONS[precision][1])
        if precision == "fp32":
            self.start, self.early_loss = start, runner.losses[0]

    def measure_cpu(self, cpu):
        (row,), step = self.of["fp32"], cpu.step(self.start)
        cpu.steps(step, WARM - 1)
        seconds, loss = cpu.steps(step, 1)
        row.cpu.append(seconds)
        row.judge("PyTorch on the CPU", self.early_loss, loss, steps.TOLERANCES["fp32"])


CASES = {
    "small": lambda: [Products("256x192x128nt"), Attention(batch=2, heads=2, length=64, width=32),
                      Step(width=64, heads=2, layers=2, ffn=128, batch=4, length=32)],
    "full": lambda: [Products("4096x4096x4096nt", "8192x1024x1024nt", "2048x2048x512nt"), Attention(batch=8, heads=16, length=4096, width=64),
                     Step(width=512, heads=8, layers=2, ffn=2048, batch=16, length=512),
                     Step(width=1024, heads=16, layers=4, ffn=4096, batch=8, length=1024),
                     Step(width=64, heads=2, layers=2, ffn=128, batch=32, length=1024),
                     Step(width=512, heads=8, layers=2, ffn=2048, batch=16, length=128), Attention(batch=8, heads=8, length=1024, width=64)]}


def compile_steps(options, cases, precisions):
    """Fills the disk cache with the kernels of all steps, which one process after another would compile one by one."""
    words = [[options.expanse, "bench", "step", "--repetitions", "1", "--device", options.device, "--precision", precision, *words_of(case.shape)]
             for case in cases if isinstance(case, Step) for precision in precisions]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda command: subprocess.run(command, capture_output=True), words))


def attempt(page, rows, measure, *arguments):
    """What fails costs its own rows alone."""
    try:
        measure(*arguments)
    except (SystemExit, Exception) as error:
        for row in rows:
            text = str(error).removeprefix("bench-peers: ") or type(error).__name__
            row.verdict = "FAILED: " + text.replace("\n", " ").replace("|", "/")[:200]
    page.write()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expanse", required=True)
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--output", help="Markdown file to write")
    parser.add_argument("--scale", choices=CASES, default="full", help="small shapes are for a CPU")
    parser.add_argument("--rounds", type=int, default=2, help="of products and attention (2)")
    options = parser.parse_args()
    gpu = torch is not None and torch.cuda.is_available() and options.device.lower() != "cpu"
    if torch:
        torch.set_num_threads(os.cpu_count())
    cpu = Side("cpu", "fp32") if torch else None
    precisions = [*PRECISIONS] if has_matrix_units(options) else ["fp32", "bf16"]
    sides = {precision: Side("cuda" if gpu else "cpu", PRECISIONS[precision][0]) if torch else None for precision in precisions}
    if torch is None:
        peer = f"no PyTorch here ({sys.executable} cannot import it): Expanse alone"
    else:
        peer = f"PyTorch {torch.__version__} on {torch.cuda.get_device_name() if gpu else 'the CPU alone'}, {torch.get_num_threads()} CPU threads"
    devices = subprocess.run([options.expanse, "devices"], capture_output=True, text=True).stdout.strip()
    page = Page(options.output, f"Device {options.device} of\n\n    " + devices.replace("\n", "\n    ") + f"\n\n{peer}.")
    print(peer, flush=True)
    cases = CASES[options.scale]()
    for case in cases:
        page.rows += case.open(sides)
    compile_steps(options, cases, precisions)
    for case in cases:
        for precision in precisions:
            attempt(page, case.of[precision], case.measure, options, precision)
            print("\n".join(row.line() for row in case.of[precision]), flush=True)
    for case in cases if gpu else ():
        if not case.of["fp32"][0].verdict.startswith("FAILED"):
            attempt(page, case.of["fp32"], case.measure_cpu, cpu)
    print("\n" + page.write())
    failed = [f"{row.label} {row.precision}" for row in page.rows if row.verdict.startswith("FAILED")]
    print(f"{len(failed)} of {len(page.rows)} rows failed{': ' if failed else ''}{', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
