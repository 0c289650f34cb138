"""Training steps of Expanse beside PyTorch and JAX: the model in each library's words, the sides as processes that answer
requests for steps, and the table of a row. Knows nothing of pages or of kernels alone."""
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

CASES = [
    dict(width=512, heads=8, layers=2, ffn=2048, batch=16, length=128),
    dict(width=512, heads=8, layers=2, ffn=2048, batch=16, length=512),
    dict(width=64, heads=2, layers=2, ffn=128, batch=32, length=1024),
    dict(width=64, heads=4, layers=4, ffn=128, batch=64, image=28, patch=4),
    dict(preset="forecast", batch=64, length=336, features=3, classes=48),
    dict(preset="text-small", batch=16, length=128),
    dict(preset="deit-tiny", batch=8, image=224, channels=3, classes=1000),
]
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "20000000000"}
RATE, DECAY, BETAS, EPSILON = 1e-5, 0.01, (0.9, 0.999), 1e-8
TOLERANCES = {"fp32": 1e-4, "bf16": 1e-2}
ROUND = 1.0  # seconds: rounds of short steps have more of them
# What these steps have in place of the options of a preset: a configuration (YAML).
PLAIN = f"""model: {{dropout: 0, drop_path: 0}}
augment: {{mixup: 0, cutmix: 0}}
training: {{accumulate: 1, label_smoothing: 0, gradient_clip: 0, learning_rate: {RATE}, weight_decay: {DECAY}, beta1: {BETAS[0]}, beta2: {BETAS[1]},
           epsilon: {EPSILON}}}
"""


PACKAGES = {"libopenblas.so.0": "libopenblas0-pthread", "libclblast.so.1": "libclblast1", "libOpenCL.so.1": "ocl-icd-libopencl1",
            "torch": "python3-torch", "numpy": "python3-numpy", "jax": "jax with pip", "tinygrad": "tinygrad with pip"}


class LeftOut(Exception):
    """A peer that cannot be had here; says why in one line."""


def missing(error):
    """What an ImportError, or an OSError of ctypes, misses, and the package that has it."""
    name = (error.name or "").split(".")[0] if isinstance(error, ImportError) else os.path.basename(str(error).split(":")[0])
    return f"{name} cannot be loaded: install {PACKAGES[name]}" if name in PACKAGES else str(error)


told = set()


def leave_out(name, reason):
    """Says it once."""
    line = f"bench-peers: {name} is left out: {reason}"
    if line not in told:
        print(line, file=sys.stderr, flush=True)
    told.add(line)


