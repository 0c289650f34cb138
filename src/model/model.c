/* From a configuration to a graph. */
#include "model/model.h"

#include "core/writer.h"
#include "model/layers.h"
#include "ops/ops.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const xp_model_row *row_of(const xp_model_config *config) {
#define ROW(KIND, name) &xp_model_##name,
    static const xp_model_row *const rows[] = {XP_MODEL_LIST(ROW)};
#undef ROW
    return rows[config->kind];
}

const char *xp_model_samples(const xp_model_config *config) {
    return row_of(config)->samples;
}

void xp_model_describe_rows(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out) {
    row_of(config)->describe_rows(config, shape, out);
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

static void check_width(const xp_model_config *config, xp_writer *faults) {
    if (config->width % config->heads != 0)
        xp_write(faults, "model.heads: %d heads do not divide the width %d; choose a divisor, such as %d\n",
                 config->heads, config->width, config->width % 8 == 0 && config->heads != 8 ? 8 : 1);
    else if (config->width / config->heads > 256)
        xp_write(faults, "model.heads: a head would be %d wide; the maximum is 256, so use more heads\n",
                 config->width / config->heads);
    if (config->key_heads > 0 && config->heads % config->key_heads != 0)
        xp_write(faults, "model.key_heads: %d key heads do not divide %d heads; choose a divisor, or 0 for as many\n",
                 config->key_heads, config->heads);
}

static void check_data(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults) {
    if (shape->batch < 1) xp_write(faults, "training: a batch of %d samples is empty\n", shape->batch);
    if (shape->outputs < 1) xp_write(faults, "data: there is nothing to be learned of a sample\n");
    row_of(config)->check_data(config, shape, faults);
}

/* The rows of the longest sequence, or of the longer side of the grid; as many as can be where the data are not
 * known. */
static int longest(const xp_model_config *config, const xp_model_shape *shape) {
    xp_model_rows rows;
    if (!shape) return INT_MAX;
    xp_model_describe_rows(config, shape, &rows);
    if (!row_of(config)->grid) return rows.count;
    return rows.grid_height > rows.grid_width ? rows.grid_height : rows.grid_width;
}

static xp_status check_attention(const xp_model_config *config, const xp_model_shape *shape) {
    const xp_specification_use use = {.heads = config->heads,
                                      .key_heads = config->key_heads,
                                      .longest = longest(config, shape),
                                      .grid = row_of(config)->grid};
    xp_specification specification;
    XP_TRY(xp_specification_parse(config->attention, &specification));
    return xp_specification_check(&specification, &use);
}

xp_status xp_model_check(const xp_model_config *config, const xp_model_shape *shape) {
    if (config->width < 1 || config->heads < 1 || config->layers < 1 || config->feed_forward < 1)
        return xp_fail(XP_INVALID_ARGUMENT, "model: width, heads, layers and feed_forward must be at least 1");
    xp_writer faults = {0};
    check_width(config, &faults);
    const xp_status attention = check_attention(config, shape);
    if (attention != XP_OK) xp_write(&faults, "model.attention: %s\n", xp_last_error());
    row_of(config)->check(config, &faults);
    if (shape) check_data(config, shape, &faults);
    xp_status status = attention == XP_OUT_OF_MEMORY ? attention : xp_writer_status(&faults, "model");
    if (status == XP_OK && faults.length > 0)
        status = xp_fail(XP_INVALID_ARGUMENT, "%.*s", (int)faults.length - 1, faults.text);
    xp_writer_release(&faults);
    return status;
}

bool xp_model_takes_any_length(const xp_model_config *config) {
    xp_specification spec;
    const xp_model_row *row = row_of(config);
    if (!row->takes_any_length || !row->takes_any_length(config) ||
        xp_specification_parse(config->attention, &spec) != XP_OK)
        return false;
    for (int i = 0; i < spec.name_count; i++)
        if (*spec.names[i].file) return false;
    return !spec.bias && !*spec.block_file && !*spec.mask_file;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static xp_status add_inputs(xp_model *model, const xp_model_config *config, const xp_model_shape *shape) {
    xp_graph_scope(model->graph, "input");
    XP_TRY(row_of(config)->add_input(model, config, shape));
    model->weights = xp_graph_input(model->graph, "weights", XP_F32, 1, (int64_t[]){shape->batch});
    return model->weights ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status build(xp_model *model, const xp_model_config *config, const xp_model_shape *shape, xp_store *store) {
    xp_builder builder = {.graph = model->graph, .store = store, .config = config};
    XP_TRY(xp_specification_parse(config->attention, &builder.attention));
    XP_TRY(add_inputs(model, config, shape));
    builder.lengths = model->lengths;
    builder.weights = model->weights;
    model->output = row_of(config)->build(&builder, shape, model->input);
    return model->output ? XP_OK : XP_INVALID_ARGUMENT;
}

xp_status xp_model_build(xp_model *out, const xp_model_config *config, const xp_model_shape *shape, xp_store *store,
                         bool training) {
    *out = (xp_model){0};
    XP_TRY(xp_model_check(config, shape));
    XP_TRY(xp_graph_create(&out->graph, store, training));
    xp_status status = build(out, config, shape, store);
    if (status != XP_OK) xp_model_release(out);
    return status;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* The parts of a specification that need more than the rows before and their number: what they are. */
static const char *needs_more(const xp_specification *spec) {
    const bool placed = spec->window || spec->stride > 1 || spec->alibi;
    return spec->scale_count && placed ? "a window, strides and alibi need the position of a query among pooled keys"
           : spec->block || *spec->block_file || *spec->mask_file ? "a mask has a row for each position"
           : spec->bias                                           ? "a bias has a row for each position"
           : *spec->score                                         ? "a score may depend on the position"
                                                                  : NULL;
}

/* A query is the last of the rows so far; before it lie all pooled keys that it sees. */
static xp_status prepare_attention(xp_builder *builder) {
    xp_specification *spec = &builder->attention;
    XP_TRY(xp_specification_parse(builder->config->attention, spec));
    const char *reason = needs_more(spec);
    spec->causal_last = !reason && spec->scale_count == 0;
    if (!reason) return XP_OK;
    char text[160];
    snprintf(text, sizeof text, "%s, so text cannot be generated byte by byte", reason);
    return xp_specification_reject(spec, XP_UNSUPPORTED, text);
}

static xp_status build_step(xp_model_step *step, const xp_model_config *config, const xp_model_shape *shape,
                            xp_store *store) {
    xp_builder builder = {.graph = step->graph, .store = store, .config = config, .capacity = shape->length};
    XP_TRY(prepare_attention(&builder));
    xp_graph_scope(step->graph, "input");
    step->token = xp_graph_input(step->graph, "token", XP_I32, 2, (int64_t[]){1, 1});
    step->position = xp_graph_input(step->graph, "position", XP_I32, 2, (int64_t[]){1, 1});
    builder.starts = step->start = xp_graph_input(step->graph, "start", XP_I32, 1, (int64_t[]){1});
    builder.lengths = step->length = xp_graph_input(step->graph, "length", XP_I32, 1, (int64_t[]){1});
    if (!step->token || !step->position || !step->start || !step->length) return XP_OUT_OF_MEMORY;
    step->output = xp_tensor_keep(row_of(config)->build_step(&builder, shape, step));
    return step->output ? XP_OK : XP_INVALID_ARGUMENT;
}

xp_status xp_model_build_step(xp_model_step *out, const xp_model_config *config, const xp_model_shape *shape,
                              xp_store *store) {
    *out = (xp_model_step){.graph = NULL};
    XP_TRY(xp_model_check(config, shape));
    if (!row_of(config)->build_step)
        return xp_fail(XP_UNSUPPORTED, "expanse generate needs a model of text; this is a model of %s",
                       row_of(config)->samples);
    XP_TRY(xp_graph_create(&out->graph, store, false));
    const xp_status status = build_step(out, config, shape, store);
    if (status != XP_OK) xp_model_step_release(out);
    return status;
}

void xp_model_step_release(xp_model_step *step) {
    xp_graph_close(&step->graph);
    *step = (xp_model_step){.graph = NULL};
}

/* ---- training and releasing -------------------------------------------------------------------------------------- */

xp_status xp_model_recompute(const xp_model *model, const xp_model_config *config) {
    for (int layer = 0; layer < config->layers; layer++) {
        char scope[XP_NAME_BYTES];
        snprintf(scope, sizeof scope, "encoder.%d", layer);
        XP_TRY(xp_graph_recompute(model->graph, scope));
    }
    return XP_OK;
}

void xp_model_release(xp_model *model) {
    xp_graph_close(&model->graph);
    *model = (xp_model){0};
}
