/* The tuning table: what was found to be fastest for a kernel at a shape on a device. Owns the table's format and the
 * order of looking up; knows neither kernels nor how the table comes to be.
 *
 * A table is JSON: {"format": 1, "entries": [{"device", "driver", "vendor", "kernel", "version", "shape", "values",
 * "gain"}]}. "values" maps parameters to numbers, "version" is that of the kernel's text, so that an entry dies with
 * the kernel that it was found for; "gain" is the default's time over that of the values. Shape "*" is for all shapes
 * that have no entry of their own. Tables are looked at in this order: the entries that a checkpoint has recorded, the
 * file that EXPANSE_TUNING names, tuning.json in the cache folder, the library's own. In all of them an entry of the
 * shape goes before one for all shapes, and one of the device before one of its vendor (shape "*" alone). */
#ifndef XP_DEVICE_TUNING_H
#define XP_DEVICE_TUNING_H

#include "core/statistics.h"
#include "device/device.h"

#include <jansson.h>

enum { XP_TUNING_PARAMETERS = 6, XP_TUNING_VALUES = 8, XP_TUNING_FORMAT = 1 };

/* One free choice of a kernel: the default in value, and all that may be tried. */
typedef struct xp_tuning_parameter {
    const char *name; /* static */
    long value;
    long values[XP_TUNING_VALUES]; /* the rest are 0 */
    long settles;                  /* the value at which the other parameters do not matter; 0: there is none */
    long fallback;                 /* the default, once it was looked up */
} xp_tuning_parameter;

/* What an operation asks for when it makes its launches. */
typedef struct xp_tuning {
    const char *kernel; /* "attention_wide backward"; static */
    const char *file;   /* of the kernel: cl/<file>.cl; static */
    char shape[96];     /* "nt 2048x512x512": what the best choice may depend on */
    int handle;         /* of the plan's list, for the launches that the values are used in; filled by the plan */
    bool lasting;       /* values other than the defaults stay in force as long as the process */
    struct {
        const char *kernel, *parameter; /* static; NULL: nothing is needed */
        long value;
    } reached; /* the other kernel's choice that makes every shape come to this one: for its verification */
    int count;
    xp_tuning_parameter parameters[XP_TUNING_PARAMETERS];
} xp_tuning;

/* From now on these entries, a checkpoint's, are looked at before all tables. NULL: none. */
void xp_tuning_prefer(xp_device *device, json_t *entries);

/* Puts the table's values in place of the defaults; a value that may not be tried is passed over. Fails where the text
 * of the kernel cannot be had. */
xp_status xp_tuning_look_up(const xp_device *device, xp_tuning *tuning);

/* Whether this is an array of entries with all that an entry has. */
bool xp_tuning_are_entries(const json_t *entries);

/* An entry as in the table, without a gain. The caller owns it; NULL when memory ends. */
json_t *xp_tuning_entry(const xp_device *device, const xp_tuning *tuning, const char *shape);

/* What values gain over the defaults: the default's time over theirs, from `ratios` of their time over the default's in
 * pairs of runs that were taken in turn. Returns whether the gain is to be believed, and so belongs into a table: the
 * whole interval lies above 1. At most 64 ratios. */
bool xp_tuning_gains(const double *ratios, int count, xp_interval *gain);

/* Reads a table's entries, an array that the caller owns. A missing file is an empty table where `may_miss`.
 * XP_BAD_DATA names the place. */
xp_status xp_tuning_read(const char *path, bool may_miss, json_t **entries);
/* Writes entries into a table; one of the same device, driver, kernel and shape takes the place of an older one. */
xp_status xp_tuning_merge(const char *path, const json_t *entries);

/* For device.c: the tables that there are. Fails when the file that EXPANSE_TUNING names cannot be read, or memory ends;
 * *tables is to be closed all the same. */
xp_status xp_tuning_open(struct xp_tuning_tables **tables);
void xp_tuning_close(struct xp_tuning_tables **tables);

#endif
