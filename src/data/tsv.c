/* Texts with a class each, as a table in .tsv: a header that names the columns, of which "Target" has the class and
 * each of the one or two others a text; no quotation marks. Owns the bytes of the file, in which words become tokens
 * where they stand. */
#include "data/formats.h"
#include "data/names.h"
#include "data/stamps.h"
#include "data/tokens.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = XP_TOKENS_SEQUENCES + 1, CELLS = 16, HEADER_LINES = 1 };
static const char target[] = "Target";

/* ---- the source -------------------------------------------------------------------------------------------------- */

/* One text. */
typedef struct text_place {
    const char *begin;
    int length; /* bytes, or tokens */
} text_place;

typedef struct tsv_source {
    xp_source source;
    char *bytes;
    text_place *texts; /* [samples][sequences] */
    int sequences;
    int length; /* tokens of a sample that is read, with the padding */
} tsv_source;

static xp_status read_tsv(const xp_source *source, int64_t number, float *values) {
    const tsv_source *own = (const tsv_source *)source;
    for (int s = 0; s < own->sequences; s++) {
        const text_place *text = &own->texts[number * own->sequences + s];
        *values++ = (float)text->length;
        for (int i = 0; i < own->length; i++)
            *values++ = i < text->length ? (float)(unsigned char)text->begin[i] : 0.0f;
    }
    return XP_OK;
}

static void pad_tsv(xp_source *source, int length) {
    ((tsv_source *)source)->length = length;
}

static void close_tsv(xp_source *source) {
    tsv_source *own = (tsv_source *)source;
    free(own->bytes);
    free(own->texts);
    free(own);
}

/* Sets the lengths, of which none is longer than `longest`; 0: as they are. */
static void measure(xp_dataset *dataset, tsv_source *own, int longest) {
    int length = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        dataset->lengths[i] = 0;
        for (int s = 0; s < own->sequences; s++) {
            text_place *text = &own->texts[i * own->sequences + s];
            if (longest > 0 && text->length > longest) text->length = longest;
            if (text->length > dataset->lengths[i]) dataset->lengths[i] = text->length;
        }
        if (dataset->lengths[i] > length) length = dataset->lengths[i];
    }
    xp_dataset_pad(dataset, length);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* The next word of a text, after spaces; NULL: there is none. */
static const char *next_word(const char *at, const char *end, size_t *length) {
    while (at < end && *at == ' ') at++;
    const char *stop = at;
    while (stop < end && *stop != ' ') stop++;
    *length = (size_t)(stop - at);
    return *length ? at : NULL;
}

static xp_status list_words(const char *text, xp_names *words) {
    size_t length;
    for (const char *at = text; (at = next_word(at, text + strlen(text), &length)); at += length) {
        int number;
        const int before = words->count;
        XP_TRY(xp_names_add(words, at, length, &number));
        if (words->count == before)
            return xp_fail(XP_INVALID_ARGUMENT, "data.words: the word '%.*s' stands there twice", (int)length, at);
    }
    if (words->count < XP_TOKENS_SYMBOLS) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "data.words: %d words are more than the %d that tokens can stand for",
                   words->count, XP_TOKENS_SYMBOLS - 1);
}

/* A token takes one byte and a word at least one, so it fits where the words were. 0 is the padding. */
static xp_status cut_words(const xp_dataset *dataset, int64_t sample, const xp_names *words, text_place *text) {
    const char *at = text->begin, *end = at + text->length;
    char *out = (char *)text->begin;
    size_t length;
    for (; (at = next_word(at, end, &length)); at += length) {
        const int number = xp_names_find(words, at, length);
        if (number < 0)
            return xp_fail(XP_BAD_DATA,
                           "%s:%lld: the word '%.*s' is none of those of data.words; add it, or leave data.words empty "
                           "to read bytes",
                           dataset->name, (long long)sample + 1 + HEADER_LINES, length < 40 ? (int)length : 40, at);
        *out++ = (char)(number + 1);
    }
    text->length = (int)(out - text->begin);
    return XP_OK;
}

