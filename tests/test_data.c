/* Data sets: what the readers take, what they refuse and in which words, and what preparation does to the samples. */
#include "data/dataset.h"
#include "scratch.h"

#include <math.h>
#include <zlib.h>

/* --- .ts ---------------------------------------------------------------------------------------------------------- */

#define HEADER  "@problemName Toy\n@timeStamps false\n@univariate false\n@dimensions 2\n@equalLength false\n"
#define CLASSES "@classLabel true calm wild\n@data\n"

static xp_dataset *open_text(const char *text) {
    xp_dataset *dataset = NULL;
    xp_status status = xp_dataset_open(&dataset, scratch_write("toy.ts", text, strlen(text)), NULL);
    if (status != XP_OK) fail_msg("%s", xp_last_error());
    return dataset;
}

static void assert_refused(const char *name, const void *bytes, size_t length, xp_status expected,
                           const char *message) {
    xp_dataset *dataset = NULL;
    xp_status status = xp_dataset_open(&dataset, scratch_write(name, bytes, length), "train");
    if (status != expected || !strstr(xp_last_error(), message)) {
        fail_msg("expected status %d and '… %s …', got %d and '%s'", expected, message, status, xp_last_error());
    }
    assert_null(dataset);
}

static void refuse_text(const char *text, xp_status expected, const char *message) {
    assert_refused("toy.ts", text, strlen(text), expected, message);
}

static void a_file_of_unequal_series_is_laid_out_by_time(void **state) {
    xp_dataset *dataset = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:calm\n");
    assert_int_equal(dataset->kind, XP_DATASET_SERIES);
    assert_int_equal(dataset->count, 2);
    assert_int_equal(dataset->features, 2);
    assert_int_equal(dataset->length, 3);
    assert_int_equal(dataset->sample_elements, 6);
    assert_int_equal(dataset->classes, 2);
    assert_string_equal(dataset->class_names[1], "wild");
    const float expected[] = {1, 4, 2, 5, 3, 6, 7, 8, 0, 0, 0, 0};
    assert_memory_equal(dataset->values, expected, sizeof expected);
    assert_int_equal(dataset->lengths[0], 3);
    assert_int_equal(dataset->lengths[1], 1);
    assert_int_equal(dataset->labels[0], 1);
    assert_int_equal(dataset->labels[1], 0);
    xp_dataset_close(&dataset);
    assert_null(dataset);
}

static void comments_blank_lines_and_windows_line_ends_are_passed_over(void **state) {
    xp_dataset *dataset =
        open_text("\xef\xbb\xbf# a comment\r\n% an older one\r\n\r\n@TIMESTAMPS False\r\n@univariate true\r\n"
                  "@author somebody\r\n@classlabel TRUE a b\r\n@data\r\n\r\n 1 , 2.5e1 : b \r\n# end\r\n\r\n3,4:a");
    assert_int_equal(dataset->count, 2);
    assert_int_equal(dataset->features, 1);
    assert_int_equal(dataset->length, 2);
    assert_true(dataset->values[1] == 25);
    assert_int_equal(dataset->labels[0], 1);
    xp_dataset_close(&dataset);
}

static void a_file_without_labels_has_none(void **state) {
    xp_dataset *dataset = open_text("@univariate true\n@classLabel false\n@data\n1,2\n3\n");
    assert_null(dataset->labels);
    assert_int_equal(dataset->classes, 0);
    assert_int_equal(dataset->count, 2);
    xp_dataset_close(&dataset);
}

static void missing_values_are_filled_along_time(void **state) {
    xp_dataset *dataset = open_text("@univariate false\n@classLabel true a\n@data\n?,2,NaN,nan,8,?:?,?,?,?,?,?:a\n");
    assert_true(isnan(dataset->values[0]));
    assert_int_equal(xp_dataset_interpolate(dataset), XP_OK);
    const float expected[] = {2, 0, 2, 0, 4, 0, 6, 0, 8, 0, 8, 0};
    assert_memory_equal(dataset->values, expected, sizeof expected);
    xp_dataset_close(&dataset);
}

static void what_is_not_supported_is_refused_by_name(void **state) {
    refuse_text("@timeStamps true\n@classLabel true a\n@data\n(0,1):a\n", XP_UNSUPPORTED,
                "toy.ts:1:1: series with time stamps");
    refuse_text("@classLabel true a\n@data\n(0,1):a\n", XP_UNSUPPORTED, "toy.ts:3:1: values with time stamps");
    refuse_text("@problemName x\n@targetlabel true\n@data\n1:2\n", XP_UNSUPPORTED,
                "toy.ts:2:1: regression targets (@targetlabel true)");
}

