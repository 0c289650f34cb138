/* expanse doctor: what a device can really do. Owns the printing; each probe runs in a child process: a driver that
 * crashes or hangs takes one probe with it, not the doctor. What is probed and what it means is in src/device/probe.c.
 */
#include "child.h"
#include "command.h"
#include "table.h"

#include "device/cache.h"
#include "device/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHILD_WORD "--child"

/* ---- a child ----------------------------------------------------------------------------------------------------- */

static int answer_as_child(const char *name, const char *device) {
    const xp_probe *probe = xp_probe_find(name);
    xp_probe_result result;
    if (!probe) return XP_EXIT_USAGE;
    xp_probe_run(probe, device, &result);
    return xp_child_answer(&result, sizeof result) ? XP_EXIT_OK : XP_EXIT_FAILURE;
}

static xp_status ask(const xp_probe *probe, const char *device, double seconds, xp_probe_result *out) {
    const char *const words[] = {"doctor", CHILD_WORD, probe->name, device, NULL};
    const char *const environment[] = {"EXPANSE_CACHE_DIR", "", NULL}; /* a probe compiles */
    xp_child child;
    XP_TRY(xp_child_run(words, environment, seconds, &child));
    if (child.answered && child.length == sizeof *out)
        memcpy(out, child.answer, sizeof *out);
    else
        xp_probe_failed(probe, child.reason, out);
    free(child.answer);
    return XP_OK;
}

/* ---- the round --------------------------------------------------------------------------------------------------- */

static const xp_column columns[] = {
    {"probe", NULL, XP_CELL_TEXT},
    {"what", "what", XP_CELL_TEXT, .width = 27},
    {"need", NULL, XP_CELL_TEXT},
    {"works", "works", XP_CELL_TRUTH, .width = 5},
    {"figure", "figure", XP_CELL_TEXT, .width = 30},
    {"value", NULL, XP_CELL_REAL},
    {"meaning", "what it means", XP_CELL_TEXT, .width = 32},
};

static void add_row(xp_table *table, const xp_probe *probe, const xp_probe_result *result) {
    static const char *const needs[] = {"needed", "useful", "unused", "hidden"};
    const xp_cell cells[] = {{.text = probe->name},    {.text = probe->title},   {.text = needs[probe->need]},
                             {.truth = result->works}, {.text = result->figure}, {.real = result->value},
                             {.text = result->meaning}};
    xp_table_row(table, cells);
}

static int run_all(const char *device, const char *only, double seconds, xp_table_format format) {
    xp_probe_result *results = calloc((size_t)xp_probe_count, sizeof *results);
    char verdict[1536] = "";
    bool fit = false;
    xp_table table;
    xp_status status = results ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for the results");
    xp_table_open(&table, stdout, format, columns, sizeof columns / sizeof *columns, "probes");
    for (int i = 0; i < xp_probe_count && status == XP_OK; i++) {
        const xp_probe *probe = &xp_probes[i];
        if (only ? strcmp(probe->name, only) != 0 : probe->need == XP_PROBE_HIDDEN) continue;
        status = ask(probe, device, seconds, &results[i]);
        if (status != XP_OK) break;
        add_row(&table, probe, &results[i]);
        fit = results[i].works;
        if (i == 0 && !fit && !only) break; /* the others would say the same */
    }
    if (status == XP_OK && !only) {
        fit = xp_probe_verdict(results, verdict, sizeof verdict);
        if (!results[0].works) snprintf(verdict, sizeof verdict, "Not fit for training: %s.", results[0].reason);
        xp_table_note(&table, "%s", "");
        xp_table_note(&table, "%s", verdict);
        if (xp_cache_check() != XP_OK) {
            xp_table_note(&table, "%s", "");
            xp_table_note(&table, "Nothing can be cached: %s.", xp_last_error());
        }
    }
    xp_table_fact(&table, "fit", json_boolean(fit));
    xp_table_fact(&table, "verdict", xp_table_text(verdict));
    status = xp_table_close(&table, status);
    free(results);
    if (status != XP_OK) return xp_command_end(status);
    return fit ? XP_EXIT_OK : XP_EXIT_FAILURE;
}

int xp_command_doctor(int count, char **words) {
    if (count == 3 && strcmp(words[0], CHILD_WORD) == 0) return answer_as_child(words[1], words[2]);
    const char *device = "", *only = NULL;
    long seconds = 120;
    int format = XP_TABLE_TEXT;
    const xp_flag flags[] = {
        XP_DEVICE_FLAG(&device),
        {"--only", "PROBE", "only this probe, by its name in the JSON (all)", .text = &only},
        {"--timeout", "SECONDS", "time limit of a probe; a probe that takes longer counts as hanging",
         .number = &seconds, .lowest = 1, .highest = 3600},
        XP_TABLE_FORMAT_FLAG(&format),
    };
    const xp_usage usage = {.name = "doctor",
                            .synopsis = "[flags]",
                            .description = "Compiles and runs small kernels, each in its own process, and prints what "
                                           "works, what does not, and what this means for training. Exits with 0 if\n"
                                           "the device is fit for training.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof flags[0],
                            .example = "  expanse doctor --device gpu\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (only && !xp_probe_find(only))
        return xp_command_misuse("--only: there is no probe '%s'; -o json lists the names", only);
    return run_all(device, only, (double)seconds, (xp_table_format)format);
}
