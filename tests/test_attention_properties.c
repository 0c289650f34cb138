/* Truths about attention's patterns, masks and groups on the device, in both families: two ways to say the same thing
 * give the same numbers, and edges give the right ones. */
#include "devices.h"
#include "graph/plan.h"
#include "ops/ops.h"

/* ---- a problem and its answers ----------------------------------------------------------------------------------- */

enum { Q, K, V, D_O, ARRAYS };
enum { O, LSE, DQ, DK, DV, D_BIAS, ANSWERS };
static const char *const answer_names[] = {"o", "lse", "dq", "dk", "dv", "d_bias"};

typedef struct problem {
    int64_t B, H, G, N, M, D, E; /* of the tensors: 1, …, T, U when packed */
    xp_attention_attributes attributes;
    float *arrays[ARRAYS];
    int32_t *key_lengths, *query_lengths; /* [B], or starts [S+1]; NULL: all */
    bool key_lengths_by_head;             /* [B,H] */
    int64_t samples;                      /* S, when packed */
    int32_t *mask;
    int64_t mask_shape[4];
    float *bias; /* [1,H,N,M] */
} problem;

typedef struct answers {
    float *of[ANSWERS];
    int64_t count[ANSWERS];
} answers;

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes);
    assert_non_null(memory);
    return memory;
}

static int64_t array_count(const problem *p, int array) {
    const int64_t query_side = p->B * p->N * p->H, key_side = p->B * p->M * p->G;
    return array == Q   ? query_side * p->D
           : array == K ? key_side * p->D
           : array == V ? key_side * p->E
                        : query_side * p->E;
}

static problem make(int64_t B, int64_t H, int64_t G, int64_t N, int64_t M, int64_t D, int64_t E, double deviation) {
    problem p = {B, H, G, N, M, D, E, xp_attention_plain((float)(1 / sqrt((double)D)))};
    xp_random random;
    xp_random_start(&random, 11, 3);
    for (int a = 0; a < ARRAYS; a++) {
        const int64_t count = array_count(&p, a);
        p.arrays[a] = allocate((size_t)count * sizeof(float));
        fill_normal(&random, p.arrays[a], count, 0, a == Q || a == K ? deviation : 1);
    }
    return p;
}

static void release(problem *p) {
    for (int a = 0; a < ARRAYS; a++) free(p->arrays[a]);
    free(p->key_lengths);
    free(p->query_lengths);
    free(p->mask);
    free(p->bias);
}

static xp_tensor *sequence(xp_graph *graph, const problem *p, const char *name, int array) {
    const bool query_side = array == Q || array == D_O, wide = array == V || array == D_O;
    return xp_graph_input(graph, name, XP_F32, 4,
                          (int64_t[]){p->B, query_side ? p->N : p->M, query_side ? p->H : p->G, wide ? p->E : p->D});
}

