/* The pass over the data that compares the heads of each layer, and the files with its results. */
#include "train/analyze.h"

#include "core/clock.h"
#include "core/files.h"
#include "core/json.h"
#include "core/writer.h"
#include "graph/operation.h"
#include "model/specification.h"
#include "ops/attributes.h"
#include "train/curves.h"
#include "train/evaluate.h"
#include "train/heads.h"
#include "train/session.h"
#include "train/trust.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that the maps of one batch may take; a smaller batch than in training is chosen to keep below. */
static const double MAP_BYTES = 256e6;
enum { LONGEST = 16384 }; /* rows of a map */

/* One layer under way. */
typedef struct layer_watch {
    xp_tensor *o;               /* [B,N,H,E] */
    xp_tensor *map;             /* [B,H,N,M]; NULL: the operation has none */
    xp_tensor *mean, *variance; /* [B,G,D], of attention-BN; NULL: there is none */
    float *outputs, *maps, *means, *variances;
    double *attended; /* [N], of each row as a key: the sum over samples of its mean weight */
} layer_watch;

typedef struct analysis_run {
    const xp_checkpoint *checkpoint;
    xp_analysis *result;
    int wanted;           /* layer, or -1 */
    layer_watch *watches; /* [result->layer_count] */
    xp_head_keys keys;    /* without the scale, which is the head's */
    int tokens;           /* rows of a whole sequence, N */
    bool masked;          /* attention ignores rows after the end of a series */
    float *expanded, *shrunk;
} analysis_run;

/* --- finding the layers ------------------------------------------------------------------------------------------- */

/* The number in "encoder.3.attention"; -1: another label. */
static int layer_of(const xp_node *node) {
    int layer = -1, end = 0;
    bool is = sscanf(node->label, "encoder.%d.attention%n", &layer, &end) == 1 && end > 0 && node->label[end] == '\0';
    return is ? layer : -1;
}

/* The statistics of attention-BN, if the node computes one of each sample. */
static void watch_statistics(layer_watch *watch, const xp_node *node) {
    if (strcmp(node->operation->name, "attention_normalise") != 0) return;
    if (XP_ATTRIBUTES(xp_attention_normalise_attributes, node)->prefix) return;
    watch->mean = xp_tensor_keep(node->outputs[2]);
    watch->variance = xp_tensor_keep(node->outputs[3]);
}

/* Adds the maps of the layers that are asked for to the graph. */
static xp_status watch_layers(void *user, xp_graph *graph) {
    analysis_run *run = user;
    int nodes = graph->node_count; /* the maps add more */
    for (int i = 0; i < nodes; i++) {
        const xp_node *node = graph->nodes[i];
        const char *name = node->operation->name;
        bool quadratic = strcmp(name, "attention") == 0;
        int layer = layer_of(node), slot = run->wanted < 0 ? layer : 0;
        if (layer >= 0 && (run->wanted < 0 || layer == run->wanted)) watch_statistics(&run->watches[slot], node);
        if ((!quadratic && strcmp(name, "linear_attention") != 0) || layer < 0) continue;
        if (run->wanted >= 0 && layer != run->wanted) continue;
        layer_watch *watch = &run->watches[slot];
        watch->o = xp_tensor_keep(xp_cast(graph, node->outputs[0], XP_F32));
        if (!watch->o) return XP_OUT_OF_MEMORY;
        if (!quadratic) continue;
        watch->map = xp_attention_map(graph, node->outputs[0]);
        if (!watch->map) return XP_INVALID_ARGUMENT;
        watch->map->keep = true;
    }
    for (int i = 0; i < run->result->layer_count; i++) {
        if (!run->watches[i].o)
            return xp_fail(XP_UNSUPPORTED, "layer %d has no attention that can be analysed",
                           run->result->layers[i].layer);
    }
    return XP_OK;
}

/* --- one sample --------------------------------------------------------------------------------------------------- */

static xp_status allocate(float **out, int64_t count) {
    *out = malloc((size_t)count * sizeof **out);
    return *out ? XP_OK
                : xp_fail(XP_OUT_OF_MEMORY, "no memory for %lld numbers of the heads; lower --batch", (long long)count);
}

