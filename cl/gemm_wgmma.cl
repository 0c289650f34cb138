/* Matrix product on NVIDIA's asynchronous matrix units (cl/wgmma.clh): y = what cl/gemm_epilogue.clh makes of
 * op(a)·op(b).
 *
 * A work-group of two teams owns a tile of y of 128 × WGMMA_COLUMNS, 64 rows for each team, and walks the depth in slices
 * of WGMMA_DEPTH, a line of 128 bytes of each factor. They lie in a ring of STAGES in local memory as they are stored: the
 * units turn factors of 16 bits. While one slice is multiplied, the previous one may be, too (STAGES beyond 2), and the
 * next ones are on their way; so the units never wait for the barrier of the work-group. A stage of a tile of 128×256 is
 * 48 KiB. It is read from the cache for 2,097,152 multiply-adds, which take the units 1024 clocks.
 *
 * Tiles are numbered along bands of BAND rows of tiles, so that the work-groups of one time share rows of a and columns
 * of b in the cache. One work-item writes each output; sums run along the depth in order.
 *
 * STORAGE is the type of a and b: 1 fp16, 2 bf16, 0 fp32, which is rounded to tf32, once, on its way into local memory. The
 * units take tf32 with the depth along rows only: there, too, it is turned on its way. */
#ifndef TRANSPOSE_A
#define TRANSPOSE_A 0 /* a is stored [k,m] */
#endif
#ifndef TRANSPOSE_B
#define TRANSPOSE_B 0 /* b is stored [n,k] */
#endif
#define WGMMA_TURN_A (STORAGE && TRANSPOSE_A)
#define WGMMA_TURN_B (STORAGE && !TRANSPOSE_B)
#define SUB_GROUPS   8
#ifndef STAGES
#define STAGES 3
#endif
#include "gemm_chunks.clh"
#include "gemm_epilogue.clh"
#include "wgmma.clh"

#ifndef ALIGNED_A
#define ALIGNED_A 0 /* rows of a as it is stored consist of whole chunks of 16 bytes */
#endif
#ifndef ALIGNED_B
#define ALIGNED_B 0
#endif
#ifndef SUMS
#define SUMS 0 /* 1: the sums of op(a) over k are computed, too, by the work-groups of the first columns */
#endif
#if SUMS && (!TRANSPOSE_A || STORAGE == 0)
#error "SUMS is for a transposed a of 16 bits"
#endif
#ifndef BAND
#define BAND 8
#endif
/* AHEAD: groups of products, beside the latest, that may be on their way while a stage is filled. WAITS: groups of copies
 * that may be while a stage is read. Both are literals of an instruction. */
#if STAGES == 2
#define AHEAD 0
#define WAITS 0
#elif STAGES == 3
#define AHEAD 1
#define WAITS 0
#elif STAGES == 4
#define AHEAD 1
#define WAITS 1
#else
#error "STAGES is 2, 3 or 4"
#endif

#define ITEMS        256
#define TILE_ROWS    128
#define CHUNKS_A     (8 * TILE_ROWS)
#define CHUNKS_B     (8 * WGMMA_COLUMNS)
#define STAGE_CHUNKS (CHUNKS_A + CHUNKS_B)
#define SHARE_A      (CHUNKS_A / ITEMS) /* of each work-item */
#define SHARE_B      (CHUNKS_B / ITEMS)
#if STORAGE
#define EARLY (STAGES - 1 - AHEAD) /* slices that are on their way before a stage of the first is read */
#else
#define EARLY 1 /* through registers, where they are rounded */
#endif

/* ---- from global to local memory --------------------------------------------------------------------------------- */

/* What is done to each chunk of a slice of a factor's tile that is stored with the depth along rows, [outer][depth], or
 * across them, [depth][outer]. What lies behind the matrix becomes zeros. */
#define EACH_DEPTH_IN_LINES(DO, held, to, matrix, begin, outer, tile, aligned)                                         \
    UNROLL for (int i = 0; i < 8 * (tile) / ITEMS; i++) {                                                              \
        const int at = get_local_id(0) + i * ITEMS, row = at / 8, chunk = at % 8;                                      \
        const int step = slice * WGMMA_DEPTH + chunk * CHUNK_NUMBERS, there = (begin) + row < (outer) ? k - step : 0;  \
        DO(held[i], (to) + CHUNK_AT(row, chunk, 8), matrix + (long)((begin) + row) * depth + step, there, aligned)     \
    }
#define EACH_OUTER_IN_LINES(DO, held, to, matrix, begin, outer, tile, aligned)                                         \
    UNROLL for (int i = 0; i < 8 * (tile) / ITEMS; i++) {                                                              \
        const int at = get_local_id(0) + i * ITEMS, row = at / ((tile) / CHUNK_NUMBERS);                               \
        const int chunk = at % ((tile) / CHUNK_NUMBERS), line = chunk / 8 * WGMMA_DEPTH + row;                         \
        const int step = slice * WGMMA_DEPTH + row, first = (begin) + chunk * CHUNK_NUMBERS;                           \
        const int there = step < k ? (outer)-first : 0;                                                                \
        DO(held[i], (to) + CHUNK_AT(line, chunk % 8, 8), matrix + (long)step * width + first, there, aligned)          \
    }
