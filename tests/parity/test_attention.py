"""One attention layer and its gradient against PyTorch, in double precision: masks, biases, grouped key heads, both causal
alignments, windows, features, normalisation, pooling, convolution and scores.

Every part is written here from its definition, with explicit weights, and shares no identity with the kernels. Where this
PyTorch has scaled_dot_product_attention, what it can do is compared with that as well.
Bound: every element within 1e-4 of the largest of its tensor.

    test_attention.py ATTENTION_RUN [--all] [TEXT]     cases whose "family specification" holds TEXT; exit code 77: no
                                                       PyTorch
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

FAMILIES = ["wide", "tiled"]
BOUND = 1e-4
BATCH, HEADS, QUERIES, KEYS, WIDTH, VALUE_WIDTH = 2, 4, 19, 23, 12, 9

# Specification, key heads, whether lengths are given. Every word of the language, alone or in company.
CASES = [
    ("softmax", 4, False),
    ("softmax+causal", 1, False),
    ("softmax+causal(last)", 2, True),
    ("softmax+window(7,3)+causal", 4, False),
    ("softmax+block(6)", 4, True),
    ("softmax+mask(HEADMASK)+bias", 2, True),
    ("softmax+alibi+softcap(2)+scale(0.5)", 4, False),
    ('softmax+score("a * score - 0.1f * abs(query_index - key_index)",derivative="a",a=0.8)', 4, False),
    ("softmax+bn(beta=0.6)+window(9,0)+softcap(2)", 2, True),
    ("softmax+bn(beta=learned)", 2, True),
    ("softmax+sh(1,3)+mask(MASK)", 4, True),
    ("softmax+bn+sh(1,2)+causal", 4, True),
    ("softmax+sh(1,2)+causal+strided(2)+alibi", 4, False),
    ("softmax+conv1d(3)", 2, True),
    ("softmax+conv1d(5)+causal", 4, False),
    ("linear", 2, True),
    ("linear(relu)+causal", 4, False),
    ("linear(identity)+bn", 4, True),
    ("linear(square)+causal(last)", 2, True),
    ("linear+unnormalised", 4, False),
    ("linear+window(6,3)", 2, True),
    ("linear+sh(1,2)+bn", 4, True),
]
# With --all these as well: the same words in other company.
MORE_CASES = [
    ("softmax", 2, True),
    ("softmax+window(5,2)", 4, True),
    ("softmax+strided(3)", 4, False),
    ("softmax+mask(MASK)", 4, False),
    ("softmax+bias", 4, False),
    ("softmax+bn+causal", 4, False),
    ("linear+bn+causal", 4, False),
]


# ---- safetensors ----------------------------------------------------------------------------------------------------

def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        array = numpy.ascontiguousarray(array)
        kind = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(data[begin:end], numpy.float32).reshape(entry["shape"])
    return arrays


# ---- the definition -------------------------------------------------------------------------------------------------

def parts_of(text):
    """{"window": ["6", "3"], "bn": []} and the kernel."""
    text = re.sub(r'score\("[^)]*\)?[^"]*".*\)$', "score", text) if "score(" in text else text
    kernel, *parts = re.findall(r"[a-z]\w*(?:\([^)]*\))?", text)
    found = {}
    for part in parts:
        name, _, inside = part.partition("(")
        found[name] = inside.rstrip(")").split(",") if inside else []
    return kernel, found


FEATURES = {
    "linear": lambda x: functional.elu(x) + 1,
    "linear(relu)": torch.relu,
    "linear(identity)": lambda x: x,
    "linear(square)": lambda x: x * x,
}


def convolve(x, weight, length, causal):
    """x [N,H,D], weight [H·D,K]: depthwise, rows at and behind the length count as 0 and become 0."""
    rows, heads, width = x.shape
    size = weight.shape[1]
    valid = (torch.arange(rows) < length).to(x.dtype)[:, None]
    padding = (size - 1, 0) if causal else ((size - 1) // 2, (size - 1) // 2)
    flat = functional.pad((x.reshape(rows, -1) * valid).T[None], padding)
    return (functional.conv1d(flat, weight[:, None, :], groups=heads * width)[0].T * valid).reshape(x.shape)


def attend(text, q, k, v, lengths, parameters, masks):
    """o [B,N,H,E] of q [B,N,H,D], k [B,M,G,D], v [B,M,G,E]."""
    samples = []
    for b in range(q.shape[0]):
        key_length, query_length = lengths[b] if lengths else (k.shape[1], q.shape[1])
        samples.append(sample(text, q[b], k[b], v[b], key_length, query_length, parameters, masks))
    return torch.stack(samples)


def sample(text, q, k, v, key_length, query_length, parameters, masks):
    kernel, parts = parts_of(text)
    group = q.shape[1] // k.shape[1]
    if "conv1d" in parts:
        q = convolve(q, parameters["query_convolution"], query_length, "causal" in parts)
        k = convolve(k, parameters["key_convolution"], key_length, "causal" in parts)
    heads = []
    for h in range(q.shape[1]):
        g = h // group
        heads.append(head(kernel, parts, h, g, q[:, h], k[:, g], v[:, g], key_length, query_length, parameters, masks))
    return torch.stack(heads, 1)


def head(kernel, parts, h, g, q, k, v, key_length, query_length, parameters, masks):
    rows, width = q.shape
    scale = int(parts["sh"][h % len(parts["sh"])]) if "sh" in parts else 1
    pooled = [slice(j, min(j + scale, key_length)) for j in range(0, key_length, scale)]
    k = torch.stack([k[s].mean(0) for s in pooled])
    v = torch.stack([v[s].mean(0) for s in pooled])
    keys = len(pooled)

    shift = key_length - query_length if parts.get("causal") == ["last"] else 0
    place = torch.arange(rows) + shift
    first, last = torch.arange(keys) * scale, torch.arange(keys) * scale + scale - 1
    seen = torch.ones(rows, keys, dtype=torch.bool)
    if "causal" in parts:
        seen &= last[None] <= place[:, None]
    if "window" in parts:
        left, right = map(int, parts["window"])
        seen &= (first[None] >= place[:, None] - left) & (last[None] <= place[:, None] + right)
    if "strided" in parts:
        stride = int(parts["strided"][0])
        seen &= (torch.div(place, scale, rounding_mode="floor")[:, None] - torch.arange(keys)[None]) % stride == 0
    if "block" in parts:
        size = int(parts["block"][0])
        seen &= torch.arange(rows)[:, None] // size == torch.arange(keys)[None] // size
    if "mask" in parts:
        mask = masks[parts["mask"][0]]
        mask = mask[h] if mask.ndim == 3 else mask
        seen &= torch.stack([mask[:, j * scale:(j + 1) * scale].all(1) for j in range(keys)], 1)

    one_sided = "causal" in parts or parts.get("window", ["", ""])[1] == "0"
    pairs_q, pairs_k = q[:, None].expand(rows, keys, width), k[None].expand(rows, keys, width)
    if "bn" in parts:
        pairs_q, pairs_k = normalise(parts, kernel, g, q, k, place, last, one_sided, parameters)
    if kernel == "softmax":
        factor = float(parts["scale"][0]) if "scale" in parts else 1 / math.sqrt(width)
        score = (pairs_q * pairs_k).sum(2) * factor
        if "softcap" in parts:
            cap = float(parts["softcap"][0])
            score = cap * torch.tanh(score / cap)
        if "alibi" in parts:
            score = score - 2.0 ** (-8 * (h + 1) / HEADS) * (place[:, None] - last[None]).abs()
        if "bias" in parts:
            score = score + parameters["bias"][0, h, :, :keys]
        if "score" in parts:
            score = 0.8 * score - 0.1 * (torch.arange(rows)[:, None] - torch.arange(keys)[None]).abs()
        score = score.masked_fill(~seen, -math.inf)
        weights = torch.softmax(score.masked_fill(~seen.any(1, keepdim=True), 0), 1) * seen
    else:
        features = FEATURES[kernel]
        weights = (features(pairs_q) * features(pairs_k)).sum(2) * seen
        if "unnormalised" in parts:
            weights = weights / math.sqrt(width)
        elif kernel == "linear(identity)":
            weights = weights / math.sqrt(width) / seen.sum(1, keepdim=True).clamp(min=1)
        else:
            weights = weights / weights.sum(1, keepdim=True).masked_fill(~seen.any(1, keepdim=True), 1)
    return (weights @ v) * (torch.arange(rows) < query_length)[:, None]


def normalise(parts, kernel, g, q, k, place, last, one_sided, parameters):
    """The normalised query and key of every pair [N,M,D]: by the statistics of all keys or of those up to the query."""
    knobs = dict(knob.split("=") for knob in parts["bn"])
    beta = parameters["beta"][g] if knobs.get("beta") == "learned" else float(knobs.get("beta", 1))
    rows, keys = len(q), len(k)

    def statistics(limit):
        own = k[last <= limit] if limit is not None else k
        if len(own) == 0:
            return torch.zeros_like(k[0]), torch.ones_like(k[0])
        mean = own.mean(0)
        return mean, (((own - mean) ** 2).mean(0) + 1e-5).sqrt()

    of_query = [statistics(int(p) if one_sided else None) for p in place]
    mean, deviation = (torch.stack(part)[:, None] for part in zip(*of_query))
    pairs_q = ((q[:, None] - beta * mean) / deviation).expand(rows, keys, -1)
    if one_sided and kernel != "softmax":
        of_key = [statistics(int(l)) for l in last]
        mean, deviation = (torch.stack(part)[None] for part in zip(*of_key))
    return pairs_q, ((k[None] - beta * mean) / deviation).expand(rows, keys, -1)


def parameter_shapes(parts, key_heads):
    shapes = {}
    if "bias" in parts:
        shapes["bias"] = (1, HEADS, QUERIES, KEYS)
    if "conv1d" in parts:
        size = int(parts["conv1d"][0])
        shapes["query_convolution"] = (HEADS * WIDTH, size)
        shapes["key_convolution"] = (key_heads * WIDTH, size)
    if parts.get("bn") == ["beta=learned"]:
        shapes["beta"] = (key_heads,)
    return shapes


# ---- comparing ------------------------------------------------------------------------------------------------------

def torch_itself(text, key_heads, lengths, q, k, v, masks, bias):
    """PyTorch's own attention where it has the same one, else None."""
    attention = getattr(functional, "scaled_dot_product_attention", None)
    kernel, parts = parts_of(text)
    if attention is None or kernel != "softmax" or lengths or set(parts) - {"causal", "mask", "bias"}:
        return None
    mask = torch.ones(QUERIES, KEYS, dtype=torch.bool)
    if "causal" in parts:
        mask = mask.tril()
    if "mask" in parts:
        mask = mask & masks[parts["mask"][0]]
    table = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -math.inf)
    if bias is not None:
        table = table + bias
    repeat = HEADS // key_heads
    k, v = (part.repeat_interleave(repeat, 2).transpose(1, 2) for part in (k, v))
    return attention(q.transpose(1, 2), k, v, attn_mask=table).transpose(1, 2)


