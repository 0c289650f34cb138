/* Inputs for a plan and one timed run of it, for benchmarks. */
#include "bench.h"

#include "core/clock.h"
#include "core/random.h"

#include <stdlib.h>

xp_status xp_bench_fill(xp_plan *plan, const xp_tensor *tensor) {
    const int64_t count = xp_tensor_elements(tensor);
    float *values = malloc((size_t)count * sizeof *values);
    if (!values) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %s", tensor->name);
    xp_random random;
    xp_random_start(&random, 1, (uint32_t)tensor->id);
    for (int64_t i = 0; i < count; i++) values[i] = (float)xp_random_normal(&random);
    const xp_status status = xp_plan_write(plan, tensor, values);
    free(values);
    return status;
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
    static double warmed;
    do {
        double seconds = 0;
        XP_TRY(xp_bench_run(plan, device, &seconds));
        warmed += seconds;
    } while (warmed < 1);
    return XP_OK;
}
