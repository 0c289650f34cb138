/* Pictures of a run as SVG: learning curves, attention maps. Owns the drawing; knows no training. */
#ifndef XP_TRAIN_CURVES_H
#define XP_TRAIN_CURVES_H

#include "train/metrics.h"

/* The task's metrics and the learning rate over the epochs, one panel each, with a mark at the best epoch. `note` is
 * printed below the title. Writes atomically. */
xp_status xp_curves_write(const char *path, const char *title, const char *note, const xp_task *task,
                          const xp_epoch_row *rows, int count, int epoch_best);

/* One layer's maps, a head beside the other. */
typedef struct xp_map_row {
    const char *title;
    const float *cells; /* [heads][rows][columns] */
    int heads, rows, columns;
} xp_map_row;

/* What the maps are of. */
typedef struct xp_map_sample {
    const char *title;
    const char *sketch; /* SVG in the square from 0 to XP_MAP_SIDE; NULL: there is none */
} xp_map_sample;

enum { XP_MAP_SIDE = 140 };

/* Attention maps as heat maps, a layer below the other, shaded from 0 to the largest cell of the layer, as a colour
 * bar shows; above them is the sample, as wide as a map. `note` stands below the title; names [most heads of a layer].
 * Writes atomically. */
xp_status xp_maps_write(const char *path, const char *title, const char *note, const xp_map_sample *sample,
                        const xp_map_row *layers, int count, const char *const *names);

#endif
