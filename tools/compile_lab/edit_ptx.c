/* Edits PTX as the library does when it builds a program: edit_ptx TARGET <in >out. tools/compile-lab compiles it, with
 * the library's own editor. */
#include "device/ptx.h"

#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words) {
    enum { MOST = 64 << 20 };
    char *text = malloc(MOST), *out;
    size_t length;
    if (count != 2 || !text) return 2;
    if (xp_ptx_edit(text, fread(text, 1, MOST, stdin), words[1], &out, &length) != XP_OK) {
        fprintf(stderr, "%s\n", xp_last_error());
        return 1;
    }
    return fwrite(out, 1, length, stdout) == length && fflush(stdout) == 0 ? 0 : 1;
}
