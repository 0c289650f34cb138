/* Cases from random streams. */
#include "check/draw.h"

#include "graph/operation.h"
#include "graph/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_ELEMENTS = 5000,
    SMALL_DRAWS = 200,
    FP16_LARGE = 16,              /* of what stands in a tensor of fp16, whose largest number is 65504 */
    PURPOSE_VARIANT = 0x10000000, /* keep the streams of one seed apart; the case number is added */
    PURPOSE_SHAPE = 0x20000000,
    PURPOSE_DATA = 0x30000000
};

void xp_case_fill(xp_case *out, const xp_tensor *tensor, xp_fill fill, int64_t limit) {
    if (!tensor || out->fill_count == XP_CASE_FILLS) return;
    out->fills[out->fill_count].tensor = tensor;
    out->fills[out->fill_count].fill = fill;
    out->fills[out->fill_count++].limit = limit;
}

void xp_case_values(xp_case *out, const xp_tensor *tensor, int count, const float *values) {
    if (!tensor || out->fill_count == XP_CASE_FILLS) return;
    memcpy(out->fills[out->fill_count].values, values, (size_t)count * sizeof *values);
    xp_case_fill(out, tensor, XP_FILL_VALUES, count);
}

void xp_case_poison(xp_case *out, const xp_tensor *tensor, const xp_tensor *lengths) {
    if (!tensor || !lengths || out->poison_count == XP_CASE_FILLS) return;
    out->poisons[out->poison_count].tensor = tensor;
    out->poisons[out->poison_count++].lengths = lengths;
}

static void close_case(xp_case *content) {
    xp_graph_close(&content->graph);
    xp_store_close(&content->store);
}

static int64_t case_elements(const xp_case *content) {
    int64_t count = 0;
    for (int i = 0; i < content->graph->tensor_count; i++)
        if (!content->graph->tensors[i]->base) count += xp_tensor_elements(content->graph->tensors[i]);
    return count;
}

/* Gives the operands that a row's two masks name, and what shares their storage, a type. */
static void set_type(xp_case *content, unsigned inputs, unsigned outputs, xp_type type) {
    const xp_node *node = content->node;
    for (int t = 0; t < content->graph->tensor_count; t++) {
        xp_tensor *tensor = content->graph->tensors[t];
        bool named = false;
        for (int i = 0; i < node->input_count; i++)
            if (node->inputs[i] && inputs >> i & 1)
                named = named || xp_tensor_root(node->inputs[i]) == xp_tensor_root(tensor);
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i] && outputs >> i & 1)
                named = named || xp_tensor_root(node->outputs[i]) == xp_tensor_root(tensor);
        if (named && tensor->type != XP_I32) tensor->type = type;
    }
    const size_t used = strlen(content->shape);
    snprintf(content->shape + used, sizeof content->shape - used, " %s", xp_type_name(type));
}

/* Some variants of an operation that can store its tensors in 16 bits do so, or all, or none; and where its result may
 * be of another type, a third of them have it in one. */
static void choose_storage(xp_case *content, xp_random *variant, xp_check_storage storage) {
    const xp_operation *operation = content->node->operation;
    if (!operation->stored_inputs && !operation->stored_outputs) return;
    const uint32_t pick = xp_random_below(variant, 6);
    const bool wanted = content->storage != XP_F32;
    const bool single = storage == XP_CHECK_SINGLES || (storage == XP_CHECK_ALL && !wanted && pick < 4);
    const xp_type half = wanted ? content->storage : pick % 2 ? XP_F16 : XP_BF16;
    if (!single) set_type(content, operation->stored_inputs, operation->stored_outputs, half);
    if (operation->result_outputs && xp_random_below(variant, 3) == 0)
        set_type(content, operation->result_inputs, operation->result_outputs, single ? half : XP_F32);
}

