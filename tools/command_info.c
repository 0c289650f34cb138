/* expanse info: what this build is made of. */
#include "command.h"

#include "train/config.h"

#include <jansson.h>
#include <stdio.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>

int xp_command_info(int count, char **words) {
    bool version = false;
    const xp_flag flags[] = {{.name = "--version", .help = "the version alone", .on = &version}};
    const xp_usage usage = {.name = "info",
                            .synopsis = "[--version]",
                            .description = "Tells the version, how it was built, the libraries and the presets.\n",
                            .flags = flags,
                            .flag_count = 1};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (version) {
        printf("%s\n", XP_VERSION);
        return XP_EXIT_OK;
    }
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
