/* The parameters' flat buffers. */
#include "graph/store.h"

#include "core/array.h"
#include "core/half.h"
#include "core/random.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RANDOM_PURPOSE_PARAMETERS = 1 }; /* keeps initial values apart from the other streams of the seed */

xp_status xp_store_create(xp_store **out) {
    *out = calloc(1, sizeof **out);
    return *out ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for the parameters");
}

void xp_store_close(xp_store **store) {
    if (!store || !*store) return;
    for (int i = 0; i < XP_STORE_ALL_BUFFERS; i++)
        if ((*store)->buffers[i]) clReleaseMemObject((*store)->buffers[i]);
    free((*store)->parameters);
    free(*store);
    *store = NULL;
}

int xp_store_find(const xp_store *store, const char *name) {
    for (int i = 0; i < store->count; i++)
        if (strcmp(store->parameters[i].name, name) == 0) return i;
    return -1;
}

xp_status xp_store_add(xp_store *store, const char *name, xp_parameter_kind kind, xp_initial initial, float value,
                       int rank, const int64_t *shape) {
    int known = xp_store_find(store, name);
    if (known >= 0) {
        const xp_parameter *old = &store->parameters[known];
        if (old->rank != rank || memcmp(old->shape, shape, (size_t)rank * sizeof *shape) != 0)
            return xp_fail(XP_INVALID_ARGUMENT, "parameter %s was already declared with another shape", name);
        return XP_OK;
    }
    if (store->laid_out)
        return xp_fail(XP_INVALID_ARGUMENT, "parameter %s was declared after the store was laid out", name);
    if (rank < 1 || rank > XP_MAX_RANK)
        return xp_fail(XP_INVALID_ARGUMENT, "parameter %s: rank %d is not between 1 and %d", name, rank, XP_MAX_RANK);
    for (int i = 0; i < rank; i++)
        if (shape[i] < 1 || shape[i] > INT32_MAX)
            return xp_fail(XP_INVALID_ARGUMENT, "parameter %s: size %lld of axis %d is not between 1 and 2^31", name,
                           (long long)shape[i], i);
    if (strlen(name) >= XP_NAME_BYTES) return xp_fail(XP_INVALID_ARGUMENT, "parameter name %s is too long", name);
    if (!xp_array_reserve(&store->parameters, &store->room, (size_t)store->count, 1, sizeof *store->parameters))
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for parameter %s", name);
    xp_parameter *parameter = &store->parameters[store->count];
    *parameter = (xp_parameter){.kind = kind, .initial = initial, .value = value, .rank = rank, .elements = 1};
    snprintf(parameter->name, sizeof parameter->name, "%s", name);
    for (int i = 0; i < rank; i++) {
        parameter->shape[i] = shape[i];
        parameter->elements *= shape[i];
    }
    store->count++;
    return XP_OK;
}

bool xp_store_keep_copies(xp_store *store, xp_type type) {
    if (!store->laid_out && store->copies == XP_F32) store->copies = type;
    return store->copies == type;
}

xp_status xp_store_lay_out(xp_store *store, size_t alignment_bytes) {
    if (store->laid_out) return XP_OK;
    int64_t alignment = (int64_t)(alignment_bytes / xp_type_bytes(store->copies)), end = 0; /* of the smallest type */
    for (int kind = XP_PARAMETER_DECAYED; kind <= XP_PARAMETER_STATE; kind++) {
        for (int i = 0; i < store->count; i++) {
            xp_parameter *parameter = &store->parameters[i];
            if ((int)parameter->kind != kind) continue;
            parameter->offset = end;
            end += (parameter->elements + alignment - 1) / alignment * alignment;
            if (kind != XP_PARAMETER_STATE) store->trainable_count += parameter->elements;
        }
        if (kind == XP_PARAMETER_DECAYED) store->decayed_elements = end;
        if (kind == XP_PARAMETER_UNDECAYED) store->trained_elements = end;
    }
    store->elements = end;
    store->laid_out = true;
    return XP_OK;
}

xp_status xp_store_use(xp_store *store, int buffer) {
    if (store->buffers[XP_STORE_VALUES] && !store->buffers[buffer])
        return xp_fail(XP_INVALID_ARGUMENT,
                       "the store was allocated for evaluation alone: differentiate graphs and add "
                       "optimisers before xp_store_allocate");
    store->used[buffer] = true;
    return XP_OK;
}

