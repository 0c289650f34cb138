/* The option table and everything that reads or writes a configuration by it. Owns names, ranges and defaults; builds
 * nothing. */
#include "train/config.h"

#include "core/embedded.h"
#include "core/files.h"
#include "core/text.h"
#include "core/writer.h"
#include "ops/ops.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

/* --- the table ---------------------------------------------------------------------------------------------------- */

typedef enum option_kind {
    OPTION_TEXT,
    OPTION_WHOLE,
    OPTION_COUNT,
    OPTION_SEED,
    OPTION_REAL,
    OPTION_SWITCH,
    OPTION_CHOICE,
    OPTION_CADENCE
} option_kind;

/* Of several names for one value the first is written and offered; the others are read in files that older versions
 * wrote. */
typedef struct choice {
    const char *name;
    int value;
} choice;

typedef struct option {
    const char *section, *key;
    option_kind kind;
    size_t offset, bytes;   /* in xp_config; bytes: of a text */
    double lowest, highest; /* of numbers */
    const choice *choices;  /* end in a NULL name */
    const char *help;       /* the comment beside it in a printed configuration */
} option;

static const choice model_kinds[] = {{"encoder", XP_MODEL_ENCODER}, {"vision", XP_MODEL_VISION}, {NULL, 0}};
static const choice norms[] = {{"layer", XP_NORM_LAYER}, {"batch", XP_NORM_BATCH}, {NULL, 0}};
static const choice activations[] = {{"relu", XP_ACTIVATION_RELU}, {"gelu", XP_ACTIVATION_GELU}, {NULL, 0}};
/* In older files this was a switch, and on was ReLU. */
static const choice head_activations[] = {{"none", XP_ACTIVATION_NONE}, {"relu", XP_ACTIVATION_RELU},
                                          {"gelu", XP_ACTIVATION_GELU}, {"off", XP_ACTIVATION_NONE},
                                          {"on", XP_ACTIVATION_RELU},   {NULL, 0}};
static const choice positions[] = {
    {"learned", XP_POSITIONS_LEARNED}, {"sinusoidal", XP_POSITIONS_SINUSOIDAL}, {NULL, 0}};
static const choice heads[] = {
    {"flatten", XP_HEAD_FLATTEN}, {"mean", XP_HEAD_MEAN}, {"class", XP_HEAD_CLASS}, {NULL, 0}};
static const choice optimisers[] = {
    {"sgd", XP_SGD}, {"adam", XP_ADAM}, {"adamw", XP_ADAMW}, {"radam", XP_RADAM}, {NULL, 0}};
static const choice schedules[] = {{"constant", XP_SCHEDULE_CONSTANT},
                                   {"cosine", XP_SCHEDULE_COSINE},
                                   {"one-cycle", XP_SCHEDULE_ONE_CYCLE},
                                   {"step", XP_SCHEDULE_STEP},
                                   {NULL, 0}};
static const choice families[] = {{"auto", 0}, {"wide", 1}, {"tiled", 2}, {NULL, 0}};

