/* Findings of probes at opening, and their record. */
#include "device/findings.h"

#include "device/peak.h"
#include "device/probe_job.h"
#include "device/program.h"
#include "device/record.h"

#include <expanse/version.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* ---- the probes -------------------------------------------------------------------------------------------------- */

static xp_status find_registers(xp_device *device) {
    device->register_option = xp_registers_find(device);
    return XP_OK;
}

static xp_status find_matrix(xp_device *device) {
    device->matrix = xp_matrix_find(device);
    return XP_OK;
}

static xp_status find_wgmma(xp_device *device) {
    device->wgmma_bytes = xp_wgmma_find(device);
    return XP_OK;
}

static xp_status find_static_local(xp_device *device) {
    device->limits.static_local_bytes = xp_static_local_find(device);
    return XP_OK;
}

static xp_status find_lanes(xp_device *device) {
    return xp_peak_lanes(device, &device->limits.lanes);
}

static xp_status find_bf16_instruction(xp_device *device) {
    return xp_bf16_instruction_find(device, &device->limits.bf16_instruction);
}

static const struct probe {
    xp_status (*find)(xp_device *device);
    bool of_cpu;
} probes[] = {{find_registers, false},    {find_matrix, false}, {find_wgmma, false},
              {find_static_local, false}, {find_lanes, true},   {find_bf16_instruction, true}};
enum { PROBES = sizeof probes / sizeof *probes };

static void take(xp_device *device, const xp_device *found) {
    device->register_option = found->register_option;
    device->matrix = found->matrix;
    device->wgmma_bytes = found->wgmma_bytes;
    device->limits.static_local_bytes = found->limits.static_local_bytes;
    device->limits.lanes = found->limits.lanes;
    device->limits.bf16_instruction = found->limits.bf16_instruction;
}

/* A context that a probe may have broken is not used for the next. *whole: none has been. */
static xp_status run_probes(xp_device *device, bool *whole) {
    const bool is_cpu = device->limits.type & CL_DEVICE_TYPE_CPU;
    xp_device *own = NULL;
    xp_status status = XP_OK;
    *whole = true;
    for (int i = 0; i < PROBES && status == XP_OK; i++) {
        if (probes[i].of_cpu != is_cpu) continue;
        if (!own) XP_TRY(xp_device_clone(&own, device));
        status = probes[i].find(own);
        take(device, own);
        if (own->probe_failed) *whole = false, xp_device_close(&own);
    }
    xp_device_close(&own);
    return status;
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

static const char record_name[] = "findings.json";
enum { FORMAT = 2, KEY_BYTES = 400, VERSION_BYTES = 17 };

static void device_key(const xp_device *device, const char *platform, char key[KEY_BYTES]) {
    snprintf(key, KEY_BYTES, "%s | %s | %s", device->name, device->driver, platform);
}

/* Of the library, its probes, and what the processor has: machines of one name may share the record. Empty if the text
 * of a probe is missing. */
static void version_of_probes(char version[VERSION_BYTES]) {
    static const char *const files[] = {"probe", "probe_wgmma", "peak"};
    unsigned long long parts[1 + sizeof files / sizeof *files] = {
        XXH64(XP_VERSION, strlen(XP_VERSION), 2 * FORMAT + xp_bf16_instruction_exists())};
    version[0] = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (xp_program_version(files[i], &parts[1 + i]) != XP_OK) return;
    snprintf(version, VERSION_BYTES, "%016llx", (unsigned long long)XXH64(parts, sizeof parts, 0));
}

static json_t *entry_of(const xp_device *device, const char *version) {
    return json_pack("{s:s,s:b,s:s,s:I,s:I,s:i,s:b}", "version", version, "many_registers",
                     *device->register_option != 0, "matrix", xp_matrix_name(device->matrix), "wgmma_bytes",
                     (json_int_t)device->wgmma_bytes, "static_local_bytes",
                     (json_int_t)device->limits.static_local_bytes, "lanes", (int)device->limits.lanes,
                     "bf16_instruction", device->limits.bf16_instruction);
}

/* A number of bytes from `least` to 1 MiB, more than any local memory so far; false: it is none. */
static bool read_bytes(const json_t *entry, const char *name, size_t least, size_t *out) {
    const json_t *value = json_object_get(entry, name);
    const json_int_t bytes = json_integer_value(value);
    *out = (size_t)bytes;
    return json_is_integer(value) && bytes >= (json_int_t)least && (bytes <= 1 << 20 || *out == least);
}

/* False, and nothing taken: an entry of another version, or damaged. */
static bool believe(xp_device *device, const json_t *entry, const char *version) {
    const char *written_by = json_string_value(json_object_get(entry, "version")),
               *matrix = json_string_value(json_object_get(entry, "matrix"));
    const json_t *many_registers = json_object_get(entry, "many_registers"),
                 *bf16_instruction = json_object_get(entry, "bf16_instruction");
    xp_device found = {.register_option = json_is_true(many_registers) ? xp_register_option : "",
                       .matrix = XP_MATRICES,
                       .limits = {.lanes = (unsigned)json_integer_value(json_object_get(entry, "lanes")),
                                  .bf16_instruction = json_is_true(bf16_instruction)}};
    if (!*version || !written_by || strcmp(written_by, version) != 0 || !matrix) return false;
    for (int m = XP_MATRIX_NONE; m < XP_MATRICES; m++)
        if (m != XP_MATRIX_EMULATED && strcmp(matrix, xp_matrix_name((xp_matrix)m)) == 0) found.matrix = (xp_matrix)m;
    if (found.matrix == XP_MATRICES || !json_is_boolean(many_registers) || !json_is_boolean(bf16_instruction) ||
        (found.limits.bf16_instruction && !xp_bf16_instruction_exists()) ||
        (found.limits.lanes != 8 && found.limits.lanes != 16) ||
        !read_bytes(entry, "wgmma_bytes", 0, &found.wgmma_bytes) ||
        !read_bytes(entry, "static_local_bytes", device->limits.local_bytes, &found.limits.static_local_bytes))
        return false;
    take(device, &found);
    return true;
}

xp_status xp_findings_make(xp_device *device, const char *platform, bool lanes_wanted, bool anew) {
    if (device->limits.type & CL_DEVICE_TYPE_CPU && !lanes_wanted) return XP_OK; /* there is nothing to find */
    char key[KEY_BYTES], version[VERSION_BYTES];
    json_t *all = NULL;
    bool whole = false;
    device_key(device, platform, key);
    version_of_probes(version);
    XP_TRY(xp_record_load(record_name, &all));
    xp_status status = XP_OK;
    if (anew || !believe(device, json_object_get(all, key), version)) {
        status = run_probes(device, &whole);
        if (status == XP_OK && whole && *version) xp_record_store(record_name, all, key, entry_of(device, version));
    }
    json_decref(all);
    return status;
}
