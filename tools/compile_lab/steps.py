"""The table of estimated products, attentions and whole training steps on an H200, beside what PyTorch takes there and what
Expanse aims at. Plans come from plan_gpu, times from launches.py; knows no compiler.
"""
import collections
import json
import subprocess

from compile_lab import estimate, launches

STEP = ["model.kind=encoder", "model.dropout=0", "model.attention_dropout=0", "model.pre_norm=off", "model.scale_input=on",
        "model.mask_padding=off", "training.optimiser=adamw", "training.weight_decay=0.01"]


def step(width, heads, layers, ffn, batch, length):
    return ["step", *STEP, f"model.width={width}", f"model.heads={heads}", f"model.layers={layers}", f"model.feed_forward={ffn}",
            f"training.batch={batch}", f"length={length}"]


# Work, its plan without family and precision, the floating-point operations that PyTorch's rate counts (0: a time), and for
# each precision PyTorch's figure on an H200 and the aim: TFLOP/s, or ms of a step.
PRODUCT, ATTENTION = 2 * 4096**3, 4 * 8 * 16 * 4096**2 * 64
ROWS = [
    ("product 4096×4096×4096", ["product", "m=4096", "n=4096", "k=4096"], PRODUCT,
     {"fp32": ("49.1", "45"), "fp32-matrix": ("49.1", "65"), "tf32": ("354", ""), "bf16": ("670", "400")}),
    ("product 2048×2048×512", ["product", "m=2048", "n=2048", "k=512"], 2 * 2048 * 2048 * 512,
     {"fp32": ("35.4", "30"), "fp32-matrix": ("35.4", ""), "bf16": ("98", "")}),
    ("attention forward, B8 H16 N4096 D64", ["attention"], ATTENTION,
     {"fp32": ("35", "40"), "fp32-matrix": ("35", "70"), "bf16": ("300", "300")}),
    ("attention forward and backward, B8 H16 N4096 D64", ["attention", "backward=1"], 3.5 * ATTENTION,
     {"fp32": ("35", "40"), "fp32-matrix": ("35", "70"), "bf16": ("267", "250")}),
    ("step d512 H8 L2 FFN2048 B16 N128", step(512, 8, 2, 2048, 16, 128), 0,
     {"fp32": ("6.4", "4"), "fp32-matrix": ("6.4", ""), "bf16": ("9.3", "1.5")}),
    ("step d512 H8 L2 FFN2048 B16 N512", step(512, 8, 2, 2048, 16, 512), 0,
     {"fp32": ("10.3", "10"), "fp32-matrix": ("10.3", "6"), "bf16": ("8.2", "5")}),
    ("step d64 H2 L2 FFN128 B32 N1024", step(64, 2, 2, 128, 32, 1024), 0,
     {"fp32": ("7.5", "6"), "fp32-matrix": ("7.5", ""), "bf16": ("9.0", "3.5")}),
    ("step d1024 H16 L4 FFN4096 B8 N1024", step(1024, 16, 4, 4096, 8, 1024), 0,
     {"fp32": ("67.5", "70"), "fp32-matrix": ("67.5", "45"), "bf16": ("15.6", "20")}),
]


def planned(plan_gpu, words, precision):
    words = [plan_gpu, str(estimate.UNITS), *words, f"precision={precision}", f"family={'tiled' if precision == 'fp32' else 'matrix'}"]
    printed = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if printed.returncode != 0:
        raise SystemExit(f"compile-lab: {printed.stderr.strip()}")
    return [json.loads(line) for line in printed.stdout.splitlines()]


def tables(plan_gpu, compiled, only=None, details=False):
    """Lines of Markdown. compiled(file, options) gives {kernel: what launches.seconds takes} for an H200."""
    lines = ["| work | precision | estimate | PyTorch | aim | launches | where the time goes |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, words, counted, precisions in ROWS:
        for precision, (measured, aim) in precisions.items():
            if only and only not in f"{name} {precision}":
                continue
            work = planned(plan_gpu, words, precision)
            parts, times = collections.Counter(), []
            for launch in work:
                time, limit = launches.seconds(launch, compiled(launch["file"], launch["options"])[launch["kernel"]])
                times.append(time)
                parts[launch["kernel"]] += time
                if details:
                    print(f"{time * 1e6:9.1f} µs  {limit:10} {launch['layer']:22} {launch['kernel']:28} {launch['global']} of {launch['local']} "
                          f"{launch['flops'] * 1e-9:.2f} GFLOP {launch['bytes'] * 1e-6:.2f} MB {launch['options']}")
            whole = launches.total(times)
            result = f"{counted / whole * 1e-12:.0f} TFLOP/s" if counted else f"{whole * 1e3:.2f} ms"
            unit = "" if counted else " ms"
            shares = ", ".join(f"{kernel} {100 * time / sum(times):.0f} %" for kernel, time in parts.most_common(5)) if len(parts) > 1 else next(iter(parts))
            lines.append(f"| {name} | {precision} | **{result}** | {measured}{unit} | {aim}{unit if aim else ''} | {len(work)} | {shares} |")
            print(lines[-1], flush=True)
    return lines
