/* Evaluates a graph on the host with the reference functions, in double or in single precision. Owns the tensors'
 * values; borrows the graph, which must be complete: tensors that are added later have no values here. Knows no device.
 *
 * Values are passed as dense row-major arrays: double for tensors of reals (whatever their type and the precision of
 * the evaluation), int32_t for I32 tensors. Views reach through to their base; parameters, gradients and store buffers
 * share flat arrays as they do on a device. Values of a 16-bit tensor are rounded to its type whenever they are
 * written. */
#ifndef XP_CHECK_INTERPRETER_H
#define XP_CHECK_INTERPRETER_H

#include "graph/graph.h"

typedef struct xp_interpreter xp_interpreter;

typedef enum xp_precision { XP_DOUBLE, XP_SINGLE } xp_precision;

/* All values start as zero. */
xp_status xp_interpreter_create(xp_interpreter **out, const xp_graph *graph, xp_precision precision);
void xp_interpreter_close(xp_interpreter **interpreter);

void xp_interpreter_write(xp_interpreter *interpreter, const xp_tensor *tensor, const void *data);
void xp_interpreter_read(const xp_interpreter *interpreter, const xp_tensor *tensor, void *data);

/* Runs the nodes before `end` in order; NULL: all of them. XP_UNSUPPORTED: an operation has no reference. */
xp_status xp_interpreter_run(xp_interpreter *interpreter, const xp_node *end);

/* Calls `visit` with the place of every element of the tensor in its root, in row-major order. */
typedef void (*xp_tensor_visit)(void *context, int64_t element, int64_t place);
void xp_tensor_walk(const xp_tensor *tensor, xp_tensor_visit visit, void *context);

#endif
