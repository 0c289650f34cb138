/* Images from files: folders, codecs, CIFAR, and the way from an image to a sample. */
#include "support.h"

#include "core/files.h"
#include "data/dataset.h"
#include "data/picture.h"

#include <sys/stat.h>

#if defined(XP_WITH_JPEG) && defined(XP_WITH_PNG)

#include <jpeglib.h>
#include <spng.h>

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Pixels [height][breadth][components], all the same: repeats `colour` [components]. */
static unsigned char *flat(int height, int breadth, int components, const unsigned char *colour) {
    unsigned char *pixels = malloc((size_t)(height * breadth * components));
    assert_non_null(pixels);
    for (int i = 0; i < height * breadth * components; i++) pixels[i] = colour[i % components];
    return pixels;
}

static const char *write_jpeg(const char *name, int height, int breadth, J_COLOR_SPACE space,
                              const unsigned char *pixels) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long length = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &length);
    jpeg.image_height = (unsigned)height;
    jpeg.image_width = (unsigned)breadth;
    jpeg.input_components = space == JCS_GRAYSCALE ? 1 : space == JCS_CMYK ? 4 : 3;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        unsigned char *row =
            (unsigned char *)pixels + (size_t)jpeg.next_scanline * (size_t)(breadth * jpeg.input_components);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    const char *path = scratch_write(name, bytes, length);
    free(bytes);
    return path;
}

/* `bytes` are those of all pixels, as the type of the header stores them. */
static const char *write_png(const char *name, int height, int breadth, int type, int depth, const void *pixels,
                             size_t bytes) {
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = {.width = (uint32_t)breadth,
                               .height = (uint32_t)height,
                               .color_type = (uint8_t)type,
                               .bit_depth = (uint8_t)depth};
    struct spng_plte palette = {2, {{255, 0, 0, 0}, {0, 0, 255, 0}}};
    int code;
    spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    spng_set_ihdr(png, &header);
    if (type == SPNG_COLOR_TYPE_INDEXED) spng_set_plte(png, &palette);
    assert_int_equal(spng_encode_image(png, pixels, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    size_t length = 0;
    void *whole = spng_get_png_buffer(png, &length, &code);
    const char *path = scratch_write(name, whole, length);
    free(whole);
    spng_ctx_free(png);
    return path;
}

/* A folder of images in a colour each, of the sizes that they have. */
static void write_folder(const char *folder) {
    static const unsigned char red[] = {255, 0, 0}, blue[] = {0, 0, 255};
    char name[256];
    mkdir(scratch_path(folder), 0700);
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, i ? "dogs" : "cats");
        mkdir(scratch_path(name), 0700);
    }
    snprintf(name, sizeof name, "%s/cats/sub", folder);
    mkdir(scratch_path(name), 0700);
    unsigned char *pixels = flat(20, 16, 3, blue);
    snprintf(name, sizeof name, "%s/dogs/a.JPEG", folder);
    write_jpeg(name, 20, 16, JCS_RGB, pixels);
    free(pixels);
    pixels = flat(6, 9, 3, red);
    snprintf(name, sizeof name, "%s/cats/sub/z.png", folder);
    write_png(name, 6, 9, SPNG_COLOR_TYPE_TRUECOLOR, 8, pixels, 6 * 9 * 3);
    snprintf(name, sizeof name, "%s/cats/b.png", folder);
    write_png(name, 6, 9, SPNG_COLOR_TYPE_TRUECOLOR, 8, pixels, 6 * 9 * 3);
    free(pixels);
    snprintf(name, sizeof name, "%s/notes.txt", folder);
    scratch_write(name, "unread", 6);
}

/* The sample of an image file of its own, in a frame. */
static void read_one(const char *path, int side, double crop, float *values) {
    xp_dataset *dataset = NULL;
    MUST(xp_dataset_open(&dataset, path, NULL));
    MUST(xp_dataset_frame(dataset, side, crop));
    MUST(xp_dataset_read(dataset, 0, values));
    xp_dataset_close(&dataset);
}

