#!/bin/sh
# Every variant of every operation at small shapes under Oclgrind, which watches for data races between work-items,
# accesses outside buffers and uses of uninitialised memory. Exits with 77 (skipped) where Oclgrind is missing.
#
#   tests/oclgrind.sh EXPANSE                      all, as many at a time as there are processors
#   tests/oclgrind.sh EXPANSE OPERATION FAMILY     one
#
# Oclgrind 21.10 knows neither the freeze instruction (so kernels are built without optimisation) nor all vector
# shuffles: its watch over uninitialised memory crashes on some kernels. Those run again without that watch, and are
# named; there the NaN that the harness puts into every output and all scratch is what finds such reads.
set -u
expanse=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cases=${XP_OCLGRIND_CASES:-41} # one of each variant that the check draws
command -v oclgrind >/dev/null || {
    echo "oclgrind is missing: install the package oclgrind to watch the kernels' memory accesses"
    exit 77
}
export EXPANSE_CACHE_DIR=

if [ $# = 1 ]; then
    operations=$(sed -n 's/^ *ROW(\([a-z_]*\), [0-9]).*/\1/p' "$root/src/ops/list.h")
    [ -n "$operations" ] || exit 1
    {
        for operation in $operations; do echo "$operation wide $operation tiled"; done
        for operation in gemm attention attention_backward; do echo "$operation matrix"; done
    } | xargs -n 2 -P "$(nproc)" "$0" "$expanse"
    exit
fi

operation=$2 family=$3
log=$(mktemp) && out=$(mktemp) || exit 1
trap 'rm -f "$log" "$out"' EXIT

run() { # OCLGRIND-OPTIONS…
    oclgrind --build-options -cl-opt-disable --data-races "$@" --log "$log" \
        "$expanse" check --device 0:0 --family "$family" --filter "^$operation\$" --cases "$cases" --small >"$out" 2>&1
}

run --uninitialized
code=$?
watched="races, bounds, uninitialised reads"
if [ $code -ge 128 ]; then
    watched="races and bounds; Oclgrind's watch over uninitialised memory crashed"
    run
    code=$?
fi
if [ $code -ne 0 ] || [ -s "$log" ]; then
    echo "$operation $family: exit code $code"
    cat "$out"
    head -n 40 "$log"
    exit 1
fi
echo "$operation $family: $(sed -n 's/^[a-z_]* *[a-z]* *yes *\([0-9]*\) .*/\1 variants/p' "$out"), $watched"
