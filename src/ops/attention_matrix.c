/* Launches of attention on matrix units (cl/attention_matrix_*.cl). Owns the choice of blocks, and what the units
 * cannot do. */
#include "device/matrix.h"
#include "ops/attention_launch.h"
#include "ops/ops.h"

#include <float.h>

/* As in cl/matrix.clh and cl/attention_matrix.clh. */
enum { RIGHT_WORDS = 16 /* of all fragments that are loaded for one step */, CHUNK_BYTES = 16 };
/* Parameters of the passes, in the order of their tuning; the backward ones have one row of fragments. */
enum { SUB_GROUPS, KEYS, STAGES, INSTRUCTION, LEFTS, FORWARD_PARAMETERS, BACKWARD_PARAMETERS = LEFTS };
/* Sub-groups that asynchronous units need, and the width of their heads and blocks. */
enum { TEAM = 4, TEAM_WIDTH = 64, LEAST_KEEPING = 3 /* stages of the forward pass, which keeps a block */ };

/* ---- local memory ------------------------------------------------------------------------------------------------ */

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static const xp_matrix_layout *layout_of(const xp_device *device) {
    return xp_matrix_layout_of(device->layout);
}

/* What the choice of blocks depends on. */
typedef struct problem {
    const xp_attention_tensors *t;
    xp_attention_sizes s;
    int64_t bytes; /* of a number */
} problem;

static problem problem_of(const xp_node *node, const xp_attention_tensors *t) {
    return (problem){t, xp_attention_sizes_of(t), (int64_t)xp_storage_bytes(node)};
}

static bool is_single(const problem *p) {
    return p->bytes == 4;
}

static int64_t chunk_numbers(const problem *p) {
    return CHUNK_BYTES / p->bytes;
}

static int64_t tile_bytes(const xp_device *device, const problem *p, int64_t rows, int64_t width) {
    int64_t row = 16;
    while (row < width) row *= 2;
    return xp_matrix_tile_bytes(device->layout, rows, row * p->bytes);
}

static bool is_by_teams(const xp_tuning *tuning) {
    return tuning->parameters[INSTRUCTION].value == XP_INSTRUCTION_WGMMA;
}

static long lefts_of(const xp_tuning *tuning) {
    return tuning->count > LEFTS ? tuning->parameters[LEFTS].value : 1;
}

static int64_t rows_of(const xp_device *device, const xp_tuning *tuning) {
    return tuning->parameters[SUB_GROUPS].value * lefts_of(tuning) * layout_of(device)->rows;
}

/* The widest rows whose fragments fit so many registers. */
static int64_t held_width(const xp_device *device, const problem *p, int words) {
    return words / layout_of(device)->left_words * 2 * chunk_numbers(p);
}

/* Of a kernel whose own rows are factors of width `first` and `second` (0: none), held in `hold_first` and
 * `hold_second` registers if they fit them and else in tiles of their own: the former come by way of the ring. */
static int64_t kernel_bytes(const xp_device *device, const problem *p, const xp_tuning *tuning, int64_t first,
                            int hold_first, int64_t second, int hold_second) {
    const xp_matrix_layout *layout = layout_of(device);
    const int64_t widths[] = {first, second}, rows = rows_of(device, tuning);
    const int64_t holds[] = {held_width(device, p, hold_first), held_width(device, p, hold_second)};
    const long keys = tuning->parameters[KEYS].value, lefts = lefts_of(tuning);
    int64_t ring = tuning->parameters[STAGES].value *
                   (tile_bytes(device, p, keys, p->s.width) + tile_bytes(device, p, keys, p->s.value_width));
    int64_t own = 0, shared = 0;
    for (int i = 0; i < 2; i++) {
        if (widths[i] > holds[i])
            own += tile_bytes(device, p, rows, widths[i]);
        else if (widths[i] > 0)
            ring = larger(ring, tile_bytes(device, p, rows, widths[i]));
    }
    if (device->matrix == XP_MATRIX_EMULATED)
        shared = (int64_t)sizeof(float) * layout->lanes * tuning->parameters[SUB_GROUPS].value *
                     (layout->left_words * (is_by_teams(tuning) ? 9 * lefts /* wgmma_left_ of cl/wgmma.clh */ : lefts) +
                      RIGHT_WORDS + layout->lane_rows * lefts) +
                 (is_by_teams(tuning) ? ring : 0);
    return ring + own + shared;
}

static int64_t forward_bytes(const xp_device *device, const problem *p, const xp_tuning *tuning) {
    return kernel_bytes(device, p, tuning, p->s.width, 32, 0, 0);
}