static void expect_colour(const char *path, int red, int green, int blue) {
    float values[3 * 4];
    read_one(path, 2, 1, values);
    const int wanted[] = {red, green, blue};
    for (int i = 0; i < 12; i++)
        if (fabs(values[i] * 255 - wanted[i / 4]) > 2.5)
            fail_msg("%s: channel %d is %g, not %d", path, i / 4, (double)values[i] * 255, wanted[i / 4]);
}

static void expect_refusal(const char *path, xp_status status, const char *message) {
    xp_dataset *dataset = NULL;
    float values[3 * 4];
    xp_status found = xp_dataset_open(&dataset, path, "train");
    if (found == XP_OK) found = xp_dataset_frame(dataset, 2, 1);
    for (int64_t i = 0; found == XP_OK && i < dataset->count; i++) found = xp_dataset_read(dataset, i, values);
    if (found != status || !strstr(xp_last_error(), message))
        fail_msg("status %d, '%s' instead of '%s'", found, xp_last_error(), message);
    xp_dataset_close(&dataset);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static void a_folder_of_images_has_a_class_for_each_of_its_folders(void **state) {
    xp_dataset *dataset = NULL;
    float values[3 * 16];
    char name[512];
    write_folder("pets");
    MUST(xp_dataset_open(&dataset, scratch_path("pets"), "train"));
    assert_int_equal(dataset->count, 3);
    assert_int_equal(dataset->classes, 2);
    assert_string_equal(dataset->class_names[0], "cats");
    assert_string_equal(dataset->class_names[1], "dogs");
    for (int i = 0; i < 3; i++) assert_int_equal(dataset->labels[i], i == 2);
    assert_true(xp_dataset_name(dataset, 1, name, sizeof name));
    assert_string_equal(name, scratch_path("pets/cats/sub/z.png"));
    assert_int_equal(xp_dataset_frame(dataset, 0, 1), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "data.image_size"));
    MUST(xp_dataset_frame(dataset, 4, 1));
    MUST(xp_dataset_read(dataset, 1, values));
    for (int i = 0; i < 48; i++) assert_true(values[i] == (i < 16));
    xp_dataset_close(&dataset);
}

static void folders_for_training_and_tests_are_parts(void **state) {
    xp_dataset *dataset = NULL;
    mkdir(scratch_path("parts"), 0700);
    write_folder("parts/train");
    write_folder("parts/val");
    assert_int_equal(unlink(scratch_path("parts/val/cats/b.png")), 0);
    MUST(xp_dataset_open(&dataset, scratch_path("parts"), "train"));
    assert_int_equal(dataset->count, 3);
    xp_dataset_close(&dataset);
    MUST(xp_dataset_open(&dataset, scratch_path("parts"), "test"));
    assert_int_equal(dataset->count, 2);
    xp_dataset_close(&dataset);
    MUST(xp_dataset_open(&dataset, scratch_path("parts"), NULL)); /* then the names are those of classes */
    assert_string_equal(dataset->class_names[1], "val");
    xp_dataset_close(&dataset);
}

