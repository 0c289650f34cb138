/* Matrix product on NVIDIA's asynchronous matrix units (cl/wgmma.clh): y = what cl/gemm_epilogue.clh makes of
 * op(a)·op(b).
 *
 * A work-group of two teams owns a tile of y of 128 × COLUMNS, 64 rows for each team, and walks the depth in slices of
 * DEPTH, a line of 128 bytes of each factor. They lie in a ring of STAGES in local memory as they are stored: the units
 * turn factors of 16 bits. While one slice is multiplied, the previous one may be, too (STAGES beyond 2), and the next
 * ones are on their way; so the units never wait for the barrier of the work-group. A stage of a tile of 128×256 is 48
 * KiB. It is read from the cache for 2,097,152 multiply-adds, which take the units 1024 clocks.
 *
 * Numbers of fp32 are rounded to tf32, or split in two for three products, once, on their way into local memory. The
 * units take tf32 with the depth along rows only: there, too, they are turned on their way. Of three products, a slice
 * has sums of its own, beside which the registers hold those of 128×128 alone; a stage holds both parts of all numbers. */
#define SUB_GROUPS 8
#ifndef STAGES
#define STAGES 3
#endif
#ifndef COLUMNS
#define COLUMNS 256
#endif
#define WGMMA_COLUMNS COLUMNS
#define WGMMA_TURN_A  (STORAGE && TRANSPOSE_A)
#define WGMMA_TURN_B  (STORAGE && !TRANSPOSE_B)
#include "gemm_units.clh"
#include "wgmma.clh"

#if SUMS && STORAGE == 0 && PRODUCTS == 1
#error "SUMS is not for numbers that were rounded"
#endif
#if PRODUCTS == 3 && (STAGES != 2 || COLUMNS != 128)
#error "three products have a ring of two stages, and 128 columns"
#endif
/* AHEAD: groups of products, beside the latest, that may be on their way while a stage is filled. WAITS: groups of
 * copies that may be while a stage is read. Both are literals of an instruction. */
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
#define ITEM         get_local_id(0)
#define DEPTH        WGMMA_DEPTH
#define TILE_ROWS    128
#define TILE_COLUMNS COLUMNS
#define TILE_A       (8 * TILE_ROWS) /* chunks */
#define TILE_B       (8 * TILE_COLUMNS)
#define LOWER        (TILE_A + TILE_B) /* from a chunk of upper parts to the lower ones */
#define STAGE_CHUNKS (LOWER * (PRODUCTS == 3 ? 2 : 1))
#define SHARE_A      (TILE_A / ITEMS) /* of each work-item */
#define SHARE_B      (TILE_B / ITEMS)
#define FIRST_SLICE  PART_FIRST_SLICE
#if STORAGE
#define EARLY (STAGES - 1 - AHEAD) /* slices that are on their way before a stage of the first is read */
#else
#define EARLY 1 /* by way of registers, which hold the one after it */
#endif

/* ---- from global to local memory --------------------------------------------------------------------------------- */

#define OUTER_AT(step, chunk, chunks) CHUNK_AT((chunk) / 8 * DEPTH + (step), (chunk) % 8, 8)
/* As EACH_OUTER_IN_ROWS, with the depth in lines nevertheless: a sub-group takes eight steps of four chunks, and stores
 * words in an order in which they lie in different banks. */
#define EACH_TURNING(DO, held, to, matrix, begin, outer, tile, aligned)                                                \
    uint item = ITEM; /* opaque for the reason that the pitches are */                                                 \
    OPAQUE(item)                                                                                                       \
    UNROLL for (int i = 0; i < 8 * (tile) / ITEMS; i++) {                                                              \
        const int eights = i / ((tile) / 128), chunk = i % ((tile) / 128) * 32 + item / 32 * 4 + item % 4;             \
        const int step = slice * DEPTH + 8 * eights + item % 32 / 4, first = (begin) + chunk * CHUNK_NUMBERS;          \
        DO##_TURNING(held[i], to, matrix + (long)step * width + first, step < k ? (outer)-first : 0, aligned)          \
    }
#if TRANSPOSE_A && STORAGE == 0
#define EACH_OF_A EACH_TURNING
#elif TRANSPOSE_A
#define EACH_OF_A EACH_OUTER_IN_ROWS
#else
#define EACH_OF_A EACH_DEPTH_IN_ROWS
#endif
#if TRANSPOSE_B
#define EACH_OF_B EACH_DEPTH_IN_ROWS
#elif STORAGE == 0
#define EACH_OF_B EACH_TURNING
#else
#define EACH_OF_B EACH_OUTER_IN_ROWS
#endif

#define COPY_IN(held, to, from, count, aligned)                                                                        \
    COPY_CHUNK(held, to, from, count, aligned)                                                                         \
    WGMMA_WROTE(to)
#define READ_CHUNK_TURNING READ_CHUNK
#if PRODUCTS == 3
#define STORE_IN(held, to, from, count, aligned)                                                                       \
    {                                                                                                                  \
        uint big_[4] = {held.x, held.y, held.z, held.w}, small_[4];                                                    \
        UNROLL for (int q = 0; q < 4; q++) SPLIT(big_[q], small_[q])                                                   \
        *(to) = (uint4)(big_[0], big_[1], big_[2], big_[3]);                                                           \
        (to)[LOWER] = (uint4)(small_[0], small_[1], small_[2], small_[3]);                                             \
        WGMMA_WROTE(to)                                                                                                \
        WGMMA_WROTE((to) + LOWER)                                                                                      \
    }