#define FIELD(section, key) offsetof(xp_config, section.key), sizeof(((xp_config *)0)->section.key)
#define TEXT(section, key, help)                                                                                       \
    { #section, #key, OPTION_TEXT, FIELD(section, key), 0, 0, NULL, help }
#define WHOLE(section, key, low, high, help)                                                                           \
    { #section, #key, OPTION_WHOLE, FIELD(section, key), low, high, NULL, help }
#define COUNT(section, key, help)                                                                                      \
    { #section, #key, OPTION_COUNT, FIELD(section, key), 0, 9e15, NULL, help }
#define REAL(section, key, low, high, help)                                                                            \
    { #section, #key, OPTION_REAL, FIELD(section, key), low, high, NULL, help }
#define SWITCH(section, key, help)                                                                                     \
    { #section, #key, OPTION_SWITCH, FIELD(section, key), 0, 1, NULL, help }
#define CHOICE(section, key, choices, help)                                                                            \
    { #section, #key, OPTION_CHOICE, FIELD(section, key), 0, 0, choices, help }

/* clang-format off */
static const option options[] = {
    CHOICE(model, kind, model_kinds, "encoder: time series; vision: images"),
    WHOLE(model, width, 1, 65536, "numbers a position is described by; a multiple of heads"),
    WHOLE(model, heads, 1, 1024, NULL),
    WHOLE(model, key_heads, 0, 1024, "of keys and values, each for a group of heads; 0: as many as heads"),
    WHOLE(model, layers, 1, 256, NULL),
    WHOLE(model, feed_forward, 1, 1 << 20, "inner width of the feed-forward part"),
    TEXT(model, attention, "softmax, linear, softmax+bn, softmax+sh(1,2), softmax+causal+window(64,0) ..."),
    REAL(model, dropout, 0, 0.99, NULL),
    REAL(model, attention_dropout, 0, 0.99, "of the attention probabilities"),
    SWITCH(model, pre_norm, "normalise before each part; off: after it"),
    CHOICE(model, norm, norms, "layer, or batch: over batch and time"),
    REAL(model, norm_epsilon, 1e-12, 1, NULL),
    SWITCH(model, final_norm, "normalise after the last layer"),
    CHOICE(model, activation, activations, "of the feed-forward part: relu, gelu"),
    CHOICE(model, positions, positions, "learned, sinusoidal"),
    SWITCH(model, scale_input, "encoder: multiply the embedded input by sqrt(width)"),
    CHOICE(model, head, heads, "flatten, mean, class (token; vision only)"),
    CHOICE(model, head_activation, head_activations, "encoder: before the classifier: none, relu, gelu"),
    SWITCH(model, mask_padding, "encoder: attention ignores the zero padding of short series"),
    WHOLE(model, patch, 1, 1024, "vision: side of a patch in pixels"),
    TEXT(data, train, "file of the training part"),
    TEXT(data, test, "file of the test part"),
    REAL(data, validation, 0, 0.9, "fraction split off the training part to choose the best epoch by"),
    COUNT(data, train_limit, "take only so many training samples; 0: all"),
    COUNT(data, test_limit, "take only so many test samples; 0: all"),
    WHOLE(data, max_length, 0, 1 << 24, "steps that the model takes in a series; 0: those of the longest in the data"),
    SWITCH(data, standardise, "mean 0 and deviation 1 by the training part's statistics"),
    WHOLE(training, epochs, 0, 1000000, "passes over the training data; 0: write the initial weights"),
    WHOLE(training, batch, 1, 65536, "samples of a step"),
    WHOLE(training, accumulate, 1, 65536, "compute a step's batch in so many parts, one after another: less memory"),
    {"training", "seed", OPTION_SEED, FIELD(training, seed), 0, 0, NULL, NULL},
    CHOICE(training, optimiser, optimisers, "sgd, adam, adamw, radam"),
    REAL(training, learning_rate, 1e-12, 1000, NULL),
    REAL(training, weight_decay, 0, 10, NULL),
    REAL(training, beta1, 0, 0.999999, NULL),
    REAL(training, beta2, 0, 0.9999999, NULL),
    REAL(training, epsilon, 1e-16, 1, NULL),
    REAL(training, momentum, 0, 0.9999, "sgd only"),
    REAL(training, gradient_clip, 0, 1e9, "largest L2 norm of all gradients; 0: off"),
    REAL(training, label_smoothing, 0, 0.99, NULL),
    CHOICE(training, schedule, schedules, "constant, cosine, one-cycle, step"),
    REAL(training, warmup, 0, 1000000, "epochs in which the learning rate rises"),
    REAL(training, final_rate, 0, 1, "cosine, one-cycle: last learning rate as a fraction of learning_rate"),
    REAL(training, step_factor, 0, 1, "step: multiply the learning rate by this"),
    WHOLE(training, step_epochs, 1, 1000000, "step: every so many epochs"),
    SWITCH(training, recompute, "make activations anew in the backward pass: less memory, more time, the same bits"),
    {"training", "checkpoint_every", OPTION_CADENCE, FIELD(training, checkpoint_every), 0, 0, NULL,
     "save within an epoch, too: so many steps, 500, or a time, 10m; off"},
    WHOLE(training, keep, 0, 1000000, "keep the checkpoints of so many epochs, beside best/ and last/"),
    TEXT(device, select, "0:0, part of a name, gpu or cpu; empty: the first GPU, else the first CPU"),
    {"device", "family", OPTION_TEXT, FIELD(device, family), 0, 0, families, "shape of the kernels: auto, wide, tiled"},
};
/* clang-format on */
enum { OPTION_COUNT_OF_TABLE = sizeof options / sizeof *options };

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
                                      .attention = "softmax"};
    config->data.standardise = 1;
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
    config->training.schedule = XP_SCHEDULE_CONSTANT;
    config->training.step_factor = 0.1;
    config->training.step_epochs = 10;
    strcpy(config->device.family, "auto");
}

/* --- finding options ---------------------------------------------------------------------------------------------- */

static const char *const sections[] = {"model", "data", "training", "device"};
enum { SECTIONS = sizeof sections / sizeof *sections };

static const option *find_option(const char *section, const char *key) {
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        if (strcmp(options[i].section, section) == 0 && strcmp(options[i].key, key) == 0) return &options[i];
    }
    return NULL;
}

static const option *find_key(const char *key) {
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        if (strcmp(options[i].key, key) == 0) return &options[i];
    }
    return NULL;
}

/* Says what the user may have meant, as the end of a sentence; `section` NULL: any. */
static void suggest(xp_writer *out, const char *section, const char *key) {
    const char *names[OPTION_COUNT_OF_TABLE];
    int count = 0;
    const option *elsewhere = find_key(key);
    if (section && elsewhere) {
        xp_write(out, "; it belongs to section '%s'", elsewhere->section);
        return;
    }
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        if (!section || strcmp(options[i].section, section) == 0) names[count++] = options[i].key;
    }
    const char *nearest = xp_text_nearest(key, names, count);
    if (nearest) {
        xp_write(out, "; did you mean '%s'?", nearest);
        return;
    }
    xp_write(out, "; known are");
    for (int i = 0; i < count; i++) xp_write(out, "%s %s", i ? "," : "", names[i]);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Reads a number that takes the whole text. */
static bool read_number(const char *text, double *value) {
    size_t length = 0;
    return xp_text_number(text, value, &length) == XP_OK && length > 0 && text[length] == '\0';
}

static void refuse(xp_writer *faults, const char *place, const option *entry, const char *text, const char *wanted) {
    xp_write(faults, "%s%s.%s: '%s' is not %s", place, entry->section, entry->key, text, wanted);
}

/* The entry that a value is written by. */
static const choice *first_name(const option *entry, int value) {
    const choice *each = entry->choices;
    while (each->name && each->value != value) each++;
    return each;
}

static void set_choice(xp_config *config, const option *entry, const char *text, const char *place, xp_writer *faults) {
    const char *names[16];
    int count = 0;
    for (const choice *each = entry->choices; each->name; each++) {
        if (first_name(entry, each->value) == each) names[count++] = each->name;
        if (strcmp(each->name, text) != 0) continue;
        if (entry->kind == OPTION_TEXT) {
            memset((char *)config + entry->offset, 0, entry->bytes);
            memcpy((char *)config + entry->offset, text, strlen(text));
        } else {
            memcpy((char *)config + entry->offset, &each->value, sizeof each->value);
        }
        return;
    }
    refuse(faults, place, entry, text, "one of");
    for (int i = 0; i < count; i++) xp_write(faults, "%s %s", i ? "," : "", names[i]);
    const char *nearest = xp_text_nearest(text, names, count);
    if (nearest) xp_write(faults, "; did you mean '%s'?", nearest);
    xp_write(faults, "\n");
}

static void set_text(xp_config *config, const option *entry, const char *text, const char *place, xp_writer *faults) {
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

static void set_seed(xp_config *config, const option *entry, const char *text, const char *place, xp_writer *faults) {
    char *end = NULL;
    errno = 0;
    uint64_t seed = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        refuse(faults, place, entry, text, "a whole number from 0 to 18446744073709551615\n");
        return;
    }
    memcpy((char *)config + entry->offset, &seed, sizeof seed);
}

static void set_switch(xp_config *config, const option *entry, const char *text, const char *place, xp_writer *faults) {
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};
    for (int i = 0; i < 8; i++) {
        if (strcmp(words[i], text) != 0) continue;
        int value = i & 1;
        memcpy((char *)config + entry->offset, &value, sizeof value);
        return;
    }
    refuse(faults, place, entry, text, "on or off\n");
}

static void set_number(xp_config *config, const option *entry, const char *text, const char *place, xp_writer *faults) {
    double value = 0;
    bool whole = entry->kind != OPTION_REAL;
    bool good = read_number(text, &value) && isfinite(value) && value >= entry->lowest && value <= entry->highest &&
                (!whole || value == floor(value));
    if (!good) {
        refuse(faults, place, entry, text, whole ? "a whole number from " : "a number from ");
        if (whole)
            xp_write(faults, "%.0f to %.0f\n", entry->lowest, entry->highest);
        else
            xp_write(faults, "%g to %g\n", entry->lowest, entry->highest);
        return;
    }
    void *field = (char *)config + entry->offset;
    if (entry->kind == OPTION_REAL)
        memcpy(field, &value, sizeof value);
    else if (entry->kind == OPTION_WHOLE)
        memcpy(field, &(int){(int)value}, sizeof(int));
    else
        memcpy(field, &(int64_t){(int64_t)value}, sizeof(int64_t));
}

static void set_cadence(xp_config *config, const option *entry, const char *text, const char *place,
                        xp_writer *faults) {
    const double most = 9e15;
    xp_cadence every = {0};
    double steps = 0;
    const bool counts = read_number(text, &steps) && steps >= 1 && steps <= most && steps == floor(steps);
    if (counts) every.steps = (int64_t)steps;
    if (!counts && strcmp(text, "off") != 0 && !xp_text_duration(text, &every.seconds)) {
        refuse(faults, place, entry, text, "a whole number of steps from 1, a time such as 90s, 10m or 2h, or off\n");
        return;
    }
    memcpy((char *)config + entry->offset, &every, sizeof every);
}

/* Sets one option from text; a fault is one line that begins with `place`. */
static void set_option(xp_config *config, const option *entry, const char *text, const char *place, xp_writer *faults) {
    if (entry->choices)
        set_choice(config, entry, text, place, faults);
    else if (entry->kind == OPTION_TEXT)
        set_text(config, entry, text, place, faults);
    else if (entry->kind == OPTION_SEED)
        set_seed(config, entry, text, place, faults);
    else if (entry->kind == OPTION_SWITCH)
        set_switch(config, entry, text, place, faults);
    else if (entry->kind == OPTION_CADENCE)
        set_cadence(config, entry, text, place, faults);
    else
        set_number(config, entry, text, place, faults);
}

/* Turns gathered faults into the result; each is a line, the last without its end. Where memory ended, what was not read
 * is no fault of the text. */
static xp_status report(xp_writer *faults, const char *name, xp_status status) {
    if (faults->failed) {
        status = xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", name);
    } else if (faults->length == 0) {
        status = XP_OK;
    } else {
        if (faults->text[faults->length - 1] == '\n') faults->text[faults->length - 1] = '\0';
        xp_fail(status, "%s", faults->text);
    }
    xp_writer_release(faults);
    return status;
}

/* --- YAML --------------------------------------------------------------------------------------------------------- */

/* One "key: value" of a file, with the section it stands in; collected first, so that a preset named anywhere in the
 * file is laid under all of it. */
typedef struct setting {
    char *section, *key, *value; /* section NULL: at the top */
    size_t line, column;         /* from 1, of the key */
    size_t value_line, value_column;
} setting;

typedef struct reader {
    const char *name; /* of the file, for messages */
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event, broken;
    xp_writer *faults;
    setting *settings;
    int count, room;
} reader;

static void fault_at(reader *in, const yaml_mark_t *mark, const char *text) {
    xp_write(in->faults, "%s:%zu:%zu: %s\n", in->name, mark->line + 1, mark->column + 1, text);
}

/* What was not read for want of memory is told once, by report(). */
static bool end_memory(reader *in) {
    in->faults->failed = true;
    return false;
}

/* Moves to the next event; false at the first text that is no YAML. */
static bool advance(reader *in) {
    if (in->has_event) yaml_event_delete(&in->event);
    in->has_event = false;
    if (in->broken) return false;
    if (!yaml_parser_parse(&in->parser, &in->event)) {
        in->broken = true;
        if (in->parser.error == YAML_MEMORY_ERROR) return end_memory(in);
        const yaml_mark_t *mark = &in->parser.problem_mark;
        xp_write(in->faults, "%s:%zu:%zu: not YAML: %s\n", in->name, mark->line + 1, mark->column + 1,
                 in->parser.problem ? in->parser.problem : "no detail");
        return false;
    }
    in->has_event = true;
    return true;
}

/* Passes over the value that begins at the current event, to its last event. */
static bool skip_value(reader *in) {
    int depth = 0;
    for (;;) {
        yaml_event_type_t type = in->event.type;
        if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT) depth++;
        if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT) depth--;
        if (depth <= 0) return true;
        if (!advance(in)) return false;
    }
}

