/* Interpolation, standardisation, alignment, splitting and limiting of data sets in place. Knows no file format. */
#include "core/random.h"
#include "data/dataset.h"
#include "data/formats.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_SPLIT = 0x53504c54, PURPOSE_LIMIT = 0x4c494d54 };

/* --- features ----------------------------------------------------------------------------------------------------- */

/* The values of one feature of one sample: `count` of them, `stride` apart. A channel of an image is dense. */
typedef struct feature_view {
    float *values;
    int64_t count;
    int stride;
} feature_view;

static int feature_count(const xp_dataset *dataset) {
    return dataset->kind == XP_DATASET_SERIES ? dataset->features : dataset->channels;
}

static feature_view view_feature(const xp_dataset *dataset, int64_t sample, int feature) {
    float *values = dataset->values + sample * dataset->sample_elements;
    if (dataset->kind == XP_DATASET_SERIES) {
        return (feature_view){values + feature, dataset->lengths[sample], dataset->features};
    }
    int64_t pixels = (int64_t)dataset->height * dataset->breadth;
    return (feature_view){values + feature * pixels, pixels, 1};
}

/* The least and the greatest value that is known; false when all are missing. */
static bool find_range(const xp_dataset *dataset, int feature, float *low, float *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; i < dataset->count; i++) {
        feature_view view = view_feature(dataset, i, feature);
        for (int64_t j = 0; j < view.count; j++) {
            *low = fminf(*low, view.values[j * view.stride]);
            *high = fmaxf(*high, view.values[j * view.stride]);
        }
    }
    return *low <= *high;
}

/* Writes "dimensions 2, 3, 5 and 4 more"; returns how many of numbers[count] there are. */
static void list_features(xp_writer *out, const xp_dataset *dataset, const int *numbers, int count) {
    enum { SHOWN = 8 };
    xp_write(out, "%s%s", dataset->kind == XP_DATASET_SERIES ? "dimension" : "channel", count > 1 ? "s" : "");
    for (int i = 0; i < count && i < SHOWN; i++)
        xp_write(out, "%s %d", i == 0 ? "" : i + 1 == count ? " and" : ",", numbers[i] + 1);
    if (count > SHOWN) xp_write(out, " and %d more", count - SHOWN);
}

xp_status xp_dataset_note_idle(const xp_dataset *dataset, bool constant, xp_writer *note) {
    const int features = feature_count(dataset);
    int *missing = NULL, *same = NULL, missing_count = 0, same_count = 0;
    xp_status status;
    XP_TRY_OR(status, xp_data_allocate((void **)&missing, features, sizeof *missing, dataset->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&same, features, sizeof *same, dataset->name), done);
    for (int feature = 0; feature < features; feature++) {
        float low, high;
        if (!find_range(dataset, feature, &low, &high))
            missing[missing_count++] = feature;
        else if (constant && low == high)
            same[same_count++] = feature;
    }
    if (missing_count + same_count > 0) xp_write(note, "%s: ", dataset->name);
    if (missing_count > 0) {
        list_features(note, dataset, missing, missing_count);
        xp_write(note, " %s missing in every sample, and 0 is taken%s", missing_count > 1 ? "are" : "is",
                 same_count > 0 ? "; " : "");
    }
    if (same_count > 0) {
        list_features(note, dataset, same, same_count);
        xp_write(note, " never change%s, and so tell%s nothing", same_count > 1 ? "" : "s", same_count > 1 ? "" : "s");
    }
    status = xp_writer_status(note, "the note on missing values");
done:
    free(missing);
    free(same);
    return status;
}

/* --- missing values ----------------------------------------------------------------------------------------------- */

/* values [length], `stride` floats apart. */
static void interpolate_series(float *values, int length, int stride) {
    int known = -1; /* the last step with a value */
    for (int step = 0; step < length; step++) {
        float value = values[(int64_t)step * stride];
        if (isnan(value)) continue;
        float before = known < 0 ? value : values[(int64_t)known * stride];
        for (int gap = known + 1; gap < step; gap++) {
            double part = (double)(gap - known) / (step - known);
            values[(int64_t)gap * stride] = known < 0 ? value : (float)(before + part * ((double)value - before));
        }
        known = step;
    }
    float last = known < 0 ? 0.0f : values[(int64_t)known * stride];
    for (int gap = known + 1; gap < length; gap++) values[(int64_t)gap * stride] = last;
}

