/* Truths of the primal-dual laboratory: attention with the values of a support vector regression is its prediction, the
 * fits are optimal by conditions that no solver is asked about, and bad data get one clear sentence. */

#include "devices.h"
#include "svr/laboratory.h"
#include "svr/picture.h"

enum { FITTED = XP_SVR_ATTENTIONS - 1, LATE = 5 };
static const xp_svr_options usual = {.cost = 1, .epsilon = 0.15};

static void assert_below(const char *what, const char *attention, double value, double bound) {
    if (!(value <= bound)) fail_msg("%s: %s is %.3g, above %.3g", attention, what, value, bound);
}

static xp_svr_points make_points(int64_t count, int outputs, uint64_t seed) {
    xp_svr_points_options options = xp_svr_points_default();
    xp_svr_points points;
    options.noise = 0.1;
    options.count = count;
    options.outputs = outputs;
    options.seed = seed;
    MUST(xp_svr_points_make(&options, &points));
    return points;
}

static xp_svr_matrix matrix_of(const xp_svr_problem *p) {
    return (xp_svr_matrix){p->size, p->outputs, p->kernel, p->targets, p->weights};
}

/* ---- both sides -------------------------------------------------------------------------------------------------- */

static void assert_worth_the_name(const xp_svr_result *r, const xp_svr_options *options) {
    const char *name = r->problem.specification;
    assert_below("the relative duality gap", name, r->judgement.gap, 1e-4);
    assert_below("the KKT residual", name, r->judgement.residual, 1e-3);
    assert_below("1 - R2", name, 1 - r->r2, 0.1);
    assert_below("the share of support vectors", name, (double)r->judgement.support, 0.9 * (double)r->problem.size);
    assert_below("the share of keys in the tube", name, (double)(r->problem.size - r->judgement.support),
                 0.9 * (double)r->problem.size);
    assert_below("attention - SVR", name, r->difference, 1e-5);
    if (options->bias) assert_below("the sum of the coefficients", name, r->judgement.balance, 1e-9);
}

static void fit_all(const xp_svr_options *options) {
    xp_svr_points points = make_points(242, 2, 3);
    for (int family = 0; family < FAMILIES; family++)
        for (int i = 0; i < FITTED; i++) {
            if (i == LATE && options->bias) continue; /* LIBSVM has one C for all keys */
            xp_svr_result result;
            MUST(xp_svr_run(devices[family], &xp_svr_attentions[i], &points, options, &result));
            assert_worth_the_name(&result, options);
            xp_svr_result_release(&result);
        }
    xp_svr_points_release(&points);
}

static void attention_with_the_values_of_an_svr_is_its_prediction(void **state) {
    fit_all(&usual);
}

static void so_it_is_with_a_fitted_b(void **state) {
#ifdef XP_WITH_LIBSVM
    fit_all(&(xp_svr_options){.cost = 1, .epsilon = 0.15, .bias = true});
#else
    skip();
#endif
}

/* Softmax attention as everybody knows it, from the values alone: no K, no unit, no logarithms. */
static void the_values_go_into_plain_softmax(void **state) {
    xp_svr_points points = make_points(200, 1, 4);
    xp_svr_result r;
    MUST(xp_svr_run(devices[0], &xp_svr_attentions[0], &points, &usual, &r));
    for (int64_t i = 0; i < r.problem.queries; i++) {
        const double *q =
            i < points.count ? points.keys + i * points.width : points.grid_keys + (i - points.count) * points.width;
        double sum = 0, weighted = 0;
        for (int64_t j = 0; j < points.count; j++) {
            double score = 0;
            for (int c = 0; c < points.width; c++) score += q[c] * points.keys[j * points.width + c];
            const double weight = exp(score / sqrt(points.width));
            sum += weight;
            weighted += weight * (double)r.values[j];
        }
        assert_float_equal(weighted / sum, r.expected[i], 1e-5);
        assert_float_equal((double)r.attended[i], r.expected[i], 2e-5);
    }
    xp_svr_result_release(&r);
    xp_svr_points_release(&points);
}

static void keys_inside_the_tube_have_no_value(void **state) {
    static const int attentions[] = {0, LATE};
    xp_svr_points points = make_points(200, 1, 5);
    for (int a = 0; a < 2; a++) {
        xp_svr_result r;
        MUST(xp_svr_run(devices[0], &xp_svr_attentions[attentions[a]], &points, &usual, &r));
        int64_t inside = 0;
        for (int64_t j = 0; j < points.count; j++) {
            const double error = points.targets[j] - r.expected[j], bound = usual.cost * r.problem.weights[j];
            if (fabs(error) < usual.epsilon - 1e-4) {
                assert_true(r.values[j] == 0);
                inside++;
            }
            if (fabs(error) > usual.epsilon + 1e-4) /* at the bound, on the side of the error */
                assert_true(r.coefficients[j] == copysign(bound, error));
        }
        assert_in_range(inside, 20, 180);
        if (a == 1) /* the last key counts e^1.99 times as often as the first */
            assert_float_equal(r.problem.weights[199] / r.problem.weights[0], exp(1.99), 1e-5);
        xp_svr_result_release(&r);
    }
    xp_svr_points_release(&points);
}

