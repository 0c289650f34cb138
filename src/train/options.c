/* The option table, and the values of options as text: read into a configuration, and written from it. */
#include "train/options.h"

#include "core/text.h"
#include "ops/ops.h"
#include "train/precision.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* --- the table ---------------------------------------------------------------------------------------------------- */

#define MODEL_KIND(KIND, name) {#name, XP_MODEL_##KIND},
static const xp_option_choice model_kinds[] = {XP_MODEL_LIST(MODEL_KIND){NULL, 0}};
static const xp_option_choice norms[] = {{"layer", XP_NORM_LAYER}, {"batch", XP_NORM_BATCH}, {NULL, 0}};
static const xp_option_choice activations[] = {{"relu", XP_ACTIVATION_RELU}, {"gelu", XP_ACTIVATION_GELU}, {NULL, 0}};
/* In older files this was a switch, and on was ReLU. */
static const xp_option_choice head_activations[] = {{"none", XP_ACTIVATION_NONE}, {"relu", XP_ACTIVATION_RELU},
                                                    {"gelu", XP_ACTIVATION_GELU}, {"off", XP_ACTIVATION_NONE},
                                                    {"on", XP_ACTIVATION_RELU},   {NULL, 0}};
static const xp_option_choice positions[] = {
    {"learned", XP_POSITIONS_LEARNED}, {"sinusoidal", XP_POSITIONS_SINUSOIDAL}, {NULL, 0}};
static const xp_option_choice heads[] = {{"flatten", XP_HEAD_FLATTEN}, {"mean", XP_HEAD_MEAN},
                                         {"class", XP_HEAD_CLASS},     {"tied", XP_HEAD_TIED},
                                         {"untied", XP_HEAD_UNTIED},   {NULL, 0}};
static const xp_option_choice optimisers[] = {
    {"sgd", XP_SGD}, {"adam", XP_ADAM}, {"adamw", XP_ADAMW}, {"radam", XP_RADAM}, {NULL, 0}};
static const xp_option_choice schedules[] = {{"constant", XP_SCHEDULE_CONSTANT},
                                             {"cosine", XP_SCHEDULE_COSINE},
                                             {"one-cycle", XP_SCHEDULE_ONE_CYCLE},
                                             {"step", XP_SCHEDULE_STEP},
                                             {NULL, 0}};
static const xp_option_choice precisions[] = {{"fp32", XP_PRECISION_FP32}, {"fp32-matrix", XP_PRECISION_FP32_MATRIX},
                                              {"tf32", XP_PRECISION_TF32}, {"bf16", XP_PRECISION_BF16},
                                              {"fp16", XP_PRECISION_FP16}, {NULL, 0}};
static const xp_option_choice families[] = {{"auto", 0}, {"wide", 1}, {"tiled", 2}, {"matrix", 3}, {NULL, 0}};

