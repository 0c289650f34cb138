/* The tensors of a checkpoint, and weights alone: from a store to a file, and back when they fit. */
#include "train/checkpoint_tensors.h"

#include "core/text.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"

#include <expanse/train.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 1200 };

/* A group of tensors: buffers of the store, and the prefix of their parameters' names in the file. */
typedef struct kind {
    const char *file;
    int count, buffers[2];
    const char *prefixes[2];
} kind;

static const kind kinds[] = {
    [XP_TENSORS_VALUES] = {"model.safetensors", 1, {XP_STORE_VALUES}, {""}},
    [XP_TENSORS_MOMENTS] = {
        "training.safetensors", 2, {XP_STORE_MOMENT_1, XP_STORE_MOMENT_2}, {"moment_1.", "moment_2."}}};
enum { GROUPS = sizeof kinds / sizeof *kinds };

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Copies one flat buffer's parameters to host memory and lists them; `blocks` keeps the memory until the file is out.
 * step: of the run; below 0: of none, and written whatever the values are. */
static xp_status gather(xp_store *store, int buffer, const char *prefix, int64_t step, xp_safetensors *set,
                        float **blocks) {
    for (int i = 0; i < store->count; i++) {
        const xp_parameter *parameter = &store->parameters[i];
        if (buffer != XP_STORE_VALUES && parameter->kind == XP_PARAMETER_STATE) continue;
        char name[XP_NAME_BYTES + 16];
        snprintf(name, sizeof name, "%s%s", prefix, parameter->name);
        blocks[i] = malloc((size_t)parameter->elements * sizeof **blocks);
        if (!blocks[i]) return xp_fail(XP_OUT_OF_MEMORY, "no memory to copy parameter %s", parameter->name);
        XP_TRY(xp_store_read(store, buffer, i, blocks[i]));
        /* Values that no further step can repair must not replace a good checkpoint. */
        for (int64_t e = 0; step >= 0 && buffer == XP_STORE_VALUES && e < parameter->elements; e++) {
            if (isfinite(blocks[i][e])) continue;
            return xp_fail(XP_BAD_DATA,
                           "the parameter '%s' is not finite after step %lld: lower the learning rate, or look for "
                           "extreme values in the data; the previous checkpoint is kept",
                           parameter->name, (long long)step);
        }
        XP_TRY(xp_safetensors_add(set, name, XP_SAFETENSORS_F32, parameter->rank, parameter->shape, blocks[i]));
    }
    return XP_OK;
}

xp_status xp_tensors_begin(xp_safetensors *set) {
    return xp_safetensors_metadata(set, "format", "pt"); /* what Python's loaders look for */
}

static xp_status write_file(xp_safetensors *set, const char *path, xp_tensors_group group, xp_store *store,
                            int64_t step) {
    const kind *one = &kinds[group];
    const size_t slots = (size_t)one->count * (size_t)store->count;
    float **blocks = calloc(slots + 1, sizeof *blocks);
    if (!blocks) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to list the tensors", path);
    xp_status status = XP_OK;
    for (int i = 0; i < one->count && status == XP_OK; i++)
        status = gather(store, one->buffers[i], one->prefixes[i], step, set, blocks + (size_t)i * (size_t)store->count);
    if (status == XP_OK) status = xp_safetensors_write(set, path);
    for (size_t i = 0; i < slots; i++) free(blocks[i]);
    free(blocks);
    return status;
}