static char *scalar_text(const yaml_event_t *event) {
    return strndup((const char *)event->data.scalar.value, event->data.scalar.length);
}

static bool remember(reader *in, const setting *added) {
    if (in->count == in->room) {
        int room = in->room ? 2 * in->room : 64;
        setting *larger = realloc(in->settings, (size_t)room * sizeof *larger);
        if (!larger) return end_memory(in);
        in->settings = larger;
        in->room = room;
    }
    in->settings[in->count++] = *added;
    return true;
}

/* Reads the keys of the mapping whose start is the current event; nested mappings only at the top. */
static bool read_mapping(reader *in, const char *section) {
    while (advance(in)) {
        if (in->event.type == YAML_MAPPING_END_EVENT) return true;
        if (in->event.type != YAML_SCALAR_EVENT) {
            fault_at(in, &in->event.start_mark, "a key must be a word");
            if (!skip_value(in) || !advance(in) || !skip_value(in)) return false;
            continue;
        }
        yaml_mark_t mark = in->event.start_mark;
        setting found = {.line = mark.line + 1, .column = mark.column + 1, .key = scalar_text(&in->event)};
        bool going = found.key ? advance(in) : end_memory(in);
        found.value_line = going ? in->event.start_mark.line + 1 : 0;
        found.value_column = going ? in->event.start_mark.column + 1 : 0;
        bool kept = false;
        if (going && in->event.type == YAML_MAPPING_START_EVENT && !section) {
            bool known = false;
            for (int i = 0; i < SECTIONS; i++) known = known || strcmp(found.key, sections[i]) == 0;
            if (known) {
                going = read_mapping(in, found.key);
            } else {
                const char *nearest = xp_text_nearest(found.key, sections, SECTIONS);
                xp_write(in->faults, "%s:%zu:%zu: unknown section '%s'; %s%s%s\n", in->name, found.line, found.column,
                         found.key, nearest ? "did you mean '" : "known are model, data, training, device",
                         nearest ? nearest : "", nearest ? "'?" : "");
                going = skip_value(in);
            }
        } else if (going && in->event.type == YAML_SCALAR_EVENT) {
            if (strlen((const char *)in->event.data.scalar.value) != in->event.data.scalar.length) {
                fault_at(in, &in->event.start_mark, "the value has a NUL character in it");
            } else {
                found.section = section ? strdup(section) : NULL;
                found.value = scalar_text(&in->event);
                const bool copied = found.value && (found.section || !section);
                kept = copied ? remember(in, &found) : end_memory(in);
                going = kept;
            }
        } else if (going) {
            xp_write(in->faults, "%s:%zu:%zu: '%s' wants one value, not a list or a section\n", in->name,
                     found.value_line, found.value_column, found.key);
            going = skip_value(in);
        }
        if (!kept) {
            free(found.section);
            free(found.key);
            free(found.value);
        }
        if (!going) return false;
    }
    return false;
}

