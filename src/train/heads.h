/* How much the heads of a layer differ: the arithmetic on maps and outputs in host memory (FRAMEWORK.md §4, "head
 * redundancy": the larger the distance, the less redundant the heads). Knows no devices, models or files. */
#ifndef XP_TRAIN_HEADS_H
#define XP_TRAIN_HEADS_H

/* Which rows of the sequence the keys of a head represent: a key of a scaled head averages `scale` rows, or scale ×
 * scale cells of the patch grid after an unchanged class token. The last key of a line averages the remaining ones. */
typedef struct xp_head_keys {
    int scale;                                /* 1: every row itself */
    int grid_height, grid_width, class_token; /* 0: along the sequence */
} xp_head_keys;

/* Keys that a head of these has for a sequence of `rows`. */
int xp_head_key_count(const xp_head_keys *keys, int rows);

/* Writes weights on keys as weights on rows, so that heads of different scales can be compared: the weight of a key is
 * divided equally among the rows that it averages. map [queries][stride], out [queries][rows]; nothing after the keys
 * of a query is read. */
void xp_head_expand(const xp_head_keys *keys, const float *map, int stride, int queries, int rows, float *out);

/* The mean over all pairs of heads of ‖A_h − A_g‖_F / √(rows·columns): the L2 distance of a mean entry. 0: all heads
 * are the same; NaN: there is but one. Entry (r,c) of head h is a[h·head_stride + r·row_stride + c]. */
double xp_head_distance(const float *a, int heads, int head_stride, int rows, int row_stride, int columns);

/* Averages a map [rows][columns] down to *out_rows × *out_columns blocks of nearly equal size, at most `limit` a side.
 * out holds limit·limit. */
void xp_head_shrink(const float *map, int rows, int columns, int limit, float *out, int *out_rows, int *out_columns);

#endif
