/* Graphs and plans: shapes, views, differentiation's bookkeeping, placement by lifetime. The operations used here are
 * this file's own: their launches are planned, never run. */
#include "devices.h"
#include "graph/operation.h"
#include "graph/plan.h"
#include "graph/plan_internal.h"
#include "graph/store.h"
#include "ops/ops.h"

static xp_device *device;

/* ---- an operation that reads all its inputs and writes all its outputs ------------------------------------------- */

static xp_status mix_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs);
static xp_status mix_emit(xp_plan *plan, const xp_node *node, xp_family family);
static const xp_operation mix = {.name = "mix",
                                 .gradient = mix_gradient,
                                 .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, mix_emit}),
                                 .strided_outputs = 1};

static xp_tensor *add_mix(xp_graph *graph, const char *name, xp_tensor *a, xp_tensor *b, int rank,
                          const int64_t *shape) {
    xp_tensor *out = xp_graph_tensor(graph, name, XP_F32, rank, shape);
    return xp_graph_node(graph, &mix, 2, (xp_tensor *[]){a, b}, 1, &out, NULL, 0) ? out : NULL;
}

static xp_status mix_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    for (int i = 0; i < 2; i++)
        if (node->inputs[i] && node->inputs[i]->needs_gradient)
            d_inputs[i] = add_mix(graph, "d_mix", d_outputs[0], NULL, node->inputs[i]->rank, node->inputs[i]->shape);
    return XP_OK;
}

static xp_status mix_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_launch_request request = {
        .file = "none", .kernel = "mix", .dimensions = 1, .global = {64}, .local = {64}, .flops = 1};
    for (int i = 0; i < node->input_count; i++) xp_launch_read(&request, node->inputs[i]);
    for (int i = 0; i < node->output_count; i++) xp_launch_write(&request, node->outputs[i]);
    return xp_plan_launch(plan, node, &request);
}

/* ---- shapes and views -------------------------------------------------------------------------------------------- */

static void a_reshape_keeps_the_elements_or_is_rejected(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){6, 4});
    xp_tensor *y = xp_graph_reshape(graph, x, 3, (int64_t[]){2, 3, 4});
    assert_ptr_equal(y->base, x);
    assert_int_equal(y->stride[0], 12);
    assert_null(xp_graph_reshape(graph, x, 1, (int64_t[]){23}));
    assert_non_null(strstr(xp_last_error(), "[6,4] cannot be reshaped to [23]"));
    assert_null(xp_graph_input(graph, "empty", XP_F32, 2, (int64_t[]){6, 0}));
    assert_null(xp_graph_input(graph, "huge", XP_F32, 2, (int64_t[]){INT64_MAX / 2, 4}));
    xp_graph_close(&graph);
}

static void the_parts_of_a_split_lie_where_they_should(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    xp_tensor *x = xp_graph_input(graph, "qkv", XP_F32, 2, (int64_t[]){10, 24});
    xp_tensor *y = xp_graph_reshape(graph, x, 5, (int64_t[]){2, 5, 3, 4, 2}), *part[3];
    assert_int_equal(xp_graph_split(graph, y, 2, part), XP_OK);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(part[i]->base, x);
        assert_int_equal(part[i]->rank, 4);
        assert_int_equal(part[i]->offset, i * 8);
        const int64_t stride[] = {120, 24, 2, 1}, shape[] = {2, 5, 4, 2};
        assert_memory_equal(part[i]->stride, stride, sizeof stride);
        assert_memory_equal(part[i]->shape, shape, sizeof shape);
    }
    assert_false(xp_tensor_is_dense(part[0]));
    xp_graph_close(&graph);
}

