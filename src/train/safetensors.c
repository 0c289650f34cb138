/* The safetensors format: eight bytes with the header's length, the header as JSON, the data. Owns the format. */
#include "train/safetensors.h"

#include "core/array.h"
#include "core/files.h"
#include "core/json.h"
#include "core/writer.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, HEADER_LIMIT = 100 * 1000 * 1000 /* the format's own limit */, ALIGNMENT = 8 };

static const char *const type_names[] = {"F32", "BF16", "F16", "I32", "I64"}; /* by xp_safetensors_type */
static const size_t type_bytes[] = {4, 2, 2, 4, 8};
enum { TYPES = sizeof type_bytes / sizeof *type_bytes };

static xp_status no_memory(const char *path) {
    return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the tensors of the file", path);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static xp_safetensors_entry *append(xp_safetensors *set, const char *name) {
    if (!xp_array_reserve(&set->entries, &set->room, (size_t)set->count, 1, sizeof *set->entries)) return NULL;
    xp_safetensors_entry *entry = &set->entries[set->count];
    *entry = (xp_safetensors_entry){.name = strdup(name)};
    if (!entry->name) return NULL;
    set->count++;
    return entry;
}

xp_status xp_safetensors_add(xp_safetensors *set, const char *name, xp_safetensors_type type, int rank,
                             const int64_t *shape, const void *data) {
    if (rank > XP_SAFETENSORS_RANK) {
        return xp_fail(XP_INVALID_ARGUMENT, "tensor '%s': rank %d is more than %d", name, rank, XP_SAFETENSORS_RANK);
    }
    xp_safetensors_entry *entry = append(set, name);
    if (!entry) return xp_fail(XP_OUT_OF_MEMORY, "tensor '%s': no memory to list it", name);
    entry->type = type;
    entry->rank = rank;
    entry->elements = 1;
    for (int i = 0; i < rank; i++) entry->elements *= entry->shape[i] = shape[i];
    entry->data = data;
    return XP_OK;
}

/* What xp_safetensors_metadata made; NULL: memory ran out. */
static json_t *load_metadata(const char *text) {
    json_t *all = NULL;
    json_error_t error;
    return xp_json_read("metadata", text, strlen(text), &all, &error) == XP_OK ? all : NULL;
}

xp_status xp_safetensors_metadata(xp_safetensors *set, const char *key, const char *value) {
    json_t *all = set->metadata ? load_metadata(set->metadata) : json_object();
    xp_writer text = {0};
    all = xp_json_set(all, key, json_string(value));
    xp_json_write(&text, all, JSON_COMPACT);
    json_decref(all);
    if (text.failed) {
        xp_writer_release(&text);
        return xp_fail(XP_OUT_OF_MEMORY, "metadata '%s': no memory, or its text is not UTF-8", key);
    }
    free(set->metadata);
    set->metadata = text.text;
    return XP_OK;
}