/* Adds where the weights of one sample are: expanded [heads][rows][rows]. */
static void add_weights(const analysis_run *run, layer_watch *watch, xp_layer_analysis *layer, int heads, int rows) {
    const double share = 1.0 / ((double)heads * rows);
    for (int64_t query = 0; query < (int64_t)heads * rows; query++) {
        const float *weights = run->expanded + query * rows;
        double entropy = 0;
        for (int key = 0; key < rows; key++) {
            if (!(weights[key] > 0)) continue;
            entropy -= (double)weights[key] * log((double)weights[key]);
            watch->attended[key] += share * (double)weights[key];
        }
        layer->effective_keys += share * exp(entropy);
    }
}

/* The rows with the largest sums, the largest first. */
static void find_most_attended(const layer_watch *watch, int rows, int most[XP_MOST_ATTENDED]) {
    for (int place = 0; place < XP_MOST_ATTENDED; place++) {
        most[place] = -1;
        for (int row = 0; watch->map && row < rows; row++) {
            bool taken = false;
            for (int i = 0; i < place; i++) taken = taken || most[i] == row;
            if (!taken && (most[place] < 0 || watch->attended[row] > watch->attended[most[place]])) most[place] = row;
        }
    }
}

/* Adds the statistics of one sample of the batch to a layer's sums; NaN without attention-BN. */
static void add_statistics(const layer_watch *watch, xp_layer_analysis *layer, int sample) {
    double squares = 0, deviations = 0;
    if (!watch->mean) {
        layer->mean = layer->deviation = NAN;
        return;
    }
    const int64_t columns = watch->mean->shape[1] * watch->mean->shape[2];
    for (int64_t i = sample * columns; i < (sample + 1) * columns; i++) {
        squares += (double)watch->means[i] * (double)watch->means[i];
        deviations += sqrt((double)watch->variances[i]);
    }
    layer->mean += squares / (double)columns;
    layer->deviation += deviations / (double)columns;
}

/* Adds one sample of the batch to a layer's sums. */
static void add_sample(analysis_run *run, int slot, int sample, int rows, bool first) {
    layer_watch *watch = &run->watches[slot];
    xp_layer_analysis *layer = &run->result->layers[slot];
    const int64_t *shape = watch->o->shape;
    int heads = (int)shape[2], width = (int)shape[3], tokens = (int)shape[1];
    add_statistics(watch, layer, sample);
    layer->output_distance += xp_head_distance(watch->outputs + (int64_t)sample * tokens * heads * width, heads, width,
                                               rows, heads * width, width);
    if (!watch->map) {
        layer->map_distance = layer->effective_keys = NAN;
        return;
    }
    int keys = (int)watch->map->shape[3];
    for (int h = 0; h < heads; h++) {
        xp_head_keys own = run->keys;
        own.scale = run->result->scales[h];
        xp_head_expand(&own, watch->maps + ((int64_t)sample * heads + h) * tokens * keys, keys, rows, rows,
                       run->expanded + (int64_t)h * rows * rows);
    }
    layer->map_distance += xp_head_distance(run->expanded, heads, rows * rows, rows, rows, rows);
    add_weights(run, watch, layer, heads, rows);
    if (!first) return;
    for (int h = 0; h < heads; h++) {
        xp_head_shrink(run->expanded + (int64_t)h * rows * rows, rows, rows, XP_MAP_CELLS, run->shrunk, &layer->rows,
                       &layer->columns);
        size_t cells = (size_t)(layer->rows * layer->columns);
        memcpy(layer->cells + (size_t)h * cells, run->shrunk, cells * sizeof(float));
    }
}

/* The sample whose maps are shown, in words and as a picture. */
static xp_status sketch_sample(xp_analysis *result, const xp_dataset *data) {
    const int label = data->labels ? data->labels[0] : -1;
    xp_writer sketch = {0};
    snprintf(result->sample, sizeof result->sample, "sample %lld%s%s", (long long)xp_dataset_number(data, 0),
             label < 0 ? "" : ", ", label < 0 ? "" : data->class_names[label]);
    if (!data->kind->sketch) return XP_OK;
    xp_status status = data->kind->sketch(data, 0, XP_MAP_SIDE, &sketch);
    if (status == XP_OK) status = xp_writer_status(&sketch, "a sample");
    if (status == XP_OK) result->sketch = strdup(sketch.text);
    xp_writer_release(&sketch);
    if (status != XP_OK || result->sketch) return status;
    return xp_fail(XP_OUT_OF_MEMORY, "no memory for the picture of a sample");
}

