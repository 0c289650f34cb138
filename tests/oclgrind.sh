#!/bin/sh
# Every operation at small shapes under Oclgrind, which watches for data races between work-items, accesses outside
# buffers and uses of uninitialised memory. Exits with 77 (skipped) where Oclgrind is missing.
#
#   tests/oclgrind.sh EXPANSE
#
# Oclgrind 21.10 knows neither the freeze instruction (so kernels are built without optimisation) nor all vector
# shuffles: its watch over uninitialised memory crashes on some kernels. Those run again without that watch, and are
# named; there the NaN that the harness puts into every output and all scratch is what finds such reads.
set -u
expanse=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cases=${XP_OCLGRIND_CASES:-3}
command -v oclgrind >/dev/null || {
    echo "oclgrind is missing: install the package oclgrind to watch the kernels' memory accesses"
    exit 77
}
log=$(mktemp) && out=$(mktemp) || exit 1
trap 'rm -f "$log" "$out"' EXIT
export EXPANSE_CACHE_DIR=

run() { # OPERATION FAMILY OCLGRIND-OPTIONS…
    operation=$1 family=$2
    shift 2
    oclgrind --build-options -cl-opt-disable --data-races "$@" --log "$log" \
        "$expanse" check --device 0:0 --family "$family" --filter "^$operation\$" --cases "$cases" --small >"$out" 2>&1
}

failed=0 checked=0
for operation in $(sed -n 's/^ *ROW(\([a-z_]*\), [0-9]).*/\1/p' "$root/src/ops/list.h"); do
    for family in wide tiled; do
        run "$operation" $family --uninitialized
        code=$?
        if [ $code -ge 128 ]; then
            echo "$operation $family: Oclgrind's watch over uninitialised memory crashed; races and bounds only"
            run "$operation" $family
            code=$?
        fi
        checked=$((checked + 1))
        if [ $code -ne 0 ] || [ -s "$log" ]; then
            failed=$((failed + 1))
            echo "$operation $family: exit code $code"
            cat "$out"
            head -n 40 "$log"
        fi
    done
done
echo "$checked pairs of operation and family, $failed failed"
[ $checked -gt 0 ] && [ $failed -eq 0 ]
