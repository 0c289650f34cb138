/* Drawing a case: its graph, its mood and the values of its inputs, from streams that follow from seed, operation and
 * case number alone. Knows no device. */
#ifndef XP_CHECK_DRAW_H
#define XP_CHECK_DRAW_H

#include "check/check.h"
#include "check/interpreter.h"

/* What stands in the inputs that are normally distributed. All but the first are hostile. */
typedef enum xp_mood { XP_MOOD_NORMAL, XP_MOOD_LARGE, XP_MOOD_CONSTANT, XP_MOOD_DENORMAL, XP_MOOD_ZERO } xp_mood;

typedef struct xp_draw {
    xp_case content;
    xp_mood mood;
    bool masked;    /* filled: lengths or weights happened to leave next to nothing */
    xp_random data; /* for whatever else the case needs at random */
} xp_draw;

/* The case is released by xp_draw_close, after a failure, too. */
xp_status xp_draw_open(xp_draw *out, const xp_case_entry *entry, const xp_check_options *options, int index);
void xp_draw_close(xp_draw *draw);

int64_t xp_draw_elements(const xp_draw *draw); /* of all tensors of the case's graph */

/* Fills the inputs of the case's graph. */
xp_status xp_draw_fill(xp_draw *draw, xp_interpreter *interpreter);

#endif
