#include "train/synthetic.h"

#include "core/clock.h"
#include "core/random.h"
#include "device/fill.h"

#include <stdlib.h>

/* Normal values, which the device draws; or symbols. */
static xp_status draw_values(xp_device *device, int symbols, size_t elements, float *values) {
    enum { SEED = 1, PURPOSE_VALUES = 0 };
    cl_mem buffer;
    xp_random random;
    xp_random_start(&random, SEED, PURPOSE_VALUES);
    for (size_t i = 0; i < elements && symbols > 0; i++) values[i] = (float)xp_random_below(&random, (uint32_t)symbols);
    if (symbols > 0) return XP_OK;
    XP_TRY(xp_device_buffer(device, elements * sizeof *values, &buffer));
    xp_status status = xp_device_fill_normal(device, buffer, 0, 0, elements, SEED, PURPOSE_VALUES);
    if (status == XP_OK) status = xp_device_read(device, buffer, 0, elements * sizeof *values, values);
    clReleaseMemObject(buffer);
    return status;
}

/* A batch without its content. */
static xp_dataset header_of(const xp_model_config *model, const xp_model_shape *shape) {
    xp_dataset header = {
        .kind = xp_sample_kind_find(xp_model_samples(model)),
        .name = "the synthetic batch",
        .count = shape->batch,
        .features = shape->features,
        .length = shape->length,
        .channels = shape->channels,
        .height = shape->height,
        .breadth = shape->breadth,
        .classes = shape->outputs,
    };
    header.sample_elements = xp_sample_elements(&header);
    return header;
}

/* Of those values, and of labels that are drawn, too. */
static xp_status make_batch(const xp_model_shape *shape, xp_dataset header, xp_device *device, xp_dataset **out) {
    enum { SEED = 1, PURPOSE_LABELS = 1 };
    const size_t elements = (size_t)(header.count * header.sample_elements);
    float *values = malloc(elements * sizeof *values);
    header.lengths = malloc((size_t)header.count * sizeof *header.lengths);
    header.labels = malloc((size_t)header.count * sizeof *header.labels);
    xp_status status = values && header.lengths && header.labels
                           ? draw_values(device, header.kind->symbols, elements, values)
                           : xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %d", shape->batch);
    xp_random random;
    xp_random_start(&random, SEED, PURPOSE_LABELS);
    for (int64_t b = 0; b < header.count && status == XP_OK; b++) {
        if (header.kind->complete) header.kind->complete(&header, values + b * header.sample_elements);
        header.lengths[b] = header.length;
        header.labels[b] = (int32_t)xp_random_below(&random, (uint32_t)shape->outputs);
    }
    if (status == XP_OK) status = xp_dataset_of_values(out, &header, values);
    if (status == XP_OK) return XP_OK;
    free(values);
    free(header.lengths);
    free(header.labels);
    return status;
}

enum { ROUND = 64 }; /* steps of one pass */

xp_status xp_synthetic_plan(xp_synthetic *out, const xp_config *config, const xp_model_shape *shape,
                            const xp_device_options *options, bool training) {
    *out = (xp_synthetic){.config = *config, .loss_scale = xp_loss_scale_begin()};
    xp_model_shape part = *shape;
    part.batch = shape->batch / out->config.training.accumulate;
    const xp_dataset header = header_of(&config->model, shape);
    const xp_task *task = NULL;
    XP_TRY(xp_task_for(&header, &task));
    return xp_session_open(&out->session, task, &out->config, &part, options, NULL, training);
}

xp_status xp_synthetic_open(xp_synthetic *out, const xp_config *config, const xp_model_shape *shape,
                            const xp_device_options *options) {
    XP_TRY(xp_synthetic_plan(out, config, shape, options, true));
    const int batch = shape->batch;
    out->order = calloc((size_t)batch * ROUND, sizeof *out->order);
    if (!out->order) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %d", batch);
    for (int64_t i = 0; i < (int64_t)batch * ROUND; i++) out->order[i] = (int32_t)(i % batch);
    XP_TRY(make_batch(shape, header_of(&config->model, shape), out->session.device, &out->batch));
    XP_TRY(xp_session_realise(&out->session, NULL));
    return xp_store_initialise(out->session.store, 1);
}

void xp_synthetic_close(xp_synthetic *synthetic) {
    xp_session_close(&synthetic->session);
    xp_dataset_close(&synthetic->batch);
    free(synthetic->order);
    *synthetic = (xp_synthetic){.step = 0};
}

/* Takes the outcome of a step that was waited for, if any. */
static void count_step(xp_synthetic *t, const xp_tally *tally) {
    if (tally->samples == 0) return;
    if (t->session.skipped) xp_loss_scale_count(&t->loss_scale, tally->skipped > 0);
    t->counted++;
}

/* Has the batch prepared for the next ROUND steps, as an epoch would, when those before are used up. */
static xp_status prepare_round(xp_synthetic *t) {
    xp_tally last;
    if (t->ahead > 0) return XP_OK;
    XP_TRY(xp_session_finish(&t->session, &last));
    count_step(t, &last);
    xp_session_begin(&t->session, t->batch, t->order, t->batch->count * ROUND, 0);
    t->ahead = ROUND;
    return XP_OK;
}

xp_status xp_synthetic_run(xp_synthetic *t, int count, double *seconds, double *loss) {
    const double begin = xp_clock();
    xp_tally tally;
    for (int i = 0; i < count; i++) {
        XP_TRY(prepare_round(t));
        xp_session_step_numbers numbers = {.step = t->step + 1, .rate = t->config.training.learning_rate, .scale = 1};
        if (t->session.skipped) {
            XP_TRY(xp_loss_scale_choose(&t->loss_scale, numbers.step, t->counted));
            numbers.scale = t->loss_scale.scale;
        }
        numbers.update = numbers.step - t->loss_scale.skipped;
        XP_TRY(xp_session_train(&t->session, &numbers, &tally));
        count_step(t, &tally);
        t->step++;
        t->ahead--;
    }
    XP_TRY(xp_session_finish(&t->session, &tally));
    count_step(t, &tally);
    *seconds = xp_clock() - begin;
    *loss = tally.sums[0] / (double)t->batch->count;
    return XP_OK;
}