static void slices_keep_their_axis(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    xp_tensor *x = xp_graph_input(graph, "qkv", XP_F32, 4, (int64_t[]){2, 5, 8, 3}), *part[3];
    const int64_t sizes[] = {4, 2, 2}, wrong[] = {4, 2, 3};
    assert_int_equal(xp_graph_slice(graph, x, 2, 3, sizes, part), XP_OK);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(part[i]->base, x);
        assert_int_equal(part[i]->offset, 3 * (i == 0 ? 0 : 2 + 2 * i));
        const int64_t stride[] = {120, 24, 3, 1}, shape[] = {2, 5, sizes[i], 3};
        assert_memory_equal(part[i]->stride, stride, sizeof stride);
        assert_memory_equal(part[i]->shape, shape, sizeof shape);
    }
    assert_int_equal(xp_graph_slice(graph, x, 2, 3, wrong, part), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "3 slices of 9"));
    xp_graph_close(&graph);
}

static void gradients_of_parts_are_written_into_the_whole_without_a_copy(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){10, 24}), *part[3];
    x->needs_gradient = true;
    xp_tensor *y = xp_graph_reshape(graph, add_mix(graph, "y", x, NULL, 2, x->shape), 3, (int64_t[]){10, 3, 8});
    assert_int_equal(xp_graph_split(graph, y, 1, part), XP_OK);
    xp_tensor *z = add_mix(graph, "z", part[0], part[1], 2, part[0]->shape);
    z = add_mix(graph, "w", z, part[2], 2, part[0]->shape);
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 2, z->shape), *dx;
    int before = graph->node_count;
    assert_int_equal(xp_graph_differentiate(graph, 1, &z, &seed, 1, &x, &dx), XP_OK);
    assert_non_null(dx);
    int mixes = 0;
    for (int i = before; i < graph->node_count; i++) {
        if (graph->nodes[i]->operation != &mix) {
            assert_string_equal(graph->nodes[i]->operation->name, "reshape");
            continue;
        }
        mixes++;
        assert_true(graph->nodes[i]->backward);
    }
    assert_int_equal(mixes, 5); /* two inputs of w, two of z, one of y */
    xp_graph_close(&graph);
}

/* How many nodes of an operation there are. */
static int count_operation(const xp_graph *graph, const char *name) {
    int count = 0;
    for (int i = 0; i < graph->node_count; i++) count += strcmp(graph->nodes[i]->operation->name, name) == 0;
    return count;
}

/* x branches into two linear layers, the first one with a ReLU before it, whose sum is the output. */
static xp_tensor *build_branches(xp_graph *graph, xp_tensor *x, xp_tensor *z_kept) {
    xp_tensor *weight[2];
    for (int i = 0; i < 2; i++) weight[i] = xp_graph_input(graph, i ? "v" : "w", XP_F32, 2, (int64_t[]){16, 16});
    xp_tensor *active = xp_activate(graph, x, XP_ACTIVATION_RELU);
    xp_tensor *left = xp_linear(graph, active, weight[0], NULL, XP_ACTIVATION_NONE);
    if (z_kept) left = xp_add(graph, left, xp_linear(graph, active, z_kept, NULL, XP_ACTIVATION_NONE));
    return xp_add(graph, left, xp_linear(graph, x, weight[1], NULL, XP_ACTIVATION_NONE));
}

static void products_take_in_slopes_and_the_gradients_that_meet_theirs(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){8, 16})), *dx;
    xp_tensor *y = build_branches(graph, x, NULL);
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 2, y->shape);
    const int adds = count_operation(graph, "add");
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 1, &x, &dx), XP_OK);
    assert_int_equal(count_operation(graph, "activation_backward"), 0); /* the product before it multiplies */
    assert_int_equal(graph->fused, 1);
    assert_true(graph->fused_bytes == 8.0 * 8 * 16);
    /* The other branch's gradient came first, and what came second is no product's own any more. */
    assert_int_equal(count_operation(graph, "add"), adds + 1);
    assert_true(xp_tensor_same_shape(dx, x));
    xp_graph_close(&graph);
}

