/* Presets: the configuration files that the library carries. */
#include "core/embedded.h"
#include "core/text.h"
#include "train/options.h"

#include <string.h>

static const char preset_ending[] = ".yaml";

static bool is_preset(const xp_embedded_file *file, size_t *length) {
    size_t name = strlen(file->name), ending = sizeof preset_ending - 1;
    if (name <= ending || strcmp(file->name + name - ending, preset_ending) != 0) return false;
    *length = name - ending;
    return true;
}

int xp_config_presets(char names[][64], int room) {
    int count = 0;
    for (const xp_embedded_file *file = xp_embedded_files; file->name; file++) {
        size_t length;
        if (!is_preset(file, &length) || length >= 64 || count == room) continue;
        memcpy(names[count], file->name, length);
        names[count++][length] = '\0';
    }
    return count;
}

xp_status xp_config_preset(xp_config *config, const char *name) {
    enum { ROOM = 64 };
    char names[ROOM][64];
    const char *list[ROOM] = {0};
    for (const xp_embedded_file *file = xp_embedded_files; file->name; file++) {
        size_t length;
        if (!is_preset(file, &length) || strlen(name) != length || memcmp(file->name, name, length) != 0) continue;
        if (length >= sizeof config->preset) break;
        xp_config changed = *config;
        XP_TRY(xp_config_overlay(&changed, name, file->text, file->length, false));
        memset(changed.preset, 0, sizeof changed.preset);
        memcpy(changed.preset, name, length);
        *config = changed;
        return XP_OK;
    }
    int count = xp_config_presets(names, ROOM);
    for (int i = 0; i < count; i++) list[i] = names[i];
    const char *nearest = xp_text_nearest(name, list, count);
    xp_writer known = {0};
    for (int i = 0; i < count; i++) xp_write(&known, "%s%s", i ? ", " : "", names[i]);
    xp_status status = xp_writer_status(&known, "presets");
    if (status == XP_OK)
        status = nearest ? xp_fail(XP_INVALID_ARGUMENT, "unknown preset '%s'; did you mean '%s'?", name, nearest)
                         : xp_fail(XP_INVALID_ARGUMENT, "unknown preset '%s'; the presets are %s", name, known.text);
    xp_writer_release(&known);
    return status;
}
