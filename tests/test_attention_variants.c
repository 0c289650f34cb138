/* What Attention-BN and Attention-SH promise, on the device, in both kernel families: the definitions themselves
 * (written out here in double precision, without the identities that the kernels use), and what they must leave alone.
 */
#include "devices.h"
#include "graph/plan.h"
#include "ops/ops.h"

/* ---- one attention layer's core, and its data -------------------------------------------------------------------- */

typedef struct layer {
    int64_t batch, queries, keys, heads, width;
    int scale_count; /* 0: no pooling */
    int16_t scales[4];
    int grid_height, grid_width, class_token;
    bool bn, learned;
    float beta;
    const int32_t *lengths; /* [B] or NULL */
    const float *q, *k, *v; /* [B,N,H,D], [B,M,H,D] */
    const float *d_o;       /* NULL: forward only */
} layer;

typedef struct outputs {
    float *o, *dq, *dk, *dv; /* gradients NULL in forward */
} outputs;

static void release(outputs *answer) {
    free(answer->o);
    free(answer->dq);
    free(answer->dk);
    free(answer->dv);
}

static float *normal(xp_random *random, int64_t count, double mean) {
    float *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    fill_normal(random, values, count, mean, 1);
    return values;
}

static float *read_tensor(xp_plan *plan, const xp_tensor *tensor) {
    float *values = malloc((size_t)xp_tensor_elements(tensor) * sizeof *values);
    assert_non_null(values);
    MUST(xp_plan_read(plan, tensor, values));
    return values;
}

static xp_attention_pool_attributes pool_of(const layer *problem) {
    xp_attention_pool_attributes pool = {.scale_count = problem->scale_count,
                                         .grid_height = problem->grid_height,
                                         .grid_width = problem->grid_width,
                                         .class_token = problem->class_token};
    memcpy(pool.scales, problem->scales, sizeof problem->scales);
    return pool;
}

/* Builds the layer as models do, runs it on a device of the family, and reads everything back. */
static outputs solve(const layer *problem, const char *family) {
    xp_device *device = open_device(family);
    xp_graph *graph;
    xp_plan *plan;
    MUST(xp_graph_create(&graph, NULL, true));
    const int64_t q_shape[] = {problem->batch, problem->queries, problem->heads, problem->width};
    const int64_t k_shape[] = {problem->batch, problem->keys, problem->heads, problem->width};
    xp_tensor *inputs[] = {xp_graph_input(graph, "q", XP_F32, 4, q_shape),
                           xp_graph_input(graph, "k", XP_F32, 4, k_shape),
                           xp_graph_input(graph, "v", XP_F32, 4, k_shape)};
    for (int i = 0; i < 3; i++) inputs[i]->needs_gradient = problem->d_o != NULL;
    xp_tensor *q = inputs[0], *k = inputs[1], *v = inputs[2], *beta = NULL, *lengths = NULL;
    if (problem->lengths) lengths = xp_graph_input(graph, "lengths", XP_I32, 1, &problem->batch);
    if (problem->learned) beta = xp_graph_input(graph, "beta", XP_F32, 1, &problem->heads);
    xp_tensor *counts = lengths;
    if (problem->scale_count) {
        const xp_attention_pool_attributes pool = pool_of(problem);
        k = xp_attention_pool(graph, k, lengths, &pool, &counts);
        v = xp_attention_pool(graph, v, lengths, &pool, NULL);
    }
    if (problem->bn) {
        const xp_attention_normalise_attributes attributes = {.beta = problem->beta, .scale = 1, .epsilon = 1e-5f};
        MUST(xp_attention_normalise(graph, q, k, counts, NULL, beta, &attributes, &q, &k));
    }
    xp_tensor *o = xp_attention(
        graph, &(xp_attention_inputs){.q = q, .k = k, .v = v, .key_lengths = counts},
        &(xp_attention_attributes){.scale = (float)(1 / sqrt((double)problem->width)), .left = -1, .right = -1}, 0,
        NULL);
    if (!o) fail_msg("%s", xp_last_error());
    o->keep = true;
    xp_tensor *seed = NULL, *gradients[3] = {0};
    if (problem->d_o) {
        seed = xp_graph_input(graph, "d_o", XP_F32, 4, q_shape);
        MUST(xp_graph_differentiate(graph, 1, &o, &seed, 3, inputs, gradients));
        for (int i = 0; i < 3; i++) gradients[i]->keep = true;
    }
    MUST(xp_plan_create(&plan, device, graph));
    MUST(xp_plan_realise(plan, NULL));
    MUST(xp_plan_write(plan, inputs[0], problem->q));
    MUST(xp_plan_write(plan, inputs[1], problem->k));
    MUST(xp_plan_write(plan, inputs[2], problem->v));
    if (lengths) MUST(xp_plan_write(plan, lengths, problem->lengths));
    if (seed) MUST(xp_plan_write(plan, seed, problem->d_o));
    if (beta) {
        float values[8];
        for (int i = 0; i < 8; i++) values[i] = problem->beta;
        assert_true(problem->heads <= 8);
        MUST(xp_plan_write(plan, beta, values));
    }
    MUST(xp_plan_run(plan));
    outputs answer = {.o = read_tensor(plan, o)};
    if (seed) {
        answer.dq = read_tensor(plan, gradients[0]);
        answer.dk = read_tensor(plan, gradients[1]);
        answer.dv = read_tensor(plan, gradients[2]);
    }
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_device_close(&device);
    return answer;
}