static void a_sum_of_gradients_is_taken_in_before_a_slope(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){8, 16})), *dx;
    xp_tensor *y = build_branches(graph, x, xp_graph_input(graph, "u", XP_F32, 2, (int64_t[]){16, 16}));
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 2, y->shape);
    const int adds = count_operation(graph, "add");
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 1, &x, &dx), XP_OK);
    assert_int_equal(count_operation(graph, "add"), adds + 1);
    assert_int_equal(count_operation(graph, "activation_backward"), 1); /* its product adds already */
    assert_int_equal(graph->fused, 1);
    xp_graph_close(&graph);
}

static void what_the_caller_gets_is_not_taken_in(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){8, 16}));
    xp_tensor *active = xp_activate(graph, x, XP_ACTIVATION_GELU), *leaves[] = {x, active}, *gradients[2];
    xp_tensor *weight = xp_graph_input(graph, "w", XP_F32, 2, (int64_t[]){16, 16});
    xp_tensor *y = xp_linear(graph, active, weight, NULL, XP_ACTIVATION_NONE);
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 2, y->shape);
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 2, leaves, gradients), XP_OK);
    assert_int_equal(count_operation(graph, "activation_backward"), 1);
    assert_int_equal(graph->fused, 0);
    assert_ptr_not_equal(xp_tensor_root(gradients[0]), xp_tensor_root(gradients[1]));
    xp_graph_close(&graph);
}

/* The gradient of an activation that ends rows at lengths ends there: its reader sees to it, or else, where the caller
 * wants it, an operation of its own. */
static void a_layer_norm_ends_the_rows_of_the_gradient_that_it_reads(void **state) {
    for (int kept = 0; kept < 2; kept++) {
        xp_graph *graph;
        assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
        const int64_t width = 16;
        xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 3, (int64_t[]){2, 8, width}));
        xp_tensor *gamma = xp_graph_input(graph, "gamma", XP_F32, 1, &width);
        xp_tensor *lengths = xp_graph_input(graph, "lengths", XP_I32, 1, (int64_t[]){2});
        xp_tensor *normal = xp_layer_norm(graph, x, NULL, gamma, gamma, 1e-5f, 0, NULL), *leaves[] = {x, normal};
        xp_tensor *y = xp_activate_rows(graph, normal, lengths, XP_ACTIVATION_GELU, XP_F32), *gradients[2];
        xp_tensor *seed = xp_graph_input(graph, "seed", XP_F32, 3, y->shape);
        assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 1 + kept, leaves, gradients), XP_OK);
        assert_int_equal(count_operation(graph, "mask_rows"), kept);
        assert_int_equal(graph->fused, !kept);
        for (int i = 0; i < graph->node_count; i++)
            if (strcmp(graph->nodes[i]->operation->name, "layer_norm_backward") == 0)
                assert_ptr_equal(graph->nodes[i]->inputs[7], kept ? NULL : lengths);
        xp_graph_close(&graph);
    }
}

/* Dropout comes before what is added, in the product as in the graph. */
static void a_product_drops_elements_before_it_adds_a_gradient(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *x = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){8, 16})), *dx;
    xp_tensor *weights[2], *branches[2];
    for (int i = 0; i < 2; i++) weights[i] = xp_graph_input(graph, i ? "u" : "w", XP_F32, 2, (int64_t[]){16, 16});
    branches[0] = xp_linear(graph, xp_dropout(graph, x, 0.5f), weights[0], NULL, XP_ACTIVATION_NONE);
    branches[1] = xp_linear(graph, x, weights[1], NULL, XP_ACTIVATION_NONE);
    xp_tensor *y = xp_add(graph, branches[0], branches[1]), *seed = xp_graph_input(graph, "seed", XP_F32, 2, y->shape);
    const int adds = count_operation(graph, "add"), drops = count_operation(graph, "dropout");
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 1, &x, &dx), XP_OK);
    assert_int_equal(count_operation(graph, "dropout"), drops);
    assert_int_equal(count_operation(graph, "add"), adds);
    assert_int_equal(graph->fused, 2);
    xp_graph_close(&graph);
}

