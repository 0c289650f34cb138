/* Matrix product on matrix units: y = what cl/gemm_epilogue.clh makes of op(a)·op(b).
 *
 * A work-group of GROUP_ROWS×GROUP_COLUMNS sub-groups owns a tile of y, SUB_ROWS×SUB_COLUMNS for each of them, and
 * walks the depth in steps of DEPTH. Both factors' slices lie in a ring of STAGES in local memory, as they are stored
 * (the units' loads turn them): while one is multiplied, the next ones are on their way. Fragments are loaded one step
 * ahead, across the barrier too. A sub-group's 64×64 reads 4 KiB of local memory for 65,536 multiply-adds, which the
 * memory can give; smaller ones are for results that have too few tiles of 128×128 to fill the device.
 *
 * Tiles are numbered along bands of BAND rows of tiles, so that the work-groups of one time share rows of a and columns
 * of b in the cache. For small results the depth is cut twice: SHARES times GROUP_ROWS·GROUP_COLUMNS sub-groups of a
 * work-group sum one share each for the same tile, which the first of them add in their order by way of local memory;
 * and work-groups sum one part each (PARTIAL), which cl/gemm_finish.cl adds, a launch more. One work-item writes each
 * output; sums run along the depth in order within a share.
 *
 * STORAGE is the type of a and b: 1 fp16, 2 bf16, 0 fp32, with PRODUCTS
 *   1  of numbers rounded to tf32, once, on their way into local memory
 *   3  of their upper and lower parts (upper·upper, and upper·lower twice), so that the result is as good as fp32's:
 *      slice after slice is summed by ordinary additions, because the units cut what they add */
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
#include "gemm_chunks.clh"
#include "gemm_epilogue.clh"
#include "matrix.clh"

#ifndef TRANSPOSE_A
#define TRANSPOSE_A 0 /* a is stored [k,m] */
#endif
#ifndef TRANSPOSE_B
#define TRANSPOSE_B 0 /* b is stored [n,k] */
#endif
#ifndef ALIGNED_A
#define ALIGNED_A 0 /* rows of a as it is stored consist of whole chunks of 16 bytes */
#endif
#ifndef ALIGNED_B
#define ALIGNED_B 0
#endif
#ifndef PARTIAL
#define PARTIAL 0 /* the product of a part of the depth, without what follows the sum */
#endif
#ifndef SUMS
#define SUMS 0 /* 1: the sums of op(a) over k are computed, too, by the work-groups of the first columns */
#endif
#if SUMS && !TRANSPOSE_A
#error "SUMS is for a transposed a"
#endif
#ifndef SUB_ROWS
#define SUB_ROWS 64
#endif
#ifndef SUB_COLUMNS
#define SUB_COLUMNS 64
#endif
#ifndef DEPTH
#define DEPTH (4 * CHUNK_NUMBERS)
#endif
#ifndef BAND
#define BAND 8
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
#ifndef PRODUCTS
#define PRODUCTS 1
#endif
#if PRODUCTS != 1 && (PRODUCTS != 3 || STORAGE)
#error "PRODUCTS is 1, or 3 of fp32"
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
#define FIRST_SLICE   (PARTIAL ? (int)get_group_id(1) * (part_depth / DEPTH) : 0)
#endif
#define CHUNKS(count) ((count) / CHUNK_NUMBERS)
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
#define PITCH         (SUB_COLUMNS + 8) /* of rows of sums: eight rows lie in different banks */
#define ROW_CHUNKS    (SHARE_SUB_GROUPS * MATRIX_ROWS * PITCH / 4)
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
#define OWN_CHUNKS(chunks) (((chunks) + ITEMS - 1) / ITEMS) /* of each work-item */

/* ---- from global to local memory --------------------------------------------------------------------------------- */

/* A slice of a factor's tile that is stored with the depth along rows, [outer][depth], or across them, [depth][outer].
 * What lies behind the matrix becomes zeros. */
#define EACH_DEPTH_IN_ROWS(DO, held, to, matrix, begin, outer, tile, aligned)                                          \
    UNROLL for (int i = 0; i < OWN_CHUNKS(CHUNKS((tile)*DEPTH)); i++) {                                                \
        const int at = ITEM + i * ITEMS, row = at / CHUNKS(DEPTH), chunk = at % CHUNKS(DEPTH);                         \
        if (CHUNKS((tile)*DEPTH) % ITEMS && at >= CHUNKS((tile)*DEPTH)) break;                                         \
        const int step = slice * DEPTH + chunk * CHUNK_NUMBERS, there = (begin) + row < (outer) ? k - step : 0;        \
        DO(held[i], (to) + CHUNK_AT(row, chunk, CHUNKS(DEPTH)), matrix + (long)((begin) + row) * depth + step, there,  \
           aligned)                                                                                                    \
    }
#define EACH_OUTER_IN_ROWS(DO, held, to, matrix, begin, outer, tile, aligned)                                          \
    UNROLL for (int i = 0; i < OWN_CHUNKS(CHUNKS((tile)*DEPTH)); i++) {                                                \
        const int at = ITEM + i * ITEMS, row = at / CHUNKS(tile), chunk = at % CHUNKS(tile);                           \
        if (CHUNKS((tile)*DEPTH) % ITEMS && at >= CHUNKS((tile)*DEPTH)) break;                                         \
        const int step = slice * DEPTH + row, first = (begin) + chunk * CHUNK_NUMBERS;                                 \
        const int there = step < k ? (outer)-first : 0;                                                                \
        DO(held[i], (to) + CHUNK_TURNED_AT(row, chunk, CHUNKS(tile)), matrix + (long)step * width + first, there,      \
           aligned)                                                                                                    \
    }
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

