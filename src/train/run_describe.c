/* What is said of a run before it begins: device, data, memory, and for a dry run the plan. */
#include "train/run.h"

#include "core/text.h"
#include "core/writer.h"
#include "graph/operation.h"
#include "model/attention.h"
#include "train/precision.h"

#include <string.h>

/* "test         90 samples of length 8 to 21, 2 features, 3 classes" */
static void describe_set(xp_writer *out, const xp_task *task, const char *name, const xp_dataset *set) {
    if (!set) return;
    xp_write(out, "%-13s%lld samples of ", name, (long long)set->count);
    set->kind->describe(set, out);
    task->describe(set, out);
    xp_write(out, "\n");
}

/* "weights      of a 0.75, b 1.5 in the loss" */
static void describe_weights(const xp_run *run, xp_writer *out) {
    enum { SHOWN = 12 };
    const int classes = run->checkpoint.shape.outputs;
    if (!run->class_weights) return;
    for (int c = 0; c < classes && c < SHOWN; c++)
        xp_write(out, "%s %s %.4g", c ? "," : "classes      weighted in the loss:", run->checkpoint.output_names[c],
                 run->class_weights[c]);
    xp_write(out, "%s\n", classes > SHOWN ? " …" : "");
}

/* Prints device, data, parameters, batch and memory before a run begins. */
static void describe_run(const xp_run *run, xp_writer *out) {
    const xp_session *session = &run->session;
    const xp_config *config = &run->checkpoint.config;
    const int parts = config->training.accumulate, epochs = config->training.epochs;
    char total[32], stored[32], arena[32], uploaded[32];
    xp_text_bytes((double)xp_session_input_bytes(session), uploaded);
    xp_text_bytes((double)xp_session_bytes(session), total);
    xp_text_bytes((double)xp_store_bytes(session->store), stored);
    xp_text_bytes((double)xp_session_arena_bytes(session), arena);
    xp_write(out, "device       %s (%s), kernels %s\n", session->device->name, session->device->selector,
             run->checkpoint.family);
    const xp_task *task = run->checkpoint.task;
    describe_set(out, task, "training", run->train);
    describe_set(out, task, "validation", run->validation);
    describe_set(out, task, "test", run->test);
    describe_weights(run, out);
    xp_write(out, "parameters   %lld\n", (long long)session->store->trainable_count);
    xp_write(out, "batch        %d sample%s a step", config->training.batch, config->training.batch == 1 ? "" : "s");
    if (parts > 1) xp_write(out, ", in %d parts of %d", parts, session->shape.batch);
    xp_write(out, "; %lld step%s an epoch, %d epoch%s\n", (long long)run->steps_per_epoch,
             run->steps_per_epoch == 1 ? "" : "s", epochs, epochs == 1 ? "" : "s");
    if (config->training.precision != XP_PRECISION_FP32)
        xp_write(out, "precision    %s: %s\n", xp_precision_name(config->training.precision),
                 xp_precision_storage(config->training.precision) != XP_F32
                     ? "activations, their gradients and working copies of weights"
                     : "products of fp32 tensors, on matrix units");
    xp_write(out, "memory       %s: weights and optimiser %s, activations %s, inputs %s\n", total, stored, arena,
             uploaded);
}

xp_status xp_run_announce(const xp_run *run) {
    xp_writer text = {0};
    describe_run(run, &text);
    xp_status status = xp_writer_status(&text, "the description of the run");
    if (status == XP_OK) {
        text.text[text.length - 1] = '\0'; /* a message ends without a newline */
        xp_run_say(run, text.text);
    }
    xp_writer_release(&text);
    return status;
}

/* What the other choice would take. */
static xp_status describe_recomputation(const xp_run *run, const xp_plan_summary *training, xp_writer *out) {
    xp_config config = run->checkpoint.config;
    const xp_device_options device = {
        .size = sizeof(xp_device_options), .select = config.device.select, .family = config.device.family};
    const bool on = config.training.recompute;
    char arena[32];
    config.training.recompute = !on;
    xp_session session;
    xp_plan_summary other;
    XP_TRY(xp_session_open(&session, run->checkpoint.task, &config, &run->checkpoint.shape, &device,
                           run->checkpoint.tunings, true));
    xp_session_summarise(&session, &other);
    xp_session_close(&session);
    const xp_plan_summary *again = on ? training : &other;
    xp_text_bytes((double)other.arena_bytes, arena);
    xp_write(out, "recompute    %s; %s it: arena %s, %d launches and %.2f GFLOP a training step %s\n",
             on ? "on" : "off", on ? "without" : "with", arena, again->recomputed_launches,
             again->recomputed_flops * 1e-9, on ? "less" : "more");
    return XP_OK;
}