/* The pass that owns keys keeps two numbers of each query, of two blocks. */
static int64_t backward_bytes(const xp_device *device, const problem *p, const xp_tuning *tuning) {
    const int64_t numbers = 4 * (int64_t)sizeof(float) * tuning->parameters[KEYS].value;
    return larger(kernel_bytes(device, p, tuning, p->s.width, 32, p->s.value_width, 32),
                  kernel_bytes(device, p, tuning, p->s.width, is_single(p) ? 16 : 32, p->s.value_width, 16) + numbers);
}

/* ---- the choice of blocks ---------------------------------------------------------------------------------------- */

static bool suits_teams(const xp_tuning *tuning) {
    const xp_tuning_parameter *p = tuning->parameters;
    const bool keeps = tuning->count <= LEFTS || p[STAGES].value >= LEAST_KEEPING;
    return !is_by_teams(tuning) || (p[KEYS].value == TEAM_WIDTH && p[SUB_GROUPS].value % TEAM == 0 && keeps);
}

static bool forward_fits(const xp_tuning *tuning, const xp_device *device, const void *of) {
    return suits_teams(tuning) && forward_bytes(device, of, tuning) <= (int64_t)device->limits.static_local_bytes;
}

static bool backward_fits(const xp_tuning *tuning, const xp_device *device, const void *of) {
    return suits_teams(tuning) && backward_bytes(device, of, tuning) <= (int64_t)device->limits.static_local_bytes;
}

static bool fit(const xp_device *device, const problem *p, xp_tuning *tuning) {
    static const int order[] = {INSTRUCTION, KEYS, STAGES, SUB_GROUPS, LEFTS};
    return xp_tuning_fit(tuning, order, tuning->count, device, p, tuning->count > LEFTS ? forward_fits : backward_fits);
}

/* Few rows, or too few of them to fill the compute units, make smaller work-groups. */
static void spread(const xp_device *device, const xp_attention_sizes *s, int64_t rows, int64_t heads,
                   xp_tuning *tuning) {
    long *const sub_groups = &tuning->parameters[SUB_GROUPS].value, *const lefts = &tuning->parameters[LEFTS].value;
    const int64_t problems = s->samples * heads * s->stride;
    while (rows_of(device, tuning) > layout_of(device)->rows &&
           (rows_of(device, tuning) / 2 >= rows ||
            problems * xp_launch_blocks(rows, rows_of(device, tuning)) < (int64_t)device->limits.compute_units)) {
        if (tuning->count > LEFTS && *lefts > 1)
            *lefts /= 2;
        else if (*sub_groups > 1)
            *sub_groups /= 2;
        else
            break;
    }
}

/* Whether all scores that are seen are products, and all weights are kept. */
static bool is_of_products(const xp_attention_tensors *t) {
    const xp_attention_attributes *a = t->attributes;
    return a->dropout.threshold == 0 && a->soft_cap <= 0 && !a->alibi && !a->score && !t->bias && !t->mask;
}

/* Whether nothing but the reach of causal attention and one length needs registers beside the products. */
static bool is_plain(const xp_attention_tensors *t) {
    const xp_attention_attributes *a = t->attributes;
    return is_of_products(t) && a->left < 0 && a->stride <= 1 && !a->packed;
}

/* What the registers of a unit's work-items have room for; all zeros: units that attention has no kernels for. Keys are
 * those of a block, whose scores they hold: beside narrow heads (of at most 64) and nothing but the products, beside
 * heads of at most 128, beside wider ones. */
typedef struct room_sizes {
    long forward[3], backward[3];
    long lefts;       /* fragments' rows of narrow heads in the forward pass; of others it is one */
    int64_t together; /* the widest heads whose dk and dv are summed together */
    int64_t widest_forward, widest_backward;
} room_sizes;

static const room_sizes *room_of(const xp_device *device, bool single) {
    static const room_sizes of_singles = {
        {32, 16, 16}, {16, 16, 16}, 1, 64, XP_ATTENTION_SINGLES_FORWARD, XP_ATTENTION_SINGLES_BACKWARD};
    static const room_sizes rooms[XP_MATRICES] = {
        [XP_MATRIX_NVIDIA] = {{64, 32, 16}, {64, 16, 16}, 2, 128, 256, 256},
        [XP_MATRIX_AMD_MFMA] = {{64, 32, 16}, {64, 32, 16}, 2, 256, 256, 256},
        [XP_MATRIX_AMD_WMMA] = {{32, 32, 16}, {16, 16, 16}, 1, 32, 256, 128},
    };
    return single ? &of_singles : &rooms[device->layout];
}

