/* The short search before the first longer training on a device. Owns when it is worth its time; the search is in
 * tune_search.c. */
#include "tune.h"

#include "device/cache.h"
#include "train/config.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const double SEARCH_SECONDS = 8, MOST_SECONDS = 20, LONG_RUN = 900;
/* What a compute unit does at least in a second, for an idea of how long a run will take. */
static const double CORE_FLOPS = 30e9, GPU_UNIT_FLOPS = 60e9;

static bool write_config(const xp_config *config, const char *path) {
    FILE *file = fopen(path, "w");
    bool whole = file && xp_config_print(config, file) == XP_OK;
    return file && fclose(file) == 0 && whole;
}

/* As the flags of `expanse tune`: the model is the configuration's, the rest is the data's shape. */
static xp_status search(const xp_config *config, const xp_model_shape *shape, const char *path, const char *table,
                        const char *trials, int *kept) {
    const bool images = config->model.kind == XP_MODEL_VISION;
    const struct {
        const char *name;
        int value;
    } sizes[] = {{images ? "--image" : "--length", images ? shape->height : shape->length},
                 {images ? "--channels" : "--features", images ? shape->channels : shape->features},
                 {"--classes", shape->classes}};
    char numbers[3][16];
    const char *words[32] = {"--config", path};
    int used = 2;
    for (int i = 0; i < 3; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%d", sizes[i].value);
        words[used++] = sizes[i].name;
        words[used++] = numbers[i];
    }
    const char *device = *config->device.select ? config->device.select : NULL, *family = config->device.family;
    if (device) words[used++] = "--device", words[used++] = device;
    words[used++] = "--family";
    words[used++] = family;
    const xp_tune_options options = {.words = words,
                                     .device = device,
                                     .family = family,
                                     .output = table,
                                     .trials = trials,
                                     .rounds = XP_TUNE_ROUNDS,
                                     .seconds = SEARCH_SECONDS,
                                     .at_most = MOST_SECONDS,
                                     .limit = MOST_SECONDS,
                                     .brief = true};
    return xp_tune_search(&options, kept);
}

bool xp_tune_first(const xp_config *config, const xp_model_shape *shape, const xp_device *device, double flops) {
    char table[PATH_MAX], trials[PATH_MAX], path[] = "/tmp/expanse-model-XXXXXX";
    const double unit = device->families[0] == XP_FAMILY_WIDE ? CORE_FLOPS : GPU_UNIT_FLOPS;
    if (flops < LONG_RUN * unit * device->limits.compute_units || shape->height != shape->breadth) return false;
    if (xp_cache_path("tuning.json", true, table, sizeof table) != XP_OK ||
        xp_cache_path("tuning-trials.json", true, trials, sizeof trials) != XP_OK ||
        xp_tune_knows(trials, table, device))
        return false;
    const int file = mkstemp(path);
    if (file < 0) return false;
    close(file);
    printf("tuning       for %s, which is new here: at most %.0f s after the first compilation (--no-tune: never)\n",
           device->name, MOST_SECONDS);
    fflush(stdout);
    int kept = 0;
    xp_status status = write_config(config, path) ? search(config, shape, path, table, trials, &kept)
                                                  : xp_fail(XP_IO_ERROR, "%s cannot be written", path);
    remove(path);
    if (status != XP_OK && status != XP_INTERRUPTED) printf("tuning       the defaults stay: %s\n", xp_last_error());
    return kept > 0;
}
