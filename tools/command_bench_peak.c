/* `expanse bench peak`: the highest rates of arithmetic, memory and launches that are measured on a device. */
#include "bench.h"
#include "command.h"

#include <stdio.h>

static const xp_column columns[] = {
    {"name", "", XP_CELL_TEXT},
    {"gflops", "fp32 FMA GFLOP/s", XP_CELL_REAL, .digits = 1},
    {"gb_s", "memory (triad) GB/s", XP_CELL_REAL, .digits = 1},
    {"launch_us", "launch in a chain µs", XP_CELL_REAL, .digits = 2},
    {"flop_byte", "balance FLOP/byte", XP_CELL_REAL, .digits = 1},
};

static void add_row(xp_table *table, const char *name, const xp_peak *peak) {
    const xp_cell cells[] = {{.text = name},
                             {.real = peak->flops * 1e-9},
                             {.real = peak->bytes * 1e-9},
                             {.real = peak->launch_seconds * 1e6},
                             {.real = peak->flops / peak->bytes}};
    xp_table_row(table, cells);
}

static xp_status print(const xp_device *device, const xp_peak *now, const xp_peak *best, xp_table_format format) {
    xp_table table;
    xp_table_open(&table, stdout, format, columns, sizeof columns / sizeof *columns, NULL);
    xp_table_note(&table, "%s, driver %s, %u compute units", device->name, device->driver,
                  device->limits.compute_units);
    add_row(&table, "now", now);
    add_row(&table, "best", best);
    xp_table_note(&table, "Kernels with fewer operations per byte than the balance are memory-bound.");
    return xp_table_close(&table, XP_OK);
}

int xp_command_bench_peak(int count, char **words) {
    const char *device_name = NULL, *family = NULL;
    int format = XP_TABLE_TEXT;
    const xp_flag flags[] = {
        XP_DEVICE_FLAG(&device_name),
        XP_FAMILY_FLAG(&family),
        XP_TABLE_FORMAT_FLAG(&format),
    };
    const xp_usage usage = {
        .name = "bench peak",
        .synopsis = "[flags]",
        .description =
            "Measures the peak of a device: fp32 fused multiply-adds, memory bandwidth and the time of a kernel\n"
            "launch. The cache folder keeps the best figures of each device; all other benchmarks report their\n"
            "share of them. To see how close the heaviest kernels come, run expanse bench gemm and expanse bench\n"
            "attention.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .example = "  expanse bench peak --device gpu\n"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    const xp_device_options options = {.size = sizeof(xp_device_options), .select = device_name, .family = family};
    xp_device *device = NULL;
    xp_peak now, best;
    xp_status status = xp_device_open(&device, &options);
    if (status == XP_OK) status = xp_peak_measure(device, &now);
    if (status == XP_OK) {
        best = now;
        status = xp_peak_record(device, &best);
        if (status == XP_OK) status = print(device, &now, &best, (xp_table_format)format);
    }
    xp_device_close(&device);
    return xp_command_end(status);
}
