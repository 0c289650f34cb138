/* Parts of a data set: splitting and limiting, balanced by class or, of a sequence, by position. They share its
 * source. */
#include "core/random.h"
#include "data/timeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_SPLIT = 0x53504c54, PURPOSE_LIMIT = 0x4c494d54 };

xp_status xp_part_take(const xp_dataset *dataset, const int32_t *chosen, int64_t count, xp_dataset **out) {
    xp_dataset *taken = malloc(sizeof *taken);
    if (!taken) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for a part of it", dataset->name);
    *taken = *dataset;
    taken->count = count;
    taken->lengths = taken->labels = taken->numbers = NULL;
    taken->class_names = taken->target_names = NULL;
    taken->classes = taken->unseen = taken->targets = 0;
    taken->source->data_sets++;
    xp_status status;
    if (dataset->lengths) {
        XP_TRY_OR(status, xp_data_allocate((void **)&taken->lengths, count, sizeof(int32_t), dataset->name), failed);
    }
    if (dataset->labels) {
        XP_TRY_OR(status, xp_data_allocate((void **)&taken->labels, count, sizeof(int32_t), dataset->name), failed);
    }
    XP_TRY_OR(status, xp_data_allocate((void **)&taken->numbers, count, sizeof(int32_t), dataset->name), failed);
    if (dataset->classes > 0) { /* without labels, too: they may be those of a model */
        XP_TRY_OR(
            status,
            xp_data_name_classes(taken, (const char *const *)dataset->class_names, dataset->classes + dataset->unseen),
            failed);
        taken->classes = dataset->classes;
        taken->unseen = dataset->unseen;
    }
    if (dataset->targets > 0)
        XP_TRY_OR(status, xp_data_name_targets(taken, (const char *const *)dataset->target_names, dataset->targets),
                  failed);
    for (int64_t i = 0; i < count; i++) {
        if (taken->lengths) taken->lengths[i] = dataset->lengths[chosen[i]];
        if (taken->labels) taken->labels[i] = dataset->labels[chosen[i]];
        taken->numbers[i] = (int32_t)xp_dataset_number(dataset, chosen[i]);
    }
    *out = taken;
    return XP_OK;
failed:
    xp_dataset_close(&taken);
    return status;
}

void xp_part_replace(xp_dataset *dataset, xp_dataset **part) {
    xp_dataset old = *dataset;
    *dataset = **part;
    **part = old;
    xp_dataset_close(part);
}

/* The samples grouped by class, each group in an order drawn from the seed. */
typedef struct class_order {
    int32_t *samples; /* [count] */
    int64_t *first;   /* [groups + 1] */
    int groups;
} class_order;

static void release_class_order(class_order *order) {
    free(order->samples);
    free(order->first);
}

/* The group of a sample: its class, or one after all classes for samples without one. */
static int group_of(const xp_dataset *dataset, int labelled, int64_t sample) {
    const int label = dataset->labels ? dataset->labels[sample] : -1;
    return label < 0 ? labelled : label;
}

static xp_status order_by_class(class_order *out, const xp_dataset *dataset, uint64_t seed, uint32_t purpose) {
    const int labelled = dataset->labels ? dataset->classes + dataset->unseen : 0, groups = labelled + 1;
    *out = (class_order){.groups = groups};
    XP_TRY(xp_data_allocate((void **)&out->samples, dataset->count, sizeof *out->samples, dataset->name));
    xp_status status = xp_data_allocate((void **)&out->first, (int64_t)groups + 1, sizeof *out->first, dataset->name);
    if (status != XP_OK) {
        free(out->samples);
        return status;
    }
    xp_random random;
    xp_random_start(&random, seed, purpose);
    for (int64_t i = 0; i < dataset->count; i++) out->first[group_of(dataset, labelled, i) + 1]++;
    for (int group = 0; group < groups; group++) out->first[group + 1] += out->first[group];
    for (int64_t i = 0; i < dataset->count; i++)
        out->samples[out->first[group_of(dataset, labelled, i)]++] = (int32_t)i;
    memmove(out->first + 1, out->first, (size_t)groups * sizeof *out->first); /* each is at the next one's place */
    out->first[0] = 0;
    for (int group = 0; group < groups; group++) {
        int32_t *own = out->samples + out->first[group];
        for (int64_t i = out->first[group + 1] - out->first[group] - 1; i > 0; i--) {
            int64_t other = xp_random_below(&random, (uint32_t)i + 1);
            int32_t kept = own[i];
            own[i] = own[other];
            own[other] = kept;
        }
    }
    return XP_OK;
}

