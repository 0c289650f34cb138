/* ListOps: an expression is a digit, or an operator with two to ten expressions. As published, an operator comes
 * with probability 0.25 (the parameter that the paper's code names after values) and else a digit; expressions are
 * nested at most ten deep, and those of more than 500 and fewer than 2000 tokens are kept. The published files also
 * have parentheses, which say nothing; they are left out. */
#include "data/listops.h"

#include "core/files.h"
#include "core/random.h"
#include "data/formats.h"
#include "data/made.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { DIGITS = 10, DEPTH = 10, FEWEST = 500, MOST = 2000, ARGUMENTS = 10, PURPOSE = 0x4c495354 };

/* ---- operators --------------------------------------------------------------------------------------------------- */

static int minimum(int *values, int count) {
    int least = values[0];
    for (int i = 1; i < count; i++) least = values[i] < least ? values[i] : least;
    return least;
}

static int maximum(int *values, int count) {
    int most = values[0];
    for (int i = 1; i < count; i++) most = values[i] > most ? values[i] : most;
    return most;
}

/* Of an even number of values, the mean of the two in the middle, truncated. */
static int median(int *values, int count) {
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && values[j - 1] > values[j]; j--) {
            const int moved = values[j];
            values[j] = values[j - 1];
            values[j - 1] = moved;
        }
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int sum_of_last_digits(int *values, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += values[i];
    return sum % DIGITS;
}

static const struct {
    const char *word;
    int (*apply)(int *values, int count);
} operators[] = {{"[MIN", minimum}, {"[MAX", maximum}, {"[MED", median}, {"[SM", sum_of_last_digits}};
enum { OPERATORS = sizeof operators / sizeof *operators, CLOSE = DIGITS + OPERATORS };

/* ---- expressions ------------------------------------------------------------------------------------------------- */

typedef struct expression {
    unsigned char tokens[MOST]; /* digits, DIGITS + operator, CLOSE */
    int length;                 /* MOST: too long */
} expression;

static void put(expression *out, int token) {
    if (out->length < MOST) out->tokens[out->length++] = (unsigned char)token;
}

/* Appends an expression and returns its value. */
static int grow(expression *out, xp_random *random, int depth) {
    if (out->length == MOST) return 0;
    if (depth == DEPTH || xp_random_below(random, 4) > 0) {
        const int digit = (int)xp_random_below(random, DIGITS);
        put(out, digit);
        return digit;
    }
    int values[ARGUMENTS];
    const int kind = (int)xp_random_below(random, OPERATORS), count = 2 + (int)xp_random_below(random, ARGUMENTS - 1);
    put(out, DIGITS + kind);
    for (int i = 0; i < count; i++) values[i] = grow(out, random, depth + 1);
    put(out, CLOSE);
    return operators[kind].apply(values, count);
}

/* Digests of the expressions so far, in a table with more room than there will be. Two of one digest count as equal. */
typedef struct digests {
    uint64_t *slots; /* 0: free */
    uint64_t mask;
} digests;

static bool is_new(digests *seen, const expression *e) {
    const uint64_t digest = XXH64(e->tokens, (size_t)e->length, 0) | 1;
    uint64_t at = digest >> 1 & seen->mask;
    for (; seen->slots[at]; at = (at + 1) & seen->mask)
        if (seen->slots[at] == digest) return false;
    seen->slots[at] = digest;
    return true;
}

static int draw(expression *out, xp_random *random, digests *seen) {
    for (;;) {
        out->length = 0;
        const int value = grow(out, random, 1);
        if (out->length > FEWEST && out->length < MOST && is_new(seen, out)) return value;
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static bool write_expression(FILE *file, const expression *e, int value) {
    for (int i = 0; i < e->length; i++) {
        const int token = e->tokens[i];
        const char *space = i ? " " : "";
        if (token < DIGITS)
            fprintf(file, "%s%d", space, token);
        else
            fprintf(file, "%s%s", space, token == CLOSE ? "]" : operators[token - DIGITS].word);
    }
    return fprintf(file, "\t%d\n", value) > 0;
}

/* What the parts have in common: no expression is in two of them. */
typedef struct maker {
    xp_random random;
    digests seen;
} maker;

static bool write_part(void *user, FILE *file, int64_t count) {
    maker *m = user;
    expression e;
    bool written = fputs("Source\tTarget\n", file) >= 0;
    for (int64_t i = 0; i < count && written; i++) {
        const int value = draw(&e, &m->random, &m->seen);
        written = write_expression(file, &e, value);
    }
    return written;
}

xp_status xp_listops_make(const char *folder, uint64_t seed, const int64_t samples[3]) {
    static const char *const names[3] = {"train.tsv", "validation.tsv", "test.tsv"};
    maker m = {.seen.mask = 1};
    const int64_t all = samples[0] + samples[1] + samples[2];
    while ((int64_t)m.seen.mask < 2 * all) m.seen.mask = 2 * m.seen.mask + 1;
    XP_TRY(xp_folder_make(folder));
    XP_TRY(xp_data_allocate((void **)&m.seen.slots, (int64_t)m.seen.mask + 1, sizeof *m.seen.slots, "ListOps"));
    xp_random_start(&m.random, seed, PURPOSE);
    xp_status status = XP_OK;
    for (int part = 0; part < 3 && status == XP_OK; part++)
        status = xp_made_file_write(folder, names[part], write_part, &m, samples[part]);
    free(m.seen.slots);
    return status;
}
