/* The attention specification: what parses, what is refused and where the message points. */
#include "core/random.h"
#include "model/specification.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static xp_specification parsed(const char *text) {
    xp_specification specification;
    if (xp_specification_parse(text, &specification) != XP_OK) fail_msg("%s: %s", text, xp_last_error());
    return specification;
}

static void assert_prints(const char *text, const char *expected) {
    char printed[512];
    xp_specification specification = parsed(text);
    const size_t length = xp_specification_print(&specification, printed, sizeof printed);
    assert_string_equal(printed, expected);
    assert_int_equal(length, strlen(expected));
}

static void assert_refused(const char *text, int column, const char *reason) {
    xp_specification specification;
    char place[32];
    snprintf(place, sizeof place, "column %d: ", column);
    assert_int_equal(xp_specification_parse(text, &specification), XP_INVALID_ARGUMENT);
    if (!strstr(xp_last_error(), place) || !strstr(xp_last_error(), reason))
        fail_msg("%s: \"%s\" names neither \"%s\" nor \"%s\"", text, xp_last_error(), place, reason);
}

static bool equal(const xp_specification *a, const xp_specification *b) {
    return a->features == b->features && a->bn == b->bn && a->bn_beta == b->bn_beta &&
           a->bn_beta_learned == b->bn_beta_learned && a->bn_scale == b->bn_scale && a->bn_epsilon == b->bn_epsilon &&
           a->scale_count == b->scale_count &&
           memcmp(a->scales, b->scales, sizeof a->scales[0] * (size_t)a->scale_count) == 0;
}

static void defaults_are_the_papers(void **state) {
    const xp_specification plain = parsed("softmax"), bn = parsed("softmax+bn"), both = parsed("softmax+bn+sh(1,2,4)");
    assert_false(plain.bn);
    assert_int_equal(plain.scale_count, 0);
    assert_true(bn.bn && bn.bn_scale && !bn.bn_beta_learned && bn.bn_beta == 1 && bn.bn_epsilon == 1e-5f);
    assert_true(both.bn && both.scale_count == 3 && both.scales[0] == 1 && both.scales[2] == 4);
    assert_true(parsed("softmax+bn(beta=learned)").bn_beta_learned);
    assert_float_equal(parsed("softmax+bn(beta=-.5)").bn_beta, -0.5, 0);
    assert_false(parsed("softmax+bn(scale=off)").bn_scale);
}

static void printing_is_short_and_in_one_order(void **state) {
    assert_prints(" softmax + sh ( 1 , 02,4 ) +\tbn ", "softmax+bn+sh(1,2,4)");
    assert_prints("softmax+bn(beta=1,scale=on,eps=1e-5)", "softmax+bn");
    assert_prints("softmax+bn(eps=0.00100, beta = 0.600)", "softmax+bn(beta=0.6,eps=0.001)");
    assert_prints("softmax+bn(scale=off,beta=learned)", "softmax+bn(beta=learned,scale=off)");
    char small[8];
    const xp_specification specification = parsed("softmax+bn+sh(1)");
    assert_int_equal(xp_specification_print(&specification, small, sizeof small), strlen("softmax+bn+sh(1)"));
    assert_string_equal(small, "softmax");
    assert_int_equal(xp_specification_print(&specification, NULL, 0), strlen("softmax+bn+sh(1)"));
}

