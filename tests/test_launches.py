#!/usr/bin/env python3
"""A training step on a GPU of 132 compute units has few launches.

usage: test_launches.py PLAN_GPU"""
import json
import subprocess
import sys

UNITS = 132
MODEL = ["preset=uea-flowformer", "model.layers=2", "length=29", "features=12", "classes=9"]

# Of the families and precisions, the most launches: products on matrix units sum parts where these are estimated to be faster.
for family, precision, most in (("tiled", "fp32", 60), ("matrix", "fp32", 60), ("matrix", "bf16", 58), ("matrix", "fp16", 58),
                               ("matrix", "fp32-matrix", 60)):
    words = [sys.argv[1], str(UNITS), "step", *MODEL, f"family={family}", f"precision={precision}"]
    launches = [json.loads(line) for line in subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()]
    names = [launch["kernel"] for launch in launches]
    print(f"{family} {precision}: {len(names)} launches, {names.count('gemm_finish')} of sums of parts")
    assert 40 < len(names) <= most, f"{family} {precision}: {len(names)} launches: {names}"
