#!/usr/bin/env python3
"""The estimates of tools/compile-lab agree with what was measured on an H200, and count loops within loops.

usage: test_estimate.py SOURCE_ROOT"""
import os
import sys

sys.path.insert(0, os.path.join(sys.argv[1], "tools"))
from compile_lab import estimate, launches  # noqa: E402

NESTED = """
	.section	.text.product,"ax",@progbits
.L_x_0:
        /*0000*/                   LDS.128 R4, [R20] ;
        /*0010*/                   UMOV UR4, URZ ;
.L_x_1:
        /*0020*/                   FFMA R0, R4, R8, R0 ;
        /*0030*/                   UIADD3 UR4, UR4, 0x4, URZ ;
        /*0040*/                   UISETP.NE.AND UP0, UPT, UR4, 0x40, UPT ;
        /*0050*/               @P0 BRA `(.L_x_1) ;
        /*0060*/              @!P1 BRA `(.L_x_0) ;
        /*0070*/                   EXIT ;
"""

MOVING = NESTED.replace("FFMA R0, R4, R8, R0", "LDG.E.128 R4, [R20]")

for kernel in estimate.calibration():
    rate, limit, groups = estimate.estimate(kernel["counts"], kernel["registers"], kernel["local"], kernel["work_items"])
    ratio = rate * kernel["useful"] / kernel["measured"]
    print(f"{kernel['name']}: estimated {rate * kernel['useful']:.1f}, measured {kernel['measured']}, {groups} groups a unit, limited by {limit}")
    assert 1 / 1.25 < ratio < 1.25, f"{kernel['name']}: the estimate is {ratio:.2f} of what was measured"

turning = ["WARPGROUP.DEPBAR.LE gsb0, 0x1", "BAR.SYNC.DEFER_BLOCKING 0x0", "WARPGROUP.DEPBAR.LE gsb0, 0x0", "HGMMA.64x64x16.F32.BF16 R24"]
assert estimate.products_at_barrier(turning) == 1  # what the pass before left, not what is waited for behind the barrier
assert estimate.products_at_barrier(turning[1:]) == 0 and estimate.products_at_barrier(turning[3:]) == 0

counts = estimate.main_loops(NESTED)["product"]
assert counts["FFMA"] == 16 and counts["LDS.128"] == 1, counts
assert estimate.flops(counts) == 16 * 64
assert estimate.estimate(counts, 256, 10**6, 256)[2] == 0  # no unit has so much local memory

assert estimate.moved(MOVING) == {"product": 16 * 16} and not estimate.moved(NESTED)

# Whole launches of the measured products: name, m, n, k, bytes of a number, milliseconds.
PRODUCTS = [("bf16 product, 128x128, eight sub-groups", 4096, 4096, 4096, 2, 0.6817),
            ("bf16 product, 128x128, eight sub-groups", 8192, 1024, 1024, 2, 0.0976),
            ("bf16 product, 128x128, four sub-groups", 4096, 4096, 4096, 2, 0.5463),
            ("bf16 product, 128x128, four sub-groups", 8192, 1024, 1024, 2, 0.0764),
            ("fp32 product in three of tf32, 128x128", 8192, 1024, 1024, 4, 0.3010),
            ("fp32 product, 128x128", 8192, 1024, 1024, 4, 0.3896)]
known = {kernel["name"]: kernel for kernel in estimate.calibration()}
for name, m, n, k, each, measured in PRODUCTS:
    kernel = known[name]
    launch = {"kernel": "", "options": "", "global": [m // 128 * (n // 128) * kernel["work_items"]], "local": [kernel["work_items"]],
              "results": m * n, "flops": 2 * m * n * k / kernel["useful"], "bytes": each * (m * k + n * k + m * n)}
    time = 1e3 * launches.seconds(launch, {**kernel, "moved": None})[0]
    print(f"{name}, {m}x{n}x{k}: estimated {time:.4f} ms, measured {measured}")
    assert 1 / 1.25 < time / measured < 1.25, f"{name}, {m}x{n}x{k}: the estimate is {time / measured:.2f} of what was measured"

# A product whose tile is larger than its result costs as much as the tile.
ragged = {"kernel": "gemm_tiled", "options": "-DSIDE=8 -DOWN_ROWS=4 -DOWN_COLUMNS=4 -DDEPTH=16", "global": [64, 1], "local": [64, 1],
          "results": 10, "flops": 2 * 10 * 24, "bytes": 0}
assert launches.flops_of_group(ragged, 1) == 2 * 32 * 32 * 32
# Short launches take the host's time, long ones the device's.
assert launches.total([1e-6] * 10) == 10 * launches.HOST_LAUNCH and launches.total([1.0, 2.0]) == 3
