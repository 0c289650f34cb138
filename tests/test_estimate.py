#!/usr/bin/env python3
"""The estimate of tools/compile-lab agrees with what was measured on an H200, and counts loops within loops.

usage: test_estimate.py SOURCE_ROOT"""
import os
import sys

sys.path.insert(0, os.path.join(sys.argv[1], "tools"))
from compile_lab import estimate  # noqa: E402

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

for kernel in estimate.calibration():
    rate, limit, groups = estimate.estimate(kernel["counts"], kernel["registers"], kernel["local"], kernel["work_items"])
    ratio = rate * kernel["useful"] / kernel["measured"]
    print(f"{kernel['name']}: estimated {rate * kernel['useful']:.1f}, measured {kernel['measured']}, {groups} groups a unit, limited by {limit}")
    assert 1 / 1.25 < ratio < 1.25, f"{kernel['name']}: the estimate is {ratio:.2f} of what was measured"

counts = estimate.main_loops(NESTED)["product"]
assert counts["FFMA"] == 16 and counts["LDS.128"] == 1, counts
assert estimate.flops(counts) == 16 * 64
assert estimate.estimate(counts, 256, 10**6, 256)[2] == 0  # no unit has so much local memory
