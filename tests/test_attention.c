/* Truths of attention on the device, for both kernel families: agreement with the definition, and what must not matter.
 * Few variants serve all tests, since the time goes into compiling them. */
#include "devices.h"
#include "graph/operation.h"
#include "graph/plan.h"
#include "ops/ops.h"
#include "reference/reference.h"

typedef struct shape {
    int64_t B, H, N, M, D, E;
    int counts_rank; /* 0: none */
    float dropout;
    bool packed; /* q, k and v are views of one tensor, and so are their gradients; N = M, D = E */
} shape;

/* A problem and its answers. All arrays dense: q, dq [B,N,H,D]; k, dk [B,M,H,D]; v, dv [B,M,H,E]; o, d_o [B,N,H,E];
 * lse [B,H,N]; counts [B] or [B,H]. */
enum { Q, K, V, D_O, O, LSE, DQ, DK, DV, ARRAYS };
static const char *const array_names[ARRAYS] = {"q", "k", "v", "d_o", "o", "lse", "dq", "dk", "dv"};
typedef struct problem {
    shape s;
    int64_t size[ARRAYS];
    float *array[ARRAYS];
    int32_t counts[64];
} problem;

void xp_reference_attention(const xp_reference_call *call);
void xp_reference_attention_backward(const xp_reference_call *call);

static const int32_t random_state[4] = {11, 0, 5, 0};

static problem make(shape s, uint64_t seed) {
    problem p = {.s = s};
    const int64_t q = s.B * s.N * s.H * s.D, k = s.B * s.M * s.H * s.D, v = s.B * s.M * s.H * s.E;
    const int64_t o = s.B * s.N * s.H * s.E, lse = s.B * s.H * s.N;
    const int64_t sizes[ARRAYS] = {q, k, v, o, o, lse, q, k, v};
    xp_random random;
    xp_random_start(&random, seed, 1);
    for (int i = 0; i < ARRAYS; i++) {
        p.size[i] = sizes[i];
        p.array[i] = calloc((size_t)sizes[i], sizeof(float));
        if (i <= D_O) fill_normal(&random, p.array[i], sizes[i], 0, 1);
    }
    for (int i = 0; i < 64; i++) p.counts[i] = (int32_t)xp_random_below(&random, (uint32_t)s.M + 1);
    return p;
}

static void release(problem *p) {
    for (int i = 0; i < ARRAYS; i++) free(p->array[i]);
}

/* Rows of k (or v) of one sample and head. */
static float *key_row(problem *p, int array, int64_t b, int64_t h, int64_t j) {
    const int64_t width = array == V || array == DV ? p->s.E : p->s.D;
    return p->array[array] + ((b * p->s.M + j) * p->s.H + h) * width;
}

/* Between three dense arrays and one [B,N,3,H,D]. */
static void pack(problem *p, const int arrays[3], float *packed, bool into) {
    const int64_t row = p->s.H * p->s.D;
    for (int64_t r = 0; r < p->s.B * p->s.N; r++)
        for (int part = 0; part < 3; part++) {
            float *dense = p->array[arrays[part]] + r * row, *mixed = packed + (r * 3 + part) * row;
            memcpy(into ? mixed : dense, into ? dense : mixed, (size_t)row * sizeof(float));
        }
}

typedef struct nodes {
    xp_graph *graph;
    xp_tensor *inputs[4];    /* q, k, v (or the packed tensor, NULL, NULL) and d_o */
    xp_tensor *gradients[3]; /* likewise */
    xp_tensor *counts, *o;
} nodes;

static nodes build(const problem *p, float scale) {
    const shape s = p->s;
    nodes n = {0};
    xp_tensor *qkv[3];
    MUST(xp_graph_create(&n.graph, NULL, true));
    if (s.packed) {
        HAVE(n.inputs[0] = xp_graph_input(n.graph, "qkv", XP_F32, 5, (int64_t[]){s.B, s.N, 3, s.H, s.D}));
        n.inputs[0]->needs_gradient = true;
        MUST(xp_graph_split(n.graph, n.inputs[0], 2, qkv));
    } else {
        for (int i = 0; i < 3; i++) {
            const int64_t sizes[] = {s.B, i == Q ? s.N : s.M, s.H, i == V ? s.E : s.D};
            HAVE(qkv[i] = n.inputs[i] = xp_graph_input(n.graph, array_names[i], XP_F32, 4, sizes));
            qkv[i]->needs_gradient = true;
        }
    }
    if (s.counts_rank) HAVE(n.counts = xp_graph_input(n.graph, "counts", XP_I32, s.counts_rank, (int64_t[]){s.B, s.H}));
    HAVE(n.o = xp_attention(n.graph,
                            &(xp_attention_inputs){.q = qkv[0], .k = qkv[1], .v = qkv[2], .key_lengths = n.counts},
                            &(xp_attention_attributes){.scale = scale, .left = -1, .right = -1}, s.dropout, NULL));
    HAVE(n.inputs[3] = xp_graph_input(n.graph, "d_o", XP_F32, 4, n.o->shape));
    MUST(xp_graph_differentiate(n.graph, 1, &n.o, &n.inputs[3], s.packed ? 1 : 3, n.inputs, n.gradients));
    for (int i = 0; i < 3; i++)
        if (n.gradients[i]) n.gradients[i]->keep = true;
    n.o->keep = n.o->producer->outputs[1]->keep = true;
    return n;
}