def compare(program, folder, case, family, files, masks):
    text, key_heads, with_lengths = case
    generator = numpy.random.default_rng(97)
    parts = parts_of(text)[1]
    arrays = {
        "q": generator.standard_normal((BATCH, QUERIES, HEADS, WIDTH)),
        "k": generator.standard_normal((BATCH, KEYS, key_heads, WIDTH)) + 0.3,
        "v": generator.standard_normal((BATCH, KEYS, key_heads, VALUE_WIDTH)),
        "d_o": generator.standard_normal((BATCH, QUERIES, HEADS, VALUE_WIDTH)),
    }
    for name, shape in parameter_shapes(parts, key_heads).items():
        arrays["value/" + name] = 0.5 * generator.standard_normal(shape)
    arrays = {name: array.astype(numpy.float32) for name, array in arrays.items()}
    lengths = [(KEYS - 4, QUERIES - 1), (KEYS, QUERIES - 6)] if with_lengths else None
    if lengths:
        arrays["key_lengths"] = numpy.array([l[0] for l in lengths], dtype=numpy.int64)
        arrays["query_lengths"] = numpy.array([l[1] for l in lengths], dtype=numpy.int64)
    line = text
    for name, path in files.items():
        line = line.replace(f"({name})", f"({path})")
    given, found = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
    write_safetensors(given, arrays)
    result = subprocess.run([program, given, found, line, family], capture_output=True, text=True)
    if result.returncode != 0:
        return f"failed: {result.stderr.strip()}"
    found = read_safetensors(found)

    tensors = {name: torch.from_numpy(array).double().requires_grad_()
               for name, array in arrays.items() if array.dtype == numpy.float32}
    parameters = {name[len("value/"):]: tensor for name, tensor in tensors.items() if name.startswith("value/")}
    o = attend(text, tensors["q"], tensors["k"], tensors["v"], lengths, parameters, masks)
    (o * tensors["d_o"].detach()).sum().backward()
    expected = {"o": o.detach(), "dq": tensors["q"].grad, "dk": tensors["k"].grad, "dv": tensors["v"].grad}
    expected.update({"gradient/" + name: tensor.grad for name, tensor in parameters.items()})
    if set(expected) != set(found):
        return f"has {sorted(found)} where {sorted(expected)} are wanted"
    own = torch_itself(text, key_heads, lengths, tensors["q"], tensors["k"], tensors["v"], masks, parameters.get("bias"))
    if own is not None and not torch.allclose(own, o, rtol=1e-9, atol=1e-9):
        return "the definition in this test is not PyTorch's own"
    worst = 0
    for name, wanted in expected.items():
        wanted = wanted.numpy()
        largest = abs(wanted).max()
        error = abs(found[name] - wanted).max() / largest if largest > 0 else math.inf
        if not error <= BOUND:
            place = numpy.unravel_index(abs(found[name] - wanted).argmax(), wanted.shape)
            return (f"{name}{[int(i) for i in place]} is {found[name][place]:.6g}, PyTorch's {wanted[place]:.6g}; the "
                    f"largest is {largest:.3g}")
        worst = max(worst, error)
    print(f"{family:6} {key_heads} key heads{', lengths' if with_lengths else '':10} {text}: within {worst:.1e}", flush=True)
    return None