xp_status xp_draw_open(xp_draw *out, const xp_case_entry *entry, const xp_check_options *options, int index) {
    uint32_t name_hash = 2166136261u; /* FNV-1a: a filter does not change what an operation's cases are */
    for (const char *c = entry->operation; *c; c++) name_hash = (name_hash ^ (unsigned char)*c) * 16777619u;
    uint64_t seed = options->seed + ((uint64_t)name_hash << 32);
    xp_random shape;
    *out = (xp_draw){0};
    xp_random_start(&shape, seed, PURPOSE_SHAPE + (uint32_t)index);
    xp_random_start(&out->data, seed, PURPOSE_DATA + (uint32_t)index);
    int draws = options->small ? SMALL_DRAWS : 1;
    for (int i = 0; i < draws; i++) {
        xp_random variant;
        xp_random_start(&variant, seed, PURPOSE_VARIANT + (uint32_t)(index % XP_CHECK_VARIANTS));
        xp_case drawn = {.number = index};
        xp_status status = entry->generate(&drawn, &variant, &shape);
        if (status == XP_OK && drawn.node) choose_storage(&drawn, &variant, options->storage);
        if (status == XP_OK && !drawn.node)
            status = xp_fail(XP_INVALID_ARGUMENT, "the case generator of %s names no node", entry->operation);
        if (status != XP_OK) {
            close_case(&drawn);
            return status;
        }
        bool better = !out->content.graph || case_elements(&drawn) < case_elements(&out->content);
        close_case(better ? &out->content : &drawn);
        if (better) out->content = drawn;
        if (case_elements(&out->content) <= SMALL_ELEMENTS) break;
    }
    uint32_t pick = xp_random_below(&out->data, 12);
    out->tight = options->small;
    out->inputs = pick <= XP_INPUTS_ZERO ? (xp_inputs)pick : XP_INPUTS_NORMAL;
    return XP_OK;
}

int64_t xp_draw_elements(const xp_draw *draw) {
    return case_elements(&draw->content);
}

