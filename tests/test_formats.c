/* Files of data: what the readers accept, and what they reject and in which words. */
#include "data.h"
#include "data/formats.h"

#include <sys/stat.h>
#include <zlib.h>

/* --- .ts ---------------------------------------------------------------------------------------------------------- */

static void assert_rejected(const char *name, const void *bytes, size_t length, xp_status expected,
                            const char *message) {
    xp_dataset *dataset = NULL;
    xp_status status = xp_dataset_open(&dataset, scratch_write(name, bytes, length), "train");
    if (status != expected || !strstr(xp_last_error(), message)) {
        fail_msg("expected status %d and '… %s …', got %d and '%s'", expected, message, status, xp_last_error());
    }
    assert_null(dataset);
}

static void reject_text(const char *text, xp_status expected, const char *message) {
    assert_rejected("toy.ts", text, strlen(text), expected, message);
}

static void a_file_of_unequal_series_is_laid_out_by_time(void **state) {
    xp_dataset *dataset = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:calm\n");
    assert_ptr_equal(dataset->kind, &xp_series_kind);
    assert_int_equal(dataset->count, 2);
    assert_int_equal(dataset->features, 2);
    assert_int_equal(dataset->length, 3);
    assert_int_equal(dataset->sample_elements, 6);
    assert_int_equal(dataset->classes, 2);
    assert_string_equal(dataset->class_names[1], "wild");
    const float expected[] = {1, 4, 2, 5, 3, 6, 7, 8, 0, 0, 0, 0};
    assert_memory_equal(values_of(dataset), expected, sizeof expected);
    assert_int_equal(dataset->lengths[0], 3);
    assert_int_equal(dataset->lengths[1], 1);
    assert_int_equal(dataset->labels[0], 1);
    assert_int_equal(dataset->labels[1], 0);
    xp_dataset_close(&dataset);
    assert_null(dataset);
}

static void comments_blank_lines_and_windows_line_ends_are_passed_over(void **state) {
    xp_dataset *dataset =
        open_text("\xef\xbb\xbf# a comment\r\n% an older one\r\n\r\n@TIMESTAMPS False\r\n@univariate true\r\n"
                  "@author somebody\r\n@classlabel TRUE a b\r\n@data\r\n\r\n 1 , 2.5e1 : b \r\n# end\r\n\r\n3,4:a");
    assert_int_equal(dataset->count, 2);
    assert_int_equal(dataset->features, 1);
    assert_int_equal(dataset->length, 2);
    assert_true(values_of(dataset)[1] == 25);
    assert_int_equal(dataset->labels[0], 1);
    xp_dataset_close(&dataset);
}

static void a_file_without_labels_has_none(void **state) {
    xp_dataset *dataset = open_text("@univariate true\n@classLabel false\n@data\n1,2\n3\n");
    assert_null(dataset->labels);
    assert_int_equal(dataset->classes, 0);
    assert_int_equal(dataset->count, 2);
    xp_dataset_close(&dataset);
}

static void missing_values_are_filled_along_time(void **state) {
    xp_dataset *dataset = open_text("@univariate false\n@classLabel true a\n@data\n?,2,NaN,nan,8,?:?,?,?,?,?,?:a\n");
    assert_true(isnan(values_of(dataset)[0]));
    assert_int_equal(xp_dataset_interpolate(dataset), XP_OK);
    const float expected[] = {2, 0, 2, 0, 4, 0, 6, 0, 8, 0, 8, 0};
    assert_memory_equal(values_of(dataset), expected, sizeof expected);
    xp_dataset_close(&dataset);
}

static void nan_with_or_without_a_sign_is_a_missing_value(void **state) {
    xp_dataset *dataset = open_text("@univariate true\n@classLabel true a\n@data\n1,-nan,+NaN , NAN,-2,?:a\n");
    const bool missing[] = {false, true, true, true, false, true};
    for (int i = 0; i < 6; i++) assert_true(!!isnan(values_of(dataset)[i]) == missing[i]);
    assert_true(values_of(dataset)[4] == -2);
    xp_dataset_close(&dataset);
    reject_text("@classLabel true a\n@data\n-nano:a\n", XP_BAD_DATA, "toy.ts:3:1: '-nano' is not a number");
    reject_text("@classLabel true a\n@data\n--nan:a\n", XP_BAD_DATA, "toy.ts:3:1: '--nan' is not a number");
}

static void a_series_length_of_minus_1_or_0_says_nothing(void **state) {
    static const char *const lengths[] = {"-1", "0"};
    for (int i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof text, "@seriesLength %s\n@equalLength false\n" CLASSES "1,2:calm\n3:wild\n", lengths[i]);
        xp_dataset *dataset = open_text(text);
        assert_int_equal(dataset->lengths[0], 2);
        assert_int_equal(dataset->lengths[1], 1);
        xp_dataset_close(&dataset);
    }
    reject_text("@seriesLength -2\n" CLASSES "1:calm\n", XP_BAD_DATA,
                "toy.ts:1:15: @seriesLength needs a whole number");
}

static void assert_classes(const char *text, const char *expected, const char *labels) {
    xp_dataset *dataset = open_text(text);
    char joined[256] = "";
    for (int i = 0; i < dataset->classes; i++) {
        strcat(joined, i ? "|" : "");
        strcat(joined, dataset->class_names[i]);
    }
    assert_string_equal(joined, expected);
    for (size_t i = 0; i < strlen(labels); i++) assert_int_equal(dataset->labels[i], labels[i] - '0');
    xp_dataset_close(&dataset);
}

/* The header parts names by spaces, and they may hold some: the samples tell. */
static void class_names_may_hold_spaces(void **state) {
    assert_classes("@classLabel true run walk up\n@data\n1:run\n2:walk up\n", "run|walk up", "01");
    assert_classes("@classLabel true run walk up\n@data\n1:run\n2:walk\n", "run|walk|up", "01");
    assert_classes("@classLabel true up walk walk up\n@data\n1:walk\n2:walk up\n3:up\n", "up|walk|walk up", "120");
    assert_classes("@classLabel true  go left  now go left\n@data\n1: go left  now \n2:go left\n",
                   "go left  now|go left", "01");
    assert_classes("@classLabel true a b a\n@data\n1:b\n", "a|b", "1"); /* named twice, it is one */
    reject_text("@classLabel true run walk up\n@data\n1:walk down\n", XP_BAD_DATA,
                "toy.ts:3:3: 'walk down' is not one of the classes in the header");
}

static void class_names_that_no_file_of_a_run_could_hold_are_placed(void **state) {
    reject_text("@classLabel true caf\xe9 bar\n@data\n1:bar\n", XP_BAD_DATA, "toy.ts:1:21: a name is not UTF-8");
    reject_text("@classLabel true a\xed\xa0\x80\n@data\n1:b\n", XP_BAD_DATA, "toy.ts:1:19: a name is not UTF-8");
    reject_text("@classLabel true a\x1b[2J b\n@data\n1:b\n", XP_BAD_DATA, "toy.ts:1:19: a name has a control");
    reject_text("ab\xff 1 2\nb 1 2\n", XP_BAD_DATA, "toy.ts:1:3: a name is not UTF-8");
    char text[600] = "@classLabel true ";
    memset(text + strlen(text), 'x', 256);
    strcat(text, "\n@data\n1:b\n");
    reject_text(text, XP_BAD_DATA, "toy.ts:1:18: a name has 256 bytes");
    assert_classes("@classLabel true \xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80\n@data\n1:\xf0\x9f\x98\x80\n",
                   "\xc3\xa9t\xc3\xa9|\xf0\x9f\x98\x80", "1");
}

