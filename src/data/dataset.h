/* Data sets in host memory: reading, preparing, splitting, batching. Owns the samples; knows nothing of models or
 * devices. Formats: .ts (ts.c), .arff (arff.c), tables of the UCR archive (ucr.c), IDX (idx.c). */
#ifndef XP_DATA_DATASET_H
#define XP_DATA_DATASET_H

#include "core/status.h"
#include "core/writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum xp_dataset_kind { XP_DATASET_SERIES, XP_DATASET_IMAGES } xp_dataset_kind;

typedef struct xp_dataset {
    xp_dataset_kind kind;
    char name[128];                /* the file's name, for messages */
    int64_t count;                 /* samples */
    int features;                  /* series: dimensions */
    int length;                    /* series: the longest; every sample is stored with this many steps */
    int channels, height, breadth; /* images */
    int64_t sample_elements;       /* length·features or channels·height·breadth */
    float *values;                 /* [count][length][features], zero behind a series' end; or [count][ch][y][x] */
    int32_t *lengths;              /* [count]; NULL for images */
    int32_t *labels;               /* [count], -1: the sample has none; NULL when none has one */
    int32_t *numbers;              /* [count], of the samples in their file, from 0; NULL: as they stand here */
    int classes;
    int unseen;         /* classes behind these, which the data set that this one was aligned to does not have */
    char **class_names; /* [classes + unseen] */
} xp_dataset;

/* Opens a data set by content: series as .ts, .arff or a table of the UCR archive, in UTF-8 or UTF-16; or an IDX image
 * file, whose label file lies beside it (images-idx3 -> labels-idx1), or a folder of IDX files (`part`: "train" or
 * "test"). All may be gzip. Missing values are NaN until xp_dataset_interpolate. XP_IO_ERROR, XP_BAD_DATA (file:line or
 * byte offset), XP_UNSUPPORTED (by name), XP_OUT_OF_MEMORY. */
xp_status xp_dataset_open(xp_dataset **out, const char *path, const char *part);
void xp_dataset_close(xp_dataset **dataset);

/* Writes one sentence about the dimensions or channels that are missing in every sample, and with `constant` about those
 * that are the same everywhere; nothing when there are none. XP_OUT_OF_MEMORY. */
xp_status xp_dataset_note_idle(const xp_dataset *dataset, bool constant, xp_writer *note);

/* Fills NaN inside a series by linear interpolation over time, the ends by the nearest value, an all-NaN feature by 0.
 * XP_BAD_DATA: there is nothing else. */
xp_status xp_dataset_interpolate(xp_dataset *dataset);

/* Per-feature (series, over all valid time steps) or per-channel (images) mean and deviation. */
typedef struct xp_standardisation {
    int features;
    double *mean, *deviation; /* [features]; a deviation of 0 counts as 1 */
} xp_standardisation;
xp_status xp_standardisation_fit(xp_standardisation *out, const xp_dataset *training);
void xp_standardisation_apply(const xp_standardisation *standardisation, xp_dataset *dataset); /* padding stays 0 */
void xp_standardisation_release(xp_standardisation *standardisation);

/* Makes other's label numbers and classes those of `dataset` (class names are matched as text) and pads both to the
 * longer length. Classes of other's samples that `dataset` does not have become the unseen ones. `dataset` may be a
 * header alone (count 0, no values): what a checkpoint remembers. XP_BAD_DATA: another kind or shape of samples. */
xp_status xp_dataset_align(xp_dataset *dataset, xp_dataset *other);
/* Zeros behind every series up to so many steps, not fewer than it has. XP_OUT_OF_MEMORY. */
xp_status xp_dataset_pad(xp_dataset *dataset, int length);
/* XP_BAD_DATA, naming the first, unless every sample's label is one of the classes. The message begins with `path` and
 * ends without a remedy. */
xp_status xp_dataset_check_labels(const xp_dataset *dataset, const char *path);
/* The sample's number in its file, from 0. */
int64_t xp_dataset_number(const xp_dataset *dataset, int64_t sample);

/* Takes `fraction` of the samples of every class (rounded, at least one where a class has two or more) into
 * *validation; the choice depends on the seed alone. */
xp_status xp_dataset_split(xp_dataset *dataset, double fraction, uint64_t seed, xp_dataset **validation);
/* Keeps the first `count` samples of a class-balanced seeded order: shortened runs. */
xp_status xp_dataset_limit(xp_dataset *dataset, int64_t count, uint64_t seed);
/* Keeps the first `count` samples in their order. */
void xp_dataset_first(xp_dataset *dataset, int64_t count);

/* The order of epoch `epoch`: a permutation of 0 … count-1 that depends on seed and epoch alone. order [count]. */
void xp_dataset_shuffle(int64_t count, uint64_t seed, int64_t epoch, int32_t *order);
/* Copies samples order[first … first+batch-1] to dense host arrays; behind the last sample: zero values, length 0,
 * label 0, weight 0. The label of a sample that has none is -1. lengths and labels may be NULL. Returns the number of
 * real samples. values [batch][sample_elements]. */
int xp_dataset_batch(const xp_dataset *dataset, const int32_t *order, int64_t order_count, int64_t first, int batch,
                     float *values, int32_t *lengths, int32_t *labels, float *weights);

#endif
