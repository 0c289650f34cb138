/* Whole attention layers, from specifications that cover every pair of features: their gradients in double precision by
 * central finite differences on the host, then the device's, in both kernel families, against the double ones. What is
 * rejected is rejected with its reason, and listed.
 *
 *     test_specification_gradients [EVERY [FAMILY]]     the device runs every EVERY-th specification, 0: none; if EVERY
 * is
 *                                                       above 1, `tiled` runs a third of those */
#include "check/interpreter.h"
#include "core/text.h"
#include "devices.h"
#include "graph/plan.h"
#include "graph/store.h"
#include "model/attention.h"

enum { BATCH = 2, HEADS = 4, QUERIES = 9, KEYS = 11, WIDTH = 5, VALUE_WIDTH = 4, GRID = 3 };
enum { WANTED = 150, MOST_ROWS = 400, EVERY = 25, COORDINATES = 6, LARGEST_PARAMETERS = 8 };
static const double DIFFERENCE_BOUND = 2e-6, DEVICE_BOUND = 2e-4;

static int failures, every = EVERY;
static const char *only_family = "";

/* One finding; the others are looked for all the same. */
static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("WRONG     ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    failures++;
}

/* ---- features and their values ----------------------------------------------------------------------------------- */

enum {
    KERNEL,
    UNNORMALISED,
    BN,
    SH,
    CONVOLUTION,
    CAUSAL,
    WINDOW,
    STRIDED,
    MASK,
    ALIBI,
    SOFTCAP,
    SCALE,
    BIAS,
    SCORE,
    KEY_HEADS,
    LENGTHS,
    DROPOUT,
    PLACE,
    FACTORS
};
enum { MOST_VALUES = 5 };
#define DERIVED "score(\"a * score + 0.2f * sin(score) + t[head]\",derivative=\"a + 0.2f * cos(score)\",a=0.7,t=@t)"
/* The text of each value; "": nothing. The last four are no part of the line. "@x" is a file of the test's folder. */
static const struct {
    const char *name;
    int count;
    const char *values[MOST_VALUES];
} factors[FACTORS] = {
    [KERNEL] = {"kernel", 5, {"softmax", "linear", "linear(relu)", "linear(identity)", "linear(square)"}},
    [UNNORMALISED] = {"unnormalised", 2, {"", "unnormalised"}},
    [BN] = {"bn", 5, {"", "bn(eps=0.1)", "bn(beta=0.6,eps=0.1)", "bn(beta=learned,eps=0.1)", "bn(scale=off)"}},
    [SH] = {"sh", 2, {"", "sh(1,2)"}},
    [CONVOLUTION] = {"convolution", 3, {"", "conv1d(3)", "conv2d(3)"}},
    [CAUSAL] = {"causal", 3, {"", "causal", "causal(last)"}},
    [WINDOW] = {"window", 3, {"", "window(5,2)", "window(5,0)"}},
    [STRIDED] = {"strided", 2, {"", "strided(2)"}},
    [MASK] = {"mask", 4, {"", "block(6)", "block(@b,4)", "mask(@m)"}},
    [ALIBI] = {"alibi", 2, {"", "alibi"}},
    [SOFTCAP] = {"softcap", 2, {"", "softcap(1.5)"}},
    [SCALE] = {"scale", 2, {"", "scale(0.7)"}},
    [BIAS] = {"bias", 2, {"", "bias"}},
    [SCORE] = {"score", 3, {"", "score(\"score - 0.1f * abs(query_index - key_index)\")", DERIVED}},
    [KEY_HEADS] = {"key heads", 3, {"4", "2", "1"}},
    [LENGTHS] = {"lengths", 2, {"all", "lengths"}},
    [DROPOUT] = {"dropout", 2, {"0", "0.3"}},
    [PLACE] = {"place", 3, {"sequence", "grid", "grid with class token"}},
};

typedef struct row {
    int value[FACTORS];
} row;

/* The specification's line, with the test's files. */
static void write_line(const row *r, char *text, size_t size) {
    text[0] = '\0';
    for (int f = 0; f < KEY_HEADS; f++) {
        const char *value = factors[f].values[r->value[f]];
        if (!*value) continue;
        if (*text) xp_text_add(text, size, "+");
        for (; *value; value++) {
            if (*value == '@')
                xp_text_add(text, size, "%s/%s", scratch_folder,
                            r->value[PLACE] == 0   ? "s"
                            : r->value[PLACE] == 1 ? "g"
                                                   : "c");
            else
                xp_text_add(text, size, "%c", *value);
        }
    }
}

