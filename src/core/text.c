/* Numbers out of and into text, words that are near. Owns the one locale object of the library. */
#define _GNU_SOURCE /* strtod_l */
#include "core/text.h"

#include <ctype.h>
#include <locale.h>
#include <pthread.h>
#include <stdbool.h>
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

xp_status xp_text_number(const char *text, double *value, size_t *length) {
    *length = measure_number(text);
    if (*length == 0) return XP_OK;
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
    if (c_locale == (locale_t)0) return vsnprintf(text, size, format, arguments);
    locale_t before = uselocale(c_locale);
    int length = vsnprintf(text, size, format, arguments);
    uselocale(before);
    return length;
}

void xp_text_bytes(double bytes, char text[32]) {
    static const char *const units[] = {"MiB", "GiB"};
    double value = bytes / (1 << 20);
    const int unit = value >= 999.5;
    if (unit) value /= 1024;
    snprintf(text, 32, value < 999.5 ? "%.3g %s" : "%.0f %s", value, units[unit]);
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
    int fewest = (int)strlen(word) / 3 + 2; /* more edits than this make another word */
    for (int i = 0; i < count; i++) {
        int edits = count_edits(word, words[i]);
        if (edits < fewest) {
            fewest = edits;
            nearest = words[i];
        }
    }
    return nearest;
}
