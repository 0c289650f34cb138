#include "device/tuning.h"

#include "core/embedded.h"
#include "core/files.h"
#include "core/json.h"
#include "device/cache.h"
#include "device/program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order of looking up. */
enum { RECORDED, GIVEN, OWN, BUILT_IN, TABLES };

struct xp_tuning_tables {
    json_t *entries[TABLES];
};

/* ---- reading and writing ----------------------------------------------------------------------------------------- */

static bool is_entry(const json_t *entry) {
    static const char *const texts[] = {"device", "driver", "vendor", "kernel", "version", "shape"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!json_is_string(json_object_get(entry, texts[i]))) return false;
    const char *name;
    json_t *value, *values = json_object_get(entry, "values");
    json_object_foreach(values, name, value) if (!json_is_integer(value)) return false;
    return json_is_object(values);
}

static bool lessen(xp_tuning_parameter *parameter) {
    long lower = 0;
    for (int i = 0; i < XP_TUNING_VALUES && parameter->values[i]; i++)
        if (parameter->values[i] < parameter->value && parameter->values[i] > lower) lower = parameter->values[i];
    if (lower) parameter->value = lower;
    return lower != 0;
}

bool xp_tuning_fit(xp_tuning *tuning, const int *order, int count, const xp_device *device, const void *sizes,
                   bool (*fits)(const xp_tuning *tuning, const xp_device *device, const void *sizes)) {
    for (int i = 0; i < count && !fits(tuning, device, sizes);) i += !lessen(&tuning->parameters[order[i]]);
    return fits(tuning, device, sizes);
}

bool xp_tuning_are_entries(const json_t *entries) {
    size_t i;
    json_t *entry;
    json_array_foreach(entries, i, entry) if (!is_entry(entry)) return false;
    return json_is_array(entries);
}

static xp_status read_entries(const char *path, const char *text, size_t length, json_t **entries) {
    json_error_t error;
    json_t *root = NULL;
    *entries = NULL;
    XP_TRY(xp_json_read(path, text, length, &root, &error));
    if (!root)
        return xp_fail(XP_BAD_DATA, "%s:%d:%d: not a tuning table: %s", path, error.line, error.column, error.text);
    json_t *list = json_object_get(root, "entries");
    xp_status status = XP_OK;
    if (json_integer_value(json_object_get(root, "format")) != XP_TUNING_FORMAT || !json_is_array(list))
        status = xp_fail(XP_BAD_DATA, "%s: not a tuning table of format %d", path, XP_TUNING_FORMAT);
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) if (status == XP_OK && !is_entry(entry)) status =
        xp_fail(XP_BAD_DATA,
                "%s: entry %zu is incomplete: it needs the strings device, driver, vendor, kernel, version and "
                "shape, and numbers in values",
                path, i + 1);
    if (status == XP_OK) *entries = json_incref(list);
    json_decref(root);
    return status;
}

xp_status xp_tuning_read(const char *path, bool may_miss, json_t **entries) {
    char *text = NULL;
    size_t length = 0;
    if (may_miss && !xp_file_exists(path)) {
        *entries = json_array();
        return *entries ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a tuning table");
    }
    XP_TRY(xp_file_read(path, &text, &length));
    const xp_status status = read_entries(path, text, length, entries);
    free(text);
    return status;
}

static bool same_text(const json_t *a, const json_t *b, const char *key) {
    return strcmp(json_string_value(json_object_get(a, key)), json_string_value(json_object_get(b, key))) == 0;
}

static bool same_place(const json_t *a, const json_t *b) {
    return same_text(a, b, "device") && same_text(a, b, "driver") && same_text(a, b, "kernel") &&
           same_text(a, b, "shape");
}

xp_status xp_tuning_merge(const char *path, const json_t *entries) {
    json_t *all = NULL, *old;
    XP_TRY(xp_tuning_read(path, true, &all));
    for (size_t i = 0; i < json_array_size(entries); i++) {
        json_t *entry = json_array_get(entries, i);
        for (size_t j = json_array_size(all); j-- > 0;)
            if ((old = json_array_get(all, j)) && same_place(old, entry)) json_array_remove(all, j);
        all = xp_json_append(all, json_incref(entry));
    }
    json_t *root = json_pack("{s:i,s:o}", "format", XP_TUNING_FORMAT, "entries", all);
    xp_writer text = {0};
    xp_json_write(&text, root, JSON_INDENT(1));
    const xp_status status = xp_writer_save(&text, path);
    xp_writer_release(&text);
    json_decref(root);
    return status;
}

/* ---- looking up -------------------------------------------------------------------------------------------------- */

/* A damaged table in the cache folder is ignored, so that it does not stop a run; `expanse tune` reports what is wrong
 * with it. A table that cannot be read is an error: it may hold the values with which the run began. */
