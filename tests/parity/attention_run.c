/* The device's half of the attention parity test: runs one attention layer and its gradient, and writes what came out.
 * Judges nothing.
 *
 *     attention_run IN OUT SPECIFICATION FAMILY
 *
 * IN has "q" [B,N,H,D], "k" [B,M,G,D], "v" [B,M,G,E], "d_o" [B,N,H,E], perhaps "key_lengths" and "query_lengths" I64
 * [B], and "value/NAME" for the layer's parameters (zeros where they are missing). OUT has "o", "dq", "dk", "dv" and
 * "gradient/NAME". */
#include "graph/plan.h"
#include "graph/store.h"
#include "model/attention.h"
#include "train/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESULTS = 16 };

typedef struct run {
    xp_safetensors in, out;
    xp_device *device;
    xp_store *store;
    xp_graph *graph;
    xp_plan *plan;
    void *results[RESULTS];
    int result_count;
} run;

static xp_status input(run *r, const char *name, xp_type type, xp_tensor **out) {
    const xp_safetensors_entry *entry = xp_safetensors_find(&r->in, name);
    *out = NULL;
    if (!entry) return type == XP_I32 ? XP_OK : xp_fail(XP_BAD_DATA, "there is no tensor %s", name);
    *out = xp_graph_input(r->graph, name, type, entry->rank, entry->shape);
    return *out ? XP_OK : XP_INVALID_ARGUMENT;
}

static xp_status upload(run *r, const xp_tensor *tensor) {
    const xp_safetensors_entry *entry = xp_safetensors_find(&r->in, tensor->name);
    if (tensor->type == XP_F32) return xp_plan_write(r->plan, tensor, entry->data);
    int32_t words[64];
    if (entry->elements > 64) return xp_fail(XP_BAD_DATA, "%s has more than 64 numbers", tensor->name);
    for (int64_t i = 0; i < entry->elements; i++) words[i] = (int32_t)((const int64_t *)entry->data)[i];
    return xp_plan_write(r->plan, tensor, words);
}

static xp_status add_result(run *r, const char *name, int rank, const int64_t *shape, int64_t elements, void **data) {
    if (r->result_count == RESULTS) return xp_fail(XP_UNSUPPORTED, "there are more than %d results", RESULTS);
    *data = r->results[r->result_count++] = calloc((size_t)elements, sizeof(float));
    if (!*data) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %s", name);
    return xp_safetensors_add(&r->out, name, XP_SAFETENSORS_F32, rank, shape, *data);
}

static xp_status download(run *r, const char *name, const xp_tensor *tensor) {
    void *data;
    XP_TRY(add_result(r, name, tensor->rank, tensor->shape, xp_tensor_elements(tensor), &data));
    return xp_plan_read(r->plan, tensor, data);
}

static xp_status fill_parameters(run *r) {
    for (int i = 0; i < r->store->count; i++) {
        const xp_parameter *parameter = &r->store->parameters[i];
        char name[XP_NAME_BYTES + 8];
        snprintf(name, sizeof name, "value/%s", parameter->name);
        const xp_safetensors_entry *entry = xp_safetensors_find(&r->in, name);
        if (!entry) continue;
        if (entry->elements != parameter->elements)
            return xp_fail(XP_BAD_DATA, "%s has %lld numbers, not %lld", name, (long long)entry->elements,
                           (long long)parameter->elements);
        XP_TRY(xp_store_write(r->store, XP_STORE_VALUES, i, entry->data));
    }
    return XP_OK;
}

static xp_status attend(run *r, const char *text) {
    xp_specification specification;
    xp_attention_layer_inputs inputs = {0};
    xp_tensor *seed, *gradients[3];
    XP_TRY(xp_specification_parse(text, &specification));
    XP_TRY(input(r, "q", XP_F32, &inputs.q));
    XP_TRY(input(r, "k", XP_F32, &inputs.k));
    XP_TRY(input(r, "v", XP_F32, &inputs.v));
    XP_TRY(input(r, "d_o", XP_F32, &seed));
    XP_TRY(input(r, "key_lengths", XP_I32, &inputs.key_lengths));
    XP_TRY(input(r, "query_lengths", XP_I32, &inputs.query_lengths));
    inputs.q->needs_gradient = inputs.k->needs_gradient = inputs.v->needs_gradient = true;
    xp_tensor *o = xp_attention_layer(r->graph, &specification, "", &inputs, NULL);
    if (!o) return XP_INVALID_ARGUMENT;
    xp_tensor *leaves[] = {inputs.q, inputs.k, inputs.v};
    XP_TRY(xp_graph_differentiate(r->graph, 1, &o, &seed, 3, leaves, gradients));
    o->keep = gradients[0]->keep = gradients[1]->keep = gradients[2]->keep = true;
    XP_TRY(xp_store_lay_out(r->store, r->device->limits.alignment_bytes));
    XP_TRY(xp_plan_create(&r->plan, r->device, r->graph));
    if (r->store->count) XP_TRY(xp_store_allocate(r->store, r->device));
    XP_TRY(xp_plan_realise(r->plan, NULL));
    xp_tensor *const given[] = {inputs.q, inputs.k, inputs.v, seed, inputs.key_lengths, inputs.query_lengths};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        if (given[i]) XP_TRY(upload(r, given[i]));
    XP_TRY(fill_parameters(r));
    XP_TRY(xp_plan_run(r->plan));
    XP_TRY(download(r, "o", o));
    XP_TRY(download(r, "dq", gradients[0]));
    XP_TRY(download(r, "dk", gradients[1]));
    XP_TRY(download(r, "dv", gradients[2]));
    for (int i = 0; i < r->store->count; i++) {
        const xp_parameter *parameter = &r->store->parameters[i];
        char name[XP_NAME_BYTES + 16];
        void *data;
        snprintf(name, sizeof name, "gradient/%s", parameter->name);
        XP_TRY(add_result(r, name, parameter->rank, parameter->shape, parameter->elements, &data));
        XP_TRY(xp_store_read(r->store, XP_STORE_GRADIENTS, i, data));
    }
    return XP_OK;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: attention_run IN OUT SPECIFICATION FAMILY\n");
        return 2;
    }
    run r = {0};
    xp_device_options options;
    xp_device_options_default(&options);
    options.family = argv[4];
    xp_status status = xp_safetensors_read(&r.in, argv[1]);
    if (status == XP_OK) status = xp_device_open(&r.device, &options);
    if (status == XP_OK) status = xp_store_create(&r.store);
    if (status == XP_OK) status = xp_graph_create(&r.graph, r.store, true);
    if (status == XP_OK) status = attend(&r, argv[3]);
    if (status == XP_OK) status = xp_safetensors_write(&r.out, argv[2]);
    if (status != XP_OK) fprintf(stderr, "attention_run: %s\n", xp_last_error());
    xp_plan_close(&r.plan);
    xp_graph_close(&r.graph);
    xp_store_close(&r.store);
    xp_device_close(&r.device);
    xp_safetensors_release(&r.in);
    xp_safetensors_release(&r.out);
    for (int i = 0; i < r.result_count; i++) free(r.results[i]);
    return status != XP_OK;
}
