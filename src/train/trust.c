/* The mark: HMAC-SHA-256, in hexadecimal digits, of the score as it is printed, under a key of 32 random bytes. The key
 * is made at the first use, in XDG_STATE_HOME/expanse/key or ~/.local/state/expanse/key, readable by its user alone. */
#include "train/trust.h"

#include "core/files.h"
#include "model/specification.h"
#include "train/run_folder.h"

#include <fcntl.h>
#include <limits.h>
#include <nettle/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_BYTES = 32, MARK_BYTES = 2 * SHA256_DIGEST_SIZE + 1 /* a newline */ };

static const char key_file[] = "key", mark_file[] = "score.mark";

/* ---- the key ----------------------------------------------------------------------------------------------------- */

static xp_status state_folder(char path[PATH_MAX]) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const bool given = state && *state == '/'; /* others are to be ignored, says the convention */
    if (!given && (!home || !*home)) return xp_fail(XP_IO_ERROR, "neither XDG_STATE_HOME nor HOME is set");
    const int length = snprintf(path, PATH_MAX, "%s%s/expanse", given ? state : home, given ? "" : "/.local/state");
    return length < PATH_MAX ? XP_OK : xp_fail(XP_IO_ERROR, "the path in XDG_STATE_HOME or HOME is too long");
}

/* Another process may make it at the same time: the first one counts. */
static xp_status make_key(int folder, const char *path) {
    uint8_t key[KEY_BYTES];
    if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        return xp_fail(XP_IO_ERROR, "%s: the system provides no random numbers for a key", path);
    const xp_status status = xp_private_file_write(folder, path, key_file, false, key, sizeof key);
    return status == XP_INVALID_ARGUMENT ? XP_OK : status;
}

static xp_status read_key(uint8_t key[KEY_BYTES]) {
    char path[PATH_MAX], file[PATH_MAX + 8], *bytes = NULL;
    size_t length = 0;
    struct stat info;
    int folder;
    XP_TRY(state_folder(path));
    XP_TRY(xp_private_folder_open(path, true, &folder));
    snprintf(file, sizeof file, "%s/%s", path, key_file);
    xp_status status = XP_OK;
    if (faccessat(folder, key_file, F_OK, AT_SYMLINK_NOFOLLOW) != 0) status = make_key(folder, file);
    if (status == XP_OK) status = xp_private_file_read(folder, file, key_file, &bytes, &length);
    if (status == XP_OK && fstatat(folder, key_file, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        info.st_mode & (S_IRWXG | S_IRWXO))
        status = xp_fail(XP_IO_ERROR, "%s: other users can read it, so it is not secret; remove it", file);
    close(folder);
    if (status == XP_OK && length != KEY_BYTES)
        status = xp_fail(XP_BAD_DATA, "%s: is not a key of %d bytes; remove it", file, KEY_BYTES);
    if (status == XP_OK) memcpy(key, bytes, KEY_BYTES);
    free(bytes);
    return status;
}

/* ---- the mark ---------------------------------------------------------------------------------------------------- */

/* Appends the score alone, with all that belongs to it; nothing where there is none. */
static void write_score(const char *attention, xp_writer *out) {
    xp_specification all, score;
    if (xp_specification_parse(attention, &all) != XP_OK || !all.score[0]) return;
    if (xp_specification_parse("softmax", &score) != XP_OK) return;
    memcpy(score.score, all.score, sizeof score.score);
    memcpy(score.derivative, all.derivative, sizeof score.derivative);
    memcpy(score.names, all.names, sizeof score.names);
    score.name_count = all.name_count;
    xp_specification_write(out, &score);
}

static xp_status make_mark(const char *score, char mark[MARK_BYTES + 1]) {
    static const char purpose[] = "expanse score 1"; /* other uses of the key, and forms of the text, differ here */
    uint8_t key[KEY_BYTES], digest[SHA256_DIGEST_SIZE];
    struct hmac_sha256_ctx hash;
    XP_TRY(read_key(key));
    hmac_sha256_set_key(&hash, sizeof key, key);
    hmac_sha256_update(&hash, sizeof purpose, (const uint8_t *)purpose);
    hmac_sha256_update(&hash, strlen(score), (const uint8_t *)score);
    hmac_sha256_digest(&hash, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(mark + 2 * i, 3, "%02x", digest[i]);
    memcpy(mark + MARK_BYTES - 1, "\n", 2);
    return XP_OK;
}

void xp_trust_mark(const char *folder, const char *attention) {
    char path[PATH_MAX], mark[MARK_BYTES + 1];
    xp_writer score = {0};
    write_score(attention, &score);
    if (score.length > 0 && !score.failed && make_mark(score.text, mark) == XP_OK &&
        xp_run_folder_path(folder, mark_file, path, sizeof path) == XP_OK)
        xp_file_write_atomic(path, mark, MARK_BYTES);
    xp_writer_release(&score);
}

static bool has_mark(const char *folder, const char *mark) {
    char path[PATH_MAX], *text = NULL;
    size_t length = 0;
    if (xp_run_folder_path(folder, mark_file, path, sizeof path) != XP_OK ||
        xp_file_read(path, &text, &length) != XP_OK)
        return false;
    const bool same = length == MARK_BYTES && memcmp(text, mark, MARK_BYTES) == 0;
    free(text);
    return same;
}

static xp_status check_mark(const char *folder, const char *score) {
    char mark[MARK_BYTES + 1], reason[512] = "";
    if (make_mark(score, mark) == XP_OK) {
        if (has_mark(folder, mark)) return XP_OK;
    } else {
        snprintf(reason, sizeof reason, " (there is no key to mark your runs: %.400s)", xp_last_error());
    }
    return xp_fail(XP_INVALID_ARGUMENT,
                   "%s: its attention contains %s, which is code, and the run is not marked as yours%s; look at it, "
                   "and add --trust-code to accept it",
                   folder, score + strlen("softmax+"), reason);
}

xp_status xp_trust_check(const char *folder, const char *attention) {
    xp_writer score = {0};
    write_score(attention, &score);
    xp_status status = xp_writer_status(&score, folder);
    if (status == XP_OK && score.length > 0) status = check_mark(folder, score.text);
    xp_writer_release(&score);
    return status;
}
