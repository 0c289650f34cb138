/* Numbers out of and into text, encodings, words that are near. Owns the one locale object of the library. */
#define _GNU_SOURCE /* strtod_l */
#include "core/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static size_t count_digits(const char *text) {
    size_t count = 0;
    while (text[count] >= '0' && text[count] <= '9') count++;
    return count;
}

/* strtod also takes hexadecimal numbers, names of infinities and leading blanks; a data file means none of them. */
static size_t measure_number(const char *text) {
    size_t at = text[0] == '+' || text[0] == '-';
    size_t whole = count_digits(text + at), part = 0;
    at += whole;
    if (text[at] == '.') {
        part = count_digits(text + at + 1);
        if (whole + part > 0) at += 1 + part;
    }
    if (whole + part == 0) return 0;
    if (text[at] == 'e' || text[at] == 'E') {
        size_t sign = text[at + 1] == '+' || text[at + 1] == '-';
        size_t exponent = count_digits(text + at + 1 + sign);
        if (exponent > 0) at += 1 + sign + exponent;
    }
    return at;
}

/* Most numbers of a file: with up to 15 digits and no exponent, the digits as a whole number and the power of ten are
 * exact, so that their quotient is correctly rounded; strtod takes several times as long. */
static bool read_short_number(const char *text, size_t length, double *value) {
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    if (length > 15 + 2) return false; /* a sign and a point */
    int64_t whole = 0;
    int digits = 0, before_point = -1;
    for (size_t i = text[0] == '-' || text[0] == '+'; i < length; i++) {
        if (text[i] == '.') {
            before_point = digits;
        } else if (text[i] >= '0' && text[i] <= '9') {
            whole = 10 * whole + (text[i] - '0');
            digits++;
        } else {
            return false;
        }
    }
    if (digits > 15) return false;
    const double magnitude = (double)whole / powers[before_point < 0 ? 0 : digits - before_point];
    *value = text[0] == '-' ? -magnitude : magnitude;
    return true;
}

xp_status xp_text_number(const char *text, double *value, size_t *length) {
    *length = measure_number(text);
    if (*length == 0 || read_short_number(text, *length, value)) return XP_OK;
    pthread_once(&once, make_locale);
    if (c_locale == (locale_t)0) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the C locale to read numbers with");
    char *stop = NULL;
    *value = strtod_l(text, &stop, c_locale);
    /* Of "0x10" the number is the 0, which strtod takes for the prefix of a hexadecimal one. */
    if (stop != text + *length) *value = text[0] == '-' ? -0.0 : 0.0;
    return XP_OK;
}

int xp_text_format(char *text, size_t size, const char *format, va_list arguments) {
    pthread_once(&once, make_locale);
    if (c_locale == (locale_t)0) return -1; /* another decimal point would be a wrong number */
    locale_t before = uselocale(c_locale);
    int length = vsnprintf(text, size, format, arguments);
    uselocale(before);
    return length;
}

void xp_text_add(char *text, size_t size, const char *format, ...) {
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    if (xp_text_format(text + used, size - used, format, arguments) < 0) text[used] = '\0';
    va_end(arguments);
}

void xp_text_add_number(char *text, size_t size, double value, int digits, bool sign) {
    char rounded[64] = "";
    xp_text_add(rounded, sizeof rounded, "%.*e", digits - 1, value);
    const char *power = strchr(rounded, 'e');
    const int exponent = power ? atoi(power + 1) : 0, after = exponent < digits ? digits - 1 - exponent : 0;
    const bool plain = exponent >= -4 && exponent < 9;
    xp_text_add(text, size, sign ? plain ? "%+.*f" : "%+.*g" : plain ? "%.*f" : "%.*g", plain ? after : digits, value);
}

void xp_text_slug(const char *text, char *slug, size_t size) {
    size_t length = 0;
    for (const char *at = text; *at && length + 1 < size; at++) {
        if (isalnum((unsigned char)*at) || *at == '.')
            slug[length++] = *at;
        else if (length > 0 && slug[length - 1] != '-')
            slug[length++] = '-';
    }
    while (length > 0 && slug[length - 1] == '-') length--;
    slug[length] = '\0';
}

void xp_text_bytes(double bytes, char text[32]) {
    static const char *const units[] = {"MiB", "GiB"};
    double value = bytes / (1 << 20);
    const int unit = value >= 999.5;
    if (unit) value /= 1024;
    snprintf(text, 32, value < 999.5 ? "%.3g %s" : "%.0f %s", value, units[unit]);
}

/* --- durations ---------------------------------------------------------------------------------------------------- */

static const struct {
    char name;
    int seconds;
} time_units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
enum { UNITS = sizeof time_units / sizeof *time_units };

