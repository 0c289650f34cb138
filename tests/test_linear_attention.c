/* Truths of linear attention on the device, for both kernel families: agreement with a weight for every pair of query
 * and key, what must not matter, and memory that grows with the length alone. */
#include "devices.h"
#include "graph/plan.h"
#include "ops/ops.h"

/* ---- one problem ------------------------------------------------------------------------------------------------- */

typedef struct layer {
    int64_t B, N, M, H, G, D, E;
    bool causal;
    const int32_t *key_lengths, *query_lengths; /* [B,H], [B], or NULL */
} layer;

/* All dense: q, dq [B,N,H,D]; k, dk [B,M,G,D]; v, dv [B,M,G,E]; o, d_o [B,N,H,E]. */
enum { Q, K, V, D_O, O, DQ, DK, DV, ARRAYS };
static const char *const array_names[ARRAYS] = {"q", "k", "v", "d_o", "o", "dq", "dk", "dv"};
typedef struct arrays {
    int64_t size[ARRAYS];
    float *of[ARRAYS];
} arrays;

static arrays make(const layer *l, uint64_t seed) {
    const int64_t q = l->B * l->N * l->H * l->D, k = l->B * l->M * l->G * l->D, v = l->B * l->M * l->G * l->E;
    const int64_t o = l->B * l->N * l->H * l->E;
    arrays a = {.size = {q, k, v, o, o, q, k, v}};
    xp_random random;
    xp_random_start(&random, seed, 1);
    for (int i = 0; i < ARRAYS; i++) {
        HAVE(a.of[i] = calloc((size_t)a.size[i], sizeof(float)));
        if (i <= D_O) fill_normal(&random, a.of[i], a.size[i], 0, 1);
    }
    return a;
}

static void release(arrays *a) {
    for (int i = 0; i < ARRAYS; i++) free(a->of[i]);
}

typedef struct nodes {
    xp_graph *graph;
    xp_tensor *inputs[4], *gradients[3], *key_lengths, *query_lengths, *o;
} nodes;

static nodes build(const layer *l) {
    nodes n = {0};
    MUST(xp_graph_create(&n.graph, NULL, true));
    const int64_t shapes[3][4] = {{l->B, l->N, l->H, l->D}, {l->B, l->M, l->G, l->D}, {l->B, l->M, l->G, l->E}};
    for (int i = 0; i < 3; i++) {
        HAVE(n.inputs[i] = xp_graph_input(n.graph, array_names[i], XP_F32, 4, shapes[i]));
        n.inputs[i]->needs_gradient = true;
    }
    if (l->key_lengths)
        HAVE(n.key_lengths = xp_graph_input(n.graph, "key_lengths", XP_I32, 2, (int64_t[]){l->B, l->H}));
    if (l->query_lengths)
        HAVE(n.query_lengths = xp_graph_input(n.graph, "query_lengths", XP_I32, 1, (int64_t[]){l->B}));
    const xp_linear_attention_attributes attributes = {
        .features = XP_FEATURE_ELU, .normaliser = XP_NORMALISER_SUM, .causal = l->causal, .scale = 1.0f};
    HAVE(n.o = xp_linear_attention(n.graph, n.inputs[Q], n.inputs[K], n.inputs[V], n.key_lengths, n.query_lengths,
                                   &attributes));
    HAVE(n.inputs[D_O] = xp_graph_input(n.graph, "d_o", XP_F32, 4, n.o->shape));
    MUST(xp_graph_differentiate(n.graph, 1, &n.o, &n.inputs[D_O], 3, n.inputs, n.gradients));
    n.o->keep = true;
    for (int i = 0; i < 3; i++) n.gradients[i]->keep = true;
    return n;
}

static void run(const layer *l, arrays *a, int family) {
    nodes n = build(l);
    xp_plan *plan;
    MUST(xp_plan_create(&plan, devices[family], n.graph));
    MUST(xp_plan_realise(plan, NULL));
    for (int i = Q; i <= D_O; i++) MUST(xp_plan_write(plan, n.inputs[i], a->of[i]));
    if (n.key_lengths) MUST(xp_plan_write(plan, n.key_lengths, l->key_lengths));
    if (n.query_lengths) MUST(xp_plan_write(plan, n.query_lengths, l->query_lengths));
    MUST(xp_plan_run(plan));
    MUST(xp_plan_read(plan, n.o, a->of[O]));
    for (int i = 0; i < 3; i++) MUST(xp_plan_read(plan, n.gradients[i], a->of[DQ + i]));
    xp_plan_close(&plan);
    xp_graph_close(&n.graph);
}

/* ---- the definition, written out --------------------------------------------------------------------------------- */

static double feature(double x) {
    return x > 0 ? x + 1 : exp(x);
}

static double feature_slope(double x) {
    return x > 0 ? 1 : exp(x);
}