static void describe(const row *r, char *text, size_t size) {
    write_line(r, text, size);
    for (int f = KEY_HEADS; f < FACTORS; f++) {
        xp_text_add(text, size, "%s%s %s", f == KEY_HEADS ? "   " : ", ", factors[f].name,
                    factors[f].values[r->value[f]]);
    }
}

/* ---- files that specifications name ------------------------------------------------------------------------------ */

static void save(const char *name, const char *type, int rank, const int64_t *shape, size_t bytes, const void *data) {
    char sizes[64] = "";
    for (int i = 0; i < rank; i++) xp_text_add(sizes, sizeof sizes, "%lld,", (long long)shape[i]);
    scratch_write_npy(name, type, sizes, data, bytes);
}

/* Masks of both kinds of place, with a head dimension in one; every query sees its diagonal. */
static void save_files(void) {
    static const char *const places[] = {"s", "g", "c"};
    xp_random random;
    xp_random_start(&random, 61, 0);
    const float table[HEADS] = {0.3f, -0.2f, 0.5f, 0.1f};
    for (int p = 0; p < 3; p++) {
        const int64_t n = p == 0 ? QUERIES : GRID * GRID + (p == 2), m = p == 0 ? KEYS : n;
        const int64_t blocks[] = {(n + 3) / 4, (m + 3) / 4}, shape[] = {HEADS, n, m};
        char name[16];
        unsigned char mask[HEADS * 16 * 16], block[16];
        for (int64_t i = 0; i < HEADS * n * m; i++) mask[i] = xp_random_below(&random, 3) > 0 || i / m % n == i % m;
        for (int64_t i = 0; i < blocks[0] * blocks[1]; i++)
            block[i] = xp_random_below(&random, 2) > 0 || i / blocks[1] == i % blocks[1];
        snprintf(name, sizeof name, "%sm", places[p]);
        save(name, "|b1", p == 1 ? 3 : 2, p == 1 ? shape : shape + 1, (size_t)((p == 1 ? HEADS : 1) * n * m), mask);
        snprintf(name, sizeof name, "%sb", places[p]);
        save(name, "|u1", 2, blocks, (size_t)(blocks[0] * blocks[1]), block);
        snprintf(name, sizeof name, "%st", places[p]);
        save(name, "<f4", 1, (int64_t[]){HEADS}, sizeof table, table);
    }
}

/* The two scores on the host. */
static double additive(double score, const int64_t place[4], const double *const *tensors, double *slope) {
    *slope = 1;
    return score - (double)0.1f * fabs((double)(place[2] - place[3]));
}

static double derived(double score, const int64_t place[4], const double *const *tensors, double *slope) {
    *slope = (double)0.7f + (double)0.2f * cos(score);
    return (double)0.7f * score + (double)0.2f * sin(score) + tensors[0][place[1]];
}

/* ---- one layer --------------------------------------------------------------------------------------------------- */

typedef struct layer {
    xp_graph *graph;
    xp_store *store;
    xp_tensor *q, *k, *v, *o, *seed, *gradients[3];
    xp_tensor *key_lengths, *query_lengths;
    int forward_nodes;
} layer;

static void release(layer *l) {
    xp_graph_close(&l->graph);
    xp_store_close(&l->store);
}