static void run(problem *p, int family, float scale) {
    nodes n = build(p, scale);
    xp_plan *plan;
    MUST(xp_plan_create(&plan, devices[family], n.graph));
    MUST(xp_plan_realise(plan, NULL));
    const int64_t row = 3 * p->s.H * p->s.D;
    float *packed = malloc((size_t)(p->s.B * p->s.N * row) * sizeof(float));
    if (p->s.packed) {
        pack(p, (int[]){Q, K, V}, packed, true);
        MUST(xp_plan_write(plan, n.inputs[0], packed));
    } else {
        for (int i = 0; i < 3; i++) MUST(xp_plan_write(plan, n.inputs[i], p->array[i]));
    }
    MUST(xp_plan_write(plan, n.inputs[3], p->array[D_O]));
    if (n.counts) MUST(xp_plan_write(plan, n.counts, p->counts));
    if (n.graph->random_state) MUST(xp_plan_write(plan, n.graph->random_state, random_state));
    MUST(xp_plan_run(plan));
    MUST(xp_plan_read(plan, n.o, p->array[O]));
    MUST(xp_plan_read(plan, n.o->producer->outputs[1], p->array[LSE]));
    if (p->s.packed) {
        MUST(xp_plan_read(plan, n.gradients[0], packed));
        pack(p, (int[]){DQ, DK, DV}, packed, false);
    } else {
        for (int i = 0; i < 3; i++) MUST(xp_plan_read(plan, n.gradients[i], p->array[DQ + i]));
    }
    free(packed);
    xp_plan_close(&plan);
    xp_graph_close(&n.graph);
}

static void assert_matches_the_definition(problem *p, int family, float scale) {
    double *exact[ARRAYS], *magnitude[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        exact[i] = calloc((size_t)p->size[i], sizeof(double));
        magnitude[i] = calloc((size_t)p->size[i], sizeof(double));
        for (int64_t e = 0; i <= D_O && e < p->size[i]; e++) exact[i][e] = p->array[i][e];
    }
    shape dense = p->s;
    dense.packed = false;
    problem unpacked = *p;
    unpacked.s = dense;
    nodes n = build(&unpacked, scale);
    const int32_t *counts = p->s.counts_rank ? p->counts : NULL;
    xp_reference_call forward = {.node = n.o->producer,
                                 .inputs = {exact[Q], exact[K], exact[V], counts, random_state},
                                 .outputs = {exact[O], exact[LSE]},
                                 .magnitudes = {magnitude[O], magnitude[LSE]}};
    xp_reference_attention(&forward);
    xp_reference_call backward = {
        .node = n.gradients[0]->producer,
        .inputs = {exact[Q], exact[K], exact[V], exact[O], exact[LSE], exact[D_O], NULL, counts, random_state},
        .outputs = {exact[DQ], exact[DK], exact[DV]},
        .magnitudes = {magnitude[DQ], magnitude[DK], magnitude[DV]}};
    xp_reference_attention_backward(&backward);
    for (int i = O; i < ARRAYS; i++)
        for (int64_t e = 0; e < p->size[i]; e++) {
            const double got = p->array[i][e], want = exact[i][e], bound = 5e-7 * magnitude[i][e] + 1e-30;
            if (got != want && !(fabs(got - want) <= bound))
                fail_msg("%s B=%d H=%d N=%d M=%d D=%d E=%d counts=%d dropout=%g packed=%d: %s[%ld] is %.9g, not %.9g "
                         "(bound %.3g)",
                         family_names[family], (int)p->s.B, (int)p->s.H, (int)p->s.N, (int)p->s.M, (int)p->s.D,
                         (int)p->s.E, p->s.counts_rank, (double)p->s.dropout, p->s.packed, array_names[i], (long)e, got,
                         want, bound);
        }
    for (int i = 0; i < ARRAYS; i++) free(exact[i]), free(magnitude[i]);
    xp_graph_close(&n.graph);
}

static float usual_scale(shape s) {
    return 1.0f / sqrtf((float)s.D);
}

