/* Configurations: presets, files, assignments, faults, printing and reading back, learning rates. */
#include "core/files.h"
#include "data/dataset.h"
#include "ops/ops.h"
#include "study/study.h"
#include "support.h"
#include "task/classification.h"

#include <limits.h>
#include <locale.h>

/* Writes a file below a temporary folder of this process and reads it as a configuration. */
static xp_status read_text(xp_config *config, const char *text, char path[64]) {
    snprintf(path, 64, "/tmp/expanse-config-%ld.yaml", (long)getpid());
    assert_int_equal(xp_file_write_atomic(path, text, strlen(text)), XP_OK);
    xp_config_default(config);
    xp_status status = xp_config_file(config, path);
    unlink(path);
    return status;
}

/* The message must hold `place` right behind the path, and `words` somewhere. */
static void assert_fault(const char *text, const char *place, const char *words) {
    xp_config config, before;
    char path[64], expected[128];
    xp_config_default(&before);
    assert_int_not_equal(read_text(&config, text, path), XP_OK);
    snprintf(expected, sizeof expected, "%s%s", path, place);
    if (!strstr(xp_last_error(), expected)) fail_msg("'%s' is not in: %s", expected, xp_last_error());
    if (!strstr(xp_last_error(), words)) fail_msg("'%s' is not in: %s", words, xp_last_error());
    assert_memory_equal(&config, &before, sizeof config); /* nothing was taken over */
}

static void every_preset_is_complete_and_right(void **state) {
    char names[64][64];
    int count = xp_config_presets(names, 64);
    assert_int_equal(count, 14);
    for (int i = 0; i < count; i++) {
        xp_config config;
        xp_config_default(&config);
        if (xp_config_preset(&config, names[i]) != XP_OK) fail_msg("%s: %s", names[i], xp_last_error());
        if (xp_config_check(&config) != XP_OK) fail_msg("%s: %s", names[i], xp_last_error());
        assert_string_equal(config.preset, names[i]);
    }
}

static void the_flowformer_preset_is_the_published_protocol(void **state) {
    xp_config config;
    xp_config_default(&config);
    assert_int_equal(xp_config_preset(&config, "uea-flowformer"), XP_OK);
    assert_int_equal(config.model.width, 512);
    assert_int_equal(config.model.heads, 8);
    assert_int_equal(config.model.layers, 2);
    assert_int_equal(config.model.feed_forward, 2048);
    assert_int_equal(config.model.pre_norm, 0);
    assert_int_equal(config.model.head, XP_HEAD_FLATTEN);
    assert_int_equal(config.model.head_activation, XP_ACTIVATION_GELU);
    assert_int_equal(config.training.optimiser, XP_RADAM);
    assert_true(config.training.learning_rate == 1e-3);
    assert_true(config.training.gradient_clip == 4);
    assert_int_equal(config.training.batch, 16);
    assert_int_equal(config.training.epochs, 100);
}

static void the_deit_preset_is_the_published_recipe(void **state) {
    xp_config config;
    xp_config_default(&config);
    assert_int_equal(xp_config_preset(&config, "deit-tiny"), XP_OK);
    assert_true(fabs(config.training.learning_rate - 5e-4 * config.training.batch / 512) < 1e-9);
    assert_int_equal(config.data.image_size, 224);
    const xp_augmentation published = {.crop = 0.08,
                                       .flip = 0.5,
                                       .operations = 2,
                                       .magnitude = 9,
                                       .magnitude_deviation = 0.5,
                                       .erase = 0.25,
                                       .mixup = 0.8,
                                       .cutmix = 1,
                                       .repeats = 3};
    assert_memory_equal(&config.augment, &published, sizeof published);
    assert_true(config.model.drop_path == 0.1 && config.training.label_smoothing == 0.1);
}