static xp_status pass(analysis_run *run, xp_session *session, const xp_dataset *data,
                      const xp_trainer_callbacks *callbacks) {
    xp_analysis *result = run->result;
    int64_t batch = session->shape.batch, steps = (data->count + batch - 1) / batch;
    int32_t *order = malloc((size_t)data->count * sizeof *order);
    if (!order) return xp_fail(XP_OUT_OF_MEMORY, "no memory to analyse %lld samples", (long long)data->count);
    for (int64_t i = 0; i < data->count; i++) order[i] = (int32_t)i;
    xp_progress progress = {.task = session->task, .phase = "analysis", .steps = steps, .seconds_left = NAN};
    double begin = xp_clock(), loss = 0;
    int64_t counted = 0;
    xp_task_measure(session->task, NULL, 0, 1, progress.metrics);
    xp_status status = XP_OK;
    xp_session_begin(session, data, order, data->count, 0);
    for (int64_t step = 0; step < steps && status == XP_OK; step++) {
        xp_tally own;
        XP_TRY_OR(status, xp_evaluate_advise(session, xp_session_step(session, &own)), out);
        for (int slot = 0; slot < result->layer_count; slot++) {
            layer_watch *watch = &run->watches[slot];
            XP_TRY_OR(status, xp_plan_read(session->evaluation_plan, watch->o, watch->outputs), out);
            if (watch->mean) {
                XP_TRY_OR(status, xp_plan_read(session->evaluation_plan, watch->mean, watch->means), out);
                XP_TRY_OR(status, xp_plan_read(session->evaluation_plan, watch->variance, watch->variances), out);
            }
            if (watch->map) XP_TRY_OR(status, xp_plan_read(session->evaluation_plan, watch->map, watch->maps), out);
            for (int i = 0; i < session->run.filled; i++) {
                int rows = run->masked ? data->lengths[step * batch + i] : run->tokens;
                if (rows > 0) add_sample(run, slot, i, rows, step == 0 && i == 0);
            }
        }
        loss += own.sums[XP_TALLY_LOSS];
        counted += own.counted;
        result->samples += own.samples;
        progress.step = step + 1;
        progress.metrics[0] = loss / (double)counted;
        progress.samples_per_second = (double)result->samples / (xp_clock() - begin + 1e-9);
        if (callbacks && callbacks->progress) callbacks->progress(callbacks->user, &progress);
    }
    for (int slot = 0; slot < result->layer_count; slot++) {
        result->layers[slot].map_distance /= (double)result->samples;
        result->layers[slot].output_distance /= (double)result->samples;
        result->layers[slot].effective_keys /= (double)result->samples;
        result->layers[slot].mean = sqrt(result->layers[slot].mean / (double)result->samples);
        result->layers[slot].deviation /= (double)result->samples;
        find_most_attended(&run->watches[slot], run->tokens, result->layers[slot].most_attended);
    }
out:
    xp_session_end(session);
    free(order);
    return status;
}

/* --- the whole analysis ------------------------------------------------------------------------------------------- */

/* What follows for the heads from the specification and the shapes. */
static xp_status describe(analysis_run *run, const xp_model_shape *shape) {
    const xp_model_config *model = &run->checkpoint->config.model;
    xp_analysis *result = run->result;
    xp_specification specification;
    XP_TRY(xp_specification_parse(model->attention, &specification));
    xp_model_rows rows;
    xp_model_describe_rows(model, shape, &rows);
    run->tokens = rows.count;
    run->masked = rows.masked;
    run->keys =
        (xp_head_keys){.grid_height = rows.grid_height, .grid_width = rows.grid_width, .class_token = rows.class_token};
    if (run->tokens > LONGEST)
        return xp_fail(XP_UNSUPPORTED, "maps of %d rows are too large to be stored; the maximum is %d", run->tokens,
                       LONGEST);
    snprintf(result->attention, sizeof result->attention, "%s", model->attention);
    result->heads = model->heads;
    result->layer_count = run->wanted < 0 ? model->layers : 1;
    result->scales = calloc((size_t)model->heads, sizeof *result->scales);
    result->layers = calloc((size_t)result->layer_count, sizeof *result->layers);
    run->watches = calloc((size_t)result->layer_count, sizeof *run->watches);
    if (!result->scales || !result->layers || !run->watches)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory to analyse %d layers", result->layer_count);
    for (int h = 0; h < model->heads; h++)
        result->scales[h] = specification.scale_count ? specification.scales[h % specification.scale_count] : 1;
    for (int i = 0; i < result->layer_count; i++) result->layers[i].layer = run->wanted < 0 ? i : run->wanted;
    return XP_OK;
}