/* As the latter, with the depth in lines nevertheless: a sub-group takes four steps of eight chunks, and stores words in an
 * order in which they lie in different banks. */
#define EACH_TURNING(DO, held, to, matrix, begin, outer, tile, aligned)                                                \
    int item = get_local_id(0); /* opaque for the reason that the pitches are */                                       \
    OPAQUE(item)                                                                                                       \
    UNROLL for (int i = 0; i < 8 * (tile) / ITEMS; i++) {                                                              \
        const int part = item / 32 + i * SUB_GROUPS, chunk = part % ((tile) / 32) * 8 + item % 8;                      \
        const int row = part / ((tile) / 32) * 4 + item % 32 / 8, step = slice * WGMMA_DEPTH + row;                    \
        const int first = (begin) + chunk * CHUNK_NUMBERS, there = step < k ? (outer)-first : 0;                       \
        DO##_TURNING(held[i], to, matrix + (long)step * width + first, there, aligned)                                 \
    }
#if TRANSPOSE_A && STORAGE == 0
#define EACH_OF_A EACH_TURNING
#elif TRANSPOSE_A
#define EACH_OF_A EACH_OUTER_IN_LINES
#else
#define EACH_OF_A EACH_DEPTH_IN_LINES
#endif
#if TRANSPOSE_B
#define EACH_OF_B EACH_DEPTH_IN_LINES
#elif STORAGE == 0
#define EACH_OF_B EACH_TURNING
#else
#define EACH_OF_B EACH_OUTER_IN_LINES
#endif

/* The pitches are opaque: else addresses of all chunks are kept in registers, which the sums need. */
#define EACH_CHUNK(DO, number, stage)                                                                                  \
    {                                                                                                                  \
        const int slice = (number);                                                                                    \
        __local uint4 *const to = wgmma_ring + (stage)*STAGE_CHUNKS;                                                   \
        {                                                                                                              \
            int depth = k, width = m;                                                                                  \
            OPAQUE(depth) OPAQUE(width)                                                                                \
            EACH_OF_A(DO, held_a, to, a, row_begin, m, TILE_ROWS, ALIGNED_A)                                           \
        }                                                                                                              \
        {                                                                                                              \
            int depth = k, width = n;                                                                                  \
            OPAQUE(depth) OPAQUE(width)                                                                                \
            EACH_OF_B(DO, held_b, to + CHUNKS_A, b, column_begin, n, WGMMA_COLUMNS, ALIGNED_B)                         \
        }                                                                                                              \
    }
#define COPY_IN(held, to, from, count, aligned)                                                                        \
    COPY_CHUNK(held, to, from, count, aligned)                                                                         \
    WGMMA_WROTE(to)
#define READ_CHUNK_TURNING READ_CHUNK
#define STORE_IN_TURNING(held, to, from, count, aligned)                                                               \
    const int turn = chunk / 2 % 4;                                                                                    \
    const uint4 half_turned = turn % 2 ? held.yzwx : held, turned = turn / 2 ? half_turned.zwxy : half_turned;         \
    const uint words[4] = {turned.x, turned.y, turned.z, turned.w};                                                    \
    UNROLL for (int q = 0; q < 4; q++) {                                                                               \
        const int outer_at = chunk * CHUNK_NUMBERS + (q + turn) % 4;                                                   \
        __local uint4 *const place = (to) + CHUNK_AT(outer_at, row / 4, 8);                                            \
        ((__local uint *)place)[row % 4] = to_tf32(words[q]);                                                          \
        WGMMA_WROTE(place)                                                                                             \
    }
#define STORE_IN(held, to, from, count, aligned)                                                                       \
    STORE_CHUNK(held, to, from, count, aligned)                                                                        \
    WGMMA_WROTE(to)

/* ---- from local memory to sums ----------------------------------------------------------------------------------- */

#define MULTIPLY_SLICE(stage)                                                                                          \
    {                                                                                                                  \
        const ulong tile_a = WGMMA_TILE((stage)*STAGE_CHUNKS + 8 * 64 * TEAM, WGMMA_TURN_A);                           \
        const ulong tile_b = WGMMA_TILE((stage)*STAGE_CHUNKS + CHUNKS_A, WGMMA_TURN_B);                                \
        WGMMA_BEGIN();                                                                                                 \
        UNROLL for (int step = 0; step < WGMMA_STEPS; step++) {                                                        \
            WGMMA(sum, WGMMA_STEP(tile_a, step, WGMMA_TURN_A), WGMMA_STEP(tile_b, step, WGMMA_TURN_B));                \
        }                                                                                                              \
        WGMMA_COMMIT();                                                                                                \
    }
