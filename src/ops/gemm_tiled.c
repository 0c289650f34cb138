/* Matrix products for GPUs: tiles of cl/gemm_tiled.cl and its launches, and which products CLBlast computes instead. */
#include "ops/gemm_clblast.h"
#include "ops/gemm_launch.h"
#include "ops/reduction.h"

#include <math.h>

enum { WIDE = 16 /* columns of a work-item's own */, PITCH = 4 };
/* Numbers of a work-item, and of one beside the sums of a factor, for which Intel's GPUs need no more registers. */
enum { MOST = 64, MOST_BESIDE_SUMS = 32 };
enum { SIDE, OWN_ROWS, OWN_COLUMNS, DEPTH, SHARES, PARTS, LIBRARY, PARAMETERS }; /* of tile_of */

/* ---- the tile ---------------------------------------------------------------------------------------------------- */

typedef struct tile_shape {
    long side, own_rows, own_columns, depth, shares;
} tile_shape;

/* Work-items along a column of the tile: twice as many of those that own wide rows. */
static long side_rows(const tile_shape *t) {
    return t->own_columns == WIDE ? 2 * t->side : t->side;
}

static long rows_of(const tile_shape *t) {
    return side_rows(t) * t->own_rows;
}

static long columns_of(const tile_shape *t) {
    return t->side * t->own_columns;
}

static long items_of(const tile_shape *t) {
    return t->side * side_rows(t) * t->shares;
}

static bool fits(const xp_device_limits *limits, const tile_shape *t) {
    const long floats = 2 * t->shares * t->depth * (rows_of(t) + columns_of(t) + 2 * PITCH);
    return (size_t)items_of(t) <= limits->work_group_size &&
           (size_t)floats * sizeof(float) <= limits->static_local_bytes;
}

static tile_shape shape_of(const xp_tuning *tile) {
    const xp_tuning_parameter *p = tile->parameters;
    return (tile_shape){p[SIDE].value, p[OWN_ROWS].value, p[OWN_COLUMNS].value, p[DEPTH].value, p[SHARES].value};
}

/* Shares are for the smallest tiles, and so are wide rows, whose sums take too many registers of larger work-groups; on
 * Intel's GPUs, which have an option for registers, also of shares. */
static bool is_allowed(const xp_device *device, const tile_shape *t) {
    const bool wide = t->own_columns == WIDE, spills = wide && t->shares > 1 && *device->register_option;
    return ((t->shares == 1 && !wide) || t->side == 8) && !spills && fits(&device->limits, t);
}

static bool tile_fits(const xp_tuning *tile, const xp_device *device, const void *sizes) {
    const tile_shape shape = shape_of(tile);
    return is_allowed(device, &shape);
}

/* Clocks of a work-group, as tools/compile-lab estimates them for an H200. */
typedef struct unit_work {
    double step;       /* of the unit, for a step of the depth, if other work-groups fill the waits */
    double pass;       /* of a scheduler, for a slice of one sub-group */
    double schedulers; /* of the unit's, that the work-group keeps busy */
} unit_work;

/* A step takes what multiplying, reading local memory, and the cache take, twenty bytes a clock: parts of a scheduler
 * that overlap imperfectly. */
static unit_work work_of(const tile_shape *t) {
    enum { LANES = 128, SUB_GROUP = 32, SCHEDULERS = 4 };
    const double items = (double)items_of(t), edges = (double)(t->own_rows + t->own_columns);
    const double issue = 1.03 * (double)(t->own_rows * t->own_columns) + 0.25 * edges + 5.5, local = 4.3 * edges;
    const double cache = 25.6 * (double)((rows_of(t) + columns_of(t)) * t->shares) / items;
    const double step = pow(pow(issue, 2.5) + pow(local, 2.5) + pow(cache, 2.5), 0.4);
    return (unit_work){.step = items / (double)t->shares / LANES * step,
                       .pass = (double)t->depth * step,
                       .schedulers = items / SUB_GROUP / SCHEDULERS};
}

/* Of a unit, for a step of each of the `count` work-groups that share it: one alone has nothing to do at its
 * barriers. */
