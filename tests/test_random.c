/* Philox4x32-10 against its authors' known answers, on the host and, through a dropout, on the device; normal numbers
 * of the device against the host's. */
#include "core/half.h"
#include "device/device.h"
#include "device/fill.h"
#include "devices.h"
#include "graph/operation.h"
#include "graph/plan.h"
#include "graph/stored.h"
#include "ops/ops.h"

#if __has_include(<Random123/philox.h>)
#include <Random123/philox.h>
#define WITH_RANDOM123
#endif

/* The three vectors that Random123 publishes for philox4x32 with 10 rounds. */
static void philox_gives_the_published_answers(void **state) {
    static const struct {
        uint32_t counter[4], key[2], words[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        uint32_t words[4];
        xp_philox(answers[i].counter, answers[i].key, words);
        assert_memory_equal(words, answers[i].words, sizeof words);
    }
}

static void philox_equals_random123_everywhere(void **state) {
#ifdef WITH_RANDOM123
    xp_random random;
    xp_random_start(&random, 20, 1);
    for (int i = 0; i < 10000; i++) {
        philox4x32_ctr_t counter;
        philox4x32_key_t key;
        uint32_t words[4];
        for (int j = 0; j < 4; j++) counter.v[j] = xp_random_next(&random);
        for (int j = 0; j < 2; j++) key.v[j] = xp_random_next(&random);
        philox4x32_ctr_t expected = philox4x32_R(10, counter, key);
        xp_philox(counter.v, key.v, words);
        assert_memory_equal(words, expected.v, sizeof words);
    }
#else
    skip();
#endif
}

/* ---- on the device ---- */

enum { COUNT = 4099 }; /* ends inside a block of four */

/* A dropout of ones and, by its gradient, of ones again. */
typedef struct drawn {
    uint32_t threshold, stream;
    float forward[COUNT], backward[COUNT];
} drawn;

static void draw(xp_device *device, const uint32_t random_state[4], float probability, uint32_t stream, drawn *out) {
    xp_graph *graph;
    xp_plan *plan;
    const int64_t shape[] = {COUNT};
    float ones[COUNT];
    for (int i = 0; i < COUNT; i++) ones[i] = 1;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    graph->next_stream = stream;
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 1, shape), *dy = xp_graph_input(graph, "dy", XP_F32, 1, shape);
    x->needs_gradient = true;
    xp_tensor *y = xp_dropout(graph, x, probability), *dx = NULL;
    assert_non_null(y);
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &dy, 1, &x, &dx), XP_OK);
    assert_non_null(dx);
    y->keep = dx->keep = true;
    out->threshold = XP_ATTRIBUTES(xp_dropout_attributes, y->producer)->threshold;
    out->stream = XP_ATTRIBUTES(xp_dropout_attributes, y->producer)->stream;
    assert_int_equal(xp_plan_create(&plan, device, graph), XP_OK);
    MUST(xp_plan_realise(plan, NULL));
    assert_int_equal(xp_plan_write(plan, x, ones), XP_OK);
    assert_int_equal(xp_plan_write(plan, dy, ones), XP_OK);
    assert_int_equal(xp_plan_write(plan, graph->random_state, random_state), XP_OK);
    assert_int_equal(xp_plan_run(plan), XP_OK);
    assert_int_equal(xp_plan_read(plan, y, out->forward), XP_OK);
    assert_int_equal(xp_plan_read(plan, dx, out->backward), XP_OK);
    xp_plan_close(&plan);
    xp_graph_close(&graph);
}

/* A keep decision shows one comparison of a word; many thresholds and keys leave a wrong word nowhere to hide. */
static void the_device_keeps_what_the_host_would(void **state) {
    static const float probabilities[] = {0.001f, 0.1f, 0.25f, 0.5f, 0.75f, 0.9f, 0.999f};
    xp_device *device = open_device(NULL);
    xp_random random;
    xp_random_start(&random, 21, 1);
    for (size_t p = 0; p < sizeof probabilities / sizeof probabilities[0]; p++) {
        uint32_t random_state[4];
        for (int j = 0; j < 4; j++) random_state[j] = xp_random_next(&random);
        drawn result;
        draw(device, random_state, probabilities[p], xp_random_below(&random, 1000), &result);
        float scale = (float)(1 / (1 - (double)probabilities[p]));
        for (uint32_t i = 0; i < COUNT; i++) {
            const uint32_t counter[4] = {i / 4, 0, random_state[2], result.stream ^ random_state[3] << 16};
            uint32_t words[4];
            xp_philox(counter, random_state, words);
            float expected = words[i % 4] >= result.threshold ? scale : 0;
            if (result.forward[i] != expected || result.backward[i] != expected)
                fail_msg("p=%g element %u: forward %g, backward %g, the host says %g", (double)probabilities[p], i,
                         (double)result.forward[i], (double)result.backward[i], (double)expected);
        }
    }
    xp_device_close(&device);
}

