/* From a specification to operations: convolution, pooling, normalisation, features, attention, in this order. Owns the
 * choice between the quadratic and the linear kernel, the masks on the host and the learned parts. */
#include "model/attention.h"

#include "core/text.h"
#include "data/npy.h"
#include "ops/ops.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What the functions below share. q, k and v are replaced step by step. */
typedef struct chain {
    xp_graph *graph;
    const xp_specification *spec;
    const xp_attention_layer_inputs *in;
    const char *scope;
    xp_tensor *q, *k, *v, *key_lengths;
    int64_t heads, key_heads, width; /* H, G, D of what came in */
    int64_t queries, keys;           /* N, M of what came in; when packed, of the longest sample */
    xp_specification in_step;        /* of a step of generation: without `causal`, as only earlier rows are pooled */
    xp_type type;                    /* of what came in */
    bool linear_time;
} chain;

/* A tensor for an operation that has no kernels for 16 bits. */
static xp_tensor *single(const chain *c, xp_tensor *x) {
    return xp_cast(c->graph, x, XP_F32);
}

static xp_status deny(const chain *c, xp_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static xp_status deny(const chain *c, xp_status status, const char *format, ...) {
    char reason[1400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return xp_specification_reject(c->spec, status, reason);
}

/* A learned part "<scope>.<name>". */
static xp_tensor *parameter(const chain *c, const char *name, xp_parameter_kind kind, xp_initial initial, float value,
                            int rank, const int64_t *shape) {
    char full[XP_NAME_BYTES];
    if (!c->graph->store) {
        deny(c, XP_INVALID_ARGUMENT, "%s is learned, but this graph has no parameters", name);
        return NULL;
    }
    snprintf(full, sizeof full, "%s%s%s", c->scope, *c->scope ? "." : "", name);
    if (xp_store_add(c->graph->store, full, kind, initial, value, rank, shape) != XP_OK) return NULL;
    return xp_graph_parameter(c->graph, full);
}

/* ---- constants from files ---------------------------------------------------------------------------------------- */

/* The layers of a model read the same files: a constant is made once per graph and key. */
static void name_constant(char name[XP_NAME_BYTES], const char *what, const char *key) {
    snprintf(name, XP_NAME_BYTES, "%s %016llx", what, (unsigned long long)XXH3_64bits(key, strlen(key)));
}

static xp_tensor *find_constant(const xp_graph *graph, const char *name) {
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->role == XP_ROLE_CONSTANT && strcmp(graph->tensors[i]->name, name) == 0)
            return graph->tensors[i];
    return NULL;
}

/* A tensor that a score names: the file's numbers, in its shape. */
static xp_tensor *named_tensor(const chain *c, const char *file) {
    char name[XP_NAME_BYTES];
    name_constant(name, "score", file);
    xp_tensor *tensor = find_constant(c->graph, name);
    if (tensor) return tensor;
    xp_npy array;
    if (xp_npy_read(&array, file) != XP_OK) return NULL;
    float *values = malloc((size_t)array.elements * sizeof *values);
    for (int64_t i = 0; values && i < array.elements; i++) values[i] = (float)xp_npy_value(&array, i);
    if (values)
        tensor = xp_graph_constant(c->graph, name, XP_F32, 1, &array.elements, values);
    else
        xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for %lld numbers", file, (long long)array.elements);
    free(values);
    xp_npy_release(&array);
    return tensor;
}

/* ---- masks ------------------------------------------------------------------------------------------------------- */

/* What says whether query i may look at key j, before pooling. */
typedef struct sieve {
    xp_npy file;            /* no data: disjoint blocks */
    int64_t samples, heads; /* that it distinguishes; 1: none */
    int64_t rows, columns;  /* of the file */
    int64_t block;          /* rows and columns that one of its elements speaks for */
} sieve;

static bool lets_through(const sieve *s, int64_t sample, int64_t head, int64_t i, int64_t j) {
    const int64_t row = i / s->block, column = j / s->block;
    if (!s->file.data) return row == column;
    const int64_t b = s->samples > 1 ? sample : 0, h = s->heads > 1 ? head : 0;
    return xp_npy_value(&s->file, ((b * s->heads + h) * s->rows + row) * s->columns + column) != 0;
}

/* A file is [N,M], [H,N,M] or [B,H,N,M], where B and H may be 1. */
static xp_status open_sieve(const chain *c, sieve *s) {
    const char *file = c->spec->mask_file[0] ? c->spec->mask_file : c->spec->block_file;
    *s = (sieve){.samples = 1, .heads = 1, .block = c->spec->block ? c->spec->block : 1};
    s->rows = (c->queries + s->block - 1) / s->block;
    s->columns = (c->keys + s->block - 1) / s->block;
    if (!*file) return XP_OK;
    XP_TRY(xp_npy_read(&s->file, file));
    const int rank = s->file.rank;
    const int64_t *shape = s->file.shape;
    if (rank >= 3) s->heads = shape[rank - 3];
    if (rank >= 4) s->samples = shape[rank - 4];
    if (s->file.type == XP_NPY_F32 || s->file.type == XP_NPY_F64)
        return deny(c, XP_INVALID_ARGUMENT,
                    "%s contains numbers of type %s: a mask contains bool or whole numbers, where all but 0 mean seen",
                    file, xp_npy_type_name(s->file.type));
    const int64_t samples = c->in->packed ? c->in->key_lengths->shape[0] - 1 : c->q->shape[0];
    if (rank < 2 || rank > 4 || shape[rank - 2] != s->rows || shape[rank - 1] != s->columns ||
        (s->heads != 1 && s->heads != c->heads) || (s->samples != 1 && s->samples != samples)) {
        char text[200] = "[";
        for (int i = 0; i < rank; i++) xp_text_add(text, sizeof text, "%s%lld", i ? "," : "", (long long)shape[i]);
        return deny(c, XP_INVALID_ARGUMENT,
                    "%s is %s], but %lld queries and %lld keys%s need [%lld,%lld], preceded by heads (%lld) and "
                    "samples if they differ",
                    file, text, (long long)c->queries, (long long)c->keys, s->block > 1 ? " in blocks" : "",
                    (long long)s->rows, (long long)s->columns, (long long)c->heads);
    }
    return XP_OK;
}

/* A window of rows that a pooled key of one head averages: `lines` runs of `run` rows, `pitch` rows apart. */
typedef struct pooled_key {
    int64_t first, lines, run, pitch;
} pooled_key;

/* False after the last pooled key of the head. */
static bool find_window(const chain *c, int64_t scale, int64_t j, pooled_key *out) {
    const int64_t height = c->in->grid_height, breadth = c->in->grid_width, token = c->in->class_token;
    if (height == 0) {
        const int64_t first = j * scale, left = c->keys - first;
        *out = (pooled_key){first, 1, left < scale ? left : scale, 0};
        return first < c->keys;
    }
    if (token && j == 0) {
        *out = (pooled_key){0, 1, 1, 0};
        return true;
    }
    const int64_t across = (breadth + scale - 1) / scale, cell = j - token;
    const int64_t y = cell / across * scale, x = cell % across * scale;
    *out = (pooled_key){token + y * breadth + x, height - y < scale ? height - y : scale,
                        breadth - x < scale ? breadth - x : scale, breadth};
    return y < height;
}

/* Seen if every row of its window is. */
static bool sees_window(const sieve *s, int64_t sample, int64_t head, int64_t i, const pooled_key *key) {
    for (int64_t line = 0; line < key->lines; line++)
        for (int64_t n = 0; n < key->run; n++)
            if (!lets_through(s, sample, head, i, key->first + line * key->pitch + n)) return false;
    return true;
}

static void set_bit(uint32_t *words, int64_t column) {
    words[column / 32] |= (uint32_t)1 << column % 32;
}

/* One word array [samples,heads,rows,⌈columns/32⌉] out of the sieve; of pooled keys, each head has its own. */
static xp_tensor *pack(const chain *c, const sieve *s, const char *name) {
    const bool pooled = c->spec->scale_count > 0;
    const int64_t heads = pooled ? c->heads : s->heads, rows = pooled ? c->queries : s->rows;
    const int64_t columns = pooled ? c->k->shape[1] : s->columns, row_words = (columns + 31) / 32;
    uint32_t *words = calloc((size_t)(s->samples * heads * rows * row_words), sizeof *words);
    if (!words) {
        xp_fail(XP_OUT_OF_MEMORY, "no memory for a mask of %lld by %lld", (long long)rows, (long long)columns);
        return NULL;
    }
    uint32_t *to = words;
    for (int64_t b = 0; b < s->samples; b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < rows; i++, to += row_words)
                for (int64_t j = 0; j < columns; j++) {
                    pooled_key key;
                    const bool seen = !pooled ? lets_through(s, b, h, i * s->block, j * s->block)
                                              : find_window(c, c->spec->scales[h % c->spec->scale_count], j, &key) &&
                                                    sees_window(s, b, h, i, &key);
                    if (seen) set_bit(to, j);
                }
    xp_tensor *mask =
        xp_graph_constant(c->graph, name, XP_I32, 4, (int64_t[]){s->samples, heads, rows, row_words}, words);
    free(words);
    return mask;
}

/* *mask stays NULL where the specification has none. */
static xp_status build_mask(const chain *c, xp_tensor **mask, int *mask_block) {
    const xp_specification *spec = c->spec;
    if (!spec->block && !spec->mask_file[0]) return XP_OK;
    *mask_block = spec->scale_count ? 0 : spec->block;
    char key[3 * XP_SPECIFICATION_BYTES], name[XP_NAME_BYTES];
    snprintf(key, sizeof key, "%s|%s|%d|%lld|%lld|%lld|%d|%d|%d", spec->mask_file, spec->block_file, spec->block,
             (long long)c->queries, (long long)c->keys, (long long)c->heads, c->in->grid_height, c->in->grid_width,
             c->in->class_token);
    for (int i = 0; i < spec->scale_count; i++) xp_text_add(key, sizeof key, ",%d", spec->scales[i]);
    name_constant(name, "mask", key);
    if ((*mask = find_constant(c->graph, name))) return XP_OK;
    sieve s;
    xp_status status = open_sieve(c, &s);
    if (status == XP_OK && !(*mask = pack(c, &s, name))) status = XP_OUT_OF_MEMORY;
    xp_npy_release(&s.file);
    return status;
}

/* ---- the user's score -------------------------------------------------------------------------------------------- */

static char *keep_text(xp_graph *graph, const char *text) {
    const size_t bytes = strlen(text) + 1;
    char *copy = xp_graph_memory(graph, bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

static xp_status build_score(const chain *c, xp_attention_attributes *attributes, xp_attention_inputs *inputs) {
    const xp_specification *spec = c->spec;
    if (!spec->score[0]) return XP_OK;
    xp_score *score = xp_graph_memory(c->graph, sizeof *score);
    if (!score || !(score->text = keep_text(c->graph, spec->score))) return XP_OUT_OF_MEMORY;
    if (spec->derivative[0] && !(score->derivative = keep_text(c->graph, spec->derivative))) return XP_OUT_OF_MEMORY;
    score->host = c->in->score_host;
    for (int i = 0; i < spec->name_count; i++) {
        const char *name = keep_text(c->graph, spec->names[i].name);
        if (!name) return XP_OUT_OF_MEMORY;
        if (spec->names[i].file[0]) {
            xp_tensor *tensor = named_tensor(c, spec->names[i].file);
            if (!tensor) return XP_INVALID_ARGUMENT;
            inputs->user[score->tensor_count] = tensor;
            score->tensors[score->tensor_count++] = name;
        } else {
            score->scalars[score->scalar_count].name = name;
            score->scalars[score->scalar_count++].value = spec->names[i].value;
        }
    }
    attributes->score = score;
    return XP_OK;
}

/* ---- before the attention ---------------------------------------------------------------------------------------- */

/* *x under a depthwise convolution that is learned, one filter a column; starts as PyTorch's. */
static xp_status filter(const chain *c, const char *name, xp_tensor **x, xp_tensor *lengths) {
    const int size = c->spec->conv1d ? c->spec->conv1d : c->spec->conv2d, rank = c->spec->conv1d ? 2 : 3;
    const xp_depthwise_convolution_attributes attributes = {.width = size,
                                                            .causal = xp_specification_is_one_sided(c->spec),
                                                            .grid_height = c->in->grid_height,
                                                            .grid_width = c->in->grid_width,
                                                            .class_token = c->in->class_token};
    const float bound = (float)(1 / sqrt(rank == 2 ? size : (double)size * size));
    xp_tensor *weight = parameter(c, name, XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, bound, rank,
                                  (int64_t[]){(*x)->shape[2] * (*x)->shape[3], size, size});
    *x = xp_depthwise_convolution(c->graph, single(c, *x), weight, lengths, &attributes);
    return *x ? XP_OK : XP_INVALID_ARGUMENT;
}

/* The row of q [1,N,H,D] that asks, [1,1,H,D]. */
static xp_status choose_query(chain *c) {
    const int64_t rows = c->q->shape[1], columns = c->heads * c->width;
    c->q = xp_graph_reshape(c->graph, c->q, 2, (int64_t[]){rows, columns});
    c->q = c->q ? xp_lookup(c->graph, c->q, c->in->step) : NULL;
    c->q = xp_graph_reshape(c->graph, c->q, 4, (int64_t[]){1, 1, c->heads, c->width});
    return c->q ? XP_OK : XP_INVALID_ARGUMENT;
}

static xp_status convolve(chain *c) {
    if (!c->spec->conv1d && !c->spec->conv2d) return XP_OK;
    XP_TRY(filter(c, "query_convolution", &c->q, c->in->query_lengths));
    if (c->in->step) XP_TRY(choose_query(c));
    return filter(c, "key_convolution", &c->k, c->in->key_lengths);
}

static xp_status pool(chain *c) {
    const xp_specification *spec = c->spec;
    if (spec->scale_count == 0) return XP_OK;
    xp_attention_pool_attributes attributes = {.scale_count = spec->scale_count,
                                               .grid_height = c->in->grid_height,
                                               .grid_width = c->in->grid_width,
                                               .class_token = c->in->class_token,
                                               .whole = c->in->step != NULL};
    for (int i = 0; i < spec->scale_count; i++) attributes.scales[i] = (int16_t)spec->scales[i];
    if (c->in->step) { /* the pooled keys before its end are those that are whole: nothing else hides one */
        c->in_step = *spec;
        c->in_step.causal = false;
        c->spec = &c->in_step;
    }
    c->k = xp_attention_pool(c->graph, single(c, c->k), c->in->key_lengths, &attributes, &c->key_lengths);
    c->v = xp_attention_pool(c->graph, single(c, c->v), c->in->key_lengths, &attributes, NULL);
    return c->k && c->v ? XP_OK : XP_INVALID_ARGUMENT;
}

/* Where no query sees a later key, its statistics are those of the keys up to it, so that nothing leaks. */
static xp_status normalise(chain *c) {
    const xp_specification *spec = c->spec;
    if (!spec->bn) return XP_OK;
    xp_attention_normalise_attributes attributes = {.beta = spec->bn_beta,
                                                    .scale = spec->bn_scale,
                                                    .epsilon = spec->bn_epsilon,
                                                    .both = spec->features != XP_FEATURES_NONE,
                                                    .packed = c->in->packed};
    if (xp_specification_is_one_sided(spec)) {
        attributes.prefix = 1;
        attributes.align_last = spec->causal_last;
        /* A constant added to a row of scores cancels in the softmax, unless the score is changed by a nonlinear
         * function afterwards. */
        attributes.constant = !spec->features && (spec->soft_cap > 0 || spec->score[0]);
        attributes.key_scale_count = spec->scale_count;
        for (int i = 0; i < spec->scale_count; i++) attributes.key_scales[i] = (int16_t)spec->scales[i];
    }
    xp_tensor *beta = NULL;
    if (spec->bn_beta_learned) {
        beta = parameter(c, "beta", XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, spec->bn_beta, 1, &c->key_heads);
        if (!beta) return XP_INVALID_ARGUMENT;
    }
    return xp_attention_normalise(c->graph, single(c, c->q), single(c, c->k), c->key_lengths, c->in->query_lengths,
                                  beta, &attributes, &c->q, &c->k);
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* Whether running sums over the keys do. They do not where a query sees some keys and not others for another reason
 * than that these come later, nor where single weights are dropped. */
static bool is_linear_time(const xp_specification *spec, bool drops, bool packed) {
    const bool whole = !spec->window && spec->stride <= 1 && !spec->block && !spec->mask_file[0];
    return spec->features && whole && !(spec->scale_count && spec->causal) && !drops && !packed;
}

/* Features without a sign are divided by their sum; those with one could sum to 0, and are averaged. */
static xp_normaliser normaliser_of(const xp_specification *spec) {
    if (spec->unnormalised) return XP_NORMALISER_NONE;
    return spec->features == XP_FEATURES_IDENTITY ? XP_NORMALISER_COUNT : XP_NORMALISER_SUM;
}

static float scale_of(const chain *c) {
    if (c->spec->scale > 0) return c->spec->scale;
    if (c->spec->features && normaliser_of(c->spec) == XP_NORMALISER_SUM) return 1; /* it cancels */
    return (float)(1 / sqrt((double)c->width));
}

static xp_feature feature_of(const xp_specification *spec) {
    static const xp_feature features[] = {[XP_FEATURES_ELU] = XP_FEATURE_ELU,
                                          [XP_FEATURES_RELU] = XP_FEATURE_RELU,
                                          [XP_FEATURES_IDENTITY] = XP_FEATURE_IDENTITY,
                                          [XP_FEATURES_SQUARE] = XP_FEATURE_SQUARE};
    return features[spec->features];
}

static xp_tensor *linear_attention(const chain *c) {
    const xp_linear_attention_attributes attributes = {.features = feature_of(c->spec),
                                                       .normaliser = normaliser_of(c->spec),
                                                       .causal = c->spec->causal,
                                                       .align_last = c->spec->causal_last,
                                                       .scale = scale_of(c)};
    xp_tensor *o = xp_linear_attention(c->graph, single(c, c->q), single(c, c->k), single(c, c->v), c->key_lengths,
                                       c->in->query_lengths, &attributes);
    return xp_cast(c->graph, o, c->type);
}

/* The quadratic kernel takes queries and keys with their features applied. */
static xp_status map_features(chain *c) {
    if (!c->spec->features || c->spec->features == XP_FEATURES_IDENTITY) return XP_OK;
    c->q = xp_feature_map(c->graph, single(c, c->q), feature_of(c->spec));
    c->k = xp_feature_map(c->graph, single(c, c->k), feature_of(c->spec));
    return c->q && c->k ? XP_OK : XP_INVALID_ARGUMENT;
}

static void set_pattern(const chain *c, xp_attention_attributes *attributes) {
    const xp_specification *spec = c->spec;
    attributes->left = spec->window ? spec->left : -1;
    attributes->right = spec->window ? spec->right : -1;
    if (spec->causal) attributes->right = 0;
    attributes->stride = spec->stride;
    attributes->align_last = spec->causal_last;
    /* On a grid, no part of the specification uses the position of a pooled key. */
    if (c->in->grid_height || !(spec->causal || spec->window || spec->stride > 1 || spec->alibi)) return;
    attributes->scale_count = spec->scale_count;
    for (int i = 0; i < spec->scale_count; i++) attributes->scales[i] = (int16_t)spec->scales[i];
}

/* The part of all pooled keys that a head has, on average: the tensor has as many as the head of the smallest scale. */
static float pooled_share(const xp_specification *spec) {
    float sum = 0;
    int smallest = INT_MAX;
    for (int i = 0; i < spec->scale_count; i++)
        if (spec->scales[i] < smallest) smallest = spec->scales[i];
    for (int i = 0; i < spec->scale_count; i++) sum += (float)smallest / (float)spec->scales[i];
    return spec->scale_count ? sum / (float)spec->scale_count : 0;
}

static xp_tensor *quadratic_attention(chain *c, xp_tensor **lse) {
    const xp_specification *spec = c->spec;
    if (map_features(c) != XP_OK) return NULL;
    xp_attention_attributes attributes = xp_attention_plain(scale_of(c));
    xp_attention_inputs inputs = {.q = xp_cast(c->graph, c->q, c->type),
                                  .k = xp_cast(c->graph, c->k, c->type),
                                  .v = xp_cast(c->graph, c->v, c->type),
                                  .key_lengths = c->key_lengths,
                                  .query_lengths = c->in->query_lengths};
    if (!inputs.q || !inputs.k || !inputs.v) return NULL;
    attributes.kernel = spec->features ? XP_KERNEL_LINEAR : XP_KERNEL_SOFTMAX;
    attributes.normaliser = spec->features ? normaliser_of(spec) : XP_NORMALISER_SUM;
    attributes.soft_cap = spec->soft_cap;
    attributes.alibi = spec->alibi;
    attributes.packed = c->in->packed;
    attributes.longest_queries = c->in->longest_queries;
    attributes.longest_keys = c->in->longest_keys;
    attributes.key_share = pooled_share(spec);
    set_pattern(c, &attributes);
    if (build_mask(c, &inputs.mask, &attributes.mask_block) != XP_OK) return NULL;
    if (build_score(c, &attributes, &inputs) != XP_OK) return NULL;
    if (spec->bias) {
        const int64_t keys = c->in->packed ? c->keys : c->k->shape[1];
        inputs.bias = parameter(c, "bias", XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, 0, 4,
                                (int64_t[]){1, c->heads, c->queries, keys});
        if (!inputs.bias) return NULL;
    }
    return xp_attention(c->graph, &inputs, &attributes, c->graph->training ? c->in->dropout : 0, lse);
}

static xp_status check(const chain *c) {
    const xp_attention_layer_inputs *in = c->in;
    if (c->q->rank != 4 || c->k->rank != 4 || c->v->rank != 4 || c->q->shape[2] % c->k->shape[2] != 0)
        return deny(c, XP_INVALID_ARGUMENT,
                    "queries %s, keys %s and values %s must be [samples,length,heads,width], and the number of key "
                    "heads must divide that of the query heads",
                    c->q->name, c->k->name, c->v->name);
    const int64_t side = in->grid_height > in->grid_width ? in->grid_height : in->grid_width;
    const xp_specification_use use = {.heads = (int)c->q->shape[2],
                                      .key_heads = (int)c->k->shape[2],
                                      .longest = (int)(side ? side : c->k->shape[1]),
                                      .grid = side > 0};
    XP_TRY(xp_specification_check(c->spec, &use));
    if (in->packed && (!in->key_lengths || !in->query_lengths || in->longest_queries < 1 || in->longest_keys < 1))
        return deny(c, XP_INVALID_ARGUMENT,
                    "packed samples need the starts of queries and of keys, and the longest of each");
    const bool separate = c->spec->scale_count || c->spec->conv1d || c->spec->conv2d;
    if (in->packed && separate)
        return deny(c, XP_UNSUPPORTED, "%s does not support packed samples: pad them",
                    c->spec->scale_count ? "sh" : "convolution");
    return XP_OK;
}

xp_tensor *xp_attention_layer(xp_graph *graph, const xp_specification *specification, const char *scope,
                              const xp_attention_layer_inputs *inputs, xp_tensor **lse) {
    if (!inputs->q || !inputs->k || !inputs->v) return NULL;
    chain c = {.graph = graph,
               .spec = specification,
               .in = inputs,
               .scope = scope,
               .q = inputs->q,
               .k = inputs->k,
               .v = inputs->v,
               .key_lengths = inputs->key_lengths};
    if (lse) *lse = NULL;
    if (check(&c) != XP_OK) return NULL;
    c.type = c.q->type;
    c.heads = c.q->shape[2];
    c.key_heads = c.k->shape[2];
    c.width = c.q->shape[3];
    c.queries = inputs->packed ? inputs->longest_queries : c.q->shape[1];
    c.keys = inputs->packed ? inputs->longest_keys : c.k->shape[1];
    c.linear_time = is_linear_time(specification, graph->training && inputs->dropout > 0, inputs->packed);
    if (convolve(&c) != XP_OK || pool(&c) != XP_OK || normalise(&c) != XP_OK) return NULL;
    return c.linear_time ? linear_attention(&c) : quadratic_attention(&c, lse);
}

xp_tensor *xp_attend(xp_graph *graph, const char *specification, const char *name, xp_tensor *q, xp_tensor *k,
                     xp_tensor *v, xp_tensor *key_lengths, float dropout) {
    xp_specification parsed;
    if (xp_specification_parse(specification, &parsed) != XP_OK) return NULL;
    const xp_attention_layer_inputs inputs = {.q = q, .k = k, .v = v, .key_lengths = key_lengths, .dropout = dropout};
    return xp_attention_layer(graph, &parsed, name ? name : "attention", &inputs, NULL);
}

/* ---- in words ---------------------------------------------------------------------------------------------------- */

void xp_attention_describe(const xp_specification *specification, float dropout, char *text, size_t size) {
    const xp_specification *s = specification;
    if (!s->features) {
        snprintf(text, size, "softmax: time queries × keys, memory their sum; matrix units: bf16, fp16, fp32-matrix%s",
                 s->bias ? ", but not for the gradient of the bias" : "");
    } else if (is_linear_time(s, dropout > 0, false)) {
        snprintf(text, size, "linear%s: running sums, time and memory queries + keys; no matrix units",
                 s->causal ? ", causal" : "");
    } else {
        const char *reason = s->window                     ? "a window"
                             : s->stride > 1               ? "strides"
                             : s->block                    ? "blocks"
                             : s->mask_file[0]             ? "a mask"
                             : s->scale_count && s->causal ? "causal scaled heads"
                                                           : "attention dropout";
        snprintf(text, size, "linear with %s: time queries × keys, memory their sum; no matrix units", reason);
    }
}

void xp_attention_describe_widths(const xp_specification *specification, char *text, size_t size) {
    text[0] = 0;
    if (specification->features) return;
    snprintf(text, size, "fp32-matrix: heads of at most %d numbers, in training %d; wider ones without matrix units",
             XP_ATTENTION_SINGLES_FORWARD, XP_ATTENTION_SINGLES_BACKWARD);
}
