// An example for tools/prototype.c: softmax attention, one work-item a query, q and k as bf16. CAUSAL hides later keys.
//
// run: attention groups=3 queries=50 keys=70 width=32 scale=float(1/sqrt(width)) global=ceil(queries/16)*16,groups local=16,1
//      arguments=queries,keys,scale,q,k,v,o,lse options=-DWIDTH={width} options=-DCAUSAL=0
//      q=bf16[groups*queries*width] k=bf16[groups*keys*width] v=float[groups*keys*width] o=float[groups*queries*width]
//      lse=float[groups*queries] expect=attention(o,lse,q,k,v,groups,queries,keys,width) tolerance=1e-5
//      flops=4*groups*queries*keys*width
// run: attention groups=2 queries=40 keys=40 width=8 scale=float(1/sqrt(width)) global=ceil(queries/16)*16,groups local=16,1
//      arguments=queries,keys,scale,q,k,v,o,lse options=-DWIDTH={width} options=-DCAUSAL=1
//      q=bf16[groups*queries*width] k=bf16[groups*keys*width] v=float[groups*keys*width] o=float[groups*queries*width]
//      lse=float[groups*queries] expect=attention(o,lse,q,k,v,groups,queries,keys,width,causal) tolerance=1e-5

float of_bf16(ushort bits) {
    return as_float((uint)bits << 16);
}

__kernel void attention(int queries, int keys, float scale, const __global ushort *restrict q, const __global ushort *restrict k,
                        const __global float *restrict v, __global float *restrict o, __global float *restrict lse) {
    const int query = get_global_id(0), group = get_global_id(1);
    if (query >= queries) return;
    const size_t row = (size_t)group * queries + query;
    float most = -INFINITY, sum = 0.0f, out[WIDTH] = {0.0f};
    for (int key = 0; key < (CAUSAL ? query + 1 : keys); key++) {
        const size_t at = ((size_t)group * keys + key) * WIDTH;
        float score = 0.0f;
        for (int e = 0; e < WIDTH; e++) score = fma(of_bf16(q[row * WIDTH + e]), of_bf16(k[at + e]), score);
        const float larger = fmax(most, score * scale), old = exp(most - larger), weight = exp(score * scale - larger);
        for (int e = 0; e < WIDTH; e++) out[e] = fma(weight, v[at + e], out[e] * old);
        sum = sum * old + weight;
        most = larger;
    }
    for (int e = 0; e < WIDTH; e++) o[row * WIDTH + e] = out[e] / sum;
    lse[row] = most + log(sum);
}
