/* Tables as text, Markdown, CSV (RFC 4180) or JSON: the one writer behind `-o FORMAT`. Owns the formatting of tables;
 * does not know their content. */
#ifndef XP_TOOLS_TABLE_H
#define XP_TOOLS_TABLE_H

#include "core/writer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum xp_table_format { XP_TABLE_TEXT, XP_TABLE_MARKDOWN, XP_TABLE_CSV, XP_TABLE_JSON } xp_table_format;

extern const char *const xp_table_formats[]; /* "text", "md", "csv", "json", NULL */

/* The flag of every command that prints a table; format_ is an int *, XP_TABLE_TEXT before the flags are read. */
#define XP_TABLE_FORMAT_FLAG(format_)                                                                                  \
    { "-o", "FORMAT", "text, md, csv or json", .choices = xp_table_formats, .choice = (format_) }

typedef enum xp_cell_kind {
    XP_CELL_TEXT,  /* left-aligned; NULL: empty */
    XP_CELL_WHOLE, /* right-aligned, as all numbers; XP_CELL_EMPTY: empty */
    XP_CELL_REAL,  /* NaN: empty */
    XP_CELL_TRUTH, /* yes or no */
    XP_CELL_TREE   /* only in JSON; owned by the table; NULL: empty */
} xp_cell_kind;

typedef struct xp_column {
    const char *name;  /* in CSV and JSON: "median_ms"; NULL: not there */
    const char *title; /* in text and Markdown, with the unit: "median ms"; NULL: not there */
    xp_cell_kind kind;
    int digits;       /* text and Markdown: after the decimal point */
    bool scientific;  /* text and Markdown: 1.2e-05 */
    bool significant; /* text and Markdown: digits are those of the whole number */
    double scale;     /* text and Markdown show the number times this: 100 for percent; 0: as it is */
    /* In text: characters that the column takes. When all shown columns have a width, each row is written at once;
     * else the rows wait for the end, columns are as wide as need be, and those without a value are left out. Either
     * way, text that is too long for its column continues in the next line. */
    int width;
    bool whole; /* in a column without a width: no text is continued; the line grows longer instead */
} xp_column;

#define XP_CELL_EMPTY INT64_MIN
#define XP_MIB        (1.0 / (1 << 20))
#define XP_GIB        (1.0 / (1 << 30))

typedef union xp_cell {
    const char *text;
    int64_t whole;
    double real;
    bool truth;
    json_t *tree;
} xp_cell;

enum { XP_TABLE_COLUMNS = 100 /* characters of a line of text */ };

/* Whether all that was printed has arrived. A pipe that nobody reads ends the process without a word, as SIGPIPE does
 * where it is not ignored. XP_IO_ERROR. */
xp_status xp_output_check(FILE *out);

/* The bytes of the first line when `text` is broken to `width` characters. */
size_t xp_table_line(const char *text, int width);

typedef struct xp_table {
    FILE *out;
    xp_table_format format;
    const xp_column *columns;
    int count;
    const char *rows_name;
    json_t *rows, *facts;    /* JSON alone */
    const xp_column **shown; /* text and Markdown: the columns that people see, and how wide they are */
    int *widths, shown_count;
    bool streams;                 /* each row is written at once */
    char **held;                  /* else the texts of the shown columns, row by row */
    size_t held_count, held_room; /* texts */
    int row_count;
    xp_writer below; /* notes that wait for the end */
    bool failed;     /* memory ran out */
} xp_table;

/* Borrows the columns until the table is closed. JSON is an array of rows, or with rows_name an object that holds this
 * array under the name, after the facts. */
void xp_table_open(xp_table *table, FILE *out, xp_table_format format, const xp_column *columns, int count,
                   const char *rows_name);

/* A paragraph, only in text and Markdown: above the table before its first row, else below (at once where
 * rows are written at once). A paragraph that begins with a space is not wrapped; "" is an empty line of text. */
void xp_table_note(xp_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A member of the JSON object beside the rows; takes the value. Text may be any bytes (xp_table_text); NaN is
 * omitted. */
void xp_table_fact(xp_table *table, const char *name, json_t *value);
void xp_table_fact_text(xp_table *table, const char *name, const char *text);
void xp_table_fact_real(xp_table *table, const char *name, double value);
/* A JSON string from any bytes: if they are not UTF-8, question marks replace what is not ASCII. */
json_t *xp_table_text(const char *text);

/* cells [count], in the order of the columns; only trees are kept. */
void xp_table_row(xp_table *table, const xp_cell *cells);

/* Saves the file that `write` makes of a table, completely or not at all. */
xp_status xp_table_save(const char *path, xp_status (*write)(FILE *out, const void *user), const void *user);

/* Writes what is held, unless `status` says that the work failed: a part must not look like the whole. Returns
 * `status`, or the error of writing. */
xp_status xp_table_close(xp_table *table, xp_status status);

#endif