/* docs/FRAMEWORK.md: m copies of a point in the training set are log m in the score of one. */
static void copies_of_a_point_are_a_weight_in_the_score(void **state) {
    enum { COUNT = 60, TWICE = 25 };
    xp_svr_points points = make_points(COUNT + TWICE, 1, 11);
    for (int64_t j = COUNT; j < COUNT + TWICE; j++) { /* the last copies the first, and so on */
        points.targets[j] = points.targets[j - COUNT];
        memcpy(points.keys + j * points.width, points.keys + (j - COUNT) * points.width,
               (size_t)points.width * sizeof(double));
    }
    xp_svr_result r;
    MUST(xp_svr_run(devices[0], &xp_svr_attentions[0], &points, &usual, &r));
    for (int64_t i = 0; i < points.grid_count; i++) {
        double sum = 0, weighted = 0;
        for (int64_t j = 0; j < COUNT; j++) {
            const double copies = j < TWICE ? 2 : 1;
            const double value = copies == 2 ? (double)(r.values[j] + r.values[j + COUNT]) / 2 : (double)r.values[j];
            double score = 0;
            for (int c = 0; c < points.width; c++)
                score += points.grid_keys[i * points.width + c] * points.keys[j * points.width + c];
            const double weight = exp(score / sqrt(points.width) + log(copies));
            sum += weight;
            weighted += weight * value;
        }
        assert_float_equal((double)r.attended[COUNT + TWICE + i], weighted / sum, 5e-5);
    }
    xp_svr_result_release(&r);
    xp_svr_points_release(&points);
}

/* ---- solvers and judge ------------------------------------------------------------------------------------------- */

/* A constant added to the kernel is a feature whose weight plays b, at a price that vanishes as the constant grows. */
static void our_solver_with_a_constant_feature_meets_libsvm(void **state) {
#ifdef XP_WITH_LIBSVM
    xp_svr_points points = make_points(60, 1, 6);
    xp_svr_problem p;
    MUST(xp_svr_problem_make(&xp_svr_attentions[0], &points, &p));
    for (int64_t i = 0; i < p.size; i++) p.targets[i] += 2; /* b has something to do */
    double ours[60], theirs[60], bias = 0, sum = 0;
    const xp_svr_options options = {.cost = 1, .epsilon = 0.15};
    xp_svr_matrix matrix = matrix_of(&p);
    MUST(xp_svr_solve_with_bias(&matrix, &options, theirs, &bias));
    const double constant = 100;
    for (int64_t e = 0; e < p.size * p.size; e++) p.kernel[e] += constant;
    MUST(xp_svr_solve(&matrix, &options, ours));
    for (int64_t j = 0; j < p.size; j++) sum += ours[j];
    assert_float_equal(constant * sum, bias, 0.01);
    for (int64_t i = 0; i < p.size; i++) {
        double f = bias, g = 0;
        for (int64_t j = 0; j < p.size; j++) {
            f += (p.kernel[i * p.size + j] - constant) * theirs[j];
            g += p.kernel[i * p.size + j] * ours[j];
        }
        assert_float_equal(f, g, 0.01);
    }
    xp_svr_problem_release(&p);
    xp_svr_points_release(&points);
#else
    skip();
#endif
}

static void the_judge_sees_what_is_wrong(void **state) {
    xp_svr_points points = make_points(40, 1, 7);
    xp_svr_problem p;
    xp_svr_judgement good, bad;
    double c[40], none = 0;
    MUST(xp_svr_problem_make(&xp_svr_attentions[0], &points, &p));
    const xp_svr_matrix matrix = matrix_of(&p);
    MUST(xp_svr_solve(&matrix, &usual, c));
    MUST(xp_svr_judge(&matrix, &usual, c, &none, &good));
    assert_true(good.gap < 1e-6 && good.residual < 1e-3);
    for (int64_t j = 0; j < p.size; j++) {
        const double was = c[j];
        c[j] = was > 0.5 ? was - 0.2 : was + 0.2;
        MUST(xp_svr_judge(&matrix, &usual, c, &none, &bad));
        assert_true(bad.gap > 1e-3 && bad.residual > 1e-2);
        c[j] = 1.01; /* beyond C */
        MUST(xp_svr_judge(&matrix, &usual, c, &none, &bad));
        assert_true(isinf(bad.residual));
        c[j] = was;
    }
    xp_svr_problem_release(&p);
    xp_svr_points_release(&points);
}