/* Sub-groups of a work-group: `usual`, if the device permits so many. */
static xp_tuning_parameter sub_groups(const xp_device *device, long usual) {
    xp_tuning_parameter sub_groups = {"SUB_GROUPS", 1, {1}};
    for (int i = 1; i < 4 && (size_t)layout_of(device)->lanes << i <= device->limits.work_group_size; i++) {
        sub_groups.values[i] = 1 << i;
        if (1 << i <= usual) sub_groups.value = 1 << i;
    }
    return sub_groups;
}

/* Eight sub-groups read each block from the cache half as often as four, but have no others beside them that work while
 * they meet: they are faster where products, and not what is made between them, take most of the time. */
static long sub_groups_of_plain(const xp_device *device, const problem *p, int64_t widest) {
    return layout_of(device)->asynchronous && is_plain(p->t) && p->s.wider > 32 && p->s.wider <= widest ? 8 : 4;
}

static xp_tuning_parameter stages(const xp_device *device, long usual) {
    return layout_of(device)->asynchronous ? (xp_tuning_parameter){"STAGES", usual, {2, 3, 4}}
                                           : (xp_tuning_parameter){"STAGES", 2, {2}};
}

/* Whether asynchronous units can multiply, which hold only those blocks of both factors and their sums. */
static bool can_by_teams(const xp_device *device, const problem *p) {
    return device->wgmma_bytes > 0 && !device->edits_refused && device->layout == XP_MATRIX_NVIDIA && !is_single(p) &&
           p->s.width == TEAM_WIDTH && p->s.value_width == TEAM_WIDTH;
}

/* They are faster, unless what is made between the products takes most of the time, and the registers. Emulated ones,
 * which have no speed, take turns. */
static bool prefers_teams(const xp_device *device, const problem *p) {
    if (device->matrix == XP_MATRIX_EMULATED) return (p->s.queries + p->s.keys) % 4 != 0;
    return is_of_products(p->t);
}

/* Asks for them where they can and are better. Forward, one more stage is on its way where there is room; emulated ones
 * take turns. */
static void permit_teams(const xp_device *device, const problem *p, int64_t rows, int64_t heads, xp_tuning *tuning) {
    if (!can_by_teams(device, p)) return;
    tuning->parameters[INSTRUCTION].values[1] = XP_INSTRUCTION_WGMMA;
    xp_tuning teams = *tuning;
    teams.parameters[INSTRUCTION].value = XP_INSTRUCTION_WGMMA;
    teams.parameters[SUB_GROUPS] = sub_groups(device, 2 * TEAM);
    teams.parameters[KEYS].value = TEAM_WIDTH;
    if (teams.count > LEFTS) {
        teams.parameters[LEFTS].value = 2;
        teams.parameters[STAGES].value = LEAST_KEEPING + 1;
    }
    spread(device, &p->s, rows, heads, &teams);
    const bool in_turn = device->matrix == XP_MATRIX_EMULATED && p->s.queries % 2;
    if (teams.count > LEFTS && (in_turn || !forward_fits(&teams, device, p)))
        teams.parameters[STAGES].value = LEAST_KEEPING;
    if (prefers_teams(device, p) && suits_teams(&teams)) *tuning = teams;
}

static xp_tuning forward_question(const xp_device *device, const problem *p) {
    const xp_attention_sizes *s = &p->s;
    const room_sizes *room = room_of(device, is_single(p));
    const bool narrow = s->wider <= 64;
    const bool roomy = narrow && (is_single(p) || is_plain(p->t));
    const bool slim = is_single(p) && s->wider <= 32;
    const long keys = s->wider > 128 ? room->forward[2] : room->forward[!roomy];
    xp_tuning tuning = {.kernel = "attention_matrix forward",
                        .file = "attention_matrix_forward",
                        .count = FORWARD_PARAMETERS,
                        .parameters = {sub_groups(device, sub_groups_of_plain(device, p, is_single(p) ? 64 : 128)),
                                       {"KEYS", keys, {16, 32, 64, 128}},
                                       stages(device, 3),
                                       {"INSTRUCTION", XP_INSTRUCTION_MMA, {XP_INSTRUCTION_MMA}},
                                       {"LEFTS",
                                        slim     ? 2
                                        : narrow ? room->lefts
                                                 : 1,
                                        {1, 2}}}};
    spread(device, s, s->class_queries, s->heads, &tuning);
    permit_teams(device, p, s->class_queries, s->heads, &tuning);
    return tuning;
}

