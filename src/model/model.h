/* Models: from a configuration to graphs. Owns the architecture of the model families; knows no files, run folders or
 * optimisers.
 *
 * encoder: time series [B,N,F] with lengths -> [B,outputs]. vision: images [B,Ch,Y,X] -> [B,outputs]. language: tokens
 * [B,N+1] -> [B·N,outputs], for the token after each of the first N. tokens: sequences, S of a sample, each behind its
 * length, [B·S,N+1] -> [B,outputs]. What the outputs mean, and their loss, is for
 * src/task. */
#ifndef XP_MODEL_MODEL_H
#define XP_MODEL_MODEL_H

#include "graph/graph.h"
#include "graph/store.h"
#include "model/list.h"
#include "model/specification.h"

#define XP_MODEL_KIND(KIND, name) XP_MODEL_##KIND,
typedef enum xp_model_kind { XP_MODEL_LIST(XP_MODEL_KIND) XP_MODEL_KINDS } xp_model_kind;
#undef XP_MODEL_KIND
typedef enum xp_norm_kind { XP_NORM_LAYER, XP_NORM_BATCH } xp_norm_kind;
typedef enum xp_positions { XP_POSITIONS_LEARNED, XP_POSITIONS_SINUSOIDAL } xp_positions;
typedef enum xp_head { XP_HEAD_FLATTEN, XP_HEAD_MEAN, XP_HEAD_CLASS, XP_HEAD_TIED, XP_HEAD_UNTIED } xp_head;

/* What the user chooses (a configuration's section "model"). */
typedef struct xp_model_config {
    int kind; /* xp_model_kind */
    int width, heads, layers, feed_forward;
    int key_heads; /* of keys and values, each for a group of heads; 0: as many as heads */
    double dropout, attention_dropout;
    double drop_path; /* of the branches of the last layer; the first one keeps them */
    int pre_norm;     /* else post-norm */
    int norm;         /* xp_norm_kind */
    double norm_epsilon;
    int final_norm;                         /* a normalisation after the last layer */
    int activation;                         /* XP_ACTIVATION_RELU, XP_ACTIVATION_GELU of ops/ops.h */
    int positions;                          /* xp_positions */
    int scale_input;                        /* multiply the embedding by sqrt(width) */
    int head;                               /* xp_head */
    int head_width;                         /* tokens: of the classifier's hidden layer; 0: there is none */
    int head_activation;                    /* xp_activation before the classifier, or of its hidden layer */
    int mask_padding;                       /* attention ignores the zero padding of short series */
    int patch;                              /* vision: side of a patch */
    int patch_steps;                        /* encoder: steps of a row */
    int storage;                            /* xp_type of the activations and gradients in the encoder */
    char attention[XP_SPECIFICATION_BYTES]; /* the specification's text */
} xp_model_config;

/* What the data decides. */
typedef struct xp_model_shape {
    int batch;
    int outputs;          /* numbers that the head gives for a sample; language: for a row, a token each */
    int length, features; /* encoder: longest series, dimensions; language: rows; tokens: rows, different tokens */
    int channels, height, breadth; /* vision; tokens: channels are sequences of a sample */
} xp_model_shape;

/* A built model: its graph's inputs and outputs, borrowed from the graph. */
typedef struct xp_model {
    xp_graph *graph;    /* owned */
    xp_tensor *input;   /* F32 [B,N,F], [B,Ch,Y,X], [B,N+1] or [B·S,N+1] */
    xp_tensor *lengths; /* I32 [B]; NULL where the input has them, or there are none */
    xp_tensor *weights; /* F32 [B]: 1, or 0 for a padded sample */
    xp_tensor *output;  /* [B,outputs] or [B·N,outputs] */
} xp_model;

/* Checks that the options go together and, where the data are known (shape not NULL), with them: all faults in one
 * message, one a line, each with its option. XP_INVALID_ARGUMENT. */
xp_status xp_model_check(const xp_model_config *config, const xp_model_shape *shape);

/* Which samples the model takes, by the name of their kind in src/data: "series", "images", "text", "tokens". */
const char *xp_model_samples(const xp_model_config *config);

/* The rows that attention sees of a sample: one after another, or a grid. */
typedef struct xp_model_rows {
    int count;
    bool masked;                              /* those after a sample's length are not seen */
    int grid_height, grid_width, class_token; /* 0 where there is no grid; the token comes first */
} xp_model_rows;
void xp_model_describe_rows(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out);

/* Whether a trained model takes series of any length: what its parameters are depends on none. */
bool xp_model_takes_any_length(const xp_model_config *config);

/* Builds the forward graph, of training or of evaluation. Declares the parameters in the store at first use. */
xp_status xp_model_build(xp_model *out, const xp_model_config *config, const xp_model_shape *shape, xp_store *store,
                         bool training);
/* A trained model, one token after another: a run of its graph adds a token to those that it remembers, at a cost that
 * grows with their number. Inputs and output are borrowed from the graph. */
typedef struct xp_model_step {
    xp_graph *graph;     /* owned */
    xp_tensor *token;    /* I32 [1,1] */
    xp_tensor *position; /* I32 [1,1]: how many are remembered; 0 begins again. Less than shape.length */
    xp_tensor *start;    /* I32 [1]: the same number */
    xp_tensor *length;   /* I32 [1]: that number, plus 1 */
    xp_tensor *output;   /* [1,outputs], kept */
} xp_model_step;

/* Builds the graph of a step, whose answers are those of xp_model_build at that row. XP_UNSUPPORTED: the model, or its
 * attention, cannot go on from what it remembers; the message says why. */
xp_status xp_model_build_step(xp_model_step *out, const xp_model_config *config, const xp_model_shape *shape,
                              xp_store *store);
void xp_model_step_release(xp_model_step *step); /* an all-zero one is fine */

/* Has the activations of each layer recomputed in the backward pass, once the graph is differentiated. */
xp_status xp_model_recompute(const xp_model *model, const xp_model_config *config);
void xp_model_release(xp_model *model);

#endif
