/* From a specification to a graph: the files it names, the masks made of them, the parameters, the models around it. No
 * device is needed. What the layers compute is tested by test_specification_gradients.c and the parity tests. */
#include "graph/operation.h"
#include "model/attention.h"
#include "model/model.h"
#include "ops/ops.h"
#include "support.h"
#include "task/classification.h"

static xp_specification parsed(const char *format, ...) __attribute__((format(printf, 1, 2)));
static xp_specification parsed(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    xp_specification specification;
    MUST(xp_specification_parse(text, &specification));
    return specification;
}

/* A layer of 2 samples, 4 heads, `rows` queries and keys, width 4. */
static xp_tensor *layer(xp_graph *graph, const xp_specification *specification, int64_t rows, int height, int breadth,
                        int token) {
    xp_tensor *part[3];
    for (int i = 0; i < 3; i++) part[i] = xp_graph_input(graph, "x", XP_F32, 4, (int64_t[]){2, rows, 4, 4});
    const xp_attention_layer_inputs inputs = {
        .q = part[0], .k = part[1], .v = part[2], .grid_height = height, .grid_width = breadth, .class_token = token};
    return xp_attention_layer(graph, specification, "layer", &inputs, NULL);
}

static xp_graph *new_graph(void) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    return graph;
}

static void assert_rejected(const xp_specification *specification, const char *reason) {
    xp_graph *graph = new_graph();
    assert_null(layer(graph, specification, 6, 0, 0, 0));
    if (!strstr(xp_last_error(), reason)) fail_msg("\"%s\" does not name \"%s\"", xp_last_error(), reason);
    xp_graph_close(&graph);
}

static void files_that_do_not_fit_are_rejected(void **state) {
    static const unsigned char bytes[64 * 8];
    xp_specification s = parsed("softmax+mask(%s/none.npy)", scratch_folder);
    assert_rejected(&s, "none.npy");
    s = parsed("softmax+mask(%s)", scratch_write_npy("f.npy", "<f4", "6,6", bytes, 36 * 4));
    assert_rejected(&s, "numbers of type f4: a mask contains bool");
    s = parsed("softmax+mask(%s)", scratch_write_npy("s.npy", "|b1", "6,7", bytes, 42));
    assert_rejected(&s, "is [6,7], but 6 queries and 6 keys need [6,6]");
    s = parsed("softmax+mask(%s)", scratch_write_npy("h.npy", "|b1", "3,6,6", bytes, 108));
    assert_rejected(&s, "is [3,6,6]");
    s = parsed("softmax+mask(%s)", scratch_write_npy("b.npy", "|b1", "3,4,6,6", bytes, 432));
    assert_rejected(&s, "is [3,4,6,6]");
    s = parsed("softmax+mask(%s)", scratch_write_npy("l.npy", "|b1", "6,", bytes, 6));
    assert_rejected(&s, "is [6]");
    s = parsed("softmax+block(%s,4)", scratch_write_npy("k.npy", "|b1", "6,6", bytes, 36));
    assert_rejected(&s, "in blocks need [2,2]");
    s = parsed("softmax+score(\"score + t[0]\",t=%s/none.npy)", scratch_folder);
    assert_rejected(&s, "none.npy");
    s = parsed("softmax+bias");
    assert_rejected(&s, "bias is learned, but this graph has no parameters");
}

static const xp_tensor *constant(const xp_graph *graph) {
    const xp_tensor *found = NULL;
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->role == XP_ROLE_CONSTANT) {
            assert_null(found);
            found = graph->tensors[i];
        }
    assert_non_null(found);
    return found;
}

static bool bit(const xp_tensor *mask, int64_t head, int64_t row, int64_t column) {
    const uint32_t *words = mask->content;
    const int64_t h = mask->shape[1] > 1 ? head : 0;
    return words[(h * mask->shape[2] + row) * mask->shape[3] + column / 32] >> column % 32 & 1;
}

static void masks_are_packed_bit_by_bit(void **state) {
    enum { ROWS = 37 };
    unsigned char bytes[ROWS * ROWS];
    for (int i = 0; i < ROWS * ROWS; i++) bytes[i] = i * 7 % 5 < 2 ? 3 : 0;
    xp_specification s = parsed("softmax+mask(%s)", scratch_write_npy("m.npy", "|u1", "37,37", bytes, sizeof bytes));
    xp_graph *graph = new_graph();
    /* two layers share one constant */
    if (!layer(graph, &s, ROWS, 0, 0, 0) || !layer(graph, &s, ROWS, 0, 0, 0)) fail_msg("%s", xp_last_error());
    const xp_tensor *mask = constant(graph);
    const int64_t shape[] = {1, 1, ROWS, 2};
    assert_memory_equal(mask->shape, shape, sizeof shape);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < ROWS; j++) assert_int_equal(bit(mask, 0, i, j), bytes[i * ROWS + j] != 0);
    xp_graph_close(&graph);
}

