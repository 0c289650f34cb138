/* The four formats of a table. Knows no flags. */
#include "table.h"

#include "core/array.h"
#include "core/files.h"
#include "core/json.h"
#include "core/text.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GAP = 2 /* between columns of text */, LEAST_WIDTH = 8 /* of a text that must be wrapped */ };
#define MARKS ",+/_" /* a line may end after them */

const char *const xp_table_formats[] = {"text", "md", "csv", "json", NULL};

xp_status xp_output_check(FILE *out) {
    struct pollfd end = {.fd = fileno(out), .events = POLLOUT};
    if (fflush(out) == 0 && !ferror(out)) return XP_OK;
    if (poll(&end, 1, 0) == 1 && end.revents & POLLERR) _exit(128 + SIGPIPE);
    return xp_fail(XP_IO_ERROR, "the output could not be written; is the disk full?");
}

static bool for_people(const xp_table *table) {
    return table->format == XP_TABLE_TEXT || table->format == XP_TABLE_MARKDOWN;
}

static bool to_the_right(const xp_column *column) {
    return column->kind == XP_CELL_WHOLE || column->kind == XP_CELL_REAL;
}

static bool is_empty(const xp_column *column, const xp_cell *cell) {
    switch (column->kind) {
    case XP_CELL_TEXT:
        return cell->text == NULL;
    case XP_CELL_WHOLE:
        return cell->whole == XP_CELL_EMPTY;
    case XP_CELL_REAL:
        return !isfinite(cell->real);
    case XP_CELL_TRUTH:
        return false;
    case XP_CELL_TREE:
        return cell->tree == NULL;
    }
    return true;
}

static void put(xp_table *table, const xp_writer *text) {
    if (text->text && !text->failed) fwrite(text->text, 1, text->length, table->out);
    table->failed = table->failed || text->failed;
}

/* ---- lines of text ----------------------------------------------------------------------------------------------- */

static bool begins_character(char byte) {
    return ((unsigned char)byte & 0xc0) != 0x80; /* of UTF-8 */
}

static int characters(const char *text, size_t bytes) {
    int count = 0;
    for (size_t i = 0; i < bytes; i++) count += begins_character(text[i]);
    return count;
}

/* The bytes of the first line when `text` is broken to `width` characters: at a space, else (unless it is a number)
 * after a punctuation mark, else anywhere. */
static size_t line_bytes(const char *text, int width, bool number) {
    size_t end = 0, space = 0, mark = 0;
    for (int count = 0; text[end] && text[end] != '\n'; count++) {
        if (count >= width && text[end] == ' ') return space && count > width ? space : end;
        if (count >= width && (space || !number)) return space ? space : mark ? mark : end;
        if (text[end] == ' ') space = end;
        if (strchr(MARKS, text[end])) mark = end + 1;
        do end++;
        while (text[end] && !begins_character(text[end]));
    }
    return end;
}

size_t xp_table_line(const char *text, int width) {
    return line_bytes(text, width, false);
}

/* The longest piece that line_bytes does not break. */
static int least_width(const char *text, bool number) {
    int least = 0;
    while (*text) {
        const size_t bytes = strcspn(text, number ? " " : " " MARKS);
        const bool marked = text[bytes] && text[bytes] != ' ';
        const int length = characters(text, bytes) + marked;
        if (length > least) least = length;
        text += bytes + (text[bytes] != '\0');
    }
    return least;
}

static void write_spaces(xp_writer *out, int count) {
    if (count > 0) xp_write(out, "%*s", count, "");
}

/* One row of text: as many lines as its longest cell takes. */
static void write_text_row(xp_writer *out, const char *const *texts, const xp_column *const *columns, const int *widths,
                           int count) {
    const char **left = calloc((size_t)count + 1, sizeof *left);
    if (!left) {
        out->failed = true;
        return;
    }
    for (int i = 0; i < count; i++) left[i] = texts[i];
    for (bool more = true; more;) {
        int pending = 0; /* spaces before the next text, so that no line ends in spaces */
        more = false;
        for (int i = 0; i < count; i++) {
            const bool right = to_the_right(columns[i]);
            const size_t bytes = line_bytes(left[i], widths[i], right);
            const int used = characters(left[i], bytes), room = used < widths[i] ? widths[i] - used : 0;
            if (right) pending += room;
            if (bytes > 0) {
                write_spaces(out, pending);
                xp_write(out, "%.*s", (int)bytes, left[i]);
                pending = 0;
            }
            if (!right) pending += room;
            pending += GAP;
            left[i] += bytes;
            while (*left[i] == ' ' || *left[i] == '\n') left[i]++;
            more = more || *left[i];
        }
        xp_write(out, "\n");
    }
    free(left);
}

