/* Rows of benchmarks in four formats. Owns how they look; knows nothing of what was timed. */
#include "bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const formats[] = {[XP_BENCH_MARKDOWN] = "md", [XP_BENCH_CSV] = "csv", [XP_BENCH_JSON] = "json"};

xp_status xp_bench_format_read(const char *name, xp_bench_format *out) {
    *out = XP_BENCH_TEXT;
    if (!name) return XP_OK;
    for (int i = XP_BENCH_MARKDOWN; i <= XP_BENCH_JSON; i++)
        if (strcmp(name, formats[i]) == 0) {
            *out = (xp_bench_format)i;
            return XP_OK;
        }
    return xp_fail(XP_INVALID_ARGUMENT, "bench: there is no format \"%s\": -o takes md, csv or json", name);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double xp_bench_median(double *seconds, int count) {
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    return count % 2 ? seconds[count / 2] : 0.5 * (seconds[count / 2 - 1] + seconds[count / 2]);
}

xp_status xp_bench_table_open(xp_bench_table *table, xp_bench_format format, xp_device *device) {
    *table = (xp_bench_table){.format = format, .device = device};
    XP_TRY(xp_roof_measure(device, &table->roof));
    xp_roof_record(device, &table->roof); /* and take the best that was ever seen */
    const char *name = device->name, *driver = device->driver;
    switch (format) {
    case XP_BENCH_TEXT:
        printf("%s, driver %s, %u compute units; roof %.1f GFLOP/s, %.1f GB/s\n", name, driver,
               device->limits.compute_units, table->roof.flops * 1e-9, table->roof.bytes * 1e-9);
        printf("%-34s %-40s %10s %7s %10s %8s %8s %7s %10s\n", "", "shape", "median ms", "spread", "GFLOP/s", "GB/s",
               "of roof", "ratio", "arena MiB");
        break;
    case XP_BENCH_MARKDOWN:
        printf("%s, driver %s, Expanse %s; roof %.1f GFLOP/s, %.1f GB/s\n\n", name, driver, XP_VERSION,
               table->roof.flops * 1e-9, table->roof.bytes * 1e-9);
        printf("| | shape | median ms | spread | GFLOP/s | GB/s | share of roof | ratio | arena MiB |\n"
               "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
        break;
    case XP_BENCH_CSV:
        printf(
            "name,shape,variant,median_ms,spread,gflops,gb_s,share_of_roof,ratio,arena_mib,repetitions,device,driver,"
            "version\n");
        break;
    case XP_BENCH_JSON:
        printf("[");
        break;
    }
    return XP_OK;
}

static const char *figure(double value, const char *format, char *text, size_t size) {
    if (value > 0)
        snprintf(text, size, format, value);
    else
        snprintf(text, size, "%s", "");
    return text;
}

static void print_csv_text(const char *text) {
    putchar('"');
    for (; text && *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    printf("\",");
}

void xp_bench_table_row(xp_bench_table *table, xp_bench_row *row) {
    const double median = xp_bench_median(row->seconds, row->repetitions), ms = median * 1e3;
    const double spread =
        (row->seconds[row->repetitions - 1 - row->repetitions / 4] - row->seconds[row->repetitions / 4]) /
        (2 * median); /* half the distance of the quartiles */
    const double gflops = row->flops / median * 1e-9, rate = row->bytes / median * 1e-9;
    const double share = xp_roof_share(&table->roof, row->flops, row->bytes, median);
    const double arena = row->arena_bytes / (1 << 20);
    char t[6][24];
    const xp_device *device = table->device;
    switch (table->format) {
    case XP_BENCH_TEXT:
    case XP_BENCH_MARKDOWN:
        printf(table->format == XP_BENCH_TEXT ? "%-34s %-40s %10.3f %6.0f%% %10s %8s %8s %7s %10s\n"
                                              : "| %s | %s | %.3f | ±%.0f %% | %s | %s | %s | %s | %s |\n",
               row->name, row->shape, ms, 100 * spread, figure(gflops, "%.1f", t[0], sizeof t[0]),
               figure(rate, "%.1f", t[1], sizeof t[1]), figure(100 * share, "%.0f %%", t[2], sizeof t[2]),
               figure(row->ratio, "%.3f", t[3], sizeof t[3]), figure(arena, "%.1f", t[4], sizeof t[4]));
        break;
    case XP_BENCH_CSV:
        print_csv_text(row->name);
        print_csv_text(row->shape);
        print_csv_text(row->variant);
        printf("%.6f,%.4f,%.3f,%.3f,%.4f,%s,%s,%d,", ms, spread, gflops, rate, share,
               figure(row->ratio, "%.4f", t[3], sizeof t[3]), figure(arena, "%.2f", t[4], sizeof t[4]),
               row->repetitions);
        print_csv_text(device->name);
        print_csv_text(device->driver);
        printf("%s\n", XP_VERSION);
        break;
    case XP_BENCH_JSON: {
        json_t *object = json_pack("{s:s,s:s,s:s*,s:f,s:f,s:f,s:f,s:f,s:i,s:s,s:s,s:s}", "name", row->name, "shape",
                                   row->shape, "variant", row->variant, "median_ms", ms, "spread", spread, "gflops",
                                   gflops, "gb_s", rate, "share_of_roof", share, "repetitions", row->repetitions,
                                   "device", device->name, "driver", device->driver, "version", XP_VERSION);
        if (row->ratio > 0) json_object_set_new(object, "ratio", json_real(row->ratio));
        if (arena > 0) json_object_set_new(object, "arena_mib", json_real(arena));
        char *text = json_dumps(object, JSON_REAL_PRECISION(8));
        printf("%s\n %s", table->rows ? "," : "", text ? text : "{}");
        free(text);
        json_decref(object);
        break;
    }
    }
    table->rows++;
    fflush(stdout);
}

void xp_bench_table_close(xp_bench_table *table) {
    if (table->format == XP_BENCH_JSON) printf("\n]\n");
}
