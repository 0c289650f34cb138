/* The order of an epoch and the dense batches cut from it. Owns nothing; the same seed and epoch give the same order
 * whatever ran before, which a bitwise resume depends on. */
#include "core/random.h"
#include "data/dataset.h"

#include <string.h>

enum { PURPOSE_SHUFFLE = 0x53485546 };

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

int xp_dataset_batch(const xp_dataset *dataset, const int32_t *order, int64_t order_count, int64_t first, int batch,
                     float *values, int32_t *lengths, int32_t *labels, float *weights) {
    int64_t left = order_count - first;
    int real = left < 0 ? 0 : left < batch ? (int)left : batch;
    size_t elements = (size_t)dataset->sample_elements;
    for (int i = 0; i < batch; i++) {
        int64_t sample = i < real ? order[first + i] : -1;
        float *target = values + (size_t)i * elements;
        if (sample < 0) {
            memset(target, 0, elements * sizeof *target);
        } else {
            memcpy(target, dataset->values + (size_t)sample * elements, elements * sizeof *target);
        }
        if (lengths) lengths[i] = sample >= 0 && dataset->lengths ? dataset->lengths[sample] : 0;
        if (labels) labels[i] = sample < 0 ? 0 : dataset->labels ? dataset->labels[sample] : -1;
        weights[i] = sample >= 0 ? 1.0f : 0.0f;
    }
    return real;
}
