/* The tuning requests of a search, as a trial reports them, and the combinations of values that can be tried. */
#include "core/json.h"
#include "core/text.h"
#include "tune/search.h"

static const double LEAST_SHARE = 0.005; /* of the step: requests below it are not searched */

int xp_tune_digit(const xp_tune_request *q, int combination, int parameter) {
    for (int p = 0; p < parameter; p++) combination /= q->sizes[p];
    return combination % q->sizes[parameter];
}

json_t *xp_tune_entry(const xp_tune_request *q, int combination) {
    json_t *about = json_object_get(q->about, "entry"), *entry = json_copy(about), *values = json_object();
    const bool whole = entry && json_equal(entry, about); /* json_copy may omit members silently */
    for (int p = 0; p < q->parameters; p++) {
        const json_t *parameter = json_array_get(json_object_get(q->about, "parameters"), (size_t)p);
        values = xp_json_set(values, json_string_value(json_object_get(parameter, "name")),
                             json_integer(q->values[p][xp_tune_digit(q, combination, p)]));
    }
    entry = xp_json_set(entry, "values", values);
    if (whole) return entry;
    json_decref(entry);
    return NULL;
}

void xp_tune_print_values(const xp_tune_request *q, int combination, char text[XP_TUNE_VALUES_TEXT]) {
    text[0] = '\0';
    for (int p = 0; p < q->parameters; p++) {
        const json_t *parameter = json_array_get(json_object_get(q->about, "parameters"), (size_t)p);
        xp_text_add(text, XP_TUNE_VALUES_TEXT, "%s%s=%ld", p ? " " : "",
                    json_string_value(json_object_get(parameter, "name")),
                    q->values[p][xp_tune_digit(q, combination, p)]);
    }
}

void xp_tune_weigh(const xp_search *s, xp_tune_request *q, double seconds) {
    q->share = seconds / s->step_seconds;
    const bool wanted = s->options->filter ? regexec(&s->filter, q->kernel, 0, NULL, 0) == 0 : q->share >= LEAST_SHARE;
    q->searched = wanted && q->share > 0 && q->combinations > 1;
}

bool xp_tune_read_request(const xp_search *s, xp_tune_request *q, json_t *about) {
    *q = (xp_tune_request){.about = json_incref(about),
                           .kernel = json_string_value(json_object_get(about, "kernel")),
                           .shape = json_string_value(json_object_get(about, "shape")),
                           .operation = json_string_value(json_object_get(about, "operation")),
                           .persistent = json_is_true(json_object_get(about, "persistent")),
                           .combinations = 1};
    const json_t *parameters = json_object_get(about, "parameters");
    q->parameters = (int)json_array_size(parameters);
    for (int p = 0; p < q->parameters; p++) {
        const json_t *parameter = json_array_get(parameters, (size_t)p), *values = json_object_get(parameter, "values");
        const long fallback = (long)json_integer_value(json_object_get(parameter, "default"));
        int at = -1;
        q->exclusive[p] = (long)json_integer_value(json_object_get(parameter, "exclusive"));
        q->sizes[p] = (int)json_array_size(values);
        for (int v = 0; v < q->sizes[p]; v++) {
            q->values[p][v] = (long)json_integer_value(json_array_get(values, (size_t)v));
            if (q->values[p][v] == fallback) at = v;
        }
        if (at < 0) return false;
        q->fallback += at * q->combinations;
        q->combinations *= q->sizes[p];
        if (q->combinations > XP_TUNE_COMBINATIONS) return false;
    }
    q->best = q->base = q->fallback;
    q->ratio[q->fallback] = 1;
    xp_tune_weigh(s, q, json_number_value(json_object_get(about, "seconds")));
    return true;
}
