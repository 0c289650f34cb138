/* Data sets: what preparation does to the samples, how parts are made, and how batches are. */
#define _GNU_SOURCE
#include "data.h"
#include "data/feed.h"
#include "data/formats.h"
#include "data/times.h"

#include <pthread.h>

/* --- preparation -------------------------------------------------------------------------------------------------- */

static void standardisation_makes_mean_0_and_deviation_1_and_keeps_the_padding(void **state) {
    xp_dataset *dataset = open_text(HEADER CLASSES "1,2,3:0.1,0.1,0.1:wild\n6:0.1:calm\n");
    xp_standardisation standardisation;
    assert_int_equal(xp_standardisation_fit(&standardisation, dataset), XP_OK);
    assert_true(standardisation.mean[0] == 3);
    assert_true(fabs(standardisation.deviation[0] - sqrt(14.0 / 4)) < 1e-15);
    assert_true(standardisation.deviation[1] == 0);
    xp_standardisation_apply(&standardisation, dataset);
    assert_true(fabsf(values_of(dataset)[0] + 2.0f / sqrtf(3.5f)) < 1e-6f);
    assert_true(fabsf(values_of(dataset)[1]) < 1e-6f);
    for (int i = 8; i < 12; i++) assert_true(values_of(dataset)[i] == 0);
    xp_standardisation_release(&standardisation);
    xp_dataset_close(&dataset);
}

static void data_with_every_value_missing_are_rejected(void **state) {
    xp_dataset *dataset = open_text("@univariate true\n@classLabel true a b\n@data\n?,nan:a\n-nan:b\n");
    assert_int_equal(xp_dataset_interpolate(dataset), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "toy.ts: every value is missing"));
    xp_dataset_close(&dataset);
}

static void assert_note(const char *text, bool constant, const char *expected) {
    xp_dataset *dataset = open_text(text);
    xp_writer note = {0};
    assert_int_equal(xp_dataset_note_idle(dataset, constant, &note), XP_OK);
    assert_string_equal(note.text ? note.text : "", expected);
    xp_writer_release(&note);
    xp_dataset_close(&dataset);
}

static void dimensions_that_tell_nothing_are_named(void **state) {
    const char *text = "@dimensions 4\n@classLabel true a\n@data\n?,?:1,2:3,?:5,5:a\n?:1:3:5:a\n";
    assert_note(text, true,
                "toy.ts: dimension 1 is missing in every sample and set to 0; dimensions 3 and 4 never change and "
                "contain no information");
    assert_note(text, false, "toy.ts: dimension 1 is missing in every sample and set to 0");
    assert_note("@classLabel true a\n@data\n1,1:2,3:a\n", true,
                "toy.ts: dimension 1 never changes and contains no information");
    assert_note("@classLabel true a\n@data\n1,2:3,?:a\n?,2:1,4:a\n", true, "");
    assert_note("@classLabel true a\n@data\n?:?:?:?:?:?:?:?:?:1:a\n1:?:?:?:?:?:?:?:?:2:a\n", false,
                "toy.ts: dimensions 2, 3, 4, 5, 6, 7, 8 and 9 are missing in every sample and set to 0");
    assert_note("@classLabel true a\n@data\n?:?:?:?:?:?:?:?:?:?:1:a\n", false,
                "toy.ts: dimensions 1, 2, 3, 4, 5, 6, 7, 8 and 2 more are missing in every sample and set to 0");
}

static void alignment_matches_classes_by_name_and_pads_both(void **state) {
    xp_dataset *train = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:calm\n");
    xp_dataset *test = open_text(HEADER "@classLabel true wild calm\n@data\n1,2,3,4:5,6,7,8:wild\n");
    assert_int_equal(xp_dataset_align(train, test), XP_OK);
    assert_int_equal(test->labels[0], 1);
    assert_string_equal(test->class_names[0], "calm");
    assert_int_equal(train->length, 4);
    const float expected[] = {1, 4, 2, 5, 3, 6, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0};
    assert_memory_equal(values_of(train), expected, sizeof expected);
    xp_dataset_close(&test);

    test = open_text("@univariate true\n@classLabel true calm\n@data\n1:calm\n");
    assert_int_equal(xp_dataset_align(train, test), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "has 2 dimensions and"));
    xp_dataset_close(&test);
    xp_dataset_close(&train);
}