static answers run(const problem *p, int family) {
    static const char *const names[] = {"q", "k", "v", "d_o"};
    xp_graph *graph;
    xp_plan *plan;
    xp_tensor *inputs[ARRAYS], *leaves[4], *gradients[4], *out[ANSWERS] = {0};
    answers result = {0};
    MUST(xp_graph_create(&graph, NULL, true));
    for (int a = 0; a < ARRAYS; a++) {
        inputs[a] = sequence(graph, p, names[a], a);
        assert_non_null(inputs[a]);
    }
    for (int a = 0; a < 3; a++) inputs[a]->needs_gradient = true, leaves[a] = inputs[a];
    xp_attention_inputs in = {.q = inputs[Q], .k = inputs[K], .v = inputs[V]};
    const int64_t lengths = p->samples ? p->samples + 1 : p->B;
    if (p->key_lengths)
        in.key_lengths = p->key_lengths_by_head
                             ? xp_graph_input(graph, "key_lengths", XP_I32, 2, (int64_t[]){p->B, p->H})
                             : xp_graph_input(graph, "key_lengths", XP_I32, 1, &lengths);
    if (p->query_lengths) in.query_lengths = xp_graph_input(graph, "query_lengths", XP_I32, 1, &lengths);
    if (p->mask) in.mask = xp_graph_input(graph, "mask", XP_I32, 4, p->mask_shape);
    if (p->bias) {
        in.bias = leaves[3] = xp_graph_input(graph, "bias", XP_F32, 4, (int64_t[]){1, p->H, p->N, p->M});
        in.bias->needs_gradient = true;
    }
    out[O] = xp_attention(graph, &in, &p->attributes, 0, &out[LSE]);
    if (!out[O]) fail_msg("%s", xp_last_error());
    MUST(xp_graph_differentiate(graph, 1, &out[O], &inputs[D_O], p->bias ? 4 : 3, leaves, gradients));
    for (int i = 0; i < (p->bias ? 4 : 3); i++) out[DQ + i] = gradients[i];
    for (int i = 0; i < ANSWERS; i++)
        if (out[i]) out[i]->keep = true;
    MUST(xp_plan_create(&plan, devices[family], graph));
    MUST(xp_plan_realise(plan, NULL));
    for (int a = 0; a < ARRAYS; a++) MUST(xp_plan_write(plan, inputs[a], p->arrays[a]));
    if (p->key_lengths) MUST(xp_plan_write(plan, in.key_lengths, p->key_lengths));
    if (p->query_lengths) MUST(xp_plan_write(plan, in.query_lengths, p->query_lengths));
    if (p->mask) MUST(xp_plan_write(plan, in.mask, p->mask));
    if (p->bias) MUST(xp_plan_write(plan, in.bias, p->bias));
    MUST(xp_plan_run(plan));
    for (int i = 0; i < ANSWERS; i++) {
        if (!out[i]) continue;
        result.count[i] = xp_tensor_elements(out[i]);
        result.of[i] = allocate((size_t)result.count[i] * sizeof(float));
        MUST(xp_plan_read(plan, out[i], result.of[i]));
    }
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    return result;
}

static void forget(answers *a) {
    for (int i = 0; i < ANSWERS; i++) free(a->of[i]);
}

static void expect_near(const char *what, const float *a, const float *b, int64_t count, double bound) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(b[i])) largest = fmax(largest, fabs((double)b[i]));
    for (int64_t i = 0; i < count; i++) {
        if (a[i] == b[i]) continue;
        if (!(fabs((double)a[i] - (double)b[i]) <= bound * largest))
            fail_msg("%s[%lld] is %.9g one way and %.9g the other", what, (long long)i, (double)a[i], (double)b[i]);
    }
}

/* All answers of two problems that say the same. */
static void expect_same(const problem *a, const problem *b) {
    for (int family = 0; family < families_shown(); family++) {
        answers x = run(a, family), y = run(b, family);
        for (int i = 0; i < ANSWERS; i++) {
            if (!x.of[i] || !y.of[i]) continue;
            char what[64];
            snprintf(what, sizeof what, "%s %s", family_names[family], answer_names[i]);
            assert_int_equal(x.count[i], y.count[i]);
            expect_near(what, x.of[i], y.of[i], x.count[i], 2e-6);
        }
        forget(&x);
        forget(&y);
    }
}

/* The mask of a pattern that sees(i, j) decides, [1,1,N,⌈M/32⌉]. */
static void set_mask(problem *p, int64_t rows, int64_t columns, bool (*sees)(int64_t i, int64_t j)) {
    const int64_t words = (columns + 31) / 32;
    p->mask = allocate((size_t)(rows * words) * sizeof(int32_t));
    memcpy(p->mask_shape, (int64_t[]){1, 1, rows, words}, sizeof p->mask_shape);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            if (sees(i, j)) p->mask[i * words + j / 32] |= (int32_t)(1u << j % 32);
}

/* ---- two ways to say the same ------------------------------------------------------------------------------------ */

static bool causal_pair(int64_t i, int64_t j) {
    return j <= i;
}
static bool causal_from_the_end(int64_t i, int64_t j) {
    return j <= i + 150 - 130;
}
static bool window_pair(int64_t i, int64_t j) {
    return j >= i - 40 && j <= i + 7;
}
static bool strided_pair(int64_t i, int64_t j) {
    return (i - j) % 3 == 0;
}
static bool strided_causal_pair(int64_t i, int64_t j) {
    return (i - j) % 3 == 0 && j <= i;
}
static bool random_pair(int64_t i, int64_t j) {
    return (uint32_t)(i * 7919 + j * 104729) % 5 < 2;
}
/* The same for every pair of a block of 16 rows and columns. */
static bool random_block(int64_t i, int64_t j) {
    return random_pair(i / 16, j / 16);
}

