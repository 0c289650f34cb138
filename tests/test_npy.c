/* NumPy files: what is read, and what damaged ones are rejected with. The bytes are written by hand. */
#include "core/random.h"
#include "data/npy.h"
#include "support.h"

typedef struct file {
    char bytes[1024];
    size_t length;
} file;

/* Magic, version, padded dictionary, numbers. */
static file made(int version, const char *dictionary, const void *numbers, size_t number_bytes) {
    file f = {.bytes = "\x93NUMPY"};
    const size_t begin = version == 1 ? 10 : 12, text = (begin + strlen(dictionary) + 1 + 63) / 64 * 64 - begin;
    f.bytes[6] = (char)version;
    f.bytes[8] = (char)(text & 255);
    f.bytes[9] = (char)(text >> 8);
    memset(f.bytes + begin, ' ', text);
    memcpy(f.bytes + begin, dictionary, strlen(dictionary));
    f.bytes[begin + text - 1] = '\n';
    memcpy(f.bytes + begin + text, numbers, number_bytes);
    f.length = begin + text + number_bytes;
    return f;
}

static xp_npy parsed(const file *f) {
    xp_npy array = {0};
    MUST(xp_npy_parse(&array, "a.npy", f->bytes, f->length));
    return array;
}

static void assert_rejected(const file *f, const char *place, const char *reason) {
    xp_npy array;
    if (xp_npy_parse(&array, "a.npy", f->bytes, f->length) == XP_OK) fail_msg("\"%s\" is let through", reason);
    if (!strstr(xp_last_error(), place) || !strstr(xp_last_error(), reason))
        fail_msg("\"%s\" names neither \"%s\" nor \"%s\"", xp_last_error(), place, reason);
}