static void what_a_folder_cannot_hold_is_named(void **state) {
    write_folder("mixed");
    scratch_write("mixed/dogs/b.gif", "GIF89a", 6);
    expect_refusal(scratch_path("mixed"), XP_UNSUPPORTED, "mixed/dogs/b.gif: only JPEG and PNG images are read");
    assert_int_equal(unlink(scratch_path("mixed/dogs/b.gif")), 0);
    scratch_write("mixed/dogs/c.jpg", "", 0);
    expect_refusal(scratch_path("mixed"), XP_BAD_DATA, "mixed/dogs/c.jpg: byte 0: the file is empty");
    scratch_write("mixed/dogs/c.jpg", "\xff\xd8\xff\xe0\0\0", 6);
    expect_refusal(scratch_path("mixed"), XP_BAD_DATA, "mixed/dogs/c.jpg: the file is damaged");
    scratch_write("mixed/dogs/c.jpg", "no image", 8);
    expect_refusal(scratch_path("mixed"), XP_BAD_DATA,
                   "mixed/dogs/c.jpg: byte 0: the file is neither a JPEG nor a PNG");
    assert_int_equal(unlink(scratch_path("mixed/dogs/c.jpg")), 0);
    assert_int_equal(symlink("nowhere", scratch_path("mixed/a")), 0);
    expect_refusal(scratch_path("mixed"), XP_IO_ERROR, "mixed/a: cannot be examined");
    assert_int_equal(unlink(scratch_path("mixed/a")), 0);
    scratch_write("mixed/a.png", "", 0);
    expect_refusal(scratch_path("mixed"), XP_BAD_DATA, "mixed/a.png: lies beside the folders of the classes");
    assert_int_equal(unlink(scratch_path("mixed/a.png")), 0);
    mkdir(scratch_path("mixed/emus"), 0700);
    expect_refusal(scratch_path("mixed"), XP_BAD_DATA, "mixed/emus: this folder of a class has no images");
    mkdir(scratch_path("nothing"), 0700);
    expect_refusal(scratch_path("nothing"), XP_BAD_DATA, "nothing: the folder has no data");
}

/* ---- codecs ------------------------------------------------------------------------------------------------------ */

static void every_kind_of_png_is_red_green_and_blue(void **state) {
    const unsigned char grey[] = {100, 100, 100, 100}, half[] = {200, 0, 0, 128}, indices[] = {1, 1, 1, 1},
                        one[] = {9, 8, 7};
    const uint16_t deep[] = {0x8000, 0x8000, 0x8000, 0x8000};
    unsigned char *clear = flat(2, 2, 4, half);
    expect_colour(write_png("grey.png", 2, 2, SPNG_COLOR_TYPE_GRAYSCALE, 8, grey, 4), 100, 100, 100);
    expect_colour(write_png("deep.png", 2, 2, SPNG_COLOR_TYPE_GRAYSCALE, 16, deep, 8), 128, 128, 128);
    expect_colour(write_png("half.png", 2, 2, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8, clear, 16), 227, 127, 127);
    expect_colour(write_png("palette.png", 2, 2, SPNG_COLOR_TYPE_INDEXED, 8, indices, 4), 0, 0, 255);
    expect_colour(write_png("tiny.png", 1, 1, SPNG_COLOR_TYPE_TRUECOLOR, 8, one, 3), 9, 8, 7);
    free(clear);
}

static void jpeg_files_may_be_grey_or_of_four_colours(void **state) {
    const unsigned char grey[] = {100}, ink[] = {55, 255, 255, 255}; /* Adobe's way: 255 is no ink */
    unsigned char *pixels = flat(8, 8, 1, grey);
    expect_colour(write_jpeg("grey.jpg", 8, 8, JCS_GRAYSCALE, pixels), 100, 100, 100);
    free(pixels);
    pixels = flat(8, 8, 4, ink);
    expect_colour(write_jpeg("ink.jpg", 8, 8, JCS_CMYK, pixels), 55, 255, 255);
    free(pixels);
}

static void an_image_that_ends_too_early_is_damaged(void **state) {
    enum { SIZE = 64 };
    unsigned char *pixels = malloc(SIZE * SIZE * 3), bytes[20000];
    for (int i = 0; i < SIZE * SIZE * 3; i++) pixels[i] = (unsigned char)(i * 2654435761u >> 24);
    write_png("noise.png", SIZE, SIZE, SPNG_COLOR_TYPE_TRUECOLOR, 8, pixels, SIZE * SIZE * 3);
    write_jpeg("noise.jpg", SIZE, SIZE, JCS_RGB, pixels);
    free(pixels);
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(scratch_path(i ? "noise.jpg" : "noise.png"), "rb");
        const size_t length = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        expect_refusal(scratch_write(i ? "cut.jpg" : "cut.png", bytes, length * 2 / 3), XP_BAD_DATA,
                       i ? "cut.jpg: the file is damaged" : "cut.png: the file is damaged");
    }
}

