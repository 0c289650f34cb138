/* Pathfinder: two long contours of dashes among short ones. Both dots are at the ends of one long contour, or at an
 * end of each. The sizes are the published ones; how a contour turns, and that no dashes stand alone, is our choice. */
#include "data/pathfinder.h"

#include "core/files.h"
#include "core/random.h"
#include "data/formats.h"
#include "data/made.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDE = 32,
    PIXELS = SIDE * SIDE,
    SAMPLING = 2, /* per pixel and axis, against jagged edges */
    LONG = 14,    /* dashes of a contour */
    SHORT = LONG / 3,
    SHORTS = 20 / SHORT, /* contours */
    DASHES = 2 * LONG + SHORTS * SHORT,
    TRIES = 24, /* of a dash, and of a contour, before all begins again */
    PURPOSE = 0x50415448
};
static const double PI = 3.14159265358979323846, EDGE = 1, DASH = 2, THICKNESS = 0.5, MARGIN = 1, DOT = 1.5, APART = 7,
                    CONTRAST = 2, TURN = 0.25; /* of a half turn, at most, from dash to dash */

typedef struct point {
    double x, y;
} point;

typedef struct dash {
    point from, to;
    double angle;
} dash;

typedef struct drawing {
    dash dashes[DASHES];
    int count;
    point dots[2];
} drawing;

/* ---- where dashes may be ----------------------------------------------------------------------------------------- */

static double distance_to_dash(point p, const dash *d) {
    const double dx = d->to.x - d->from.x, dy = d->to.y - d->from.y;
    double along = ((p.x - d->from.x) * dx + (p.y - d->from.y) * dy) / (dx * dx + dy * dy);
    along = fmin(1, fmax(0, along));
    return hypot(p.x - d->from.x - along * dx, p.y - d->from.y - along * dy);
}