def last_line(text, code):
    """What a process that failed has to say: of a traceback, the error alone."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with code {code}"


def read_safetensors(path):
    import numpy

    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        body = file.read()
    types = {"F32": numpy.float32, "I64": numpy.int64}
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            out[name] = numpy.frombuffer(body[first:last], dtype=types[entry["dtype"]]).reshape(entry["shape"])
    return out


def options_of(case):
    """The model of a case, as far as the tensors do not tell it: options of its preset, or of the plain encoder."""
    if "preset" not in case:
        vision = "image" in case
        return dict(heads=case["heads"], pre_norm=vision, scale_input=not vision, norm_epsilon=1e-5, head="mean", causal=False)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../presets", case["preset"] + ".yaml")
    with open(path) as file:
        told = dict(line.strip().split(": ", 1) for line in file if line.startswith("  "))
    return dict(heads=int(told["heads"]), pre_norm=told["pre_norm"] == "on", scale_input=told["scale_input"] == "on",
                norm_epsilon=float(told["norm_epsilon"]), head=told["head"], causal="causal" in told["attention"])


class Start:
    """Weights and batch of a file of `expanse bench step --save-start`, with options_of a case; images become rows of patches, steps of
    a series rows of patches, too, and the labels of a text are the tokens that follow."""

    def __init__(self, path, options):
        tensors = read_safetensors(path)
        self.labels = tensors.pop("batch.labels")
        self.text = "batch.text" in tensors
        if self.text:
            text = tensors.pop("batch.text").astype("int64")
            self.series, self.labels = text[:, :-1], text[:, 1:].reshape(-1)
        elif "batch.images" in tensors:
            images = tensors.pop("batch.images")
            b, c, y, x = images.shape
            p = round((tensors["embedding.weight"].shape[1] / c) ** 0.5)
            images = images.reshape(b, c, y // p, p, x // p, p).transpose(0, 2, 4, 1, 3, 5)
            self.series = images.reshape(b, (y // p) * (x // p), c * p * p)
        else:
            series = tensors.pop("batch.series")
            self.series = series.reshape(series.shape[0], -1, tensors["embedding.weight"].shape[1])
        self.tensors = tensors
        for name, value in options.items():
            setattr(self, name, value)
        self.width = tensors["positions"].shape[1]
        self.layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("encoder."))

    def decays(self, name):
        return name.endswith(".weight") and self.tensors[name].ndim == 2


def serve(step, banner):
    """Answers lines of stdin, as `expanse bench step --on-request` does."""
    print("ready", banner, flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            loss = step()
        loss = float(loss)
        print(time.perf_counter() - begin, loss, flush=True)


def encode(start, p, x, operations):
    """The model's logits: `operations` are linear, norm, attention, gelu and append of a library, p its tensors by name."""
    linear, norm, attention, gelu, append = operations
    apply = lambda x, name: linear(x, p[name + ".weight"], p[name + ".bias"])
    normed = lambda x, name: norm(x, p[name + ".weight"], p[name + ".bias"])
    x = p["embedding.weight"][x] if start.text else apply(x, "embedding")
    x = x * start.width**0.5 if start.scale_input else x
    x = (append(p["class_token"], x) if start.head == "class" else x) + p["positions"]
    for i in range(start.layers):
        attend = lambda x: apply(attention(apply(x, f"encoder.{i}.attention.qkv")), f"encoder.{i}.attention.output")
        feed = lambda x: apply(gelu(apply(x, f"encoder.{i}.feed_forward.linear1")), f"encoder.{i}.feed_forward.linear2")
        for part, name in ((attend, f"encoder.{i}.norm1"), (feed, f"encoder.{i}.norm2")):
            x = x + part(normed(x, name)) if start.pre_norm else normed(x + part(x), name)
    x = normed(x, "final_norm")
    if start.head == "tied":
        return x.reshape(-1, start.width) @ p["embedding.weight"].T
    return apply({"class": lambda: x[:, 0], "mean": lambda: x.mean(1), "flatten": lambda: x.reshape(x.shape[0], -1)}[start.head](), "head")


