/* The table of timed runs: its columns, and how they are computed. Does not know what was timed. */
#include "bench.h"

#include "core/statistics.h"

#include <expanse/version.h>
#include <math.h>
#include <stdlib.h>

static const xp_column columns[] = {
    {"name", "", XP_CELL_TEXT},
    {"shape", "shape", XP_CELL_TEXT},
    {"variant", NULL, XP_CELL_TEXT},
    {"median_ms", "median ms", XP_CELL_REAL, .digits = 3},
    {"spread", "± %", XP_CELL_REAL, .scale = 100},
    {"gflops", "GFLOP/s", XP_CELL_REAL, .digits = 1},
    {"gb_s", "GB/s", XP_CELL_REAL, .digits = 1},
    {"share_of_roof", "% of peak", XP_CELL_REAL, .scale = 100},
    {"ratio", "ratio", XP_CELL_REAL, .digits = 3},
    {"arena_mib", "arena MiB", XP_CELL_REAL, .digits = 1},
    {"repetitions", NULL, XP_CELL_WHOLE},
    {"device", NULL, XP_CELL_TEXT},
    {"driver", NULL, XP_CELL_TEXT},
    {"version", NULL, XP_CELL_TEXT},
};

xp_status xp_bench_table_open(xp_bench_table *bench, xp_table_format format, xp_device *device) {
    *bench = (xp_bench_table){.device = device};
    XP_TRY(xp_peak_measure(device, &bench->peak)); /* a peak recorded under load would make every kernel look better */
    XP_TRY(xp_peak_record(device, &bench->peak));  /* and take the best that was ever seen */
    xp_table_open(&bench->table, stdout, format, columns, sizeof columns / sizeof *columns, NULL);
    xp_table_note(&bench->table, "%s, driver %s, %u compute units, Expanse %s; peak %.1f GFLOP/s, %.1f GB/s",
                  device->name, device->driver, device->limits.compute_units, XP_VERSION, bench->peak.flops * 1e-9,
                  bench->peak.bytes * 1e-9);
    return XP_OK;
}

void xp_bench_table_row(xp_bench_table *bench, xp_bench_row *row) {
    const double median = xp_median(row->seconds, row->repetitions);
    const double spread =
        (row->seconds[row->repetitions - 1 - row->repetitions / 4] - row->seconds[row->repetitions / 4]) /
        (2 * median); /* half the distance of the quartiles */
    const xp_cell cells[] = {
        {.text = row->name},
        {.text = row->shape},
        {.text = row->variant},
        {.real = median * 1e3},
        {.real = spread},
        {.real = row->flops / median * 1e-9},
        {.real = row->bytes / median * 1e-9},
        {.real = row->unbounded ? NAN : xp_peak_share(&bench->peak, row->flops, row->bytes, median)},
        {.real = row->ratio > 0 ? row->ratio : NAN},
        {.real = row->arena_bytes > 0 ? row->arena_bytes * XP_MIB : NAN},
        {.whole = row->repetitions},
        {.text = bench->device->name},
        {.text = bench->device->driver},
        {.text = XP_VERSION}};
    xp_table_row(&bench->table, cells);
}

xp_status xp_bench_table_close(xp_bench_table *bench, xp_status status) {
    return xp_table_close(&bench->table, status);
}