static void alignment_keeps_classes_that_the_other_does_not_have_apart(void **state) {
    xp_dataset *train = open_text(HEADER CLASSES "1:1:wild\n2:2:calm\n");
    xp_dataset *test =
        open_text(HEADER "@classLabel true new odd wild calm\n@data\n1:1:calm\n2:2:odd\n3:3:new\n4:4:odd\n");
    assert_int_equal(xp_dataset_align(train, test), XP_OK);
    assert_int_equal(test->classes, 2);
    assert_int_equal(test->unseen, 2);
    assert_string_equal(test->class_names[test->labels[0]], "calm");
    assert_string_equal(test->class_names[test->labels[1]], "odd");
    assert_string_equal(test->class_names[test->labels[2]], "new");
    assert_int_equal(test->labels[3], test->labels[1]);
    test->labels[0] = -1; /* a row without a label stays one, in a part of the samples, too */
    assert_int_equal(xp_dataset_align(train, test), XP_OK);
    assert_int_equal(xp_dataset_limit(test, 3, 7), XP_OK);
    int unlabelled = 0;
    for (int i = 0; i < 3; i++) {
        const int label = test->labels[i], value = (int)values_of(test)[2 * i];
        assert_int_equal(xp_dataset_number(test, i), value - 1);
        unlabelled += label < 0;
        if (label >= 0) assert_string_equal(test->class_names[label], value == 3 ? "new" : "odd");
    }
    assert_int_equal(unlabelled, 1);
    xp_dataset_close(&test);
    xp_dataset_close(&train);
}

static void labels_are_checked_by_the_number_of_the_sample_in_its_file(void **state) {
    xp_dataset *train = open_text(HEADER CLASSES "1:1:wild\n2:2:calm\n");
    xp_dataset *test = open_text(HEADER "@classLabel true odd calm\n@data\n1:1:calm\n2:2:calm\n3:3:calm\n4:4:odd\n");
    assert_int_equal(xp_dataset_check_labels(train, "train.ts"), XP_OK);
    assert_int_equal(xp_dataset_align(train, test), XP_OK);
    assert_int_equal(xp_dataset_limit(test, 2, 7), XP_OK); /* one of each class */
    assert_int_equal(xp_dataset_check_labels(test, "test.ts"), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "test.ts: sample 3 (counted from 0) has the class 'odd'"));
    test->labels[0] = -1;
    assert_int_equal(xp_dataset_check_labels(test, "test.ts"), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "has no class label"));
    free(test->labels);
    test->labels = NULL;
    assert_int_equal(xp_dataset_check_labels(test, "test.ts"), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "has no class labels"));
    xp_dataset_close(&test);
    xp_dataset_close(&train);
}

static void a_part_without_labels_takes_the_classes_of_the_other(void **state) {
    xp_dataset *train = open_text("@univariate true\n@classLabel true calm wild\n@data\n1,2:calm\n3,4:wild\n");
    xp_dataset *unlabelled = open_text("@univariate true\n@classLabel false\n@data\n1,2\n3,4\n");
    assert_int_equal(xp_dataset_align(train, unlabelled), XP_OK);
    assert_null(unlabelled->labels);
    assert_int_equal(unlabelled->classes, 2); /* room for a model's answers is made by it */
    assert_string_equal(unlabelled->class_names[1], "wild");
    xp_dataset_close(&train);
    xp_dataset_close(&unlabelled);
}

static xp_dataset *open_windows(const char *text) {
    xp_dataset *dataset = NULL;
    MUST(xp_dataset_open(&dataset, scratch_write("columns.csv", text, strlen(text)), NULL));
    MUST(xp_dataset_cut(dataset, &(xp_windows){.context = 2, .horizon = 1, .season = 1, .predict = ""}));
    return dataset;
}

static void a_column_that_a_window_does_not_know_is_at_its_mean(void **state) {
    xp_dataset *dataset = open_windows("a,b\n900,2\n1100,4\n,6\n,8\n1000,10\n");
    xp_standardisation fit;
    float values[4];
    MUST(xp_dataset_interpolate(dataset));
    MUST(xp_standardisation_fit(&fit, dataset));
    xp_standardisation_apply(&fit, dataset);
    assert_true(fit.mean[0] == 1000);
    MUST(xp_dataset_read(dataset, 2, values));
    assert_true(values[0] == 0 && values[2] == 0 && values[1] == 0 && values[3] > 0);
    xp_standardisation_release(&fit);
    xp_dataset_close(&dataset);
}

static void columns_to_predict_are_matched_by_name(void **state) {
    xp_dataset *train = open_windows("time,a,b\n1,1,2\n2,3,4\n3,5,6\n");
    xp_dataset *same = open_windows("a,b\n1,2\n3,4\n5,6\n"), *turned = open_windows("b,a\n1,2\n3,4\n5,6\n");
    MUST(xp_dataset_align(train, same));
    assert_int_equal(xp_dataset_align(train, turned), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "target 1 of columns.csv is 'a +1', and that of columns.csv is 'b +1'"));
    xp_dataset_close(&train);
    xp_dataset_close(&same);
    xp_dataset_close(&turned);
}

