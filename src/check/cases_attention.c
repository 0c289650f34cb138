/* Cases of attention: widths, lengths, patterns, masks, scores, dropout and packed views as variants; lengths and heads
 * as shapes. */
#include "check/check.h"
#include "graph/operation.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

/* ---- scores as a user writes them -------------------------------------------------------------------------------- */

static double distance_score(double score, const int64_t place[4], const double *const *tensors, double *slope) {
    *slope = 1;
    return score - (double)0.1f * fabs((double)(place[2] - place[3]));
}

static double table_score(double score, const int64_t place[4], const double *const *tensors, double *slope) {
    *slope = 1 + (double)0.25f * (double)place[1];
    return score * *slope + tensors[0][place[3]] - (place[0] == 1 ? (double)0.5f : 0);
}

static const xp_score scores[] = {
    {.text = "score - slope * abs(query_index - key_index)",
     .scalar_count = 1,
     .scalars = {{"slope", 0.1f}},
     .host = distance_score},
    {.text = "score * (1.0f + 0.25f * head) + table[key_index] - (batch == 1 ? 0.5f : 0.0f)",
     .derivative = "1.0f + 0.25f * head",
     .tensor_count = 1,
     .tensors = {"table"},
     .host = table_score}};

/* ---- variants ---------------------------------------------------------------------------------------------------- */

/* Each entry costs compilations, so a few have to bring every option and edge, alone and together: widths on both sides
 * of the tiles' sizes, value widths of their own, all kinds of lengths, gradients that nobody wants. */
typedef struct variant_entry {
    const char *name;
    int D, E;
    int key_lengths; /* rank */
    bool query_lengths, dropout, view /* of one packed qkv */, packed /* samples */, lse /* takes a gradient */;
    bool pairs; /* stored as bf16, of which some kernels take two columns at once: odd widths are an edge */
    int group;
    unsigned wanted; /* bit 0 dq, bit 1 dk, bit 2 dv; 0: all */
    int linear;      /* 1 + normaliser; 0: softmax */
    int left, right; /* 1 + reach of the window; 0: no limit */
    int stride;
    bool align_last;
    int scales;     /* 1: {1,2}, 2: {3} */
    int mask;       /* rows of a block */
    int mask_parts; /* bit 0: one for each sample, bit 1: for each head */
    float soft_cap;
    bool alibi;
    int bias;  /* 1 + parts, as the mask's */
    int score; /* 1 + place in the list */
} variant_entry;
/* In the first ten, the ten from the twentieth and the fortieth, which the daily tests run, is each option at least
 * once. */
