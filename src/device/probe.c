/* The list of probes, running one of them, and how the results are judged. The kernels are in cl/probe.cl. */
#include "device/probe.h"

#include "core/text.h"
#include "device/probe_job.h"

#include <stdio.h>
#include <string.h>

const xp_probe xp_probes[] = {
    {"open", "the device opens", XP_PROBE_NEEDED, "nothing works without it", xp_probe_open},
    {"build", "kernels compile and run", XP_PROBE_NEEDED, "nothing works without it", xp_probe_build},
    {"binary", "compiled kernels load again", XP_PROBE_USEFUL, "every start compiles all kernels", xp_probe_binary},
    {"launch", "launches", XP_PROBE_NEEDED, "nothing works without it", xp_probe_launch},
    {"local", "local memory and barriers", XP_PROBE_NEEDED, "results would be wrong", xp_probe_local},
    {"groups", "work-group sizes that run", XP_PROBE_NEEDED, "kernels need groups of 256", xp_probe_groups},
    {"sub-buffers", "sub-buffers", XP_PROBE_NEEDED, "activations cannot share an arena", xp_probe_sub_buffer},
    {"memory", "large buffers", XP_PROBE_NEEDED, "a buffer of 16 MiB does not work", xp_probe_memory},
    {"bandwidth", "memory bandwidth", XP_PROBE_NEEDED, "buffers cannot be copied", xp_probe_bandwidth},
    {"vectors", "float8 and fma", XP_PROBE_NEEDED, "results would be wrong", xp_probe_vectors},
    {"infinities", "infinities and NaN", XP_PROBE_NEEDED, "masked scores would be wrong", xp_probe_infinities},
    {"integers", "Philox and wide products", XP_PROBE_NEEDED, "no dropout", xp_probe_integers},
    {"functions", "exp, log, tanh", XP_PROBE_NEEDED, "results would be wrong", xp_probe_functions},
    {"events", "profiling events", XP_PROBE_USEFUL, "--profile and --time are not reliable", xp_probe_events},
    {"half-storage", "fp16 in memory", XP_PROBE_USEFUL, "--precision fp16 is not reliable", xp_probe_half_storage},
    {"half", "fp16 arithmetic", XP_PROBE_UNUSED, "no kernel uses it", xp_probe_half_arithmetic},
    {"double", "double precision", XP_PROBE_UNUSED, "no kernel uses it", xp_probe_double},
    {"sub-groups", "sub-groups", XP_PROBE_UNUSED, "no kernel uses them", xp_probe_sub_groups},
    {"bf16", "bf16 instructions of CPUs", XP_PROBE_USEFUL, "products in bf16 use others", xp_probe_bf16},
    {"matrix", "matrix units", XP_PROBE_USEFUL, "products use the ordinary units", xp_probe_matrix},
    {"wgmma", "asynchronous matrix units", XP_PROBE_USEFUL, "products use mma.sync", xp_probe_wgmma},
    {"hang", "a probe that hangs", XP_PROBE_HIDDEN, "as intended", xp_probe_hang},
    {"crash", "a probe that crashes", XP_PROBE_HIDDEN, "as intended", xp_probe_crash},
};
const int xp_probe_count = sizeof xp_probes / sizeof xp_probes[0];

const xp_probe *xp_probe_find(const char *name) {
    for (int i = 0; i < xp_probe_count; i++)
        if (strcmp(xp_probes[i].name, name) == 0) return &xp_probes[i];
    return NULL;
}

void xp_probe_failed(const xp_probe *probe, const char *reason, xp_probe_result *out) {
    *out = (xp_probe_result){0};
    const int length = (int)strcspn(reason, "\n"), room = (int)sizeof out->figure - 4;
    snprintf(out->reason, sizeof out->reason, "%.*s", length, reason);
    snprintf(out->figure, sizeof out->figure, "%.*s%s", length < room ? length : room, reason,
             length < room ? "" : "…");
    snprintf(out->meaning, sizeof out->meaning, "%s", probe->without);
}

void xp_probe_run(const xp_probe *probe, const char *select, xp_probe_result *out) {
    xp_device *device = NULL;
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = select;
    options.profiling = true;
    *out = (xp_probe_result){0};
    /* The others use what the first one found. */
    xp_status status = (probe == xp_probes ? xp_device_open_anew : xp_device_open)(&device, &options);
    if (status == XP_OK) status = probe->run(device, out);
    /* Of a build error, the compiler's first line says more than ours. */
    const char *log = status == XP_BUILD_ERROR ? strchr(xp_last_error(), '\n') : NULL;
    if (log && log[1])
        xp_probe_failed(probe, xp_probe_words("does not compile: %.60s", log + 1), out);
    else if (status != XP_OK)
        xp_probe_failed(probe, xp_last_error(), out);
    xp_device_close(&device);
}

/* ---- the verdict ------------------------------------------------------------------------------------------------- */

/* Names the probes of this need that do not work; returns how many. */
static int list_failed(char *text, size_t size, const xp_probe_result *results, xp_probe_need need) {
    int count = 0;
    for (int i = 0; i < xp_probe_count; i++)
        if (xp_probes[i].need == need && !results[i].works) {
            xp_text_add(text, size, "%s%s (%s)", count ? ", " : "", xp_probes[i].title, xp_probes[i].without);
            count++;
        }
    return count;
}

static const xp_probe_result *result_of(const xp_probe_result *results, const char *name) {
    return &results[xp_probe_find(name) - xp_probes];
}

bool xp_probe_verdict(const xp_probe_result *results, char *text, size_t size) {
    /* A small vision transformer: the figures of `train --dry-run` for vit-tiny-28. */
    enum { KERNELS = 31, LAUNCHES = 166 };
    bool fit = true;
    text[0] = 0;
    for (int i = 0; i < xp_probe_count; i++) fit = fit && (xp_probes[i].need != XP_PROBE_NEEDED || results[i].works);
    if (!fit) {
        xp_text_add(text, size, "Not fit for training: ");
        list_failed(text, size, results, XP_PROBE_NEEDED);
        xp_text_add(text, size, ". A newer driver may help; pocl-opencl-icd runs everything on the CPU.");
        return false;
    }
    xp_text_add(text, size, "Fit for training, with the %s kernels.",
                xp_family_name((xp_family)result_of(results, "open")->value));
    size_t before = strlen(text);
    xp_text_add(text, size, " Not available: ");
    if (list_failed(text, size, results, XP_PROBE_USEFUL) == 0)
        text[before] = 0;
    else
        xp_text_add(text, size, ".");
    const double build = result_of(results, "build")->value, load = result_of(results, "binary")->value;
    xp_text_add(text, size,
                " A small transformer has about %d kernels: compiling them at the first start takes %.0f s or more",
                KERNELS, build * KERNELS);
    if (result_of(results, "binary")->works)
        xp_text_add(text, size, ", loading them later about %.1f s", load * KERNELS);
    xp_text_add(
        text, size,
        ". A step has about %d launches, which take at least %.1f ms. To test whether each kernel computes correct "
        "results, run expanse check.",
        LAUNCHES, result_of(results, "launch")->value * LAUNCHES * 1e3);
    return true;
}
