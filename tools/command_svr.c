/* expanse svr: fits attention layers as support vector regressions. Owns its flags, and the format of the results in
 * the terminal and as JSON. */
#include "command.h"
#include "table.h"

#include "core/files.h"
#include "core/json.h"
#include "core/text.h"
#include "svr/laboratory.h"
#include "svr/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char description[] =
    "Fits attention layers without training them, as docs/FRAMEWORK.md explains.\n\n"
    "A layer f(x) = W Φ(x)/h(x) + b should predict the targets y_j at the keys k_j to within ε, with a small W:\n\n"
    "    minimise  1/2 |W|² + C Σ_j max(0, |y_j - f(k_j)| - ε)   (support vector regression, SVR)\n\n"
    "The dual problem replaces W by one number for each key, c_j between -C and C, and Φ by κ(x,y) = Φ(x)·Φ(y):\n\n"
    "    f(x) = Σ_j v_j κ(x,k_j) / h(x) + b,     v_j = c_j / h(k_j),     h(x) = Σ_j κ(x,k_j)\n\n"
    "With κ(x,y) = exp(x·y/√D) this is softmax attention with the query x, the keys k_j and the values v_j. A\n"
    "transformer learns k and v. Here the quadratic program gives v, the attention kernels use it, and the command\n"
    "shows that the attention and the SVR agree. Variants of the problem are other attentions:\n\n"
    "    softmax   κ = exp(x·y/√D), all keys, h = Σ κ\n"
    "    linear    κ = φ(x)·φ(y) with φ = elu + 1: a finite number of features, so a less flexible curve\n"
    "    bn        the layer first normalises its input with the mean and standard deviation of the keys\n"
    "    sh        the layer is fitted to fewer points: averages of 4 neighbouring keys and targets\n"
    "    block     four separate training sets: each query sees the keys of its own block\n"
    "    late      the training set contains key j exp(j/100) times: a weight in the score\n"
    "    window    a query sees its neighbours: with enough points, the kernel is not an inner product of\n"
    "              features, so no SVR corresponds to it; the command searches for v with v·Kv < 0\n\n"
    "A key whose target lies within ε of the curve has v_j = 0; the others are the support vectors. C is measured\n"
    "in units in which the mean of K(k,k) = κ(k,k)/(h(k) h(k)) is one. Targets are scaled to mean 0 and standard\n"
    "deviation 1, so ε is in standard deviations. Values grow with C and cancel in the sum: a large C costs digits\n"
    "of single precision. The data are noisy points of a curve, or the columns of a CSV file (first line: names\n"
    "that begin with x or y). Each x is mapped to sines and cosines; --raw uses the columns as keys.\n";

/* ---- flags ------------------------------------------------------------------------------------------------------- */

typedef struct request {
    xp_svr_points_options points;
    xp_svr_options fit;
    const char *attention, *data, *out, *device, *family;
    int format, which; /* of the attentions: one, or -1 for all */
} request;

/* Whether an attention is omitted from "all" because a bias cannot be fitted to it. */
static bool leaves_out(const request *r, int attention) {
    return r->which < 0 && r->fit.bias && xp_svr_attentions[attention].rate != 0;
}