static void a_pattern_equals_its_mask(void **state) {
    const struct {
        bool (*sees)(int64_t i, int64_t j);
        int left, right, stride, align_last;
    } patterns[] = {{causal_pair, -1, 0, 0, 0},
                    {causal_from_the_end, -1, 0, 0, 1},
                    {window_pair, 40, 7, 0, 0},
                    {strided_pair, -1, -1, 3, 0},
                    {strided_causal_pair, -1, 0, 3, 0}};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        problem pattern = make(2, 2, 2, 130, 150, 16, 16, 1), mask = make(2, 2, 2, 130, 150, 16, 16, 1);
        pattern.attributes.left = patterns[i].left;
        pattern.attributes.right = patterns[i].right;
        pattern.attributes.stride = patterns[i].stride;
        pattern.attributes.align_last = patterns[i].align_last;
        set_mask(&mask, 130, 150, patterns[i].sees);
        expect_same(&pattern, &mask);
        release(&pattern);
        release(&mask);
    }
}

static void a_block_mask_equals_a_dense_mask(void **state) {
    problem blocks = make(2, 2, 2, 130, 150, 16, 16, 1), dense = make(2, 2, 2, 130, 150, 16, 16, 1);
    set_mask(&blocks, 9, 10, random_pair);
    blocks.attributes.mask_block = 16;
    set_mask(&dense, 130, 150, random_block);
    expect_same(&blocks, &dense);
    release(&blocks);
    release(&dense);
}

static void a_mask_equals_a_bias_of_minus_infinity(void **state) {
    problem mask = make(2, 2, 2, 70, 90, 16, 16, 1), bias = make(2, 2, 2, 70, 90, 16, 16, 1);
    set_mask(&mask, 70, 90, random_pair);
    bias.bias = allocate(2 * 70 * 90 * sizeof(float));
    for (int64_t i = 0; i < 2 * 70 * 90; i++) bias.bias[i] = random_pair(i / 90 % 70, i % 90) ? 0 : -INFINITY;
    expect_same(&mask, &bias);
    release(&mask);
    release(&bias);
}

/* Copies rows first … first + rows - 1 of a packed array into a sample of its own. */
static void cut(const problem *packed, problem *own, int array, int64_t first) {
    const int64_t row = array_count(own, array) / (array == Q || array == D_O ? own->N : own->M);
    memcpy(own->arrays[array], packed->arrays[array] + first * row, (size_t)array_count(own, array) * sizeof(float));
}

static void packed_samples_equal_separate_calls(void **state) {
    static const int32_t query_starts[] = {0, 70, 71, 71, 130}, key_starts[] = {0, 33, 100, 120, 150};
    problem packed = make(1, 4, 2, 130, 150, 16, 24, 1);
    packed.samples = 4;
    packed.key_lengths = allocate(sizeof key_starts);
    packed.query_lengths = allocate(sizeof query_starts);
    memcpy(packed.key_lengths, key_starts, sizeof key_starts);
    memcpy(packed.query_lengths, query_starts, sizeof query_starts);
    packed.attributes.packed = 1;
    packed.attributes.longest_queries = 70;
    packed.attributes.longest_keys = 67;
    packed.attributes.right = 5;
    for (int family = 0; family < families_shown(); family++) {
        answers all = run(&packed, family);
        for (int s = 0; s < 4; s++) {
            const int64_t rows = query_starts[s + 1] - query_starts[s], keys = key_starts[s + 1] - key_starts[s];
            if (rows == 0) { /* keys that no query sees have no gradient */
                for (int64_t i = 0; i < keys * 2 * 16; i++) assert_true(all.of[DK][key_starts[s] * 2 * 16 + i] == 0);
                continue;
            }
            problem own = make(1, 4, 2, rows, keys, 16, 24, 1);
            own.attributes.right = 5;
            for (int a = 0; a < ARRAYS; a++)
                cut(&packed, &own, a, a == Q || a == D_O ? query_starts[s] : key_starts[s]);
            answers single = run(&own, family);
            expect_near("packed o", all.of[O] + query_starts[s] * 4 * 24, single.of[O], single.count[O], 2e-6);
            expect_near("packed dq", all.of[DQ] + query_starts[s] * 4 * 16, single.of[DQ], single.count[DQ], 2e-6);
            expect_near("packed dk", all.of[DK] + key_starts[s] * 2 * 16, single.of[DK], single.count[DK], 2e-6);
            expect_near("packed dv", all.of[DV] + key_starts[s] * 2 * 24, single.of[DV], single.count[DV], 2e-6);
            for (int h = 0; h < 4; h++)
                expect_near("packed lse", all.of[LSE] + h * 130 + query_starts[s], single.of[LSE] + h * rows, rows,
                            2e-6);
            forget(&single);
            release(&own);
        }
        forget(&all);
    }
    release(&packed);
}