/* ---- the definitions --------------------------------------------------------------------------------------------- */

static const float *row_of(const float *x, int64_t rows, const layer *problem, int64_t b, int64_t n, int64_t h) {
    return x + ((b * rows + n) * problem->heads + h) * problem->width;
}

/* Averages non-overlapping windows of `scale` rows of one sequence and head; returns how many rows there are. */
static int64_t pool_rows(const layer *problem, const float *x, int64_t b, int64_t h, double *out) {
    const int64_t length = problem->lengths ? problem->lengths[b] : problem->keys, width = problem->width;
    const int64_t scale = problem->scale_count ? problem->scales[h % problem->scale_count] : 1;
    int64_t rows = 0;
    for (int64_t first = 0; first < length; first += scale, rows++) {
        const int64_t last = first + scale < length ? first + scale : length;
        for (int64_t d = 0; d < width; d++) {
            double sum = 0;
            for (int64_t n = first; n < last; n++) sum += (double)row_of(x, problem->keys, problem, b, n, h)[d];
            out[rows * width + d] = sum / (double)(last - first);
        }
    }
    return rows;
}

/* score_ij = ((q_i - beta·mu)/s)·((k_j - beta·mu)/s)/sqrt(D) with the mean and deviation of the head's own keys. */
static void define(const layer *problem, double *o) {
    const int64_t width = problem->width;
    double *k = malloc((size_t)(problem->keys * width) * sizeof *k);
    double *v = malloc((size_t)(problem->keys * width) * sizeof *v);
    double *p = malloc((size_t)problem->keys * sizeof *p);
    double mean[64] = {0}, deviation[64];
    assert_true(k && v && p && width <= 64);
    for (int64_t b = 0; b < problem->batch; b++)
        for (int64_t h = 0; h < problem->heads; h++) {
            const int64_t count = pool_rows(problem, problem->k, b, h, k);
            pool_rows(problem, problem->v, b, h, v);
            for (int64_t d = 0; d < width; d++) {
                double sum = 0, squares = 0;
                for (int64_t j = 0; j < count; j++) sum += k[j * width + d];
                mean[d] = problem->bn ? sum / (double)count : 0;
                for (int64_t j = 0; j < count; j++) squares += pow(k[j * width + d] - mean[d], 2);
                deviation[d] = problem->bn ? sqrt(squares / (double)count + 1e-5) : 1;
            }
            const double beta = problem->bn ? (double)problem->beta : 0;
            for (int64_t i = 0; i < problem->queries; i++) {
                const float *q = row_of(problem->q, problem->queries, problem, b, i, h);
                double largest = -INFINITY, sum = 0;
                for (int64_t j = 0; j < count; j++) {
                    double score = 0;
                    for (int64_t d = 0; d < width; d++)
                        score += ((double)q[d] - beta * mean[d]) / deviation[d] *
                                 ((k[j * width + d] - beta * mean[d]) / deviation[d]);
                    p[j] = score / sqrt((double)width);
                    if (p[j] > largest) largest = p[j];
                }
                for (int64_t j = 0; j < count; j++) sum += p[j] = exp(p[j] - largest);
                for (int64_t d = 0; d < width; d++) {
                    double value = 0;
                    for (int64_t j = 0; j < count; j++) value += p[j] / sum * v[j * width + d];
                    o[((b * problem->queries + i) * problem->heads + h) * width + d] = value;
                }
            }
        }
    free(k);
    free(v);
    free(p);
}