/* ---- problems ---------------------------------------------------------------------------------------------------- */

static void a_window_of_many_points_has_a_negative_direction_and_the_others_have_none(void **state) {
    static const int64_t counts[] = {40, 200, 256};
    for (int n = 0; n < 3; n++) {
        xp_svr_points points = make_points(counts[n], 1, 8);
        for (int i = 0; i < XP_SVR_ATTENTIONS; i++) {
            xp_svr_problem p;
            double lowest;
            MUST(xp_svr_problem_make(&xp_svr_attentions[i], &points, &p));
            MUST(xp_svr_problem_lowest(&p, &lowest));
            if (p.attention->window && counts[n] > 100 ? lowest > -0.1 : lowest < -1e-9)
                fail_msg("%s of %lld points: v.Kv = %g for a unit vector", p.specification, (long long)counts[n],
                         lowest);
            xp_svr_problem_release(&p);
        }
        xp_svr_points_release(&points);
    }
}

/* Two keys: [[a,b],[b,a]] has the eigenvalues a - b and a + b. */
static void the_lowest_direction_is_the_smallest_eigenvalue(void **state) {
    double kernel[9] = {2, 3, 0, 3, 2, 0, 0, 0, 7}, lowest;
    const xp_svr_problem p = {.size = 3, .kernel = kernel};
    MUST(xp_svr_problem_lowest(&p, &lowest));
    assert_float_equal(lowest, -1, 1e-12);
    kernel[1] = kernel[3] = 1.5;
    MUST(xp_svr_problem_lowest(&p, &lowest));
    assert_float_equal(lowest, 0.5, 1e-12);
}

static void large_scores_overflow_nowhere(void **state) {
    xp_svr_points points = make_points(64, 1, 9);
    for (int64_t e = 0; e < points.count * points.width; e++) points.keys[e] *= 30; /* scores to 16000 */
    for (int64_t e = 0; e < points.grid_count * points.width; e++) points.grid_keys[e] *= 30;
    xp_svr_result r;
    MUST(xp_svr_run(devices[0], &xp_svr_attentions[0], &points, &usual, &r));
    assert_below("attention - SVR", "softmax", r.difference, 2e-3); /* scores that large have no digits left */
    assert_below("the relative duality gap", "softmax", r.judgement.gap, 1e-4);
    xp_svr_result_release(&r);
    xp_svr_points_release(&points);
}

