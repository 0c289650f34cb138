/* Every gradient rule against central finite differences, in double precision on the host: the reference functions of
 * an operation and of its backward operation, and the bookkeeping of differentiation (fan-out, views). The device's
 * share is tested by test_operations.c. */
#include "check/interpreter.h"
#include "core/random.h"
#include "ops/operations.h"
#include "ops/ops.h"
#include "support.h"

enum { MOST_LEAVES = 8, MOST_FIXED = 8, MOST_OUTPUTS = 4, COORDINATES = 24 };

/* A graph whose scalar Σ seed·output is differentiated. Inputs without fixed values are normally distributed. */
typedef struct experiment {
    xp_graph *graph;
    xp_tensor *leaves[MOST_LEAVES];
    int leaf_count;
    xp_tensor *outputs[MOST_OUTPUTS];
    int output_count;
    struct {
        const xp_tensor *tensor;
        const void *values; /* double or int32_t, the whole tensor */
    } fixed[MOST_FIXED];
    int fixed_count;
    const int32_t *dead_samples; /* [B]: non-zero where the seeds of a sample are 0; NULL: nowhere */
} experiment;

static bool covered[128]; /* by place in xp_operations */

static experiment begin(void) {
    experiment e = {0};
    assert_int_equal(xp_graph_create(&e.graph, NULL, true), XP_OK);
    return e;
}

static xp_tensor *input(experiment *e, const char *name, int rank, const int64_t *shape) {
    xp_tensor *tensor = xp_graph_input(e->graph, name, XP_F32, rank, shape);
    assert_non_null(tensor);
    return tensor;
}

/* An input whose gradient is tested. */
static xp_tensor *leaf(experiment *e, const char *name, int rank, const int64_t *shape) {
    xp_tensor *tensor = input(e, name, rank, shape);
    assert_true(e->leaf_count < MOST_LEAVES);
    tensor->needs_gradient = true;
    return e->leaves[e->leaf_count++] = tensor;
}

static void fix(experiment *e, const xp_tensor *tensor, const void *values) {
    assert_true(e->fixed_count < MOST_FIXED);
    e->fixed[e->fixed_count].tensor = tensor;
    e->fixed[e->fixed_count++].values = values;
}

static xp_tensor *integers(experiment *e, const char *name, int rank, const int64_t *shape, const int32_t *values) {
    xp_tensor *tensor = xp_graph_input(e->graph, name, XP_I32, rank, shape);
    assert_non_null(tensor);
    fix(e, tensor, values);
    return tensor;
}

static void output(experiment *e, xp_tensor *tensor) {
    if (!tensor) fail_msg("no output: %s", xp_last_error());
    e->outputs[e->output_count++] = tensor;
}

static double *random_values(xp_random *random, int64_t count) {
    double *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < count; i++) values[i] = xp_random_normal(random);
    return values;
}

static void fill_inputs(const experiment *e, xp_interpreter *interpreter, xp_random *random) {
    for (int t = 0; t < e->graph->tensor_count; t++) {
        const xp_tensor *tensor = e->graph->tensors[t];
        if (tensor->role != XP_ROLE_INPUT || tensor->type != XP_F32) continue;
        double *values = random_values(random, xp_tensor_elements(tensor));
        xp_interpreter_write(interpreter, tensor, values);
        free(values);
    }
    for (int i = 0; i < e->fixed_count; i++) xp_interpreter_write(interpreter, e->fixed[i].tensor, e->fixed[i].values);
    if (e->graph->random_state)
        xp_interpreter_write(interpreter, e->graph->random_state, (const int32_t[]){17, 4, 12, 0});
}

/* Σ seed·output after running the forward nodes. */
static double scalar(const experiment *e, xp_interpreter *interpreter, const xp_node *end, double *const *seeds) {
    double sum = 0;
    assert_int_equal(xp_interpreter_run(interpreter, end), XP_OK);
    for (int k = 0; k < e->output_count; k++) {
        int64_t count = xp_tensor_elements(e->outputs[k]);
        double *values = malloc((size_t)count * sizeof *values);
        assert_non_null(values);
        xp_interpreter_read(interpreter, e->outputs[k], values);
        for (int64_t i = 0; i < count; i++) sum += seeds[k][i] * values[i];
        free(values);
    }
    return sum;
}

