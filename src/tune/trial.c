/* One trial of the search: training steps with one tuning table beside steps with another. */
#include "core/json.h"
#include "core/statistics.h"
#include "device/tuning.h"
#include "graph/plan.h"
#include "train/synthetic.h"
#include "tune/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULTS, CANDIDATES, SIDES, MOST_STEPS = 32 };

/* The times of the requests of one side, step by step. */
typedef struct side {
    xp_synthetic run;
    double loss[MOST_STEPS], total[MOST_STEPS];
    double *seconds; /* [requests][MOST_STEPS] */
} side;

static xp_status open_side(side *s, const xp_config *config, const xp_model_shape *shape,
                           const xp_device_options *options, const char *table) {
    double seconds, loss;
    setenv("EXPANSE_TUNING", table, 1);
    XP_TRY(xp_synthetic_open(&s->run, config, shape, options));
    const xp_plan_tuned *tuned;
    const int requests = xp_plan_tunings(s->run.session.training_plan, &tuned);
    s->seconds = calloc((size_t)requests * MOST_STEPS + 1, sizeof *s->seconds);
    if (!s->seconds) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a trial");
    return xp_synthetic_run(&s->run, 1, &seconds, &loss);
}

static xp_status run_step(side *s, int step) {
    xp_plan *plan = s->run.session.training_plan;
    const xp_plan_tuned *tuned;
    double wall;
    xp_plan_forget_profile(plan);
    XP_TRY(xp_synthetic_run(&s->run, 1, &wall, &s->loss[step]));
    const int requests = xp_plan_tunings(plan, &tuned);
    for (int q = 0; q < requests; q++) s->seconds[q * MOST_STEPS + step] = tuned[q].seconds;
    s->total[step] = xp_plan_profiled_seconds(plan);
    return XP_OK;
}

static double ratio(double above, double below) {
    return below > 0 ? above / below : 1;
}

/* [] without candidates. In turn a ratio for each step, else that of the medians. Sorts both in the second case. */
static json_t *ratios_of(double *candidates, double *defaults, bool in_turn, int steps) {
    json_t *out = json_array();
    for (int i = 0; i < steps && candidates && in_turn; i++)
        out = xp_json_append(out, json_real(ratio(candidates[i], defaults[i])));
    if (candidates && !in_turn)
        out = xp_json_append(out, json_real(ratio(xp_median(candidates, steps), xp_median(defaults, steps))));
    return out;
}

static bool differs(const xp_tuning *a, const xp_tuning *b) {
    for (int p = 0; p < a->count; p++)
        if (a->parameters[p].value != b->parameters[p].value) return true;
    return false;
}

/* Whether any request with a candidate may become faster, after the first pair of steps. */
static bool promises(const side sides[SIDES], int requests) {
    const xp_plan_tuned *tuned[SIDES];
    for (int i = 0; i < SIDES; i++) xp_plan_tunings(sides[i].run.session.training_plan, &tuned[i]);
    for (int q = 0; q < requests; q++)
        if (differs(&tuned[DEFAULTS][q].tuning, &tuned[CANDIDATES][q].tuning) &&
            sides[CANDIDATES].seconds[q * MOST_STEPS] < 1.05 * sides[DEFAULTS].seconds[q * MOST_STEPS])
            return true;
    return false;
}

static json_t *describe(const xp_device *device, const xp_plan_tuned *tuned, double seconds, json_t *ratios) {
    const xp_tuning *t = &tuned->tuning;
    json_t *parameters = json_array();
    for (int p = 0; p < t->count; p++) {
        json_t *values = json_array();
        for (int v = 0; v < XP_TUNING_VALUES && t->parameters[p].values[v]; v++)
            values = xp_json_append(values, json_integer(t->parameters[p].values[v]));
        parameters = xp_json_append(parameters, json_pack("{s:s,s:I,s:o,s:I}", "name", t->parameters[p].name, "default",
                                                          (json_int_t)t->parameters[p].fallback, "values", values,
                                                          "exclusive", (json_int_t)t->parameters[p].exclusive));
    }
    json_t *told = json_pack("{s:s,s:s,s:s,s:o,s:o,s:f,s:o,s:b}", "kernel", t->kernel, "operation", tuned->operation,
                             "shape", t->shape, "entry", xp_tuning_entry(device, t, t->shape), "parameters", parameters,
                             "seconds", seconds, "ratios", ratios, "persistent", t->persistent);
    if (!t->requires.kernel) return told;
    return xp_json_set(told, "requires",
                       json_pack("{s:s,s:{s:I}}", "kernel", t->requires.kernel, "values", t->requires.parameter,
                                 (json_int_t)t->requires.value));
}