static void blocks_keep_one_bit_each(void **state) {
    xp_specification s = parsed("softmax+block(5)");
    xp_graph *graph = new_graph();
    assert_non_null(layer(graph, &s, 12, 0, 0, 0));
    const xp_tensor *mask = constant(graph);
    const int64_t shape[] = {1, 1, 3, 1};
    assert_memory_equal(mask->shape, shape, sizeof shape);
    const uint32_t diagonal[] = {1, 2, 4};
    assert_memory_equal(mask->content, diagonal, sizeof diagonal);
    assert_int_equal(XP_ATTRIBUTES(xp_attention_attributes, graph->nodes[graph->node_count - 1])->mask_block, 5);
    xp_graph_close(&graph);
}

/* On a grid of 3 by 5 patches behind a class token, and along 7 rows: by going through every row of every window. */
static void a_pooled_key_is_seen_if_its_whole_window_is(void **state) {
    enum { MOST = 16 };
    for (int grid = 0; grid < 2; grid++) {
        const int rows = grid ? 16 : 7;
        unsigned char bytes[MOST * MOST];
        for (int i = 0; i < rows * rows; i++) bytes[i] = i * 11 % 13 > 1;
        const char *path =
            scratch_write_npy(grid ? "g.npy" : "p.npy", "|b1", grid ? "16,16" : "7,7", bytes, (size_t)(rows * rows));
        xp_specification s = parsed("softmax+sh(1,2)+mask(%s)", path);
        xp_graph *graph = new_graph();
        if (!layer(graph, &s, rows, grid ? 3 : 0, grid ? 5 : 0, grid)) fail_msg("%s", xp_last_error());
        const xp_tensor *mask = constant(graph);
        assert_int_equal(mask->shape[1], 4);
        assert_int_equal(mask->shape[2], rows);
        int seen = 0, hidden = 0;
        for (int head = 0; head < 4; head++) {
            const int scale = head % 2 ? 2 : 1, across = grid ? (5 + scale - 1) / scale : 0;
            const int keys = grid ? 1 + across * ((3 + scale - 1) / scale) : (7 + scale - 1) / scale;
            for (int i = 0; i < rows; i++)
                for (int key = 0; key < keys; key++) {
                    bool expected = true;
                    for (int j = 0; j < rows; j++) {
                        const int patch = j - 1;
                        const int owner = !grid    ? j / scale
                                          : j == 0 ? 0
                                                   : 1 + patch / 5 / scale * across + patch % 5 / scale;
                        if (owner == key && !bytes[i * rows + j]) expected = false;
                    }
                    assert_int_equal(bit(mask, head, i, key), expected);
                    seen += expected;
                    hidden += !expected;
                }
            for (int64_t key = keys; key < 32 * mask->shape[3]; key++) assert_false(bit(mask, head, 0, key));
        }
        assert_true(seen > 10 && hidden > 10);
        xp_graph_close(&graph);
    }
}

