/* Recomputation: what stays, what runs again and where; and that training steps on the device do not change by a bit.
 */
#include "devices.h"
#include "graph/operation.h"
#include "graph/plan_internal.h"
#include "graph/store.h"
#include "model/model.h"
#include "ops/ops.h"
#include "task/classification.h"

static xp_device *device;

/* ---- which nodes, and where: an operation whose backward pass reads its input, planned and never run ---- */

static xp_status step_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs);
static xp_status step_emit(xp_plan *plan, const xp_node *node, xp_family family);
static const xp_operation step = {.name = "step",
                                  .gradient = step_gradient,
                                  .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, step_emit})},
                          dear_step = {.name = "dear_step",
                                       .gradient = step_gradient,
                                       .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, step_emit}),
                                       .costly = true};
enum { STEP_ELEMENTS = 1024 };

static xp_tensor *add_step(xp_graph *graph, const xp_operation *operation, xp_tensor *a, xp_tensor *b,
                           xp_tensor *also_written) {
    xp_tensor *y = xp_graph_tensor(graph, "y", XP_F32, 1, (int64_t[]){STEP_ELEMENTS});
    xp_tensor *inputs[] = {a, b}, *outputs[] = {y, also_written};
    return xp_graph_node(graph, operation, 2, inputs, 2, outputs, NULL, 0) ? y : NULL;
}

static xp_status step_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                               xp_tensor **d_inputs) {
    d_inputs[0] = add_step(graph, &step, d_outputs[0], node->inputs[0], NULL);
    return XP_OK;
}

static xp_status step_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_launch_request request = {
        .file = "none", .kernel = "step", .dimensions = 1, .global = {64}, .local = {64}, .flops = 1};
    for (int i = 0; i < node->input_count; i++) xp_launch_read(&request, node->inputs[i]);
    for (int i = 0; i < node->output_count; i++) xp_launch_write(&request, node->outputs[i]);
    return xp_plan_launch(plan, node, &request);
}

/* A chain of layers "encoder.0" …, of `steps` steps each, differentiated. y[n] is what step n writes. */
static xp_graph *chain(int layers, int steps, const xp_operation *operation, xp_tensor **y) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 1, (int64_t[]){STEP_ELEMENTS}));
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 1, (int64_t[]){STEP_ELEMENTS}), *last = x, *dx;
    for (int n = 0; n < layers * steps; n++) {
        char scope[64];
        snprintf(scope, sizeof scope, "encoder.%d.step", n / steps);
        xp_graph_scope(graph, scope);
        last = y[n] = add_step(graph, operation, last, NULL, NULL);
    }
    xp_graph_scope(graph, "after");
    assert_int_equal(xp_graph_differentiate(graph, 1, &last, &seed, 1, &x, &dx), XP_OK);
    return graph;
}

static int copies(const xp_graph *graph) {
    int count = 0;
    for (int n = 0; n < graph->node_count; n++)
        if (graph->nodes[n]->backward && graph->nodes[n]->recomputed) count++;
    return count;
}

static void assert_recomputes(xp_graph *graph, const char *scope) {
    MUST(xp_graph_recompute(graph, scope));
}

static void assert_rejected(xp_graph *graph, const char *scope, const char *reason) {
    assert_int_equal(xp_graph_recompute(graph, scope), XP_INVALID_ARGUMENT);
    if (!strstr(xp_last_error(), scope) || !strstr(xp_last_error(), reason))
        fail_msg("\"%s\" names not both %s and \"%s\"", xp_last_error(), scope, reason);
}

static void copies_stand_just_before_the_node_that_reads_them(void **state) {
    xp_tensor *y[4];
    xp_graph *graph = chain(1, 4, &step, y);
    assert_recomputes(graph, "encoder.0");
    /* four steps forward; their gradients read y2, y1, y0 and x, which stays: y0, y1, y2 run again before the first */
    assert_int_equal(copies(graph), 3);
    assert_int_equal(graph->node_count, 4 + 3 + 4);
    assert_string_equal(graph->scope, "after");
    for (int n = 0; n < graph->node_count; n++) assert_int_equal(graph->nodes[n]->id, n);
    for (int n = 4; n < 7; n++) {
        const xp_node *copy = graph->nodes[n];
        assert_true(copy->backward && copy->recomputed);
        assert_string_equal(copy->label, "encoder.0.step");
        assert_ptr_equal(copy->inputs[0], n == 4 ? y[0]->producer->inputs[0] : graph->nodes[n - 1]->outputs[0]);
        assert_ptr_equal(graph->nodes[7 + 6 - n]->inputs[1], copy->outputs[0]);
    }
    xp_plan *plan;
    assert_int_equal(xp_plan_create(&plan, device, graph), XP_OK);
    assert_int_equal(plan->forward_end, 4);
    xp_plan_summary summary;
    xp_plan_summarise(plan, &summary);
    assert_int_equal(summary.launches, 11);
    assert_int_equal(summary.recomputed_launches, 3);
    assert_true(summary.recomputed_flops == 3);
    xp_plan_close(&plan);
    xp_graph_close(&graph);
}

