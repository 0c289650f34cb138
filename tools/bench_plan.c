/* Inputs for a plan and one timed run of it, for benchmarks. */
#include "bench.h"

#include "core/clock.h"
#include "device/fill.h"
#include "graph/stored.h"
#include "train/precision.h"

#include <stdio.h>

xp_status xp_bench_open(xp_device **device, const char *select, const char *family, int precision) {
    const xp_device_options options = {.size = sizeof options,
                                       .select = select,
                                       .family = family,
                                       .arithmetic = xp_arithmetic_name(xp_precision_arithmetic(precision))};
    XP_TRY(xp_device_open(device, &options));
    return xp_precision_check(precision, *device);
}

bool xp_bench_on_units(const xp_device *device, int precision) {
    return precision != XP_PRECISION_FP32 && device->matrix != XP_MATRIX_NONE;
}

xp_status xp_bench_fill(xp_plan *plan, const xp_tensor *tensor) {
    cl_mem buffer;
    size_t offset;
    XP_TRY(xp_plan_storage(plan, tensor, &buffer, &offset));
    return xp_device_fill_normal(xp_plan_device(plan), buffer, xp_storage_number(tensor->type),
                                 offset / xp_type_bytes(tensor->type), (size_t)xp_tensor_elements(tensor), 1,
                                 (uint32_t)tensor->id);
}

xp_status xp_bench_run(xp_plan *plan, xp_device *device, double *seconds) {
    const double begin = xp_clock();
    XP_TRY(xp_plan_run(plan));
    const cl_int code = clFinish(device->queue);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clFinish");
    *seconds = xp_clock() - begin;
    return XP_OK;
}

void xp_bench_tell(const xp_plan *plan) {
    if (*xp_plan_note(plan)) fprintf(stderr, "%s\n", xp_plan_note(plan));
}

xp_status xp_bench_warm(xp_plan *plan, xp_device *device) {
    enum { MOST_RUNS = 100 };
    static double warmed;
    int runs = 0;
    xp_bench_tell(plan);
    do {
        double seconds = 0;
        XP_TRY(xp_bench_run(plan, device, &seconds));
        warmed += seconds;
    } while (warmed < 1 && ++runs < MOST_RUNS);
    return XP_OK;
}