static void read_document(reader *in) {
    do {
        if (!advance(in)) return;
    } while (in->event.type == YAML_STREAM_START_EVENT || in->event.type == YAML_DOCUMENT_START_EVENT);
    if (in->event.type == YAML_STREAM_END_EVENT) return; /* an empty file changes nothing */
    bool empty = in->event.type == YAML_SCALAR_EVENT && in->event.data.scalar.length == 0;
    if (in->event.type == YAML_MAPPING_START_EVENT) {
        if (!read_mapping(in, NULL)) return;
    } else if (!empty) {
        fault_at(in, &in->event.start_mark, "expected sections such as 'model:' with 'key: value' lines below");
        return;
    }
    if (!advance(in) || !advance(in)) return;
    if (in->event.type != YAML_STREAM_END_EVENT) {
        fault_at(in, &in->event.start_mark, "a second document begins here; one file holds one configuration");
    }
}

static void apply_setting(reader *in, xp_config *config, int index) {
    const setting *each = &in->settings[index];
    for (int i = 0; i < index; i++) {
        const setting *other = &in->settings[i];
        bool same_section = (!each->section && !other->section) ||
                            (each->section && other->section && strcmp(each->section, other->section) == 0);
        if (same_section && strcmp(each->key, other->key) == 0) {
            xp_write(in->faults, "%s:%zu:%zu: '%s' is given a second time; the first is in line %zu\n", in->name,
                     each->line, each->column, each->key, other->line);
            return;
        }
    }
    if (!each->section && strcmp(each->key, "preset") == 0) return;
    const option *entry = each->section ? find_option(each->section, each->key) : NULL;
    if (!entry) {
        xp_write(in->faults, "%s:%zu:%zu: unknown key '%s'", in->name, each->line, each->column, each->key);
        if (each->section) xp_write(in->faults, " in section '%s'", each->section);
        suggest(in->faults, each->section ? each->section : "", each->key);
        xp_write(in->faults, "\n");
        return;
    }
    xp_writer place = {0};
    xp_write(&place, "%s:%zu:%zu: ", in->name, each->value_line, each->value_column);
    if (place.failed)
        end_memory(in);
    else
        set_option(config, entry, each->value, place.text, in->faults);
    xp_writer_release(&place);
}

