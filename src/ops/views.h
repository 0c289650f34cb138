/* What operations on views of shape [B,N,H,D] share: passing one to a kernel. A view's storage is its base's, so the
 * kernel gets the offset and three strides beside the pointer. Knows no operation. */
#ifndef XP_OPS_VIEWS_H
#define XP_OPS_VIEWS_H

#include "graph/launch.h"

/* Whether kernels may take the pointer alone. */
static inline bool xp_view_is_plain(const xp_tensor *tensor) {
    return xp_tensor_is_dense(tensor) && tensor->offset == 0;
}

static inline bool xp_view_has_unit_columns(const xp_tensor *tensor) {
    return tensor->shape[tensor->rank - 1] == 1 || tensor->stride[tensor->rank - 1] == 1;
}

/* Kernel arguments: int offset, int batch stride, int row stride, int head stride; zeros for a tensor that is
 * absent. */
static inline void xp_view_pass_layout(xp_launch_request *request, const xp_tensor *tensor) {
    xp_launch_int(request, tensor ? tensor->offset : 0);
    for (int i = 0; i < 3; i++) xp_launch_int(request, tensor ? tensor->stride[i] : 0);
}

/* The pointer, followed by the layout. */
static inline void xp_view_pass(xp_launch_request *request, xp_tensor *tensor, bool written) {
    if (written)
        xp_launch_write(request, tensor);
    else
        xp_launch_read(request, tensor);
    xp_view_pass_layout(request, tensor);
}

#endif