/* Of a work-item's row of op(a), over the slice at hand. */
#if SUMS
#define ADD_TO_SUMS                                                                                                    \
    if (column_begin == 0 && get_local_id(0) < TILE_ROWS) {                                                            \
        const int row_ = get_local_id(0) % WGMMA_DEPTH, block_ = get_local_id(0) / WGMMA_DEPTH;                        \
        _Pragma("nounroll") for (int step_ = 0; step_ < WGMMA_DEPTH; step_++) {                                        \
            const __local uint4 *const chunk_ = wgmma_ring + stage * STAGE_CHUNKS +                                    \
                CHUNK_AT(block_ * WGMMA_DEPTH + step_, row_ / CHUNK_NUMBERS, 8);                                       \
            sum_of_row += LOAD((const __local stored *)chunk_, row_ % CHUNK_NUMBERS);                                  \
        }                                                                                                              \
    }
#else
#define ADD_TO_SUMS
#endif

#define COLUMNS_AT_ONCE 64
#define PITCH           (COLUMNS_AT_ONCE + 8) /* of rows of sums: eight rows lie in different banks */

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
gemm_wgmma(const __global stored *a, /* [m,k], or [k,m] with TRANSPOSE_A */
           const __global stored *b, /* [k,n], or [n,k] with TRANSPOSE_B */
           EPILOGUE_PARAMETERS, int k, __global float *sums /* [m] with SUMS, or NULL */) {
    WGMMA_STATE(STAGES * STAGE_CHUNKS, STAGES * (SHARE_A + SHARE_B) * (STORAGE ? 1 : 4) /* words of a turned chunk */)
#if STORAGE
    COPY_STATE(STAGES * (SHARE_A + SHARE_B))
#else
    uint4 held_a[SHARE_A], held_b[SHARE_B];
#endif
    const int tiles_down = (m + TILE_ROWS - 1) / TILE_ROWS, tiles_across = (n + WGMMA_COLUMNS - 1) / WGMMA_COLUMNS;
    const int band = get_group_id(0) / (BAND * tiles_across), in_band = get_group_id(0) % (BAND * tiles_across);
    const int high = min(tiles_down - band * BAND, BAND);
    const int row_begin = (band * BAND + in_band % high) * TILE_ROWS, column_begin = in_band / high * WGMMA_COLUMNS;
    const int slices = (k + WGMMA_DEPTH - 1) / WGMMA_DEPTH;

    float sum[WGMMA_SUMS];
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++) sum[i] = WGMMA_NOTHING();
#if SUMS
    float sum_of_row = 0.0f;
#endif

#if STORAGE
    UNROLL for (int s = 0; s < EARLY; s++) {
        if (s < slices) EACH_CHUNK(COPY_IN, s, s)
        COPY_COMMIT();
    }
#else
    EACH_CHUNK(READ_CHUNK, 0, 0)
    EACH_CHUNK(STORE_IN, 0, 0)
#endif
    int stage = 0, free = EARLY;
    for (int s = 0; s < slices; s++) {
#if STORAGE
        COPY_WAIT(WAITS);
#endif
        WGMMA_PUBLISH();
        barrier(CLK_LOCAL_MEM_FENCE);
        MULTIPLY_SLICE(stage)
        /* All teams have waited for the products of the stage that is filled now before they came to the barrier. */
#if STORAGE
        if (s + EARLY < slices) EACH_CHUNK(COPY_IN, s + EARLY, free)
        COPY_COMMIT();
#else
        if (s + 1 < slices) {
            EACH_CHUNK(READ_CHUNK, s + 1, free)
            EACH_CHUNK(STORE_IN, s + 1, free)
        }
#endif
        ADD_TO_SUMS
        WGMMA_WAIT(sum, AHEAD);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        free = free + 1 == STAGES ? 0 : free + 1;
    }
    WGMMA_WAIT(sum, 0);

    /* By way of local memory, to have whole fours of a row, and one copy of the code for them. */
    __local float *const rows = (__local float *)wgmma_ring + SUB_GROUP * MATRIX_ROWS * PITCH;
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL for (int first = 0; first < WGMMA_COLUMNS; first += COLUMNS_AT_ONCE) {
        UNROLL for (int j = 0; j < COLUMNS_AT_ONCE / MATRIX_COLUMNS; j++) UNROLL for (int e = 0; e < 4; e += 2) {
            const int i = 4 * (first / MATRIX_COLUMNS + j) + e;
            *(__local float2 *)(rows + MATRIX_ROW(e) * PITCH + MATRIX_COLUMNS * j + MATRIX_COLUMN(e)) =
                (float2)(sum[i], sum[i + 1]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int f = 0; f < MATRIX_ROWS * COLUMNS_AT_ONCE / 4; f += 32) {
            const int four = f + LANE, down = four / (COLUMNS_AT_ONCE / 4), across = four % (COLUMNS_AT_ONCE / 4) * 4;
            const int row = row_begin + MATRIX_ROWS * SUB_GROUP + down, column = column_begin + first + across;
            const float4 value = *(const __local float4 *)(rows + down * PITCH + across);
            if (row < m) finish_four(value, (long)row * n + column, column, EPILOGUE);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if SUMS
    if (column_begin == 0 && get_local_id(0) < TILE_ROWS && row_begin + get_local_id(0) < m)
        sums[row_begin + get_local_id(0)] = sum_of_row;
#endif
}