/* A header lists classes, and the samples have none; or writers end the last dimension in a colon. */
static void samples_may_come_without_labels(void **state) {
    static const char *const files[] = {
        "@univariate true\n@classLabel true a b\n@data\n1,2\n3,4\n",
        "@classLabel true a b\n@data\n1,2\n3,4\n",
        "@univariate true\n@classLabel true a b\n@data\n1,2:\n3,4:\n",
        "@dimensions 1\n@classLabel true a b\n@data\n1,2:NaN\n3,4:?\n",
        "@univariate true\n@targetlabel false\n@data\n1,2:\n3,4:\n",
        "@targetlabel false\n@data\n1,2: \n3,4:\n",
        "@classLabel false\n@data\n1,2\n3,4\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        xp_dataset *dataset = open_text(files[i]);
        assert_int_equal(dataset->count, 2);
        assert_int_equal(dataset->features, 1);
        assert_null(dataset->labels);
        assert_true(values_of(dataset)[3] == 4);
        xp_dataset_close(&dataset);
    }
    xp_dataset *dataset = open_text("@dimension 2\n@classLabel true a b\n@data\n1:2:\n3:4:\n");
    assert_int_equal(dataset->features, 2);
    assert_null(dataset->labels);
    xp_dataset_close(&dataset);
    reject_text(
        "@univariate true\n@classLabel true a\n@data\n1,2:a\n1,2\n", XP_BAD_DATA,
        "toy.ts:5:4: the sample has 1 field separated by ':', fewer than the 1 dimension of line 1 and a class");
}

static void single_samples_may_have_a_question_mark_for_a_label(void **state) {
    xp_dataset *dataset = open_text("@univariate true\n@classLabel true a b\n@data\n1:b\n2:?\n3:NaN\n");
    const int32_t expected[] = {1, -1, -1};
    assert_memory_equal(dataset->labels, expected, sizeof expected);
    assert_int_equal(xp_dataset_check_labels(dataset, "toy.ts"), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "sample 1 (counted from 0) has no class label"));
    xp_dataset_close(&dataset);
    assert_classes("@univariate true\n@classLabel true a nan\n@data\n1:nan\n", "a|nan", "1");
}

static void a_label_where_the_first_sample_has_none_is_rejected(void **state) {
    reject_text("@univariate true\n@classLabel true a\n@data\n1:a\n1:\n", XP_BAD_DATA,
                "toy.ts:5:3: the sample has no class label, and that of line 4 has one");
    reject_text("@univariate true\n@classLabel true a\n@data\n1:\n1:a\n", XP_BAD_DATA,
                "toy.ts:5:3: the sample has a class label, and that of line 4 has none");
}

static void a_colon_after_the_label_is_named(void **state) {
    reject_text("@univariate true\n@classLabel true a\n@data\n1,2:a:\n", XP_BAD_DATA,
                "toy.ts:4:6: there is one ':' too many");
}

#define STAMPED "@timestamps TRUE\n@classLabel true a b\n@data\n"

static void values_at_equal_steps_of_time_are_read(void **state) {
    xp_dataset *dataset =
        open_text(STAMPED "(2024-02-28 23:00:00,1),( 2024-02-29T00:00 ,-nan),(2024-02-29 01:00:00.5,3):"
                          "(0.0,4),(0.1,5),(0.2,6):a\n(0,7) , (2,8):(5,9),(6,1e1):b\n");
    assert_int_equal(dataset->features, 2);
    assert_int_equal(dataset->lengths[0], 3);
    const float expected[] = {1, 4, 0, 5, 3, 6, 7, 9, 8, 10, 0, 0};
    float *values = values_of(dataset);
    assert_true(isnan(values[2]));
    values[2] = 0;
    assert_memory_equal(values, expected, sizeof expected);
    assert_int_equal(dataset->labels[1], 1);
    xp_dataset_close(&dataset);
}

static void times_that_positions_cannot_stand_for_are_rejected(void **state) {
    reject_text(STAMPED "(0,1),(1,2),(3,4):a\n", XP_UNSUPPORTED,
                "toy.ts:4:13: the time steps of this series are not equal");
    reject_text(STAMPED "(2023-02-28,1),(2023-03-01,2),(2023-03-03,2):a\n", XP_UNSUPPORTED,
                "toy.ts:4:31: the time steps");
    reject_text(STAMPED "(1,1),(1,2):a\n", XP_UNSUPPORTED, "toy.ts:4:7: the time steps");
    reject_text(STAMPED "(noon,1):a\n", XP_BAD_DATA, "toy.ts:4:2: 'noon' is not a time stamp");
    reject_text(STAMPED "(2024-13-01 10:00,1):a\n", XP_BAD_DATA, "toy.ts:4:2: '2024-13-01 10:00' is not a time stamp");
    reject_text(STAMPED "(2024-01-01 10:00:1e300,1):a\n", XP_BAD_DATA,
                "toy.ts:4:2: '2024-01-01 10:00:1e300' is not a time stamp");
    reject_text(STAMPED "(0,1,2):a\n", XP_UNSUPPORTED, "toy.ts:4:5: more than one value at a time");
    reject_text(STAMPED "(0,1),2:a\n", XP_BAD_DATA, "toy.ts:4:7: expected a value with its time stamp");
    reject_text(STAMPED "(0,x):a\n", XP_BAD_DATA, "toy.ts:4:4: 'x' is not a number");
    reject_text("@classLabel true a\n@data\n(0,1):a\n", XP_BAD_DATA,
                "toy.ts:3:1: values with time stamps, (time,value), need '@timeStamps true'");
}

static void targets_follow_the_dimensions(void **state) {
    float targets[2];
    xp_dataset *dataset = open_text("@targetlabel true\n@classlabel false\n@data\n1:3:-4.5,1e3\n6:7: ? , 8\n");
    assert_int_equal(dataset->features, 2);
    assert_int_equal(dataset->targets, 2);
    assert_string_equal(dataset->target_names[1], "target 2");
    assert_null(dataset->labels);
    assert_int_equal(xp_dataset_read_targets(dataset, 0, targets), XP_OK);
    assert_true(targets[0] == -4.5f && targets[1] == 1000);
    assert_int_equal(xp_dataset_read_targets(dataset, 1, targets), XP_OK);
    assert_true(isnan(targets[0]) && targets[1] == 8);
    assert_int_equal(xp_dataset_check_targets(dataset, "toy.ts"), XP_BAD_DATA);
    assert_string_equal(xp_last_error(), "toy.ts: sample 1 (counted from 0) has no target 1");
    xp_dataset_close(&dataset);
}