/* The pitches are opaque: else addresses of all chunks are kept in registers, which the sums need. */
#define EACH_CHUNK(DO, number, stage)                                                                                  \
    {                                                                                                                  \
        const int slice = FIRST_SLICE + (number);                                                                      \
        __local uint4 *const to = ring + (stage)*STAGE_CHUNKS;                                                         \
        {                                                                                                              \
            int depth = k, width = m;                                                                                  \
            OPAQUE(depth) OPAQUE(width)                                                                                \
            EACH_OF_A(DO, held_a, to, a, row_begin, m, TILE_ROWS, ALIGNED_A)                                           \
        }                                                                                                              \
        {                                                                                                              \
            int depth = k, width = n;                                                                                  \
            OPAQUE(depth) OPAQUE(width)                                                                                \
            EACH_OF_B(DO, held_b, to + TILE_A, b, column_begin, n, TILE_COLUMNS, ALIGNED_B)                            \
        }                                                                                                              \
    }

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
/* big = the upper part of an fp32, in its place; small = what is left, which needs no rounding to a multiple of what
 * the units take: they cut its last bit, if it has one. */
#define SPLIT(big, small)                                                                                              \
    {                                                                                                                  \
        const uint whole_ = big;                                                                                       \
        big = (whole_ + 0x1000u) & 0xffffe000u;                                                                        \
        small = as_uint(as_float(whole_) - as_float(big));                                                             \
    }
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
/* Of a work-item's row of op(a), over the slice at hand. */
#if SUMS
#define ADD_TO_SUMS                                                                                                    \
    if (column_begin == 0 && ITEM < TILE_ROWS) {                                                                       \
        _Pragma("nounroll") for (int step_ = 0; step_ < DEPTH; step_++) {                                              \
            const __local uint4 *const chunk_ = ring + stage * STAGE_CHUNKS +                                          \
                CHUNK_TURNED_AT(step_, ITEM / CHUNK_NUMBERS, CHUNKS(TILE_ROWS));                                       \
            sum_of_row += LOAD((const __local stored *)chunk_, ITEM % CHUNK_NUMBERS);                                  \
        }                                                                                                              \
    }
#else
#define ADD_TO_SUMS
#endif
#define EACH_SUM(lefts, rights)                                                                                        \
    UNROLL for (int i = 0; i < lefts; i++) UNROLL for (int j = 0; j < rights; j++)                                     \
        UNROLL for (int e = 0; e < SUM_NUMBERS; e++)

#if SHARES > 1
/* The number of a work-item's sum among those that it gives to the first share, or takes. */
#define GIVEN_AT (((i * RIGHTS + j) * SUM_NUMBERS + e) * ITEMS + ITEM)
#endif

__kernel __attribute__((reqd_work_group_size(ITEMS * SHARES, 1, 1))) MATRIX_KERNEL void
gemm_matrix(const __global stored *a, /* [m,k], or [k,m] with TRANSPOSE_A */
            const __global stored *b, /* [k,n], or [n,k] with TRANSPOSE_B */
            EPILOGUE_PARAMETERS, int k, int part_depth, /* a multiple of SHARES·DEPTH */
            __global float *parts,                      /* [parts,m,n] with PARTIAL, or NULL */
            __global float *sums /* [parts,m] with SUMS, or NULL */) {
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
    const int tiles_down = (m + TILE_ROWS - 1) / TILE_ROWS, tiles_across = (n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int band = get_group_id(0) / (BAND * tiles_across), in_band = get_group_id(0) % (BAND * tiles_across);
    const int high = min(tiles_down - band * BAND, BAND);
    const int row_begin = (band * BAND + in_band % high) * TILE_ROWS, column_begin = in_band / high * TILE_COLUMNS;
#if SHARES > 1
    const int slices = part_depth / (SHARES * DEPTH);
#else
    const int slices = ((PARTIAL ? min(part_depth, k - FIRST_SLICE * DEPTH) : k) + DEPTH - 1) / DEPTH;
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
    /* By way of local memory, a fragment's rows at a time, to have whole fours of a row, and one copy of their code. */
    const bool writes = SHARE == 0;
    __local float *const rows = (__local float *)rings + sub_group * MATRIX_ROWS * PITCH;
    UNROLL for (int i = 0; i < LEFTS; i++) {
        if (writes) UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e += 2)
            *(__local float2 *)(rows + MATRIX_ROW(e) * PITCH + MATRIX_COLUMNS * j + MATRIX_COLUMN(e)) =
                (float2)(sum[i][j][e], sum[i][j][e + 1]);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int f = 0; f < MATRIX_ROWS * SUB_COLUMNS / 4 && writes; f += LANES) {
            const int four = f + LANE, down = four / (SUB_COLUMNS / 4), across = four % (SUB_COLUMNS / 4) * 4;
            const int row = row_begin + sub_row + MATRIX_ROWS * i + down, column = column_begin + sub_column + across;
            const float4 value = *(const __local float4 *)(rows + down * PITCH + across);
#if PARTIAL
            if (row < m && column < n)
                write_floats(value, parts + ((long)get_group_id(1) * m + row) * n + column, n - column, ALIGNED_Y);
#else
            if (row < m) finish_four(value, (long)row * n + column, column, EPILOGUE);
#endif
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if SUMS
    if (column_begin == 0 && get_local_id(0) < TILE_ROWS && row_begin + get_local_id(0) < m)
        sums[get_group_id(1) * m + row_begin + get_local_id(0)] = sum_of_row; /* of the first share */
#endif
}