/* It was a switch once, and every run with it on has ReLU. */
static void an_old_switch_reads_as_the_activation_that_it_meant(void **state) {
    static const struct {
        const char *old, *name;
        int value;
    } words[] = {{"on", "relu", XP_ACTIVATION_RELU}, {"off", "none", XP_ACTIVATION_NONE}};
    for (int i = 0; i < 2; i++) {
        xp_config config;
        char path[64], text[64], *printed = NULL;
        snprintf(text, sizeof text, "preset: uea-mvts\nmodel:\n  head_activation: %s\n", words[i].old);
        MUST(read_text(&config, text, path));
        assert_int_equal(config.model.head_activation, words[i].value);
        assert_int_equal(xp_config_text(&config, &printed), XP_OK);
        snprintf(text, sizeof text, "  head_activation: %s ", words[i].name);
        if (!strstr(printed, text)) fail_msg("'%s' is not in:\n%s", text, printed);
        free(printed);
    }
    assert_fault("model:\n  head_activation: yes\n", ":2:20: ", "is not one of none, relu, gelu");
}

static void an_unknown_preset_names_the_nearest(void **state) {
    xp_config config;
    xp_config_default(&config);
    assert_int_equal(xp_config_preset(&config, "vit-tiny28"), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "did you mean 'vit-tiny-28'"));
    assert_int_equal(xp_config_preset(&config, "resnet-fifty"), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "the presets are deit-tiny, forecast, images-64, lra-image, lra-listops"));
}

static void a_printed_configuration_reads_back_the_same(void **state) {
    xp_config config, back;
    char path[64], *text = NULL;
    xp_config_default(&config);
    assert_int_equal(xp_config_preset(&config, "deit-tiny"), XP_OK);
    assert_int_equal(xp_config_set(&config, "training.learning_rate=0.1234567890123456"), XP_OK);
    assert_int_equal(xp_config_set(&config, "checkpoint_every=1.5h"), XP_OK);
    assert_int_equal(xp_config_set(&config, "seed=18446744073709551615"), XP_OK);
    assert_int_equal(xp_config_set(&config, "data.train=C:\\odd \"name\" # of: a Grüße file.ts"), XP_OK);
    assert_int_equal(xp_config_text(&config, &text), XP_OK);
    if (read_text(&back, text, path) != XP_OK) fail_msg("%s\n%s", xp_last_error(), text);
    assert_memory_equal(&config, &back, sizeof config);
    free(text);
}

static void numbers_are_the_same_in_every_locale(void **state) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "C.UTF-8"};
    for (int i = 0; i < 4 && !setlocale(LC_ALL, names[i]); i++) continue;
    xp_config config;
    char *text = NULL;
    xp_config_default(&config);
    assert_int_equal(xp_config_set(&config, "dropout=0.25"), XP_OK);
    assert_true(config.model.dropout == 0.25);
    assert_int_not_equal(xp_config_set(&config, "dropout=0,25"), XP_OK);
    assert_int_equal(xp_config_text(&config, &text), XP_OK);
    assert_non_null(strstr(text, "dropout: 0.25"));
    free(text);
    setlocale(LC_ALL, "C");
}

static void a_file_may_begin_from_a_preset(void **state) {
    xp_config config;
    char path[64];
    assert_int_equal(read_text(&config, "training:\n  epochs: 7\npreset: uea-mvts\n", path), XP_OK);
    assert_int_equal(config.model.width, 64);
    assert_int_equal(config.training.epochs, 7);
    assert_int_equal(read_text(&config, "", path), XP_OK);
    assert_int_equal(read_text(&config, "# nothing but a comment\n", path), XP_OK);
}

