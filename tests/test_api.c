/* Truths of the public interface's devices and graphs, seen from outside. */
#include "outside.h"

#include <expanse/graph.h>
#include <expanse/ops.h>
#include <expanse/train.h>
#include <expanse/version.h>

static void a_device_of_a_queue_is_in_its_context(void **state) {
    cl_context its_context = NULL;
    cl_device_id its_id = NULL;
    cl_command_queue its_queue = NULL;
    xp_device_opencl(device, &its_context, &its_id, &its_queue);
    assert_ptr_equal(its_context, context);
    assert_ptr_equal(its_id, device_id);
    assert_ptr_not_equal(its_queue, queue);
    xp_device *made = NULL;
    rejects(xp_device_open_queue(&made, NULL, NULL), XP_INVALID_ARGUMENT, "queue");
    rejects(xp_device_open_queue(&made, queue, &(xp_device_options){sizeof(xp_device_options), .select = "gpu"}),
            XP_INVALID_ARGUMENT, "gpu");
    assert_null(made);
}

/* ---- versions ---------------------------------------------------------------------------------------------------- */

static void the_library_tells_its_version(void **state) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", XP_VERSION_MAJOR, XP_VERSION_MINOR, XP_VERSION_PATCH);
    assert_string_equal(XP_VERSION, text);
    assert_string_equal(xp_version(), XP_VERSION);
    assert_int_equal(xp_api_version(), XP_API_VERSION);
}

/* A program that was compiled when the struct ended before `gradient_clip`. */
static void options_of_an_older_program_are_not_read_or_written_behind_their_end(void **state) {
    const size_t older = offsetof(xp_optimiser_options, gradient_clip);
    unsigned char memory[sizeof(xp_optimiser_options)];
    memset(memory, 0xa5, sizeof memory);
    xp_optimiser_options *options = (xp_optimiser_options *)memory;
    xp_optimiser_options_init(options, older);
    for (size_t i = older; i < sizeof memory; i++) assert_int_equal(memory[i], 0xa5);
    assert_int_equal(options->size, older);
    assert_true(options->beta2 == 0.999f);
    xp_device_options device_options;
    memset(&device_options, 0xa5, sizeof device_options);
    xp_device_options_init(&device_options, offsetof(xp_device_options, family)); /* behind it: no pointer */
    xp_device *made = NULL;
    must(xp_device_open_queue(&made, queue, &device_options));
    xp_device_close(&made);
}

static void options_of_a_newer_program_are_rejected_where_they_set_what_there_is_not(void **state) {
    struct {
        xp_device_options options;
        long added;
    } newer = {.added = 0};
    xp_device *made = NULL;
    xp_device_options_init(&newer.options, sizeof newer);
    must(xp_device_open_queue(&made, queue, &newer.options));
    xp_device_close(&made);
    newer.added = 1;
    rejects(xp_device_open_queue(&made, queue, &newer.options), XP_UNSUPPORTED, XP_VERSION);
}

static void options_that_were_not_filled_are_rejected(void **state) {
    xp_device *made = NULL;
    rejects(xp_device_open_queue(&made, queue, &(xp_device_options){0}), XP_INVALID_ARGUMENT,
            "call xp_device_options_default first");
}

/* ---- a model of one's own ---------------------------------------------------------------------------------------- */

enum { ROWS = 6, FEATURES = 4, CLASSES = 3 };
typedef struct model {
    xp_store *store;
    xp_graph *graph;
    xp_tensor *x, *labels, *weights, *logits, *loss;
    xp_plan *plan;
} model;