static int read_request(int count, char **words, request *r, bool *answered) {
    const double noise = r->points.noise;
    long points = r->points.count, dimensions = r->points.dimensions, outputs = r->points.outputs, seed = 1;
    const xp_flag flags[] = {
        {"--attention", "NAME", "one of the names above, or all", .text = &r->attention},
        {"--points", "N", "number of points of the curve", .number = &points, .lowest = XP_SVR_MIN_POINTS,
         .highest = XP_SVR_MAX_POINTS},
        {"--dimensions", "D", "width of the keys", .number = &dimensions, .lowest = 1, .highest = XP_SVR_MAX_WIDTH},
        {"--outputs", "E", "number of curves, each with its own SVR", .number = &outputs, .lowest = 1,
         .highest = XP_SVR_MAX_COLUMNS},
        {"--noise", "X", "standard deviation of the points from the curve", .real = &r->points.noise, .highest = 1e6},
        {"--seed", "N", "seed of the noise", .number = &seed, .highest = XP_SEED_HIGHEST},
        {"--data", "FILE", "your own points, as CSV (points of a curve)", .text = &r->data},
        {"--raw", NULL, "use the x columns as keys, without change", .on = &r->points.raw},
        {"--C", "X", "the cost of an error", .real = &r->fit.cost, .lowest = 1e-9, .highest = 1e9},
        {"--epsilon", "X", "half the width of the tube around the curve", .real = &r->fit.epsilon, .highest = 1e6},
        {"--bias", NULL, "also fit b, with LIBSVM; otherwise b = 0", .on = &r->fit.bias},
        {"--out", "DIR", "folder for svr.json and svr.svg", .text = &r->out},
        XP_DEVICE_FLAG(&r->device),
        XP_FAMILY_FLAG(&r->family),
        XP_TABLE_FORMAT_FLAG(&r->format),
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
    if (r->data && r->points.raw && dimensions != r->points.dimensions)
        return xp_command_misuse("svr: with --raw, the columns determine the dimensions; omit --dimensions");
    if (r->data && (points != r->points.count || outputs != r->points.outputs || noise != r->points.noise || seed != 1))
        return xp_command_misuse("svr: --points, --outputs, --noise and --seed generate points; omit them with --data");
    if (!r->data && r->points.raw) return xp_command_misuse("svr: --raw needs --data");
    r->points.count = points;
    r->points.dimensions = (int)dimensions;
    r->points.outputs = (int)outputs;
    r->points.seed = (uint64_t)seed;
    return XP_EXIT_OK;
}

/* Sets *which to an index of the table, or to -1 for all. */
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
    return xp_command_misuse("--attention: '%s' is not known; expanse svr --help lists the names", name);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static const xp_column columns[] = {
    {NULL, "attention", XP_CELL_TEXT},
    {"keys", "keys", XP_CELL_WHOLE},
    {"support_vectors", "support vectors", XP_CELL_WHOLE},
    {NULL, "% of keys", XP_CELL_REAL},
    {"r2", "R²", XP_CELL_REAL, .digits = 4},
    {"duality_gap", "dual gap", XP_CELL_REAL, .digits = 1, .scientific = true},
    {"kkt_residual", "KKT residual", XP_CELL_REAL, .digits = 1, .scientific = true},
    {"difference", "attention - SVR", XP_CELL_REAL, .digits = 1, .scientific = true},
    {"lowest_direction", NULL, XP_CELL_REAL},
    {"attention", "specification", XP_CELL_TEXT},
    {"log_unit", NULL, XP_CELL_REAL},
    {"positive_definite", NULL, XP_CELL_TREE},
    {"bias", NULL, XP_CELL_TREE},
    {"coefficients", NULL, XP_CELL_TREE},
    {"values", NULL, XP_CELL_TREE},
    {"prediction", NULL, XP_CELL_TREE},
};

/* Rounding alone makes values of some -1e-14 of a K whose mean diagonal is 1. */
static bool has_negative_direction(const xp_svr_result *r) {
    return r->lowest < -1e-9;
}

static json_t *numbers(xp_table *table, const double *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) list = xp_json_append(list, json_real(values[i]));
    table->failed = table->failed || !list;
    return list;
}

static json_t *floats(xp_table *table, const float *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) list = xp_json_append(list, json_real((double)values[i]));
    table->failed = table->failed || !list;
    return list;
}

static void add_row(xp_table *table, const xp_svr_result *r) {
    const xp_svr_problem *p = &r->problem;
    const bool window = p->attention->window; /* no fit, but a search for a negative direction */
    const double keys = (double)p->size, support = (double)r->judgement.support;
    const xp_cell cells[] = {
        {.text = p->attention->name},
        {.whole = p->size},
        {.whole = window ? XP_CELL_EMPTY : r->judgement.support},
        {.real = window ? NAN : 100 * support / keys},
        {.real = window ? NAN : r->r2},
        {.real = window ? NAN : r->judgement.gap},
        {.real = window ? NAN : r->judgement.residual},
        {.real = window ? NAN : r->difference},
        {.real = window ? r->lowest : NAN},
        {.text = p->specification},
        {.real = window ? NAN : p->log_unit},
        {.tree = window ? json_boolean(!has_negative_direction(r)) : NULL},
        {.tree = window ? NULL : numbers(table, r->bias, p->outputs)},
        {.tree = window ? NULL : numbers(table, r->coefficients, p->size * p->outputs)},
        {.tree = window ? NULL : floats(table, r->values, p->size * p->outputs)},
        {.tree = window ? NULL : floats(table, r->attended, p->points->count * p->outputs)},
    };
    xp_table_row(table, cells);
    if (window)
        xp_table_note(table, "%s: v.Kv = %.3g for a unit vector v: %s.", p->attention->name, r->lowest,
                      has_negative_direction(r) ? "K is not positive definite, so no SVR corresponds to it"
                                                : "no negative direction was found with so few points");
}