static void faults_have_their_place_and_a_way_out(void **state) {
    assert_fault("model:\n  widht: 64\n", ":2:3: ", "did you mean 'width'");
    assert_fault("modle:\n  width: 64\n", ":1:1: ", "did you mean 'model'");
    assert_fault("model:\n  epochs: 4\n", ":2:3: ", "belongs to section 'training'");
    assert_fault("epochs: 4\n", ":1:1: ", "belongs to section 'training'");
    assert_fault("lossy: 4\n",
                 ":1:1: ", "unknown key 'lossy'; the sections are model, data, augment, training, device");
    assert_fault("seeds: 2\nattentions: [softmax]\n", ":2:1: ", "belongs to a study, which runs with: expanse study ");
    assert_fault("model:\n  width: wide\n", ":2:10: ", "not a whole number from 1 to 65536");
    assert_fault("model:\n  width: 6.5\n", ":2:10: ", "not a whole number");
    assert_fault("model:\n  heads: 0\n", ":2:10: ", "from 1 to 1024");
    assert_fault("model:\n  dropout: nan\n", ":2:12: ", "not a number");
    assert_fault("model:\n  dropout: 1e400\n", ":2:12: ", "not a number");
    assert_fault("model:\n  activation: gleu\n", ":2:15: ", "did you mean 'gelu'");
    assert_fault("model:\n  pre_norm: perhaps\n", ":2:13: ", "not on or off");
    assert_fault("model:\n  width: [1, 2]\n", ":2:10: ", "one value");
    assert_fault("model:\n  width:\n    a: 1\n", ":3:5: ", "one value");
    assert_fault("model:\n  width: 4\n  width: 8\n", ":3:3: ", "given twice");
    assert_fault("training:\n  seed: -1\n", ":2:9: ", "whole number from 0");
    assert_fault("training:\n  seed: 18446744073709551616\n", ":2:9: ", "whole number from 0");
    assert_fault("device:\n  family: wild\n", ":2:11: ", "did you mean 'wide'");
    assert_fault("preset: deit-tine\n", ":1:9: ", "did you mean 'deit-tiny'");
    assert_fault("- model\n", ":1:1: ", "expected sections");
    assert_fault("model: {width: 4\n", ":2:1: ", "not YAML");
    assert_fault("model:\n\twidth: 4\n", ":2:1: ", "not YAML");
    assert_fault("model:\n  width: 4\n---\nmodel:\n", ":3:1: ", "second document");
    assert_fault("model: &a\n  ? [1]\n  : 2\n", ":2:5: ", "a key must be a word");
    assert_fault("data:\n  train: \"a\\nb\"\n", ":2:10: ", "control character");
    assert_fault("data:\n  train: \"a\\0b\"\n", ":2:10: ", "NUL");
}

static void all_faults_of_a_file_are_told_together(void **state) {
    xp_config config;
    char path[64];
    assert_int_equal(read_text(&config, "model:\n  widht: 64\n  heads: many\ntraining:\n  epochs: -3\n", path),
                     XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), ":2:3: "));
    assert_non_null(strstr(xp_last_error(), ":3:10: "));
    assert_non_null(strstr(xp_last_error(), ":5:11: "));
}

static void assignments_are_checked(void **state) {
    xp_config config, before;
    xp_config_default(&config);
    before = config;
    static const char *const wrong[][2] = {{"epochs", "expected key=value"},
                                           {"=3", "expected key=value"},
                                           {"epoch=3", "did you mean 'epochs'"},
                                           {"trainning.epochs=3", "did you mean 'training'"},
                                           {"training.width=3", "belongs to section 'model'"},
                                           {"training.epochs=", "whole number"},
                                           {"heads=3x", "whole number"},
                                           {"data.train=\xff\xfe", "not UTF-8"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(xp_config_set(&config, wrong[i][0]), XP_INVALID_ARGUMENT);
        if (!strstr(xp_last_error(), wrong[i][1])) fail_msg("'%s' is not in: %s", wrong[i][1], xp_last_error());
    }
    assert_memory_equal(&config, &before, sizeof config);
    assert_int_equal(xp_config_set(&config, "model.attention=softmax+sh(1,2)"), XP_OK);
    assert_string_equal(config.model.attention, "softmax+sh(1,2)");
}

static void options_are_checked_together(void **state) {
    xp_config config;
    xp_config_default(&config);
    config.model.width = 100;
    config.model.heads = 8;
    strcpy(config.model.attention, "sotfmax");
    config.training.schedule = XP_SCHEDULE_COSINE;
    config.training.warmup = 20;
    assert_int_equal(xp_config_check(&config), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "8 heads do not divide the width 100"));
    assert_non_null(strstr(xp_last_error(), "model.attention: "));
    assert_non_null(strstr(xp_last_error(), "training.warmup: warming up takes 20 epochs and training 10"));
    assert_non_null(strstr(xp_last_error(), "use fewer: --set warmup=1"));
    xp_config_default(&config);
    MUST(xp_config_set(&config, "data.mean=0.5"));
    MUST(xp_config_check(&config));
    MUST(xp_config_set(&config, "data.standardise=off"));
    assert_int_equal(xp_config_check(&config), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "data.mean: is for data that are standardised"));
}

