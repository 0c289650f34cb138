/* Converts numbers to and from text, the same in every locale; encodings; the nearest word of a list. Knows no
 * files. */
#ifndef XP_CORE_TEXT_H
#define XP_CORE_TEXT_H

#include "core/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads the decimal number ("-12", ".5", "3.e-4") that `text` begins with into *value, correctly rounded and with '.'
 * as decimal point whatever the process's locale is. *length is the number of characters read; if the text does not
 * begin with a number, *length is 0 and *value is unchanged. A magnitude that does not fit is an infinity.
 * XP_OUT_OF_MEMORY. */
xp_status xp_text_number(const char *text, double *value, size_t *length);

/* As vsnprintf, with '.' as decimal point; also negative if memory runs out. */
int xp_text_format(char *text, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

/* Adds to a text that ends within `size` bytes; what does not fit is left out. */
void xp_text_add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Adds a number rounded to so many digits, of which those before its point are all shown: "0.0012300", "124490"; very
 * small and large ones with an exponent. `sign`: a positive one has a plus. */
void xp_text_add_number(char *text, size_t size, double value, int digits, bool sign);

/* A name for files: letters, digits and points; anything else between them becomes one hyphen. Cut to `size`. */
void xp_text_slug(const char *text, char *slug, size_t size);

/* A number of bytes to three digits: "0.0312 MiB", "125 MiB", "1.25 GiB". */
void xp_text_bytes(double bytes, char text[32]);

/* How many bytes from the start are whole characters of UTF-8 as JSON and YAML can hold it (no surrogates, nothing in
 * more bytes than it needs): `length` when all are. */
size_t xp_text_utf8(const char *text, size_t length);

/* Writes a character as UTF-8, at most four bytes; returns the address after it. */
char *xp_text_append(char *to, unsigned code);

/* Detected by the byte order mark, or by an ASCII character at the beginning. */
bool xp_text_is_utf16(const char *bytes, size_t length);
/* Converts UTF-16 to UTF-8: *out is allocated, with a NUL after its *out_length bytes. Unpaired surrogates
 * become U+FFFD, and an odd last byte is dropped. XP_OUT_OF_MEMORY. */
xp_status xp_text_from_utf16(const char *bytes, size_t length, char **out, size_t *out_length);

/* Whole seconds of "90s", "1.5h" or "1h30m": numbers, each with one of the units s, m, h and d. false: the text
 * is invalid, less than a second or more than ten years. */
bool xp_text_duration(const char *text, int64_t *seconds);
/* In the largest unit in which it is a whole number: "90m". */
void xp_text_print_duration(int64_t seconds, char text[32]);

/* The word of words[count] with the smallest edit distance, if it is small enough to be a typing error; else NULL. */
const char *xp_text_nearest(const char *word, const char *const *words, int count);

#endif
