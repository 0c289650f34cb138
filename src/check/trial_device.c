/* A trial's node on the device: alone in a graph, its tensors between guards and with gaps, all of them poisoned. */
#include "check/trial_parts.h"
#include "core/half.h"
#include "graph/operation.h"

#include <stdlib.h>
#include <string.h>

enum { GUARD = 32 /* elements after each tensor that no kernel may write */ };

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* A NaN that no arithmetic makes: stands in guards, gaps and scratch. */
static uint32_t poison(xp_type type) {
    return xp_type_bytes(type) == 2 ? 0x7fdd : 0x7fc0dead;
}

/* Another for outputs and their guards: what is copied from beyond an input shows there. */
uint32_t xp_trial_unwritten(xp_type type) {
    return xp_type_bytes(type) == 2 ? 0x7fee : 0x7fc1beef;
}

uint32_t xp_trial_word(xp_type type, float value) {
    uint32_t word;
    if (type == XP_BF16) return xp_bf16_bits((double)value);
    if (type == XP_F16) return xp_fp16_bits((double)value);
    memcpy(&word, &value, sizeof word); /* fp32, or int32 in its place */
    return word;
}

double xp_trial_value(xp_type type, uint32_t word) {
    float value;
    if (type == XP_BF16) return xp_bf16_value((uint16_t)word);
    if (type == XP_F16) return xp_fp16_value((uint16_t)word);
    memcpy(&value, &word, sizeof value);
    return (double)value;
}

static xp_status write_words(xp_plan *plan, const xp_tensor *tensor, const uint32_t *words) {
    if (xp_type_bytes(tensor->type) == sizeof *words) return xp_plan_write(plan, tensor, words);
    const int64_t count = xp_tensor_elements(tensor);
    uint16_t *halves = malloc((size_t)count * sizeof *halves);
    if (!halves) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the content of %s", tensor->name);
    for (int64_t i = 0; i < count; i++) halves[i] = (uint16_t)words[i];
    const xp_status status = xp_plan_write(plan, tensor, halves);
    free(halves);
    return status;
}

static xp_status read_words(xp_plan *plan, const xp_tensor *tensor, uint32_t *words) {
    XP_TRY(xp_plan_read(plan, tensor, words));
    if (xp_type_bytes(tensor->type) == sizeof *words) return XP_OK;
    for (int64_t i = xp_tensor_elements(tensor) - 1; i >= 0; i--) { /* they lie in the first half: the last one first */
        uint16_t half;
        memcpy(&half, (const char *)words + (size_t)i * sizeof half, sizeof half);
        words[i] = half;
    }
    return XP_OK;
}

/* ---- the node ---------------------------------------------------------------------------------------------------- */

/* Gives the tensor its own root with a guard after it. `scattered`: as a view with gaps, in place of a dense one.
 * The roots of outputs are inputs for the plan, too: it places them whether or not the node writes them. */
static xp_status place_operand(xp_trial_work *t, xp_operand *o, bool scattered, int64_t guard) {
    int64_t strides[XP_MAX_RANK], stride = 1, offset = 0;
    for (int i = o->tensor->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= o->tensor->shape[i];
        if (scattered) stride += xp_random_below(&t->draw->data, 3) * 8;
    }
    if (scattered) offset = xp_random_below(&t->draw->data, 3) * 8;
    o->root_count = offset + stride + guard;
    o->root = xp_graph_input(t->graph, o->tensor->name, o->tensor->type, 1, &o->root_count);
    o->view = xp_graph_tensor(t->graph, o->tensor->name, o->tensor->type, o->tensor->rank, o->tensor->shape);
    if (!o->root || !o->view) return XP_OUT_OF_MEMORY;
    o->view->base = o->root;
    o->view->offset = offset;
    memcpy(o->view->stride, strides, sizeof strides);
    return XP_OK;
}

/* The operand that already has a place for the same tensor: one tensor, one place. */
static const xp_operand *placed(const xp_trial_work *t, const xp_operand *o) {
    for (int i = 0; i < t->node->input_count; i++)
        if (&t->inputs[i] != o && t->inputs[i].tensor == o->tensor && t->inputs[i].root) return &t->inputs[i];
    return NULL;
}

