/* Data sets: opening, preparing, splitting, batching. A data set is a part of a source, which keeps the samples
 * unchanged; steps such as standardisation are applied whenever a sample is read. Owns both; knows no models or
 * devices. */
#ifndef XP_DATA_DATASET_H
#define XP_DATA_DATASET_H

#include "core/status.h"
#include "core/writer.h"
#include "data/augment.h"
#include "data/workers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct xp_dataset xp_dataset;
typedef struct xp_source xp_source; /* data/formats.h */
typedef struct xp_times xp_times;   /* data/times.h */

/* The positions of the values of one feature in a sample: `count` of them, `stride` apart. */
typedef struct xp_feature_place {
    int64_t offset, count;
    int stride;
} xp_feature_place;

/* Tables of classes × classes limit the number of classes; names are limited, too. */
enum { XP_SAMPLE_RANK = 4, XP_DATA_TARGETS = 10000, XP_DATA_CLASSES = 10000, XP_DATA_NAME_BYTES = 255 };

/* What a sample is. A row of a table: nothing else depends on which kinds there are. */
typedef struct xp_sample_kind {
    const char *name;    /* in messages and checkpoints: "series" */
    const char *feature; /* what one of its features is called: "dimension" */
    struct {
        bool length, features, channels, height, breadth;
    } has;            /* which sizes it has; the others are 0 */
    bool has_missing; /* a value may be NaN */
    int symbols;      /* values are whole numbers below this, which name something and are not measured; 0: measured */
    bool continues;   /* what there is to predict of a sample is the next symbol, not a label */
    bool of_images;   /* images can be read as such samples */
    /* Why a model of other samples does not take them, as "holds texts: set model.kind to tokens". */
    const char *refusal;
    /* Of a sample as it is read, such as [length, features]; the rank is returned. */
    int (*shape)(const xp_dataset *dataset, int64_t shape[XP_SAMPLE_RANK]);
    int (*features)(const xp_dataset *dataset);
    /* The features follow each other, or take turns: together they are the sample without its padding. */
    xp_feature_place (*place)(const xp_dataset *dataset, int64_t sample, int feature);
    /* XP_BAD_DATA: the samples of the other data set have another shape. */
    xp_status (*check_alike)(const xp_dataset *dataset, const xp_dataset *other);
    /* "length 8 to 21, 2 features" */
    void (*describe)(const xp_dataset *dataset, xp_writer *out);
    /* Writes into drawn values what a sample says of itself, such as its length; NULL: nothing. */
    void (*complete)(const xp_dataset *dataset, float *values);
    /* Makes the samples of a data set, before anything is done with it, sequences of tokens; NULL: none can be made.
     * XP_OUT_OF_MEMORY. */
    xp_status (*tokenise)(xp_dataset *dataset);
    /* A picture of the first samples of an order, augmented as one batch of the epoch that began, and its file; NULL:
     * there is none. Writes atomically. XP_IO_ERROR, and what reading fails with. */
    const char *picture;
    xp_status (*draw)(const xp_dataset *dataset, const int32_t *order, const char *path);
    /* Draws a sample, as the data have it, into the square from 0 to `side` of an SVG picture, with time from left to
     * right; NULL: it is nothing to look at. Fails as xp_dataset_read. */
    xp_status (*sketch)(const xp_dataset *dataset, int64_t sample, double side, xp_writer *out);
} xp_sample_kind;
extern const xp_sample_kind xp_series_kind, xp_images_kind, xp_text_kind, xp_tokens_kind;
const xp_sample_kind *xp_sample_kind_find(const char *name); /* NULL: there is none */
int64_t xp_sample_elements(const xp_dataset *dataset);       /* the product of the shape */

/* Per-feature (series, over all valid time steps) or per-channel (images) mean and deviation. */
typedef struct xp_standardisation {
    int features;
    double *mean, *deviation; /* [features]; a deviation of 0 counts as 1 */
} xp_standardisation;