/* What only evaluates has values alone. */
static size_t buffer_bytes(const xp_store *store, int buffer) {
    if (buffer == XP_STORE_SUMS && !store->accumulates) return 0;
    if (buffer >= XP_STORE_GRADIENTS && buffer <= XP_STORE_MOMENT_2 && !store->used[buffer]) return 0;
    if (buffer == XP_STORE_COPIES)
        return store->copies == XP_F32 ? 0 : (size_t)store->trained_elements * xp_type_bytes(store->copies);
    return (size_t)(buffer == XP_STORE_VALUES ? store->elements : store->trained_elements) *
           xp_type_bytes(XP_STORE_TYPE);
}

static const xp_parameter *at(const xp_store *store, int index) {
    return index >= 0 && index < store->count ? &store->parameters[index] : NULL;
}

int xp_store_count(const xp_store *store) {
    return store->count;
}

const char *xp_store_name(const xp_store *store, int index) {
    const xp_parameter *parameter = at(store, index);
    return parameter ? parameter->name : NULL;
}

int xp_store_shape(const xp_store *store, int index, int64_t *shape) {
    const xp_parameter *parameter = at(store, index);
    for (int i = 0; parameter && shape && i < parameter->rank; i++) shape[i] = parameter->shape[i];
    return parameter ? parameter->rank : 0;
}

xp_type xp_store_type(const xp_store *store, int index) {
    return XP_STORE_TYPE;
}

xp_parameter_kind xp_store_kind(const xp_store *store, int index) {
    const xp_parameter *parameter = at(store, index);
    return parameter ? parameter->kind : XP_PARAMETER_STATE;
}

size_t xp_store_bytes(const xp_store *store) {
    size_t bytes = 0;
    for (int i = 0; i < XP_STORE_ALL_BUFFERS; i++) bytes += buffer_bytes(store, i);
    return bytes;
}

/* Each parameter has its own stream, so adding one does not change the values of the others. */
static void fill_initial(const xp_parameter *parameter, uint64_t seed, float *values) {
    xp_random random;
    uint32_t name_hash = 2166136261u; /* FNV-1a: the stream follows the name, not the order of declaration */
    for (const char *c = parameter->name; *c; c++) name_hash = (name_hash ^ (unsigned char)*c) * 16777619u;
    xp_random_start(&random, seed + ((uint64_t)name_hash << 32), RANDOM_PURPOSE_PARAMETERS);
    int64_t width = parameter->shape[parameter->rank - 1];
    for (int64_t i = 0; i < parameter->elements; i++) {
        switch (parameter->initial) {
        case XP_INITIAL_CONSTANT:
            values[i] = parameter->value;
            break;
        case XP_INITIAL_UNIFORM:
            values[i] = (float)((2 * xp_random_unit(&random) - 1) * parameter->value);
            break;
        case XP_INITIAL_NORMAL: {
            double z;
            do z = xp_random_normal(&random);
            while (fabs(z) > 2);
            values[i] = (float)(z * parameter->value);
            break;
        }
        case XP_INITIAL_SINUSOID: { /* Vaswani et al. 2017, section 3.5 */
            int64_t row = i / width, column = i % width;
            double angle = (double)row / pow(10000.0, (double)(column / 2 * 2) / (double)width);
            values[i] = (float)(column % 2 ? cos(angle) : sin(angle));
            break;
        }
        }
    }
}

xp_status xp_store_allocate(xp_store *store, xp_device *device) {
    if (store->buffers[XP_STORE_VALUES]) return xp_fail(XP_INVALID_ARGUMENT, "the store is already allocated");
    XP_TRY(xp_store_lay_out(store, device->limits.alignment_bytes));
    if (store->trained_elements == 0) return xp_fail(XP_INVALID_ARGUMENT, "the model has no parameter to train");
    store->device = device;
    for (int i = 0; i < XP_STORE_ALL_BUFFERS; i++) {
        size_t bytes = buffer_bytes(store, i);
        if (bytes == 0) continue;
        XP_TRY(xp_device_buffer(device, bytes, &store->buffers[i]));
        XP_TRY(xp_device_fill_zero(device, store->buffers[i], bytes));
    }
    return XP_OK;
}

xp_status xp_store_initialise_one(xp_store *store, int index, uint64_t seed) {
    const xp_parameter *parameter = &store->parameters[index];
    float *values = malloc((size_t)parameter->elements * sizeof *values);
    if (!values) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the values of %s", parameter->name);
    fill_initial(parameter, seed, values);
    const xp_status status = xp_store_write(store, XP_STORE_VALUES, index, values);
    free(values);
    return status;
}

/* The parameters that are still to be drawn, for several threads: each takes the next one. */
typedef struct drawing {
    xp_store *store;
    uint64_t seed;
    pthread_mutex_t lock;
    int next;
    xp_status status;   /* of the first that failed */
    char message[1024]; /* its last error, which belongs to its thread alone */
} drawing;