/* The answers of one query in double precision: o into `answer` (others untouched), gradients added to it. */
static void add_query(const layer *l, const arrays *a, int64_t b, int64_t h, int64_t i, double *const *answer) {
    const int64_t g = h / (l->H / l->G), D = l->D, E = l->E;
    const float *q = a->of[Q] + ((b * l->N + i) * l->H + h) * D, *d_o = a->of[D_O] + ((b * l->N + i) * l->H + h) * E;
    double *o = answer[O] + ((b * l->N + i) * l->H + h) * E, *dq = answer[DQ] + ((b * l->N + i) * l->H + h) * D;
    int64_t seen = l->key_lengths ? l->key_lengths[b * l->H + h] : l->M;
    if (l->causal && i + 1 < seen) seen = i + 1;
    if (l->query_lengths && i >= l->query_lengths[b]) return;
    double z = 0;
    for (int64_t j = 0; j < seen; j++) {
        const float *k = a->of[K] + ((b * l->M + j) * l->G + g) * D, *v = a->of[V] + ((b * l->M + j) * l->G + g) * E;
        double weight = 0;
        for (int64_t d = 0; d < D; d++) weight += feature(q[d]) * feature(k[d]);
        z += weight;
        for (int64_t e = 0; e < E; e++) o[e] += weight * v[e];
    }
    for (int64_t e = 0; e < E && z != 0; e++) o[e] /= z;
    for (int64_t j = 0; j < seen; j++) {
        const int64_t row = (b * l->M + j) * l->G + g;
        const float *k = a->of[K] + row * D, *v = a->of[V] + row * E;
        double weight = 0, slope = 0;
        for (int64_t d = 0; d < D; d++) weight += feature(q[d]) * feature(k[d]) / z;
        for (int64_t e = 0; e < E; e++) {
            answer[DV][row * E + e] += weight * d_o[e];
            slope += d_o[e] * (v[e] - o[e]) / z;
        }
        for (int64_t d = 0; d < D; d++) {
            dq[d] += slope * feature(k[d]) * feature_slope(q[d]);
            answer[DK][row * D + d] += slope * feature(q[d]) * feature_slope(k[d]);
        }
    }
}

static void assert_equals_the_quadratic_form(const layer *l, const arrays *a, int family) {
    double *answer[ARRAYS] = {0};
    for (int i = O; i < ARRAYS; i++) HAVE(answer[i] = calloc((size_t)a->size[i], sizeof(double)));
    for (int64_t b = 0; b < l->B; b++)
        for (int64_t h = 0; h < l->H; h++)
            for (int64_t i = 0; i < l->N; i++) add_query(l, a, b, h, i, answer);
    for (int i = O; i < ARRAYS; i++) {
        for (int64_t e = 0; e < a->size[i]; e++)
            if (!(fabs((double)a->of[i][e] - answer[i][e]) <= 1e-5 * fmax(1, fabs(answer[i][e]))))
                fail_msg("%s N=%d M=%d H=%d G=%d causal=%d: %s[%ld] is %.9g, not %.9g", family_names[family], (int)l->N,
                         (int)l->M, (int)l->H, (int)l->G, l->causal, array_names[i], (long)e, (double)a->of[i][e],
                         answer[i][e]);
        free(answer[i]);
    }
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void both_passes_equal_the_quadratic_form(void **state) {
    static const int32_t per_head[] = {150, 0, 64, 129, 1, 150, 65, 100}, queries[] = {170, 33};
    static const layer layers[] = {{2, 170, 150, 4, 2, 16, 16, false, per_head, queries},
                                   {2, 170, 150, 4, 2, 16, 16, true, per_head, queries}};
    for (int family = 0; family < FAMILIES; family++)
        for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
            arrays a = make(&layers[i], 40 + i);
            for (int64_t b = 0; b < 2; b++) /* what no head reads: behind the longest of a group */
                for (int64_t g = 0; g < 2; g++) {
                    const int32_t *pair = per_head + b * 4 + g * 2;
                    for (int64_t j = pair[0] > pair[1] ? pair[0] : pair[1]; j < 150; j++)
                        for (int64_t d = 0; d < 16; d++)
                            a.of[K][((b * 150 + j) * 2 + g) * 16 + d] = a.of[V][((b * 150 + j) * 2 + g) * 16 + d] = NAN;
                }
            for (int64_t e = 33 * 64; e < 170 * 64; e++) a.of[Q][170 * 64 + e] = a.of[D_O][170 * 64 + e] = NAN;
            run(&layers[i], &a, family);
            assert_equals_the_quadratic_form(&layers[i], &a, family);
            release(&a);
        }
}

