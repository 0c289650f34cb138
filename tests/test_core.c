/* Files and numbers: whole or not at all, and the same in every locale. */
#include "core/array.h"
#include "core/chart.h"
#include "core/exchange.h"
#include "core/files.h"
#include "core/json.h"
#include "core/random.h"
#include "core/text.h"
#include "core/writer.h"
#include "support.h"

#include <locale.h>
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

static void a_cut_or_damaged_gzip_file_is_refused_at_every_length(void **state) {
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
static void gzip_data_that_would_fill_the_memory_are_refused_and_a_little_of_them_is_read(void **state) {
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

static void a_stream_without_end_is_refused(void **state) {
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

/* --- encodings ---------------------------------------------------------------------------------------------------- */

static void only_whole_characters_that_json_can_hold_are_utf_8(void **state) {
    static const struct {
        const char *text;
        size_t good;
    } cases[] = {{"plain", 5},
                 {"\xc3\xa9", 2},
                 {"a\xe2\x82\xac", 4},
                 {"\xf0\x9f\x98\x80", 4},
                 {"a\xe9", 1},
                 {"\xc3", 0},
                 {"ab\x80", 2},
                 {"\xc0\x80", 0},
                 {"\xe0\x80\x80", 0},
                 {"\xed\xa0\x80", 0},
                 {"\xf0\x8f\xbf\xbf", 0},
                 {"\xf4\x90\x80\x80", 0},
                 {"\xf5\x80", 0},
                 {"\xf4\x8f\xbf\xbf", 4},
                 {"\xe2\x82", 0},
                 {"", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(xp_text_utf8(cases[i].text, strlen(cases[i].text)), cases[i].good);
}

static void utf_16_becomes_utf_8(void **state) {
    static const char bytes[] =
        "\xff\xfe\xe9\x00\xac\x20\x3d\xd8\x00\xde\x00\xde\x3d\xd8\x41\x00\x3d\xd8"; /* an odd end: the NUL */
    char *text = NULL;
    size_t length = 0;
    assert_true(xp_text_is_utf16(bytes, sizeof bytes));
    assert_int_equal(xp_text_from_utf16(bytes, sizeof bytes, &text, &length), XP_OK);
    assert_string_equal(text, "\xef\xbb\xbf\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd"
                              "A\xef\xbf\xbd");
    assert_int_equal(length, strlen(text));
    free(text);
    assert_false(xp_text_is_utf16("\0\0\x08\x03", 4)); /* IDX */
    assert_false(xp_text_is_utf16("@da\0", 4));
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

/* --- arrays and texts --------------------------------------------------------------------------------------------- */

static void arrays_grow_by_doubling_and_stay_as_they_are_where_memory_ends(void **state) {
    int64_t *numbers = NULL;
    size_t room = 0, grown = 0;
    for (size_t i = 0; i < 100000; i++) {
        const size_t before = room;
        assert_true(xp_array_reserve(&numbers, &room, i, 1, sizeof *numbers));
        grown += room != before;
        numbers[i] = (int64_t)i;
    }
    assert_true(grown < 20);
    for (size_t i = 0; i < 100000; i++) assert_int_equal(numbers[i], i);
    int64_t *const before = numbers;
    const size_t room_before = room;
    assert_false(xp_array_reserve(&numbers, &room, 100000, SIZE_MAX / 8, sizeof *numbers));
    assert_false(xp_array_reserve(&numbers, &room, 100000, SIZE_MAX, sizeof *numbers));
    assert_ptr_equal(numbers, before);
    assert_int_equal(room, room_before);
    free(numbers);
}

static void what_does_not_fit_is_left_out_of_a_text(void **state) {
    char text[8] = "";
    xp_text_add(text, sizeof text, "%s", "abc");
    xp_text_add(text, sizeof text, "%d", 12);
    assert_string_equal(text, "abc12");
    xp_text_add(text, sizeof text, "%s", "defgh");
    assert_string_equal(text, "abc12de");
    xp_text_add(text, sizeof text, "%s", "i");
    assert_string_equal(text, "abc12de");
}

/* --- charts ------------------------------------------------------------------------------------------------------- */

static void a_chart_encloses_its_values_in_round_numbers(void **state) {
    xp_chart chart = {.left = 10, .top = 20, .width = 100, .height = 50, .x_low = 1, .x_high = 3};
    xp_chart_round_range(&chart, 0.13, 0.87);
    assert_float_equal(chart.y_low, 0, 1e-12);
    assert_float_equal(chart.y_high, 1, 1e-12);
    assert_float_equal(xp_chart_x(&chart, 2), 60, 1e-12);
    assert_float_equal(xp_chart_y(&chart, 0.25), 57.5, 1e-12);
    assert_float_equal(xp_chart_y(&chart, 7), 20, 1e-12); /* the border */
    chart.x_high = 1;
    assert_float_equal(xp_chart_x(&chart, 1), 60, 1e-12);
    chart.percent = true;
    xp_chart_round_range(&chart, 31, 100);
    assert_float_equal(chart.y_high, 100, 1e-12);
    xp_chart_round_range(&chart, INFINITY, -INFINITY); /* no values */
    assert_true(chart.y_low < chart.y_high);
    xp_chart_round_range(&chart, -2, -2);
    assert_true(chart.y_low < -2 && chart.y_high > -2);
}

static void an_axis_is_labelled_at_round_numbers_and_its_zero_is_zero(void **state) {
    const xp_chart chart = {.width = 100, .height = 50, .x_low = -0.31, .x_high = 0.33, .y_low = -0.3, .y_high = 0.3};
    xp_writer out = {0};
    xp_chart_axes(&out, &chart);
    assert_non_null(strstr(out.text, ">-0.2<"));
    assert_non_null(strstr(out.text, ">0<"));
    assert_null(strstr(out.text, "e-1"));
    xp_writer_release(&out);
    xp_chart_ticks_x(&out, &chart);
    assert_non_null(strstr(out.text, ">-0.2<"));
    assert_non_null(strstr(out.text, ">0<"));
    xp_writer_release(&out);
}

/* --- durations ---------------------------------------------------------------------------------------------------- */

static void durations_have_units(void **state) {
    static const struct {
        const char *text;
        int64_t seconds;
        const char *printed;
    } good[] = {{"1s", 1, "1s"},       {"90s", 90, "90s"},           {"10m", 600, "10m"}, {"1h30m", 5400, "90m"},
                {"1.5h", 5400, "90m"}, {"2h", 7200, "2h"},           {"1d", 86400, "1d"}, {"1d1s", 86401, "86401s"},
                {"60m", 3600, "1h"},   {"3650d", 315360000, "3650d"}};
    static const char *const bad[] = {"",    "5",   "h",    "0s",    "0.2s",  "-5m", "5x",
                                      "5m ", "5 m", "1h30", "1e99d", "3651d", "5M"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t seconds = 0;
        char printed[32];
        if (!xp_text_duration(good[i].text, &seconds)) fail_msg("'%s' is refused", good[i].text);
        assert_int_equal(seconds, good[i].seconds);
        xp_text_print_duration(seconds, printed);
        assert_string_equal(printed, good[i].printed);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t seconds = 7;
        if (xp_text_duration(bad[i], &seconds) || seconds != 7) fail_msg("'%s' passes", bad[i]);
    }
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

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

static void a_private_folder_that_others_may_write_into_is_refused(void **state) {
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

static void assert_number(const char *text, double expected, size_t expected_length) {
    double value = 0;
    size_t length = 0;
    assert_int_equal(xp_text_number(text, &value, &length), XP_OK);
    if (length != expected_length || (length > 0 && value != expected)) {
        fail_msg("'%s' reads as %g over %zu characters, expected %g over %zu", text, value, length, expected,
                 expected_length);
    }
}

static void assert_numbers(void) {
    assert_number("1.5,2", 1.5, 3);
    assert_number("1,5", 1, 1);
    assert_number("-.25e2:", -25, 6);
    assert_number("+7.", 7, 3);
    assert_number("3.e-1 ", 0.3, 5);
    assert_number("2e", 2, 1);
    assert_number("2e+", 2, 1);
    assert_number("0x10", 0, 1);
    assert_number("1e999", INFINITY, 5);
    assert_number("1.000", 1, 5);
    const char *none[] = {"", ".", "-", "-.", "e5", "inf", "nan", " 1", ",5"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) assert_number(none[i], 0, 0);
}

static void short_numbers_are_rounded_as_strtod_rounds(void **state) {
    xp_random random;
    xp_random_start(&random, 11, 0);
    for (int i = 0; i < 100000; i++) {
        const int digits = 1 + (int)xp_random_below(&random, 17), point = (int)xp_random_below(&random, 19);
        char text[32] = "-";
        int used = (int)xp_random_below(&random, 2);
        for (int j = 0; j < digits; j++) {
            if (j == point) text[used++] = '.';
            text[used++] = (char)('0' + xp_random_below(&random, 10));
        }
        text[used] = '\0';
        double value = 0;
        size_t length = 0;
        assert_int_equal(xp_text_number(text, &value, &length), XP_OK);
        const double expected = strtod(text, NULL);
        if (memcmp(&value, &expected, sizeof value) != 0 || length != (size_t)used)
            fail_msg("'%s' reads as %.17g", text, value);
    }
}

static void numbers_read_alike_in_the_c_locale(void **state) {
    assert_numbers();
}

/* A locale with a decimal comma of our own making: the machine need not have a German one installed. */
static void numbers_read_alike_with_a_decimal_comma(void **state) {
    static const char source[] = "comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\n"
                                 "grouping 3;3\nEND LC_NUMERIC\n";
    scratch_write("comma", source, sizeof source - 1);
    char command[1200];
    snprintf(command, sizeof command, "localedef -c -i '%s' '%s' 2>/dev/null", scratch_path("comma"),
             scratch_path("xx_XX"));
    int made = system(command);
    setenv("LOCPATH", scratch_folder, 1);
    const char *tried[] = {"xx_XX", "de_DE.UTF-8", "de_DE.utf8", "de_DE"};
    bool found = false;
    for (size_t i = 0; i < sizeof tried / sizeof tried[0] && !found; i++) {
        if (i == 1) unsetenv("LOCPATH");
        found = setlocale(LC_ALL, tried[i]) && strcmp(localeconv()->decimal_point, ",") == 0;
    }
    unsetenv("LOCPATH");
    if (!found) {
        print_message("no locale with a decimal comma can be made here (localedef ended with %d)\n", made);
        skip();
    }
    double plain = strtod("1,5", NULL);
    assert_true(plain == 1.5); /* the locale is in force */
    assert_numbers();
    setlocale(LC_ALL, "C");
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *parsed(const char *text) {
    json_error_t error = {.text = "nothing"};
    json_t *value = NULL;
    assert_int_equal(xp_json_read("a text", text, strlen(text), &value, &error), XP_OK);
    if (!value) fail_msg("%s: %s at %d:%d", text, error.text, error.line, error.column);
    return value;
}

static void json_is_read_as_jansson_reads_it(void **state) {
    static const char *const texts[] = {
        "{}", "[]", " [ 1 , -0, 12.5e-3, 1E+2, 9223372036854775807, -9223372036854775808, 0.1, true, false, null ] \n",
        "{\"a\": {\"b\": [{}, [], \"\"]}, \"\": \"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"}",
        "[\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00 caf\xc3\xa9 \xf0\x9f\x98\x80\"]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *ours = parsed(texts[i]), *theirs = json_loads(texts[i], 0, NULL);
        assert_non_null(theirs);
        if (!json_equal(ours, theirs)) fail_msg("%s is read as another value", texts[i]);
        json_decref(ours);
        json_decref(theirs);
    }
}

static void what_is_no_json_is_refused_with_its_place(void **state) {
    static const struct {
        const char *text;
        int line, column;
    } bad[] = {
        {"", 1, 1},
        {"{\"a\": 1,\n \"b\" 2}", 2, 6},
        {"{\"a\": 1, \"a\": 2}", 1, 13},
        {"[1, 2", 1, 6},
        {"[01]", 1, 2},
        {"[1.]", 1, 2},
        {"[.5]", 1, 2},
        {"[+1]", 1, 2},
        {"[1e999]", 1, 2},
        {"[9223372036854775808]", 1, 2},
        {"[nul]", 1, 2},
        {"[\"a]", 1, 3},
        {"[\"a\nb\"]", 1, 4},
        {"[\"\\x\"]", 1, 5},
        {"[\"\\u0000\"]", 1, 9},
        {"[\"\\ud83d\"]", 1, 9},
        {"[\"\\ude00\"]", 1, 9},
        {"[\"\xc0\xaf\"]", 1, 5},
        {"{1: 2}", 1, 2},
        {"[] []", 1, 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_error_t error;
        json_t *value = NULL;
        assert_int_equal(xp_json_read("a text", bad[i].text, strlen(bad[i].text), &value, &error), XP_OK);
        if (value || error.line != bad[i].line || error.column != bad[i].column)
            fail_msg("%s: expected a fault at %d:%d, got %s at %d:%d", bad[i].text, bad[i].line, bad[i].column,
                     value ? "a value" : error.text, error.line, error.column);
    }
}

static void brackets_without_end_do_not_take_the_stack(void **state) {
    static char text[1 << 20];
    json_error_t error;
    json_t *value = NULL;
    memset(text, '[', sizeof text);
    assert_int_equal(xp_json_read("a text", text, sizeof text, &value, &error), XP_OK);
    assert_null(value);
    assert_non_null(strstr(error.text, "nested too deeply"));
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void numbers_are_the_shortest_text_that_reads_back(void **state) {
    static const struct {
        double value;
        const char *text, *single;
    } cases[] = {{0.1, "0.1", "0.1"},
                 {100, "100", "100"},
                 {1e-5, "1e-05", "1e-05"},
                 {1e22, "1e+22", "1e+22"},
                 {1234567, "1234567", "1234567"},
                 {-0.0, "-0", "-0"},
                 {1.0 / 3, "0.3333333333333333", "0.33333334"},
                 {NAN, ".nan", ".nan"},
                 {-INFINITY, "-.inf", "-.inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        xp_writer number = {0}, single = {0};
        xp_write_number(&number, cases[i].value);
        xp_write_float(&single, (float)cases[i].value);
        assert_string_equal(number.text, cases[i].text);
        assert_string_equal(single.text, cases[i].single);
        xp_writer_release(&number);
        xp_writer_release(&single);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_file_reads_back),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_file_and_no_scrap),
        cmocka_unit_test(a_gzip_file_of_two_members_is_joined),
        cmocka_unit_test(a_cut_or_damaged_gzip_file_is_refused_at_every_length),
        cmocka_unit_test(gzip_data_that_would_fill_the_memory_are_refused_and_a_little_of_them_is_read),
        cmocka_unit_test(a_stream_without_end_is_refused),
        cmocka_unit_test(missing_files_and_folders_are_named),
        cmocka_unit_test(folders_are_made_with_their_parents_and_not_over_files),
        cmocka_unit_test(what_can_be_made_is_known_before_it_is_made),
        cmocka_unit_test(only_files_exist_as_files),
        cmocka_unit_test(a_link_of_a_temporary_name_is_not_followed),
        cmocka_unit_test(files_keep_the_modes_that_the_umask_leaves),
        cmocka_unit_test(a_private_folder_is_made_for_its_user_alone),
        cmocka_unit_test(a_private_folder_that_others_may_write_into_is_refused),
        cmocka_unit_test(a_private_file_is_no_link_and_of_nobody_else),
        cmocka_unit_test(only_whole_characters_that_json_can_hold_are_utf_8),
        cmocka_unit_test(utf_16_becomes_utf_8),
        cmocka_unit_test(short_numbers_are_rounded_as_strtod_rounds),
        cmocka_unit_test(a_folder_of_plain_files_is_removed_and_no_other),
        cmocka_unit_test(a_new_folder_takes_the_place_of_the_old_one),
        cmocka_unit_test(an_exchange_that_is_given_up_leaves_the_old_folder_and_the_reason),
        cmocka_unit_test(what_an_exchange_leaves_behind_is_known_by_its_name_and_removed_or_put_back),
        cmocka_unit_test(arrays_grow_by_doubling_and_stay_as_they_are_where_memory_ends),
        cmocka_unit_test(what_does_not_fit_is_left_out_of_a_text),
        cmocka_unit_test(a_chart_encloses_its_values_in_round_numbers),
        cmocka_unit_test(an_axis_is_labelled_at_round_numbers_and_its_zero_is_zero),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(numbers_read_alike_in_the_c_locale),
        cmocka_unit_test(numbers_read_alike_with_a_decimal_comma),
        cmocka_unit_test(json_is_read_as_jansson_reads_it),
        cmocka_unit_test(what_is_no_json_is_refused_with_its_place),
        cmocka_unit_test(brackets_without_end_do_not_take_the_stack),
        cmocka_unit_test(numbers_are_the_shortest_text_that_reads_back),
    };
    return cmocka_run_group_tests_name("core", tests, scratch_make, scratch_remove);
}