static void both_passes_match_the_definition(void **state) {
    static const shape shapes[] = {{2, 2, 70, 80, 64, 64, 0, 0, false},
                                   {1, 1, 1, 1, 1, 1, 0, 0, false},
                                   {1, 2, 65, 146, 24, 17, 2, 0, false},
                                   {2, 3, 29, 29, 16, 16, 1, 0.3f, true},
                                   {4, 16, 65, 65, 16, 16, 0, 0, true}};
    for (int family = 0; family < FAMILIES; family++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            problem p = make(shapes[i], 40 + i);
            run(&p, family, usual_scale(p.s));
            assert_matches_the_definition(&p, family, usual_scale(p.s));
            release(&p);
        }
}

static void the_order_of_keys_does_not_matter(void **state) {
    const shape s = {1, 2, 37, 90, 16, 16, 0, 0, false};
    for (int family = 0; family < FAMILIES; family++) {
        problem straight = make(s, 3), turned = make(s, 3);
        for (int64_t j = 0; j < s.M; j++)
            for (int64_t h = 0; h < s.H; h++)
                for (int array = K; array <= V; array++)
                    memcpy(key_row(&turned, array, 0, h, s.M - 1 - j), key_row(&straight, array, 0, h, j),
                           (size_t)s.D * sizeof(float));
        run(&straight, family, usual_scale(s));
        run(&turned, family, usual_scale(s));
        for (int array = O; array <= DQ; array++)
            for (int64_t e = 0; e < straight.size[array]; e++)
                assert_float_equal(straight.array[array][e], turned.array[array][e], 5e-6);
        for (int64_t j = 0; j < s.M; j++)
            for (int64_t h = 0; h < s.H; h++)
                for (int array = DK; array <= DV; array++)
                    for (int64_t d = 0; d < s.D; d++)
                        assert_float_equal(key_row(&straight, array, 0, h, j)[d],
                                           key_row(&turned, array, 0, h, s.M - 1 - j)[d], 5e-6);
        release(&straight);
        release(&turned);
    }
}

static void nothing_behind_the_count_is_read(void **state) {
    const shape s = {3, 2, 20, 83, 24, 17, 2, 0, false};
    for (int family = 0; family < FAMILIES; family++) {
        problem p = make(s, 5);
        const int32_t counts[] = {83, 0, 1, 72, 73, 40};
        memcpy(p.counts, counts, sizeof counts);
        for (int64_t b = 0; b < s.B; b++)
            for (int64_t h = 0; h < s.H; h++)
                for (int64_t j = counts[b * s.H + h]; j < s.M; j++) {
                    for (int64_t d = 0; d < s.D; d++) key_row(&p, K, b, h, j)[d] = NAN;
                    for (int64_t e = 0; e < s.E; e++) key_row(&p, V, b, h, j)[e] = NAN;
                }
        run(&p, family, usual_scale(s));
        for (int array = O; array < ARRAYS; array++)
            for (int64_t e = 0; e < p.size[array]; e++) assert_false(isnan(p.array[array][e]));
        for (int64_t b = 0; b < s.B; b++)
            for (int64_t h = 0; h < s.H; h++)
                for (int64_t j = counts[b * s.H + h]; j < s.M; j++) {
                    for (int64_t d = 0; d < s.D; d++) assert_true(key_row(&p, DK, b, h, j)[d] == 0);
                    for (int64_t e = 0; e < s.E; e++) assert_true(key_row(&p, DV, b, h, j)[e] == 0);
                }
        release(&p);
    }
}

static void a_row_without_keys_is_zero_and_has_no_gradient(void **state) {
    const shape s = {2, 3, 18, 10, 24, 17, 2, 0, false};
    for (int family = 0; family < FAMILIES; family++) {
        problem p = make(s, 6);
        memset(p.counts, 0, sizeof p.counts);
        run(&p, family, usual_scale(s));
        for (int array = O; array < ARRAYS; array++)
            for (int64_t e = 0; e < p.size[array]; e++)
                assert_true(p.array[array][e] == (array == LSE ? -INFINITY : 0.0f));
        release(&p);
    }
}

static void huge_logits_choose_one_key(void **state) {
    const shape s = {1, 1, 30, 100, 16, 16, 0, 0, false};
    for (int family = 0; family < FAMILIES; family++) {
        problem p = make(s, 7);
        for (int64_t e = 0; e < p.size[Q]; e++) p.array[Q][e] = e % s.D ? 0.0f : e / s.D % 2 ? 100.0f : -100.0f;
        for (int64_t j = 0; j < s.M; j++) key_row(&p, K, 0, 0, j)[0] = 2.0f * (float)(j - 50); /* logits to ±10^4 */
        run(&p, family, 1.0f);
        for (int64_t i = 0; i < s.N; i++)
            for (int64_t e = 0; e < s.E; e++)
                assert_true(p.array[O][i * s.E + e] == p.array[V][(i % 2 ? s.M - 1 : 0) * s.E + e]);
        for (int array = DQ; array <= DK; array++)
            for (int64_t e = 0; e < p.size[array]; e++) assert_true(fabsf(p.array[array][e]) < 2e-2f);
        release(&p);
    }
}