static void only_what_is_read_runs_again(void **state) {
    xp_tensor *y[3];
    xp_graph *graph = chain(3, 1, &step, y); /* every layer's only tensor is read by the next one */
    for (int i = 0; i < 3; i++) assert_recomputes(graph, (const char *[]){"encoder.0", "encoder.1", "encoder.2"}[i]);
    assert_int_equal(copies(graph), 0);
    xp_graph_close(&graph);
}

static void a_scope_ends_at_its_name_or_at_a_dot(void **state) {
    xp_tensor *y[24];
    xp_graph *graph = chain(12, 2, &step, y);
    assert_recomputes(graph, "encoder.1");
    assert_int_equal(copies(graph), 1);
    assert_recomputes(graph, "encoder.10.step");
    assert_int_equal(copies(graph), 2);
    assert_rejected(graph, "encoder.10", "encoder.10.step are recomputed already");
    assert_rejected(graph, "encoder.10.step", "recomputed already");
    assert_rejected(graph, "encoder.12", "no operation");
    assert_rejected(graph, "encoder.2.st", "no operation");
    assert_int_equal(copies(graph), 2);
    xp_graph_close(&graph);
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_graph_scope(graph, "encoder.0");
    assert_non_null(
        add_step(graph, &step, xp_graph_input(graph, "x", XP_F32, 1, (int64_t[]){STEP_ELEMENTS}), NULL, NULL));
    assert_rejected(graph, "encoder.0", "call xp_graph_differentiate first");
    xp_graph_close(&graph);
}

static void a_layer_gives_up_all_but_its_output(void **state) {
    size_t arena[2];
    for (int recomputed = 0; recomputed < 2; recomputed++) {
        xp_tensor *y[32];
        xp_graph *graph = chain(4, 8, &step, y);
        for (int i = 0; recomputed && i < 4; i++)
            assert_recomputes(graph, (const char *[]){"encoder.0", "encoder.1", "encoder.2", "encoder.3"}[i]);
        xp_plan *plan;
        assert_int_equal(xp_plan_create(&plan, device, graph), XP_OK);
        arena[recomputed] = plan->arena_bytes / (STEP_ELEMENTS * sizeof(float));
        xp_plan_close(&plan);
        xp_graph_close(&graph);
    }
    assert_int_equal(arena[0], 2 + 31 + 1);    /* x and the seed; what the backward pass reads; a gradient */
    assert_int_equal(arena[1], 2 + 3 + 7 + 1); /* in the place of 31: three outputs of layers, and one layer's copies */
}

static void kept_and_external_and_costly_tensors_stay(void **state) {
    xp_tensor *y[4];
    xp_graph *graph = chain(1, 4, &step, y);
    xp_tensor_keep(y[1]);
    assert_recomputes(graph, "encoder.0");
    assert_int_equal(copies(graph), 2); /* y0 and, from y1, y2 */
    xp_graph_close(&graph);
    graph = chain(1, 4, &step, y);
    xp_tensor_external(y[2]);
    assert_recomputes(graph, "encoder.0");
    assert_int_equal(copies(graph), 2);
    xp_graph_close(&graph);
    graph = chain(1, 4, &dear_step, y);
    assert_recomputes(graph, "encoder.0");
    assert_int_equal(copies(graph), 0);
    xp_graph_close(&graph);
}