/* Compares one leaf's gradient with differences at some of its coordinates. */
static void compare_leaf(const experiment *e, xp_interpreter *interpreter, const xp_node *end, double *const *seeds,
                         const xp_tensor *tensor, const xp_tensor *gradient, xp_random *random) {
    int64_t count = xp_tensor_elements(tensor);
    double *values = malloc((size_t)count * sizeof *values), *slopes = malloc((size_t)count * sizeof *slopes);
    assert_true(values && slopes);
    xp_interpreter_read(interpreter, tensor, values);
    xp_interpreter_read(interpreter, gradient, slopes);
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(slopes[i]));
    if (largest == 0) fail_msg("the gradient of %s is zero everywhere: nothing is tested", tensor->name);
    for (int c = 0; c < COORDINATES && c < count; c++) {
        int64_t i = count <= COORDINATES ? c : (int64_t)xp_random_below(random, (uint32_t)count);
        double kept = values[i], step = 1e-5;
        values[i] = kept + step;
        xp_interpreter_write(interpreter, tensor, values);
        double above = scalar(e, interpreter, end, seeds);
        values[i] = kept - step;
        xp_interpreter_write(interpreter, tensor, values);
        double below = scalar(e, interpreter, end, seeds);
        values[i] = kept;
        xp_interpreter_write(interpreter, tensor, values);
        double difference = (above - below) / (2 * step);
        if (!(fabs(difference - slopes[i]) <= 1e-6 * fmax(largest, 1)))
            fail_msg("d %s[%lld] is %.12g, by differences %.12g", tensor->name, (long long)i, slopes[i], difference);
    }
    free(values);
    free(slopes);
}

static void note_coverage(const xp_graph *graph) {
    for (int n = 0; n < graph->node_count; n++)
        for (int i = 0; i < xp_operation_count; i++)
            if (graph->nodes[n]->operation == xp_operations[i]) covered[i] = true;
}

/* Differentiates, evaluates, compares and releases. */
static void conclude(experiment *e) {
    xp_tensor *seed_tensors[MOST_OUTPUTS], *gradients[MOST_LEAVES];
    double *seeds[MOST_OUTPUTS];
    xp_random random;
    xp_random_start(&random, 41, 7);
    for (int k = 0; k < e->output_count; k++) {
        seed_tensors[k] = input(e, "seed", e->outputs[k]->rank, e->outputs[k]->shape);
        int64_t count = xp_tensor_elements(e->outputs[k]);
        seeds[k] = random_values(&random, count);
        for (int64_t i = 0; e->dead_samples && i < count; i++)
            if (e->dead_samples[i / (count / e->outputs[k]->shape[0])]) seeds[k][i] = 0;
        fix(e, seed_tensors[k], seeds[k]);
    }
    int forward_nodes = e->graph->node_count;
    xp_status status = xp_graph_differentiate(e->graph, e->output_count, e->outputs, seed_tensors, e->leaf_count,
                                              e->leaves, gradients);
    if (status != XP_OK) fail_msg("%s", xp_last_error());
    /* The rule of an addition adds no node: then the backward pass starts nowhere. */
    const xp_node *end = e->graph->node_count > forward_nodes ? e->graph->nodes[forward_nodes] : NULL;
    note_coverage(e->graph);

    xp_interpreter *interpreter;
    assert_int_equal(xp_interpreter_create(&interpreter, e->graph, XP_DOUBLE), XP_OK);
    fill_inputs(e, interpreter, &random);
    status = xp_interpreter_run(interpreter, NULL);
    if (status != XP_OK) fail_msg("%s", xp_last_error());
    for (int i = 0; i < e->leaf_count; i++) {
        if (!gradients[i]) fail_msg("%s has no gradient", e->leaves[i]->name);
        compare_leaf(e, interpreter, end, seeds, e->leaves[i], gradients[i], &random);
    }
    xp_interpreter_close(&interpreter);
    xp_graph_close(&e->graph);
    for (int k = 0; k < e->output_count; k++) free(seeds[k]);
}

#define SHAPE(...)                                                                                                     \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) {                                     \
        __VA_ARGS__                                                                                                    \
    }

/* ---- one operation each ------------------------------------------------------------------------------------------ */

static void gemm_in_all_transpositions(void **state) {
    for (int t = 0; t < 4; t++) {
        experiment e = begin();
        int ta = t & 1, tb = t >> 1;
        xp_tensor *a = ta ? leaf(&e, "a", SHAPE(3, 4)) : leaf(&e, "a", SHAPE(4, 3));
        xp_tensor *b = tb ? leaf(&e, "b", SHAPE(5, 3)) : leaf(&e, "b", SHAPE(3, 5));
        output(&e, xp_gemm(e.graph, a, ta, b, tb));
        conclude(&e);
    }
}

static void linear_with_bias_and_activation(void **state) {
    for (int activation = XP_ACTIVATION_NONE; activation <= XP_ACTIVATION_GELU; activation++) {
        experiment e = begin();
        xp_tensor *x = leaf(&e, "x", SHAPE(2, 3, 4)), *weight = leaf(&e, "weight", SHAPE(5, 4));
        output(&e, xp_linear(e.graph, x, weight, leaf(&e, "bias", SHAPE(5)), (xp_activation)activation));
        conclude(&e);
    }
}

static void activation_alone(void **state) {
    for (int activation = XP_ACTIVATION_RELU; activation <= XP_ACTIVATION_GELU; activation++) {
        experiment e = begin();
        output(&e, xp_activate(e.graph, leaf(&e, "x", SHAPE(3, 7)), (xp_activation)activation));
        conclude(&e);
    }
}