xp_status xp_tensors_write(xp_safetensors *set, const char *folder, xp_tensors_group group, xp_store *store,
                           int64_t step) {
    char path[PATH_BYTES];
    XP_TRY(xp_run_folder_path(folder, kinds[group].file, path, sizeof path));
    return write_file(set, path, group, store, step);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void print_shape(int rank, const int64_t *shape, char text[128]) {
    snprintf(text, 128, "[");
    for (int i = 0; i < rank; i++) xp_text_add(text, 128, "%s%lld", i ? "," : "", (long long)shape[i]);
    xp_text_add(text, 128, "]");
}

/* Finds the tensor of a parameter in the file; another shape or type is another model. Unless it must be `exact`, a
 * table that is computed row by row may have another number of them. */
static xp_status match(const xp_safetensors *set, const char *path, const char *prefix, const xp_parameter *parameter,
                       bool exact, const xp_safetensors_entry **out) {
    char name[XP_NAME_BYTES + 16], here[128], there[128];
    snprintf(name, sizeof name, "%s%s", prefix, parameter->name);
    const xp_safetensors_entry *entry = xp_safetensors_find(set, name);
    print_shape(parameter->rank, parameter->shape, here);
    if (!entry) {
        return xp_fail(XP_BAD_DATA, "%s: belongs to another model: it has no tensor '%s' %s", path, name, here);
    }
    bool same = entry->type == XP_SAFETENSORS_F32 && entry->rank == parameter->rank;
    const bool computed = parameter->kind == XP_PARAMETER_STATE && parameter->initial == XP_INITIAL_SINUSOID;
    for (int i = !exact && computed ? 1 : 0; same && i < entry->rank; i++)
        same = entry->shape[i] == parameter->shape[i];
    if (!same) {
        print_shape(entry->rank, entry->shape, there);
        return xp_fail(XP_BAD_DATA, "%s: belongs to another model: its tensor '%s' is %s, but this model's is %s", path,
                       name, entry->type == XP_SAFETENSORS_F32 ? there : "not F32", here);
    }
    *out = entry;
    return XP_OK;
}

/* Whether the file has the group's tensors and no others. */
static xp_status check_group(const xp_safetensors *set, const char *path, const xp_store *store, xp_tensors_group group,
                             bool exact) {
    const kind *one = &kinds[group];
    int expected = 0;
    for (int k = 0; k < one->count; k++) {
        for (int i = 0; i < store->count; i++) {
            const xp_safetensors_entry *entry;
            if (group != XP_TENSORS_VALUES && store->parameters[i].kind == XP_PARAMETER_STATE) continue;
            XP_TRY(match(set, path, one->prefixes[k], &store->parameters[i], exact, &entry));
            expected++;
        }
    }
    if (set->count == expected) return XP_OK;
    for (int e = 0; e < set->count; e++) {
        bool known = false;
        for (int k = 0; k < one->count && !known; k++) {
            size_t length = strlen(one->prefixes[k]);
            known = strncmp(set->entries[e].name, one->prefixes[k], length) == 0 &&
                    xp_store_find(store, set->entries[e].name + length) >= 0;
        }
        if (!known) {
            return xp_fail(XP_BAD_DATA, "%s: belongs to another model: this one has no parameter for its tensor '%s'",
                           path, set->entries[e].name);
        }
    }
    return xp_fail(XP_BAD_DATA, "%s: belongs to another model: it has %d tensors, but this model has %d", path,
                   set->count, expected);
}

static xp_status fill_buffer(const xp_safetensors *set, const char *path, const char *prefix, xp_store *store,
                             int buffer) {
    for (int i = 0; i < store->count; i++) {
        const xp_safetensors_entry *entry;
        if (buffer != XP_STORE_VALUES && store->parameters[i].kind == XP_PARAMETER_STATE) continue;
        XP_TRY(match(set, path, prefix, &store->parameters[i], false, &entry));
        XP_TRY(entry->elements == store->parameters[i].elements ? xp_store_write(store, buffer, i, entry->data)
                                                                : xp_store_initialise_one(store, i, 0));
    }
    return XP_OK;
}

static xp_status fill(const xp_safetensors *set, const char *path, xp_store *store, xp_tensors_group group) {
    const kind *one = &kinds[group];
    for (int i = 0; i < one->count; i++) XP_TRY(fill_buffer(set, path, one->prefixes[i], store, one->buffers[i]));
    return XP_OK;
}

/* A checkpoint's tensors in host memory, by group. */
typedef struct tensors {
    char paths[GROUPS][PATH_BYTES];
    xp_safetensors sets[GROUPS];
} tensors;

static void release_tensors(tensors *read) {
    for (int group = 0; group < GROUPS; group++) xp_safetensors_release(&read->sets[group]);
}

/* On failure nothing is left to release. */
static xp_status read_tensors(tensors *out, const char *folder, const xp_store *store, bool moments, bool exact) {
    xp_status status = XP_OK;
    *out = (tensors){0};
    for (int group = 0; group < (moments ? GROUPS : 1) && status == XP_OK; group++) {
        xp_safetensors *set = &out->sets[group];
        char *path = out->paths[group];
        status = xp_run_folder_file(folder, kinds[group].file, path, PATH_BYTES);
        if (status == XP_OK) status = xp_safetensors_read(set, path);
        if (status == XP_OK) status = check_group(set, path, store, (xp_tensors_group)group, exact);
    }
    if (status != XP_OK) release_tensors(out);
    return status;
}

xp_status xp_checkpoint_check(const char *folder, const xp_checkpoint *checkpoint, bool moments) {
    xp_store *store = NULL;
    xp_model model = {0};
    tensors read;
    XP_TRY(xp_store_create(&store));
    xp_status status = xp_model_build(&model, &checkpoint->config.model, &checkpoint->shape, store, false);
    if (status != XP_OK)
        status = xp_fail_in(status, "%s: state.json and config.yaml do not describe a valid model: ", folder);
    if (status == XP_OK) status = read_tensors(&read, folder, store, moments, true);
    if (status == XP_OK) release_tensors(&read);
    xp_model_release(&model);
    xp_store_close(&store);
    return status;
}

xp_status xp_checkpoint_load(const char *folder, xp_store *store, bool moments) {
    tensors read;
    XP_TRY(read_tensors(&read, folder, store, moments, false));
    xp_status status = XP_OK;
    for (int group = moments ? GROUPS - 1 : 0; group >= 0 && status == XP_OK; group--)
        status = fill(&read.sets[group], read.paths[group], store, (xp_tensors_group)group);
    release_tensors(&read);
    return status;
}

/* --- weights alone ------------------------------------------------------------------------------------------------ */

xp_status xp_weights_save(xp_store *store, const char *path) {
    xp_safetensors set = {0};
    xp_status status = xp_tensors_begin(&set);
    if (status == XP_OK) status = write_file(&set, path, XP_TENSORS_VALUES, store, -1);
    xp_safetensors_release(&set);
    return status;
}

xp_status xp_weights_load(xp_store *store, const char *path) {
    xp_safetensors set = {0};
    xp_status status = xp_safetensors_read(&set, path);
    if (status == XP_OK) status = check_group(&set, path, store, XP_TENSORS_VALUES, true);
    if (status == XP_OK) status = fill(&set, path, store, XP_TENSORS_VALUES);
    xp_safetensors_release(&set);
    return status;
}
