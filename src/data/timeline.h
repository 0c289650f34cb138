/* One long series of measurements, of which windows are samples. Owns the values of a table over time and what is cut
 * from it; knows no file format. */
#ifndef XP_DATA_TIMELINE_H
#define XP_DATA_TIMELINE_H

#include "data/formats.h"
#include "data/times.h"

typedef struct xp_timeline {
    xp_source source;
    float *values; /* [rows][channels], NaN: missing */
    int64_t rows;
    int channels;
    char **names;   /* [channels] */
    xp_times times; /* of the rows; count 0: not known */
    int context,
        horizon;    /* of a window: steps that are given, and steps that are to be predicted after them; 0: not cut */
    int *predicted; /* [predicted_count], the channels that are */
    int predicted_count;
} xp_timeline;

/* Gives the data set a timeline as its source: one sample, which xp_dataset_cut makes windows of. Takes over values,
 * names [channels] and times on success. */
xp_status xp_timeline_open(xp_dataset *dataset, float *values, int64_t rows, char **names, int channels,
                           xp_times *times);
/* The timeline of a data set; NULL: it has another source. */
const xp_timeline *xp_timeline_of(const xp_dataset *dataset);

/* By the rows of the data set's windows alone. */
xp_status xp_timeline_fit(xp_standardisation *out, const xp_dataset *training, bool targets);
/* Takes mean and deviation of each channel from the values of a window, and writes into levels [2][predicted] those of
 * the channels that are predicted; NULL: not wanted. */
void xp_timeline_level(const xp_timeline *timeline, float *values, float *levels);
/* xp_dataset_split for windows. */
xp_status xp_timeline_split(xp_dataset *dataset, double fraction, xp_dataset **away);

/* The samples of a data set that are named, as another of the same source, and in place of it (parts.c). */
xp_status xp_part_take(const xp_dataset *dataset, const int32_t *chosen, int64_t count, xp_dataset **out);
void xp_part_replace(xp_dataset *dataset, xp_dataset **part);

#endif
