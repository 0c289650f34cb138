/* The live line. Owns the terminal's last line while a run goes. */
#include "live.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void xp_live_start(xp_live *live, FILE *out, bool quiet) {
    *live = (xp_live){.out = out, .terminal = isatty(fileno(out)) == 1, .quiet = quiet};
}

void xp_live_clear(xp_live *live) {
    if (live->line_open) fputs("\r\033[K", live->out);
    live->line_open = false;
    fflush(live->out);
}

static void print_time(double seconds, char text[32]) {
    long whole = isfinite(seconds) && seconds < 1e7 ? lround(seconds) : 0;
    if (!isfinite(seconds))
        text[0] = '\0';
    else if (whole >= 3600)
        snprintf(text, 32, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(text, 32, "%ldm%02lds", whole / 60, whole % 60);
    else
        snprintf(text, 32, "%lds", whole);
}

static int terminal_columns(FILE *out) {
    struct winsize size;
    return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* Appends to a text of limited room; what does not fit is left out. */
static void add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *format, ...) {
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static void show_progress(void *user, const xp_progress *progress) {
    enum { BAR = 16 };
    xp_live *live = user;
    if (live->quiet || !live->terminal) return;
    char text[256] = "", bar[BAR + 1], left[32];
    double share = progress->steps > 0 ? (double)progress->step / (double)progress->steps : 0;
    for (int i = 0; i < BAR; i++) bar[i] = (i + 0.5) / BAR < share ? '#' : '.';
    bar[BAR] = '\0';
    if (progress->epochs > 1 || strcmp(progress->phase, "train") == 0) {
        add(text, sizeof text, "epoch %d/%d ", progress->epoch, progress->epochs);
    }
    add(text, sizeof text, "%-8s %s %lld/%lld", progress->phase, bar, (long long)progress->step,
        (long long)progress->steps);
    add(text, sizeof text, "  loss %.4f", progress->loss);
    if (isfinite(progress->accuracy)) add(text, sizeof text, "  acc %.2f %%", 100 * progress->accuracy);
    if (strcmp(progress->phase, "train") == 0) add(text, sizeof text, "  lr %.2e", progress->learning_rate);
    if (progress->samples_per_second > 0) add(text, sizeof text, "  %.0f/s", progress->samples_per_second);
    print_time(progress->seconds_left, left);
    if (left[0]) add(text, sizeof text, "  %s left", left);
    /* A longer line would wrap and could not be written over. */
    fprintf(live->out, "\r\033[K%.*s", terminal_columns(live->out) - 1, text);
    fflush(live->out);
    live->line_open = true;
}

static void show_epoch(void *user, const xp_epoch_row *row, int epochs, bool best) {
    xp_live *live = user;
    if (live->quiet) return;
    char text[256] = "", spent[32];
    add(text, sizeof text, "epoch %3d/%d  train loss %.4f acc %6.2f %%", row->epoch, epochs, row->train_loss,
        100 * row->train_accuracy);
    if (isfinite(row->validation_accuracy)) {
        add(text, sizeof text, "  validation loss %.4f acc %6.2f %%", row->validation_loss,
            100 * row->validation_accuracy);
    }
    if (isfinite(row->test_accuracy)) {
        add(text, sizeof text, "  test loss %.4f acc %6.2f %%", row->test_loss, 100 * row->test_accuracy);
    }
    print_time(row->seconds, spent);
    add(text, sizeof text, "  lr %.2e  %.0f/s  %s%s", row->learning_rate, row->samples_per_second, spent,
        best ? "  best" : "");
    xp_live_clear(live);
    fprintf(live->out, "%s\n", text);
    fflush(live->out);
}

static void show_message(void *user, const char *text) {
    xp_live *live = user;
    if (live->quiet) return;
    xp_live_clear(live);
    if (live->folder) fprintf(live->out, "run folder %s\n", live->folder);
    live->folder = NULL;
    fprintf(live->out, "%s\n", text);
    fflush(live->out);
}

void xp_live_bind(xp_live *live, xp_trainer_callbacks *callbacks) {
    callbacks->user = live;
    callbacks->progress = show_progress;
    callbacks->epoch = show_epoch;
    callbacks->message = show_message;
}
