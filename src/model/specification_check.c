/* Which parts of the attention specification go together, and with what it is used with. */
#include "model/specification.h"

#include "model/specification_parts.h"

#include <stdarg.h>
#include <stdio.h>

bool xp_specification_is_one_sided(const xp_specification *specification) {
    return specification->causal || (specification->window && specification->right == 0);
}

xp_status xp_specification_reject(const xp_specification *specification, xp_status status, const char *reason) {
    enum { MOST = 160 };
    xp_writer text = {0};
    xp_specification_write(&text, specification);
    status = xp_fail(status, "attention \"%.*s%s\": %s", MOST, text.text ? text.text : "",
                     text.length > MOST ? "…" : "", reason);
    xp_writer_release(&text);
    return status;
}

static xp_status deny(const xp_specification *specification, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static xp_status deny(const xp_specification *specification, const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return xp_specification_reject(specification, XP_INVALID_ARGUMENT, reason);
}

static xp_status check_kernel(const xp_specification *s) {
    static const char softmax_only[] =
        "%s works only with softmax: linear attention has no exponent to change; omit it, or use softmax";
    if (s->features && s->alibi) return deny(s, softmax_only, "alibi");
    if (s->features && s->soft_cap > 0) return deny(s, softmax_only, "softcap");
    if (s->features && s->bias) return deny(s, softmax_only, "bias");
    if (s->features && s->score[0]) return deny(s, softmax_only, "score");
    if (!s->features && s->unnormalised)
        return deny(s, "unnormalised works only with linear: without their sum, the exponentials of softmax are "
                       "unbounded; omit it, or use linear");
    return XP_OK;
}

static xp_status check_convolution(const xp_specification *s, const xp_specification_use *use) {
    if (s->conv1d && s->conv2d) return deny(s, "conv1d and conv2d cannot be combined: choose one");
    if (s->conv1d && use->grid) return deny(s, "conv1d needs a sequence, but this is a patch grid: use conv2d");
    if (s->conv2d && !use->grid) return deny(s, "conv2d needs the patch grid of an image: use conv1d");
    if (s->conv2d && xp_specification_is_one_sided(s))
        return deny(s, "conv2d uses patches after a query, which %s must not see: omit one of them",
                    s->causal ? "causal" : "window(…,0)");
    return XP_OK;
}

static xp_status check_scaled_heads(const xp_specification *s, const xp_specification_use *use) {
    if (s->scale_count == 0) return XP_OK;
    if (use->heads % s->scale_count != 0)
        return deny(s, "sh has %d scales for %d heads: their number must divide the heads (a shorter list repeats)",
                    s->scale_count, use->heads);
    for (int i = 0; i < s->scale_count; i++)
        if (s->scales[i] > use->longest)
            return deny(s, "sh scale %d is longer than the longest series or grid side, %d: use scales up to %d",
                        s->scales[i], use->longest, use->longest);
    if (use->key_heads && use->key_heads != use->heads)
        return deny(s, "sh gives every head its own keys, but %d key heads are shared by %d heads: set key_heads to 0",
                    use->key_heads, use->heads);
    const char *pattern = s->causal   ? "causal"
                          : s->window ? "window"
                          : s->stride ? "strided"
                          : s->alibi  ? "alibi"
                                      : NULL;
    if (use->grid && pattern)
        return deny(s, "%s cannot be combined with sh on an image: a pooled patch is not an interval of the sequence",
                    pattern);
    if (s->causal_last)
        return deny(s, "causal(last) cannot be combined with sh: pooled keys and queries end at different positions; "
                       "use causal(first)");
    return XP_OK;
}

xp_status xp_specification_check(const xp_specification *specification, const xp_specification_use *use) {
    XP_TRY(check_kernel(specification));
    XP_TRY(check_convolution(specification, use));
    if (specification->block && specification->mask_file[0])
        return deny(specification, "block and mask cannot be combined: put both into one mask");
    return check_scaled_heads(specification, use);
}