static void a_jpeg_file_of_12_bits_is_not_damaged_but_unsupported(void **state) {
    const unsigned char grey[] = {100};
    unsigned char bytes[2000], *pixels = flat(8, 8, 1, grey);
    FILE *file = fopen(write_jpeg("deep.jpg", 8, 8, JCS_GRAYSCALE, pixels), "rb");
    const size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    free(pixels);
    size_t at = 0;
    while (bytes[at] != 0xff || bytes[at + 1] != 0xc0) at++;
    bytes[at + 4] = 12;
    expect_refusal(scratch_write("deep.jpg", bytes, length), XP_UNSUPPORTED,
                   "deep.jpg: such an image is not supported: ");
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* A picture of four quarters, black and white. */
static const char *write_quarters(const char *name, int height, int breadth) {
    unsigned char *pixels = malloc((size_t)(height * breadth * 3));
    for (int i = 0; i < height * breadth; i++)
        memset(pixels + 3 * i, (i % breadth < breadth / 2) == (i / breadth < height / 2) ? 0 : 255, 3);
    const size_t bytes = (size_t)(height * breadth * 3);
    const char *path = strstr(name, ".png")
                           ? write_png(name, height, breadth, SPNG_COLOR_TYPE_TRUECOLOR, 8, pixels, bytes)
                           : write_jpeg(name, height, breadth, JCS_RGB, pixels);
    free(pixels);
    return path;
}

/* The whole and an eighth of it are decoded in different ways. */
static void a_large_image_shows_the_same_as_a_small_one(void **state) {
    float large[3 * 64], png[3 * 64], small[3 * 64];
    read_one(write_quarters("large.jpg", 512, 512), 8, 1, large);
    read_one(write_quarters("large.png", 517, 517), 8, 1, png);
    read_one(write_quarters("small.jpg", 16, 16), 8, 1, small);
    for (int i = 0; i < 3 * 64; i++) {
        const int wanted = (i % 8 < 4) != (i / 8 % 8 < 4);
        assert_int_equal(large[i] > 0.5f, wanted);
        assert_int_equal(png[i] > 0.5f, wanted);
        assert_int_equal(small[i] > 0.5f, wanted);
    }
}

/* Brightness grows by 1 from pixel to pixel, to the right and downwards; an eighth of 65 pixels is no whole number. */
static void a_reduced_image_keeps_its_proportions(void **state) {
    enum { SIDE_OF_ALL = 65, SHOWN = 8 };
    float values[3 * SHOWN * SHOWN];
    unsigned char pixels[SIDE_OF_ALL * SIDE_OF_ALL];
    for (int i = 0; i < SIDE_OF_ALL * SIDE_OF_ALL; i++) pixels[i] = (unsigned char)(i / SIDE_OF_ALL + i % SIDE_OF_ALL);
    read_one(write_png("odd.png", SIDE_OF_ALL, SIDE_OF_ALL, SPNG_COLOR_TYPE_GRAYSCALE, 8, pixels, sizeof pixels), SHOWN,
             1, values);
    for (int i = 0; i < SHOWN * SHOWN; i++) { /* at the edges, a pixel has no neighbours on one side */
        const int y = i / SHOWN, x = i % SHOWN;
        const double wanted = (x + y + 1) * (double)SIDE_OF_ALL / SHOWN - 1;
        if (x > 0 && y > 0 && x < SHOWN - 1 && y < SHOWN - 1) assert_true(fabs(values[i] * 255 - wanted) < 2);
    }
}

static void a_sample_shows_the_centre_of_the_short_side(void **state) {
    enum { HEIGHT = 16, BREADTH = 64, WHITE = 4 /* pixels on either side of the middle */ };
    float values[3 * 4];
    unsigned char pixels[HEIGHT * BREADTH];
    for (int i = 0; i < HEIGHT * BREADTH; i++) pixels[i] = abs(2 * (i % BREADTH) + 1 - BREADTH) < 2 * WHITE ? 255 : 0;
    const char *path = write_png("wide.png", HEIGHT, BREADTH, SPNG_COLOR_TYPE_GRAYSCALE, 8, pixels, sizeof pixels);
    read_one(path, 2, 0.25, values);
    for (int i = 0; i < 12; i++) assert_true(fabs(values[i] - 1) < 0.1);
    read_one(path, 2, 1, values); /* half of it is white */
    for (int i = 0; i < 12; i++) assert_true(values[i] > 0.3 && values[i] < 0.7);
}

static void resampling_keeps_what_is_constant_and_means_what_it_covers(void **state) {
    xp_picture picture, out;
    MUST(xp_picture_create(&picture, 6, 10, 1, "picture"));
    memset(picture.pixels, 77, 60);
    MUST(xp_picture_resample(&picture, &(xp_box){1.3, 2.2, 4, 5.5}, 7, 3, "picture", &out));
    for (int i = 0; i < 21; i++) assert_int_equal(out.pixels[i], 77);
    xp_picture_release(&out);
    for (int i = 0; i < 60; i++) picture.pixels[i] = i % 2 ? 200 : 100;
    MUST(xp_picture_resample(&picture, &(xp_box){0, 0, 6, 10}, 1, 1, "picture", &out));
    assert_true(abs(out.pixels[0] - 150) <= 3);
    xp_picture_release(&out);
    MUST(xp_picture_resample(&picture, &(xp_box){0, 0, 6, 10}, 6, 10, "picture", &out));
    assert_memory_equal(out.pixels, picture.pixels, 60);
    xp_picture_release(&out);
    xp_picture_release(&picture);
}

#endif

/* ---- CIFAR ------------------------------------------------------------------------------------------------------- */

enum { PIXELS = 3072 };

/* A file of records, in which all bytes of a channel are those of the record's number and of the channel. */
static const char *write_cifar(const char *name, int label_bytes, const unsigned char *labels, int count) {
    const size_t record = (size_t)(label_bytes + PIXELS);
    unsigned char *bytes = malloc(record * (size_t)count);
    for (int i = 0; i < count; i++) {
        memset(bytes + (size_t)i * record, 7, (size_t)label_bytes);
        bytes[(size_t)i * record + (size_t)label_bytes - 1] = labels[i];
        for (int j = 0; j < PIXELS; j++)
            bytes[(size_t)i * record + (size_t)label_bytes + (size_t)j] = (unsigned char)(51 * i + 10 * (j / 1024));
    }
    const char *path = scratch_write(name, bytes, record * (size_t)count);
    free(bytes);
    return path;
}

static void cifar_is_read_from_its_binary_files(void **state) {
    static const unsigned char few[] = {3, 9}, many[] = {99, 0, 42};
    static const char names[] = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";
    xp_dataset *dataset = NULL;
    float values[PIXELS];
    mkdir(scratch_path("cifar"), 0700);
    scratch_write("cifar/batches.meta.txt", names, sizeof names - 1);
    for (int i = 1; i <= 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "cifar/data_batch_%d.bin", i);
        write_cifar(name, 1, few, 2);
    }
    MUST(xp_dataset_open(&dataset, scratch_path("cifar"), "train"));
    assert_int_equal(dataset->count, 10);
    assert_int_equal(dataset->classes, 10);
    assert_string_equal(dataset->class_names[9], "j");
    assert_int_equal(dataset->labels[9], 9);
    MUST(xp_dataset_read(dataset, 9, values));
    for (int i = 0; i < PIXELS; i++) assert_true(values[i] == (float)(51 + 10 * (i / 1024)) / 255.0f);
    xp_dataset_close(&dataset);

    MUST(xp_dataset_open(&dataset, write_cifar("train.bin", 2, many, 3), NULL));
    assert_int_equal(dataset->classes, 100);
    assert_int_equal(dataset->labels[2], 42);
    assert_string_equal(dataset->class_names[42], "42");
    xp_dataset_close(&dataset);
    const unsigned char beyond[] = {100};
    assert_int_equal(xp_dataset_open(&dataset, write_cifar("beyond.bin", 2, beyond, 1), NULL), XP_BAD_DATA);
    assert_int_equal(truncate(scratch_path("train.bin"), 3074 + 5), 0);
    assert_int_equal(xp_dataset_open(&dataset, scratch_path("train.bin"), NULL), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "train.bin: byte 3079: the 3079 bytes are no whole records"));
}