static void every_type_and_version_is_read(void **state) {
    static const unsigned char bools[] = {1, 0, 1, 1, 0, 2};
    file f = made(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2, 3), }", bools, 6);
    xp_npy a = parsed(&f);
    assert_true(a.type == XP_NPY_BOOL && a.rank == 2 && a.shape[0] == 2 && a.shape[1] == 3 && a.elements == 6);
    assert_true(xp_npy_value(&a, 0) == 1 && xp_npy_value(&a, 1) == 0 && xp_npy_value(&a, 5) == 1);

    f = made(2, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "\xff\x01\x00", 3);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_U8 && a.rank == 1 && xp_npy_value(&a, 0) == 255);
    f = made(3, "{'shape':(3,),\"descr\":\"|i1\",'fortran_order':False}", "\xff\x80\x7f", 3);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_I8 && xp_npy_value(&a, 0) == -1 && xp_npy_value(&a, 1) == -128);
    f = made(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1, 2), }", "\xfe\xff\xff\xff\x00\x00\x00\x80",
             8);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_I32 && a.rank == 3 && xp_npy_value(&a, 0) == -2 &&
                xp_npy_value(&a, 1) == -2147483648.0);
    f = made(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", "\x00\x00\x00\x00\x01\x00\x00\x00", 8);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_I64 && xp_npy_value(&a, 0) == 4294967296.0);
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "\x00\x00\xc0\x3f\x00\x00\x80\xff", 8);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_F32 && xp_npy_value(&a, 0) == 1.5 && xp_npy_value(&a, 1) < -1e300);
    f = made(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", "\x00\x3e\x00\xfc", 4);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_F16 && xp_npy_value(&a, 0) == 1.5 && xp_npy_value(&a, 1) < -1e300);
    f = made(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", "\x00\x00\x00\x00\x00\x00\x04\xc0", 8);
    a = parsed(&f);
    assert_true(a.type == XP_NPY_F64 && a.rank == 0 && a.elements == 1 && xp_npy_value(&a, 0) == -2.5);
    assert_string_equal(xp_npy_type_name(XP_NPY_BOOL), "bool");
}

static void damage_is_placed_and_explained(void **state) {
    static const char zeros[16];
    file f = {.bytes = "PK\x03\x04 a zip file", .length = 16};
    assert_rejected(&f, "a.npy: byte 0:", "numpy.save");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", zeros, 8);
    for (size_t length = 0; length < f.length; length++) {
        xp_npy array;
        assert_int_equal(xp_npy_parse(&array, "a.npy", f.bytes, length), XP_BAD_DATA);
        assert_non_null(strstr(xp_last_error(), "a.npy: byte "));
    }
    f.length++;
    assert_rejected(&f, "byte 136:", "8 bytes of numbers, but there are 9");
    f.length -= 2;
    assert_rejected(&f, "byte 135:", "8 bytes of numbers, but there are 7");
    f.length = 9;
    assert_rejected(&f, "byte 9:", "ends inside its header");
    f.bytes[6] = 4;
    f.length = 100;
    assert_rejected(&f, "byte 6:", "version 4.0");
    f.bytes[6] = 2;
    f.bytes[11] = 1;
    assert_rejected(&f, "byte 8:", "longer than the file");

    f = made(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", zeros, 8);
    assert_rejected(&f, "byte 20:", "big-endian");
    f = made(1, "{'descr': '<c2', 'fortran_order': False, 'shape': (2,), }", zeros, 4);
    assert_rejected(&f, "byte 20:", "'<c2' are not supported");
    f = made(1, "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,), }", zeros, 8);
    assert_rejected(&f, "byte 20:", "records");
    f = made(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", zeros, 8);
    assert_rejected(&f, "byte 44:", "ascontiguousarray");
    f = made(1, "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", zeros, 8);
    assert_rejected(&f, "byte 44:", "True or False");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", zeros, 0);
    assert_rejected(&f, "byte 61:", "empty");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", zeros, 8);
    assert_rejected(&f, "byte 61:", "a size");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", zeros, 8);
    assert_rejected(&f, "byte 63:", "\")\"");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", zeros, 8);
    assert_rejected(&f, "byte 61:", "too large");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", zeros, 8);
    assert_rejected(&f, "byte 73:", "too large");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }", zeros, 4);
    assert_rejected(&f, "byte 85:", "more than 8 dimensions");
    f = made(1, "{'descr': '<f4', 'fortran_order': False}", zeros, 8);
    assert_rejected(&f, "byte 50:", "lacks shape");
    f = made(1, "{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", zeros, 8);
    assert_rejected(&f, "byte 27:", "once");
    f = made(1, "{'descr': '<f4', 'colour': False, 'shape': (2,)}", zeros, 8);
    assert_rejected(&f, "byte 27:", "once");
    f = made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", zeros, 8);
    assert_rejected(&f, "byte 66:", "after the dictionary");
    f = made(1, "{'descr: 4", zeros, 8);
    assert_rejected(&f, "byte 12:", "no closing quote");
    f = made(1, "['descr']", zeros, 8);
    assert_rejected(&f, "byte 10:", "\"{\"");
}

static void mutated_files_never_crash(void **state) {
    static const char zeros[24];
    xp_random random;
    xp_random_start(&random, 53, 0);
    int accepted = 0, rejected = 0;
    for (int i = 0; i < 40000; i++) {
        file f = made(1 + (int)xp_random_below(&random, 3),
                      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", zeros, 24);
        for (uint32_t edits = 1 + xp_random_below(&random, 3); edits > 0; edits--) {
            static const char syntax[] = "{}(),:'\"0123456789 bfui<>|TF";
            const size_t at = xp_random_below(&random, (uint32_t)f.length);
            f.bytes[at] = xp_random_below(&random, 3) ? syntax[xp_random_below(&random, sizeof syntax)]
                                                      : (char)xp_random_below(&random, 256);
        }
        if (xp_random_below(&random, 4) == 0) f.length = xp_random_below(&random, (uint32_t)f.length);
        char *copy = malloc(f.length ? f.length : 1); /* of exactly its length, for sanitizers */
        assert_non_null(copy);
        memcpy(copy, f.bytes, f.length);
        xp_npy array;
        const xp_status status = xp_npy_parse(&array, "a.npy", copy, f.length);
        if (status == XP_OK) {
            accepted++;
            for (int64_t e = 0; e < array.elements; e++) (void)xp_npy_value(&array, e);
        } else {
            rejected++;
            assert_true(status == XP_BAD_DATA || status == XP_UNSUPPORTED);
            assert_non_null(strstr(xp_last_error(), "a.npy: byte "));
        }
        free(copy);
    }
    assert_true(accepted > 100 && rejected > 100);
}

static void files_are_read_and_released(void **state) {
    xp_npy array;
    assert_int_equal(xp_npy_read(&array, "/nowhere/a.npy"), XP_IO_ERROR);
    char path[] = "/tmp/expanse-npy-XXXXXX";
    const int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    FILE *out = fdopen(descriptor, "wb");
    const file f = made(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "\x05\x07", 2);
    assert_true(out && fwrite(f.bytes, 1, f.length, out) == f.length && fclose(out) == 0);
    assert_int_equal(xp_npy_read(&array, path), XP_OK);
    assert_true(xp_npy_value(&array, 1) == 7);
    xp_npy_release(&array);
    xp_npy_release(&array);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_version_is_read),
        cmocka_unit_test(damage_is_placed_and_explained),
        cmocka_unit_test(mutated_files_never_crash),
        cmocka_unit_test(files_are_read_and_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
