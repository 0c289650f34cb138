"""A language model, trained through the command, against PyTorch in double precision.

`expanse train --epochs 0` writes initial weights, and `--resume --epochs 50` trains them, an epoch a step. A model of our own
here starts from the same weights, cuts the text at the same places (by our own Philox), and must come to the same losses, bits
per byte of the validation part, and weights. The last sample of the batch is padding.

    test_text.py EXPANSE        exit code 77: PyTorch is missing
"""
import csv
import json
import math
import os
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
EPOCHS, CONTEXT, WIDTH, HEADS, LAYERS, SEED = 50, 24, 16, 2, 2, 7
RATE, FINAL, DECAY, BETAS, CLIP, WARMUP = 0.01, 0.1, 0.1, (0.9, 0.99), 0.3, 5
EPSILON = 0.01  # of attention-BN: a query that sees one key has no variance, and 1/epsilon magnifies what is rounded there
LOSS = 1e-4      # of each epoch, relative
MOVEMENT = 1e-3  # of a tensor after the training, relative to how far the training moved it
faults = []


def text():
    """Words that repeat, so that there is something to learn, and every byte."""
    generator = numpy.random.default_rng(1)
    words = [b"the king ", b"a crown ", "h\u00f6rt ".encode(), b"and\n", b"lo! "]
    return bytes(range(256)) + b"".join(words[generator.integers(len(words))] for _ in range(40))


# ---- where an epoch cuts the text -----------------------------------------------------------------------------------

def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ k[0], q & 0xFFFFFFFF, p >> 32 ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def shift(epoch):
    position = epoch << 40
    while True:
        for word in reversed(philox([position & 0xFFFFFFFF, position >> 32, 0x53484946, 0], [SEED, 0])):
            product = word * CONTEXT
            if product & 0xFFFFFFFF >= (1 << 32) % CONTEXT:
                return product >> 32
        position += 1


def windows(data, first, count, by):
    """Samples of a part of the text, each with the byte that follows: [count,CONTEXT+1]."""
    starts = [first + min(i * CONTEXT + by, (count - 1) * CONTEXT) for i in range(count)]
    return torch.tensor([list(data[start:start + CONTEXT + 1]) for start in starts])


# ---- the model ------------------------------------------------------------------------------------------------------

def head(q, k, v, bn):
    """Attention of one head to what is not later; with `bn`, query i sees the keys by the statistics of keys up to i."""
    seen = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril()
    if not bn:
        score = q @ k.transpose(1, 2)
    else:
        share = seen.to(q.dtype) / seen.sum(1, keepdim=True)
        mean = share @ k
        variance = torch.einsum("ij,bijd->bid", share, (k[:, None] - mean[:, :, None]) ** 2) + EPSILON
        score = torch.einsum("bid,bijd->bij", (q - mean) / variance, k[:, None] - mean[:, :, None])
    return torch.softmax((score / math.sqrt(q.shape[2])).masked_fill(~seen, -math.inf), 2) @ v


def loss_of(weights, samples, attention):
    def linear(name, x):
        return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    def norm(name, x):
        return functional.layer_norm(x, x.shape[2:], weights[name + ".weight"], weights[name + ".bias"], 1e-5)

    x = weights["embedding.weight"][samples[:, :-1]] + weights["positions"]
    for layer in range(LAYERS):
        scope = f"encoder.{layer}"
        q, k, v = (part.split(WIDTH // HEADS, 2) for part in linear(scope + ".attention.qkv", norm(scope + ".norm1", x)).split(WIDTH, 2))
        out = torch.cat([head(*parts, "+bn" in attention) for parts in zip(q, k, v)], 2)
        x = x + linear(scope + ".attention.output", out)
        x = x + linear(scope + ".feed_forward.linear2",
                       functional.gelu(linear(scope + ".feed_forward.linear1", norm(scope + ".norm2", x))))
    x = norm("final_norm", x)
    logits = linear("head", x) if "head.weight" in weights else x @ weights["embedding.weight"].T
    return functional.cross_entropy(logits.flatten(0, 1), samples[:, 1:].flatten())


def learning_rate(step):
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    part = (step - WARMUP) / (EPOCHS - 1 - WARMUP)
    return RATE * FINAL + RATE * (1 - FINAL) * (1 + math.cos(math.pi * part)) / 2


def train(weights, data, counts, attention):
    """Trains the weights in place; the losses of each epoch, in training and on the validation part after it."""
    decayed = [weight for name, weight in weights.items() if weight.ndim > 1 and name != "positions"]
    others = [weight for name, weight in weights.items() if not (weight.ndim > 1 and name != "positions")]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}],
                                  betas=BETAS, eps=1e-8)
    losses, clipped = [], 0
    for epoch in range(EPOCHS):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch)
        optimiser.zero_grad()
        loss = loss_of(weights, windows(data, 0, counts[0], shift(epoch)), attention)
        loss.backward()
        clipped += float(torch.nn.utils.clip_grad_norm_(weights.values(), CLIP)) > CLIP
        optimiser.step()
        with torch.no_grad():
            judged = loss_of(weights, windows(data, counts[0] * CONTEXT, counts[1], 0), attention)
        losses.append((loss.item(), judged.item()))
    if clipped == 0:
        faults.append("no step was clipped: the test shows nothing of it")
    return losses


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
    return {name: numpy.frombuffer(data[slice(*entry["data_offsets"])], numpy.float32).reshape(entry["shape"]).astype(numpy.float64)
            for name, entry in header.items()}