static void add_and_copy(void **state) {
    experiment e = begin();
    xp_tensor *a = leaf(&e, "a", SHAPE(3, 4)), *b = leaf(&e, "b", SHAPE(3, 4));
    output(&e, xp_copy(e.graph, xp_add(e.graph, a, b), NULL));
    conclude(&e);
}

static void dropout_keeps_its_choice_on_the_way_back(void **state) {
    experiment e = begin();
    output(&e, xp_dropout(e.graph, leaf(&e, "x", SHAPE(6, 7)), 0.4f));
    conclude(&e);
}

static void stochastic_depth_keeps_its_choice_on_the_way_back(void **state) {
    experiment e = begin();
    output(&e, xp_drop_path(e.graph, leaf(&e, "x", SHAPE(6, 2, 3)), 0.4f));
    conclude(&e);
}

static void layer_norm_with_and_without_branch(void **state) {
    for (int kind = 0; kind < 3; kind++) {
        experiment e = begin();
        xp_tensor *x = leaf(&e, "x", SHAPE(2, 3, 6)), *branch = kind ? leaf(&e, "branch", SHAPE(2, 3, 6)) : NULL;
        xp_tensor *gamma = leaf(&e, "gamma", SHAPE(6)), *beta = leaf(&e, "beta", SHAPE(6)), *sum = NULL;
        output(&e,
               xp_layer_norm(e.graph, x, branch, gamma, beta, 1e-5f, kind == 2 ? 0.3f : 0.0f, branch ? &sum : NULL));
        if (branch) output(&e, sum);
        conclude(&e);
    }
}

/* Samples of weight 0 enter no statistic; nothing that is differentiated depends on their rows. */
static void batch_norm_with_samples_that_do_not_count(void **state) {
    static const double all[] = {1, 1, 1, 1}, some[] = {1, 0, 1, 0};
    static const int32_t dead[] = {0, 1, 0, 1};
    for (int partial = 0; partial < 2; partial++) {
        experiment e = begin();
        xp_tensor *x = leaf(&e, "x", SHAPE(4, 3, 5)), *gamma = leaf(&e, "gamma", SHAPE(5));
        xp_tensor *beta = leaf(&e, "beta", SHAPE(5)), *weight = input(&e, "weight", SHAPE(4));
        xp_tensor *mean = input(&e, "running_mean", SHAPE(5)), *variance = input(&e, "running_variance", SHAPE(5));
        fix(&e, weight, partial ? some : all);
        e.dead_samples = partial ? dead : NULL;
        output(&e, xp_batch_norm(e.graph, x, gamma, beta, mean, variance, weight, 1e-5f, 0.1f));
        conclude(&e);
    }
}

static void embed_with_token_and_dropout(void **state) {
    for (int kind = 0; kind < 3; kind++) {
        experiment e = begin();
        xp_tensor *x = leaf(&e, "x", SHAPE(2, 4, 3)), *position = leaf(&e, "position", SHAPE(7, 3));
        xp_tensor *token = kind ? leaf(&e, "token", SHAPE(3)) : NULL;
        output(&e, xp_embed(e.graph, x, position, token, 1.5f, kind == 2 ? 0.3f : 0.0f));
        conclude(&e);
    }
}

static void lookup_of_tokens_that_come_again_and_of_none(void **state) {
    static const int32_t tokens[] = {2, 0, 2, 3, -1, 2, 7, 0};
    experiment e = begin();
    xp_tensor *table = leaf(&e, "table", SHAPE(5, 3));
    output(&e, xp_lookup(e.graph, table, integers(&e, "tokens", SHAPE(2, 4), tokens)));
    conclude(&e);
}

static void pooling_with_and_without_lengths(void **state) {
    static const int32_t lengths[] = {4, 0, 2};
    for (int kind = 0; kind < 4; kind++) {
        experiment e = begin();
        xp_tensor *x = leaf(&e, "x", SHAPE(3, 4, 5));
        xp_tensor *l = kind & 1 ? integers(&e, "lengths", SHAPE(3), lengths) : NULL;
        output(&e, xp_sequence_pool(e.graph, x, l, kind & 2 ? XP_POOL_MEAN : XP_POOL_CLASS));
        conclude(&e);
    }
}

static void mask_rows(void **state) {
    static const int32_t lengths[] = {4, 0, 2};
    experiment e = begin();
    xp_tensor *x = leaf(&e, "x", SHAPE(3, 4, 5));
    output(&e, xp_mask_rows(e.graph, x, integers(&e, "lengths", SHAPE(3), lengths)));
    conclude(&e);
}

