/* expanse svr: the primal-dual laboratory. Owns its flags and how results look in the terminal and as JSON. */
#include "command.h"

#include "core/files.h"
#include "core/text.h"
#include "svr/laboratory.h"
#include "svr/picture.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char description[] =
    "Fits attention layers without training them: the laboratory of docs/FRAMEWORK.md.\n\n"
    "A layer f(x) = W Φ(x)/h(x) + b is asked to come within ε of the targets y_j at the keys k_j, with a small W:\n\n"
    "    minimise  1/2 |W|² + C Σ_j (what |y_j - f(k_j)| exceeds ε by)            (support vector regression, SVR)\n\n"
    "Its dual replaces W by one number for each key, c_j between -C and C, and Φ by κ(x,y) = Φ(x)·Φ(y):\n\n"
    "    f(x) = Σ_j v_j κ(x,k_j) / h(x) + b,     v_j = c_j / h(k_j),     h(x) = Σ_j κ(x,k_j)\n\n"
    "With κ(x,y) = exp(x·y/√D) this is softmax attention: query x, keys k_j, values v_j. A transformer learns k and "
    "v;\n"
    "here the quadratic program gives v, the attention kernels get it, and the command shows that both sides agree.\n"
    "Other answers to the same problem are other attentions:\n\n"
    "    softmax   κ = exp(x·y/√D), all keys, h = Σ κ\n"
    "    linear    κ = φ(x)·φ(y) with φ = elu + 1: a finite number of features, so a stiffer curve\n"
    "    bn        the layer first normalises its input with the keys' mean and deviation\n"
    "    sh        the layer is fitted on fewer data: averages of 4 neighbouring keys and targets\n"
    "    block     four training sets side by side: each query sees the keys of its own block\n"
    "    late      key j counts exp(j/100) times in the training set: a weight in the score\n"
    "    window    a query sees its neighbours: among enough points the kernel is no inner product of features, so no\n"
    "              SVR stands behind it; the command looks for a vector v with v·Kv < 0\n\n"
    "A key that the curve passes within ε has v_j = 0; the others are the support vectors. C is counted in units that\n"
    "make the mean of K(k,k) = κ(k,k)/(h(k) h(k)) one; targets are brought to mean 0 and deviation 1, so ε is in\n"
    "deviations. Values grow with C and cancel in the sum: a large C costs digits of single precision. The data are\n"
    "noisy points of a curve, or the columns of a CSV file (first line: names that begin with x or y); each x is "
    "lifted\n"
    "to sines and cosines, --raw takes the columns as keys.\n";

/* ---- flags ------------------------------------------------------------------------------------------------------- */

typedef struct request {
    xp_svr_points_options points;
    xp_svr_options fit;
    const char *attention, *data, *out, *device, *family;
    bool json;
} request;

static int read_number(const char *flag, const char *text, double *value) {
    size_t length = 0;
    if (!text) return XP_EXIT_OK;
    if (xp_text_number(text, value, &length) != XP_OK) return xp_command_fail();
    if (length == 0 || text[length]) return xp_command_misuse("%s: '%s' is not a number", flag, text);
    return XP_EXIT_OK;
}

