/* The short search before the first longer training on a device: runs it and prints its result. */
#include "signals.h"
#include "tune.h"

#include "data/dataset.h"
#include "device/cache.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The user of the search's callbacks. */
typedef struct first_search {
    xp_tune_children children;
    xp_tune_options options;
} first_search;

static void print_conclusion(void *user, const xp_tune_conclusion *conclusion) {
    const first_search *s = user;
    if (conclusion->late)
        printf("tuning       the defaults are kept: nothing could be confirmed within %.0f s; expanse tune continues "
               "from here\n",
               s->options.at_most);
    else if (conclusion->written)
        printf("tuning       a step now takes %.0f %% of its former time: %s\n", 100 * conclusion->ratio,
               s->options.output);
    else if (conclusion->candidates)
        printf("tuning       the defaults are kept: no gain is significant: every interval includes 1\n");
    else
        printf("tuning       the defaults are kept: nothing faster was found\n");
}

static bool write_config(const xp_config *config, const char *path) {
    FILE *file = fopen(path, "w");
    bool whole = file && xp_config_print(config, file) == XP_OK;
    return file && fclose(file) == 0 && whole;
}

/* As the flags of `expanse tune`: the model is the configuration's, the rest is the data's shape. */
static xp_status search(const xp_config *config, const xp_model_shape *shape, const char *path,
                        const xp_tune_options *options, int *kept) {
    const xp_sample_kind *kind = xp_sample_kind_find(xp_model_samples(&config->model));
    const struct {
        const char *name;
        int value;
        bool used;
    } sizes[] = {{"--length", shape->length, kind->has.length},
                 {"--features", shape->features, kind->has.features},
                 {"--image", shape->height, kind->has.height},
                 {"--channels", shape->channels, kind->has.channels},
                 {"--classes", shape->outputs, !kind->continues}};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    char numbers[SIZES][16];
    const char *words[32] = {"--config", path};
    int used = 2;
    for (int i = 0; i < SIZES; i++) {
        if (!sizes[i].used) continue;
        snprintf(numbers[i], sizeof numbers[i], "%d", sizes[i].value);
        words[used++] = sizes[i].name;
        words[used++] = numbers[i];
    }
    const char *device = *config->device.select ? config->device.select : NULL, *family = config->device.family;
    if (device) words[used++] = "--device", words[used++] = device;
    words[used++] = "--family";
    words[used++] = family;
    first_search first = {{words, device, family}, *options};
    const xp_tune_callbacks callbacks = {.user = &first,
                                         .trial = xp_tune_child_trial,
                                         .check = xp_tune_child_check,
                                         .conclude = print_conclusion,
                                         .stop = &xp_signal_asked};
    return xp_tune_search(options, &callbacks, kept);
}

bool xp_tune_first(const xp_config *config, const xp_model_shape *shape, const xp_device *device, double flops) {
    char table[PATH_MAX], trials[PATH_MAX], path[] = "/tmp/expanse-model-XXXXXX";
    if (shape->height != shape->breadth || xp_cache_path("tuning.json", true, table, sizeof table) != XP_OK ||
        xp_cache_path("tuning-trials.json", true, trials, sizeof trials) != XP_OK ||
        !xp_tune_is_due(device, flops, trials, table))
        return false;
    const int file = mkstemp(path);
    if (file < 0) return false;
    close(file);
    xp_tune_options options;
    xp_tune_options_brief(&options, trials, table);
    printf(
        "tuning       for %s, which is not tuned yet: at most %.0f s after the first compilation (--no-tune: never)\n",
        device->name, options.at_most);
    fflush(stdout);
    int kept = 0;
    xp_status status = write_config(config, path) ? search(config, shape, path, &options, &kept)
                                                  : xp_fail(XP_IO_ERROR, "%s cannot be written", path);
    remove(path);
    if (status != XP_OK && status != XP_INTERRUPTED)
        printf("tuning       the defaults are kept: %s\n", xp_last_error());
    return kept > 0;
}