static void a_header_without_samples_serves_for_alignment(void **state) {
    char *names[] = {"wild", "calm"};
    xp_dataset header = {
        .kind = &xp_series_kind, .features = 2, .length = 5, .sample_elements = 10, .classes = 2, .class_names = names};
    xp_dataset *test = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:calm\n");
    assert_int_equal(xp_dataset_align(&header, test), XP_OK);
    assert_int_equal(test->labels[0], 0);
    assert_int_equal(test->labels[1], 1);
    assert_int_equal(test->length, 5);
    xp_dataset_close(&test);
}

/* `counts[c]` samples of class c, in the order of the classes; the one value of each sample is its place in the file.
 */
static xp_dataset *open_counted(const int *counts) {
    char text[8192] = "@univariate true\n@classLabel true 0 1 2\n@data\n";
    int place = 0;
    for (int class = 0; class < 3; class ++) {
        for (int i = 0; i < counts[class]; i++) {
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "%d:%d\n", place++, class);
        }
    }
    return open_text(text);
}

static void count_classes(const xp_dataset *dataset, int counts[3]) {
    memset(counts, 0, 3 * sizeof *counts);
    for (int64_t i = 0; i < dataset->count; i++) counts[dataset->labels[i]]++;
}

static void a_split_takes_its_part_of_every_class(void **state) {
    const int counts[] = {40, 2, 1};
    int part[3];
    xp_dataset *train = open_counted(counts), *validation = NULL;
    assert_int_equal(xp_dataset_split(train, 0.1, 7, &validation), XP_OK);
    count_classes(validation, part);
    assert_int_equal(part[0], 4);
    assert_int_equal(part[1], 1);
    assert_int_equal(part[2], 0);
    assert_int_equal(train->count, 38);
    bool seen[43] = {false};
    for (int64_t i = 0; i < train->count; i++) seen[(int)values_of(train)[i]] = true;
    for (int64_t i = 0; i < validation->count; i++) {
        assert_false(seen[(int)values_of(validation)[i]]);
        seen[(int)values_of(validation)[i]] = true;
    }
    for (int i = 0; i < 43; i++) assert_true(seen[i]);

    xp_dataset *again = open_counted(counts), *same = NULL;
    assert_int_equal(xp_dataset_split(again, 0.1, 7, &same), XP_OK);
    assert_memory_equal(values_of(same), values_of(validation), (size_t)same->count * sizeof(float));
    xp_dataset_close(&same);
    xp_dataset_close(&again);

    xp_dataset *none = NULL;
    assert_int_equal(xp_dataset_split(train, 1.0, 7, &none), XP_INVALID_ARGUMENT);
    assert_int_equal(xp_dataset_split(train, NAN, 7, &none), XP_INVALID_ARGUMENT);
    xp_dataset_close(&train);
    xp_dataset_close(&validation);
}

static void a_limit_keeps_the_classes_in_balance(void **state) {
    const int counts[] = {40, 3, 20};
    int part[3];
    xp_dataset *dataset = open_counted(counts);
    assert_int_equal(xp_dataset_limit(dataset, 15, 7), XP_OK);
    assert_int_equal(dataset->count, 15);
    count_classes(dataset, part);
    assert_int_equal(part[0], 6);
    assert_int_equal(part[1], 3);
    assert_int_equal(part[2], 6);
    assert_int_equal(xp_dataset_limit(dataset, 100, 7), XP_OK);
    assert_int_equal(dataset->count, 15);
    assert_int_equal(xp_dataset_limit(dataset, 0, 7), XP_INVALID_ARGUMENT);
    xp_dataset_close(&dataset);
}

static void an_epochs_order_is_a_permutation_of_seed_and_epoch_alone(void **state) {
    enum { COUNT = 1000 };
    int32_t order[COUNT], again[COUNT], other[COUNT];
    xp_dataset_shuffle(COUNT, 3, 5, order);
    xp_dataset_shuffle(COUNT, 3, 6, other);
    xp_dataset_shuffle(COUNT, 3, 5, again);
    assert_memory_equal(order, again, sizeof order);
    assert_memory_not_equal(order, other, sizeof order);
    bool seen[COUNT] = {false};
    for (int i = 0; i < COUNT; i++) seen[order[i]] = true;
    for (int i = 0; i < COUNT; i++) assert_true(seen[i]);
}

