/* NumPy's .npy files: an array of numbers in host memory. Owns the format; does not know what the numbers mean. */
#ifndef XP_DATA_NPY_H
#define XP_DATA_NPY_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

enum { XP_NPY_RANK = 8 };

typedef enum xp_npy_type {
    XP_NPY_BOOL,
    XP_NPY_U8,
    XP_NPY_I8,
    XP_NPY_I32,
    XP_NPY_I64,
    XP_NPY_F16,
    XP_NPY_F32,
    XP_NPY_F64
} xp_npy_type;

/* Row-major; a rank of 0 is one number. */
typedef struct xp_npy {
    xp_npy_type type;
    int rank;
    int64_t shape[XP_NPY_RANK], elements;
    const unsigned char *data; /* of any alignment: read with xp_npy_value */
    char *owned;               /* the file's bytes, or NULL */
} xp_npy;

/* XP_IO_ERROR; XP_BAD_DATA, XP_UNSUPPORTED: one sentence with the path and the byte. */
xp_status xp_npy_read(xp_npy *out, const char *path);
void xp_npy_release(xp_npy *array); /* an all-zero one is fine */

/* The same from bytes, which are borrowed; `path` is for messages. */
xp_status xp_npy_parse(xp_npy *out, const char *path, const char *bytes, size_t length);

double xp_npy_value(const xp_npy *array, int64_t element);
/* "f4", "bool" … as NumPy calls it. */
const char *xp_npy_type_name(xp_npy_type type);

#endif