def main():
    program, words = sys.argv[1], sys.argv[2:]
    cases = CASES + MORE_CASES if "--all" in words else CASES
    wanted = next((word for word in words if word != "--all"), "")
    generator = numpy.random.default_rng(89)
    mask = generator.random((QUERIES, KEYS)) < 0.6
    head_mask = generator.random((HEADS, QUERIES, KEYS)) < 0.6
    mask[:, 0] = head_mask[:, :, 0] = True
    mask[3] = False  # a query that sees nothing
    failed = compared = 0
    with tempfile.TemporaryDirectory() as folder:
        files = {"MASK": os.path.join(folder, "mask.npy"), "HEADMASK": os.path.join(folder, "heads.npy")}
        numpy.save(files["MASK"], mask)
        numpy.save(files["HEADMASK"], head_mask.astype(numpy.int8))
        masks = {"MASK": torch.from_numpy(mask), "HEADMASK": torch.from_numpy(head_mask)}
        for case in cases:
            for family in FAMILIES:
                if wanted not in f"{family} {case[0]}":
                    continue
                compared += 1
                problem = compare(program, folder, case, family, files, masks)
                if problem:
                    failed += 1
                    print(f"{family:6} {case[1]} key heads{', lengths' if case[2] else '':10} {case[0]}: {problem}", flush=True)
    print(f"{compared} compared, {failed} disagree")
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