static void samples_without_targets_take_those_of_training(void **state) {
    static const char *const texts[] = {"@univariate true\n@targetlabel true\n@data\n1,2\n3,4\n",
                                        "@targetlabel true\n@data\n1,2:\n3,4:\n",
                                        "@univariate true\n@classLabel false\n@data\n1,2\n"};
    for (int i = 0; i < 3; i++) {
        xp_dataset *training = open_text("@targetlabel true\n@data\n1,2:3,4\n"), *bare = open_text(texts[i]);
        float targets[2] = {0};
        assert_int_equal(xp_dataset_check_targets(bare, "toy.ts"), XP_BAD_DATA);
        assert_string_equal(xp_last_error(), "toy.ts has no targets");
        assert_int_equal(xp_dataset_align(training, bare), XP_OK);
        assert_int_equal(bare->targets, 2);
        assert_int_equal(xp_dataset_read_targets(bare, 0, targets), XP_OK);
        assert_true(isnan(targets[0]) && isnan(targets[1]));
        xp_dataset_close(&bare);
        bare = open_text("@targetlabel true\n@data\n1,2:3\n");
        assert_int_equal(xp_dataset_align(training, bare), XP_BAD_DATA);
        assert_non_null(strstr(xp_last_error(), "has 2 targets and toy.ts has 1"));
        xp_dataset_close(&training);
        xp_dataset_close(&bare);
    }
}

static void a_bad_target_is_rejected_with_its_place(void **state) {
    reject_text("@targetlabel true\n@data\n1,2:3\n1,2:x\n", XP_BAD_DATA, "toy.ts:4:5: 'x' is not a number");
    reject_text("@targetlabel true\n@data\n1,2:3,4\n1,2: 3\n", XP_BAD_DATA,
                "toy.ts:4:6: the sample has 1 target, and that of line 3 has 2");
    reject_text(
        "@targetlabel true\n@data\n1,2:3\n1,2\n", XP_BAD_DATA,
        "toy.ts:4:4: the sample has 1 field separated by ':', fewer than the 1 dimension of line 3 and a target");
    reject_text("@targetlabel true\n@data\n1,2:3\n1,2:\n", XP_BAD_DATA,
                "toy.ts:4:5: the sample has no target, and that of line 3 has one");
    reject_text("@classlabel true a\n@targetlabel true\n@data\n1,2:3\n", XP_BAD_DATA,
                "toy.ts:2:1: a file has either classes or numbers to predict");
}

static void regression_is_rejected_by_name_where_it_is_not_read(void **state) {
    reject_text("@relation x\n@attribute a relational\n@attribute b real\n@end a\n@attribute y real\n@data\n",
                XP_UNSUPPORTED, "toy.ts:5:14: a number to predict (regression)");
    reject_text("@relation x\n@attribute a real\n@attribute y real\n@data\n1,2\n", XP_UNSUPPORTED,
                "toy.ts:4:1: no attribute before @data lists classes");
}

static void more_classes_than_are_supported_are_rejected_at_once(void **state) {
    enum { CLASSES_TOO_MANY = 10001 };
    char *text = malloc(CLASSES_TOO_MANY * 16 + 100), *at = text + sprintf(text, "@classLabel true");
    for (int i = 0; i < CLASSES_TOO_MANY; i++) at += sprintf(at, " c%d", i);
    sprintf(at, "\n@data\n1:c0\n");
    reject_text(text, XP_UNSUPPORTED, "there are more classes than the 10000 that are supported");
    at = text;
    for (int i = 0; i <= CLASSES_TOO_MANY; i++) at += sprintf(at, "%d.5 1 2\n", i);
    reject_text(text, XP_UNSUPPORTED, "are these values and not classes?");
    free(text);
}

static void a_letter_where_a_number_belongs_is_placed(void **state) {
    reject_text(HEADER CLASSES "1,2:3,4:calm\n1,x5:3,4:calm\n", XP_BAD_DATA, "toy.ts:9:3: 'x5' is not a number");
    reject_text(HEADER CLASSES "1,2:3,4.5q:calm\n", XP_BAD_DATA, "toy.ts:8:7: '4.5q' is not a number");
    reject_text(HEADER CLASSES "1,2:3,inf:calm\n", XP_BAD_DATA, "toy.ts:8:7: 'inf' is not a number");
    reject_text(HEADER CLASSES "1,1e60:3,4:calm\n", XP_BAD_DATA,
                "toy.ts:8:3: '1e60' is outside the range of single precision");
    reject_text(HEADER CLASSES "1,,2:3,4,5:calm\n", XP_BAD_DATA, "toy.ts:8:3: a value is missing");
    reject_text(HEADER CLASSES "1,2::calm\n", XP_BAD_DATA, "toy.ts:8:5: a value is missing");
}

static void faults_of_the_header_are_placed(void **state) {
    reject_text("@univariate maybe\n", XP_BAD_DATA, "toy.ts:1:13: @univariate needs 'true' or 'false'");
    reject_text("@dimensions none\n", XP_BAD_DATA, "toy.ts:1:13: @dimensions needs a whole number above 0");
    reject_text("@seriesLength 99999999999\n", XP_BAD_DATA, "toy.ts:1:15: @seriesLength needs a whole number");
    reject_text("@univariate true\n1,2:a\n", XP_BAD_DATA, "toy.ts:2:1: expected a header line");
    reject_text("@univariate true\n@dimensions 3\n@classLabel true a\n@data\n", XP_BAD_DATA,
                "toy.ts:2:1: 3 dimensions contradict @univariate true in line 1");
    reject_text("@univariate true\n@data\n1,2:a\n", XP_BAD_DATA, "toy.ts:2:1: no @classLabel line before @data");
    reject_text("@univariate true\n", XP_BAD_DATA, "toy.ts:2:1: the file ends without an @data line");
}

static void zero_classes_and_zero_samples_are_rejected(void **state) {
    reject_text("@classLabel true\n@data\n1,2:a\n", XP_BAD_DATA, "toy.ts:1:17: @classLabel true names no class");
    reject_text(HEADER CLASSES, XP_BAD_DATA, "toy.ts:8:1: the file ends without samples; is it cut off?");
    reject_text("", XP_BAD_DATA, "toy.ts: byte 0: the file is empty");
}

static void samples_that_do_not_fit_are_rejected_with_the_line_that_says_so(void **state) {
    reject_text(HEADER CLASSES "1:2:3:calm\n", XP_BAD_DATA,
                "toy.ts:8:11: the sample has 3 dimensions, more than the 2 of line 4");
    reject_text("@univariate true\n@classLabel true 0 1\n@data\n1,2:3,4:0\n", XP_BAD_DATA,
                "toy.ts:4:10: the sample has 2 dimensions, more than the 1 of line 1");
    reject_text("@classLabel true a\n@data\n1:2:a\n3:a\n", XP_BAD_DATA,
                "toy.ts:4:4: the sample has 1 dimension, fewer than the 2 of line 3");
    reject_text(HEADER CLASSES "1,2:3:calm\n", XP_BAD_DATA,
                "toy.ts:8:5: dimension 2 has 1 step, fewer than the 2 of the first");
    reject_text(HEADER CLASSES "1,2:3,4:clam\n", XP_BAD_DATA, "toy.ts:8:9: 'clam' is not one of the classes");
    reject_text("@equalLength true\n@classLabel true a\n@data\n1,2:a\n1,2,3:a\n", XP_BAD_DATA,
                "toy.ts:5:1: the series has 3 steps, more than the 2 of line 4");
    reject_text("@equalLength true\n@seriesLength 3\n@classLabel true a\n@data\n1,2:a\n", XP_BAD_DATA,
                "toy.ts:5:1: the series has 2 steps, fewer than the 3 of line 2");
    reject_text(HEADER CLASSES "1:2:calm\n@data\n", XP_BAD_DATA, "toy.ts:9:1: a header line cannot follow @data");
}

