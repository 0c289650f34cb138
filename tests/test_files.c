/* Files and folders: whole or not at all. */
#include "core/exchange.h"
#include "core/files.h"
#include "support.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zlib.h>

/* --- files -------------------------------------------------------------------------------------------------------- */

static void a_written_file_reads_back(void **state) {
    const char bytes[] = "one\0two\n";
    const char *path = scratch_path("plain");
    assert_int_equal(xp_file_write_atomic(path, bytes, sizeof bytes), XP_OK);
    char *read = NULL;
    size_t length = 0;
    assert_int_equal(xp_file_read(path, &read, &length), XP_OK);
    assert_int_equal(length, sizeof bytes);
    assert_memory_equal(read, bytes, sizeof bytes);
    assert_int_equal(read[length], 0);
    free(read);
}

/* A file-size limit fails a write in the middle, as a full disk does. */
static void a_write_that_fails_leaves_the_old_file_and_no_scrap(void **state) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s", scratch_path("full"));
    assert_int_equal(xp_folder_make(folder), XP_OK);
    const char *path = scratch_path("full/kept");
    assert_int_equal(xp_file_write_atomic(path, "old", 3), XP_OK);
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    static const char large[100000];
    xp_status status = xp_file_write_atomic(path, large, sizeof large);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "kept: writing failed at byte 1000 of 100000"));
    char *read = NULL;
    size_t length = 0;
    assert_int_equal(xp_file_read(path, &read, &length), XP_OK);
    assert_string_equal(read, "old");
    free(read);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing else is left in it */
    assert_int_equal(xp_folder_make(folder), XP_OK);
}

static void a_gzip_file_of_two_members_is_joined(void **state) {
    const char *path = scratch_path("two.gz");
    const char *modes[] = {"wb", "ab"};
    for (int i = 0; i < 2; i++) {
        gzFile file = gzopen(path, modes[i]);
        assert_int_equal(gzputs(file, i == 0 ? "first " : "second"), 6);
        gzclose(file);
    }
    char *read = NULL;
    size_t length = 0;
    assert_int_equal(xp_file_read(path, &read, &length), XP_OK);
    assert_string_equal(read, "first second");
    free(read);
}

static void a_cut_or_damaged_gzip_file_is_rejected_at_every_length(void **state) {
    char text[4000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 23);
    const char *path = scratch_path("whole.gz");
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, text, sizeof text), sizeof text);
    gzclose(file);
    FILE *packed = fopen(path, "rb");
    char bytes[4096];
    size_t length = fread(bytes, 1, sizeof bytes, packed);
    fclose(packed);
    for (size_t cut = 2; cut < length; cut++) {
        char *read = NULL;
        size_t got = 0;
        assert_int_equal(xp_file_read(scratch_write("cut.gz", bytes, cut), &read, &got), XP_BAD_DATA);
        assert_non_null(strstr(xp_last_error(), "cut.gz: the gzip data end too early, at byte"));
    }
    bytes[length - 5] ^= 1; /* the checksum */
    char *read = NULL;
    assert_int_equal(xp_file_read(scratch_write("bad.gz", bytes, length), &read, &length), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "bad.gz: the gzip data are damaged near byte"));
}

/* Zeros take a thousandth of their size as gzip. */
static void gzip_data_that_would_fill_the_memory_are_rejected_and_a_little_of_them_is_read(void **state) {
    static const char zeros[1 << 20];
    const char *path = scratch_path("zeros.gz");
    for (int mebibytes = 16; mebibytes <= 96; mebibytes += 80) {
        gzFile file = gzopen(path, "wb");
        for (int i = 0; i < mebibytes; i++) assert_int_equal(gzwrite(file, zeros, sizeof zeros), sizeof zeros);
        gzclose(file);
        char *read = NULL;
        size_t length = 0;
        const bool fits = mebibytes <= XP_FILE_GZIP_LEAST_MIB;
        assert_int_equal(xp_file_read(path, &read, &length), fits ? XP_OK : XP_BAD_DATA);
        if (fits) assert_int_equal(length, (size_t)mebibytes << 20);
        if (!fits) assert_non_null(strstr(xp_last_error(), "zeros.gz: its gzip data expand to more than 100 times"));
        free(read);
    }
}