static void a_model_breaks_the_same_rules_with_and_without_its_data(void **state) {
    static const xp_model_shape data = {
        .batch = 4, .outputs = 2, .length = 64, .features = 3, .channels = 1, .height = 16, .breadth = 16};
    static const char *const wrong[][2] = {
        {"heads=3", "model.heads: 3 heads do not divide the width 64; choose a divisor, such as 8"},
        {"heads=8", ""},
        {"key_heads=3", "model.key_heads: 3 key heads do not divide 4 heads; choose a divisor, or 0 for as many"},
        {"head=class", "model.head: a class token belongs to vision models; use 'flatten' or 'mean'"},
        {"attention=softmax+conv2d(3)",
         "model.attention: attention \"softmax+conv2d(3)\": conv2d needs the patch grid of an image: use conv1d"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        xp_config config;
        xp_config_default(&config);
        assert_int_equal(xp_config_set(&config, wrong[i][0]), XP_OK);
        const xp_status expected = *wrong[i][1] ? XP_INVALID_ARGUMENT : XP_OK;
        assert_int_equal(xp_config_check(&config), expected);
        if (expected != XP_OK) assert_string_equal(xp_last_error(), wrong[i][1]);
        assert_int_equal(xp_model_check(&config.model, &data), expected);
        if (expected != XP_OK) assert_string_equal(xp_last_error(), wrong[i][1]);
    }
}

/* A caller that fills the struct itself meets the same ranges as a file. */
static void numbers_out_of_their_ranges_are_rejected_before_they_divide(void **state) {
    for (int i = 0; i < 6; i++) {
        xp_config config;
        xp_config_default(&config);
        if (i == 0) config.model.heads = 0;
        if (i == 1) config.model.layers = INT_MAX;
        if (i == 2) config.training.accumulate = 0;
        if (i == 3) config.training.learning_rate = NAN;
        if (i == 4) config.data.train_limit = -1;
        if (i == 5) config.model.key_heads = -4;
        assert_int_equal(xp_config_check(&config), XP_INVALID_ARGUMENT);
        assert_non_null(strstr(xp_last_error(), "is not between"));
    }
}

static void learning_rates_follow_their_schedule(void **state) {
    xp_config config;
    xp_config_default(&config);
    config.training.learning_rate = 0.5;
    config.training.epochs = 10;
    assert_true(xp_schedule_rate(&config, 0, 10) == 0.5);
    config.training.warmup = 2;
    assert_true(fabs(xp_schedule_rate(&config, 0, 10) - 0.025) < 1e-15);
    assert_true(fabs(xp_schedule_rate(&config, 19, 10) - 0.5) < 1e-15);
    assert_true(xp_schedule_rate(&config, 99, 10) == 0.5);
    config.training.schedule = XP_SCHEDULE_COSINE;
    config.training.final_rate = 0.01;
    assert_true(fabs(xp_schedule_rate(&config, 20, 10) - 0.5) < 1e-15);
    assert_true(fabs(xp_schedule_rate(&config, 99, 10) - 0.005) < 1e-15);
    config.training.schedule = XP_SCHEDULE_ONE_CYCLE;
    assert_true(fabs(xp_schedule_rate(&config, 0, 10) - 0.02) < 1e-15);
    assert_true(fabs(xp_schedule_rate(&config, 20, 10) - 0.5) < 1e-15);
    assert_true(fabs(xp_schedule_rate(&config, 99, 10) - 0.005) < 1e-15);
    config.training.schedule = XP_SCHEDULE_STEP;
    config.training.warmup = 0;
    config.training.step_epochs = 4;
    config.training.step_factor = 0.5;
    assert_true(xp_schedule_rate(&config, 39, 10) == 0.5);
    assert_true(xp_schedule_rate(&config, 40, 10) == 0.25);
    assert_true(xp_schedule_rate(&config, 99, 10) == 0.125);
    config.training.schedule = XP_SCHEDULE_COSINE;
    config.training.epochs = 1;
    assert_true(isfinite(xp_schedule_rate(&config, 0, 1)));
}

static void runs_that_differ_by_their_checkpoints_are_the_same(void **state) {
    static const char *const same[] = {"checkpoint_every=500", "checkpoint_every=90m", "keep=3"};
    xp_config old, wanted;
    xp_config_default(&old);
    xp_config_default(&wanted);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(xp_config_set(&wanted, same[i]), XP_OK);
        assert_int_equal(xp_config_compare(&old, &wanted), XP_OK);
    }
    assert_int_equal(xp_config_set(&wanted, "model.attention=softmax+bn"), XP_OK);
    assert_int_equal(xp_config_compare(&old, &wanted), XP_INVALID_ARGUMENT);
    assert_string_equal(xp_last_error(), "model.attention is \"softmax\", not \"softmax+bn\"");
}

