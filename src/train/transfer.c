/* Weights of another model. */
#include "train/transfer.h"

#include "core/files.h"
#include "core/text.h"
#include "train/run_folder.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* --- what belongs to the outputs ---------------------------------------------------------------------------------- */

static bool is_head(const xp_parameter *parameter) {
    return strncmp(parameter->name, "head.", strlen("head.")) == 0 ||
           strncmp(parameter->name, "head_hidden.", strlen("head_hidden.")) == 0;
}

/* The names of the outputs that the file was written with, NULL: it does not tell. */
static json_t *output_names(const xp_safetensors *set, const xp_task *task) {
    json_t *all = set->metadata ? json_loads(set->metadata, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(all, task->names_key));
    json_t *names = text ? json_loads(text, 0, NULL) : NULL;
    json_decref(all);
    return names;
}

/* Whether the outputs of the file have the same meaning, as far as it tells. */
static bool has_outputs(const xp_safetensors *set, const xp_checkpoint *checkpoint) {
    json_t *names = output_names(set, checkpoint->task);
    const size_t outputs = (size_t)checkpoint->shape.outputs;
    bool same = !names || json_array_size(names) == outputs;
    for (size_t i = 0; names && same && i < outputs; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        same = name && strcmp(name, checkpoint->output_names[i]) == 0;
    }
    json_decref(names);
    return same;
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static bool fits(const xp_safetensors_entry *entry, const xp_parameter *parameter) {
    bool same = entry->type == XP_SAFETENSORS_F32 && entry->rank == parameter->rank;
    for (int i = 0; same && i < entry->rank; i++) same = entry->shape[i] == parameter->shape[i];
    return same;
}

static void print_shape(int rank, const int64_t *shape, char text[128]) {
    snprintf(text, 128, "[");
    for (int i = 0; i < rank; i++) xp_text_add(text, 128, "%s%lld", i ? "," : "", (long long)shape[i]);
    xp_text_add(text, 128, "]");
}

static xp_status reject(const xp_transfer *transfer, const xp_safetensors_entry *entry, const xp_parameter *parameter) {
    char here[128], there[128];
    print_shape(parameter->rank, parameter->shape, here);
    print_shape(entry->rank, entry->shape, there);
    const bool length = strcmp(parameter->name, "positions") == 0;
    return xp_fail(XP_BAD_DATA, "%s: its tensor '%s' is %s, but this model's is %s; %s", transfer->path, entry->name,
                   entry->type == XP_SAFETENSORS_F32 ? there : "not F32", here,
                   length ? "learned positions cannot be taken for another length: give data of that length (series: "
                            "--max-length), or use model.positions=sinusoidal in both"
                          : "only the head may differ, so give the model the same options");
}

/* A table of sines is computed for the length of this model. */
static bool is_computed(const xp_parameter *parameter) {
    return parameter->kind == XP_PARAMETER_STATE && parameter->initial == XP_INITIAL_SINUSOID;
}

/* A part of a head means nothing beside one that was drawn. */
static bool takes_head(const xp_transfer *transfer, const xp_checkpoint *checkpoint, const xp_store *store) {
    bool whole = has_outputs(&transfer->set, checkpoint);
    for (int i = 0; whole && i < store->count; i++) {
        const xp_safetensors_entry *entry = xp_safetensors_find(&transfer->set, store->parameters[i].name);
        whole = !is_head(&store->parameters[i]) || (entry && fits(entry, &store->parameters[i]));
    }
    return whole;
}

static xp_status choose(xp_transfer *transfer, const xp_checkpoint *checkpoint, const xp_store *store) {
    const bool head = takes_head(transfer, checkpoint, store);
    for (int i = 0; i < store->count; i++) {
        const xp_parameter *parameter = &store->parameters[i];
        const xp_safetensors_entry *entry = xp_safetensors_find(&transfer->set, parameter->name);
        if (!entry || is_computed(parameter) || (is_head(parameter) && !head)) continue;
        if (!fits(entry, parameter)) return reject(transfer, entry, parameter);
        transfer->taken[i] = entry;
    }
    return XP_OK;
}

/* --- what is said ------------------------------------------------------------------------------------------------- */

/* "; newly drawn: head.weight, head.bias" */
static void list(xp_writer *note, const char *title, const char *name, bool *any) {
    xp_write(note, "%s%s", *any ? ", " : title, name);
    *any = true;
}

static xp_status describe(const xp_transfer *transfer, const xp_store *store, xp_writer *note) {
    int taken = 0;
    bool drawn = false, left = false;
    for (int i = 0; i < store->count; i++) taken += transfer->taken[i] != NULL;
    if (taken == 0)
        return xp_fail(XP_BAD_DATA,
                       "%s: belongs to another model: none of its %d tensors is one of this model, such as '%s'",
                       transfer->path, transfer->set.count, store->count ? store->parameters[0].name : "");
    xp_write(note, "weights      %d tensor%s from %s", taken, taken == 1 ? "" : "s", transfer->path);
    for (int i = 0; i < store->count; i++)
        if (!transfer->taken[i] && !is_computed(&store->parameters[i]))
            list(note, "; newly drawn: ", store->parameters[i].name, &drawn);
    for (int e = 0; e < transfer->set.count; e++)
        if (xp_store_find(store, transfer->set.entries[e].name) < 0)
            list(note, "; not used: ", transfer->set.entries[e].name, &left);
    return xp_writer_status(note, "the list of tensors");
}

/* --- opening and writing ------------------------------------------------------------------------------------------ */

static xp_status find_file(const char *from, char *path, size_t size) {
    char folder[1100];
    if (xp_file_exists(from)) {
        const int need = snprintf(path, size, "%s", from);
        return need >= 0 && (size_t)need < size ? XP_OK : xp_fail(XP_IO_ERROR, "%s: the path is too long", from);
    }
    XP_TRY(xp_run_folder_checkpoint(from, true, folder, sizeof folder));
    return xp_run_folder_file(folder, "model.safetensors", path, size);
}

static xp_status open_transfer(xp_transfer *transfer, const char *from, const xp_checkpoint *checkpoint,
                               const xp_store *store, xp_writer *note) {
    XP_TRY(find_file(from, transfer->path, sizeof transfer->path));
    XP_TRY(xp_safetensors_read(&transfer->set, transfer->path));
    transfer->taken = calloc((size_t)store->count + 1, sizeof *transfer->taken);
    if (!transfer->taken) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to list its tensors", transfer->path);
    XP_TRY(choose(transfer, checkpoint, store));
    return describe(transfer, store, note);
}

xp_status xp_transfer_open(xp_transfer *out, const char *from, const xp_checkpoint *checkpoint, const xp_store *store,
                           xp_writer *note) {
    xp_transfer transfer = {.taken = NULL};
    xp_status status = open_transfer(&transfer, from, checkpoint, store, note);
    if (status == XP_OK)
        *out = transfer;
    else
        xp_transfer_close(&transfer);
    return status == XP_OK ? XP_OK : xp_fail_in(status, "training.from (--from): ");
}

xp_status xp_transfer_write(const xp_transfer *transfer, xp_store *store) {
    for (int i = 0; transfer->taken && i < store->count; i++)
        if (transfer->taken[i]) XP_TRY(xp_store_write(store, XP_STORE_VALUES, i, transfer->taken[i]->data));
    return XP_OK;
}

void xp_transfer_close(xp_transfer *transfer) {
    xp_safetensors_release(&transfer->set);
    free(transfer->taken);
    transfer->taken = NULL;
}