static xp_status read_own(const char *path, json_t **entries) {
    const xp_status status = xp_file_exists(path) ? xp_tuning_read(path, false, entries) : XP_OK;
    return status == XP_BAD_DATA ? XP_OK : status;
}

static xp_status read_built_in(json_t **entries) {
    const xp_embedded_file *file = xp_embedded_files;
    while (strcmp(file->name, "tuning.json") != 0) file++;
    return read_entries(file->name, file->text, file->length, entries);
}

xp_status xp_tuning_open(struct xp_tuning_tables **tables) {
    char path[PATH_MAX];
    const char *given = getenv("EXPANSE_TUNING");
    *tables = calloc(1, sizeof **tables);
    if (!*tables) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the tuning tables");
    if (given && *given) XP_TRY(xp_tuning_read(given, false, &(*tables)->entries[GIVEN]));
    if (xp_cache_path("tuning.json", false, path, sizeof path) == XP_OK)
        XP_TRY(read_own(path, &(*tables)->entries[OWN]));
    return read_built_in(&(*tables)->entries[BUILT_IN]);
}

void xp_tuning_prefer(xp_device *device, json_t *entries) {
    json_decref(device->tuning->entries[RECORDED]);
    device->tuning->entries[RECORDED] = json_incref(entries);
}

void xp_tuning_close(struct xp_tuning_tables **tables) {
    for (int i = 0; *tables && i < TABLES; i++) json_decref((*tables)->entries[i]);
    free(*tables);
    *tables = NULL;
}

static bool has_text(const json_t *entry, const char *key, const char *text) {
    return strcmp(json_string_value(json_object_get(entry, key)), text) == 0;
}

static xp_status version_of(const xp_tuning *tuning, char *out, size_t size) {
    unsigned long long version = 0, other = 0;
    XP_TRY(xp_program_version(tuning->file, &version));
    if (tuning->other) XP_TRY(xp_program_version(tuning->other, &other));
    snprintf(out, size, "%016llx", version + other);
    return XP_OK;
}

/* From the nearest to the farthest. */
enum { SAME_SHAPE, SAME_DEVICE, SAME_VENDOR, DISTANCES };

static const json_t *find(const json_t *entries, const xp_device *device, const xp_tuning *tuning, const char *version,
                          int distance) {
    size_t i;
    json_t *entry;
    json_array_foreach(entries, i, entry) {
        if (!has_text(entry, "kernel", tuning->kernel) || !has_text(entry, "version", version)) continue;
        if (!has_text(entry, "shape", distance == SAME_SHAPE ? tuning->shape : "*")) continue;
        const bool vendor = has_text(entry, "vendor", device->vendor), name = has_text(entry, "device", device->name);
        const bool driver = has_text(entry, "driver", device->driver);
        if (distance == SAME_VENDOR ? vendor : name && (driver || distance == SAME_DEVICE)) return entry;
    }
    return NULL;
}

xp_status xp_tuning_look_up(const xp_device *device, xp_tuning *tuning) {
    char version[20];
    const struct xp_tuning_tables *tables = device->tuning;
    for (int p = 0; p < tuning->count; p++) tuning->parameters[p].fallback = tuning->parameters[p].value;
    XP_TRY(version_of(tuning, version, sizeof version));
    const json_t *entry = NULL;
    for (int distance = 0; distance < DISTANCES && !entry; distance++)
        for (int i = 0; i < TABLES && !entry; i++) entry = find(tables->entries[i], device, tuning, version, distance);
    for (int p = 0; p < tuning->count && entry; p++) {
        xp_tuning_parameter *parameter = &tuning->parameters[p];
        const long value = (long)json_integer_value(json_object_get(json_object_get(entry, "values"), parameter->name));
        for (int v = 0; v < XP_TUNING_VALUES && value; v++)
            if (parameter->values[v] == value) parameter->value = value;
    }
    return XP_OK;
}

bool xp_tuning_gains(const double *ratios, int count, xp_interval *gain) {
    enum { MOST = 64 };
    double gains[MOST];
    for (int i = 0; i < count && i < MOST; i++) gains[i] = ratios[i] > 0 ? 1 / ratios[i] : 0;
    *gain = count > 0 ? xp_median_interval(gains, count < MOST ? count : MOST) : (xp_interval){.median = 1};
    return gain->low > 1;
}

json_t *xp_tuning_entry(const xp_device *device, const xp_tuning *tuning, const char *shape) {
    char version[20];
    if (version_of(tuning, version, sizeof version) != XP_OK) return NULL;
    json_t *values = json_object();
    for (int p = 0; p < tuning->count; p++)
        values = xp_json_set(values, tuning->parameters[p].name, json_integer(tuning->parameters[p].value));
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "device", device->name, "driver", device->driver, "vendor",
                     device->vendor, "kernel", tuning->kernel, "version", version, "shape", shape, "values", values);
}