static const variant_entry variants[] = {
    {"plain", 64, 64},
    {"view+lengths", 8, 8, 1, .view = true},
    {"lengths by head", 24, 17, 2, .pairs = true},
    {"packed+causal+bias+dropout", 8, 12, .packed = true, .dropout = true, .right = 1, .bias = 2},
    {"grouped heads+causal", 16, 16, .group = 4, .right = 1},
    {"widest", 256, 200, 2},
    {"causal from the last row", 16, 32, 1, .query_lengths = true, .right = 1, .align_last = true},
    {"strided+causal+last+lengths+dropout", 20, 8, 1, .query_lengths = true, .dropout = true, .right = 1, .stride = 4,
     .align_last = true},
    {"both lengths+lse", 16, 24, 1, .query_lengths = true, .lse = true},
    {"dq alone", 21, 20, .pairs = true, .wanted = 1},
    {"view+lengths+dropout", 64, 64, 1, .dropout = true, .view = true},
    {"narrow", 1, 3, .pairs = true},
    {"dropout", 33, 33, 0, .dropout = true},
    {"wider values", 96, 130, 1},
    {"view", 32, 32, 0, .view = true},
    {"dk alone", 12, 20, 2, .dropout = true, .wanted = 2},
    {"dv alone", 20, 48, .wanted = 4},
    {"packed", 64, 64, .packed = true},
    {"grouped heads", 64, 64, 1, .group = 2},
    {"causal", 64, 64, .right = 1},
    {"window+dropout+lengths", 12, 12, 1, .dropout = true, .left = 80, .right = 3},
    {"pooled+causal", 16, 16, 2, .right = 1, .scales = 1},
    {"pooled+window+strided", 8, 8, .left = 31, .right = 21, .stride = 2, .scales = 2},
    {"mask by sample+lengths", 16, 16, 1, .query_lengths = true, .mask = 1, .mask_parts = 1},
    {"blocks+causal+strided", 12, 12, .right = 1, .stride = 2, .mask = 5, .mask_parts = 3},
    {"bias by head+mask+grouped heads", 12, 8, .query_lengths = true, .group = 2, .mask = 3, .soft_cap = 4, .bias = 3},
    {"soft cap+alibi+window", 8, 16, 1, .left = 1, .right = 50, .soft_cap = 5, .alibi = true},
    {"score with a table+bias by sample+dropout", 8, 8, 2, .dropout = true, .bias = 2, .score = 2},
    {"linear by count+mask+grouped heads+causal", 24, 8, .query_lengths = true, .group = 2, .linear = 2, .right = 1,
     .mask = 1},
    {"alibi+pooled", 8, 8, .scales = 1, .alibi = true},
    {"window", 64, 64, .left = 18, .right = 1 + 40},
    {"strided", 64, 64, .stride = 3},
    {"mask", 32, 16, .mask = 1},
    {"blocks", 16, 16, .mask = 64, .mask_parts = 2},
    {"soft cap", 32, 32, .soft_cap = 2},
    {"alibi+last+strided", 16, 16, .stride = 2, .align_last = true, .alibi = true},
    {"bias", 16, 16, 1, .bias = 4},
    {"bias for all", 8, 8, 0, .bias = 1},
    {"score", 16, 16, .score = 1},
    {"linear", 16, 16, 1, .linear = 1, .left = 20, .right = 20},
    {"linear undivided+strided+dropout", 16, 20, .dropout = true, .linear = 3, .stride = 2},
    {"bias by head+strided+last+lengths", 8, 8, 1, .query_lengths = true, .stride = 3, .align_last = true, .bias = 3},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

typedef struct drawn {
    xp_tensor *leaves[4]; /* what gradients are taken of: q, k, v and the bias, or the packed tensor alone */
    int leaf_count;
    xp_tensor *o, *lse;
    const variant_entry *chosen;
} drawn;

/* Pairs of query and key times columns: what a case may cost. */
enum { LARGEST_WORK = 1000000, LONGEST = 300, BLOCK = 64 };

typedef struct case_sizes {
    int64_t B, N, M, H, G, D, E;
} case_sizes;

static case_sizes draw_sizes(const variant_entry *v, xp_random *shape) {
    const uint32_t kind = xp_random_below(shape, 4);
    const bool many_heads = kind == 0, square = v->view, many_queries = kind == 1 && !square;
    const bool many_keys = kind == 2 && !square && v->D + v->E <= 2 * BLOCK;
    const int group = v->group ? v->group : 1, scales = v->scales == 1 ? 2 : 1;
    const int unit = group > scales ? group : scales; /* divides the heads */
    case_sizes s = {.D = v->D, .E = v->E};
    s.B = 1 + xp_random_below(shape, 4), s.H = unit * (1 + xp_random_below(shape, 4));
    if (many_heads) s.B = 4, s.H = 16; /* large blocks, as training has them */
    s.N = xp_case_size(shape, BLOCK, LONGEST), s.M = square ? s.N : xp_case_size(shape, BLOCK, LONGEST);
    if (many_queries)
        s.B = 2, s.N += s.N < 2 * BLOCK ? 2 * BLOCK : 0, s.M = 1 + s.M % 24; /* whose backward sums have parts */
    const int64_t columns = s.D + s.E;
    while (s.B * s.H * s.N * s.M * columns > LARGEST_WORK && (s.B > 1 || s.H > unit) && !many_heads)
        s.B > s.H / unit ? s.B-- : (s.H -= unit);
    while (s.B * s.H * s.N * s.M * columns > LARGEST_WORK && (s.N > 2 || s.M > 2)) {
        const bool cut_queries = square || s.N > s.M;
        if (cut_queries) s.N -= s.N / 3 + 1;
        if (!cut_queries || square) s.M = square ? s.N : s.M - s.M / 3 - 1;
    }
    if (many_keys) /* more blocks than a ring has */
        s.B = 1, s.H = unit, s.N = BLOCK / 2 + 1 + s.N % 8, s.M = 4 * BLOCK + 1 + s.M % BLOCK;
    s.G = s.H / group;
    return s;
}

static xp_status add_sequences(xp_case *out, const variant_entry *v, const case_sizes *s, bool backward, drawn *made,
                               xp_attention_inputs *in) {
    xp_tensor *qkv[3];
    if (v->view) {
        xp_tensor *all = xp_graph_input(out->graph, "qkv", XP_F32, 5, (int64_t[]){s->B, s->N, 3, s->H, s->D});
        if (!all) return XP_OUT_OF_MEMORY;
        all->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, all, 2, qkv));
        made->leaves[made->leaf_count++] = all;
    } else {
        static const char *const names[] = {"q", "k", "v"};
        /* Packed samples: all of them one after another in one sequence. */
        const int64_t B = v->packed ? 1 : s->B, times = v->packed ? s->B : 1;
        for (int i = 0; i < 3; i++) {
            qkv[i] = xp_graph_input(
                out->graph, names[i], XP_F32, 4,
                (int64_t[]){B, times * (i == 0 ? s->N : s->M), i == 0 ? s->H : s->G, i == 2 ? s->E : s->D});
            if (!qkv[i]) return XP_OUT_OF_MEMORY;
            qkv[i]->needs_gradient = backward && (!v->wanted || v->wanted >> i & 1);
            if (qkv[i]->needs_gradient) made->leaves[made->leaf_count++] = qkv[i];
        }
    }
    in->q = qkv[0], in->k = qkv[1], in->v = qkv[2];
    return XP_OK;
}