static int64_t elements(const layer *problem, int64_t rows) {
    return problem->batch * rows * problem->heads * problem->width;
}

static void assert_defined(const layer *problem, double tolerance) {
    const int64_t count = elements(problem, problem->queries);
    double *expected = malloc((size_t)count * sizeof *expected);
    assert_non_null(expected);
    define(problem, expected);
    for (int f = 0; f < 2; f++) {
        outputs answer = solve(problem, family_names[f]);
        for (int64_t i = 0; i < count; i++)
            if (!(fabs((double)answer.o[i] - expected[i]) <= tolerance))
                fail_msg("%s: o[%lld] is %.9g, the definition says %.9g (tolerance %g)", family_names[f], (long long)i,
                         (double)answer.o[i], expected[i], tolerance);
        release(&answer);
    }
    free(expected);
}

static void assert_same_bits(const char *family, const char *name, const float *a, const float *b, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: %s[%lld] is %.9g in one run and %.9g in the other", family, name, (long long)i, (double)a[i],
                     (double)b[i]);
}

static void assert_same_answers(const layer *first, const layer *second) {
    for (int f = 0; f < families_shown(); f++) {
        outputs a = solve(first, family_names[f]), b = solve(second, family_names[f]);
        assert_same_bits(family_names[f], "o", a.o, b.o, elements(first, first->queries));
        assert_same_bits(family_names[f], "dq", a.dq, b.dq, elements(first, first->queries));
        assert_same_bits(family_names[f], "dk", a.dk, b.dk, elements(first, first->keys));
        assert_same_bits(family_names[f], "dv", a.dv, b.dv, elements(first, first->keys));
        release(&a);
        release(&b);
    }
}

static layer draw(uint64_t seed, double mean) {
    xp_random random;
    xp_random_start(&random, seed, 0);
    layer problem = {.batch = 2, .queries = 37, .keys = 53, .heads = 4, .width = 24, .beta = 1};
    problem.q = normal(&random, elements(&problem, problem.queries), mean);
    problem.k = normal(&random, elements(&problem, problem.keys), mean);
    problem.v = normal(&random, elements(&problem, problem.keys), 0);
    problem.d_o = normal(&random, elements(&problem, problem.queries), 0);
    return problem;
}

static void discard(layer *problem) {
    free((void *)problem->q);
    free((void *)problem->k);
    free((void *)problem->v);
    free((void *)problem->d_o);
}

/* ---- the tests --------------------------------------------------------------------------------------------------- */

static void bn_equals_the_definition_when_means_are_100_times_the_deviation(void **state) {
    const int32_t lengths[] = {53, 29};
    layer problem = draw(1, 100);
    problem.bn = true;
    problem.lengths = lengths;
    /* half a unit of the last place of a mean of 100 is 4e-6, in scores of size 1 */
    assert_defined(&problem, 4e-5);
    problem.beta = 0.96f; /* now the scores keep a row constant of (0.04·100)²·sqrt(D) */
    assert_defined(&problem, 4e-4);
    discard(&problem);
}