static void what_touches_state_never_runs_twice(void **state) {
    xp_store *store;
    xp_graph *graph;
    assert_int_equal(xp_store_create(&store), XP_OK);
    const int64_t shape[] = {STEP_ELEMENTS};
    assert_int_equal(xp_store_add(store, "state", XP_PARAMETER_STATE, XP_INITIAL_CONSTANT, 0, 1, shape), XP_OK);
    assert_int_equal(xp_graph_create(&graph, store, true), XP_OK);
    xp_tensor *parameter = xp_graph_parameter(graph, "state"), *dx;
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 1, shape));
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 1, shape);
    xp_graph_scope(graph, "layer");
    xp_tensor *free_one = add_step(graph, &step, x, NULL, NULL);
    xp_tensor *reader = add_step(graph, &step, free_one, parameter, NULL);
    xp_tensor *writer = add_step(graph, &step, reader, NULL, parameter);
    xp_tensor *last = add_step(graph, &step, writer, NULL, NULL);
    assert_int_equal(xp_graph_differentiate(graph, 1, &last, &seed, 1, &x, &dx), XP_OK);
    assert_recomputes(graph, "layer");
    assert_int_equal(copies(graph), 1);
    const xp_node *copy = graph->nodes[4];
    while (!copy->recomputed) copy = graph->nodes[copy->id + 1];
    assert_ptr_equal(copy->inputs[0], x);
    xp_graph_close(&graph);
    xp_store_close(&store);
}

static void no_node_runs_again_for_a_part_of_what_it_writes(void **state) {
    xp_graph *graph;
    const int64_t shape[] = {STEP_ELEMENTS};
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 1, shape)), *dx;
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 1, shape);
    xp_tensor *beside = xp_graph_tensor(graph, "beside", XP_F32, 1, shape);
    xp_graph_scope(graph, "layer");
    xp_tensor *y = add_step(graph, &step, add_step(graph, &step, x, NULL, NULL), NULL, beside);
    y = add_step(graph, &step, y, NULL, NULL);
    xp_graph_scope(graph, "after");
    y = add_step(graph, &step, y, beside, NULL);
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 1, &x, &dx), XP_OK);
    assert_recomputes(graph, "layer");
    assert_int_equal(copies(graph), 1); /* the first one: the second one's other output is read outside */
    xp_graph_close(&graph);
}

/* ---- on the device ---- */

/* Reads a tensor of the store whole. */
static void read_store(xp_store *store, int buffer, int index, float *out) {
    MUST(xp_store_read(store, buffer, index, out));
}

/* The gradient of a weight that multiplies a tensor of two parts, each written by a node of its own. */
static void parts_gradient(bool recomputed, float gradient[12]) {
    xp_store *store;
    xp_graph *graph;
    xp_plan *plan;
    assert_int_equal(xp_store_create(&store), XP_OK);
    assert_int_equal(xp_store_add(store, "weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 1, 2, (int64_t[]){3, 4}),
                     XP_OK);
    assert_int_equal(xp_graph_create(&graph, store, true), XP_OK);
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){5, 4});
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 2, (int64_t[]){10, 3});
    xp_graph_scope(graph, "layer");
    xp_tensor *whole = xp_graph_tensor(graph, "whole", XP_F32, 2, (int64_t[]){10, 4});
    const int64_t stride[] = {4, 1};
    assert_non_null(xp_graph_write_into(graph, xp_activate(graph, x, XP_ACTIVATION_GELU), whole, 0, stride));
    assert_non_null(xp_graph_write_into(graph, xp_activate(graph, x, XP_ACTIVATION_RELU), whole, 20, stride));
    xp_tensor *seen = xp_graph_reshape(graph, whole, 2, (int64_t[]){10, 4});
    xp_tensor *y = xp_linear(graph, seen, xp_graph_parameter(graph, "weight"), NULL, XP_ACTIVATION_NONE);
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 0, NULL, NULL), XP_OK);
    if (recomputed) {
        assert_recomputes(graph, "layer");
        assert_int_equal(copies(graph), 4); /* two activations, two copies into the parts */
    }
    assert_int_equal(xp_plan_create(&plan, device, graph), XP_OK);
    assert_int_equal(xp_store_allocate(store, device), XP_OK);
    assert_int_equal(xp_plan_realise(plan, NULL), XP_OK);
    assert_int_equal(xp_store_initialise(store, 1), XP_OK);
    float values[30];
    for (int i = 0; i < 30; i++) values[i] = (float)(i % 7) - 3.1f;
    assert_int_equal(xp_plan_write(plan, x, values), XP_OK);
    assert_int_equal(xp_plan_write(plan, seed, values), XP_OK);
    assert_int_equal(xp_plan_run(plan), XP_OK);
    read_store(store, XP_STORE_GRADIENTS, 0, gradient);
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_store_close(&store);
}

