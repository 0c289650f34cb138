/* The order of an epoch, the dense batches cut from it, and the digest of a whole data set. Owns nothing; the same seed
 * and epoch give the same order whatever ran before, which a bitwise resume depends on. */
#include "core/random.h"
#include "data/timeline.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { PURPOSE_SHUFFLE = 0x53485546, PURPOSE_SHIFT = 0x53484946 };

void xp_dataset_shuffle(int64_t count, uint64_t seed, int64_t epoch, int32_t *order) {
    xp_random random;
    xp_random_start(&random, seed, PURPOSE_SHUFFLE);
    random.position = (uint64_t)epoch << 40; /* far more words than the largest data set can draw */
    for (int64_t i = 0; i < count; i++) order[i] = (int32_t)i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t other = xp_random_below(&random, (uint32_t)i + 1);
        int32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

void xp_dataset_begin_epoch(xp_dataset *dataset, uint64_t seed, int64_t epoch) {
    xp_random random;
    dataset->seed = seed;
    dataset->epoch = epoch;
    if (dataset->step == 0) return;
    xp_random_start(&random, seed, PURPOSE_SHIFT);
    random.position = (uint64_t)epoch << 40;
    dataset->shift = (int64_t)xp_random_below(&random, (uint32_t)dataset->step);
}

static xp_status read_standardised(const xp_dataset *dataset, int64_t sample, float *targets) {
    XP_TRY(xp_dataset_read_targets(dataset, sample, targets));
    if (dataset->target_standardisation)
        xp_targets_standardise(dataset->target_standardisation, dataset->targets, targets);
    return XP_OK;
}

double xp_dataset_weight(const xp_dataset *dataset, int64_t sample) {
    return dataset->class_weights ? dataset->class_weights[dataset->labels[sample]] : 1;
}

/* Of a data set with classes: 1 for that of the sample, if it has one. */
static void write_shares(const xp_dataset *dataset, int64_t sample, float *targets) {
    const int label = dataset->labels ? dataset->labels[sample] : -1;
    memset(targets, 0, (size_t)dataset->classes * sizeof *targets);
    if (label >= 0 && label < dataset->classes) targets[label] = 1;
}

static xp_status write_targets(const xp_dataset *dataset, int64_t sample, float *targets) {
    if (dataset->targets > 0) return read_standardised(dataset, sample, targets);
    write_shares(dataset, sample, targets);
    return XP_OK;
}

static void mix(const xp_dataset *dataset, int64_t first, int count, const xp_batch *batch) {
    enum { PURPOSE_MIX = 0x4d495849 };
    xp_random random = xp_random_of(dataset->seed, PURPOSE_MIX, dataset->epoch, first);
    const xp_mixing mixing = {.count = count,
                              .channels = dataset->channels,
                              .height = dataset->height,
                              .breadth = dataset->breadth,
                              .classes = dataset->classes,
                              .values = batch->values,
                              .targets = batch->targets,
                              .weights = batch->weights};
    xp_augment_mix(dataset->augmentation, &random, &mixing);
}

/* Where the samples of a batch come from and go to. */
typedef struct reading {
    const xp_dataset *dataset;
    const int32_t *order;
    int64_t first;
    size_t targets, levels; /* of a sample */
    const xp_batch *to;
} reading;

static xp_status read_place(void *user, int i) {
    const reading *own = user;
    const xp_dataset *dataset = own->dataset;
    const xp_batch *to = own->to;
    const int64_t place = own->first + i, sample = own->order[place];
    float *values = to->values + i * dataset->sample_elements;
    XP_TRY(xp_dataset_read_augmented(dataset, sample, place, values));
    if (dataset->levelled)
        xp_timeline_level(xp_timeline_of(dataset), values, to->levels ? to->levels + (size_t)i * own->levels : NULL);
    if (to->lengths) to->lengths[i] = dataset->lengths ? dataset->lengths[sample] : 0;
    if (to->labels) to->labels[i] = dataset->labels ? dataset->labels[sample] : -1;
    if (to->targets) XP_TRY(write_targets(dataset, sample, to->targets + (size_t)i * own->targets));
    to->weights[i] = (float)xp_dataset_weight(dataset, sample);
    return XP_OK;
}

xp_status xp_dataset_batch(const xp_dataset *dataset, const int32_t *order, int64_t order_count, int64_t first,
                           int size, xp_batch *out) {
    const int64_t left = order_count - first;
    const size_t elements = (size_t)dataset->sample_elements;
    const size_t targets = (size_t)(dataset->targets > 0 ? dataset->targets : dataset->classes);
    const int real = left < 0 ? 0 : left < size ? (int)left : size;
    const size_t levels = 2 * (size_t)xp_dataset_target_features(dataset);
    reading from = {dataset, order, first, targets, levels, out};
    XP_TRY(xp_workers_run(out->workers, real, read_place, &from));
    const size_t padded = (size_t)(size - real);
    memset(out->values + (size_t)real * elements, 0, padded * elements * sizeof *out->values);
    if (out->lengths) memset(out->lengths + real, 0, padded * sizeof *out->lengths);
    if (out->labels) memset(out->labels + real, 0, padded * sizeof *out->labels);
    if (out->targets) memset(out->targets + (size_t)real * targets, 0, padded * targets * sizeof *out->targets);
    if (out->levels) memset(out->levels + (size_t)real * levels, 0, padded * levels * sizeof *out->levels);
    memset(out->weights + real, 0, padded * sizeof *out->weights);
    if (dataset->augmentation && xp_augmentation_mixes(dataset->augmentation)) mix(dataset, first, real, out);
    out->filled = real;
    return XP_OK;
}

static xp_status digest_values(const xp_dataset *dataset, XXH64_state_t *state, uint64_t *digest) {
    const size_t elements = (size_t)dataset->sample_elements;
    float *values = NULL, *targets = NULL;
    XP_TRY(xp_data_allocate((void **)&values, dataset->sample_elements, sizeof *values, dataset->name));
    xp_status status = xp_data_allocate((void **)&targets, dataset->targets, sizeof *targets, dataset->name);
    for (int64_t i = 0; i < dataset->count && status == XP_OK; i++) {
        if (dataset->source->identify) {
            const uint64_t own = dataset->source->identify(dataset->source, xp_dataset_number(dataset, i));
            XXH64_update(state, &own, sizeof own);
            continue;
        }
        status = xp_dataset_read(dataset, i, values);
        if (status == XP_OK) XXH64_update(state, values, elements * sizeof *values);
        if (status == XP_OK && dataset->targets > 0) status = xp_dataset_read_targets(dataset, i, targets);
        if (status == XP_OK) XXH64_update(state, targets, (size_t)dataset->targets * sizeof *targets);
    }
    *digest = XXH64_digest(state);
    free(values);
    free(targets);
    return status;
}

xp_status xp_dataset_digest(const xp_dataset *dataset, uint64_t seed, uint64_t *digest) {
    const size_t count = (size_t)dataset->count;
    XXH64_state_t *state = XXH64_createState();
    if (!state) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to digest it", dataset->name);
    XXH64_reset(state, seed);
    const xp_status status = digest_values(dataset, state, digest);
    XXH64_freeState(state);
    if (dataset->lengths) *digest = XXH64(dataset->lengths, count * sizeof *dataset->lengths, *digest);
    if (dataset->labels) *digest = XXH64(dataset->labels, count * sizeof *dataset->labels, *digest);
    return status;
}