static void a_short_last_batch_is_padded_with_weight_0(void **state) {
    xp_dataset *dataset = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:wild\n9:1:calm\n");
    const int32_t order[] = {2, 0, 1};
    float values[12], weights[2];
    int32_t lengths[2], labels[2];
    xp_batch batch = {.values = values, .lengths = lengths, .labels = labels, .weights = weights};
    assert_int_equal(xp_dataset_batch(dataset, order, 3, 0, 2, &batch), XP_OK);
    assert_int_equal(batch.filled, 2);
    const float first[] = {9, 1, 0, 0, 0, 0, 1, 4, 2, 5, 3, 6};
    assert_memory_equal(values, first, sizeof first);
    assert_int_equal(xp_dataset_batch(dataset, order, 3, 2, 2, &batch), XP_OK);
    assert_int_equal(batch.filled, 1);
    const float last[12] = {7, 8};
    assert_memory_equal(values, last, sizeof last);
    assert_int_equal(lengths[0], 1);
    assert_int_equal(lengths[1], 0);
    assert_int_equal(labels[0], 1);
    assert_int_equal(labels[1], 0);
    assert_true(weights[0] == 1 && weights[1] == 0);
    batch.lengths = batch.labels = NULL;
    assert_int_equal(xp_dataset_batch(dataset, order, 3, 4, 2, &batch), XP_OK);
    assert_int_equal(batch.filled, 0);
    xp_dataset_close(&dataset);
}

static void a_levelled_window_has_no_mean_and_no_deviation(void **state) {
    xp_dataset *dataset = open_text("time,a,b\n1,2,7\n2,4,7\n3,9,7\n4,1,7\n");
    const int32_t order[] = {1};
    float values[8], levels[8], targets[4], weights[2]; /* of two windows, of which one is filled */
    xp_batch batch = {.values = values, .targets = targets, .levels = levels, .weights = weights};
    MUST(xp_dataset_cut(dataset,
                        &(xp_windows){.context = 2, .horizon = 1, .season = 1, .predict = "b,a", .levelled = true}));
    MUST(xp_dataset_batch(dataset, order, 1, 0, 2, &batch));
    assert_true(values[1] == 0 && values[3] == 0); /* what does not change */
    assert_float_equal(values[0], -1, 1e-5);
    assert_float_equal(values[2], 1, 1e-5);
    assert_true(levels[0] == 7 && levels[1] == 6.5f);
    assert_float_equal(levels[2], sqrt(1e-5), 1e-6);
    assert_float_equal(levels[3], 2.5, 1e-5);
    xp_dataset_close(&dataset);
}

static void targets_are_standardised_by_the_training_part_and_come_back(void **state) {
    xp_dataset *dataset = open_text("@targetlabel true\n@data\n1:2,7\n1:4,7\n1:9,7\n1:?,7\n"), *part = NULL;
    const int32_t order[] = {3, 1};
    float values[2], targets[4], weights[2];
    xp_standardisation fit;
    xp_batch batch = {.values = values, .targets = targets, .weights = weights};
    assert_int_equal(xp_standardisation_fit_targets(&fit, dataset), XP_OK);
    assert_int_equal(fit.features, 2);
    assert_float_equal(fit.mean[0], 5, 1e-12);
    assert_float_equal(fit.deviation[0], sqrt(26.0 / 3), 1e-12);
    assert_true(fit.mean[1] == 7 && fit.deviation[1] == 0);
    assert_true(xp_dataset_target_unit(dataset) == 1);
    xp_standardisation_apply_targets(&fit, dataset);
    assert_int_equal(xp_dataset_batch(dataset, order, 2, 0, 2, &batch), XP_OK);
    assert_true(isnan(targets[0]) && targets[1] == 0 && targets[3] == 0);
    assert_float_equal(targets[2], -1 / sqrt(26.0 / 3), 1e-6);
    xp_standardisation_undo(&fit, 4, targets);
    assert_float_equal(targets[2], 4, 1e-6);
    assert_int_equal(xp_dataset_split(dataset, 0.5, 1, &part), XP_OK); /* each part keeps its own targets */
    for (int64_t i = 0; i < part->count; i++) {
        const float expected[] = {2, 4, 9, NAN};
        assert_int_equal(xp_dataset_read_targets(part, i, targets), XP_OK);
        assert_memory_equal(targets, &expected[xp_dataset_number(part, i)], sizeof *targets);
    }
    xp_dataset_close(&part);
    xp_dataset_close(&dataset);
    xp_standardisation_release(&fit);
}

