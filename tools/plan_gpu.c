/* plan_gpu UNITS step|product|attention [KEY=VALUE …]: plans for a GPU of NVIDIA with so many compute units, which need
 * not be there, and prints the launches, one JSON object a line. The plan is the library's own, but for a device whose
 * description replaces that of the one that was opened. For tools/compile-lab, which estimates their times, and for
 * tests. Knows no kernel.
 *
 *   step       a training step: the sizes length, features and classes, and options of a configuration
 *                  length=128 features=16 classes=10 preset=uea-flowformer model.layers=2 training.precision=bf16
 *   product    c = a·bᵀ: m=4096 n=4096 k=4096
 *   attention  samples=8 heads=16 length=4096 width=64, backward=1: both passes
 *
 * All take family=matrix (or tiled), precision=fp32 (fp32-matrix, tf32, bf16, fp16), and the KiB of local memory:
 * wgmma=144 for kernels with asynchronous units (0: there are none), static=99 for all others; the driver of an H200
 * gives both. Exit status: 0, or 1 and a message. */
#include "graph/plan_internal.h"
#include "graph/store.h"
#include "ops/ops.h"
#include "task/classification.h"
#include "train/config.h"
#include "train/precision.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is planned, and all that it needs. */
typedef struct work {
    char **words; /* KEY=VALUE, ends in NULL */
    xp_config config;
    xp_device *device;
    xp_store *store;
    xp_learner learner; /* of a step */
    xp_graph *graph;    /* of a single operation */
    xp_plan *plan;
} work;

/* ---- the words --------------------------------------------------------------------------------------------------- */

static const char *text_of(const work *w, const char *key, const char *usual) {
    const size_t length = strlen(key);
    for (char **word = w->words; *word; word++)
        if (strncmp(*word, key, length) == 0 && (*word)[length] == '=') return *word + length + 1;
    return usual;
}

static int64_t number_of(const work *w, const char *key, int64_t usual) {
    const char *text = text_of(w, key, NULL);
    return text ? strtoll(text, NULL, 10) : usual;
}