/* A gradient goes to fp32, as its parameter is, without being stored in 16 bits between. */
static void a_product_writes_its_result_in_the_type_that_a_cast_asks_for(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, true), XP_OK);
    xp_tensor *leaves[2], *gradients[2];
    leaves[0] = xp_tensor_want_gradient(xp_graph_input(graph, "w", XP_F32, 2, (int64_t[]){16, 16}));
    leaves[1] = xp_tensor_want_gradient(xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){8, 16}));
    xp_tensor *weight = xp_cast(graph, leaves[0], XP_BF16), *x = xp_cast(graph, leaves[1], XP_BF16);
    xp_tensor *other = xp_cast(graph, xp_graph_input(graph, "u", XP_F32, 2, (int64_t[]){16, 16}), XP_BF16);
    xp_tensor *y = xp_add(graph, xp_linear(graph, x, weight, NULL, XP_ACTIVATION_NONE),
                          xp_linear(graph, x, other, NULL, XP_ACTIVATION_NONE));
    xp_tensor *seed = xp_graph_input(graph, "seed", XP_BF16, 2, y->shape);
    assert_int_equal(count_operation(graph, "cast"), 3);
    assert_int_equal(xp_graph_differentiate(graph, 1, &y, &seed, 2, leaves, gradients), XP_OK);
    assert_int_equal(count_operation(graph, "cast"), 4); /* of dx, whose product adds a gradient in bf16 already */
    for (int i = 0; i < 2; i++) assert_int_equal(gradients[i]->type, XP_F32);
    const xp_tensor *whole = xp_tensor_root(gradients[0]);
    assert_int_equal(whole->type, XP_F32);
    assert_string_equal(whole->producer->operation->name, "gemm");
    xp_graph_close(&graph);
}

/* ---- placement --------------------------------------------------------------------------------------------------- */

static void tensors_that_live_together_never_overlap(void **state) {
    for (unsigned seed = 1; seed <= 50; seed++) {
        srand(seed);
        xp_graph *graph;
        assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
        xp_tensor *made[40];
        int64_t elements = 1 + rand() % 5000;
        made[0] = xp_graph_input(graph, "x", XP_F32, 1, &elements);
        for (int i = 1; i < 40; i++) {
            elements = 1 + rand() % 5000;
            made[i] = add_mix(graph, "m", made[rand() % i], rand() % 2 ? made[rand() % i] : NULL, 1, &elements);
            made[i]->keep = rand() % 10 == 0;
        }
        xp_plan *plan;
        assert_int_equal(xp_plan_create(&plan, device, graph), XP_OK);
        size_t needed = 0;
        for (int a = 0; a < 40; a++) {
            const xp_block *p = &plan->blocks[made[a]->id];
            assert_true(p->used);
            assert_int_equal(p->offset % device->limits.alignment_bytes, 0);
            assert_true(p->bytes >= xp_tensor_bytes(made[a]));
            if (p->offset + p->bytes > needed) needed = p->offset + p->bytes;
            for (int b = 0; b < a; b++) {
                const xp_block *q = &plan->blocks[made[b]->id];
                bool together = p->first <= q->last && q->first <= p->last;
                assert_false(together && p->offset < q->offset + q->bytes && q->offset < p->offset + p->bytes);
            }
        }
        xp_plan_summary summary;
        xp_plan_summarise(plan, &summary);
        assert_int_equal(summary.arena_bytes, needed);
        assert_true(summary.arena_bytes <= summary.unshared_bytes + summary.input_bytes);
        assert_int_equal(summary.launches, 39);
        assert_int_equal(summary.kernels, 1);
        xp_plan_close(&plan);
        xp_graph_close(&graph);
    }
}