static void assert_guess(const char *text, bool guessed) {
    xp_dataset *dataset = NULL;
    assert_int_not_equal(xp_dataset_open(&dataset, scratch_write("toy.ts", text, strlen(text)), NULL), XP_OK);
    if (!!strstr(xp_last_error(), "cut off?") != guessed) fail_msg("'%s': %s", text, xp_last_error());
    assert_null(strstr(xp_last_error(), "line 0"));
}

static void only_text_that_ends_within_a_line_is_guessed_to_be_cut_off(void **state) {
    static const char *const ends[] = {"1,2:3", "1,2,3:4,5:calm", "1,2:3,4:cal", "1,2,3", "1,2:calm"};
    char text[512];
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const char *formats[] = {HEADER CLASSES "1,2:3,4:wild\n%s", HEADER CLASSES "1,2:3,4:wild\n%s\n",
                                 HEADER CLASSES "%s\n1,2:3,4:wild"};
        for (int j = 0; j < 3; j++) {
            snprintf(text, sizeof text, formats[j], ends[i]);
            assert_guess(text, j == 0);
        }
    }
    assert_guess(HEADER CLASSES "1:2:3:calm", false); /* more than expected is no cut */
    assert_guess(HEADER CLASSES "1:2,3:calm", false);
}

/* Only a cut between two samples, before the first label, or within a label that leaves another label, can pass for a
 * whole file. */
static void a_truncated_file_is_rejected_wherever_it_is_cut(void **state) {
    const char *text = HEADER CLASSES "1,2,3:4,5,6:wild\n7,8:9,10:calm\n";
    size_t first_label = (size_t)(strstr(text, ":wild") - text), first_end = first_label + 5, whole = strlen(text) - 1;
    for (size_t cut = 1; cut < whole; cut++) {
        if (cut == first_label || cut == first_label + 1 || cut == first_end || cut == first_end + 1) continue;
        assert_rejected("cut.ts", text, cut, XP_BAD_DATA, "cut.ts:");
    }
}

/* --- tables over time
 * ---------------------------------------------------------------------------------------------- */

static xp_dataset *open_table(const char *text) {
    xp_dataset *dataset = NULL;
    if (xp_dataset_open(&dataset, scratch_write("table.csv", text, strlen(text)), NULL) != XP_OK)
        fail_msg("%s", xp_last_error());
    return dataset;
}

static void columns_of_numbers_are_what_a_table_measures(void **state) {
    static const char *const texts[] = {
        "time,load,day,open\n2020-01-01T00:00:00Z,1.5,2020-01-01,TRUE\n2020-01-01T00:30:00Z,,2020-01-01,False\n",
        "\"\";load;\"day\";open;name\r\n19580101;\"1.5\";x;true;1b\r\n19580108;N/A;2b;FALSE;2b\r\n",
        "ds\tload\tday\topen\n1\t1.5\tmonday\t1\n2\t-\t\"on \"\"Tuesday\"\"\"\t0"};
    for (int i = 0; i < 3; i++) {
        xp_dataset *dataset = open_table(texts[i]);
        float values[4];
        assert_int_equal(dataset->count, 1);
        assert_int_equal(dataset->length, 2);
        assert_int_equal(dataset->features, 2);
        assert_int_equal(xp_dataset_read(dataset, 0, values), XP_OK);
        assert_true(values[0] == 1.5f && values[1] == 1 && isnan(values[2]) && values[3] == 0);
        xp_dataset_close(&dataset);
    }
}

static void names_of_columns_may_be_numbers_after_that_of_the_times(void **state) {
    static const char *const texts[] = {"date,0,1,OT\n2016-07-01 02:00:00,1,2,3\n2016-07-01 03:00:00,4,5,6\n",
                                        "\"date\";\"0\";\"at 1:30\";\"OT\"\n1;1;2;3\n2;4;5;6\n"};
    for (int i = 0; i < 2; i++) {
        xp_dataset *dataset = open_table(texts[i]);
        const float expected[] = {1, 2, 3, 4, 5, 6};
        assert_int_equal(dataset->count, 1);
        assert_int_equal(dataset->features, 3);
        assert_memory_equal(values_of(dataset), expected, sizeof expected);
        xp_dataset_close(&dataset);
    }
}

static void a_name_before_numbers_is_a_table_of_one_column(void **state) {
    xp_dataset *dataset = open_table("load\n1\n2.5\n");
    const float expected[] = {1, 2.5f};
    assert_int_equal(dataset->features, 1);
    assert_memory_equal(values_of(dataset), expected, sizeof expected);
    xp_dataset_close(&dataset);
}

static void a_bad_table_is_rejected_with_its_place(void **state) {
    reject_text("time,a\n1,2\n2,x\n", XP_BAD_DATA,
                "toy.ts:3:3: 'x' is not a number, and the column 'a' holds numbers since line 2");
    reject_text("time,a,b\n1,low,2\n2,3,4\n", XP_BAD_DATA,
                "toy.ts:3:3: '3' is a number, but the column 'a' holds texts since line 2; leave the cell there empty");
    reject_text("time,a\n1,2\n2,\"12\"9\n", XP_BAD_DATA, "toy.ts:3:3: '\"12\"9' is not a number");
    reject_text("time,a,b\n1,2,3\n2,4\n", XP_BAD_DATA,
                "toy.ts:3:1: the row has fewer cells than the 3 columns of line 1");
    reject_text("time,a\n1,2,3\n", XP_BAD_DATA, "toy.ts:2:1: the row has more cells than the 2 columns");
    reject_text("time,a\n2020-01-02,1\n2020-01-01,2\n", XP_BAD_DATA,
                "toy.ts:3:1: the time '2020-01-01' does not come after that of line 2");
    reject_text("time,a\n-1e300,1\n2020-01-01,2\n2020-03-05,3\n", XP_BAD_DATA,
                "toy.ts:3:1: the time '2020-01-01' is a date, but that of line 2 is a number; write all times");
    reject_text("time,a\n2020-01-01,1\nlater,2\n1e300,3\n", XP_BAD_DATA,
                "toy.ts:4:1: the time '1e300' is a number, but that of line 2 is a date");
    reject_text("a,b,a\n1,2,3\n", XP_BAD_DATA, "toy.ts:1:5: the column 'a' is named twice");
    reject_text("time,a\n1,1e39\n", XP_BAD_DATA, "toy.ts:2:3: '1e39' is outside the range");
    reject_text("time,a\n1,x\n", XP_BAD_DATA,
                "toy.ts:2:3: no column holds numbers: the first cell of 'a' is 'x'; numbers have a decimal point");
    reject_text("time,a\n1,\n2,\n", XP_BAD_DATA, "toy.ts:1:1: no column holds numbers");
}