static void a_letter_where_a_number_belongs_is_placed(void **state) {
    refuse_text(HEADER CLASSES "1,2:3,4:calm\n1,x5:3,4:calm\n", XP_BAD_DATA, "toy.ts:9:3: 'x5' is not a number");
    refuse_text(HEADER CLASSES "1,2:3,4.5q:calm\n", XP_BAD_DATA, "toy.ts:8:7: '4.5q' is not a number");
    refuse_text(HEADER CLASSES "1,2:3,inf:calm\n", XP_BAD_DATA, "toy.ts:8:7: 'inf' is not a number");
    refuse_text(HEADER CLASSES "1,1e60:3,4:calm\n", XP_BAD_DATA, "toy.ts:8:3: '1e60' does not fit single precision");
    refuse_text(HEADER CLASSES "1,,2:3,4,5:calm\n", XP_BAD_DATA, "toy.ts:8:3: a value is missing");
    refuse_text(HEADER CLASSES "1,2::calm\n", XP_BAD_DATA, "toy.ts:8:5: a value is missing");
}

static void faults_of_the_header_are_placed(void **state) {
    refuse_text("@univariate maybe\n", XP_BAD_DATA, "toy.ts:1:13: @univariate needs 'true' or 'false'");
    refuse_text("@dimensions none\n", XP_BAD_DATA, "toy.ts:1:13: @dimensions needs a whole number above 0");
    refuse_text("@seriesLength 99999999999\n", XP_BAD_DATA, "toy.ts:1:15: @seriesLength needs a whole number");
    refuse_text("@univariate true\n1,2:a\n", XP_BAD_DATA, "toy.ts:2:1: expected a header line");
    refuse_text("@univariate true\n@dimensions 3\n@classLabel true a\n@data\n", XP_BAD_DATA,
                "toy.ts:4:1: the header says both");
    refuse_text("@univariate true\n@data\n1,2:a\n", XP_BAD_DATA, "toy.ts:2:1: no @classLabel line before @data");
    refuse_text("@univariate true\n", XP_BAD_DATA, "toy.ts:2:1: the file ends without an @data line");
    refuse_text("@classLabel true a b a\n", XP_BAD_DATA, "toy.ts:1:22: the class 'a' is named twice");
}

static void zero_classes_and_zero_samples_are_refused(void **state) {
    refuse_text("@classLabel true\n@data\n1,2:a\n", XP_BAD_DATA, "toy.ts:1:17: @classLabel true names no class");
    refuse_text(HEADER CLASSES, XP_BAD_DATA, "toy.ts:8:1: the file has no samples behind @data");
    refuse_text("", XP_BAD_DATA, "toy.ts: byte 0: the file is empty");
}

static void samples_that_do_not_fit_the_header_are_refused(void **state) {
    refuse_text(HEADER CLASSES "1:2:3:calm\n", XP_BAD_DATA,
                "toy.ts:8:11: the sample has 3 dimensions where line 4 says 2");
    refuse_text("@classLabel true a\n@data\n1:2:a\n3:a\n", XP_BAD_DATA,
                "toy.ts:4:4: the sample has 1 dimension where line 3 says 2");
    refuse_text(HEADER CLASSES "1,2:3:calm\n", XP_BAD_DATA,
                "toy.ts:8:5: dimension 2 has 1 steps where the first has 2");
    refuse_text(HEADER CLASSES "1,2:3,4:clam\n", XP_BAD_DATA, "toy.ts:8:9: 'clam' is no class");
    refuse_text("@equalLength true\n@classLabel true a\n@data\n1,2:a\n1,2,3:a\n", XP_BAD_DATA,
                "toy.ts:5:1: the series has 3 steps");
    refuse_text(HEADER CLASSES "1:2:calm\n@data\n", XP_BAD_DATA, "toy.ts:9:1: a header line cannot follow @data");
}

/* Only a cut between two samples, or within a label that leaves another label, can pass for a whole file. */
static void a_truncated_file_is_refused_wherever_it_is_cut(void **state) {
    const char *text = HEADER CLASSES "1,2,3:4,5,6:wild\n7,8:9,10:calm\n";
    size_t first_end = (size_t)(strstr(text, ":wild") - text) + 5, whole = strlen(text) - 1;
    for (size_t cut = 1; cut < whole; cut++) {
        if (cut == first_end || cut == first_end + 1) continue;
        assert_refused("cut.ts", text, cut, XP_BAD_DATA, "cut.ts:");
    }
}

