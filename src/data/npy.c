/* Reading .npy files: a magic word, a version, and a header that is a Python dictionary with exactly three keys. */
#include "data/npy.h"

#include "core/files.h"
#include "core/half.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 6, VERSION_AT = 6, LENGTH_AT = 8 };
static const char magic[] = "\x93NUMPY";

/* By xp_npy_type. */
static const struct {
    const char *code, *name;
    size_t bytes;
} types[] = {{"b1", "bool", 1}, {"u1", "u1", 1}, {"i1", "i1", 1}, {"i4", "i4", 4},
             {"i8", "i8", 8},   {"f2", "f2", 2}, {"f4", "f4", 4}, {"f8", "f8", 8}};
enum { TYPES = sizeof types / sizeof types[0] };

/* The header's text: bytes at … end of the file. */
typedef struct header {
    const char *path, *bytes;
    size_t at, end;
} header;

static char look(header *in) {
    while (in->at < in->end && strchr(" \t\n", in->bytes[in->at]) && in->bytes[in->at]) in->at++;
    return in->at < in->end ? in->bytes[in->at] : 0;
}

static bool take(header *in, char wanted) {
    if (look(in) != wanted || in->at >= in->end) return false;
    in->at++;
    return true;
}

static xp_status expect(header *in, char wanted) {
    if (take(in, wanted)) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: byte %zu: expected \"%c\" in the header of a .npy file; save the array again",
                   in->path, in->at, wanted);
}

/* A Python string in either kind of quotes, without escapes. */
static xp_status read_string(header *in, const char **text, size_t *length) {
    const char quote = look(in);
    if (quote != '\'' && quote != '"')
        return xp_fail(XP_BAD_DATA, "%s: byte %zu: expected a quoted string in the header of a .npy file", in->path,
                       in->at);
    const size_t start = ++in->at;
    while (in->at < in->end && in->bytes[in->at] != quote) in->at++;
    if (in->at >= in->end)
        return xp_fail(XP_BAD_DATA, "%s: byte %zu: a string in the header of a .npy file has no closing quote",
                       in->path, start);
    *text = in->bytes + start;
    *length = in->at++ - start;
    return XP_OK;
}

static bool is(const char *text, size_t length, const char *word) {
    return length == strlen(word) && memcmp(text, word, length) == 0;
}

static xp_status read_type(header *in, xp_npy *out) {
    const char *text;
    size_t length;
    look(in);
    const size_t start = in->at;
    if (look(in) == '[')
        return xp_fail(XP_UNSUPPORTED, "%s: byte %zu: an array of records is not supported; save one array of numbers",
                       in->path, start);
    XP_TRY(read_string(in, &text, &length));
    if (length == 3 && text[0] == '>')
        return xp_fail(
            XP_UNSUPPORTED,
            "%s: byte %zu: the numbers are big-endian; save the array as a.astype(a.dtype.newbyteorder('<'))", in->path,
            start);
    for (int i = 0; i < TYPES && length == 3 && (text[0] == '<' || text[0] == '|'); i++)
        if (memcmp(text + 1, types[i].code, 2) == 0) {
            out->type = (xp_npy_type)i;
            return XP_OK;
        }
    const int shown = length < 16 ? (int)length : 16;
    return xp_fail(XP_UNSUPPORTED,
                   "%s: byte %zu: numbers of type '%.*s' are not supported; save as bool, u1, i1, i4, i8, f2, f4 or f8",
                   in->path, start, shown, text);
}

static xp_status read_order(header *in) {
    look(in);
    const size_t start = in->at, left = in->end - in->at;
    if (left >= 5 && memcmp(in->bytes + start, "False", 5) == 0) {
        in->at += 5;
        return XP_OK;
    }
    if (left >= 4 && memcmp(in->bytes + start, "True", 4) == 0)
        return xp_fail(XP_UNSUPPORTED,
                       "%s: byte %zu: the array is stored by columns; save it as numpy.ascontiguousarray(a)", in->path,
                       start);
    return xp_fail(XP_BAD_DATA, "%s: byte %zu: expected True or False", in->path, start);
}

static xp_status read_shape(header *in, xp_npy *out) {
    XP_TRY(expect(in, '('));
    while (!take(in, ')')) {
        look(in);
        const size_t start = in->at;
        int64_t size = 0;
        while (in->at < in->end && in->bytes[in->at] >= '0' && in->bytes[in->at] <= '9') {
            if (__builtin_mul_overflow(size, (int64_t)10, &size) ||
                __builtin_add_overflow(size, (int64_t)(in->bytes[in->at] - '0'), &size))
                return xp_fail(XP_BAD_DATA, "%s: byte %zu: a size of the array is too large", in->path, start);
            in->at++;
        }
        if (in->at == start) return xp_fail(XP_BAD_DATA, "%s: byte %zu: expected a size of the array", in->path, start);
        if (size == 0) return xp_fail(XP_BAD_DATA, "%s: byte %zu: the array is empty", in->path, start);
        if (out->rank == XP_NPY_RANK)
            return xp_fail(XP_UNSUPPORTED, "%s: byte %zu: the array has more than %d dimensions", in->path, start,
                           XP_NPY_RANK);
        if (__builtin_mul_overflow(out->elements, size, &out->elements) || out->elements > INT64_MAX / 8)
            return xp_fail(XP_BAD_DATA, "%s: byte %zu: the sizes of the array are too large", in->path, start);
        out->shape[out->rank++] = size;
        if (!take(in, ',') && look(in) != ')') return expect(in, ')');
    }
    return XP_OK;
}