static xp_status make_room(analysis_run *run) {
    int64_t square = (int64_t)run->tokens * run->tokens, heads = run->result->heads;
    XP_TRY(allocate(&run->expanded, heads * square));
    XP_TRY(allocate(&run->shrunk, XP_MAP_CELLS * XP_MAP_CELLS));
    for (int i = 0; i < run->result->layer_count; i++) {
        layer_watch *watch = &run->watches[i];
        XP_TRY(allocate(&watch->outputs, xp_tensor_elements(watch->o)));
        if (watch->mean) XP_TRY(allocate(&watch->means, xp_tensor_elements(watch->mean)));
        if (watch->mean) XP_TRY(allocate(&watch->variances, xp_tensor_elements(watch->variance)));
        if (!watch->map) continue;
        XP_TRY(allocate(&watch->maps, xp_tensor_elements(watch->map)));
        watch->attended = calloc((size_t)run->tokens, sizeof *watch->attended);
        if (!watch->attended) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the weights of %d rows", run->tokens);
        XP_TRY(allocate(&run->result->layers[i].cells, heads * XP_MAP_CELLS * XP_MAP_CELLS));
    }
    return XP_OK;
}

static xp_status analyze(analysis_run *run, const char *folder, const xp_dataset *data,
                         const xp_evaluate_options *options, const xp_trainer_callbacks *callbacks) {
    const xp_config *config = &run->checkpoint->config;
    xp_model_shape shape = run->checkpoint->shape;
    shape.length = data->length;
    XP_TRY(describe(run, &shape));
    double map = 4.0 * run->tokens * run->tokens * run->result->heads * run->result->layer_count;
    if (options->batch > 0)
        shape.batch = options->batch;
    else if (shape.batch * map > MAP_BYTES)
        shape.batch = (int)fmax(1, MAP_BYTES / map);
    xp_device_options device = {.size = sizeof(xp_device_options),
                                .select = options->device ? options->device : config->device.select,
                                .family = options->family ? options->family : config->device.family};
    xp_session session;
    XP_TRY(xp_session_watch(&session, run->checkpoint->task, config, &shape, &device, run->checkpoint->tunings,
                            watch_layers, run));
    xp_status status = make_room(run);
    if (status == XP_OK) status = xp_session_realise(&session, callbacks);
    if (status == XP_OK) status = xp_checkpoint_load(folder, session.store, false);
    if (status == XP_OK) status = pass(run, &session, data, callbacks);
    if (status == XP_OK) status = sketch_sample(run->result, data);
    xp_session_close(&session);
    return status;
}

xp_status xp_analyze(const char *model, const xp_evaluate_options *options, int layer,
                     const xp_trainer_callbacks *callbacks, xp_analysis *out) {
    char folder[1200];
    xp_checkpoint checkpoint;
    xp_dataset *data = NULL;
    *out = (xp_analysis){0};
    XP_TRY(xp_run_folder_checkpoint(model, true, folder, sizeof folder));
    XP_TRY(xp_checkpoint_read(folder, &checkpoint));
    analysis_run run = {.checkpoint = &checkpoint, .result = out, .wanted = layer};
    xp_status status = options->trust_code ? XP_OK : xp_trust_check(folder, checkpoint.config.model.attention);
    if (status == XP_OK && layer >= checkpoint.config.model.layers)
        status = xp_fail(XP_INVALID_ARGUMENT, "%s: there is no layer %d; the model has the layers 0 to %d", model,
                         layer, checkpoint.config.model.layers - 1);
    if (status == XP_OK) status = xp_checkpoint_check(folder, &checkpoint, false);
    if (status == XP_OK && checkpoint.kind->has.length && checkpoint.shape.channels > 1) /* sequences of a sample */
        status = xp_fail(XP_UNSUPPORTED, "%s: the model takes pairs of texts, whose heads cannot be compared", model);
    if (status == XP_OK) status = xp_evaluate_data(&checkpoint, options, &data);
    if (status == XP_OK) status = analyze(&run, folder, data, options, callbacks);
    for (int i = 0; run.watches && i < out->layer_count; i++) {
        free(run.watches[i].outputs);
        free(run.watches[i].maps);
        free(run.watches[i].attended);
        free(run.watches[i].means);
        free(run.watches[i].variances);
    }
    free(run.watches);
    free(run.expanded);
    free(run.shrunk);
    xp_dataset_close(&data);
    xp_checkpoint_release(&checkpoint);
    if (status != XP_OK) xp_analysis_release(out);
    return status;
}

