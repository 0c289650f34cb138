/* A clock that stands still and a process that has used nothing, preloaded into a program: what it writes holds no
 * measurement of its own, and two runs can be compared byte by byte. */
#include <sys/resource.h>
#include <time.h>

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *out) {
    (void)clock;
    *out = (struct timespec){.tv_sec = 1000000};
    return 0;
}

__attribute__((visibility("default"))) int getrusage(int who, struct rusage *out) {
    (void)who;
    *out = (struct rusage){{0}};
    return 0;
}
