/* Points, made or read. */
#include "svr/points.h"

#include "core/files.h"
#include "core/random.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 400, MADE_OUTPUTS = 8 };

static const double HALF_TURN = 3.14159265358979323846;
static const double SPREAD = 1.5; /* amplitude of the sinusoids: how strongly exp separates near keys from far ones */

xp_svr_points_options xp_svr_points_default(void) {
    return (xp_svr_points_options){.count = 256, .dimensions = 16, .outputs = 1, .noise = 0.15, .seed = 1};
}

void xp_svr_points_release(xp_svr_points *points) {
    free(points->positions);
    free(points->keys);
    free(points->targets);
    free(points->grid_positions);
    free(points->grid_keys);
    *points = (xp_svr_points){0};
}

static xp_status allocate(xp_svr_points *points, int64_t count, int columns, int outputs) {
    points->count = count;
    points->columns = columns;
    points->outputs = outputs;
    points->positions = calloc((size_t)(count * columns), sizeof(double));
    points->targets = calloc((size_t)(count * outputs), sizeof(double));
    if (!points->positions || !points->targets)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for %lld points", (long long)count);
    return XP_OK;
}

/* ---- from positions to keys -------------------------------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b) {
    const double *x = a, *y = b;
    return x[0] < y[0] ? -1 : x[0] > y[0];
}

/* Pooling and blocks speak of neighbours, so a single column is put in order. */
static xp_status sort(xp_svr_points *points) {
    const int64_t row = 1 + points->outputs;
    double *rows = malloc((size_t)(points->count * row) * sizeof *rows);
    if (!rows) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %lld points", (long long)points->count);
    for (int64_t i = 0; i < points->count; i++) {
        rows[i * row] = points->positions[i];
        memcpy(rows + i * row + 1, points->targets + i * points->outputs, (size_t)points->outputs * sizeof *rows);
    }
    qsort(rows, (size_t)points->count, (size_t)row * sizeof *rows, compare_rows);
    for (int64_t i = 0; i < points->count; i++) {
        points->positions[i] = rows[i * row];
        memcpy(points->targets + i * points->outputs, rows + i * row + 1, (size_t)points->outputs * sizeof *rows);
    }
    free(rows);
    return XP_OK;
}

static xp_status standardise_targets(xp_svr_points *points) {
    for (int d = 0; d < points->outputs; d++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < points->count; i++) mean += points->targets[i * points->outputs + d];
        mean /= (double)points->count;
        for (int64_t i = 0; i < points->count; i++) square += pow(points->targets[i * points->outputs + d] - mean, 2);
        const double deviation = sqrt(square / (double)points->count);
        if (!(deviation > 1e-12 * fabs(mean)) || !isfinite(deviation))
            return xp_fail(XP_BAD_DATA, "target %d is %g at every point, so there is nothing to fit", d + 1, mean);
        for (int64_t i = 0; i < points->count; i++) {
            double *target = &points->targets[i * points->outputs + d];
            *target = (*target - mean) / deviation;
        }
    }
    return XP_OK;
}

/* The sinusoids have periods 4, 2, 4/3, …: the longest does not meet itself within [-1,1]. */
static void lift(const double *position, const double *low, const double *high, int columns, int width, double *key) {
    const int pairs = width / columns / 2;
    for (int c = 0; c < columns; c++) {
        const double x = high[c] > low[c] ? 2 * (position[c] - low[c]) / (high[c] - low[c]) - 1 : 0;
        for (int p = 0; p < pairs; p++) {
            double *pair = key + 2 * (c * pairs + p), angle = HALF_TURN / 2 * (p + 1) * x;
            pair[0] = (double)(float)(SPREAD * cos(angle));
            pair[1] = (double)(float)(SPREAD * sin(angle));
        }
    }
}

static xp_status make_grid(xp_svr_points *points, double low, double high) {
    points->grid_count = GRID;
    points->grid_positions = malloc(GRID * sizeof(double));
    points->grid_keys = malloc((size_t)(GRID * points->width) * sizeof(double));
    if (!points->grid_positions || !points->grid_keys)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the positions between the points");
    for (int i = 0; i < GRID; i++) {
        points->grid_positions[i] = low + (high - low) * i / (GRID - 1);
        lift(&points->grid_positions[i], &low, &high, 1, points->width, points->grid_keys + i * points->width);
    }
    return XP_OK;
}