static void cross_entropy_with_smoothing_weights_and_shares(void **state) {
    static const int32_t labels[] = {2, 0, 3, 1};
    static const double weights[] = {1, 0, 1, 0.5};
    static const double shares[] = {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0.3, 0, 0.7, 0, 0.5, 0.25, 0, 0, 0.25};
    for (int kind = 0; kind < 3; kind++) {
        experiment e = begin();
        xp_tensor *logits = leaf(&e, "logits", SHAPE(4, 5)), *weight = input(&e, "weights", SHAPE(4));
        xp_tensor *probabilities = NULL, *losses = NULL;
        fix(&e, weight, weights);
        xp_tensor *known = kind < 2 ? integers(&e, "labels", SHAPE(4), labels) : input(&e, "shares", SHAPE(4, 5));
        if (kind == 2) fix(&e, known, shares);
        output(&e, xp_cross_entropy(e.graph, logits, known, weight, kind ? 0.1f : 0.0f, &probabilities, &losses));
        conclude(&e);
    }
}

static void squared_error_with_unknown_targets_and_weights(void **state) {
    static const double weights[] = {1, 0, 1, 0.5};
    static const double targets[] = {0.5, NAN, -2, 1, 1, 1, NAN, NAN, NAN, 0, 3, NAN};
    experiment e = begin();
    xp_tensor *answers = leaf(&e, "answers", SHAPE(4, 3)), *weight = input(&e, "weights", SHAPE(4));
    xp_tensor *target = input(&e, "targets", SHAPE(4, 3));
    xp_squared_errors errors;
    fix(&e, weight, weights);
    fix(&e, target, targets);
    output(&e, xp_squared_error(e.graph, answers, target, weight, &errors));
    conclude(&e);
}

static void numbers_in_the_scale_of_their_sample(void **state) {
    experiment e = begin();
    output(&e, xp_rescale(e.graph, leaf(&e, "x", SHAPE(3, 6)), input(&e, "levels", SHAPE(3, 2, 2))));
    conclude(&e);
}

static void features_of_pairs(void **state) {
    experiment e = begin();
    output(&e, xp_pair(e.graph, leaf(&e, "pairs", SHAPE(3, 2, 5))));
    conclude(&e);
}

static void attention_with_counts_and_dropout(void **state) {
    static const int32_t per_sample[] = {5, 3}, per_head[] = {5, 1, 0, 4};
    for (int kind = 0; kind < 4; kind++) {
        experiment e = begin();
        xp_tensor *q = leaf(&e, "q", SHAPE(2, 4, 2, 3)), *k = leaf(&e, "k", SHAPE(2, 5, 2, 3));
        xp_tensor *v = leaf(&e, "v", SHAPE(2, 5, 2, 4)), *counts = NULL;
        if (kind == 1) counts = integers(&e, "counts", SHAPE(2), per_sample);
        if (kind >= 2) counts = integers(&e, "counts", SHAPE(2, 2), per_head);
        output(&e, xp_attention(e.graph, &(xp_attention_inputs){.q = q, .k = k, .v = v, .key_lengths = counts},
                                &(xp_attention_attributes){.scale = 0.6f, .left = -1, .right = -1},
                                kind == 3 ? 0.25f : 0.0f, NULL));
        conclude(&e);
    }
}

static double scaled_score(double score, const int64_t place[4], const double *const *tensors, double *slope) {
    *slope = 1 + 0.5 * tensors[0][place[3]];
    return score * *slope - 0.1 * (double)(place[2] > place[3]);
}

static void attention_with_every_feature(void **state) {
    static const int32_t key_lengths[] = {6, 4}, query_lengths[] = {4, 3}, starts[] = {0, 1, 5},
                         key_starts[] = {0, 4, 6};
    static const int32_t mask[] = {0x2d, 0x3e, 0x15, 0x3f};
    static const xp_score score = {.text = "score * (1.0f + 0.5f * table[key_index])",
                                   .derivative = "1.0f + 0.5f * table[key_index]",
                                   .tensor_count = 1,
                                   .tensors = {"table"},
                                   .host = scaled_score};
    for (int kind = 0; kind < 12; kind++) {
        experiment e = begin();
        const bool packed = kind == 5;
        xp_attention_inputs in = {.q = packed ? leaf(&e, "q", SHAPE(1, 5, 4, 3)) : leaf(&e, "q", SHAPE(2, 4, 4, 3)),
                                  .k = packed ? leaf(&e, "k", SHAPE(1, 6, 2, 3)) : leaf(&e, "k", SHAPE(2, 6, 2, 3)),
                                  .v = packed ? leaf(&e, "v", SHAPE(1, 6, 2, 5)) : leaf(&e, "v", SHAPE(2, 6, 2, 5))};
        xp_attention_attributes a = xp_attention_plain(0.7f);
        xp_tensor *lse = NULL;
        if (kind == 1 || kind == 8) {
            in.key_lengths = integers(&e, "key_lengths", SHAPE(2), key_lengths);
            in.query_lengths = integers(&e, "query_lengths", SHAPE(2), query_lengths);
            a.align_last = 1;
        }
        if (kind == 2 || kind == 8 || kind == 9) a.left = 1, a.right = 2;
        if (kind == 3) in.bias = leaf(&e, "bias", SHAPE(1, 4, 4, 6));
        if (kind == 4) in.bias = leaf(&e, "bias", SHAPE(2, 1, 4, 6)), a.soft_cap = 1.5f, a.alibi = 1;
        if (packed) {
            in.query_lengths = integers(&e, "query_starts", SHAPE(3), starts);
            in.key_lengths = integers(&e, "key_starts", SHAPE(3), key_starts);
            a.packed = 1, a.longest_queries = 4, a.longest_keys = 4;
        }
        if (kind == 6) {
            in.user[0] = input(&e, "table", SHAPE(6)), a.score = &score;
            in.bias = leaf(&e, "bias", SHAPE(1, 1, 4, 6));
        }
        if (kind == 7 || kind == 10) in.mask = integers(&e, "mask", SHAPE(1, 1, 4, 1), mask);
        if (kind >= 8 && kind <= 10) a.kernel = XP_KERNEL_LINEAR, a.normaliser = kind - 8;
        if (kind == 11) a.stride = 2, a.scale_count = 2, a.scales[0] = 1, a.scales[1] = 2, a.right = 3;
        output(&e, xp_attention(e.graph, &in, &a, kind == 7 ? 0.25f : 0.0f, &lse));
        if (kind == 0 || kind == 2) output(&e, lse); /* all its rows see a key */
        conclude(&e);
    }
}

