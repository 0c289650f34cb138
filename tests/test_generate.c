/* Language models, one token after another: what a step answers is what the pass over the whole text answers; what is
 * drawn has its probability; and what cannot go on from what it remembers is rejected. */
#include "device/device.h"
#include "devices.h"
#include "graph/plan.h"
#include "model/model.h"
#include "support.h"
#include "train/sampler.h"

enum { LENGTH = 48, SYMBOLS = 64, GREEDY = 300 };

/* ---- a model both ways ------------------------------------------------------------------------------------------- */

typedef struct pair {
    xp_device *device;
    xp_store *store;
    xp_model whole;
    xp_model_step step;
    xp_plan *whole_plan, *step_plan;
    int length;
} pair;

static xp_model_config model_of(const char *attention) {
    xp_model_config config = {.kind = XP_MODEL_LANGUAGE,
                              .width = 32,
                              .heads = 4,
                              .layers = 2,
                              .feed_forward = 48,
                              .patch_steps = 1,
                              .pre_norm = 1,
                              .norm_epsilon = 1e-5,
                              .final_norm = 1,
                              .activation = 2,
                              .head = XP_HEAD_TIED};
    snprintf(config.attention, sizeof config.attention, "%s", attention);
    return config;
}

/* Weights larger than initial ones, so that rows differ. */
static void enlarge(xp_store *store) {
    for (int i = 0; i < xp_store_count(store); i++) {
        int64_t shape[XP_MAX_RANK], elements = 1;
        const int rank = xp_store_shape(store, i, shape);
        for (int axis = 0; axis < rank; axis++) elements *= shape[axis];
        float *values = malloc((size_t)elements * sizeof *values);
        MUST(xp_store_read(store, XP_STORE_VALUES, i, values));
        for (int64_t e = 0; e < elements && rank > 1; e++) values[e] *= 12;
        MUST(xp_store_write(store, XP_STORE_VALUES, i, values));
        free(values);
    }
}

static pair open_pair(const char *attention, int key_heads, int length) {
    pair p = {.length = length};
    xp_model_config config = model_of(attention);
    const xp_model_shape shape = {.batch = 1, .outputs = SYMBOLS, .length = length};
    config.key_heads = key_heads;
    p.device = open_device("wide");
    MUST(xp_store_create(&p.store));
    MUST(xp_model_build(&p.whole, &config, &shape, p.store, false));
    MUST(xp_model_build_step(&p.step, &config, &shape, p.store));
    xp_tensor_keep(p.whole.output);
    MUST(xp_plan_create(&p.whole_plan, p.device, p.whole.graph));
    MUST(xp_plan_create(&p.step_plan, p.device, p.step.graph));
    MUST(xp_store_allocate(p.store, p.device));
    MUST(xp_plan_realise(p.whole_plan, NULL));
    MUST(xp_plan_realise(p.step_plan, NULL));
    MUST(xp_store_initialise(p.store, 3));
    enlarge(p.store);
    return p;
}

static void close_pair(pair *p) {
    xp_plan_close(&p->step_plan);
    xp_plan_close(&p->whole_plan);
    xp_model_step_release(&p->step);
    xp_model_release(&p->whole);
    xp_store_close(&p->store);
    xp_device_close(&p->device);
}

/* Logits of all rows [length,SYMBOLS] of a text [length]. */
static void answer_whole(pair *p, const int *text, float *logits) {
    float *values = calloc((size_t)p->length + 1, sizeof *values);
    for (int i = 0; i < p->length; i++) values[i] = (float)text[i];
    MUST(xp_plan_write(p->whole_plan, p->whole.input, values));
    MUST(xp_plan_run(p->whole_plan));
    MUST(xp_plan_read(p->whole_plan, p->whole.output, logits));
    free(values);
}

/* Logits [SYMBOLS] after a token with `before` others remembered. */
static void answer_step(pair *p, int token, int before, float *logits) {
    const int32_t word = token, start = before, length = before + 1;
    MUST(xp_plan_write(p->step_plan, p->step.token, &word));
    MUST(xp_plan_write(p->step_plan, p->step.position, &start));
    MUST(xp_plan_write(p->step_plan, p->step.start, &start));
    MUST(xp_plan_write(p->step_plan, p->step.length, &length));
    MUST(xp_plan_run(p->step_plan));
    MUST(xp_plan_read(p->step_plan, p->step.output, logits));
}

static int likeliest(const float *logits) {
    int best = 0;
    for (int c = 1; c < SYMBOLS; c++)
        if (logits[c] > logits[best]) best = c;
    return best;
}

