/* The tuning table: the fastest known parameters of a kernel for a shape and a device. Owns the format of the table and
 * the order of lookup; knows neither kernels nor the search.
 *
 * A table is JSON: {"format": 1, "entries": [{"device", "driver", "vendor", "kernel", "version", "shape", "values",
 * "gain"}]}. "values" maps parameters to numbers, "version" is a hash of the text of the kernel, so that an entry
 * becomes invalid when the kernel changes; "gain" is the time with the defaults divided by the time with the values.
 * Shape "*" applies to all shapes without their own entry. Tables have this precedence: the entries recorded in a
 * checkpoint, the file named by EXPANSE_TUNING, tuning.json in the cache folder, the built-in table. In each of them,
 * an entry for the shape has precedence over one for all shapes, and one for the device over one for its vendor (shape
 * "*" only). */
#ifndef XP_DEVICE_TUNING_H
#define XP_DEVICE_TUNING_H

#include "core/statistics.h"
#include "device/device.h"

#include <jansson.h>

enum { XP_TUNING_PARAMETERS = 8, XP_TUNING_VALUES = 8, XP_TUNING_FORMAT = 1 };

/* One tunable parameter of a kernel: its default in value, and the permitted values. */
typedef struct xp_tuning_parameter {
    const char *name; /* static */
    long value;
    long values[XP_TUNING_VALUES]; /* the rest are 0 */
    long exclusive;                /* the value with which the other parameters have no effect; 0: none */
    long fallback;                 /* the default, after the lookup */
} xp_tuning_parameter;

/* A tuning request, which an operation makes before its launches. */
typedef struct xp_tuning {
    const char *kernel; /* "attention_wide backward"; static */
    const char *file;   /* of the kernel: cl/<file>.cl; static */
    const char *other;  /* the file of another kernel, which a value chooses; static; NULL: none */
    char shape[96];     /* "nt 2048x512x512": what the best values may depend on */
    int handle;         /* of the plan's list, for the launches that the values are used in; filled by the plan */
    bool persistent;    /* values other than the defaults stay in effect until the process ends */
    struct {
        const char *kernel, *parameter; /* static; NULL: none */
        long value;
    } requires; /* the value of another kernel with which every shape uses this kernel: for verification */
    int count;
    xp_tuning_parameter parameters[XP_TUNING_PARAMETERS];
} xp_tuning;

/* Gives these entries, from a checkpoint, precedence over all tables from now on. NULL: none. */
void xp_tuning_prefer(xp_device *device, json_t *entries);

/* Replaces the defaults by the values of the table; a value that is not permitted is ignored. Fails if the text of the
 * kernel cannot be read. */
xp_status xp_tuning_look_up(const xp_device *device, xp_tuning *tuning);

/* Lessens values that a table asks for, or defaults, until the kernel fits the device: the parameters of `order`, one
 * after another, each to its lower permitted values. False if it does not fit with the lowest ones. `sizes` is for
 * `fits` alone. */
bool xp_tuning_fit(xp_tuning *tuning, const int *order, int count, const xp_device *device, const void *sizes,
                   bool (*fits)(const xp_tuning *tuning, const xp_device *device, const void *sizes));

/* Whether this is an array of complete entries. */
bool xp_tuning_are_entries(const json_t *entries);

/* An entry as in the table, without a gain. The caller owns it; NULL if memory runs out. */
json_t *xp_tuning_entry(const xp_device *device, const xp_tuning *tuning, const char *shape);

/* The gain of values over the defaults: the time with the defaults divided by theirs, from the inverse `ratios` in
 * pairs of runs that took turns. Returns whether the gain is significant and the values belong in a table: the whole
 * interval lies above 1. At most 64 ratios. */
bool xp_tuning_gains(const double *ratios, int count, xp_interval *gain);

/* Reads a table's entries, an array that the caller owns. With `may_miss`, a missing file is an empty
 * table. XP_BAD_DATA: the message names the position. */
xp_status xp_tuning_read(const char *path, bool may_miss, json_t **entries);
/* Writes entries to a table; an entry replaces an older one with the same device, driver, kernel and shape. */
xp_status xp_tuning_merge(const char *path, const json_t *entries);

/* For device.c: reads all tables. Fails if the file named by EXPANSE_TUNING cannot be read or memory runs out; close
 * *tables also in this case. */
xp_status xp_tuning_open(struct xp_tuning_tables **tables);
void xp_tuning_close(struct xp_tuning_tables **tables);

#endif
