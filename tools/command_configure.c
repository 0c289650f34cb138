/* A configuration from the command line. Owns the order in which preset, file and flags override one another; knows
 * neither options nor their ranges. */
#include "command.h"

#include "core/writer.h"
#include "train/config.h"

/* That memory ran out is no fault of the command line. */
static void note_fault(xp_writer *faults, xp_status status) {
    if (status == XP_OUT_OF_MEMORY)
        faults->failed = true;
    else if (status != XP_OK)
        xp_write(faults, "%s\n", xp_last_error());
}

xp_status xp_command_configure(xp_config *config, const char *preset, const char *file, const xp_arguments *arguments) {
    xp_writer faults = {0};
    if (preset) note_fault(&faults, xp_config_preset(config, preset));
    if (file) note_fault(&faults, xp_config_file(config, file));
    for (int i = 0; i < arguments->setting_count; i++) {
        const char *option = arguments->settings[i].option;
        xp_writer text = {0};
        xp_write(&text, "%s%s%s", option, *option ? "=" : "", arguments->settings[i].value);
        note_fault(&faults, text.failed ? XP_OUT_OF_MEMORY : xp_config_set(config, text.text));
        xp_writer_release(&text);
    }
    note_fault(&faults, xp_config_check(config));
    xp_status status = xp_writer_status(&faults, "configuration");
    if (status == XP_OK && faults.length > 0)
        status = xp_fail(XP_INVALID_ARGUMENT, "%.*s", (int)faults.length - 1, faults.text);
    xp_writer_release(&faults);
    return status;
}