/* So many heads that a chunk is two blocks long, or the whole length. */
static void long_chunks_equal_the_quadratic_form(void **state) {
    static const layer layers[] = {{4, 70, 130, 8, 8, 8, 8, false, NULL, NULL},
                                   {8, 130, 70, 8, 8, 4, 4, false, NULL, NULL}};
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        arrays a = make(&layers[i], 50 + i);
        run(&layers[i], &a, WIDE);
        assert_equals_the_quadratic_form(&layers[i], &a, WIDE);
        release(&a);
    }
}

static void a_causal_row_ignores_the_future_bit_for_bit(void **state) {
    static const int32_t all[] = {200, 200}; /* the variant of the test above, whose compilation costs more than runs */
    const layer l = {1, 200, 200, 2, 1, 16, 16, true, all, all};
    const int64_t cuts[] = {1, 63, 64, 65, 131};
    for (int family = 0; family < FAMILIES; family++) {
        arrays straight = make(&l, 7);
        run(&l, &straight, family);
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
            arrays other = make(&l, 7);
            const int64_t past = cuts[c];
            for (int64_t e = past * 16; e < 200 * 16; e++) {
                other.of[K][e] = 50 - 3 * other.of[K][e];
                other.of[V][e] = 1e3f * other.of[V][e];
            }
            run(&l, &other, family);
            const size_t bytes = (size_t)(past * 2 * 16) * sizeof(float);
            if (memcmp(straight.of[O], other.of[O], bytes) != 0 || memcmp(straight.of[DQ], other.of[DQ], bytes) != 0)
                fail_msg("%s: rows before %d see later keys", family_names[family], (int)past);
            assert_memory_not_equal(straight.of[O] + past * 32, other.of[O] + past * 32, 32 * sizeof(float));
            release(&other);
        }
        release(&straight);
    }
}

static void memory_grows_with_the_length_alone(void **state) {
    for (int family = 0; family < FAMILIES; family++)
        for (int causal = 0; causal < 2; causal++) {
            const layer l = {1, 16384, 16384, 2, 2, 32, 32, causal, NULL, NULL};
            nodes n = build(&l);
            xp_plan *plan;
            xp_plan_summary summary;
            MUST(xp_plan_create(&plan, devices[family], n.graph));
            xp_plan_summarise(plan, &summary);
            const size_t tensors = 4 * sizeof(float) * 16384 * 2 * 32;
            print_message("%s causal=%d N=16384 H=2 D=E=32: arena %zu bytes, %.2f of q, k, v and o\n",
                          family_names[family], causal, summary.arena_bytes,
                          (double)summary.arena_bytes / (double)tensors);
            /* q, k, v, d_o and their counterparts are twice that; states, z and terms are the rest */
            assert_true(summary.arena_bytes < 3 * tensors);
            xp_plan_close(&plan);
            xp_graph_close(&n.graph);
        }
}

static void what_does_not_fit_is_rejected_by_name(void **state) {
    xp_graph *graph;
    xp_linear_attention_attributes attributes = {.features = XP_FEATURE_ELU, .scale = 1.0f};
    MUST(xp_graph_create(&graph, NULL, true));
    xp_tensor *q = xp_graph_input(graph, "q", XP_F32, 4, (int64_t[]){2, 5, 4, 8});
    xp_tensor *k = xp_graph_input(graph, "k", XP_F32, 4, (int64_t[]){2, 5, 2, 8});
    xp_tensor *three = xp_graph_input(graph, "three", XP_F32, 4, (int64_t[]){2, 5, 3, 8});
    xp_tensor *wide = xp_graph_input(graph, "wide", XP_F32, 4, (int64_t[]){2, 5, 2, 257});
    xp_tensor *lengths = xp_graph_input(graph, "lengths", XP_I32, 2, (int64_t[]){2, 2});
    HAVE(xp_linear_attention(graph, q, k, k, NULL, NULL, &attributes));
    assert_null(xp_linear_attention(graph, q, three, three, NULL, NULL, &attributes));
    assert_non_null(strstr(xp_last_error(), "3 heads of keys do not divide 4"));
    assert_null(xp_linear_attention(graph, q, k, wide, NULL, NULL, &attributes));
    assert_non_null(strstr(xp_last_error(), "too wide"));
    assert_null(xp_linear_attention(graph, q, k, k, lengths, NULL, &attributes));
    assert_non_null(strstr(xp_last_error(), "key lengths lengths [2,2]"));
    attributes.features = 9;
    assert_null(xp_linear_attention(graph, q, k, k, NULL, NULL, &attributes));
    assert_non_null(strstr(xp_last_error(), "feature map 9"));
    xp_graph_close(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_equal_the_quadratic_form),
        cmocka_unit_test(long_chunks_equal_the_quadratic_form),
        cmocka_unit_test(a_causal_row_ignores_the_future_bit_for_bit),
        cmocka_unit_test(memory_grows_with_the_length_alone),
        cmocka_unit_test(what_does_not_fit_is_rejected_by_name),
    };
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
