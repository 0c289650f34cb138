/* Models of your own: parameters in a store, a graph of operations on shaped tensors, and a plan that runs it.
 *
 * The order of a program: open a device (device.h); xp_store_create; xp_graph_create; declare parameters, build with
 * the builders of ops.h; xp_graph_differentiate; an optimiser (train.h); xp_plan_create; xp_store_allocate;
 * xp_plan_realise; xp_store_initialise or xp_weights_load. A step is then: write the inputs, run, read what was kept.
 *
 * Shapes are arrays of int64_t, outermost axis first. Graph, store and plan belong to one thread at a time. Close in
 * the reverse order: plans, graphs, store, device. */
#ifndef EXPANSE_GRAPH_H
#define EXPANSE_GRAPH_H

#include <expanse/device.h>
#include <expanse/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct xp_store xp_store;
typedef struct xp_graph xp_graph;
typedef struct xp_tensor xp_tensor; /* belongs to its graph and ends with it */
typedef struct xp_plan xp_plan;

/* Element types of tensors. The host writes and reads a tensor as it is stored. */
typedef enum xp_type { XP_F32, XP_I32, XP_BF16, XP_F16 } xp_type;
enum { XP_MAX_RANK = 5 };
XP_API size_t xp_type_bytes(xp_type type);     /* of one element */
XP_API const char *xp_type_name(xp_type type); /* "fp32", "int32", "bf16", "fp16" */

/* ---- the store: parameters and what training keeps beside them --------------------------------------------------- */

/* DECAYED: trained, with weight decay. UNDECAYED: trained without. STATE: not trained (running statistics). */
typedef enum xp_parameter_kind { XP_PARAMETER_DECAYED, XP_PARAMETER_UNDECAYED, XP_PARAMETER_STATE } xp_parameter_kind;

/* How values start. CONSTANT: `value`. UNIFORM: in (-value, value). NORMAL: standard deviation `value`, cut at two
 * deviations. SINUSOID: positions [rows,width] of sines and cosines. */
typedef enum xp_initial { XP_INITIAL_CONSTANT, XP_INITIAL_UNIFORM, XP_INITIAL_NORMAL, XP_INITIAL_SINUSOID } xp_initial;

/* The buffers of every parameter; STATE has values only. GRADIENTS: after xp_graph_differentiate. MOMENTs: with an
 * optimiser. SUMS: gradients of several runs, with xp_train_accumulate. */
enum { XP_STORE_VALUES, XP_STORE_GRADIENTS, XP_STORE_MOMENT_1, XP_STORE_MOMENT_2, XP_STORE_SUMS, XP_STORE_BUFFERS };

XP_API xp_status xp_store_create(xp_store **out);
XP_API void xp_store_close(xp_store **store); /* NULL is fine */

/* Declares a parameter; again under the same name and shape is fine. The name (at most 63 bytes) is the one in files.
 * XP_INVALID_ARGUMENT: another shape than before, or the layout of the store is fixed already (by an optimiser or by
 * allocation). */
XP_API xp_status xp_store_add(xp_store *store, const char *name, xp_parameter_kind kind, xp_initial initial,
                              float value, int rank, const int64_t *shape);
XP_API int xp_store_find(const xp_store *store, const char *name); /* its index; -1: no such parameter */

/* What was declared, by index from 0 in the order of declaration. Where there is no such parameter: NULL, rank 0. */
XP_API int xp_store_count(const xp_store *store);
XP_API const char *xp_store_name(const xp_store *store, int index);          /* valid until the next xp_store_add */
XP_API int xp_store_shape(const xp_store *store, int index, int64_t *shape); /* as xp_tensor_shape */
XP_API xp_type xp_store_type(const xp_store *store, int index);
XP_API xp_parameter_kind xp_store_kind(const xp_store *store, int index);

/* Allocates the buffers on the device, all zero; nothing can be declared afterwards. Call it after the graphs of the
 * store were differentiated and have their optimisers: for evaluation alone, there are only values. */
XP_API xp_status xp_store_allocate(xp_store *store, xp_device *device);
/* Starting values from the seed, the same on every device; gradients and moments 0. */
XP_API xp_status xp_store_initialise(xp_store *store, uint64_t seed);
/* One whole parameter out or in: dense, as many floats as its shape has; `buffer` is XP_STORE_VALUES …. Blocks. */
XP_API xp_status xp_store_read(xp_store *store, int buffer, int index, float *data);
XP_API xp_status xp_store_write(xp_store *store, int buffer, int index, const float *data);

/* ---- the graph --------------------------------------------------------------------------------------------------- */

/* store: borrowed for the graph's life; NULL for a graph without parameters. training: dropout and batch statistics are
 * on, and parameters have gradients. Training and evaluation are two graphs over one store. */
XP_API xp_status xp_graph_create(xp_graph **out, xp_store *store, bool training);
XP_API void xp_graph_close(xp_graph **graph); /* NULL is fine */

/* Label of what is added from now on, for messages and profiles: "encoder.1.attention". At most 63 bytes are kept. */
XP_API void xp_graph_scope(xp_graph *graph, const char *label);

/* All that make a tensor return NULL when something does not fit, with the reason in xp_last_error(). A NULL for a
 * required tensor gives NULL and leaves the reason alone, so that calls can be nested and the end be tested once. */

/* Written by the host before a run; keeps its content from run to run. */
XP_API xp_tensor *xp_graph_input(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape);
/* `content` is copied: dense, elements of the type. */
XP_API xp_tensor *xp_graph_constant(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape,
                                    const void *content);
