/* Tokens: whole numbers that stand for a row of a table, such as the bytes of a text. Work-items own outputs and load
 * neighbours together, which serves all families: the work is moving data.
 *
 * WEIGHTS   of `tokens`; 1: the tokens of samples of weight 0 are -1
 * QUADS     of the others; 1: the width is a multiple of 4 and a work-item owns four neighbouring columns; 0: one
 * OWNED     units of a work-item of the backward pass; on CPU devices several, each a work-group */
#ifndef WEIGHTS
#define WEIGHTS 0
#endif
#ifndef QUADS
#define QUADS 1
#endif
#ifndef OWNED
#define OWNED 16
#endif

#if QUADS
#define UNIT 4
typedef float4 unit;
#define LOAD(p)         vload4(0, p)
#define STORE(value, p) vstore4(value, 0, p)
#else
#define UNIT            1
typedef float unit;
#define LOAD(p)         (*(p))
#define STORE(value, p) (*(p) = (value))
#endif

/* values [batch, length], weights [batch], y [batch, rows]: the whole numbers nearest to values[·, first + n]; -1 for what
 * is no whole number from 0 to 2^24. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void tokens(const __global float *restrict values,
                                                                     const __global float *restrict weights,
                                                                     __global int *restrict y, int count, int rows,
                                                                     int length, int first) {
    const int index = get_global_id(0);
    if (index < count) {
        const int sample = index / rows;
        const float value = rint(values[(size_t)sample * length + first + index % rows]);
        int token = value >= 0.0f && value <= 16777216.0f ? (int)value : -1;
#if WEIGHTS
        if (weights[sample] == 0.0f) token = -1;
#endif
        y[index] = token;
    }
}

/* table [entries, columns], token [rows], y [rows, columns]; row_units = columns / UNIT, count = rows·row_units. A token
 * without an entry gives a row of zeros. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void lookup(const __global float *restrict table,
                                                                     const __global int *restrict token,
                                                                     __global float *restrict y, int count,
                                                                     int row_units, int entries) {
    const int index = get_global_id(0);
    if (index < count) {
        const int entry = token[index / row_units];
        unit value = 0.0f;
        if (entry >= 0 && entry < entries) value = LOAD(table + ((size_t)entry * row_units + index % row_units) * UNIT);
        STORE(value, y + (size_t)index * UNIT);
    }
}

/* dy [rows, columns], token [rows], d_table [entries, columns]. Work-items: units of an entry, entries. Each walks all
 * rows in order and adds those of its entry, so that a sum has one writer and a fixed order. */
__kernel __attribute__((reqd_work_group_size(OWNED > 1 ? 1 : 64, 1, 1))) void
lookup_backward(const __global float *restrict dy, const __global int *restrict token, __global float *restrict d_table,
                int rows, int row_units) {
    const int first = get_global_id(0) * OWNED, end = min(first + OWNED, row_units), entry = get_global_id(1);
    unit sums[OWNED];
    for (int u = 0; u < OWNED; u++) sums[u] = 0.0f;
    for (int row = 0; row < rows; row++)
        if (token[row] == entry)
            for (int index = first; index < end; index++)
                sums[index - first] += LOAD(dy + ((size_t)row * row_units + index) * UNIT);
    for (int index = first; index < end; index++)
        STORE(sums[index - first], d_table + ((size_t)entry * row_units + index) * UNIT);
}
