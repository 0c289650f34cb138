/* The safetensors file format: a JSON header with names, types, shapes and offsets, then the bytes. Owns the format;
 * knows no models. Files are written atomically and read with every number checked against the file's size. */
#ifndef XP_TRAIN_SAFETENSORS_H
#define XP_TRAIN_SAFETENSORS_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

typedef enum xp_safetensors_type {
    XP_SAFETENSORS_F32,
    XP_SAFETENSORS_BF16,
    XP_SAFETENSORS_F16,
    XP_SAFETENSORS_I32,
    XP_SAFETENSORS_I64
} xp_safetensors_type;

enum { XP_SAFETENSORS_RANK = 8 };

typedef struct xp_safetensors_entry {
    char *name; /* owned */
    xp_safetensors_type type;
    int rank;
    int64_t shape[XP_SAFETENSORS_RANK];
    int64_t elements;
    const void *data; /* dense, row-major */
} xp_safetensors_entry;

typedef struct xp_safetensors {
    xp_safetensors_entry *entries; /* in the order of their bytes */
    int count;
    size_t room;
    char *metadata; /* JSON object of strings as text; NULL: none */
    char *owned;    /* the file's bytes, after reading */
} xp_safetensors;

/* Adds an entry; `data` is borrowed until the set is written or released. */
xp_status xp_safetensors_add(xp_safetensors *set, const char *name, xp_safetensors_type type, int rank,
                             const int64_t *shape, const void *data);
xp_status xp_safetensors_metadata(xp_safetensors *set, const char *key, const char *value);
xp_status xp_safetensors_write(const xp_safetensors *set, const char *path);

/* *out starts all zero. XP_IO_ERROR; XP_BAD_DATA: one sentence with the path and the byte or the entry. */
xp_status xp_safetensors_read(xp_safetensors *out, const char *path);
const xp_safetensors_entry *xp_safetensors_find(const xp_safetensors *set, const char *name); /* NULL: not there */
void xp_safetensors_release(xp_safetensors *set); /* an all-zero one is fine */

#endif
