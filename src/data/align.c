/* Makes two data sets fit each other: the classes by name, the length of series; and checks labels. */
#include "data/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static xp_status check_shapes(const xp_dataset *dataset, const xp_dataset *other) {
    if (dataset->kind == other->kind) return dataset->kind->check_alike(dataset, other);
    return xp_fail(XP_BAD_DATA, "%s holds %s and %s holds %s; both parts need the same kind of data", dataset->name,
                   dataset->kind->name, other->name, other->kind->name);
}

typedef struct class_entry {
    const char *name;
    int number;
} class_entry;

static int compare_classes(const void *a, const void *b) {
    return strcmp(((const class_entry *)a)->name, ((const class_entry *)b)->name);
}

bool xp_dataset_is_number(const xp_dataset *dataset, int label, const char *text) {
    char number[16];
    snprintf(number, sizeof number, "%d", label);
    return dataset->numbered && strcmp(number, text) == 0;
}

/* The entry of a class of `other`; where it numbers its classes, a data set without their names has the numbers. */
static const class_entry *find_class(const class_entry *sorted, int count, const xp_dataset *other, int label) {
    char number[16];
    const class_entry named = {.name = other->class_names[label]}, numbered = {.name = number};
    snprintf(number, sizeof number, "%d", label);
    const class_entry *found = bsearch(&named, sorted, (size_t)count, sizeof named, compare_classes);
    if (found || !other->numbered) return found;
    return bsearch(&numbered, sorted, (size_t)count, sizeof numbered, compare_classes);
}

/* Fills numbers [classes of other] with the number in `dataset` of each class that a sample of `other` has, and appends
 * to names, from names[dataset->classes] on, those that are not among them. Returns the new number of names. */
static int number_classes(const xp_dataset *dataset, const class_entry *sorted, const xp_dataset *other, int *numbers,
                          const char **names) {
    int count = dataset->classes;
    for (int i = 0; i < other->classes + other->unseen; i++) numbers[i] = -1;
    for (int64_t i = 0; i < other->count && other->labels; i++) {
        const int label = other->labels[i];
        if (label < 0 || numbers[label] >= 0) continue;
        const class_entry *found = find_class(sorted, dataset->classes, other, label);
        numbers[label] = found ? found->number : count;
        if (!found) names[count++] = other->class_names[label];
    }
    return count;
}

/* A class that the other part's header lists but no sample has is no fault. Without labels the other part still takes
 * the classes: a model's answers to it are about them. */
static xp_status map_labels(const xp_dataset *dataset, xp_dataset *other) {
    if (dataset->classes == 0) return XP_OK;
    class_entry *sorted = NULL;
    int *numbers = NULL;
    const char **names = NULL;
    const int others = other->classes + other->unseen;
    xp_dataset old = {.classes = others, .class_names = other->class_names};
    xp_status status;
    XP_TRY_OR(status, xp_data_allocate((void **)&sorted, dataset->classes, sizeof *sorted, other->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&numbers, others, sizeof *numbers, other->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&names, (int64_t)dataset->classes + others, sizeof *names, other->name),
              done);
    for (int i = 0; i < dataset->classes; i++) {
        names[i] = dataset->class_names[i];
        sorted[i] = (class_entry){names[i], i};
    }
    qsort(sorted, (size_t)dataset->classes, sizeof *sorted, compare_classes);
    const int count = number_classes(dataset, sorted, other, numbers, names);
    for (int64_t i = 0; i < other->count && other->labels; i++)
        if (other->labels[i] >= 0) other->labels[i] = numbers[other->labels[i]];
    other->class_names = NULL;
    other->classes = other->unseen = 0;
    status = xp_data_name_classes(other, names, count);
    other->unseen = other->classes > 0 ? count - dataset->classes : 0;
    other->classes -= other->unseen;
    xp_data_forget_classes(&old); /* the names were copied from it */
done:
    free(sorted);
    free(numbers);
    free(names);
    return status;
}

/* Targets are what their names say, not their place. */
static xp_status compare_target_names(const xp_dataset *dataset, const xp_dataset *other) {
    for (int i = 0; i < dataset->targets && dataset->target_names && other->target_names; i++) {
        if (strcmp(dataset->target_names[i], other->target_names[i]) == 0) continue;
        return xp_fail(XP_BAD_DATA,
                       "target %d of %s is '%s', and that of %s is '%s'; both parts need the same columns in the same "
                       "order",
                       i + 1, dataset->name, dataset->target_names[i], other->name, other->target_names[i]);
    }
    return XP_OK;
}

/* Without targets the other part still takes their names: a model's answers to it are about them. */
static xp_status match_targets(const xp_dataset *dataset, xp_dataset *other) {
    if (dataset->targets == 0) return XP_OK;
    if (dataset->targets == other->targets) return compare_target_names(dataset, other);
    const bool known = other->source->read_targets != NULL;
    if (known)
        return xp_fail(XP_BAD_DATA, "%s has %d target%s and %s has %d; both parts need the same number", dataset->name,
                       dataset->targets, dataset->targets == 1 ? "" : "s", other->name, other->targets);
    xp_data_forget_targets(other);
    return xp_data_name_targets(other, (const char *const *)dataset->target_names, dataset->targets);
}

int64_t xp_dataset_number(const xp_dataset *dataset, int64_t sample) {
    if (dataset->step == 0) return dataset->numbers ? dataset->numbers[sample] : sample;
    const int64_t last = dataset->count - 1, shifted = sample * dataset->step + dataset->shift;
    return dataset->first + (shifted < last * dataset->step ? shifted : last * dataset->step);
}

bool xp_dataset_name(const xp_dataset *dataset, int64_t sample, char *text, size_t size) {
    if (!dataset->source || !dataset->source->name) return false; /* a header alone */
    dataset->source->name(dataset->source, xp_dataset_number(dataset, sample), text, size);
    return true;
}

xp_status xp_dataset_check_labels(const xp_dataset *dataset, const char *path) {
    if (!dataset->labels) return xp_fail(XP_BAD_DATA, "%s has no class labels", path);
    for (int64_t i = 0; i < dataset->count; i++) {
        const int label = dataset->labels[i];
        if (label >= 0 && label < dataset->classes) continue;
        const long long number = (long long)xp_dataset_number(dataset, i);
        if (label < 0) return xp_fail(XP_BAD_DATA, "%s: sample %lld (counted from 0) has no class label", path, number);
        return xp_fail(XP_BAD_DATA,
                       "%s: sample %lld (counted from 0) has the class '%s', which the training data do not have", path,
                       number, dataset->class_names[label]);
    }
    return XP_OK;
}

void xp_dataset_pad(xp_dataset *dataset, int length) {
    dataset->length = length;
    dataset->sample_elements = xp_sample_elements(dataset);
    if (dataset->source && dataset->source->pad) dataset->source->pad(dataset->source, length);
}

xp_status xp_dataset_align(xp_dataset *dataset, xp_dataset *other) {
    XP_TRY(check_shapes(dataset, other));
    XP_TRY(map_labels(dataset, other));
    XP_TRY(match_targets(dataset, other));
    if (!dataset->kind->has.length) return XP_OK;
    const int length = dataset->length > other->length ? dataset->length : other->length;
    xp_dataset_pad(dataset, length);
    xp_dataset_pad(other, length);
    return XP_OK;
}
