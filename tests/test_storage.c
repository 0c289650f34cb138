/* Tensors in 16 bits: what their bits mean, which operations take them, and that two layers train with them as they do
 * in fp32. */
#include "check/check.h"
#include "core/half.h"
#include "devices.h"
#include "graph/operation.h"
#include "graph/plan.h"
#include "graph/store.h"
#include "model/model.h"
#include "ops/operations.h"
#include "ops/ops.h"
#include "task/classification.h"
#include "train/config.h"

#include <expanse/train.h>

/* ---- bits -------------------------------------------------------------------------------------------------------- */

static void all_bits_survive_the_way_to_a_number_and_back(void **state) {
    for (uint32_t bits = 0; bits < 1 << 16; bits++) {
        const double bf16 = xp_bf16_value((uint16_t)bits), fp16 = xp_fp16_value((uint16_t)bits);
        if (isnan(bf16))
            assert_true(isnan(xp_bf16_value(xp_bf16_bits(bf16))));
        else
            assert_int_equal(xp_bf16_bits(bf16), bits);
        if (isnan(fp16))
            assert_true(isnan(xp_fp16_value(xp_fp16_bits(fp16))));
        else
            assert_int_equal(xp_fp16_bits(fp16), bits);
    }
}

static void numbers_are_rounded_to_the_nearest_and_ties_to_even(void **state) {
    static const struct {
        double value;
        uint16_t bf16, fp16;
    } cases[] = {
        {1, 0x3f80, 0x3c00},
        {-2, 0xc000, 0xc000},
        {1.00390625, 0x3f80, 0x3c04}, /* a tie of bf16 */
        {1.01171875, 0x3f82, 0x3c0c},
        {1.00048828125, 0x3f80, 0x3c00}, /* a tie of fp16 */
        {1.00146484375, 0x3f80, 0x3c02},
        {65504, 0x4780, 0x7bff},
        {65519.9, 0x4780, 0x7bff},
        {65520, 0x4780, 0x7c00},
        {0x1p-24, 0x3380, 0x0001},
        {0x1p-25, 0x3300, 0x0000},
        {0x1.8p-24, 0x33c0, 0x0002},
        {0x1.ffcp-15, 0x3880, 0x0400},
        {0x1p-133, 0x0001, 0x0000},
        {3.4e38, 0x7f80, 0x7c00},
        {-INFINITY, 0xff80, 0xfc00},
        {-0.0, 0x8000, 0x8000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(xp_bf16_bits(cases[i].value), cases[i].bf16);
        assert_int_equal(xp_fp16_bits(cases[i].value), cases[i].fp16);
    }
}

/* ---- which operations -------------------------------------------------------------------------------------------- */

/* The node of a case alone in a graph, its stored tensors, or only operand `only`, in bf16. */
static xp_status plan_node(const xp_node *node, xp_device *device, int only) {
    xp_graph *graph;
    xp_plan *plan = NULL;
    xp_tensor *inputs[XP_MAX_INPUTS] = {0}, *outputs[XP_MAX_OUTPUTS] = {0};
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    for (int i = 0; i < node->input_count + node->output_count; i++) {
        const bool in = i < node->input_count;
        const int k = in ? i : i - node->input_count;
        const xp_tensor *tensor = in ? node->inputs[k] : node->outputs[k];
        if (!tensor) continue;
        const unsigned stored = in ? node->operation->stored_inputs : node->operation->stored_outputs;
        const bool half = tensor->type == XP_F32 && (only < 0 ? stored >> k & 1 : only == i);
        const xp_type type = half ? XP_BF16 : tensor->type;
        if (in)
            inputs[k] = xp_graph_input(graph, tensor->name, type, tensor->rank, tensor->shape);
        else
            outputs[k] = xp_graph_tensor(graph, tensor->name, type, tensor->rank, tensor->shape);
    }
    xp_graph_scope(graph, "layer");
    assert_non_null(xp_graph_node(graph, node->operation, node->input_count, inputs, node->output_count, outputs,
                                  node->attributes, sizeof node->attributes));
    const xp_status status = xp_plan_create(&plan, device, graph);
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    return status;
}

/* Whatever the family, an operation's stored tensors may be in bf16; of any other, its name and the tensor's are
 * told. */
static void every_operation_takes_bf16_or_names_the_tensor_that_it_does_not_take(void **state) {
    int taking = 0, rejected = 0;
    for (int c = 0; c < xp_case_entry_count; c++) {
        xp_random variant, shape;
        xp_case content = {0};
        xp_random_start(&variant, 7, 1);
        xp_random_start(&shape, 7, 2);
        MUST(xp_case_entries[c].generate(&content, &variant, &shape));
        const xp_node *node = content.node;
        const xp_operation *operation = node->operation;
        taking += operation->stored_inputs != 0;
        for (int f = 0; f < FAMILIES; f++) {
            if (plan_node(node, devices[f], -1) != XP_OK) fail_msg("%s in bf16: %s", operation->name, xp_last_error());
            for (int i = 0; i < node->input_count; i++) {
                if (!node->inputs[i] || node->inputs[i]->type != XP_F32 || operation->stored_inputs >> i & 1) continue;
                if (strcmp(operation->name, "cast") == 0) continue; /* takes all */
                char text[200];
                snprintf(text, sizeof text, "layer, operation %s: no kernels for this device accept tensor %s in bf16",
                         operation->name, node->inputs[i]->name);
                assert_int_equal(plan_node(node, devices[f], i), XP_UNSUPPORTED);
                if (!strstr(xp_last_error(), text)) fail_msg("\"%s\" does not say \"%s\"", xp_last_error(), text);
                rejected++;
            }
        }
        xp_graph_close(&content.graph);
        xp_store_close(&content.store);
    }
    assert_true(taking >= 11 && rejected > 40);
}

static void factors_of_two_types_are_rejected_where_the_graph_is_built(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_graph_input(graph, "x", XP_BF16, 2, (int64_t[]){4, 8});
    xp_tensor *w = xp_graph_input(graph, "w", XP_F32, 2, (int64_t[]){8, 8});
    assert_null(xp_linear(graph, x, w, NULL, XP_ACTIVATION_NONE));
    assert_non_null(strstr(xp_last_error(), "x is in bf16 and w in fp32"));
    assert_non_null(xp_linear(graph, x, xp_cast(graph, w, XP_BF16), NULL, XP_ACTIVATION_NONE));
    xp_tensor *words = xp_graph_input(graph, "words", XP_I32, 1, (int64_t[]){4});
    assert_null(xp_cast(graph, words, XP_BF16));
    assert_non_null(strstr(xp_last_error(), "words in int32"));
    xp_graph_close(&graph);
}

/* ---- launches and memory ----------------------------------------------------------------------------------------- */

/* A step of a preset. */
static xp_plan_summary plan_step(xp_device *device, const char *preset, const char *const *settings,
                                 const xp_model_shape *shape, xp_type storage) {
    xp_config config;
    xp_store *store;
    xp_learner learner;
    xp_plan *plan;
    xp_plan_summary summary;
    xp_optimiser_options optimiser;
    xp_optimiser_options_default(&optimiser);
    optimiser.gradient_clip = 4;
    xp_config_default(&config);
    MUST(xp_config_preset(&config, preset));
    for (; *settings; settings++) MUST(xp_config_set(&config, *settings));
    config.model.storage = (int)storage;
    MUST(xp_store_create(&store));
    MUST(xp_learner_build(&learner, &xp_classification, &config.model, shape, &(xp_task_options){0}, store, true));
    MUST(xp_train_optimiser(learner.model.graph, device, &optimiser));
    MUST(xp_plan_create(&plan, device, learner.model.graph));
    xp_plan_summarise(plan, &summary);
    xp_plan_close(&plan);
    xp_learner_release(&learner);
    xp_store_close(&store);
    return summary;
}

/* What the matrix units of a GPU do not compute, its `tiled` kernels do. */
static void a_step_of_two_layers_takes_60_launches_on_a_gpu_in_16_bits_too(void **state) {
    static const char *const none[] = {NULL};
    const xp_model_shape shape = {.batch = 16, .length = 26, .features = 12, .outputs = 9}; /* as of JapaneseVowels */
    xp_device *device = open_device("matrix");
    const xp_family of_gpu[] = {XP_FAMILY_MATRIX, XP_FAMILY_TILED, XP_FAMILY_WIDE};
    memcpy(device->families, of_gpu, sizeof of_gpu);
    assert_in_range(plan_step(devices[TILED], "uea-flowformer", none, &shape, XP_BF16).launches, 1, 60);
    assert_in_range(plan_step(device, "uea-flowformer", none, &shape, XP_BF16).launches, 1, 60);
    assert_in_range(plan_step(device, "uea-flowformer", none, &shape, XP_F16).launches, 1, 60);
    xp_device_close(&device);
}

static void the_arena_of_a_large_model_falls_by_45_percent_in_16_bits(void **state) {
    static const char *const settings[] = {"model.width=1024", "model.heads=16", "model.layers=4",
                                           "model.feed_forward=2048", NULL};
    static const char *const presets[] = {"uea-flowformer", "uea-mvts"};
    const xp_model_shape shape = {.batch = 8, .length = 1024, .features = 16, .outputs = 10};
    for (int f = 0; f < 2 * FAMILIES; f++) {
        const char *preset = presets[f % 2];
        const size_t whole = plan_step(devices[f / 2], preset, settings, &shape, XP_F32).arena_bytes;
        const size_t half = plan_step(devices[f / 2], preset, settings, &shape, XP_BF16).arena_bytes;
        print_message("family %s, %s: arena %zu and %zu MiB\n", family_names[f / 2], preset, whole >> 20, half >> 20);
        assert_true((double)half <= 0.55 * (double)whole);
    }
}

/* ---- copies of weights ------------------------------------------------------------------------------------------- */

enum { SIDE = 24 };

/* Runs y = weightᵀ and a step; y is of the weights as they were before. */
static void expect_copies(xp_store *store, xp_plan *plan, const xp_tensor *y, xp_type type) {
    float weights[SIDE * SIDE];
    uint16_t found[SIDE * SIDE];
    MUST(xp_store_read(store, XP_STORE_VALUES, 0, weights));
    MUST(xp_plan_run(plan));
    MUST(xp_plan_read(plan, y, found));
    for (int i = 0; i < SIDE * SIDE; i++)
        assert_true(xp_type_value(type, found, i) == xp_type_round(type, weights[i % SIDE * SIDE + i / SIDE]));
}

static void the_store_s_copies_of_weights_are_what_the_weights_are_rounded_to(void **state) {
    for (int c = 0; c < 2 * FAMILIES; c++) {
        const xp_type type = c % 2 ? XP_F16 : XP_BF16;
        xp_device *device = devices[c / 2];
        xp_store *store;
        xp_graph *graph;
        xp_plan *plan;
        const int64_t sizes[] = {SIDE, SIDE};
        MUST(xp_store_create(&store));
        MUST(xp_store_add(store, "weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 1, 2, sizes));
        MUST(xp_graph_create(&graph, store, true));
        xp_tensor *x = xp_graph_input(graph, "x", type, 2, sizes),
                  *seed = xp_graph_input(graph, "seed", type, 2, sizes);
        xp_tensor *weight = xp_graph_parameter(graph, "weight"), *copy = xp_cast_weight(graph, weight, type);
        xp_tensor *y = xp_tensor_keep(xp_linear(graph, x, copy, NULL, XP_ACTIVATION_NONE));
        assert_int_equal(copy->role, XP_ROLE_COPY);
        MUST(xp_graph_differentiate(graph, 1, &y, &seed, 0, NULL, NULL));
        xp_optimiser_options options;
        xp_optimiser_options_default(&options);
        MUST(xp_train_optimiser(graph, device, &options));
        assert_false(xp_store_keep_copies(store, type == XP_BF16 ? XP_F16 : XP_BF16));
        MUST(xp_plan_create(&plan, device, graph));
        MUST(xp_store_allocate(store, device));
        MUST(xp_plan_realise(plan, NULL));
        MUST(xp_plan_warm(plan));
        MUST(xp_store_initialise(store, 3));
        uint16_t one[SIDE * SIDE] = {0}; /* x is the identity, and so is the gradient */
        for (int i = 0; i < SIDE; i++) one[i * SIDE + i] = type == XP_BF16 ? xp_bf16_bits(1) : xp_fp16_bits(1);
        MUST(xp_plan_write(plan, x, one));
        MUST(xp_plan_write(plan, seed, one));
        float weights[SIDE * SIDE];
        for (int64_t step = 1; step < 4; step++) {
            MUST(xp_train_step(plan, 1, step, 0.1));
            expect_copies(store, plan, y, type);
        }
        for (int i = 0; i < SIDE * SIDE; i++) weights[i] = (float)(1.0 / (i + 3));
        MUST(xp_store_write(store, XP_STORE_VALUES, 0, weights));
        expect_copies(store, plan, y, type);
        xp_plan_close(&plan);
        xp_graph_close(&graph);
        xp_store_close(&store);
    }
}

/* Each result is the sum of two factors, the second one over 1024: a tie between two numbers of the type, or the next
 * number beside it that the second factor can make. */
static void results_of_products_are_rounded_to_the_nearest_and_ties_to_even(void **state) {
    enum { ROWS = 192, COLUMNS = 32, COUNT = ROWS * COLUMNS };
    static uint16_t a_bits[ROWS * 2 * COLUMNS], b_bits[2 * COLUMNS * COLUMNS], found[COUNT];
    for (int c = 0; c < 2 * FAMILIES; c++) {
        const xp_type type = c % 2 ? XP_F16 : XP_BF16;
        uint16_t (*bits_of)(double) = c % 2 ? xp_fp16_bits : xp_bf16_bits;
        const uint16_t least = c % 2 ? 0 : 0x3000, numbers = c % 2 ? 0x7c00 : 0x2000;
        for (int i = 0; i < COUNT; i++) {
            uint16_t *pair = a_bits + (i / COLUMNS * 2 * COLUMNS + i % COLUMNS);
            pair[0] = (uint16_t)(least + i * 41 % numbers);
            const double step = fmin(xp_type_value(type, (uint16_t[]){(uint16_t)(pair[0] + 1)}, 0), 65536) -
                                xp_type_value(type, pair, 0);
            pair[COLUMNS] = (uint16_t)(bits_of(512 * step) + i % 3 - 1);
            if (i % 2) pair[0] |= 0x8000, pair[COLUMNS] |= 0x8000;
        }
        for (int i = 0; i < COLUMNS; i++) {
            b_bits[i * COLUMNS + i] = bits_of(1);
            b_bits[(COLUMNS + i) * COLUMNS + i] = bits_of(0x1p-10);
        }
        xp_graph *graph;
        xp_plan *plan;
        MUST(xp_graph_create(&graph, NULL, true));
        xp_tensor *a = xp_graph_input(graph, "a", type, 2, (const int64_t[]){ROWS, 2 * COLUMNS});
        xp_tensor *b = xp_graph_input(graph, "b", type, 2, (const int64_t[]){2 * COLUMNS, COLUMNS});
        xp_tensor *y = xp_tensor_keep(xp_gemm(graph, a, 0, b, 0));
        assert_int_equal(y->type, type);
        MUST(xp_plan_create(&plan, devices[c / 2], graph));
        MUST(xp_plan_realise(plan, NULL));
        MUST(xp_plan_write(plan, a, a_bits));
        MUST(xp_plan_write(plan, b, b_bits));
        MUST(xp_plan_run(plan));
        MUST(xp_plan_read(plan, y, found));
        for (int i = 0; i < COUNT; i++) {
            const int at = i / COLUMNS * 2 * COLUMNS + i % COLUMNS;
            const double exact = xp_type_value(type, a_bits, at) + xp_type_value(type, a_bits, at + COLUMNS) / 1024;
            if (xp_type_value(type, found, i) != xp_type_round(type, exact))
                fail_msg("%s, %s: %a became %a", family_names[c / 2], xp_type_name(type), exact,
                         xp_type_value(type, found, i));
        }
        xp_plan_close(&plan);
        xp_graph_close(&graph);
    }
}

/* ---- training ---------------------------------------------------------------------------------------------------- */

enum { BATCH = 16, LENGTH = 24, FEATURES = 6, CLASSES = 3, STEPS = 240, LAST = 80, FEW_STEPS = 3 };

typedef struct series {
    float values[BATCH * LENGTH * FEATURES], weights[BATCH];
    int32_t lengths[BATCH], labels[BATCH];
} series;

/* Waves whose class is their frequency, in noise; one label in eight is wrong, so that no loss comes near 0. */
static void draw_series(series *out, xp_random *random) {
    for (int b = 0; b < BATCH; b++) {
        const uint32_t class = xp_random_below(random, CLASSES);
        const double height = 0.5 + xp_random_unit(random);
        out->weights[b] = 1;
        out->lengths[b] = LENGTH - (int32_t)xp_random_below(random, LENGTH / 2);
        out->labels[b] = (int32_t)(xp_random_below(random, 8) == 0 ? xp_random_below(random, CLASSES) : class);
        for (int n = 0; n < LENGTH; n++)
            for (int f = 0; f < FEATURES; f++)
                out->values[(b * LENGTH + n) * FEATURES + f] =
                    (float)(height * sin(0.3 * (class + 1.0) * n + f) + 0.3 * xp_random_normal(random));
    }
}

static xp_model_config config_of(xp_type storage) {
    return (xp_model_config){.kind = XP_MODEL_ENCODER,
                             .width = 32,
                             .heads = 4,
                             .layers = 2,
                             .feed_forward = 64,
                             .patch_steps = 1,
                             .dropout = 0.1,
                             .attention_dropout = 0.1,
                             .pre_norm = true,
                             .norm_epsilon = 1e-5,
                             .final_norm = true,
                             .activation = XP_ACTIVATION_GELU,
                             .head = XP_HEAD_MEAN,
                             .mask_padding = true,
                             .storage = (int)storage,
                             .attention = "softmax"};
}

static void plan_model(const xp_model_config *config, const xp_model_shape *shape) {
    xp_store *store;
    xp_learner learner;
    xp_plan *plan;
    xp_optimiser_options optimiser;
    xp_optimiser_options_default(&optimiser);
    for (int f = 0; f < FAMILIES; f++) {
        assert_int_equal(xp_store_create(&store), XP_OK);
        MUST(xp_learner_build(&learner, &xp_classification, config, shape, &(xp_task_options){0}, store, true));
        assert_int_equal(xp_train_optimiser(learner.model.graph, devices[f], &optimiser), XP_OK);
        if (xp_plan_create(&plan, devices[f], learner.model.graph) != XP_OK)
            fail_msg("%s, norm %d, head %d: %s", config->attention, config->norm, config->head, xp_last_error());
        xp_plan_close(&plan);
        xp_learner_release(&learner);
        xp_store_close(&store);
    }
}

/* Operations without kernels for 16 bits are surrounded by casts. */
static void every_model_is_planned_in_16_bits(void **state) {
    static const char *const specifications[] = {"softmax",           "linear",
                                                 "linear+causal",     "linear+window(4,0)",
                                                 "softmax+bn",        "softmax+bn(beta=learned)+sh(1,1,2,2)",
                                                 "softmax+causal+bn", "softmax+conv1d(3)",
                                                 "softmax+bias",      "softmax+causal+alibi+window(8,0)"};
    const xp_model_shape sequences = {.batch = 4, .outputs = 3, .length = 24, .features = 6};
    const xp_model_shape images = {.batch = 4, .outputs = 3, .channels = 1, .height = 16, .breadth = 16};
    for (size_t s = 0; s < sizeof specifications / sizeof *specifications; s++)
        for (int other = 0; other < 2; other++) {
            xp_model_config config = config_of(other ? XP_F16 : XP_BF16);
            snprintf(config.attention, sizeof config.attention, "%s", specifications[s]);
            config.norm = other ? XP_NORM_BATCH : XP_NORM_LAYER;
            config.head = other ? XP_HEAD_FLATTEN : XP_HEAD_MEAN;
            config.pre_norm = !other;
            if (other) config.attention_dropout = 0; /* then linear attention has kernels of its own */
            plan_model(&config, &sequences);
        }
    xp_model_config vision = config_of(XP_BF16);
    vision.kind = XP_MODEL_VISION;
    vision.patch = 4;
    for (int head = XP_HEAD_MEAN; head <= XP_HEAD_CLASS; head++) {
        vision.head = head;
        snprintf(vision.attention, sizeof vision.attention, "softmax+sh(1,1,2,2)+conv2d(3)");
        plan_model(&vision, &images);
    }
}

/* The mean loss of the last steps. Every step has samples of its own: a few that come again would be learned by heart,
 * and the way there depends on every bit. */
static double train(xp_device *device, xp_type storage, int steps, int last, size_t *arena_bytes) {
    const xp_model_config config = config_of(storage);
    const xp_model_shape shape = {.batch = BATCH, .outputs = CLASSES, .length = LENGTH, .features = FEATURES};
    xp_store *store;
    xp_learner learner;
    xp_plan *plan;
    xp_plan_summary summary;
    xp_optimiser_options optimiser;
    assert_int_equal(xp_store_create(&store), XP_OK);
    MUST(xp_learner_build(&learner, &xp_classification, &config, &shape, &(xp_task_options){0}, store, true));
    xp_optimiser_options_default(&optimiser);
    assert_int_equal(xp_train_optimiser(learner.model.graph, device, &optimiser), XP_OK);
    xp_tensor_keep(learner.loss);
    MUST(xp_plan_create(&plan, device, learner.model.graph));
    xp_plan_summarise(plan, &summary);
    *arena_bytes = summary.arena_bytes;
    assert_int_equal(xp_store_allocate(store, device), XP_OK);
    MUST(xp_plan_realise(plan, NULL));
    assert_int_equal(xp_store_initialise(store, 3), XP_OK);
    assert_int_equal(xp_plan_write(plan, learner.loss_gradient, (float[]){1}), XP_OK);
    double sum = 0;
    for (int step = 0; step < steps; step++) {
        static series batch;
        xp_random random;
        float loss;
        xp_random_start(&random, 11, (uint32_t)step);
        draw_series(&batch, &random);
        assert_int_equal(xp_plan_write(plan, learner.model.input, batch.values), XP_OK);
        assert_int_equal(xp_plan_write(plan, learner.model.lengths, batch.lengths), XP_OK);
        assert_int_equal(xp_plan_write(plan, learner.labels, batch.labels), XP_OK);
        assert_int_equal(xp_plan_write(plan, learner.model.weights, batch.weights), XP_OK);
        assert_int_equal(xp_train_step(plan, 5, step + 1, 0.002), XP_OK);
        MUST(xp_plan_run(plan));
        assert_int_equal(xp_plan_read(plan, learner.loss, &loss), XP_OK);
        if (step >= steps - last) sum += (double)loss / last;
    }
    xp_plan_close(&plan);
    xp_learner_release(&learner);
    xp_store_close(&store);
    return sum;
}

static void compare_losses(int family, int steps, int last, double least, double most) {
    size_t whole, half;
    const double exact = train(devices[family], XP_F32, steps, last, &whole);
    const double loss = train(devices[family], XP_BF16, steps, last, &half);
    print_message("family %s: loss %.5f in fp32, %.5f in bf16; arena %zu and %zu bytes\n", family_names[family], exact,
                  loss, whole, half);
    assert_true(exact > least && exact < most);
    assert_true(loss != exact && fabs(loss - exact) < 0.01 * exact);
    assert_true(half * 4 < whole * 3);
}

/* Without a model, the loss is 1.1; with one that knows all but the wrong labels, 0.35. */
static void two_layers_train_in_bf16_to_the_loss_of_fp32(void **state) {
    compare_losses(WIDE, STEPS, LAST, 0.3, 0.5);
}

/* A CPU runs the kernels of GPUs slowly: some steps show that all of them take part. */
static void the_tiled_kernels_take_the_same_steps_in_bf16(void **state) {
    compare_losses(TILED, FEW_STEPS, FEW_STEPS, 0.9, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_bits_survive_the_way_to_a_number_and_back),
        cmocka_unit_test(numbers_are_rounded_to_the_nearest_and_ties_to_even),
        cmocka_unit_test(every_operation_takes_bf16_or_names_the_tensor_that_it_does_not_take),
        cmocka_unit_test(factors_of_two_types_are_rejected_where_the_graph_is_built),
        cmocka_unit_test(every_model_is_planned_in_16_bits),
        cmocka_unit_test(a_step_of_two_layers_takes_60_launches_on_a_gpu_in_16_bits_too),
        cmocka_unit_test(the_arena_of_a_large_model_falls_by_45_percent_in_16_bits),
        cmocka_unit_test(the_store_s_copies_of_weights_are_what_the_weights_are_rounded_to),
        cmocka_unit_test(results_of_products_are_rounded_to_the_nearest_and_ties_to_even),
        cmocka_unit_test(two_layers_train_in_bf16_to_the_loss_of_fp32),
        cmocka_unit_test(the_tiled_kernels_take_the_same_steps_in_bf16),
    };
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