static void expect_grouped_equal_repeated(bool strided) {
    enum { N = 80, M = 75, D = 16, GROUP = 3, G = 2, H = GROUP * G };
    problem grouped = make(2, H, G, N, M, D, D, 1), repeated = make(2, H, H, N, M, D, D, 1);
    grouped.attributes.right = 10;
    if (strided) { /* the last rows of each head are elsewhere, and so are its strides through the shared keys */
        grouped.attributes.stride = 3;
        grouped.attributes.align_last = 1;
        grouped.key_lengths_by_head = repeated.key_lengths_by_head = true;
        grouped.key_lengths = allocate(2 * H * sizeof(int32_t));
        repeated.key_lengths = allocate(2 * H * sizeof(int32_t));
        for (int i = 0; i < 2 * H; i++) grouped.key_lengths[i] = repeated.key_lengths[i] = M - 5 * i;
    }
    repeated.attributes = grouped.attributes;
    for (int a = 0; a < ARRAYS; a++) {
        if (a == Q || a == D_O)
            memcpy(repeated.arrays[a], grouped.arrays[a], (size_t)array_count(&grouped, a) * sizeof(float));
        for (int64_t row = 0; row < 2 * M && (a == K || a == V); row++)
            for (int h = 0; h < H; h++)
                memcpy(repeated.arrays[a] + (row * H + h) * D, grouped.arrays[a] + (row * G + h / GROUP) * D,
                       D * sizeof(float));
    }
    for (int family = 0; family < families_shown(); family++) {
        answers x = run(&grouped, family), y = run(&repeated, family);
        expect_near("grouped o", x.of[O], y.of[O], x.count[O], 0);
        expect_near("grouped dq", x.of[DQ], y.of[DQ], x.count[DQ], 0);
        for (int i = DK; i <= DV; i++) {
            float *sums = allocate((size_t)x.count[i] * sizeof(float));
            for (int64_t row = 0; row < 2 * M; row++)
                for (int h = 0; h < H; h++)
                    for (int d = 0; d < D; d++) sums[(row * G + h / GROUP) * D + d] += y.of[i][(row * H + h) * D + d];
            expect_near(answer_names[i], x.of[i], sums, x.count[i], 2e-6);
            free(sums);
        }
        forget(&x);
        forget(&y);
    }
    release(&grouped);
    release(&repeated);
}

static void grouped_heads_equal_repeated_ones(void **state) {
    expect_grouped_equal_repeated(false);
    expect_grouped_equal_repeated(true);
}

/* ---- edges ------------------------------------------------------------------------------------------------------- */

static void a_causal_row_ignores_the_future_bit_for_bit(void **state) {
    enum { N = 150, D = 16, PAST = 77 };
    problem p = make(1, 2, 2, N, N, D, D, 1), other = make(1, 2, 2, N, N, D, D, 1);
    p.attributes.right = other.attributes.right = 0;
    for (int64_t i = (PAST + 1) * 2 * D; i < array_count(&p, K); i++) {
        other.arrays[K][i] = 50 - other.arrays[K][i];
        other.arrays[V][i] = -3 * other.arrays[V][i];
    }
    for (int family = 0; family < FAMILIES; family++) {
        answers x = run(&p, family), y = run(&other, family);
        assert_memory_equal(x.of[O], y.of[O], (PAST + 1) * 2 * D * sizeof(float));
        assert_memory_equal(x.of[DQ], y.of[DQ], (PAST + 1) * 2 * D * sizeof(float));
        assert_memory_not_equal(x.of[O], y.of[O], (PAST + 2) * 2 * D * sizeof(float));
        forget(&x);
        forget(&y);
    }
    release(&p);
    release(&other);
}

