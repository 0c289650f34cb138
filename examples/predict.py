#!/usr/bin/env python3
"""The table of expanse predict, computed in NumPy: class and probabilities, or predicted numbers, for each sample.
Usage: predict.py RUN/best/model.safetensors DATA, a .ts file or IDX images. load.py is the model."""
import gzip, re, sys
import numpy as np
from load import load

if len(sys.argv) != 3: sys.exit(__doc__)
try: about, answer = load(sys.argv[1])
except ValueError as error: sys.exit(f"predict.py: {error}")
if about["task"] == "forecasting": sys.exit("predict.py knows classification and regression, and no forecasting")
if "image_crop" in about: sys.exit("predict.py resizes no images: give samples of that size to the function of load.py")
model, shape, classes = about["model"], about["shape"], about.get("class_names", [])
mean, deviation = np.array(about["mean"] or [0]), np.array([number or 1 for number in about["deviation"] or [1]])

def rows_of_series(x):  # [steps, features], NaN where a value is missing; also how many rows are not padding
    for column in x.T:
        known = np.flatnonzero(~np.isnan(column))
        column[:] = np.interp(np.arange(len(x)), known, column[known]) if len(known) else 0
    x = ((x - mean) / deviation).astype(np.float32)
    if model["mask_padding"]: return x, len(x)
    padded, steps = np.pad(x, ((0, shape["length"] - len(x)), (0, 0))), model.get("patch_steps", 1)
    return padded.reshape(len(padded) // steps, -1), len(x) if steps == 1 else None

def rows_of_image(x):  # [channels, height, breadth], from 0 to 1; nothing is padding
    p, (channels, height, breadth) = model["patch"], x.shape
    x = ((x - mean[:, None, None]) / deviation[:, None, None]).astype(np.float32)
    patches = x.reshape(channels, height // p, p, breadth // p, p).transpose(1, 3, 0, 2, 4)
    return patches.reshape(-1, channels * p * p), None

def read_series(data):
    top, samples = re.split("(?i)@data", data.decode(), maxsplit=1)
    labelled = bool(re.search(r"(?i)@(class|target)Label\s+true", top))
    rows = [row.replace("?", "nan").split(":") for row in samples.splitlines() if re.match(r"\s*[^#%\s]", row)]
    return [np.array([part.split(",") for part in row[:len(row) - labelled]], np.float32).T for row in rows]

def read_images(data):
    pixels = np.frombuffer(data, np.uint8, offset=16) / np.float32(255)
    return pixels.reshape(-1, 1, shape["height"], shape["breadth"])

read, rows = (read_series, rows_of_series) if about["data"] == "series" else (read_images, rows_of_image)
samples = read((gzip.open if sys.argv[2].endswith(".gz") else open)(sys.argv[2], "rb").read())
names = [f"probability {name}" for name in classes] or [f"predicted {name}" for name in about["target_names"]]
print("sample", *["predicted"] * bool(classes), *(names if len(names) > 1 else ["predicted"]), sep=",")
for number, outputs in enumerate(answer(*rows(sample)) for sample in samples):
    print(number, *[classes[outputs.argmax()]] if classes else [], *(f"{value:.9g}" for value in outputs), sep=",")
