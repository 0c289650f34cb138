/* What matrix units lose when they add, and that products of fp32 tensors on them lose no more than ordinary sums do.
 * The model of a unit here and the emulation of cl/matrix.clh say the same thing; the figures are from an NVIDIA
 * H200. */
#include "core/random.h"
#include "device/matrix.h"
#include "device/tuning.h"
#include "devices.h"
#include "graph/plan.h"
#include "ops/gemm_launch.h"

#include <expanse/graph.h>
#include <expanse/ops.h>

enum { DEEPEST = 16384, SLICE = 16, LONG_SLICE = 32, TF32 = 8, HALVES = 16 /* steps of one product of a unit */ };

/* ---- the model --------------------------------------------------------------------------------------------------- */

static float toward_zero(double value) {
    const float nearest = (float)value;
    return fabs((double)nearest) > fabs(value) ? nextafterf(nearest, 0) : nearest;
}

/* sum + Σ a·b: all are aligned to the largest, cut two bits below its last place, added, and the sum is cut. */
static float unit(float sum, const float *a, const float *b, int steps) {
    double largest = fabs((double)sum), total = 0;
    for (int i = 0; i < steps; i++) largest = fmax(largest, fabs((double)a[i] * (double)b[i]));
    if (largest == 0) return sum;
    const double place = ldexp(1, ilogb(largest) - 25);
    total = trunc((double)sum / place);
    for (int i = 0; i < steps; i++) total += trunc((double)a[i] * (double)b[i] / place);
    return toward_zero(total * place);
}

/* To so many bits behind the first. */
static float rounded(float value, int bits) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    word = (word + (1u << (22 - bits))) & ~((1u << (23 - bits)) - 1);
    memcpy(&value, &word, sizeof value);
    return value;
}

typedef struct losses {
    double plain, halves, three, slices,
        long_slices; /* the largest error of all sums by the root of their mean square */
} losses;

/* sum + three products of tf32 of `steps` steps, those of a unit one after another. */
static float three_products(float sum, const float *upper_a, const float *lower_a, const float *upper_b,
                            const float *lower_b, int steps) {
    for (int i = 0; i < steps; i += TF32)
        sum = unit(unit(unit(sum, lower_a + i, upper_b + i, TF32), upper_a + i, lower_b + i, TF32), upper_a + i,
                   upper_b + i, TF32);
    return sum;
}

/* As cl/gemm_wgmma.cl: product after product. */
static float small_products_first(const float *upper_a, const float *lower_a, const float *upper_b,
                                  const float *lower_b, int steps) {
    float sum = 0;
    for (int i = 0; i < steps; i += TF32) sum = unit(sum, upper_a + i, lower_b + i, TF32);
    for (int i = 0; i < steps; i += TF32) sum = unit(sum, lower_a + i, upper_b + i, TF32);
    for (int i = 0; i < steps; i += TF32) sum = unit(sum, upper_a + i, upper_b + i, TF32);
    return sum;
}

/* Sums of products of numbers that are nearly normal: in order in fp32; of bf16 on a unit; in three products of tf32 on
 * a unit, in one sum or in one of each slice, as cl/gemm_matrix.cl and cl/gemm_wgmma.cl cut them. */
