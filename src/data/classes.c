/* Names of classes that are numbers in the data: a file of names beside them, or those under which a data set is known.
 * Owns the form of such a file, and which data sets are known; reads no labels. */
#include "core/files.h"
#include "data/formats.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MOST_NUMBERED = UCHAR_MAX + 1 };

/* A part of a published data set, recognised by its labels. */
typedef struct known_set {
    uint64_t labels; /* XXH64 of them, a byte each */
    const char *const *names;
} known_set;

static const char *const fashion[] = {"T-shirt/top", "Trouser", "Pullover", "Dress",      "Coat", "Sandal",
                                      "Shirt",       "Sneaker", "Bag",      "Ankle boot", NULL};
static const known_set known[] = {{0x97e6779495a8b4ba, fashion}, {0x440bcedb1e3e9174, fashion}};

const char *const *xp_data_known_names(const char *labels, size_t count) {
    const uint64_t digest = XXH64(labels, count, 0);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].labels == digest) return known[i].names;
    return NULL;
}

/* Splits a text into its lines that are not empty, in its place. Returns how many there are; lines [room]. */
static int split_lines(char *text, const char **lines, int room) {
    int count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest), count++)
        if (count < room) lines[count] = line;
    return count;
}

static xp_status check_names(const char *path, const char *const *names, int count, int classes, int most) {
    if (count > most)
        return xp_fail(XP_BAD_DATA,
                       "%s: names %d classes, but the images can have at most %d; give each a line, in their order",
                       path, count, most);
    if (count < classes)
        return xp_fail(XP_BAD_DATA, "%s: names %d classes, but the images have %d; give each a line, in their order",
                       path, count, classes);
    for (int i = 0; i < count; i++) {
        const char *fault = xp_data_name_fault(names[i], strlen(names[i]));
        for (int j = 0; j < i && !fault; j++)
            if (strcmp(names[i], names[j]) == 0) fault = "stands there twice";
        if (fault) return xp_fail(XP_BAD_DATA, "%s: the name of class %d %s; correct this line", path, i + 1, fault);
    }
    return XP_OK;
}

xp_status xp_data_name_numbers(xp_dataset *dataset, const char *file, const char *const *names, int classes, int most) {
    char numbers[MOST_NUMBERED][12], *text = NULL;
    const char *chosen[MOST_NUMBERED];
    size_t length = 0;
    xp_status status = XP_OK;
    int count = 0;
    if (xp_path_exists(file)) {
        XP_TRY(xp_file_read(file, &text, &length));
        count = split_lines(text, chosen, MOST_NUMBERED);
        status = check_names(file, chosen, count, classes, most);
    }
    for (; names && !text && names[count]; count++) chosen[count] = names[count];
    for (; count < classes; count++) {
        snprintf(numbers[count], sizeof numbers[count], "%d", count);
        chosen[count] = numbers[count];
    }
    dataset->numbered = true;
    if (status == XP_OK) status = xp_data_name_classes(dataset, chosen, count);
    free(text);
    return status;
}
