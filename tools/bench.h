/* Shared by the benchmarks: a timed run, a row of results, and their table. */
#ifndef XP_TOOLS_BENCH_H
#define XP_TOOLS_BENCH_H

#include "table.h"

#include "device/peak.h"
#include "graph/plan.h"

#include <stdbool.h>
#include <stdio.h>

enum { XP_BENCH_REPETITIONS = 1000 /* the most */ };

typedef struct xp_bench_row {
    const char *name;    /* "gemm" */
    char shape[128];     /* "M=512 N=512 K=512" */
    const char *variant; /* the kernels' -D text; NULL: several kernels */
    double *seconds;     /* [repetitions], sorted here */
    int repetitions;
    double flops, bytes; /* of one repetition; 0 where unknown */
    double ratio;        /* to another row's time; 0: none */
    double arena_bytes;  /* 0: not printed */
    bool unbounded;      /* by the peaks that are measured: those of vectors, not of matrix units */
} xp_bench_row;

typedef struct xp_bench_table {
    const xp_device *device;
    xp_peak peak;
    xp_table table;
} xp_bench_table;

/* Flag for the precision of single operations; the argument is an int *, an xp_precision. */
#define XP_BENCH_PRECISION_FLAG(choice_)                                                                               \
    {                                                                                                                  \
        "--precision", "NAME",                                                                                         \
            "of the tensors: fp32, bf16, fp16; of the products, on matrix units: fp32-matrix, tf32 (fp32)",            \
            .choices = xp_precisions, .choice = (choice_)                                                              \
    }

/* Opens the device for a precision. XP_UNSUPPORTED: it needs matrix units. */
xp_status xp_bench_open(xp_device **device, const char *select, const char *family, int precision);
/* Whether matrix units can compute in this precision on the device. */
bool xp_bench_on_units(const xp_device *device, int precision);

/* Measures the peak of the device and prints the lines above the rows. Close it after success. */
xp_status xp_bench_table_open(xp_bench_table *bench, xp_table_format format, xp_device *device);
void xp_bench_table_row(xp_bench_table *bench, xp_bench_row *row);
/* Prints the rows, unless `status` says that the timing failed. Returns `status`, or the error of printing. */
xp_status xp_bench_table_close(xp_bench_table *bench, xp_status status);

xp_status xp_bench_fill(xp_plan *plan, const xp_tensor *tensor);           /* with normal numbers */
xp_status xp_bench_run(xp_plan *plan, xp_device *device, double *seconds); /* by the wall clock, to the end */
/* Prints what the user should know of the plan, if there is anything, to stderr. */
void xp_bench_tell(const xp_plan *plan);
/* Runs it once before it is timed; the first plan of a process for a second or a hundred times, whichever ends first:
 * idle processors (and virtual ones above all) take that long to come up to speed. */
xp_status xp_bench_warm(xp_plan *plan, xp_device *device);

/* The commands "bench peak", "bench gemm" and so on; each gets the words after its name. */
int xp_command_bench_peak(int count, char **words);
int xp_command_bench_gemm(int count, char **words);
int xp_command_bench_attention(int count, char **words);
int xp_command_bench_step(int count, char **words);
int xp_command_bench_kernels(int count, char **words);

#endif