static void build_model(model *m) {
    *m = (model){0};
    must(xp_store_create(&m->store));
    must(xp_graph_create(&m->graph, m->store, true));
    must(xp_store_add(m->store, "head.weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 0.5f, 2,
                      (int64_t[]){CLASSES, FEATURES}));
    must(xp_store_add(m->store, "head.bias", XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, 0, 1, (int64_t[]){CLASSES}));
    m->x = xp_graph_input(m->graph, "x", XP_F32, 2, (int64_t[]){ROWS, FEATURES});
    m->labels = xp_graph_input(m->graph, "labels", XP_I32, 1, (int64_t[]){ROWS});
    const float one = 1, ones[ROWS] = {1, 1, 1, 1, 1, 1};
    m->weights = xp_graph_constant(m->graph, "weights", XP_F32, 1, (int64_t[]){ROWS}, ones);
    m->logits = xp_linear(m->graph, m->x, xp_graph_parameter(m->graph, "head.weight"),
                          xp_graph_parameter(m->graph, "head.bias"), XP_ACTIVATION_NONE);
    m->loss = xp_tensor_keep(xp_cross_entropy(m->graph, m->logits, m->labels, m->weights, 0, NULL, NULL));
    xp_tensor *seed = xp_graph_constant(m->graph, "one", XP_F32, 1, (int64_t[]){1}, &one);
    must(xp_graph_differentiate(m->graph, 1, &m->loss, &seed, 0, NULL, NULL));
}

static void a_store_lists_its_parameters(void **state) {
    xp_store *store;
    int64_t shape[XP_MAX_RANK] = {0};
    must(xp_store_create(&store));
    assert_int_equal(xp_store_count(store), 0);
    must(xp_store_add(store, "w", XP_PARAMETER_DECAYED, XP_INITIAL_CONSTANT, 1, 2, (int64_t[]){3, 4}));
    must(xp_store_add(store, "mean", XP_PARAMETER_STATE, XP_INITIAL_CONSTANT, 0, 1, (int64_t[]){5}));
    assert_int_equal(xp_store_count(store), 2);
    assert_string_equal(xp_store_name(store, 1), "mean");
    assert_int_equal(xp_store_kind(store, 1), XP_PARAMETER_STATE);
    assert_int_equal(xp_store_type(store, 1), XP_F32);
    assert_int_equal(xp_store_shape(store, 0, shape), 2);
    assert_int_equal(shape[0], 3);
    assert_int_equal(shape[1], 4);
    assert_int_equal(xp_store_shape(store, 1, NULL), 1);
    assert_null(xp_store_name(store, 2));
    assert_null(xp_store_name(store, -1));
    assert_int_equal(xp_store_shape(store, 2, shape), 0);
    xp_store_close(&store);
}

static void realise_model(model *m) {
    xp_optimiser_options options;
    xp_optimiser_options_default(&options);
    must(xp_train_optimiser(m->graph, device, &options));
    must(xp_plan_create(&m->plan, device, m->graph));
    must(xp_store_allocate(m->store, device));
    must(xp_plan_realise(m->plan, NULL));
    must(xp_store_initialise(m->store, 1));
}

static void close_model(model *m) {
    xp_plan_close(&m->plan);
    xp_graph_close(&m->graph);
    xp_store_close(&m->store);
}

static const float model_x[ROWS * FEATURES] = {1, 0, 0, 2, 0, 1, 0, 1, 0, 0, 1, 0, 2, 0, 1, 1, 0, 3, 0, 0, 1, 1, 1, 0};
static const cl_int model_labels[ROWS] = {0, 1, 2, 0, 1, 2};

