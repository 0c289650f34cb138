/* What a task is: a row of a table. A second one, which the library does not have, takes the place of its table here,
 * and trains, resumes and evaluates with what its row says. */
#include "core/files.h"
#include "ops/ops.h"
#include "support.h"
#include "task/classification.h"
#include "train/run_folder.h"
#include "train/trainer.h"

#include <jansson.h>

/* ---- a task of its own: the same loss, told in bits, of which fewer are better
 * ------------------------------------ */

enum { LOSS, SURPRISE };

static bool takes(const xp_dataset *training) {
    return training->classes == 2;
}

static xp_status check(const xp_dataset *dataset, const char *path, xp_data_use use) {
    return xp_dataset_check_labels(dataset, path);
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    xp_write(out, ", %d omens", dataset->classes);
}

static int outputs(const xp_dataset *training) {
    return training->classes;
}

static const char *output_name(const xp_dataset *training, int output) {
    return training->class_names[output];
}

static void restore(xp_dataset *header, int count, char **names) {
    header->classes = count;
    header->class_names = names;
}

static double loss(const double *sums, int64_t counted, double unit) {
    return sums[XP_TALLY_LOSS] / (double)counted;
}

static double surprise(const double *sums, int64_t counted, double unit) {
    return sums[XP_TALLY_LOSS] / (double)counted / log(2);
}

static xp_status build(xp_learner *learner, const xp_task_options *options, bool training) {
    return xp_classification.build(learner, options, training);
}

static xp_status open_labels(xp_evaluation *evaluation, const xp_dataset *dataset) {
    int32_t *labels = malloc((size_t)dataset->count * sizeof *labels);
    if (!labels) return XP_OUT_OF_MEMORY;
    memcpy(labels, dataset->labels, (size_t)dataset->count * sizeof *labels);
    evaluation->own = labels;
    return XP_OK;
}

static void finish(xp_evaluation *evaluation) {
    const int32_t *labels = evaluation->own;
    double sums[XP_TASK_SUMS] = {0};
    for (int64_t i = 0; i < evaluation->count; i++)
        sums[XP_TALLY_LOSS] -= log((double)evaluation->answers[i * evaluation->outputs + labels[i]]);
    xp_task_measure(evaluation->task, sums, evaluation->count, 1, evaluation->metrics);
}

static void forget(xp_evaluation *evaluation) {
    free(evaluation->own);
}

static const xp_task fortune = {
    .name = "fortune",
    .takes = takes,
    .check = check,
    .describe = describe,
    .outputs = outputs,
    .output_name = output_name,
    .outputs_key = "omens",
    .names_key = "omen_names",
    .restore = restore,
    .build = build,
    .sums = {{"nats"}, {"hits", .counts = true}},
    .sum_count = 2,
    .metrics = {[LOSS] = {"loss", "", .scale = 1, .digits = 4, .highest = 1e300, .value = loss},
                [SURPRISE] = {"surprise", " bits", .scale = 1, .digits = 3, .highest = 1e300, .value = surprise}},
    .metric_count = 2,
    .deciding = SURPRISE,
    .higher_is_better = false,
    .open = open_labels,
    .finish = finish,
    .release = forget,
};

/* In place of the library's own, which is a file of its own. */
const xp_task *const xp_tasks[] = {&fortune, &xp_classification};
const int xp_task_count = 2;

/* ---- a run
 * -------------------------------------------------------------------------------------------------------- */

static const char *write_series(void) {
    char text[4096] = "@univariate true\n@classLabel true low high\n@data\n";
    for (int i = 0; i < 24; i++) {
        char line[64];
        snprintf(line, sizeof line, "%d,%d,%d,%d:%s\n", i % 5, i % 3, (i + 1) % 4, i % 2 ? 5 : -5,
                 i % 2 ? "high" : "low");
        strcat(text, line);
    }
    return scratch_write("omens.ts", text, strlen(text));
}

static void configure(xp_config *config, const char *data) {
    xp_config_default(config);
    snprintf(config->data.train, sizeof config->data.train, "%s", data);
    snprintf(config->data.test, sizeof config->data.test, "%s", data);
    config->model.width = 16;
    config->model.heads = 2;
    config->model.layers = 1;
    config->model.feed_forward = 16;
    config->training.batch = 8;
    config->training.epochs = 3;
    config->training.learning_rate = 0.01;
}

static json_t *read_json(const char *name) {
    json_t *all = json_load_file(scratch_path(name), 0, NULL);
    HAVE(all);
    return all;
}

static double number(json_t *all, const char *key) {
    json_t *value = json_object_get(all, key);
    if (!json_is_number(value)) fail_msg("there is no number '%s'", key);
    return json_number_value(value);
}

static void assert_text(json_t *all, const char *key, const char *expected) {
    const char *text = json_string_value(json_object_get(all, key));
    if (!text || strcmp(text, expected) != 0) fail_msg("'%s' is '%s', not '%s'", key, text ? text : "", expected);
}

