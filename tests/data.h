/* What the tests of data sets share: data sets from the text of a .ts file, and their values. */
#ifndef EXPANSE_TESTS_DATA_H
#define EXPANSE_TESTS_DATA_H

#include "data/dataset.h"
#include "support.h"

#define HEADER  "@problemName Toy\n@timeStamps false\n@univariate false\n@dimensions 2\n@equalLength false\n"
#define CLASSES "@classLabel true calm wild\n@data\n"

static inline xp_dataset *open_text(const char *text) {
    xp_dataset *dataset = NULL;
    xp_status status = xp_dataset_open(&dataset, scratch_write("toy.ts", text, strlen(text)), NULL);
    if (status != XP_OK) fail_msg("%s", xp_last_error());
    return dataset;
}

/* All samples as they are read, until the next call but one. */
static inline float *values_of(const xp_dataset *dataset) {
    static float *kept[2];
    static int turn;
    turn = !turn;
    free(kept[turn]);
    kept[turn] = calloc((size_t)(dataset->count * dataset->sample_elements), sizeof(float));
    for (int64_t i = 0; i < dataset->count; i++)
        if (xp_dataset_read(dataset, i, kept[turn] + i * dataset->sample_elements) != XP_OK)
            fail_msg("%s", xp_last_error());
    return kept[turn];
}

#endif
