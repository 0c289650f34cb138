/* Using the library with your own OpenCL objects: a device on your queue, tensors in your buffers, a plan run on your
 * queue. The library does not take ownership: it retains what it keeps, and releases it again. */
#ifndef EXPANSE_OPENCL_H
#define EXPANSE_OPENCL_H

#include <expanse/device_opencl.h>
#include <expanse/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a plan read or write a tensor in the caller's buffer, from its first byte on, dense and row-major: an input, a
 * kept tensor (xp_tensor_keep), or one that was declared with xp_tensor_external and has no other storage. The buffer
 * is retained until another takes its place or the plan is closed. NULL restores the own storage of a tensor that is
 * not external. May be called between runs; launches already enqueued keep the buffer that they were enqueued with.
 * XP_INVALID_ARGUMENT: another context, a buffer that is too small, or not such a tensor; the message names the
 * tensor. */
XP_API xp_status xp_plan_bind(xp_plan *plan, const xp_tensor *tensor, cl_mem buffer);

/* Enqueues the whole list of the plan on the caller's queue, after the events wait[0..wait_count) (NULL for none), and
 * returns without blocking. The queue may run out of order: the launches wait for each other. *done (may be NULL) is
 * the event of the last launch, released by the caller; NULL when the call fails. Launches that were enqueued before a
 * failure run. A plan has one set of buffers: its runs must not overlap in time.
 * XP_INVALID_ARGUMENT: the plan is not realised, a tensor has no buffer, the queue belongs to another context. */
XP_API xp_status xp_plan_enqueue(xp_plan *plan, cl_command_queue queue, cl_uint wait_count, const cl_event *wait,
                                 cl_event *done);

#ifdef __cplusplus
}
#endif
#endif
