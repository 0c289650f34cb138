/* The edit, line by line. */
#include "device/ptx.h"

#include "core/writer.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LEAST_VERSION = 8 /* of PTX that knows sm_90a */ };

typedef struct edit {
    const char *target;
    xp_writer out;
    int line, versions, targets, instructions;
} edit;

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* What follows this word at the beginning of a line; NULL: the line begins otherwise. */
static const char *after(const char *line, const char *end, const char *word) {
    const size_t length = strlen(word);
    if ((size_t)(end - line) < length || memcmp(line, word, length) != 0) return NULL;
    return line + length == end || is_blank(line[length]) ? line + length : NULL;
}

static xp_status refuse(const edit *e, const char *why) {
    return xp_fail(XP_UNSUPPORTED, "line %d of the PTX %s", e->line, why);
}

/* .version 7.8 */
static xp_status take_version(edit *e, const char *line, const char *rest, const char *end) {
    int major = 0, minor, used = 0;
    char number[16];
    snprintf(number, sizeof number, "%.*s", (int)(end - rest), rest);
    if (sscanf(number, "%d.%d%n", &major, &minor, &used) != 2) return refuse(e, "names no version");
    e->versions++;
    if (major < LEAST_VERSION)
        xp_write(&e->out, ".version %d.0", LEAST_VERSION);
    else
        xp_write_bytes(&e->out, line, (size_t)(end - line));
    return XP_OK;
}

/* .target sm_90, texmode_independent */
static xp_status take_target(edit *e, const char *rest, const char *end) {
    const char *name = rest;
    while (name < end && is_blank(*name)) name++;
    const char *behind = name;
    while (behind < end && *behind != ',' && !is_blank(*behind)) behind++;
    if (behind - name < 3 || memcmp(name, "sm_", 3) != 0) return refuse(e, "names no target");
    e->targets++;
    xp_write(&e->out, ".target %s", e->target);
    xp_write_bytes(&e->out, behind, (size_t)(end - behind));
    return XP_OK;
}

static xp_status take_instruction(edit *e, const char *rest, const char *end) {
    while (rest < end && is_blank(*rest)) rest++;
    while (end > rest && is_blank(end[-1])) end--;
    if (end - rest < 2 || end[-1] != ';') return refuse(e, "is a mark without a whole instruction");
    e->instructions++;
    xp_write_bytes(&e->out, rest, (size_t)(end - rest));
    return XP_OK;
}

static xp_status take_line(edit *e, const char *line, const char *end) {
    char mark[32];
    const char *first = line, *rest;
    snprintf(mark, sizeof mark, "//@%s", e->target);
    while (first < end && is_blank(*first)) first++;
    if ((rest = after(first, end, ".version"))) return take_version(e, line, rest, end);
    if ((rest = after(first, end, ".target"))) return take_target(e, rest, end);
    if (after(first, end, ".local"))
        return refuse(e, "has an array in memory, which may be the sums of the instructions");
    if ((rest = after(first, end, mark))) {
        if (e->versions && e->targets) return take_instruction(e, rest, end);
        return refuse(e, "has an instruction before the target");
    }
    xp_write_bytes(&e->out, line, (size_t)(end - line));
    return XP_OK;
}

static xp_status take_lines(edit *e, const char *text, size_t length) {
    for (const char *line = text, *stop = text + length; line < stop;) {
        const char *end = memchr(line, '\n', (size_t)(stop - line));
        const bool ends = end != NULL;
        if (!ends) end = stop;
        e->line++;
        const bool carriage = end > line && end[-1] == '\r';
        XP_TRY(take_line(e, line, end - carriage));
        if (carriage) xp_write_bytes(&e->out, "\r", 1);
        if (ends) xp_write_bytes(&e->out, "\n", 1);
        line = ends ? end + 1 : stop;
    }
    if (e->versions != 1 || e->targets != 1)
        return xp_fail(XP_UNSUPPORTED, "the PTX names %d versions and %d targets instead of one of each", e->versions,
                       e->targets);
    if (e->instructions == 0)
        return xp_fail(XP_UNSUPPORTED, "the PTX has no instruction for %s: its compiler drops comments", e->target);
    return XP_OK;
}

xp_status xp_ptx_edit(const char *text, size_t length, const char *target, char **out, size_t *out_length) {
    edit e = {.target = target};
    *out = NULL;
    while (length > 0 && text[length - 1] == 0) length--; /* a driver may count the NUL */
    if (length == 0 || memchr(text, 0, length))
        return xp_fail(XP_UNSUPPORTED, "the program's binary is not PTX, which is text");
    xp_status status = take_lines(&e, text, length);
    if (status == XP_OK && e.out.failed) status = xp_fail(XP_OUT_OF_MEMORY, "no memory for the edited PTX");
    if (status != XP_OK) {
        xp_writer_release(&e.out);
        return status;
    }
    *out = e.out.text;
    *out_length = e.out.length;
    return XP_OK;
}