static void names_of_cifar_are_those_of_classes(void **state) {
    static const unsigned char labels[] = {3};
    static const char *const bad[][2] = {
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\na\n", "class 10 stands there twice"},
        {"a\nb\x01\nc\nd\ne\nf\ng\nh\ni\nj", "class 2 has a control character"},
        {"\xff\nb\nc\nd\ne\nf\ng\nh\ni\nj", "class 1 is not UTF-8"},
        {"a\n", "names 1 classes"},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", "names 11 classes, but the images can have at"}};
    xp_dataset *dataset = NULL;
    mkdir(scratch_path("named"), 0700);
    write_cifar("named/test_batch.bin", 1, labels, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_write("named/batches.meta.txt", bad[i][0], strlen(bad[i][0]));
        assert_int_equal(xp_dataset_open(&dataset, scratch_path("named"), "test"), XP_BAD_DATA);
        assert_non_null(strstr(xp_last_error(), bad[i][1]));
    }
}

/* ---- IDX --------------------------------------------------------------------------------------------------------- */

static void classes_of_idx_have_the_names_beside_them(void **state) {
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 9},
                               labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 0};
    char *numbers[] = {"0", "1"};
    xp_dataset *dataset = NULL;
    mkdir(scratch_path("idx"), 0700);
    scratch_write("idx/labels", labels, sizeof labels);
    char path[1024];
    snprintf(path, sizeof path, "%s", scratch_write("idx/images", images, sizeof images));
    MUST(xp_dataset_open(&dataset, path, NULL));
    assert_string_equal(dataset->class_names[1], "1");
    xp_dataset_close(&dataset);
    scratch_write("idx/classes.txt", "cat\ndog\nowl\n", 12); /* no sample is an owl */
    MUST(xp_dataset_open(&dataset, path, NULL));
    assert_int_equal(dataset->classes, 3);
    assert_string_equal(dataset->class_names[1], "dog");
    assert_true(xp_dataset_is_number(dataset, 1, "1") && !xp_dataset_is_number(dataset, 1, "2"));
    /* A model of the time without names has learned the numbers. */
    xp_dataset header = *dataset;
    header.classes = 2;
    header.class_names = numbers;
    MUST(xp_dataset_align(&header, dataset));
    assert_true(dataset->unseen == 0 && dataset->labels[0] == 1 && dataset->labels[1] == 0);
    xp_dataset_close(&dataset);
    scratch_write("idx/classes.txt", "cat\n", 4);
    assert_int_equal(xp_dataset_open(&dataset, path, NULL), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "classes.txt: names 1 classes, but the images have 2"));
    char many[1024] = "";
    for (int i = 0; i < 257; i++) snprintf(many + strlen(many), sizeof many - strlen(many), "%x\n", i);
    scratch_write("idx/classes.txt", many, strlen(many));
    assert_int_equal(xp_dataset_open(&dataset, path, NULL), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "names 257 classes, but the images can have at most 256"));
}