static void bn_with_sh_takes_its_statistics_from_the_pooled_keys(void **state) {
    const int32_t lengths[] = {50, 7};
    layer problem = draw(2, 3);
    problem.lengths = lengths;
    problem.scale_count = 4;
    memcpy(problem.scales, (int16_t[]){1, 2, 5, 16}, sizeof problem.scales);
    assert_defined(&problem, 2e-5);
    problem.bn = true;
    /* one pooled key left has no deviation: (q - mu)/eps times (k - mu) is the rounding of the mean, enlarged */
    problem.scales[3] = 3;
    assert_defined(&problem, 4e-5);
    discard(&problem);
}

static void sh_of_1_is_plain_attention_bit_for_bit(void **state) {
    const int32_t lengths[] = {53, 17};
    for (int bn = 0; bn < 2; bn++) {
        layer plain = draw(3, 0);
        plain.lengths = lengths;
        plain.bn = bn;
        layer scaled = plain;
        scaled.scale_count = 1;
        scaled.scales[0] = 1;
        assert_same_answers(&plain, &scaled);
        discard(&plain);
    }
}

static void a_grid_pooled_by_1_is_plain_attention_bit_for_bit(void **state) {
    layer plain = draw(4, 0), scaled = plain;
    scaled.scale_count = 2;
    scaled.scales[0] = scaled.scales[1] = 1;
    scaled.grid_height = 4;
    scaled.grid_width = 13;
    scaled.class_token = 1;
    assert_same_answers(&plain, &scaled);
    discard(&plain);
}

static void a_learned_beta_equals_the_same_constant_bit_for_bit(void **state) {
    const int32_t lengths[] = {53, 53};
    layer constant = draw(5, 1), learned;
    constant.lengths = lengths;
    constant.bn = true;
    constant.beta = 0.625f;
    learned = constant;
    learned.learned = true;
    assert_same_answers(&constant, &learned);
    discard(&constant);
}

/* Keys and values behind the length may hold anything: here NaN against zero. */
static void masked_keys_enter_nothing(void **state) {
    const int32_t lengths[] = {31, 1};
    layer clean = draw(6, 2), poisoned = clean;
    const int64_t count = elements(&clean, clean.keys), row = clean.heads * clean.width;
    float *k[2], *v[2];
    for (int i = 0; i < 2; i++) {
        k[i] = malloc((size_t)count * sizeof(float));
        v[i] = malloc((size_t)count * sizeof(float));
        assert_true(k[i] && v[i]);
        memcpy(k[i], clean.k, (size_t)count * sizeof(float));
        memcpy(v[i], clean.v, (size_t)count * sizeof(float));
        for (int64_t at = 0; at < count; at++)
            if (at / row % clean.keys >= lengths[at / row / clean.keys]) k[i][at] = v[i][at] = i ? NAN : 0;
    }
    clean.lengths = poisoned.lengths = lengths;
    for (int form = 0; form < 4; form++) {
        layer with_zero = clean, with_nan = poisoned;
        with_zero.bn = with_nan.bn = form & 1;
        with_zero.scale_count = with_nan.scale_count = form & 2;
        with_zero.scales[0] = with_nan.scales[0] = 1;
        with_zero.scales[1] = with_nan.scales[1] = 4;
        with_zero.k = k[0];
        with_zero.v = v[0];
        with_nan.k = k[1];
        with_nan.v = v[1];
        assert_same_answers(&with_zero, &with_nan);
        for (int f = 0; f < families_shown(); f++) {
            outputs answer = solve(&with_nan, family_names[f]);
            for (int64_t at = 0; at < count; at++) {
                const bool masked = at / row % clean.keys >= lengths[at / row / clean.keys];
                assert_true(masked ? answer.dk[at] == 0 && answer.dv[at] == 0
                                   : isfinite(answer.dk[at]) && isfinite(answer.dv[at]));
            }
            release(&answer);
        }
    }
    for (int i = 0; i < 2; i++) {
        free(k[i]);
        free(v[i]);
    }
    discard(&clean);
}