#define FIELD(section, key) offsetof(xp_config, section.key), sizeof(((xp_config *)0)->section.key)
#define TEXT(section, key, help)                                                                                       \
    { #section, #key, XP_OPTION_TEXT, FIELD(section, key), 0, 0, NULL, help }
#define WHOLE(section, key, low, high, help)                                                                           \
    { #section, #key, XP_OPTION_WHOLE, FIELD(section, key), low, high, NULL, help }
#define COUNT(section, key, help)                                                                                      \
    { #section, #key, XP_OPTION_COUNT, FIELD(section, key), 0, 9e15, NULL, help }
#define REAL(section, key, low, high, help)                                                                            \
    { #section, #key, XP_OPTION_REAL, FIELD(section, key), low, high, NULL, help }
#define SWITCH(section, key, help)                                                                                     \
    { #section, #key, XP_OPTION_SWITCH, FIELD(section, key), 0, 1, NULL, help }
#define CHOICE(section, key, choices, help)                                                                            \
    { #section, #key, XP_OPTION_CHOICE, FIELD(section, key), 0, 0, choices, help }

/* clang-format off */
const xp_option xp_options[] = {
    CHOICE(model, kind, model_kinds,
           "encoder: time series; vision: images; language: text; tokens: texts with a class, pixels"),
    WHOLE(model, width, 1, 65536, "features per position; a multiple of heads"),
    WHOLE(model, heads, 1, 1024, NULL),
    WHOLE(model, key_heads, 0, 1024, "heads of keys and values, each shared by a group of heads; 0: as many as heads"),
    WHOLE(model, layers, 1, 256, NULL),
    WHOLE(model, feed_forward, 1, 1 << 20, "inner width of the feed-forward network"),
    TEXT(model, attention, "softmax, linear, softmax+bn, softmax+sh(1,2), softmax+causal+window(64,0) ..."),
    REAL(model, dropout, 0, 0.99, NULL),
    REAL(model, drop_path, 0, 0.99, "drop branches of the last layer for whole samples, fewer of earlier layers"),
    REAL(model, attention_dropout, 0, 0.99, "dropout of the attention probabilities"),
    SWITCH(model, pre_norm, "normalise before attention and feed-forward network; off: after them"),
    CHOICE(model, norm, norms, "layer, or batch: over batch and time"),
    REAL(model, norm_epsilon, 1e-12, 1, NULL),
    SWITCH(model, final_norm, "normalise after the last layer"),
    CHOICE(model, activation, activations, "of the feed-forward network: relu, gelu"),
    CHOICE(model, positions, positions, "learned, sinusoidal"),
    SWITCH(model, scale_input, "encoder, language, tokens: multiply the embedded input by sqrt(width)"),
    CHOICE(model, head, heads,
           "encoder: flatten, mean; tokens: mean; vision: class (token), mean; language: tied (to embedding), untied"),
    WHOLE(model, head_width, 0, 65536, "tokens: hidden layer of the classifier, of this width; 0: none"),
    CHOICE(model, head_activation, head_activations,
           "encoder: before the classifier; tokens: of its hidden layer: none, relu, gelu"),
    SWITCH(model, mask_padding, "encoder, tokens: attention ignores the padding of short series or texts"),
    WHOLE(model, patch, 1, 1024, "vision: side of a patch in pixels"),
    WHOLE(model, patch_steps, 1, 1 << 24,
          "encoder: steps of the series that are embedded as one row; a divisor of its length"),
    TEXT(data, task,
         "what is learned: classification, regression, forecasting, text; empty: what the training data are for"),
    TEXT(data, train, "training data"),
    TEXT(data, test, "test data"),
    REAL(data, test_part, 0, 0.9, "fraction of the training data to split off as test data; of a table, its last rows"),
    REAL(data, validation, 0, 0.9,
         "fraction of the training data to split off (of text, the end), which chooses the best epoch"),
    COUNT(data, train_limit, "use only N training samples; 0: all"),
    COUNT(data, test_limit, "use only N test samples; 0: all"),
    WHOLE(data, horizon, 0, 10000, "forecasting from a table over time: steps to predict; 0: other data"),
    WHOLE(data, season, 1, 1 << 24, "forecasting: steps of a season; the forecast to beat repeats the last one"),
    WHOLE(data, stride, 1, 1 << 24, "forecasting: train with every Nth window; validation and test use all"),
    TEXT(data, predict, "forecasting: columns to predict, separated by commas; empty: all; the model sees all"),
    WHOLE(data, max_length, 0, 1 << 24,
          "longest series that the model accepts, in steps; of texts the tokens that it sees; 0: the longest"),
    TEXT(data, words, "texts with a class: the words, separated by spaces, that are its tokens; empty: its bytes are"),
    WHOLE(data, context, 1, 1 << 20,
          "forecasting from a table over time: steps that the model sees before those that it predicts; text: bytes"),
    SWITCH(data, standardise, "scale to mean 0 and standard deviation 1, by the statistics of the training data"),
    SWITCH(data, normalise_windows,
           "forecasting: take the mean and deviation of a window off it, and put them back on its forecast"),
    TEXT(data, mean, "of each feature, separated by commas, in place of the training data's; images: from 0 to 1"),
    TEXT(data, deviation, "the standard deviations to these means"),
    WHOLE(data, image_size, 0, 4096,
          "images: side of the square that each is resized to, in pixels; 0: they are not resized"),
    REAL(data, image_crop, 0.1, 1, "images: what an evaluation sees of the short side, in the centre"),
    REAL(augment, crop, 0.01, 1,
          "images: train with random parts of at least this share of their area; 1: as an evaluation"),
    REAL(augment, flip, 0, 1, "probability of a horizontal reflection"),
    REAL(augment, jitter, 0, 1, "brightness, contrast and saturation change by factors of up to 1 plus or minus this"),
    WHOLE(augment, operations, 0, 16, "RandAugment: operations on each image; 0: none"),
    REAL(augment, magnitude, 0, 10, "RandAugment: their mean strength"),
    REAL(augment, magnitude_deviation, 0, 10, "RandAugment: its standard deviation"),
    REAL(augment, erase, 0, 1, "probability that a rectangle is replaced by noise"),
    REAL(augment, mixup, 0, 2,
          "blend pairs of images and their classes: alpha of the beta distribution of the shares; 0: off"),
    REAL(augment, cutmix, 0, 2,
          "exchange a rectangle between pairs of images: alpha; 0: off; with mixup, one of both for each batch"),
    WHOLE(augment, repeats, 1, 64, "take each sample N times, one after another, and 1/N of the samples in each epoch"),
    WHOLE(training, epochs, 0, 1000000, "passes over the training data; 0: write the initial weights"),
    WHOLE(training, batch, 1, 65536, "samples per step"),
    WHOLE(training, accumulate, 1, 65536, "compute the batch of a step in N parts, one after another, for less memory"),
    {"training", "seed", XP_OPTION_SEED, FIELD(training, seed), 0, 0, NULL, NULL},
    CHOICE(training, optimiser, optimisers, "sgd, adam, adamw, radam"),
    REAL(training, learning_rate, 1e-12, 1000, NULL),
    REAL(training, weight_decay, 0, 10, NULL),
    REAL(training, beta1, 0, 0.999999, NULL),
    REAL(training, beta2, 0, 0.9999999, NULL),
    REAL(training, epsilon, 1e-16, 1, NULL),
    REAL(training, momentum, 0, 0.9999, "sgd only"),
    REAL(training, gradient_clip, 0, 1e9, "largest L2 norm of all gradients; 0: off"),
    REAL(training, label_smoothing, 0, 0.99, NULL),
    TEXT(training, class_weights,
         "of classes in the loss: none, balanced (rare classes count as much as others), or one number each: 1,2.5"),
    WHOLE(training, patience, 0, 1000000, "stop after N epochs without a better result on the validation set; 0: off"),
    TEXT(training, from,
         "weights to start from: a run, one of its checkpoints, or a .safetensors file; empty: random ones"),
    CHOICE(training, schedule, schedules, "constant, cosine, one-cycle, step"),
    REAL(training, warmup, 0, 1000000, "epochs in which the learning rate increases"),
    REAL(training, final_rate, 0, 1, "cosine, one-cycle: last learning rate as a fraction of learning_rate"),
    REAL(training, step_factor, 0, 1, "step: multiply the learning rate by this"),
    WHOLE(training, step_epochs, 1, 1000000, "step: every N epochs"),
    {"training", "precision", XP_OPTION_CHOICE, FIELD(training, precision), 0, 0, precisions,
     "bf16, fp16: activations and their gradients in 16 bits; fp32-matrix, tf32: products of fp32 on matrix units"},
    SWITCH(training, recompute, "recompute activations in the backward pass: less memory, more time, the same bits"),
    {"training", "checkpoint_every", XP_OPTION_CADENCE, FIELD(training, checkpoint_every), 0, 0, NULL,
     "also save within an epoch: every N steps (500) or after some time (10m); off"},
    SWITCH(training, tensorboard, "write the metrics of each epoch into an event file, which TensorBoard shows"),
    WHOLE(training, keep, 0, 1000000, "keep the checkpoints of the last N epochs, beside best/ and last/"),
    TEXT(device, select, "0:0, part of a name, gpu or cpu; empty: the first GPU, or else the first CPU"),
    {"device", "family", XP_OPTION_TEXT, FIELD(device, family), 0, 0, families,
     "family of the kernels: auto, wide, tiled, matrix"},
    {0},
};
/* clang-format on */
enum { OPTIONS = sizeof xp_options / sizeof *xp_options - 1 };

void xp_config_default(xp_config *config) {
    memset(config, 0, sizeof *config); /* whole, so that two configurations can be compared as bytes */
    config->model = (xp_model_config){.kind = XP_MODEL_ENCODER,
                                      .width = 64,
                                      .heads = 4,
                                      .layers = 2,
                                      .feed_forward = 128,
                                      .dropout = 0.1,
                                      .pre_norm = 1,
                                      .norm = XP_NORM_LAYER,
                                      .norm_epsilon = 1e-5,
                                      .final_norm = 1,
                                      .activation = XP_ACTIVATION_GELU,
                                      .positions = XP_POSITIONS_LEARNED,
                                      .head = XP_HEAD_MEAN,
                                      .mask_padding = 1,
                                      .patch = 4,
                                      .patch_steps = 1,
                                      .attention = "softmax"};
    config->data.context = 128;
    config->data.standardise = 1;
    config->data.image_crop = 1;
    config->data.season = config->data.stride = 1;
    config->augment = XP_AUGMENTATION_NONE;
    config->training.epochs = 10;
    config->training.batch = 32;
    config->training.accumulate = 1;
    config->training.seed = 1;
    config->training.optimiser = XP_ADAMW;
    config->training.learning_rate = 1e-3;
    config->training.beta1 = 0.9;
    config->training.beta2 = 0.999;
    config->training.epsilon = 1e-8;
    config->training.momentum = 0.9;
    strcpy(config->training.class_weights, "none");
    config->training.schedule = XP_SCHEDULE_CONSTANT;
    config->training.step_factor = 0.1;
    config->training.step_epochs = 10;
    strcpy(config->device.family, "auto");
}

/* --- finding options ---------------------------------------------------------------------------------------------- */

static const xp_option *find(const char *section, const char *key) {
    for (const xp_option *entry = xp_options; entry->section; entry++) {
        if ((!section || strcmp(entry->section, section) == 0) && strcmp(entry->key, key) == 0) return entry;
    }
    return NULL;
}

static const char *const sections[] = {"model", "data", "augment", "training", "device"};
enum { SECTIONS = sizeof sections / sizeof *sections };

static void list_words(xp_writer *out, const char *const *words, int count) {
    for (int i = 0; i < count; i++) xp_write(out, "%s %s", i ? "," : "", words[i]);
}

/* Appends a suggestion to a sentence. */
static void suggest(xp_writer *out, const char *section, const char *key) {
    const char *names[OPTIONS];
    int count = 0;
    const xp_option *elsewhere = find(NULL, key);
    if (section && elsewhere) {
        xp_write(out, "; it belongs to section '%s'", elsewhere->section);
        return;
    }
    if (section && !*section) {
        xp_write(out, "; the sections are");
        list_words(out, sections, SECTIONS);
        return;
    }
    for (const xp_option *entry = xp_options; entry->section; entry++) {
        if (!section || strcmp(entry->section, section) == 0) names[count++] = entry->key;
    }
    const char *nearest = xp_text_nearest(key, names, count);
    if (nearest) {
        xp_write(out, "; did you mean '%s'?", nearest);
        return;
    }
    xp_write(out, "; known are");
    list_words(out, names, count);
}

const xp_option *xp_option_find(const char *section, const char *key, const char *place, xp_writer *faults) {
    const xp_option *found = find(section, key);
    if (found) return found;
    xp_write(faults, "%sunknown key '%s'", place, key);
    if (section && *section) xp_write(faults, " in section '%s'", section);
    suggest(faults, section, key);
    xp_write(faults, "\n");
    return NULL;
}

bool xp_option_section(const char *section, const char *place, xp_writer *faults) {
    for (int i = 0; i < SECTIONS; i++) {
        if (strcmp(section, sections[i]) == 0) return true;
    }
    const char *nearest = xp_text_nearest(section, sections, SECTIONS);
    xp_write(faults, "%sunknown section '%s'; ", place, section);
    xp_write(faults, nearest ? "did you mean '%s'?" : "the sections are", nearest);
    if (!nearest) list_words(faults, sections, SECTIONS);
    xp_write(faults, "\n");
    return false;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Reads a number that takes the whole text. */
static bool read_number(const char *text, double *value) {
    size_t length = 0;
    return xp_text_number(text, value, &length) == XP_OK && length > 0 && text[length] == '\0';
}

static void reject(xp_writer *faults, const char *place, const xp_option *entry, const char *text, const char *wanted) {
    xp_write(faults, "%s%s.%s: '%s' is not %s", place, entry->section, entry->key, text, wanted);
}

/* The entry that a value is written by. */
static const xp_option_choice *first_name(const xp_option *entry, int value) {
    const xp_option_choice *each = entry->choices;
    while (each->name && each->value != value) each++;
    return each;
}

static void set_choice(xp_config *config, const xp_option *entry, const char *text, const char *place,
                       xp_writer *faults) {
    const char *names[16];
    int count = 0;
    for (const xp_option_choice *each = entry->choices; each->name; each++) {
        if (first_name(entry, each->value) == each) names[count++] = each->name;
        if (strcmp(each->name, text) != 0) continue;
        if (entry->kind == XP_OPTION_TEXT) {
            memset((char *)config + entry->offset, 0, entry->bytes);
            memcpy((char *)config + entry->offset, text, strlen(text));
        } else {
            memcpy((char *)config + entry->offset, &each->value, sizeof each->value);
        }
        return;
    }
    reject(faults, place, entry, text, "one of");
    list_words(faults, names, count);
    const char *nearest = xp_text_nearest(text, names, count);
    if (nearest) xp_write(faults, "; did you mean '%s'?", nearest);
    xp_write(faults, "\n");
}

static void set_text(xp_config *config, const xp_option *entry, const char *text, const char *place,
                     xp_writer *faults) {
    size_t length = strlen(text);
    if (length >= entry->bytes) {
        xp_write(faults, "%s%s.%s: the text has %zu characters, more than the %zu that fit\n", place, entry->section,
                 entry->key, length, entry->bytes - 1);
        return;
    }
    if (xp_text_utf8(text, length) < length) { /* YAML and JSON could not give it back */
        xp_write(faults, "%s%s.%s: the text is not UTF-8; rename the file\n", place, entry->section, entry->key);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ') {
            xp_write(faults, "%s%s.%s: character %zu of the text is a control character\n", place, entry->section,
                     entry->key, i + 1);
            return;
        }
    }
    memset((char *)config + entry->offset, 0, entry->bytes);
    memcpy((char *)config + entry->offset, text, length);
}

static void set_seed(xp_config *config, const xp_option *entry, const char *text, const char *place,
                     xp_writer *faults) {
    char *end = NULL;
    errno = 0;
    uint64_t seed = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        reject(faults, place, entry, text, "a whole number from 0 to 18446744073709551615\n");
        return;
    }
    memcpy((char *)config + entry->offset, &seed, sizeof seed);
}

static void set_switch(xp_config *config, const xp_option *entry, const char *text, const char *place,
                       xp_writer *faults) {
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};
    for (int i = 0; i < 8; i++) {
        if (strcmp(words[i], text) != 0) continue;
        int value = i & 1;
        memcpy((char *)config + entry->offset, &value, sizeof value);
        return;
    }
    reject(faults, place, entry, text, "on or off\n");
}

static void set_number(xp_config *config, const xp_option *entry, const char *text, const char *place,
                       xp_writer *faults) {
    double value = 0;
    bool whole = entry->kind != XP_OPTION_REAL;
    bool good = read_number(text, &value) && isfinite(value) && value >= entry->lowest && value <= entry->highest &&
                (!whole || value == floor(value));
    if (!good) {
        reject(faults, place, entry, text, whole ? "a whole number from " : "a number from ");
        if (whole)
            xp_write(faults, "%.0f to %.0f\n", entry->lowest, entry->highest);
        else
            xp_write(faults, "%g to %g\n", entry->lowest, entry->highest);
        return;
    }
    void *field = (char *)config + entry->offset;
    if (entry->kind == XP_OPTION_REAL)
        memcpy(field, &value, sizeof value);
    else if (entry->kind == XP_OPTION_WHOLE)
        memcpy(field, &(int){(int)value}, sizeof(int));
    else
        memcpy(field, &(int64_t){(int64_t)value}, sizeof(int64_t));
}

static void set_cadence(xp_config *config, const xp_option *entry, const char *text, const char *place,
                        xp_writer *faults) {
    const double most = 9e15;
    xp_cadence every = {0};
    double steps = 0;
    const bool counts = read_number(text, &steps) && steps >= 1 && steps <= most && steps == floor(steps);
    if (counts) every.steps = (int64_t)steps;
    if (!counts && strcmp(text, "off") != 0 && !xp_text_duration(text, &every.seconds)) {
        reject(faults, place, entry, text, "a whole number of steps from 1, a time such as 90s, 10m or 2h, or off\n");
        return;
    }
    memcpy((char *)config + entry->offset, &every, sizeof every);
}

void xp_option_set(xp_config *config, const xp_option *entry, const char *text, const char *place, xp_writer *faults) {
    if (entry->choices)
        set_choice(config, entry, text, place, faults);
    else if (entry->kind == XP_OPTION_TEXT)
        set_text(config, entry, text, place, faults);
    else if (entry->kind == XP_OPTION_SEED)
        set_seed(config, entry, text, place, faults);
    else if (entry->kind == XP_OPTION_SWITCH)
        set_switch(config, entry, text, place, faults);
    else if (entry->kind == XP_OPTION_CADENCE)
        set_cadence(config, entry, text, place, faults);
    else
        set_number(config, entry, text, place, faults);
}

/* --- values as text ----------------------------------------------------------------------------------------------- */

/* A double-quoted YAML text; set_text lets no control characters in. */
void xp_option_write_quoted(xp_writer *out, const char *text) {
    xp_write(out, "\"");
    for (const char *at = text; *at; at++) xp_write(out, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    xp_write(out, "\"");
}

static void write_cadence(xp_writer *out, const xp_cadence *every) {
    char time[32];
    if (every->seconds) xp_text_print_duration(every->seconds, time);
    if (every->steps)
        xp_write(out, "%" PRId64, every->steps);
    else
        xp_write(out, "%s", every->seconds ? time : "off");
}

void xp_option_write(xp_writer *out, const xp_config *config, const xp_option *entry) {
    const void *field = (const char *)config + entry->offset;
    int whole = 0;
    if (entry->kind == XP_OPTION_WHOLE || entry->kind == XP_OPTION_SWITCH || entry->kind == XP_OPTION_CHOICE) {
        memcpy(&whole, field, sizeof whole);
    }
    switch (entry->kind) {
    case XP_OPTION_TEXT:
        xp_option_write_quoted(out, field);
        break;
    case XP_OPTION_WHOLE:
        xp_write(out, "%d", whole);
        break;
    case XP_OPTION_COUNT:
        xp_write(out, "%" PRId64, *(const int64_t *)field);
        break;
    case XP_OPTION_SEED:
        xp_write(out, "%" PRIu64, *(const uint64_t *)field);
        break;
    case XP_OPTION_REAL:
        xp_write_number(out, *(const double *)field);
        break;
    case XP_OPTION_SWITCH:
        xp_write(out, "%s", whole ? "on" : "off");
        break;
    case XP_OPTION_CHOICE:
        xp_write(out, "%s", first_name(entry, whole)->name);
        break;
    case XP_OPTION_CADENCE:
        write_cadence(out, field);
        break;
    }
}
