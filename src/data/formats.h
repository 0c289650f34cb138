/* Sources of samples: a table of formats, whose rows open and read them. Each knows its format and nothing of paths
 * beyond the name that its messages need, and the files that belong to one. */
#ifndef XP_DATA_FORMATS_H
#define XP_DATA_FORMATS_H

#include "data/dataset.h"
#include "data/picture.h"

/* What to open. */
typedef struct xp_opening {
    const char *path;
    const char *part; /* of a folder, "train" or "test"; NULL: not given */
    char *bytes; /* of a file, decompressed, with a NUL after them; text is UTF-8. The row that keeps them sets NULL */
    size_t length;
} xp_opening;

/* What is open: the first member of a struct of the format's own. It is closed with the last data set that has it. */
struct xp_source {
    /* Writes the values of one sample, without padding, as they are in the file. Threads may read at the same time.
     * NULL: the samples are images, which `load` gives. */
    xp_status (*read)(const xp_source *source, int64_t number, float *values);
    /* An image as it is stored, which the caller releases; `name` [PATH_MAX] is room for the name of its file. As
     * `read`. */
    xp_status (*load)(const xp_source *source, int64_t number, char *name, xp_encoded *out);
    /* The name of a sample, which is that of its file; NULL: samples have none. */
    void (*name)(const xp_source *source, int64_t number, char *text, size_t size);
    /* What tells a sample from another without reading it, where that takes long; NULL: its values do. */
    uint64_t (*identify)(const xp_source *source, int64_t number);
    /* Writes what is to be predicted of it, NaN: not known; NULL: nothing is. As `read`. */
    xp_status (*read_targets)(const xp_source *source, int64_t number, float *targets);
    /* Makes samples of one long sequence, as xp_dataset_cut does; NULL: the samples are what the file holds. */
    xp_status (*cut)(xp_dataset *dataset, const xp_windows *windows);
    /* Each sequence of a sample that is read takes this many steps from now on; NULL: what pads stands behind the
     * sample. */
    void (*pad)(xp_source *source, int length);
    void (*close)(xp_source *source);
    int data_sets;
};

/* A format: a row of the table in dataset.c. `open` sets the data set's kind, sizes, lengths, labels, classes and
 * source; on failure the caller closes the data set. */
typedef enum xp_format_of { XP_FORMAT_BINARY, XP_FORMAT_TEXT, XP_FORMAT_FOLDER } xp_format_of;
typedef struct xp_format {
    xp_format_of of;
    bool (*recognises)(const xp_opening *opening);
    xp_status (*open)(xp_dataset *dataset, xp_opening *opening);
} xp_format;
extern const xp_format xp_format_idx_folder, xp_format_cifar_folder, xp_format_image_folder, xp_format_text_folder,
    xp_format_image, xp_format_cifar, xp_format_idx, xp_format_arff, xp_format_ucr, xp_format_csv, xp_format_ts,
    xp_format_text, xp_format_tsv;

/* Which part of a folder that has two is meant. XP_INVALID_ARGUMENT: neither "train" nor "test". */
xp_status xp_data_part_is_test(const xp_opening *opening, bool *test);
/* Has `path` opened as a file, by its content: for a folder's row that has chosen one. */
xp_status xp_data_open_file(xp_dataset *dataset, const char *path);
/* Gives the data set a source of values in memory, which it takes over on success, as `first` [count + 1]: where each
 * sample begins, and where the last one ends; NULL: they are of one size; and `targets` [count][targets]; NULL: none is
 * known. */
xp_status xp_values_open(xp_dataset *dataset, float *values, int64_t *first, float *targets);

/* Allocates `count` zeroed elements of `size` bytes, rejecting products that exceed the memory of the machine. */
xp_status xp_data_allocate(void **out, int64_t count, size_t size, const char *what);
/* What makes a text no name of a class, which files of JSON and YAML have to hold: "is not UTF-8"; NULL: nothing. */
const char *xp_data_name_fault(const char *name, size_t length);
/* Sets classes and class_names, copying the names. The data set has none yet. */
xp_status xp_data_name_classes(xp_dataset *dataset, const char *const *names, int classes);
/* The same of classes that the data number from 0: the lines of this file, if it exists, else `names`, which end in
 * NULL, else the numbers. Names may be of more classes, up to `most`, which is at most 256. Fails as reading the file
 * does; XP_BAD_DATA: it does not name these classes (classes.c). */
xp_status xp_data_name_numbers(xp_dataset *dataset, const char *file, const char *const *names, int classes, int most);
/* The names of the classes of a published data set whose labels these are, a byte each; NULL: it is not known. */
const char *const *xp_data_known_names(const char *labels, size_t count);
void xp_data_forget_classes(xp_dataset *dataset);
/* Sets targets and target_names, copying the names; NULL: they are called target, or target 1, target 2 … The data set
 * has none yet. */
xp_status xp_data_name_targets(xp_dataset *dataset, const char *const *names, int targets);
void xp_data_forget_targets(xp_dataset *dataset);

/* Reads one image, in the frame of the data set; `random` is that of its augmentation, or NULL (view.c). Fails as
 * xp_dataset_read. */
xp_status xp_view_read(const xp_dataset *dataset, int64_t number, xp_random *random, float *values);

/* The picture of a data set of images (sheet.c). */
xp_status xp_sheet_draw(const xp_dataset *dataset, const int32_t *order, const char *path);

/* The sketches of a sample that is an image or a series (sketch.c). */
xp_status xp_sketch_image(const xp_dataset *dataset, int64_t sample, double side, xp_writer *out);
xp_status xp_sketch_series(const xp_dataset *dataset, int64_t sample, double side, xp_writer *out);

/* Scales targets as xp_standardisation_undo takes them, and NaN stay so (targets.c). */
void xp_targets_standardise(const xp_standardisation *standardisation, int64_t count, float *values);

#endif