static void *draw(void *user) {
    drawing *d = user;
    for (;;) {
        pthread_mutex_lock(&d->lock);
        const int index = d->status == XP_OK ? d->next++ : d->store->count;
        pthread_mutex_unlock(&d->lock);
        if (index >= d->store->count) return NULL;
        const xp_status status = xp_store_initialise_one(d->store, index, d->seed);
        if (status == XP_OK) continue;
        pthread_mutex_lock(&d->lock);
        if (d->status == XP_OK) {
            d->status = status;
            snprintf(d->message, sizeof d->message, "%s", xp_last_error());
        }
        pthread_mutex_unlock(&d->lock);
    }
}

/* On as many threads as there are processors and work for: a large model has hundreds of millions of values, and each
 * parameter's are its own stream. */
xp_status xp_store_initialise(xp_store *store, uint64_t seed) {
    enum { MOST_THREADS = 16, ELEMENTS_OF_A_THREAD = 1 << 18 };
    if (!store->buffers[XP_STORE_VALUES])
        return xp_fail(XP_INVALID_ARGUMENT, "the store cannot be initialised before it is allocated");
    for (int i = 0; i < XP_STORE_ALL_BUFFERS; i++)
        if (store->buffers[i]) XP_TRY(xp_device_fill_zero(store->device, store->buffers[i], buffer_bytes(store, i)));
    drawing d = {.store = store, .seed = seed, .lock = PTHREAD_MUTEX_INITIALIZER};
    const int64_t processors = sysconf(_SC_NPROCESSORS_ONLN), helpers = store->elements / ELEMENTS_OF_A_THREAD;
    pthread_t threads[MOST_THREADS];
    int started = 0;
    while (started < helpers && started + 1 < processors && started < MOST_THREADS &&
           pthread_create(&threads[started], NULL, draw, &d) == 0)
        started++;
    draw(&d);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return d.status == XP_OK ? XP_OK : xp_fail(d.status, "%s", d.message);
}

static xp_status check_access(const xp_store *store, int buffer, int index) {
    if (index < 0 || index >= store->count)
        return xp_fail(XP_INVALID_ARGUMENT, "the store has no parameter number %d: it has %d", index, store->count);
    if (buffer < 0 || buffer >= XP_STORE_BUFFERS)
        return xp_fail(XP_INVALID_ARGUMENT, "the store has no buffer number %d", buffer);
    const xp_parameter *parameter = &store->parameters[index];
    if (!store->buffers[XP_STORE_VALUES])
        return xp_fail(XP_INVALID_ARGUMENT, "%s cannot be read or written: the store is not allocated",
                       parameter->name);
    if (!store->buffers[buffer])
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%s has no buffer number %d: allocate the store after differentiation and after its optimiser",
                       parameter->name, buffer);
    if (buffer != XP_STORE_VALUES && parameter->kind == XP_PARAMETER_STATE)
        return xp_fail(XP_INVALID_ARGUMENT, "%s is not trained: it has values only", parameter->name);
    return XP_OK;
}

xp_status xp_store_read(xp_store *store, int buffer, int index, float *data) {
    XP_TRY(check_access(store, buffer, index));
    const xp_parameter *parameter = &store->parameters[index];
    return xp_device_read(store->device, store->buffers[buffer],
                          (size_t)parameter->offset * xp_type_bytes(XP_STORE_TYPE),
                          (size_t)parameter->elements * xp_type_bytes(XP_STORE_TYPE), data);
}

static xp_status write_copy(xp_store *store, const xp_parameter *parameter, const float *data) {
    uint16_t *bits = malloc((size_t)parameter->elements * sizeof *bits);
    if (!bits) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a copy of %s", parameter->name);
    for (int64_t i = 0; i < parameter->elements; i++)
        bits[i] = store->copies == XP_BF16 ? xp_bf16_bits((double)data[i]) : xp_fp16_bits((double)data[i]);
    const xp_status status =
        xp_device_write(store->device, store->buffers[XP_STORE_COPIES], (size_t)parameter->offset * sizeof *bits,
                        (size_t)parameter->elements * sizeof *bits, bits);
    free(bits);
    return status;
}

xp_status xp_store_write(xp_store *store, int buffer, int index, const float *data) {
    XP_TRY(check_access(store, buffer, index));
    const xp_parameter *parameter = &store->parameters[index];
    if (buffer == XP_STORE_VALUES && store->copies != XP_F32 && parameter->kind != XP_PARAMETER_STATE)
        XP_TRY(write_copy(store, parameter, data));
    return xp_device_write(store->device, store->buffers[buffer],
                           (size_t)parameter->offset * xp_type_bytes(XP_STORE_TYPE),
                           (size_t)parameter->elements * xp_type_bytes(XP_STORE_TYPE), data);
}