def read_metrics(folder, column):
    with open(os.path.join(folder, "metrics.csv")) as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def check(folder, file, data, attention, tied):
    title, out = f"{attention} {tied}", os.path.join(folder, "run")
    count = (len(data) - 1) // CONTEXT
    held = math.floor(0.2 * count + 0.5)
    settings = {"width": WIDTH, "heads": HEADS, "layers": LAYERS, "feed_forward": 32, "head": tied, "validation": 0.2,
                "learning_rate": RATE, "final_rate": FINAL, "weight_decay": DECAY, "warmup": WARMUP, "gradient_clip": CLIP}
    words = [f"--set={key}={value}" for key, value in settings.items()]
    expanse("train", "--preset", "text-small", "--task", "text", "--train", file, "--attention", attention, "--context", str(CONTEXT), *words,
            "--batch", str(count - held + 1), "--seed", str(SEED), "--epochs", "0", "--no-tune", "--quiet", "--out", out)
    start = read_weights(out)
    expanse("train", "--resume", out, "--epochs", str(EPOCHS), "--quiet")
    end = read_weights(out)
    weights = {name: torch.from_numpy(array.copy()).requires_grad_() for name, array in start.items()}
    losses = train(weights, data, (count - held, held), attention)
    worst = 0
    for part, column, scale in ((0, "train_loss", 1), (1, "validation_loss", 1), (1, "validation_bits_per_byte", math.log(2))):
        ours = read_metrics(out, column)
        if len(ours) != EPOCHS:
            faults.append(f"{title}: the run has {len(ours)} epochs")
        for epoch, (mine, theirs) in enumerate(zip(ours, losses)):
            error = abs(mine * scale / theirs[part] - 1)
            worst = max(worst, error)
            if not error <= LOSS:
                faults.append(f"{title}: {column} of epoch {epoch + 1} is {error:.1e} off, allowed {LOSS:.0e}")
    for name, theirs in weights.items():
        if name.endswith("qkv.bias"):
            continue  # the keys' part is felt by nothing but rounding
        moved = numpy.linalg.norm(theirs.detach().numpy() - start[name])
        error = numpy.linalg.norm(end[name] - theirs.detach().numpy()) / moved
        if not error <= MOVEMENT:
            faults.append(f"{title}: weights of {name} are {error:.1e} off, allowed {MOVEMENT:.0e}")
    print(f"{title}: loss {losses[0][0]:.4f} … {losses[-1][0]:.4f}; the worst loss is {worst:.1e} off", flush=True)
    if not losses[-1][0] < 0.75 * losses[0][0]:
        faults.append(f"{title}: nothing was learned")


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        data, file = text(), os.path.join(root, "words.txt")
        with open(file, "wb") as out:
            out.write(data)
        for number, case in enumerate((("softmax+causal", "tied"), (f"softmax+bn(eps={EPSILON})+causal", "untied"))):
            folder = os.path.join(root, str(number))
            os.mkdir(folder)
            check(folder, file, data, *case)
    for fault in faults:
        print("FAIL", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