static xp_status read_header(header *in, xp_npy *out) {
    enum { DESCR, ORDER, SHAPE, KEYS };
    static const char *const keys[KEYS] = {"descr", "fortran_order", "shape"};
    bool seen[KEYS] = {false};
    XP_TRY(expect(in, '{'));
    while (!take(in, '}')) {
        const char *text;
        size_t length, key = 0;
        look(in);
        const size_t start = in->at;
        XP_TRY(read_string(in, &text, &length));
        while (key < KEYS && !is(text, length, keys[key])) key++;
        if (key == KEYS || seen[key])
            return xp_fail(
                XP_BAD_DATA,
                "%s: byte %zu: the header of a .npy file must have descr, fortran_order and shape, once each", in->path,
                start);
        seen[key] = true;
        XP_TRY(expect(in, ':'));
        XP_TRY(key == DESCR ? read_type(in, out) : key == ORDER ? read_order(in) : read_shape(in, out));
        if (!take(in, ',') && look(in) != '}') return expect(in, '}');
    }
    for (int i = 0; i < KEYS; i++)
        if (!seen[i]) return xp_fail(XP_BAD_DATA, "%s: byte %zu: the header lacks %s", in->path, in->at, keys[i]);
    if (look(in) != 0 || in->at < in->end)
        return xp_fail(XP_BAD_DATA, "%s: byte %zu: unexpected text after the dictionary of the header", in->path,
                       in->at);
    return XP_OK;
}

xp_status xp_npy_parse(xp_npy *out, const char *path, const char *bytes, size_t length) {
    xp_npy made = {.elements = 1};
    const unsigned char *b = (const unsigned char *)bytes;
    if (length < MAGIC_BYTES || memcmp(bytes, magic, MAGIC_BYTES) != 0)
        return xp_fail(XP_BAD_DATA, "%s: byte 0: this is not a .npy file; write one with numpy.save", path);
    if (length < LENGTH_AT + 2)
        return xp_fail(XP_BAD_DATA, "%s: byte %zu: the file ends inside its header; download it again", path, length);
    const unsigned version = b[VERSION_AT];
    if (version < 1 || version > 3 || b[VERSION_AT + 1] != 0)
        return xp_fail(XP_UNSUPPORTED, "%s: byte %d: version %u.%u of .npy is not known; 1.0, 2.0 and 3.0 are", path,
                       VERSION_AT, version, (unsigned)b[VERSION_AT + 1]);
    const size_t text = version == 1 ? LENGTH_AT + 2 : LENGTH_AT + 4;
    if (length < text)
        return xp_fail(XP_BAD_DATA, "%s: byte %zu: the file ends inside its header; download it again", path, length);
    size_t text_bytes = (size_t)b[LENGTH_AT] | (size_t)b[LENGTH_AT + 1] << 8;
    if (version > 1) text_bytes |= (size_t)b[LENGTH_AT + 2] << 16 | (size_t)b[LENGTH_AT + 3] << 24;
    if (text_bytes > length - text)
        return xp_fail(XP_BAD_DATA, "%s: byte %d: a header of %zu bytes is longer than the file; download it again",
                       path, LENGTH_AT, text_bytes);
    header in = {path, bytes, text, text + text_bytes};
    XP_TRY(read_header(&in, &made));
    const size_t wanted = (size_t)made.elements * types[made.type].bytes, there = length - in.end;
    if (wanted != there)
        return xp_fail(
            XP_BAD_DATA,
            "%s: byte %zu: the header announces %zu bytes of numbers, but there are %zu; save the array again", path,
            there < wanted ? length : in.end + wanted, wanted, there);
    made.data = b + in.end;
    *out = made;
    return XP_OK;
}

xp_status xp_npy_read(xp_npy *out, const char *path) {
    char *bytes = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &bytes, &length));
    xp_status status = xp_npy_parse(out, path, bytes, length);
    if (status == XP_OK)
        out->owned = bytes;
    else
        free(bytes);
    return status;
}

void xp_npy_release(xp_npy *array) {
    free(array->owned);
    *array = (xp_npy){0};
}

double xp_npy_value(const xp_npy *array, int64_t element) {
    const unsigned char *at = array->data + (size_t)element * types[array->type].bytes;
    uint64_t bits = 0;
    for (size_t i = 0; i < types[array->type].bytes; i++) bits |= (uint64_t)at[i] << 8 * i;
    float single;
    double exact;
    switch (array->type) {
    case XP_NPY_BOOL:
        return bits != 0;
    case XP_NPY_U8:
        return (double)bits;
    case XP_NPY_I8:
        return (double)(int8_t)bits;
    case XP_NPY_I32:
        return (double)(int32_t)bits;
    case XP_NPY_I64:
        return (double)(int64_t)bits;
    case XP_NPY_F16:
        return xp_fp16_value((uint16_t)bits);
    case XP_NPY_F32: {
        const uint32_t word = (uint32_t)bits;
        memcpy(&single, &word, sizeof single);
        return (double)single;
    }
    case XP_NPY_F64:
        break;
    }
    memcpy(&exact, &bits, sizeof exact);
    return exact;
}

const char *xp_npy_type_name(xp_npy_type type) {
    return types[type].name;
}