static xp_status make_keys(xp_svr_points *points, const xp_svr_points_options *options) {
    const int columns = points->columns;
    points->width = options->raw ? columns : options->dimensions;
    if (points->width > XP_SVR_MAX_WIDTH)
        return xp_fail(XP_INVALID_ARGUMENT, "keys of %d dimensions are too wide; at most %d", points->width,
                       XP_SVR_MAX_WIDTH);
    if (!options->raw && (points->width < 1 || points->width % (2 * columns) != 0))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%d dimensions: %d column%s of positions need%s a positive multiple of %d: a sine and a cosine "
                       "for each",
                       points->width, columns, columns == 1 ? "" : "s", columns == 1 ? "s" : "", 2 * columns);
    points->keys = malloc((size_t)(points->count * points->width) * sizeof(double));
    if (!points->keys) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %lld keys", (long long)points->count);
    double low[XP_SVR_MAX_COLUMNS], high[XP_SVR_MAX_COLUMNS];
    for (int c = 0; c < columns; c++) low[c] = INFINITY, high[c] = -INFINITY;
    for (int64_t e = 0; e < points->count * columns; e++) {
        low[e % columns] = fmin(low[e % columns], points->positions[e]);
        high[e % columns] = fmax(high[e % columns], points->positions[e]);
    }
    for (int64_t i = 0; i < points->count; i++) {
        const double *position = points->positions + i * columns;
        double *key = points->keys + i * points->width;
        if (!options->raw)
            lift(position, low, high, columns, points->width, key);
        else
            for (int c = 0; c < columns; c++) key[c] = (double)(float)position[c];
    }
    return columns == 1 && !options->raw ? make_grid(points, low[0], high[0]) : XP_OK;
}

static xp_status complete(xp_svr_points *points, const xp_svr_points_options *options) {
    if (points->columns == 1) XP_TRY(sort(points));
    XP_TRY(standardise_targets(points));
    return make_keys(points, options);
}

/* ---- made -------------------------------------------------------------------------------------------------------- */

static double curve(double x, int output) {
    const double wave = 0.8 * sin(4 * x + output), step = -0.5 * tanh((x + 0.45) / 0.05);
    return wave + step + 0.6 * exp(-pow((x - 0.35) / 0.12, 2));
}

xp_status xp_svr_points_make(const xp_svr_points_options *options, xp_svr_points *out) {
    *out = (xp_svr_points){0};
    if (options->count < XP_SVR_MIN_POINTS || options->count > XP_SVR_MAX_POINTS)
        return xp_fail(XP_INVALID_ARGUMENT, "%lld points; the number must be between %d and %d",
                       (long long)options->count, XP_SVR_MIN_POINTS, XP_SVR_MAX_POINTS);
    if (options->outputs < 1 || options->outputs > MADE_OUTPUTS)
        return xp_fail(XP_INVALID_ARGUMENT, "%d outputs; the number must be between 1 and %d", options->outputs,
                       MADE_OUTPUTS);
    if (!(options->noise >= 0) || options->noise > 100)
        return xp_fail(XP_INVALID_ARGUMENT, "the noise is %g; it must be between 0 and 100", options->noise);
    xp_random random;
    xp_random_start(&random, options->seed, 0);
    xp_status status = allocate(out, options->count, 1, options->outputs);
    for (int64_t i = 0; i < out->count && status == XP_OK; i++) {
        const double x = 2 * (double)i / (double)(out->count - 1) - 1;
        out->positions[i] = x;
        for (int d = 0; d < out->outputs; d++)
            out->targets[i * out->outputs + d] = curve(x, d) + options->noise * xp_random_normal(&random);
    }
    if (status == XP_OK) status = complete(out, options);
    if (status != XP_OK) xp_svr_points_release(out);
    return status;
}

/* ---- read -------------------------------------------------------------------------------------------------------- */

typedef struct reader {
    const char *path, *at, *line_start;
    int line;
} reader;

static int column_of(const reader *r) {
    return (int)(r->at - r->line_start) + 1;
}

static void skip_blanks(reader *r) {
    while (*r->at == ' ' || *r->at == '\t') r->at++;
}

static bool line_ends(const reader *r) {
    return *r->at == '\n' || *r->at == '\r' || *r->at == '\0';
}

static void next_line(reader *r) {
    while (*r->at && *r->at != '\n') r->at++;
    if (*r->at) r->at++;
    r->line++;
    r->line_start = r->at;
}