static void a_plan_runs_on_the_callers_queue_with_inputs_in_the_callers_buffer(void **state) {
    float losses[2][5], weights[2][CLASSES * FEATURES];
    for (int way = 0; way < 2; way++) {
        model m;
        build_model(&m);
        realise_model(&m);
        cl_mem buffer = new_buffer(sizeof model_x);
        must(xp_plan_write(m.plan, m.labels, model_labels));
        if (way == 0) must(xp_plan_write(m.plan, m.x, model_x));
        if (way == 1) must(xp_plan_bind(m.plan, m.x, buffer));
        must_cl(clEnqueueWriteBuffer(queue, buffer, CL_TRUE, 0, sizeof model_x, model_x, 0, NULL, NULL));
        for (int step = 0; step < 5; step++) {
            must(xp_train_step(m.plan, 1, step + 1, 0.1));
            if (way == 0) must(xp_plan_run(m.plan));
            cl_event done = NULL;
            if (way == 1) {
                must(xp_plan_enqueue(m.plan, unordered, 0, NULL, &done));
                must_cl(clWaitForEvents(1, &done));
                clReleaseEvent(done);
            }
            must(xp_plan_read(m.plan, m.loss, &losses[way][step]));
        }
        must(xp_store_read(m.store, XP_STORE_VALUES, xp_store_find(m.store, "head.weight"), weights[way]));
        assert_true(losses[way][4] < losses[way][0]);
        rejects(xp_plan_bind(m.plan, m.logits, buffer), XP_INVALID_ARGUMENT, "shares its memory");
        rejects(xp_plan_read(m.plan, m.logits, losses), XP_INVALID_ARGUMENT, "kept");
        clReleaseMemObject(buffer);
        close_model(&m);
    }
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    assert_memory_equal(weights[0], weights[1], sizeof weights[0]);
}

/* The head's weights after some steps with the batch in so many parts; the loss's share of each is 1/parts. */
static void train_in_parts(int parts, float weights[CLASSES * FEATURES]) {
    enum { STEPS = 3 };
    const int rows = ROWS / parts;
    xp_store *store;
    xp_graph *graph, *update = NULL;
    xp_plan *plan, *update_plan = NULL;
    must(xp_store_create(&store));
    must(xp_graph_create(&graph, store, true));
    must(xp_store_add(store, "head.weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 0.5f, 2,
                      (int64_t[]){CLASSES, FEATURES}));
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){rows, FEATURES});
    xp_tensor *labels = xp_graph_input(graph, "labels", XP_I32, 1, (int64_t[]){rows});
    const float share = 1.0f / (float)parts, ones[ROWS] = {1, 1, 1, 1, 1, 1};
    xp_tensor *ones_of_part = xp_graph_constant(graph, "weights", XP_F32, 1, (int64_t[]){rows}, ones);
    xp_tensor *seed = xp_graph_constant(graph, "share", XP_F32, 1, (int64_t[]){1}, &share);
    xp_tensor *logits = xp_linear(graph, x, xp_graph_parameter(graph, "head.weight"), NULL, XP_ACTIVATION_NONE);
    xp_tensor *loss = xp_cross_entropy(graph, logits, labels, ones_of_part, 0, NULL, NULL);
    must(xp_graph_differentiate(graph, 1, &loss, &seed, 0, NULL, NULL));
    xp_optimiser_options options;
    xp_optimiser_options_default(&options);
    options.gradient_clip = 0.1f;
    if (parts > 1) {
        must(xp_train_accumulate(graph, device));
        rejects(xp_train_optimiser(graph, device, &options), XP_INVALID_ARGUMENT, "a graph of its own");
        rejects(xp_train_optimiser(graph, device, NULL), XP_INVALID_ARGUMENT, "a graph of its own");
        must(xp_graph_create(&update, store, true));
    }
    must(xp_train_optimiser(update ? update : graph, device, &options));
    must(xp_plan_create(&plan, device, graph));
    must(xp_store_allocate(store, device));
    must(xp_plan_realise(plan, NULL));
    if (update) {
        must(xp_plan_create(&update_plan, device, update));
        must(xp_plan_realise(update_plan, plan));
        rejects(xp_train_part(plan, 1, 1, parts, parts), XP_INVALID_ARGUMENT, "count from 0");
        rejects(xp_train_part(update_plan, 1, 1, 0, parts), XP_INVALID_ARGUMENT, "does not accumulate");
        rejects(xp_train_step(plan, 1, 1, 0.1), XP_INVALID_ARGUMENT, "xp_train_part");
        rejects(xp_train_accumulate(update, device), XP_INVALID_ARGUMENT, "allocated");
    }
    must(xp_store_initialise(store, 1));
    for (int step = 1; step <= STEPS; step++) {
        for (int part = 0; part < parts; part++) {
            must(parts > 1 ? xp_train_part(plan, 1, step, part, parts) : xp_train_step(plan, 1, step, 0.1));
            must(xp_plan_write(plan, x, model_x + part * rows * FEATURES));
            must(xp_plan_write(plan, labels, model_labels + part * rows));
            must(xp_plan_run(plan));
        }
        if (!update) continue;
        must(xp_train_step(update_plan, 1, step, 0.1));
        must(xp_plan_run(update_plan));
    }
    must(xp_store_read(store, XP_STORE_VALUES, xp_store_find(store, "head.weight"), weights));
    xp_plan_close(&update_plan);
    xp_plan_close(&plan);
    xp_graph_close(&update);
    xp_graph_close(&graph);
    xp_store_close(&store);
}

