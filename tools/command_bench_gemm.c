/* `expanse bench gemm`: matrix products as the library runs them, packing and launches included. Some results are
 * compared with sums in double precision: times of wrong results would mean nothing. */
#include "bench.h"
#include "command.h"

#include "core/half.h"
#include "graph/store.h"
#include "ops/ops.h"
#include "train/precision.h"

#include <math.h>
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

typedef struct run {
    xp_store *store;
    xp_graph *graph;
    xp_plan *plan;
    xp_tensor *a, *b, *c;
} run;

static xp_status open_product(const product *p, xp_type type, xp_device *device, run *r) {
    const int64_t a_shape[] = {p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k};
    const int64_t b_shape[] = {p->transpose_b ? p->n : p->k, p->transpose_b ? p->k : p->n};
    XP_TRY(xp_store_create(&r->store));
    XP_TRY(xp_graph_create(&r->graph, r->store, false));
    r->a = xp_graph_input(r->graph, "a", type, 2, a_shape);
    r->b = xp_graph_input(r->graph, "b", type, 2, b_shape);
    if (!r->a || !r->b) return XP_OUT_OF_MEMORY;
    r->c = xp_gemm(r->graph, r->a, p->transpose_a, r->b, p->transpose_b);
    if (!r->c) return XP_INVALID_ARGUMENT;
    r->c->keep = true;
    XP_TRY(xp_plan_create(&r->plan, device, r->graph));
    XP_TRY(xp_plan_realise(r->plan, NULL));
    XP_TRY(xp_plan_warm(r->plan));
    XP_TRY(xp_bench_fill(r->plan, r->a));
    return xp_bench_fill(r->plan, r->b);
}

static void close_product(run *r) {
    xp_plan_close(&r->plan);
    xp_graph_close(&r->graph);
    xp_store_close(&r->store);
}

/* ---- right or wrong ---------------------------------------------------------------------------------------------- */

/* The caller frees it. */
static xp_status read_tensor(const run *r, const xp_tensor *tensor, void **out) {
    cl_mem buffer;
    size_t offset;
    const size_t bytes = (size_t)xp_tensor_bytes(tensor);
    XP_TRY(xp_plan_storage(r->plan, tensor, &buffer, &offset));
    *out = malloc(bytes);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "no memory to compare results");
    return xp_device_read(xp_plan_device(r->plan), buffer, offset, bytes, *out);
}

static double number_at(const void *numbers, xp_type type, int64_t at) {
    if (type == XP_F32) return (double)((const float *)numbers)[at];
    const uint16_t bits = ((const uint16_t *)numbers)[at];
    return type == XP_BF16 ? xp_bf16_value(bits) : xp_fp16_value(bits);
}

/* Samples of all parts of C. The bound: what rounding the factors of tf32 costs, 256 roundings of fp32, and that of the
 * result; a tile that was overwritten, or not waited for, is wrong by many times as much. */
static xp_status compare(const product *p, int precision, const run *r, const void *a, const void *b, const void *c) {
    enum { SAMPLES = 1024, STEP = 1000003 /* a prime */ };
    const double of_factors = precision == XP_PRECISION_TF32 ? 0x1p-10 : 0, of_sums = 0x1p-16;
    const double of_result = precision == XP_PRECISION_BF16 ? 0x1p-8 : precision == XP_PRECISION_FP16 ? 0x1p-10 : 0;
    const int64_t elements = p->m * p->n;
    for (int64_t i = 0; i < (elements < SAMPLES ? elements : SAMPLES); i++) {
        const int64_t at = elements < SAMPLES ? i : i * STEP % elements, row = at / p->n, column = at % p->n;
        double exact = 0, magnitude = 0;
        for (int64_t k = 0; k < p->k; k++) {
            const double term = number_at(a, r->a->type, p->transpose_a ? k * p->m + row : row * p->k + k) *
                                number_at(b, r->b->type, p->transpose_b ? column * p->k + k : k * p->n + column);
            exact += term;
            magnitude += fabs(term);
        }
        const double got = number_at(c, r->c->type, at), error = fabs(got - exact);
        if (!(error <= (of_factors + of_sums) * magnitude + of_result * fabs(exact)))
            return xp_fail(XP_DEVICE_ERROR,
                           "bench gemm: C[%lld,%lld] is %.7g instead of %.7g: this device computes the product "
                           "incorrectly; run expanse check",
                           (long long)row, (long long)column, got, exact);
    }
    return XP_OK;
}

static xp_status verify(const product *p, int precision, const run *r) {
    void *a = NULL, *b = NULL, *c = NULL;
    xp_status status = read_tensor(r, r->a, &a);
    if (status == XP_OK) status = read_tensor(r, r->b, &b);
    if (status == XP_OK) status = read_tensor(r, r->c, &c);
    if (status == XP_OK) status = compare(p, precision, r, a, b, c);
    free(a);
    free(b);
    free(c);
    return status;
}

static xp_status time_product(const product *p, const char *text, xp_device *device, int precision, long repetitions,
                              xp_bench_table *table) {
    const xp_type type = xp_precision_storage(precision);
    run r = {0};
    double times[XP_BENCH_REPETITIONS];
    xp_status status = open_product(p, type, device, &r);
    if (status == XP_OK) status = xp_bench_warm(r.plan, device);
    for (long i = 0; i < repetitions && status == XP_OK; i++) status = xp_bench_run(r.plan, device, &times[i]);
    if (status == XP_OK) status = verify(p, precision, &r);
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
    close_product(&r);
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
                            .description = "Times matrix products C [M,N] = A·B, and compares some of the results with "
                                           "sums in double precision. Each factor is stored as it is (n) or\n"
                                           "transposed (t). Without an argument, times the products of a training step "
                                           "with 2048 rows.\n",
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
