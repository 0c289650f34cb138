/* What a run prints while it is active: on a terminal one line that changes, to a pipe one line per epoch. */
#ifndef XP_TOOLS_LIVE_H
#define XP_TOOLS_LIVE_H

#include "train/trainer.h"

typedef struct xp_live {
    FILE *out;
    bool terminal; /* the line may be written over */
    bool colour;
    bool quiet;
    bool logs;             /* permanent lines report the preparation of kernels */
    bool line_open;        /* a progress line is shown; clear it before printing anything else */
    double prepared_since; /* clock; 0: the kernels are not being prepared */
    double next_log;       /* seconds since then, at which a pipe gets the next line about them */
    bool has_header;       /* the table of epochs has begun */
    bool has_set[XP_SETS]; /* in it */
    const char *folder;    /* named once, when the run has made it; NULL: nothing to name */
} xp_live;

void xp_live_start(xp_live *live, FILE *out, bool quiet);
/* The callbacks of a trainer, bound to `live`. */
void xp_live_bind(xp_live *live, xp_trainer_callbacks *callbacks);
void xp_live_clear(xp_live *live);
/* On a terminal: this text as the progress line, cut to its width. */
void xp_live_text(xp_live *live, const char *text);
/* "1h05m", "12m03s", "7s"; "" for NaN. */
void xp_live_time(double seconds, char text[32]);

#endif
