/* `expanse bench roof`: what the device can do at most, and how near the two heaviest kernels come. */
#include "bench.h"
#include "command.h"

#include <stdio.h>

static void print_json(const char *key, const xp_roof *roof, const char *end) {
    printf("\"%s\": {\"gflops\": %.2f, \"gb_s\": %.2f, \"launch_us\": %.3f}%s", key, roof->flops * 1e-9,
           roof->bytes * 1e-9, roof->launch_seconds * 1e6, end);
}

int xp_command_bench_roof(int count, char **words) {
    const char *device_name = NULL, *family = NULL;
    bool json = false;
    const xp_flag flags[] = {
        {"--device", "D", "device id, name, gpu or cpu", .text = &device_name},
        {"--family", "F", "kernel family: wide, tiled or auto", .text = &family},
        {"--json", NULL, "the figures as JSON", .on = &json},
    };
    const xp_usage usage = {
        .name = "bench roof",
        .synopsis = "[flags]",
        .description =
            "Measures fused multiply-adds of fp32, memory bandwidth and the cost of a launch. The best figures\n"
            "ever seen on the device are kept in the cache folder; every other benchmark tells its share\n"
            "of them. expanse bench gemm and bench attention show how near the heaviest kernels come.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .example = "expanse bench roof --device gpu"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    const xp_device_options options = {.select = device_name, .family = family};
    xp_device *device = NULL;
    xp_roof now, best;
    xp_status status = xp_device_open(&device, &options);
    if (status == XP_OK) status = xp_roof_measure(device, &now);
    if (status == XP_OK) {
        best = now;
        xp_roof_record(device, &best);
        if (json) {
            printf("{");
            print_json("now", &now, ", ");
            print_json("best", &best, "}\n");
        } else {
            printf("%s, driver %s, %u compute units\n%-24s %12s %12s\n", device->name, device->driver,
                   device->limits.compute_units, "", "now", "best seen");
            printf("%-24s %12.1f %12.1f\n", "fp32 FMA, GFLOP/s", now.flops * 1e-9, best.flops * 1e-9);
            printf("%-24s %12.1f %12.1f\n", "memory (triad), GB/s", now.bytes * 1e-9, best.bytes * 1e-9);
            printf("%-24s %12.2f %12.2f\n", "launch in a chain, µs", now.launch_seconds * 1e6,
                   best.launch_seconds * 1e6);
            printf("%-24s %12.1f %12.1f   below it memory binds\n", "balance, FLOP/byte", now.flops / now.bytes,
                   best.flops / best.bytes);
        }
    }
    xp_device_close(&device);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}
