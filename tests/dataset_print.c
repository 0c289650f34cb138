/* Prints what the readers make of a file of series: count, dimensions and classes; a line for each class; and for each
 * sample its class from 0, or -1, its length, and its values, dimension by dimension. With --count, the first line
 * alone. */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

int main(int count, char **words) {
    const bool short_answer = count == 3 && strcmp(words[1], "--count") == 0;
    if (count != 2 && !short_answer) {
        fprintf(stderr, "usage: dataset_print [--count] FILE\n");
        return 2;
    }
    xp_dataset *data = NULL;
    if (xp_dataset_open(&data, words[count - 1], NULL) != XP_OK) {
        fprintf(stderr, "%s\n", xp_last_error());
        return 1;
    }
    printf("%lld %d %d\n", (long long)data->count, data->features, data->classes);
    for (int i = 0; i < data->classes && !short_answer; i++) puts(data->class_names[i]);
    for (int64_t i = 0; i < data->count && data->kind == XP_DATASET_SERIES && !short_answer; i++) {
        const float *sample = data->values + i * data->sample_elements;
        printf("%d %d", data->labels ? data->labels[i] : -1, data->lengths[i]);
        for (int feature = 0; feature < data->features; feature++)
            for (int step = 0; step < data->lengths[i]; step++)
                printf(" %.9g", sample[step * data->features + feature]);
        puts("");
    }
    xp_dataset_close(&data);
    return 0;
}