def pytorch_step(start, device="cpu", autocast=None):
    """A function that makes a training step in PyTorch on a device, under autocast to a type if one is given, and returns the loss."""
    import torch
    from torch.nn import functional as F

    load = lambda value: torch.from_numpy(value.copy()).to(device)
    tensors = {name: load(value).requires_grad_(True) for name, value in start.tensors.items()}
    series, labels = load(start.series), load(start.labels)
    groups = [
        dict(params=[v for n, v in tensors.items() if start.decays(n)], weight_decay=DECAY),
        dict(params=[v for n, v in tensors.items() if not start.decays(n)], weight_decay=0.0),
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON)
    fused = getattr(F, "scaled_dot_product_attention", None)  # PyTorch 2

    def attention(qkv):
        b, n, _ = qkv.shape
        q, k, v = qkv.view(b, n, 3, start.heads, -1).permute(2, 0, 3, 1, 4)
        if fused:
            o = fused(q, k, v, is_causal=start.causal)
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            o = torch.softmax(scores + later[:n, :n] if start.causal else scores, -1) @ v
        return o.transpose(1, 2).reshape(b, n, start.width)

    later = torch.full((start.tensors["positions"].shape[0],) * 2, -torch.inf, device=device).triu(1)
    append = lambda token, x: torch.cat((token.expand(x.shape[0], 1, -1), x), 1)
    operations = (F.linear, lambda x, w, b: F.layer_norm(x, (start.width,), w, b, start.norm_epsilon), attention, F.gelu, append)

    def step():
        with torch.autocast(device, autocast, enabled=autocast is not None):
            loss = F.cross_entropy(encode(start, tensors, series, operations), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def serve_pytorch(start, threads, precision):
    import torch

    square = torch.ones(512, 512)
    torch.set_num_threads(1)
    square @ square
    begin = time.process_time()
    square @ square
    if time.process_time() - begin > 0.05:  # 5 GFLOP/s: Debian's reference BLAS is a hundred times slower than its others
        sys.exit("its BLAS is slow here, which would be no fair peer: install libopenblas0-pthread")
    torch.set_num_threads(threads)
    serve(pytorch_step(start, autocast=torch.bfloat16 if precision == "bf16" else None), f"PyTorch {torch.__version__}")


def serve_jax(start):
    import jax
    import jax.numpy as jnp

    tensors = {name: jnp.asarray(value) for name, value in start.tensors.items()}
    series, labels = jnp.asarray(start.series), jnp.asarray(start.labels)

    def attention(qkv):
        b, n, _ = qkv.shape
        q, k, v = jnp.moveaxis(qkv.reshape(b, n, 3, start.heads, -1), 2, 0)
        return jax.nn.dot_product_attention(q, k, v, is_causal=start.causal).reshape(b, n, start.width)

    def norm(x, w, b):
        mean = x.mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + start.norm_epsilon) * w + b

    append = lambda token, x: jnp.concatenate((jnp.broadcast_to(token, (x.shape[0], 1, start.width)), x), 1)
    operations = (lambda x, w, b: x @ w.T + b, norm, attention, lambda x: jax.nn.gelu(x, approximate=False), append)

    def loss_of(tensors):
        logits = encode(start, tensors, series, operations)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    @jax.jit
    def update(tensors, first, second, count):
        loss, gradients = jax.value_and_grad(loss_of)(tensors)
        count = count + 1
        out = {}, {}, {}
        for name, g in gradients.items():
            m, v = BETAS[0] * first[name] + (1 - BETAS[0]) * g, BETAS[1] * second[name] + (1 - BETAS[1]) * g * g
            x = tensors[name] * (1 - RATE * DECAY * start.decays(name))
            x -= RATE * (m / (1 - BETAS[0] ** count)) / (jnp.sqrt(v / (1 - BETAS[1] ** count)) + EPSILON)
            out[0][name], out[1][name], out[2][name] = x, m, v
        return loss, *out, count

    zeros = {name: jnp.zeros_like(value) for name, value in tensors.items()}
    state = [tensors, zeros, zeros, jnp.float32(0)]

    def step():
        loss, *state[:] = update(*state)
        return loss

    serve(step, f"JAX {jax.__version__}")


class Runner:
    """A side of a row, in a process of its own. Raises LeftOut when it cannot start or ends too early."""

    def __init__(self, name, command, environment=None):
        self.name, self.version, self.times, self.losses, self.peak = name, name, [], [], 0
        self.said = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True,
                                            env={**os.environ, **(environment or {})})
        except OSError as error:
            raise LeftOut(f"{command[0]}: {error.strerror}") from None
        banner = self.process.stdout.readline().split(maxsplit=1)
        if not banner or banner[0] != "ready":
            raise self.failure()
        if len(banner) > 1:
            self.version = banner[1].strip()

    def failure(self):
        code = self.process.wait()
        self.said.seek(0)
        return LeftOut(last_line(self.said.read(), code))

    def steps(self, count):
        try:
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failure() from None
        answer = self.process.stdout.readline().split()
        if len(answer) != 2:
            raise self.failure()
        self.losses.append(float(answer[1]))
        return float(answer[0]) / count

    def close(self):
        self.process.stdin.close()
        _, _, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        self.peak = usage.ru_maxrss / 1024  # MiB


class Peers:
    """The runners of a row: Expanse, without which there is none, and those of its peers that could be had. The others leave gaps."""

    def __init__(self):
        self.names, self.runners = [], {}

    def start(self, name, *words):
        self.names.append(name)
        self.attempt(name, lambda: self.runners.__setitem__(name, Runner(name, *words)))

    def attempt(self, name, call):
        try:
            return call()
        except LeftOut as reason:
            if name == "Expanse":
                sys.exit(f"bench-peers: Expanse: {reason}")
            leave_out(name, reason)
            self.runners.pop(name, None)

    def each(self, call):
        for name, runner in list(self.runners.items()):
            self.attempt(name, lambda: call(runner))