static xp_status build(layer *l, const row *r) {
    *l = (layer){0};
    xp_specification specification;
    char text[2048];
    write_line(r, text, sizeof text);
    XP_TRY(xp_specification_parse(text, &specification));
    assert_int_equal(xp_store_create(&l->store), XP_OK);
    assert_int_equal(xp_graph_create(&l->graph, l->store, true), XP_OK);
    const int side = r->value[PLACE] ? GRID : 0, token = r->value[PLACE] == 2;
    const int64_t n = side ? side * side + token : QUERIES, m = side ? n : KEYS;
    const int64_t groups = r->value[KEY_HEADS] == 0 ? 4 : r->value[KEY_HEADS] == 1 ? 2 : 1;
    l->q = xp_graph_input(l->graph, "q", XP_F32, 4, (int64_t[]){BATCH, n, HEADS, WIDTH});
    l->k = xp_graph_input(l->graph, "k", XP_F32, 4, (int64_t[]){BATCH, m, groups, WIDTH});
    l->v = xp_graph_input(l->graph, "v", XP_F32, 4, (int64_t[]){BATCH, m, groups, VALUE_WIDTH});
    l->q->needs_gradient = l->k->needs_gradient = l->v->needs_gradient = true;
    if (r->value[LENGTHS]) {
        l->key_lengths = xp_graph_input(l->graph, "key_lengths", XP_I32, 1, (int64_t[]){BATCH});
        l->query_lengths = xp_graph_input(l->graph, "query_lengths", XP_I32, 1, (int64_t[]){BATCH});
    }
    const xp_attention_layer_inputs inputs = {
        .q = l->q,
        .k = l->k,
        .v = l->v,
        .key_lengths = l->key_lengths,
        .query_lengths = l->query_lengths,
        .grid_height = side,
        .grid_width = side,
        .class_token = token,
        .dropout = r->value[DROPOUT] ? 0.3f : 0.0f,
        .score_host = r->value[SCORE] == 1   ? additive
                      : r->value[SCORE] == 2 ? derived
                                             : NULL,
    };
    l->o = xp_attention_layer(l->graph, &specification, "layer", &inputs, NULL);
    return l->o ? XP_OK : XP_INVALID_ARGUMENT;
}

static void differentiate(layer *l) {
    l->forward_nodes = l->graph->node_count;
    l->seed = xp_graph_input(l->graph, "seed", XP_F32, 4, l->o->shape);
    xp_tensor *leaves[] = {l->q, l->k, l->v};
    if (xp_graph_differentiate(l->graph, 1, &l->o, &l->seed, 3, leaves, l->gradients) != XP_OK)
        fail_msg("%s", xp_last_error());
    l->o->keep = true;
    for (int i = 0; i < 3; i++) {
        if (!l->gradients[i]) fail_msg("%s has no gradient", leaves[i]->name);
        l->gradients[i]->keep = true;
    }
    assert_int_equal(xp_store_lay_out(l->store, 4096), XP_OK);
}

/* The values of everything that a run begins with, as floats that are exact in both precisions. */
static void draw_values(const layer *l, const xp_tensor *tensor, xp_random *random, float *values) {
    const double spread = tensor == l->q || tensor == l->k ? 0.8 : 1;
    for (int64_t i = 0; i < xp_tensor_elements(tensor); i++)
        values[i] = (float)(spread * xp_random_normal(random) + (tensor == l->k ? 0.3 : 0));
}

/* Whether a run is given this tensor. */
static bool is_given(const xp_tensor *tensor) {
    return !tensor->base && (tensor->role == XP_ROLE_INPUT || tensor->role == XP_ROLE_PARAMETER);
}

static const int32_t *integers_of(const layer *l, const xp_tensor *tensor) {
    static const int32_t keys[] = {KEYS, KEYS - 3}, queries[] = {QUERIES - 1, QUERIES}, state[] = {17, 4, 12, 0};
    return tensor == l->key_lengths ? keys : tensor == l->query_lengths ? queries : state;
}

static double scalar(const layer *l, xp_interpreter *interpreter, const xp_node *end, const double *seed) {
    double sum = 0, o[BATCH * 16 * HEADS * VALUE_WIDTH];
    MUST(xp_interpreter_run(interpreter, end));
    xp_interpreter_read(interpreter, l->o, o);
    for (int64_t i = 0; i < xp_tensor_elements(l->o); i++) sum += seed[i] * o[i];
    return sum;
}

/* What the host found, for the device to be compared with. */
typedef struct expected {
    const xp_tensor *tensor, *gradient;
    double values[2048], slopes[2048], largest;
} expected;

static int prepare(const layer *l, xp_interpreter *interpreter, expected *all) {
    xp_tensor *const leaves[] = {l->q, l->k, l->v};
    int count = 0;
    for (int i = 0; i < 3; i++) all[count++] = (expected){.tensor = leaves[i], .gradient = l->gradients[i]};
    for (int t = 0; t < l->graph->tensor_count; t++) {
        const xp_tensor *tensor = l->graph->tensors[t];
        if (tensor->role != XP_ROLE_PARAMETER) continue;
        const xp_tensor *gradient = NULL;
        for (int g = 0; g < l->graph->tensor_count; g++)
            if (l->graph->tensors[g]->role == XP_ROLE_GRADIENT &&
                l->graph->tensors[g]->store_index == tensor->store_index)
                gradient = l->graph->tensors[g];
        if (!gradient) fail_msg("%s has no gradient", tensor->name);
        assert_true(count < LARGEST_PARAMETERS);
        all[count++] = (expected){.tensor = tensor, .gradient = gradient};
    }
    for (int i = 0; i < count; i++) {
        assert_true(xp_tensor_elements(all[i].tensor) <= 2048);
        xp_interpreter_read(interpreter, all[i].tensor, all[i].values);
        xp_interpreter_read(interpreter, all[i].gradient, all[i].slopes);
        for (int64_t e = 0; e < xp_tensor_elements(all[i].tensor); e++)
            all[i].largest = fmax(all[i].largest, fabs(all[i].slopes[e]));
    }
    return count;
}

