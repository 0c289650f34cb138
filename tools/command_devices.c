/* expanse devices: the table of OpenCL devices. */
#include "command.h"
#include "table.h"

#include <expanse/device.h>
#include <stdio.h>
#include <stdlib.h>

static const xp_column columns[] = {
    {NULL, "", XP_CELL_TEXT},
    {"id", "id", XP_CELL_TEXT},
    {"type", "type", XP_CELL_TEXT},
    {"name", "device", XP_CELL_TEXT},
    {"platform", "platform", XP_CELL_TEXT},
    {"vendor", NULL, XP_CELL_TEXT},
    {"driver", "driver", XP_CELL_TEXT},
    {"version", NULL, XP_CELL_TEXT},
    {"compute_units", "units", XP_CELL_WHOLE},
    {"global_bytes", "memory GiB", XP_CELL_WHOLE, .digits = 1, .scale = XP_GIB},
    {"allocation_bytes", NULL, XP_CELL_WHOLE},
    {"local_bytes", "local KiB", XP_CELL_WHOLE, .scale = 1.0 / 1024},
    {"available", NULL, XP_CELL_TRUTH},
    {"has_compiler", NULL, XP_CELL_TRUTH},
    {"default", NULL, XP_CELL_TRUTH},
    {NULL, "", XP_CELL_TEXT},
};

static void add_row(xp_table *table, const xp_device_info *device) {
    const xp_cell cells[] = {{.text = device->is_default ? "*" : ""},
                             {.text = device->selector},
                             {.text = device->type},
                             {.text = device->name},
                             {.text = device->platform},
                             {.text = device->vendor},
                             {.text = device->driver},
                             {.text = device->version},
                             {.whole = device->compute_units},
                             {.whole = (int64_t)device->global_bytes},
                             {.whole = (int64_t)device->allocation_bytes},
                             {.whole = (int64_t)device->local_bytes},
                             {.truth = device->available},
                             {.truth = device->has_compiler},
                             {.truth = device->is_default},
                             {.text = !device->available      ? "not available"
                                      : !device->has_compiler ? "no compiler"
                                                              : ""}};
    xp_table_row(table, cells);
}

int xp_command_devices(int count, char **words) {
    bool json = false;
    int format = XP_TABLE_TEXT;
    const xp_flag flags[] = {
        XP_TABLE_FORMAT_FLAG(&format),
        {"--json", NULL, "the same as -o json", .on = &json},
    };
    const xp_usage usage = {.name = "devices",
                            .synopsis = "[flags]",
                            .description = "Lists the OpenCL devices of all drivers. --device of the other commands "
                                           "accepts an id from the first column, part of a name, 'gpu' or 'cpu'.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .example = "  expanse devices -o csv\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    xp_device_info *devices = NULL;
    size_t device_count = 0;
    const char *note = "";
    if (xp_devices_list(&devices, &device_count, &note) != XP_OK) return xp_command_fail();
    if (device_count > 0 && note && *note) fprintf(stderr, "expanse: %s\n", note);
    xp_table table;
    xp_table_open(&table, stdout, json ? XP_TABLE_JSON : (xp_table_format)format, columns,
                  sizeof columns / sizeof *columns, NULL);
    for (size_t i = 0; i < device_count; i++) add_row(&table, &devices[i]);
    if (device_count > 0) {
        xp_table_note(&table, "%s", "");
        xp_table_note(&table, "* marks the default device.");
    }
    xp_status status = xp_table_close(&table, XP_OK);
    if (status == XP_OK && device_count == 0) status = xp_fail(XP_NO_DEVICE, "there is no OpenCL device: %s", note);
    free(devices);
    return xp_command_end(status);
}
