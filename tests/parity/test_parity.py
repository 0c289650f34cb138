"""Whole training through the command against PyTorch in double precision.

For each preset and attention: `expanse train --epochs 0` writes initial weights; `--resume --epochs 20` trains them with the
whole set as one batch and without dropout; `predict` answers before and after. A model of our own here, written from the
published protocols with explicit masks and matrices, reads the same files, starts from the same weights and must come to
the same losses, weights and probabilities. A separate run of one plain step of gradient descent shows every gradient. The
losses of a training in bf16 are compared with PyTorch's autocast.

    test_parity.py EXPANSE        exit code 77: PyTorch is missing
"""
import csv
import io
import itertools
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    from torch.nn import functional
except ImportError as fault:
    print(f"skipped: {fault}; install python3-torch to compare with PyTorch")
    sys.exit(77)

EXPANSE = os.path.abspath(sys.argv[1])
EPOCHS = 20

# Bounds. Single precision rounds at 6e-8; what it makes of that in 20 steps is measured against double precision.
LOSS = 1e-5         # of each epoch's loss, relative
GRADIENT = 1e-4     # of a tensor's gradient, relative in the L2 norm …
GRADIENT_FLOOR = 1e-6  # … and to the norm of all gradients
MOVEMENT = 1e-3     # of a tensor after the training, relative to how far the training moved it
BEFORE = 1e-6       # of a probability of the initial weights
AFTER = 1e-5        # of a probability of the trained ones
AUTOCAST = 0.01     # of each epoch's loss in bf16, relative

# The published protocols. A preset's sizes are smaller here, and a warm-up keeps its share of the shorter run.
SERIES = {
    "kind": "series", "pre_norm": False, "epsilon": 1e-5, "head": "flatten", "head_activation": functional.gelu,
    "optimiser": "radam", "rate": 1e-3, "betas": (0.9, 0.999), "decay": 0, "clip": 4, "smoothing": 0,
    "schedule": "constant", "layers": 2, "heads": 8,
    "flags": {"model.width": 64, "model.layers": 2, "model.feed_forward": 64},
}
VISION = {
    "kind": "vision", "pre_norm": True, "norm": "layer", "final_norm": True, "head_activation": lambda x: x,
    "optimiser": "adamw", "decay": 0.05, "layers": 2,
}
PROTOCOLS = {
    "uea-flowformer": {**SERIES, "norm": "layer", "final_norm": True},
    "uea-mvts": {**SERIES, "norm": "batch", "final_norm": False},
    "vit-tiny-28": {
        **VISION, "side": 28, "patch": 4, "epsilon": 1e-5, "head": "mean", "heads": 4,
        "rate": 2e-3, "betas": (0.9, 0.99), "clip": 1, "smoothing": 0,
        "schedule": "one-cycle", "warmup": 2.5, "final": 0.001,
        "flags": {"model.width": 32, "model.layers": 2, "model.feed_forward": 64, "training.warmup": 2.5, "data.validation": 0},
    },
    "deit-tiny": {
        **VISION, "side": 48, "patch": 16, "epsilon": 1e-6, "head": "class", "heads": 3,
        "rate": 1e-3, "betas": (0.9, 0.999), "clip": 0, "smoothing": 0.1,
        "schedule": "cosine", "warmup": 5, "final": 0.01,
        "flags": {"model.width": 24, "model.layers": 2, "model.feed_forward": 64, "training.accumulate": 1, "model.drop_path": 0,
                  "data.image_size": 0, "data.mean": "", "data.deviation": "", "augment.crop": 1, "augment.flip": 0,
                  "augment.operations": 0, "augment.erase": 0, "augment.mixup": 0, "augment.cutmix": 0, "augment.repeats": 1},
    },
}

