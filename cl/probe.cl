/* Kernels that show what a device can really do: each does one thing whose result the host knows. Owns nothing of the
 * models' arithmetic. All have the arguments (in, out, count), so that the host has one way to run them.
 *
 * PART   0: launches and work-groups; 1: arithmetic; 2: halves in memory; 3: double; 4: half arithmetic; 5: sub-groups;
 *        6: matrix units; 7: much local memory; 8: pairs of bf16
 * LOCAL_BYTES  that probe_keep's work-groups keep, a multiple of 256
 * GROUP  work-items of probe_tree's groups, a power of two
 * NONCE  changes nothing: a driver that keeps compiled kernels has never seen this number */
#ifndef PART
#define PART 0
#endif
#ifndef GROUP
#define GROUP 64
#endif
#ifndef NONCE
#define NONCE 0
#endif

#if PART == 0
/* in, out [count] */
__kernel void probe_scale(const __global float *in, __global float *out, int count) {
    int i = get_global_id(0);
    if (i < count) out[i] = 2.0f * in[i] + 1.0f;
}

/* in, out [count · 4] */
__kernel void probe_copy(const __global float *in, __global float *out, int count) {
    int i = get_global_id(0);
    if (i < count) vstore4(vload4(i, in), i, out);
}

/* out [count]: the first and the last element alone */
__kernel void probe_touch(const __global float *in, __global float *out, int count) {
    out[0] = in[0];
    out[count - 1] = in[1];
}

/* in, out [groups · 64]. Each of `count` rounds turns the tile of a work-group round and adds its number to it; a
 * barrier that does not hold mixes two rounds. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
probe_turn(const __global float *in, __global float *out, int count) {
    __local float tile[64];
    int item = get_local_id(0), other = 63 - item;
    float value = in[get_global_id(0)];
    for (int round = 0; round < count; round++) {
        tile[item] = value;
        barrier(CLK_LOCAL_MEM_FENCE);
        value = tile[other] + round;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    out[get_global_id(0)] = value;
}

/* in [groups · GROUP], out [groups]: the sums of the work-groups */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
probe_tree(const __global float *in, __global float *out, int count) {
    __local float sums[GROUP];
    int item = get_local_id(0);
    sums[item] = in[get_global_id(0)];
    for (int reach = GROUP / 2; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < reach) sums[item] += sums[item + reach];
    }
    if (item == 0) out[get_group_id(0)] = sums[0] + 0 * NONCE;
}

#endif

#if PART == 1
#include "random.clh"

/* in [count · 24]: a, b, c of eight each, out [count · 8] = a·b + c, rounded once */
__kernel void probe_fma(const __global float *in, __global float *out, int count) {
    int i = get_global_id(0);
    if (i < count) vstore8(fma(vload8(3 * i, in), vload8(3 * i + 1, in), vload8(3 * i + 2, in)), i, out);
}

/* in [3]: -INFINITY, 1.5, NaN; out [12]: each 1 when right */
__kernel void probe_infinity(const __global float *in, __global float *out, int count) {
    float low = in[0], value = in[1], none = in[2];
    out[0] = exp(low - value) == 0.0f;
    out[1] = exp2(low) == 0.0f;
    out[2] = fmax(low, value) == value;
    out[3] = max(low, value) == value;
    out[4] = low == -INFINITY;
    out[5] = isinf(low) != 0;
    out[6] = isnan(low - low) != 0;
    out[7] = isnan(none) != 0;
    out[8] = none != none;
    out[9] = !(none > value) && !(none <= value);
    out[10] = fmax(none, value) == value;
    out[11] = log(0.0f * value) == -INFINITY;
}

/* in [count · 6]: counter and key, out [count · 4] */
__kernel void probe_philox(const __global uint *in, __global uint *out, int count) {
    int i = get_global_id(0);
    if (i < count) vstore4(philox(vload4(0, in + 6 * i), vload2(0, in + 6 * i + 4)), i, out);
}