static double together(const unit_work *w, double count) {
    enum { BARRIER = 200 };
    const double all = w->pass * fmax(1, count * w->schedulers), own = w->pass * fmax(1, w->schedulers);
    return count * w->step * fmax(all, own + BARRIER) / (w->pass * count * w->schedulers);
}

/* Of the unit with the most work-groups. Shares of a work-group give their sums away by way of local memory. A second
 * launch costs the host as much as the work of some thousand clocks, and the device little less. */
static double clocks(unsigned units, const xp_gemm_attributes *p, const tile_shape *t, int64_t parts) {
    enum {
        ROOM = 512 * 64, /* numbers that work-items have registers for */
        START = 1500,
        LAUNCH = 12500,
        GIVE = 300,
        BYTES = 18 /* of device memory, a clock and unit */
    };
    const int64_t tiles = xp_launch_blocks(p->m, rows_of(t)) * xp_launch_blocks(p->n, columns_of(t));
    const int64_t own = t->own_columns == WIDE ? t->own_rows * t->own_columns : 64;
    const int64_t groups = xp_launch_blocks(tiles * parts, units), room = ROOM / (items_of(t) * own);
    const int64_t rest = groups % room;
    const unit_work w = work_of(t);
    const double depth = (double)xp_launch_blocks(p->k, parts), waves = (double)(groups / room);
    const double steps = waves * together(&w, (double)room) + (rest ? together(&w, (double)rest) : 0);
    const double give = (double)groups * (double)(t->shares - 1) * (GIVE + w.step);
    const double product = depth * steps + give + START * (waves + (rest > 0));
    return parts == 1 ? product : product + LAUNCH + (double)(8 * parts * p->m * p->n) / (BYTES * (double)units);
}

/* Makes the tile, the shares and the parts that are estimated to be fastest the defaults. CPUs compute these kernels
 * only to test them: there, products take turns with the tiles. */
static void choose_tile(const xp_device *device, const xp_gemm_attributes *p, xp_tuning_parameter *parameters) {
    static const tile_shape tiles[] = {
        {8, 4, 4, 16, 1},  {8, 4, 8, 16, 1}, {8, 8, 4, 16, 1}, {8, 8, 8, 8, 1},  {16, 4, 4, 16, 1}, {16, 4, 8, 16, 1},
        {16, 8, 4, 16, 1}, {16, 8, 8, 8, 1}, {8, 4, 4, 16, 2}, {8, 4, 4, 16, 4}, {8, 4, 8, 8, 2},   {8, 4, 8, 8, 4},
        {8, 8, 4, 8, 2},   {8, 8, 4, 8, 4},  {8, 8, 8, 8, 2},  {8, 8, 8, 8, 4},  {8, 8, 16, 8, 1},  {8, 8, 16, 8, 2}};
    const unsigned units =
        device->limits.compute_units > 0 ? device->limits.compute_units : 1; /* a driver may not say */
    const size_t count = sizeof tiles / sizeof tiles[0], turn = (size_t)(p->m + p->n + p->k) % count;
    const bool in_turn = device->limits.type & CL_DEVICE_TYPE_CPU && is_allowed(device, &tiles[turn]);
    double best = INFINITY;
    for (size_t i = in_turn ? turn : 0; i < (in_turn ? turn + 1 : count); i++)
        for (int part = 0; part < XP_TUNING_VALUES && parameters[PARTS].values[part]; part++) {
            const double estimate = clocks(units, p, &tiles[i], parameters[PARTS].values[part]);
            if (estimate >= best || (i > 0 && !is_allowed(device, &tiles[i]))) continue;
            best = estimate;
            parameters[SIDE].value = tiles[i].side;
            parameters[OWN_ROWS].value = tiles[i].own_rows;
            parameters[OWN_COLUMNS].value = tiles[i].own_columns;
            parameters[DEPTH].value = tiles[i].depth;
            parameters[SHARES].value = tiles[i].shares;
            parameters[PARTS].value = parameters[PARTS].values[part];
        }
}

/* ---- who computes a product -------------------------------------------------------------------------------------- */

