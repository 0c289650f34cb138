/* Shows whether NVIDIA's asynchronous matrix units (cl/wgmma.clh) compute correctly, and with how much local memory.
 *
 * RING  chunks of local memory, of which the last ones are used
 * HELD  1: the left factor is held in registers */
#define SUB_GROUPS 8
#include "wgmma.clh"

#ifndef RING
#define RING (8 * (128 + WGMMA_COLUMNS))
#endif
#ifndef HELD
#define HELD 0
#endif
#define ITEMS 256
#define SHARE (8 * (128 + WGMMA_COLUMNS) / ITEMS)
#define FIRST (RING - 8 * (128 + WGMMA_COLUMNS))

/* in [128 + WGMMA_COLUMNS lines][128 bytes]: the tiles of a and b; out [128][WGMMA_COLUMNS]: a·b */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
probe_wgmma(const __global uint4 *in, __global float *out, int count) {
    WGMMA_STATE(RING, WGMMA_STEPS, SHARE)
    COPY_STATE(SHARE)
    float sum[WGMMA_SUMS];
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++) sum[i] = WGMMA_NOTHING();
    UNROLL for (int i = 0; i < SHARE; i++) {
        const int at = get_local_id(0) + i * ITEMS;
        __local uint4 *const to = wgmma_ring + FIRST + CHUNK_AT(at / 8, at % 8, 8);
        COPY(to, in + at, 1);
        WGMMA_WROTE(to)
    }
    COPY_COMMIT();
    COPY_WAIT(0);
    WGMMA_PUBLISH();
    barrier(CLK_LOCAL_MEM_FENCE);
    const ulong a = WGMMA_TILE(FIRST + 8 * 64 * TEAM, WGMMA_TURN_A), b = WGMMA_TILE(FIRST + 8 * 128, WGMMA_TURN_B);
#if HELD
    uint left[WGMMA_STEPS][LEFT_WORDS];
    UNROLL for (int step = 0; step < WGMMA_STEPS; step++) {
        LOAD_LEFT(left[step], wgmma_ring + FIRST, 16 * SUB_GROUP, step, 8)
    }
#endif
    WGMMA_BEGIN();
    UNROLL for (int step = 0; step < WGMMA_STEPS; step++) {
#if HELD && WGMMA_TURN_B
        WGMMA_HELD_TURNED(sum, left[step], WGMMA_STEP(b, step, 1));
#elif HELD
        if (step == 0) {
            WGMMA_HELD_FIRST(sum, left[step], b);
        } else {
            WGMMA_HELD(sum, left[step], WGMMA_STEP(b, step, 0));
        }
#else
        WGMMA(sum, WGMMA_STEP(a, step, WGMMA_TURN_A), WGMMA_STEP(b, step, WGMMA_TURN_B));
#endif
    }
    WGMMA_COMMIT();
    WGMMA_DONE(sum);
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++)
        out[(16 * SUB_GROUP + MATRIX_ROW(i % 4)) * WGMMA_COLUMNS + 8 * (i / 4) + MATRIX_COLUMN(i % 4)] = sum[i];
}