static xp_status print(FILE *out, xp_table_format format, const xp_svr_points *points, const request *r,
                       const xp_svr_result *results, int count) {
    const xp_svr_options *fit = &r->fit;
    xp_table table;
    xp_table_open(&table, out, format, columns, sizeof columns / sizeof *columns, "results");
    xp_table_fact(&table, "points", json_integer(points->count));
    xp_table_fact(&table, "dimensions", json_integer(points->width));
    xp_table_fact(&table, "outputs", json_integer(points->outputs));
    xp_table_fact_real(&table, "C", fit->cost);
    xp_table_fact_real(&table, "epsilon", fit->epsilon);
    xp_table_fact(&table, "bias_fitted", json_boolean(fit->bias));
    xp_table_fact(&table, "positions", numbers(&table, points->positions, points->count * points->columns));
    xp_table_fact(&table, "targets", numbers(&table, points->targets, points->count * points->outputs));
    xp_table_fact(&table, "keys", numbers(&table, points->keys, points->count * points->width));
    xp_table_note(&table, "%lld points, keys of %d dimensions, %d output%s; C %g, epsilon %g, %s",
                  (long long)points->count, points->width, points->outputs, points->outputs == 1 ? "" : "s", fit->cost,
                  fit->epsilon, fit->bias ? "b fitted by LIBSVM" : "b = 0");
    xp_table_note(&table, "%s", "");
    for (int i = 0; i < count; i++) add_row(&table, &results[i]);
    for (int i = 0; i < XP_SVR_ATTENTIONS; i++)
        if (leaves_out(r, i))
            xp_table_note(&table, "%s is omitted: LIBSVM uses one C for all keys.", xp_svr_attentions[i].name);
    return xp_table_close(&table, XP_OK);
}

typedef struct numbers_of {
    const xp_svr_points *points;
    const request *request;
    const xp_svr_result *results;
    int count;
} numbers_of;

static xp_status write_numbers(FILE *out, const void *user) {
    const numbers_of *n = user;
    return print(out, XP_TABLE_JSON, n->points, n->request, n->results, n->count);
}

static xp_status save(const xp_svr_points *points, const request *r, const xp_svr_result *results, int count) {
    char path[4096];
    const bool told = r->format == XP_TABLE_TEXT;
    XP_TRY(xp_folder_make(r->out));
    if (snprintf(path, sizeof path, "%s/svr.json", r->out) >= (int)sizeof path)
        return xp_fail(XP_INVALID_ARGUMENT, "--out: the path is too long");
    XP_TRY(xp_table_save(path, write_numbers, &(numbers_of){points, r, results, count}));
    if (told) printf("\nwrote %s\n", path);
    const bool last_is_window = count > 0 && results[count - 1].problem.attention->window;
    if (!points->grid_count || count - last_is_window == 0) return XP_OK; /* nothing to draw */
    snprintf(path, sizeof path, "%s/svr.svg", r->out);
    XP_TRY(xp_svr_picture_write(path, results, count - last_is_window, &r->fit));
    if (told) printf("wrote %s\n", path);
    return XP_OK;
}

static xp_status experiment(const request *r, xp_svr_points *points, xp_device **device, xp_svr_result *results,
                            int *done) {
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = r->device;
    options.family = r->family;
    if (r->data)
        XP_TRY(xp_svr_points_read(r->data, &r->points, points));
    else
        XP_TRY(xp_svr_points_make(&r->points, points));
    XP_TRY(xp_device_open(device, &options));
    for (int i = 0; i < XP_SVR_ATTENTIONS; i++) {
        if ((r->which >= 0 && r->which != i) || leaves_out(r, i)) continue;
        XP_TRY(xp_svr_run(*device, &xp_svr_attentions[i], points, &r->fit, &results[*done]));
        ++*done;
    }
    XP_TRY(print(stdout, (xp_table_format)r->format, points, r, results, *done));
    return r->out ? save(points, r, results, *done) : XP_OK;
}

int xp_command_svr(int count, char **words) {
    request r = {.points = xp_svr_points_default(), .fit = {.cost = 1, .epsilon = 0.2}, .attention = "all"};
    bool answered = false;
    int done = 0;
    int code = read_request(count, words, &r, &answered);
    if (code != XP_EXIT_OK || answered) return code;
    if ((code = find_attention(r.attention, &r.which)) != XP_EXIT_OK) return code;
    xp_svr_points points = {0};
    xp_device *device = NULL;
    xp_svr_result results[XP_SVR_ATTENTIONS] = {0};
    xp_status status = experiment(&r, &points, &device, results, &done);
    for (int i = 0; i < done; i++) xp_svr_result_release(&results[i]);
    xp_device_close(&device);
    xp_svr_points_release(&points);
    return xp_command_end(status);
}