static bool library_can(const xp_node *node) {
    return xp_clblast_is_there() && xp_node_storage(node) == XP_F32 && xp_node_result(node) == XP_F32;
}

/* The request that chooses the tile, and the library where it can compute the product and a table says that it is
 * faster. */
static xp_tuning tile_of(const xp_device *device, const xp_node *node) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    xp_tuning tile = {.kernel = "gemm_tiled",
                      .file = "gemm_tiled",
                      .count = PARAMETERS,
                      .parameters = {{"SIDE", 16, {8, 16}},
                                     {"OWN_ROWS", 4, {4, 8}},
                                     {"OWN_COLUMNS", 4, {4, 8, WIDE}},
                                     {"DEPTH", 16, {8, 16, 32}},
                                     {"SHARES", 1, {1, 2, 4}},
                                     {"PARTS", 1, {1}},
                                     {"LIBRARY", XP_LIBRARY_OURS, {XP_LIBRARY_OURS}}}};
    xp_gemm_permit_parts(&tile.parameters[PARTS], p->k);
    choose_tile(device, p, tile.parameters);
    if (library_can(node))
        tile.parameters[LIBRARY] = (xp_tuning_parameter){.name = "LIBRARY",
                                                         .value = XP_LIBRARY_OURS,
                                                         .values = {XP_LIBRARY_OURS, XP_LIBRARY_CLBLAST},
                                                         .exclusive = XP_LIBRARY_CLBLAST};
    xp_gemm_name_shape(&tile, node);
    return tile;
}

bool xp_gemm_library_serves(const xp_device *device, const xp_node *node) {
    xp_tuning tile = tile_of(device, node);
    return xp_tuning_look_up(device, &tile) == XP_OK && tile.parameters[LIBRARY].value == XP_LIBRARY_CLBLAST;
}

/* Both emitters make the same requests, so that the tuner can compare them. */
static xp_status choose(xp_plan *plan, const xp_node *node, xp_tuning *tile, xp_tuning *library) {
    *tile = tile_of(xp_plan_device(plan), node);
    if (library_can(node)) XP_TRY(xp_clblast_tune(plan, node, library));
    static const int order[] = {SHARES, DEPTH, OWN_COLUMNS, OWN_ROWS, SIDE};
    XP_TRY(xp_plan_tune(plan, node, tile));
    xp_tuning_fit(tile, order, sizeof order / sizeof order[0], xp_plan_device(plan), NULL, tile_fits);
    return XP_OK;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

/* The library's product, and a kernel for the epilogue. */
xp_status xp_gemm_emit_library(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    xp_tuning tile, library;
    XP_TRY(choose(plan, node, &tile, &library));
    XP_TRY(xp_clblast_emit(plan, node, &library, tile.handle));
    if (t.sums) XP_TRY(xp_column_sum_launch(plan, node, t.a, t.sums, family));
    if (!t.bias && !t.partner && !t.random_state && p->activation == XP_ACTIVATION_NONE) return XP_OK;

    return xp_gemm_emit_finish(plan, node, t.y, NULL, 1, tile.handle);
}

xp_status xp_gemm_emit_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    xp_tuning tile, library;
    XP_TRY(choose(plan, node, &tile, &library));
    const tile_shape shape = shape_of(&tile);
    const size_t items = (size_t)items_of(&shape);
    xp_launch_request product = {
        .file = "gemm_tiled",
        .kernel = "gemm_tiled",
        .variant.tuning = tile.handle,
        .variant.many_registers = shape.own_rows * shape.own_columns > (t.sums ? MOST_BESIDE_SUMS : MOST),
        .global = {(size_t)(xp_launch_blocks(p->m, rows_of(&shape)) * xp_launch_blocks(p->n, columns_of(&shape))) *
                   items},
        .local = {items}};
    for (int i = 0; i < SHARES; i++)
        xp_variant_set(&product.variant, tile.parameters[i].name, tile.parameters[i].value);
    if (shape.shares > 1) xp_variant_set(&product.variant, "SHARES", shape.shares);
    return xp_gemm_emit_parts(plan, node, &product, tile.parameters[PARTS].value, shape.depth * shape.shares, 4, true);
}
