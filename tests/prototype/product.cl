/* An example for tools/prototype.c: c [m,n] = a [m,k] · b [n,k] transposed, a tile of TILE×TILE elements a work-group.
 * The first sizes are multiples of the tile, the second ones are not.
 *
 * run: product m=256 n=192 k=128 global=ceil(n/16)*16,ceil(m/16)*16 local=16,16 arguments=m,n,k,a,b,c
 *      a=float[m*k] b=float[n*k] c=float[m*n] expect=gemm(c,a,b,m,n,k,nt) tolerance=1e-5 flops=2*m*n*k
 * run: product m=77 n=35 k=19 global=ceil(n/16)*16,ceil(m/16)*16 local=16,16 arguments=m,n,k,a,b,c
 *      a=float[m*k] b=float[n*k] c=float[m*n] expect=gemm(c,a,b,m,n,k,nt) tolerance=1e-5 */
#define TILE 16

__kernel __attribute__((reqd_work_group_size(TILE, TILE, 1))) void
product(int m, int n, int k, const __global float *restrict a, const __global float *restrict b, __global float *restrict c) {
    __local float rows[TILE][TILE + 1], columns[TILE][TILE + 1];
    const int x = get_local_id(0), y = get_local_id(1), row = get_global_id(1), column = get_global_id(0);
    float sum = 0.0f;
    for (int first = 0; first < k; first += TILE) {
        const int other = get_group_id(0) * TILE + y;
        rows[y][x] = row < m && first + x < k ? a[row * k + first + x] : 0.0f;
        columns[y][x] = other < n && first + x < k ? b[other * k + first + x] : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int l = 0; l < TILE; l++) sum = fma(rows[y][l], columns[x][l], sum);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (row < m && column < n) c[row * n + column] = sum;
}
