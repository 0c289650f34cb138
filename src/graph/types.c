/* Element types: their sizes and names, and which of them a node's tensors have. Owns what "stored in 16 bits" means
 * for a node; knows no operation but by its row. */
#include "core/half.h"
#include "graph/operation.h"

static const struct {
    const char *name;
    size_t bytes;
} types[] = {[XP_F32] = {"fp32", 4}, [XP_I32] = {"int32", 4}, [XP_BF16] = {"bf16", 2}, [XP_F16] = {"fp16", 2}};

size_t xp_type_bytes(xp_type type) {
    return types[type].bytes;
}

const char *xp_type_name(xp_type type) {
    return types[type].name;
}

bool xp_type_is_real(xp_type type) {
    return type != XP_I32;
}

double xp_type_value(xp_type type, const void *content, int64_t element) {
    if (type == XP_F32) return (double)((const float *)content)[element];
    const uint16_t bits = ((const uint16_t *)content)[element];
    return type == XP_BF16 ? xp_bf16_value(bits) : xp_fp16_value(bits);
}

double xp_type_round(xp_type type, double value) {
    return type == XP_BF16  ? xp_bf16_value(xp_bf16_bits(value))
           : type == XP_F16 ? xp_fp16_value(xp_fp16_bits(value))
                            : (double)(float)value;
}

/* Operand i: the inputs, followed by the outputs. */
static const xp_tensor *operand(const xp_node *node, int i) {
    return i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
}

static bool is_stored(const xp_node *node, int i) {
    return i < node->input_count ? node->operation->stored_inputs >> i & 1
                                 : node->operation->stored_outputs >> (i - node->input_count) & 1;
}

static bool is_result(const xp_node *node, int i) {
    return i < node->input_count ? node->operation->result_inputs >> i & 1
                                 : node->operation->result_outputs >> (i - node->input_count) & 1;
}

static bool is_half(const xp_tensor *tensor) {
    return tensor->type == XP_BF16 || tensor->type == XP_F16;
}

xp_type xp_node_storage(const xp_node *node) {
    for (int i = 0; i < node->input_count + node->output_count; i++)
        if (operand(node, i) && is_stored(node, i) && xp_type_is_real(operand(node, i)->type))
            return operand(node, i)->type;
    return XP_F32;
}

xp_type xp_node_result(const xp_node *node) {
    for (int i = 0; i < node->input_count + node->output_count; i++)
        if (operand(node, i) && is_result(node, i)) return operand(node, i)->type;
    return xp_node_storage(node);
}

bool xp_supports_single(const xp_device *device, const xp_node *node) {
    (void)device;
    for (int i = 0; i < node->input_count + node->output_count; i++)
        if (operand(node, i) && is_half(operand(node, i))) return false;
    return true;
}

bool xp_supports_storage(const xp_device *device, const xp_node *node) {
    (void)device;
    const xp_type storage = xp_node_storage(node), result = xp_node_result(node);
    for (int i = 0; i < node->input_count + node->output_count; i++) {
        const xp_tensor *tensor = operand(node, i);
        if (!tensor || tensor->type == XP_I32) continue;
        const xp_type type = is_result(node, i) ? result : is_stored(node, i) ? storage : XP_F32;
        if (tensor->type != type) return false;
    }
    return true;
}

const xp_tensor *xp_node_stored_tensor(const xp_node *node) {
    for (int i = 0; i < node->input_count + node->output_count; i++)
        if (operand(node, i) && is_half(operand(node, i))) return operand(node, i);
    return NULL;
}