static void a_step_in_parts_is_the_step_of_the_whole_batch(void **state) {
    float whole[CLASSES * FEATURES], parts[CLASSES * FEATURES];
    train_in_parts(1, whole);
    for (int count = 2; count <= ROWS; count++) {
        if (ROWS % count != 0) continue;
        train_in_parts(count, parts);
        for (int i = 0; i < CLASSES * FEATURES; i++) assert_float_equal(parts[i], whole[i], 1e-5f);
    }
}

static void weights_travel_through_a_file(void **state) {
    model m;
    build_model(&m);
    realise_model(&m);
    float before[CLASSES * FEATURES], after[CLASSES * FEATURES];
    const int index = xp_store_find(m.store, "head.weight");
    const char *path = scratch_path("weights.safetensors");
    must(xp_store_read(m.store, XP_STORE_VALUES, index, before));
    must(xp_weights_save(m.store, path));
    must(xp_store_initialise(m.store, 2));
    must(xp_store_read(m.store, XP_STORE_VALUES, index, after));
    assert_memory_not_equal(before, after, sizeof before);
    must(xp_weights_load(m.store, path));
    must(xp_store_read(m.store, XP_STORE_VALUES, index, after));
    assert_memory_equal(before, after, sizeof before);
    rejects(xp_weights_load(m.store, scratch_path("nothing")), XP_IO_ERROR, "nothing");
    rejects(xp_weights_load(m.store, scratch_write("damaged", "0123456789", 10)), XP_BAD_DATA, "damaged");
    close_model(&m);
}

static void misuse_of_a_graph_is_one_sentence(void **state) {
    model m, other;
    build_model(&m);
    build_model(&other);
    float data[CLASSES * FEATURES];
    assert_null(xp_add(m.graph, m.x, other.x));
    rejects(XP_INVALID_ARGUMENT, XP_INVALID_ARGUMENT, "x");
    assert_null(xp_graph_parameter(m.graph, "tail.weight"));
    rejects(XP_INVALID_ARGUMENT, XP_INVALID_ARGUMENT, "tail.weight");
    assert_null(xp_linear(m.graph, NULL, NULL, NULL, XP_ACTIVATION_NONE));
    assert_int_equal(xp_graph_split(m.graph, NULL, 0, NULL), XP_INVALID_ARGUMENT);
    rejects(xp_graph_differentiate(m.graph, 1, &m.loss, &m.x, 0, NULL, NULL), XP_INVALID_ARGUMENT, "x [6,4]");
    rejects(xp_graph_differentiate(m.graph, 0, NULL, NULL, 1, &m.x, &m.x), XP_INVALID_ARGUMENT, "tensor x");
    rejects(xp_store_read(m.store, XP_STORE_VALUES, -1, data), XP_INVALID_ARGUMENT, "-1");
    rejects(xp_store_read(m.store, XP_STORE_VALUES, 0, data), XP_INVALID_ARGUMENT, "not allocated");
    rejects(xp_store_initialise(m.store, 1), XP_INVALID_ARGUMENT, "allocated");
    must(xp_plan_create(&m.plan, device, m.graph));
    rejects(xp_plan_run(m.plan), XP_INVALID_ARGUMENT, "realised");
    rejects(xp_plan_realise(m.plan, NULL), XP_INVALID_ARGUMENT, "store");
    must(xp_store_allocate(m.store, device));
    rejects(xp_store_read(m.store, 7, 0, data), XP_INVALID_ARGUMENT, "number 7");
    must(xp_plan_realise(m.plan, NULL));
    rejects(xp_train_step(m.plan, 1, 0, 0.1), XP_INVALID_ARGUMENT, "count from 1");
    rejects(xp_store_add(m.store, "late", XP_PARAMETER_DECAYED, XP_INITIAL_CONSTANT, 0, 1, (int64_t[]){1}),
            XP_INVALID_ARGUMENT, "late");
    rejects(xp_plan_write(m.plan, other.x, model_x), XP_INVALID_ARGUMENT, "tensor x");
    close_model(&other);
    close_model(&m);
}