static xp_status cut_all(xp_dataset *dataset, tsv_source *own, const xp_names *words) {
    for (int64_t i = 0; i < dataset->count * own->sequences; i++)
        XP_TRY(cut_words(dataset, i / own->sequences, words, &own->texts[i]));
    dataset->features = words->count + 1;
    return XP_OK;
}

static xp_status cut_tsv(xp_dataset *dataset, const xp_windows *windows) {
    tsv_source *own = (tsv_source *)dataset->source;
    xp_names words = {0};
    xp_status status = list_words(windows->words ? windows->words : "", &words);
    if (status == XP_OK && words.count > 0) status = cut_all(dataset, own, &words);
    xp_names_release(&words);
    if (status == XP_OK) measure(dataset, own, windows->longest);
    return status;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

typedef struct cells {
    const char *begin[CELLS];
    int length[CELLS], count; /* of all, also of those after the first CELLS */
} cells;

/* Cuts the line that begins there; returns where the next one begins. */
static const char *cut_line(const char *at, const char *end, cells *out) {
    const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
    if (stop > at && stop[-1] == '\r') stop--;
    *out = (cells){.count = 0};
    for (const char *cell = at; cell <= stop; out->count++) {
        const char *tab = memchr(cell, '\t', (size_t)(stop - cell)), *cell_end = tab ? tab : stop;
        if (out->count < CELLS) {
            out->begin[out->count] = cell;
            out->length[out->count] = (int)(cell_end - cell);
        }
        cell = cell_end + 1;
    }
    return newline ? newline + 1 : end;
}

/* The column with the class; -1: there is none. */
static int find_target(const cells *header) {
    for (int i = 0; i < header->count && i < CELLS; i++)
        if (header->length[i] == (int)strlen(target) && memcmp(header->begin[i], target, strlen(target)) == 0) return i;
    return -1;
}

static bool recognises_tsv(const xp_opening *opening) {
    cells header;
    cut_line(opening->bytes, opening->bytes + opening->length, &header);
    const bool has_times = xp_stamps_is_name((xp_slice){header.begin[0], header.begin[0] + header.length[0]});
    return header.count > 1 && find_target(&header) >= 0 && !has_times; /* of a table over time */
}

/* Gives the data set the names in `seen`, sorted, and its labels their numbers. */
static xp_status number_classes(xp_dataset *dataset, const xp_names *seen, const xp_names *sorted) {
    XP_TRY(
        xp_data_allocate((void **)&dataset->class_names, sorted->count, sizeof *dataset->class_names, "class names"));
    for (; dataset->classes < sorted->count; dataset->classes++) {
        const xp_name *name = sorted->all[dataset->classes];
        dataset->class_names[dataset->classes] = strndup(name->text, name->length);
        if (!dataset->class_names[dataset->classes])
            return xp_fail(XP_OUT_OF_MEMORY, "no memory for %d class names", sorted->count);
    }
    for (int64_t i = 0; i < dataset->count; i++) {
        if (dataset->labels[i] < 0) continue;
        const xp_name *name = seen->all[dataset->labels[i]];
        dataset->labels[i] = xp_names_find(sorted, name->text, name->length);
    }
    return XP_OK;
}

/* Without a single class there are no labels. */
static xp_status name_classes(xp_dataset *dataset, const xp_names *seen) {
    xp_names sorted = {0};
    if (seen->count == 0) {
        free(dataset->labels);
        dataset->labels = NULL;
        return XP_OK;
    }
    xp_status status = xp_names_sort(seen, &sorted);
    if (status == XP_OK) status = number_classes(dataset, seen, &sorted);
    xp_names_release(&sorted);
    return status;
}

/* What is being read. */
typedef struct reading {
    const char *path, *end;
    int64_t line, count; /* count: of samples */
    int columns, target;
    xp_names classes;
} reading;

static xp_status read_line(reading *in, const cells *line, tsv_source *own, xp_dataset *dataset) {
    text_place *texts = own->texts + in->count * own->sequences;
    if (line->count != in->columns)
        return xp_fail(XP_BAD_DATA, "%s:%lld: the line has %d column%s, but the header has %d; a text has no tabs",
                       in->path, (long long)in->line, line->count, line->count == 1 ? "" : "s", in->columns);
    for (int c = 0, s = 0; c < in->columns; c++) {
        if (c == in->target) continue;
        if (line->length[c] == 0)
            return xp_fail(XP_BAD_DATA, "%s:%lld: the text of column %d is empty; remove the line", in->path,
                           (long long)in->line, c + 1);
        texts[s++] = (text_place){line->begin[c], line->length[c]};
    }
    int number = -1;
    const char *class = line->begin[in->target];
    const size_t length = (size_t)line->length[in->target];
    const char *fault = xp_data_name_fault(class, length);
    if (fault) return xp_fail(XP_BAD_DATA, "%s:%lld: the class %s", in->path, (long long)in->line, fault);
    if (length > 0) XP_TRY(xp_names_add(&in->classes, class, length, &number));
    if (in->classes.count > XP_DATA_CLASSES)
        return xp_fail(XP_UNSUPPORTED,
                       "%s:%lld: there are more classes than the %d that are supported; are these values and not "
                       "classes?",
                       in->path, (long long)in->line, XP_DATA_CLASSES);
    dataset->labels[in->count++] = number;
    return XP_OK;
}

static xp_status read_lines(reading *in, const char *at, tsv_source *own, xp_dataset *dataset) {
    cells line;
    while (at < in->end) {
        at = cut_line(at, in->end, &line);
        in->line++;
        if (line.count == 1 && line.length[0] == 0) /* only at the end */
            return at == in->end
                       ? XP_OK
                       : xp_fail(XP_BAD_DATA, "%s:%lld: the line is empty; remove it", in->path, (long long)in->line);
        XP_TRY(read_line(in, &line, own, dataset));
    }
    return XP_OK;
}

/* Makes room for as many samples as there are lines. */
static xp_status make_room(const reading *in, const char *at, tsv_source *own, xp_dataset *dataset) {
    int64_t lines = 1;
    for (; (at = memchr(at, '\n', (size_t)(in->end - at))); at++) lines++;
    if (lines > INT32_MAX)
        return xp_fail(XP_UNSUPPORTED, "%s: %lld lines are more than the 2^31 that can be numbered", in->path,
                       (long long)lines);
    XP_TRY(xp_data_allocate((void **)&own->texts, lines * own->sequences, sizeof *own->texts, in->path));
    XP_TRY(xp_data_allocate((void **)&dataset->labels, lines, sizeof *dataset->labels, in->path));
    return xp_data_allocate((void **)&dataset->lengths, lines, sizeof *dataset->lengths, in->path);
}

static xp_status read_table(reading *in, const char *begin, tsv_source *own, xp_dataset *dataset) {
    cells header;
    const char *at = cut_line(begin, in->end, &header);
    in->columns = header.count;
    in->target = find_target(&header);
    own->sequences = header.count - 1;
    if (header.count > COLUMNS || in->target < 0)
        return xp_fail(XP_BAD_DATA,
                       "%s:1: the header has %d columns; it needs 'Target' and one or two columns of texts", in->path,
                       header.count);
    XP_TRY(make_room(in, at, own, dataset));
    XP_TRY(read_lines(in, at, own, dataset));
    if (in->count == 0) return xp_fail(XP_BAD_DATA, "%s: there is no line after the header", in->path);
    dataset->count = in->count;
    dataset->channels = own->sequences;
    return name_classes(dataset, &in->classes);
}

static xp_status open_tsv(xp_dataset *dataset, xp_opening *opening) {
    tsv_source *own = calloc(1, sizeof *own);
    if (!own) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", opening->path);
    *own =
        (tsv_source){.source = {.read = read_tsv, .cut = cut_tsv, .pad = pad_tsv, .close = close_tsv, .data_sets = 1},
                     .bytes = opening->bytes};
    dataset->kind = &xp_tokens_kind;
    dataset->source = &own->source;
    dataset->features = XP_TOKENS_SYMBOLS;
    opening->bytes = NULL;
    reading in = {.path = opening->path, .end = own->bytes + opening->length, .line = HEADER_LINES};
    const xp_status status = read_table(&in, own->bytes, own, dataset);
    xp_names_release(&in.classes);
    if (status == XP_OK) measure(dataset, own, 0);
    return status;
}

const xp_format xp_format_tsv = {XP_FORMAT_TEXT, recognises_tsv, open_tsv};
