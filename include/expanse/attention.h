/* One attention call on the caller's own queue and buffers, forward and backward: no model, no graph, no copies.
 *
 *     xp_attention_options options;
 *     xp_attention_options_default(&options);
 *     options.batch = 2, options.heads = 4, options.queries = options.keys = 128, options.width = 64;
 *     xp_attention_create(&attention, device, &options);          device: xp_device_open_queue(&device, queue, NULL)
 *     xp_attention_forward(attention, queue, &tensors, 0, NULL, NULL);
 *     xp_attention_backward(attention, queue, &tensors, 0, NULL, &done);
 *
 * Letters: B batch, N queries, M keys, H heads, G key heads (H is a multiple of G), D width, E value width. All numbers
 * are fp32 or int32. An attention object belongs to one thread at a time. */
#ifndef EXPANSE_ATTENTION_H
#define EXPANSE_ATTENTION_H

#include <expanse/opencl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The position of element [b,n,h,d] of a tensor in its buffer: offset + b·stride[0] + n·stride[1] + h·stride[2] + d,
 * all in elements. All strides 0: dense [B,N,H,D]. A [B,H,N,D] buffer has strides {H·N·D, D, N·D}. Rows of inputs may
 * overlap (a stride of 0 repeats); those of outputs must not. */
typedef struct xp_attention_layout {
    int64_t offset, stride[3];
} xp_attention_layout;

/* Which gradients a backward pass makes. PARAMETERS: of what the specification learns. */
enum { XP_ATTENTION_DQ = 1, XP_ATTENTION_DK = 2, XP_ATTENTION_DV = 4, XP_ATTENTION_DPARAMETERS = 8 };

typedef struct xp_attention_options {
    size_t size;                  /* of this struct; set by xp_attention_options_default */
    const char *specification;    /* "softmax+bn"; docs/API.md lists the words. "softmax" by default */
    int64_t batch, queries, keys; /* B, N, M */
    int64_t heads, key_heads;     /* H, G; key_heads 0: as many as heads */
    int64_t width, value_width;   /* D, E, at most 256; value_width 0: width */
    bool has_key_lengths;         /* key_lengths I32 [B]: later keys are neither read nor seen */
    bool has_query_lengths;       /* query_lengths I32 [B]: later queries give 0 */
    /* Samples of any length, one after another in one sequence: B is 1, N and M count all rows, and both lengths are
     * starts, I32 [packed_samples + 1], rising from 0: sample s has rows starts[s] … starts[s+1]-1. 0: not packed. */
    int64_t packed_samples;
    int64_t longest_queries, longest_keys; /* when packed: no sample has more rows */
    float dropout;                         /* of the weights, in [0,1); drawn from the tensors' seed and step */
    unsigned gradients;                    /* XP_ATTENTION_DQ | …; 0: forward only, with the smallest workspace */
    xp_attention_layout q, k, v, o;        /* [B,N,H,D], [B,M,G,D], [B,M,G,E], [B,N,H,E] */
    xp_attention_layout d_o, dq, dk, dv;   /* as o, q, k, v */
} xp_attention_options;

/* Zeroes, and "softmax". The sizes B, N, M, H, D must be filled. */
XP_API void xp_attention_options_init(xp_attention_options *options, size_t size); /* size: sizeof *options */
static inline void xp_attention_options_default(xp_attention_options *options) {
    xp_attention_options_init(options, sizeof *options);
}

/* What a specification learns: "beta" [G], "bias" [1,H,N,M], "query_convolution" and "key_convolution" [H·D,K] or
 * [H·D,K,K]. The caller owns their values. */
enum { XP_ATTENTION_PARAMETERS = 4 };
typedef struct xp_attention_parameter {
    char name[64];
    int rank;
    int64_t shape[XP_MAX_RANK];
} xp_attention_parameter;

/* The buffers of a call; those that a call does not use may be NULL. Nothing is copied or owned; the buffers are
 * retained until the next call with others. Only the elements of the layout are read or written. */
typedef struct xp_attention_tensors {
    cl_mem q, k, v, o;
    cl_mem lse; /* [B,H,N] dense: log-sum-exp of each row's scores; NULL: kept in the workspace */
    cl_mem key_lengths, query_lengths; /* when the options have them */
    cl_mem d_o, dq, dk, dv;
    cl_mem parameters[XP_ATTENTION_PARAMETERS], d_parameters[XP_ATTENTION_PARAMETERS]; /* as the call lists them */
    cl_mem workspace;    /* at least xp_attention_workspace_bytes; NULL: the library's own, made at the first call */
    uint64_t seed, step; /* of dropout: the same pair drops the same weights */
} xp_attention_tensors;

/* An attention with its kernels compiled; created with xp_attention_create, used by one thread at a time. */
typedef struct xp_attention_call xp_attention_call;

/* Plans and compiles for the device, which is borrowed until the close; options are copied. Creation takes as long as a
 * compilation if the kernels are not in the disk cache.
 *
 * XP_INVALID_ARGUMENT  an invalid specification, size or layout; the message names it.
 * XP_UNSUPPORTED       not supported by this version or by the device; the message says what. XP_BUILD_ERROR. */
XP_API xp_status xp_attention_create(xp_attention_call **out, xp_device *device, const xp_attention_options *options);
XP_API void xp_attention_close(xp_attention_call **attention); /* NULL is fine; finish the calls first */

/* Lists the parameters of the specification, dense F32, in the order of the buffers; returns how many there are. */
XP_API int xp_attention_parameters(const xp_attention_call *attention,
                                   xp_attention_parameter parameters[XP_ATTENTION_PARAMETERS]);

/* Bytes of the workspace that forward and backward share; 0: none is needed. */
XP_API size_t xp_attention_workspace_bytes(const xp_attention_call *attention);

/* Runs one forward pass of attention: o, and lse where given.
 *
 * The call enqueues its commands after wait[0..wait_count) (NULL for none) and returns; *done (may be NULL) is the
 * event of its last command, released by the caller. The queue belongs to the context of the device, and may be out of
 * order. The workspace holds what the backward pass needs: between the two, nothing else may write it, q, k, v, o or
 * lse, and no other call may use it.
 *
 * XP_INVALID_ARGUMENT  a buffer is missing, too small or belongs to another context; the message names the tensor. */
XP_API xp_status xp_attention_forward(xp_attention_call *attention, cl_command_queue queue,
                                      const xp_attention_tensors *tensors, cl_uint wait_count, const cl_event *wait,
                                      cl_event *done);

/* Runs the backward pass of the last forward pass with this workspace: dq, dk and dv, as far as the options ask for
 * them, are overwritten with the gradients of Σ o·d_o. The tensors are those of the forward pass, and d_o. May be
 * repeated, with another d_o as well. Events and errors as above.
 *
 * XP_INVALID_ARGUMENT  as above; also when the options ask for no gradient, or nothing ran forward. */
XP_API xp_status xp_attention_backward(xp_attention_call *attention, cl_command_queue queue,
                                       const xp_attention_tensors *tensors, cl_uint wait_count, const cl_event *wait,
                                       cl_event *done);

#ifdef __cplusplus
}
#endif
#endif