static void faults_are_marked_and_explained(void **state) {
    assert_refused("", 1, "expected a kernel");
    assert_refused("  ", 3, "expected a kernel");
    assert_refused("bn", 1, "kernel first");
    assert_refused("sotfmax", 1, "did you mean \"softmax\"?");
    assert_refused("softmax+nb", 9, "did you mean");
    assert_refused("softmax+quicksand", 9, "expected a part");
    assert_refused("softmax+", 9, "expected a part");
    assert_refused("softmax+softmax", 9, "once");
    assert_refused("softmax bn", 9, "\"+\"");
    assert_refused("softmax+bn+bn", 12, "twice");
    assert_refused("softmax+sh(1)+sh(2)", 15, "twice");
    assert_refused("softmax+sh(1)x", 14, "the end");
    assert_refused("softmax+bn(", 12, "beta, scale or eps");
    assert_refused("softmax+bn()", 12, "beta, scale or eps");
    assert_refused("softmax+bn(bta=1)", 12, "did you mean \"beta\"?");
    assert_refused("softmax+bn(beta=1", 18, "\")\"");
    assert_refused("softmax+bn(beta 1)", 17, "\"=\"");
    assert_refused("softmax+bn(beta=)", 17, "a number");
    assert_refused("softmax+bn(beta=nan)", 17, "\"nan\" is not known");
    assert_refused("softmax+bn(beta=1e99)", 17, "too large");
    assert_refused("softmax+bn(beta=lerned)", 17, "did you mean \"learned\"?");
    assert_refused("softmax+bn(beta=1,beta=2)", 19, "twice");
    assert_refused("softmax+bn(beta=0,6)", 19, "\"6\" is not known");
    assert_refused("softmax+bn(eps=0)", 16, "greater than 0");
    assert_refused("softmax+bn(eps=-1e-5)", 16, "greater than 0");
    assert_refused("softmax+bn(eps=1e-99)", 16, "greater than 0");
    assert_refused("softmax+bn(scale=maybe)", 18, "on or off");
    assert_refused("softmax+sh", 11, "the scales");
    assert_refused("softmax+sh()", 12, "a whole number");
    assert_refused("softmax+sh(0)", 12, "a whole number");
    assert_refused("softmax+sh(-1)", 12, "a whole number");
    assert_refused("softmax+sh(1.5)", 12, "a whole number");
    assert_refused("softmax+sh(1,,2)", 14, "a whole number");
    assert_refused("softmax+sh(99999999999999999999999)", 12, "a whole number");
    assert_refused("softmax+sh(1;2)", 13, "\",\"");
    xp_specification specification;
    assert_int_equal(xp_specification_parse(NULL, &specification), XP_INVALID_ARGUMENT);
}

static void parts_to_come_are_refused_by_name(void **state) {
    assert_refused("linear(elu)", 1, "\"linear\" is not available in this version");
    const char *const parts[] = {"causal", "window", "strided", "block", "mask", "conv1d", "conv2d", "score"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char text[64], reason[64];
        snprintf(text, sizeof text, "softmax+%s(3)", parts[i]);
        snprintf(reason, sizeof reason, "\"%s\" is not available in this version", parts[i]);
        assert_refused(text, 9, reason);
    }
}

static void too_many_scales_are_refused(void **state) {
    char text[512] = "softmax+sh(1";
    for (int i = 1; i < XP_SPECIFICATION_SCALES; i++) strcat(text, ",1");
    char *end = text + strlen(text);
    strcpy(end, ")");
    assert_int_equal(parsed(text).scale_count, XP_SPECIFICATION_SCALES);
    strcpy(end, ",1)");
    assert_refused(text, (int)(end - text) + 2, "more than 64");
}

static void a_failure_leaves_the_struct_alone(void **state) {
    xp_specification specification = parsed("softmax+sh(3)");
    assert_int_equal(xp_specification_parse("softmax+bn+what", &specification), XP_INVALID_ARGUMENT);
    assert_true(specification.scale_count == 1 && !specification.bn);
}

static void messages_hold_no_control_bytes(void **state) {
    xp_specification specification;
    assert_int_equal(xp_specification_parse("softmax+\033[31mbn", &specification), XP_INVALID_ARGUMENT);
    assert_null(strchr(xp_last_error(), '\033'));
}

static void models_limit_scales(void **state) {
    const xp_specification plain = parsed("softmax+bn"), scaled = parsed("softmax+sh(1,2,4)");
    assert_int_equal(xp_specification_check(&plain, 7, 1), XP_OK);
    assert_int_equal(xp_specification_check(&scaled, 6, 4), XP_OK);
    assert_int_equal(xp_specification_check(&scaled, 8, 4), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "8 heads"));
    assert_int_equal(xp_specification_check(&scaled, 6, 3), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "scale 4"));
}