/* in [count · 2], out [count]: the high halves of 128-bit products */
__kernel void probe_high_half(const __global ulong *in, __global ulong *out, int count) {
    int i = get_global_id(0);
    if (i < count) out[i] = mul_hi(in[2 * i], in[2 * i + 1]);
}

/* in [count], out [6 · count] */
__kernel void probe_functions(const __global float *in, __global float *out, int count) {
    int i = get_global_id(0);
    if (i >= count) return;
    float x = in[i];
    out[i] = exp(x);
    out[count + i] = exp2(x);
    out[2 * count + i] = log(fabs(x));
    out[3 * count + i] = tanh(x);
    out[4 * count + i] = sqrt(fabs(x));
    out[5 * count + i] = 3.0f / x;
}

#endif

#if PART == 2
/* in [count] halves, out [count] floats and the halves of them again behind */
__kernel void probe_half_storage(const __global half *in, __global float *out, int count) {
    int i = get_global_id(0);
    if (i >= count) return;
    float value = vload_half(i, in);
    out[i] = value;
    vstore_half(value * (1.0f + 0x1p-12f), i, (__global half *)(out + count));
}
#endif

#if PART == 3
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
/* in, out [count] */
__kernel void probe_double(const __global double *in, __global double *out, int count) {
    int i = get_global_id(0);
    if (i < count) out[i] = sqrt(in[i]) + 1.0 / in[i];
}
#endif

#if PART == 4
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
/* in, out [count] */
__kernel void probe_half(const __global half *in, __global half *out, int count) {
    int i = get_global_id(0);
    if (i < count) out[i] = in[i] * in[i] + in[i];
}
#endif

#if PART == 5
#ifdef cl_khr_subgroups
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#elif defined(cl_intel_subgroups)
#pragma OPENCL EXTENSION cl_intel_subgroups : enable
#endif
/* in [groups · 64] of 1, out [groups · 64]: the number of work-items in the own sub-group, counted by a sum; 0 when the
 * size that the device names is another */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
probe_sub_group(const __global float *in, __global float *out, int count) {
    float sum = sub_group_reduce_add(in[get_global_id(0)]);
    out[get_global_id(0)] = sum == (float)get_sub_group_size() ? sum : 0.0f;
}
#endif

#if PART == 7
#ifndef LOCAL_BYTES
#define LOCAL_BYTES 1024
#endif
/* out [groups · 64]: how many of a work-item's share of words in local memory are what another one stored */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
probe_keep(const __global float *in, __global float *out, int count) {
    __local uint words[LOCAL_BYTES / 4];
    const uint item = get_local_id(0), first = get_group_id(0) * 2654435761u;
    for (uint i = item; i < LOCAL_BYTES / 4; i += 64) words[i] = first + i;
    barrier(CLK_LOCAL_MEM_FENCE);
    int right = 0;
    for (uint i = 63 - item; i < LOCAL_BYTES / 4; i += 64) right += words[i] == first + i;
    out[get_global_id(0)] = right;
}
#endif

#if PART == 6 || PART == 8
#include "storage.clh" /* which both include: a file is inserted where it is asked for first */
#endif

#if PART == 8
#include "factors.clh"

/* in [4][LANES]: the steps of two factors; out [2][LANES]: their product plus 1, and in the size of the other half the
 * first 2 * LANES numbers as bf16 */
__kernel void probe_pairs(const __global float *in, __global float *out, int count) {
    const floats a = factors_of(load_lanes(0, in), load_lanes(1, in));
    const floats b = factors_of(load_lanes(2, in), load_lanes(3, in));
    float halves[LANES];
    store_halves(load_lanes(0, in), load_lanes(1, in), halves);
    store_lanes(multiply_add(a, b, (floats)(1.0f)), 0, out);
    store_lanes(load_lanes(0, halves), 1, out);
}
#endif

#if PART == 6
#include "matrix.clh"

