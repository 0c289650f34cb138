/* The oracle of stochastic depth. Shares no code with the kernels. */
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/dropout.h"
#include "reference/reference.h"

void XP_REFERENCE_NAME(drop_path)(const xp_reference_call *call) {
    const xp_tensor *branch = call->node->outputs[0];
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    const int64_t samples = branch->shape[0], elements = xp_tensor_elements(branch) / samples;
    for (int64_t b = 0; b < samples; b++) {
        const xp_real keep = xp_reference_keep(XP_ATTRIBUTES(xp_dropout_attributes, call->node), call->inputs[1], b);
        for (int64_t i = b * elements; i < (b + 1) * elements; i++) y[i] = keep == 0 ? 0 : x[i] * keep;
    }
}
