/* expanse info: what this build is made of. */
#include "command.h"

#include "model/attention.h"
#include "train/config.h"

#include <jansson.h>
#include <stdio.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>

/* The specification as it is understood, and which kernel runs it. */
static int explain(const char *text) {
    xp_specification specification;
    char printed[4 * XP_SPECIFICATION_BYTES], kernel[200];
    if (xp_specification_parse(text, &specification) != XP_OK) {
        xp_command_fail();
        return XP_EXIT_USAGE;
    }
    xp_specification_print(&specification, printed, sizeof printed);
    xp_attention_describe(&specification, 0, kernel, sizeof kernel);
    printf("%s\n%s\n", printed, kernel);
    return XP_EXIT_OK;
}

int xp_command_info(int count, char **words) {
    bool version = false;
    const char *attention = NULL;
    const xp_flag flags[] = {{.name = "--version", .help = "the version alone", .on = &version},
                             {.name = "--attention",
                              .argument = "SPEC",
                              .help = "what a specification means to the kernels",
                              .text = &attention}};
    const xp_usage usage = {.name = "info",
                            .synopsis = "[--version | --attention SPEC]",
                            .description = "Tells the version, how it was built, the libraries and the presets.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (version) {
        printf("%s\n", XP_VERSION);
        return XP_EXIT_OK;
    }
    if (attention) return explain(attention);
    char presets[64][64];
    int preset_count = xp_config_presets(presets, 64);
#ifdef XP_WITH_CLBLAST
    const char *clblast = "yes";
#else
    const char *clblast = "no";
#endif
    printf("expanse     %s\n", XP_VERSION);
    printf("compiler    %s\n", __VERSION__);
    printf("CLBlast     %s\n", clblast);
    printf("libraries   jansson %s, libyaml %s, xxHash %d.%d.%d, zlib %s\n", JANSSON_VERSION, yaml_get_version_string(),
           XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE, zlibVersion());
    printf("presets    ");
    for (int i = 0; i < preset_count; i++) printf("%s %s", i ? "," : "", presets[i]);
    printf("\n");
    return XP_EXIT_OK;
}