static void attention_normalise_with_every_answer(void **state) {
    static const int32_t per_sample[] = {5, 3}, per_head[] = {5, 1, 2, 4};
    for (int kind = 0; kind < 6; kind++) {
        experiment e = begin();
        xp_tensor *q = leaf(&e, "q", SHAPE(2, 4, 2, 3)), *k = leaf(&e, "k", SHAPE(2, 5, 2, 3)), *counts = NULL;
        xp_tensor *beta = kind & 1 ? leaf(&e, "beta", SHAPE(2)) : NULL, *q_out = NULL, *k_out = NULL;
        if (kind == 2 || kind == 3) counts = integers(&e, "counts", SHAPE(2), per_sample);
        if (kind >= 4) counts = integers(&e, "counts", SHAPE(2, 2), per_head);
        xp_attention_normalise_attributes attributes = {.beta = 0.6f, .scale = kind != 2, .epsilon = 0.1f};
        if (xp_attention_normalise(e.graph, q, k, counts, NULL, beta, &attributes, &q_out, &k_out) != XP_OK)
            fail_msg("%s", xp_last_error());
        output(&e, q_out);
        output(&e, k_out);
        conclude(&e);
    }
}

/* The forms of Attention-BN: grouped heads, prefixes, the linear kernels' form, the row constant, pooled keys, packed
 * samples (one of them empty) and both kinds of lengths. */
static void attention_normalise_in_every_form(void **state) {
    static const int32_t per_sample[] = {6, 3}, per_head[] = {6, 1, 0, 4}, asked[] = {3, 5};
    static const int32_t key_starts[] = {0, 4, 4, 9}, query_starts[] = {0, 3, 4, 10};
    static const xp_attention_normalise_attributes forms[] = {
        {.both = 1},
        {.prefix = 1},
        {.prefix = 1, .both = 1},
        {.prefix = 1, .constant = 1},
        {.prefix = 1, .constant = 1, .align_last = 1},
        {.prefix = 1, .both = 1, .align_last = 1},
        {.prefix = 1, .constant = 1, .key_scale_count = 2, .key_scales = {1, 2}},
        {.prefix = 1, .both = 1, .key_scale_count = 1, .key_scales = {3}},
    };
    enum { FORMS = sizeof forms / sizeof forms[0] };
    for (int kind = 0; kind < 4 * FORMS; kind++) {
        experiment e = begin();
        xp_attention_normalise_attributes attributes = forms[kind / 4];
        attributes.beta = 0.7f;
        attributes.scale = kind % 3 > 0;
        attributes.epsilon = 0.1f;
        attributes.packed = kind % 4 == 3 && !attributes.key_scale_count;
        xp_tensor *beta = kind & 1 ? leaf(&e, "beta", SHAPE(2)) : NULL, *q_out = NULL, *k_out = NULL;
        xp_tensor *key_lengths = NULL, *query_lengths = NULL, *q, *k;
        if (attributes.packed) {
            q = leaf(&e, "q", SHAPE(1, 11, 4, 3));
            k = leaf(&e, "k", SHAPE(1, 10, 2, 3));
            key_lengths = integers(&e, "key_starts", SHAPE(4), key_starts);
            query_lengths = integers(&e, "query_starts", SHAPE(4), query_starts);
        } else {
            q = leaf(&e, "q", SHAPE(2, 8, 4, 3));
            k = leaf(&e, "k", SHAPE(2, 6, 2, 3));
            if (kind % 4 == 1) key_lengths = integers(&e, "key_lengths", SHAPE(2), per_sample);
            if (kind % 4 == 2) key_lengths = integers(&e, "key_lengths", SHAPE(2, 2), per_head);
            if (kind % 4 >= 2) query_lengths = integers(&e, "query_lengths", SHAPE(2), asked);
        }
        if (xp_attention_normalise(e.graph, q, k, key_lengths, query_lengths, beta, &attributes, &q_out, &k_out) !=
            XP_OK)
            fail_msg("%s", xp_last_error());
        output(&e, q_out);
        output(&e, k_out);
        conclude(&e);
    }
}