/* Three samples of at most 6 rows in one sequence of 15. */
static void packed_samples_have_masks_of_the_longest(void **state) {
    static const struct {
        const char *text, *reason;
    } cases[] = {{"softmax+bn+causal+block(4)", NULL},
                 {"linear+window(2,2)", NULL},
                 {"softmax+sh(1,2)", "sh does not support packed samples"},
                 {"softmax+conv1d(3)", "convolution does not support packed samples"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const xp_specification s = parsed("%s", cases[i].text);
        xp_graph *graph = new_graph();
        xp_tensor *part[3];
        for (int p = 0; p < 3; p++) part[p] = xp_graph_input(graph, "x", XP_F32, 4, (int64_t[]){1, 15, 4, 4});
        xp_attention_layer_inputs inputs = {.q = part[0],
                                            .k = part[1],
                                            .v = part[2],
                                            .key_lengths = xp_graph_input(graph, "starts", XP_I32, 1, (int64_t[]){4}),
                                            .packed = true,
                                            .longest_queries = 6,
                                            .longest_keys = 6};
        assert_null(xp_attention_layer(graph, &s, "layer", &inputs, NULL));
        inputs.query_lengths = inputs.key_lengths;
        const xp_tensor *o = xp_attention_layer(graph, &s, "layer", &inputs, NULL);
        if (cases[i].reason) {
            assert_null(o);
            assert_non_null(strstr(xp_last_error(), cases[i].reason));
        } else {
            if (!o) fail_msg("%s: %s", cases[i].text, xp_last_error());
            assert_true(XP_ATTRIBUTES(xp_attention_attributes, o->producer)->packed);
        }
        const int64_t shape[] = {1, 1, 2, 1};
        if (i == 0) assert_memory_equal(constant(graph)->shape, shape, sizeof shape);
        xp_graph_close(&graph);
    }
}

static void the_kernel_is_the_one_that_is_told(void **state) {
    static const struct {
        const char *text, *operation, *told;
    } cases[] = {{"softmax+causal", "attention", "softmax"},
                 {"linear", "linear_attention", "running sums"},
                 {"linear(square)+causal+bn", "linear_attention", "running sums"},
                 {"linear+sh(1,2)", "linear_attention", "running sums"},
                 {"linear+strided(1)", "linear_attention", "running sums"},
                 {"softmax+window(3,3)", "attention", "matrix units: bf16, fp16, fp32-matrix"},
                 {"linear+bn", "linear_attention", "no matrix units"},
                 {"linear+window(3,3)", "attention", "with a window"},
                 {"linear+block(3)", "attention", "no matrix units"},
                 {"linear+strided(2)", "attention", "with strides"},
                 {"linear+block(2)", "attention", "with blocks"},
                 {"linear+sh(1,2)+causal", "attention", "causal scaled heads"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const xp_specification s = parsed("%s", cases[i].text);
        char text[200];
        xp_graph *graph = new_graph();
        const xp_tensor *o = layer(graph, &s, 6, 0, 0, 0);
        if (!o) fail_msg("%s: %s", cases[i].text, xp_last_error());
        assert_string_equal(o->producer->operation->name, cases[i].operation);
        xp_attention_describe(&s, 0, text, sizeof text);
        if (!strstr(text, cases[i].told))
            fail_msg("%s: \"%s\" does not tell \"%s\"", cases[i].text, text, cases[i].told);
        xp_graph_close(&graph);
    }
    char text[200];
    const xp_specification learned = parsed("softmax+bias");
    xp_attention_describe(&learned, 0, text, sizeof text);
    assert_non_null(strstr(text, "not for the gradient of the bias"));
    xp_attention_describe_widths(&learned, text, sizeof text);
    assert_non_null(strstr(text, "fp32-matrix: heads of at most 128 numbers, in training 64;"));
    assert_true(strlen(text) <= 100);
    const xp_specification linear = parsed("linear");
    xp_attention_describe(&linear, 0.1f, text, sizeof text);
    assert_non_null(strstr(text, "attention dropout"));
    xp_attention_describe_widths(&linear, text, sizeof text);
    assert_string_equal(text, "");
}

static void an_index_of_a_table_stays_within_it(void **state) {
    static const float numbers[6];
    xp_graph *graph = new_graph();
    const xp_specification s =
        parsed("softmax+score(\"score + t [key_index - 7] * tt[(t[head] > 0) * 9]\",t=%s,tt=%s/u.npy)",
               scratch_write_npy("t.npy", "<f4", "6,", numbers, 24), scratch_folder);
    scratch_write_npy("u.npy", "<f4", "2,2", numbers, 16);
    const xp_tensor *o = layer(graph, &s, 6, 0, 0, 0);
    if (!o) fail_msg("%s", xp_last_error());
    xp_attention_attributes attributes;
    memcpy(&attributes, o->producer->attributes, sizeof attributes);
    assert_non_null(strstr(attributes.prelude, "score + t [min((uint)(key_index - 7), 5u)] * "
                                               "tt[min((uint)((t[min((uint)(head), 5u)] > 0) * 9), 3u)]\n"));
    xp_graph_close(&graph);
}

/* ---- in models --------------------------------------------------------------------------------------------------- */

static xp_model_config config_of(int kind, const char *attention, int key_heads) {
    xp_model_config config = {.kind = kind,
                              .width = 16,
                              .heads = 4,
                              .key_heads = key_heads,
                              .layers = 2,
                              .feed_forward = 8,
                              .patch_steps = 1,
                              .norm_epsilon = 1e-5,
                              .activation = XP_ACTIVATION_GELU,
                              .head = XP_HEAD_MEAN,
                              .mask_padding = 1,
                              .patch = 4};
    snprintf(config.attention, sizeof config.attention, "%s", attention);
    return config;
}

static const xp_model_shape SERIES = {.batch = 2, .outputs = 3, .length = 10, .features = 2};
static const xp_model_shape IMAGES = {.batch = 2, .outputs = 3, .channels = 1, .height = 12, .breadth = 12};

static void models_are_built_with_every_part(void **state) {
    static const struct {
        int kind, key_heads;
        const char *attention;
    } cases[] = {{XP_MODEL_ENCODER, 2, "softmax+causal+window(3,2)+alibi+softcap(5)+bias+bn(beta=learned)"},
                 {XP_MODEL_ENCODER, 1, "linear(identity)+unnormalised+causal(last)"},
                 {XP_MODEL_ENCODER, 0, "softmax+bn+sh(1,2)+causal+strided(2)+score(\"score - 1\")"},
                 {XP_MODEL_VISION, 2, "softmax+bn+block(4)"},
                 {XP_MODEL_ENCODER, 2, "softmax+conv1d(3)+causal"},
                 {XP_MODEL_VISION, 0, "linear+sh(1,2)+conv2d(3)"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const xp_model_config config = config_of(cases[i].kind, cases[i].attention, cases[i].key_heads);
        const xp_model_shape *shape = cases[i].kind == XP_MODEL_ENCODER ? &SERIES : &IMAGES;
        xp_store *store;
        xp_learner training, evaluation;
        const xp_task_options options = {.label_smoothing = 0};
        assert_int_equal(xp_store_create(&store), XP_OK);
        if (xp_learner_build(&training, &xp_classification, &config, shape, &options, store, true) != XP_OK ||
            xp_learner_build(&evaluation, &xp_classification, &config, shape, &options, store, false) != XP_OK)
            fail_msg("%s: %s", cases[i].attention, xp_last_error());
        const int qkv = xp_store_find(store, "encoder.1.attention.qkv.weight");
        const int groups = cases[i].key_heads ? cases[i].key_heads : 4;
        assert_true(qkv >= 0);
        assert_int_equal(store->parameters[qkv].shape[0], (4 + 2 * groups) * 4);
        xp_learner_release(&training);
        xp_learner_release(&evaluation);
        xp_store_close(&store);
    }
}

static void models_reject_what_does_not_fit_them(void **state) {
    static const struct {
        int kind, key_heads;
        const char *attention, *reason;
    } cases[] = {{XP_MODEL_ENCODER, 3, "softmax", "3 key heads do not divide 4 heads"},
                 {XP_MODEL_ENCODER, 2, "softmax+sh(1,2)", "key_heads"},
                 {XP_MODEL_ENCODER, 0, "softmax+conv2d(3)", "conv2d needs the patch grid"},
                 {XP_MODEL_VISION, 0, "softmax+conv1d(3)", "conv1d needs a sequence"},
                 {XP_MODEL_VISION, 0, "softmax+sh(1,2)+causal", "causal cannot be combined with sh on an image"},
                 {XP_MODEL_ENCODER, 0, "softmax+mask(/nowhere/m.npy)", "/nowhere/m.npy"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const xp_model_config config = config_of(cases[i].kind, cases[i].attention, cases[i].key_heads);
        xp_store *store;
        xp_model model;
        assert_int_equal(xp_store_create(&store), XP_OK);
        assert_int_not_equal(
            xp_model_build(&model, &config, cases[i].kind == XP_MODEL_ENCODER ? &SERIES : &IMAGES, store, true), XP_OK);
        if (!strstr(xp_last_error(), cases[i].reason))
            fail_msg("%s: \"%s\" does not name \"%s\"", cases[i].attention, xp_last_error(), cases[i].reason);
        xp_store_close(&store);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_do_not_fit_are_rejected),
        cmocka_unit_test(masks_are_packed_bit_by_bit),
        cmocka_unit_test(blocks_keep_one_bit_each),
        cmocka_unit_test(a_pooled_key_is_seen_if_its_whole_window_is),
        cmocka_unit_test(packed_samples_have_masks_of_the_longest),
        cmocka_unit_test(the_kernel_is_the_one_that_is_told),
        cmocka_unit_test(an_index_of_a_table_stays_within_it),
        cmocka_unit_test(models_are_built_with_every_part),
        cmocka_unit_test(models_reject_what_does_not_fit_them),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
