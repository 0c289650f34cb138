/* Numbers out of text. Owns the one locale object of the library. */
#define _GNU_SOURCE /* strtod_l */
#include "core/text.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
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
    *value = strtod_l(text, NULL, c_locale);
    return XP_OK;
}
