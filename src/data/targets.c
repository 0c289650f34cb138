/* What is to be predicted of samples, as numbers: names, reading, standardisation. Knows no file format. */
#include "data/timeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- names -------------------------------------------------------------------------------------------------------- */

xp_status xp_data_name_targets(xp_dataset *dataset, const char *const *names, int targets) {
    XP_TRY(xp_data_allocate((void **)&dataset->target_names, targets, sizeof *dataset->target_names, "target names"));
    dataset->targets = targets;
    for (int i = 0; i < targets; i++) {
        char own[32] = "target";
        if (targets > 1) snprintf(own, sizeof own, "target %d", i + 1);
        dataset->target_names[i] = strdup(names ? names[i] : own);
        if (!dataset->target_names[i]) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %d target names", targets);
    }
    return XP_OK;
}

void xp_data_forget_targets(xp_dataset *dataset) {
    for (int i = 0; dataset->target_names && i < dataset->targets; i++) free(dataset->target_names[i]);
    free(dataset->target_names);
    dataset->target_names = NULL;
    dataset->targets = 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

xp_status xp_dataset_read_targets(const xp_dataset *dataset, int64_t sample, float *targets) {
    const xp_source *source = dataset->source;
    if (source->read_targets) return source->read_targets(source, xp_dataset_number(dataset, sample), targets);
    for (int i = 0; i < dataset->targets; i++) targets[i] = NAN;
    return XP_OK;
}

xp_status xp_dataset_check_targets(const xp_dataset *dataset, const char *path) {
    float *targets = NULL;
    if (!dataset->source->read_targets) return xp_fail(XP_BAD_DATA, "%s has no targets", path);
    XP_TRY(xp_data_allocate((void **)&targets, dataset->targets, sizeof *targets, path));
    xp_status status = XP_OK;
    for (int64_t i = 0; i < dataset->count && status == XP_OK; i++) {
        status = xp_dataset_read_targets(dataset, i, targets);
        for (int t = 0; t < dataset->targets && status == XP_OK; t++)
            if (isnan(targets[t]))
                status = xp_fail(XP_BAD_DATA, "%s: sample %lld (counted from 0) has no %s", path,
                                 (long long)xp_dataset_number(dataset, i), dataset->target_names[t]);
    }
    free(targets);
    return status;
}

/* --- standardisation ---------------------------------------------------------------------------------------------- */

static double factor_of(const xp_standardisation *standardisation, int feature) {
    const double deviation = standardisation->deviation[feature];
    return deviation > 0 ? deviation : 1;
}

void xp_targets_standardise(const xp_standardisation *standardisation, int64_t count, float *values) {
    for (int64_t i = 0; i < count; i++) {
        const int feature = (int)(i % standardisation->features);
        values[i] = (float)((values[i] - standardisation->mean[feature]) / factor_of(standardisation, feature));
    }
}

void xp_standardisation_undo(const xp_standardisation *standardisation, int64_t count, float *values) {
    for (int64_t i = 0; i < count; i++) {
        const int feature = (int)(i % standardisation->features);
        values[i] = (float)(values[i] * factor_of(standardisation, feature) + standardisation->mean[feature]);
    }
}

void xp_standardisation_apply_targets(const xp_standardisation *standardisation, xp_dataset *dataset) {
    dataset->target_standardisation = standardisation;
}

int xp_dataset_target_features(const xp_dataset *dataset) {
    return dataset->horizon > 0 ? dataset->targets / dataset->horizon : dataset->targets;
}

double xp_dataset_target_unit(const xp_dataset *dataset) {
    const xp_standardisation *standardisation = dataset->target_standardisation;
    return standardisation && standardisation->features == 1 ? factor_of(standardisation, 0) : 1;
}

/* Adds the targets to sums [features], or their squares around the means, and counts them. */
static xp_status add_targets(const xp_dataset *dataset, int features, const double *means, double *sums,
                             int64_t *counts) {
    float *targets = NULL;
    XP_TRY(xp_data_allocate((void **)&targets, dataset->targets, sizeof *targets, dataset->name));
    xp_status status = XP_OK;
    for (int64_t i = 0; i < dataset->count && status == XP_OK; i++) {
        status = xp_dataset_read_targets(dataset, i, targets);
        for (int t = 0; t < dataset->targets && status == XP_OK; t++) {
            const int feature = t % features;
            const double value = means ? targets[t] - means[feature] : targets[t];
            if (isnan(value)) continue;
            sums[feature] += means ? value * value : value;
            counts[feature] += 1;
        }
    }
    free(targets);
    return status;
}

static xp_status fit(xp_standardisation *out, const xp_dataset *training, int64_t *counts) {
    if (training->horizon > 0) return xp_timeline_fit(out, training, true);
    XP_TRY(add_targets(training, out->features, NULL, out->mean, counts));
    for (int i = 0; i < out->features; i++) {
        out->mean[i] = counts[i] > 0 ? out->mean[i] / (double)counts[i] : 0;
        counts[i] = 0;
    }
    XP_TRY(add_targets(training, out->features, out->mean, out->deviation, counts));
    /* What is left of a constant target is the rounding of its mean. */
    for (int i = 0; i < out->features; i++) {
        const double deviation = counts[i] > 0 ? sqrt(out->deviation[i] / (double)counts[i]) : 0;
        out->deviation[i] = deviation > 1e-12 * fabs(out->mean[i]) ? deviation : 0;
    }
    return XP_OK;
}

xp_status xp_standardisation_fit_targets(xp_standardisation *out, const xp_dataset *training) {
    int64_t *counts = NULL;
    *out = (xp_standardisation){.features = xp_dataset_target_features(training)};
    out->mean = calloc((size_t)out->features, sizeof *out->mean);
    out->deviation = calloc((size_t)out->features, sizeof *out->deviation);
    xp_status status = xp_data_allocate((void **)&counts, out->features, sizeof *counts, training->name);
    if (status == XP_OK && !(out->mean && out->deviation))
        status = xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the means of its targets", training->name);
    if (status == XP_OK) status = fit(out, training, counts);
    free(counts);
    if (status != XP_OK) xp_standardisation_release(out);
    return status;
}