struct xp_dataset {
    const xp_sample_kind *kind;
    xp_source *source; /* shared with its other parts; NULL: a header alone */
    char name[128];    /* the file's name, for messages */
    int64_t count;     /* samples */
    int features;      /* series: dimensions; tokens: how many different ones */
    int length;        /* series: steps of a sample that is read, not fewer than the longest has; text: bytes before
                          the one that follows; tokens: of each sequence */
    int channels, height,
        breadth;             /* images; height 0: each has its own, until there is a frame; tokens: channels are the
                                      sequences of a sample */
    double crop;             /* with a frame: the part of the short side that it shows; 0: there is none */
    int64_t sample_elements; /* the product of the shape */
    int32_t *lengths;        /* [count], own steps of the series, or of the longer sequence; NULL for images */
    int32_t *labels;         /* [count], -1: the sample has none; NULL when none has one */
    int32_t *numbers;        /* [count], of the samples in their source, from 0; NULL: in this order */
    /* Of a sequence that was cut: sample i begins at first + shift + i·step, but not later than the last one without
     * the shift. Step 0: it was not cut. */
    int64_t first, step, shift;
    int classes;
    int unseen;          /* further classes, which the data set that this one was aligned to does not have */
    char **class_names;  /* [classes + unseen] */
    bool numbered;       /* the data number the classes from 0: a number means the same as the name in its place */
    int targets;         /* numbers to be predicted of a sample; 0: it has a class, or nothing */
    char **target_names; /* [targets] */
    int horizon;         /* steps that the targets are of, one after another: samples are windows of one series, in the
                            order of time; 0: the targets are of the whole sample */
    int season;          /* with a horizon: steps after which a series resembles itself */
    bool levelled;       /* of a window, batches have what is left without its mean and deviation, and both of these */
    bool fills_missing;
    const double *class_weights;               /* [classes], of a sample in the loss; borrowed; NULL: all are 1 */
    const xp_augmentation *augmentation;       /* of batches of images; borrowed; NULL: none */
    uint64_t seed;                             /* of the epoch that began, … */
    int64_t epoch;                             /* … and its number */
    const xp_standardisation *standardisation; /* borrowed; NULL: none */
    const xp_standardisation *target_standardisation; /* as well */
};

/* Opens a data set by content: series as .ts, .arff or a table of the UCR archive, or a table over time as CSV, in
 * UTF-8 or UTF-16; or texts with a class, as a table with the header "Source", "Target"; or an IDX image file, with its
 * label file beside it (images-idx3 -> labels-idx1), or a binary CIFAR file, or a folder of either (`part`: "train" or
 * "test"); or a JPEG or PNG file, or a folder of them, with a folder for each class or none; or text, as a file whose
 * name ends in .txt or a folder of them. All may be gzip. Missing values are NaN until xp_dataset_interpolate.
 * XP_IO_ERROR, XP_BAD_DATA (file:line or byte offset), XP_UNSUPPORTED (by name), XP_OUT_OF_MEMORY. */
xp_status xp_dataset_open(xp_dataset **out, const char *path, const char *part);
/* Opens any file, or the files *.txt of a folder and the folders in it, as text. XP_IO_ERROR, XP_BAD_DATA: it is empty;
 * XP_OUT_OF_MEMORY. */
xp_status xp_dataset_open_text(xp_dataset **out, const char *path);
/* A data set of values in memory, [count][sample_elements], in the shape of `header`, whose lengths and labels (or
 * NULL) it takes over, as `values`, on success. XP_OUT_OF_MEMORY. */
xp_status xp_dataset_of_values(xp_dataset **out, const xp_dataset *header, float *values);
void xp_dataset_close(xp_dataset **dataset);

/* How one long sequence becomes samples: a table of measurements over time, or a text, of which only the context
 * matters; and how samples become tokens. */
typedef struct xp_windows {
    int context, horizon,
        season;          /* steps that are given, and those after them that are to be predicted; horizon 0: none are */
    const char *predict; /* names of the columns that are, parted by commas; empty: all */
    bool levelled;       /* as of the data set */
    const char *words;   /* that texts consist of, parted by spaces; empty: bytes are the tokens */
    int longest;         /* texts: tokens after these are dropped; 0: none are */
    bool tokens;         /* images are read as sequences of tokens */
    bool to_end;         /* also the windows whose targets come after the last row, or some of them */
} xp_windows;
/* Makes windows of a table its samples, or pieces of a text, each with the byte that follows; cuts texts with a
 * class into tokens. Nothing is done to other data. XP_INVALID_ARGUMENT; XP_BAD_DATA: the sequence is too short, or
 * such data have no horizon. */
