/* expanse doctor: what a device can really do. Owns the printing; each probe runs in a child process: a driver that
 * crashes or hangs takes one probe with it, not the doctor. What is probed and what it means is in src/device/probe.c.
 */
#include "child.h"
#include "command.h"

#include "device/probe.h"

#include <jansson.h>
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

/* As wide as the text looks: "µ" is two bytes. */
static void print_padded(const char *text, int width) {
    int length = 0;
    for (const char *c = text; *c; c++) length += ((unsigned char)*c & 0xc0) != 0x80;
    printf("%s%*s  ", text, length < width ? width - length : 0, "");
}

static void print_line(const char *what, const char *works, const char *figure, const char *meaning) {
    print_padded(what, 27);
    print_padded(works, 5);
    print_padded(figure, 60);
    printf("%s\n", meaning);
    fflush(stdout);
}

static json_t *in_json(const xp_probe *probe, const xp_probe_result *result) {
    static const char *const needs[] = {"needed", "useful", "unused", "hidden"};
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:f, s:s}", "probe", probe->name, "what", probe->title, "need",
                     needs[probe->need], "works", result->works, "figure", result->figure, "value", result->value,
                     "meaning", result->meaning);
}

/* Breaks the paragraph into lines. */
static void print_paragraph(const char *text) {
    enum { WIDTH = 100 };
    for (int column = 0; *text;) {
        int length = (int)strcspn(text, " ");
        if (column > 0 && column + 1 + length > WIDTH) {
            printf("\n");
            column = 0;
        }
        column += printf("%s%.*s", column ? " " : "", length, text);
        text += length + (text[length] == ' ');
    }
    printf("\n");
}

static int run_all(const char *device, const char *only, double seconds, bool json) {
    xp_probe_result *results = calloc((size_t)xp_probe_count, sizeof *results);
    json_t *list = json_array();
    char verdict[1536] = "";
    bool fit = false;
    xp_status status = results ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for the answers");
    if (!json) print_line("what", "works", "figure", "what it means");
    for (int i = 0; i < xp_probe_count && status == XP_OK; i++) {
        const xp_probe *probe = &xp_probes[i];
        if (only ? strcmp(probe->name, only) != 0 : probe->need == XP_PROBE_HIDDEN) continue;
        status = ask(probe, device, seconds, &results[i]);
        if (status != XP_OK) break;
        json_array_append_new(list, in_json(probe, &results[i]));
        if (!json) print_line(probe->title, results[i].works ? "yes" : "no", results[i].figure, results[i].meaning);
        fit = results[i].works;
        if (i == 0 && !fit && !only) break; /* the others would say the same */
    }
    if (status == XP_OK && !only) fit = xp_probe_verdict(results, verdict, sizeof verdict);
    if (status == XP_OK && !only && !results[0].works)
        snprintf(verdict, sizeof verdict, "Not fit for training: %s.", results[0].figure);
    if (status == XP_OK && json) {
        json_t *all = json_pack("{s:b, s:s, s:O}", "fit", fit, "verdict", verdict, "probes", list);
        if (!all || json_dumpf(all, stdout, JSON_INDENT(2)) != 0)
            status = xp_fail(XP_IO_ERROR, "the answers cannot be written");
        json_decref(all);
        printf("\n");
    } else if (status == XP_OK && !only) {
        printf("\n");
        print_paragraph(verdict);
    }
    json_decref(list);
    free(results);
    if (status != XP_OK) return xp_command_fail();
    return fit ? XP_EXIT_OK : XP_EXIT_FAILURE;
}

int xp_command_doctor(int count, char **words) {
    if (count == 3 && strcmp(words[0], CHILD_WORD) == 0) return answer_as_child(words[1], words[2]);
    const char *device = "", *only = NULL;
    long seconds = 120;
    bool json = false;
    const xp_flag flags[] = {
        {"--device", "ID", "id, part of a name, 'gpu' or 'cpu'; default: the first GPU, else the first CPU",
         .text = &device},
        {"--only", "PROBE", "this probe alone, by its name in the JSON", .text = &only},
        {"--limit", "SECONDS", "for each probe; one that takes longer counts as hanging (120)", .number = &seconds},
        {"--json", NULL, "the answers as JSON", .on = &json},
    };
    const xp_usage usage = {
        .name = "doctor",
        .synopsis = "[flags]",
        .description =
            "Compiles and runs small kernels, each in a process of its own, and tells what works, what does\n"
            "not, and what it means for training. Exits with 0 when the device is fit.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .example = "  expanse doctor --device gpu\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (seconds < 1 || seconds > 3600) return xp_command_misuse("--limit: %ld is not between 1 and 3600", seconds);
    if (only && !xp_probe_find(only))
        return xp_command_misuse("--only: there is no probe '%s'; --json names them", only);
    return run_all(device, only, (double)seconds, json);
}