static xp_tuning backward_question(const xp_device *device, const problem *p) {
    const xp_attention_sizes *s = &p->s;
    const room_sizes *room = room_of(device, is_single(p));
    const long keys = s->wider > 128   ? room->backward[2]
                      : s->wider > 64  ? room->backward[1]
                      : is_plain(p->t) ? larger(room->backward[0], is_single(p) && s->wider <= 32 ? 32 : 0)
                                       : larger(room->backward[0] / 2, 16);
    xp_tuning tuning = {.kernel = "attention_matrix backward",
                        .file = "attention_matrix_backward",
                        .count = BACKWARD_PARAMETERS,
                        .parameters = {sub_groups(device, is_single(p) ? 4 : sub_groups_of_plain(device, p, 64)),
                                       {"KEYS", keys, {16, 32, 64}},
                                       stages(device, is_single(p) ? 2 : 3),
                                       {"INSTRUCTION", XP_INSTRUCTION_MMA, {XP_INSTRUCTION_MMA}}}};
    spread(device, s, larger(s->class_queries, s->class_keys), s->key_heads, &tuning);
    permit_teams(device, p, larger(s->class_queries, s->class_keys), s->key_heads, &tuning);
    return tuning;
}

/* Of fp32, three make one. */
static int products_of(const problem *p) {
    return is_single(p) ? 3 : 1;
}

/* Linear weights and the slopes of huge scales may not fit 16 bits. */
bool xp_attention_supports_matrix(const xp_device *device, const xp_node *node) {
    if (device->matrix == XP_MATRIX_NONE || room_of(device, false)->forward[0] == 0 ||
        !xp_supports_storage(device, node) || device->limits.work_group_size < (size_t)layout_of(device)->lanes)
        return false;
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const problem p = problem_of(node, &t);
    if (is_single(&p) && (device->arithmetic != XP_ARITHMETIC_FP32_MATRIX || !xp_matrix_multiplies_singles(device)))
        return false;
    if (t.attributes->kernel != XP_KERNEL_SOFTMAX || t.attributes->scale < FLT_MIN) return false;
    const room_sizes *room = room_of(device, is_single(&p));
    if (p.s.wider > (t.d_o ? room->widest_backward : room->widest_forward)) return false;
    xp_tuning tuning = t.d_o ? backward_question(device, &p) : forward_question(device, &p);
    return fit(device, &p, &tuning);
}

static const char *edited_for(const xp_device *device, const xp_tuning *tuning) {
    return device->matrix == XP_MATRIX_NVIDIA && is_by_teams(tuning) ? XP_WGMMA_TARGET : NULL;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

xp_status xp_attention_emit_matrix(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const problem p = problem_of(node, &t);
    const xp_device *device = xp_plan_device(plan);
    xp_attention_blocks blocks = {.tuning = forward_question(device, &p)};
    XP_TRY(xp_attention_tune(plan, node, &blocks.tuning));
    fit(device, &p, &blocks.tuning);
    blocks.aligned = xp_attention_is_aligned(&t, chunk_numbers(&p));
    blocks.matrix = true;
    blocks.products = products_of(&p);
    blocks.edit_for = edited_for(device, &blocks.tuning);
    blocks.rows = rows_of(device, &blocks.tuning);
    blocks.local = (size_t)(layout_of(device)->lanes * blocks.tuning.parameters[SUB_GROUPS].value);
    return xp_attention_launch_forward(plan, node, &blocks);
}

/* Writes delta, and dq if it is wanted. */
static xp_status emit_queries(xp_plan *plan, const xp_node *node, const xp_variant *variant,
                              const xp_attention_tensors *t, const xp_attention_sizes *s, const xp_tuning *tuning,
                              xp_tensor *delta) {
    const xp_device *device = xp_plan_device(plan);
    const double rows = (double)(s->samples * s->heads) * (double)(s->queries + s->keys);
    xp_launch_request request = {.file = "attention_matrix_backward",
                                 .kernel = "attention_backward_queries",
                                 .variant = *variant,
                                 .flops = t->dq ? 2 * s->pairs * (double)(2 * s->width + s->value_width) : 0,
                                 .bytes = 2 * xp_storage_bytes(node) * rows * (double)(s->width + s->value_width)};
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_queries, rows_of(device, tuning)),
                          (size_t)(layout_of(device)->lanes * tuning->parameters[SUB_GROUPS].value), s->heads,
                          s->samples);
    xp_tensor *const read[] = {t->q, t->k, t->v, t->o, t->lse, t->d_o, t->d_lse};
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) xp_launch_read(&request, read[i]);
    xp_attention_pass_sight(&request, t, s);
    xp_launch_write(&request, delta);
    xp_attention_pass_output(&request, t->dq);
    xp_attention_pass_layouts(&request, t);
    xp_view_pass_layout(&request, t->dq);
    return xp_plan_launch(plan, node, &request);
}