xp_status xp_dataset_cut(xp_dataset *dataset, const xp_windows *windows);
/* Whether data that are not cut yet are of the kind that a model was trained on, which the header says. XP_BAD_DATA. */
xp_status xp_dataset_check_kind(const xp_dataset *header, const xp_windows *windows, const xp_dataset *dataset);
/* Of windows: keeps the latest, and each of so many. */
xp_status xp_dataset_latest(xp_dataset *dataset, int64_t count);
xp_status xp_dataset_thin(xp_dataset *dataset, int64_t stride);
/* Of the rows of a table over time; NULL: it has none that can be read. Borrowed. */
const xp_times *xp_dataset_times(const xp_dataset *dataset);
/* The targets of a window as they were one season before, or as many as it takes to be known; NaN: never. */
void xp_dataset_read_naive(const xp_dataset *dataset, int64_t sample, float *forecast);

/* Shows all images of a square of side × side pixels: of each, the centre, `crop` times its short side wide. Side 0:
 * they stay as they are. XP_INVALID_ARGUMENT: the data are not images, or the images have no common size without a
 * side. */
xp_status xp_dataset_frame(xp_dataset *dataset, int side, double crop);

/* Writes a sentence about the dimensions or channels that are missing in every sample, and with `constant` about those
 * that never change; nothing if there are none. XP_OUT_OF_MEMORY. */
xp_status xp_dataset_note_idle(const xp_dataset *dataset, bool constant, xp_writer *note);

/* From now on NaN inside a series are filled by linear interpolation over time, the ends by the nearest value, an
 * all-NaN feature by 0. XP_BAD_DATA: there is nothing else. */
xp_status xp_dataset_interpolate(xp_dataset *dataset);

/* Of images that are read from files of their own, a thousand are enough. */
xp_status xp_standardisation_fit(xp_standardisation *out, const xp_dataset *training);
/* From lists of numbers, one for each feature. XP_INVALID_ARGUMENT. */
xp_status xp_standardisation_parse(xp_standardisation *out, const xp_dataset *training, const char *mean,
                                   const char *deviation);
/* From now on samples are read standardised; padding stays 0. It must outlive the data set. */
void xp_standardisation_apply(const xp_standardisation *standardisation, xp_dataset *dataset);
/* The same of the targets that are known. */
xp_status xp_standardisation_fit_targets(xp_standardisation *out, const xp_dataset *training);
/* A copy, owned by the caller. XP_OUT_OF_MEMORY. */
xp_status xp_standardisation_copy(xp_standardisation *out, const xp_standardisation *from);
/* From now on batches have standardised targets. */
void xp_standardisation_apply_targets(const xp_standardisation *standardisation, xp_dataset *dataset);
/* From targets [count], of which feature i modulo the features is the feature of number i, to the data's own unit. */
void xp_standardisation_undo(const xp_standardisation *standardisation, int64_t count, float *values);
void xp_standardisation_release(xp_standardisation *standardisation);

/* Whether the data number their classes and this is the number of one, as text. */
bool xp_dataset_is_number(const xp_dataset *dataset, int label, const char *text);
/* Makes other's label numbers and classes those of `dataset` (class names are matched as text; of a data set that
 * numbers them, the numbers too), or its targets, and pads both to the longer length. Classes of other's samples that
 * `dataset` does not have become the unseen ones.
 * `dataset` may be a header alone (count 0, no values): what a checkpoint remembers. XP_BAD_DATA: another kind or shape
 * of samples, or another number of targets, or other names of them. */
xp_status xp_dataset_align(xp_dataset *dataset, xp_dataset *other);
/* Pads every series with zeros to this number of steps, which is at least its length. */
void xp_dataset_pad(xp_dataset *dataset, int length);
/* XP_BAD_DATA, naming the first, unless every sample's label is one of the classes. The message begins with `path` and
 * ends without a remedy. */