static xp_status build_graph(xp_trial_work *t) {
    const xp_node *node = t->node;
    xp_tensor *inputs[XP_MAX_INPUTS] = {0}, *outputs[XP_MAX_OUTPUTS] = {0};
    XP_TRY(xp_graph_create(&t->graph, NULL, t->draw->content.graph->training));
    xp_graph_scope(t->graph, "check");
    for (int i = 0; i < node->input_count; i++) {
        xp_operand *o = &t->inputs[i];
        if (!o->tensor) continue;
        const xp_operand *twin = placed(t, o);
        if (twin)
            o->view = twin->view;
        else
            XP_TRY(place_operand(t, o, !xp_tensor_is_dense(o->tensor), t->draw->tight ? 0 : GUARD));
        inputs[i] = o->view;
    }
    for (int i = 0; i < node->output_count; i++) {
        xp_operand *o = &t->outputs[i];
        if (!o->tensor) continue;
        bool may_scatter = node->operation->strided_outputs >> i & 1 && !o->in_place;
        bool scattered = may_scatter && xp_random_below(&t->draw->data, 2);
        const xp_operand *twin = o->in_place ? placed(t, o) : NULL;
        if (twin) {
            o->root = twin->root;
            o->root_count = twin->root_count;
            o->view = twin->view;
        } else {
            XP_TRY(place_operand(t, o, scattered, GUARD));
        }
        outputs[i] = o->view;
    }
    return xp_graph_node(t->graph, node->operation, node->input_count, inputs, node->output_count, outputs,
                         node->attributes, sizeof node->attributes)
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

typedef struct placement {
    uint32_t *words;
    const uint32_t *dense;
    xp_type type;
} placement;

static void put(void *context, int64_t element, int64_t place) {
    placement *p = context;
    p->words[place] = p->dense[element];
}

static void put_poison(void *context, int64_t element, int64_t place) {
    placement *p = context;
    if (p->dense[element]) p->words[place] = poison(p->type);
}

/* NaN where the node promises not to read. */
static xp_status poison_rows(xp_trial_work *t, xp_operand *o) {
    const xp_case *content = &t->draw->content;
    for (int i = 0; i < content->poison_count; i++) {
        if (content->poisons[i].tensor != o->tensor) continue;
        const xp_operand *lengths = NULL;
        for (int j = 0; j < t->node->input_count; j++)
            if (t->inputs[j].tensor == content->poisons[i].lengths) lengths = &t->inputs[j];
        if (!lengths)
            return xp_fail(XP_INVALID_ARGUMENT, "the lengths of %s are no input of the node", o->tensor->name);
        const int32_t *length = (const int32_t *)(const void *)lengths->single;
        const int64_t *shape = o->tensor->shape;
        int64_t heads = lengths->tensor->rank == 2 ? shape[2] : 1, width = o->count / (shape[0] * shape[1] * heads);
        uint32_t *marks = calloc((size_t)o->count, sizeof *marks);
        if (!marks) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a case of %s", t->node->operation->name);
        for (int64_t e = 0; e < o->count; e++) {
            int64_t head = e / width % heads, row = e / (width * heads) % shape[1],
                    sample = e / (width * heads * shape[1]);
            marks[e] = row >= length[sample * heads + head];
        }
        placement p = {.words = o->before, .dense = marks, .type = o->tensor->type};
        xp_tensor_walk(o->view, put_poison, &p);
        free(marks);
    }
    return XP_OK;
}

static xp_status upload(xp_trial_work *t, xp_operand *o, bool has_content) {
    if (!o->tensor || !o->root) return XP_OK;
    const xp_type type = o->tensor->type;
    uint32_t *words = malloc((size_t)o->root_count * sizeof *words);
    o->after = malloc((size_t)o->root_count * sizeof *o->after);
    if (!words || !o->after) {
        free(words);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a case of %s", t->node->operation->name);
    }
    for (int64_t i = 0; i < o->root_count; i++)
        words[i] = has_content && !o->in_place ? poison(type) : xp_trial_unwritten(type);
    if (has_content && !o->in_place && !(o->before = malloc((size_t)o->count * sizeof *o->before))) {
        free(words);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a case of %s", t->node->operation->name);
    }
    for (int64_t i = 0; has_content && !o->in_place && i < o->count; i++)
        o->before[i] = xp_trial_word(type, o->given ? o->given[i] : o->single[i]);
    placement p = {.words = words, .dense = o->before};
    if (has_content) xp_tensor_walk(o->view, put, &p);
    free(o->before);
    o->before = words;
    XP_TRY(poison_rows(t, o));
    return write_words(t->plan, o->root, words);
}

static xp_status poison_scratch(xp_trial_work *t, int first) {
    for (int i = first; i < t->graph->tensor_count; i++) {
        const xp_tensor *tensor = t->graph->tensors[i];
        int64_t count = xp_tensor_elements(tensor);
        uint32_t *words = malloc((size_t)count * sizeof *words);
        if (!words) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the scratch of %s", t->node->operation->name);
        for (int64_t e = 0; e < count; e++) words[e] = poison(tensor->type);
        xp_status status = write_words(t->plan, tensor, words);
        free(words);
        if (status != XP_OK) return status;
    }
    return XP_OK;
}

xp_status xp_trial_run_on_device(xp_trial_work *t) {
    const xp_node *node = t->node;
    XP_TRY(build_graph(t));
    int tensor_count = t->graph->tensor_count;
    XP_TRY(xp_plan_create(&t->plan, t->device, t->graph));
    t->out->variant = xp_plan_variant(t->plan);
    XP_TRY(xp_plan_separate(t->plan));
    XP_TRY(xp_plan_realise(t->plan, NULL));
    if (*xp_plan_note(t->plan)) { /* other kernels would be checked in place of those that were asked for */
        t->device->edits_refused = false;
        return xp_fail(XP_BUILD_ERROR, "%s", xp_plan_note(t->plan));
    }
    XP_TRY(poison_scratch(t, tensor_count));
    for (int i = 0; i < node->input_count; i++) XP_TRY(upload(t, &t->inputs[i], true));
    for (int i = 0; i < node->output_count; i++) XP_TRY(upload(t, &t->outputs[i], t->outputs[i].in_place));
    XP_TRY(xp_plan_run(t->plan));
    for (int i = 0; i < node->input_count; i++)
        if (t->inputs[i].root) XP_TRY(read_words(t->plan, t->inputs[i].root, t->inputs[i].after));
    for (int i = 0; i < node->output_count; i++)
        if (t->outputs[i].root) XP_TRY(read_words(t->plan, t->outputs[i].root, t->outputs[i].after));
    return XP_OK;
}
