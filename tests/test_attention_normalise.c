/* What Attention-BN's prefix statistics promise, on the device, in both kernel families: the definition itself (written
 * out here in double precision, without the identities that the kernels use), and that nothing sees the future. */
#include "devices.h"
#include "graph/plan.h"
#include "ops/ops.h"

/* As many queries as keys; two query heads for each key head. */
enum { BATCH = 2, ROWS = 67, HEADS = 4, KEY_HEADS = 2, WIDTH = 20, WIDER = WIDTH + 1 };
enum { Q_COUNT = BATCH * ROWS * HEADS * WIDTH, K_COUNT = BATCH * ROWS * KEY_HEADS * WIDTH };

typedef struct answer {
    float q[BATCH * ROWS * HEADS * WIDER], k[BATCH * ROWS * KEY_HEADS * WIDER];
} answer;

static const xp_attention_normalise_attributes CAUSAL = {.beta = 1, .scale = 1, .epsilon = 1e-5f, .prefix = 1};

static void fill(float *values, int count, uint64_t seed, double mean) {
    xp_random random;
    xp_random_start(&random, seed, 0);
    fill_normal(&random, values, count, mean, 1);
}

static void solve(const char *family, const xp_attention_normalise_attributes *attributes, const float *q,
                  const float *k, answer *out) {
    xp_device *device = open_device(family);
    xp_graph *graph;
    xp_plan *plan;
    MUST(xp_graph_create(&graph, NULL, false));
    xp_tensor *q_in = xp_graph_input(graph, "q", XP_F32, 4, (int64_t[]){BATCH, ROWS, HEADS, WIDTH});
    xp_tensor *k_in = xp_graph_input(graph, "k", XP_F32, 4, (int64_t[]){BATCH, ROWS, KEY_HEADS, WIDTH});
    xp_tensor *q_out, *k_out;
    MUST(xp_attention_normalise(graph, q_in, k_in, NULL, NULL, NULL, attributes, &q_out, &k_out));
    q_out->keep = k_out->keep = true;
    MUST(xp_plan_create(&plan, device, graph));
    MUST(xp_plan_realise(plan, NULL));
    MUST(xp_plan_write(plan, q_in, q));
    MUST(xp_plan_write(plan, k_in, k));
    MUST(xp_plan_run(plan));
    MUST(xp_plan_read(plan, q_out, out->q));
    MUST(xp_plan_read(plan, k_out, out->k));
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_device_close(&device);
}

/* ((q_i - beta·mu)/s)·((k_j - beta·mu)/s) with the mean and deviation of keys 0 … i. */
static double score(const float *q, const float *k, double beta, int b, int h, int i, int j) {
    double sum = 0;
    for (int d = 0; d < WIDTH; d++) {
        const float *key = k + ((size_t)b * ROWS * KEY_HEADS + (size_t)(h / (HEADS / KEY_HEADS))) * WIDTH + d;
        const double query = (double)q[(((size_t)b * ROWS + (size_t)i) * HEADS + (size_t)h) * WIDTH + (size_t)d];
        double mean = 0, variance = 0;
        for (int n = 0; n <= i; n++) mean += (double)key[(size_t)n * KEY_HEADS * WIDTH] / (i + 1);
        for (int n = 0; n <= i; n++) variance += pow((double)key[(size_t)n * KEY_HEADS * WIDTH] - mean, 2) / (i + 1);
        sum += (query - beta * mean) * ((double)key[(size_t)j * KEY_HEADS * WIDTH] - beta * mean) /
               (variance + (double)1e-5f);
    }
    return sum;
}

/* How far the device's q'_i·k'_j over columns of `width` are from the definition, in scores of a row that are known up
 * to a constant when the row constant is left out: the first key's score is then the measure. From query `first` on:
 * the few keys before have hardly a deviation, so that scores are as large as 1/epsilon. */
static double worst_score(const answer *found, int width, double beta, const float *q, const float *k, int first) {
    double worst = 0;
    for (int b = 0; b < BATCH; b++)
        for (int h = 0; h < HEADS; h++)
            for (int i = first; i < ROWS; i += 7) {
                double offset = 0;
                for (int j = 0; j <= i; j++) {
                    const float *left = found->q + (((size_t)b * ROWS + (size_t)i) * HEADS + (size_t)h) * (size_t)width;
                    const float *right =
                        found->k + (((size_t)b * ROWS + (size_t)j) * KEY_HEADS + (size_t)(h / (HEADS / KEY_HEADS))) *
                                       (size_t)width;
                    double dot = 0;
                    for (int d = 0; d < width; d++) dot += (double)left[d] * (double)right[d];
                    const double error = dot - score(q, k, beta, b, h, i, j);
                    if (width == WIDTH && j == 0) offset = error;
                    worst = fmax(worst, fabs(error - offset));
                }
            }
    return worst;
}

static void prefix_bn_equals_the_definition_when_means_are_100_times_the_deviation(void **state) {
    static float q[Q_COUNT], k[K_COUNT];
    static answer found;
    fill(q, Q_COUNT, 1, 100);
    fill(k, K_COUNT, 2, 100);
    for (int f = 0; f < 2; f++)
        for (int constant = 0; constant < 2; constant++) {
            xp_attention_normalise_attributes attributes = CAUSAL;
            attributes.constant = constant;
            solve(family_names[f], &attributes, q, k, &found);
            /* half a unit of the last place of a mean of 100 is 4e-6, in scores of size 10 */
            const double worst = worst_score(&found, constant ? WIDER : WIDTH, 1, q, k, 9);
            if (!(worst <= 4e-5)) fail_msg("%s, constant %d: a score is off by %g", family_names[f], constant, worst);
        }
}