/* --- IDX ---------------------------------------------------------------------------------------------------------- */

static const unsigned char two_images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 51, 102, 255, 1, 2, 3, 4};
static const unsigned char two_labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 2, 0};

static void images_and_their_labels_are_read_plain_or_compressed(void **state) {
    xp_dataset *dataset = NULL;
    scratch_write("train-labels-idx1-ubyte", two_labels, sizeof two_labels);
    const char *path = scratch_write("train-images-idx3-ubyte", two_images, sizeof two_images);
    assert_int_equal(xp_dataset_open(&dataset, path, NULL), XP_OK);
    assert_int_equal(dataset->kind, XP_DATASET_IMAGES);
    assert_int_equal(dataset->count, 2);
    assert_int_equal(dataset->channels, 1);
    assert_int_equal(dataset->height, 2);
    assert_int_equal(dataset->breadth, 2);
    assert_int_equal(dataset->classes, 3);
    assert_int_equal(dataset->labels[0], 2);
    assert_string_equal(dataset->class_names[2], "2");
    assert_true(dataset->values[1] == 51.0f / 255.0f);
    assert_true(dataset->values[3] == 1.0f);
    xp_dataset_close(&dataset);

    path = scratch_path("t10k-images-idx3-ubyte.gz");
    gzFile file = gzopen(path, "wb");
    gzwrite(file, two_images, sizeof two_images);
    gzclose(file);
    assert_int_equal(xp_dataset_open(&dataset, scratch_folder, "test"), XP_OK);
    assert_null(dataset->labels);
    xp_dataset_close(&dataset);
    assert_int_equal(unlink(path), 0);
}

static void a_folder_needs_a_part_that_it_has(void **state) {
    xp_dataset *dataset = NULL;
    assert_int_equal(xp_dataset_open(&dataset, scratch_folder, "tset"), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "'train' or 'test'"));
    assert_int_equal(xp_dataset_open(&dataset, "/tmp/..", "train"), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "has no IDX file train-images-idx3-ubyte"));
    assert_int_equal(xp_dataset_open(&dataset, scratch_path("nothing.ts"), "train"), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), "nothing.ts: cannot be opened"));
}

static void refuse_images(size_t at, unsigned char byte, size_t length, xp_status expected, const char *message) {
    unsigned char bytes[sizeof two_images + 1] = {0};
    memcpy(bytes, two_images, sizeof two_images);
    bytes[at] = byte;
    assert_refused("odd-images-idx3-ubyte", bytes, length, expected, message);
}

static void damaged_images_are_refused_at_their_byte(void **state) {
    size_t whole = sizeof two_images;
    refuse_images(0, 7, whole, XP_BAD_DATA, "odd-images-idx3-ubyte: byte 0: the magic number is 0x07000803");
    refuse_images(3, 4, whole, XP_BAD_DATA, "byte 0: the magic number is 0x00000804");
    refuse_images(2, 0x0D, whole, XP_UNSUPPORTED, "byte 2: IDX values of type 0x0d");
    refuse_images(3, 1, whole, XP_BAD_DATA, "byte 3: this is an IDX label file");
    refuse_images(7, 0, whole, XP_BAD_DATA, "byte 4: the file holds no samples");
    refuse_images(11, 0, whole, XP_BAD_DATA, "byte 8: the images have no pixels");
    refuse_images(4, 0xff, whole, XP_BAD_DATA, "byte 4: a size of");
    refuse_images(0, 0, whole + 1, XP_BAD_DATA, "byte 25: the file ends there, but its header promises 24 bytes");
    for (size_t cut = 1; cut < whole; cut++) refuse_images(0, 0, cut, XP_BAD_DATA, "odd-images-idx3-ubyte: byte ");
}

static void labels_that_do_not_belong_to_the_images_are_refused(void **state) {
    unsigned char three[] = {0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2};
    scratch_write("pair-labels-idx1-ubyte", three, sizeof three);
    assert_refused("pair-images-idx3-ubyte", two_images, sizeof two_images, XP_BAD_DATA,
                   "pair-labels-idx1-ubyte: byte 4: 3 labels for 2 images");
    scratch_write("pair-labels-idx1-ubyte", three, sizeof three - 1);
    assert_refused("pair-images-idx3-ubyte", two_images, sizeof two_images, XP_BAD_DATA,
                   "pair-labels-idx1-ubyte: byte 10: the file ends there");
}