static xp_specification draw(xp_random *random) {
    xp_specification specification = parsed("softmax");
    if (xp_random_below(random, 3)) {
        specification.bn = true;
        specification.bn_beta_learned = xp_random_below(random, 3) == 0;
        if (!specification.bn_beta_learned && xp_random_below(random, 2))
            specification.bn_beta = (float)xp_random_normal(random);
        specification.bn_scale = xp_random_below(random, 2);
        if (xp_random_below(random, 2)) {
            const uint32_t bits = 1 + xp_random_below(random, 0x7f7fffff); /* any positive finite number */
            memcpy(&specification.bn_epsilon, &bits, sizeof bits);
        }
    }
    if (xp_random_below(random, 3)) specification.scale_count = 1 + (int)xp_random_below(random, 64);
    for (int i = 0; i < specification.scale_count; i++)
        specification.scales[i] = 1 + (int)xp_random_below(random, xp_random_below(random, 2) ? 9 : 32767);
    return specification;
}

static void printing_and_parsing_are_inverse(void **state) {
    xp_random random;
    xp_random_start(&random, 41, 0);
    /* where the machine has it, a locale with a decimal comma must change nothing */
    setlocale(LC_ALL, "de_DE.UTF-8");
    for (int i = 0; i < 5000; i++) {
        char text[1024], again[1024];
        const xp_specification drawn = draw(&random);
        xp_specification_print(&drawn, text, sizeof text);
        const xp_specification back = parsed(text);
        if (!equal(&drawn, &back)) fail_msg("%s does not parse back to what was printed", text);
        xp_specification_print(&back, again, sizeof again);
        assert_string_equal(text, again);
    }
    setlocale(LC_ALL, "C");
}

static void damaged_texts_never_crash(void **state) {
    xp_random random;
    xp_random_start(&random, 43, 0);
    int accepted = 0, refused = 0;
    for (int i = 0; i < 20000; i++) {
        char text[1024];
        const xp_specification drawn = draw(&random);
        xp_specification_print(&drawn, text, sizeof text);
        const size_t length = strlen(text);
        for (uint32_t edits = 1 + xp_random_below(&random, 3); edits > 0; edits--) {
            const size_t at = xp_random_below(&random, (uint32_t)length);
            static const char syntax[] = "+(),=.-e019 bnshbeta\t";
            if (xp_random_below(&random, 4) == 0)
                text[at] = (char)xp_random_below(&random, 256);
            else
                text[at] = syntax[xp_random_below(&random, sizeof syntax)];
        }
        char *copy = strdup(text); /* of exactly its length, so that a read beyond it is seen by a sanitizer */
        assert_non_null(copy);
        xp_specification specification;
        const xp_status status = xp_specification_parse(copy, &specification);
        if (status == XP_OK) {
            char printed[1024];
            xp_specification_print(&specification, printed, sizeof printed);
            const xp_specification back = parsed(printed);
            assert_true(equal(&specification, &back));
            accepted++;
        } else {
            assert_int_equal(status, XP_INVALID_ARGUMENT);
            assert_non_null(strstr(xp_last_error(), "column "));
            refused++;
        }
        free(copy);
    }
    assert_true(accepted > 100 && refused > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_papers),          cmocka_unit_test(printing_is_short_and_in_one_order),
        cmocka_unit_test(faults_are_marked_and_explained),  cmocka_unit_test(parts_to_come_are_refused_by_name),
        cmocka_unit_test(too_many_scales_are_refused),      cmocka_unit_test(a_failure_leaves_the_struct_alone),
        cmocka_unit_test(messages_hold_no_control_bytes),   cmocka_unit_test(models_limit_scales),
        cmocka_unit_test(printing_and_parsing_are_inverse), cmocka_unit_test(damaged_texts_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
