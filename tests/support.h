/* What the tests in C share, whatever they are about: the standard headers and cmocka, calls that must succeed, and a
 * folder of its own for each test program. Knows nothing of the library but its status. */
#ifndef EXPANSE_TESTS_SUPPORT_H
#define EXPANSE_TESTS_SUPPORT_H

#include <expanse/status.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Fails the running test, with the library's message, where the call does. */
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != XP_OK) fail_msg("%s: %s", #call, xp_last_error());                                               \
    } while (0)
/* The same of what returns NULL on failure. */
#define HAVE(pointer)                                                                                                  \
    do {                                                                                                               \
        if (!(pointer)) fail_msg("%s: %s", #pointer, xp_last_error());                                                 \
    } while (0)

/* ---- a folder ---------------------------------------------------------------------------------------------------- */

static char scratch_folder[64];

static inline int scratch_make(void **state) {
    snprintf(scratch_folder, sizeof scratch_folder, "/tmp/expanse-test-XXXXXX");
    return mkdtemp(scratch_folder) ? 0 : -1;
}

static inline int scratch_remove(void **state) {
    char command[sizeof scratch_folder + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch_folder);
    return system(command);
}

/* The path of `name` in the folder; valid until the fourth call from here. */
static inline const char *scratch_path(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_folder, name);
    return path;
}

/* These return the path of the file that they write. */
static inline const char *scratch_write(const char *name, const void *bytes, size_t length) {
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* An array in NumPy's format: type "<f4", shape "6,7" (or "6," of one axis). */
static inline const char *scratch_write_npy(const char *name, const char *type, const char *shape, const void *data,
                                            size_t bytes) {
    enum { HEADER = 128 };
    char *file = malloc(HEADER + bytes);
    assert_non_null(file);
    memset(file, ' ', HEADER);
    memcpy(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    const int used = snprintf(file + 10, HEADER - 10, "{'descr':'%s','fortran_order':False,'shape':(%s)}", type, shape);
    file[10 + used] = ' ';
    file[HEADER - 1] = '\n';
    memcpy(file + HEADER, data, bytes);
    const char *path = scratch_write(name, file, HEADER + bytes);
    free(file);
    return path;
}

#endif