/* Finite differences; returns the largest error, relative to the tensor's largest slope or 1. */
static double compare_with_differences(const layer *l, xp_interpreter *interpreter, const double *seed, expected *one,
                                       xp_random *random, const char *name) {
    const double step = 1e-5;
    const xp_node *end = l->graph->nodes[l->forward_nodes];
    const int64_t count = xp_tensor_elements(one->tensor);
    double worst = 0;
    for (int c = 0; c < COORDINATES; c++) {
        const int64_t i = (int64_t)xp_random_below(random, (uint32_t)count);
        const double kept = one->values[i];
        double moved[2];
        for (int side = 0; side < 2; side++) {
            one->values[i] = kept + (side ? step : -step);
            xp_interpreter_write(interpreter, one->tensor, one->values);
            moved[side] = scalar(l, interpreter, end, seed);
        }
        one->values[i] = kept;
        xp_interpreter_write(interpreter, one->tensor, one->values);
        const double difference = (moved[1] - moved[0]) / (2 * step);
        const double error = fabs(difference - one->slopes[i]) / fmax(one->largest, 1);
        if (!(error <= DIFFERENCE_BOUND))
            complain("%s: d %s[%lld] is %.12g, by differences %.12g", name, one->tensor->name, (long long)i,
                     one->slopes[i], difference);
        worst = fmax(worst, error);
    }
    return worst;
}

/* ---- on the device ----------------------------------------------------------------------------------------------- */

/* A store belongs to one device: the next family has a device of its own. */
static void forget_buffers(xp_store *store) {
    for (int i = 0; i < XP_STORE_BUFFERS; i++) {
        if (store->buffers[i]) clReleaseMemObject(store->buffers[i]);
        store->buffers[i] = NULL;
    }
}

static double compare_on_device(const layer *l, int family, float *const *given, const expected *all, int count,
                                const double *o, const char *name) {
    xp_plan *plan;
    double worst = 0;
    float found[2048];
    if (xp_plan_create(&plan, devices[family], l->graph) != XP_OK ||
        (l->store->count && xp_store_allocate(l->store, devices[family]) != XP_OK) ||
        xp_plan_realise(plan, NULL) != XP_OK)
        fail_msg("%s, %s: %s", name, family_names[family], xp_last_error());
    for (int t = 0; t < l->graph->tensor_count; t++) {
        const xp_tensor *tensor = l->graph->tensors[t];
        if (!is_given(tensor)) continue;
        const void *values = tensor->type == XP_I32 ? (const void *)integers_of(l, tensor) : given[t];
        xp_status status = tensor->role == XP_ROLE_PARAMETER
                               ? xp_store_write(l->store, XP_STORE_VALUES, tensor->store_index, values)
                               : xp_plan_write(plan, tensor, values);
        if (status != XP_OK) fail_msg("%s", xp_last_error());
    }
    if (xp_plan_run(plan) != XP_OK) fail_msg("%s, %s: %s", name, family_names[family], xp_last_error());
    for (int i = -1; i < count; i++) {
        const xp_tensor *tensor = i < 0 ? l->o : all[i].tensor;
        const int64_t elements = xp_tensor_elements(tensor);
        xp_status status = tensor->role == XP_ROLE_PARAMETER
                               ? xp_store_read(l->store, XP_STORE_GRADIENTS, tensor->store_index, found)
                               : xp_plan_read(plan, i < 0 ? tensor : all[i].gradient, found);
        if (status != XP_OK) fail_msg("%s", xp_last_error());
        const double *wanted = i < 0 ? o : all[i].slopes;
        double largest = i < 0 ? 0 : all[i].largest;
        for (int64_t e = 0; e < elements && i < 0; e++) largest = fmax(largest, fabs(o[e]));
        for (int64_t e = 0; e < elements; e++) {
            const double error = fabs((double)found[e] - wanted[e]) / largest;
            if (!(error <= DEVICE_BOUND)) {
                complain("%s, %s: %s%s[%lld] is %.9g, in double precision %.9g, with %.3g the largest", name,
                         family_names[family], i < 0 ? "" : "d ", tensor->name, (long long)e, (double)found[e],
                         wanted[e], largest);
                break;
            }
            worst = fmax(worst, error);
        }
    }
    xp_plan_close(&plan);
    forget_buffers(l->store);
    return worst;
}

