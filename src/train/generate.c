/* Text from a trained language model. */
#include "train/generate.h"

#include "graph/plan.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "train/trust.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_SAMPLE = 0x53414d50 };

/* The model on its device, and the bytes that it remembers. */
typedef struct writer {
    xp_device *device;
    xp_store *store;
    xp_model_step step;
    xp_plan *plan;
    unsigned char *context; /* [capacity] */
    int count, capacity;
    float *logits; /* [outputs], of the byte after the last one */
    int outputs;
} writer;

/* ---- the model --------------------------------------------------------------------------------------------------- */

typedef struct preparation {
    const xp_trainer_callbacks *callbacks;
    xp_progress progress;
    int halves; /* a kernel counts when it is built, and when it has run */
} preparation;

static xp_status show(void *user) {
    preparation *p = user;
    if (p->halves < 2 * p->progress.steps) p->progress.step = ++p->halves / 2;
    if (p->callbacks->progress) p->callbacks->progress(p->callbacks->user, &p->progress);
    const bool stop = p->callbacks->stop && *p->callbacks->stop;
    return stop ? xp_fail(XP_INTERRUPTED, "stopped while preparing kernels") : XP_OK;
}

static xp_status prepare(writer *w, const xp_checkpoint *checkpoint, const xp_trainer_callbacks *callbacks) {
    xp_plan_summary summary;
    xp_plan_summarise(w->plan, &summary);
    preparation p = {
        .callbacks = callbacks,
        .progress = {
            .task = checkpoint->task, .phase = "preparing kernels", .steps = summary.kernels, .seconds_left = NAN}};
    xp_task_measure(checkpoint->task, NULL, 0, 1, p.progress.metrics);
    xp_plan_watch(w->plan, show, &p);
    xp_status status = xp_plan_realise(w->plan, NULL);
    if (status == XP_OK) status = xp_plan_warm(w->plan);
    xp_plan_watch(w->plan, NULL, NULL);
    if (*xp_plan_note(w->plan) && callbacks->message) callbacks->message(callbacks->user, xp_plan_note(w->plan));
    return status;
}

static xp_status open_writer(writer *w, const char *folder, const xp_checkpoint *checkpoint,
                             const xp_generate_options *options, const xp_trainer_callbacks *callbacks) {
    const xp_config *config = &checkpoint->config;
    xp_model_shape shape = checkpoint->shape;
    const xp_device_options device = {.size = sizeof(xp_device_options),
                                      .select = options->device ? options->device : config->device.select,
                                      .family = options->family ? options->family : config->device.family};
    shape.batch = 1;
    w->capacity = shape.length;
    w->outputs = shape.outputs;
    XP_TRY(xp_store_create(&w->store));
    XP_TRY(xp_model_build_step(&w->step, &config->model, &shape, w->store)); /* before a device is looked for */
    w->context = malloc((size_t)w->capacity);
    w->logits = malloc((size_t)w->outputs * sizeof *w->logits);
    if (!w->context || !w->logits) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a context of %d bytes", w->capacity);
    XP_TRY(xp_device_open(&w->device, &device));
    xp_tuning_prefer(w->device, checkpoint->tunings);
    XP_TRY(xp_plan_create(&w->plan, w->device, w->step.graph));
    XP_TRY(xp_store_allocate(w->store, w->device));
    XP_TRY(prepare(w, checkpoint, callbacks));
    return xp_checkpoint_load(folder, w->store, false);
}