static void every_writer_of_a_tensor_in_parts_runs_again(void **state) {
    float plain[12], recomputed[12];
    parts_gradient(false, plain);
    parts_gradient(true, recomputed);
    assert_memory_equal(plain, recomputed, sizeof plain);
    float sum = 0;
    for (int i = 0; i < 12; i++) sum += fabsf(plain[i]);
    assert_true(sum > 1);
}

enum { BATCH = 4, LENGTH = 11, FEATURES = 3, CLASSES = 3, STEPS = 3 };

/* What some steps leave behind: the losses, then all parameters, gradients and state. */
typedef struct outcome {
    float *numbers;
    size_t count;
    xp_plan_summary summary;
} outcome;

static void append(outcome *out, const float *numbers, size_t count) {
    out->numbers = realloc(out->numbers, (out->count + count) * sizeof *out->numbers);
    assert_non_null(out->numbers);
    memcpy(out->numbers + out->count, numbers, count * sizeof *numbers);
    out->count += count;
}

static void append_store(outcome *out, xp_store *store) {
    for (int i = 0; i < store->count; i++) {
        const xp_parameter *parameter = &store->parameters[i];
        float *numbers = malloc((size_t)parameter->elements * sizeof *numbers);
        assert_non_null(numbers);
        for (int buffer = XP_STORE_VALUES; buffer <= XP_STORE_GRADIENTS; buffer++) {
            if (buffer != XP_STORE_VALUES && parameter->kind == XP_PARAMETER_STATE) continue;
            read_store(store, buffer, i, numbers);
            append(out, numbers, (size_t)parameter->elements);
        }
        free(numbers);
    }
}

static outcome train(const xp_model_config *config, bool recomputed) {
    outcome out = {.count = 0};
    const xp_model_shape shape = {.batch = BATCH, .outputs = CLASSES, .length = LENGTH, .features = FEATURES};
    xp_store *store;
    xp_learner learner;
    xp_plan *plan;
    assert_int_equal(xp_store_create(&store), XP_OK);
    MUST(xp_learner_build(&learner, &xp_classification, config, &shape, &(xp_task_options){0}, store, true));
    if (recomputed && xp_model_recompute(&learner.model, config) != XP_OK) fail_msg("%s", xp_last_error());
    xp_optimiser_options optimiser;
    xp_optimiser_options_default(&optimiser);
    optimiser.gradient_clip = 1;
    assert_int_equal(xp_train_optimiser(learner.model.graph, device, &optimiser), XP_OK);
    xp_tensor_keep(learner.loss);
    MUST(xp_plan_create(&plan, device, learner.model.graph));
    xp_plan_summarise(plan, &out.summary);
    assert_int_equal(xp_store_allocate(store, device), XP_OK);
    MUST(xp_plan_realise(plan, NULL));
    assert_int_equal(xp_store_initialise(store, 3), XP_OK);
    float series[BATCH * LENGTH * FEATURES], loss;
    for (int i = 0; i < BATCH * LENGTH * FEATURES; i++) series[i] = sinf((float)(i * i % 97));
    assert_int_equal(xp_plan_write(plan, learner.model.input, series), XP_OK);
    assert_int_equal(xp_plan_write(plan, learner.model.lengths, (int32_t[BATCH]){LENGTH, 7, 9, 1}), XP_OK);
    assert_int_equal(xp_plan_write(plan, learner.labels, (int32_t[BATCH]){0, 1, 2, 1}), XP_OK);
    assert_int_equal(xp_plan_write(plan, learner.model.weights, (float[BATCH]){1, 1, 1, 0}), XP_OK);
    assert_int_equal(xp_plan_write(plan, learner.loss_gradient, (float[]){1}), XP_OK);
    for (int i = 1; i <= STEPS; i++) {
        assert_int_equal(xp_train_step(plan, 5, i, 0.01), XP_OK);
        assert_int_equal(xp_plan_run(plan), XP_OK);
        assert_int_equal(xp_plan_read(plan, learner.loss, &loss), XP_OK);
        append(&out, &loss, 1);
    }
    append_store(&out, store);
    xp_plan_close(&plan);
    xp_learner_release(&learner);
    xp_store_close(&store);
    return out;
}