static bool odd_rows_see_nothing(int64_t i, int64_t j) {
    return i % 2 == 0 && i != 64 && j % 2 == 0;
}

static void rows_that_see_nothing_give_nothing(void **state) {
    problem p = make(2, 2, 2, 70, 90, 16, 16, 1);
    set_mask(&p, 70, 90, odd_rows_see_nothing);
    for (int family = 0; family < FAMILIES; family++) {
        answers x = run(&p, family);
        for (int64_t i = 0; i < x.count[O]; i++) {
            const int64_t row = i / (2 * 16) % 70;
            const bool seen = odd_rows_see_nothing(row, 0);
            if ((x.of[O][i] != 0) != seen || (x.of[DQ][i] != 0) != seen || isnan(x.of[O][i]) || isnan(x.of[DQ][i]))
                fail_msg("%s row %lld: o %g, dq %g", family_names[family], (long long)row, (double)x.of[O][i],
                         (double)x.of[DQ][i]);
        }
        for (int64_t i = 0; i < x.count[LSE]; i++)
            assert_int_equal(isinf(x.of[LSE][i]) != 0, !odd_rows_see_nothing(i % 70, 0));
        for (int64_t i = 0; i < x.count[DK]; i++) {
            const bool seen = i / (2 * 16) % 90 % 2 == 0;
            if ((x.of[DK][i] != 0) != seen || (x.of[DV][i] != 0) != seen)
                fail_msg("%s key %lld: dk %g, dv %g", family_names[family], (long long)(i / 32 % 90),
                         (double)x.of[DK][i], (double)x.of[DV][i]);
        }
        forget(&x);
    }
    release(&p);
}

/* Nor does what others see reach them: nothing times infinity is not a number. */
static void values_of_infinity_do_not_reach_rows_that_see_nothing(void **state) {
    problem p = make(1, 2, 2, 70, 90, 16, 16, 1);
    set_mask(&p, 70, 90, odd_rows_see_nothing);
    for (int64_t i = 0; i < array_count(&p, V); i++) p.arrays[V][i] = INFINITY;
    for (int family = 0; family < FAMILIES; family++) {
        answers x = run(&p, family);
        for (int64_t i = 0; i < x.count[O]; i++) {
            const int64_t row = i / (2 * 16) % 70;
            if (odd_rows_see_nothing(row, 0) ? !isinf(x.of[O][i]) && !isnan(x.of[O][i]) : x.of[O][i] != 0)
                fail_msg("%s row %lld: o %g", family_names[family], (long long)row, (double)x.of[O][i]);
        }
        forget(&x);
    }
    release(&p);
}

/* Huge scores leave one key in each row: o is its value, and everything is finite. */
static void scores_of_ten_thousand_choose_one_key(void **state) {
    enum { N = 70, M = 90, D = 16 };
    problem p = make(1, 1, 1, N, M, D, D, 1);
    p.attributes.scale = 1e4f;
    for (int family = 0; family < FAMILIES; family++) {
        answers x = run(&p, family);
        for (int64_t i = 0; i < N; i++) {
            int64_t best = 0;
            double largest = -INFINITY;
            for (int64_t j = 0; j < M; j++) {
                double score = 0;
                for (int64_t d = 0; d < D; d++)
                    score += (double)p.arrays[Q][i * D + d] * (double)p.arrays[K][j * D + d];
                if (score > largest) largest = score, best = j;
            }
            expect_near("o", x.of[O] + i * D, p.arrays[V] + best * D, D, 1e-3);
        }
        for (int a = 0; a < D_BIAS; a++)
            for (int64_t i = 0; i < x.count[a]; i++) assert_true(isfinite(x.of[a][i]));
        forget(&x);
    }
    release(&p);
}