static void attention_pool_on_sequences_and_grids(void **state) {
    static const int32_t lengths[] = {7, 4};
    for (int kind = 0; kind < 3; kind++) {
        experiment e = begin();
        xp_attention_pool_attributes attributes = {.scale_count = 2, .scales = {1, 3}};
        xp_tensor *counts = NULL, *l = kind == 1 ? integers(&e, "lengths", SHAPE(2), lengths) : NULL;
        if (kind == 2) {
            attributes.grid_height = 2;
            attributes.grid_width = 3;
            attributes.class_token = 1;
        }
        output(&e, xp_attention_pool(e.graph, leaf(&e, "x", SHAPE(2, 7, 4, 3)), l, &attributes, &counts));
        conclude(&e);
    }
}

static void depthwise_convolution_on_sequences_and_grids(void **state) {
    static const int32_t lengths[] = {7, 4};
    for (int kind = 0; kind < 6; kind++) {
        experiment e = begin();
        xp_depthwise_convolution_attributes attributes = {.width = kind == 3 ? 4 : 3, .causal = kind == 2 || kind == 3};
        xp_tensor *x = leaf(&e, "x", SHAPE(2, 7, 2, 3)), *weight;
        xp_tensor *l = kind == 1 || kind == 2 ? integers(&e, "lengths", SHAPE(2), lengths) : NULL;
        if (kind >= 4) {
            attributes.grid_height = kind == 4 ? 2 : 1;
            attributes.grid_width = kind == 4 ? 3 : 7;
            attributes.class_token = kind == 4;
            weight = leaf(&e, "weight", SHAPE(6, 3, 3));
        } else {
            weight = leaf(&e, "weight", SHAPE(6, attributes.width));
        }
        output(&e, xp_depthwise_convolution(e.graph, x, weight, l, &attributes));
        conclude(&e);
    }
}

static void feature_maps(void **state) {
    for (int feature = XP_FEATURE_IDENTITY; feature <= XP_FEATURE_SQUARE; feature++) {
        experiment e = begin();
        xp_tensor *part[2];
        assert_int_equal(xp_graph_split(e.graph, leaf(&e, "x", SHAPE(2, 3, 2, 2, 3)), 2, part), XP_OK);
        output(&e, xp_feature_map(e.graph, part[0], (xp_feature)feature));
        output(&e, xp_feature_map(e.graph, part[1], (xp_feature)feature));
        conclude(&e);
    }
}

static void linear_attention_with_every_normaliser_and_kind_of_lengths(void **state) {
    static const int32_t per_sample[] = {5, 3}, per_head[] = {5, 1, 3, 0, 4, 2, 5, 3}, queries[] = {4, 2};
    for (int kind = 0; kind < 12; kind++) {
        experiment e = begin();
        const xp_linear_attention_attributes attributes = {.features = kind % 3 == 0   ? XP_FEATURE_ELU
                                                                       : kind % 3 == 1 ? XP_FEATURE_SQUARE
                                                                                       : XP_FEATURE_IDENTITY,
                                                           .normaliser = kind % 3 == 2 ? XP_NORMALISER_COUNT + kind / 6
                                                                                       : XP_NORMALISER_SUM,
                                                           .causal = kind >= 3,
                                                           .align_last = kind >= 6 && kind < 9,
                                                           .scale = 0.6f};
        xp_tensor *q = leaf(&e, "q", SHAPE(2, 4, 4, 3)), *k = leaf(&e, "k", SHAPE(2, 5, 2, 3));
        xp_tensor *v = leaf(&e, "v", SHAPE(2, 5, 2, 4)), *key_lengths = NULL, *query_lengths = NULL;
        if (kind % 4 == 1) key_lengths = integers(&e, "key_lengths", SHAPE(2), per_sample);
        if (kind % 4 >= 2) key_lengths = integers(&e, "key_lengths", SHAPE(2, 4), per_head);
        if (kind % 2) query_lengths = integers(&e, "query_lengths", SHAPE(2), queries);
        output(&e, xp_linear_attention(e.graph, q, k, v, key_lengths, query_lengths, &attributes));
        conclude(&e);
    }
}

/* ---- the graph's own bookkeeping --------------------------------------------------------------------------------- */

static void a_tensor_that_is_used_twice_gathers_both_gradients(void **state) {
    experiment e = begin();
    xp_tensor *x = leaf(&e, "x", SHAPE(3, 3));
    xp_tensor *y = xp_gemm(e.graph, x, 0, x, 1);
    output(&e, xp_add(e.graph, xp_add(e.graph, y, x), x));
    conclude(&e);
}

