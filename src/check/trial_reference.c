/* What a trial expects: the node by the reference in both precisions, and how far an honest result may lie from
 * that. */
#include "check/trial_parts.h"
#include "graph/operation.h"
#include "reference/reference.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* To nearest, ties away from zero, as matrix units take numbers of fp32. */
static float round_to_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x1000) & 0xffffe000;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Takes the tensor's values from the evaluation of the case's graph, rounded to what the device can hold, and what it
 * computes with: `rounded`. */
static bool load_operand(xp_operand *o, const xp_interpreter *interpreter, const xp_tensor *tensor, bool rounded) {
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
    if (!rounded || tensor->type != XP_F32) return true;
    o->given = malloc((size_t)o->count * sizeof *o->given);
    for (int64_t i = 0; i < o->count && o->given; i++) {
        o->given[i] = o->single[i];
        o->single[i] = round_to_tf32(o->given[i]);
        o->exact[i] = (double)o->single[i];
    }
    return o->given != NULL;
}

/* Integers live in `single`, whose elements have their size. */
static void *exact_values(const xp_operand *o) {
    return !o->tensor ? NULL : o->tensor->type == XP_I32 ? (void *)o->single : o->exact;
}

/* How far the exact result moves when each input moves by one rounding, up or down at random; denormals are flushed to
 * zero. In extreme cases no kernel can be expected to be closer. */
static bool perturb(xp_trial_work *t, const xp_reference_entry *reference, double *const *old_content) {
    xp_reference_call call = {.node = t->node};
    double *moved[XP_MAX_INPUTS] = {0}, *results[XP_MAX_OUTPUTS] = {0};
    bool complete = true;
    for (int i = 0; i < t->node->input_count; i++) {
        const xp_operand *o = &t->inputs[i];
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
        const xp_operand *o = &t->outputs[i];
        if (!o->tensor) continue;
        results[i] = malloc((size_t)o->count * sizeof(double));
        complete = complete && results[i];
        if (results[i]) memcpy(results[i], old_content[i], (size_t)o->count * sizeof(double));
        call.outputs[i] = results[i];
    }
    if (complete) {
        reference->exact(&call);
        for (int i = 0; i < t->node->output_count; i++) {
            xp_operand *o = &t->outputs[i];
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

static void measure_single(xp_operand *o) {
    if (!o->tensor || o->tensor->type == XP_I32) return;
    for (int64_t e = 0; e < o->count; e++) {
        if (o->magnitude[e] < fabs(o->exact[e])) o->magnitude[e] = fabs(o->exact[e]);
        double error = fabs((double)o->single[e] - o->exact[e]);
        if (isfinite(error) && error > o->single_error) o->single_error = error;
    }
}

/* Matrix units take all factors in the type of storage, also those that are computed on the way; so do the kernels of
 * CPUs in bf16. */
static xp_type factors_of(const xp_trial_work *t) {
    const xp_family family = t->device->families[0];
    const xp_type storage = xp_node_storage(t->node);
    const bool taken = family == XP_FAMILY_MATRIX || (family == XP_FAMILY_WIDE && storage == XP_BF16);
    return taken ? storage : XP_F32;
}

/* `values` [count], in place of the operand's, times `scale`; integers stay. */
static bool scale_operand(const xp_operand *o, const double *values, float scale, xp_operand *out) {
    if (!o->tensor) return true;
    *out = (xp_operand){.tensor = o->tensor, .count = o->count};
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

/* Equal terms make equal sums: one rounding error stands for all of a tensor, and by luck it may be small; so may those
 * of a few factors in 16 bits. The errors at inputs that are a little larger and smaller show what an order of
 * summation and roundings can cost. */
static bool sample_equal_terms(xp_trial_work *t, const xp_reference_entry *reference, double *const *old_content,
                               float scale) {
    xp_reference_call exact = {.node = t->node}, single = {.node = t->node, .factors = factors_of(t)};
    xp_operand inputs[XP_MAX_INPUTS] = {0}, outputs[XP_MAX_OUTPUTS] = {0};
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

xp_status xp_trial_evaluate(xp_trial_work *t) {
    const xp_reference_entry *reference = xp_reference_find(t->node->operation->name);
    if (!reference || !reference->exact || !reference->single)
        return xp_fail(XP_UNSUPPORTED, "operation %s has no reference", t->node->operation->name);
    xp_interpreter *interpreter = NULL;
    xp_reference_call exact = {.node = t->node}, single = {.node = t->node, .factors = factors_of(t)};
    double *old_content[XP_MAX_OUTPUTS] = {0};
    bool complete = true;
    xp_status status;
    XP_TRY(xp_interpreter_create(&interpreter, t->draw->content.graph, XP_DOUBLE));
    XP_TRY_OR(status, xp_draw_fill(t->draw, interpreter), end);
    XP_TRY_OR(status, xp_interpreter_run(interpreter, t->node), end);
    for (int i = 0; i < t->node->input_count; i++) {
        xp_operand *o = &t->inputs[i];
        complete = complete && load_operand(o, interpreter, t->node->inputs[i],
                                            t->rounds && t->node->operation->rounded_inputs >> i & 1);
        exact.inputs[i] = exact_values(o);
        single.inputs[i] = o->single;
    }
    int32_t *words[XP_MAX_OUTPUTS] = {0};
    for (int i = 0; i < t->node->output_count; i++) {
        xp_operand *o = &t->outputs[i];
        complete = complete && load_operand(o, interpreter, t->node->outputs[i], false);
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
        xp_operand *o = &t->outputs[i];
        if (!o->tensor || !o->in_place) continue;
        o->before = malloc((size_t)o->count * sizeof *o->before);
        if (!(complete = o->before != NULL)) break;
        for (int64_t e = 0; e < o->count; e++) o->before[e] = xp_trial_word(o->tensor->type, o->single[e]);
    }
    if (complete) {
        reference->exact(&exact);
        reference->single(&single);
        for (int i = 0; i < t->node->output_count; i++) measure_single(&t->outputs[i]);
        static const float scales[] = {0.97f, 0.99f, 1.01f, 1.03f};
        const bool sampled = t->draw->inputs == XP_INPUTS_CONSTANT || single.factors != XP_F32;
        for (size_t i = 0; sampled && i < sizeof scales / sizeof *scales; i++)
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