static xp_status add_lengths(xp_case *out, const variant_entry *v, const case_sizes *s, xp_attention_inputs *in) {
    const int64_t starts = s->B + 1;
    if (v->packed) {
        in->query_lengths = xp_graph_input(out->graph, "query_starts", XP_I32, 1, &starts);
        in->key_lengths = xp_graph_input(out->graph, "key_starts", XP_I32, 1, &starts);
        if (!in->query_lengths || !in->key_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, in->query_lengths, XP_FILL_STARTS, s->B * s->N);
        xp_case_fill(out, in->key_lengths, XP_FILL_STARTS, s->B * s->M);
        return XP_OK;
    }
    if (v->key_lengths) {
        in->key_lengths = xp_graph_input(out->graph, "key_lengths", XP_I32, v->key_lengths, (int64_t[]){s->B, s->H});
        if (!in->key_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, in->key_lengths, XP_FILL_LENGTH, s->M);
        xp_case_poison(out, in->k, in->key_lengths);
        xp_case_poison(out, in->v, in->key_lengths);
    }
    if (v->query_lengths) {
        in->query_lengths = xp_graph_input(out->graph, "query_lengths", XP_I32, 1, &s->B);
        if (!in->query_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, in->query_lengths, XP_FILL_LENGTH, s->N);
        xp_case_poison(out, in->q, in->query_lengths);
    }
    return XP_OK;
}

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static xp_status add_tables(xp_case *out, const variant_entry *v, const case_sizes *s, bool backward, drawn *made,
                            xp_attention_inputs *in) {
    const int64_t rows = v->packed ? s->B * s->N : s->N, columns = v->packed ? s->B * s->M : s->M;
    if (v->mask) {
        in->mask = xp_graph_input(out->graph, "mask", XP_I32, 4,
                                  (int64_t[]){v->mask_parts & 1 ? s->B : 1, v->mask_parts & 2 ? s->H : 1,
                                              divide_up(rows, v->mask), divide_up(divide_up(columns, v->mask), 32)});
        if (!in->mask) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, in->mask, XP_FILL_BITS, 0);
    }
    if (v->bias) {
        const int parts = v->bias - 1;
        in->bias = xp_graph_input(out->graph, "bias", XP_F32, 4,
                                  (int64_t[]){parts & 1 ? s->B : 1, parts & 2 ? s->H : 1, rows, columns});
        if (!in->bias) return XP_OUT_OF_MEMORY;
        in->bias->needs_gradient = backward;
        if (backward) made->leaves[made->leaf_count++] = in->bias;
    }
    if (v->score && scores[v->score - 1].tensor_count > 0) {
        in->user[0] = xp_graph_input(out->graph, "table", XP_F32, 1, &columns);
        if (!in->user[0]) return XP_OUT_OF_MEMORY;
    }
    return XP_OK;
}

