/* A folder of its own for each test program, and small files in it. Fails the running test where the disk does. */
#ifndef EXPANSE_TESTS_SCRATCH_H
#define EXPANSE_TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch_folder[256];

static int scratch_make(void **state) {
    snprintf(scratch_folder, sizeof scratch_folder, "/tmp/expanse-test-XXXXXX");
    return mkdtemp(scratch_folder) ? 0 : -1;
}

static int scratch_remove(void **state) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch_folder);
    return system(command);
}

/* The path of `name` in the folder; valid until the fourth call from here. */
static const char *scratch_path(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_folder, name);
    return path;
}

static const char *scratch_write(const char *name, const void *bytes, size_t length) {
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return path;
}

#endif