static void a_row_that_sees_one_key_is_its_value(void **state) {
    const int64_t sizes[][4] = {{1, 1, 16, 16}, {33, 1, 16, 16}, {5, 1, 1, 3}}; /* N, M, D, E */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int64_t N = sizes[i][0], M = sizes[i][1], D = sizes[i][2], E = sizes[i][3];
        problem p = make(2, 2, 2, N, M, D, E, 1);
        for (int family = 0; family < FAMILIES; family++) {
            answers x = run(&p, family);
            for (int64_t o = 0; o < x.count[O]; o++) {
                const int64_t b = o / (N * 2 * E), rest = o % (2 * E);
                assert_true(x.of[O][o] == p.arrays[V][b * 2 * E + rest]);
            }
            for (int64_t q = 0; q < x.count[DQ]; q++) assert_true(fabsf(x.of[DQ][q]) < 1e-5f); /* nothing to choose */
            forget(&x);
        }
        release(&p);
    }
}

static void nan_behind_the_lengths_changes_nothing(void **state) {
    enum { N = 70, M = 90, D = 16, QUERIES = 41, KEYS = 67 };
    problem clean = make(1, 2, 2, N, M, D, D, 1), dirty = make(1, 2, 2, N, M, D, D, 1);
    problem *both[] = {&clean, &dirty};
    for (int i = 0; i < 2; i++) {
        both[i]->key_lengths = allocate(sizeof(int32_t));
        both[i]->query_lengths = allocate(sizeof(int32_t));
        *both[i]->key_lengths = KEYS;
        *both[i]->query_lengths = QUERIES;
    }
    for (int a = 0; a < ARRAYS; a++)
        for (int64_t i = (a == Q || a == D_O ? QUERIES : KEYS) * 2 * D; i < array_count(&dirty, a); i++)
            dirty.arrays[a][i] = NAN;
    for (int family = 0; family < FAMILIES; family++) {
        answers x = run(&clean, family), y = run(&dirty, family);
        for (int a = 0; a < D_BIAS; a++) assert_memory_equal(x.of[a], y.of[a], (size_t)x.count[a] * sizeof(float));
        forget(&x);
        forget(&y);
    }
    release(&clean);
    release(&dirty);
}

static void a_score_that_does_not_compile_is_shown(void **state) {
    static const struct {
        const char *text, *told;
    } wrong[] = {{"score - 0.1f * abs(query_idx - key_index)", "score, column 20"},
                 {"score +", "score, column 8"},
                 {"score + (float2)(1.0f)", "score, column 1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const xp_score score = {.text = wrong[i].text};
        xp_attention_attributes attributes = xp_attention_plain(1);
        xp_graph *graph;
        xp_plan *plan;
        attributes.score = &score;
        MUST(xp_graph_create(&graph, NULL, false));
        xp_tensor *q = xp_graph_input(graph, "q", XP_F32, 4, (int64_t[]){1, 4, 1, 8});
        assert_non_null(xp_attention(graph, &(xp_attention_inputs){.q = q, .k = q, .v = q}, &attributes, 0, NULL));
        MUST(xp_plan_create(&plan, devices[WIDE], graph));
        assert_int_equal(xp_plan_realise(plan, NULL), XP_BUILD_ERROR);
        if (!strstr(xp_last_error(), wrong[i].told) || !strstr(xp_last_error(), wrong[i].text))
            fail_msg("not told \"%s\" but: %s", wrong[i].told, xp_last_error());
        xp_plan_close(&plan);
        xp_graph_close(&graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_equals_its_mask),
        cmocka_unit_test(a_block_mask_equals_a_dense_mask),
        cmocka_unit_test(a_mask_equals_a_bias_of_minus_infinity),
        cmocka_unit_test(packed_samples_equal_separate_calls),
        cmocka_unit_test(grouped_heads_equal_repeated_ones),
        cmocka_unit_test(a_causal_row_ignores_the_future_bit_for_bit),
        cmocka_unit_test(rows_that_see_nothing_give_nothing),
        cmocka_unit_test(values_of_infinity_do_not_reach_rows_that_see_nothing),
        cmocka_unit_test(scores_of_ten_thousand_choose_one_key),
        cmocka_unit_test(a_row_that_sees_one_key_is_its_value),
        cmocka_unit_test(nan_behind_the_lengths_changes_nothing),
        cmocka_unit_test(a_score_that_does_not_compile_is_shown),
    };
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