/* ---- both hops for one specification ----------------------------------------------------------------------------- */

typedef struct tally {
    int accepted, on_device;
    double worst_difference, worst_device;
} tally;

static void check_row(const row *r, int families, tally *sum) {
    static expected all[LARGEST_PARAMETERS];
    char name[2400];
    layer l;
    describe(r, name, sizeof name);
    if (build(&l, r) != XP_OK) fail_msg("%s: %s", name, xp_last_error());
    differentiate(&l);
    xp_random random;
    xp_random_start(&random, 71, 1);
    xp_interpreter *interpreter;
    assert_int_equal(xp_interpreter_create(&interpreter, l.graph, XP_DOUBLE), XP_OK);
    const int tensor_count = l.graph->tensor_count; /* a plan adds its scratch */
    float **given = calloc((size_t)tensor_count, sizeof *given);
    double *seed = calloc(2048, sizeof *seed), *wide = calloc(2048, sizeof *wide), *o = calloc(2048, sizeof *o);
    assert_true(given && seed && wide && o);
    for (int t = 0; t < l.graph->tensor_count; t++) {
        const xp_tensor *tensor = l.graph->tensors[t];
        if (!is_given(tensor)) continue;
        if (tensor->type == XP_I32) {
            xp_interpreter_write(interpreter, tensor, integers_of(&l, tensor));
            continue;
        }
        const int64_t count = xp_tensor_elements(tensor);
        assert_true(count <= 2048 && (given[t] = malloc((size_t)count * sizeof(float))));
        draw_values(&l, tensor, &random, given[t]);
        for (int64_t i = 0; i < count; i++) wide[i] = (double)given[t][i];
        if (tensor == l.seed) memcpy(seed, wide, (size_t)count * sizeof *seed);
        xp_interpreter_write(interpreter, tensor, wide);
    }
    if (xp_interpreter_run(interpreter, NULL) != XP_OK) fail_msg("%s: %s", name, xp_last_error());
    xp_interpreter_read(interpreter, l.o, o);
    const int count = prepare(&l, interpreter, all);
    for (int i = 0; i < count; i++) {
        if (all[i].largest == 0) complain("%s: the gradient of %s is zero everywhere", name, all[i].tensor->name);
        const double error = compare_with_differences(&l, interpreter, seed, &all[i], &random, name);
        sum->worst_difference = fmax(sum->worst_difference, error);
    }
    for (int family = 0; family < families; family++)
        if (!*only_family || strcmp(family_names[family], only_family) == 0)
            sum->worst_device = fmax(sum->worst_device, compare_on_device(&l, family, given, all, count, o, name));
    sum->on_device += families > 0;
    sum->accepted++;
    for (int t = 0; t < tensor_count; t++) free(given[t]);
    free(given);
    free(seed);
    free(wide);
    free(o);
    xp_interpreter_close(&interpreter);
    release(&l);
}

/* ---- which specifications ---------------------------------------------------------------------------------------- */

static bool covered[FACTORS][MOST_VALUES][FACTORS][MOST_VALUES];
static bool denied[FACTORS][MOST_VALUES][FACTORS][MOST_VALUES];
static row rows[MOST_ROWS];
static int row_count;

/* Lengths are for sequences; everything else is the layer's to reject. */
static bool is_possible(const row *r) {
    if (r->value[LENGTHS] && r->value[PLACE]) return false;
    layer l;
    const bool built = build(&l, r) == XP_OK;
    release(&l);
    return built;
}

static int count_new_pairs(const row *r) {
    int count = 0;
    for (int a = 0; a < FACTORS; a++)
        for (int b = a + 1; b < FACTORS; b++) count += !covered[a][r->value[a]][b][r->value[b]];
    return count;
}

static void keep(const row *r) {
    assert_true(row_count < MOST_ROWS);
    for (int a = 0; a < FACTORS; a++)
        for (int b = a + 1; b < FACTORS; b++) covered[a][r->value[a]][b][r->value[b]] = true;
    rows[row_count++] = *r;
}

