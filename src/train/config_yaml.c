/* A configuration file: YAML events against the option table, so that all faults are reported together, each with its
 * place. */
#include "core/array.h"
#include "core/files.h"
#include "core/text.h"
#include "train/options.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* One "key: value" of a file, with the section it stands in; collected first, so that all of the file overrides a
 * preset named anywhere in it. */
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
    int count;
    size_t room;
} reader;

static void fault_at(reader *in, const yaml_mark_t *mark, const char *text) {
    xp_write(in->faults, "%s:%zu:%zu: %s\n", in->name, mark->line + 1, mark->column + 1, text);
}

/* Failures of memory are reported once, by xp_faults_report(). */
static bool end_memory(reader *in) {
    in->faults->failed = true;
    return false;
}

/* What a line of faults begins with. */
static xp_writer place_of(reader *in, size_t line, size_t column) {
    xp_writer place = {0};
    xp_write(&place, "%s:%zu:%zu: ", in->name, line, column);
    if (place.failed) end_memory(in);
    return place;
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
    if (!xp_array_reserve(&in->settings, &in->room, (size_t)in->count, 1, sizeof *in->settings)) return end_memory(in);
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
            xp_writer place = place_of(in, found.line, found.column);
            const bool known = !in->faults->failed && xp_option_section(found.key, place.text, in->faults);
            xp_writer_release(&place);
            going = known ? read_mapping(in, found.key) : skip_value(in);
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
            xp_write(in->faults, "%s:%zu:%zu: '%s' needs one value, not a list or a section\n", in->name,
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
            xp_write(in->faults, "%s:%zu:%zu: '%s' is given twice; the first is in line %zu\n", in->name, each->line,
                     each->column, each->key, other->line);
            return;
        }
    }
    if (!each->section && strcmp(each->key, "preset") == 0) return;
    xp_writer place = place_of(in, each->line, each->column);
    const xp_option *entry = NULL;
    if (!in->faults->failed)
        entry = xp_option_find(each->section ? each->section : "", each->key, place.text, in->faults);
    xp_writer_release(&place);
    if (!entry) return;
    place = place_of(in, each->value_line, each->value_column);
    if (!in->faults->failed) xp_option_set(config, entry, each->value, place.text, in->faults);
    xp_writer_release(&place);
}

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
xp_status xp_config_overlay(xp_config *config, const char *name, const char *text, size_t length,
                            bool may_name_preset) {
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
    XP_TRY(xp_faults_report(&faults, name, XP_BAD_DATA));
    *config = changed;
    return XP_OK;
}

xp_status xp_config_file(xp_config *config, const char *path) {
    char *text = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &text, &length));
    xp_status status = xp_config_overlay(config, path, text, length, true);
    free(text);
    return status;
}