static void a_stream_without_end_is_rejected(void **state) {
    char *read = NULL;
    size_t length = 0;
    assert_int_not_equal(xp_file_read("/dev/zero", &read, &length), XP_OK);
    assert_non_null(strstr(xp_last_error(), "/dev/zero: "));
}

static void missing_files_and_folders_are_named(void **state) {
    char *read = NULL;
    size_t length = 0;
    assert_int_equal(xp_file_read(scratch_path("none"), &read, &length), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "none: cannot be opened: No such file"));
    assert_int_equal(xp_file_read(scratch_folder, &read, &length), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "is a folder"));
    assert_int_equal(xp_file_write_atomic(scratch_path("none/x"), "", 0), XP_IO_ERROR);
}

static void folders_are_made_with_their_parents_and_not_over_files(void **state) {
    assert_int_equal(xp_folder_make(scratch_path("a/b//c/")), XP_OK);
    assert_int_equal(xp_folder_make(scratch_path("a/b/c")), XP_OK);
    scratch_write("a/file", "x", 1);
    assert_int_equal(xp_folder_make(scratch_path("a/file")), XP_IO_ERROR);
    assert_int_equal(xp_folder_make(scratch_path("a/file/below")), XP_IO_ERROR);
    assert_int_equal(xp_folder_make(""), XP_IO_ERROR);
}

static void what_can_be_made_is_known_before_it_is_made(void **state) {
    assert_int_equal(xp_folder_make(scratch_path("there")), XP_OK);
    scratch_write("there/file", "x", 1);
    assert_int_equal(xp_file_can_be_made(scratch_path("there/new")), XP_OK);
    assert_int_equal(xp_file_can_be_made("new"), XP_OK);
    assert_int_equal(xp_file_can_be_made(scratch_path("none/new")), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "/none does not exist; make it first"));
    assert_int_equal(xp_folder_can_be_made(scratch_path("none/such//folder/"), 1), XP_OK);
    assert_int_equal(xp_folder_can_be_made("none/such", 1), XP_OK);
    assert_int_equal(xp_folder_can_be_made(scratch_path("there"), 1), XP_OK);
    assert_int_equal(xp_folder_can_be_made(scratch_path("there/file/x/y"), 1), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "/there/file is not a folder"));
    assert_int_equal(xp_folder_can_be_made(scratch_path("there/file"), 1), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "exists and is not a folder"));
    assert_int_equal(xp_folder_can_be_made(scratch_path("none/such"), 1e30), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "GiB, and the disk has "));
}

static void only_files_exist_as_files(void **state) {
    assert_int_equal(xp_folder_make(scratch_path("kinds/folder")), XP_OK);
    scratch_write("kinds/file", "x", 1);
    assert_int_equal(mkfifo(scratch_path("kinds/pipe"), 0600), 0);
    assert_int_equal(symlink("file", scratch_path("kinds/link")), 0);
    assert_int_equal(symlink("nothing", scratch_path("kinds/dangling")), 0);
    assert_true(xp_file_exists(scratch_path("kinds/file")));
    assert_true(xp_file_exists(scratch_path("kinds/link")));
    static const char *const others[] = {"kinds/folder", "kinds/pipe", "kinds/dangling"};
    for (int i = 0; i < 3; i++) {
        assert_false(xp_file_exists(scratch_path(others[i])));
        assert_true(xp_path_exists(scratch_path(others[i])));
    }
    assert_false(xp_file_exists(scratch_path("kinds/none")));
    assert_false(xp_file_exists(scratch_path("kinds/file/none")));
}

static void a_folder_of_plain_files_is_removed_and_no_other(void **state) {
    assert_int_equal(xp_folder_make(scratch_path("outer/inner")), XP_OK);
    scratch_write("outer/inner/file", "x", 1);
    assert_int_equal(xp_folder_remove(scratch_path("outer")), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "outer: cannot be removed"));
    assert_int_equal(xp_folder_remove(scratch_path("outer/inner")), XP_OK);
    assert_false(xp_path_exists(scratch_path("outer/inner")));
    assert_int_equal(xp_folder_remove(scratch_path("outer/inner")), XP_OK); /* it is gone already */
}