xp_status xp_dataset_check_labels(const xp_dataset *dataset, const char *path);
/* XP_BAD_DATA, naming the first, unless every target of every sample is known. The message as above. */
xp_status xp_dataset_check_targets(const xp_dataset *dataset, const char *path);
/* The sample's number in its file, from 0; of text, that of its first byte. */
int64_t xp_dataset_number(const xp_dataset *dataset, int64_t sample);
/* Writes the name of the sample's own file; false: it has none. */
bool xp_dataset_name(const xp_dataset *dataset, int64_t sample, char *text, size_t size);

/* Takes `fraction` of the samples of every class (rounded, at least one where a class has two or more) into
 * *validation; the choice depends on the seed alone. Of a text that was cut, its end. Of windows, those that predict
 * the last rows; then windows of the rest neither know nor predict one of these. */
xp_status xp_dataset_split(xp_dataset *dataset, double fraction, uint64_t seed, xp_dataset **validation);
/* Keeps the first `count` samples of a class-balanced seeded order: shortened runs. Of a text that was cut, its
 * beginning; of windows, the latest. */
xp_status xp_dataset_limit(xp_dataset *dataset, int64_t count, uint64_t seed);
/* Keeps the first `count` samples in their order. */
void xp_dataset_first(xp_dataset *dataset, int64_t count);

/* The order of epoch `epoch`: a permutation of 0 … count-1 that depends on seed and epoch alone. order [count]. */
void xp_dataset_shuffle(int64_t count, uint64_t seed, int64_t epoch, int32_t *order);
/* Begins an epoch of training: a sequence that was cut is cut at other places, by less than a sample later, and images
 * change at random; both depend on seed and epoch alone. */
void xp_dataset_begin_epoch(xp_dataset *dataset, uint64_t seed, int64_t epoch);
/* Reads one sample, prepared, into values [sample_elements]. Threads may read at the same time. XP_BAD_DATA: the source
 * cannot give it; and what else reading files may fail with. */
xp_status xp_dataset_read(const xp_dataset *dataset, int64_t sample, float *values);

/* The same with its augmentation, as the sample at this place of the epoch's order. */
xp_status xp_dataset_read_augmented(const xp_dataset *dataset, int64_t sample, int64_t place, float *values);

/* The sample's targets as they are in the source, NaN: not known; targets [dataset->targets]. Fails as above. */
xp_status xp_dataset_read_targets(const xp_dataset *dataset, int64_t sample, float *targets);
/* One unit of the targets as batches have them, in the data's own unit; 1 where several targets have units of their
 * own. */
int xp_dataset_target_features(const xp_dataset *dataset); /* targets that have statistics of their own */
double xp_dataset_target_unit(const xp_dataset *dataset);

/* Whether a sample takes so long to read that threads should share in it: images of files, and changed ones. */
bool xp_dataset_is_slow(const xp_dataset *dataset);

/* The sample's weight in the loss, above 0. */
double xp_dataset_weight(const xp_dataset *dataset, int64_t sample);

/* The caller's memory for a batch, dense. */
typedef struct xp_batch {
    float *values;             /* [size][sample_elements] */
    int32_t *lengths, *labels; /* [size]; NULL: not wanted */
    float *targets;            /* [size][targets], or of classes the share of each; NULL: not wanted */
    float *levels;             /* [size][2][target features]: means, then deviations, of each window's columns that are
                                  predicted; NULL: not wanted */
    float *weights;            /* [size], in the loss; 0 after the last sample */
    int filled;                /* real samples */
    xp_workers *workers;       /* that share in reading; NULL: the calling thread reads alone. The bits are the same */
} xp_batch;
/* Reads the samples order[first … first+size-1]; after the last one: zero values, length 0, label 0, weight 0. The
 * label of a sample without one is -1, and a target that is not known NaN. Fails as xp_dataset_read. */
xp_status xp_dataset_batch(const xp_dataset *dataset, const int32_t *order, int64_t order_count, int64_t first,
                           int size, xp_batch *out);

/* A digest of all samples, lengths, labels and targets, as they are read, and of `seed`; of files, by their names and
 * sizes. Fails as xp_dataset_read. */
xp_status xp_dataset_digest(const xp_dataset *dataset, uint64_t seed, uint64_t *digest);

#endif