static losses lose(int depth, int samples) {
    xp_random random;
    float a[DEEPEST], b[DEEPEST];
    losses worst = {0};
    double squares = 0;
    xp_random_start(&random, 7, (uint32_t)depth);
    for (int s = 0; s < samples; s++) {
        double exact = 0, exact_halves = 0;
        float plain = 0, halves = 0, three = 0, slices = 0, long_slices = 0;
        for (int i = 0; i < depth; i++) {
            a[i] = (float)xp_random_normal(&random);
            b[i] = (float)xp_random_normal(&random);
            exact += (double)a[i] * (double)b[i];
            plain += a[i] * b[i];
        }
        for (int from = 0; from < depth; from += LONG_SLICE) {
            float upper_a[LONG_SLICE], upper_b[LONG_SLICE], lower_a[LONG_SLICE], lower_b[LONG_SLICE];
            for (int i = 0; i < LONG_SLICE; i++) {
                upper_a[i] = rounded(a[from + i], 7);
                upper_b[i] = rounded(b[from + i], 7);
                exact_halves += (double)upper_a[i] * (double)upper_b[i];
            }
            for (int i = 0; i < LONG_SLICE; i += HALVES) halves = unit(halves, upper_a + i, upper_b + i, HALVES);
            for (int i = 0; i < LONG_SLICE; i++) {
                upper_a[i] = rounded(a[from + i], 10);
                upper_b[i] = rounded(b[from + i], 10);
                lower_a[i] = rounded(a[from + i] - upper_a[i], 10);
                lower_b[i] = rounded(b[from + i] - upper_b[i], 10);
            }
            three = three_products(three, upper_a, lower_a, upper_b, lower_b, LONG_SLICE);
            for (int i = 0; i < LONG_SLICE; i += SLICE)
                slices += three_products(0, upper_a + i, lower_a + i, upper_b + i, lower_b + i, SLICE);
            long_slices += small_products_first(upper_a, lower_a, upper_b, lower_b, LONG_SLICE);
        }
        squares += exact * exact;
        worst.plain = fmax(worst.plain, fabs((double)plain - exact));
        worst.halves = fmax(worst.halves, fabs((double)halves - exact_halves));
        worst.three = fmax(worst.three, fabs((double)three - exact));
        worst.slices = fmax(worst.slices, fabs((double)slices - exact));
        worst.long_slices = fmax(worst.long_slices, fabs((double)long_slices - exact));
    }
    const double size = sqrt(squares / samples);
    return (losses){worst.plain / size, worst.halves / size, worst.three / size, worst.slices / size,
                    worst.long_slices / size};
}

static void assert_near(double found, double measured, const char *what, int depth) {
    if (!(found > 0.7 * measured && found < 1.4 * measured))
        fail_msg("%s, depth %d: error %.2e, measured %.2e", what, depth, found, measured);
}

enum { SAMPLES = 2500 }; /* as many elements of the product as were measured */

static void the_model_loses_what_was_measured(void **state) {
    static const struct {
        int depth;
        double plain, halves, three;
    } measured[] = {
        {1024, 4.45e-6, 4.58e-6, 2.56e-5}, {4096, 8.27e-6, 1.77e-5, 1.10e-4}, {8192, 1.04e-5, 4.09e-5, 2.53e-4}};
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        const losses found = lose(measured[i].depth, SAMPLES);
        print_message("depth %5d: plain %.2e (measured %.2e), bf16 %.2e (%.2e), three products %.2e (%.2e)\n",
                      measured[i].depth, found.plain, measured[i].plain, found.halves, measured[i].halves, found.three,
                      measured[i].three);
        assert_near(found.plain, measured[i].plain, "plain", measured[i].depth);
        assert_near(found.halves, measured[i].halves, "bf16", measured[i].depth);
        assert_near(found.three, measured[i].three, "three products", measured[i].depth);
    }
}

static void slices_of_three_products_lose_no_more_than_plain_sums(void **state) {
    for (int depth = 64; depth <= DEEPEST; depth *= 2) {
        const losses found = lose(depth, depth > 4096 ? 200 : 1000);
        print_message("depth %5d: plain %.2e, slices %.2e, long slices %.2e\n", depth, found.plain, found.slices,
                      found.long_slices);
        assert_true(found.slices <= found.plain);
        assert_true(found.long_slices <= found.plain);
    }
}

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

enum { SIDE = 16 };

/* Products that `instruction` makes, whatever the device would choose. */
static void choose(xp_device *device, long instruction) {
    const xp_tuning own = {.kernel = "gemm_matrix",
                           .file = "gemm_matrix",
                           .other = "gemm_wgmma",
                           .count = 1,
                           .parameters = {{.name = "INSTRUCTION", .value = instruction}}};
    json_t *entries = json_array();
    json_array_append_new(entries, xp_tuning_entry(device, &own, "*"));
    xp_tuning_prefer(device, entries);
    json_decref(entries);
}

