/* Matrix product on matrix units: y = what cl/gemm_epilogue.clh makes of op(a)·op(b).
 *
 * A work-group of GROUP_ROWS×GROUP_COLUMNS sub-groups owns a tile of y, SUB_ROWS×SUB_COLUMNS for each of them, and
 * walks the depth in steps of DEPTH. Both factors' slices lie in a ring of STAGES in local memory, as they are stored
 * (the units' loads turn them): while one is multiplied, the next ones are on their way. Fragments are loaded one step
 * ahead, across the barrier too. A sub-group's 64×64 reads 4 KiB of local memory for 65,536 multiply-adds, which the
 * memory can give; smaller ones are for results that have too few tiles of 128×128 to fill the device.
 *
 * For small results the depth is cut twice: SHARES times GROUP_ROWS·GROUP_COLUMNS sub-groups of a work-group sum one
 * share each for the same tile, which the first of them add in their order by way of local memory; and work-groups sum
 * one part each (cl/gemm_units.clh). */
#ifndef GROUP_ROWS
#define GROUP_ROWS 2
#endif
#ifndef GROUP_COLUMNS
#define GROUP_COLUMNS 2
#endif
#ifndef SHARES
#define SHARES 1 /* of a work-group's depth */
#endif
#define SHARE_SUB_GROUPS (GROUP_ROWS * GROUP_COLUMNS)
#define SUB_GROUPS       (SHARE_SUB_GROUPS * SHARES)
#ifndef STAGES
#define STAGES 3
#endif
#include "gemm_units.clh"

#ifndef SUB_ROWS
#define SUB_ROWS 64
#endif
#ifndef SUB_COLUMNS
#define SUB_COLUMNS 64
#endif
#ifndef DEPTH
#define DEPTH (4 * CHUNK_NUMBERS)
#endif
#if (SUB_ROWS != 16 && SUB_ROWS != 32 && SUB_ROWS != 64) ||                                                            \
    (SUB_COLUMNS != 16 && SUB_COLUMNS != 32 && SUB_COLUMNS != 64)
#error "a sub-group owns 16, 32 or 64 rows and columns"
#endif
#if SHARES != 1 && SHARES != 2 && SHARES != 4
#error "SHARES is 1, 2 or 4"
#endif
#if DEPTH != 4 * CHUNK_NUMBERS && DEPTH != 8 * CHUNK_NUMBERS
#error "DEPTH is four or eight chunks: 32 or 64 numbers of 16 bits, 16 or 32 floats"
#endif
/* Slices of tf32 pass through registers, where they are rounded, and so do all where copies do not run beside
 * arithmetic: they are read before a slice is multiplied, and stored behind it. */
#define HELD ((STORAGE == 0 && PRODUCTS == 1) || !ASYNCHRONOUS)
#if HELD && STAGES != 2
#error "what passes through registers has a ring of two stages"
#endif
/* Whether fragments are loaded one step ahead: two sets of large ones would not fit the registers. */
#define AHEAD (LEFT_WORDS + RIGHT_WORDS <= 8)