XP_API xp_tensor *xp_graph_parameter(xp_graph *graph, const char *name); /* of the store; one tensor a name */
/* The same elements under another shape; of dense tensors. */
XP_API xp_tensor *xp_graph_reshape(xp_graph *graph, xp_tensor *tensor, int rank, const int64_t *shape);
/* Cuts along `axis` (at most 8 long): part[i] is slice i, without that axis. [B,N,3,H,D] along 2 gives three [B,N,H,D].
 * Nothing is copied. `part` has room for one tensor per slice. Either all parts get a gradient or none. */
XP_API xp_status xp_graph_split(xp_graph *graph, xp_tensor *tensor, int axis, xp_tensor **part);

/* The same with `parts` (at most 8) slices of sizes[i] along `axis`, which they keep: [B,N,H+2G,D] along 2 gives
 * [B,N,H,D] and two [B,N,G,D]. The sizes add up to the axis. */
XP_API xp_status xp_graph_slice(xp_graph *graph, xp_tensor *tensor, int axis, int parts, const int64_t *sizes,
                                xp_tensor **part);

/* a + b, of one shape. */
XP_API xp_tensor *xp_add(xp_graph *graph, xp_tensor *a, xp_tensor *b);

/* Each returns its tensor, and NULL for NULL. */
XP_API xp_tensor *xp_tensor_keep(xp_tensor *tensor);          /* can be read after a run (xp_plan_read) */
XP_API xp_tensor *xp_tensor_want_gradient(xp_tensor *tensor); /* of an input: before anything is built on it */
XP_API xp_tensor *xp_tensor_external(xp_tensor *tensor);      /* lives in the caller's buffer (opencl.h) */

/* Writes the sizes (room for XP_MAX_RANK; may be NULL) and returns the rank. */
XP_API int xp_tensor_shape(const xp_tensor *tensor, int64_t *shape);
XP_API int64_t xp_tensor_elements(const xp_tensor *tensor);

/* Adds the backward pass: from outputs[i], whose gradient is seeds[i] (F32, the same shape; a constant 1 for a loss),
 * to every parameter that is trained (its gradient is then in XP_STORE_GRADIENTS after a run) and to the inputs
 * leaves[i], marked by xp_tensor_want_gradient: leaf_gradients[i] is the gradient, NULL if the outputs do not depend on
 * it; keep it to read it. Call it once per graph, after the forward pass is complete. XP_UNSUPPORTED: an operation on
 * the path has no gradient; the message names it. */
XP_API xp_status xp_graph_differentiate(xp_graph *graph, int output_count, xp_tensor *const *outputs,
                                        xp_tensor *const *seeds, int leaf_count, xp_tensor *const *leaves,
                                        xp_tensor **leaf_gradients);

/* Trades time for memory: activations of the nodes labelled `scope`, or `scope` followed by a dot and more, are
 * discarded after the forward pass and recomputed where the backward pass reads them, bit for bit. What is read outside
 * the scope is kept, as are kept tensors, the outputs of attention, and what is computed together with state that is
 * updated. Call it after xp_graph_differentiate, once per scope; one scope per layer leaves the memory of one layer and
 * of the tensors between layers. XP_INVALID_ARGUMENT: before differentiation, no such scope, or a scope that is
 * recomputed already. */
XP_API xp_status xp_graph_recompute(xp_graph *graph, const char *scope);

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

typedef struct xp_plan_summary {
    int launches, kernels, nodes; /* kernels: distinct ones */
    size_t arena_bytes, input_bytes;
    size_t unshared_bytes;   /* of the activations if none shared its place */
    double flops, bytes;     /* arithmetic and least traffic of a run */
    int recomputed_launches; /* of all: those that run again in the backward pass … */
    double recomputed_flops; /* … and their arithmetic */
    int fused;               /* operations that were fused into others: launches saved … */
    double fused_bytes;      /* … and their traffic */
} xp_plan_summary;

/* Plans the graph for the device; nothing is allocated or compiled yet. Device and graph are borrowed for the plan's
 * life; the graph must not grow any more. */
XP_API xp_status xp_plan_create(xp_plan **out, xp_device *device, xp_graph *graph);
XP_API void xp_plan_close(xp_plan **plan); /* waits for the device's own queue; NULL is fine */
XP_API void xp_plan_summarise(const xp_plan *plan, xp_plan_summary *out);

/* Allocates, compiles (or takes from the cache on disk) and sets all arguments. lender (may be NULL): a realised plan
 * whose arena this one uses while the lender is not running; it must outlive this plan. XP_BUILD_ERROR,
 * XP_OUT_OF_MEMORY. */
XP_API xp_status xp_plan_realise(xp_plan *plan, xp_plan *lender);
/* Runs once on zero inputs, so that what drivers do at first use is done. Set parameters afterwards. */
XP_API xp_status xp_plan_warm(xp_plan *plan);

XP_API xp_status xp_plan_run(xp_plan *plan); /* enqueues on the device's own queue; does not block */
/* An input in / a kept tensor out: dense and whole. Both block, and so wait for the runs before them. */
XP_API xp_status xp_plan_write(xp_plan *plan, const xp_tensor *tensor, const void *data);
XP_API xp_status xp_plan_read(xp_plan *plan, const xp_tensor *tensor, void *data);

#ifdef __cplusplus
}
#endif
#endif
