/* A configuration from what the command line says. Owns the order in which preset, file and flags are laid over each
 * other; knows neither options nor their ranges. */
#include "command.h"

#include "core/writer.h"
#include "train/config.h"

static void note_fault(xp_writer *faults) {
    xp_write(faults, "%s\n", xp_last_error());
}

xp_status xp_command_configure(xp_config *config, const char *preset, const char *file, const xp_arguments *arguments) {
    xp_writer faults = {0};
    if (preset && xp_config_preset(config, preset) != XP_OK) note_fault(&faults);
    if (file && xp_config_file(config, file) != XP_OK) note_fault(&faults);
    for (int i = 0; i < arguments->setting_count; i++) {
        const char *option = arguments->settings[i].option;
        xp_writer text = {0};
        xp_write(&text, "%s%s%s", option, *option ? "=" : "", arguments->settings[i].value);
        if (text.failed || xp_config_set(config, text.text) != XP_OK) note_fault(&faults);
        xp_writer_release(&text);
    }
    if (xp_config_check(config) != XP_OK) note_fault(&faults);
    xp_status status = XP_OK;
    if (faults.length > 0) status = xp_fail(XP_INVALID_ARGUMENT, "%.*s", (int)faults.length - 1, faults.text);
    xp_writer_release(&faults);
    return status;
}
