/* Text that grows as it is written: reports, configuration files, pictures. Numbers look the same in every locale. Does
 * not know what the text means. */
#ifndef XP_CORE_WRITER_H
#define XP_CORE_WRITER_H

#include "core/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Starts all zero. If memory runs out, further writing does nothing, and xp_writer_status fails. */
typedef struct xp_writer {
    char *text; /* ends in NUL; NULL until something is written */
    size_t length, room;
    bool failed;
} xp_writer;

void xp_write(xp_writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void xp_write_list(xp_writer *writer, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
void xp_write_bytes(xp_writer *writer, const char *bytes, size_t count);
/* The shortest decimal text that reads back as the same double, or float. */
void xp_write_number(xp_writer *writer, double value);
void xp_write_float(xp_writer *writer, float value);
/* XP_OUT_OF_MEMORY when any of the writing failed; `what` names the text in the message. */
xp_status xp_writer_status(const xp_writer *writer, const char *what);
/* Writes the whole text to a file, atomically. */
xp_status xp_writer_save(const xp_writer *writer, const char *path);
void xp_writer_release(xp_writer *writer);

/* Turns gathered faults into the result, and releases them; each is a line, the last without its end. If memory ran
 * out, what was not read is no fault of the text. */
xp_status xp_faults_report(xp_writer *faults, const char *name, xp_status status);

#endif
