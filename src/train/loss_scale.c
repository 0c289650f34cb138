/* The loss scale of fp16. */
#include "train/loss_scale.h"

enum { GOOD_STEPS = 2000 }; /* as PyTorch's */
static const double FIRST = 65536, HIGHEST = 16777216;

xp_loss_scale xp_loss_scale_begin(void) {
    return (xp_loss_scale){.scale = FIRST};
}

static void apply(xp_loss_scale *scale) {
    if (scale->held == XP_OUTCOME_SKIPPED) {
        scale->scale /= 2;
        scale->good = 0;
        scale->skipped++;
    } else if (scale->held == XP_OUTCOME_GOOD && ++scale->good >= GOOD_STEPS) {
        if (scale->scale < HIGHEST) scale->scale *= 2;
        scale->good = 0;
    }
    scale->held = XP_OUTCOME_NONE;
}

void xp_loss_scale_count(xp_loss_scale *scale, bool skipped) {
    apply(scale);
    scale->held = skipped ? XP_OUTCOME_SKIPPED : XP_OUTCOME_GOOD;
}

xp_status xp_loss_scale_choose(xp_loss_scale *scale, int64_t step, int64_t counted) {
    if (counted < step - 1) apply(scale);
    if (scale->scale >= 1) return XP_OK;
    return xp_fail(XP_BAD_DATA, "the gradients are not finite in fp16, even without a scale of the loss: continue with "
                                "--precision bf16 or fp32");
}

int64_t xp_loss_scale_skipped(const xp_loss_scale *scale) {
    return scale->skipped + (scale->held == XP_OUTCOME_SKIPPED);
}