static void no_block_crosses_the_end_of_a_slab(void **state) {
    /* 0 and 2 share the first slab of 128 bytes; 1, the smallest of those that matter then, would begin there and end
     * in the next one. 3 matters when none of them does. */
    xp_block blocks[] = {{true, 0, 2, .bytes = 64},
                         {true, 1, 3, .bytes = 32},
                         {true, 2, 2, .bytes = 48},
                         {true, 4, 4, .bytes = 128},
                         {.bytes = 16}};
    size_t arena = 0;
    assert_int_equal(xp_placement_find(blocks, 5, 128, &arena), XP_OK);
    const size_t offsets[] = {0, 128, 64, 0};
    for (int i = 0; i < 4; i++) assert_int_equal(blocks[i].offset, offsets[i]);
    assert_int_equal(arena, 160);
}

static void a_chain_needs_two_places_only(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    int64_t elements = 1024;
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 1, &elements), *y = x;
    for (int i = 0; i < 20; i++) y = add_mix(graph, "y", y, NULL, 1, &elements);
    xp_plan *plan;
    assert_int_equal(xp_plan_create(&plan, device, graph), XP_OK);
    xp_plan_summary summary;
    xp_plan_summarise(plan, &summary);
    assert_int_equal(summary.arena_bytes, 3 * 4096); /* the input keeps its own */
    xp_plan_close(&plan);
    xp_graph_close(&graph);
}

static void a_tensor_that_is_read_before_it_is_written_is_named(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    int64_t elements = 16;
    xp_tensor *orphan = xp_graph_tensor(graph, "orphan", XP_F32, 1, &elements);
    xp_graph_scope(graph, "layer.7");
    add_mix(graph, "y", orphan, NULL, 1, &elements);
    xp_plan *plan;
    assert_int_equal(xp_plan_create(&plan, device, graph), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "orphan"));
    assert_non_null(strstr(xp_last_error(), "layer.7"));
    xp_graph_close(&graph);
}