static void compare(const xp_model_config *config) {
    outcome plain = train(config, false), recomputed = train(config, true);
    char name[XP_SPECIFICATION_BYTES + 64];
    snprintf(name, sizeof name, "%s, %s-norm, %s norm", config->attention, config->pre_norm ? "pre" : "post",
             config->norm == XP_NORM_LAYER ? "layer" : "batch");
    assert_int_equal(plain.count, recomputed.count);
    for (size_t i = 0; i < plain.count; i++) {
        if (!isfinite(plain.numbers[i])) fail_msg("%s: number %zu is not finite", name, i);
        if (memcmp(plain.numbers + i, recomputed.numbers + i, sizeof *plain.numbers) != 0)
            fail_msg("%s: number %zu of %zu is %.9g without recomputation and %.9g with it", name, i, plain.count,
                     (double)plain.numbers[i], (double)recomputed.numbers[i]);
    }
    if (plain.numbers[0] == plain.numbers[STEPS - 1]) fail_msg("%s: nothing was trained", name);
    const xp_plan_summary *one = &plain.summary, *other = &recomputed.summary;
    if (one->recomputed_launches != 0 || other->launches != one->launches + other->recomputed_launches)
        fail_msg("%s: %d launches, %d of them again, and %d without", name, other->launches, other->recomputed_launches,
                 one->launches);
    if (!((double)other->arena_bytes < 0.75 * (double)one->arena_bytes))
        fail_msg("%s: an arena of %zu bytes, and %zu without", name, other->arena_bytes, one->arena_bytes);
    free(plain.numbers);
    free(recomputed.numbers);
}

static xp_model_config small_model(const char *attention, bool pre_norm, int norm) {
    xp_model_config config = {.kind = XP_MODEL_ENCODER,
                              .width = 16,
                              .heads = 2,
                              .layers = 6,
                              .feed_forward = 64,
                              .patch_steps = 1,
                              .dropout = 0.2,
                              .attention_dropout = 0.1,
                              .pre_norm = pre_norm,
                              .norm = norm,
                              .norm_epsilon = 1e-5,
                              .final_norm = pre_norm,
                              .activation = XP_ACTIVATION_GELU,
                              .head = XP_HEAD_MEAN,
                              .mask_padding = 1};
    snprintf(config.attention, sizeof config.attention, "%s", attention);
    return config;
}

static void losses_weights_gradients_and_state_are_the_same_bits(void **state) {
    static const char *const attentions[] = {"softmax", "softmax+bn", "softmax+sh(1,2)", "linear(elu)",
                                             "softmax+conv1d(3)"};
    for (int i = 0; i < 5; i++)
        for (int norm = XP_NORM_LAYER; norm <= XP_NORM_BATCH; norm++)
            for (int pre_norm = 0; pre_norm < 2; pre_norm++) {
                xp_model_config config = small_model(attentions[i], pre_norm, norm);
                if (strstr(attentions[i], "linear")) config.attention_dropout = 0;
                compare(&config);
            }
}

static int open_one(void **state) {
    device = open_device(NULL);
    return 0;
}

static int close_device(void **state) {
    xp_device_close(&device);
    return 0;
}

static void kernels_of_gpus_give_the_same_bits_too(void **state) {
    xp_device *first = device;
    device = open_device("tiled");
    xp_model_config config = small_model("softmax", true, XP_NORM_LAYER);
    compare(&config);
    xp_device_close(&device);
    device = first;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_stand_just_before_the_node_that_reads_them),
        cmocka_unit_test(only_what_is_read_runs_again),
        cmocka_unit_test(a_scope_ends_at_its_name_or_at_a_dot),
        cmocka_unit_test(a_layer_gives_up_all_but_its_output),
        cmocka_unit_test(kept_and_external_and_costly_tensors_stay),
        cmocka_unit_test(what_touches_state_never_runs_twice),
        cmocka_unit_test(no_node_runs_again_for_a_part_of_what_it_writes),
        cmocka_unit_test(every_writer_of_a_tensor_in_parts_runs_again),
        cmocka_unit_test(losses_weights_gradients_and_state_are_the_same_bits),
        cmocka_unit_test(kernels_of_gpus_give_the_same_bits_too),
    };
    return cmocka_run_group_tests(tests, open_one, close_device);
}
