#!/bin/sh
# Runs a test built with sanitizers. LeakSanitizer's own tracer sometimes crashes at exit, when threads of the OpenCL
# driver are alive (github.com/google/sanitizers/issues/1353): the test has passed then, and its leaks were not counted.
# Such a run says nothing, so it is made again, three times at most; what a sanitizer finds fails at once.
#
# usage: sanitized.sh TEST [ARGUMENTS]
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
for attempt in 1 2 3; do
    "$@" >"$log" 2>&1
    code=$?
    cat "$log"
    [ "$code" != 0 ] && grep -q 'LeakSanitizer has encountered a fatal error' "$log" || break
done
exit "$code"