#define ITEMS         (LANES * SHARE_SUB_GROUPS) /* of a share */
#if SHARES > 1
#define ITEM          ((int)get_local_id(0) % ITEMS)
#define SHARE         ((int)get_local_id(0) / ITEMS)
#define OWN_SUB_GROUP ((int)SUB_GROUP % SHARE_SUB_GROUPS)
#else /* a compiler does not know that these are the same, and takes a register */
#define ITEM          ((int)get_local_id(0))
#define SHARE         0
#define OWN_SUB_GROUP ((int)SUB_GROUP)
#endif
#define TILE_ROWS     (GROUP_ROWS * SUB_ROWS)
#define TILE_COLUMNS  (GROUP_COLUMNS * SUB_COLUMNS)
#define LEFTS         (SUB_ROWS / MATRIX_ROWS)       /* fragments of a sub-group */
#define RIGHTS        (SUB_COLUMNS / MATRIX_COLUMNS)
#define STEPS         (DEPTH / MATRIX_DEPTH)
#if SHARES > 1 /* all of them walk equally many slices, since they meet at barriers */
#define FIRST_SLICE   (((int)get_group_id(1) * SHARES + SHARE) * (part_depth / (SHARES * DEPTH)))
#else
#define FIRST_SLICE   PART_FIRST_SLICE
#endif
#define CHUNKS_A      CHUNKS(TILE_ROWS * DEPTH)
#define CHUNKS_B      CHUNKS(TILE_COLUMNS * DEPTH)
#if TRANSPOSE_A
#define TILE_A        TILE(DEPTH, CHUNKS(TILE_ROWS))
#else
#define TILE_A        TILE(TILE_ROWS, CHUNKS(DEPTH))
#endif
#if TRANSPOSE_B
#define TILE_B        TILE(TILE_COLUMNS, CHUNKS(DEPTH))
#else
#define TILE_B        TILE(DEPTH, CHUNKS(TILE_COLUMNS))
#endif
#define STAGE_CHUNKS  (TILE_A + TILE_B)
#define RING          (STAGES * STAGE_CHUNKS)
#define ROW_CHUNKS    (SHARE_SUB_GROUPS * MATRIX_ROWS * PITCH_OF(SUB_COLUMNS) / 4)
#define GIVEN_CHUNKS  (SHARES > 1 ? TILE_ROWS * TILE_COLUMNS / 4 : 0)
#define LARGER(a, b)  ((a) > (b) ? (a) : (b))
#if HELD
#define ARRIVE barrier(CLK_LOCAL_MEM_FENCE);
#else
#define ARRIVE RING_WAIT(); barrier(CLK_LOCAL_MEM_FENCE);
#endif
/* What was read of the next slice is stored, or its copy arrives. */
#if HELD
#define FINISH_STAGE                                                                                                   \
    {                                                                                                                  \
        if (s + 1 < slices) EACH_CHUNK(STORE_CHUNK, s + 1, next)                                                       \
        ARRIVE                                                                                                         \
    }
#else
#define FINISH_STAGE {ARRIVE}
#endif

#define OUTER_AT CHUNK_TURNED_AT
#if TRANSPOSE_A
#define EACH_OF_A               EACH_OUTER_IN_ROWS
#define LOAD_A(f, row, step)    LOAD_LEFT_TURNED(f, tile_a, row, step, CHUNKS(TILE_ROWS))
#else
#define EACH_OF_A               EACH_DEPTH_IN_ROWS
#define LOAD_A(f, row, step)    LOAD_LEFT(f, tile_a, row, step, CHUNKS(DEPTH))
#endif
#if TRANSPOSE_B
#define EACH_OF_B               EACH_DEPTH_IN_ROWS
#define LOAD_B(f, column, step) LOAD_RIGHT(f, tile_b, column, step, CHUNKS(DEPTH))
#else
#define EACH_OF_B               EACH_OUTER_IN_ROWS
#define LOAD_B(f, column, step) LOAD_RIGHT_TURNED(f, tile_b, column, step, CHUNKS(TILE_COLUMNS))
#endif

/* ---- from local memory to sums ----------------------------------------------------------------------------------- */

#if PRODUCTS == 1
#define LOAD_FRAGMENTS(stage, step, set)                                                                               \
    {                                                                                                                  \
        const __local uint4 *const tile_a = ring + (stage)*STAGE_CHUNKS, *const tile_b = tile_a + TILE_A;              \
        UNROLL for (int i = 0; i < LEFTS; i++) { LOAD_A(left[set][i], sub_row + MATRIX_ROWS * i, step) }               \
        UNROLL for (int j = 0; j < RIGHTS; j += BESIDE) {                                                              \
            LOAD_B(right[set] + j, sub_column + MATRIX_COLUMNS * j, step)                                              \
        }                                                                                                              \
    }
#define MULTIPLY_FRAGMENTS(lefts, rights, first, count)                                                                \
    {                                                                                                                  \
        MATRIX_SHARE(lefts, LEFTS, rights, count)                                                                      \
        UNROLL for (int i = 0; i < LEFTS; i++) UNROLL for (int j = 0; j < (count); j++)                                \
            MULTIPLY(sum[i][(first) + j], lefts, i, rights, j);                                                        \
    }
