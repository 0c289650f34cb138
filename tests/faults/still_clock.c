/* A clock that stands still, preloaded into a program: what it writes holds no time of its own, and two runs can be
 * compared byte by byte. */
#include <time.h>

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *out) {
    (void)clock;
    *out = (struct timespec){.tv_sec = 1000000};
    return 0;
}
