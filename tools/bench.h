/* What the benchmarks share: a timed run, a row of results, and the table that prints it as text, Markdown, CSV or
 * JSON. */
#ifndef XP_TOOLS_BENCH_H
#define XP_TOOLS_BENCH_H

#include "device/roof.h"
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
    double arena_bytes;  /* 0: not told */
} xp_bench_row;

typedef enum xp_bench_format { XP_BENCH_TEXT, XP_BENCH_MARKDOWN, XP_BENCH_CSV, XP_BENCH_JSON } xp_bench_format;

/* XP_INVALID_ARGUMENT names the formats. NULL is text. */
xp_status xp_bench_format_read(const char *name, xp_bench_format *out);

typedef struct xp_bench_table {
    xp_bench_format format;
    const xp_device *device;
    xp_roof roof;
    int rows;
} xp_bench_table;

/* Measures the device's roof and prints what stands above the rows. */
xp_status xp_bench_table_open(xp_bench_table *table, xp_bench_format format, xp_device *device);
void xp_bench_table_row(xp_bench_table *table, xp_bench_row *row);
void xp_bench_table_close(xp_bench_table *table);

double xp_bench_median(double *seconds, int count); /* sorts */

xp_status xp_bench_fill(xp_plan *plan, const xp_tensor *tensor);           /* with normal numbers */
xp_status xp_bench_run(xp_plan *plan, xp_device *device, double *seconds); /* by the wall clock, to the end */
/* Runs it once before it is timed; the first plan of a process for a second, since idle processors (and virtual ones
 * above all) take that long to come up to speed. */
xp_status xp_bench_warm(xp_plan *plan, xp_device *device);

/* The words behind "bench roof", "bench gemm" and so on. */
int xp_command_bench_roof(int count, char **words);
int xp_command_bench_gemm(int count, char **words);
int xp_command_bench_attention(int count, char **words);
int xp_command_bench_step(int count, char **words);
int xp_command_bench_kernels(int count, char **words);

#define XP_BENCH_FORMAT_FLAG(text_)                                                                                    \
    { "-o", "FORMAT", "md, csv or json in place of text", .text = (text_) }

#endif
