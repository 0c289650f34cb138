/* Between a test and the watching OpenCL that is preloaded into it. */
#ifndef EXPANSE_TESTS_WATCHED_OPENCL_H
#define EXPANSE_TESTS_WATCHED_OPENCL_H

typedef enum watched_fault {
    WATCHED_NONE,
    WATCHED_NO_TIMES,       /* profiling information is not available */
    WATCHED_TIMES_REVERSED, /* an end before the start */
    WATCHED_NO_EVENTS,      /* commands succeed and give no event */
    WATCHED_NO_OBJECTS      /* kernels are created with success, but NULL */
} watched_fault;

typedef struct watched_opencl {
    watched_fault fault; /* what calls do wrong from now on */
    int live;            /* objects and events with a reference */
    int strays;          /* released without a reference, or still there when their context went */
} watched_opencl;

/* The symbol of the preloaded library, for dlsym. */
#define WATCHED_OPENCL "expanse_watched_opencl"

#endif