static void the_kept_share_is_as_asked_for(void **state) {
    xp_device *device = open_device(NULL);
    const uint32_t random_state[4] = {7, 0, 1, 0};
    drawn result;
    draw(device, random_state, 0.25f, 3, &result);
    int kept = 0;
    for (int i = 0; i < COUNT; i++) kept += result.forward[i] > 0;
    /* Five standard deviations of the binomial distribution. */
    assert_in_range(kept, 0.75 * COUNT - 139, 0.75 * COUNT + 139);
    xp_device_close(&device);
}

static void seeds_steps_and_streams_draw_apart_and_repeat(void **state) {
    xp_device *device = open_device(NULL);
    static const uint32_t states[][4] = {{7, 0, 1, 0}, {8, 0, 1, 0}, {7, 1, 1, 0}, {7, 0, 2, 0}, {7, 0, 1, 1}};
    drawn first, other;
    draw(device, states[0], 0.5f, 3, &first);
    draw(device, states[0], 0.5f, 3, &other);
    assert_memory_equal(first.forward, other.forward, sizeof first.forward);
    draw(device, states[0], 0.5f, 4, &other);
    for (int s = 1; s <= 5; s++) {
        int equal = 0;
        for (int i = 0; i < COUNT; i++) equal += first.forward[i] == other.forward[i];
        assert_in_range(equal, COUNT / 2 - 160, COUNT / 2 + 160);
        if (s < 5) draw(device, states[s], 0.5f, 3, &other);
    }
    xp_device_close(&device);
}

enum { BEFORE = 3, MOST = 40000, BEHIND = 5, ROOM = BEFORE + MOST + BEHIND, CANARY = -77 /* in every type */ };

/* `count` numbers drawn into a buffer of a type, against the host's: the angle is rounded to 24 bits, the largest
 * radius is 6.8, and storing rounds by a share of the number. */
static void draw_and_compare(xp_device *device, xp_type type, double rounding, int count) {
    static unsigned char content[ROOM * sizeof(float)];
    const uint64_t seed = 0x123456789abcdef0;
    const size_t bytes = ROOM * xp_type_bytes(type);
    for (int i = 0; i < ROOM; i++) {
        if (type == XP_F32) ((float *)content)[i] = CANARY;
        if (type == XP_F16) ((uint16_t *)content)[i] = xp_fp16_bits(CANARY);
        if (type == XP_BF16) ((uint16_t *)content)[i] = xp_bf16_bits(CANARY);
    }
    cl_mem buffer;
    assert_int_equal(xp_device_buffer(device, bytes, &buffer), XP_OK);
    assert_int_equal(xp_device_write(device, buffer, 0, bytes, content), XP_OK);
    if (xp_device_fill_normal(device, buffer, xp_storage_number(type), BEFORE, (size_t)count, seed, 9) != XP_OK)
        fail_msg("%s", xp_last_error());
    assert_int_equal(xp_device_read(device, buffer, 0, bytes, content), XP_OK);
    clReleaseMemObject(buffer);
    xp_random random;
    xp_random_start(&random, seed, 9);
    double sum = 0, squares = 0;
    for (int i = 0; i < ROOM; i++) {
        const bool own = i >= BEFORE && i < BEFORE + count;
        const double expected = own ? xp_random_normal(&random) : CANARY, value = xp_type_value(type, content, i);
        if (!(fabs(value - expected) <= (own ? 2e-6 + rounding * fabs(expected) : 0)))
            fail_msg("%d numbers in %s: number %d is %.9g, the host says %.9g", count, xp_type_name(type), i - BEFORE,
                     value, expected);
        if (own) sum += value, squares += value * value;
    }
    /* Five standard deviations of a mean and of a mean square. */
    assert_true(fabs(sum / count) < 5 / sqrt(count));
    if (count == MOST) assert_true(fabs(squares / count - 1) < 5 * sqrt(2.0 / count));
}

/* Counts that end inside a work-item, offsets that are aligned to nothing, words from both ends of their range. */
static void the_device_draws_the_normal_numbers_of_the_host(void **state) {
    static const int counts[] = {1, 15, 16, 17, 1023, MOST};
    static const struct {
        xp_type type;
        double rounding;
    } stores[] = {{XP_F32, 0}, {XP_F16, 0x1p-11}, {XP_BF16, 0x1p-8}};
    xp_device *device = open_device(NULL);
    for (size_t s = 0; s < sizeof stores / sizeof stores[0]; s++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            draw_and_compare(device, stores[s].type, stores[s].rounding, counts[c]);
    xp_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(philox_equals_random123_everywhere),
        cmocka_unit_test(the_device_keeps_what_the_host_would),
        cmocka_unit_test(the_kept_share_is_as_asked_for),
        cmocka_unit_test(seeds_steps_and_streams_draw_apart_and_repeat),
        cmocka_unit_test(the_device_draws_the_normal_numbers_of_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