def shape_of(case):
    place = f"image {case['image']}²" if "image" in case else f"N={case['length']}"
    if "preset" in case:
        return f"{case['preset']} B={case['batch']} {place}"
    place += f", patch {case['patch']}" if "patch" in case else ""
    return "d={width} H={heads} L={layers} FFN={ffn} B={batch} ".format(**case) + place


def measure(case, options):
    """{side: what it measured, or None where it could not be had}, in plain values."""
    with tempfile.TemporaryDirectory() as folder:
        start = os.path.join(folder, "start.safetensors")
        words = [word for name, value in case.items() for word in (f"--{name}", str(value))]
        plain = os.path.join(folder, "plain.yaml")
        with open(plain, "w") as file:
            file.write(PLAIN)
        command = [options.expanse, "bench", "step", *(["--config", plain] if "preset" in case else ["--attention", options.attention]),
                   "--on-request", "--save-start", start]
        peer = lambda python, name: [python, options.script, "--peer", name, start, json.dumps(options_of(case)), str(options.threads), options.precision]
        peers = Peers()
        peers.start("Expanse", [*command, "--precision", options.precision, *words])
        if not options.no_pytorch:
            peers.start("PyTorch", peer(options.python, "pytorch"))
            peers.start("PyTorch, memory kept", peer(options.python, "pytorch"), KEPT)
        if options.jax:
            peers.start("JAX", peer(options.jax, "jax"))
        if options.precision != "fp32":
            peers.start("Expanse, fp32", [*command[:-2], *words])
        if options.beside:
            peers.start("Expanse, other build", [options.beside, *command[1:-2], "--precision", options.precision, *words])
        warm = []
        peers.each(lambda runner: warm.append(runner.steps(2)))
        count = max(options.steps, min(20, round(ROUND / warm[0])))

        def take_turn(runner):
            runner.times.append(runner.steps(count))
            time.sleep(0.2)  # spinning workers of the one must not slow the other

        for _ in range(options.rounds):
            peers.each(take_turn)
        peers.each(lambda runner: runner.close())
    sides = {name: peers.runners.get(name) for name in peers.names}
    return {name: side and dict(version=side.version, times=side.times, loss=side.losses[-1], peak=side.peak) for name, side in sides.items()}


HEADER = ["| encoder step | | median ms | spread | × Expanse's time | peak MiB | loss |", "|---|---|---:|---:|---:|---:|---:|"]


def ratios_of_rounds(peers):
    """{peer: how many times as long as Expanse in each round, sorted}"""
    ours = peers["Expanse"]
    return {name: sorted(a / b for a, b in zip(side["times"], ours["times"])) for name, side in peers.items() if side and side is not ours}


def ratios(peers):
    """{peer: how many times as long as Expanse}"""
    return {name: statistics.median(rounds) for name, rounds in ratios_of_rounds(peers).items()}


def interval(ordered):
    """Of the median with a confidence of 95 % by the sign test, for any distribution of noise; of fewer than 6 ratios, their range."""
    count, outside, below = len(ordered), 0, 0.0
    while below + math.comb(count, outside) / 2**count <= 0.025:
        below += math.comb(count, outside) / 2**count
        outside += 1
    outside = max(outside - 1, 0)
    return ordered[outside], ordered[count - 1 - outside]


def rows_of(case, peers):
    rounds, of_ours = ratios_of_rounds(peers), ratios(peers)
    for name, side in peers.items():
        if not side:
            yield f"| {shape_of(case)} | {name} | – | – | – | – | – |"
            continue
        median = statistics.median(side["times"])
        spread = (max(side["times"]) - min(side["times"])) / 2 / median
        ratio = "**{:.2f}** ({:.2f}–{:.2f})".format(of_ours[name], *interval(rounds[name])) if name in of_ours else ""
        yield (f"| {shape_of(case)} | {side['version']}{', memory kept' if 'kept' in name else ''} | {median * 1e3:.0f} | "
               f"±{100 * spread:.0f} % | {ratio} | {side['peak']:.0f} | "
               f"{side['loss']:.6f} |")


def agree(peers, precision):
    losses = [side["loss"] for side in peers.values() if side]
    return max(losses) - min(losses) <= TOLERANCES[precision] * abs(losses[0])
