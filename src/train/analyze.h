/* Head analysis of a trained model: how much the heads of each layer differ on a data set, and the maps of one sample.
 * Owns the pass over the data; the arithmetic is that of train/heads.h. Never prints. */
#ifndef XP_TRAIN_ANALYZE_H
#define XP_TRAIN_ANALYZE_H

#include "train/trainer.h"

enum { XP_MOST_ATTENDED = 3 };
enum { XP_MAP_CELLS = 64 }; /* a side of a picture's map; larger ones are averaged down */

/* Distances are means over the samples of xp_head_distance: between the heads' maps (weights on the sample's rows, a
 * pooled key's weight divided among the rows that it averages; entries: valid queries times valid rows), and between
 * their outputs (entries: valid queries times the head's width). Padding is left out. NaN: there is one head, or the
 * attention has no map. */
typedef struct xp_layer_analysis {
    int layer; /* from 0, as in the parameters' names */
    double map_distance, output_distance;
    /* Where the weights are, by the maps; of keys that are pooled, the rows are meant. effective_keys: the exponential
     * of the entropy of a query's weights, as a mean over queries, heads and samples: as many keys with equal weights
     * carry as much. most_attended: the rows with the largest weights on average, -1: there are fewer. NaN, and -1: no
     * map. */
    double effective_keys;
    /* Of attention-BN: the root of the mean squares of mu, and the mean of s, over columns, heads and samples; NaN:
     * there is none, or they are those of prefixes. */
    double mean, deviation;
    int most_attended[XP_MOST_ATTENDED];
    float *cells; /* [heads][rows][columns], of the first sample; NULL: the attention has no map */
    int rows, columns;
} xp_layer_analysis;

typedef struct xp_analysis {
    char attention[XP_SPECIFICATION_BYTES];
    int64_t samples;
    int heads;
    int *scales;      /* [heads]; 1: all rows */
    char sample[300]; /* the first sample, in words: "sample 0, Ankle boot" */
    char *sketch;     /* and as a part of an SVG picture; NULL: it is nothing to look at */
    int layer_count;
    xp_layer_analysis *layers; /* [layer_count] */
} xp_analysis;

/* `model` as in xp_evaluate. layer -1: all of them. On success *out is released by the caller. */
xp_status xp_analyze(const char *model, const xp_evaluate_options *options, int layer,
                     const xp_trainer_callbacks *callbacks, xp_analysis *out);
void xp_analysis_release(xp_analysis *analysis); /* an all-zero one is fine */

/* Writes analysis.json and attention.svg into a folder, which is made. `model` and `data` are named in them. */
xp_status xp_analysis_write(const xp_analysis *analysis, const char *folder, const char *model, const char *data);

#endif
