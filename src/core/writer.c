/* Growing text. Owns its bytes; does not know what they mean. */
#include "core/writer.h"

#include "core/array.h"
#include "core/files.h"
#include "core/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For so many characters and a NUL. */
static bool make_room(xp_writer *writer, size_t more) {
    const bool reserved = xp_array_reserve(&writer->text, &writer->room, writer->length, more + 1, 1);
    writer->failed = writer->failed || !reserved;
    return reserved;
}

void xp_write_list(xp_writer *writer, const char *format, va_list arguments) {
    if (writer->failed || !make_room(writer, 128)) return;
    for (;;) {
        const size_t free_bytes = writer->room - writer->length;
        va_list copy;
        va_copy(copy, arguments);
        const int length = xp_text_format(writer->text + writer->length, free_bytes, format, copy);
        va_end(copy);
        if (length < 0) {
            writer->failed = true;
            return;
        }
        if ((size_t)length < free_bytes) {
            writer->length += (size_t)length;
            return;
        }
        if (!make_room(writer, (size_t)length)) return;
    }
}

void xp_write(xp_writer *writer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    xp_write_list(writer, format, arguments);
    va_end(arguments);
}

void xp_write_bytes(xp_writer *writer, const char *bytes, size_t count) {
    if (writer->failed || !make_room(writer, count)) return;
    memcpy(writer->text + writer->length, bytes, count);
    writer->length += count;
    writer->text[writer->length] = '\0';
}

static void write_shortest(xp_writer *writer, double value, int most_digits, bool single) {
    if (!isfinite(value)) {
        xp_write(writer, "%s", isnan(value) ? ".nan" : value < 0 ? "-.inf" : ".inf");
        return;
    }
    char shortest[32] = "";
    /* More digits make a shorter text only where fewer need an exponent: "100" and "1e+02". */
    for (int digits = 1; digits <= most_digits && (!*shortest || digits < (int)strlen(shortest)); digits++) {
        char text[32] = "";
        xp_text_add(text, sizeof text, "%.*g", digits, value);
        double back = 0;
        size_t length = 0;
        if (xp_text_number(text, &back, &length) != XP_OK || length == 0) {
            writer->failed = true;
            return;
        }
        const bool same = single ? (float)back == (float)value : back == value;
        if (same && (!*shortest || strlen(text) < strlen(shortest))) memcpy(shortest, text, sizeof shortest);
    }
    xp_write(writer, "%s", shortest);
}

void xp_write_number(xp_writer *writer, double value) {
    write_shortest(writer, value, 17, false);
}

void xp_write_float(xp_writer *writer, float value) {
    write_shortest(writer, value, 9, true);
}

xp_status xp_writer_status(const xp_writer *writer, const char *what) {
    if (!writer->failed) return XP_OK;
    return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for a text of more than %zu bytes", what, writer->length);
}

xp_status xp_writer_save(const xp_writer *writer, const char *path) {
    XP_TRY(xp_writer_status(writer, path));
    return xp_file_write_atomic(path, writer->text ? writer->text : "", writer->length);
}

void xp_writer_release(xp_writer *writer) {
    free(writer->text);
    *writer = (xp_writer){0};
}

xp_status xp_faults_report(xp_writer *faults, const char *name, xp_status status) {
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