static xp_status overlay(xp_config *config, const char *name, const char *text, size_t length, bool may_name_preset);

static void apply_preset(reader *in, xp_config *config, bool may_name_preset) {
    for (int i = 0; i < in->count; i++) {
        const setting *each = &in->settings[i];
        if (each->section || strcmp(each->key, "preset") != 0 || each->value[0] == '\0') continue;
        if (!may_name_preset) {
            xp_write(in->faults, "%s:%zu:%zu: a preset cannot be built on another\n", in->name, each->line,
                     each->column);
            return;
        }
        const xp_status status = xp_config_preset(config, each->value);
        if (status == XP_OUT_OF_MEMORY) {
            end_memory(in);
        } else if (status != XP_OK) {
            xp_write(in->faults, "%s:%zu:%zu: %s\n", in->name, each->value_line, each->value_column, xp_last_error());
        }
        return;
    }
}

/* Lays a YAML text over *config, which stays as it is when anything is wrong. */
static xp_status overlay(xp_config *config, const char *name, const char *text, size_t length, bool may_name_preset) {
    xp_writer faults = {0};
    reader in = {.name = name, .faults = &faults};
    if (!yaml_parser_initialize(&in.parser)) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", name);
    yaml_parser_set_input_string(&in.parser, (const unsigned char *)text, length);
    read_document(&in);
    if (in.has_event) yaml_event_delete(&in.event);
    yaml_parser_delete(&in.parser);
    xp_config changed = *config;
    apply_preset(&in, &changed, may_name_preset);
    for (int i = 0; i < in.count; i++) apply_setting(&in, &changed, i);
    for (int i = 0; i < in.count; i++) {
        free(in.settings[i].section);
        free(in.settings[i].key);
        free(in.settings[i].value);
    }
    free(in.settings);
    XP_TRY(report(&faults, name, XP_BAD_DATA));
    *config = changed;
    return XP_OK;
}

