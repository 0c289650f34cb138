/* The row of a model in the table, and the pieces that models are made of: parameters by name, normalisation, attention
 * from a specification, the transformer layer. Knows a graph and a configuration; nothing of data or training. */
#ifndef XP_MODEL_LAYERS_H
#define XP_MODEL_LAYERS_H

#include "core/writer.h"
#include "model/model.h"

/* What every builder below is handed. */
typedef struct xp_builder {
    xp_graph *graph;
    xp_store *store;
    const xp_model_config *config;
    xp_specification attention;
    bool small_normal_init; /* weights N(0, 0.02²) and zero biases (vision), else U(±1/√fan-in) (time series) */
    xp_tensor *lengths;     /* I32 [B]: keys that attention may see; NULL: all */
    xp_tensor *starts;      /* I32 [B]: rows are added to `capacity` remembered ones, from here on; NULL: none are */
    int64_t capacity;
    xp_tensor *weights;                       /* F32 [B]: samples of weight 0 enter no batch statistic */
    int grid_height, grid_width, class_token; /* the patch grid; 0 for sequences */
} xp_builder;

/* A parameter "<scope>.<name>", declared in the store. */
xp_tensor *xp_layers_parameter(xp_builder *builder, const char *scope, const char *name, xp_parameter_kind kind,
                               xp_initial initial, float value, int rank, const int64_t *shape);

/* x [...,K] -> [...,outputs], with <scope>.weight [outputs,K] and <scope>.bias [outputs]. */
xp_tensor *xp_layers_linear(xp_builder *builder, const char *scope, xp_tensor *x, int64_t outputs, int activation);

/* Normalises x + dropout(branch) (branch may be NULL) with <scope>.weight and .bias; *sum (may be NULL) is what was
 * normalised. */
xp_tensor *xp_layers_norm(xp_builder *builder, const char *scope, xp_tensor *x, xp_tensor *branch, xp_tensor **sum);

/* config->layers transformer layers named encoder.0 …, and the final normalisation. x [B,N,width]. */
xp_tensor *xp_layers_encoder(xp_builder *builder, xp_tensor *x);

/* The row of a model. Adding a model takes its file and a line in list.h. */
typedef struct xp_model_row {
    const char *samples; /* the kind of data that it takes, by its name in src/data */
    bool grid;           /* attention sees the patches of an image, else a sequence */
    void (*check)(const xp_model_config *config, xp_writer *faults);
    void (*check_data)(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults);
    bool (*takes_any_length)(const xp_model_config *config); /* apart from its attention; NULL: never */
    void (*describe_rows)(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out);
    /* Adds the input of the graph, and the lengths where there are any. */
    xp_status (*add_input)(xp_model *model, const xp_model_config *config, const xp_model_shape *shape);
    /* From the input to the output. */
    xp_tensor *(*build)(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input);
    /* From the inputs of a step to its output, with what is remembered of steps before; NULL: the model has no
     * steps. */
    xp_tensor *(*build_step)(xp_builder *builder, const xp_model_shape *shape, const xp_model_step *step);
} xp_model_row;

#define XP_MODEL_DECLARE(KIND, name) extern const xp_model_row xp_model_##name;
XP_MODEL_LIST(XP_MODEL_DECLARE)
#undef XP_MODEL_DECLARE

#endif
