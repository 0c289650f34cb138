#!/usr/bin/env python3
"""A training step on a GPU of 132 compute units has few launches, and attention there uses asynchronous matrix units where they can.

usage: test_launches.py PLAN_GPU"""
import json
import subprocess
import sys

UNITS = 132
MODEL = ["preset=uea-flowformer", "model.layers=2", "length=29", "features=12", "classes=9"]


def planned(*words):
    printed = subprocess.run([sys.argv[1], str(UNITS), *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


# Of the families and precisions, the most launches: products on matrix units sum parts where these are estimated to be faster.
for family, precision, most in (("tiled", "fp32", 60), ("matrix", "fp32", 60), ("matrix", "bf16", 58), ("matrix", "fp16", 58),
                               ("matrix", "fp32-matrix", 60)):
    names = [launch["kernel"] for launch in planned("step", *MODEL, f"family={family}", f"precision={precision}")]
    print(f"{family} {precision}: {len(names)} launches, {names.count('gemm_finish')} of sums of parts")
    assert 40 < len(names) <= most, f"{family} {precision}: {len(names)} launches: {names}"

# Without them, without local memory for a ring of three stages, of other widths, and where rows are few, others multiply.
for words, instruction in (("precision=bf16", 2), ("precision=fp16 length=129", 2), ("precision=bf16 wgmma=0", 1), ("precision=bf16 static=48", 1),
                           ("precision=bf16 width=32", 1), ("precision=bf16 samples=1 heads=1 length=40", 1)):
    for launch in planned("attention", "backward=1", *words.split())[1:]:
        print(f"{words}: {launch['kernel']}: {launch['options']}")
        assert f"-DINSTRUCTION={instruction} " in launch["options"], f"{words}: {launch}"