xp_status xp_config_file(xp_config *config, const char *path) {
    char *text = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &text, &length));
    xp_status status = overlay(config, path, text, length, true);
    free(text);
    return status;
}

/* --- presets ------------------------------------------------------------------------------------------------------ */

static const char preset_ending[] = ".yaml";

static bool is_preset(const xp_embedded_file *file, size_t *length) {
    size_t name = strlen(file->name), ending = sizeof preset_ending - 1;
    if (name <= ending || strcmp(file->name + name - ending, preset_ending) != 0) return false;
    *length = name - ending;
    return true;
}

int xp_config_presets(char names[][64], int room) {
    int count = 0;
    for (const xp_embedded_file *file = xp_embedded_files; file->name; file++) {
        size_t length;
        if (!is_preset(file, &length) || length >= 64 || count == room) continue;
        memcpy(names[count], file->name, length);
        names[count++][length] = '\0';
    }
    return count;
}

xp_status xp_config_preset(xp_config *config, const char *name) {
    enum { ROOM = 64 };
    char names[ROOM][64];
    const char *list[ROOM] = {0};
    for (const xp_embedded_file *file = xp_embedded_files; file->name; file++) {
        size_t length;
        if (!is_preset(file, &length) || strlen(name) != length || memcmp(file->name, name, length) != 0) continue;
        if (length >= sizeof config->preset) break;
        xp_config changed = *config;
        XP_TRY(overlay(&changed, name, file->text, file->length, false));
        memset(changed.preset, 0, sizeof changed.preset);
        memcpy(changed.preset, name, length);
        *config = changed;
        return XP_OK;
    }
    int count = xp_config_presets(names, ROOM);
    for (int i = 0; i < count; i++) list[i] = names[i];
    const char *nearest = xp_text_nearest(name, list, count);
    xp_writer known = {0};
    for (int i = 0; i < count; i++) xp_write(&known, "%s%s", i ? ", " : "", names[i]);
    xp_status status = xp_writer_status(&known, "presets");
    if (status == XP_OK)
        status = nearest ? xp_fail(XP_INVALID_ARGUMENT, "unknown preset '%s'; did you mean '%s'?", name, nearest)
                         : xp_fail(XP_INVALID_ARGUMENT, "unknown preset '%s'; known are %s", name, known.text);
    xp_writer_release(&known);
    return status;
}

/* --- one assignment ----------------------------------------------------------------------------------------------- */

xp_status xp_config_set(xp_config *config, const char *assignment) {
    const char *equals = strchr(assignment, '=');
    char key[128];
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof key) {
        return xp_fail(XP_INVALID_ARGUMENT, "'%s': expected key=value, such as training.epochs=20", assignment);
    }
    memcpy(key, assignment, (size_t)(equals - assignment));
    key[equals - assignment] = '\0';
    xp_writer faults = {0};
    char *dot = strchr(key, '.');
    const option *entry = NULL;
    if (dot) {
        *dot = '\0';
        bool known = false;
        for (int i = 0; i < SECTIONS; i++) known = known || strcmp(key, sections[i]) == 0;
        entry = find_option(key, dot + 1);
        if (!known) {
            const char *nearest = xp_text_nearest(key, sections, SECTIONS);
            xp_write(&faults, "unknown section '%s'; %s%s%s\n", key,
                     nearest ? "did you mean '" : "known are model, data, training, device", nearest ? nearest : "",
                     nearest ? "'?" : "");
        } else if (!entry) {
            xp_write(&faults, "unknown key '%s' in section '%s'", dot + 1, key);
            suggest(&faults, key, dot + 1);
            xp_write(&faults, "\n");
        }
    } else {
        entry = find_key(key);
        if (!entry) {
            xp_write(&faults, "unknown key '%s'", key);
            suggest(&faults, NULL, key);
            xp_write(&faults, "\n");
        }
    }
    if (entry) set_option(config, entry, equals + 1, "", &faults);
    return report(&faults, assignment, XP_INVALID_ARGUMENT);
}