static void rows_predict_those_after_them(void **state) {
    xp_dataset *dataset = open_table("a,b\n0,10\n1,11\n2,\n3,13\n4,14\n5,15\n");
    const xp_windows wrong = {.context = 2, .horizon = 2, .season = 1, .predict = "b,c"}, none = {.context = 2};
    const xp_windows long_windows = {.context = 5, .horizon = 2, .season = 1, .predict = ""};
    const xp_windows windows = {.context = 2, .horizon = 2, .season = 2, .predict = "b", .to_end = true};
    float values[4], targets[2], naive[2];
    assert_int_equal(xp_dataset_cut(dataset, &none), XP_INVALID_ARGUMENT);
    assert_int_equal(xp_dataset_cut(dataset, &wrong), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "has no column 'c' of numbers (data.predict); it has 'a', 'b'"));
    assert_int_equal(xp_dataset_cut(dataset, &long_windows), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "has 6 rows, fewer than the 5 that the model sees (--context) and the 2"));
    xp_dataset_close(&dataset);
    dataset = open_table("a,b\n0,10\n1,11\n2,\n3,13\n4,14\n5,15\n");
    assert_int_equal(xp_dataset_cut(dataset, &windows), XP_OK);
    assert_int_equal(dataset->count, 5);
    assert_string_equal(dataset->target_names[1], "b +2");
    assert_int_equal(xp_dataset_read(dataset, 1, values), XP_OK);
    assert_true(values[0] == 1 && values[1] == 11 && values[2] == 2 && isnan(values[3]));
    assert_int_equal(xp_dataset_read_targets(dataset, 1, targets), XP_OK);
    assert_true(targets[0] == 13 && targets[1] == 14);
    assert_int_equal(xp_dataset_read_targets(dataset, 4, targets), XP_OK);
    assert_true(isnan(targets[0]) && isnan(targets[1])); /* after the end */
    xp_dataset_read_naive(dataset, 1, naive);
    assert_true(naive[0] == 11 && naive[1] == 10); /* row 2 is not known, nor is row 3 yet */
    xp_dataset_close(&dataset);
}

/* --- .arff -------------------------------------------------------------------------------------------------------- */

#define UNIVARIATE "%% about\n@RELATION 'two steps'\n\n@attribute 'step 1' numeric\n@ATTRIBUTE b REAL\n"
#define RELATIONAL                                                                                                     \
    "@relation r\n@attribute both relational\n  @attribute t0 numeric\n  @attribute t1 integer\n@end both\n"

static void arff_holds_series_of_one_dimension_and_of_several(void **state) {
    xp_dataset *dataset = open_text(
        UNIVARIATE
        "@attribute class {1, 'walk up',\"a,b\"}\r\n@data\r\n1,?,1\n% more\n-2 , 3e1 , 'walk up'\n5,6,\"a,b\"");
    assert_int_equal(dataset->count, 3);
    assert_int_equal(dataset->features, 1);
    assert_int_equal(dataset->length, 2);
    assert_true(isnan(values_of(dataset)[1]) && values_of(dataset)[3] == 30);
    assert_string_equal(dataset->class_names[1], "walk up");
    for (int i = 0; i < 3; i++) assert_int_equal(dataset->labels[i], i);
    xp_dataset_close(&dataset);
    dataset = open_text(RELATIONAL "@attribute class {a,b}\n@data\n'1,2\\n3,4\\n5,6',b\n\"7,8\\n9,10\\n11,?\",a\n");
    assert_int_equal(dataset->features, 3);
    const float expected[] = {1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10};
    assert_memory_equal(values_of(dataset), expected, sizeof expected);
    assert_true(isnan(values_of(dataset)[11]));
    assert_int_equal(dataset->labels[0], 1);
    xp_dataset_close(&dataset);
}

