/* One attention layer with given keys and values. */
#include "svr/evaluate.h"

#include "graph/plan.h"
#include "ops/ops.h"

#include <math.h>
#include <stdlib.h>

enum { WORD_BITS = 32 };

typedef struct layer {
    const xp_svr_problem *problem;
    xp_graph *graph;
    xp_plan *plan;
    xp_tensor *q, *k, *v, *mask, *o;
    float *queries, *keys;
    int32_t *bits;
} layer;

/* ---- what goes in ------------------------------------------------------------------------------------------------ */

static void round_rows(const double *from, int64_t count, float *to) {
    for (int64_t e = 0; e < count; e++) to[e] = (float)from[e];
}

static xp_status make_rows(layer *l) {
    const xp_svr_points *points = l->problem->points;
    const int64_t point_elements = points->count * points->width, grid_elements = points->grid_count * points->width;
    l->queries = malloc((size_t)(point_elements + grid_elements) * sizeof(float));
    l->keys = malloc((size_t)point_elements * sizeof(float));
    if (!l->queries || !l->keys) return xp_fail(XP_OUT_OF_MEMORY, "no memory for an attention layer");
    round_rows(points->keys, point_elements, l->keys);
    round_rows(points->keys, point_elements, l->queries);
    round_rows(points->grid_keys, grid_elements, l->queries + point_elements);
    return XP_OK;
}

/* [1,1,queries,words]: a bit for each key that a query sees. */
static xp_status make_mask(layer *l) {
    const xp_svr_problem *p = l->problem;
    const int64_t words = (p->size + WORD_BITS - 1) / WORD_BITS;
    uint32_t *bits = calloc((size_t)(p->queries * words), sizeof *bits);
    if (!bits) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a mask");
    l->bits = (int32_t *)bits;
    for (int64_t i = 0; i < p->queries; i++)
        for (int64_t j = 0; j < p->size; j++)
            if (xp_svr_problem_sees(p, i, j)) bits[i * words + j / WORD_BITS] |= 1u << j % WORD_BITS;
    l->mask = xp_graph_input(l->graph, "mask", XP_I32, 4, (int64_t[]){1, 1, p->queries, words});
    return l->mask ? XP_OK : XP_OUT_OF_MEMORY;
}

/* log m_j, as a user's score. */
static const xp_score *make_score(layer *l) {
    xp_score *score = xp_graph_memory(l->graph, sizeof *score);
    if (score)
        *score = (xp_score){
            .text = "score + rate * key_index", .scalar_count = 1, .scalars[0] = {"rate", l->problem->attention->rate}};
    return score;
}

/* ---- the layer --------------------------------------------------------------------------------------------------- */

static xp_status build(layer *l) {
    const xp_svr_problem *p = l->problem;
    const xp_svr_attention *attention = p->attention;
    xp_tensor *key_lengths = NULL;
    XP_TRY(xp_graph_create(&l->graph, NULL, false));
    xp_graph_scope(l->graph, "svr");
    l->q = xp_graph_input(l->graph, "queries", XP_F32, 4, (int64_t[]){1, p->queries, 1, p->width});
    l->k = xp_graph_input(l->graph, "keys", XP_F32, 4, (int64_t[]){1, p->points->count, 1, p->width});
    l->v = xp_graph_input(l->graph, "values", XP_F32, 4, (int64_t[]){1, p->size, 1, p->outputs});
    if (!l->q || !l->k || !l->v) return XP_OUT_OF_MEMORY;
    xp_tensor *q = l->q, *k = l->k;
    if (attention->pool) {
        const xp_attention_pool_attributes pool = {.scale_count = 1, .scales = {attention->pool}};
        if (!(k = xp_attention_pool(l->graph, k, NULL, &pool, &key_lengths))) return XP_INVALID_ARGUMENT;
    }
    if (attention->bn) {
        const xp_attention_normalise_attributes normalise = {.beta = 1, .scale = 1, .epsilon = xp_svr_bn_epsilon};
        XP_TRY(xp_attention_normalise(l->graph, q, k, key_lengths, NULL, NULL, &normalise, &q, &k));
    }
    if (attention->linear) {
        const xp_linear_attention_attributes linear = {
            .features = XP_FEATURE_ELU, .normaliser = XP_NORMALISER_SUM, .scale = 1};
        l->o = xp_linear_attention(l->graph, q, k, l->v, key_lengths, NULL, &linear);
    } else {
        if (attention->blocks) XP_TRY(make_mask(l));
        const xp_attention_inputs inputs = {.q = q, .k = k, .v = l->v, .key_lengths = key_lengths, .mask = l->mask};
        xp_attention_attributes attributes = xp_attention_plain(1.0f / sqrtf((float)p->width));
        if (attention->rate != 0 && !(attributes.score = make_score(l))) return XP_OUT_OF_MEMORY;
        l->o = xp_attention(l->graph, &inputs, &attributes, 0, NULL);
    }
    if (!l->o) return XP_INVALID_ARGUMENT;
    l->o->keep = true;
    return XP_OK;
}

static xp_status run(layer *l, xp_device *device, const float *values, float *o) {
    XP_TRY(xp_plan_create(&l->plan, device, l->graph));
    XP_TRY(xp_plan_realise(l->plan, NULL));
    XP_TRY(xp_plan_write(l->plan, l->q, l->queries));
    XP_TRY(xp_plan_write(l->plan, l->k, l->keys));
    XP_TRY(xp_plan_write(l->plan, l->v, values));
    if (l->mask) XP_TRY(xp_plan_write(l->plan, l->mask, l->bits));
    XP_TRY(xp_plan_run(l->plan));
    return xp_plan_read(l->plan, l->o, o);
}

xp_status xp_svr_evaluate(xp_device *device, const xp_svr_problem *problem, const float *values, float *o) {
    layer l = {.problem = problem};
    xp_status status = make_rows(&l);
    if (status == XP_OK) status = build(&l);
    if (status == XP_OK) status = run(&l, device, values, o);
    xp_plan_close(&l.plan);
    xp_graph_close(&l.graph);
    free(l.queries);
    free(l.keys);
    free(l.bits);
    return status;
}
