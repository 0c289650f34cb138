/* A model of your own, trained: one transformer layer that recognises which of three frequencies a noisy series has.
 * The loss decreases, and the weights are saved and loaded. Compile:
 *   cc -std=c11 model.c $(pkg-config --cflags --libs expanse) -lm -o model */
#include <expanse/device.h>
#include <expanse/graph.h>
#include <expanse/ops.h>
#include <expanse/train.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 16, LENGTH = 32, WIDTH = 24, HEADS = 2, HEAD = WIDTH / HEADS, CLASSES = 3, STEPS = 60 };

static void check(xp_status status) {
    if (status == XP_OK) return;
    fprintf(stderr, "%s: %s\n", xp_status_name(status), xp_last_error());
    exit(1);
}

/* A parameter of the store and the graph; NULL on failure, as with all builders. */
static xp_tensor *parameter(xp_store *store, xp_graph *graph, const char *name, float bound, int rank, int64_t rows,
                            int64_t columns) {
    const int64_t shape[] = {rows, columns};
    const xp_parameter_kind kind = rank == 2 ? XP_PARAMETER_DECAYED : XP_PARAMETER_UNDECAYED;
    check(xp_store_add(store, name, kind, rank == 2 ? XP_INITIAL_UNIFORM : XP_INITIAL_CONSTANT, bound, rank, shape));
    return xp_graph_parameter(graph, name);
}

/* series [BATCH,LENGTH,1] -> logits [BATCH,CLASSES] */
static xp_tensor *build(xp_store *store, xp_graph *graph, xp_tensor *series) {
    xp_tensor *x = xp_linear(graph, series, parameter(store, graph, "embedding.weight", 1, 2, WIDTH, 1),
                             parameter(store, graph, "embedding.bias", 0, 1, WIDTH, 0), XP_ACTIVATION_NONE);
    x = xp_embed(graph, x, parameter(store, graph, "positions", 0.5f, 2, LENGTH, WIDTH), NULL, 1, 0);
    xp_tensor *qkv = xp_linear(graph, x, parameter(store, graph, "qkv.weight", 0.2f, 2, 3 * WIDTH, WIDTH),
                               parameter(store, graph, "qkv.bias", 0, 1, 3 * WIDTH, 0), XP_ACTIVATION_NONE);
    qkv = xp_graph_reshape(graph, qkv, 5, (int64_t[]){BATCH, LENGTH, 3, HEADS, HEAD});
    xp_tensor *part[3];
    check(xp_graph_split(graph, qkv, 2, part));
    xp_tensor *o = xp_attend(graph, "softmax+bn", "attention", part[0], part[1], part[2], NULL, 0);
    o = xp_graph_reshape(graph, o, 3, (int64_t[]){BATCH, LENGTH, WIDTH});
    x = xp_layer_norm(graph, x, o, parameter(store, graph, "norm.weight", 1, 1, WIDTH, 0),
                      parameter(store, graph, "norm.bias", 0, 1, WIDTH, 0), 1e-5f, 0, NULL);
    x = xp_sequence_pool(graph, x, NULL, XP_POOL_MEAN);
    return xp_linear(graph, x, parameter(store, graph, "head.weight", 0.2f, 2, CLASSES, WIDTH),
                     parameter(store, graph, "head.bias", 0, 1, CLASSES, 0), XP_ACTIVATION_NONE);
}

static float series[BATCH][LENGTH];
static int32_t labels[BATCH];

static void draw_batch(void) {
    for (int b = 0; b < BATCH; b++) {
        labels[b] = rand() % CLASSES;
        const float phase = rand() % 628 / 100.0f;
        for (int t = 0; t < LENGTH; t++)
            series[b][t] = sinf(phase + t * (0.3f + 0.5f * labels[b])) + rand() % 100 / 500.0f;
    }
}

int main(int count, char **words) {
    xp_device *device;
    xp_store *store;
    xp_graph *graph;
    xp_plan *plan;
    check(xp_device_open(&device, NULL)); /* the first GPU, else the CPU */
    check(xp_store_create(&store));
    check(xp_graph_create(&graph, store, true));

    const float one = 1, ones[BATCH] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    xp_tensor *input = xp_graph_input(graph, "series", XP_F32, 3, (int64_t[]){BATCH, LENGTH, 1});
    xp_tensor *classes = xp_graph_input(graph, "labels", XP_I32, 1, (int64_t[]){BATCH});
    xp_tensor *weights = xp_graph_constant(graph, "weights", XP_F32, 1, (int64_t[]){BATCH}, ones);
    xp_tensor *seed = xp_graph_constant(graph, "one", XP_F32, 1, (int64_t[]){1}, &one);
    xp_tensor *loss = xp_cross_entropy(graph, build(store, graph, input), classes, weights, 0, NULL, NULL);
    if (!xp_tensor_keep(loss)) check(xp_last_status()); /* the status of the first builder that failed */
    check(xp_graph_differentiate(graph, 1, &loss, &seed, 0, NULL, NULL));
    xp_optimiser_options optimiser;
    xp_optimiser_options_default(&optimiser);
    check(xp_train_optimiser(graph, device, &optimiser));

    check(xp_plan_create(&plan, device, graph));
    check(xp_store_allocate(store, device));
    check(xp_plan_realise(plan, NULL));
    check(xp_store_initialise(store, 1));
    float value = 0, first = 0, last = 0;
    for (int step = 1; step <= STEPS; step++) {
        draw_batch();
        check(xp_train_step(plan, 1, step, 0.01));
        check(xp_plan_write(plan, input, series));
        check(xp_plan_write(plan, classes, labels));
        check(xp_plan_run(plan));
        check(xp_plan_read(plan, loss, &value));
        if (step <= 5) first += value / 5;
        if (step > STEPS - 5) last += value / 5;
    }
    const char *path = count > 1 ? words[1] : "weights.safetensors";
    check(xp_weights_save(store, path));
    check(xp_weights_load(store, path));
    printf("loss of the first five steps %.3f, of the last five %.3f; weights in %s\n", (double)first, (double)last,
           path);
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_store_close(&store);
    xp_device_close(&device);
    return last < 0.7f * first ? 0 : 1;
}