# Preset, attention, kernels' family, whether attention sees the padding.
CASES = [
    ("uea-flowformer", "softmax", "wide", False),
    ("uea-flowformer", "softmax", "wide", True),
    ("uea-flowformer", "softmax+bn", "wide", False),
    ("uea-flowformer", "softmax+sh(1,2)", "wide", False),
    ("uea-flowformer", "softmax+bn(beta=learned)+sh(1,2)", "wide", False),
    ("uea-flowformer", "linear", "wide", False),
    ("uea-flowformer", "softmax+causal", "wide", False),
    ("uea-mvts", "softmax", "wide", False),
    ("uea-mvts", "softmax+bn+sh(1,2)", "wide", False),
    ("vit-tiny-28", "softmax", "wide", False),
    ("vit-tiny-28", "softmax+bn+sh(1,2)", "wide", False),
    ("deit-tiny", "softmax", "wide", False),
    ("deit-tiny", "softmax+bn+sh(1,2,2)", "wide", False),
    ("uea-flowformer", "softmax+bn(beta=learned)+sh(1,2)", "tiled", False),
    ("uea-mvts", "linear", "tiled", False),
]

# The same, in bf16; attention sees no padding.
AUTOCAST_CASES = [("uea-flowformer", "softmax", "wide"), ("uea-flowformer", "softmax+bn+sh(1,2)", "wide")]


# ---- data -----------------------------------------------------------------------------------------------------------

CLASSES, FEATURES = 3, 4


def write_series(path, count, longest, seed):
    """Waves that differ by class in frequency and trend, of unequal lengths, with gaps inside, at the beginning and at the
    end, and one feature that never changes. Returns what was written: [(class, [features][steps], NaN where missing)]."""
    generator = random.Random(seed)
    samples = []
    for i in range(count):
        label, length, phase = i % CLASSES, longest if i == 0 else generator.randint(16, longest), generator.random() * 6
        rows = [[round(math.sin(phase + d + t * (0.3 + 0.3 * label)) * (d + 1) + label * 0.05 * t + generator.gauss(0, 0.3), 4)
                 for t in range(length)] for d in range(FEATURES - 1)] + [[2.5] * length]
        for row in rows:
            for t in range(length):
                if generator.random() < 0.04:
                    row[t] = math.nan
        if i % 5 == 1:
            rows[0][:2] = rows[1][-2:] = [math.nan] * 2
        samples.append((label, rows))
    with open(path, "w") as file:
        file.write(f"@problemName waves\n@timeStamps false\n@missing true\n@univariate false\n@dimensions {FEATURES}\n")
        file.write("@equalLength false\n@classLabel true a b c\n@data\n")
        for label, rows in samples:
            file.write(":".join(",".join("?" if math.isnan(x) else repr(x) for x in row) for row in rows) + f":{'abc'[label]}\n")
    return samples


def fill_gaps(row):
    """Straight lines across the gaps; the nearest value at both ends."""
    known = [t for t, x in enumerate(row) if not math.isnan(x)]
    return numpy.interp(range(len(row)), known, [row[t] for t in known])


def prepare_series(train, test):
    """Standardised by all steps of the training part, then zero behind the end up to the longest of both parts."""
    filled = [[(label, numpy.array([fill_gaps(row) for row in rows]).T) for label, rows in part] for part in (train, test)]
    steps = numpy.concatenate([values for _, values in filled[0]])
    mean, deviation = steps.mean(0), steps.std(0)
    deviation[deviation < 1e-12] = 1
    longest = max(len(values) for part in filled for _, values in part)
    parts = []
    for part in filled:
        series = torch.zeros(len(part), longest, FEATURES, dtype=torch.float64)
        for i, (_, values) in enumerate(part):
            series[i, :len(values)] = torch.from_numpy((values - mean) / deviation)
        lengths = torch.tensor([len(values) for _, values in part])
        parts.append((series, lengths, torch.tensor([label for label, _ in part])))
    return parts