static xp_attention_attributes attributes_of(const variant_entry *v, const case_sizes *s) {
    xp_attention_attributes a = xp_attention_plain(1.0f / sqrtf((float)v->D));
    if (v->linear) a.kernel = XP_KERNEL_LINEAR, a.normaliser = v->linear - 1;
    a.left = v->left - 1;
    a.right = v->right - 1;
    a.stride = v->stride;
    a.align_last = v->align_last;
    a.mask_block = v->mask;
    a.soft_cap = v->soft_cap;
    a.alibi = v->alibi;
    a.packed = v->packed;
    if (v->packed) a.longest_queries = s->B * s->N, a.longest_keys = s->B * s->M;
    if (v->scales == 1) a.scale_count = 2, a.scales[0] = 1, a.scales[1] = 2;
    if (v->scales == 2) a.scale_count = 1, a.scales[0] = 3;
    if (v->score) a.score = &scores[v->score - 1];
    return a;
}

/* Linear weights are divided by their sum: with features as they come from a positive feature map it does not vanish.
 */
static xp_status positive(xp_case *out, const variant_entry *v, const xp_attention_inputs *in) {
    if (v->linear != 1 + XP_NORMALISER_SUM) return XP_OK;
    xp_case_fill(out, in->q, XP_FILL_POSITIVE, 0);
    xp_case_fill(out, in->k, XP_FILL_POSITIVE, 0);
    return XP_OK;
}

static xp_status draw(xp_case *out, xp_random *shape, bool backward, drawn *made) {
    const variant_entry *v = made->chosen = &variants[out->number % VARIANTS];
    out->storage = v->pairs ? XP_BF16 : XP_F32;
    const case_sizes s = draw_sizes(v, shape);
    xp_attention_inputs in = {0};
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    XP_TRY(add_sequences(out, v, &s, backward, made, &in));
    XP_TRY(add_lengths(out, v, &s, &in));
    XP_TRY(add_tables(out, v, &s, backward, made, &in));
    XP_TRY(positive(out, v, &in));
    const xp_attention_attributes attributes = attributes_of(v, &s);
    made->o = xp_attention(out->graph, &in, &attributes, v->dropout ? 0.25f : 0.0f, &made->lse);
    if (!made->o) return XP_INVALID_ARGUMENT;
    /* A window, stride, mask or lengths may leave little to be seen, as may lengths of few keys; the weight of a single
     * key does not depend on its score. */
    out->zeros_expected = v->mask || v->packed || v->query_lengths || v->left || v->right || v->stride > 1 ||
                          (v->key_lengths && s.M <= 8) || (backward && s.M <= 2 * (v->scales == 2 ? 3 : 2));
    snprintf(out->shape, sizeof out->shape, "%s B=%d H=%d G=%d N=%d M=%d D=%d E=%d", v->name, (int)s.B, (int)s.H,
             (int)s.G, (int)s.N, (int)s.M, (int)s.D, (int)s.E);
    return XP_OK;
}

xp_status xp_case_attention(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    XP_TRY(draw(out, shape, false, &made));
    out->node = made.o->producer;
    return XP_OK;
}

xp_status xp_case_attention_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    XP_TRY(draw(out, shape, true, &made));
    xp_tensor *gradients[4], *outputs[] = {made.o, made.lse}, *seeds[2] = {0};
    seeds[0] = xp_graph_input(out->graph, "d_o", XP_F32, 4, made.o->shape);
    if (made.chosen->lse) seeds[1] = xp_graph_input(out->graph, "d_lse", XP_F32, 3, made.lse->shape);
    if (!seeds[0] || (made.chosen->lse && !seeds[1])) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, made.chosen->lse ? 2 : 1, outputs, seeds, made.leaf_count, made.leaves,
                                  gradients));
    for (int i = 0; i < out->graph->node_count; i++)
        if (strcmp(out->graph->nodes[i]->operation->name, "attention_backward") == 0) out->node = out->graph->nodes[i];
    return XP_OK;
}

xp_status xp_case_attention_map(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    while (variants[out->number % VARIANTS].packed) out->number++;
    XP_TRY(draw(out, shape, false, &made));
    xp_tensor *map = xp_attention_map(out->graph, made.o);
    if (!map) return XP_INVALID_ARGUMENT;
    out->node = map->producer;
    return XP_OK;
}