static void write_paragraph(xp_writer *out, const char *text) {
    do {
        const size_t bytes = *text == ' ' ? strcspn(text, "\n") : xp_table_line(text, XP_TABLE_COLUMNS);
        xp_write(out, "%.*s\n", (int)bytes, text);
        text += bytes;
        if (*text == ' ' || *text == '\n') text++;
    } while (*text);
}

/* ---- cells ------------------------------------------------------------------------------------------------------- */

/* Text and Markdown: a control character of a name must not steer the terminal. */
static void write_shown(xp_writer *out, const xp_table *table, const xp_column *column, const xp_cell *cell) {
    if (is_empty(column, cell)) return;
    const double scale = column->scale != 0 ? column->scale : 1;
    switch (column->kind) {
    case XP_CELL_TEXT:
        for (const char *c = cell->text; *c; c++) {
            if (*c == '|' && table->format == XP_TABLE_MARKDOWN) xp_write(out, "\\");
            xp_write(out, "%c", (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
        }
        break;
    case XP_CELL_WHOLE:
        if (column->scale != 0)
            xp_write(out, "%.*f", column->digits, (double)cell->whole * scale);
        else
            xp_write(out, "%lld", (long long)cell->whole);
        break;
    case XP_CELL_REAL:
        if (column->significant) {
            char number[64] = "";
            xp_text_add_number(number, sizeof number, cell->real * scale, column->digits, false);
            xp_write(out, "%s", number);
        } else {
            xp_write(out, column->scientific ? "%.*e" : "%.*f", column->digits, cell->real * scale);
        }
        break;
    case XP_CELL_TRUTH:
        xp_write(out, "%s", cell->truth ? "yes" : "no");
        break;
    case XP_CELL_TREE:
        break;
    }
}

static void write_csv_text(xp_writer *out, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        xp_write(out, "%s", text);
        return;
    }
    xp_write(out, "\"");
    for (; *text; text++) xp_write(out, *text == '"' ? "\"\"" : "%c", *text);
    xp_write(out, "\"");
}

static void write_csv_cell(xp_writer *out, const xp_column *column, const xp_cell *cell) {
    if (is_empty(column, cell)) return;
    if (column->kind == XP_CELL_TEXT) write_csv_text(out, cell->text);
    if (column->kind == XP_CELL_WHOLE) xp_write(out, "%lld", (long long)cell->whole);
    if (column->kind == XP_CELL_REAL) xp_write(out, "%.9g", cell->real);
    if (column->kind == XP_CELL_TRUTH) xp_write(out, "%s", cell->truth ? "true" : "false");
}

json_t *xp_table_text(const char *text) {
    json_t *string = json_string(text);
    if (string) return string;
    char *plain = strdup(text);
    for (char *c = plain; c && *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    string = plain ? json_string(plain) : NULL;
    free(plain);
    return string;
}

static json_t *json_cell(const xp_column *column, const xp_cell *cell) {
    switch (column->kind) {
    case XP_CELL_TEXT:
        return xp_table_text(cell->text);
    case XP_CELL_WHOLE:
        return json_integer((json_int_t)cell->whole);
    case XP_CELL_REAL:
        return json_real(cell->real);
    case XP_CELL_TRUTH:
        return json_boolean(cell->truth);
    case XP_CELL_TREE:
        return cell->tree;
    }
    return NULL;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static bool in_csv(const xp_column *column) {
    return column->name && column->kind != XP_CELL_TREE;
}

static void csv_head(xp_table *table) {
    xp_writer line = {0};
    for (int i = 0, written = 0; i < table->count; i++) {
        if (!in_csv(&table->columns[i])) continue;
        if (written++) xp_write(&line, ",");
        write_csv_text(&line, table->columns[i].name);
    }
    xp_write(&line, "\r\n");
    put(table, &line);
    xp_writer_release(&line);
}

static void csv_row(xp_table *table, const xp_cell *cells) {
    xp_writer line = {0};
    for (int i = 0, written = 0; i < table->count; i++) {
        if (!in_csv(&table->columns[i])) continue;
        if (written++) xp_write(&line, ",");
        write_csv_cell(&line, &table->columns[i], &cells[i]);
    }
    xp_write(&line, "\r\n");
    put(table, &line);
    xp_writer_release(&line);
}

static void json_row(xp_table *table, const xp_cell *cells) {
    json_t *row = json_object();
    for (int i = 0; i < table->count; i++) {
        const xp_column *column = &table->columns[i];
        if (!column->name || is_empty(column, &cells[i])) continue;
        if (json_object_set_new(row, column->name, json_cell(column, &cells[i])) != 0) table->failed = true;
    }
    if (json_array_append_new(table->rows, row) != 0) table->failed = true;
}

static void people_row(xp_table *table, const char *const *texts) {
    xp_writer lines = {0};
    if (table->format == XP_TABLE_TEXT)
        write_text_row(&lines, texts, table->shown, table->widths, table->shown_count);
    else
        for (int i = 0; i < table->shown_count; i++)
            xp_write(&lines, "| %s %s", texts[i], i + 1 < table->shown_count ? "" : "|\n");
    put(table, &lines);
    xp_writer_release(&lines);
}

static void people_head(xp_table *table) {
    const char **titles = calloc((size_t)table->shown_count + 1, sizeof *titles);
    if (!titles) {
        table->failed = true;
        return;
    }
    bool titled = table->format == XP_TABLE_MARKDOWN;
    for (int i = 0; i < table->shown_count; i++) {
        titles[i] = table->shown[i]->title;
        titled = titled || titles[i][0];
    }
    if (titled) people_row(table, titles);
    free(titles);
    if (table->format == XP_TABLE_TEXT) return;
    for (int i = 0; i < table->shown_count; i++)
        fputs(to_the_right(table->shown[i]) ? "| ---: " : "| --- ", table->out);
    fputs("|\n", table->out);
}

/* Writes the row, or keeps its texts. */
static void shown_row(xp_table *table, const xp_cell *cells) {
    if (!xp_array_reserve(&table->held, &table->held_room, table->held_count, (size_t)table->shown_count,
                          sizeof *table->held)) {
        table->failed = true;
        return;
    }
    char **texts = table->held + table->held_count;
    for (int i = 0, at = 0; i < table->count; i++) {
        xp_writer text = {0};
        if (!table->columns[i].title) continue;
        write_shown(&text, table, &table->columns[i], &cells[i]);
        xp_write(&text, "%s", ""); /* an empty text, too */
        table->failed = table->failed || text.failed;
        texts[at++] = text.text;
    }
    if (table->failed || !table->streams) {
        table->held_count += (size_t)table->shown_count;
        return;
    }
    if (table->row_count == 0) people_head(table);
    people_row(table, (const char *const *)texts);
    for (int i = 0; i < table->shown_count; i++) free(texts[i]);
}

/* ---- the held table ---------------------------------------------------------------------------------------------- */

static bool has_value(const xp_table *table, int column) {
    for (size_t at = (size_t)column; at < table->held_count; at += (size_t)table->shown_count)
        if (table->held[at][0]) return true;
    return table->held_count == 0;
}

static void leave_out_empty(xp_table *table) {
    for (int i = table->shown_count - 1; i >= 0; i--) {
        if (has_value(table, i)) continue;
        size_t to = 0;
        for (size_t at = 0; at < table->held_count; at++) {
            if (at % (size_t)table->shown_count == (size_t)i)
                free(table->held[at]);
            else
                table->held[to++] = table->held[at];
        }
        table->held_count = to;
        table->shown_count--;
        memmove(table->shown + i, table->shown + i + 1, (size_t)(table->shown_count - i) * sizeof *table->shown);
    }
}

static void raise_to(int *most, int value) {
    if (value > *most) *most = value;
}

/* Narrows the widest of the columns of numbers, or of the others, that are wider than `least` until the line fits;
 * returns the line's width. */
static int narrow(xp_table *table, bool numbers, const int *least, int line) {
    for (; line > XP_TABLE_COLUMNS; line--) {
        int widest = -1;
        for (int i = 0; i < table->shown_count; i++)
            if (to_the_right(table->shown[i]) == numbers && table->widths[i] > least[i] &&
                (widest < 0 || table->widths[i] > table->widths[widest]))
                widest = i;
        if (widest < 0) return line;
        table->widths[widest]--;
    }
    return line;
}

/* As wide as the widest cell; where that is too much, titles of numbers are broken, then texts, at last within
 * words of texts, never of titles. */
static void choose_widths(xp_table *table) {
    const size_t count = (size_t)table->shown_count;
    int line = -GAP, *least = calloc(count + 1, sizeof *least);
    if (!least) {
        table->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const char *title = table->shown[i]->title;
        const bool number = to_the_right(table->shown[i]);
        table->widths[i] = characters(title, strlen(title));
        least[i] = least_width(title, number);
        for (size_t at = i; at < table->held_count; at += count) {
            const int whole = characters(table->held[at], strlen(table->held[at]));
            raise_to(&table->widths[i], whole);
            raise_to(&least[i], table->shown[i]->whole ? whole : least_width(table->held[at], number));
        }
        line += table->widths[i] + GAP;
    }
    line = narrow(table, true, least, line);
    line = narrow(table, false, least, line);
    for (size_t i = 0; i < count; i++) {
        if (table->shown[i]->whole) continue;
        least[i] = LEAST_WIDTH;
        raise_to(&least[i], least_width(table->shown[i]->title, true));
    }
    narrow(table, false, least, line);
    free(least);
}

static void write_held(xp_table *table) {
    leave_out_empty(table);
    choose_widths(table);
    if (table->failed) return; /* without widths, no line can be broken */
    people_head(table);
    for (size_t at = 0; at < table->held_count; at += (size_t)table->shown_count)
        people_row(table, (const char *const *)table->held + at);
}

static xp_status check_memory(const xp_table *table) {
    return table->failed || table->below.failed ? xp_fail(XP_OUT_OF_MEMORY, "no memory for the table") : XP_OK;
}

static xp_status write_json(xp_table *table) {
    const char *name = table->rows_name;
    const bool whole = !name || json_object_set(table->facts, name, table->rows) == 0;
    const json_t *all = !whole ? NULL : name ? table->facts : table->rows;
    xp_writer text = {0};
    xp_json_write(&text, all, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    xp_write(&text, "\n");
    put(table, &text);
    xp_writer_release(&text);
    return check_memory(table);
}

/* ---- what commands call ------------------------------------------------------------------------------------------ */

void xp_table_open(xp_table *table, FILE *out, xp_table_format format, const xp_column *columns, int count,
                   const char *rows_name) {
    *table = (xp_table){.out = out, .format = format, .columns = columns, .count = count, .rows_name = rows_name};
    table->rows = json_array();
    table->facts = json_object();
    table->shown = calloc((size_t)count + 1, sizeof *table->shown);
    table->widths = calloc((size_t)count + 1, sizeof *table->widths);
    table->failed = !table->rows || !table->facts || !table->shown || !table->widths;
    table->streams = true;
    for (int i = 0; i < count && !table->failed; i++) {
        if (!columns[i].title) continue;
        table->widths[table->shown_count] = columns[i].width;
        table->shown[table->shown_count++] = &columns[i];
        table->streams = table->streams && columns[i].width > 0;
    }
    if (format == XP_TABLE_CSV) csv_head(table);
    fflush(out);
}

void xp_table_note(xp_table *table, const char *format, ...) {
    if (!for_people(table)) return;
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const bool waits = table->row_count > 0 && (!table->streams || table->format == XP_TABLE_MARKDOWN);
    xp_writer now = {0}, *to = waits ? &table->below : &now;
    if (table->format == XP_TABLE_TEXT)
        write_paragraph(to, text);
    else if (*text) /* after an empty line; an indented line stays as it is */
        xp_write(to, "%s%s%s\n%s", waits ? "\n" : "", *text == ' ' ? "    " : "", text, waits ? "" : "\n");
    put(table, &now);
    xp_writer_release(&now);
    fflush(table->out);
}

void xp_table_fact(xp_table *table, const char *name, json_t *value) {
    if (json_object_set_new(table->facts, name, value) != 0) table->failed = true;
}

void xp_table_fact_text(xp_table *table, const char *name, const char *text) {
    xp_table_fact(table, name, xp_table_text(text));
}

void xp_table_fact_real(xp_table *table, const char *name, double value) {
    if (isfinite(value)) xp_table_fact(table, name, json_real(value));
}

xp_status xp_table_save(const char *path, xp_status (*write)(FILE *out, const void *user), const void *user) {
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (!memory) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %s", path);
    xp_status status = write(memory, user);
    const bool closed = fclose(memory) == 0;
    if (status == XP_OK && (!closed || !text)) status = xp_fail(XP_OUT_OF_MEMORY, "no memory for %s", path);
    if (status == XP_OK) status = xp_file_write_atomic(path, text, length);
    free(text);
    return status;
}

void xp_table_row(xp_table *table, const xp_cell *cells) {
    const bool takes_trees = table->format == XP_TABLE_JSON && !table->failed;
    if (!table->failed) {
        if (table->format == XP_TABLE_CSV) csv_row(table, cells);
        if (table->format == XP_TABLE_JSON) json_row(table, cells);
        if (for_people(table)) shown_row(table, cells);
        if (table->streams || table->format == XP_TABLE_CSV) fflush(table->out);
    }
    if (!takes_trees)
        for (int i = 0; i < table->count; i++)
            if (table->columns[i].kind == XP_CELL_TREE) json_decref(cells[i].tree);
    table->row_count++;
}

xp_status xp_table_close(xp_table *table, xp_status status) {
    if (status == XP_OK) status = check_memory(table);
    if (status == XP_OK && for_people(table)) {
        if (table->streams && table->row_count == 0) people_head(table);
        if (!table->streams) write_held(table);
        put(table, &table->below);
        status = check_memory(table);
    }
    if (status == XP_OK && table->format == XP_TABLE_JSON) status = write_json(table);
    if (status == XP_OK) status = xp_output_check(table->out);
    for (size_t i = 0; i < table->held_count; i++) free(table->held[i]);
    free(table->held);
    free(table->shown);
    free(table->widths);
    json_decref(table->rows);
    json_decref(table->facts);
    xp_writer_release(&table->below);
    *table = (xp_table){0};
    return status;
}
