/* `expanse bench attention`: times specifications side by side on the same random queries, keys and values, in turn, so
 * that their ratios hold on a busy machine. */
#include "bench.h"
#include "command.h"
#include "core/statistics.h"

#include "graph/store.h"
#include "model/attention.h"
#include "train/precision.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROLES = 4 };

typedef struct shape {
    long batch, heads, key_heads, queries, keys, width, value_width;
    int precision;
} shape;

/* One specification's plans: forward alone, and both passes. */
enum { FORWARD, BOTH, PASSES };
typedef struct contestant {
    const char *text;
    xp_graph *graph[PASSES];
    xp_store *store[PASSES];
    xp_plan *plan[PASSES];
    double times[PASSES][XP_BENCH_REPETITIONS];
} contestant;

static xp_status open_pass(contestant *c, int pass, xp_device *device, const shape *s) {
    xp_specification specification;
    xp_tensor *in[ROLES], *gradients[3];
    const int64_t sizes[ROLES][4] = {{s->batch, s->queries, s->heads, s->width},
                                     {s->batch, s->keys, s->key_heads, s->width},
                                     {s->batch, s->keys, s->key_heads, s->value_width},
                                     {s->batch, s->queries, s->heads, s->value_width}};
    static const char *const names[ROLES] = {"q", "k", "v", "d_o"};
    XP_TRY(xp_specification_parse(c->text, &specification));
    XP_TRY(xp_store_create(&c->store[pass]));
    XP_TRY(xp_graph_create(&c->graph[pass], c->store[pass], pass == BOTH));
    for (int i = 0; i < ROLES; i++) {
        if (!(in[i] = xp_graph_input(c->graph[pass], names[i], xp_precision_storage(s->precision), 4, sizes[i])))
            return XP_INVALID_ARGUMENT;
        in[i]->needs_gradient = pass == BOTH && i < 3;
    }
    xp_tensor *o = xp_attention_layer(c->graph[pass], &specification, "attention",
                                      &(xp_attention_layer_inputs){.q = in[0], .k = in[1], .v = in[2]}, NULL);
    if (!o) return XP_INVALID_ARGUMENT;
    o->keep = true;
    if (pass == BOTH) XP_TRY(xp_graph_differentiate(c->graph[pass], 1, &o, &in[3], 3, in, gradients));
    const bool learns = c->store[pass]->count > 0;
    if (learns) XP_TRY(xp_store_lay_out(c->store[pass], device->limits.alignment_bytes));
    if (learns) XP_TRY(xp_store_allocate(c->store[pass], device));
    XP_TRY(xp_plan_create(&c->plan[pass], device, c->graph[pass]));
    XP_TRY(xp_plan_realise(c->plan[pass], NULL));
    XP_TRY(xp_plan_warm(c->plan[pass]));
    if (learns) XP_TRY(xp_store_initialise(c->store[pass], 1));
    for (int i = 0; i < (pass == BOTH ? ROLES : 3); i++) XP_TRY(xp_bench_fill(c->plan[pass], in[i]));
    return XP_OK;
}

static void close_contestant(contestant *c) {
    for (int pass = 0; pass < PASSES; pass++) {
        xp_plan_close(&c->plan[pass]);
        xp_graph_close(&c->graph[pass]);
        xp_store_close(&c->store[pass]);
    }
}

static void print_rows(xp_bench_table *table, contestant *all, int count, const shape *s, long repetitions) {
    for (int pass = 0; pass < PASSES; pass++) {
        const double first = xp_median(all[0].times[pass], (int)repetitions);
        for (int i = 0; i < count; i++) {
            xp_plan_summary summary;
            xp_plan_summarise(all[i].plan[pass], &summary);
            xp_bench_row row = {.name = all[i].text,
                                .seconds = all[i].times[pass],
                                .repetitions = (int)repetitions,
                                .flops = summary.flops,
                                .bytes = summary.bytes,
                                .ratio = xp_median(all[i].times[pass], (int)repetitions) / first,
                                .arena_bytes = (double)summary.arena_bytes,
                                .unbounded = xp_bench_on_units(table->device, s->precision)};
            snprintf(row.shape, sizeof row.shape, "%s B=%ld H=%ld G=%ld N=%ld M=%ld D=%ld E=%ld",
                     pass == FORWARD ? "forward" : "both", s->batch, s->heads, s->key_heads, s->queries, s->keys,
                     s->width, s->value_width);
            xp_bench_table_row(table, &row);
        }
    }
}