#define STORE_WORD(word, place, at)                                                                                    \
    {                                                                                                                  \
        uint big_ = word, small_;                                                                                      \
        SPLIT(big_, small_)                                                                                            \
        ((__local uint *)(place))[at] = big_;                                                                          \
        ((__local uint *)((place) + LOWER))[at] = small_;                                                              \
        WGMMA_WROTE(place)                                                                                             \
        WGMMA_WROTE((place) + LOWER)                                                                                   \
    }
#else
#define STORE_IN(held, to, from, count, aligned)                                                                       \
    STORE_CHUNK(held, to, from, count, aligned)                                                                        \
    WGMMA_WROTE(to)
#define STORE_WORD(word, place, at)                                                                                    \
    ((__local uint *)(place))[at] = to_tf32(word);                                                                     \
    WGMMA_WROTE(place)
#endif
#define STORE_IN_TURNING(held, to, from, count, aligned)                                                               \
    const int turn = item / 2 % 2 * 2;                                                                                 \
    const uint4 turned = turn ? held.zwxy : held;                                                                      \
    const uint words[4] = {turned.x, turned.y, turned.z, turned.w};                                                    \
    UNROLL for (int q = 0; q < 4; q++) {                                                                               \
        const int row = chunk * CHUNK_NUMBERS + (q ^ turn);                                                            \
        __local uint4 *const place = (to) + (CHUNK_AT(row, item % 32 / 16, 8) ^ 2 * eights);                           \
        STORE_WORD(words[q], place, item / 4 % 4)                                                                      \
    }

/* ---- from local memory to sums ----------------------------------------------------------------------------------- */

#if PRODUCTS == 3
#undef OF_A_STEPS
#undef OF_A
#define OF_A_STEPS CHUNK_NUMBERS
#define OF_A(step)                                                                                                     \
    sum_of_chunk((const __local float4 *)(ring + stage * STAGE_CHUNKS + CHUNK_AT((int)ITEM, (step) / CHUNK_NUMBERS, 8)))
XP_INLINE float sum_of_chunk(const __local float4 *chunk) {
    const float4 numbers = chunk[0] + chunk[LOWER];
    return numbers.x + numbers.y + numbers.z + numbers.w;
}
#define IN_SLICE part
#else
#define IN_SLICE sum
#endif
/* Of three products the small ones first, while little is cut. */
#define MULTIPLY_SLICE(stage)                                                                                          \
    {                                                                                                                  \
        const ulong tile_a = WGMMA_TILE((stage)*STAGE_CHUNKS + 8 * 64 * TEAM, WGMMA_TURN_A);                           \
        const ulong tile_b = WGMMA_TILE((stage)*STAGE_CHUNKS + TILE_A, WGMMA_TURN_B);                                  \
        WGMMA_READY(IN_SLICE);                                                                                         \
        WGMMA_BEGIN();                                                                                                 \
        UNROLL for (int product = PRODUCTS; product > 0; product--)                                                    \
            UNROLL for (int step = 0; step < WGMMA_STEPS; step++) {                                                    \
                const ulong step_a = WGMMA_STEP(tile_a, step, WGMMA_TURN_A) + (product == 3 ? LOWER : 0);              \
                const ulong step_b = WGMMA_STEP(tile_b, step, WGMMA_TURN_B) + (product == 2 ? LOWER : 0);              \
                if (product == 3 && step == 0) {                                                                       \
                    WGMMA_FIRST(IN_SLICE, step_a, step_b);                                                             \
                } else {                                                                                               \
                    WGMMA(IN_SLICE, step_a, step_b);                                                                   \
                }                                                                                                      \
            }                                                                                                          \
        WGMMA_COMMIT();                                                                                                \
    }

#define COLUMNS_AT_ONCE 64 /* of rows of sums */

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
gemm_wgmma(PRODUCT_PARAMETERS) {
    WGMMA_STATE(STAGES * STAGE_CHUNKS, PRODUCTS * WGMMA_STEPS,
                STAGES * STAGE_CHUNKS / ITEMS * (STORAGE ? 1 : 4) /* words of a turned chunk */)
    __local uint4 *const ring = wgmma_ring;
#if STORAGE
    COPY_STATE(STAGES * (SHARE_A + SHARE_B))
#else
    uint4 held_a[SHARE_A], held_b[SHARE_B];
#endif
    TILE_BEGINS
    const int slices = PART_SLICES;

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
    if (slices > 1) EACH_CHUNK(READ_CHUNK, 1, 0)
#endif
#if PRODUCTS == 3
    float part[WGMMA_SUMS];
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++) part[i] = WGMMA_NOTHING();
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
        if (s + 1 < slices) EACH_CHUNK(STORE_IN, s + 1, free)
        if (s + 2 < slices) EACH_CHUNK(READ_CHUNK, s + 2, free)
#endif
        ADD_TO_SUMS
#if PRODUCTS == 3
        WGMMA_DONE(part);
        UNROLL for (int i = 0; i < WGMMA_SUMS; i++) sum[i] += part[i];
#else
        WGMMA_WAIT(AHEAD);
#endif
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        free = free + 1 == STAGES ? 0 : free + 1;
    }
    WGMMA_DONE(sum);

    barrier(CLK_LOCAL_MEM_FENCE);
#define SUM_AT(j, e) sum[4 * (first / MATRIX_COLUMNS + (j)) + (e)]
    UNROLL for (int first = 0; first < TILE_COLUMNS; first += COLUMNS_AT_ONCE)
        FINISH_ROWS(ring, SUB_GROUP, row_begin + MATRIX_ROWS * SUB_GROUP, column_begin + first, COLUMNS_AT_ONCE, true,
                    SUM_AT)
    STORE_SUMS
}