/* --- folders that are replaced as a whole ------------------------------------------------------------------------- */

static void write_generation(const char *folder, const char *text) {
    char made[XP_EXCHANGE_BYTES], file[XP_EXCHANGE_BYTES + 8];
    bool left = true;
    assert_int_equal(xp_exchange_begin(folder, made), XP_OK);
    snprintf(file, sizeof file, "%s/file", made);
    assert_int_equal(xp_file_write_atomic(file, text, strlen(text)), XP_OK);
    assert_int_equal(xp_exchange_finish(made, folder, &left), XP_OK);
    assert_false(left);
    assert_false(xp_path_exists(made));
}

static void assert_generation(const char *path, const char *expected) {
    char *text = NULL;
    size_t length;
    assert_int_equal(xp_file_read(path, &text, &length), XP_OK);
    assert_string_equal(text, expected);
    free(text);
}

static void a_new_folder_takes_the_place_of_the_old_one(void **state) {
    write_generation(scratch_path("whole"), "old");
    write_generation(scratch_path("whole"), "new");
    assert_generation(scratch_path("whole/file"), "new");
    assert_int_equal(xp_exchange_remove(scratch_path("whole")), XP_OK);
    assert_false(xp_path_exists(scratch_path("whole")));
    assert_false(xp_path_exists(scratch_path("whole.partial")));
}

static void an_exchange_that_is_given_up_leaves_the_old_folder_and_the_reason(void **state) {
    char made[XP_EXCHANGE_BYTES];
    write_generation(scratch_path("kept"), "old");
    assert_int_equal(xp_exchange_begin(scratch_path("kept"), made), XP_OK);
    assert_int_equal(xp_exchange_abandon(made, xp_file_can_be_made("/no/such/folder")), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "/no/such/folder"));
    assert_false(xp_path_exists(made));
    assert_generation(scratch_path("kept/file"), "old");
}

