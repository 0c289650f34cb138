/* A configuration file: YAML against the option table, so that all faults are reported together, each with its
 * place. */
#include "core/files.h"
#include "core/yaml.h"
#include "train/options.h"

#include <stdlib.h>

static void needs_one_value(xp_writer *faults, const char *name, const xp_yaml *value) {
    xp_yaml_fault(faults, name, value->line, value->column, "'%s' needs one value, not a list or a section",
                  value->key);
}

/* What a line of faults begins with. */
static xp_writer place_of(const char *name, size_t line, size_t column, xp_writer *faults) {
    xp_writer place = {0};
    xp_write(&place, "%s:%zu:%zu: ", name, line, column);
    faults->failed = faults->failed || place.failed;
    return place;
}

static void apply_option(xp_config *config, const char *name, const char *section, const xp_yaml *value,
                         xp_writer *faults) {
    if (value->kind == XP_YAML_LIST || value->kind == XP_YAML_MAPPING) needs_one_value(faults, name, value);
    if (value->kind != XP_YAML_TEXT) return;
    xp_writer place = place_of(name, value->key_line, value->key_column, faults);
    const xp_option *entry = faults->failed ? NULL : xp_option_find(section, value->key, place.text, faults);
    xp_writer_release(&place);
    if (!entry) return;
    place = place_of(name, value->line, value->column, faults);
    if (!faults->failed) xp_option_set(config, entry, value->text, place.text, faults);
    xp_writer_release(&place);
}

static void apply_section(xp_config *config, const char *name, const xp_yaml *section, xp_writer *faults) {
    xp_writer place = place_of(name, section->key_line, section->key_column, faults);
    const bool known = !faults->failed && xp_option_section(section->key, place.text, faults);
    xp_writer_release(&place);
    for (int i = 0; known && i < section->count; i++)
        apply_option(config, name, section->key, &section->items[i], faults);
}

static void apply_preset(xp_config *config, const char *name, const xp_yaml *preset, bool may_name_preset,
                         xp_writer *faults) {
    if (preset->kind != XP_YAML_TEXT) {
        needs_one_value(faults, name, preset);
        return;
    }
    if (!*preset->text) return;
    if (!may_name_preset) {
        xp_yaml_fault(faults, name, preset->key_line, preset->key_column, "a preset cannot be built on another");
        return;
    }
    const xp_status status = xp_config_preset(config, preset->text);
    if (status == XP_OUT_OF_MEMORY)
        faults->failed = true;
    else if (status != XP_OK)
        xp_yaml_fault(faults, name, preset->line, preset->column, "%s", xp_last_error());
}

/* All of the file overrides a preset named anywhere in it. */
static void apply(xp_config *config, const char *name, const xp_yaml *root, bool may_name_preset, xp_writer *faults) {
    if (root->kind == XP_YAML_TEXT || root->kind == XP_YAML_LIST)
        xp_yaml_fault(faults, name, root->line, root->column,
                      "expected sections such as 'model:' with 'key: value' lines below");
    const xp_yaml *attentions = xp_yaml_find(root, "attentions");
    if (attentions) {
        xp_yaml_fault(faults, name, attentions->key_line, attentions->key_column,
                      "'attentions' belongs to a study, which runs with: expanse study %s", name);
        return;
    }
    const xp_yaml *preset = xp_yaml_find(root, "preset");
    if (preset) apply_preset(config, name, preset, may_name_preset, faults);
    for (int i = 0; i < root->count && root->kind == XP_YAML_MAPPING; i++) {
        const xp_yaml *each = &root->items[i];
        if (each == preset) continue;
        if (each->kind == XP_YAML_MAPPING)
            apply_section(config, name, each, faults);
        else
            apply_option(config, name, "", each, faults);
    }
}

/* Lays a YAML text over *config, which stays as it is when anything is wrong. */
xp_status xp_config_overlay(xp_config *config, const char *name, const char *text, size_t length,
                            bool may_name_preset) {
    xp_writer faults = {0};
    xp_yaml root;
    xp_config changed = *config;
    xp_yaml_read(name, text, length, &root, &faults);
    apply(&changed, name, &root, may_name_preset, &faults);
    xp_yaml_release(&root);
    XP_TRY(xp_faults_report(&faults, name, XP_BAD_DATA));
    *config = changed;
    return XP_OK;
}

xp_status xp_config_file(xp_config *config, const char *path) {
    char *text = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &text, &length));
    xp_status status = xp_config_overlay(config, path, text, length, true);
    free(text);
    return status;
}