static void bytes_of_no_known_format_are_refused(void **state) {
    const unsigned char picture[] = {0x89, 'P', 'N', 'G', 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    assert_refused("picture", picture, sizeof picture, XP_BAD_DATA, "byte 0: the magic number is 0x89504e47");
}

/* --- preparation -------------------------------------------------------------------------------------------------- */

static void standardisation_makes_mean_0_and_deviation_1_and_keeps_the_padding(void **state) {
    xp_dataset *dataset = open_text(HEADER CLASSES "1,2,3:0.1,0.1,0.1:wild\n6:0.1:calm\n");
    xp_standardisation standardisation;
    assert_int_equal(xp_standardisation_fit(&standardisation, dataset), XP_OK);
    assert_true(standardisation.mean[0] == 3);
    assert_true(fabs(standardisation.deviation[0] - sqrt(14.0 / 4)) < 1e-15);
    assert_true(standardisation.deviation[1] == 0);
    xp_standardisation_apply(&standardisation, dataset);
    assert_true(fabsf(dataset->values[0] + 2.0f / sqrtf(3.5f)) < 1e-6f);
    assert_true(fabsf(dataset->values[1]) < 1e-6f);
    for (int i = 8; i < 12; i++) assert_true(dataset->values[i] == 0);
    xp_standardisation_release(&standardisation);
    xp_dataset_close(&dataset);
}

static void alignment_matches_classes_by_name_and_pads_both(void **state) {
    xp_dataset *train = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:calm\n");
    xp_dataset *test = open_text(HEADER "@classLabel true wild calm\n@data\n1,2,3,4:5,6,7,8:wild\n");
    assert_int_equal(xp_dataset_align(train, test), XP_OK);
    assert_int_equal(test->labels[0], 1);
    assert_string_equal(test->class_names[0], "calm");
    assert_int_equal(train->length, 4);
    const float expected[] = {1, 4, 2, 5, 3, 6, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0};
    assert_memory_equal(train->values, expected, sizeof expected);
    xp_dataset_close(&test);

    test = open_text(HEADER "@classLabel true calm odd\n@data\n1:1:calm\n2:2:odd\n");
    assert_int_equal(xp_dataset_align(train, test), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "sample 2 has the class 'odd'"));
    xp_dataset_close(&test);

    test = open_text("@univariate true\n@classLabel true calm\n@data\n1:calm\n");
    assert_int_equal(xp_dataset_align(train, test), XP_BAD_DATA);
    assert_non_null(strstr(xp_last_error(), "has 2 dimensions and"));
    xp_dataset_close(&test);
    xp_dataset_close(&train);
}

static void a_part_without_labels_takes_the_classes_of_the_other(void **state) {
    xp_dataset *train = open_text("@univariate true\n@classLabel true calm wild\n@data\n1,2:calm\n3,4:wild\n");
    xp_dataset *unlabelled = open_text("@univariate true\n@classLabel false\n@data\n1,2\n3,4\n");
    assert_int_equal(xp_dataset_align(train, unlabelled), XP_OK);
    assert_null(unlabelled->labels);
    assert_int_equal(unlabelled->classes, 2); /* room for a model's answers is made by it */
    assert_string_equal(unlabelled->class_names[1], "wild");
    xp_dataset_close(&train);
    xp_dataset_close(&unlabelled);
}

static void a_header_without_samples_serves_for_alignment(void **state) {
    char *names[] = {"wild", "calm"};
    xp_dataset header = {.features = 2, .length = 5, .sample_elements = 10, .classes = 2, .class_names = names};
    xp_dataset *test = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:calm\n");
    assert_int_equal(xp_dataset_align(&header, test), XP_OK);
    assert_int_equal(test->labels[0], 0);
    assert_int_equal(test->labels[1], 1);
    assert_int_equal(test->length, 5);
    xp_dataset_close(&test);
}

/* `counts[c]` samples of class c, in the order of the classes; the one value of each sample is its place in the file.
 */
static xp_dataset *open_counted(const int *counts) {
    char text[8192] = "@univariate true\n@classLabel true 0 1 2\n@data\n";
    int place = 0;
    for (int class = 0; class < 3; class ++) {
        for (int i = 0; i < counts[class]; i++) {
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "%d:%d\n", place++, class);
        }
    }
    return open_text(text);
}