static void the_parts_of_a_split_write_one_gradient(void **state) {
    experiment e = begin();
    xp_tensor *qkv = xp_graph_reshape(e.graph, leaf(&e, "x", SHAPE(2, 4, 18)), SHAPE(2, 4, 3, 2, 3)), *part[3];
    assert_int_equal(xp_graph_split(e.graph, qkv, 2, part), XP_OK);
    output(&e, xp_attention(e.graph, &(xp_attention_inputs){.q = part[0], .k = part[1], .v = part[2]},
                            &(xp_attention_attributes){.scale = 0.5f, .left = -1, .right = -1}, 0.0f, NULL));
    conclude(&e);
}

static void slices_of_several_sizes_write_one_gradient(void **state) {
    static const int64_t sizes[] = {2, 1, 1};
    for (int last = 0; last < 2; last++) {
        experiment e = begin();
        xp_tensor *whole = leaf(&e, "x", SHAPE(3, 2, 4)), *part[3];
        if (last)
            assert_int_equal(xp_graph_slice(e.graph, whole, 2, 3, sizes, part), XP_OK);
        else
            assert_int_equal(
                xp_graph_slice(e.graph, xp_graph_reshape(e.graph, whole, SHAPE(3, 4, 2)), 1, 3, sizes, part), XP_OK);
        for (int i = 0; i < 3; i++) output(&e, xp_copy(e.graph, part[i], NULL));
        conclude(&e);
    }
}

static void split_parts_that_are_shared_are_copied(void **state) {
    experiment e = begin();
    xp_tensor *whole = leaf(&e, "x", SHAPE(2, 4, 2, 2, 3)), *part[2];
    assert_int_equal(xp_graph_split(e.graph, whole, 2, part), XP_OK);
    output(&e, xp_attention(e.graph, &(xp_attention_inputs){.q = part[0], .k = part[1], .v = part[1]},
                            &(xp_attention_attributes){.scale = 0.5f, .left = -1, .right = -1}, 0.0f, NULL));
    conclude(&e);
}

static void a_reshape_carries_gradients(void **state) {
    experiment e = begin();
    xp_tensor *x = xp_graph_reshape(e.graph, leaf(&e, "x", SHAPE(2, 3, 4)), SHAPE(6, 4));
    xp_tensor *y = xp_gemm(e.graph, x, 0, leaf(&e, "w", SHAPE(4, 5)), 0);
    output(&e, xp_graph_reshape(e.graph, y, SHAPE(2, 15)));
    conclude(&e);
}

static int nodes_of(const xp_graph *graph, const char *operation) {
    int count = 0;
    for (int i = 0; i < graph->node_count; i++) count += strcmp(graph->nodes[i]->operation->name, operation) == 0;
    return count;
}

/* A feed-forward block with its residual. Returns the block's input. */
static xp_tensor *feed_forward(experiment *e, xp_activation activation) {
    xp_tensor *x =
        xp_linear(e->graph, leaf(e, "x", SHAPE(2, 3, 4)), leaf(e, "w1", SHAPE(4, 4)), NULL, XP_ACTIVATION_NONE);
    xp_tensor *hidden = xp_linear(e->graph, x, leaf(e, "w2", SHAPE(6, 4)), NULL, activation);
    xp_tensor *y = xp_linear(e->graph, hidden, leaf(e, "w3", SHAPE(4, 6)), leaf(e, "b3", SHAPE(4)), XP_ACTIVATION_NONE);
    output(e, xp_add(e->graph, x, y));
    return hidden;
}

/* Differentiates for the leaves and one tensor more. */
static void differentiate(experiment *e, xp_tensor *also) {
    xp_tensor *seed = input(e, "seed", e->outputs[0]->rank, e->outputs[0]->shape), *gradients[MOST_LEAVES];
    if (also) e->leaves[e->leaf_count++] = also;
    assert_int_equal(xp_graph_differentiate(e->graph, 1, e->outputs, &seed, e->leaf_count, e->leaves, gradients),
                     XP_OK);
}

/* The products of the backward pass take in the activation's slope and the gradient of the residual, so neither has an
 * operation of its own; but a gradient that the caller asked for stays without the slope. */
static void products_take_in_what_their_gradients_meet(void **state) {
    for (int activation = XP_ACTIVATION_RELU; activation <= XP_ACTIVATION_GELU; activation++) {
        experiment e = begin();
        feed_forward(&e, (xp_activation)activation);
        conclude(&e);
        e = begin();
        feed_forward(&e, (xp_activation)activation);
        differentiate(&e, NULL);
        assert_int_equal(nodes_of(e.graph, "add"), 1); /* that of the forward pass */
        assert_int_equal(nodes_of(e.graph, "activation_backward"), 0);
        xp_graph_close(&e.graph);
        e = begin();
        differentiate(&e, feed_forward(&e, (xp_activation)activation));
        assert_int_equal(nodes_of(e.graph, "add"), 1);
        assert_int_equal(nodes_of(e.graph, "activation_backward"), 1);
        xp_graph_close(&e.graph);
    }
}