static void fashion_mnist_is_known_by_its_labels(void **state) {
    static const char folder[] = "/usr/share/datasets/fashion-mnist";
    xp_dataset *dataset = NULL;
    if (!xp_path_exists(folder)) skip();
    MUST(xp_dataset_open(&dataset, folder, "test"));
    assert_int_equal(dataset->classes, 10);
    assert_string_equal(dataset->class_names[9], "Ankle boot");
    assert_int_equal(dataset->labels[0], 9);
    xp_dataset_close(&dataset);
}

/* ---- augmentation ------------------------------------------------------------------------------------------------ */

enum { SIDE = 8, COUNT = 4, VALUES = SIDE * SIDE };

/* Images of one class each: of noise, or of 0 and 1 in turns. */
static xp_dataset *open_images(bool noise) {
    unsigned char bytes[16 + COUNT * VALUES] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    unsigned char labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT, 0, 1, 2, 3};
    xp_dataset *dataset = NULL;
    for (int i = 0; i < COUNT * VALUES; i++)
        bytes[16 + i] = noise ? (unsigned char)((unsigned)i * 2654435761u >> 24) : i / VALUES % 2 ? 255 : 0;
    scratch_write("few-labels-idx1-ubyte", labels, sizeof labels);
    MUST(xp_dataset_open(&dataset, scratch_write("few-images-idx3-ubyte", bytes, sizeof bytes), NULL));
    return dataset;
}

