/* What searches have tried, in a file: {"device | driver | kernel | version | shape | values": ratio}. Owns its format,
 * and so knows for which devices a search was begun. */
#include "core/files.h"
#include "core/json.h"
#include "core/text.h"
#include "tune/search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An empty object where the file is missing or damaged: then trials are made again. */
static xp_status load(const char *path, json_t **out) {
    char *text = NULL;
    size_t length = 0;
    json_error_t fault;
    json_t *tried = NULL;
    xp_status status = path && xp_file_exists(path) ? xp_file_read(path, &text, &length) : XP_OK;
    if (status == XP_OK && text) status = xp_json_read(path, text, length, &tried, &fault);
    free(text);
    if (status == XP_OUT_OF_MEMORY) return status;
    if (!json_is_object(tried)) {
        json_decref(tried);
        tried = json_object();
    }
    *out = tried;
    return tried ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for what the tuner has tried");
}

xp_status xp_tune_load_tried(xp_search *s) {
    return load(s->options->trials, &s->trials);
}

static void trial_key(const xp_tune_request *q, int combination, char *out, size_t size) {
    static const char *const parts[] = {"device", "driver", "kernel", "version", "shape"};
    const json_t *entry = json_object_get(q->about, "entry");
    char values[XP_TUNE_VALUES_TEXT];
    out[0] = '\0';
    for (int i = 0; i < 5; i++) xp_text_add(out, size, "%s | ", json_string_value(json_object_get(entry, parts[i])));
    xp_tune_print_values(q, combination, values);
    xp_text_add(out, size, "%s", values);
}

void xp_tune_remember(xp_search *s, const xp_tune_request *q, int combination) {
    char key[600];
    trial_key(q, combination, key, sizeof key);
    json_object_set_new(s->trials, key, json_real(q->ratio[combination]));
}

void xp_tune_recall(xp_search *s, xp_tune_request *q) {
    char key[600];
    for (int c = 0; c < q->combinations; c++) {
        trial_key(q, c, key, sizeof key);
        const json_t *ratio = json_object_get(s->trials, key);
        if (!ratio || c == q->fallback) continue;
        q->ratio[c] = json_number_value(ratio);
        if (q->ratio[c] > 0 && q->ratio[c] < q->ratio[q->best]) q->best = c;
    }
}

void xp_tune_save_tried(const xp_search *s) {
    xp_writer text = {0};
    if (!s->options->trials) return;
    xp_json_write(&text, s->trials, JSON_INDENT(1) | JSON_REAL_PRECISION(5));
    (void)xp_writer_save(&text, s->options->trials); /* without it, trials are made again */
    xp_writer_release(&text);
}

/* ---- the search before a first training
 * --------------------------------------------------------------------------- */

static const double LONG_RUN = 900; /* seconds */
/* What a compute unit does at least in a second, for an idea of how long a run will take. */
static const double CORE_FLOPS = 30e9, GPU_UNIT_FLOPS = 60e9;

static void device_key(const char *name, const char *driver, char key[400]) {
    snprintf(key, 400, "%s | %s | ", name, driver);
}

/* Whether a search was ever begun for the device and its driver, or a table has entries of theirs. */
static bool is_known(const xp_device *device, const char *trials, const char *table) {
    char key[400], own[400];
    json_t *tried = NULL, *entries = NULL;
    const char *name;
    json_t *value;
    bool known = false;
    device_key(device->name, device->driver, key);
    if (load(trials, &tried) != XP_OK) return false;
    json_object_foreach(tried, name, value) known = known || strncmp(name, key, strlen(key)) == 0;
    json_decref(tried);
    if (known || xp_tuning_read(table, true, &entries) != XP_OK) return known;
    for (size_t i = 0; i < json_array_size(entries) && !known; i++) {
        const json_t *entry = json_array_get(entries, i);
        device_key(json_string_value(json_object_get(entry, "device")),
                   json_string_value(json_object_get(entry, "driver")), own);
        known = strcmp(own, key) == 0;
    }
    json_decref(entries);
    return known;
}

bool xp_tune_is_due(const xp_device *device, double flops, const char *trials, const char *table) {
    const double unit = device->families[0] == XP_FAMILY_WIDE ? CORE_FLOPS : GPU_UNIT_FLOPS;
    return flops >= LONG_RUN * unit * device->limits.compute_units && !is_known(device, trials, table);
}

void xp_tune_options_brief(xp_tune_options *options, const char *trials, const char *table) {
    *options = (xp_tune_options){.output = table,
                                 .trials = trials,
                                 .rounds = XP_TUNE_ROUNDS,
                                 .seconds = 8,
                                 .limit = 20,
                                 .at_most = 20,
                                 .brief = true};
}