void xp_analysis_release(xp_analysis *analysis) {
    for (int i = 0; analysis->layers && i < analysis->layer_count; i++) free(analysis->layers[i].cells);
    free(analysis->layers);
    free(analysis->scales);
    free(analysis->sketch);
    *analysis = (xp_analysis){0};
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static xp_status write_json(const xp_analysis *analysis, const char *path, const char *model, const char *data) {
    json_t *layers = json_array(), *scales = json_array();
    for (int h = 0; h < analysis->heads; h++) scales = xp_json_append(scales, json_integer(analysis->scales[h]));
    for (int i = 0; i < analysis->layer_count; i++) {
        const xp_layer_analysis *layer = &analysis->layers[i];
        json_t *most = json_array();
        for (int k = 0; k < XP_MOST_ATTENDED && layer->most_attended[k] >= 0; k++)
            most = xp_json_append(most, json_integer(layer->most_attended[k]));
        layers = xp_json_append(layers, json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "layer", layer->layer,
                                                  "map_distance", number(layer->map_distance), "output_distance",
                                                  number(layer->output_distance), "effective_keys",
                                                  number(layer->effective_keys), "most_attended", most, "bn_mean",
                                                  number(layer->mean), "bn_deviation", number(layer->deviation)));
    }
    json_t *all = json_pack("{s:s, s:s, s:s, s:I, s:i, s:o, s:o}", "model", model, "attention", analysis->attention,
                            "data", data, "samples", (json_int_t)analysis->samples, "heads", analysis->heads, "scales",
                            scales, "layers", layers);
    if (!all) return xp_fail(XP_BAD_DATA, "%s: no memory, or a name in it is not UTF-8", path);
    xp_writer out = {0};
    xp_json_write(&out, all, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    json_decref(all);
    xp_write(&out, "\n");
    xp_status status = xp_writer_save(&out, path);
    xp_writer_release(&out);
    return status;
}

static xp_status write_picture(const xp_analysis *analysis, const char *path, const char *data) {
    enum { TITLE = 96, NAME = 32 };
    size_t layers = (size_t)analysis->layer_count, heads = (size_t)analysis->heads;
    xp_map_row *rows = calloc(layers, sizeof *rows);
    char(*titles)[TITLE] = calloc(layers, sizeof *titles), (*names)[NAME] = calloc(heads, sizeof *names), note[512];
    const char **list = calloc(heads, sizeof *list);
    int shown = 0;
    xp_status status =
        rows && titles && names && list ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for it", path);
    for (size_t h = 0; status == XP_OK && h < heads; h++) {
        int scale = analysis->scales[h];
        snprintf(names[h], NAME, scale > 1 ? "head %d, scale %d" : "head %d", (int)h, scale);
        list[h] = names[h];
    }
    for (size_t i = 0; status == XP_OK && i < layers; i++) {
        const xp_layer_analysis *layer = &analysis->layers[i];
        if (!layer->cells) continue;
        snprintf(titles[shown], TITLE, "layer %d: distance of maps %.4g, of outputs %.4g", layer->layer,
                 layer->map_distance, layer->output_distance);
        rows[shown] = (xp_map_row){titles[shown], layer->cells, (int)heads, layer->rows, layer->columns};
        shown++;
    }
    const char *slash = strrchr(data, '/');
    snprintf(note, sizeof note, "maps of the first sample, distances of %lld samples of %s",
             (long long)analysis->samples, slash ? slash + 1 : data);
    const xp_map_sample sample = {analysis->sample, analysis->sketch};
    if (status == XP_OK && shown > 0)
        status = xp_maps_write(path, analysis->attention, note, &sample, rows, shown, list);
    free(rows);
    free(titles);
    free(names);
    free(list);
    return status;
}

xp_status xp_analysis_write(const xp_analysis *analysis, const char *folder, const char *model, const char *data) {
    char path[1200];
    XP_TRY(xp_folder_make(folder));
    XP_TRY(xp_run_folder_path(folder, "analysis.json", path, sizeof path));
    XP_TRY(write_json(analysis, path, model, data));
    XP_TRY(xp_run_folder_path(folder, "attention.svg", path, sizeof path));
    return write_picture(analysis, path, data);
}