static bool anything_known(const xp_dataset *dataset) {
    for (int64_t i = 0; i < dataset->count; i++) {
        const float *sample = dataset->values + i * dataset->sample_elements;
        for (int64_t j = 0; j < (int64_t)dataset->lengths[i] * dataset->features; j++)
            if (!isnan(sample[j])) return true;
    }
    return false;
}

xp_status xp_dataset_interpolate(xp_dataset *dataset) {
    if (dataset->kind != XP_DATASET_SERIES) return XP_OK; /* pixels are never missing */
    if (!anything_known(dataset))
        return xp_fail(XP_BAD_DATA, "%s: every value is missing; look at what wrote the file", dataset->name);
    for (int64_t i = 0; i < dataset->count; i++) {
        float *sample = dataset->values + i * dataset->sample_elements;
        for (int feature = 0; feature < dataset->features; feature++) {
            interpolate_series(sample + feature, dataset->lengths[i], dataset->features);
        }
    }
    return XP_OK;
}

/* --- standardisation ---------------------------------------------------------------------------------------------- */

/* A constant feature is found by its range: its deviation as computed may be a rounding error instead of 0. */
static void fit_feature(const xp_dataset *dataset, int feature, double *mean, double *deviation) {
    double sum = 0, squares = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        feature_view view = view_feature(dataset, i, feature);
        for (int64_t j = 0; j < view.count; j++) sum += view.values[j * view.stride];
        count += view.count;
    }
    *mean = sum / (double)count;
    for (int64_t i = 0; i < dataset->count; i++) {
        feature_view view = view_feature(dataset, i, feature);
        for (int64_t j = 0; j < view.count; j++) {
            double difference = view.values[j * view.stride] - *mean;
            squares += difference * difference;
        }
    }
    float low, high;
    find_range(dataset, feature, &low, &high);
    *deviation = low == high ? 0.0 : sqrt(squares / (double)count);
}

xp_status xp_standardisation_fit(xp_standardisation *out, const xp_dataset *training) {
    *out = (xp_standardisation){.features = feature_count(training)};
    if (training->count == 0) return xp_fail(XP_INVALID_ARGUMENT, "%s: no samples to standardise by", training->name);
    out->mean = calloc((size_t)out->features, sizeof *out->mean);
    out->deviation = calloc((size_t)out->features, sizeof *out->deviation);
    if (!out->mean || !out->deviation) {
        xp_standardisation_release(out);
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the means of its features", training->name);
    }
    for (int feature = 0; feature < out->features; feature++) {
        fit_feature(training, feature, &out->mean[feature], &out->deviation[feature]);
    }
    return XP_OK;
}

void xp_standardisation_apply(const xp_standardisation *standardisation, xp_dataset *dataset) {
    for (int64_t i = 0; i < dataset->count; i++) {
        for (int feature = 0; feature < standardisation->features; feature++) {
            double mean = standardisation->mean[feature], deviation = standardisation->deviation[feature];
            double factor = deviation > 0 ? 1.0 / deviation : 1.0;
            feature_view view = view_feature(dataset, i, feature);
            for (int64_t j = 0; j < view.count; j++) {
                float *value = view.values + j * view.stride;
                *value = (float)((*value - mean) * factor);
            }
        }
    }
}

void xp_standardisation_release(xp_standardisation *standardisation) {
    free(standardisation->mean);
    free(standardisation->deviation);
    *standardisation = (xp_standardisation){0};
}

/* --- alignment ---------------------------------------------------------------------------------------------------- */

static xp_status check_shapes(const xp_dataset *dataset, const xp_dataset *other) {
    if (dataset->kind != other->kind) {
        return xp_fail(XP_BAD_DATA, "%s holds %s and %s holds %s; both parts need the same kind of data", dataset->name,
                       dataset->kind == XP_DATASET_SERIES ? "series" : "images", other->name,
                       other->kind == XP_DATASET_SERIES ? "series" : "images");
    }
    if (dataset->kind == XP_DATASET_SERIES && dataset->features != other->features) {
        return xp_fail(XP_BAD_DATA, "%s has %d dimensions and %s has %d; both parts need as many", dataset->name,
                       dataset->features, other->name, other->features);
    }
    if (dataset->kind == XP_DATASET_IMAGES &&
        (dataset->channels != other->channels || dataset->height != other->height ||
         dataset->breadth != other->breadth)) {
        return xp_fail(XP_BAD_DATA, "%s has images of %dx%dx%d and %s of %dx%dx%d; both parts need the same size",
                       dataset->name, dataset->channels, dataset->height, dataset->breadth, other->name,
                       other->channels, other->height, other->breadth);
    }
    return XP_OK;
}

typedef struct class_entry {
    const char *name;
    int number;
} class_entry;