static void count_classes(const xp_dataset *dataset, int counts[3]) {
    memset(counts, 0, 3 * sizeof *counts);
    for (int64_t i = 0; i < dataset->count; i++) counts[dataset->labels[i]]++;
}

static void a_split_takes_its_part_of_every_class(void **state) {
    const int counts[] = {40, 2, 1};
    int part[3];
    xp_dataset *train = open_counted(counts), *validation = NULL;
    assert_int_equal(xp_dataset_split(train, 0.1, 7, &validation), XP_OK);
    count_classes(validation, part);
    assert_int_equal(part[0], 4);
    assert_int_equal(part[1], 1);
    assert_int_equal(part[2], 0);
    assert_int_equal(train->count, 38);
    bool seen[43] = {false};
    for (int64_t i = 0; i < train->count; i++) seen[(int)train->values[i]] = true;
    for (int64_t i = 0; i < validation->count; i++) {
        assert_false(seen[(int)validation->values[i]]);
        seen[(int)validation->values[i]] = true;
    }
    for (int i = 0; i < 43; i++) assert_true(seen[i]);

    xp_dataset *again = open_counted(counts), *same = NULL;
    assert_int_equal(xp_dataset_split(again, 0.1, 7, &same), XP_OK);
    assert_memory_equal(same->values, validation->values, (size_t)same->count * sizeof(float));
    xp_dataset_close(&same);
    xp_dataset_close(&again);

    xp_dataset *none = NULL;
    assert_int_equal(xp_dataset_split(train, 1.0, 7, &none), XP_INVALID_ARGUMENT);
    assert_int_equal(xp_dataset_split(train, NAN, 7, &none), XP_INVALID_ARGUMENT);
    xp_dataset_close(&train);
    xp_dataset_close(&validation);
}

static void a_limit_keeps_the_classes_in_balance(void **state) {
    const int counts[] = {40, 3, 20};
    int part[3];
    xp_dataset *dataset = open_counted(counts);
    assert_int_equal(xp_dataset_limit(dataset, 15, 7), XP_OK);
    assert_int_equal(dataset->count, 15);
    count_classes(dataset, part);
    assert_int_equal(part[0], 6);
    assert_int_equal(part[1], 3);
    assert_int_equal(part[2], 6);
    assert_int_equal(xp_dataset_limit(dataset, 100, 7), XP_OK);
    assert_int_equal(dataset->count, 15);
    assert_int_equal(xp_dataset_limit(dataset, 0, 7), XP_INVALID_ARGUMENT);
    xp_dataset_close(&dataset);
}

static void an_epochs_order_is_a_permutation_of_seed_and_epoch_alone(void **state) {
    enum { COUNT = 1000 };
    int32_t order[COUNT], again[COUNT], other[COUNT];
    xp_dataset_shuffle(COUNT, 3, 5, order);
    xp_dataset_shuffle(COUNT, 3, 6, other);
    xp_dataset_shuffle(COUNT, 3, 5, again);
    assert_memory_equal(order, again, sizeof order);
    assert_memory_not_equal(order, other, sizeof order);
    bool seen[COUNT] = {false};
    for (int i = 0; i < COUNT; i++) seen[order[i]] = true;
    for (int i = 0; i < COUNT; i++) assert_true(seen[i]);
}

static void a_short_last_batch_is_padded_with_weight_0(void **state) {
    xp_dataset *dataset = open_text(HEADER CLASSES "1,2,3:4,5,6:wild\n7:8:wild\n9:1:calm\n");
    const int32_t order[] = {2, 0, 1};
    float values[12], weights[2];
    int32_t lengths[2], labels[2];
    assert_int_equal(xp_dataset_batch(dataset, order, 3, 0, 2, values, lengths, labels, weights), 2);
    const float first[] = {9, 1, 0, 0, 0, 0, 1, 4, 2, 5, 3, 6};
    assert_memory_equal(values, first, sizeof first);
    assert_int_equal(xp_dataset_batch(dataset, order, 3, 2, 2, values, lengths, labels, weights), 1);
    const float last[12] = {7, 8};
    assert_memory_equal(values, last, sizeof last);
    assert_int_equal(lengths[0], 1);
    assert_int_equal(lengths[1], 0);
    assert_int_equal(labels[0], 1);
    assert_int_equal(labels[1], 0);
    assert_true(weights[0] == 1 && weights[1] == 0);
    assert_int_equal(xp_dataset_batch(dataset, order, 3, 4, 2, values, NULL, NULL, weights), 0);
    xp_dataset_close(&dataset);
}