def write_images(folder, count, side, seed):
    """Stripes that differ by class in direction, in noise, as a folder of IDX files."""
    generator = numpy.random.default_rng(seed)
    labels = numpy.arange(count) % CLASSES
    y, x = numpy.mgrid[:side, :side]
    waves = [numpy.sin(0.5 * (x * math.cos(a) + y * math.sin(a))) for a in (0.2, 1.2, 2.2)]
    pixels = numpy.stack([110 + 60 * waves[label] + 40 * generator.standard_normal((side, side)) for label in labels])
    pixels = pixels.clip(0, 255).astype(numpy.uint8)
    for part in ("train", "t10k"):
        with open(os.path.join(folder, f"{part}-images-idx3-ubyte"), "wb") as file:
            file.write(struct.pack(">IIII", 0x803, count, side, side) + pixels.tobytes())
        with open(os.path.join(folder, f"{part}-labels-idx1-ubyte"), "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + labels.astype(numpy.uint8).tobytes())
    images = torch.from_numpy(pixels.astype(numpy.float64))[:, None]
    return (images - images.mean()) / images.std(unbiased=False), None, torch.from_numpy(labels)


# ---- the model ------------------------------------------------------------------------------------------------------

class Attention:
    """The four answers of a specification."""

    def __init__(self, text, heads):
        bn, sh = re.search(r"\+bn(\(beta=learned\))?", text), re.search(r"\+sh\(([\d,]*)\)", text)
        self.heads = heads
        self.linear = text.startswith("linear")
        self.causal = "+causal" in text
        self.bn = bn is not None
        self.learned = self.bn and bn.group(1) is not None
        self.scales = [int(scale) for scale in sh.group(1).split(",")] if sh else [1]

    def head(self, q, k, v, windows, beta):
        """q, k, v [B,N,D]; windows [B,M,N]: row j has the weights with which the steps are averaged to key j, or zeros."""
        seen = windows.sum(2) > 0  # [B,M]
        k, v = windows @ k, windows @ v
        if self.bn:
            weight = (seen.to(k.dtype) / seen.sum(1, keepdim=True))[:, :, None]
            mean = (weight * k).sum(1, keepdim=True)
            deviation = ((weight * (k - mean) ** 2).sum(1, keepdim=True) + 1e-5).sqrt()
            q, k = (q - beta * mean) / deviation, (k - beta * mean) / deviation
        seen = seen[:, None, :].expand(-1, q.shape[1], -1)
        if self.causal:
            seen = seen & torch.ones_like(seen).tril()
        if self.linear:
            weight = (functional.elu(q) + 1) @ (functional.elu(k) + 1).transpose(1, 2) * seen
            return weight / weight.sum(2, keepdim=True) @ v
        score = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
        return torch.softmax(score.masked_fill(~seen, -math.inf), 2) @ v

    def layer(self, x, windows, weights, scope):
        """windows(scale) gives a head its training set."""
        width = x.shape[2]
        qkv = functional.linear(x, weights[scope + ".qkv.weight"], weights[scope + ".qkv.bias"])
        q, k, v = (part.split(width // self.heads, 2) for part in qkv.split(width, 2))
        beta = weights[scope + ".beta"] if self.learned else [1.0] * self.heads
        out = [self.head(q[h], k[h], v[h], windows(self.scales[h % len(self.scales)]), beta[h]) for h in range(self.heads)]
        return functional.linear(torch.cat(out, 2), weights[scope + ".output.weight"], weights[scope + ".output.bias"])


def average(member):
    """Windows [B,M,N] from who is a member of which."""
    return member / member.sum(2, keepdim=True).clamp(min=1)


def series_windows(valid):
    def windows(scale):
        length = valid.shape[1]
        member = torch.arange(length)[None, :] // scale == torch.arange(-(-length // scale))[:, None]
        return average(member[None] * valid[:, None, :])
    return windows


def grid_windows(batch, side, class_token):
    def windows(scale):
        across = -(-side // scale)
        cell = torch.tensor([y // scale * across + x // scale for y, x in itertools.product(range(side), repeat=2)])
        member = (cell[None, :] == torch.arange(across * across)[:, None]).to(torch.float64)
        if class_token:
            member = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), member)
        return average(member[None].expand(batch, -1, -1))
    return windows


class Model:
    def __init__(self, protocol, attention, see_padding):
        self.protocol, self.see_padding = protocol, see_padding
        self.attention = Attention(attention, protocol["heads"])

    def logits(self, weights, data, training):
        """Running statistics among the weights change in training."""
        protocol = self.protocol
        values, lengths, _ = data

        def linear(name, x):
            return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])

        def norm(name, x):
            weight, bias = weights[name + ".weight"], weights[name + ".bias"]
            if protocol["norm"] == "layer":
                return functional.layer_norm(x, x.shape[2:], weight, bias, protocol["epsilon"])
            rows = functional.batch_norm(
                x.flatten(0, 1), weights[name + ".running_mean"], weights[name + ".running_variance"], weight, bias, training,
                0.1, protocol["epsilon"])
            return rows.reshape(x.shape)

        if protocol["kind"] == "series":
            valid = (torch.arange(values.shape[1])[None, :] < lengths[:, None]).to(values.dtype)
            windows = series_windows(torch.ones_like(valid) if self.see_padding else valid)
            x = linear("embedding", values)
            x = x * math.sqrt(x.shape[2]) + weights["positions"]
        else:
            side = values.shape[2] // protocol["patch"]
            patches = functional.unfold(values, protocol["patch"], stride=protocol["patch"]).transpose(1, 2)
            x = linear("embedding", patches)
            if protocol["head"] == "class":
                x = torch.cat([weights["class_token"].expand(len(x), 1, -1), x], 1)
            x = x + weights["positions"]
            windows = grid_windows(len(x), side, protocol["head"] == "class")

        for layer in range(protocol["layers"]):
            scope = f"encoder.{layer}"

            def attend(x):
                return self.attention.layer(x, windows, weights, scope + ".attention")

            def feed_forward(x):
                return linear(scope + ".feed_forward.linear2", functional.gelu(linear(scope + ".feed_forward.linear1", x)))

            if protocol["pre_norm"]:
                x = x + attend(norm(scope + ".norm1", x))
                x = x + feed_forward(norm(scope + ".norm2", x))
            else:
                x = norm(scope + ".norm1", x + attend(x))
                x = norm(scope + ".norm2", x + feed_forward(x))
        if protocol["final_norm"]:
            x = norm("final_norm", x)
        x = protocol["head_activation"](x)
        if protocol["head"] == "flatten":
            x = (x * valid[:, :, None]).flatten(1)
        else:
            x = x[:, 0] if protocol["head"] == "class" else x.mean(1)
        return linear("head", x)

    def loss(self, weights, data):
        return functional.cross_entropy(self.logits(weights, data, True), data[2], label_smoothing=self.protocol["smoothing"])

    def probabilities(self, weights, data):
        with torch.no_grad():
            return torch.softmax(self.logits(weights, data, False), 1).numpy()


def learning_rate(protocol, step):
    """Of a step, counted from 0, with one step an epoch."""
    rate = protocol["rate"]
    if protocol["schedule"] == "constant":
        return rate
    warmup = math.floor(protocol["warmup"])
    if step < warmup:
        if protocol["schedule"] == "cosine":
            return rate * (step + 1) / warmup
        return rate / 25 + (rate - rate / 25) * (1 - math.cos(math.pi * step / warmup)) / 2
    part = (step - warmup) / (EPOCHS - 1 - warmup)
    return rate * protocol["final"] + rate * (1 - protocol["final"]) * (1 + math.cos(math.pi * part)) / 2


def is_trained(name):
    return ".running_" not in name


def load(arrays, precision=numpy.float64):
    """Weights from a file's arrays."""
    return {name: torch.from_numpy(array.astype(precision)).requires_grad_(is_trained(name)) for name, array in arrays.items()}


def train(model, weights, data, bf16=False):
    """Trains the weights in place, in bf16 by autocast. Returns the losses, the gradients of the first step, the largest gradient of each element
    in all steps, and in how many steps the gradients were clipped."""
    protocol = model.protocol
    trained = {name: weight for name, weight in weights.items() if is_trained(name)}
    matrices = [weight for name, weight in trained.items() if weight.ndim > 1 and name != "positions"]
    others = [weight for name, weight in trained.items() if not (weight.ndim > 1 and name != "positions")]
    kind = {"radam": torch.optim.RAdam, "adamw": torch.optim.AdamW}[protocol["optimiser"]]
    optimiser = kind([{"params": matrices, "weight_decay": protocol["decay"]}, {"params": others, "weight_decay": 0}],
                     betas=protocol["betas"], eps=1e-8)
    losses, first, clipped = [], None, 0
    peaks = {name: torch.zeros_like(weight) for name, weight in trained.items()}
    for step in range(EPOCHS):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(protocol, step)
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model.loss(weights, data)
        loss.backward()
        losses.append(loss.item())
        if first is None:
            first = {name: weight.grad.clone().numpy() for name, weight in trained.items()}
        for name, weight in trained.items():
            peaks[name] = torch.maximum(peaks[name], weight.grad.abs())
        if protocol["clip"]:
            clipped += float(torch.nn.utils.clip_grad_norm_(trained.values(), protocol["clip"])) > protocol["clip"]
        optimiser.step()
    return losses, first, {name: peak.numpy() for name, peak in peaks.items()}, clipped


# ---- the command ----------------------------------------------------------------------------------------------------

def expanse(*words):
    result = subprocess.run([EXPANSE, *words], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"expanse {' '.join(words)} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def read_weights(folder):
    with open(os.path.join(folder, "last/model.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(data[begin:end], numpy.float32).reshape(entry["shape"])
    return arrays


def read_metrics(folder, column):
    with open(os.path.join(folder, "metrics.csv")) as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def predict(folder, data):
    rows = csv.DictReader(io.StringIO(expanse("predict", os.path.join(folder, "last"), "--data", data)))
    return numpy.array([[float(value) for name, value in row.items() if name.startswith("probability ")] for row in rows])


# ---- one case -------------------------------------------------------------------------------------------------------

faults = []


def worst(title, what, errors, bound):
    """errors: {place: how far it is off}. Notes a fault for each beyond the bound; returns the worst in words."""
    for place, error in errors.items():
        if not error <= bound:
            faults.append(f"{title}: {what} {place} is {error:.2e} off, allowed {bound:.0e}")
    return f"{what} {max(errors.values()):.1e}"


def norm(array):
    return float(numpy.linalg.norm(array))


def words_of(data, preset, attention, family, settings):
    """The flags of a training on the whole set as one batch."""
    flags = itertools.chain(*(("--set", f"{key}={value}") for key, value in settings.items()))
    return ["--preset", preset, "--train", data[0], "--test", data[1], "--attention", attention, "--family", family,
            "--batch", str(len(data[2][2])), "--seed", "7", "--quiet", *flags]


def check_autocast(folder, data, preset, attention, family):
    """A training in bf16 beside PyTorch's of the same initial weights in single precision."""
    title, protocol, out = f"{preset} {attention} {family} in bf16", PROTOCOLS[preset], os.path.join(folder, "run")
    settings = {**protocol["flags"], "model.dropout": 0, "model.attention_dropout": 0, "training.precision": "bf16"}
    expanse("train", *words_of(data, preset, attention, family, settings), "--epochs", "0", "--out", out)
    weights = load(read_weights(out), numpy.float32)
    expanse("train", "--resume", out, "--epochs", str(EPOCHS), "--quiet")
    values, *rest = data[2]
    theirs = train(Model(protocol, attention, False), weights, (values.float(), *rest), bf16=True)[0]
    ours = read_metrics(out, "train_loss")
    said = worst(title, "loss of epoch", {epoch + 1: abs(a / b - 1) for epoch, (a, b) in enumerate(zip(ours, theirs))}, AUTOCAST)
    if len(ours) != EPOCHS:
        faults.append(f"{title}: the run has not {EPOCHS} epochs")
    print(f"{title}: loss {ours[0]:.4f} … {ours[-1]:.4f}; worst error: {said}", flush=True)


def check(folder, data, preset, attention, family, see_padding):
    protocol = PROTOCOLS[preset]
    title = f"{preset} {attention}{' with padding' if see_padding else ''} {family}"
    _, test_file, train_data, test_data = data
    out, descent = os.path.join(folder, "run"), os.path.join(folder, "descent")
    settings = {**protocol["flags"], "model.dropout": 0, "model.attention_dropout": 0}
    if protocol["kind"] == "series":
        settings["model.mask_padding"] = "off" if see_padding else "on"
    plain = {"training.optimiser": "sgd", "training.momentum": 0, "training.weight_decay": 0, "training.gradient_clip": 0,
             "training.schedule": "constant", "training.warmup": 0, "training.learning_rate": 64}
    said = []

    def train_words(chosen):
        return words_of(data, preset, attention, family, chosen)

    expanse("train", *train_words(settings), "--epochs", "0", "--out", out)
    start = read_weights(out)
    before = predict(out, test_file)
    expanse("train", "--resume", out, "--epochs", str(EPOCHS), "--quiet")
    expanse("train", *train_words({**settings, **plain}), "--epochs", "1", "--out", descent)
    end, step = read_weights(out), read_weights(descent)

    model, weights = Model(protocol, attention, see_padding), load(start)
    said.append(worst(title, "probability", {"before": abs(before - model.probabilities(weights, test_data)).max()}, BEFORE))
    losses, gradients, peaks, clipped = train(model, weights, train_data)
    if protocol["clip"] and clipped == 0:
        faults.append(f"{title}: no step was clipped: the test shows nothing of it")

    rates = [learning_rate(protocol, epoch) for epoch in range(EPOCHS)]
    worst(title, "learning rate of epoch", {epoch + 1: abs(ours / theirs - 1) for epoch, (ours, theirs) in enumerate(
        zip(read_metrics(out, "learning_rate"), rates))}, 1e-12)
    said.append(worst(title, "loss of epoch", {epoch + 1: abs(ours / theirs - 1) for epoch, (ours, theirs) in enumerate(
        zip(read_metrics(out, "train_loss"), losses))}, LOSS))
    if len(read_metrics(out, "train_loss")) != EPOCHS:
        faults.append(f"{title}: the run has not {EPOCHS} epochs")

    everything = math.sqrt(sum(norm(gradient) ** 2 for gradient in gradients.values()))
    shares = {}
    for name, theirs in gradients.items():
        ours = (start[name].astype(numpy.float64) - step[name]) / plain["training.learning_rate"]
        shares[name] = norm(ours - theirs) / (norm(theirs) + GRADIENT_FLOOR / GRADIENT * everything)
    said.append(worst(title, "gradient of", shares, GRADIENT))

    # Where a gradient is zero but for rounding (softmax does not feel a shift of all keys, nor batch norm one of its input),
    # an adaptive optimiser walks along the rounding: nothing but how far is to be compared.
    shares = {}
    for name, theirs in weights.items():
        theirs, begun = theirs.detach().numpy(), start[name].astype(numpy.float64)
        felt = peaks[name] > 1e-12 if is_trained(name) else numpy.ones(theirs.shape, bool)
        moved = norm((theirs - begun)[felt])
        shares[name] = norm((end[name] - theirs)[felt]) / moved if moved > 0 else 0.0
        if not felt.all() and abs(end[name] - begun)[~felt].max() > sum(rates):
            faults.append(f"{title}: {name} went {abs(end[name] - begun)[~felt].max():.1e} without a gradient")
    said.append(worst(title, "weights of", shares, MOVEMENT))
    said.append(worst(title, "probability", {
        "after": abs(predict(out, test_file) - model.probabilities(weights, test_data)).max()}, AFTER))
    print(f"{title}: loss {losses[0]:.4f} … {losses[-1]:.4f}, {clipped} steps clipped; worst errors: {', '.join(said)}", flush=True)


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        files = {part: os.path.join(root, f"{part}.ts") for part in ("train", "test")}
        series = prepare_series(write_series(files["train"], 24, 26, 1), write_series(files["test"], 10, 28, 2))
        data = {preset: (files["train"], files["test"], *series) for preset in ("uea-flowformer", "uea-mvts")}
        for preset in ("vit-tiny-28", "deit-tiny"):
            folder = os.path.join(root, preset)
            os.mkdir(folder)
            images = write_images(folder, 24, PROTOCOLS[preset]["side"], 3)
            data[preset] = (folder, folder, images, images)
        for number, case in enumerate(CASES):
            folder = os.path.join(root, str(number))
            os.mkdir(folder)
            check(folder, data[case[0]], *case)
        for number, case in enumerate(AUTOCAST_CASES):
            folder = os.path.join(root, f"autocast-{number}")
            os.mkdir(folder)
            check_autocast(folder, data[case[0]], *case)
    for fault in faults:
        print("FAIL", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
