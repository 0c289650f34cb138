/* Samples whose values are all in memory, as floats: what formats of text are parsed into. */
#include "data/formats.h"

#include <stdlib.h>
#include <string.h>

typedef struct values_source {
    xp_source source;
    float *values;
    int64_t *first; /* [count + 1]: where each sample begins, and where the last one ends; NULL: they are of one size */
    float *targets; /* [count][target_count], or NULL */
    int64_t sample_elements;
    int target_count;
} values_source;

static xp_status read_values(const xp_source *source, int64_t number, float *values) {
    const values_source *own = (const values_source *)source;
    const int64_t first = own->first ? own->first[number] : number * own->sample_elements;
    const int64_t end = own->first ? own->first[number + 1] : first + own->sample_elements;
    memcpy(values, own->values + first, (size_t)(end - first) * sizeof *values);
    return XP_OK;
}

static xp_status read_targets(const xp_source *source, int64_t number, float *targets) {
    const values_source *own = (const values_source *)source;
    memcpy(targets, own->targets + number * own->target_count, (size_t)own->target_count * sizeof *targets);
    return XP_OK;
}

static void close_values(xp_source *source) {
    free(((values_source *)source)->values);
    free(((values_source *)source)->first);
    free(((values_source *)source)->targets);
    free(source);
}

xp_status xp_values_open(xp_dataset *dataset, float *values, int64_t *first, float *targets) {
    values_source *source = calloc(1, sizeof *source);
    if (!source) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for its samples", dataset->name);
    *source = (values_source){.source = {.read = read_values,
                                         .read_targets = targets ? read_targets : NULL,
                                         .close = close_values,
                                         .data_sets = 1},
                              .values = values,
                              .first = first,
                              .targets = targets,
                              .sample_elements = dataset->sample_elements,
                              .target_count = dataset->targets};
    dataset->source = &source->source;
    return XP_OK;
}

xp_status xp_dataset_of_values(xp_dataset **out, const xp_dataset *header, float *values) {
    xp_dataset *made = malloc(sizeof *made);
    if (!made) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for a data set", header->name);
    *made = *header;
    made->class_names = made->target_names = NULL; /* the header's own */
    made->targets = 0;
    const xp_status status = xp_values_open(made, values, NULL, NULL);
    if (status == XP_OK)
        *out = made;
    else
        free(made);
    return status;
}
