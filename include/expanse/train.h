/* Training a model of your own: optimisers, what changes from step to step, weights in files. */
#ifndef EXPANSE_TRAIN_H
#define EXPANSE_TRAIN_H

#include <expanse/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum xp_optimiser_kind { XP_SGD, XP_ADAM, XP_ADAMW, XP_RADAM } xp_optimiser_kind;

/* As PyTorch's of the same name; ADAMW decouples the decay, the others add decay·p to the gradient. */
typedef struct xp_optimiser_options {
    size_t size; /* of this struct; set by xp_optimiser_options_default */
    xp_optimiser_kind kind;
    float beta1, beta2, epsilon; /* of the adaptive ones */
    float momentum;              /* of SGD */
    float weight_decay;          /* of the parameters of kind DECAYED */
    float gradient_clip;         /* the largest global L2 norm of the gradients; 0: no limit */
} xp_optimiser_options;

/* ADAMW, 0.9, 0.999, 1e-8, no momentum, decay 0.01, no clipping. */
XP_API void xp_optimiser_options_init(xp_optimiser_options *options, size_t size); /* size: sizeof *options */
static inline void xp_optimiser_options_default(xp_optimiser_options *options) {
    xp_optimiser_options_init(options, sizeof *options);
}

/* Adds the update of all trained parameters to a training graph, after xp_graph_differentiate, and lays out the store
 * for the device: nothing can be declared afterwards. options: NULL for the defaults. */
XP_API xp_status xp_train_optimiser(xp_graph *graph, xp_device *device, const xp_optimiser_options *options);

/* Gradient accumulation: a step runs its batch in parts, each a run of one plan, before one update. Call it after
 * xp_graph_differentiate, instead of xp_train_optimiser; it adds the gradients of each run to XP_STORE_SUMS and lays
 * out the store, which must not be allocated yet. Then call xp_train_optimiser for another graph of the same store,
 * with its own plan, and run that plan after the last part. Seed the loss of each part with its share of the batch, so
 * that the sum is the gradient of the mean. */
XP_API xp_status xp_train_accumulate(xp_graph *graph, xp_device *device);

/* Call it before each run of a plan that accumulates, instead of xp_train_step: `part`, from 0, of the `parts` of a
 * step. Part 0 resets the sums. The parts have independent dropout. Blocks. */
XP_API xp_status xp_train_part(xp_plan *plan, uint64_t seed, int64_t step, int part, int parts);

/* Before each run of a training plan: the step (counted from 1), its learning rate, and the seed of all dropout. The
 * same seed and step drop the same elements. Blocks. A plan without optimiser or dropout does not need it. */
XP_API xp_status xp_train_step(xp_plan *plan, uint64_t seed, int64_t step, double learning_rate);

/* Values of all parameters by name, F32, as a safetensors file, which Python's package of that name opens. Saving
 * writes a temporary name and renames it. Loading checks every name and shape before it changes the store.
 * XP_IO_ERROR; XP_BAD_DATA: damaged, or of another model: the message has the path and the first difference. */
XP_API xp_status xp_weights_save(xp_store *store, const char *path);
XP_API xp_status xp_weights_load(xp_store *store, const char *path);

#ifdef __cplusplus
}
#endif
#endif