static void parts_of_a_table_are_of_different_times(void **state) {
    enum { ROWS = 50, CONTEXT = 4, HORIZON = 3 };
    char text[1024] = "time,a\n";
    for (int i = 0; i < ROWS; i++) snprintf(text + strlen(text), 16, "%d,%d\n", i, i);
    xp_dataset *train = NULL, *validation = NULL, *test = NULL, *sets[3];
    const xp_windows windows = {.context = CONTEXT, .horizon = HORIZON, .season = 1, .predict = ""};
    xp_standardisation fit;
    assert_int_equal(xp_dataset_open(&train, scratch_write("rows.csv", text, strlen(text)), NULL), XP_OK);
    assert_int_equal(xp_dataset_cut(train, &windows), XP_OK);
    assert_int_equal(xp_dataset_split(train, 0.2, 1, &test), XP_OK);
    assert_int_equal(xp_dataset_split(train, 0.25, 1, &validation), XP_OK);
    memcpy(sets, (xp_dataset *[]){train, validation, test}, sizeof sets);
    const int first[] = {CONTEXT, 30, 40}, last[] = {29, 39, 49}; /* rows that are predicted */
    for (int set = 0; set < 3; set++) {
        float begin[HORIZON], end[HORIZON];
        assert_int_equal(sets[set]->count, last[set] - first[set] + 1 - (HORIZON - 1));
        assert_int_equal(xp_dataset_read_targets(sets[set], 0, begin), XP_OK);
        assert_int_equal(xp_dataset_read_targets(sets[set], sets[set]->count - 1, end), XP_OK);
        assert_true(begin[0] == (float)first[set] && end[HORIZON - 1] == (float)last[set]);
    }
    assert_int_equal(xp_standardisation_fit(&fit, train), XP_OK); /* the rows 0 to 29, each once */
    assert_float_equal(fit.mean[0], 14.5, 1e-12);
    assert_float_equal(fit.deviation[0], sqrt((30 * 30 - 1) / 12.0), 1e-12);
    const int64_t windows_before = train->count;
    assert_int_equal(xp_dataset_thin(train, 5), XP_OK);
    assert_int_equal(train->count, (windows_before + 4) / 5);
    assert_int_equal(xp_dataset_number(train, 1), 5);
    assert_int_equal(xp_dataset_split(train, 0.9, 1, &sets[1]), XP_INVALID_ARGUMENT);
    xp_standardisation_release(&fit);
    xp_dataset_close(&train);
    xp_dataset_close(&validation);
    xp_dataset_close(&test);
}

static xp_status read_two(const xp_source *source, int64_t number, float *values) {
    values[0] = (float)number;
    return number < 2 ? XP_OK : xp_fail(XP_BAD_DATA, "sample %lld is damaged", (long long)number);
}

static int closed;
static void count_closing(xp_source *source) {
    closed++;
}

static void a_sample_that_its_source_cannot_give_fails_the_batch(void **state) {
    xp_source source = {.read = read_two, .close = count_closing, .data_sets = 1};
    int32_t lengths[] = {1, 1, 1};
    xp_dataset dataset = {
        .kind = &xp_series_kind, .source = &source, .count = 3, .features = 1, .length = 1, .sample_elements = 1};
    dataset.lengths = lengths;
    const int32_t order[] = {1, 0, 2};
    float values[2], weights[2];
    xp_batch batch = {.values = values, .weights = weights};
    assert_int_equal(xp_dataset_batch(&dataset, order, 3, 0, 2, &batch), XP_OK);
    assert_true(values[0] == 1 && values[1] == 0);
    assert_int_equal(xp_dataset_batch(&dataset, order, 3, 2, 2, &batch), XP_BAD_DATA);
    assert_string_equal(xp_last_error(), "sample 2 is damaged");
}

static uint64_t identify_none(const xp_source *source, int64_t number) {
    return 0;
}

