/* expanse devices: the table of OpenCL devices. */
#include "command.h"

#include <expanse/device.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_table(const xp_device_info *devices, size_t count) {
    int name_width = 6, platform_width = 8;
    for (size_t i = 0; i < count; i++) {
        if ((int)strlen(devices[i].name) > name_width) name_width = (int)strlen(devices[i].name);
        if ((int)strlen(devices[i].platform) > platform_width) platform_width = (int)strlen(devices[i].platform);
    }
    if (name_width > 48) name_width = 48;
    if (platform_width > 32) platform_width = 32;
    printf("  id    type  %-*s  units    memory   local  %-*s  driver\n", name_width, "device", platform_width,
           "platform");
    for (size_t i = 0; i < count; i++) {
        const xp_device_info *device = &devices[i];
        printf("%c %-5s %-4s  %-*.*s %6u %7.1fGiB %4lluKiB  %-*.*s  %s%s\n", device->is_default ? '*' : ' ',
               device->selector, device->type, name_width, name_width, device->name, device->compute_units,
               (double)device->global_bytes / 1073741824.0, (unsigned long long)device->local_bytes / 1024,
               platform_width, platform_width, device->platform, device->driver,
               device->available ? "" : " (not available)");
    }
    printf("\n* is taken when no --device is given.\n");
}

static int print_json(const xp_device_info *devices, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const xp_device_info *device = &devices[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:b}", "id", device->selector,
                      "type", device->type, "name", device->name, "platform", device->platform, "vendor",
                      device->vendor, "driver", device->driver, "version", device->version, "compute_units",
                      (json_int_t)device->compute_units, "global_bytes", (json_int_t)device->global_bytes,
                      "allocation_bytes", (json_int_t)device->allocation_bytes, "local_bytes",
                      (json_int_t)device->local_bytes, "available", device->available, "default", device->is_default));
    }
    bool written = json_array_size(list) == count && json_dumpf(list, stdout, JSON_INDENT(2)) == 0;
    json_decref(list);
    printf("\n");
    return written ? XP_EXIT_OK : (xp_fail(XP_IO_ERROR, "the list of devices cannot be written"), xp_command_fail());
}

int xp_command_devices(int count, char **words) {
    bool json = false;
    const xp_flag flags[] = {{.name = "--json", .help = "the list as JSON", .on = &json}};
    const xp_usage usage = {
        .name = "devices",
        .synopsis = "[--json]",
        .description =
            "Lists all OpenCL devices of all drivers. The id in the first column, a part of a name, 'gpu' or\n"
            "'cpu' is what --device of the other commands takes.\n",
        .flags = flags,
        .flag_count = 1};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    xp_device_info *devices = NULL;
    size_t device_count = 0;
    const char *note = "";
    if (xp_devices_list(&devices, &device_count, &note) != XP_OK) return xp_command_fail();
    if (note && *note) fprintf(stderr, "expanse: %s\n", note);
    if (json)
        code = print_json(devices, device_count);
    else
        print_table(devices, device_count);
    free(devices);
    return code;
}