static int read_request(int count, char **words, request *r, bool *answered) {
    const char *cost = NULL, *epsilon = NULL, *noise = NULL;
    long points = r->points.count, dimensions = r->points.dimensions, outputs = r->points.outputs, seed = 1;
    const xp_flag flags[] = {
        {.name = "--attention", "NAME", "one of those above, or all (all)", .text = &r->attention},
        {.name = "--points", "N", "points of the curve (256)", .number = &points},
        {.name = "--dimensions", "D", "width of the keys (16)", .number = &dimensions},
        {.name = "--outputs", "E", "curves, each with an SVR of its own (1)", .number = &outputs},
        {.name = "--noise", "X", "deviation of the points from the curve (0.15)", .text = &noise},
        {.name = "--seed", "N", "of the noise (1)", .number = &seed},
        {.name = "--data", "FILE", "points of your own, as CSV", .text = &r->data},
        {.name = "--raw", .help = "the x columns are keys as they stand", .on = &r->points.raw},
        {.name = "--C", "X", "the cost of an error (1)", .text = &cost},
        {.name = "--epsilon", "X", "half the width of the tube (0.2)", .text = &epsilon},
        {.name = "--bias", .help = "fit b too, with LIBSVM; else b = 0", .on = &r->fit.bias},
        {.name = "--out", "DIR", "write svr.json and svr.svg", .text = &r->out},
        {.name = "--device", "D", "device id, name, gpu or cpu", .text = &r->device},
        {.name = "--family", "F", "kernel family: wide, tiled or auto", .text = &r->family},
        {.name = "--json", .help = "the results as JSON", .on = &r->json},
    };
    const xp_usage usage = {.name = "svr",
                            .synopsis = "[--attention NAME] [--data FILE] [flags]",
                            .description = description,
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof flags[0],
                            .example = "  expanse svr --out laboratory\n"
                                       "  expanse svr --attention bn --data points.csv --epsilon 0.3\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    *answered = arguments.help;
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (points > INT_MAX || dimensions > INT_MAX || outputs > INT_MAX)
        return xp_command_misuse("svr: a number is too large");
    if (r->data && r->points.raw && dimensions != r->points.dimensions)
        return xp_command_misuse("svr: with --raw the columns give the dimensions; leave --dimensions out");
    if (r->data && (points != r->points.count || outputs != r->points.outputs || noise || seed != 1))
        return xp_command_misuse("svr: --points, --outputs, --noise and --seed make points; --data brings its own");
    if (!r->data && r->points.raw) return xp_command_misuse("svr: --raw is about the columns of --data");
    r->points.count = points;
    r->points.dimensions = (int)dimensions;
    r->points.outputs = (int)outputs;
    r->points.seed = (uint64_t)seed;
    if ((code = read_number("--C", cost, &r->fit.cost)) != XP_EXIT_OK) return code;
    if ((code = read_number("--epsilon", epsilon, &r->fit.epsilon)) != XP_EXIT_OK) return code;
    return read_number("--noise", noise, &r->points.noise);
}

/* Which of the table: one, or -1 for all. */
static int find_attention(const char *name, int *which) {
    const char *names[XP_SVR_ATTENTIONS + 1];
    *which = -1;
    if (strcmp(name, "all") == 0) return XP_EXIT_OK;
    for (int i = 0; i < XP_SVR_ATTENTIONS; i++) {
        names[i] = xp_svr_attentions[i].name;
        if (strcmp(name, names[i]) == 0 || strcmp(name, xp_svr_attentions[i].specification) == 0) *which = i;
    }
    if (*which >= 0) return XP_EXIT_OK;
    names[XP_SVR_ATTENTIONS] = "all";
    const char *nearest = xp_text_nearest(name, names, XP_SVR_ATTENTIONS + 1);
    if (nearest) return xp_command_misuse("--attention: '%s' is not known; did you mean '%s'?", name, nearest);
    return xp_command_misuse("--attention: '%s' is not known; expanse svr --help lists them", name);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void print_head(const xp_svr_points *points, const xp_svr_options *options) {
    printf("%lld points, keys of %d dimensions, %d output%s; C %g, epsilon %g, %s\n\n", (long long)points->count,
           points->width, points->outputs, points->outputs == 1 ? "" : "s", options->cost, options->epsilon,
           options->bias ? "b fitted by LIBSVM" : "b = 0");
    printf("%-9s %6s  %-15s %7s  %10s  %12s  %-15s  %s\n", "attention", "keys", "support vectors", "R2", "dual gap",
           "KKT residual", "attention - SVR", "specification");
}

/* Rounding alone makes values of some -1e-14 of a K whose mean diagonal is 1. */
static bool has_negative_direction(const xp_svr_result *r) {
    return r->lowest < -1e-9;
}

static void print_result(const xp_svr_result *r) {
    char support[32];
    if (r->problem.attention->window) {
        printf("%-9s %6lld  v.Kv = %.3g for a unit vector v: %s\n", r->problem.attention->name,
               (long long)r->problem.size, r->lowest,
               has_negative_direction(r) ? "K is not positive definite, so no SVR stands behind it"
                                         : "no negative direction was found among so few points");
        return;
    }
    snprintf(support, sizeof support, "%lld (%.0f %%)", (long long)r->judgement.support,
             100.0 * (double)r->judgement.support / (double)r->problem.size);
    printf("%-9s %6lld  %-15s %7.4f  %10.1e  %12.1e  %-15.1e  %s\n", r->problem.attention->name,
           (long long)r->problem.size, support, r->r2, r->judgement.gap, r->judgement.residual, r->difference,
           r->problem.specification);
}

static json_t *numbers(const double *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real(values[i]));
    return list;
}

static json_t *floats(const float *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static json_t *result_json(const xp_svr_result *r) {
    const xp_svr_problem *p = &r->problem;
    if (p->attention->window)
        return json_pack("{s:s, s:I, s:b, s:f}", "attention", p->specification, "keys", (json_int_t)p->size,
                         "positive_definite", !has_negative_direction(r), "lowest_direction", r->lowest);
    return json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "attention", p->specification,
                     "keys", (json_int_t)p->size, "support_vectors", (json_int_t)r->judgement.support, "r2", r->r2,
                     "duality_gap", r->judgement.gap, "kkt_residual", r->judgement.residual, "difference",
                     r->difference, "log_unit", p->log_unit, "bias", numbers(r->bias, p->outputs), "coefficients",
                     numbers(r->coefficients, p->size * p->outputs), "values", floats(r->values, p->size * p->outputs),
                     "prediction", floats(r->attended, p->points->count * p->outputs));
}

static json_t *all_json(const xp_svr_points *points, const xp_svr_options *options, const xp_svr_result *results,
                        int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, result_json(&results[i]));
    return json_pack("{s:I, s:i, s:i, s:f, s:f, s:b, s:o, s:o, s:o, s:o}", "points", (json_int_t)points->count,
                     "dimensions", points->width, "outputs", points->outputs, "C", options->cost, "epsilon",
                     options->epsilon, "bias_fitted", options->bias, "positions",
                     numbers(points->positions, points->count * points->columns), "targets",
                     numbers(points->targets, points->count * points->outputs), "keys",
                     numbers(points->keys, points->count * points->width), "results", list);
}

