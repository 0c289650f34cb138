#!/usr/bin/env python3
"""Times Expanse beside this machine's PyTorch on the same GPU and on the CPU: training steps from the same weights and the same
batch, matrix products, attention. One table, written anew after each row, in an order that leaves the most telling rows if the
time ends; the CPU comes last. Where there is no GPU for PyTorch, its CPU is the peer; without PyTorch Expanse stands alone. Ends
with 1 when the losses of fp32 steps differ or a row fails.

    beside_pytorch.py --expanse PROGRAM [--device ID] [--output FILE] [--scale full|small] [--rounds N]"""
import argparse
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


class Side:
    """PyTorch on a device in a precision: fp32 is exact, tf32 lets products round their factors, bf16 computes under autocast."""

    def __init__(self, device, precision):
        self.device, self.precision = device, precision
        self.name = f"PyTorch {'CPU' if device == 'cpu' else 'GPU'} {precision}"
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
    def __init__(self, label, flops=None):
        self.label, self.flops = label, flops
        self.times, self.losses, self.verdict = {}, {}, ""

    def add(self, name, seconds):
        self.times.setdefault(name, []).append(seconds)

    def cell(self, name):
        if name not in self.times:
            return ""
        seconds = statistics.median(self.times[name])
        return f"{seconds * 1e3:.4g}" + (f" ({self.flops / seconds * 1e-12:.3g})" if self.flops else "")

    def ratio(self, name):
        own, other = self.times.get("Expanse", []), self.times.get(name, [])
        return f"{statistics.median(b / a for a, b in zip(own, other)):.2f}" if own and other else ""

    def judge(self, name, own, other):
        """Whether a peer's loss is ours; says it in the verdict."""
        equal = abs(own - other) <= steps.TOLERANCE * abs(own)
        if not equal:
            self.verdict = f"FAILED: {name} has the loss {other:.6f}, Expanse {own:.6f}"
        elif not self.verdict:
            self.verdict = "equal"


class Page:
    def __init__(self, output, sides, cpu, heading):
        self.output, self.sides, self.rows, self.heading = output, sides, [], heading
        self.names = ["Expanse", *(side.name for side in sides), *([cpu.name] if cpu else [])]

    def lines(self):
        first = self.sides[0].name if self.sides else None
        yield "| | " + " | ".join(f"{name}" for name in self.names) + (f" | Expanse's speed, × {first}" if first else "") + " | losses | |"
        yield "|---|" + "---:|" * (len(self.names) + (first is not None)) + "---|---|"
        for row in self.rows:
            losses = " ".join(f"{row.losses[name]:.6f}" for name in self.names if name in row.losses)
            cells = [row.label, *(row.cell(name) for name in self.names), *([row.ratio(first)] if first else []), losses, row.verdict]
            yield "| " + " | ".join(cells) + " |"

    def write(self):
        text = f"# Beside PyTorch\n\n{self.heading}\n\n" + "\n".join(self.lines()) + "\n\n" + NOTE
        if self.output:
            with open(self.output + ".part", "w") as file:
                file.write(text)
            os.replace(self.output + ".part", self.output)
        return text


NOTE = """Milliseconds, medians of rounds in which the sides take turns; in brackets TFLOP/s. Losses are those after the last step, in the order
of the columns, after equally many steps from equal weights; a CPU beside a GPU makes two steps, and its loss is compared after them.
fp32 is exact (no TF32), bf16 is autocast in steps and bf16 tensors elsewhere. Expanse computes in fp32.
"""


def ours(options, *words):
    return kernels.ours(options, [*words, "--device", options.device])


def words_of(shape):
    return [word for name, value in shape.items() for word in (f"--{name}", str(value))]


class Products:
    def __init__(self, *texts):
        self.texts, self.rows = texts, []
        for text in texts:
            m, n, k, _, _ = kernels.sizes_of(text)
            self.rows.append(Row(f"product {text}", 2.0 * m * n * k))

    def measure(self, options, sides):
        calls = [(side, [side.product(text) for text in self.texts]) for side in sides]
        for _ in range(options.rounds):
            for row, answer in zip(self.rows, ours(options, "gemm", *self.texts)):
                row.add("Expanse", answer["median_ms"] / 1e3)
            for side, all_calls in calls:
                for row, call in zip(self.rows, all_calls):
                    row.add(side.name, side.seconds(call))

    def measure_cpu(self, cpu):
        for row, text in zip(self.rows, self.texts):
            row.add(cpu.name, cpu.seconds(cpu.product(text)))