/* The model names its samples, and cannot ask the data whether there are any of that name. */
static void every_model_takes_a_kind_of_data_that_there_is(void **state) {
    xp_config config;
    xp_config_default(&config);
    for (config.model.kind = 0; config.model.kind < XP_MODEL_KINDS; config.model.kind++)
        if (!xp_sample_kind_find(xp_model_samples(&config.model)))
            fail_msg("model.kind %d takes '%s'", config.model.kind, xp_model_samples(&config.model));
}

/* A model of the list has its name in the options, and its row beside it. */
static void the_name_of_a_model_chooses_its_row(void **state) {
    static const struct {
        const char *assignment, *samples;
        bool grid;
    } models[] = {{"model.kind=encoder", "series", false},
                  {"model.kind=vision", "images", true},
                  {"model.kind=language", "text", false},
                  {"model.kind=tokens", "tokens", false}};
    const xp_model_shape shape = {
        .batch = 4, .outputs = 2, .length = 64, .features = 3, .channels = 1, .height = 16, .breadth = 12};
    assert_int_equal(XP_MODEL_KINDS, sizeof models / sizeof *models);
    for (int i = 0; i < XP_MODEL_KINDS; i++) {
        xp_config config;
        xp_model_rows rows;
        xp_config_default(&config);
        config.model.head = XP_HEAD_CLASS;
        config.model.patch = 4;
        MUST(xp_config_set(&config, models[i].assignment));
        assert_string_equal(xp_model_samples(&config.model), models[i].samples);
        xp_model_describe_rows(&config.model, &shape, &rows);
        assert_int_equal(rows.count, models[i].grid ? 4 * 3 + 1 : 64);
        assert_int_equal(rows.grid_width, models[i].grid ? 3 : 0);
    }
}