static void faults_of_arff_are_placed(void **state) {
    const char *classes = "@attribute class {a,b}\n@data\n";
    const struct {
        const char *header, *rest, *message;
        xp_status status;
    } cases[] = {
        {UNIVARIATE, "1,2,3,a\n", "toy.ts:8:1: the series has 3 steps, more than the 2 numeric attributes",
         XP_BAD_DATA},
        {UNIVARIATE, "1,a",
         "toy.ts:8:1: the series has 1 step, fewer than the 2 numeric attributes of the header; the file ends there: "
         "is it cut off?",
         XP_BAD_DATA},
        {UNIVARIATE, "1,2,c\n", "toy.ts:8:5: 'c' is not one of the classes", XP_BAD_DATA},
        {UNIVARIATE, "1,x,a\n", "toy.ts:8:3: 'x' is not a number", XP_BAD_DATA},
        {UNIVARIATE, "1 2 a\n", "toy.ts:8:6: the sample has no class after its values", XP_BAD_DATA},
        {UNIVARIATE, "{0 1, 2 a}\n", "toy.ts:8:1: samples in the sparse form", XP_UNSUPPORTED},
        {UNIVARIATE, "", "toy.ts:8:1: the file ends without samples", XP_BAD_DATA},
        {RELATIONAL, "'1,2\\n3,4',a\n'1,2',b\n",
         "toy.ts:9:1: the sample has 1 dimension, fewer than the 2 that line 8 has", XP_BAD_DATA},
        {RELATIONAL, "'1,2\\n3',a\n", "toy.ts:8:7: the series has 1 step, fewer than the 2", XP_BAD_DATA},
        {RELATIONAL, "'1,2\\n3,4,a\n", "toy.ts:8:12: the sample has no class after its values", XP_BAD_DATA},
        {"@relation x\n@attribute a string\n", "", "toy.ts:2:14: attributes of the type 'string'", XP_UNSUPPORTED},
        {"@relation x\n@attribute a {x,y\n", "", "toy.ts:2:18: expected '}'", XP_BAD_DATA},
        {"@relation x\nhello\n", "", "toy.ts:2:1: expected @relation, @attribute", XP_BAD_DATA},
        {"@relation x\n@attribute a {}\n@attribute a real\n", "", "toy.ts:3:1: an attribute after that of the classes",
         XP_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s%s", cases[i].header, classes, cases[i].rest);
        reject_text(text, cases[i].status, cases[i].message);
    }
    assert_rejected("cut.arff", "@relation x\n@attribute a real", 29, XP_BAD_DATA,
                    "the file ends without an @data line");
}

/* --- tables of the UCR archive ------------------------------------------------------------------------------------ */

static void tables_begin_each_line_with_its_label(void **state) {
    static const char *const files[] = {
        "10\t0.5\t-2\tNaN\n-1\t1e1\tnan\t3\n10\tNaN\tNaN\tNaN\n",
        "10,0.5,-2,NaN\r\n-1,1e1,nan,3\r\n10,NaN,NaN,NaN\r\n",
        "  10  0.5   -2 NaN\n  -1 1e1 nan    3\n 10 NaN NaN NaN",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        xp_dataset *dataset = open_text(files[i]);
        assert_int_equal(dataset->count, 3);
        assert_int_equal(dataset->features, 1);
        assert_int_equal(dataset->lengths[0], 2); /* NaN fills short series up */
        assert_int_equal(dataset->lengths[1], 3);
        assert_int_equal(dataset->lengths[2], 1);
        assert_true(values_of(dataset)[0] == 0.5f && values_of(dataset)[1] == -2);
        assert_true(isnan(values_of(dataset)[4]) && values_of(dataset)[5] == 3);
        assert_string_equal(dataset->class_names[0], "-1"); /* by size, not by letters or by place */
        assert_string_equal(dataset->class_names[1], "10");
        assert_int_equal(dataset->labels[0], 1);
        assert_int_equal(dataset->labels[1], 0);
        xp_dataset_close(&dataset);
    }
    assert_classes("walk up,1,2\nb,3,4\n7,5,6\n", "7|b|walk up", "210");
    reject_text("1\t2\t3\n2\t\t4\n", XP_BAD_DATA, "toy.ts:2:3: a value is missing");
    reject_text("1,2,3\n,2,4\n", XP_BAD_DATA, "toy.ts:2:1: the line begins without a label");
    reject_text("1 2 x\n", XP_BAD_DATA, "toy.ts:1:5: 'x' is not a number");
    reject_text("label value\n1 2\n", XP_BAD_DATA, "toy.ts:1:1: expected a header line");
}

/* --- encodings ---------------------------------------------------------------------------------------------------- */

static void utf_16_of_either_byte_order_is_read(void **state) {
    const char *text = "@univariate true\n@classLabel true ab \xe9\n@data\n1.5:\xe9\n"; /* Latin 1, as UTF-16 has it */
    for (int big = 0; big < 2; big++) {
        for (int marked = 0; marked < 2; marked++) {
            char bytes[512];
            size_t used = 0;
            if (marked) memcpy(bytes, big ? "\xfe\xff" : "\xff\xfe", 2), used = 2;
            for (const char *at = text; *at; at++) {
                bytes[used + (size_t)!big] = 0;
                bytes[used + (size_t)big] = *at;
                used += 2;
            }
            xp_dataset *dataset = NULL;
            if (xp_dataset_open(&dataset, scratch_write("wide.ts", bytes, used), NULL) != XP_OK)
                fail_msg("%s", xp_last_error());
            assert_string_equal(dataset->class_names[1], "\xc3\xa9");
            assert_true(values_of(dataset)[0] == 1.5f);
            xp_dataset_close(&dataset);
        }
    }
}

static void text_that_holds_a_nul_character_is_rejected(void **state) {
    char text[1024] = "@classLabel true a\n@data\n";
    while (strlen(text) < 600) strcat(text, "1,2:a\n");
    const size_t length = strlen(text);
    memcpy(text + length, "1\0,2:a\n", 8);
    assert_rejected("toy.ts", text, length + 8, XP_BAD_DATA, "the text holds a NUL character");
}

static void line_ends_of_old_macintoshes_are_read(void **state) {
    xp_dataset *dataset = open_text("@univariate true\r@classLabel true a\r@data\r1,2:a\r3,4:a\r");
    assert_int_equal(dataset->count, 2);
    xp_dataset_close(&dataset);
    reject_text("@univariate true\r@classLabel true a\r@data\r1,2:a\r3,x:a\r", XP_BAD_DATA, "toy.ts:5:3: 'x'");
}

/* --- IDX ---------------------------------------------------------------------------------------------------------- */

static const unsigned char two_images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 51, 102, 255, 1, 2, 3, 4};
static const unsigned char two_labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 2, 0};

static void images_and_their_labels_are_read_plain_or_compressed(void **state) {
    xp_dataset *dataset = NULL;
    scratch_write("train-labels-idx1-ubyte", two_labels, sizeof two_labels);
    const char *path = scratch_write("train-images-idx3-ubyte", two_images, sizeof two_images);
    assert_int_equal(xp_dataset_open(&dataset, path, NULL), XP_OK);
    assert_ptr_equal(dataset->kind, &xp_images_kind);
    assert_int_equal(dataset->count, 2);
    assert_int_equal(dataset->channels, 1);
    assert_int_equal(dataset->height, 2);
    assert_int_equal(dataset->breadth, 2);
    assert_int_equal(dataset->classes, 3);
    assert_int_equal(dataset->labels[0], 2);
    assert_string_equal(dataset->class_names[2], "2");
    assert_true(values_of(dataset)[1] == 51.0f / 255.0f);
    assert_true(values_of(dataset)[3] == 1.0f);
    xp_dataset_close(&dataset);

    path = scratch_path("t10k-images-idx3-ubyte.gz");
    gzFile file = gzopen(path, "wb");
    gzwrite(file, two_images, sizeof two_images);
    gzclose(file);
    assert_int_equal(xp_dataset_open(&dataset, scratch_folder, "test"), XP_OK);
    assert_null(dataset->labels);
    xp_dataset_close(&dataset);
    assert_int_equal(unlink(path), 0);
}

static void a_folder_needs_a_part_that_it_has(void **state) {
    xp_dataset *dataset = NULL;
    assert_int_equal(xp_dataset_open(&dataset, scratch_folder, "tset"), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "'train' or 'test'"));
    mkdir(scratch_path("none"), 0700);
    assert_int_equal(xp_dataset_open(&dataset, scratch_path("none"), "train"), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "none: the folder has no data"));
    mkdir(scratch_path("0"), 0700);
    assert_int_equal(symlink("nowhere", scratch_path("0/broken")), 0); /* what lies further down does not matter */
    assert_int_equal(xp_dataset_open(&dataset, scratch_folder, "test"), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "has no IDX file t10k-images-idx3-ubyte"));
    assert_int_equal(unlink(scratch_path("0/broken")), 0);
    assert_int_equal(rmdir(scratch_path("0")), 0);
    assert_int_equal(xp_dataset_open(&dataset, scratch_path("nothing.ts"), "train"), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "nothing.ts: cannot be opened"));
}

static void reject_images(size_t at, unsigned char byte, size_t length, xp_status expected, const char *message) {
    unsigned char bytes[sizeof two_images + 1] = {0};
    memcpy(bytes, two_images, sizeof two_images);
    bytes[at] = byte;
    assert_rejected("odd-images-idx3-ubyte", bytes, length, expected, message);
}

static void damaged_images_are_rejected_at_their_byte(void **state) {
    size_t whole = sizeof two_images;
    reject_images(0, 7, whole, XP_BAD_DATA, "odd-images-idx3-ubyte: byte 0: the magic number is 0x07000803");
    reject_images(3, 4, whole, XP_BAD_DATA, "byte 0: the magic number is 0x00000804");
    reject_images(2, 0x0D, whole, XP_UNSUPPORTED, "byte 2: IDX values of type 0x0d");
    reject_images(3, 1, whole, XP_BAD_DATA, "byte 3: this is an IDX label file");
    reject_images(7, 0, whole, XP_BAD_DATA, "byte 4: the file holds no samples");
    reject_images(11, 0, whole, XP_BAD_DATA, "byte 8: the images have no pixels");
    reject_images(4, 0xff, whole, XP_BAD_DATA, "byte 4: the size");
    reject_images(0, 0, whole + 1, XP_BAD_DATA, "byte 25: the file ends there, but its header announces 24 bytes");
    for (size_t cut = 1; cut < whole; cut++) reject_images(0, 0, cut, XP_BAD_DATA, "odd-images-idx3-ubyte: byte ");
}