#define SIDE       32
#define ROW_CHUNKS (SIDE / CHUNK_NUMBERS)
#define COPIES     (2 * SIDE * ROW_CHUNKS / LANES)
#define LARGER(a, b) fmax(a, b)

/* in [2][32][32], stored: a and b; out [2][16][16]: a·bᵀ of their first rows, aᵀ·b of their first columns; and in 16
 * bits, behind these, [16]: the largest of each row of the former, [2][16][16] in 16 bits: these and their negatives,
 * packed */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) MATRIX_KERNEL void
probe_matrix(const __global uint4 *in, __global float *out, int count) {
    __local uint4 tiles[2][2][TILE(SIDE, ROW_CHUNKS)]; /* as either kind of loads takes them: a and b */
    MATRIX_STATE(1, BESIDE)
    COPY_STATE(2 * COPIES)
#if STORAGE
    ROWS_STATE(LANE_ROWS)
#endif
    UNROLL for (int i = 0; i < COPIES; i++) {
        const int at = LANE + LANES * i, tile = at / (SIDE * ROW_CHUNKS), row = at / ROW_CHUNKS % SIDE,
                  chunk = at % ROW_CHUNKS;
        COPY(tiles[0][tile] + CHUNK_AT(row, chunk, ROW_CHUNKS), in + at, 1);
        COPY(tiles[1][tile] + CHUNK_TURNED_AT(row, chunk, ROW_CHUNKS), in + at, 1);
    }
    COPY_COMMIT();
    COPY_WAIT(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL for (int turned = 0; turned < 2; turned++) UNROLL for (int row = 0; row < 16; row += MATRIX_ROWS) {
        float sum[BESIDE][SUM_NUMBERS] = {{0}};
        const __local uint4 *const a = tiles[turned][0], *const b = tiles[turned][1];
        uint left[1][LEFT_WORDS], right[BESIDE][RIGHT_WORDS];
        UNROLL for (int step = 0; step < SIDE / MATRIX_DEPTH; step++) {
            if (turned) {
                LOAD_LEFT_TURNED(left[0], a, row, step, ROW_CHUNKS)
                LOAD_RIGHT_TURNED(right, b, 0, step, ROW_CHUNKS)
            } else {
                LOAD_LEFT(left[0], a, row, step, ROW_CHUNKS)
                LOAD_RIGHT(right, b, 0, step, ROW_CHUNKS)
            }
            MATRIX_SHARE(left, 1, right, BESIDE)
            UNROLL for (int j = 0; j < BESIDE; j++) MULTIPLY(sum[j], left, 0, right, j);
        }
        UNROLL for (int j = 0; j < BESIDE; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e++)
            out[256 * turned + 16 * (row + MATRIX_ROW(e)) + MATRIX_COLUMNS * j + MATRIX_COLUMN(e)] = sum[j][e];
#if STORAGE
        if (turned) continue;
        float largest[LANE_ROWS];
        UNROLL for (int r = 0; r < LANE_ROWS; r++) largest[r] = sum[0][r * ROW_NUMBERS];
        UNROLL for (int j = 0; j < BESIDE; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e++)
            largest[e / ROW_NUMBERS] = LARGER(largest[e / ROW_NUMBERS], sum[j][e]);
        ROWS_REDUCE(largest, LANE_ROWS, LARGER)
        UNROLL for (int r = 0; r < LANE_ROWS; r++) out[512 + row + MATRIX_ROW(r * ROW_NUMBERS)] = largest[r];
        UNROLL for (int j = 0; j < BESIDE; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e++) {
            const int at = 16 * (row + MATRIX_ROW(e)) + MATRIX_COLUMNS * j + MATRIX_COLUMN(e);
            const uint both = PACK(sum[j][e], -sum[j][e]);
            ((__global ushort *)(out + 528))[at] = (ushort)both;
            ((__global ushort *)(out + 528))[256 + at] = (ushort)(both >> 16);
        }
#endif
    }
}
#endif