static void steps_answer_as_the_whole_pass(void **state) {
    static const struct {
        const char *attention;
        int key_heads;
    } cases[] = {{"softmax+causal+bn", 2},
                 {"linear+causal+bn", 0},
                 {"softmax+window(9,0)+alibi", 0},
                 {"softmax+causal+conv1d(5)", 2},
                 {"softmax+causal+bn+conv1d(3)+sh(1,5,7,2)", 0},
                 {"linear+causal+sh(2,3)", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pair p = open_pair(cases[i].attention, cases[i].key_heads, LENGTH);
        static float whole[LENGTH * SYMBOLS], own[SYMBOLS];
        int text[LENGTH];
        double worst = 0, largest = 0;
        for (int n = 0; n < LENGTH; n++) text[n] = (n * n * 7 + n * 5) % SYMBOLS;
        answer_whole(&p, text, whole);
        for (int round = 0; round < 2; round++) /* what was remembered before is forgotten */
            for (int n = 0; n < LENGTH; n++) {
                answer_step(&p, text[n], n, own);
                for (int c = 0; c < SYMBOLS; c++) {
                    worst = fmax(worst, fabs((double)(own[c] - whole[n * SYMBOLS + c])));
                    largest = fmax(largest, fabs((double)own[c]));
                }
            }
        print_message("%s: logits up to %.1f, %.1e apart\n", cases[i].attention, largest, worst);
        assert_true(largest > 1);
        assert_true(worst < 1e-5 * fmax(1, largest));
        close_pair(&p);
    }
}

static void the_likeliest_tokens_are_those_of_the_whole_pass(void **state) {
    const char *wanted = getenv("XP_GREEDY"); /* more of them, for those who have time */
    const int count = wanted ? atoi(wanted) : GREEDY;
    pair p = open_pair("softmax+causal+bn", 0, count + 1);
    int *text = calloc((size_t)count + 2, sizeof *text), different = 0;
    float *whole = malloc((size_t)p.length * SYMBOLS * sizeof *whole), own[SYMBOLS];
    text[0] = 5;
    for (int n = 0; n < count; n++) {
        answer_step(&p, text[n], n, own);
        text[n + 1] = likeliest(own);
        different += n > 0 && text[n + 1] != text[n];
    }
    /* Causal: one pass over what was drawn gives what a pass before each token would have. */
    answer_whole(&p, text, whole);
    for (int n = 0; n < count; n++) assert_int_equal(text[n + 1], likeliest(whole + (int64_t)n * SYMBOLS));
    print_message("%d tokens, %d changes\n", count, different);
    assert_true(different > 1);
    free(whole);
    free(text);
    close_pair(&p);
}

static void what_cannot_go_on_is_rejected_with_the_reason(void **state) {
    static const char *const cases[][2] = {{"softmax+window(9,0)+sh(1,2)", "among pooled keys"},
                                           {"softmax+causal+alibi+sh(1,2)", "among pooled keys"},
                                           {"softmax+causal+bias", "a bias"},
                                           {"softmax+causal+block(4)", "a mask"},
                                           {"softmax+causal+score(\"score * 0.5f\", derivative=\"0.5f\")", "a score"}};
    const xp_model_shape shape = {.batch = 1, .outputs = SYMBOLS, .length = LENGTH};
    xp_model_step step;
    xp_store *store = NULL;
    MUST(xp_store_create(&store));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const xp_model_config config = model_of(cases[i][0]);
        assert_int_equal(xp_model_build_step(&step, &config, &shape, store), XP_UNSUPPORTED);
        if (!strstr(xp_last_error(), cases[i][1])) fail_msg("%s: %s", cases[i][0], xp_last_error());
        assert_null(step.graph);
    }
    xp_model_config series = model_of("softmax");
    series.kind = XP_MODEL_ENCODER;
    series.head = XP_HEAD_MEAN;
    const xp_model_shape other = {.batch = 1, .outputs = 2, .length = 8, .features = 2};
    assert_int_equal(xp_model_build_step(&step, &series, &other, store), XP_UNSUPPORTED);
    xp_store_close(&store);
}

/* ---- what is drawn ----------------------------------------------------------------------------------------------- */

enum { DRAWS = 40000 };

/* How often each of four answers of these logits is drawn. */
static void draw(const xp_sampling *how, double share[4]) {
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    xp_sampler sampler;
    xp_random random;
    int counts[4] = {0};
    MUST(xp_sampler_open(&sampler, 4));
    xp_random_start(&random, 11, 1);
    for (int i = 0; i < DRAWS; i++) counts[xp_sampler_choose(&sampler, logits, how, &random)]++;
    for (int i = 0; i < 4; i++) share[i] = (double)counts[i] / DRAWS;
    xp_sampler_close(&sampler);
}

static void what_is_drawn_has_its_probability(void **state) {
    static const struct {
        xp_sampling how;
        double share[4];
    } cases[] = {{{1, 0, 1}, {0.1, 0.4, 0.2, 0.3}},
                 {{0, 0, 1}, {0, 1, 0, 0}},
                 {{0.5, 0, 1}, {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3}},
                 {{1, 2, 1}, {0, 0.4 / 0.7, 0, 0.3 / 0.7}},
                 {{1, 0, 0.71}, {0, 0.4 / 0.9, 0.2 / 0.9, 0.3 / 0.9}}, /* 0.4 + 0.3 is not enough */
                 {{1, 0, 0.69}, {0, 0.4 / 0.7, 0, 0.3 / 0.7}},
                 {{1, 3, 0.5}, {0, 0.4 / 0.7, 0, 0.3 / 0.7}}, /* of the three: 0.44 + 0.33 */
                 {{1, 0, 1e-9}, {0, 1, 0, 0}},
                 {{1, 9, 1}, {0.1, 0.4, 0.2, 0.3}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double share[4];
        draw(&cases[i].how, share);
        for (int c = 0; c < 4; c++) {
            const double wanted = cases[i].share[c], deviation = sqrt(wanted * (1 - wanted) / DRAWS);
            if (!(fabs(share[c] - wanted) <= 4.5 * deviation))
                fail_msg("case %zu: answer %d has the share %.4f, not %.4f", i, c, share[c], wanted);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_answer_as_the_whole_pass),
        cmocka_unit_test(the_likeliest_tokens_are_those_of_the_whole_pass),
        cmocka_unit_test(what_cannot_go_on_is_rejected_with_the_reason),
        cmocka_unit_test(what_is_drawn_has_its_probability),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
