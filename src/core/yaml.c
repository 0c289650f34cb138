/* From libyaml's events to a tree. */
#include "core/yaml.h"

#include "core/array.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEEPEST = 16 };

typedef struct reader {
    const char *name;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event, broken;
    xp_writer *faults;
} reader;

void xp_yaml_fault(xp_writer *faults, const char *name, size_t line, size_t column, const char *format, ...) {
    va_list arguments;
    xp_write(faults, "%s:%zu:%zu: ", name, line, column);
    va_start(arguments, format);
    xp_write_list(faults, format, arguments);
    va_end(arguments);
    xp_write(faults, "\n");
}

static void fault_at(reader *in, const yaml_mark_t *mark, const char *text) {
    xp_yaml_fault(in->faults, in->name, mark->line + 1, mark->column + 1, "%s", text);
}

/* Failures of memory are reported once, by xp_faults_report(). */
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
        xp_yaml_fault(in->faults, in->name, mark->line + 1, mark->column + 1, "not YAML: %s",
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
        const yaml_event_type_t type = in->event.type;
        if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT) depth++;
        if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT) depth--;
        if (depth <= 0) return true;
        if (!advance(in)) return false;
    }
}

static char *scalar_text(const yaml_event_t *event) {
    return strndup((const char *)event->data.scalar.value, event->data.scalar.length);
}

static bool read_value(reader *in, xp_yaml *out, int depth);

/* Adds a value that begins at the current event; takes the key. */
static bool read_item(reader *in, xp_yaml *to, xp_yaml item, int depth) {
    if (!xp_array_reserve(&to->items, &to->room, (size_t)to->count, 1, sizeof *to->items)) {
        free(item.key);
        return end_memory(in);
    }
    const bool going = read_value(in, &item, depth);
    to->items[to->count++] = item;
    return going;
}

static bool read_list(reader *in, xp_yaml *out, int depth) {
    while (advance(in)) {
        if (in->event.type == YAML_SEQUENCE_END_EVENT) return true;
        if (!read_item(in, out, (xp_yaml){0}, depth)) return false;
    }
    return false;
}

static bool read_mapping(reader *in, xp_yaml *out, int depth) {
    while (advance(in)) {
        if (in->event.type == YAML_MAPPING_END_EVENT) return true;
        const yaml_mark_t mark = in->event.start_mark;
        if (in->event.type != YAML_SCALAR_EVENT) {
            fault_at(in, &mark, "a key must be a word");
            if (!skip_value(in) || !advance(in) || !skip_value(in)) return false;
            continue;
        }
        xp_yaml item = {.key = scalar_text(&in->event), .key_line = mark.line + 1, .key_column = mark.column + 1};
        if (!item.key) return end_memory(in);
        const xp_yaml *other = xp_yaml_find(out, item.key);
        if (other)
            xp_yaml_fault(in->faults, in->name, item.key_line, item.key_column,
                          "'%s' is given twice; the first is in line %zu", item.key, other->key_line);
        if (!advance(in) || other) {
            free(item.key);
            if (!in->has_event || !skip_value(in)) return false;
            continue;
        }
        if (!read_item(in, out, item, depth)) return false;
    }
    return false;
}

/* From the current event to the last of the value; false: reading ends here. */
static bool read_value(reader *in, xp_yaml *out, int depth) {
    const yaml_mark_t mark = in->event.start_mark;
    const yaml_event_type_t type = in->event.type;
    out->line = mark.line + 1;
    out->column = mark.column + 1;
    if (depth == DEEPEST) {
        fault_at(in, &mark, "the value is nested too deeply");
        return skip_value(in);
    }
    switch (type) {
    case YAML_SCALAR_EVENT:
        if (strlen((const char *)in->event.data.scalar.value) != in->event.data.scalar.length) {
            fault_at(in, &mark, "the value has a NUL character in it");
            return true;
        }
        out->text = scalar_text(&in->event);
        if (!out->text) return end_memory(in);
        out->kind = XP_YAML_TEXT;
        return true;
    case YAML_SEQUENCE_START_EVENT:
        out->kind = XP_YAML_LIST;
        return read_list(in, out, depth + 1);
    case YAML_MAPPING_START_EVENT:
        out->kind = XP_YAML_MAPPING;
        return read_mapping(in, out, depth + 1);
    default:
        fault_at(in, &mark, "an alias is not accepted; write the value itself");
        return true;
    }
}

static void read_document(reader *in, xp_yaml *root) {
    do {
        if (!advance(in)) return;
    } while (in->event.type == YAML_STREAM_START_EVENT || in->event.type == YAML_DOCUMENT_START_EVENT);
    if (in->event.type == YAML_STREAM_END_EVENT) return;
    const bool empty = in->event.type == YAML_SCALAR_EVENT && in->event.data.scalar.length == 0;
    if (!empty && !read_value(in, root, 0)) return;
    if (!advance(in) || !advance(in)) return;
    if (in->event.type != YAML_STREAM_END_EVENT)
        fault_at(in, &in->event.start_mark, "a second document begins here; a file holds one");
}

void xp_yaml_read(const char *name, const char *text, size_t length, xp_yaml *root, xp_writer *faults) {
    reader in = {.name = name, .faults = faults};
    *root = (xp_yaml){0};
    if (!yaml_parser_initialize(&in.parser)) {
        (void)end_memory(&in);
        return;
    }
    yaml_parser_set_input_string(&in.parser, (const unsigned char *)text, length);
    read_document(&in, root);
    if (in.has_event) yaml_event_delete(&in.event);
    yaml_parser_delete(&in.parser);
}

void xp_yaml_release(xp_yaml *value) {
    for (int i = 0; i < value->count; i++) xp_yaml_release(&value->items[i]);
    free(value->items);
    free(value->text);
    free(value->key);
    *value = (xp_yaml){0};
}

const xp_yaml *xp_yaml_find(const xp_yaml *mapping, const char *key) {
    for (int i = 0; i < mapping->count; i++)
        if (mapping->items[i].key && strcmp(mapping->items[i].key, key) == 0) return &mapping->items[i];
    return NULL;
}