/* The end of a sequence. It has no classes. */
static xp_status split_sequence(xp_dataset *dataset, double fraction, xp_dataset **validation) {
    int64_t held = llround(fraction * (double)dataset->count);
    if (held < 1) held = 1;
    if (held >= dataset->count) held = dataset->count - 1;
    if (held < 1)
        return xp_fail(XP_INVALID_ARGUMENT, "%s: there is one sample, so none can be held out for validation",
                       dataset->name);
    xp_dataset *away = malloc(sizeof *away);
    if (!away) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for a part of it", dataset->name);
    *away = *dataset;
    away->source->data_sets++;
    dataset->count -= held;
    away->count = held;
    away->first += dataset->count * dataset->step;
    *validation = away;
    return XP_OK;
}

xp_status xp_dataset_split(xp_dataset *dataset, double fraction, uint64_t seed, xp_dataset **validation) {
    if (!(fraction > 0 && fraction < 1)) {
        return xp_fail(XP_INVALID_ARGUMENT, "the validation fraction must be greater than 0 and less than 1");
    }
    if (dataset->step) return split_sequence(dataset, fraction, validation);
    if (dataset->horizon > 0) return xp_timeline_split(dataset, fraction, validation);
    class_order order;
    XP_TRY(order_by_class(&order, dataset, seed, PURPOSE_SPLIT));
    bool *held = NULL;
    int32_t *chosen = NULL;
    xp_dataset *away = NULL, *rest = NULL;
    xp_status status;
    XP_TRY_OR(status, xp_data_allocate((void **)&held, dataset->count, sizeof *held, dataset->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&chosen, dataset->count, sizeof *chosen, dataset->name), done);
    int64_t held_count = 0;
    for (int group = 0; group < order.groups; group++) {
        int64_t size = order.first[group + 1] - order.first[group];
        int64_t wanted = llround(fraction * (double)size);
        if (wanted < 1 && size >= 2) wanted = 1;
        if (wanted >= size) wanted = size > 0 ? size - 1 : 0;
        for (int64_t i = 0; i < wanted; i++) held[order.samples[order.first[group] + i]] = true;
        held_count += wanted;
    }
    if (held_count == 0) {
        status = xp_fail(XP_INVALID_ARGUMENT, "%s: no class has two samples, so none can be held out for validation",
                         dataset->name);
        goto done;
    }
    int64_t front = 0, back = held_count; /* held-out samples first, then the others, both in the file's order */
    for (int64_t i = 0; i < dataset->count; i++) chosen[held[i] ? front++ : back++] = (int32_t)i;
    XP_TRY_OR(status, xp_part_take(dataset, chosen, held_count, &away), done);
    XP_TRY_OR(status, xp_part_take(dataset, chosen + held_count, dataset->count - held_count, &rest), done);
    xp_part_replace(dataset, &rest);
    *validation = away;
    away = NULL;
done:
    xp_dataset_close(&away);
    free(held);
    free(chosen);
    release_class_order(&order);
    return status;
}

void xp_dataset_first(xp_dataset *dataset, int64_t count) {
    if (count < dataset->count) dataset->count = count;
}

xp_status xp_dataset_limit(xp_dataset *dataset, int64_t count, uint64_t seed) {
    if (count < 1)
        return xp_fail(XP_INVALID_ARGUMENT, "%s: cannot be limited to %lld samples", dataset->name, (long long)count);
    if (dataset->step) xp_dataset_first(dataset, count);
    if (count >= dataset->count) return XP_OK;
    if (dataset->horizon > 0) return xp_dataset_latest(dataset, count);
    class_order order;
    XP_TRY(order_by_class(&order, dataset, seed, PURPOSE_LIMIT));
    int32_t *chosen = NULL, *open = NULL; /* the groups that still have samples */
    xp_dataset *part = NULL;
    xp_status status;
    XP_TRY_OR(status, xp_data_allocate((void **)&chosen, count, sizeof *chosen, dataset->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&open, order.groups, sizeof *open, dataset->name), done);
    int64_t taken = 0;
    int open_count = order.groups;
    for (int group = 0; group < order.groups; group++) open[group] = group;
    for (int64_t round = 0; taken < count; round++) {
        int kept = 0;
        for (int i = 0; i < open_count && taken < count; i++) {
            int64_t at = order.first[open[i]] + round;
            if (at >= order.first[open[i] + 1]) continue;
            chosen[taken++] = order.samples[at];
            open[kept++] = open[i];
        }
        open_count = kept;
    }
    XP_TRY_OR(status, xp_part_take(dataset, chosen, count, &part), done);
    xp_part_replace(dataset, &part);
done:
    free(chosen);
    free(open);
    release_class_order(&order);
    return status;
}