static void make_absolute(xp_config *config, const char *key, const char *path) {
    char folder[1024], assignment[2200];
    if (!*path || *path == '/' || !getcwd(folder, sizeof folder)) return;
    while (strncmp(path, "./", 2) == 0) path += 2;
    snprintf(assignment, sizeof assignment, "%s=%s%s%s", key, folder, strcmp(folder, "/") == 0 ? "" : "/", path);
    (void)xp_config_set(config, assignment);
}

void xp_config_make_absolute(xp_config *config) {
    make_absolute(config, "data.train", config->data.train);
    make_absolute(config, "data.test", config->data.test);
}

/* --- checking and printing ---------------------------------------------------------------------------------------- */

/* Numbers out of their ranges come from callers that fill the struct themselves; what is read was checked before. */
static void check_range(const xp_config *config, const option *entry, xp_writer *faults) {
    const void *field = (const char *)config + entry->offset;
    double value;
    if (entry->kind == OPTION_WHOLE)
        value = *(const int *)field;
    else if (entry->kind == OPTION_COUNT)
        value = (double)*(const int64_t *)field;
    else if (entry->kind == OPTION_REAL)
        value = *(const double *)field;
    else
        return;
    if (!(value >= entry->lowest && value <= entry->highest))
        xp_write(faults, "%s.%s: %.15g is not between %.15g and %.15g\n", entry->section, entry->key, value,
                 entry->lowest, entry->highest);
}

xp_status xp_config_check(const xp_config *config) {
    xp_writer faults = {0};
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) check_range(config, &options[i], &faults);
    if (faults.length > 0 || faults.failed) return report(&faults, "configuration", XP_INVALID_ARGUMENT);
    const xp_model_config *model = &config->model;
    if (model->width % model->heads != 0) {
        xp_write(&faults, "model.heads: %d heads do not divide the width %d; choose a divisor, such as %d\n",
                 model->heads, model->width, model->width % 8 == 0 && model->heads != 8 ? 8 : 1);
    } else if (model->width / model->heads > 256) {
        xp_write(&faults, "model.heads: a head would be %d wide; at most 256 are possible, so take more heads\n",
                 model->width / model->heads);
    }
    if (model->key_heads > 0 && model->heads % model->key_heads != 0) {
        xp_write(&faults, "model.key_heads: %d do not divide the %d heads; choose a divisor, or 0 for as many\n",
                 model->key_heads, model->heads);
    }
    xp_specification specification;
    const xp_specification_use use = {.heads = model->heads,
                                      .key_heads = model->key_heads,
                                      .longest = INT_MAX,
                                      .grid = model->kind == XP_MODEL_VISION};
    if (xp_specification_parse(model->attention, &specification) != XP_OK) {
        xp_write(&faults, "model.attention: %s\n", xp_last_error());
    } else if (xp_specification_check(&specification, &use) != XP_OK) {
        xp_write(&faults, "model.attention: %s\n", xp_last_error());
    }
    if (model->head == XP_HEAD_CLASS && model->kind != XP_MODEL_VISION) {
        xp_write(&faults, "model.head: a class token belongs to vision models; take 'flatten' or 'mean' here\n");
    }
    const int batch = config->training.batch, parts = config->training.accumulate;
    if (batch % parts != 0) {
        int divisor = parts < batch ? parts : batch;
        while (batch % divisor != 0) divisor--;
        xp_write(&faults,
                 "training.accumulate: %d parts do not divide the batch of %d samples; choose a divisor, such as %d\n",
                 parts, batch, divisor);
    }
    if (config->training.schedule != XP_SCHEDULE_CONSTANT && config->training.epochs > 0 &&
        config->training.warmup >= config->training.epochs) {
        xp_write(&faults,
                 "training.warmup: %g epochs leave nothing of the %d epochs of training; lower it, such as %g\n",
                 config->training.warmup, config->training.epochs, 0.1 * config->training.epochs);
    }
    return report(&faults, "configuration", XP_INVALID_ARGUMENT);
}

