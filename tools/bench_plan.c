/* Inputs for a plan and one timed run of it, for benchmarks. */
#include "bench.h"

#include "core/clock.h"
#include "device/fill.h"

xp_status xp_bench_fill(xp_plan *plan, const xp_tensor *tensor) {
    cl_mem buffer;
    size_t offset;
    XP_TRY(xp_plan_storage(plan, tensor, &buffer, &offset));
    return xp_device_fill_normal(xp_plan_device(plan), buffer, offset / sizeof(float),
                                 (size_t)xp_tensor_elements(tensor), 1, (uint32_t)tensor->id);
}

xp_status xp_bench_run(xp_plan *plan, xp_device *device, double *seconds) {
    const double begin = xp_clock();
    XP_TRY(xp_plan_run(plan));
    const cl_int code = clFinish(device->queue);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clFinish");
    *seconds = xp_clock() - begin;
    return XP_OK;
}

xp_status xp_bench_warm(xp_plan *plan, xp_device *device) {
    enum { MOST_RUNS = 100 };
    static double warmed;
    int runs = 0;
    do {
        double seconds = 0;
        XP_TRY(xp_bench_run(plan, device, &seconds));
        warmed += seconds;
    } while (warmed < 1 && ++runs < MOST_RUNS);
    return XP_OK;
}