static xp_status read_precision(work *w) {
    char assignment[64];
    snprintf(assignment, sizeof assignment, "training.precision=%s", text_of(w, "precision", "fp32"));
    return xp_config_set(&w->config, assignment);
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

/* Of an H200, except for the number of its units. */
static xp_status open_device(work *w, unsigned units) {
    const int precision = w->config.training.precision;
    const xp_device_options options = {.size = sizeof options,
                                       .family = text_of(w, "family", "matrix"),
                                       .arithmetic = xp_arithmetic_name(xp_precision_arithmetic(precision))};
    XP_TRY(xp_device_open(&w->device, &options));
    xp_device *device = w->device;
    device->matrix = device->layout = XP_MATRIX_NVIDIA;
    device->wgmma_bytes = (size_t)number_of(w, "wgmma", 144) << 10;
    device->limits = (xp_device_limits){.type = CL_DEVICE_TYPE_GPU,
                                        .work_group_size = 1024,
                                        .local_bytes = 48 << 10,
                                        .static_local_bytes = (size_t)number_of(w, "static", 99) << 10,
                                        .allocation_bytes = (size_t)35 << 30,
                                        .alignment_bytes = 512,
                                        .compute_units = units,
                                        .lanes = 8};
    const bool tiled = device->families[0] == XP_FAMILY_TILED;
    device->families[0] = tiled ? XP_FAMILY_TILED : XP_FAMILY_MATRIX;
    device->families[1] = tiled ? XP_FAMILY_WIDE : XP_FAMILY_TILED;
    device->families[2] = tiled ? XP_FAMILY_ANY : XP_FAMILY_WIDE;
    return XP_OK;
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

/* As xp_session_open makes it, for a device that it would open itself. */
static xp_status plan_step(work *w) {
    const xp_config *c = &w->config;
    const xp_model_shape shape = {.batch = c->training.batch,
                                  .length = (int)number_of(w, "length", 128),
                                  .features = (int)number_of(w, "features", 16),
                                  .outputs = (int)number_of(w, "classes", 10)};
    xp_model_config model = c->model;
    model.storage = (int)xp_precision_storage(c->training.precision);
    XP_TRY(xp_learner_build(&w->learner, &xp_classification, &model, &shape,
                            &(xp_task_options){.label_smoothing = c->training.label_smoothing}, w->store, true));
    const xp_optimiser_options options = {.size = sizeof options,
                                          .kind = (xp_optimiser_kind)c->training.optimiser,
                                          .beta1 = (float)c->training.beta1,
                                          .beta2 = (float)c->training.beta2,
                                          .epsilon = (float)c->training.epsilon,
                                          .weight_decay = (float)c->training.weight_decay,
                                          .gradient_clip = (float)c->training.gradient_clip};
    xp_tensor *skipped;
    XP_TRY(c->training.precision == XP_PRECISION_FP16
               ? xp_step_scaled_optimiser(w->learner.model.graph, w->device, &options, &skipped)
               : xp_train_optimiser(w->learner.model.graph, w->device, &options));
    return xp_plan_create(&w->plan, w->device, w->learner.model.graph);
}

static xp_status plan_product(work *w) {
    const xp_type type = xp_precision_storage(w->config.training.precision);
    const int64_t m = number_of(w, "m", 4096), n = number_of(w, "n", 4096), k = number_of(w, "k", 4096);
    XP_TRY(xp_graph_create(&w->graph, w->store, false));
    xp_tensor *a = xp_graph_input(w->graph, "a", type, 2, (int64_t[]){m, k});
    xp_tensor *b = xp_graph_input(w->graph, "b", type, 2, (int64_t[]){n, k});
    xp_tensor *c = a && b ? xp_gemm(w->graph, a, 0, b, 1) : NULL;
    if (!c) return XP_INVALID_ARGUMENT;
    xp_tensor_keep(c);
    return xp_plan_create(&w->plan, w->device, w->graph);
}

static xp_status plan_attention(work *w) {
    enum { ROLES = 4 };
    static const char *const names[ROLES] = {"q", "k", "v", "d_o"};
    const xp_type type = xp_precision_storage(w->config.training.precision);
    const bool backward = number_of(w, "backward", 0) != 0;
    const int64_t width = number_of(w, "width", 64);
    xp_tensor *in[ROLES], *gradients[3];
    XP_TRY(xp_graph_create(&w->graph, w->store, backward));
    for (int i = 0; i < ROLES; i++) {
        const int64_t sizes[] = {number_of(w, "samples", 8), number_of(w, "length", 4096), number_of(w, "heads", 16),
                                 width};
        if (!(in[i] = xp_graph_input(w->graph, names[i], type, 4, sizes))) return XP_INVALID_ARGUMENT;
        in[i]->needs_gradient = backward && i < 3;
    }
    const xp_attention_attributes plain = xp_attention_plain((float)(1 / sqrt((double)width)));
    xp_tensor *o = xp_attention(w->graph, &(xp_attention_inputs){.q = in[0], .k = in[1], .v = in[2]}, &plain, 0, NULL);
    if (!o) return XP_INVALID_ARGUMENT;
    xp_tensor_keep(o);
    if (backward) XP_TRY(xp_graph_differentiate(w->graph, 1, &o, &in[3], 3, in, gradients));
    return xp_plan_create(&w->plan, w->device, w->graph);
}

/* ---- what is printed --------------------------------------------------------------------------------------------- */

static void print_sizes(const char *name, const size_t *sizes, int count) {
    printf(", \"%s\": [", name);
    for (int d = 0; d < count; d++) printf("%s%zu", d ? ", " : "", sizes[d]);
    printf("]");
}

static void print_launch(const xp_launch *launch) {
    const xp_launch_request *r = &launch->request.kernel;
    char options[1024];
    xp_variant_print(&r->variant, options, sizeof options);
    printf("{\"layer\": \"%s\", \"file\": \"%s\", \"kernel\": \"%s\", \"options\": \"%s\"", launch->node->label,
           r->file, r->kernel, options);
    print_sizes("global", r->global, r->dimensions);
    print_sizes("local", r->local, r->dimensions);
    printf(", \"results\": %lld, \"flops\": %.0f, \"bytes\": %.0f}\n",
           (long long)(launch->node->outputs[0] ? xp_tensor_elements(launch->node->outputs[0]) : 0), r->flops,
           r->bytes);
}

static const struct {
    const char *name;
    xp_status (*plan)(work *w);
} kinds[] = {{"step", plan_step}, {"product", plan_product}, {"attention", plan_attention}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static xp_status run(work *w, unsigned units, const char *kind) {
    int k = 0;
    while (k < KINDS && strcmp(kind, kinds[k].name) != 0) k++;
    if (units == 0 || k == KINDS)
        return xp_fail(XP_INVALID_ARGUMENT, "usage: plan_gpu UNITS step|product|attention [KEY=VALUE …]");
    xp_config_default(&w->config);
    const char *preset = text_of(w, "preset", NULL);
    if (preset) XP_TRY(xp_config_preset(&w->config, preset));
    for (char **word = w->words; *word; word++)
        if (memchr(*word, '.', strcspn(*word, "="))) XP_TRY(xp_config_set(&w->config, *word));
    XP_TRY(read_precision(w));
    XP_TRY(open_device(w, units));
    XP_TRY(xp_store_create(&w->store));
    XP_TRY(kinds[k].plan(w));
    for (int i = 0; i < w->plan->count; i++) print_launch(&w->plan->launches[i]);
    return XP_OK;
}

int main(int count, char **words) {
    work w = {.words = words + (count < 3 ? count : 3)};
    const xp_status status = run(&w, count > 1 ? (unsigned)strtoul(words[1], NULL, 10) : 0, count > 2 ? words[2] : "");
    if (status != XP_OK) fprintf(stderr, "plan_gpu: %s\n", xp_last_error());
    xp_plan_close(&w.plan);
    xp_graph_close(&w.graph);
    xp_learner_release(&w.learner);
    xp_store_close(&w.store);
    xp_device_close(&w.device);
    return status == XP_OK ? 0 : 1;
}