static json_t *describe(const xp_safetensors_entry *entry, json_int_t offset, json_int_t end) {
    json_t *shape = json_array();
    for (int axis = 0; axis < entry->rank; axis++) shape = xp_json_append(shape, json_integer(entry->shape[axis]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_names[entry->type], "shape", shape, "data_offsets", offset,
                     end);
}

/* The header as text, padded with blanks so that the data begin aligned. */
static void write_header(xp_writer *out, const xp_safetensors *set) {
    json_t *header = json_object();
    if (set->metadata) header = xp_json_set(header, "__metadata__", load_metadata(set->metadata));
    json_int_t offset = 0;
    for (int i = 0; i < set->count; i++) {
        const xp_safetensors_entry *entry = &set->entries[i];
        json_int_t end = offset + (json_int_t)((size_t)entry->elements * type_bytes[entry->type]);
        header = xp_json_set(header, entry->name, describe(entry, offset, end));
        offset = end;
    }
    xp_json_write(out, header, JSON_COMPACT);
    json_decref(header);
    xp_write(out, "%*s", (int)(-out->length % ALIGNMENT), "");
}

xp_status xp_safetensors_write(const xp_safetensors *set, const char *path) {
    xp_writer header = {0};
    write_header(&header, set);
    size_t total = LENGTH_BYTES + header.length;
    for (int i = 0; i < set->count; i++) total += (size_t)set->entries[i].elements * type_bytes[set->entries[i].type];
    char *bytes = header.failed ? NULL : malloc(total);
    if (!bytes) {
        xp_writer_release(&header);
        return no_memory(path);
    }
    for (int i = 0; i < LENGTH_BYTES; i++) bytes[i] = (char)(header.length >> (8 * i) & 0xff);
    memcpy(bytes + LENGTH_BYTES, header.text, header.length);
    size_t at = LENGTH_BYTES + header.length;
    for (int i = 0; i < set->count; i++) {
        size_t size = (size_t)set->entries[i].elements * type_bytes[set->entries[i].type];
        if (size > 0) memcpy(bytes + at, set->entries[i].data, size);
        at += size;
    }
    xp_status status = xp_file_write_atomic(path, bytes, total);
    free(bytes);
    xp_writer_release(&header);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Checks one entry's description against the file and lists it. `data_bytes` is the size of the data after the
 * header. */
static xp_status read_entry(xp_safetensors *out, const char *path, const char *name, json_t *described,
                            const char *data, size_t data_bytes) {
    json_t *dtype = json_object_get(described, "dtype"), *shape = json_object_get(described, "shape");
    json_t *offsets = json_object_get(described, "data_offsets");
    bool formed = json_is_string(dtype) && json_is_array(shape) && json_is_array(offsets) &&
                  json_array_size(offsets) == 2 && json_is_integer(json_array_get(offsets, 0)) &&
                  json_is_integer(json_array_get(offsets, 1));
    if (!formed) {
        return xp_fail(XP_BAD_DATA, "%s: tensor '%s' has no valid dtype, shape or data_offsets in the header", path,
                       name);
    }
    int type = -1;
    for (int i = 0; i < TYPES; i++) {
        if (strcmp(json_string_value(dtype), type_names[i]) == 0) type = i;
    }
    if (type < 0) {
        return xp_fail(XP_BAD_DATA, "%s: tensor '%s' has type %s; only F32, BF16, F16, I32 and I64 can be read here",
                       path, name, json_string_value(dtype));
    }
    if (json_array_size(shape) > XP_SAFETENSORS_RANK) {
        return xp_fail(XP_BAD_DATA, "%s: tensor '%s' has %zu dimensions, more than %d", path, name,
                       json_array_size(shape), XP_SAFETENSORS_RANK);
    }
    xp_safetensors_entry *entry = append(out, name);
    if (!entry) return no_memory(path);
    entry->type = (xp_safetensors_type)type;
    entry->rank = (int)json_array_size(shape);
    entry->elements = 1;
    for (int axis = 0; axis < entry->rank; axis++) {
        json_t *extent = json_array_get(shape, (size_t)axis);
        entry->shape[axis] = json_is_integer(extent) ? json_integer_value(extent) : -1;
        bool fits =
            entry->shape[axis] >= 0 && !__builtin_mul_overflow(entry->elements, entry->shape[axis], &entry->elements);
        if (!fits) return xp_fail(XP_BAD_DATA, "%s: tensor '%s' has an impossible shape", path, name);
    }
    json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    json_int_t end = json_integer_value(json_array_get(offsets, 1));
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes) {
        return xp_fail(XP_BAD_DATA, "%s: tensor '%s' lies at bytes %lld to %lld of the data, but there are %zu", path,
                       name, (long long)begin, (long long)end, data_bytes);
    }
    int64_t need = 0;
    if (__builtin_mul_overflow(entry->elements, (int64_t)type_bytes[type], &need) || need != end - begin) {
        return xp_fail(XP_BAD_DATA, "%s: tensor '%s' has %lld bytes of data, which do not fit its shape", path, name,
                       (long long)(end - begin));
    }
    if ((size_t)(data + begin - out->owned) % type_bytes[type] != 0) {
        return xp_fail(XP_BAD_DATA, "%s: tensor '%s' is not aligned to its element size", path, name);
    }
    entry->data = data + begin;
    return XP_OK;
}

static int compare_places(const void *a, const void *b) {
    const xp_safetensors_entry *first = a, *second = b;
    const char *x = first->data, *y = second->data;
    if (x != y) return x < y ? -1 : 1;
    return (first->elements > second->elements) - (first->elements < second->elements); /* empty tensors first */
}

/* The data must be covered without gaps or overlaps: the format says so, and hidden bytes are a way to smuggle. */
static xp_status check_places(const xp_safetensors *set, const char *path, const char *data, size_t data_bytes) {
    const char *at = data;
    for (int i = 0; i < set->count; i++) {
        const xp_safetensors_entry *entry = &set->entries[i];
        if ((const char *)entry->data != at) {
            return xp_fail(XP_BAD_DATA, "%s: tensor '%s' does not begin where the one before it ends", path,
                           entry->name);
        }
        at += (size_t)entry->elements * type_bytes[entry->type];
    }
    if (at != data + data_bytes) {
        return xp_fail(XP_BAD_DATA, "%s: %zu bytes at the end belong to no tensor", path,
                       (size_t)(data + data_bytes - at));
    }
    return XP_OK;
}

static xp_status read_metadata(xp_safetensors *out, const char *path, const json_t *described) {
    xp_writer text = {0};
    xp_json_write(&text, described, JSON_COMPACT);
    out->metadata = text.text;
    return text.failed ? no_memory(path) : XP_OK;
}

static xp_status read_header(xp_safetensors *out, const char *path, size_t length) {
    if (length < LENGTH_BYTES) {
        return xp_fail(XP_BAD_DATA, "%s: a file of %zu bytes is too short for safetensors", path, length);
    }
    uint64_t header_length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++) header_length |= (uint64_t)(unsigned char)out->owned[i] << (8 * i);
    if (header_length > length - LENGTH_BYTES || header_length > HEADER_LIMIT) {
        return xp_fail(XP_BAD_DATA, "%s: byte 0 announces a header of %llu bytes, but %zu follow: cut short or damaged",
                       path, (unsigned long long)header_length, length - LENGTH_BYTES);
    }
    json_error_t error;
    json_t *header = NULL;
    XP_TRY(xp_json_read(path, out->owned + LENGTH_BYTES, (size_t)header_length, &header, &error));
    if (!json_is_object(header)) {
        json_decref(header);
        return xp_fail(XP_BAD_DATA, "%s: byte %d: the header is not the JSON of safetensors: %s", path,
                       LENGTH_BYTES + (header ? 0 : error.position), header ? "not an object" : error.text);
    }
    /* The header is parsed and done with; at its place the data are aligned whatever its length was. */
    size_t data_bytes = length - LENGTH_BYTES - (size_t)header_length;
    const char *data = memmove(out->owned, out->owned + LENGTH_BYTES + header_length, data_bytes);
    xp_status status = XP_OK;
    const char *name;
    json_t *described;
    json_object_foreach(header, name, described) {
        if (strcmp(name, "__metadata__") == 0) {
            status = json_is_object(described)
                         ? read_metadata(out, path, described)
                         : xp_fail(XP_BAD_DATA, "%s: __metadata__ of the header is not an object", path);
        } else {
            status = read_entry(out, path, name, described, data, data_bytes);
        }
        if (status != XP_OK) break;
    }
    json_decref(header);
    XP_TRY(status);
    if (out->count > 0) qsort(out->entries, (size_t)out->count, sizeof *out->entries, compare_places);
    return check_places(out, path, data, data_bytes);
}

xp_status xp_safetensors_read(xp_safetensors *out, const char *path) {
    xp_safetensors set = {0};
    size_t length = 0;
    XP_TRY(xp_file_read(path, &set.owned, &length));
    xp_status status = read_header(&set, path, length);
    if (status != XP_OK) {
        xp_safetensors_release(&set);
        return status;
    }
    *out = set;
    return XP_OK;
}

const xp_safetensors_entry *xp_safetensors_find(const xp_safetensors *set, const char *name) {
    for (int i = 0; i < set->count; i++) {
        if (strcmp(set->entries[i].name, name) == 0) return &set->entries[i];
    }
    return NULL;
}

void xp_safetensors_release(xp_safetensors *set) {
    for (int i = 0; i < set->count; i++) free(set->entries[i].name);
    free(set->entries);
    free(set->metadata);
    free(set->owned);
    *set = (xp_safetensors){0};
}