/* As few fragments in registers as can be. */
#define MULTIPLY_STEP(stage, step)                                                                                     \
    {                                                                                                                  \
        const __local uint4 *const tile_a = ring + (stage)*STAGE_CHUNKS, *const tile_b = tile_a + TILE_A;              \
        UNROLL for (int i = 0; i < LEFTS; i++) { LOAD_A(left[0][i], sub_row + MATRIX_ROWS * i, step) }                 \
        UNROLL for (int own = 0; own < RIGHTS; own += BESIDE) {                                                        \
            LOAD_B(right[0], sub_column + MATRIX_COLUMNS * own, step)                                                  \
            MULTIPLY_FRAGMENTS(left[0], right[0], own, BESIDE)                                                         \
        }                                                                                                              \
    }
#else
#define MULTIPLY_ALL(lefts, rights)                                                                                    \
    MATRIX_SHARE(lefts, LEFTS, rights, OWN_RIGHTS)                                                                     \
    UNROLL for (int i = 0; i < LEFTS; i++) UNROLL for (int j = 0; j < OWN_RIGHTS; j++)                                 \
        MULTIPLY(part[i][j], lefts, i, rights, j);

/* A slice has sums of its own, which start at nothing, of OWN_RIGHTS fragments' columns at a time: so the units cut
 * small sums, and the large ones are rounded by ordinary additions. */
#define OWN_RIGHTS (RIGHTS < 4 ? RIGHTS : 4)
#define MULTIPLY_SLICE(stage)                                                                                          \
    {                                                                                                                  \
        const __local uint4 *const tile_a = ring + (stage)*STAGE_CHUNKS, *const tile_b = tile_a + TILE_A;              \
        UNROLL for (int own = 0; own < RIGHTS; own += OWN_RIGHTS) {                                                    \
            float part[LEFTS][OWN_RIGHTS][SUM_NUMBERS];                                                                \
            EACH_SUM(LEFTS, OWN_RIGHTS) part[i][j][e] = 0.0f;                                                          \
            UNROLL for (int step = 0; step < STEPS; step++) {                                                          \
                uint left[LEFTS][LEFT_WORDS], right[OWN_RIGHTS][RIGHT_WORDS];                                          \
                uint small_left[LEFTS][LEFT_WORDS], small_right[OWN_RIGHTS][RIGHT_WORDS];                              \
                UNROLL for (int i = 0; i < LEFTS; i++) { LOAD_A(left[i], sub_row + MATRIX_ROWS * i, step) }            \
                UNROLL for (int j = 0; j < OWN_RIGHTS; j += BESIDE) {                                                  \
                    LOAD_B(right + j, sub_column + MATRIX_COLUMNS * (own + j), step)                                   \
                }                                                                                                      \
                UNROLL for (int i = 0; i < LEFTS; i++) UNROLL for (int r = 0; r < LEFT_WORDS; r++)                     \
                    SPLIT(left[i][r], small_left[i][r])                                                                \
                UNROLL for (int j = 0; j < OWN_RIGHTS; j++) UNROLL for (int r = 0; r < RIGHT_WORDS; r++)               \
                    SPLIT(right[j][r], small_right[j][r])                                                              \
                MULTIPLY_ALL(small_left, right)                                                                        \
                MULTIPLY_ALL(left, small_right)                                                                        \
                MULTIPLY_ALL(left, right)                                                                              \
            }                                                                                                          \
            EACH_SUM(LEFTS, OWN_RIGHTS) sum[i][own + j][e] += part[i][j][e];                                           \
        }                                                                                                              \
    }
#endif
#define EACH_SUM(lefts, rights)                                                                                        \
    UNROLL for (int i = 0; i < lefts; i++) UNROLL for (int j = 0; j < rights; j++)                                     \
        UNROLL for (int e = 0; e < SUM_NUMBERS; e++)

#if SHARES > 1
/* The number of a work-item's sum among those that it gives to the first share, or takes. */
#define GIVEN_AT (((i * RIGHTS + j) * SUM_NUMBERS + e) * ITEMS + ITEM)
#endif