static void a_feed_gives_batches_in_order_and_hands_on_what_failed(void **state) {
    xp_source source = {.read = read_two, .close = count_closing, .data_sets = 1};
    int32_t lengths[] = {1, 1, 1};
    xp_dataset dataset = {
        .kind = &xp_series_kind, .source = &source, .count = 3, .features = 1, .length = 1, .sample_elements = 1};
    dataset.lengths = lengths;
    const int32_t order[] = {1, 0, 0, 1, 1, 2};
    float values[2][2], weights[2][2];
    const xp_batch slots[] = {{.values = values[0], .weights = weights[0]},
                              {.values = values[1], .weights = weights[1]}};
    xp_feed *feed = NULL;
    int slot = -1, filled = 0;
    assert_int_equal(xp_feed_open(&feed, 2, slots), XP_OK);
    for (int round = 0; round < 100; round++) {           /* dropped at any moment, it begins anew */
        if (round == 50) source.identify = identify_none; /* from now on with more threads */
        xp_feed_begin(feed, &dataset, order, 3, 0);
        if (round % 5 == 0) continue;
        assert_int_equal(xp_feed_take(feed, &slot, &filled), XP_OK);
        assert_int_equal(slot, 0);
        assert_int_equal(filled, 2);
        assert_true(values[0][0] == 1 && values[0][1] == 0);
        if (round % 5 == 1) continue;
        assert_int_equal(xp_feed_take(feed, &slot, &filled), XP_OK);
        assert_int_equal(slot, 1);
        assert_int_equal(filled, 1);
        assert_true(values[1][0] == 0 && weights[1][1] == 0);
        assert_int_equal(xp_feed_take(feed, &slot, &filled), XP_INVALID_ARGUMENT);
    }
    xp_feed_begin(feed, &dataset, order, 6, 2);
    assert_int_equal(xp_feed_take(feed, &slot, &filled), XP_OK);
    assert_true(values[0][0] == 0 && values[0][1] == 1);
    assert_int_equal(xp_feed_take(feed, &slot, &filled), XP_BAD_DATA);
    assert_string_equal(xp_last_error(), "sample 2 is damaged");
    assert_int_equal(xp_feed_take(feed, &slot, &filled), XP_BAD_DATA); /* until another beginning */
    xp_feed_end(feed);
    xp_feed_close(&feed);
    assert_null(feed);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

/* The times after a table of three rows with these. */
static void times_go_on_as_they_are_written(void **state) {
    static const struct {
        const char *given[3], *next[2]; /* NULL: not known */
        const char *column;             /* NULL: "time" */
    } cases[] = {
        {{"2012-02-28T23:00:00Z", "2012-02-28T23:30:00Z", "2012-02-29T00:00:00Z"},
         {"2012-02-29T00:30:00Z", "2012-02-29T01:00:00Z"}},
        {{"1999-12-30", "1999-12-31", "2000-01-01"}, {"2000-01-02", "2000-01-03"}},
        {{"2023-12-31", "2024-01-31", "2024-02-29"}, {"2024-03-31", "2024-04-30"}},
        {{"1969-10-05 06:07", "1969-11-05 06:07", "1969-12-05 06:07"}, {"1970-01-05 06:07", "1970-02-05 06:07"}},
        {{"2020-01-30", "2021-01-30", "2022-01-30"}, {"2023-01-30", "2024-01-30"}},
        {{"2001-01-01 00:00:00.25", "2001-01-01 00:00:00.50", "2001-01-01 00:00:00.75"},
         {"2001-01-01 00:00:01.00", "2001-01-01 00:00:01.25"}},
        {{"1958.5", "1958.75", "1959"}, {"1959.25", "1959.5"}},
        {{"19580315", "19580322", "19580329"}, {"19580405", "19580412"}, "date"},
        {{"20231231", "20240131", "20240229"}, {"20240331", "20240430"}, "Date"},
        {{"20000129", "20000130", "20000131"}, {"20000132", "20000133"}}, /* a number as any */
        {{"2024-01-04", "2024-01-05", "2024-01-08"}, {NULL, NULL}},       /* no weekend */
        {{"0001-01-01", "4001-01-01", "8001-01-01"}, {NULL, NULL}},       /* a year has four digits */
        {{"", "2024-01-05", ""}, {NULL, NULL}},
        {{"Jan 1958", "Feb 1958", "Mar 1958"}, {NULL, NULL}}, /* not read */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        xp_dataset *dataset = NULL;
        char table[256], text[64];
        snprintf(table, sizeof table, "%s,load\n%s,1\n%s,2\n%s,3\n", cases[i].column ? cases[i].column : "time",
                 cases[i].given[0], cases[i].given[1], cases[i].given[2]);
        MUST(xp_dataset_open(&dataset, scratch_write("times.csv", table, strlen(table)), NULL));
        const xp_times *times = xp_dataset_times(dataset);
        assert_int_equal(times != NULL, *cases[i].given[0] != 'J');
        for (int row = 0; times && row < 5; row++) {
            const char *wanted = row < 3 ? cases[i].given[row] : cases[i].next[row - 3];
            assert_int_equal(xp_times_write(times, row, text, sizeof text), wanted && *wanted);
            if (wanted && *wanted) assert_string_equal(text, wanted);
        }
        xp_dataset_close(&dataset);
    }
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { PIECES = 40 };

typedef struct pieces {
    int done[PIECES], failing; /* from this one on, all fail */
    xp_workers *halted;        /* by the first piece */
} pieces;

static xp_status do_piece(void *user, int number) {
    pieces *own = user;
    own->done[number]++;
    if (own->halted) xp_workers_halt(own->halted, true);
    return number < own->failing ? XP_OK : xp_fail(XP_BAD_DATA, "piece %d failed", number);
}

static void threads_do_each_piece_once_and_report_the_first_failure(void **state) {
    for (int threads = 0; threads < 6; threads++) {
        xp_workers *workers = NULL;
        if (threads > 0) MUST(xp_workers_open(&workers, threads));
        for (int round = 0; round < 50; round++) {
            pieces all = {.failing = PIECES}, some = {.failing = 7};
            MUST(xp_workers_run(workers, PIECES, do_piece, &all));
            for (int i = 0; i < PIECES; i++) assert_int_equal(all.done[i], 1);
            assert_int_equal(xp_workers_run(workers, PIECES, do_piece, &some), XP_BAD_DATA);
            assert_string_equal(xp_last_error(), "piece 7 failed");
            int begun = 0;
            for (int i = 0; i < PIECES; i++) begun += some.done[i];
            assert_true(begun >= 8 && begun <= 7 + (threads ? threads : 1));
        }
        xp_workers_close(&workers);
        assert_null(workers);
    }
}

/* No address space has room for such stacks. */
static void without_more_threads_the_caller_does_each_piece(void **state) {
    pthread_attr_t usual, vast;
    xp_workers *workers = NULL;
    pieces all = {.failing = PIECES};
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_getattr_default_np(&vast), 0);
    assert_int_equal(pthread_attr_setstacksize(&vast, (size_t)1 << (8 * sizeof(size_t) - 2)), 0);
    assert_int_equal(pthread_setattr_default_np(&vast), 0);
    const xp_status status = xp_workers_open(&workers, 4);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    MUST(status);
    MUST(xp_workers_run(workers, PIECES, do_piece, &all));
    for (int i = 0; i < PIECES; i++) assert_int_equal(all.done[i], 1);
    xp_workers_close(&workers);
    pthread_attr_destroy(&vast);
    pthread_attr_destroy(&usual);
}

static void halted_threads_begin_nothing(void **state) {
    pieces own = {.failing = PIECES};
    MUST(xp_workers_open(&own.halted, 3));
    assert_int_equal(xp_workers_run(own.halted, PIECES, do_piece, &own), XP_INTERRUPTED);
    assert_int_equal(own.done[PIECES - 1], 0);
    xp_workers_halt(own.halted, false);
    pieces later = {.failing = PIECES};
    MUST(xp_workers_run(own.halted, PIECES, do_piece, &later));
    xp_workers_close(&own.halted);
}

static void a_source_is_closed_with_the_last_data_set_that_has_it(void **state) {
    xp_dataset *train = open_text("@univariate true\n@classLabel true a\n@data\n1:a\n2:a\n3:a\n4:a\n");
    xp_dataset *validation = NULL;
    void (*close)(xp_source *) = train->source->close;
    xp_source *source = train->source;
    closed = 0;
    source->close = count_closing;
    assert_int_equal(xp_dataset_split(train, 0.5, 7, &validation), XP_OK);
    assert_ptr_equal(validation->source, source);
    xp_dataset_close(&train);
    assert_int_equal(closed, 0);
    assert_true(values_of(validation)[0] == (float)(xp_dataset_number(validation, 0) + 1));
    xp_dataset_close(&validation);
    assert_int_equal(closed, 1);
    close(source);
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static xp_dataset *open_words(const char *text, int length) {
    xp_dataset *dataset = NULL;
    MUST(xp_dataset_open(&dataset, scratch_write("words.txt", text, strlen(text)), NULL));
    assert_ptr_equal(dataset->kind, &xp_text_kind);
    MUST(xp_dataset_cut(dataset, &(xp_windows){.context = length, .predict = ""}));
    return dataset;
}

/* The bytes of a sample. */
static const char *words_of(const xp_dataset *dataset, int64_t sample) {
    static char text[64];
    float values[64];
    MUST(xp_dataset_read(dataset, sample, values));
    for (int64_t i = 0; i < dataset->sample_elements; i++) text[i] = (char)values[i];
    text[dataset->sample_elements] = '\0';
    return text;
}

static void text_is_cut_into_samples_and_the_byte_that_follows(void **state) {
    xp_dataset *dataset = open_words("abcdefghijkl", 4);
    assert_int_equal(dataset->count, 2); /* the third would be followed by nothing */
    assert_string_equal(words_of(dataset, 0), "abcde");
    assert_string_equal(words_of(dataset, 1), "efghi");
    xp_dataset_close(&dataset);
    dataset = open_words("\xfd\xfe", 1);
    float values[2];
    MUST(xp_dataset_read(dataset, 0, values));
    assert_true(values[0] == 253 && values[1] == 254);
    assert_int_equal(xp_dataset_cut(dataset, &(xp_windows){.context = 2, .predict = ""}), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "words.txt: the text has 2 bytes, but a sample takes 3"));
    xp_dataset_close(&dataset);
}

static void an_epoch_cuts_a_text_elsewhere_but_not_behind_its_part(void **state) {
    xp_dataset *dataset = open_words("abcdefghijklmnopqrstuvwx", 5), *validation = NULL;
    assert_int_equal(dataset->count, 4);
    MUST(xp_dataset_split(dataset, 0.5, 1, &validation));
    assert_int_equal(dataset->count, 2);
    assert_int_equal(validation->count, 2);
    assert_string_equal(words_of(validation, 0), "klmnop"); /* the end */
    bool drawn[5] = {false};
    for (int epoch = 0; epoch < 40; epoch++) {
        xp_dataset_begin_epoch(dataset, 3, epoch);
        const int64_t shift = dataset->shift;
        assert_in_range(shift, 0, 4);
        drawn[shift] = true;
        assert_int_equal(words_of(dataset, 0)[0], 'a' + shift);
        assert_string_equal(words_of(dataset, 1), "fghijk"); /* the last one stays */
        xp_dataset_begin_epoch(dataset, 3, epoch);
        assert_int_equal(dataset->shift, shift);
    }
    for (int shift = 0; shift < 5; shift++) assert_true(drawn[shift]);
    assert_string_equal(words_of(validation, 1), "pqrstu");
    xp_dataset_close(&dataset);
    MUST(xp_dataset_limit(validation, 1, 1));
    assert_string_equal(words_of(validation, 0), "klmnop");
    assert_int_equal(validation->count, 1);
    assert_int_equal(xp_dataset_split(validation, 0.5, 1, &dataset), XP_INVALID_ARGUMENT);
    xp_dataset_close(&validation);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standardisation_makes_mean_0_and_deviation_1_and_keeps_the_padding),
        cmocka_unit_test(data_with_every_value_missing_are_rejected),
        cmocka_unit_test(dimensions_that_tell_nothing_are_named),
        cmocka_unit_test(alignment_matches_classes_by_name_and_pads_both),
        cmocka_unit_test(alignment_keeps_classes_that_the_other_does_not_have_apart),
        cmocka_unit_test(labels_are_checked_by_the_number_of_the_sample_in_its_file),
        cmocka_unit_test(a_part_without_labels_takes_the_classes_of_the_other),
        cmocka_unit_test(columns_to_predict_are_matched_by_name),
        cmocka_unit_test(a_column_that_a_window_does_not_know_is_at_its_mean),
        cmocka_unit_test(a_header_without_samples_serves_for_alignment),
        cmocka_unit_test(a_split_takes_its_part_of_every_class),
        cmocka_unit_test(a_limit_keeps_the_classes_in_balance),
        cmocka_unit_test(an_epochs_order_is_a_permutation_of_seed_and_epoch_alone),
        cmocka_unit_test(a_short_last_batch_is_padded_with_weight_0),
        cmocka_unit_test(parts_of_a_table_are_of_different_times),
        cmocka_unit_test(a_levelled_window_has_no_mean_and_no_deviation),
        cmocka_unit_test(targets_are_standardised_by_the_training_part_and_come_back),
        cmocka_unit_test(a_sample_that_its_source_cannot_give_fails_the_batch),
        cmocka_unit_test(a_feed_gives_batches_in_order_and_hands_on_what_failed),
        cmocka_unit_test(times_go_on_as_they_are_written),
        cmocka_unit_test(threads_do_each_piece_once_and_report_the_first_failure),
        cmocka_unit_test(without_more_threads_the_caller_does_each_piece),
        cmocka_unit_test(halted_threads_begin_nothing),
        cmocka_unit_test(a_source_is_closed_with_the_last_data_set_that_has_it),
        cmocka_unit_test(text_is_cut_into_samples_and_the_byte_that_follows),
        cmocka_unit_test(an_epoch_cuts_a_text_elsewhere_but_not_behind_its_part),
    };
    return cmocka_run_group_tests_name("data", tests, scratch_make, scratch_remove);
}
