/* Texts, numbers, JSON, arrays and charts: the same in every locale. */
#include "core/array.h"
#include "core/chart.h"
#include "core/json.h"
#include "core/random.h"
#include "core/text.h"
#include "core/writer.h"
#include "support.h"

#include <locale.h>

/* --- encodings ---------------------------------------------------------------------------------------------------- */

static void only_whole_characters_that_json_can_hold_are_utf_8(void **state) {
    static const struct {
        const char *text;
        size_t good;
    } cases[] = {{"plain", 5},
                 {"\xc3\xa9", 2},
                 {"a\xe2\x82\xac", 4},
                 {"\xf0\x9f\x98\x80", 4},
                 {"a\xe9", 1},
                 {"\xc3", 0},
                 {"ab\x80", 2},
                 {"\xc0\x80", 0},
                 {"\xe0\x80\x80", 0},
                 {"\xed\xa0\x80", 0},
                 {"\xf0\x8f\xbf\xbf", 0},
                 {"\xf4\x90\x80\x80", 0},
                 {"\xf5\x80", 0},
                 {"\xf4\x8f\xbf\xbf", 4},
                 {"\xe2\x82", 0},
                 {"", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(xp_text_utf8(cases[i].text, strlen(cases[i].text)), cases[i].good);
}

static void utf_16_becomes_utf_8(void **state) {
    static const char bytes[] =
        "\xff\xfe\xe9\x00\xac\x20\x3d\xd8\x00\xde\x00\xde\x3d\xd8\x41\x00\x3d\xd8"; /* an odd end: the NUL */
    char *text = NULL;
    size_t length = 0;
    assert_true(xp_text_is_utf16(bytes, sizeof bytes));
    assert_int_equal(xp_text_from_utf16(bytes, sizeof bytes, &text, &length), XP_OK);
    assert_string_equal(text, "\xef\xbb\xbf\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd"
                              "A\xef\xbf\xbd");
    assert_int_equal(length, strlen(text));
    free(text);
    assert_false(xp_text_is_utf16("\0\0\x08\x03", 4)); /* IDX */
    assert_false(xp_text_is_utf16("@da\0", 4));
}

/* --- arrays and texts --------------------------------------------------------------------------------------------- */

static void arrays_grow_by_doubling_and_stay_as_they_are_where_memory_ends(void **state) {
    int64_t *numbers = NULL;
    size_t room = 0, grown = 0;
    for (size_t i = 0; i < 100000; i++) {
        const size_t before = room;
        assert_true(xp_array_reserve(&numbers, &room, i, 1, sizeof *numbers));
        grown += room != before;
        numbers[i] = (int64_t)i;
    }
    assert_true(grown < 20);
    for (size_t i = 0; i < 100000; i++) assert_int_equal(numbers[i], i);
    int64_t *const before = numbers;
    const size_t room_before = room;
    assert_false(xp_array_reserve(&numbers, &room, 100000, SIZE_MAX / 8, sizeof *numbers));
    assert_false(xp_array_reserve(&numbers, &room, 100000, SIZE_MAX, sizeof *numbers));
    assert_ptr_equal(numbers, before);
    assert_int_equal(room, room_before);
    free(numbers);
}

static void what_does_not_fit_is_left_out_of_a_text(void **state) {
    char text[8] = "";
    xp_text_add(text, sizeof text, "%s", "abc");
    xp_text_add(text, sizeof text, "%d", 12);
    assert_string_equal(text, "abc12");
    xp_text_add(text, sizeof text, "%s", "defgh");
    assert_string_equal(text, "abc12de");
    xp_text_add(text, sizeof text, "%s", "i");
    assert_string_equal(text, "abc12de");
}

static void numbers_have_as_many_digits_as_are_asked_for(void **state) {
    static const struct {
        double value;
        const char *text, *signed_text;
    } expected[] = {{124493.4, "124493", "+124493"},  {0.00206, "0.0020600", "+0.0020600"},
                    {-9.99999, "-10.000", "-10.000"}, {0, "0.0000", "+0.0000"},
                    {2.5e-5, "2.5e-05", "+2.5e-05"},  {1.23456e9, "1.2346e+09", "+1.2346e+09"},
                    {(double)NAN, "nan", "+nan"}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char text[32] = "", with_sign[32] = "";
        xp_text_add_number(text, sizeof text, expected[i].value, 5, false);
        xp_text_add_number(with_sign, sizeof with_sign, expected[i].value, 5, true);
        assert_string_equal(text, expected[i].text);
        assert_string_equal(with_sign, expected[i].signed_text);
    }
}

/* --- charts ------------------------------------------------------------------------------------------------------- */

/* Linear red, green and blue of "#rrggbb". */
static void linear_of(const char *colour, double out[3]) {
    const long all = strtol(colour + 1, NULL, 16);
    for (int i = 0; i < 3; i++) {
        const double part = (double)(all >> (16 - 8 * i) & 255) / 255;
        out[i] = part <= 0.04045 ? part / 12.92 : pow((part + 0.055) / 1.055, 2.4);
    }
}

/* As deuteranopia sees it (Machado, Oliveira and Fernandes, 2009). */
static void without_green(double rgb[3]) {
    static const double matrix[3][3] = {
        {0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}};
    const double before[3] = {rgb[0], rgb[1], rgb[2]};
    for (int i = 0; i < 3; i++) {
        rgb[i] = 0;
        for (int k = 0; k < 3; k++) rgb[i] += matrix[i][k] * before[k];
        rgb[i] = fmin(fmax(rgb[i], 0), 1);
    }
}

/* CIE L*a*b* of linear sRGB, white D65. */
static void lab_of(const double rgb[3], double out[3]) {
    static const double matrix[3][3] = {{0.4124, 0.3576, 0.1805}, {0.2126, 0.7152, 0.0722}, {0.0193, 0.1192, 0.9505}};
    static const double white[3] = {0.9505, 1, 1.089};
    double f[3];
    for (int i = 0; i < 3; i++) {
        const double t = (matrix[i][0] * rgb[0] + matrix[i][1] * rgb[1] + matrix[i][2] * rgb[2]) / white[i];
        f[i] = t > 0.008856 ? cbrt(t) : 7.787 * t + 16.0 / 116;
    }
    out[0] = 116 * f[1] - 16;
    out[1] = 500 * (f[0] - f[1]);
    out[2] = 200 * (f[1] - f[2]);
}

static double colour_distance(const char *one, const char *other, bool deuteranopia) {
    double colours[2][3], lab[2][3];
    linear_of(one, colours[0]);
    linear_of(other, colours[1]);
    for (int i = 0; i < 2; i++) {
        if (deuteranopia) without_green(colours[i]);
        lab_of(colours[i], lab[i]);
    }
    return sqrt(pow(lab[0][0] - lab[1][0], 2) + pow(lab[0][1] - lab[1][1], 2) + pow(lab[0][2] - lab[1][2], 2));
}

static double luminance_of(const char *colour) {
    double rgb[3];
    linear_of(colour, rgb);
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
}

/* The ratio of WCAG. */
static double contrast(const char *one, const char *other) {
    const double a = luminance_of(one), b = luminance_of(other);
    return (fmax(a, b) + 0.05) / (fmin(a, b) + 0.05);
}

static const char *dark_of(const char *light) {
    for (const xp_svg_colour *each = xp_svg_palette; each->light; each++)
        if (strcmp(each->light, light) == 0) return each->dark;
    fail_msg("%s is not in the palette", light);
    return "";
}

/* A distance of 2.3 is just noticed. Thin lines need a contrast of 3, text one of 4.5. */
static void lines_of_a_picture_are_told_apart_also_without_seeing_green(void **state) {
    for (int dark = 0; dark < 2; dark++) {
        const char *paper = dark ? dark_of(XP_SVG_PAPER) : XP_SVG_PAPER,
                   *soft = dark ? dark_of(XP_SVG_SOFT) : XP_SVG_SOFT;
        assert_true(contrast(soft, paper) > 4.5);
        for (int i = 0; i < XP_SVG_SERIES; i++) {
            const char *one = dark ? dark_of(xp_svg_series[i]) : xp_svg_series[i];
            assert_true(contrast(one, paper) > 3);
            for (int k = 0; k < i; k++) {
                const char *other = dark ? dark_of(xp_svg_series[k]) : xp_svg_series[k];
                const double seen = fmin(colour_distance(one, other, false), colour_distance(one, other, true));
                if (seen < 20) fail_msg("%s and %s have a distance of %.1f", one, other, seen);
            }
        }
    }
}

static void a_long_title_is_cut_where_it_would_be_too_small(void **state) {
    char text[12], title[] = "thirty characters are in this,and forty-nine are in all of it";
    xp_writer out = {0};
    xp_svg_shorten("années", 6, text, sizeof text);
    assert_string_equal(text, "années");
    xp_svg_shorten("années", 3, text, sizeof text);
    assert_string_equal(text, "ann…");
    xp_svg_shorten("ééé", 2, text, sizeof text);
    assert_string_equal(text, "éé…");
    xp_svg_shorten("abcdefghij", 9, text, sizeof text);
    assert_string_equal(text, "abcdefgh…"); /* the room is full */
    xp_svg_begin(&out, 48 + 30 * 6.8, 100, title);
    assert_non_null(
        strstr(out.text, "font-size=\"10.0\" fill=\"#1f2937\" font-weight=\"600\">thirty characters are in this,…<"));
    assert_non_null(strstr(out.text, "all of it</title>"));
    xp_writer_release(&out);
}

static void ticks_are_told_apart_by_their_labels(void **state) {
    static const struct {
        double value, step;
        bool percent;
        const char *label;
    } ticks[] = {{98.005, 0.005, true, "98.005 %"}, {98, 0.5, true, "98.0 %"},        {20, 20, true, "20 %"},
                 {0.25, 0.05, false, "0.25"},       {1.2e-5, 2e-6, false, "1.2e-05"}, {120000, 20000, false, "120000"},
                 {-0.2, 0.1, false, "-0.2"},        {1e-17, 0.1, true, "0 %"}};
    for (size_t i = 0; i < sizeof ticks / sizeof ticks[0]; i++) {
        char text[32];
        xp_svg_tick_text(ticks[i].value, ticks[i].step, ticks[i].percent, text);
        assert_string_equal(text, ticks[i].label);
    }
}

static void a_chart_encloses_its_values_in_round_numbers(void **state) {
    xp_chart chart = {.left = 10, .top = 20, .width = 100, .height = 50, .x_low = 1, .x_high = 3};
    xp_chart_round_range(&chart, 0.13, 0.87);
    assert_float_equal(chart.y_low, 0, 1e-12);
    assert_float_equal(chart.y_high, 1, 1e-12);
    assert_float_equal(xp_chart_x(&chart, 2), 60, 1e-12);
    assert_float_equal(xp_chart_y(&chart, 0.25), 57.5, 1e-12);
    assert_float_equal(xp_chart_y(&chart, 7), 20, 1e-12); /* the border */
    chart.x_high = 1;
    assert_float_equal(xp_chart_x(&chart, 1), 60, 1e-12);
    chart.percent = true;
    xp_chart_round_range(&chart, 31, 100);
    assert_float_equal(chart.y_high, 100, 1e-12);
    xp_chart_round_range(&chart, INFINITY, -INFINITY); /* no values */
    assert_true(chart.y_low < chart.y_high);
    xp_chart_round_range(&chart, -2, -2);
    assert_true(chart.y_low < -2 && chart.y_high > -2);
}

static void an_axis_is_labelled_at_round_numbers_and_its_zero_is_zero(void **state) {
    const xp_chart chart = {.width = 100, .height = 50, .x_low = -0.31, .x_high = 0.19, .y_low = -0.3, .y_high = 0.2};
    xp_writer out = {0};
    xp_chart_axes(&out, &chart);
    assert_non_null(strstr(out.text, ">-0.2<"));
    assert_non_null(strstr(out.text, ">0<"));
    assert_null(strstr(out.text, "e-1"));
    xp_writer_release(&out);
    xp_chart_ticks_x(&out, &chart);
    assert_non_null(strstr(out.text, ">-0.2<"));
    assert_non_null(strstr(out.text, ">0<"));
    xp_writer_release(&out);
}

/* --- durations ---------------------------------------------------------------------------------------------------- */

static void durations_have_units(void **state) {
    static const struct {
        const char *text;
        int64_t seconds;
        const char *printed;
    } good[] = {{"1s", 1, "1s"},       {"90s", 90, "90s"},           {"10m", 600, "10m"}, {"1h30m", 5400, "90m"},
                {"1.5h", 5400, "90m"}, {"2h", 7200, "2h"},           {"1d", 86400, "1d"}, {"1d1s", 86401, "86401s"},
                {"60m", 3600, "1h"},   {"3650d", 315360000, "3650d"}};
    static const char *const bad[] = {"",    "5",   "h",    "0s",    "0.2s",  "-5m", "5x",
                                      "5m ", "5 m", "1h30", "1e99d", "3651d", "5M"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t seconds = 0;
        char printed[32];
        if (!xp_text_duration(good[i].text, &seconds)) fail_msg("'%s' is rejected", good[i].text);
        assert_int_equal(seconds, good[i].seconds);
        xp_text_print_duration(seconds, printed);
        assert_string_equal(printed, good[i].printed);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t seconds = 7;
        if (xp_text_duration(bad[i], &seconds) || seconds != 7) fail_msg("'%s' passes", bad[i]);
    }
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static void assert_number(const char *text, double expected, size_t expected_length) {
    double value = 0;
    size_t length = 0;
    assert_int_equal(xp_text_number(text, &value, &length), XP_OK);
    if (length != expected_length || (length > 0 && value != expected)) {
        fail_msg("'%s' reads as %g over %zu characters, expected %g over %zu", text, value, length, expected,
                 expected_length);
    }
}

static void assert_numbers(void) {
    assert_number("1.5,2", 1.5, 3);
    assert_number("1,5", 1, 1);
    assert_number("-.25e2:", -25, 6);
    assert_number("+7.", 7, 3);
    assert_number("3.e-1 ", 0.3, 5);
    assert_number("2e", 2, 1);
    assert_number("2e+", 2, 1);
    assert_number("0x10", 0, 1);
    assert_number("1e999", INFINITY, 5);
    assert_number("1.000", 1, 5);
    const char *none[] = {"", ".", "-", "-.", "e5", "inf", "nan", " 1", ",5"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) assert_number(none[i], 0, 0);
}

static void short_numbers_are_rounded_as_strtod_rounds(void **state) {
    xp_random random;
    xp_random_start(&random, 11, 0);
    for (int i = 0; i < 100000; i++) {
        const int digits = 1 + (int)xp_random_below(&random, 17), point = (int)xp_random_below(&random, 19);
        char text[32] = "-";
        int used = (int)xp_random_below(&random, 2);
        for (int j = 0; j < digits; j++) {
            if (j == point) text[used++] = '.';
            text[used++] = (char)('0' + xp_random_below(&random, 10));
        }
        text[used] = '\0';
        double value = 0;
        size_t length = 0;
        assert_int_equal(xp_text_number(text, &value, &length), XP_OK);
        const double expected = strtod(text, NULL);
        if (memcmp(&value, &expected, sizeof value) != 0 || length != (size_t)used)
            fail_msg("'%s' reads as %.17g", text, value);
    }
}

static void numbers_read_alike_in_the_c_locale(void **state) {
    assert_numbers();
}

/* A locale with a decimal comma of our own making: the machine need not have a German one installed. */
static void numbers_read_alike_with_a_decimal_comma(void **state) {
    static const char source[] = "comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\n"
                                 "grouping 3;3\nEND LC_NUMERIC\n";
    scratch_write("comma", source, sizeof source - 1);
    char command[1200];
    snprintf(command, sizeof command, "localedef -c -i '%s' '%s' 2>/dev/null", scratch_path("comma"),
             scratch_path("xx_XX"));
    int made = system(command);
    setenv("LOCPATH", scratch_folder, 1);
    const char *tried[] = {"xx_XX", "de_DE.UTF-8", "de_DE.utf8", "de_DE"};
    bool found = false;
    for (size_t i = 0; i < sizeof tried / sizeof tried[0] && !found; i++) {
        if (i == 1) unsetenv("LOCPATH");
        found = setlocale(LC_ALL, tried[i]) && strcmp(localeconv()->decimal_point, ",") == 0;
    }
    unsetenv("LOCPATH");
    if (!found) {
        print_message("no locale with a decimal comma can be made here (localedef ended with %d)\n", made);
        skip();
    }
    double plain = strtod("1,5", NULL);
    assert_true(plain == 1.5); /* the locale is in force */
    assert_numbers();
    setlocale(LC_ALL, "C");
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *parsed(const char *text) {
    json_error_t error = {.text = "nothing"};
    json_t *value = NULL;
    assert_int_equal(xp_json_read("a text", text, strlen(text), &value, &error), XP_OK);
    if (!value) fail_msg("%s: %s at %d:%d", text, error.text, error.line, error.column);
    return value;
}

static void json_is_read_as_jansson_reads_it(void **state) {
    static const char *const texts[] = {
        "{}", "[]", " [ 1 , -0, 12.5e-3, 1E+2, 9223372036854775807, -9223372036854775808, 0.1, true, false, null ] \n",
        "{\"a\": {\"b\": [{}, [], \"\"]}, \"\": \"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"}",
        "[\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00 caf\xc3\xa9 \xf0\x9f\x98\x80\"]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *ours = parsed(texts[i]), *theirs = json_loads(texts[i], 0, NULL);
        assert_non_null(theirs);
        if (!json_equal(ours, theirs)) fail_msg("%s is read as another value", texts[i]);
        json_decref(ours);
        json_decref(theirs);
    }
}

static void what_is_no_json_is_rejected_with_its_place(void **state) {
    static const struct {
        const char *text;
        int line, column;
    } bad[] = {
        {"", 1, 1},
        {"{\"a\": 1,\n \"b\" 2}", 2, 6},
        {"{\"a\": 1, \"a\": 2}", 1, 13},
        {"[1, 2", 1, 6},
        {"[01]", 1, 2},
        {"[1.]", 1, 2},
        {"[.5]", 1, 2},
        {"[+1]", 1, 2},
        {"[1e999]", 1, 2},
        {"[9223372036854775808]", 1, 2},
        {"[nul]", 1, 2},
        {"[\"a]", 1, 3},
        {"[\"a\nb\"]", 1, 4},
        {"[\"\\x\"]", 1, 5},
        {"[\"\\u0000\"]", 1, 9},
        {"[\"\\ud83d\"]", 1, 9},
        {"[\"\\ude00\"]", 1, 9},
        {"[\"\xc0\xaf\"]", 1, 5},
        {"{1: 2}", 1, 2},
        {"[] []", 1, 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_error_t error;
        json_t *value = NULL;
        assert_int_equal(xp_json_read("a text", bad[i].text, strlen(bad[i].text), &value, &error), XP_OK);
        if (value || error.line != bad[i].line || error.column != bad[i].column)
            fail_msg("%s: expected a fault at %d:%d, got %s at %d:%d", bad[i].text, bad[i].line, bad[i].column,
                     value ? "a value" : error.text, error.line, error.column);
    }
}

static void brackets_without_end_do_not_take_the_stack(void **state) {
    static char text[1 << 20];
    json_error_t error;
    json_t *value = NULL;
    memset(text, '[', sizeof text);
    assert_int_equal(xp_json_read("a text", text, sizeof text, &value, &error), XP_OK);
    assert_null(value);
    assert_non_null(strstr(error.text, "nested too deeply"));
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void numbers_are_the_shortest_text_that_reads_back(void **state) {
    static const struct {
        double value;
        const char *text, *single;
    } cases[] = {{0.1, "0.1", "0.1"},
                 {100, "100", "100"},
                 {1e-5, "1e-05", "1e-05"},
                 {1e22, "1e+22", "1e+22"},
                 {1234567, "1234567", "1234567"},
                 {-0.0, "-0", "-0"},
                 {1.0 / 3, "0.3333333333333333", "0.33333334"},
                 {NAN, ".nan", ".nan"},
                 {-INFINITY, "-.inf", "-.inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        xp_writer number = {0}, single = {0};
        xp_write_number(&number, cases[i].value);
        xp_write_float(&single, (float)cases[i].value);
        assert_string_equal(number.text, cases[i].text);
        assert_string_equal(single.text, cases[i].single);
        xp_writer_release(&number);
        xp_writer_release(&single);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_whole_characters_that_json_can_hold_are_utf_8),
        cmocka_unit_test(utf_16_becomes_utf_8),
        cmocka_unit_test(short_numbers_are_rounded_as_strtod_rounds),
        cmocka_unit_test(arrays_grow_by_doubling_and_stay_as_they_are_where_memory_ends),
        cmocka_unit_test(what_does_not_fit_is_left_out_of_a_text),
        cmocka_unit_test(numbers_have_as_many_digits_as_are_asked_for),
        cmocka_unit_test(a_chart_encloses_its_values_in_round_numbers),
        cmocka_unit_test(lines_of_a_picture_are_told_apart_also_without_seeing_green),
        cmocka_unit_test(a_long_title_is_cut_where_it_would_be_too_small),
        cmocka_unit_test(ticks_are_told_apart_by_their_labels),
        cmocka_unit_test(an_axis_is_labelled_at_round_numbers_and_its_zero_is_zero),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(numbers_read_alike_in_the_c_locale),
        cmocka_unit_test(numbers_read_alike_with_a_decimal_comma),
        cmocka_unit_test(json_is_read_as_jansson_reads_it),
        cmocka_unit_test(what_is_no_json_is_rejected_with_its_place),
        cmocka_unit_test(brackets_without_end_do_not_take_the_stack),
        cmocka_unit_test(numbers_are_the_shortest_text_that_reads_back),
    };
    return cmocka_run_group_tests_name("core", tests, scratch_make, scratch_remove);
}