/* A double-quoted YAML text; set_text lets no control characters in. */
static void write_quoted(xp_writer *out, const char *text) {
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

static void write_value(xp_writer *out, const xp_config *config, const option *entry) {
    const void *field = (const char *)config + entry->offset;
    int whole = 0;
    if (entry->kind == OPTION_WHOLE || entry->kind == OPTION_SWITCH || entry->kind == OPTION_CHOICE) {
        memcpy(&whole, field, sizeof whole);
    }
    switch (entry->kind) {
    case OPTION_TEXT:
        write_quoted(out, field);
        break;
    case OPTION_WHOLE:
        xp_write(out, "%d", whole);
        break;
    case OPTION_COUNT:
        xp_write(out, "%" PRId64, *(const int64_t *)field);
        break;
    case OPTION_SEED:
        xp_write(out, "%" PRIu64, *(const uint64_t *)field);
        break;
    case OPTION_REAL:
        xp_write_number(out, *(const double *)field);
        break;
    case OPTION_SWITCH:
        xp_write(out, "%s", whole ? "on" : "off");
        break;
    case OPTION_CHOICE:
        xp_write(out, "%s", first_name(entry, whole)->name);
        break;
    case OPTION_CADENCE:
        write_cadence(out, field);
        break;
    }
}

static bool is_of_checkpoints(const option *entry) {
    return strcmp(entry->key, "checkpoint_every") == 0 || strcmp(entry->key, "keep") == 0;
}

xp_status xp_config_compare(const xp_config *old, const xp_config *wanted) {
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        const option *entry = &options[i];
        if (is_of_checkpoints(entry) ||
            memcmp((const char *)old + entry->offset, (const char *)wanted + entry->offset, entry->bytes) == 0)
            continue;
        xp_writer text = {0};
        xp_write(&text, "%s.%s is ", entry->section, entry->key);
        write_value(&text, old, entry);
        xp_write(&text, ", not ");
        write_value(&text, wanted, entry);
        xp_fail(XP_INVALID_ARGUMENT, "%s", text.text ? text.text : "no memory to compare the configurations");
        xp_writer_release(&text);
        return XP_INVALID_ARGUMENT;
    }
    return XP_OK;
}

xp_status xp_config_text(const xp_config *config, char **text) {
    xp_writer out = {0};
    const char *section = "";
    xp_write(&out, "preset: ");
    write_quoted(&out, config->preset);
    xp_write(&out, "\n");
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        if (strcmp(options[i].section, section) != 0) xp_write(&out, "\n%s:\n", options[i].section);
        section = options[i].section;
        size_t begin = out.length;
        xp_write(&out, "  %s: ", options[i].key);
        write_value(&out, config, &options[i]);
        size_t taken = out.length - begin;
        if (options[i].help) xp_write(&out, "%*s# %s", taken < 34 ? (int)(34 - taken) : 1, "", options[i].help);
        xp_write(&out, "\n");
    }
    xp_status status = xp_writer_status(&out, "configuration");
    if (status != XP_OK) {
        xp_writer_release(&out);
        return status;
    }
    *text = out.text;
    return XP_OK;
}

xp_status xp_config_model_json(const xp_config *config, char **text) {
    xp_writer out = {0};
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        const option *entry = &options[i];
        if (strcmp(entry->section, "model") != 0) continue;
        xp_write(&out, "%s\"%s\":", out.length ? "," : "{", entry->key);
        if (entry->kind == OPTION_SWITCH) {
            xp_write(&out, "%s", *(const int *)((const char *)config + entry->offset) ? "true" : "false");
            continue;
        }
        if (entry->kind == OPTION_CHOICE) xp_write(&out, "\"");
        write_value(&out, config, entry); /* a quoted YAML text is JSON, too */
        if (entry->kind == OPTION_CHOICE) xp_write(&out, "\"");
    }
    xp_write(&out, "}");
    xp_status status = xp_writer_status(&out, "configuration");
    if (status != XP_OK) {
        xp_writer_release(&out);
        return status;
    }
    *text = out.text;
    return XP_OK;
}

xp_status xp_config_print(const xp_config *config, FILE *out) {
    char *text = NULL;
    XP_TRY(xp_config_text(config, &text));
    bool written = fputs(text, out) >= 0;
    free(text);
    return written ? XP_OK : xp_fail(XP_IO_ERROR, "the configuration cannot be written: %s", strerror(errno));
}

xp_status xp_config_value(const xp_config *config, const char *key, xp_writer *out) {
    for (int i = 0; i < OPTION_COUNT_OF_TABLE; i++) {
        const size_t length = strlen(options[i].section);
        if (strncmp(key, options[i].section, length) != 0 || key[length] != '.' ||
            strcmp(key + length + 1, options[i].key) != 0)
            continue;
        if (options[i].kind == OPTION_TEXT)
            xp_write(out, "%s", (const char *)config + options[i].offset);
        else
            write_value(out, config, &options[i]);
        return XP_OK;
    }
    return xp_fail(XP_INVALID_ARGUMENT, "there is no option %s", key);
}