/* The plainest row with both values that can be built; the kernel and the place are free where they are not given. */
static bool find_plain(row *r, int a, int x, int b, int y) {
    for (int kernel = 0; kernel < factors[KERNEL].count; kernel++)
        for (int place = 0; place < factors[PLACE].count; place++) {
            *r = (row){.value = {[KERNEL] = kernel, [PLACE] = place}};
            r->value[a] = x;
            r->value[b] = y;
            if (is_possible(r)) return true;
        }
    return false;
}

/* Adds values of the other factors in a random order while the row stays possible and covers more. */
static void enrich(row *r, int a, int b, xp_random *random) {
    int order[FACTORS];
    for (int i = 0; i < FACTORS; i++) order[i] = i;
    for (int i = FACTORS - 1; i > 0; i--) {
        const int j = (int)xp_random_below(random, (uint32_t)i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (int i = 0; i < FACTORS; i++) {
        const int f = order[i];
        if (f == a || f == b) continue;
        row best = *r;
        int most = count_new_pairs(r);
        for (int v = 0; v < factors[f].count; v++) {
            row other = *r;
            other.value[f] = v;
            const int count = count_new_pairs(&other);
            if (count > most && is_possible(&other)) {
                best = other;
                most = count;
            }
        }
        *r = best;
    }
}

static void generate(void) {
    xp_random random;
    xp_random_start(&random, 67, 0);
    for (int a = 0; a < FACTORS; a++)
        for (int b = a + 1; b < FACTORS; b++)
            for (int x = 0; x < factors[a].count; x++)
                for (int y = 0; y < factors[b].count; y++) {
                    row r;
                    if (covered[a][x][b][y]) continue;
                    if (!find_plain(&r, a, x, b, y)) {
                        denied[a][x][b][y] = true;
                        continue;
                    }
                    enrich(&r, a, b, &random);
                    keep(&r);
                }
    while (row_count < WANTED) {
        row r = {0};
        for (int f = 0; f < FACTORS; f++) {
            row other = r;
            other.value[f] = (int)xp_random_below(&random, (uint32_t)factors[f].count);
            if (is_possible(&other)) r = other;
        }
        keep(&r);
    }
}

static void every_pair_of_features_is_covered_or_rejected_with_a_reason(void **state) {
    int pairs = 0, rejected = 0;
    for (int a = 0; a < FACTORS; a++)
        for (int b = a + 1; b < FACTORS; b++)
            for (int x = 0; x < factors[a].count; x++)
                for (int y = 0; y < factors[b].count; y++) {
                    pairs++;
                    assert_true(covered[a][x][b][y] != denied[a][x][b][y]);
                    if (!denied[a][x][b][y] || (a == LENGTHS && b == PLACE)) continue;
                    row r = {0};
                    layer l;
                    r.value[a] = x;
                    r.value[b] = y;
                    assert_int_not_equal(build(&l, &r), XP_OK);
                    release(&l);
                    const char *reason = strstr(xp_last_error(), "\": ");
                    if (!reason) fail_msg("rejected without a reason: %s", xp_last_error());
                    printf("rejected   %s %s, %s %s: %s\n", factors[a].name, factors[a].values[x], factors[b].name,
                           factors[b].values[y], reason + 3);
                    rejected++;
                }
    printf("%d pairs of values, %d of them rejected, the others in %d specifications\n", pairs, rejected, row_count);
    assert_true(row_count >= WANTED && rejected > 10);
}

static void gradients_agree_with_differences_and_the_device_with_them(void **state) {
    tally sum = {0};
    for (int i = 0; i < row_count; i++) {
        const bool wide = every && i % every == 0, tiled = wide && (every == 1 || i / every % 3 == 0);
        check_row(&rows[i], wide + tiled, &sum);
    }
    printf("%d specifications: gradients within %.1e of differences; %d on the device: within %.1e\n", sum.accepted,
           sum.worst_difference, sum.on_device, sum.worst_device);
    if (failures) fail_msg("%d findings above", failures);
}

static int open_all(void **state) {
    if (scratch_make(state) != 0 || open_devices(state) != 0) return -1;
    save_files();
    generate();
    return 0;
}

static int close_all(void **state) {
    return close_devices(state) == 0 ? scratch_remove(state) : -1;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1) every = atoi(argv[1]);
    if (argc > 2) only_family = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_features_is_covered_or_rejected_with_a_reason),
        cmocka_unit_test(gradients_agree_with_differences_and_the_device_with_them),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