/* "3:5: …" of each line of the message, where the path is. */
static void all_faults_of_a_study_have_their_places(void **state) {
    static const char *const keys[] = {
        "1:35: 'softmax' and 'softmax' would have", "2:8: 'seeds' is neither",   "4:5: 'train' is missing",
        "5:5: unknown key 'tran'; did you mean",    "4:11: 'a b' is not a name", "7:5: 'name' is missing"};
    static const char *const names[] = {"3:12: 'a--b' has a '-' at an end, or several together",
                                        "4:12: the name 'abcdefghijklmnop…' has 64 bytes",
                                        "6:12: 'b-' has a '-' at an end"};
    static const char *const runs[] = {"1:14: model.attention: attention \"sofmax\"", "7:44: unknown key 'widht'",
                                       "4:5: model.patch_steps"};
    static const char *const cut[] = {
        "1:14: 'softmax+sh(1' has a '(' without its ')'; put a specification with commas"};
    static const char *const unheld[] = {"1:13: candidates are compared on this part"};
    static const char *const alone[] = {"1:13: 'validation' is for attentions with candidates, and there is none"};
    static const char *const single[] = {"2:5: expected a name with a list of two or more specifications"};
    static const char *const candidates[] = {"3:5: 'a b' is not a name", "2:18: model.attention: attention \"sofmax\""};
    static const struct {
        const char *text;
        const char *const *faults;
        size_t count;
    } files[] = {
        {"validation: 0\nattentions: [{a: [softmax, softmax+bn]}]\ndata:\n  - {name: a, train: t.ts}\n"
         "settings:\n  - {name: b, preset: uea-mvts}\n",
         unheld, 1},
        {"validation: 0.3\nattentions: [softmax]\n", alone, 1},
        {"attentions:\n  - a: [softmax]\n", single, 1},
        {"attentions:\n  - b: [softmax, softmax+bn]\n  - a b: [softmax, softmax+bn]\n", candidates, 1},
        {"attentions:\n  - b: [softmax, sofmax]\ndata:\n  - {name: a, train: t.ts}\n"
         "settings:\n  - {name: b, preset: uea-mvts}\n",
         candidates + 1, 1},
        {"attentions: [softmax+bn, softmax, softmax]\nseeds: 3x\ndata:\n  - name: a b\n    tran: t.ts\n"
         "settings:\n  - preset: uea-mvts\n",
         keys, sizeof keys / sizeof *keys},
        {"attentions: [softmax]\ndata:\n  - {name: a--b, train: t.ts}\n"
         "  - {name: abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl, train: t.ts}\n"
         "settings:\n  - {name: b-, preset: uea-mvts}\n",
         names, sizeof names / sizeof *names},
        {"attentions: [sofmax]\nseeds: 2\ndata:\n  - {name: a, train: t.ts, options: {patch_steps: 2}}\n"
         "settings:\n  - {name: b, preset: uea-mvts}\n  - {name: c, options: {width: 32,  widht: 4}}\n",
         runs, sizeof runs / sizeof *runs},
        {"attentions: [softmax+sh(1,2)]\ndata:\n  - {name: a, train: t.ts}\nsettings:\n  - {name: b}\n", cut, 1}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[64];
        xp_study study;
        snprintf(path, sizeof path, "/tmp/expanse-study-%ld.yaml", (long)getpid());
        MUST(xp_file_write_atomic(path, files[i].text, strlen(files[i].text)));
        assert_int_equal(xp_study_read(&study, path, NULL, "out"), XP_BAD_DATA);
        unlink(path);
        for (size_t k = 0; k < files[i].count; k++) {
            char expected[160];
            snprintf(expected, sizeof expected, "%s:%s", path, files[i].faults[k]);
            if (!strstr(xp_last_error(), expected)) fail_msg("'%s' is not in:\n%s", expected, xp_last_error());
        }
    }
}