/* What a batch has of `count` samples from `first` on, read by these threads. */
static void read_batch_by(xp_workers *workers, const xp_dataset *dataset, int first, int count, float *values,
                          float *shares) {
    static const int32_t order[] = {0, 1, 2, 3};
    float weights[COUNT];
    xp_batch batch = {.values = values, .targets = shares, .weights = weights, .workers = workers};
    MUST(xp_dataset_batch(dataset, order, COUNT, first, count, &batch));
}

static void read_batch(const xp_dataset *dataset, int first, int count, float *values, float *shares) {
    read_batch_by(NULL, dataset, first, count, values, shares);
}

static void augmentation_depends_on_seed_epoch_and_place_alone(void **state) {
    xp_augmentation all = {.crop = 0.3,
                           .flip = 0.5,
                           .jitter = 0.4,
                           .operations = 3,
                           .magnitude = 9,
                           .magnitude_deviation = 0.5,
                           .erase = 0.5,
                           .repeats = 1};
    xp_dataset *dataset = open_images(true);
    float whole[COUNT * VALUES], again[COUNT * VALUES], plain[VALUES], elsewhere[VALUES], shares[COUNT * COUNT];
    dataset->augmentation = &all;
    xp_dataset_begin_epoch(dataset, 7, 2);
    read_batch(dataset, 0, COUNT, whole, shares);
    for (int i = COUNT - 1; i >= 0; i--) {
        read_batch(dataset, i, 1, again, shares);
        assert_memory_equal(again, whole + i * VALUES, sizeof plain);
        MUST(xp_dataset_read(dataset, i, plain)); /* this has none */
        assert_memory_not_equal(plain, whole + i * VALUES, sizeof plain);
    }
    for (int threads = 1; threads < 7; threads += 2) { /* whatever their number */
        xp_workers *workers = NULL;
        MUST(xp_workers_open(&workers, threads));
        read_batch_by(workers, dataset, 0, COUNT, again, shares);
        assert_memory_equal(again, whole, sizeof whole);
        xp_workers_close(&workers);
    }
    MUST(xp_dataset_read_augmented(dataset, 0, 1, elsewhere));
    assert_memory_not_equal(elsewhere, whole, sizeof elsewhere);
    for (int i = 0; i < 2; i++) {
        xp_dataset_begin_epoch(dataset, i ? 8 : 7, i ? 2 : 3);
        read_batch(dataset, 0, COUNT, again, shares);
        assert_memory_not_equal(again, whole, sizeof whole);
    }
    xp_dataset_close(&dataset);
}

/* Images of 0 and of 1: what an image has of the other is also the share of the other's class. */
static void mixed_images_have_the_shares_of_their_classes(void **state) {
    xp_dataset *dataset = open_images(false);
    float values[COUNT * VALUES], shares[COUNT * COUNT];
    bool mixed[2] = {false, false};
    for (int epoch = 0; epoch < 20; epoch++) {
        const bool cuts = epoch % 2;
        xp_augmentation mixing = XP_AUGMENTATION_NONE;
        mixing.mixup = cuts ? 0 : 1;
        mixing.cutmix = cuts;
        dataset->augmentation = &mixing;
        xp_dataset_begin_epoch(dataset, 1, epoch);
        read_batch(dataset, 0, COUNT, values, shares);
        for (int i = 0; i < COUNT; i++) {
            double mean = 0, sum = 0;
            for (int j = 0; j < VALUES; j++) mean += values[i * VALUES + j] / VALUES;
            for (int c = 0; c < COUNT; c++) sum += shares[i * COUNT + c];
            const double other = shares[i * COUNT + COUNT - 1 - i];
            assert_true(fabs(sum - 1) < 1e-6);
            assert_true(fabs((i % 2 ? 1 - mean : mean) - other) < 1e-6);
            mixed[cuts] = mixed[cuts] || (other > 0.1 && other < 0.9);
        }
    }
    assert_true(mixed[0] && mixed[1]);
    xp_dataset_close(&dataset);
}

