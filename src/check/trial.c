/* Trials of one node. */
#include "check/trial.h"

#include "core/half.h"
#include "core/text.h"
#include "graph/operation.h"
#include "graph/plan.h"
#include "reference/reference.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 32 /* elements after each tensor that no kernel may write */, TIMED_RUNS = 5 };

/* Elements as words of 32 bits, of which a tensor of 16 bits has the lower half. */

/* A NaN that no arithmetic makes: stands in guards, gaps and scratch. */
static uint32_t poison(xp_type type) {
    return xp_type_bytes(type) == 2 ? 0x7fdd : 0x7fc0dead;
}

/* Another for outputs and their guards: what is copied from beyond an input shows there. */
static uint32_t unwritten(xp_type type) {
    return xp_type_bytes(type) == 2 ? 0x7fee : 0x7fc1beef;
}

static uint32_t word_of(xp_type type, float value) {
    uint32_t word;
    if (type == XP_BF16) return xp_bf16_bits((double)value);
    if (type == XP_F16) return xp_fp16_bits((double)value);
    memcpy(&word, &value, sizeof word); /* fp32, or int32 in its place */
    return word;
}

static double value_of(xp_type type, uint32_t word) {
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

/* One tensor of the node, as the reference and the device see it. */
typedef struct operand {
    const xp_tensor *tensor; /* of the case; NULL: absent */
    bool in_place;           /* an output whose old content matters */
    double *exact, *magnitude;
    float *single;
    double single_error, perturbed_error; /* largest over the tensor */
    int64_t count;
    /* On the device: a root with guards, and the tensor as a view of it. */
    xp_tensor *root, *view;
    int64_t root_count;
    uint32_t *before, *after;
} operand;

typedef struct trial {
    xp_trial *out;
    xp_draw *draw;
    const xp_node *node;
    double factor;
    xp_device *device;
    operand inputs[XP_MAX_INPUTS], outputs[XP_MAX_OUTPUTS];
    xp_graph *graph; /* of the device: this node alone */
    xp_plan *plan;
} trial;

static void free_operand(operand *o) {
    free(o->exact);
    free(o->magnitude);
    free(o->single);
    free(o->before);
    free(o->after);
}

static void say(trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(trial *t, const char *format, ...) {
    va_list arguments;
    t->out->failed = true;
    va_start(arguments, format);
    vsnprintf(t->out->what, sizeof t->out->what, format, arguments);
    va_end(arguments);
}

/* ---- the reference ----------------------------------------------------------------------------------------------- */

/* Takes the tensor's values from the evaluation of the case's graph, rounded to what the device can hold. */
static bool load_operand(operand *o, const xp_interpreter *interpreter, const xp_tensor *tensor) {
    if (!tensor) return true;
    o->tensor = tensor;
    o->count = xp_tensor_elements(tensor);
    o->exact = calloc((size_t)o->count, sizeof *o->exact);
    o->single = calloc((size_t)o->count, sizeof *o->single);
    o->magnitude = malloc((size_t)o->count * sizeof *o->magnitude);
    if (!o->exact || !o->single || !o->magnitude) return false;
    xp_interpreter_read(interpreter, tensor, tensor->type == XP_I32 ? (void *)o->single : o->exact);
    for (int64_t i = 0; i < o->count && xp_type_is_real(tensor->type); i++) {
        o->single[i] = (float)xp_type_round(tensor->type, o->exact[i]);
        o->exact[i] = (double)o->single[i];
    }
    return true;
}

/* Integers live in `single`, whose elements have their size. */
static void *exact_values(const operand *o) {
    return !o->tensor ? NULL : o->tensor->type == XP_I32 ? (void *)o->single : o->exact;
}

/* How far the exact result moves when each input moves by one rounding, up or down at random; denormals are flushed to
 * zero. In extreme cases no kernel can be expected to be closer. */
static bool perturb(trial *t, const xp_reference_entry *reference, double *const *old_content) {
    xp_reference_call call = {.node = t->node};
    double *moved[XP_MAX_INPUTS] = {0}, *results[XP_MAX_OUTPUTS] = {0};
    bool complete = true;
    for (int i = 0; i < t->node->input_count; i++) {
        const operand *o = &t->inputs[i];
        call.inputs[i] = exact_values(o);
        if (!o->tensor || o->tensor->type == XP_I32) continue;
        moved[i] = malloc((size_t)o->count * sizeof(double));
        complete = complete && moved[i];
        for (int64_t e = 0; e < o->count && moved[i]; e++) {
            double value = o->exact[e], sign = xp_random_below(&t->draw->data, 2) ? 1 : -1;
            moved[i][e] = fabs(value) < (double)FLT_MIN ? 0 : value * (1 + sign * (double)FLT_EPSILON);
        }
        call.inputs[i] = moved[i];
    }
    for (int i = 0; i < t->node->output_count; i++) {
        const operand *o = &t->outputs[i];
        if (!o->tensor) continue;
        results[i] = malloc((size_t)o->count * sizeof(double));
        complete = complete && results[i];
        if (results[i]) memcpy(results[i], old_content[i], (size_t)o->count * sizeof(double));
        call.outputs[i] = results[i];
    }
    if (complete) {
        reference->exact(&call);
        for (int i = 0; i < t->node->output_count; i++) {
            operand *o = &t->outputs[i];
            if (!o->tensor || o->tensor->type == XP_I32) continue;
            for (int64_t e = 0; e < o->count; e++) {
                double error = fabs(results[i][e] - o->exact[e]);
                if (isfinite(error) && error > o->perturbed_error) o->perturbed_error = error;
            }
        }
    }
    for (int i = 0; i < XP_MAX_INPUTS; i++) free(moved[i]);
    for (int i = 0; i < XP_MAX_OUTPUTS; i++) free(results[i]);
    return complete;
}

static void measure_single(operand *o) {
    if (!o->tensor || o->tensor->type == XP_I32) return;
    for (int64_t e = 0; e < o->count; e++) {
        if (o->magnitude[e] < fabs(o->exact[e])) o->magnitude[e] = fabs(o->exact[e]);
        double error = fabs((double)o->single[e] - o->exact[e]);
        if (isfinite(error) && error > o->single_error) o->single_error = error;
    }
}

/* `values` [count], in place of the operand's, times `scale`; integers stay. */
static bool scale_operand(const operand *o, const double *values, float scale, operand *out) {
    if (!o->tensor) return true;
    *out = (operand){.tensor = o->tensor, .count = o->count};
    out->exact = malloc((size_t)o->count * sizeof *out->exact);
    out->single = malloc((size_t)o->count * sizeof *out->single);
    if (!out->exact || !out->single) return false;
    memcpy(out->single, o->single, (size_t)o->count * sizeof *out->single);
    for (int64_t e = 0; e < o->count && xp_type_is_real(o->tensor->type); e++) {
        out->single[e] = (float)values[e] * scale;
        out->exact[e] = (double)out->single[e];
    }
    return true;
}

/* Equal terms make equal sums: one rounding error stands for all of a tensor, and by luck it may be small. The errors
 * at inputs that are a little larger and smaller show what an order of summation can cost. */
static bool sample_equal_terms(trial *t, const xp_reference_entry *reference, double *const *old_content, float scale) {
    xp_reference_call exact = {.node = t->node}, single = {.node = t->node};
    operand inputs[XP_MAX_INPUTS] = {0}, outputs[XP_MAX_OUTPUTS] = {0};
    bool complete = true;
    for (int i = 0; i < t->node->input_count; i++) {
        complete = complete && scale_operand(&t->inputs[i], t->inputs[i].exact, scale, &inputs[i]);
        exact.inputs[i] = exact_values(&inputs[i]);
        single.inputs[i] = inputs[i].single;
    }
    for (int i = 0; i < t->node->output_count; i++) {
        complete = complete && scale_operand(&t->outputs[i], old_content[i], 1, &outputs[i]);
        exact.outputs[i] = exact_values(&outputs[i]);
        single.outputs[i] = outputs[i].single;
    }
    if (complete) {
        reference->exact(&exact);
        reference->single(&single);
    }
    for (int i = 0; i < t->node->output_count; i++)
        for (int64_t e = 0; e < outputs[i].count && complete && xp_type_is_real(outputs[i].tensor->type); e++) {
            const double error = fabs((double)outputs[i].single[e] - outputs[i].exact[e]);
            if (isfinite(error) && error > t->outputs[i].single_error) t->outputs[i].single_error = error;
        }
    for (int i = 0; i < XP_MAX_INPUTS; i++) free(inputs[i].exact), free(inputs[i].single);
    for (int i = 0; i < XP_MAX_OUTPUTS; i++) free(outputs[i].exact), free(outputs[i].single);
    return complete;
}

/* Evaluates the case's graph up to the node, then the node in both precisions. */
static xp_status evaluate(trial *t) {
    const xp_reference_entry *reference = xp_reference_find(t->node->operation->name);
    if (!reference || !reference->exact || !reference->single)
        return xp_fail(XP_UNSUPPORTED, "operation %s has no reference", t->node->operation->name);
    xp_interpreter *interpreter = NULL;
    xp_reference_call exact = {.node = t->node}, single = {.node = t->node};
    double *old_content[XP_MAX_OUTPUTS] = {0};
    bool complete = true;
    xp_status status;
    XP_TRY(xp_interpreter_create(&interpreter, t->draw->content.graph, XP_DOUBLE));
    XP_TRY_OR(status, xp_draw_fill(t->draw, interpreter), end);
    XP_TRY_OR(status, xp_interpreter_run(interpreter, t->node), end);
    for (int i = 0; i < t->node->input_count; i++) {
        operand *o = &t->inputs[i];
        complete = complete && load_operand(o, interpreter, t->node->inputs[i]);
        exact.inputs[i] = exact_values(o);
        single.inputs[i] = o->single;
    }
    int32_t *words[XP_MAX_OUTPUTS] = {0};
    for (int i = 0; i < t->node->output_count; i++) {
        operand *o = &t->outputs[i];
        complete = complete && load_operand(o, interpreter, t->node->outputs[i]);
        if (!o->tensor || !complete) continue;
        o->in_place = xp_tensor_root(o->tensor)->role != XP_ROLE_ACTIVATION;
        for (int64_t e = 0; e < o->count; e++) o->magnitude[e] = -1;
        old_content[i] = malloc((size_t)o->count * sizeof(double));
        words[i] =
            malloc((size_t)o->count * sizeof(int32_t)); /* the single-precision run must not see its own result */
        complete = old_content[i] && words[i];
        if (!complete) break;
        memcpy(old_content[i], o->exact, (size_t)o->count * sizeof(double));
        memcpy(words[i], o->single, (size_t)o->count * sizeof(int32_t));
        exact.outputs[i] = exact_values(o);
        exact.magnitudes[i] = o->magnitude;
        single.outputs[i] = o->tensor->type == XP_I32 ? (void *)words[i] : o->single;
    }
    /* What the device finds in place of the outputs is needed after the reference has written them. */
    for (int i = 0; i < t->node->output_count && complete; i++) {
        operand *o = &t->outputs[i];
        if (!o->tensor || !o->in_place) continue;
        o->before = malloc((size_t)o->count * sizeof *o->before);
        if (!(complete = o->before != NULL)) break;
        for (int64_t e = 0; e < o->count; e++) o->before[e] = word_of(o->tensor->type, o->single[e]);
    }
    if (complete) {
        reference->exact(&exact);
        reference->single(&single);
        for (int i = 0; i < t->node->output_count; i++) measure_single(&t->outputs[i]);
        static const float scales[] = {0.97f, 0.99f, 1.01f, 1.03f};
        for (size_t i = 0; t->draw->inputs == XP_INPUTS_CONSTANT && i < sizeof scales / sizeof *scales; i++)
            complete = complete && sample_equal_terms(t, reference, old_content, scales[i]);
        if (t->draw->inputs != XP_INPUTS_NORMAL) complete = complete && perturb(t, reference, old_content);
    }
    if (!complete) status = xp_fail(XP_OUT_OF_MEMORY, "no memory for a case of %s", t->node->operation->name);
    for (int i = 0; i < XP_MAX_OUTPUTS; i++) {
        free(old_content[i]);
        free(words[i]);
    }
end:
    xp_interpreter_close(&interpreter);
    return status;
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

/* Gives the tensor its own root with a guard after it. `scattered`: as a view with gaps, in place of a dense one.
 * The roots of outputs are inputs for the plan, too: it places them whether or not the node writes them. */
static xp_status place_operand(trial *t, operand *o, bool scattered, int64_t guard) {
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
static const operand *placed(const trial *t, const operand *o) {
    for (int i = 0; i < t->node->input_count; i++)
        if (&t->inputs[i] != o && t->inputs[i].tensor == o->tensor && t->inputs[i].root) return &t->inputs[i];
    return NULL;
}

static xp_status build_graph(trial *t) {
    const xp_node *node = t->node;
    xp_tensor *inputs[XP_MAX_INPUTS] = {0}, *outputs[XP_MAX_OUTPUTS] = {0};
    XP_TRY(xp_graph_create(&t->graph, NULL, t->draw->content.graph->training));
    xp_graph_scope(t->graph, "check");
    for (int i = 0; i < node->input_count; i++) {
        operand *o = &t->inputs[i];
        if (!o->tensor) continue;
        const operand *twin = placed(t, o);
        if (twin)
            o->view = twin->view;
        else
            XP_TRY(place_operand(t, o, !xp_tensor_is_dense(o->tensor), t->draw->tight ? 0 : GUARD));
        inputs[i] = o->view;
    }
    for (int i = 0; i < node->output_count; i++) {
        operand *o = &t->outputs[i];
        if (!o->tensor) continue;
        bool may_scatter = node->operation->strided_outputs >> i & 1 && !o->in_place;
        bool scattered = may_scatter && xp_random_below(&t->draw->data, 2);
        const operand *twin = o->in_place ? placed(t, o) : NULL;
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
static xp_status poison_rows(trial *t, operand *o) {
    const xp_case *content = &t->draw->content;
    for (int i = 0; i < content->poison_count; i++) {
        if (content->poisons[i].tensor != o->tensor) continue;
        const operand *lengths = NULL;
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

static xp_status upload(trial *t, operand *o, bool has_content) {
    if (!o->tensor || !o->root) return XP_OK;
    const xp_type type = o->tensor->type;
    uint32_t *words = malloc((size_t)o->root_count * sizeof *words);
    o->after = malloc((size_t)o->root_count * sizeof *o->after);
    if (!words || !o->after) {
        free(words);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a case of %s", t->node->operation->name);
    }
    for (int64_t i = 0; i < o->root_count; i++) words[i] = has_content && !o->in_place ? poison(type) : unwritten(type);
    if (has_content && !o->in_place && !(o->before = malloc((size_t)o->count * sizeof *o->before))) {
        free(words);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a case of %s", t->node->operation->name);
    }
    for (int64_t i = 0; has_content && !o->in_place && i < o->count; i++) o->before[i] = word_of(type, o->single[i]);
    placement p = {.words = words, .dense = o->before};
    if (has_content) xp_tensor_walk(o->view, put, &p);
    free(o->before);
    o->before = words;
    XP_TRY(poison_rows(t, o));
    return write_words(t->plan, o->root, words);
}

static xp_status poison_scratch(trial *t, int first) {
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

static xp_status run_on_device(trial *t) {
    const xp_node *node = t->node;
    XP_TRY(build_graph(t));
    int tensor_count = t->graph->tensor_count;
    XP_TRY(xp_plan_create(&t->plan, t->device, t->graph));
    t->out->variant = xp_plan_variant(t->plan);
    XP_TRY(xp_plan_separate(t->plan));
    XP_TRY(xp_plan_realise(t->plan, NULL));
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

/* ---- the comparison ---------------------------------------------------------------------------------------------- */

/* "o[1,2,96,7]" */
static const char *element_text(const xp_tensor *tensor, int64_t element, char *text, size_t size) {
    int64_t index[XP_MAX_RANK];
    for (int i = tensor->rank - 1; i >= 0; i--) {
        index[i] = element % tensor->shape[i];
        element /= tensor->shape[i];
    }
    snprintf(text, size, "%.40s", tensor->name);
    for (int i = 0; i < tensor->rank; i++) xp_text_add(text, size, "%s%lld", i ? "," : "[", (long long)index[i]);
    xp_text_add(text, size, "]");
    return text;
}

static const double FP16_MAX = 65504;

/* Half the spacing of the numbers that a tensor of 16 bits holds near `size`: what storing a result may cost. */
static double storage_rounding(xp_type type, double size) {
    if (xp_type_bytes(type) != 2) return 0;
    int power = 0;
    frexp(size, &power);
    const int mantissa = type == XP_BF16 ? 7 : 10, least = type == XP_BF16 ? -126 : -14;
    return ldexp(0.5, (size > 0 && power - 1 > least ? power - 1 : least) - mantissa);
}

/* Error and bound of one element; an error of infinity: wrong whatever the bound. */
static double error_of(const trial *t, const operand *o, int64_t element, uint32_t word, double *bound) {
    const double exact = o->exact[element], value = value_of(o->tensor->type, word);
    float single = o->single[element];
    *bound = 0;
    if (o->tensor->type == XP_I32) return memcmp(&word, &o->single[element], sizeof word) == 0 ? 0 : INFINITY;
    if (isnan(exact)) return isnan(value) ? 0 : INFINITY;
    if (fabs(exact) > (double)FLT_MAX) return value == (exact > 0 ? INFINITY : -INFINITY) ? 0 : INFINITY;
    if (!isfinite(single)) return 0; /* beyond the range of single precision on the way: nothing can be asked */
    /* Four units in the last place (2^-23) of the terms' magnitudes, and the smallest normal numbers, which a device
     * may flush. */
    double factor = t->draw->inputs == XP_INPUTS_NORMAL ? t->factor : 2 * t->factor; /* equal terms round alike */
    *bound = factor * o->single_error + o->perturbed_error + 4 * (double)FLT_EPSILON * o->magnitude[element] +
             8 * (double)FLT_MIN + storage_rounding(o->tensor->type, fabs(exact));
    if (o->tensor->type == XP_F16 && fabs(exact) + *bound > FP16_MAX && isinf(value))
        return (value > 0) == (exact > 0) ? 0 : INFINITY;
    return isnan(value) ? INFINITY : fabs(value - exact);
}

typedef struct comparison {
    trial *t;
    operand *o;
    uint8_t *owned; /* by place in the root: an element of the tensor */
    double worst;
    double error, bound; /* of the worst */
    int64_t element;
    uint32_t word;
} comparison;

static void compare_element(void *context, int64_t element, int64_t place) {
    comparison *c = context;
    double bound, error = error_of(c->t, c->o, element, c->o->after[place], &bound);
    double share = error == 0 ? 0 : isinf(error) || bound == 0 ? INFINITY : error / bound;
    c->owned[place] = 1;
    if (share > c->worst) {
        c->worst = share;
        c->error = error;
        c->bound = bound;
        c->element = element;
        c->word = c->o->after[place];
    }
}

static xp_status compare_output(trial *t, operand *o) {
    comparison c = {.t = t, .o = o, .owned = calloc((size_t)o->root_count, 1)};
    if (!c.owned) return xp_fail(XP_OUT_OF_MEMORY, "no memory to compare %s", o->tensor->name);
    xp_tensor_walk(o->view, compare_element, &c);
    if (c.worst > t->out->worst) t->out->worst = c.worst;
    char place[128];
    if (c.worst > 1 && !t->out->failed) {
        element_text(o->tensor, c.element, place, sizeof place);
        if (o->tensor->type == XP_I32)
            say(t, "%s is %d, not %d", place, (int)c.word, *(const int32_t *)(const void *)&o->single[c.element]);
        else if (c.word == unwritten(o->tensor->type))
            say(t, "%s was never written", place);
        else
            say(t, "max |error| %.2g at %s, bound %.2g (%.9g instead of %.9g)", c.error, place, c.bound,
                value_of(o->tensor->type, c.word), o->exact[c.element]);
    }
    for (int64_t i = 0; i < o->root_count && !t->out->failed; i++)
        if (!c.owned[i] && o->after[i] != o->before[i])
            say(t, "%s is written outside its bounds, at element %lld of its storage (the tensor starts at %lld)",
                o->tensor->name, (long long)i, (long long)o->view->offset);
    free(c.owned);
    return XP_OK;
}

static void compare_input(trial *t, const operand *o) {
    for (int i = 0; i < t->node->output_count; i++)
        if (o->root == t->outputs[i].root) return; /* updated in place */
    for (int64_t i = 0; i < o->root_count && !t->out->failed; i++)
        if (o->after[i] != o->before[i])
            say(t, "input %s is overwritten at element %lld of its storage", o->tensor->name, (long long)i);
}

static xp_status compare(trial *t) {
    int64_t count = 0, zeros = 0;
    for (int i = 0; i < t->node->output_count; i++) {
        operand *o = &t->outputs[i];
        if (!o->tensor) continue;
        XP_TRY(compare_output(t, o));
        count += o->count;
        for (int64_t e = 0; e < o->count; e++)
            if (xp_type_is_real(o->tensor->type) ? o->exact[e] == 0 : o->single[e] == 0) zeros++;
    }
    for (int i = 0; i < t->node->input_count; i++)
        if (t->inputs[i].root) compare_input(t, &t->inputs[i]);
    t->out->vacuous = zeros * 20 > count * 19;
    return XP_OK;
}

/* What the launches make of their own results does not matter any more. */
static xp_status measure_time(trial *t) {
    xp_plan_summary summary;
    xp_plan_summarise(t->plan, &summary);
    t->out->flops = summary.flops;
    t->out->bytes = summary.bytes;
    return xp_plan_time(t->plan, TIMED_RUNS, &t->out->seconds);
}

xp_status xp_trial_run(xp_trial *out, xp_draw *draw, xp_device *device, double factor, bool timed) {
    trial *t = calloc(1, sizeof *t);
    *out = (xp_trial){0};
    if (!t) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a trial");
    *t = (trial){.out = out, .draw = draw, .node = draw->content.node, .device = device, .factor = factor};
    xp_status status = evaluate(t);
    if (status == XP_OK) {
        status = run_on_device(t);
        if (status == XP_OK) status = compare(t);
        if (status == XP_OK && timed) status = measure_time(t);
    }
    if (status != XP_OK && status != XP_OUT_OF_MEMORY) {
        say(t, "%.1000s", xp_last_error());
        status = XP_OK;
    }
    xp_plan_close(&t->plan);
    xp_graph_close(&t->graph);
    for (int i = 0; i < XP_MAX_INPUTS; i++) free_operand(&t->inputs[i]);
    for (int i = 0; i < XP_MAX_OUTPUTS; i++) free_operand(&t->outputs[i]);
    free(t);
    return status;
}