static void what_an_exchange_leaves_behind_is_known_by_its_name_and_removed_or_put_back(void **state) {
    static const struct {
        const char *name;
        size_t owner;
    } names[] = {{"last.partial", 4}, {"last.previous", 4}, {"a.partial.1", 1},   {"last", 0},
                 {".partial", 0},     {"last.part", 0},     {"last.7.partial", 0}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(xp_exchange_leftover(names[i].name), names[i].owner);
    write_generation(scratch_path("cut.previous"), "old"); /* the process ended between two renames */
    xp_exchange_recover(scratch_folder, "cut.previous");
    assert_generation(scratch_path("cut/file"), "old");
    write_generation(scratch_path("cut.previous"), "older");
    write_generation(scratch_path("cut.partial"), "half");
    xp_exchange_recover(scratch_folder, "cut.previous");
    xp_exchange_recover(scratch_folder, "cut.partial");
    assert_false(xp_path_exists(scratch_path("cut.previous")));
    assert_false(xp_path_exists(scratch_path("cut.partial")));
    assert_generation(scratch_path("cut/file"), "old");
}

/* Whoever may write into the folder could lay a link of a name that is known before. */
static void a_link_of_a_temporary_name_is_not_followed(void **state) {
    char planted[600];
    const char *target = scratch_path("target");
    assert_int_equal(xp_file_write_atomic(target, "kept", 4), XP_OK);
    char kept[512];
    snprintf(kept, sizeof kept, "%s", target);
    const char *path = scratch_path("written");
    snprintf(planted, sizeof planted, "%s.%ld.partial", path, (long)getpid());
    assert_int_equal(symlink(kept, planted), 0);
    assert_int_equal(xp_file_write_atomic(path, "new", 3), XP_OK);
    char *read = NULL;
    size_t length = 0;
    assert_int_equal(xp_file_read(kept, &read, &length), XP_OK);
    assert_string_equal(read, "kept");
    free(read);
    unlink(planted);
}

static void files_keep_the_modes_that_the_umask_leaves(void **state) {
    struct stat info;
    const mode_t before = umask(027);
    assert_int_equal(xp_file_write_atomic(scratch_path("masked"), "x", 1), XP_OK);
    assert_int_equal(stat(scratch_path("masked"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    umask(before);
}

static void a_private_folder_is_made_for_its_user_alone(void **state) {
    int folder;
    struct stat info;
    char path[512], *bytes = NULL;
    size_t length = 0;
    snprintf(path, sizeof path, "%s", scratch_path("private/inner"));
    assert_int_equal(xp_private_folder_open(path, false, &folder), XP_IO_ERROR);
    assert_int_equal(xp_private_folder_open(path, true, &folder), XP_OK);
    assert_int_equal(fstat(folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(xp_private_file_write(folder, path, "secret", false, "one", 3), XP_OK);
    assert_int_equal(xp_private_file_write(folder, path, "secret", false, "two", 3), XP_INVALID_ARGUMENT);
    assert_int_equal(fstatat(folder, "secret", &info, 0), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(xp_private_file_read(folder, path, "secret", &bytes, &length), XP_OK);
    assert_string_equal(bytes, "one");
    free(bytes);
    close(folder);
}

static void a_private_folder_that_others_may_write_into_is_rejected(void **state) {
    int folder;
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("open"));
    assert_int_equal(mkdir(path, 0700), 0);
    const mode_t modes[] = {0720, 0702, 0777};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(xp_private_folder_open(path, true, &folder), XP_IO_ERROR);
        assert_non_null(strstr(xp_last_error(), "chmod 700"));
    }
    if (geteuid() != 0) return;
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(xp_private_folder_open(path, true, &folder), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "another user"));
}

static void a_private_file_is_no_link_and_of_nobody_else(void **state) {
    int folder;
    char path[512], *bytes;
    size_t length;
    snprintf(path, sizeof path, "%s", scratch_path("files"));
    assert_int_equal(xp_private_folder_open(path, true, &folder), XP_OK);
    assert_int_equal(xp_private_file_write(folder, path, "real", true, "x", 1), XP_OK);
    assert_int_equal(symlinkat("real", folder, "link"), 0);
    assert_int_equal(mkfifoat(folder, "fifo", 0600), 0);
    assert_int_equal(xp_private_file_read(folder, path, "link", &bytes, &length), XP_IO_ERROR);
    assert_int_equal(xp_private_file_read(folder, path, "fifo", &bytes, &length), XP_IO_ERROR);
    assert_int_equal(fchmodat(folder, "real", 0602, 0), 0);
    assert_int_equal(xp_private_file_read(folder, path, "real", &bytes, &length), XP_IO_ERROR);
    assert_int_equal(xp_private_file_write(folder, path, "link", true, "y", 1), XP_OK); /* in the link's place */
    assert_int_equal(xp_private_file_read(folder, path, "link", &bytes, &length), XP_OK);
    free(bytes);
    close(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_file_reads_back),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_file_and_no_scrap),
        cmocka_unit_test(a_gzip_file_of_two_members_is_joined),
        cmocka_unit_test(a_cut_or_damaged_gzip_file_is_rejected_at_every_length),
        cmocka_unit_test(gzip_data_that_would_fill_the_memory_are_rejected_and_a_little_of_them_is_read),
        cmocka_unit_test(a_stream_without_end_is_rejected),
        cmocka_unit_test(missing_files_and_folders_are_named),
        cmocka_unit_test(folders_are_made_with_their_parents_and_not_over_files),
        cmocka_unit_test(what_can_be_made_is_known_before_it_is_made),
        cmocka_unit_test(only_files_exist_as_files),
        cmocka_unit_test(a_link_of_a_temporary_name_is_not_followed),
        cmocka_unit_test(files_keep_the_modes_that_the_umask_leaves),
        cmocka_unit_test(a_private_folder_is_made_for_its_user_alone),
        cmocka_unit_test(a_private_folder_that_others_may_write_into_is_rejected),
        cmocka_unit_test(a_private_file_is_no_link_and_of_nobody_else),
        cmocka_unit_test(a_folder_of_plain_files_is_removed_and_no_other),
        cmocka_unit_test(a_new_folder_takes_the_place_of_the_old_one),
        cmocka_unit_test(an_exchange_that_is_given_up_leaves_the_old_folder_and_the_reason),
        cmocka_unit_test(what_an_exchange_leaves_behind_is_known_by_its_name_and_removed_or_put_back),
    };
    return cmocka_run_group_tests_name("files", tests, scratch_make, scratch_remove);
}