__kernel __attribute__((reqd_work_group_size(ITEMS * SHARES, 1, 1))) MATRIX_KERNEL void
gemm_matrix(PRODUCT_PARAMETERS) {
    __local uint4 rings[LARGER(SHARES * RING, LARGER(ROW_CHUNKS, GIVEN_CHUNKS))];
    __local uint4 *const ring = rings + SHARE * RING;
    MATRIX_STATE(LEFTS, RIGHTS)
#if HELD
    uint4 held_a[OWN_CHUNKS(CHUNKS_A)], held_b[OWN_CHUNKS(CHUNKS_B)];
#else
    COPY_STATE(STAGES * (OWN_CHUNKS(CHUNKS_A) + OWN_CHUNKS(CHUNKS_B)))
#endif
    const int sub_group = OWN_SUB_GROUP;
    const int sub_row = sub_group / GROUP_COLUMNS * SUB_ROWS, sub_column = sub_group % GROUP_COLUMNS * SUB_COLUMNS;
    TILE_BEGINS
#if SHARES > 1
    const int slices = part_depth / (SHARES * DEPTH);
#else
    const int slices = PART_SLICES;
#endif

    float sum[LEFTS][RIGHTS][SUM_NUMBERS];
    EACH_SUM(LEFTS, RIGHTS) sum[i][j][e] = 0.0f;
#if SUMS
    float sum_of_row = 0.0f;
#endif

#if HELD
    EACH_CHUNK(READ_CHUNK, 0, 0)
    EACH_CHUNK(STORE_CHUNK, 0, 0)
#else
    UNROLL for (int s = 0; s < STAGES - 1; s++) {
        if (s < slices) EACH_CHUNK(COPY_CHUNK, s, s)
        COPY_COMMIT();
    }
#endif
    int stage = 0;
#if PRODUCTS == 1
    uint left[AHEAD + 1][LEFTS][LEFT_WORDS], right[AHEAD + 1][RIGHTS][RIGHT_WORDS];
    ARRIVE
    if (AHEAD) LOAD_FRAGMENTS(0, 0, 0)
    for (int s = 0; s < slices; s++) {
        const int next = stage + 1 == STAGES ? 0 : stage + 1, free = stage == 0 ? STAGES - 1 : stage - 1;
        UNROLL for (int step = 0; step < STEPS; step++) {
            const int set = AHEAD ? step & 1 : 0, other_set = AHEAD - set;
            if (AHEAD && step == STEPS - 1) { /* the last slice reads what never arrived, and does not use it */
                FINISH_STAGE
                LOAD_FRAGMENTS(next, 0, other_set)
            } else if (AHEAD)
                LOAD_FRAGMENTS(stage, step + 1, other_set)
            if (step == 0) {
                ADD_TO_SUMS
#if HELD
                if (s + 1 < slices) EACH_CHUNK(READ_CHUNK, s + 1, next)
#else
                if (s + STAGES - 1 < slices) EACH_CHUNK(COPY_CHUNK, s + STAGES - 1, free)
                COPY_COMMIT();
#endif
            }
            if (AHEAD)
                MULTIPLY_FRAGMENTS(left[set], right[set], 0, RIGHTS)
            else
                MULTIPLY_STEP(stage, step)
            if (!AHEAD && step == STEPS - 1) FINISH_STAGE
        }
        stage = next;
    }
#else
    for (int s = 0; s < slices; s++) {
        const int next = stage + 1 == STAGES ? 0 : stage + 1, free = stage == 0 ? STAGES - 1 : stage - 1;
        ARRIVE
        if (s + STAGES - 1 < slices) EACH_CHUNK(COPY_CHUNK, s + STAGES - 1, free)
        COPY_COMMIT();
        ADD_TO_SUMS
        MULTIPLY_SLICE(stage)
        stage = next;
    }
#endif

    barrier(CLK_LOCAL_MEM_FENCE);
#if SHARES > 1
    __local float *const given = (__local float *)rings;
    for (int giver = 1; giver < SHARES; giver++) {
        if (SHARE == giver) EACH_SUM(LEFTS, RIGHTS) given[GIVEN_AT] = sum[i][j][e];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (SHARE == 0) EACH_SUM(LEFTS, RIGHTS) sum[i][j][e] += given[GIVEN_AT];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if SUMS
    given[get_local_id(0)] = sum_of_row;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int giver = 1; giver < SHARES; giver++) sum_of_row += given[giver * ITEMS + ITEM];
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
#endif
#define SUM_AT(j, e) sum[i][j][e]
    const bool writes = SHARE == 0;
    UNROLL for (int i = 0; i < LEFTS; i++)
        FINISH_ROWS(rings, sub_group, row_begin + sub_row + MATRIX_ROWS * i, column_begin + sub_column, SUB_COLUMNS,
                    writes, SUM_AT)
    STORE_SUMS
}
