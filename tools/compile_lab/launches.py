"""Estimates how long a launch of a GPU kernel takes on an H200, and a list of them: the parts of its main loop
(estimate.py), the waves of work-groups over the units, the bytes that it moves at least, the waits of a work-item whose
loads follow one another, and what starting it costs.

The rate of copies and the time of the host for a launch in a chain were measured on the card; START, PROLOGUE and
UNIT_BYTES are assumed. Knows a launch as plan_gpu prints it.
"""
import math
import re

from compile_lab import estimate

COPY_RATE = 4.2e12  # bytes a second, read and written
HOST_LAUNCH = 6.3e-6  # of the host, in a chain; the device computes meanwhile
START = 2.5e-6  # of the device, from the end of one kernel to the first work of the next
PROLOGUE = 1500  # clocks of a work-group before and after its loop
MOST_ITEMS, MOST_GROUPS = 2048, 32  # on a unit
UNIT_BYTES = 40  # of one unit alone, a clock, read and written


def option(launch, name, usual=0):
    found = re.search(rf"-D{name}=(-?\d+)", launch["options"])
    return int(found[1]) if found else usual


def flops_of_group(launch, groups):
    """Of a work-group, with what it computes beyond the edges of the results."""
    tile = {"gemm_tiled": math.prod(launch["local"]) // option(launch, "SHARES", 1) * option(launch, "OWN_ROWS") * option(launch, "OWN_COLUMNS"),
            "gemm_wgmma": 128 * option(launch, "COLUMNS", 256),
            "gemm_matrix": 2 * option(launch, "GROUP_COLUMNS", 2) * option(launch, "SUB_ROWS") * option(launch, "SUB_COLUMNS")}
    area = tile.get(launch["kernel"])
    products = option(launch, "PRODUCTS", 1)
    if not area or not launch["flops"]:
        return launch["flops"] * products / groups
    parts = launch["global"][1] if len(launch["global"]) > 1 else 1
    depth = option(launch, "DEPTH", 64 if option(launch, "STORAGE") else 32) * option(launch, "SHARES", 1)
    return 2 * area * products * math.ceil(launch["flops"] / (2 * launch["results"]) / parts / depth) * depth


def occupancy(kernel, items):
    sub_groups = math.ceil(items / 32)
    by_registers = estimate.REGISTERS // (math.ceil(max(kernel["registers"], 16) / 8) * 8 * 32 * sub_groups)
    return max(1, min(by_registers, estimate.LOCAL_BYTES // (kernel["local"] + 1024), MOST_ITEMS // (32 * sub_groups), MOST_GROUPS))


def seconds(launch, kernel):
    """(seconds on the device, what they are mostly of) of a launch; kernel: registers, local, counts (of the main loop, or
    None) and moved (bytes that a work-item loads and stores in a pass of its busiest loop)."""
    items, groups = math.prod(launch["local"]), math.prod(launch["global"]) // math.prod(launch["local"])
    together, sub_groups = occupancy(kernel, items), math.ceil(items / 32)
    each = math.ceil(groups / estimate.UNITS)  # of the busiest unit
    waves, rest = divmod(each, together)
    counts = kernel["counts"]
    clock = estimate.MATRIX_CLOCK if counts and any(name.startswith(("HMMA", "HGMMA")) for name in counts) else estimate.CLOCK
    arithmetic = 0
    if counts and launch["flops"] and any(name.startswith("BAR") for name in counts):
        passes = flops_of_group(launch, groups) / (estimate.flops(counts) * sub_groups)
        arithmetic = passes * (waves * estimate.turn(counts, sub_groups, together) + (estimate.turn(counts, sub_groups, rest) if rest else 0))
    rounds = waves + bool(rest)
    chain = math.ceil(launch["bytes"] / (groups * items) / kernel["moved"]) if kernel["moved"] else 1
    times = {"arithmetic": arithmetic / clock,
             "bytes": launch["bytes"] / min(COPY_RATE, min(groups, estimate.UNITS) * UNIT_BYTES * estimate.CLOCK),
             "waits": rounds * chain * estimate.LATENCY / estimate.CLOCK}
    limit = max(times, key=times.get)
    return START + rounds * PROLOGUE / clock + times[limit], limit


def total(times):
    """Of launches one after another, whose queue the host fills meanwhile."""
    return max(len(times) * HOST_LAUNCH, sum(times))
