/* Devices and your own OpenCL objects: a device opened on your queue, or the OpenCL objects of a device. */
#ifndef EXPANSE_DEVICE_OPENCL_H
#define EXPANSE_DEVICE_OPENCL_H

#include <CL/cl.h>
#include <expanse/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the device of a queue in the queue's context, so that buffers can be shared. The context is retained until
 * xp_device_close; the queue itself is not kept: the device has another one for uploads, and commands go to the
 * queues passed to the calls. options (may be NULL): family, profiling and debug; select must be empty. Buffers, queues
 * and events that are used with the device must belong to this context.
 * XP_INVALID_ARGUMENT: queue is NULL. XP_DEVICE_ERROR: it is not a queue. */
XP_API xp_status xp_device_open_queue(xp_device **out, cl_command_queue queue, const xp_device_options *options);

/* The OpenCL objects of an open device, borrowed: valid until xp_device_close. Each pointer may be NULL. The queue runs
 * in order; xp_plan_run, xp_plan_write and xp_plan_read use it. */
XP_API void xp_device_opencl(const xp_device *device, cl_context *context, cl_device_id *id, cl_command_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