/* The operation that reads a tensor first. */
static const char *reader_of(const xp_graph *graph, const xp_tensor *tensor) {
    for (int n = 0; n < graph->node_count; n++)
        for (int i = 0; i < graph->nodes[n]->input_count && graph->nodes[n]->operation->emitters; i++)
            if (graph->nodes[n]->inputs[i] && xp_tensor_root(graph->nodes[n]->inputs[i]) == tensor)
                return graph->nodes[n]->operation->name;
    return "the caller";
}

/* What is cast, in launches of their own, between operations in 16 bits and those in fp32. */
static void describe_casts(const xp_graph *graph, xp_writer *out) {
    enum { MOST = 16 };
    char texts[MOST][160];
    int counts[MOST], found = 0;
    for (int n = 0; n < graph->node_count; n++) {
        const xp_node *node = graph->nodes[n];
        if (strcmp(node->operation->name, "cast") != 0 || node->inputs[0]->role == XP_ROLE_PARAMETER) continue;
        const xp_tensor *from = node->inputs[0], *to = node->outputs[0];
        const xp_node *maker = xp_tensor_root(from)->producer;
        char text[160];
        if (to->type == XP_F32)
            snprintf(text, sizeof text, "%s to fp32 for %s", from->name, reader_of(graph, to));
        else
            snprintf(text, sizeof text, "%s of %s to %s", from->name, maker ? maker->operation->name : "the model",
                     xp_type_name(to->type));
        int at = 0;
        while (at < found && strcmp(texts[at], text) != 0) at++;
        if (at == MOST) continue;
        if (at == found) {
            snprintf(texts[found], sizeof *texts, "%s", text);
            counts[found++] = 0;
        }
        counts[at]++;
    }
    for (int i = 0; i < found; i++) xp_write(out, "%-13s%d × %s\n", i ? "" : "casts", counts[i], texts[i]);
}

static xp_status describe_plan(const xp_run *run, xp_writer *out) {
    const xp_session *session = &run->session;
    const int parts = session->config->training.accumulate;
    xp_plan_summary training, evaluation;
    xp_specification specification;
    char kernel[200] = "", arena[32], unshared[32], evaluating[32], moved[32], fused[32];
    xp_session_summarise(session, &training);
    xp_plan_summarise(session->evaluation_plan, &evaluation);
    xp_text_bytes((double)training.arena_bytes, arena);
    xp_text_bytes((double)training.unshared_bytes, unshared);
    xp_text_bytes((double)evaluation.arena_bytes, evaluating);
    xp_text_bytes(training.bytes, moved);
    xp_text_bytes(training.fused_bytes, fused);
    describe_run(run, out);
    describe_casts(session->training.model.graph, out);
    xp_write(out, "arena        %s: activations %s without sharing\n", arena, unshared);
    xp_write(out, "evaluation   %s, %s\n", evaluating,
             evaluation.arena_bytes <= training.arena_bytes ? "inside the arena" : "outside the arena");
    XP_TRY(describe_recomputation(run, &training, out));
    xp_write(out, "accumulate   %d part%s of %d samples a step\n", parts, parts == 1 ? "" : "s", session->shape.batch);
    if (xp_specification_parse(session->config->model.attention, &specification) == XP_OK)
        xp_attention_describe(&specification, (float)session->config->model.attention_dropout, kernel, sizeof kernel);
    xp_write(out, "attention    %s\n", kernel);
    xp_write(out, "launches     %d a training step (%d kernels), %d an evaluation step\n", training.launches,
             training.kernels, evaluation.launches);
    xp_write(out, "fusion       %d launches and %s of traffic saved a training step\n", training.fused, fused);
    xp_write(out, "arithmetic   %.2f GFLOP a training step, at least %s moved\n", training.flops * 1e-9, moved);
    return xp_writer_status(out, "the description of the run");
}

xp_status xp_run_print_plan(const xp_run *run) {
    const xp_session *session = &run->session;
    xp_writer text = {0};
    xp_status status = describe_plan(run, &text);
    if (status == XP_OK) fputs(text.text, run->options->report);
    xp_writer_release(&text);
    if (status != XP_OK || !run->options->launches) return status;
    fputs("\n", run->options->report);
    xp_plan_print_launches(session->training_plan, run->options->report);
    if (session->update_plan) xp_plan_print_launches(session->update_plan, run->options->report);
    return XP_OK;
}