static int compare_classes(const void *a, const void *b) {
    return strcmp(((const class_entry *)a)->name, ((const class_entry *)b)->name);
}

/* Fills numbers [classes of other] with the number in `dataset` of each class that a sample of `other` has, and lists
 * behind names[dataset->classes] those that are not among them. Returns how many names there are then. */
static int number_classes(const xp_dataset *dataset, const class_entry *sorted, const xp_dataset *other, int *numbers,
                          const char **names) {
    int count = dataset->classes;
    for (int i = 0; i < other->classes + other->unseen; i++) numbers[i] = -1;
    for (int64_t i = 0; i < other->count && other->labels; i++) {
        const int label = other->labels[i];
        if (label < 0 || numbers[label] >= 0) continue;
        const class_entry wanted = {.name = other->class_names[label]};
        const class_entry *found = bsearch(&wanted, sorted, (size_t)dataset->classes, sizeof wanted, compare_classes);
        numbers[label] = found ? found->number : count;
        if (!found) names[count++] = wanted.name;
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

int64_t xp_dataset_number(const xp_dataset *dataset, int64_t sample) {
    return dataset->numbers ? dataset->numbers[sample] : sample;
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

xp_status xp_dataset_pad(xp_dataset *dataset, int length) {
    if (dataset->length == length) return XP_OK;
    int64_t elements = (int64_t)length * dataset->features;
    float *values = NULL;
    if (dataset->count > INT64_MAX / elements) {
        return xp_fail(XP_OUT_OF_MEMORY, "%s: series padded to %d steps do not fit the memory", dataset->name, length);
    }
    XP_TRY(xp_data_allocate((void **)&values, dataset->count * elements, sizeof *values, dataset->name));
    for (int64_t i = 0; i < dataset->count; i++) {
        memcpy(values + i * elements, dataset->values + i * dataset->sample_elements,
               (size_t)dataset->sample_elements * sizeof *values);
    }
    free(dataset->values);
    dataset->values = values;
    dataset->length = length;
    dataset->sample_elements = elements;
    return XP_OK;
}

xp_status xp_dataset_align(xp_dataset *dataset, xp_dataset *other) {
    XP_TRY(check_shapes(dataset, other));
    XP_TRY(map_labels(dataset, other));
    if (dataset->kind == XP_DATASET_IMAGES) return XP_OK;
    int length = dataset->length > other->length ? dataset->length : other->length;
    XP_TRY(xp_dataset_pad(dataset, length));
    return xp_dataset_pad(other, length);
}

/* --- splitting and limiting --------------------------------------------------------------------------------------- */

/* Copies the named samples, in that order, to a new data set of the same shape. chosen [count]. */
static xp_status take(const xp_dataset *dataset, const int32_t *chosen, int64_t count, xp_dataset **out) {
    xp_dataset *taken = malloc(sizeof *taken);
    if (!taken) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for a part of it", dataset->name);
    *taken = *dataset;
    taken->count = count;
    taken->values = NULL;
    taken->lengths = taken->labels = taken->numbers = NULL;
    taken->class_names = NULL;
    taken->classes = taken->unseen = 0;
    size_t elements = (size_t)dataset->sample_elements;
    xp_status status;
    XP_TRY_OR(status,
              xp_data_allocate((void **)&taken->values, count * dataset->sample_elements, sizeof(float), dataset->name),
              failed);
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
    for (int64_t i = 0; i < count; i++) {
        memcpy(taken->values + (size_t)i * elements, dataset->values + (size_t)chosen[i] * elements,
               elements * sizeof(float));
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

/* Gives *dataset the content of *part and releases what it had. */
static void replace(xp_dataset *dataset, xp_dataset **part) {
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

/* The group of a sample: its class, or one behind all classes for those without one. */
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

xp_status xp_dataset_split(xp_dataset *dataset, double fraction, uint64_t seed, xp_dataset **validation) {
    if (!(fraction > 0 && fraction < 1)) {
        return xp_fail(XP_INVALID_ARGUMENT, "the validation part has to be a fraction between 0 and 1, without these");
    }
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
    XP_TRY_OR(status, take(dataset, chosen, held_count, &away), done);
    XP_TRY_OR(status, take(dataset, chosen + held_count, dataset->count - held_count, &rest), done);
    replace(dataset, &rest);
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
    if (count >= dataset->count) return XP_OK;
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
    XP_TRY_OR(status, take(dataset, chosen, count, &part), done);
    replace(dataset, &part);
done:
    free(chosen);
    free(open);
    release_class_order(&order);
    return status;
}
