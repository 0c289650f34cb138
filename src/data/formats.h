/* The readers of the file formats, from bytes to a data set. Each knows its format and nothing of paths beyond the name
 * that its messages need. */
#ifndef XP_DATA_FORMATS_H
#define XP_DATA_FORMATS_H

#include "data/dataset.h"

/* text ends in NUL behind its `length` bytes. On failure *dataset is left for the caller to close. .ts is what none of the
 * others recognises, so that its messages tell what a file needs. */
xp_status xp_ts_parse(xp_dataset *dataset, const char *path, const char *text, size_t length);
bool xp_arff_recognised(const char *text, size_t length);
xp_status xp_arff_parse(xp_dataset *dataset, const char *path, const char *text, size_t length);
bool xp_ucr_recognised(const char *text, size_t length);
xp_status xp_ucr_parse(xp_dataset *dataset, const char *path, const char *text, size_t length);

bool xp_idx_recognised(const char *bytes, size_t length);
xp_status xp_idx_parse_images(xp_dataset *dataset, const char *path, const char *bytes, size_t length);
/* dataset holds the images that the labels belong to. */
xp_status xp_idx_parse_labels(xp_dataset *dataset, const char *path, const char *bytes, size_t length);

/* Allocates `count` zeroed elements of `size` bytes, refusing products that do not fit the machine's memory. */
xp_status xp_data_allocate(void **out, int64_t count, size_t size, const char *what);
/* Sets classes and class_names, copying the names. The data set has none yet. */
xp_status xp_data_name_classes(xp_dataset *dataset, const char *const *names, int classes);
void xp_data_forget_classes(xp_dataset *dataset);

#endif
