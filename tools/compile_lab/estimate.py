"""Estimates how fast the main loop of a GPU kernel runs, from its machine code, without the GPU.

For one pass of one sub-group through it the counts of instructions give the clocks that each part of a scheduler is busy: the matrix
unit, issue, arithmetic of half the rate, special functions, local memory, and the second-level cache. These overlap imperfectly: their
norm of order OVERLAP is the busy time. Arithmetic of the full rate, one instruction a clock, is a part of issue and has none of its own.
Work-groups that share a unit hide each other's waits; a lone one waits at its barrier, and for memory, too, where its copies are not
ahead by a pass or more.

The rates are the hardware's, or its measured peaks. OVERLAP, the wait at a barrier, the latency of memory and the rate of the
cache were fitted to twelve kernels that were measured on an H200 (calibration.json). They hardly determine the rate of the cache:
fitted anew with 18 bytes a clock and unit, or with 40, all stay within 25 %. Knows the disassembly of NVIDIA's sm_90 alone.
"""
import collections
import json
import math
import os
import re

UNITS, SCHEDULERS = 132, 4
MATRIX_CLOCK, CLOCK = 1.755e9, 1.98e9  # with matrix units at work, and without
REGISTERS, LOCAL_BYTES = 65536, 227 * 1024
OVERLAP, BARRIER, LATENCY, CACHE_BYTES = 2.5, 200, 700, 20  # fitted; clocks, clocks, bytes a clock and unit
LOCAL_RATE = 128  # bytes a clock and unit
LIMITS = ("matrix unit", "issue", "other arithmetic", "special functions", "local memory", "cache")

# Clocks of a scheduler for one instruction of a sub-group, by the beginning of its name. An mma.sync of sm_90 takes
# what its measured peak says (624 TFLOP/s in bf16, 312 in tf32).
ARITHMETIC = {"HMMA": ("matrix unit", 6.08), "MUFU": ("special functions", 8),
              **dict.fromkeys(("FMNMX", "FSEL", "ISETP", "SEL", "VIADD", "LEA", "IADD3", "LOP3", "FSETP", "F2FP", "SHF", "PLOP3", "MOV",
                               "PRMT"), ("other arithmetic", 2))}
FLOPS = {"HMMA.16816": 4096, "HMMA.1688": 2048}
HELD_LEFT = r"(HGMMA\S*) (R\d+, R\d+,)"  # whose left factor is in registers
ASYNCHRONOUS = r"HGMMA\.64x(\d+)x(\d+)"  # columns and steps: 128 clocks for 256 columns of one step, which is 32 bytes of a row
# Bytes of a sub-group's access.
LOCAL = ((r"LDSM\S*\.4", 512), (r"LDSM\S*\.2", 256), (r"(LDS|STS)\S*\.128", 512), (r"(LDS|STS)\S*\.64", 256), (r"LDS|STS", 128),
         (r"LDGSTS", 512), (r"SHFL", 128))
CACHE = ((r"LDGSTS", 512), (r"LDG\S*\.128", 512), (r"LDG\S*\.64", 256), (r"LDG", 128))

MOVED = tuple((rf"(LDG|STG|LDGSTS)\b{pattern}", bytes_) for pattern, bytes_ in ((r"\S*\.128", 512), (r"\S*\.64", 256), (r"\S*\.U?16", 64), ("", 128)))


def numbers(words, name):
    """[(register, immediate)] of instructions of this name that combine a register with an immediate."""
    found = (re.match(rf"{name}\S*\s.*?\b(U?R\d+)(?:\.reuse)?, (-?0x[0-9a-f]+)\b", instruction) for instruction in words)
    return [(match[1], int(match[2], 16)) for match in found if match]


def first_value(register, before):
    """Of a counter whose loop begins behind these instructions: an immediate, or else 0."""
    for instruction in reversed(before):
        if re.match(rf"\S+ {register}\b", instruction):
            immediate = re.match(rf"U?MOV {register}, (0x[0-9a-f]+)$", instruction)
            return int(immediate[1], 16) if immediate else 0
    return 0