static void the_constant_column_completes_the_score(void **state) {
    static float q[Q_COUNT], k[K_COUNT];
    static answer found;
    fill(q, Q_COUNT, 3, 1);
    fill(k, K_COUNT, 4, 1);
    for (int f = 0; f < 2; f++) {
        xp_attention_normalise_attributes attributes = CAUSAL;
        attributes.constant = 1;
        attributes.beta = 0.625f;
        solve(family_names[f], &attributes, q, k, &found);
        const double worst = worst_score(&found, WIDER, 0.625, q, k, 9);
        if (!(worst <= 4e-5)) fail_msg("%s: a score is off by %g", family_names[f], worst);
    }
}

static void a_row_of_prefix_statistics_ignores_the_future_bit_for_bit(void **state) {
    enum { PRESENT = 31 };
    static float q[Q_COUNT], k[2][K_COUNT];
    static answer found[2];
    fill(q, Q_COUNT, 5, 3);
    fill(k[0], K_COUNT, 6, 3);
    memcpy(k[1], k[0], sizeof k[0]);
    for (int i = 0; i < K_COUNT; i++)
        if (i / (KEY_HEADS * WIDTH) % ROWS > PRESENT) k[1][i] = (float)i * -1e3f;
    for (int f = 0; f < 2; f++)
        for (int form = 0; form < 3; form++) {
            xp_attention_normalise_attributes attributes = CAUSAL;
            attributes.both = form == 1;
            attributes.constant = form == 2;
            const int width = form == 2 ? WIDER : WIDTH;
            for (int future = 0; future < 2; future++)
                solve(family_names[f], &attributes, q, k[future], &found[future]);
            for (int b = 0; b < BATCH; b++) {
                const size_t q_first = (size_t)(b * ROWS * HEADS * width),
                             k_first = (size_t)(b * ROWS * KEY_HEADS * width);
                const size_t q_size = (size_t)((PRESENT + 1) * HEADS * width) * sizeof(float);
                const size_t k_size = (size_t)((PRESENT + 1) * KEY_HEADS * width) * sizeof(float);
                assert_memory_equal(found[0].q + q_first, found[1].q + q_first, q_size);
                assert_memory_equal(found[0].k + k_first, found[1].k + k_first, k_size);
                /* and the present counts */
                assert_memory_not_equal(found[0].q + q_first + q_size / sizeof(float),
                                        found[1].q + q_first + q_size / sizeof(float), (size_t)(HEADS * width) * 4);
            }
        }
}

static void what_does_not_fit_is_rejected_by_name(void **state) {
    static const struct {
        xp_attention_normalise_attributes attributes;
        const char *part;
    } rejected[] = {
        {{.constant = 1}, "row constant"},
        {{.prefix = 1, .both = 1, .constant = 1}, "row constant"},
        {{.key_scale_count = 3, .key_scales = {1, 1, 1}}, "3 key scales"},
        {{.key_scale_count = 1}, "key scale 0"},
        {{.key_scale_count = 1, .key_scales = {2}, .prefix = 1, .align_last = 1}, "align_last"},
        {{.packed = 1}, "packed q [2,6,4,8]"},
    };
    xp_graph *graph;
    MUST(xp_graph_create(&graph, NULL, false));
    xp_tensor *q = xp_graph_input(graph, "q", XP_F32, 4, (int64_t[]){2, 6, 4, 8}), *q_out, *k_out;
    xp_tensor *k = xp_graph_input(graph, "k", XP_F32, 4, (int64_t[]){2, 5, 2, 8});
    xp_tensor *three = xp_graph_input(graph, "k", XP_F32, 4, (int64_t[]){2, 5, 3, 8});
    xp_tensor *lengths = xp_graph_input(graph, "lengths", XP_I32, 1, (int64_t[]){3});
    xp_tensor *beta = xp_graph_input(graph, "beta", XP_F32, 1, (int64_t[]){4});
    for (size_t i = 0; i < sizeof rejected / sizeof rejected[0]; i++) {
        assert_int_not_equal(
            xp_attention_normalise(graph, q, k, NULL, NULL, NULL, &rejected[i].attributes, &q_out, &k_out), XP_OK);
        if (!strstr(xp_last_error(), rejected[i].part)) fail_msg("%s", xp_last_error());
    }
    assert_int_not_equal(xp_attention_normalise(graph, q, three, NULL, NULL, NULL, &CAUSAL, &q_out, &k_out), XP_OK);
    assert_non_null(strstr(xp_last_error(), "k [2,5,3,8]"));
    assert_int_not_equal(xp_attention_normalise(graph, q, k, NULL, lengths, NULL, &CAUSAL, &q_out, &k_out), XP_OK);
    assert_non_null(strstr(xp_last_error(), "query_lengths [3]"));
    assert_int_not_equal(xp_attention_normalise(graph, q, k, lengths, NULL, NULL, &CAUSAL, &q_out, &k_out), XP_OK);
    assert_non_null(strstr(xp_last_error(), "key_lengths [3]"));
    assert_int_not_equal(xp_attention_normalise(graph, q, k, NULL, NULL, beta, &CAUSAL, &q_out, &k_out), XP_OK);
    assert_non_null(strstr(xp_last_error(), "2 key heads"));
    xp_graph_close(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefix_bn_equals_the_definition_when_means_are_100_times_the_deviation),
        cmocka_unit_test(the_constant_column_completes_the_score),
        cmocka_unit_test(a_row_of_prefix_statistics_ignores_the_future_bit_for_bit),
        cmocka_unit_test(what_does_not_fit_is_rejected_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
