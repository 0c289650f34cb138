/* Prints what the readers make of a file of series: count, dimensions and classes; a line for each class; and for each
 * sample its class from 0, or -1, or its first target, its length, and its values, dimension by dimension. With
 * --count, the first line alone. */
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
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
    float *sample = calloc((size_t)data->sample_elements, sizeof *sample);
    float *targets = calloc((size_t)data->targets + 1, sizeof *targets);
    if (!sample || !targets) return 1;
    for (int64_t i = 0; i < data->count && data->kind == &xp_series_kind && !short_answer; i++) {
        if (xp_dataset_read(data, i, sample) != XP_OK) return 1;
        if (xp_dataset_read_targets(data, i, targets) != XP_OK) return 1;
        if (data->targets > 0)
            printf("%.9g", targets[0]);
        else
            printf("%d", data->labels ? data->labels[i] : -1);
        printf(" %d", data->lengths[i]);
        for (int feature = 0; feature < data->features; feature++)
            for (int step = 0; step < data->lengths[i]; step++)
                printf(" %.9g", sample[step * data->features + feature]);
        puts("");
    }
    free(sample);
    free(targets);
    xp_dataset_close(&data);
    return 0;
}