static void a_grid_is_pooled_in_squares_beside_its_class_token(void **state) {
    /* a token of 100 and the grid 0 1 2 / 3 4 5, in windows of 2 × 2: the second one is only one column wide */
    const float x[7] = {100, 0, 1, 2, 3, 4, 5}, expected[3] = {100, 2, 3.5f};
    for (int f = 0; f < 2; f++) {
        xp_device *device = open_device(family_names[f]);
        xp_graph *graph;
        xp_plan *plan;
        MUST(xp_graph_create(&graph, NULL, false));
        xp_tensor *input = xp_graph_input(graph, "x", XP_F32, 4, (int64_t[]){1, 7, 1, 1}), *counts;
        const xp_attention_pool_attributes pool = {
            .scale_count = 1, .scales = {2}, .grid_height = 2, .grid_width = 3, .class_token = 1};
        xp_tensor *y = xp_attention_pool(graph, input, NULL, &pool, &counts);
        assert_non_null(y);
        assert_int_equal(y->shape[1], 3);
        y->keep = counts->keep = true;
        MUST(xp_plan_create(&plan, device, graph));
        MUST(xp_plan_realise(plan, NULL));
        MUST(xp_plan_write(plan, input, x));
        MUST(xp_plan_run(plan));
        float *values = read_tensor(plan, y);
        int32_t count;
        MUST(xp_plan_read(plan, counts, &count));
        assert_memory_equal(values, expected, sizeof expected);
        assert_int_equal(count, 3);
        free(values);
        xp_plan_close(&plan);
        xp_graph_close(&graph);
        xp_device_close(&device);
    }
}

static void shapes_that_do_not_fit_are_rejected_by_name(void **state) {
    xp_graph *graph;
    MUST(xp_graph_create(&graph, NULL, false));
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 4, (int64_t[]){2, 6, 4, 8}), *q_out, *k_out;
    xp_tensor *narrow = xp_graph_input(graph, "k", XP_F32, 4, (int64_t[]){2, 6, 4, 7});
    xp_attention_pool_attributes pool = {.scale_count = 3, .scales = {1, 2, 4}};
    assert_null(xp_attention_pool(graph, x, NULL, &pool, NULL));
    assert_non_null(strstr(xp_last_error(), "3 scales"));
    pool = (xp_attention_pool_attributes){.scale_count = 1, .scales = {0}};
    assert_null(xp_attention_pool(graph, x, NULL, &pool, NULL));
    assert_non_null(strstr(xp_last_error(), "scale 0"));
    pool = (xp_attention_pool_attributes){.scale_count = 1, .scales = {2}, .grid_height = 2, .grid_width = 2};
    assert_null(xp_attention_pool(graph, x, NULL, &pool, NULL));
    assert_non_null(strstr(xp_last_error(), "grid of 2 × 2"));
    const xp_attention_normalise_attributes attributes = {.beta = 1, .scale = 1, .epsilon = 1e-5f};
    assert_int_equal(xp_attention_normalise(graph, x, narrow, NULL, NULL, NULL, &attributes, &q_out, &k_out),
                     XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "k [2,6,4,7]"));
    xp_graph_close(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bn_equals_the_definition_when_means_are_100_times_the_deviation),
        cmocka_unit_test(bn_with_sh_takes_its_statistics_from_the_pooled_keys),
        cmocka_unit_test(sh_of_1_is_plain_attention_bit_for_bit),
        cmocka_unit_test(a_grid_pooled_by_1_is_plain_attention_bit_for_bit),
        cmocka_unit_test(a_learned_beta_equals_the_same_constant_bit_for_bit),
        cmocka_unit_test(masked_keys_enter_nothing),
        cmocka_unit_test(a_grid_is_pooled_in_squares_beside_its_class_token),
        cmocka_unit_test(shapes_that_do_not_fit_are_rejected_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