/* Writes dk and dv, or one of them. */
static xp_status emit_keys(xp_plan *plan, const xp_node *node, const xp_variant *variant, const xp_attention_tensors *t,
                           const xp_attention_sizes *s, const xp_tuning *tuning, xp_tensor *delta, xp_tensor *dk,
                           xp_tensor *dv) {
    const xp_device *device = xp_plan_device(plan);
    const double rows = (double)(s->samples * s->heads) * (double)(s->queries + s->keys);
    const int64_t keys = dk != NULL, values = dv != NULL;
    xp_launch_request request = {.file = "attention_matrix_backward",
                                 .kernel = "attention_backward_keys",
                                 .variant = *variant,
                                 .flops =
                                     2 * s->pairs * (double)((1 + keys) * s->width + (keys + values) * s->value_width),
                                 .bytes = 2 * xp_storage_bytes(node) * rows * (double)(s->width + s->value_width)};
    if (!keys && !values) return XP_OK;
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_keys, rows_of(device, tuning)),
                          (size_t)(layout_of(device)->lanes * tuning->parameters[SUB_GROUPS].value), s->key_heads,
                          s->samples);
    xp_tensor *const read[] = {t->q, t->k, t->v, t->lse, delta, t->d_o};
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) xp_launch_read(&request, read[i]);
    xp_attention_pass_sight(&request, t, s);
    xp_attention_pass_output(&request, dk);
    xp_attention_pass_output(&request, dv);
    xp_attention_pass_layouts(&request, t);
    xp_view_pass_layout(&request, dk);
    xp_view_pass_layout(&request, dv);
    return xp_plan_launch(plan, node, &request);
}

/* What a program of the backward passes writes. */
static xp_variant writing(const xp_variant *common, const xp_tensor *dq, const xp_tensor *dk, const xp_tensor *dv) {
    xp_variant variant = *common;
    if (!dq && !dk && !dv) variant.edit_for = NULL; /* nothing is multiplied */
    xp_variant_set(&variant, "WRITE_DQ", dq != NULL);
    xp_variant_set(&variant, "WRITE_DK", dk != NULL);
    xp_variant_set(&variant, "WRITE_DV", dv != NULL);
    return variant;
}

xp_status xp_attention_emit_backward_matrix(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const problem p = problem_of(node, &t);
    const xp_attention_sizes s = p.s;
    const xp_device *device = xp_plan_device(plan);
    xp_tuning tuning = backward_question(device, &p);
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    fit(device, &p, &tuning);
    xp_variant common = {0};
    xp_attention_set_variant(&common, &t, &s);
    xp_matrix_set(&common, device->matrix, device->layout);
    if (is_single(&p)) xp_variant_set(&common, "PRODUCTS", products_of(&p));
    common.edit_for = edited_for(device, &tuning);
    xp_variant_set(&common, "ALIGNED", xp_attention_is_aligned(&t, chunk_numbers(&p)));
    xp_attention_set_tuning(&common, &tuning);
    if (t.d_lse) xp_variant_set(&common, "D_LSE", 1);
    xp_tensor *delta = xp_plan_scratch(plan, node, xp_tensor_elements(t.lse));
    xp_tensor *const dv_too = s.wider <= room_of(device, is_single(&p))->together ? t.dv : NULL, *const dv_later =
                                                                                                     dv_too ? NULL
                                                                                                            : t.dv;
    if (!delta) return XP_OUT_OF_MEMORY;
    const xp_variant first = writing(&common, t.dq, t.dk, dv_too), later = writing(&common, NULL, NULL, dv_later);
    XP_TRY(emit_queries(plan, node, &first, &t, &s, &tuning, delta));
    XP_TRY(emit_keys(plan, node, &first, &t, &s, &tuning, delta, t.dk, dv_too));
    XP_TRY(emit_keys(plan, node, &later, &t, &s, &tuning, delta, NULL, dv_later));
    return t.d_bias ? xp_attention_emit_bias_tiled(plan, node, delta) : XP_OK;
}
