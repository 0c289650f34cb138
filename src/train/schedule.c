/* Learning-rate schedules, by step. Owns their formulas; knows no optimisers. */
#include "train/config.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* Half a cosine from `from` to `to` as x goes from 0 to 1. */
static double ease(double from, double to, double x) {
    if (x > 1) x = 1;
    return to + (from - to) * 0.5 * (1 + cos(pi * x));
}

double xp_schedule_rate(const xp_config *config, int64_t step, int64_t steps_per_epoch) {
    double rate = config->training.learning_rate, last = rate * config->training.final_rate;
    double total = (double)steps_per_epoch * config->training.epochs;
    double rising = floor(config->training.warmup * (double)steps_per_epoch);
    if (config->training.schedule == XP_SCHEDULE_ONE_CYCLE) {
        if ((double)step < rising) return ease(rate / 25, rate, (double)step / rising);
        return ease(rate, last, ((double)step - rising) / fmax(1, total - 1 - rising));
    }
    if ((double)step < rising) return rate * (double)(step + 1) / rising;
    switch ((xp_schedule_kind)config->training.schedule) {
    case XP_SCHEDULE_COSINE:
        return ease(rate, last, ((double)step - rising) / fmax(1, total - 1 - rising));
    case XP_SCHEDULE_STEP:
        return rate * pow(config->training.step_factor,
                          floor((double)(step / steps_per_epoch) / config->training.step_epochs));
    default:
        return rate;
    }
}
