/* expanse info: version, libraries and presets of this build. */
#include "command.h"
#include "table.h"

#include "core/writer.h"
#include "model/attention.h"
#include "train/config.h"

#include <expanse/version.h>
#include <stdio.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>

/* The specification as it is understood, and which kernel runs it. */
static int explain(const char *text) {
    xp_specification specification;
    char kernel[200], widths[200];
    const xp_status status = xp_specification_parse(text, &specification);
    if (status != XP_OK) return xp_command_end(status);
    xp_writer printed = {0};
    xp_specification_write(&printed, &specification);
    xp_attention_describe(&specification, 0, kernel, sizeof kernel);
    xp_attention_describe_widths(&specification, widths, sizeof widths);
    const xp_status written = xp_writer_status(&printed, "specification");
    if (written == XP_OK) printf("%s\n%s\n%s%s", printed.text, kernel, widths, *widths ? "\n" : "");
    xp_writer_release(&printed);
    return xp_command_end(written);
}

static void write_libraries(xp_writer *text) {
    xp_write(text, "jansson %s, libyaml %s, xxHash %d.%d.%d, zlib %s", JANSSON_VERSION, yaml_get_version_string(),
             XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE, zlibVersion());
}

static void write_presets(xp_writer *text) {
    char presets[64][64];
    const int count = xp_config_presets(presets, 64);
    for (int i = 0; i < count; i++) xp_write(text, "%s%s", i ? ", " : "", presets[i]);
}

static xp_status print_build(xp_table_format format) {
    static const xp_column columns[] = {{"name", "", XP_CELL_TEXT}, {"value", "", XP_CELL_TEXT}};
#ifdef XP_WITH_CLBLAST
    const char *clblast = "yes";
#else
    const char *clblast = "no";
#endif
#ifdef XP_WITH_LIBSVM
    const char *libsvm = "yes";
#else
    const char *libsvm = "no";
#endif
#ifdef XP_WITH_JPEG
    const char *jpeg = "yes";
#else
    const char *jpeg = "no";
#endif
#ifdef XP_WITH_PNG
    const char *png = "yes";
#else
    const char *png = "no";
#endif
    xp_writer libraries = {0}, presets = {0};
    write_libraries(&libraries);
    write_presets(&presets);
    const char *const rows[][2] = {{"expanse", XP_VERSION},
                                   {"compiler", __VERSION__},
                                   {"CLBlast", clblast},
                                   {"LIBSVM", libsvm},
                                   {"JPEG", jpeg},
                                   {"PNG", png},
                                   {"libraries", libraries.text},
                                   {"presets", presets.text}};
    xp_table table;
    xp_table_open(&table, stdout, format, columns, 2, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        xp_table_row(&table, (xp_cell[]){{.text = rows[i][0]}, {.text = rows[i][1]}});
    xp_status status = xp_writer_status(&libraries, "libraries");
    if (status == XP_OK) status = xp_writer_status(&presets, "presets");
    status = xp_table_close(&table, status);
    xp_writer_release(&libraries);
    xp_writer_release(&presets);
    return status;
}

int xp_command_info(int count, char **words) {
    bool version = false;
    const char *attention = NULL;
    int format = XP_TABLE_TEXT;
    const xp_flag flags[] = {
        {"--version", NULL, "print only the version", .on = &version},
        {"--attention", "SPEC", "print which kernel runs this specification and how its cost grows",
         .text = &attention},
        XP_TABLE_FORMAT_FLAG(&format),
    };
    const xp_usage usage = {.name = "info",
                            .synopsis = "[--version | --attention SPEC | -o FORMAT]",
                            .description =
                                "Prints the version, the compiler, the libraries and the presets of this build.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .example = "  expanse info --attention 'softmax+bn+sh(1,2)'\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (version) {
        printf("%s\n", XP_VERSION);
        return XP_EXIT_OK;
    }
    if (attention) return explain(attention);
    return xp_command_end(print_build((xp_table_format)format));
}