def passes(loop, before=()):
    """How often a loop with a counter of known bounds runs; 1 where it cannot be seen. A counter that is compared before it grows
    runs once more."""
    steps = {register: (at, step - ((step >> 31) << 32)) for at, instruction in enumerate(loop)
             for register, step in numbers([instruction], "U?(?:IADD3|VIADD|IADD)")}
    for at, instruction in enumerate(loop):
        for register, bound in numbers([instruction], "U?ISETP"):
            grows, step = steps.get(register, (0, 0))
            way = bound - first_value(register, before)
            if step and way % step == 0 and way // step + (at < grows) > 1:
                return way // step + (at < grows)
    return 1


def outermost(begin, end, loops):
    """The loops within [begin, end) that are in no other one of them, in order."""
    inner = [loop for loop in loops if begin <= loop[0] and loop[1] <= end and loop != (begin, end)]
    return sorted(loop for loop in inner if not any(other[0] <= loop[0] and loop[1] <= other[1] and other != loop for other in inner))


def own(instructions, begin, end, loops):
    """The instructions of [begin, end) that are in none of the loops within it, whose counters are not its own."""
    found, at = [], begin
    for first, last in outermost(begin, end, loops):
        found += instructions[at:first]
        at = last
    return found + instructions[at:end]


def total(instructions, begin, end, loops, product=0):
    """Counts of what [begin, end) executes in one pass, with the loops within it. `product`: multiply-adds of each of these loops that
    has some, where they are known."""
    counts, at = collections.Counter(), begin
    for first, last in outermost(begin, end, loops):
        counts.update(words.split()[0] for words in instructions[at:first])
        within = total(instructions, first, last, loops)
        often = passes(own(instructions, first, last, loops), instructions[:first])
        if product and within["FFMA"]:
            often = product / within["FFMA"]
        for name, count in within.items():
            counts[name] += often * count
        at = last
    counts.update(words.split()[0] for words in instructions[at:end])
    return counts


def loops_of(disassembly, product=0):
    """(kernel, instructions, {(begin, end): Counter of one pass}) of each kernel in the text that nvdisasm -c prints. `product`: as for
    total."""
    for kernel, body in re.findall(r"\.section\s+\.text\.(\w+)(.*?)(?=\.section|\Z)", disassembly, re.DOTALL):
        instructions, labels, loops = [], {}, set()
        for line in body.splitlines():
            if label := re.match(r"(\.L_\w+):", line):
                labels[label[1]] = len(instructions)
            elif instruction := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(.*?);", line):
                instructions.append(re.sub(HELD_LEFT, r"\1.HELD \2", instruction[1].strip()))
                back = re.search(r"BRA\S*.*?(\.L_\w+)", instructions[-1])
                if back and back[1] in labels:
                    loops.add((labels[back[1]], len(instructions)))
        yield kernel, instructions, {loop: total(instructions, *loop, loops, product) for loop in loops}


def main_loops(disassembly, product=0):
    """{kernel: Counter of the instructions of one pass through its main loop}: the shortest that has at least nine tenths of the
    arithmetic."""
    found = {}
    for kernel, instructions, counted in loops_of(disassembly, product):
        most = max(map(flops, counted.values()), default=0)
        main = min((loop for loop in counted if 10 * flops(counted[loop]) >= 9 * most > 0), key=lambda loop: loop[1] - loop[0], default=None)
        if main:
            text = "\n".join(instructions[slice(*main)])
            found[kernel] = counted[main] + collections.Counter({
                "copies in flight": max((int(count, 16) for count in re.findall(r"DEPBAR\.LE SB0, 0x(\w+)", text)), default=0),
                "products in flight": products_at_barrier(instructions[slice(*main)])})
    return found


