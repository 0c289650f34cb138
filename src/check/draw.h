/* Draws a case: its graph, the distribution and the values of its inputs, from streams that depend only on seed,
 * operation and case number. Knows no device. */
#ifndef XP_CHECK_DRAW_H
#define XP_CHECK_DRAW_H

#include "check/check.h"
#include "check/interpreter.h"

/* The values of the inputs that are normally distributed by default. All but the first are extreme. */
typedef enum xp_inputs {
    XP_INPUTS_NORMAL,
    XP_INPUTS_LARGE,
    XP_INPUTS_CONSTANT,
    XP_INPUTS_DENORMAL,
    XP_INPUTS_ZERO
} xp_inputs;

typedef struct xp_draw {
    xp_case content;
    xp_inputs inputs;
    bool tight;     /* for an emulator that checks bounds: inputs end where their storage ends */
    bool masked;    /* the drawn lengths or weights leave almost nothing */
    xp_random data; /* for other random numbers of the case */
} xp_draw;

/* Call xp_draw_close also after a failure. */
xp_status xp_draw_open(xp_draw *out, const xp_case_entry *entry, const xp_check_options *options, int index);
void xp_draw_close(xp_draw *draw);

int64_t xp_draw_elements(const xp_draw *draw); /* of all tensors of the case's graph */

/* Fills the inputs of the case's graph. */
xp_status xp_draw_fill(xp_draw *draw, xp_interpreter *interpreter);

#endif