static void a_single_key_is_copied(void **state) {
    const shape s = {2, 2, 5, 1, 16, 16, 0, 0, false};
    for (int family = 0; family < FAMILIES; family++) {
        problem p = make(s, 8);
        run(&p, family, usual_scale(s));
        for (int64_t b = 0; b < s.B; b++)
            for (int64_t i = 0; i < s.N; i++)
                assert_memory_equal(p.array[O] + (b * s.N + i) * s.H * s.E, p.array[V] + b * s.H * s.E,
                                    (size_t)(s.H * s.E) * sizeof(float));
        release(&p);
    }
}

static void two_runs_give_the_same_bits(void **state) {
    const shape s = {2, 3, 130, 130, 16, 16, 1, 0.2f, true};
    for (int family = 0; family < FAMILIES; family++) {
        problem first = make(s, 9), second = make(s, 9);
        run(&first, family, usual_scale(s));
        run(&second, family, usual_scale(s));
        for (int array = O; array < ARRAYS; array++)
            assert_memory_equal(first.array[array], second.array[array], (size_t)first.size[array] * sizeof(float));
        release(&first);
        release(&second);
    }
}

static void shapes_that_do_not_fit_are_rejected_by_name(void **state) {
    xp_graph *graph;
    MUST(xp_graph_create(&graph, NULL, true));
    xp_tensor *q = xp_graph_input(graph, "my queries", XP_F32, 4, (int64_t[]){2, 5, 3, 8});
    xp_tensor *k = xp_graph_input(graph, "my keys", XP_F32, 4, (int64_t[]){2, 6, 3, 9});
    xp_tensor *v = xp_graph_input(graph, "my values", XP_F32, 4, (int64_t[]){2, 5, 3, 8});
    xp_tensor *wide = xp_graph_input(graph, "wide", XP_F32, 4, (int64_t[]){2, 5, 3, 257});
    xp_tensor *lengths = xp_graph_input(graph, "lengths", XP_I32, 1, (int64_t[]){3});
    assert_null(xp_attention(graph, &(xp_attention_inputs){.q = q, .k = k, .v = v},
                             &(xp_attention_attributes){.scale = 1, .left = -1, .right = -1}, 0, NULL));
    assert_non_null(strstr(xp_last_error(), "my keys [2,6,3,9]"));
    assert_null(xp_attention(graph, &(xp_attention_inputs){.q = k, .k = k, .v = v},
                             &(xp_attention_attributes){.scale = 1, .left = -1, .right = -1}, 0, NULL));
    assert_non_null(strstr(xp_last_error(), "my values"));
    assert_null(xp_attention(graph, &(xp_attention_inputs){.q = wide, .k = wide, .v = v},
                             &(xp_attention_attributes){.scale = 1, .left = -1, .right = -1}, 0, NULL));
    assert_non_null(strstr(xp_last_error(), "too wide"));
    assert_null(xp_attention(graph, &(xp_attention_inputs){.q = q, .k = q, .v = v, .key_lengths = lengths},
                             &(xp_attention_attributes){.scale = 1, .left = -1, .right = -1}, 0, NULL));
    assert_non_null(strstr(xp_last_error(), "lengths [3]"));
    assert_null(xp_attention(graph, &(xp_attention_inputs){.q = q, .k = q, .v = v},
                             &(xp_attention_attributes){.scale = 1, .left = -1, .right = -1}, 1.0f, NULL));
    assert_null(xp_attention(graph, &(xp_attention_inputs){.q = NULL, .k = q, .v = v},
                             &(xp_attention_attributes){.scale = 1, .left = -1, .right = -1}, 0, NULL));
    xp_graph_close(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_match_the_definition),
        cmocka_unit_test(the_order_of_keys_does_not_matter),
        cmocka_unit_test(nothing_behind_the_count_is_read),
        cmocka_unit_test(a_row_without_keys_is_zero_and_has_no_gradient),
        cmocka_unit_test(huge_logits_choose_one_key),
        cmocka_unit_test(a_single_key_is_copied),
        cmocka_unit_test(two_runs_give_the_same_bits),
        cmocka_unit_test(shapes_that_do_not_fit_are_rejected_by_name),
    };
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