/* A study of two data sets: results of the four candidates are made up. */
static void the_candidate_that_is_best_on_held_out_data_is_chosen(void **state) {
    static const char text[] = "attentions: [softmax, {bn: [softmax+bn, softmax+bn(beta=0.5)]}]\nseeds: [7, 8]\ndata:\n"
                               "  - {name: a, train: a.ts, test: e.ts}\n"
                               "  - {name: b, train: b.ts, test: e.ts, options: {validation: 0.1}}\n"
                               "settings:\n  - {name: s, preset: uea-mvts}\n";
    static const struct {
        double accuracy[2], loss[2];
        bool finished; /* the second */
        const char *chosen;
    } cases[] = {{{0.8, 0.9}, {0.1, 0.2}, true, "softmax+bn(beta=0.5)"},
                 {{0.9, 0.8}, {0.2, 0.1}, true, "softmax+bn"},
                 {{0.8, 0.8}, {0.2, 0.1}, true, "softmax+bn(beta=0.5)"}, /* by the loss */
                 {{0.8, 0.8}, {0.1, 0.1}, true, "softmax+bn"},           /* the first */
                 {{NAN, 0.8}, {NAN, 0.1}, true, "softmax+bn(beta=0.5)"}, /* the first diverged */
                 {{0.8, 0.9}, {0.1, 0.1}, false, NULL}};
    char path[64], label[64];
    xp_study study;
    xp_study_result results[12] = {0};
    xp_config config;
    snprintf(path, sizeof path, "/tmp/expanse-study-%ld.yaml", (long)getpid());
    MUST(xp_file_write_atomic(path, text, strlen(text)));
    MUST(xp_study_read(&study, path, NULL, "out"));
    unlink(path);
    assert_int_equal(study.run_count, 8);
    assert_int_equal(study.total_count, 12);
    const xp_study_run *compared = &study.runs[7], *tried = &study.runs[11];
    assert_string_equal(compared->folder, "out/b/s/bn-seed8");
    assert_string_equal(tried->folder, "out/b/s/bn-candidates/softmax-bn-beta-0.5-seed7");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 2; k++) {
            results[10 + k] = (xp_study_result){.finished = k == 0 || cases[i].finished, .task = &xp_classification};
            results[10 + k].validation[0] = cases[i].loss[k];
            results[10 + k].validation[xp_classification.deciding] = cases[i].accuracy[k];
        }
        xp_study_choose(&study, results);
        assert_null(xp_study_specification(&study, &study.runs[1])); /* of the other data set */
        const char *chosen = xp_study_specification(&study, compared);
        if (cases[i].chosen)
            assert_string_equal(chosen, cases[i].chosen);
        else
            assert_null(chosen);
        if (!chosen) continue;
        snprintf(path, sizeof path, "bn: %s", chosen);
        xp_study_label(&study, compared, label, sizeof label);
        assert_string_equal(label, path);
        MUST(xp_study_configure(&study, compared, &config));
        assert_string_equal(config.model.attention, chosen);
        assert_string_equal(config.data.test, "e.ts");
    }
    MUST(xp_study_configure(&study, tried, &config));
    assert_string_equal(config.model.attention, "softmax+bn(beta=0.5)");
    assert_string_equal(config.data.test, "");
    assert_true(config.data.validation == 0.1); /* of the options of the data */
    assert_int_equal(config.training.seed, 7);
    MUST(xp_study_configure(&study, &study.runs[8], &config));
    assert_true(config.data.validation == 0.2);
    xp_study_release(&study);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_preset_is_complete_and_right),
        cmocka_unit_test(the_flowformer_preset_is_the_published_protocol),
        cmocka_unit_test(the_deit_preset_is_the_published_recipe),
        cmocka_unit_test(an_old_switch_reads_as_the_activation_that_it_meant),
        cmocka_unit_test(an_unknown_preset_names_the_nearest),
        cmocka_unit_test(a_printed_configuration_reads_back_the_same),
        cmocka_unit_test(numbers_are_the_same_in_every_locale),
        cmocka_unit_test(a_file_may_begin_from_a_preset),
        cmocka_unit_test(faults_have_their_place_and_a_way_out),
        cmocka_unit_test(all_faults_of_a_file_are_told_together),
        cmocka_unit_test(assignments_are_checked),
        cmocka_unit_test(options_are_checked_together),
        cmocka_unit_test(a_model_breaks_the_same_rules_with_and_without_its_data),
        cmocka_unit_test(every_model_takes_a_kind_of_data_that_there_is),
        cmocka_unit_test(the_name_of_a_model_chooses_its_row),
        cmocka_unit_test(numbers_out_of_their_ranges_are_rejected_before_they_divide),
        cmocka_unit_test(learning_rates_follow_their_schedule),
        cmocka_unit_test(runs_that_differ_by_their_checkpoints_are_the_same),
        cmocka_unit_test(all_faults_of_a_study_have_their_places),
        cmocka_unit_test(the_candidate_that_is_best_on_held_out_data_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
