/* What the tests that compute on a device share: one device for each family of kernels, and numbers to compute with. */
#ifndef EXPANSE_TESTS_DEVICES_H
#define EXPANSE_TESTS_DEVICES_H

#include "core/random.h"
#include "device/device.h"
#include "support.h"

enum { WIDE, TILED, FAMILIES };
static const char *const family_names[FAMILIES] = {"wide", "tiled"};
static xp_device *devices[FAMILIES];

/* How many families show a truth that holds for all since they share its text: which pairs attention sees, and how it
 * scores them (cl/attention_score.clh). `tiled` takes PoCL several seconds for each kernel, so it has its turn in the
 * long suite; `operations` compares its kernels with the reference every day. */
static inline int families_shown(void) {
    return getenv("EXPANSE_TEST_FAMILIES") ? FAMILIES : TILED;
}

/* The caller closes it. */
static inline xp_device *open_device(const char *family) {
    xp_device *device = NULL;
    xp_device_options options;
    xp_device_options_default(&options);
    options.family = family;
    MUST(xp_device_open(&device, &options));
    return device;
}

static inline int open_devices(void **state) {
    for (int family = 0; family < FAMILIES; family++) devices[family] = open_device(family_names[family]);
    return 0;
}

static inline int close_devices(void **state) {
    for (int family = 0; family < FAMILIES; family++) xp_device_close(&devices[family]);
    return 0;
}

/* count numbers from the normal distribution with that mean and standard deviation. */
static inline void fill_normal(xp_random *random, float *values, int64_t count, double mean, double deviation) {
    for (int64_t i = 0; i < count; i++) values[i] = (float)(mean + deviation * xp_random_normal(random));
}

#endif