/* The epoch of the smallest number in the column of the test set's surprise, and that number. */
static int least_surprise(double *least) {
    static const char header[] =
        "epoch,train_loss,train_surprise,validation_loss,validation_surprise,test_loss,test_surprise,learning_rate,";
    char *text = NULL;
    size_t length = 0;
    int best = 0, epoch = 0;
    MUST(xp_file_read(scratch_path("run/metrics.csv"), &text, &length));
    if (strncmp(text, header, sizeof header - 1) != 0) fail_msg("other columns: %.120s", text);
    for (const char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        double losses[2], test[2];
        assert_int_equal(sscanf(line, "%d,%lf,%lf,,,%lf,%lf", &epoch, &losses[0], &losses[1], &test[0], &test[1]), 5);
        assert_true(fabs(losses[1] - losses[0] / log(2)) < 1e-9);
        if (best == 0 || test[1] < *least) best = epoch, *least = test[1];
    }
    free(text);
    return best;
}

static xp_run_summary train(const xp_config *config, bool resume, int epochs) {
    const xp_train_options options = {
        .out = scratch_path("run"), .resume = resume, .epochs = epochs, .keep = -1, .report = stdout};
    const xp_trainer_callbacks callbacks = {.user = NULL};
    xp_run_summary result;
    MUST(xp_train(config, &options, &callbacks, &result));
    return result;
}

static void a_run_is_what_the_row_of_its_task_says(void **state) {
    xp_config config;
    double least = NAN;
    configure(&config, write_series());
    const xp_run_summary result = train(&config, false, -1);
    assert_ptr_equal(result.task, &fortune);
    assert_int_equal(result.best.epoch, least_surprise(&least));
    assert_true(result.last.epoch == 3 && result.best.epoch > 1); /* it learned: the last is not worse by chance */
    assert_false(xp_path_exists(scratch_path("run/confusion.svg")));
    json_t *summary = read_json("run/summary.json"), *saved = read_json("run/best/state.json");
    assert_true(fabs(number(summary, "surprise_best") - least) < 1e-9);
    assert_text(summary, "surprise_set", "test");
    assert_true(number(summary, "epoch_best") == result.best.epoch);
    assert_null(json_object_get(summary, "accuracy_best"));
    assert_text(saved, "task", "fortune");
    assert_true(fabs(number(saved, "surprise_best") - least) < 1e-9 && number(saved, "omens") == 2);
    assert_int_equal(json_array_size(json_object_get(saved, "omen_names")), 2);
    assert_true(number(saved, "nats") == 0 && number(saved, "hits") == 0);
    assert_null(json_object_get(saved, "classes"));
    json_decref(summary);
    json_decref(saved);
}

static void a_run_goes_on_with_the_task_that_it_recorded(void **state) {
    double least = NAN;
    const xp_run_summary result = train(NULL, true, 4);
    assert_ptr_equal(result.task, &fortune);
    assert_int_equal(result.last.epoch, 4);
    assert_int_equal(result.best.epoch, least_surprise(&least));
}

static void an_evaluation_measures_what_the_task_does(void **state) {
    const xp_evaluate_options options = {.data = scratch_path("omens.ts"), .judged = true};
    const xp_trainer_callbacks callbacks = {.user = NULL};
    double least = NAN;
    xp_evaluation evaluation;
    MUST(xp_evaluate(scratch_path("run"), &options, &callbacks, &evaluation));
    least_surprise(&least);
    assert_ptr_equal(evaluation.task, &fortune);
    assert_true(fabs(evaluation.metrics[SURPRISE] - least) < 1e-6);
    xp_evaluation_release(&evaluation);
}

static void a_checkpoint_of_a_task_that_is_not_known_is_rejected_by_name(void **state) {
    char *text = NULL;
    size_t length = 0;
    MUST(xp_file_read(scratch_path("run/best/state.json"), &text, &length));
    char *name = strstr(text, "\"fortune\"");
    assert_non_null(name);
    memcpy(name, "\"foresee\"", 9);
    MUST(xp_file_write_atomic(scratch_path("run/best/state.json"), text, length));
    free(text);
    const xp_evaluate_options options = {.data = scratch_path("omens.ts")};
    xp_evaluation evaluation;
    assert_int_equal(xp_evaluate(scratch_path("run"), &options, NULL, &evaluation), XP_BAD_DATA);
    if (!strstr(xp_last_error(), "'task' is 'foresee'")) fail_msg("%s", xp_last_error());
}

static void data_choose_the_first_task_that_takes_them(void **state) {
    const xp_dataset two = {.kind = &xp_series_kind, .classes = 2}, three = {.kind = &xp_series_kind, .classes = 3},
                     text = {.kind = &xp_text_kind};
    const xp_task *task = NULL;
    MUST(xp_task_for(&two, &task));
    assert_ptr_equal(task, &fortune);
    MUST(xp_task_for(&three, &task));
    assert_ptr_equal(task, &xp_classification);
    assert_int_equal(xp_task_for(&text, &task), XP_UNSUPPORTED); /* it is not in this table */
    assert_ptr_equal(xp_task_find("fortune"), &fortune);
    MUST(xp_task_named("fortune", &task));
    assert_int_equal(xp_task_named("foresee", &task), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "data.task: 'foresee' is no task; there are fortune, classification"));
    assert_null(xp_task_find("foresee"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_choose_the_first_task_that_takes_them),
        cmocka_unit_test(a_run_is_what_the_row_of_its_task_says),
        cmocka_unit_test(a_run_goes_on_with_the_task_that_it_recorded),
        cmocka_unit_test(an_evaluation_measures_what_the_task_does),
        cmocka_unit_test(a_checkpoint_of_a_task_that_is_not_known_is_rejected_by_name),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
