/* `expanse bench gemm`: matrix products as the library runs them, packing and launches included. */
#include "bench.h"
#include "command.h"

#include "graph/store.h"
#include "ops/ops.h"
#include "train/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* C [M,N] = op(A)·op(B): A is stored [M,K], or [K,M] when transposed, B [K,N], or [N,K]. */
typedef struct product {
    long m, n, k;
    bool transpose_a, transpose_b;
} product;

/* Of a training step with 2048 rows: a linear layer, its two gradients, the wide layers, and a square. */
static const char *const usual[] = {"512x512x512",    "1024x1024x1024",  "2048x512x512nt", "2048x512x512nn",
                                    "512x512x2048tn", "2048x2048x512nt", "2048x512x2048nt"};
enum { USUAL = sizeof usual / sizeof usual[0] };

static xp_status read_product(const char *text, product *out) {
    char order[4] = "nn";
    int used = 0;
    *out = (product){0};
    const int found = sscanf(text, "%ldx%ldx%ld%n", &out->m, &out->n, &out->k, &used);
    if (found == 3 && text[used]) snprintf(order, sizeof order, "%s", text + used);
    out->transpose_a = order[0] == 't', out->transpose_b = order[1] == 't';
    const bool known = strlen(order) == 2 && strspn(order, "nt") == 2 && strlen(text) - (size_t)used <= 2;
    if (found != 3 || !known || out->m < 1 || out->n < 1 || out->k < 1 || out->m > 1 << 20 || out->n > 1 << 20 ||
        out->k > 1 << 20)
        return xp_fail(
            XP_INVALID_ARGUMENT,
            "bench gemm: \"%s\" is not a matrix product; write MxNxK, followed by nn, nt, tn or tt if factors are "
            "stored transposed, as in 2048x512x512nt",
            text);
    return XP_OK;
}

static xp_status open_product(const product *p, xp_type type, xp_device *device, xp_store **store, xp_graph **graph,
                              xp_plan **plan) {
    XP_TRY(xp_store_create(store));
    XP_TRY(xp_graph_create(graph, *store, false));
    xp_tensor *a =
        xp_graph_input(*graph, "a", type, 2, (int64_t[]){p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k});
    xp_tensor *b =
        xp_graph_input(*graph, "b", type, 2, (int64_t[]){p->transpose_b ? p->n : p->k, p->transpose_b ? p->k : p->n});
    if (!a || !b) return XP_OUT_OF_MEMORY;
    xp_tensor *c = xp_gemm(*graph, a, p->transpose_a, b, p->transpose_b);
    if (!c) return XP_INVALID_ARGUMENT;
    c->keep = true;
    XP_TRY(xp_plan_create(plan, device, *graph));
    XP_TRY(xp_plan_realise(*plan, NULL));
    XP_TRY(xp_plan_warm(*plan));
    XP_TRY(xp_bench_fill(*plan, a));
    return xp_bench_fill(*plan, b);
}

static xp_status time_product(const product *p, const char *text, xp_device *device, int precision, long repetitions,
                              xp_bench_table *table) {
    const xp_type type = xp_precision_storage(precision);
    xp_store *store = NULL;
    xp_graph *graph = NULL;
    xp_plan *plan = NULL;
    double times[XP_BENCH_REPETITIONS];
    xp_status status = open_product(p, type, device, &store, &graph, &plan);
    if (status == XP_OK) status = xp_bench_warm(plan, device);
    for (long i = 0; i < repetitions && status == XP_OK; i++) status = xp_bench_run(plan, device, &times[i]);
    if (status == XP_OK) {
        xp_bench_row row = {.name = "gemm",
                            .seconds = times,
                            .repetitions = (int)repetitions,
                            .flops = 2.0 * (double)p->m * (double)p->n * (double)p->k,
                            .bytes = (double)xp_type_bytes(type) * (double)(p->m * p->k + p->k * p->n + p->m * p->n),
                            .unbounded = xp_bench_on_units(device, precision)};
        snprintf(row.shape, sizeof row.shape, "%s", text);
        xp_bench_table_row(table, &row);
    }
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_store_close(&store);
    return status;
}

int xp_command_bench_gemm(int count, char **words) {
    const char *device_name = NULL, *family = NULL;
    int format = XP_TABLE_TEXT, precision = XP_PRECISION_FP32;
    long repetitions = 20;
    const xp_flag flags[] = {
        {"--repetitions", "N", "timed runs of each product", .number = &repetitions, .lowest = 1,
         .highest = XP_BENCH_REPETITIONS},
        XP_BENCH_PRECISION_FLAG(&precision),
        XP_DEVICE_FLAG(&device_name),
        XP_FAMILY_FLAG(&family),
        XP_TABLE_FORMAT_FLAG(&format),
    };
    const xp_usage usage = {.name = "bench gemm",
                            .synopsis = "[MxNxK[nn|nt|tn|tt] …] [flags]",
                            .description = "Times matrix products C [M,N] = A·B. Each factor is stored as it is (n) or "
                                           "transposed (t). Without an argument, times the products of a training\n"
                                           "step with 2048 rows.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof flags[0],
                            .words = "PRODUCT",
                            .example = "  expanse bench gemm 1024x1024x1024 2048x512x512nt -o csv\n"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    const char *const *texts = arguments.word_count ? arguments.words : usual;
    const int products = arguments.word_count ? arguments.word_count : USUAL;
    xp_device *device = NULL;
    xp_bench_table table;
    product p;
    xp_status status = XP_OK;
    for (int i = 0; i < products && status == XP_OK; i++) status = read_product(texts[i], &p);
    if (status == XP_OK) status = xp_bench_open(&device, device_name, family, precision);
    if (status == XP_OK) status = xp_bench_table_open(&table, format, device);
    if (status == XP_OK) {
        for (int i = 0; i < products && status == XP_OK; i++) {
            status = read_product(texts[i], &p);
            if (status == XP_OK) status = time_product(&p, texts[i], device, precision, repetitions, &table);
        }
        status = xp_bench_table_close(&table, status);
    }
    xp_device_close(&device);
    return xp_command_end(status);
}