/* The names of the first line: which[i] is 'x' or 'y'. */
static xp_status read_names(reader *r, char which[2 * XP_SVR_MAX_COLUMNS], int *fields) {
    int counts[2] = {0, 0};
    for (*fields = 0;; (*fields)++) {
        skip_blanks(r);
        const char kind = *r->at;
        if (kind != 'x' && kind != 'y')
            return xp_fail(XP_BAD_DATA,
                           "%s:%d:%d: the first line names the columns, each beginning with x (position) or y "
                           "(target): x1,x2,y",
                           r->path, r->line, column_of(r));
        if (counts[kind == 'y']++ == XP_SVR_MAX_COLUMNS)
            return xp_fail(XP_BAD_DATA, "%s:%d:%d: more than %d columns of %c", r->path, r->line, column_of(r),
                           XP_SVR_MAX_COLUMNS, kind);
        which[*fields] = kind;
        while (*r->at != ',' && !line_ends(r)) r->at++;
        if (line_ends(r)) break;
        r->at++;
    }
    (*fields)++;
    if (counts[0] == 0 || counts[1] == 0)
        return xp_fail(XP_BAD_DATA, "%s:%d: no column is named %s", r->path, r->line, counts[0] ? "y…" : "x…");
    next_line(r);
    return XP_OK;
}

static xp_status read_row(reader *r, int fields, const char *which, double *positions, double *targets) {
    for (int f = 0; f < fields; f++) {
        size_t length = 0;
        double value = 0;
        skip_blanks(r);
        if (line_ends(r))
            return xp_fail(XP_BAD_DATA, "%s:%d: %d values, but the first line names %d columns", r->path, r->line, f,
                           fields);
        XP_TRY(xp_text_number(r->at, &value, &length));
        const int column = column_of(r);
        r->at += length;
        skip_blanks(r);
        if (length == 0 || !isfinite((float)value) || (*r->at != ',' && !line_ends(r)))
            return xp_fail(XP_BAD_DATA, "%s:%d:%d: expected a number", r->path, r->line, column);
        if (which[f] == 'x')
            *positions++ = value;
        else
            *targets++ = value;
        if (f + 1 < fields && *r->at == ',') r->at++;
    }
    if (!line_ends(r))
        return xp_fail(XP_BAD_DATA, "%s:%d:%d: more values than the first line names columns", r->path, r->line,
                       column_of(r));
    return XP_OK;
}

static int64_t count_rows(reader r) {
    int64_t count = 0;
    for (; *r.at; next_line(&r)) {
        skip_blanks(&r);
        count += !line_ends(&r);
    }
    return count;
}

static xp_status parse(const char *path, const char *text, xp_svr_points *out) {
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3; /* the byte order mark of some spreadsheets */
    reader r = {.path = path, .at = text, .line_start = text, .line = 1};
    char which[2 * XP_SVR_MAX_COLUMNS];
    int fields, columns = 0;
    XP_TRY(read_names(&r, which, &fields));
    for (int f = 0; f < fields; f++) columns += which[f] == 'x';
    const int64_t count = count_rows(r);
    if (count < XP_SVR_MIN_POINTS || count > XP_SVR_MAX_POINTS)
        return xp_fail(XP_BAD_DATA, "%s: %lld points; the number must be between %d and %d", path, (long long)count,
                       XP_SVR_MIN_POINTS, XP_SVR_MAX_POINTS);
    XP_TRY(allocate(out, count, columns, fields - columns));
    for (int64_t i = 0; i < count; next_line(&r)) {
        skip_blanks(&r);
        if (line_ends(&r)) continue;
        XP_TRY(read_row(&r, fields, which, out->positions + i * out->columns, out->targets + i * out->outputs));
        i++;
    }
    return XP_OK;
}

xp_status xp_svr_points_read(const char *path, const xp_svr_points_options *options, xp_svr_points *out) {
    *out = (xp_svr_points){0};
    char *text = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &text, &length));
    xp_status status = strlen(text) == length
                           ? parse(path, text, out)
                           : xp_fail(XP_BAD_DATA, "%s: byte %zu is zero: this is not a CSV file", path, strlen(text));
    free(text);
    if (status == XP_OK && (status = complete(out, options)) != XP_OK) xp_fail_in(status, "%s: ", path);
    if (status != XP_OK) xp_svr_points_release(out);
    return status;
}