static double cross(point a, point b, point c) {
    return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

static double distance(const dash *a, const dash *b) {
    const bool cuts = cross(a->from, a->to, b->from) * cross(a->from, a->to, b->to) < 0 &&
                      cross(b->from, b->to, a->from) * cross(b->from, b->to, a->to) < 0;
    if (cuts) return 0;
    return fmin(fmin(distance_to_dash(a->from, b), distance_to_dash(a->to, b)),
                fmin(distance_to_dash(b->from, a), distance_to_dash(b->to, a)));
}

static bool is_inside(point p) {
    return p.x >= EDGE && p.y >= EDGE && p.x <= SIDE - EDGE && p.y <= SIDE - EDGE;
}

/* Whether there is room for it; its neighbour in the contour, the last dash, may be nearer than others. */
static bool has_room(const drawing *d, const dash *wanted, bool first) {
    if (!is_inside(wanted->from) || !is_inside(wanted->to)) return false;
    for (int i = 0; i < d->count; i++) {
        const bool neighbour = !first && i == d->count - 1;
        if (distance(&d->dashes[i], wanted) < (neighbour ? 0.9 * MARGIN : MARGIN + THICKNESS)) return false;
    }
    return true;
}

/* ---- contours ---------------------------------------------------------------------------------------------------- */

static point step(point p, double angle, double length) {
    return (point){p.x + length * cos(angle), p.y + length * sin(angle)};
}

static bool add_dash(drawing *d, xp_random *random, bool first) {
    for (int i = 0; i < TRIES; i++) {
        const dash *last = &d->dashes[d->count - 1];
        dash next;
        if (first) {
            next.angle = 2 * PI * xp_random_unit(random);
            next.from = (point){SIDE * xp_random_unit(random), SIDE * xp_random_unit(random)};
        } else {
            next.angle = last->angle + PI * TURN * (2 * xp_random_unit(random) - 1);
            next.from = step(last->to, (last->angle + next.angle) / 2, MARGIN);
        }
        next.to = step(next.from, next.angle, DASH);
        if (!has_room(d, &next, first)) continue;
        d->dashes[d->count++] = next;
        return true;
    }
    return false;
}

static bool add_contour(drawing *d, xp_random *random, int length) {
    const int begin = d->count;
    for (int i = 0; i < TRIES; i++) {
        d->count = begin;
        while (d->count - begin < length && add_dash(d, random, d->count == begin)) continue;
        if (d->count - begin == length) return true;
    }
    return false;
}

/* The dots are as far apart in both classes, so that their distance tells nothing. */
static bool draw(drawing *d, xp_random *random, bool connected) {
    d->count = 0;
    if (!add_contour(d, random, LONG) || !add_contour(d, random, LONG)) return false;
    const point ends[2][2] = {{d->dashes[0].from, d->dashes[LONG - 1].to},
                              {d->dashes[LONG].from, d->dashes[2 * LONG - 1].to}};
    const uint32_t one = xp_random_below(random, 2), other = xp_random_below(random, 2);
    d->dots[0] = connected ? ends[one][0] : ends[0][one];
    d->dots[1] = connected ? ends[one][1] : ends[1][other];
    if (hypot(d->dots[0].x - d->dots[1].x, d->dots[0].y - d->dots[1].y) < APART) return false;
    for (int i = 0; i < SHORTS; i++)
        if (!add_contour(d, random, SHORT)) return false;
    return true;
}

/* ---- pixels ------------------------------------------------------------------------------------------------------ */

static bool is_drawn(const drawing *d, point p) {
    for (int i = 0; i < 2; i++)
        if (hypot(p.x - d->dots[i].x, p.y - d->dots[i].y) <= DOT) return true;
    for (int i = 0; i < d->count; i++)
        if (distance_to_dash(p, &d->dashes[i]) <= THICKNESS / 2) return true;
    return false;
}

static point sample_of(int column, int right, int row, int down) {
    return (point){column + (right + 0.5) / SAMPLING, row + (down + 0.5) / SAMPLING};
}

static void paint(const drawing *d, unsigned char pixels[PIXELS]) {
    for (int at = 0; at < PIXELS; at++) {
        int covered = 0;
        for (int s = 0; s < SAMPLING * SAMPLING; s++)
            covered += is_drawn(d, sample_of(at % SIDE, s % SAMPLING, at / SIDE, s / SAMPLING));
        pixels[at] = (unsigned char)lround(255 * fmin(1, CONTRAST * covered / (SAMPLING * SAMPLING)));
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

enum { IDX_LABELS = 0x801, IDX_IMAGES = 0x803 }; /* unsigned bytes, of so many dimensions */

typedef struct maker {
    xp_random random;
    unsigned char *labels; /* of the part that is written */
} maker;

static void put_number(FILE *file, int64_t number) {
    for (int byte = 3; byte >= 0; byte--) fputc((int)(number >> 8 * byte & 255), file);
}

static bool write_images(void *user, FILE *file, int64_t count) {
    maker *m = user;
    const int64_t header[] = {IDX_IMAGES, count, SIDE, SIDE};
    for (int i = 0; i < 4; i++) put_number(file, header[i]);
    for (int64_t i = 0; i < count && !ferror(file); i++) {
        unsigned char pixels[PIXELS];
        drawing d;
        m->labels[i] = (unsigned char)xp_random_below(&m->random, 2);
        while (!draw(&d, &m->random, m->labels[i])) continue;
        paint(&d, pixels);
        fwrite(pixels, sizeof pixels, 1, file);
    }
    return !ferror(file);
}

static bool write_labels(void *user, FILE *file, int64_t count) {
    const maker *m = user;
    put_number(file, IDX_LABELS);
    put_number(file, count);
    fwrite(m->labels, (size_t)count, 1, file);
    return !ferror(file);
}

static xp_status make_part(maker *m, const char *folder, const char *name, int64_t count) {
    char images[64], labels[64];
    snprintf(images, sizeof images, "%s-images-idx3-ubyte", name);
    snprintf(labels, sizeof labels, "%s-labels-idx1-ubyte", name);
    XP_TRY(xp_data_allocate((void **)&m->labels, count, sizeof *m->labels, "Pathfinder"));
    xp_status status = xp_made_file_write(folder, images, write_images, m, count);
    if (status == XP_OK) status = xp_made_file_write(folder, labels, write_labels, m, count);
    free(m->labels);
    return status;
}

xp_status xp_pathfinder_make(const char *folder, uint64_t seed, const int64_t samples[3]) {
    static const char *const names[3] = {"train", "validation", "t10k"};
    maker m = {.labels = NULL};
    XP_TRY(xp_folder_make(folder));
    xp_random_start(&m.random, seed, PURPOSE);
    for (int part = 0; part < 3; part++) XP_TRY(make_part(&m, folder, names[part], samples[part]));
    return XP_OK;
}
