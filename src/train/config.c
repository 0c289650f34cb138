/* What is done with a whole configuration: changed by an assignment, checked, compared and printed. */
#include "train/config.h"

#include "core/text.h"
#include "train/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    if (dot) *dot = '\0';
    const xp_option *entry = NULL;
    if (!dot)
        entry = xp_option_find(NULL, key, "", &faults);
    else if (xp_option_section(key, "", &faults))
        entry = xp_option_find(key, dot + 1, "", &faults);
    if (entry) xp_option_set(config, entry, equals + 1, "", &faults);
    return xp_faults_report(&faults, assignment, XP_INVALID_ARGUMENT);
}

bool xp_config_has_test(const xp_config *config) {
    return *config->data.test || config->data.test_part > 0;
}

xp_windows xp_config_windows(const xp_config *config) {
    return (xp_windows){.context = config->data.context,
                        .horizon = config->data.horizon,
                        .season = config->data.season,
                        .predict = config->data.predict,
                        .levelled = config->data.normalise_windows,
                        .words = config->data.words,
                        .longest = config->data.max_length,
                        .tokens = xp_sample_kind_find(xp_model_samples(&config->model))->of_images};
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
    make_absolute(config, "training.from", config->training.from);
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

/* Numbers out of their ranges come from callers that fill the struct themselves; what is read was checked before. */
static void check_range(const xp_config *config, const xp_option *entry, xp_writer *faults) {
    const void *field = (const char *)config + entry->offset;
    double value;
    if (entry->kind == XP_OPTION_WHOLE)
        value = *(const int *)field;
    else if (entry->kind == XP_OPTION_COUNT)
        value = (double)*(const int64_t *)field;
    else if (entry->kind == XP_OPTION_REAL)
        value = *(const double *)field;
    else
        return;
    if (!(value >= entry->lowest && value <= entry->highest))
        xp_write(faults, "%s.%s: %.15g is not between %.15g and %.15g\n", entry->section, entry->key, value,
                 entry->lowest, entry->highest);
}

xp_status xp_config_check(const xp_config *config) {
    xp_writer faults = {0};
    for (const xp_option *entry = xp_options; entry->section; entry++) check_range(config, entry, &faults);
    if (faults.length > 0 || faults.failed) return xp_faults_report(&faults, "configuration", XP_INVALID_ARGUMENT);
    const xp_status model = xp_model_check(&config->model, NULL);
    if (model == XP_OUT_OF_MEMORY) faults.failed = true;
    if (model != XP_OK) xp_write(&faults, "%s\n", xp_last_error());
    const int batch = config->training.batch, parts = config->training.accumulate;
    if (batch % parts != 0) {
        int divisor = parts < batch ? parts : batch;
        while (batch % divisor != 0) divisor--;
        xp_write(
            &faults,
            "training.accumulate: %d parts do not divide the batch of %d samples; use a divisor: --accumulate %d\n",
            parts, batch, divisor);
    }
    if (config->data.test_part > 0 && *config->data.test)
        xp_write(&faults, "data.test_part: the test data are those of data.test (--test); use one of both\n");
    if (!config->data.standardise && (*config->data.mean || *config->data.deviation))
        xp_write(&faults, "data.mean: is for data that are standardised; leave it and data.deviation empty, or set "
                          "data.standardise to on\n");
    if (config->data.normalise_windows && !config->data.standardise)
        xp_write(&faults,
                 "data.normalise_windows: is for data that are standardised; turn it off, or data.standardise on\n");
    if (config->training.patience > 0 && config->data.validation == 0)
        xp_write(&faults, "training.patience: --patience needs a validation set: add --validation 0.1\n");
    if (config->training.schedule != XP_SCHEDULE_CONSTANT && config->training.epochs > 0 &&
        config->training.warmup >= config->training.epochs) {
        xp_write(&faults, "training.warmup: warming up takes %g epochs and training %d; use fewer: --set warmup=%g\n",
                 config->training.warmup, config->training.epochs, 0.1 * config->training.epochs);
    }
    return xp_faults_report(&faults, "configuration", XP_INVALID_ARGUMENT);
}

/* --- comparing and printing --------------------------------------------------------------------------------------- */

static bool is_of_files(const xp_option *entry) {
    return strcmp(entry->key, "checkpoint_every") == 0 || strcmp(entry->key, "keep") == 0 ||
           strcmp(entry->key, "tensorboard") == 0;
}

xp_status xp_config_compare(const xp_config *old, const xp_config *wanted) {
    for (const xp_option *entry = xp_options; entry->section; entry++) {
        if (is_of_files(entry) ||
            memcmp((const char *)old + entry->offset, (const char *)wanted + entry->offset, entry->bytes) == 0)
            continue;
        xp_writer text = {0};
        xp_write(&text, "%s.%s is ", entry->section, entry->key);
        xp_option_write(&text, old, entry);
        xp_write(&text, ", not ");
        xp_option_write(&text, wanted, entry);
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
    xp_option_write_quoted(&out, config->preset);
    xp_write(&out, "\n");
    for (const xp_option *entry = xp_options; entry->section; entry++) {
        if (strcmp(entry->section, section) != 0) xp_write(&out, "\n%s:\n", entry->section);
        section = entry->section;
        size_t begin = out.length;
        xp_write(&out, "  %s: ", entry->key);
        xp_option_write(&out, config, entry);
        size_t taken = out.length - begin;
        if (entry->help) xp_write(&out, "%*s# %s", taken < 34 ? (int)(34 - taken) : 1, "", entry->help);
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
    for (const xp_option *entry = xp_options; entry->section; entry++) {
        if (strcmp(entry->section, "model") != 0) continue;
        xp_write(&out, "%s\"%s\":", out.length ? "," : "{", entry->key);
        if (entry->kind == XP_OPTION_SWITCH) {
            xp_write(&out, "%s", *(const int *)((const char *)config + entry->offset) ? "true" : "false");
            continue;
        }
        if (entry->kind == XP_OPTION_CHOICE) xp_write(&out, "\"");
        xp_option_write(&out, config, entry); /* a quoted YAML text is JSON, too */
        if (entry->kind == XP_OPTION_CHOICE) xp_write(&out, "\"");
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
    return written ? XP_OK
                   : xp_fail(XP_IO_ERROR, "the configuration could not be written (%s); is the disk full?",
                             strerror(errno));
}

xp_status xp_config_value(const xp_config *config, const char *key, xp_writer *out) {
    for (const xp_option *entry = xp_options; entry->section; entry++) {
        const size_t length = strlen(entry->section);
        if (strncmp(key, entry->section, length) != 0 || key[length] != '.' ||
            strcmp(key + length + 1, entry->key) != 0)
            continue;
        if (entry->kind == XP_OPTION_TEXT)
            xp_write(out, "%s", (const char *)config + entry->offset);
        else
            xp_option_write(out, config, entry);
        return XP_OK;
    }
    return xp_fail(XP_INVALID_ARGUMENT, "there is no option %s", key);
}