static void every_query_stands_in_one_block(void **state) {
    xp_svr_points points = make_points(50, 1, 10); /* blocks of 13, 13, 13 and 11 */
    xp_svr_problem p;
    MUST(xp_svr_problem_make(&xp_svr_attentions[4], &points, &p));
    assert_string_equal(p.specification, "softmax+block(13)");
    for (int64_t i = 0; i < p.queries; i++) {
        int64_t first = -1, seen = 0;
        for (int64_t j = 0; j < p.size; j++)
            if (xp_svr_problem_sees(&p, i, j)) {
                if (first < 0) first = j;
                seen++;
            }
        assert_int_equal(first % 13, 0);
        assert_int_equal(seen, first == 39 ? 11 : 13);
        if (i < points.count) {
            assert_int_equal(first, i / 13 * 13);
        } else { /* the block of the point before it */
            const double position = points.grid_positions[i - points.count];
            assert_true(points.positions[first] <= position);
            assert_true(first == 39 || points.positions[first + 13] > position);
        }
    }
    xp_svr_problem_release(&p);
    xp_svr_points_release(&points);
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static const char good_data[] =
    "\xEF\xBB\xBFx, y1, y2\n3,1,0\n1,0,1\n\n2,5,3\n4,1,1\n5,0,2\n6,2,2\r\n7,1,0\n8,3,1\n9,0,0\n";

static void a_csv_is_sorted_and_standardised(void **state) {
    const char *path = scratch_write("good.csv", good_data, strlen(good_data));
    xp_svr_points_options options = xp_svr_points_default();
    xp_svr_points points;
    MUST(xp_svr_points_read(path, &options, &points));
    assert_int_equal(points.count, 9);
    assert_int_equal(points.outputs, 2);
    double sum = 0, square = 0;
    for (int i = 0; i < 9; i++) {
        assert_true(points.positions[i] == i + 1);
        sum += points.targets[2 * i];
        square += pow(points.targets[2 * i], 2);
    }
    assert_float_equal(sum, 0, 1e-12);
    assert_float_equal(square, 9, 1e-12);
    assert_true(points.targets[2] > points.targets[0] && points.targets[2] > points.targets[4]); /* y1 = 5 at x = 2 */
    for (int c = 0; c < 16; c++) assert_true(points.grid_keys[c] == points.keys[c]); /* both stand at x = 1 */
    xp_svr_points_release(&points);
    options.raw = true;
    MUST(xp_svr_points_read(path, &options, &points));
    assert_int_equal(points.width, 1);
    assert_true(points.keys[4] == 5 && points.grid_count == 0);
    xp_svr_points_release(&points);
}

static void reject(const char *text, const char *expected) {
    xp_svr_points_options options = xp_svr_points_default();
    xp_svr_points points;
    const char *path = scratch_write("bad.csv", text, strlen(text));
    assert_int_equal(xp_svr_points_read(path, &options, &points), XP_BAD_DATA);
    if (!strstr(xp_last_error(), expected)) fail_msg("\"%s\" is not in: %s", expected, xp_last_error());
}

static void bad_data_are_named_with_their_place(void **state) {
    reject("", "bad.csv:1:1: the first line names");
    reject("x,speed\n1,2\n", "bad.csv:1:3: the first line names");
    reject("x1,x2\n1,2\n", "no column is named y");
    reject("y\n1\n", "no column is named x");
    reject("x,y\n1,2\n3,4\n", "2 points; the number must be between 8 and 4096");
    reject("x,y\n1,2\n2,3\n3,4\n4,5\n5,6\n6,7\n7,8\n8,\n", "bad.csv:9: 1 values, but");
    reject("x,y\n1,2\n2,3\n3,4\n4,5\n5,6\n6,seven\n7,8\n8,9\n", "bad.csv:7:3: expected a number");
    reject("x,y\n1,2\n2,3\n3,4\n4,5,6\n5,6\n6,7\n7,8\n8,9\n", "bad.csv:5:4: more values");
    reject("x,y\n1,2\n2,3\n3,4\n4,1e60\n5,6\n6,7\n7,8\n8,9\n", "bad.csv:5:3: expected a number");
    reject("x,y\n1,2\n2,2\n3,2\n4,2\n5,2\n6,2\n7,2\n8,2\n", "nothing to fit");
}

static void options_that_make_no_sense_are_rejected(void **state) {
    xp_svr_points_options options = xp_svr_points_default();
    xp_svr_points points;
    options.dimensions = 15;
    assert_int_equal(xp_svr_points_make(&options, &points), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "15 dimensions"));
    options.dimensions = 258;
    assert_int_equal(xp_svr_points_make(&options, &points), XP_INVALID_ARGUMENT);
    options = xp_svr_points_default();
    options.count = 7;
    assert_int_equal(xp_svr_points_make(&options, &points), XP_INVALID_ARGUMENT);
    points = make_points(16, 1, 1);
    xp_svr_result result;
    assert_int_equal(xp_svr_run(devices[0], &xp_svr_attentions[0], &points, &(xp_svr_options){.cost = 0}, &result),
                     XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "C is 0"));
    assert_int_equal(xp_svr_run(devices[0], &xp_svr_attentions[0], &points,
                                &(xp_svr_options){.cost = 1, .epsilon = (double)NAN}, &result),
                     XP_INVALID_ARGUMENT);
    xp_svr_points_release(&points);
}

static int open_all(void **state) {
    return open_devices(state) == 0 ? scratch_make(state) : -1;
}

static int close_all(void **state) {
    return close_devices(state) == 0 ? scratch_remove(state) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_with_the_values_of_an_svr_is_its_prediction),
        cmocka_unit_test(so_it_is_with_a_fitted_b),
        cmocka_unit_test(the_values_go_into_plain_softmax),
        cmocka_unit_test(keys_inside_the_tube_have_no_value),
        cmocka_unit_test(copies_of_a_point_are_a_weight_in_the_score),
        cmocka_unit_test(our_solver_with_a_constant_feature_meets_libsvm),
        cmocka_unit_test(the_judge_sees_what_is_wrong),
        cmocka_unit_test(a_window_of_many_points_has_a_negative_direction_and_the_others_have_none),
        cmocka_unit_test(the_lowest_direction_is_the_smallest_eigenvalue),
        cmocka_unit_test(large_scores_overflow_nowhere),
        cmocka_unit_test(every_query_stands_in_one_block),
        cmocka_unit_test(a_csv_is_sorted_and_standardised),
        cmocka_unit_test(bad_data_are_named_with_their_place),
        cmocka_unit_test(options_that_make_no_sense_are_rejected),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