static void the_gradient_of_an_input_can_be_asked_for(void **state) {
    model m;
    build_model(&m); /* for its parameters */
    xp_graph *graph;
    must(xp_graph_create(&graph, m.store, true));
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){ROWS, FEATURES})), *dx;
    xp_tensor *y = xp_tensor_keep(xp_activate(graph, x, XP_ACTIVATION_RELU));
    xp_tensor *dy = xp_graph_input(graph, "dy", XP_F32, 2, (int64_t[]){ROWS, FEATURES});
    must(xp_graph_differentiate(graph, 1, &y, &dy, 1, &x, &dx));
    xp_tensor_keep(dx);
    int64_t shape[XP_MAX_RANK];
    assert_int_equal(xp_tensor_shape(dx, shape), 2);
    assert_true(shape[0] == ROWS && shape[1] == FEATURES && xp_tensor_elements(dx) == ROWS * FEATURES);
    xp_plan *plan;
    must(xp_store_allocate(m.store, device));
    must(xp_plan_create(&plan, device, graph));
    must(xp_plan_realise(plan, NULL));
    float in[ROWS * FEATURES], out[ROWS * FEATURES];
    for (int i = 0; i < ROWS * FEATURES; i++) in[i] = (float)(i % 3 - 1);
    must(xp_plan_write(plan, x, in));
    must(xp_plan_write(plan, dy, model_x));
    must(xp_plan_run(plan));
    must(xp_plan_read(plan, dx, out));
    for (int i = 0; i < ROWS * FEATURES; i++) assert_true(out[i] == (in[i] > 0 ? model_x[i] : 0));
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    close_model(&m);
}

static int begin(void **state) {
    return scratch_make(state) == 0 ? open_all(state) : -1;
}

static int end(void **state) {
    return close_all(state) == 0 ? scratch_remove(state) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_of_a_queue_is_in_its_context),
        cmocka_unit_test(the_library_tells_its_version),
        cmocka_unit_test(options_of_an_older_program_are_not_read_or_written_behind_their_end),
        cmocka_unit_test(options_of_a_newer_program_are_rejected_where_they_set_what_there_is_not),
        cmocka_unit_test(options_that_were_not_filled_are_rejected),
        cmocka_unit_test(a_store_lists_its_parameters),
        cmocka_unit_test(a_plan_runs_on_the_callers_queue_with_inputs_in_the_callers_buffer),
        cmocka_unit_test(a_step_in_parts_is_the_step_of_the_whole_batch),
        cmocka_unit_test(weights_travel_through_a_file),
        cmocka_unit_test(misuse_of_a_graph_is_one_sentence),
        cmocka_unit_test(the_gradient_of_an_input_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