static xp_status save(const char *folder, const char *json, const xp_svr_result *results, int count, const request *r) {
    char path[4096];
    XP_TRY(xp_folder_make(folder));
    if (snprintf(path, sizeof path, "%s/svr.json", folder) >= (int)sizeof path)
        return xp_fail(XP_INVALID_ARGUMENT, "--out: the path is too long");
    XP_TRY(xp_file_write_atomic(path, json, strlen(json)));
    if (!r->json) printf("\nwrote %s\n", path);
    const bool last_is_window = count > 0 && results[count - 1].problem.attention->window;
    if (!results[0].problem.points->grid_count || count - last_is_window == 0) return XP_OK; /* nothing to draw along */
    snprintf(path, sizeof path, "%s/svr.svg", folder);
    XP_TRY(xp_svr_picture_write(path, results, count - last_is_window, &r->fit));
    if (!r->json) printf("wrote %s\n", path);
    return XP_OK;
}

static xp_status experiment(const request *r, int which, xp_svr_points *points, xp_device **device,
                            xp_svr_result *results, int *done) {
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = r->device;
    options.family = r->family;
    if (r->data)
        XP_TRY(xp_svr_points_read(r->data, &r->points, points));
    else
        XP_TRY(xp_svr_points_make(&r->points, points));
    XP_TRY(xp_device_open(device, &options));
    if (!r->json) print_head(points, &r->fit);
    for (int i = 0; i < XP_SVR_ATTENTIONS; i++) {
        if (which >= 0 && which != i) continue;
        if (which < 0 && r->fit.bias && xp_svr_attentions[i].rate != 0) {
            if (!r->json) printf("%-9s is left out: LIBSVM has one C for all keys\n", xp_svr_attentions[i].name);
            continue;
        }
        XP_TRY(xp_svr_run(*device, &xp_svr_attentions[i], points, &r->fit, &results[*done]));
        if (!r->json) print_result(&results[*done]);
        ++*done;
    }
    json_t *tree = all_json(points, &r->fit, results, *done);
    char *text = tree ? json_dumps(tree, JSON_INDENT(2)) : NULL;
    json_decref(tree);
    if (!text) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the results as JSON");
    if (r->json) printf("%s\n", text);
    xp_status status = r->out ? save(r->out, text, results, *done, r) : XP_OK;
    free(text);
    return status;
}

int xp_command_svr(int count, char **words) {
    request r = {.points = xp_svr_points_default(), .fit = {.cost = 1, .epsilon = 0.2}, .attention = "all"};
    bool answered = false;
    int which, done = 0;
    int code = read_request(count, words, &r, &answered);
    if (code != XP_EXIT_OK || answered) return code;
    if ((code = find_attention(r.attention, &which)) != XP_EXIT_OK) return code;
    xp_svr_points points = {0};
    xp_device *device = NULL;
    xp_svr_result results[XP_SVR_ATTENTIONS] = {0};
    xp_status status = experiment(&r, which, &points, &device, results, &done);
    for (int i = 0; i < done; i++) xp_svr_result_release(&results[i]);
    xp_device_close(&device);
    xp_svr_points_release(&points);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}