class Attention:
    PASSES = {"forward": 2, "both": 7}  # and how many products of B·H·N·N·D each makes

    def __init__(self, **shape):
        self.shape = shape
        size = 2.0 * shape["batch"] * shape["heads"] * shape["length"] ** 2 * shape["width"]
        text = "B{batch} H{heads} N{length} D{width}".format(**shape)
        self.rows = [Row(f"attention {name} {text}", size * products) for name, products in self.PASSES.items()]

    def measure(self, options, sides):
        calls = [(side, side.attention(self.shape)) for side in sides]
        for _ in range(options.rounds):
            for answer in ours(options, "attention", "softmax", *words_of(self.shape)):
                self.rows[[*self.PASSES].index(answer["shape"].split()[0])].add("Expanse", answer["median_ms"] / 1e3)
            for side, both in calls:
                for row, call in zip(self.rows, both):
                    row.add(side.name, side.seconds(call))

    def measure_cpu(self, cpu):
        for row, call in zip(self.rows, cpu.attention(self.shape)):
            row.add(cpu.name, cpu.seconds(call))


class Step:
    def __init__(self, **shape):
        self.shape, self.rows = shape, [Row(f"step {steps.shape_of(shape)}")]

    def measure(self, options, sides):
        row = self.rows[0]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "start.safetensors")
            runner = steps.Runner("Expanse", [options.expanse, "bench", "step", "--on-request", "--save-start", path, "--device",
                                              options.device, *words_of(self.shape)])
            self.start = steps.Start(path, self.shape["heads"]) if sides else None
        peers = [(side, side.step(self.start)) for side in sides]
        runner.steps(WARM)
        for side, step in peers:
            side.steps(step, WARM)
        for _ in range(STEP_ROUNDS):
            row.add("Expanse", runner.steps(STEPS))
            for side, step in peers:
                seconds, row.losses[side.name] = side.steps(step, STEPS)
                row.add(side.name, seconds)
        runner.close()
        self.early_loss, row.losses["Expanse"] = runner.losses[0], runner.losses[-1]
        for side in sides:
            if side.precision == "fp32":
                row.judge(side.name, runner.losses[-1], row.losses[side.name])

    def measure_cpu(self, cpu):
        row, step = self.rows[0], cpu.step(self.start)
        cpu.steps(step, WARM - 1)
        seconds, row.losses[cpu.name] = cpu.steps(step, 1)
        row.add(cpu.name, seconds)
        row.judge(cpu.name, self.early_loss, row.losses[cpu.name])


CASES = {
    "small": lambda: [Products("256x192x128nt"), Attention(batch=2, heads=2, length=64, width=32),
                      Step(width=64, heads=2, layers=2, ffn=128, batch=4, length=32)],
    "full": lambda: [Products("4096x4096x4096nt", "8192x1024x1024nt", "2048x2048x512nt"), Attention(batch=8, heads=8, length=1024, width=64),
                     Step(width=512, heads=8, layers=2, ffn=2048, batch=16, length=512),
                     Step(width=1024, heads=16, layers=4, ffn=4096, batch=8, length=1024),
                     Step(width=64, heads=2, layers=2, ffn=128, batch=32, length=1024),
                     Step(width=512, heads=8, layers=2, ffn=2048, batch=16, length=128)]}


def attempt(page, case, measure, *arguments):
    """A case that fails costs its own rows alone."""
    try:
        measure(*arguments)
    except (SystemExit, Exception) as error:
        for row in case.rows:
            text = str(error).removeprefix("bench-peers: ") or type(error).__name__
            row.verdict = "FAILED: " + text.replace("\n", " ").replace("|", "/")[:200]
    page.write()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expanse", required=True)
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--output", help="Markdown file to write")
    parser.add_argument("--scale", choices=CASES, default="full", help="small shapes are for a CPU")
    parser.add_argument("--rounds", type=int, default=3, help="of products and attention (3)")
    options = parser.parse_args()
    gpu = torch is not None and torch.cuda.is_available() and options.device.lower() != "cpu"
    if torch:
        torch.set_num_threads(os.cpu_count())
    cpu = Side("cpu", "fp32") if torch else None
    sides = [Side("cuda", precision) for precision in ("fp32", "tf32", "bf16")] if gpu else [cpu] if torch else []
    if torch is None:
        peer = f"no PyTorch here ({sys.executable} cannot import it): Expanse alone"
    else:
        peer = f"PyTorch {torch.__version__} on {torch.cuda.get_device_name() if gpu else 'the CPU alone'}, {torch.get_num_threads()} CPU threads"
    devices = subprocess.run([options.expanse, "devices"], capture_output=True, text=True).stdout.strip()
    page = Page(options.output, sides, cpu if gpu else None, f"Device {options.device} of\n\n    " + devices.replace("\n", "\n    ") + f"\n\n{peer}.")
    print(peer, flush=True)
    cases = CASES[options.scale]()
    for case in cases:
        page.rows += case.rows
        attempt(page, case, case.measure, options, sides)
        print("\n".join([*page.lines()][-len(case.rows):]), flush=True)
    for case in cases if gpu else ():
        if not case.rows[0].verdict.startswith("FAILED"):
            attempt(page, case, case.measure_cpu, cpu)
    print("\n" + page.write())
    failed = [row.label for row in page.rows if row.verdict.startswith("FAILED")]
    print(f"{len(failed)} of {len(page.rows)} rows failed{': ' if failed else ''}{', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
