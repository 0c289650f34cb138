/* Between a test and the OpenCL without a device that is preloaded into it. */
#ifndef EXPANSE_TESTS_NULL_OPENCL_H
#define EXPANSE_TESTS_NULL_OPENCL_H

typedef enum null_fault {
    NULL_FAULT_NONE,
    NULL_FAULT_NO_TIMES,       /* profiling information is not available */
    NULL_FAULT_TIMES_REVERSED, /* an end before the start */
    NULL_FAULT_TIMES_ZERO,     /* all times are 0 */
    NULL_FAULT_TIMES_GARBAGE,  /* two of three events start at 0 or at the largest number, and end at the other */
    NULL_FAULT_NO_EVENTS,      /* commands succeed and give no event */
    NULL_FAULT_EVENTS_STAY,    /* clReleaseEvent releases, and says that it has failed */
    NULL_FAULT_LAUNCHES_BREAK, /* launches fail and leave an event that is none, and their context is of no more use */
    NULL_FAULT_NO_OBJECTS      /* kernels are created with success, but NULL */
} null_fault;

typedef struct null_opencl {
    null_fault fault;       /* what calls do wrong from now on */
    const char *extensions; /* of the device; NULL: none */
    int builds;             /* of programs */
    const char *ptx;     /* the binary of programs that are built from now on; NULL: one that only this driver reads */
    const char *refused; /* what is in a PTX that does not build; NULL: all builds */
    char loaded[512];    /* the last PTX that a program was made of */
    int live;            /* objects and events with a reference */
    int misuses;         /* bad handles, transfers out of bounds, objects that are left when their context goes … */
} null_opencl;

/* The symbol of the preloaded library, for dlsym. */
#define NULL_OPENCL "expanse_null_opencl"

#endif