def products_at_barrier(loop):
    """Groups of asynchronous products that the last wait before the loop's first barrier leaves on their way."""
    barrier = next((at for at, instruction in enumerate(loop) if instruction.startswith("BAR.SYNC")), 0)
    waits = re.findall(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x(\w+)", "\n".join(loop[barrier:] + loop[:barrier]))
    return int(waits[-1], 16) if waits else 0


def moved(disassembly):
    """{kernel: bytes that a work-item loads and stores in one pass of the loop that moves most}; kernels without such a loop are not in
    it."""
    found = {}
    for kernel, _, counted in loops_of(disassembly):
        most = max((sum(first_match(MOVED, name) * count for name, count in counts.items()) / 32 for counts in counted.values()), default=0)
        if most:
            found[kernel] = most
    return found


def first_match(rows, name):
    return next((bytes_ for pattern, bytes_ in rows if re.match(pattern, name)), 0)


def busy(counts):
    """{limit: clocks of a scheduler for one pass of one sub-group}"""
    clocks = dict.fromkeys(LIMITS, 0.0)
    for name, count in counts.items():
        if name.endswith("in flight"):
            continue
        clocks["issue"] += count
        if product := re.match(ASYNCHRONOUS, name):  # of a quarter of the team's rows
            columns = int(product[1])
            clocks["matrix unit"] += count * columns / 2
            clocks["local memory"] += count * 32 * (columns if name.endswith(".HELD") else 64 + columns) / LOCAL_RATE
        limit, each = ARITHMETIC.get(name.split(".")[0], (None, 0))
        if limit:
            clocks[limit] += each * count
        clocks["local memory"] += first_match(LOCAL, name) * count * SCHEDULERS / LOCAL_RATE
        clocks["cache"] += first_match(CACHE, name) * count * SCHEDULERS / CACHE_BYTES
    return clocks


def flops(counts):
    """Of one pass of one sub-group: those of the matrix unit, or else of fp32 multiply-adds."""
    matrix = sum(each * count for name, count in counts.items() for begin, each in FLOPS.items() if name.startswith(begin))
    for name, count in counts.items():
        if product := re.match(ASYNCHRONOUS, name):
            matrix += count * 2 * 16 * int(product[1]) * int(product[2])
    return matrix or 64 * sum(count for name, count in counts.items() if name.startswith("FFMA"))


def turn(counts, sub_groups, groups):
    """Clocks of a unit in which each of its work-groups passes once through the main loop."""
    one = sum(value**OVERLAP for value in busy(counts).values()) ** (1 / OVERLAP)  # of a sub-group on its scheduler
    own, together = (one * max(1, count * sub_groups / SCHEDULERS) for count in (1, groups))
    if counts.get("products in flight"):  # the units have work at the barrier, and copies a pass to arrive
        return max(together, LATENCY + BARRIER)
    if groups > 1:
        return max(together, own + BARRIER)
    return own + BARRIER + (LATENCY if not counts.get("copies in flight") and any(name.startswith("LDGSTS") for name in counts) else 0)


def estimate(counts, registers, local_bytes, work_items):
    """TFLOP/s of a device full of such work-groups, what limits it most, and the work-groups that share a unit."""
    sub_groups = math.ceil(work_items / 32)
    groups = min(REGISTERS // (math.ceil(registers / 8) * 8 * 32 * sub_groups), LOCAL_BYTES // (local_bytes + 1024))
    if groups == 0:
        return 0.0, "does not fit", 0
    clocks = busy(counts)
    clock = MATRIX_CLOCK if clocks["matrix unit"] else CLOCK
    rate = flops(counts) * groups * sub_groups / turn(counts, sub_groups, groups) * UNITS * clock / 1e12
    return rate, max(clocks, key=clocks.get), groups


def calibration():
    """The measured kernels: [{name, counts, registers, local, work_items, useful, measured}]; `useful` is the share of the
    arithmetic that `measured` counts."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "calibration.json")) as file:
        return json.load(file)
