/* Tables: what the four formats make of cells that would break a line, a column or a quotation. */
#include "../tools/live.h"
#include "../tools/table.h"
#include "support.h"

static const xp_column columns[] = {
    {"name", "name", XP_CELL_TEXT},
    {"count", "count", XP_CELL_WHOLE},
    {"share", "share %", XP_CELL_REAL, .digits = 1, .scale = 100},
    {"bytes", "memory MiB", XP_CELL_WHOLE, .digits = 1, .scale = XP_MIB},
    {"good", "good", XP_CELL_TRUTH},
    {"nothing", "nothing", XP_CELL_REAL},
    {"parts", NULL, XP_CELL_TREE},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static const char hostile[] = "a|b, \"c\"\r\n\033[31m";

/* What is printed of two rows; freed by the caller. */
static char *printed(xp_table_format format, const char *rows_name, const char *first, const char *second) {
    char *text = NULL;
    size_t length = 0;
    xp_table table;
    FILE *out = open_memstream(&text, &length);
    xp_table_open(&table, out, format, columns, COLUMNS, rows_name);
    xp_table_note(&table, "%s", "two rows");
    xp_table_fact(&table, "version", json_integer(3));
    const char *const names[] = {first, second};
    for (int i = 0; i < 2; i++)
        xp_table_row(&table, (xp_cell[]){{.text = names[i]},
                                         {.whole = i ? 12 : XP_CELL_EMPTY},
                                         {.real = i ? 0.25 : NAN},
                                         {.whole = 3 << 19},
                                         {.truth = i},
                                         {.real = INFINITY},
                                         {.tree = i ? json_pack("[i,i]", 1, 2) : NULL}});
    xp_table_note(&table, "%s", "that is all");
    assert_int_equal(xp_table_close(&table, XP_OK), XP_OK);
    fclose(out);
    return text;
}

static void text_has_columns_and_leaves_out_empty_ones(void **state) {
    char *text = printed(XP_TABLE_TEXT, NULL, "a", "µ longer");
    assert_string_equal(text, "two rows\n"
                              "name      count  share %  memory MiB  good\n"
                              "a                                1.5  no\n"
                              "µ longer     12     25.0         1.5  yes\n"
                              "that is all\n");
    free(text);
}

static int letters(const char *text) {
    int count = 0;
    for (; *text; text++) count += *text >= 'a' && *text <= 'z';
    return count;
}

/* Characters of the longest line. */
static int longest_line(const char *text) {
    int longest = 0;
    for (int length = 0; *text; text++) {
        if (((unsigned char)*text & 0xc0) != 0x80) length = *text == '\n' ? 0 : length + 1;
        if (length > longest) longest = length;
    }
    return longest;
}

static void text_keeps_within_100_columns_and_loses_nothing(void **state) {
    char words[301], solid[301];
    for (int i = 0; i < 300; i++) {
        words[i] = i % 7 == 6 ? ' ' : (char)('a' + i % 26);
        solid[i] = (char)('a' + i % 26);
    }
    words[300] = solid[300] = '\0';
    for (int widest = 0; widest < 2; widest++) {
        char *text = printed(XP_TABLE_TEXT, NULL, widest ? solid : words, hostile);
        assert_true(longest_line(text) <= XP_TABLE_COLUMNS);
        assert_null(strpbrk(text, "\033\r"));
        char *without = printed(XP_TABLE_TEXT, NULL, "", hostile);
        assert_int_equal(letters(text), letters(without) + letters(widest ? solid : words));
        free(without);
        for (const char *c = text; *c; c++)
            if (*c == '\n' && c > text) assert_int_not_equal(c[-1], ' ');
        free(text);
    }
}

static void markdown_escapes_what_ends_a_cell(void **state) {
    char *text = printed(XP_TABLE_MARKDOWN, NULL, hostile, "b");
    assert_string_equal(text, "two rows\n\n"
                              "| name | count | share % | memory MiB | good |\n"
                              "| --- | ---: | ---: | ---: | --- |\n"
                              "| a\\|b, \"c\"   [31m |  |  | 1.5 | no |\n"
                              "| b | 12 | 25.0 | 1.5 | yes |\n"
                              "\nthat is all\n");
    free(text);
}

static void csv_follows_rfc_4180(void **state) {
    char *text = printed(XP_TABLE_CSV, NULL, hostile, "b");
    assert_string_equal(text, "name,count,share,bytes,good,nothing\r\n"
                              "\"a|b, \"\"c\"\"\r\n\033[31m\",,,1572864,false,\r\n"
                              "b,12,0.25,1572864,true,\r\n");
    free(text);
}

static void json_is_json_whatever_the_names(void **state) {
    char *text = printed(XP_TABLE_JSON, "rows", hostile, "caf\xe9"); /* no UTF-8 */
    json_error_t error;
    json_t *all = json_loads(text, 0, &error);
    if (!all) fail_msg("%s in %s", error.text, text);
    const json_t *rows = json_object_get(all, "rows"), *first = json_array_get(rows, 0),
                 *second = json_array_get(rows, 1);
    assert_int_equal(json_integer_value(json_object_get(all, "version")), 3);
    assert_string_equal(json_string_value(json_object_get(first, "name")), hostile);
    assert_string_equal(json_string_value(json_object_get(second, "name")), "caf?");
    assert_null(json_object_get(first, "count"));
    assert_null(json_object_get(second, "nothing"));
    assert_int_equal(json_integer_value(json_object_get(second, "bytes")), 3 << 19);
    assert_true(json_number_value(json_object_get(second, "share")) == 0.25);
    assert_int_equal(json_array_size(json_object_get(second, "parts")), 2);
    json_decref(all);
    free(text);
}

/* One word a line would be, were the columns not whole. */
static void whole_texts_and_titles_are_never_broken(void **state) {
    static const xp_column wide[] = {{"a", "attention", XP_CELL_TEXT},
                                     {"b", "best", XP_CELL_TEXT, .whole = true},
                                     {"c", "last", XP_CELL_TEXT, .whole = true},
                                     {"d", "difference", XP_CELL_TEXT, .whole = true}};
    static const char *const values[] = {"95.23 ± 0.68 % of all samples", "94.99 ± 0.41 % of all samples",
                                         "-0.27 (-0.54 … +0.27) at the most"};
    char *text = NULL;
    size_t length = 0;
    xp_table table;
    FILE *out = open_memstream(&text, &length);
    xp_table_open(&table, out, XP_TABLE_TEXT, wide, 4, NULL);
    xp_table_row(&table,
                 (xp_cell[]){{.text = "softmax+bn+sh"}, {.text = values[0]}, {.text = values[1]}, {.text = values[2]}});
    assert_int_equal(xp_table_close(&table, XP_OK), XP_OK);
    fclose(out);
    for (int i = 0; i < 3; i++) assert_non_null(strstr(text, values[i]));
    assert_non_null(strstr(text, "attention  best "));
    free(text);
}

static void a_table_of_no_rows_is_one(void **state) {
    static const char *const expected[] = {"name  count  share %  memory MiB  good  nothing\n",
                                           ("| name | count | share % | memory MiB | good | nothing |\n"
                                            "| --- | ---: | ---: | ---: | --- | ---: |\n"),
                                           "name,count,share,bytes,good,nothing\r\n", "[]\n"};
    for (int format = XP_TABLE_TEXT; format <= XP_TABLE_JSON; format++) {
        char *text = NULL;
        size_t length = 0;
        xp_table table;
        FILE *out = open_memstream(&text, &length);
        xp_table_open(&table, out, (xp_table_format)format, columns, COLUMNS, NULL);
        assert_int_equal(xp_table_close(&table, XP_OK), XP_OK);
        fclose(out);
        assert_string_equal(text, expected[format]);
        free(text);
    }
}

static void rows_of_told_widths_come_at_once_and_are_wrapped(void **state) {
    static const xp_column told[] = {{"what", "what", XP_CELL_TEXT, .width = 6},
                                     {"n", "of the bound", XP_CELL_WHOLE, .width = 5}};
    char *text = NULL;
    size_t length = 0;
    xp_table table;
    FILE *out = open_memstream(&text, &length);
    xp_table_open(&table, out, XP_TABLE_TEXT, told, 2, NULL);
    xp_table_row(&table, (xp_cell[]){{.text = "one,two three"}, {.whole = 12345678}});
    assert_string_equal(text, "what       of\n"
                              "          the\n"
                              "        bound\n"
                              "one,    12345678\n"
                              "two\n"
                              "three\n");
    assert_int_equal(xp_table_close(&table, XP_OK), XP_OK);
    fclose(out);
    free(text);
}

static void a_failure_prints_no_part(void **state) {
    for (int format = XP_TABLE_TEXT; format <= XP_TABLE_JSON; format += XP_TABLE_JSON) {
        char *text = NULL;
        size_t length = 0;
        xp_table table;
        FILE *out = open_memstream(&text, &length);
        xp_table_open(&table, out, (xp_table_format)format, columns, COLUMNS, NULL);
        xp_table_row(&table, (xp_cell[]){{.text = "a"}, {0}, {0}, {0}, {0}, {0}, {.tree = json_object()}});
        assert_int_equal(xp_table_close(&table, XP_DEVICE_ERROR), XP_DEVICE_ERROR);
        fclose(out);
        assert_string_equal(text, "");
        free(text);
    }
    xp_table table;
    FILE *full = fopen("/dev/full", "w");
    if (!full) return;
    xp_table_open(&table, full, XP_TABLE_CSV, columns, COLUMNS, NULL);
    assert_int_equal(xp_table_close(&table, XP_OK), XP_IO_ERROR);
    fclose(full);
}

/* Numbers that are too long for their column, and those that a set has no more, move none. */
static void the_epochs_of_a_run_keep_their_columns(void **state) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    xp_live live;
    xp_trainer_callbacks callbacks = {0};
    xp_live_start(&live, out, false);
    xp_live_bind(&live, &callbacks);
    static const double values[] = {0.00123456, 1.23456e300, 123456789, (double)NAN};
    for (int epoch = 1; epoch <= 4; epoch++) {
        xp_epoch_row row = {.epoch = epoch, .seconds = 10, .samples_per_second = 1000};
        for (int set = 0; set < XP_SETS; set++)
            for (int i = 0; i < XP_TASK_METRICS; i++) row.metrics[set][i] = set ? values[epoch - 1] : -12345678.9;
        callbacks.epoch(callbacks.user, xp_task_find("regression"), &row, 4, false);
    }
    fclose(out);
    assert_string_equal(
        text, "                     training        validation              test                     best on\n"
              "                  mse      r2       mse      r2       mse      r2  samples/s    time  validation\n"
              "epoch   1/4 -12345679  -1e+07 0.0012346  0.0012 0.0012346  0.0012       1000     10s\n"
              "epoch   2/4 -12345679  -1e+07 1.23e+300  1e+300 1.23e+300  1e+300       1000     10s\n"
              "epoch   3/4 -12345679  -1e+07 123456789   1e+08 123456789   1e+08       1000     10s\n"
              "epoch   4/4 -12345679  -1e+07                                           1000     10s\n");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_columns_and_leaves_out_empty_ones),
        cmocka_unit_test(text_keeps_within_100_columns_and_loses_nothing),
        cmocka_unit_test(markdown_escapes_what_ends_a_cell),
        cmocka_unit_test(csv_follows_rfc_4180),
        cmocka_unit_test(json_is_json_whatever_the_names),
        cmocka_unit_test(whole_texts_and_titles_are_never_broken),
        cmocka_unit_test(a_table_of_no_rows_is_one),
        cmocka_unit_test(rows_of_told_widths_come_at_once_and_are_wrapped),
        cmocka_unit_test(a_failure_prints_no_part),
        cmocka_unit_test(the_epochs_of_a_run_keep_their_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