static xp_status write_answer(side sides[SIDES], bool both, bool in_turn, int steps, xp_writer *out) {
    side *s = &sides[DEFAULTS], *candidates = both ? &sides[CANDIDATES] : NULL;
    const xp_plan_tuned *tuned;
    const int requests = xp_plan_tunings(s->run.session.training_plan, &tuned);
    json_t *list = json_array(), *whole = ratios_of(both ? candidates->total : NULL, s->total, in_turn, steps);
    for (int q = 0; q < requests; q++) {
        double *own = s->seconds + q * MOST_STEPS;
        json_t *ratios = ratios_of(both ? candidates->seconds + q * MOST_STEPS : NULL, own, in_turn, steps);
        const double seconds = xp_median(own, steps); /* sorts: after the pairs */
        list = xp_json_append(list, describe(s->run.session.device, &tuned[q], seconds, ratios));
    }
    json_t *root = json_pack("{s:f,s:o,s:o,s:s}", "step", xp_median(s->total, steps), "ratios", whole, "requests", list,
                             "note", xp_session_note(&s->run.session));
    xp_json_write(out, root, JSON_COMPACT);
    json_decref(root);
    return xp_writer_status(out, "a trial's answer");
}

/* A step of each side, or of the candidates alone after the defaults'; the losses must be equal. */
static xp_status run_pair(side sides[SIDES], bool both, bool in_turn, int step) {
    const int first = step % 2 ? CANDIDATES : DEFAULTS; /* what comes second may find a warmer machine */
    for (int turn = 0; turn < SIDES; turn++) {
        const int next = turn ? SIDES - 1 - first : first;
        if (next == DEFAULTS ? in_turn : both) XP_TRY(run_step(&sides[next], step));
    }
    const double own = sides[CANDIDATES].loss[step], wanted = sides[DEFAULTS].loss[step];
    if (!both || fabs(own - wanted) <= 1e-3 * wanted) return XP_OK;
    if (!isfinite(own) || !isfinite(wanted)) return xp_fail(XP_BAD_DATA, "a loss is not a number");
    return xp_fail(XP_BAD_DATA, "the candidates' loss is %g, the defaults' %g", own, wanted);
}

xp_status xp_tune_trial(const xp_config *config, const xp_model_shape *shape, const xp_device_options *options,
                        const xp_tune_order *order, xp_writer *answer) {
    side sides[SIDES] = {{.seconds = NULL}};
    const bool both = order->candidates != NULL, in_turn = order->in_turn;
    const int steps = order->steps;
    if (steps < 1 || steps > MOST_STEPS)
        return xp_fail(XP_INVALID_ARGUMENT, "a trial of %d steps: between 1 and %d", steps, MOST_STEPS);
    xp_status status = open_side(&sides[DEFAULTS], config, shape, options, order->defaults);
    for (int step = 0; step < steps && status == XP_OK && !in_turn; step++) status = run_step(&sides[DEFAULTS], step);
    if (status == XP_OK && both) status = open_side(&sides[CANDIDATES], config, shape, options, order->candidates);
    const xp_plan_tuned *tuned;
    const int requests = status == XP_OK ? xp_plan_tunings(sides[DEFAULTS].run.session.training_plan, &tuned) : 0;
    int done = 0;
    while (done < steps && status == XP_OK) {
        status = run_pair(sides, both, in_turn, done++);
        if (both && status == XP_OK && !promises(sides, requests)) break;
    }
    if (status == XP_OK) status = write_answer(sides, both, in_turn, done, answer);
    for (int i = 0; i < SIDES; i++) {
        xp_synthetic_close(&sides[i].run);
        free(sides[i].seconds);
    }
    return status;
}
