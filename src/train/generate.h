/* Text from a trained language model, byte by byte. Owns the way from a checkpoint and a prompt to bytes; never
 * prints. */
#ifndef XP_TRAIN_GENERATE_H
#define XP_TRAIN_GENERATE_H

#include "train/progress.h"
#include "train/sampler.h"

#include <stddef.h>

typedef struct xp_generate_options {
    const char *prompt; /* bytes that come before; at least one */
    size_t prompt_length;
    int64_t bytes; /* to generate */
    xp_sampling sampling;
    uint64_t seed;
    const char *device; /* NULL: as it was trained */
    const char *family;
    bool trust_code; /* accept the score of the run without a mark (train/trust.h) */
    /* Gets each byte as soon as it is drawn. Another status than XP_OK ends the call with it. */
    xp_status (*take)(void *user, unsigned char byte);
    void *user;
} xp_generate_options;

/* `model` is a run folder (its best/ is taken) or a checkpoint folder. The model remembers keys and values, so that a
 * byte costs time as there are bytes before it; when its context is full, it reads the last half of it anew and goes
 * on. XP_UNSUPPORTED: a model, or an attention, that cannot; XP_INTERRUPTED: by callbacks->stop. */
xp_status xp_generate(const char *model, const xp_generate_options *options, const xp_trainer_callbacks *callbacks);

#endif