bool xp_text_duration(const char *text, int64_t *seconds) {
    const double most = 3650.0 * 86400;
    double sum = 0;
    do {
        double value = 0;
        size_t length = 0;
        int unit = 0;
        if (xp_text_number(text, &value, &length) != XP_OK || length == 0 || !(value >= 0 && value <= most))
            return false;
        text += length;
        while (unit < UNITS && *text != time_units[unit].name) unit++;
        if (unit == UNITS) return false;
        text++;
        sum += value * time_units[unit].seconds;
    } while (*text);
    if (!(sum >= 1 && sum <= most)) return false;
    *seconds = llround(sum);
    return true;
}

void xp_text_print_duration(int64_t seconds, char text[32]) {
    int unit = 0;
    while (seconds % time_units[unit].seconds != 0) unit++;
    snprintf(text, 32, "%" PRId64 "%c", seconds / time_units[unit].seconds, time_units[unit].name);
}

/* --- encodings ---------------------------------------------------------------------------------------------------- */

/* The bytes of the character that begins here; 0 if it is invalid. The second byte's range excludes what has a shorter
 * form, surrogates, and code points beyond U+10FFFF. */
static size_t character_bytes(const unsigned char *at, size_t left) {
    if (at[0] < 0x80) return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
    const size_t bytes = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (left < bytes) return 0;
    const unsigned char lowest = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned char highest = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < lowest || at[1] > highest) return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return bytes;
}

size_t xp_text_utf8(const char *text, size_t length) {
    size_t at = 0, bytes = 1;
    for (; at < length && bytes > 0; at += bytes)
        bytes = character_bytes((const unsigned char *)text + at, length - at);
    return at;
}

bool xp_text_is_utf16(const char *bytes, size_t length) {
    if (length >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0)) return true;
    if (length < 4) return false;
    return (bytes[0] && !bytes[1] && bytes[2] && !bytes[3]) || (!bytes[0] && bytes[1] && !bytes[2] && bytes[3]);
}

char *xp_text_append(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(first[more] | code >> 6 * more);
    for (int i = more - 1; i >= 0; i--) *to++ = (char)(0x80 | (code >> 6 * i & 0x3f));
    return to;
}

xp_status xp_text_from_utf16(const char *bytes, size_t length, char **out, size_t *out_length) {
    const unsigned char *in = (const unsigned char *)bytes;
    const bool big = in[0] == 0xfe || in[0] == 0;
    const size_t units = length / 2;
    char *text = malloc(units * 3 + 1), *to = text;
    if (!text) return xp_fail(XP_OUT_OF_MEMORY, "no memory to convert %zu bytes of UTF-16", length);
    unsigned high = 0; /* the first half of a pair */
    for (size_t i = 0; i < units; i++) {
        const unsigned unit = (unsigned)in[2 * i + !big] << 8 | in[2 * i + big];
        const bool second = unit >= 0xdc00 && unit < 0xe000;
        if (high && !second) to = xp_text_append(to, 0xfffd);
        if (second) to = xp_text_append(to, high ? 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00) : 0xfffd);
        high = unit >= 0xd800 && unit < 0xdc00 ? unit : 0;
        if (!high && !second) to = xp_text_append(to, unit);
    }
    if (high) to = xp_text_append(to, 0xfffd);
    *to = '\0';
    *out = text;
    *out_length = (size_t)(to - text);
    return XP_OK;
}

/* --- words -------------------------------------------------------------------------------------------------------- */

enum { WORD_BYTES = 96 };

/* Edits: insert, delete, replace, or swap two neighbours (the commonest slip of fingers). */
static int count_edits(const char *a, const char *b) {
    int rows[3][WORD_BYTES + 1];
    int length_a = (int)strlen(a), length_b = (int)strlen(b);
    if (length_a > WORD_BYTES || length_b > WORD_BYTES) return WORD_BYTES;
    int *before = rows[0], *above = rows[1], *row = rows[2];
    for (int j = 0; j <= length_b; j++) above[j] = j;
    for (int i = 1; i <= length_a; i++) {
        row[0] = i;
        for (int j = 1; j <= length_b; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            int best = above[j - 1] + (ca != cb);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            bool swapped =
                i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && cb == tolower((unsigned char)a[i - 2]);
            if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            row[j] = best;
        }
        int *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[length_b];
}

const char *xp_text_nearest(const char *word, const char *const *words, int count) {
    const char *nearest = NULL;
    int fewest = (int)strlen(word) / 3 + 2; /* more edits than this are not a typing error */
    for (int i = 0; i < count; i++) {
        int edits = count_edits(word, words[i]);
        if (edits < fewest) {
            fewest = edits;
            nearest = words[i];
        }
    }
    return nearest;
}