static void close_writer(writer *w) {
    xp_plan_close(&w->plan);
    xp_model_step_release(&w->step);
    xp_store_close(&w->store);
    xp_device_close(&w->device);
    free(w->context);
    free(w->logits);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* Adds a byte to those that are remembered. */
static xp_status remember(writer *w, unsigned char byte) {
    const int32_t token = byte, before = w->count, with = before + 1;
    XP_TRY(xp_plan_write(w->plan, w->step.token, &token));
    XP_TRY(xp_plan_write(w->plan, w->step.position, &before));
    XP_TRY(xp_plan_write(w->plan, w->step.start, &before));
    XP_TRY(xp_plan_write(w->plan, w->step.length, &with));
    XP_TRY(xp_plan_run(w->plan));
    w->context[w->count++] = byte;
    return XP_OK;
}

/* The same; a full context is read anew from its middle, because positions are counted from its beginning. */
static xp_status feed(writer *w, unsigned char byte) {
    if (w->count == w->capacity) {
        const int kept = w->capacity / 2, first = w->capacity - kept;
        w->count = 0;
        for (int i = 0; i < kept; i++) XP_TRY(remember(w, w->context[first + i]));
    }
    return remember(w, byte);
}

static xp_status read_logits(writer *w) {
    XP_TRY(xp_plan_read(w->plan, w->step.output, w->logits));
    for (int i = 0; i < w->outputs; i++)
        if (!isfinite(w->logits[i]))
            return xp_fail(XP_BAD_DATA, "the answer of the model is not a number: use the weights of an earlier epoch");
    return XP_OK;
}

static xp_status write_text(writer *w, const xp_generate_options *options, const xp_trainer_callbacks *callbacks) {
    /* Of a long prompt, what would be forgotten again is not read. */
    const size_t capacity = (size_t)w->capacity, length = options->prompt_length;
    xp_sampler sampler;
    xp_random random;
    xp_random_start(&random, options->seed, PURPOSE_SAMPLE);
    XP_TRY(xp_sampler_open(&sampler, w->outputs));
    xp_status status = XP_OK;
    for (size_t i = length > capacity ? length - capacity : 0; i < length && status == XP_OK; i++)
        status = remember(w, (unsigned char)options->prompt[i]);
    for (int64_t n = 0; n < options->bytes && status == XP_OK; n++) {
        XP_TRY_OR(status, read_logits(w), done);
        const unsigned char byte = (unsigned char)xp_sampler_choose(&sampler, w->logits, &options->sampling, &random);
        XP_TRY_OR(status, options->take(options->user, byte), done);
        if (callbacks->stop && *callbacks->stop)
            status = xp_fail(XP_INTERRUPTED, "stopped after %lld bytes", (long long)n + 1);
        else if (n + 1 < options->bytes)
            status = feed(w, byte);
    }
done:
    xp_sampler_close(&sampler);
    return status;
}

static xp_status check(const xp_generate_options *options) {
    const xp_sampling *how = &options->sampling;
    if (options->prompt_length == 0)
        return xp_fail(XP_INVALID_ARGUMENT, "the prompt is empty, but the model needs a byte to go on from");
    if (!(how->temperature >= 0 && isfinite(how->temperature)) || !(how->top_p > 0 && how->top_p <= 1) ||
        how->top_k < 0)
        return xp_fail(XP_INVALID_ARGUMENT, "the temperature must be 0 or more, top-k 0 or more, and top-p in (0, 1]");
    return XP_OK;
}

xp_status xp_generate(const char *model, const xp_generate_options *options, const xp_trainer_callbacks *callbacks) {
    char folder[1200];
    xp_checkpoint checkpoint;
    writer w = {.count = 0};
    XP_TRY(check(options));
    XP_TRY(xp_run_folder_checkpoint(model, true, folder, sizeof folder));
    XP_TRY(xp_checkpoint_read(folder, &checkpoint));
    xp_status status = xp_checkpoint_check(folder, &checkpoint, false);
    if (status == XP_OK && !options->trust_code) status = xp_trust_check(folder, checkpoint.config.model.attention);
    if (status == XP_OK) status = open_writer(&w, folder, &checkpoint, options, callbacks);
    if (status == XP_OK) status = write_text(&w, options, callbacks);
    close_writer(&w);
    xp_checkpoint_release(&checkpoint);
    return status;
}