static void a_tensor_beyond_one_buffer_is_rejected_before_anything_is_allocated(void **state) {
    xp_graph *graph;
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    int64_t elements = (int64_t)(device->limits.allocation_bytes / 4) + 1;
    add_mix(graph, "huge", xp_graph_input(graph, "x", XP_F32, 1, (int64_t[]){4}), NULL, 1, &elements);
    xp_plan *plan;
    assert_int_equal(xp_plan_create(&plan, device, graph), XP_OUT_OF_MEMORY);
    assert_non_null(strstr(xp_last_error(), "smaller batch"));
    xp_graph_close(&graph);
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

static void the_store_puts_decayed_before_undecayed_before_state(void **state) {
    xp_store *store;
    assert_int_equal(xp_store_create(&store), XP_OK);
    assert_int_equal(xp_store_add(store, "norm", XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, 1, 1, (int64_t[]){7}),
                     XP_OK);
    assert_int_equal(xp_store_add(store, "mean", XP_PARAMETER_STATE, XP_INITIAL_CONSTANT, 0, 1, (int64_t[]){7}), XP_OK);
    assert_int_equal(
        xp_store_add(store, "weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 0.5f, 2, (int64_t[]){3, 5}), XP_OK);
    assert_int_equal(
        xp_store_add(store, "weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 0.5f, 2, (int64_t[]){3, 5}), XP_OK);
    assert_int_equal(
        xp_store_add(store, "weight", XP_PARAMETER_DECAYED, XP_INITIAL_UNIFORM, 0.5f, 2, (int64_t[]){5, 3}),
        XP_INVALID_ARGUMENT);
    assert_int_equal(xp_store_allocate(store, device), XP_OK);
    assert_int_equal(store->count, 3);
    assert_int_equal(store->parameters[2].offset, 0);
    assert_int_equal(store->parameters[0].offset, store->decayed_elements);
    assert_int_equal(store->parameters[1].offset, store->trained_elements);
    assert_int_equal(store->trainable_count, 22);

    float first[15], second[15];
    assert_int_equal(xp_store_initialise(store, 5), XP_OK);
    assert_int_equal(xp_store_read(store, XP_STORE_VALUES, 2, first), XP_OK);
    assert_int_equal(xp_store_initialise(store, 6), XP_OK);
    assert_int_equal(xp_store_read(store, XP_STORE_VALUES, 2, second), XP_OK);
    assert_memory_not_equal(first, second, sizeof first);
    assert_int_equal(xp_store_initialise(store, 5), XP_OK);
    assert_int_equal(xp_store_read(store, XP_STORE_VALUES, 2, second), XP_OK);
    assert_memory_equal(first, second, sizeof first);
    for (int i = 0; i < 15; i++) assert_true(first[i] > -0.5f && first[i] < 0.5f);
    xp_store_close(&store);
}

/* Large stores are drawn on several threads, small ones on one; a parameter's values depend on neither. */
static void initial_values_depend_on_nothing_but_seed_and_name(void **state) {
    enum { PARAMETERS = 12, ELEMENTS = 100003, ROUNDS = 3 };
    static float values[ELEMENTS], alone[PARAMETERS][ELEMENTS];
    for (int round = 0; round < ROUNDS; round++) {
        xp_store *whole;
        assert_int_equal(xp_store_create(&whole), XP_OK);
        for (int i = 0; i < PARAMETERS; i++) {
            const xp_initial initial = i % 2 ? XP_INITIAL_NORMAL : XP_INITIAL_UNIFORM;
            const int64_t elements = ELEMENTS - 9000 * i;
            char name[32];
            xp_store *one;
            snprintf(name, sizeof name, "layer.%d.weight", i);
            assert_int_equal(xp_store_add(whole, name, XP_PARAMETER_DECAYED, initial, 0.5f, 1, &elements), XP_OK);
            if (round > 0) continue;
            assert_int_equal(xp_store_create(&one), XP_OK);
            assert_int_equal(xp_store_add(one, name, XP_PARAMETER_DECAYED, initial, 0.5f, 1, &elements), XP_OK);
            assert_int_equal(xp_store_allocate(one, device), XP_OK);
            assert_int_equal(xp_store_initialise(one, 7), XP_OK);
            assert_int_equal(xp_store_read(one, XP_STORE_VALUES, 0, alone[i]), XP_OK);
            xp_store_close(&one);
        }
        assert_int_equal(xp_store_allocate(whole, device), XP_OK);
        assert_int_equal(xp_store_initialise(whole, 7), XP_OK);
        for (int i = 0; i < PARAMETERS; i++) {
            assert_int_equal(xp_store_read(whole, XP_STORE_VALUES, i, values), XP_OK);
            assert_memory_equal(values, alone[i], (size_t)whole->parameters[i].elements * sizeof *values);
        }
        xp_store_close(&whole);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reshape_keeps_the_elements_or_is_rejected),
        cmocka_unit_test(the_parts_of_a_split_lie_where_they_should),
        cmocka_unit_test(slices_keep_their_axis),
        cmocka_unit_test(gradients_of_parts_are_written_into_the_whole_without_a_copy),
        cmocka_unit_test(products_take_in_slopes_and_the_gradients_that_meet_theirs),
        cmocka_unit_test(a_sum_of_gradients_is_taken_in_before_a_slope),
        cmocka_unit_test(what_the_caller_gets_is_not_taken_in),
        cmocka_unit_test(a_layer_norm_ends_the_rows_of_the_gradient_that_it_reads),
        cmocka_unit_test(a_product_drops_elements_before_it_adds_a_gradient),
        cmocka_unit_test(a_product_writes_its_result_in_the_type_that_a_cast_asks_for),
        cmocka_unit_test(tensors_that_live_together_never_overlap),
        cmocka_unit_test(no_block_crosses_the_end_of_a_slab),
        cmocka_unit_test(a_chain_needs_two_places_only),
        cmocka_unit_test(a_tensor_that_is_read_before_it_is_written_is_named),
        cmocka_unit_test(a_tensor_beyond_one_buffer_is_rejected_before_anything_is_allocated),
        cmocka_unit_test(the_store_puts_decayed_before_undecayed_before_state),
        cmocka_unit_test(initial_values_depend_on_nothing_but_seed_and_name),
    };
    return cmocka_run_group_tests(tests, open_one, close_device);
}
