"""A trained model in NumPy, step by step as in docs/MODEL.md; predict.py makes the rows of the samples in a file."""
import json, math, re
import numpy as np

def activate(x, name):
    if name == "gelu": return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return np.maximum(x, 0) if name == "relu" else x
def softmax(x):
    return np.exp(x - np.logaddexp.reduce(x, -1, keepdims=True))

def load(path):  # the metadata of a model.safetensors; a function from the rows of a sample to probabilities or numbers
    file = open(path, "rb").read()
    begin = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:begin])
    about = {key: json.loads(text) if text[0] in "[{" else text for key, text in header.pop("__metadata__").items()}
    weights = {name: np.frombuffer(file, "<f4", math.prod(entry["shape"]), begin + entry["data_offsets"][0])
               .reshape(entry["shape"]).astype(float) for name, entry in header.items()}
    words = re.fullmatch(r"softmax(\+bn)?(\+sh\(([\d,]+)\))?", about["attention"].replace(" ", ""))
    if not words or about["data"] not in ("series", "images"):
        raise ValueError(f"not series or images with softmax, bn and sh, but {about['data']} with {about['attention']}")
    model, series, scales = about["model"], about["data"] == "series", [int(s) for s in (words[3] or "1").split(",")]
    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]
    def norm(x, name):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        if model["norm"] == "batch": mean, variance = (weights[f"{name}.running_{s}"] for s in ("mean", "variance"))
        x = (x - mean) / np.sqrt(variance + model["norm_epsilon"])
        return x * weights[name + ".weight"] + weights[name + ".bias"]
    def pool(x, s):  # keys or values on the grid of patches, without the class token; a series is a grid of one column
        token, breadth = int(model["head"] == "class"), 1 if series else about["shape"]["breadth"] // model["patch"]
        grid = x[token:].reshape(-1, breadth, x.shape[1])
        windows = [grid[i:i + s, j:j + s] for i in range(0, len(grid), s) for j in range(0, breadth, s)]
        return np.array([*x[:token], *(window.mean((0, 1)) for window in windows)])
    def attention(x, at):
        heads, key_heads, outputs = model["heads"], model["key_heads"] or model["heads"], []
        qkv = linear(x, at + "attention.qkv").reshape(len(x), heads + 2 * key_heads, -1).swapaxes(0, 1)
        for h, q in enumerate(qkv[:heads]):
            k, v = (pool(part, scales[h % len(scales)]) for part in qkv[heads + h * key_heads // heads::key_heads])
            if words[1]: q, k = (q - k.mean(0)) / (k.var(0) + 1e-5), k - k.mean(0)
            outputs.append(softmax(q @ k.T / math.sqrt(q.shape[1])) @ v)
        return linear(np.concatenate(outputs, -1), at + "attention.output")
    def feed_forward(x, at):
        x = activate(linear(x, at + "feed_forward.linear1"), model["activation"])
        return linear(x, at + "feed_forward.linear2")

    def answer(x, steps=None):  # of a padded series, the first `steps` rows are its own
        x = linear(x, "embedding") * (math.sqrt(model["width"]) if series and model["scale_input"] else 1)
        if model["head"] == "class": x = np.concatenate([weights["class_token"][None], x])
        x = x + weights["positions"][:len(x)]
        for at in (f"encoder.{layer}." for layer in range(model["layers"])):
            for part, name in (attention, at + "norm1"), (feed_forward, at + "norm2"):
                x = x + part(norm(x, name), at) if model["pre_norm"] else norm(x + part(x, at), name)
        if model["final_norm"]: x = norm(x, "final_norm")
        if series: x = activate(x, model["head_activation"])[:steps]
        if model["head"] == "flatten": x = np.pad(x, ((0, len(weights["positions"]) - len(x)), (0, 0))).ravel()
        else: x = x[0] if model["head"] == "class" else x.mean(0)
        x = linear(x, "head")
        if about["task"] == "classification": return softmax(x)
        return x * [deviation or 1 for deviation in about["target_deviation"]] + about["target_mean"]
    return about, answer