/* --- real data ---------------------------------------------------------------------------------------------------- */

static void fashion_mnist_reads_as_published(void **state) {
    const char *folder = "/usr/share/datasets/fashion-mnist";
    if (access(folder, R_OK) != 0) skip();
    const struct {
        const char *part;
        int64_t count;
        double mean;
    } parts[] = {{"train", 60000, 0.2860}, {"test", 10000, 0.2868}};
    for (int i = 0; i < 2; i++) {
        xp_dataset *dataset = NULL;
        assert_int_equal(xp_dataset_open(&dataset, folder, parts[i].part), XP_OK);
        assert_int_equal(dataset->count, parts[i].count);
        assert_int_equal(dataset->classes, 10);
        assert_int_equal(dataset->height, 28);
        assert_int_equal(dataset->breadth, 28);
        int64_t of_class[10] = {0};
        for (int64_t j = 0; j < dataset->count; j++) of_class[dataset->labels[j]]++;
        for (int j = 0; j < 10; j++) assert_int_equal(of_class[j], parts[i].count / 10);
        xp_standardisation standardisation;
        assert_int_equal(xp_standardisation_fit(&standardisation, dataset), XP_OK);
        assert_true(fabs(standardisation.mean[0] - parts[i].mean) < 5e-4);
        assert_true(fabs(standardisation.deviation[0] - 0.353) < 1e-3);
        xp_standardisation_release(&standardisation);
        xp_dataset_close(&dataset);
    }
}

/* tools/fetch-uea brings the files; without them this is skipped. */
static void japanese_vowels_reads_as_published(void **state) {
    const char *root = getenv("EXPANSE_ROOT");
    char path[1024];
    const struct {
        const char *part;
        int count, length;
    } parts[] = {{"TRAIN", 270, 26}, {"TEST", 370, 29}};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/data/JapaneseVowels/JapaneseVowels_%s.ts", root ? root : ".", parts[i].part);
        if (access(path, R_OK) != 0) skip();
        xp_dataset *dataset = NULL;
        assert_int_equal(xp_dataset_open(&dataset, path, NULL), XP_OK);
        assert_int_equal(dataset->count, parts[i].count);
        assert_int_equal(dataset->length, parts[i].length);
        assert_int_equal(dataset->features, 12);
        assert_int_equal(dataset->classes, 9);
        xp_dataset_close(&dataset);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_unequal_series_is_laid_out_by_time),
        cmocka_unit_test(comments_blank_lines_and_windows_line_ends_are_passed_over),
        cmocka_unit_test(a_file_without_labels_has_none),
        cmocka_unit_test(missing_values_are_filled_along_time),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(a_letter_where_a_number_belongs_is_placed),
        cmocka_unit_test(faults_of_the_header_are_placed),
        cmocka_unit_test(zero_classes_and_zero_samples_are_refused),
        cmocka_unit_test(samples_that_do_not_fit_the_header_are_refused),
        cmocka_unit_test(a_truncated_file_is_refused_wherever_it_is_cut),
        cmocka_unit_test(images_and_their_labels_are_read_plain_or_compressed),
        cmocka_unit_test(a_folder_needs_a_part_that_it_has),
        cmocka_unit_test(damaged_images_are_refused_at_their_byte),
        cmocka_unit_test(labels_that_do_not_belong_to_the_images_are_refused),
        cmocka_unit_test(bytes_of_no_known_format_are_refused),
        cmocka_unit_test(standardisation_makes_mean_0_and_deviation_1_and_keeps_the_padding),
        cmocka_unit_test(alignment_matches_classes_by_name_and_pads_both),
        cmocka_unit_test(a_part_without_labels_takes_the_classes_of_the_other),
        cmocka_unit_test(a_header_without_samples_serves_for_alignment),
        cmocka_unit_test(a_split_takes_its_part_of_every_class),
        cmocka_unit_test(a_limit_keeps_the_classes_in_balance),
        cmocka_unit_test(an_epochs_order_is_a_permutation_of_seed_and_epoch_alone),
        cmocka_unit_test(a_short_last_batch_is_padded_with_weight_0),
        cmocka_unit_test(fashion_mnist_reads_as_published),
        cmocka_unit_test(japanese_vowels_reads_as_published),
    };
    return cmocka_run_group_tests_name("data", tests, scratch_make, scratch_remove);
}