static xp_status compete(contestant *all, int count, const shape *s, const char *select, const char *family,
                         long repetitions, xp_table_format format) {
    xp_device *device = NULL;
    xp_status status = xp_bench_open(&device, select, family, s->precision);
    for (int i = 0; i < count && status == XP_OK; i++)
        for (int pass = 0; pass < PASSES && status == XP_OK; pass++) status = open_pass(&all[i], pass, device, s);
    for (int i = 0; i < count && status == XP_OK; i++)
        for (int pass = 0; pass < PASSES && status == XP_OK; pass++) status = xp_bench_warm(all[i].plan[pass], device);
    for (long r = 0; r < repetitions && status == XP_OK; r++)
        for (int i = 0; i < count && status == XP_OK; i++)
            for (int pass = 0; pass < PASSES && status == XP_OK; pass++)
                status = xp_bench_run(all[i].plan[pass], device, &all[i].times[pass][r]);
    xp_bench_table table;
    if (status == XP_OK) status = xp_bench_table_open(&table, format, device);
    if (status == XP_OK) {
        print_rows(&table, all, count, s, repetitions);
        status = xp_bench_table_close(&table, status);
    }
    for (int i = 0; i < count; i++) close_contestant(&all[i]);
    xp_device_close(&device);
    return status;
}

int xp_command_bench_attention(int count, char **words) {
    const char *device = NULL, *family = NULL;
    int format = XP_TABLE_TEXT;
    long repetitions = 10;
    shape s = {.batch = 8, .heads = 8, .queries = 1024, .width = 64};
    const xp_flag flags[] = {
        {"--batch", "N", "sequences", .number = &s.batch, .lowest = 1, .highest = 1 << 20},
        {"--heads", "N", "query heads", .number = &s.heads, .lowest = 1, .highest = 1024},
        {"--key-heads", "N", "key heads (as many as query heads)", .number = &s.key_heads, .lowest = 1,
         .highest = 1024},
        {"--length", "N", "queries per sequence", .number = &s.queries, .lowest = 1, .highest = 1 << 20},
        {"--keys", "N", "keys per sequence (as many as queries)", .number = &s.keys, .lowest = 1, .highest = 1 << 20},
        {"--width", "N", "width of a head", .number = &s.width, .lowest = 1, .highest = 4096},
        {"--value-width", "N", "width of the values (that of the keys)", .number = &s.value_width, .lowest = 1,
         .highest = 4096},
        {"--repetitions", "N", "timed runs of each attention", .number = &repetitions, .lowest = 1,
         .highest = XP_BENCH_REPETITIONS},
        XP_BENCH_PRECISION_FLAG(&s.precision),
        XP_DEVICE_FLAG(&device),
        XP_FAMILY_FLAG(&family),
        XP_TABLE_FORMAT_FLAG(&format),
    };
    const xp_usage usage = {
        .name = "bench attention",
        .synopsis = "SPEC [SPEC …] [flags]",
        .description = "Times attention layers, which take turns: the forward pass alone, and forward and backward "
                       "pass together. Ratios are relative to the first layer.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .words = "SPEC",
        .example = "  expanse bench attention softmax 'softmax+causal' 'linear(elu)' --length 4096 --batch 1\n"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arguments.word_count == 0)
        return xp_command_misuse("bench attention: give a specification, for example softmax");
    if (s.key_heads == 0) s.key_heads = s.heads;
    if (s.keys == 0) s.keys = s.queries;
    if (s.value_width == 0) s.value_width = s.width;
    contestant *all = calloc((size_t)arguments.word_count, sizeof *all);
    if (!all) return XP_EXIT_FAILURE;
    for (int i = 0; i < arguments.word_count; i++) all[i].text = arguments.words[i];
    const xp_status status = compete(all, arguments.word_count, &s, device, family, repetitions, format);
    free(all);
    return xp_command_end(status);
}
