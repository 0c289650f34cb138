/* Trials of one node: the comparison of the device with the reference. */
#include "check/trial.h"

#include "check/trial_parts.h"
#include "core/text.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { TIMED_RUNS = 5 };

static void free_operand(xp_operand *o) {
    free(o->exact);
    free(o->magnitude);
    free(o->single);
    free(o->given);
    free(o->before);
    free(o->after);
}

static void say(xp_trial_work *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(xp_trial_work *t, const char *format, ...) {
    va_list arguments;
    t->out->failed = true;
    va_start(arguments, format);
    vsnprintf(t->out->what, sizeof t->out->what, format, arguments);
    va_end(arguments);
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
static double error_of(const xp_trial_work *t, const xp_operand *o, int64_t element, uint32_t word, double *bound) {
    const double exact = o->exact[element], value = xp_trial_value(o->tensor->type, word);
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
    /* Units that cut what they add lose more the longer the sum, and sums of a factor are of what it was before it was
     * rounded: both are less than what the roundings of two factors, 2^-10, may cost. */
    if (t->rounds) *bound += 0x1p-11 * o->magnitude[element];
    if (o->tensor->type == XP_F16 && fabs(exact) + *bound > FP16_MAX && isinf(value))
        return (value > 0) == (exact > 0) ? 0 : INFINITY;
    return isnan(value) ? INFINITY : fabs(value - exact);
}

typedef struct comparison {
    xp_trial_work *t;
    xp_operand *o;
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

static xp_status compare_output(xp_trial_work *t, xp_operand *o) {
    comparison c = {.t = t, .o = o, .owned = calloc((size_t)o->root_count, 1)};
    if (!c.owned) return xp_fail(XP_OUT_OF_MEMORY, "no memory to compare %s", o->tensor->name);
    xp_tensor_walk(o->view, compare_element, &c);
    if (c.worst > t->out->worst) t->out->worst = c.worst;
    char place[128];
    if (c.worst > 1 && !t->out->failed) {
        element_text(o->tensor, c.element, place, sizeof place);
        if (o->tensor->type == XP_I32)
            say(t, "%s is %d, not %d", place, (int)c.word, *(const int32_t *)(const void *)&o->single[c.element]);
        else if (c.word == xp_trial_unwritten(o->tensor->type))
            say(t, "%s was never written", place);
        else
            say(t, "max |error| %.2g at %s, bound %.2g (%.9g instead of %.9g)", c.error, place, c.bound,
                xp_trial_value(o->tensor->type, c.word), o->exact[c.element]);
    }
    for (int64_t i = 0; i < o->root_count && !t->out->failed; i++)
        if (!c.owned[i] && o->after[i] != o->before[i])
            say(t, "%s is written outside its bounds, at element %lld of its storage (the tensor starts at %lld)",
                o->tensor->name, (long long)i, (long long)o->view->offset);
    free(c.owned);
    return XP_OK;
}

static void compare_input(xp_trial_work *t, const xp_operand *o) {
    for (int i = 0; i < t->node->output_count; i++)
        if (o->root == t->outputs[i].root) return; /* updated in place */
    for (int64_t i = 0; i < o->root_count && !t->out->failed; i++)
        if (o->after[i] != o->before[i])
            say(t, "input %s is overwritten at element %lld of its storage", o->tensor->name, (long long)i);
}

static xp_status compare(xp_trial_work *t) {
    int64_t count = 0, zeros = 0;
    for (int i = 0; i < t->node->output_count; i++) {
        xp_operand *o = &t->outputs[i];
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
static xp_status measure_time(xp_trial_work *t) {
    xp_plan_summary summary;
    xp_plan_summarise(t->plan, &summary);
    t->out->flops = summary.flops;
    t->out->bytes = summary.bytes;
    return xp_plan_time(t->plan, TIMED_RUNS, &t->out->seconds);
}

xp_status xp_trial_run(xp_trial *out, xp_draw *draw, xp_device *device, double factor, bool timed) {
    xp_trial_work *t = calloc(1, sizeof *t);
    *out = (xp_trial){0};
    if (!t) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a trial");
    *t = (xp_trial_work){.out = out, .draw = draw, .node = draw->content.node, .device = device, .factor = factor};
    t->rounds = device->families[0] == XP_FAMILY_MATRIX && device->arithmetic == XP_ARITHMETIC_TF32;
    xp_status status = xp_trial_evaluate(t);
    if (status == XP_OK) {
        status = xp_trial_run_on_device(t);
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
