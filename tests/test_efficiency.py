#!/usr/bin/env python3
"""Plans count the arithmetic that formulas say, and inference keeps weights alone.

usage: test_efficiency.py EXPANSE SOURCE_ROOT

Plans count each kernel by its own shape; tools/bench-efficiency counts a whole step from the sizes of the model. They differ
by what formulas leave out, as sums of scratch memory, and by the heads of linear attention that pool: a plan counts their keys
as if they did not. Together this is less than 1.5 % here. A wrong factor in a product of attention is more than that."""
import importlib.machinery
import importlib.util
import os
import sys

expanse, root = sys.argv[1:]
loader = importlib.machinery.SourceFileLoader("bench_efficiency", os.path.join(root, "tools", "bench-efficiency"))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
sys.modules[loader.name] = tool
sys.dont_write_bytecode = True
loader.exec_module(tool)

BOUND = 0.015
steps = [tool.Step(256, 32, attention) for attention in tool.ATTENTIONS]
steps += [tool.Step(512, 64, "softmax+bn+sh(1,1,2,4)"), tool.Step(97, 48, "linear(elu)+bn", heads=3, layers=1)]
for step in steps:
    rows = tool.planned(step, expanse, "--family", "wide")
    for phase in tool.PHASES:
        counted, plan = tool.count(step, phase), rows[phase]["flops"]
        assert abs(counted / plan - 1) < BOUND, f"{step}, {phase}: {plan} by the plan, {counted} by formulas"
    weights = 4 * rows["training"]["parameters"]
    kept = {phase: rows[phase]["memory_bytes"] - rows[phase]["arena_bytes"] for phase in tool.PHASES}
    # Beside activations: weights, gradients and two moments; weights. Inputs and gaps between parameters are less than a weight each.
    assert 4 * weights <= kept["training"] < 5 * weights and weights <= kept["inference"] < 2 * weights, f"{step}: {kept}, weights {weights}"
print(f"{len(steps)} steps agree")