static void assert_multiplies_with(const xp_plan *plan, const char *kernel) {
    xp_profile_row row;
    assert_true(xp_plan_profile(plan, false, &row, 1) > 0);
    assert_string_equal(row.name, kernel);
}

static void products_of_fp32_are_as_good_as_plain_sums(int depth, long instruction) {
    float *a, *b, got[SIDE * SIDE];
    xp_device *device = NULL;
    xp_device_options options;
    xp_device_options_default(&options);
    options.family = "matrix";
    options.arithmetic = "fp32-matrix";
    MUST(xp_device_open(&device, &options));
    choose(device, instruction);
    HAVE(a = malloc(2 * (size_t)(SIDE * depth) * sizeof *a));
    b = a + SIDE * depth;
    xp_random random;
    xp_random_start(&random, 3, 0);
    for (int i = 0; i < 2 * SIDE * depth; i++) a[i] = (float)xp_random_normal(&random);

    xp_graph *graph = NULL;
    xp_plan *plan = NULL;
    xp_tensor *left, *right, *y;
    MUST(xp_graph_create(&graph, NULL, false));
    HAVE(left = xp_graph_input(graph, "a", XP_F32, 2, (const int64_t[]){SIDE, depth}));
    HAVE(right = xp_graph_input(graph, "b", XP_F32, 2, (const int64_t[]){SIDE, depth}));
    HAVE(y = xp_gemm(graph, left, 0, right, 1));
    xp_tensor_keep(y);
    MUST(xp_plan_create(&plan, device, graph));
    assert_multiplies_with(plan, instruction == XP_INSTRUCTION_WGMMA ? "gemm_wgmma" : "gemm_matrix");
    MUST(xp_plan_realise(plan, NULL));
    MUST(xp_plan_write(plan, left, a));
    MUST(xp_plan_write(plan, right, b));
    MUST(xp_plan_run(plan));
    MUST(xp_plan_read(plan, y, got));

    double worst = 0, worst_plain = 0;
    for (int i = 0; i < SIDE * SIDE; i++) {
        double exact = 0;
        float plain = 0;
        for (int k = 0; k < depth; k++) {
            exact += (double)a[i / SIDE * depth + k] * (double)b[i % SIDE * depth + k];
            plain += a[i / SIDE * depth + k] * b[i % SIDE * depth + k];
        }
        worst = fmax(worst, fabs((double)got[i] - exact));
        worst_plain = fmax(worst_plain, fabs((double)plain - exact));
    }
    print_message("depth %5d: error %.2e, of plain sums %.2e\n", depth, worst, worst_plain);
    assert_true(worst > 0 && worst <= 2 * worst_plain);
    xp_plan_close(&plan);
    device->edits_refused = true; /* by its driver: no edited program takes part in the next plan */
    MUST(xp_plan_create(&plan, device, graph));
    assert_multiplies_with(plan, "gemm_matrix");
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_device_close(&device);
    free(a);
}

static void fp32_on_units_that_cut_is_as_good_as_plain_sums(void **state) {
    products_of_fp32_are_as_good_as_plain_sums(128, XP_INSTRUCTION_MMA);
    products_of_fp32_are_as_good_as_plain_sums(2048, XP_INSTRUCTION_MMA);
    products_of_fp32_are_as_good_as_plain_sums(DEEPEST, XP_INSTRUCTION_MMA);
    products_of_fp32_are_as_good_as_plain_sums(128, XP_INSTRUCTION_WGMMA); /* of tiles of 128×128 */
    products_of_fp32_are_as_good_as_plain_sums(4096, XP_INSTRUCTION_WGMMA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_loses_what_was_measured),
        cmocka_unit_test(slices_of_three_products_lose_no_more_than_plain_sums),
        cmocka_unit_test(fp32_on_units_that_cut_is_as_good_as_plain_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