static void labels_that_do_not_belong_to_the_images_are_rejected(void **state) {
    unsigned char three[] = {0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2};
    scratch_write("pair-labels-idx1-ubyte", three, sizeof three);
    assert_rejected("pair-images-idx3-ubyte", two_images, sizeof two_images, XP_BAD_DATA,
                    "pair-labels-idx1-ubyte: byte 4: 3 labels for 2 images");
    scratch_write("pair-labels-idx1-ubyte", three, sizeof three - 1);
    assert_rejected("pair-images-idx3-ubyte", two_images, sizeof two_images, XP_BAD_DATA,
                    "pair-labels-idx1-ubyte: byte 10: the file ends there");
}

static void bytes_of_no_known_format_are_rejected(void **state) {
    const unsigned char picture[] = {0x89, 'P', 'n', 'g', 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    assert_rejected("picture", picture, sizeof picture, XP_BAD_DATA, "byte 0: the magic number is 0x89506e67");
}

/* --- real data ---------------------------------------------------------------------------------------------------- */

static void fashion_mnist_reads_as_published(void **state) {
    const char *folder = "/usr/share/datasets/fashion-mnist";
    if (access(folder, R_OK) != 0) skip();
    const struct {
        const char *part;
        int64_t count;
        double mean;
    } parts[] = {{"train", 60000, 0.2860}, {"test", 10000, 0.2868}};
    for (int i = 0; i < 2; i++) {
        xp_dataset *dataset = NULL;
        assert_int_equal(xp_dataset_open(&dataset, folder, parts[i].part), XP_OK);
        assert_int_equal(dataset->count, parts[i].count);
        assert_int_equal(dataset->classes, 10);
        assert_int_equal(dataset->height, 28);
        assert_int_equal(dataset->breadth, 28);
        int64_t of_class[10] = {0};
        for (int64_t j = 0; j < dataset->count; j++) of_class[dataset->labels[j]]++;
        for (int j = 0; j < 10; j++) assert_int_equal(of_class[j], parts[i].count / 10);
        xp_standardisation standardisation;
        assert_int_equal(xp_standardisation_fit(&standardisation, dataset), XP_OK);
        assert_true(fabs(standardisation.mean[0] - parts[i].mean) < 5e-4);
        assert_true(fabs(standardisation.deviation[0] - 0.353) < 1e-3);
        xp_standardisation_release(&standardisation);
        xp_dataset_close(&dataset);
    }
}

/* tools/fetch-uea brings the files; without them this is skipped. */
static void japanese_vowels_reads_as_published(void **state) {
    const char *root = getenv("EXPANSE_ROOT");
    char path[1024];
    const struct {
        const char *part;
        int count, length;
    } parts[] = {{"TRAIN", 270, 26}, {"TEST", 370, 29}};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/data/JapaneseVowels/JapaneseVowels_%s.ts", root ? root : ".", parts[i].part);
        if (access(path, R_OK) != 0) skip();
        xp_dataset *dataset = NULL;
        assert_int_equal(xp_dataset_open(&dataset, path, NULL), XP_OK);
        assert_int_equal(dataset->count, parts[i].count);
        assert_int_equal(dataset->length, parts[i].length);
        assert_int_equal(dataset->features, 12);
        assert_int_equal(dataset->classes, 9);
        xp_dataset_close(&dataset);
    }
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void a_name_makes_text_unless_the_content_is_another_format(void **state) {
    static const struct {
        const char *name, *text;
        const xp_sample_kind *kind;
    } files[] = {{"letter.txt", "Dear reader,\n", &xp_text_kind},
                 {"notes.txt", "# a comment\n\nno series\n", &xp_text_kind},
                 {"series.txt", "# a comment\n@classLabel true a\n@data\n1,2:a\n", &xp_series_kind},
                 {"table.txt", "1\t0.5\t0.25\n2\t0.5\t0.125\n", &xp_series_kind}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        xp_dataset *dataset = NULL;
        MUST(xp_dataset_open(&dataset, scratch_write(files[i].name, files[i].text, strlen(files[i].text)), NULL));
        assert_ptr_equal(dataset->kind, files[i].kind);
        xp_dataset_close(&dataset);
        MUST(xp_dataset_open_text(&dataset, scratch_path(files[i].name)));
        assert_ptr_equal(dataset->kind, &xp_text_kind);
        xp_dataset_close(&dataset);
    }
    reject_text("Dear reader,\n", XP_BAD_DATA, "toy.ts:1:");
}

static void a_folder_of_text_is_read_in_the_order_of_names(void **state) {
    static const char *const files[][2] = {{"b.txt", "world"}, {"a/2.txt", "lo "}, {"a/1.txt", "Hel"},
                                           {"c.md", "unread"}, {"d.txt", ""},      {"e.txt", "!"}};
    char folder[512];
    snprintf(folder, sizeof folder, "%s", scratch_path("text"));
    mkdir(folder, 0700);
    mkdir(scratch_path("text/a"), 0700);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        snprintf(name, sizeof name, "text/%s", files[i][0]);
        scratch_write(name, files[i][1], strlen(files[i][1]));
    }
    xp_dataset *dataset = NULL;
    MUST(xp_dataset_open(&dataset, folder, "train"));
    MUST(xp_dataset_cut(dataset, &(xp_windows){.context = 11, .predict = ""}));
    const float *values = values_of(dataset);
    for (int i = 0; i < 12; i++) assert_int_equal(values[i], "Hello world!"[i]);
    assert_int_equal(dataset->count, 1);
    xp_dataset_close(&dataset);
    assert_int_equal(unlink(scratch_path("text/b.txt")), 0);
    assert_int_equal(unlink(scratch_path("text/d.txt")), 0);
    assert_int_equal(unlink(scratch_path("text/e.txt")), 0);
    scratch_write("text/widx.md", "", 0);             /* no file of images */
    MUST(xp_dataset_open(&dataset, folder, "train")); /* its only text is in a folder of its own */
    assert_ptr_equal(dataset->kind, &xp_text_kind);
    xp_dataset_close(&dataset);
    assert_int_equal(symlink("nothing", scratch_path("text/z.txt")), 0);
    assert_int_equal(xp_dataset_open_text(&dataset, folder), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "text/z.txt: cannot be examined"));
    mkdir(scratch_path("bare"), 0700);
    assert_int_equal(xp_dataset_open_text(&dataset, scratch_path("bare")), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "no file of it ends in .txt"));
    assert_int_equal(xp_dataset_open_text(&dataset, scratch_write("void", "", 0)), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "void: byte 0: the file is empty"));
    assert_null(dataset);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static void assert_values(const xp_dataset *dataset, int count, const int *wanted) {
    const float *values = values_of(dataset);
    assert_int_equal(dataset->count * dataset->sample_elements, count);
    for (int i = 0; i < count; i++) assert_int_equal(values[i], wanted[i]);
}