/* One product is the gradient of two tensors: neither what the one meets nor the other's activation may change it. */
static void a_gradient_of_several_tensors_stays_as_it_is(void **state) {
    experiment e = begin();
    xp_tensor *x = leaf(&e, "x", SHAPE(3, 4)), *y = leaf(&e, "y", SHAPE(3, 4));
    xp_tensor *active = xp_linear(e.graph, x, leaf(&e, "w1", SHAPE(4, 4)), NULL, XP_ACTIVATION_GELU);
    xp_tensor *sum = xp_add(e.graph, active, y);
    output(&e, xp_gemm(e.graph, sum, 0, leaf(&e, "w2", SHAPE(4, 5)), 0));
    output(&e, xp_gemm(e.graph, active, 0, leaf(&e, "w3", SHAPE(4, 5)), 0));
    conclude(&e);
}

/* Differences cannot show it, since a cast rounds: what arrives at x is the seed as bf16 holds it. */
static void a_cast_is_differentiated_by_a_cast_back(void **state) {
    experiment e = begin();
    xp_tensor *x = leaf(&e, "x", SHAPE(3, 4)), *half = xp_cast(e.graph, x, XP_BF16);
    xp_tensor *y = xp_cast(e.graph, half, XP_F32), *seed = input(&e, "seed", SHAPE(3, 4)), *dx;
    assert_int_equal(half->type, XP_BF16);
    assert_ptr_equal(xp_cast(e.graph, half, XP_BF16), half);
    assert_int_equal(xp_graph_differentiate(e.graph, 1, &y, &seed, 1, &x, &dx), XP_OK);
    assert_int_equal(dx->type, XP_F32);
    xp_interpreter *interpreter;
    assert_int_equal(xp_interpreter_create(&interpreter, e.graph, XP_DOUBLE), XP_OK);
    double values[12], got[12];
    for (int i = 0; i < 12; i++) values[i] = 1 + i / 1000.0; /* bf16 has 1, 1.0078125, 1.015625 there */
    xp_interpreter_write(interpreter, seed, values);
    assert_int_equal(xp_interpreter_run(interpreter, NULL), XP_OK);
    xp_interpreter_read(interpreter, dx, got);
    for (int i = 0; i < 12; i++) assert_true(got[i] == (i < 4 ? 1 : 1.0078125));
    note_coverage(e.graph);
    xp_interpreter_close(&interpreter);
    xp_graph_close(&e.graph);
}

static void every_gradient_rule_is_tested_here(void **state) {
    for (int i = 0; i < xp_operation_count; i++)
        if (xp_operations[i]->gradient && !covered[i])
            fail_msg("no test differentiates operation %s", xp_operations[i]->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_in_all_transpositions),
        cmocka_unit_test(linear_with_bias_and_activation),
        cmocka_unit_test(activation_alone),
        cmocka_unit_test(add_and_copy),
        cmocka_unit_test(dropout_keeps_its_choice_on_the_way_back),
        cmocka_unit_test(stochastic_depth_keeps_its_choice_on_the_way_back),
        cmocka_unit_test(layer_norm_with_and_without_branch),
        cmocka_unit_test(batch_norm_with_samples_that_do_not_count),
        cmocka_unit_test(embed_with_token_and_dropout),
        cmocka_unit_test(lookup_of_tokens_that_come_again_and_of_none),
        cmocka_unit_test(pooling_with_and_without_lengths),
        cmocka_unit_test(mask_rows),
        cmocka_unit_test(cross_entropy_with_smoothing_weights_and_shares),
        cmocka_unit_test(squared_error_with_unknown_targets_and_weights),
        cmocka_unit_test(numbers_in_the_scale_of_their_sample),
        cmocka_unit_test(features_of_pairs),
        cmocka_unit_test(attention_with_counts_and_dropout),
        cmocka_unit_test(attention_with_every_feature),
        cmocka_unit_test(attention_normalise_with_every_answer),
        cmocka_unit_test(attention_normalise_in_every_form),
        cmocka_unit_test(attention_pool_on_sequences_and_grids),
        cmocka_unit_test(depthwise_convolution_on_sequences_and_grids),
        cmocka_unit_test(feature_maps),
        cmocka_unit_test(linear_attention_with_every_normaliser_and_kind_of_lengths),
        cmocka_unit_test(a_tensor_that_is_used_twice_gathers_both_gradients),
        cmocka_unit_test(the_parts_of_a_split_write_one_gradient),
        cmocka_unit_test(slices_of_several_sizes_write_one_gradient),
        cmocka_unit_test(split_parts_that_are_shared_are_copied),
        cmocka_unit_test(a_reshape_carries_gradients),
        cmocka_unit_test(products_take_in_what_their_gradients_meet),
        cmocka_unit_test(a_gradient_of_several_tensors_stays_as_it_is),
        cmocka_unit_test(a_cast_is_differentiated_by_a_cast_back),
        cmocka_unit_test(every_gradient_rule_is_tested_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