void xp_draw_close(xp_draw *draw) {
    close_case(&draw->content);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static double draw_normal(xp_draw *draw, double constant) {
    switch (draw->inputs) {
    case XP_INPUTS_LARGE:
        return 1e4 * xp_random_normal(&draw->data);
    case XP_INPUTS_CONSTANT:
        return constant;
    case XP_INPUTS_DENORMAL:
        return 1e-39 * xp_random_normal(&draw->data);
    case XP_INPUTS_ZERO:
        return 0;
    case XP_INPUTS_NORMAL:
        break;
    }
    return xp_random_normal(&draw->data);
}

static int32_t draw_length(xp_random *random, int64_t limit) {
    uint32_t pick = xp_random_below(random, 8);
    if (pick == 0) return 0;
    return pick < 4 ? (int32_t)limit : 1 + (int32_t)xp_random_below(random, (uint32_t)limit);
}

/* Words of all bits and of none make tiles that are seen whole and not at all. */
static int32_t draw_bits(xp_random *random) {
    const uint32_t pick = xp_random_below(random, 8);
    return pick < 2 ? 0 : pick < 5 ? -1 : (int32_t)xp_random_next(random);
}

static int by_number(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static void make_starts(int32_t *words, int64_t count, int64_t limit) {
    words[0] = 0;
    words[count - 1] = (int32_t)limit;
    qsort(words, (size_t)count, sizeof *words, by_number);
}

static double draw_weight(xp_random *random) {
    uint32_t pick = xp_random_below(random, 8);
    if (pick < 2) return 0;
    return pick < 4 ? 0.25 + xp_random_unit(random) : 1;
}

static xp_status fill_words(xp_draw *draw, const xp_tensor *tensor, xp_fill fill, int64_t limit, int32_t *words) {
    bool state = tensor == draw->content.graph->random_state;
    if (!state && fill != XP_FILL_INDEX && fill != XP_FILL_LENGTH && fill != XP_FILL_BITS && fill != XP_FILL_STARTS)
        return xp_fail(XP_INVALID_ARGUMENT, "the case generator does not fill %s", tensor->name);
    int64_t count = xp_tensor_elements(tensor), sum = 0;
    for (int64_t i = 0; i < count; i++) {
        if (state)
            words[i] = (int32_t)xp_random_next(&draw->data);
        else if (fill == XP_FILL_BITS)
            words[i] = draw_bits(&draw->data);
        else if (fill == XP_FILL_LENGTH)
            words[i] = draw_length(&draw->data, limit);
        else
            words[i] = (int32_t)xp_random_below(&draw->data, (uint32_t)limit);
        sum += words[i];
    }
    if (fill == XP_FILL_STARTS) make_starts(words, count, limit);
    if (fill == XP_FILL_LENGTH && sum * 16 <= count * limit) draw->masked = true;
    return XP_OK;
}

/* numbers [count], from 0 to 1. */
static void make_shares(double *numbers, int64_t count, int64_t classes) {
    for (int64_t first = 0; first < count; first += classes) {
        double sum = 0;
        for (int64_t c = 0; c < classes; c++) sum += numbers[first + c];
        for (int64_t c = 0; c < classes; c++)
            numbers[first + c] = sum > 0 ? (double)(float)(numbers[first + c] / sum) : c == 0;
    }
}

static void fill_numbers(xp_draw *draw, const xp_tensor *tensor, xp_fill fill, int64_t limit, const float *given,
                         double *numbers) {
    double constant = xp_random_normal(&draw->data);
    int64_t count = xp_tensor_elements(tensor), zeros = 0;
    for (int64_t i = 0; i < count; i++) {
        double value = 0;
        if (fill == XP_FILL_UNIT || fill == XP_FILL_SHARES)
            value = xp_random_unit(&draw->data);
        else if (fill == XP_FILL_POSITIVE)
            value = 0.5 + 1.5 * xp_random_unit(&draw->data);
        else if (fill == XP_FILL_WEIGHT)
            value = draw_weight(&draw->data);
        else if (fill == XP_FILL_VALUES)
            value = (double)given[i % limit];
        else if (fill == XP_FILL_PARTIAL && xp_random_below(&draw->data, 8) == 0)
            value = NAN;
        else
            value = draw_normal(draw, constant);
        if (tensor->type == XP_F16 && fabs(value) > FP16_LARGE) value *= FP16_LARGE / 1e4;
        numbers[i] = (double)(float)value;
        zeros += value == 0;
    }
    if (fill == XP_FILL_SHARES) make_shares(numbers, count, limit);
    if (fill == XP_FILL_WEIGHT && zeros * 16 >= count * 15) draw->masked = true;
}

xp_status xp_draw_fill(xp_draw *draw, xp_interpreter *interpreter) {
    const xp_case *content = &draw->content;
    for (int t = 0; t < content->graph->tensor_count; t++) {
        const xp_tensor *tensor = content->graph->tensors[t];
        if (tensor->base || tensor->role == XP_ROLE_ACTIVATION || tensor->role == XP_ROLE_GRADIENT ||
            tensor->role == XP_ROLE_CONSTANT)
            continue;
        xp_fill fill = XP_FILL_NORMAL;
        int64_t limit = 1;
        const float *given = NULL;
        for (int i = 0; i < content->fill_count; i++)
            if (content->fills[i].tensor == tensor) {
                fill = content->fills[i].fill;
                limit = content->fills[i].limit;
                given = content->fills[i].values;
            }
        void *data = malloc((size_t)xp_tensor_elements(tensor) * sizeof(double));
        if (!data) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the values of %s", tensor->name);
        xp_status status = XP_OK;
        if (tensor->type == XP_I32)
            status = fill_words(draw, tensor, fill, limit, data);
        else
            fill_numbers(draw, tensor, fill, limit, given, data);
        if (status == XP_OK) xp_interpreter_write(interpreter, tensor, data);
        free(data);
        if (status != XP_OK) return status;
    }
    return XP_OK;
}