static void texts_become_bytes_or_words(void **state) {
    static const char table[] = "First\tSecond\tTarget\r\nab b\tb\t10\nb\tab ab\t9";
    xp_dataset *dataset = NULL;
    MUST(xp_dataset_open(&dataset, scratch_write("pairs.tsv", table, sizeof table - 1), NULL));
    assert_ptr_equal(dataset->kind, &xp_tokens_kind);
    assert_values(dataset, 24, (int[]){4, 'a', 'b', ' ', 'b', 0, 1, 'b', 0,   0,   0,   0,
                                       1, 'b', 0,   0,   0,   0, 5, 'a', 'b', ' ', 'a', 'b'});
    assert_string_equal(dataset->class_names[0], "9"); /* by size */
    assert_int_equal(dataset->labels[0], 1);
    assert_int_equal(dataset->labels[1], 0);
    MUST(xp_dataset_cut(dataset, &(xp_windows){.predict = "", .words = "ab b", .longest = 1}));
    assert_int_equal(dataset->features, 3);
    xp_dataset_pad(dataset, 2);
    assert_values(dataset, 12, (int[]){1, 1, 0, 1, 2, 0, 1, 2, 0, 1, 1, 0});
    xp_dataset_close(&dataset);
}

static void classes_of_texts_are_names_and_not_too_many(void **state) {
    xp_dataset *dataset = NULL;
    xp_writer lines = {0};
    xp_write(&lines, "Source\tTarget\nx\t%0300d\n", 1);
    assert_rejected("long.tsv", lines.text, lines.length, XP_BAD_DATA, ":2: the class is longer than 255 bytes");
    xp_writer_release(&lines);
    assert_rejected("control.tsv", "Source\tTarget\nx\ta\x01", 18, XP_BAD_DATA, ":2: the class has a control");
    lines = (xp_writer){0};
    xp_write(&lines, "Source\tTarget\n");
    for (int i = 0; i < XP_DATA_CLASSES; i++) xp_write(&lines, "x\t%d\n", i);
    MUST(xp_dataset_open(&dataset, scratch_write("many.tsv", lines.text, lines.length), NULL));
    xp_dataset_close(&dataset);
    xp_write(&lines, "x\tmore\n");
    assert_rejected("many.tsv", lines.text, lines.length, XP_UNSUPPORTED,
                    ":10002: there are more classes than the 10000");
    xp_writer_release(&lines);
}

static void an_image_becomes_the_brightness_of_its_pixels(void **state) {
    static const char image[] = "\0\0\x08\x03\0\0\0\x01\0\0\0\x02\0\0\0\x02\x80\x01\0\xff";
    xp_dataset *dataset = NULL;
    MUST(xp_dataset_open(&dataset, scratch_write("image", image, sizeof image - 1), NULL));
    MUST(xp_dataset_cut(dataset, &(xp_windows){.predict = "", .tokens = true}));
    assert_values(dataset, 5, (int[]){4, 128, 1, 0, 255});
    xp_dataset_close(&dataset);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_bytes_or_words),
        cmocka_unit_test(classes_of_texts_are_names_and_not_too_many),
        cmocka_unit_test(an_image_becomes_the_brightness_of_its_pixels),
        cmocka_unit_test(a_file_of_unequal_series_is_laid_out_by_time),
        cmocka_unit_test(comments_blank_lines_and_windows_line_ends_are_passed_over),
        cmocka_unit_test(a_file_without_labels_has_none),
        cmocka_unit_test(missing_values_are_filled_along_time),
        cmocka_unit_test(nan_with_or_without_a_sign_is_a_missing_value),
        cmocka_unit_test(a_series_length_of_minus_1_or_0_says_nothing),
        cmocka_unit_test(class_names_may_hold_spaces),
        cmocka_unit_test(class_names_that_no_file_of_a_run_could_hold_are_placed),
        cmocka_unit_test(samples_may_come_without_labels),
        cmocka_unit_test(single_samples_may_have_a_question_mark_for_a_label),
        cmocka_unit_test(a_label_where_the_first_sample_has_none_is_rejected),
        cmocka_unit_test(a_colon_after_the_label_is_named),
        cmocka_unit_test(values_at_equal_steps_of_time_are_read),
        cmocka_unit_test(times_that_positions_cannot_stand_for_are_rejected),
        cmocka_unit_test(columns_of_numbers_are_what_a_table_measures),
        cmocka_unit_test(names_of_columns_may_be_numbers_after_that_of_the_times),
        cmocka_unit_test(a_name_before_numbers_is_a_table_of_one_column),
        cmocka_unit_test(a_bad_table_is_rejected_with_its_place),
        cmocka_unit_test(rows_predict_those_after_them),
        cmocka_unit_test(targets_follow_the_dimensions),
        cmocka_unit_test(samples_without_targets_take_those_of_training),
        cmocka_unit_test(a_bad_target_is_rejected_with_its_place),
        cmocka_unit_test(regression_is_rejected_by_name_where_it_is_not_read),
        cmocka_unit_test(more_classes_than_are_supported_are_rejected_at_once),
        cmocka_unit_test(a_letter_where_a_number_belongs_is_placed),
        cmocka_unit_test(faults_of_the_header_are_placed),
        cmocka_unit_test(zero_classes_and_zero_samples_are_rejected),
        cmocka_unit_test(samples_that_do_not_fit_are_rejected_with_the_line_that_says_so),
        cmocka_unit_test(only_text_that_ends_within_a_line_is_guessed_to_be_cut_off),
        cmocka_unit_test(a_truncated_file_is_rejected_wherever_it_is_cut),
        cmocka_unit_test(arff_holds_series_of_one_dimension_and_of_several),
        cmocka_unit_test(faults_of_arff_are_placed),
        cmocka_unit_test(tables_begin_each_line_with_its_label),
        cmocka_unit_test(utf_16_of_either_byte_order_is_read),
        cmocka_unit_test(text_that_holds_a_nul_character_is_rejected),
        cmocka_unit_test(line_ends_of_old_macintoshes_are_read),
        cmocka_unit_test(images_and_their_labels_are_read_plain_or_compressed),
        cmocka_unit_test(a_folder_needs_a_part_that_it_has),
        cmocka_unit_test(damaged_images_are_rejected_at_their_byte),
        cmocka_unit_test(labels_that_do_not_belong_to_the_images_are_rejected),
        cmocka_unit_test(bytes_of_no_known_format_are_rejected),
        cmocka_unit_test(fashion_mnist_reads_as_published),
        cmocka_unit_test(japanese_vowels_reads_as_published),
        cmocka_unit_test(a_name_makes_text_unless_the_content_is_another_format),
        cmocka_unit_test(a_folder_of_text_is_read_in_the_order_of_names),
    };
    return cmocka_run_group_tests_name("formats", tests, scratch_make, scratch_remove);
}
