/* Between a test and the failing allocations that are preloaded into it. */
#ifndef EXPANSE_TESTS_FAILING_ALLOCATIONS_H
#define EXPANSE_TESTS_FAILING_ALLOCATIONS_H

#include <stdbool.h>

typedef struct failing_allocations {
    long count; /* of all that were asked for since the test set it */
    long first; /* the one to fail; 0: none */
    bool on;    /* so are all later ones */
} failing_allocations;

/* The symbol of the preloaded library, for dlsym. */
#define FAILING_ALLOCATIONS "expanse_failing_allocations"

#endif
