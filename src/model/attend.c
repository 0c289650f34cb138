/* From a specification line to operations on q, k and v. */
#include "model/attend.h"

#include "graph/store.h"
#include "ops/ops.h"

#include <math.h>
#include <stdio.h>

static xp_tensor *learned_beta(xp_graph *graph, const char *name, float value, int64_t heads) {
    char full[XP_NAME_BYTES];
    if (!graph->store) {
        xp_fail(XP_INVALID_ARGUMENT, "attention: beta=learned needs a graph with a store of parameters");
        return NULL;
    }
    snprintf(full, sizeof full, "%.50s.beta", name);
    if (xp_store_add(graph->store, full, XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, value, 1, &heads) != XP_OK)
        return NULL;
    return xp_graph_parameter(graph, full);
}

xp_tensor *xp_attend_specified(xp_graph *graph, const xp_specification *specification, const char *name, xp_tensor *q,
                               xp_tensor *k, xp_tensor *v, xp_tensor *key_lengths, float dropout,
                               xp_tensor **lse_or_null) {
    if (!q || !k || !v) return NULL;
    const int64_t heads = q->rank > 2 ? q->shape[2] : 0, width = q->shape[q->rank - 1];
    xp_tensor *counts = key_lengths;
    if (q->rank != 4 || k->rank != 4 || v->rank != 4) {
        xp_fail(XP_INVALID_ARGUMENT, "attention: q, k and v have to be [batch,rows,heads,width]");
        return NULL;
    }
    if (xp_specification_check(specification, (int)heads, (int)k->shape[1]) != XP_OK) return NULL;
    if (specification->scale_count > 0) {
        xp_attention_pool_attributes pool = {.scale_count = specification->scale_count};
        for (int i = 0; i < specification->scale_count; i++) pool.scales[i] = specification->scales[i];
        k = xp_attention_pool(graph, k, key_lengths, &pool, &counts);
        v = xp_attention_pool(graph, v, key_lengths, &pool, NULL);
        if (!k || !v) return NULL;
    }
    if (specification->bn) {
        const xp_attention_normalise_attributes normalise = {
            .beta = specification->bn_beta, .scale = specification->bn_scale, .epsilon = specification->bn_epsilon};
        xp_tensor *beta = NULL;
        if (specification->bn_beta_learned && !(beta = learned_beta(graph, name, specification->bn_beta, heads)))
            return NULL;
        if (xp_attention_normalise(graph, q, k, counts, beta, &normalise, &q, &k) != XP_OK) return NULL;
    }
    const xp_attention_attributes attributes = xp_attention_plain((float)(1 / sqrt((double)width)));
    return xp_attention(graph, &(xp_attention_inputs){.q = q, .k = k, .v = v, .key_lengths = counts}, &attributes,
                        dropout, lse_or_null);
}

xp_tensor *xp_attend(xp_graph *graph, const char *specification, const char *name, xp_tensor *q, xp_tensor *k,
                     xp_tensor *v, xp_tensor *key_lengths, float dropout) {
    xp_specification parsed;
    if (xp_specification_parse(specification, &parsed) != XP_OK) return NULL;
    return xp_attend_specified(graph, &parsed, name ? name : "attention", q, k, v, key_lengths, dropout, NULL);
}