static void a_tiny_alpha_leaves_each_pair_with_one_image(void **state) {
    xp_augmentation mixing = XP_AUGMENTATION_NONE;
    xp_dataset *dataset = open_images(false);
    float values[COUNT * VALUES], shares[COUNT * COUNT];
    mixing.mixup = 1e-12;
    dataset->augmentation = &mixing;
    xp_dataset_begin_epoch(dataset, 1, 0);
    read_batch(dataset, 0, COUNT, values, shares);
    for (int i = 0; i < COUNT * COUNT; i++) assert_true(shares[i] == 0 || shares[i] == 1);
    xp_dataset_close(&dataset);
}

static void a_reflection_is_that_of_every_row(void **state) {
    xp_augmentation flips = XP_AUGMENTATION_NONE;
    xp_dataset *dataset = open_images(true);
    float plain[VALUES], flipped[VALUES];
    flips.flip = 1;
    dataset->augmentation = &flips;
    MUST(xp_dataset_read(dataset, 1, plain));
    MUST(xp_dataset_read_augmented(dataset, 1, 0, flipped));
    for (int i = 0; i < VALUES; i++) assert_true(flipped[i] == plain[i / SIDE * SIDE + SIDE - 1 - i % SIDE]);
    xp_dataset_close(&dataset);
}

static void repeated_samples_follow_each_other(void **state) {
    xp_augmentation thrice = XP_AUGMENTATION_NONE;
    int32_t order[] = {4, 2, 0, 1, 3, 5, 6};
    thrice.repeats = 3;
    xp_augment_order(&thrice, 7, order);
    assert_memory_equal(order, ((int32_t[]){4, 4, 4, 2, 2, 2, 0}), sizeof order);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#if defined(XP_WITH_JPEG) && defined(XP_WITH_PNG)
        cmocka_unit_test(a_folder_of_images_has_a_class_for_each_of_its_folders),
        cmocka_unit_test(folders_for_training_and_tests_are_parts),
        cmocka_unit_test(what_a_folder_cannot_hold_is_named),
        cmocka_unit_test(every_kind_of_png_is_red_green_and_blue),
        cmocka_unit_test(jpeg_files_may_be_grey_or_of_four_colours),
        cmocka_unit_test(an_image_that_ends_too_early_is_damaged),
        cmocka_unit_test(a_jpeg_file_of_12_bits_is_not_damaged_but_unsupported),
        cmocka_unit_test(a_large_image_shows_the_same_as_a_small_one),
        cmocka_unit_test(a_reduced_image_keeps_its_proportions),
        cmocka_unit_test(a_sample_shows_the_centre_of_the_short_side),
        cmocka_unit_test(resampling_keeps_what_is_constant_and_means_what_it_covers),
#endif
        cmocka_unit_test(cifar_is_read_from_its_binary_files),
        cmocka_unit_test(names_of_cifar_are_those_of_classes),
        cmocka_unit_test(classes_of_idx_have_the_names_beside_them),
        cmocka_unit_test(fashion_mnist_is_known_by_its_labels),
        cmocka_unit_test(augmentation_depends_on_seed_epoch_and_place_alone),
        cmocka_unit_test(mixed_images_have_the_shares_of_their_classes),
        cmocka_unit_test(a_tiny_alpha_leaves_each_pair_with_one_image),
        cmocka_unit_test(a_reflection_is_that_of_every_row),
        cmocka_unit_test(repeated_samples_follow_each_other),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
