"""Whole training against PyTorch: the same encoder, weights and batches for 20 steps of AdamW, in double and single precision.

The attention here is written from its definition, with masks and explicit matrices, and shares no identity with the kernels.
Bounds: every loss within 1e-5 relative; every gradient g of step 1 within 1e-4·|g| + 1e-6·|all gradients| (L2 norms).

    test_parity.py PARITY_RUN        exit code 77: PyTorch is missing
"""
import json
import math
import os
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

SPECIFICATIONS = [
    "softmax",
    "softmax+bn",
    "softmax+bn(beta=0.6)",
    "softmax+bn(scale=off)",
    "softmax+bn(beta=learned)",
    "softmax+sh(1,1,2,4)",
    "softmax+bn+sh(1,2,3,4)",
    "softmax+bn(beta=learned)+sh(2,4)",
]
FAMILIES = ["wide", "tiled"]
LOSS_BOUND = 1e-5
GRADIENT_BOUND = 1e-4
GRADIENT_FLOOR = 1e-6


def read_safetensors(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__")
    types = {"F32": numpy.float32, "I64": numpy.int64}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = numpy.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors, metadata


class Attention:
    """The four answers of a specification, as far as they are built."""

    def __init__(self, text):
        bn = re.search(r"\+bn(?:\(([^)]*)\))?", text)
        sh = re.search(r"\+sh\(([^)]*)\)", text)
        knobs = dict(knob.split("=") for knob in (bn.group(1) or "").split(",") if knob) if bn else {}
        self.bn = bn is not None
        self.learned = knobs.get("beta") == "learned"
        self.beta = 1.0 if self.learned else float(knobs.get("beta", 1))
        self.scaled = knobs.get("scale", "on") == "on"
        self.epsilon = 1e-5
        self.scales = [int(scale) for scale in sh.group(1).split(",")] if sh else [1]

    def pooling(self, scale, valid):
        """[B,P,N]: row j averages the valid rows of window j; and which rows have any."""
        length = valid.shape[1]
        window = torch.arange(length) // scale
        member = (window[None, :] == torch.arange(-(-length // scale))[:, None]).to(valid.dtype)
        member = member[None] * valid[:, None, :]
        count = member.sum(2, keepdim=True)
        return member / count.clamp(min=1), count[:, :, 0] > 0

    def head(self, h, q, k, v, valid, beta):
        """q, k, v [B,N,D] of head h; valid [B,N] is 1 before a series' end."""
        pool, seen = self.pooling(self.scales[h % len(self.scales)], valid)
        k, v = pool @ k, pool @ v
        if self.bn:
            weight = (seen.to(k.dtype) / seen.sum(1, keepdim=True))[:, :, None]
            mean = (weight * k).sum(1, keepdim=True)
            deviation = ((weight * (k - mean) ** 2).sum(1, keepdim=True) + self.epsilon).sqrt() if self.scaled else 1
            q, k = (q - beta * mean) / deviation, (k - beta * mean) / deviation
        score = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
        return torch.softmax(score.masked_fill(~seen[:, None, :], -math.inf), 2) @ v

    def layer(self, x, valid, heads, weights, scope):
        width = x.shape[2]
        qkv = functional.linear(x, weights[scope + ".qkv.weight"], weights[scope + ".qkv.bias"])
        q, k, v = (part.split(width // heads, 2) for part in qkv.split(width, 2))
        beta = weights[scope + ".beta"] if self.learned else [self.beta] * heads
        out = torch.cat([self.head(h, q[h], k[h], v[h], valid, beta[h]) for h in range(heads)], 2)
        return functional.linear(out, weights[scope + ".output.weight"], weights[scope + ".output.bias"])


def forward(attention, weights, series, lengths, settings):
    """Logits of the post-norm encoder with a flattened head."""

    def linear(name, x):
        return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    def norm(name, x):
        return functional.layer_norm(
            x, x.shape[2:], weights[name + ".weight"], weights[name + ".bias"], float(settings["norm_epsilon"]))

    valid = (torch.arange(series.shape[1])[None, :] < lengths[:, None]).to(series.dtype)
    x = linear("embedding", series)
    x = x * math.sqrt(x.shape[2]) + weights["positions"]
    for layer in range(int(settings["layers"])):
        scope = f"encoder.{layer}"
        x = norm(scope + ".norm1", x + attention.layer(x, valid, int(settings["heads"]), weights, scope + ".attention"))
        hidden = functional.gelu(linear(scope + ".feed_forward.linear1", x))
        x = norm(scope + ".norm2", x + linear(scope + ".feed_forward.linear2", hidden))
    x = functional.gelu(norm("final_norm", x)) * valid[:, :, None]
    return linear("head", x.flatten(1))


def train(tensors, settings, precision):
    """Losses of all steps and the gradients of the first."""
    attention = Attention(settings["attention"])
    weights = {
        name[len("value/"):]: tensor.to(precision).requires_grad_()
        for name, tensor in tensors.items() if name.startswith("value/")}
    undecayed = set(settings["undecayed"].split(","))
    optimiser = torch.optim.AdamW(
        [{"params": [w for name, w in weights.items() if name not in undecayed],
          "weight_decay": float(settings["weight_decay"])},
         {"params": [w for name, w in weights.items() if name in undecayed], "weight_decay": 0.0}],
        lr=float(settings["learning_rate"]), betas=(float(settings["beta1"]), float(settings["beta2"])),
        eps=float(settings["epsilon"]))
    losses, gradients = [], None
    for series, lengths, labels in zip(tensors["series"], tensors["lengths"], tensors["labels"]):
        optimiser.zero_grad()
        loss = functional.cross_entropy(forward(attention, weights, series.to(precision), lengths, settings), labels)
        loss.backward()
        losses.append(loss.item())
        if gradients is None:
            gradients = {name: weight.grad.to(torch.float64).clone() for name, weight in weights.items()}
        optimiser.step()
    return losses, gradients


def compare(family, tensors, settings, precision, losses, gradients):
    """Prints the worst distances; returns the sentences about those beyond their bounds."""
    title = f"{settings['attention']:34} {family:5} {str(precision)[6:]}"
    faults = []
    worst_loss = worst_gradient = 0.0
    for step, (ours, theirs) in enumerate(zip(tensors["losses"].tolist(), losses)):
        error = abs(ours - theirs) / abs(theirs)
        worst_loss = max(worst_loss, error)
        if not error <= LOSS_BOUND:
            faults.append(f"{title}: loss of step {step + 1} is {ours:.9g}, PyTorch's {theirs:.9g}: {error:.1e} apart")
    everything = math.sqrt(sum(float(g.norm()) ** 2 for g in gradients.values()))
    for name, theirs in gradients.items():
        error = float((tensors["gradient/" + name].to(torch.float64) - theirs).norm())
        bound = GRADIENT_BOUND * float(theirs.norm()) + GRADIENT_FLOOR * everything
        worst_gradient = max(worst_gradient, error / bound)
        if not error <= bound:
            faults.append(f"{title}: gradient of {name} is off by {error:.3e}, allowed {bound:.3e}")
    print(f"{title}: losses {losses[0]:.4f} … {losses[-1]:.4f}, worst {worst_loss:.1e} apart; "
          f"gradients at most {worst_gradient:.3f} of their bound", flush=True)
    return faults


def same_start(one, other):
    return all(torch.equal(one[name], other[name]) for name in one if not name.startswith(("gradient/", "losses")))


def main():
    torch.set_num_threads(1)
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run.safetensors")
        for specification in SPECIFICATIONS:
            runs = []
            for family in FAMILIES:
                subprocess.run([sys.argv[1], path, specification, family], check=True)
                runs.append((family, *read_safetensors(path)))
            if not same_start(runs[0][1], runs[1][1]):
                faults.append(f"{specification}: the families do not start from the same weights and batches")
            for precision in (torch.float64, torch.float32):
                losses, gradients = train(runs[0][1], runs[0][2], precision)
                for family, tensors, settings in runs:
                    faults += compare(family, tensors, settings, precision, losses, gradients)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
