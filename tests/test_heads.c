/* The head analysis on maps made by hand: pooled heads brought to rows, distances, and the picture. */
#include "core/files.h"
#include "support.h"
#include "train/curves.h"
#include "train/heads.h"

static void pooled_keys_share_their_weight_among_their_rows(void **state) {
    /* 7 rows in windows of 3: the last key stands for one row. NaN behind the keys must not be read. */
    const float map[2][4] = {{0.3f, 0.6f, 0.1f, NAN}, {0.9f, 0, 0.1f, NAN}};
    const float expected[2][7] = {{0.1f, 0.1f, 0.1f, 0.2f, 0.2f, 0.2f, 0.1f}, {0.3f, 0.3f, 0.3f, 0, 0, 0, 0.1f}};
    const xp_head_keys keys = {.scale = 3}, plain = {.scale = 1};
    float out[2][7];
    assert_int_equal(xp_head_key_count(&keys, 7), 3);
    xp_head_expand(&keys, map[0], 4, 2, 7, out[0]);
    for (int i = 0; i < 14; i++) assert_float_equal(out[i / 7][i % 7], expected[i / 7][i % 7], 1e-7);
    xp_head_expand(&plain, expected[0], 7, 2, 7, out[0]);
    assert_memory_equal(out, expected, sizeof out);
}

static void pooled_keys_of_a_grid_share_their_weight_among_their_patches(void **state) {
    /* A 3 × 3 grid in windows of 2 × 2 behind a class token: windows of 4, 2, 2 and 1 patches. */
    const float map[5] = {0.1f, 0.4f, 0.2f, 0.2f, 0.1f};
    const float expected[10] = {0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f};
    const float other[5] = {0, 0, 0.5f, 0, 0.5f};
    const float other_expected[10] = {0, 0, 0, 0.25f, 0, 0, 0.25f, 0, 0, 0.5f};
    const xp_head_keys keys = {.scale = 2, .grid_height = 3, .grid_width = 3, .class_token = 1};
    float out[10];
    assert_int_equal(xp_head_key_count(&keys, 10), 5);
    xp_head_expand(&keys, map, 5, 1, 10, out);
    for (int i = 0; i < 10; i++) assert_float_equal(out[i], expected[i], 1e-7);
    xp_head_expand(&keys, other, 5, 1, 10, out);
    for (int i = 0; i < 10; i++) assert_float_equal(out[i], other_expected[i], 1e-7);
}

static void the_distance_is_that_of_a_mean_entry_and_pair(void **state) {
    /* Three heads of 2 × 2: the first two are the same, the third differs by 0.5 in every entry. */
    const float maps[3][2][2] = {{{1, 0}, {0, 1}}, {{1, 0}, {0, 1}}, {{0.5f, 0.5f}, {0.5f, 0.5f}}};
    assert_float_equal(xp_head_distance(maps[0][0], 3, 4, 2, 2, 2), (0 + 0.5 + 0.5) / 3, 1e-12);
    assert_float_equal(xp_head_distance(maps[0][0], 2, 4, 2, 2, 2), 0, 0);
    assert_float_equal(xp_head_distance(maps[1][0], 2, 4, 2, 2, 2), 0.5, 1e-12);
    assert_true(isnan(xp_head_distance(maps[0][0], 1, 4, 2, 2, 2)));
    /* The same entries as outputs lie: [rows][heads][width]. */
    const float outputs[2][3][2] = {{{1, 0}, {1, 0}, {0.5f, 0.5f}}, {{0, 1}, {0, 1}, {0.5f, 0.5f}}};
    assert_float_equal(xp_head_distance(outputs[0][0], 3, 2, 2, 6, 2), 1.0 / 3, 1e-12);
}

static void large_maps_are_averaged_down(void **state) {
    enum { ROWS = 5, COLUMNS = 3, LIMIT = 2 };
    const float map[ROWS][COLUMNS] = {{1, 2, 4}, {3, 4, 6}, {5, 6, 9}, {7, 8, 9}, {9, 10, 12}};
    float out[LIMIT * LIMIT];
    int rows, columns;
    xp_head_shrink(map[0], ROWS, COLUMNS, LIMIT, out, &rows, &columns);
    assert_true(rows == 2 && columns == 2);
    const float expected[4] = {2, 4, 7, 9}; /* rows 0-1 and 2-4, columns 0 and 1-2 */
    for (int i = 0; i < 4; i++) assert_float_equal(out[i], expected[i], 1e-6);
    float whole[ROWS * ROWS];
    xp_head_shrink(map[0], ROWS, COLUMNS, ROWS, whole, &rows, &columns);
    assert_true(rows == ROWS && columns == COLUMNS);
    assert_memory_equal(whole, map, sizeof map);
}

/* Every map of a picture has its cells, and no number in it is NaN or infinite, whatever the maps hold. */
static void the_picture_shows_every_head(void **state) {
    enum { HEADS = 3, SIDE = 4 };
    float cells[HEADS * SIDE * SIDE];
    for (int i = 0; i < HEADS * SIDE * SIDE; i++)
        cells[i] = i % 16 == 5 ? NAN : i % 16 == 6 ? INFINITY : (float)(i % 7);
    for (int i = 0; i < SIDE * SIDE; i++) cells[SIDE * SIDE + i] = 0;
    xp_map_row rows[2] = {{.title = "layer 0", .cells = cells, .heads = HEADS, .rows = SIDE, .columns = SIDE},
                          {.title = "layer <1>", .cells = cells, .heads = 1, .rows = 2, .columns = 3}};
    const char *names[HEADS] = {"head 0", "head 1", "head 2 & more"};
    char *text = NULL;
    size_t length = 0;
    const char *path = scratch_path("maps.svg");
    const xp_map_sample sample = {"sample 3, cat & dog", "<path d=\"M0 0h140\"/>"};
    MUST(xp_maps_write(path, "title", "note", &sample, rows, 2, names));
    assert_int_equal(xp_file_read(path, &text, &length), XP_OK);
    if (strstr(text, "nan") || strstr(text, "inf")) fail_msg("%s", text);
    int frames = 0;
    for (const char *at = text; (at = strstr(at, "class=\"map\"")); at++) frames++;
    assert_int_equal(frames, HEADS + 1);
    assert_non_null(strstr(text, "head 2 &amp; more"));
    assert_non_null(strstr(text, "sample 3, cat &amp; dog"));
    assert_non_null(strstr(text, sample.sketch));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pooled_keys_share_their_weight_among_their_rows),
        cmocka_unit_test(pooled_keys_of_a_grid_share_their_weight_among_their_patches),
        cmocka_unit_test(the_distance_is_that_of_a_mean_entry_and_pair),
        cmocka_unit_test(large_maps_are_averaged_down),
        cmocka_unit_test(the_picture_shows_every_head),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
