#!/usr/bin/env python3
"""Predictions of a trained model without Expanse: the results of expanse predict, computed from the weight file alone, in
NumPy. docs/MODEL.md describes each step. Usage: load.py RUN/best/model.safetensors DATA, a .ts file or IDX images"""
import gzip, json, math, re, sys
import numpy as np

if len(sys.argv) != 3: sys.exit(__doc__)
file = open(sys.argv[1], "rb").read()
begin = 8 + int.from_bytes(file[:8], "little")
header = json.loads(file[8:begin])
about = header.pop("__metadata__")
if "model" not in about: sys.exit(f"{sys.argv[1]}: its metadata do not describe the model; an older version wrote it")
keys = "model", "shape", "class_names", "target_names", "target_mean", "target_deviation", "mean", "deviation"
model, shape, classes, *targets, mean, deviation = (json.loads(about.get(key, "[]")) for key in keys)
weights = {name: np.frombuffer(file, "<f4", math.prod(entry["shape"]), begin + entry["data_offsets"][0])
           .reshape(entry["shape"]) for name, entry in header.items()}
series, heads, patch = about["data"] == "series", model["heads"], model["patch"]
parts = re.fullmatch(r"softmax(\+bn)?(\+sh\(([\d,]+)\))?", model["attention"].replace(" ", ""))
if not parts: sys.exit(f"load.py does not know the attention {model['attention']}")
scales = [int(scale) for scale in (parts[3] or "1").split(",")]

def linear(x, name):
    return x @ weights[name + ".weight"].T.astype(float) + weights[name + ".bias"]

def norm(x, name):
    batch = model["norm"] == "batch"  # by the running statistics; else each row by its own
    centre = weights[name + ".running_mean"] if batch else x.mean(-1, keepdims=True)
    variance = weights[name + ".running_variance"] if batch else x.var(-1, keepdims=True)
    x = (x - centre) / np.sqrt(variance + model["norm_epsilon"])
    return x * weights[name + ".weight"] + weights[name + ".bias"]

def activate(x, name):
    if name == "gelu": return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return np.maximum(x, 0) if name == "relu" else x

def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)

def pool(x, s):  # keys or values of one head; an image's class token stays, and its patches are a grid
    if series: return np.array([x[i:i + s].mean(0) for i in range(0, len(x), s)])
    token = x[:model["head"] == "class"]
    grid = x[len(token):].reshape(shape["height"] // patch, shape["breadth"] // patch, -1)
    corners = [(i, j) for i in range(0, grid.shape[0], s) for j in range(0, grid.shape[1], s)]
    return np.array([*token, *(grid[i:i + s, j:j + s].mean((0, 1)) for i, j in corners)])

def attention(x, name):
    qkv = linear(x, name + ".qkv").reshape(len(x), -1, model["width"] // heads)  # [N, heads + 2 key heads, D]
    key_heads, outputs = (qkv.shape[1] - heads) // 2, []
    for h in range(heads):
        g, s = heads + h // (heads // key_heads), scales[h % len(scales)]
        q, k, v = qkv[:, h], pool(qkv[:, g], s), pool(qkv[:, g + key_heads], s)
        if parts[1]: q, k = (q - k.mean(0)) / (k.var(0) + 1e-5), k - k.mean(0)
        outputs.append(softmax(q @ k.T / math.sqrt(q.shape[1])) @ v)
    return linear(np.concatenate(outputs, -1), name + ".output")

def feed_forward(x, name):
    return linear(activate(linear(x, name + ".linear1"), model["activation"]), name + ".linear2")

def answer(x):  # a series [steps, features], NaN where missing; an image [1, rows, columns] of 0 … 1
    steps, fit = len(x), np.reshape([mean or 0, deviation or 1], (2, -1) if series else (2, -1, 1, 1))
    for column in x.T if series else ():
        known = np.flatnonzero(~np.isnan(column))
        column[:] = np.interp(np.arange(steps), known, column[known]) if len(known) else 0
    x = ((x - fit[0]) / np.where(fit[1] > 0, fit[1], 1)).astype(np.float32)
    if series and not model["mask_padding"]: x = np.pad(x, ((0, shape["length"] - steps), (0, 0)))
    steps_of_row = model.get("patch_steps", 1)
    if series and steps_of_row > 1: x, steps = x.reshape(len(x) // steps_of_row, -1), shape["length"] // steps_of_row
    if not series: x = x.reshape(shape["height"] // patch, patch, -1, patch).swapaxes(1, 2).reshape(-1, patch * patch)
    x = linear(x, "embedding") * (math.sqrt(model["width"]) if series and model["scale_input"] else 1)
    if model["head"] == "class": x = np.concatenate([weights["class_token"][None], x])
    x = x + weights["positions"][:len(x)]
    for layer in range(model["layers"]):
        for part, name, its_norm in (attention, "attention", "norm1"), (feed_forward, "feed_forward", "norm2"):
            name, its_norm = f"encoder.{layer}.{name}", f"encoder.{layer}.{its_norm}"
            x = x + part(norm(x, its_norm), name) if model["pre_norm"] else norm(x + part(x, name), its_norm)
    if model["final_norm"]: x = norm(x, "final_norm")
    if series: x = activate(x, model["head_activation"])[:steps]
    if model["head"] == "flatten": x = np.pad(x, ((0, shape["length"] // steps_of_row - steps), (0, 0))).ravel()
    else: x = x[0] if model["head"] == "class" else x.mean(0)
    x = linear(x, "head")
    return softmax(x) if classes else x * np.where(np.array(targets[2]) > 0, targets[2], 1) + targets[1]

def read(path):
    data = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
    if not series:
        pixels = np.frombuffer(data, np.uint8, offset=16) / np.float32(255)
        return pixels.reshape(-1, 1, shape["height"], shape["breadth"])
    top, samples = re.split("(?i)@data", data.decode(), maxsplit=1)
    labelled = bool(re.search(r"(?i)@(class|target)Label\s+true", top))
    rows = [row.replace("?", "nan").split(":") for row in samples.splitlines() if re.match(r"\s*[^#%\s]", row)]
    return [np.array([part.split(",") for part in row[:len(row) - labelled]], np.float32).T for row in rows]

names = [f"probability {name}" for name in classes] or [f"predicted {name}" for name in targets[0]]
print("sample", *["predicted"] * bool(classes), *(names if len(names) > 1 else ["predicted"]), sep=",")
for number, outputs in enumerate(map(answer, read(sys.argv[2]))):
    print(number, *[classes[outputs.argmax()]] if classes else [], *(f"{value:.9g}" for value in outputs), sep=",")
