/* Transfers beside the kernels. */
#include "device/transfers.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COPIES = 4 }; /* of one set: its input, and what is fetched */

typedef struct transfer_set {
    cl_mem buffer; /* on the device */
    cl_mem pinned; /* input, then results */
    char *memory;  /* where that is mapped */
    int count;     /* copies under way */
    cl_event copies[MOST_COPIES];
    size_t bytes[MOST_COPIES];
} transfer_set;

struct xp_transfers {
    xp_device *device;
    cl_command_queue queue;
    size_t input_bytes, result_bytes, results_at;
    transfer_set sets[XP_TRANSFER_SETS];
};

/* ---- sets -------------------------------------------------------------------------------------------------------- */

static xp_status open_set(xp_transfers *transfers, transfer_set *set) {
    xp_device *device = transfers->device;
    const size_t bytes = transfers->results_at + transfers->result_bytes;
    cl_int code;
    XP_TRY(xp_device_buffer(device, transfers->input_bytes, &set->buffer));
    XP_TRY(xp_device_fill_zero(device, set->buffer, transfers->input_bytes));
    set->pinned = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &code);
    if (code != CL_SUCCESS || !set->pinned)
        return xp_fail(XP_OUT_OF_MEMORY, "%zu KiB of pinned memory could not be allocated for %s: %s", bytes >> 10,
                       device->name, xp_cl_error_name(code));
    set->memory = clEnqueueMapBuffer(transfers->queue, set->pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0,
                                     NULL, NULL, &code);
    XP_TRY(xp_cl_made(set->memory, code, "clEnqueueMapBuffer"));
    memset(set->memory, 0, bytes);
    return XP_OK;
}

static xp_status open_all(xp_transfers *transfers) {
    enum { ALIGNMENT = 128 };
    xp_device *device = transfers->device;
    cl_int code;
    transfers->results_at = (transfers->input_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    transfers->queue =
        clCreateCommandQueue(device->context, device->id, device->profiling ? CL_QUEUE_PROFILING_ENABLE : 0, &code);
    XP_TRY(xp_cl_made(transfers->queue, code, "clCreateCommandQueue"));
    for (int i = 0; i < XP_TRANSFER_SETS; i++) XP_TRY(open_set(transfers, &transfers->sets[i]));
    return XP_OK;
}

xp_status xp_transfers_open(xp_transfers **out, xp_device *device, size_t input_bytes, size_t result_bytes) {
    xp_transfers *transfers = calloc(1, sizeof *transfers);
    if (!transfers) return xp_fail(XP_OUT_OF_MEMORY, "no memory for transfers");
    *transfers = (xp_transfers){.device = device, .input_bytes = input_bytes, .result_bytes = result_bytes};
    const xp_status status = open_all(transfers);
    if (status == XP_OK)
        *out = transfers;
    else
        xp_transfers_close(&transfers);
    return status;
}

static void forget_copies(transfer_set *set) {
    for (int i = 0; i < set->count; i++) clReleaseEvent(set->copies[i]);
    set->count = 0;
}

void xp_transfers_close(xp_transfers **transfers) {
    xp_transfers *t = *transfers;
    if (!t) return;
    clFinish(t->device->queue); /* its kernels may read the sets */
    for (int i = 0; i < XP_TRANSFER_SETS; i++) {
        transfer_set *set = &t->sets[i];
        forget_copies(set);
        if (set->memory) clEnqueueUnmapMemObject(t->queue, set->pinned, set->memory, 0, NULL, NULL);
    }
    if (t->queue) clFinish(t->queue);
    for (int i = 0; i < XP_TRANSFER_SETS; i++) {
        if (t->sets[i].pinned) clReleaseMemObject(t->sets[i].pinned);
        if (t->sets[i].buffer) clReleaseMemObject(t->sets[i].buffer);
    }
    if (t->queue) clReleaseCommandQueue(t->queue);
    free(t);
    *transfers = NULL;
}

char *xp_transfers_input(const xp_transfers *transfers, int set) {
    return transfers->sets[set].memory;
}

cl_mem xp_transfers_buffer(const xp_transfers *transfers, int set) {
    return transfers->sets[set].buffer;
}

const char *xp_transfers_results(const xp_transfers *transfers, int set) {
    return transfers->sets[set].memory + transfers->results_at;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static xp_status note_copy(transfer_set *set, cl_event event, size_t bytes, cl_int code, const char *call) {
    XP_TRY(xp_cl_made(event, code, call));
    set->copies[set->count] = event;
    set->bytes[set->count++] = bytes;
    return XP_OK;
}

xp_status xp_transfers_send(xp_transfers *transfers, int number) {
    transfer_set *set = &transfers->sets[number];
    cl_event sent = NULL;
    cl_int code = clEnqueueWriteBuffer(transfers->queue, set->buffer, CL_FALSE, 0, transfers->input_bytes, set->memory,
                                       0, NULL, &sent);
    XP_TRY(note_copy(set, sent, transfers->input_bytes, code, "clEnqueueWriteBuffer"));
    code = clFlush(transfers->queue); /* another queue waits for it */
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clFlush");
    code = clEnqueueBarrierWithWaitList(transfers->device->queue, 1, &sent, NULL);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueBarrierWithWaitList");
}

xp_status xp_transfers_fetch(xp_transfers *transfers, int number, cl_mem buffer, size_t offset, size_t bytes,
                             size_t at) {
    transfer_set *set = &transfers->sets[number];
    cl_event fetched = NULL;
    if (set->count == MOST_COPIES) return xp_fail(XP_UNSUPPORTED, "more than %d copies of one set", MOST_COPIES);
    const cl_int code = clEnqueueReadBuffer(transfers->device->queue, buffer, CL_FALSE, offset, bytes,
                                            set->memory + transfers->results_at + at, 0, NULL, &fetched);
    XP_TRY(note_copy(set, fetched, bytes, code, "clEnqueueReadBuffer"));
    const cl_int flushed = clFlush(transfers->device->queue);
    return flushed == CL_SUCCESS ? XP_OK : xp_cl_fail(flushed, "clFlush");
}

static void note_times(const transfer_set *set, xp_transfer_times *times) {
    for (int i = 0; i < set->count; i++) {
        uint64_t start, end;
        if (!xp_device_event_times(set->copies[i], &start, &end)) continue;
        times->count++;
        times->bytes += (double)set->bytes[i];
        times->seconds += (double)(end - start) * 1e-9;
    }
}

xp_status xp_transfers_wait(xp_transfers *transfers, int number, xp_transfer_times *times) {
    transfer_set *set = &transfers->sets[number];
    if (set->count == 0) return XP_OK;
    const cl_int code = clWaitForEvents((cl_uint)set->count, set->copies);
    if (code == CL_SUCCESS && times && transfers->device->profiling) note_times(set, times);
    forget_copies(set);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clWaitForEvents");
}
