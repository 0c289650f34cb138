/* Reports about a plan: sizes, launches, and the time of each kernel. */
#include "graph/plan_internal.h"

#include "core/statistics.h"
#include "core/text.h"
#include "device/peak.h"
#include "graph/operation.h"
#include "graph/store.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 100 /* characters of a table's line, at most */ };

static double flops_of(const xp_launch *launch) {
    return launch->host ? launch->request.call.flops : launch->request.kernel.flops;
}

static double bytes_of(const xp_launch *launch) {
    return launch->host ? launch->request.call.bytes : launch->request.kernel.bytes;
}

static const xp_variant *variant_of(const xp_launch *launch) {
    return launch->host ? &launch->request.call.variant : &launch->request.kernel.variant;
}

bool xp_launch_same_kernel(const xp_launch *a, const xp_launch *b) {
    if (a->host != b->host || strcmp(xp_launch_name(a), xp_launch_name(b)) != 0) return false;
    char x[1024], y[1024];
    xp_variant_print(variant_of(a), x, sizeof x);
    xp_variant_print(variant_of(b), y, sizeof y);
    return strcmp(x, y) == 0 && (a->host || strcmp(a->request.kernel.file, b->request.kernel.file) == 0);
}

/* Of a copy in the backward pass. */
static bool runs_again(const xp_launch *launch) {
    return launch->node->backward && launch->node->recomputed;
}

void xp_plan_summarise(const xp_plan *plan, xp_plan_summary *out) {
    *out = (xp_plan_summary){.launches = plan->count,
                             .arena_bytes = plan->arena_bytes,
                             .input_bytes = plan->input_bytes,
                             .unshared_bytes = plan->unshared_bytes,
                             .fused = plan->graph->fused,
                             .fused_bytes = plan->graph->fused_bytes};
    for (int i = 0; i < plan->graph->node_count; i++)
        if (plan->graph->nodes[i]->operation->emitters) out->nodes++;
    for (int i = 0; i < plan->count; i++) {
        out->flops += flops_of(&plan->launches[i]);
        out->bytes += bytes_of(&plan->launches[i]);
        if (runs_again(&plan->launches[i])) {
            out->recomputed_launches++;
            out->recomputed_flops += flops_of(&plan->launches[i]);
        }
        out->kernels += plan->launches[i].first;
    }
}

uint64_t xp_plan_variant(const xp_plan *plan) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (int i = 0; i < plan->count; i++) {
        const xp_launch *launch = &plan->launches[i];
        char options[1024];
        xp_variant_print(variant_of(launch), options, sizeof options);
        const char *texts[] = {launch->host ? "" : launch->request.kernel.file, xp_launch_name(launch), options};
        for (int t = 0; t < 3; t++)
            for (const char *c = texts[t];; c++) {
                hash = (hash ^ (unsigned char)*c) * 1099511628211u;
                if (!*c) break;
            }
        for (const char *c = variant_of(launch)->prelude; c && *c; c++)
            hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    }
    return hash;
}

/* Words, indented, in lines of at most LINE characters. */
static void print_words(FILE *out, const char *words, int indent) {
    int column = 0;
    for (const char *at = words; *at; at += strspn(at, " ")) {
        const int length = (int)strcspn(at, " ");
        if (column > 0 && column + 1 + length > LINE) {
            fputs("\n", out);
            column = 0;
        }
        column += fprintf(out, "%*s%.*s", column ? 1 : indent, "", length, at);
        at += length;
    }
    fputs("\n", out);
}

void xp_plan_print_launches(const xp_plan *plan, FILE *out) {
    fprintf(out, "%5s  %-35s %-35s %10s %10s\n", "", "layer", "kernel, sizes and options", "MFLOP", "MiB");
    for (int i = 0; i < plan->count; i++) {
        const xp_launch *launch = &plan->launches[i];
        char words[1200] = "library call ", label[XP_NAME_BYTES + 16];
        snprintf(label, sizeof label, "%s%s", launch->node->label, runs_again(launch) ? " recomputed" : "");
        if (!launch->host) {
            const xp_launch_request *r = &launch->request.kernel;
            words[0] = '\0';
            for (int local = 0; local < 2; local++)
                for (int d = 0; d < r->dimensions; d++)
                    xp_text_add(words, sizeof words, "%s%zu%s",
                                d       ? "x"
                                : local ? "of "
                                        : "",
                                local ? r->local[d] : r->global[d], d + 1 < r->dimensions ? "" : " ");
        }
        const size_t used = strlen(words);
        xp_variant_print(variant_of(launch), words + used, sizeof words - used);
        fprintf(out, "%5d  %-35.35s %-35.35s %10.2f %10.2f\n", i, label, xp_launch_name(launch),
                flops_of(launch) * 1e-6, bytes_of(launch) / (1 << 20));
        print_words(out, words, 7);
    }
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

xp_status xp_plan_run_profiled(xp_plan *plan) {
    cl_event *events = calloc((size_t)plan->count + 1, sizeof *events);
    if (!events) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %d profiling events", plan->count);
    xp_status status = XP_OK;
    int done = 0;
    for (; done < plan->count && status == XP_OK; done++) {
        xp_launch *launch = &plan->launches[done];
        status = xp_launch_enqueue(plan, launch, plan->device->queue, true, 0, NULL, &events[done]);
    }
    if (status == XP_OK) {
        cl_int code = clFinish(plan->device->queue);
        if (code != CL_SUCCESS) status = xp_cl_fail(code, "clFinish");
    }
    uint64_t begin = 0, previous = 0;
    xp_launch *untimed = NULL; /* a library call after `previous` whose event has no times */
    for (int i = 0; i < done && status == XP_OK; i++) {
        uint64_t start, end;
        if (!xp_device_event_times(events[i], &start, &end) || end < previous) {
            if (plan->launches[i].host) untimed = &plan->launches[i];
            continue;
        }
        if (begin == 0) begin = previous = start;
        if (untimed && start > previous) {
            untimed->seconds += (double)(start - previous) * 1e-9;
            untimed->calls++;
        }
        untimed = NULL;
        if (plan->launches[i].host) start = previous;
        plan->launches[i].seconds += (double)(end - start) * 1e-9;
        plan->launches[i].calls++;
        previous = end;
    }
    if (status == XP_OK) {
        plan->profiled_seconds += (double)(previous - begin) * 1e-9;
        plan->profiled_runs++;
    }
    for (int i = 0; i < done; i++)
        if (events[i]) clReleaseEvent(events[i]);
    free(events);
    return status;
}

void xp_plan_forget_profile(xp_plan *plan) {
    for (int i = 0; i < plan->count; i++) {
        plan->launches[i].seconds = 0;
        plan->launches[i].calls = 0;
    }
    plan->profiled_seconds = 0;
    plan->profiled_runs = 0;
}

xp_status xp_plan_time(xp_plan *plan, int runs, double *seconds) {
    enum { MOST = 64 };
    double times[MOST];
    if (runs < 1 || runs > MOST) return xp_fail(XP_INVALID_ARGUMENT, "%d timed runs: between 1 and %d", runs, MOST);
    for (int r = 0; r < runs; r++) {
        xp_plan_forget_profile(plan);
        XP_TRY(xp_plan_run_profiled(plan));
        times[r] = 0;
        for (int i = 0; i < plan->count; i++) times[r] += plan->launches[i].seconds;
    }
    xp_plan_forget_profile(plan);
    *seconds = xp_median(times, runs);
    return XP_OK;
}

int xp_plan_profile(const xp_plan *plan, bool by_variant, xp_profile_row *rows, int room) {
    const xp_launch **firsts = calloc((size_t)room + 1, sizeof *firsts);
    int count = 0;
    for (int i = 0; firsts && i < plan->count; i++) {
        const xp_launch *launch = &plan->launches[i];
        int r = 0;
        while (r < count && (by_variant ? !xp_launch_same_kernel(firsts[r], launch)
                                        : strcmp(rows[r].name, xp_launch_name(launch)) != 0))
            r++;
        if (r == room) continue;
        if (r == count) {
            firsts[count] = launch;
            rows[count] = (xp_profile_row){.name = xp_launch_name(launch)};
            xp_variant_print(variant_of(launch), rows[count].variant, sizeof rows[count].variant);
            count++;
        }
        rows[r].launches++;
        rows[r].seconds += launch->seconds;
        rows[r].flops += flops_of(launch) * (double)launch->calls;
        rows[r].bytes += bytes_of(launch) * (double)launch->calls;
    }
    free(firsts);
    return count;
}

int xp_plan_tunings(xp_plan *plan, const xp_plan_tuned **out) {
    for (int t = 0; t < plan->tuned_count; t++) plan->tuned[t].seconds = 0;
    for (int i = 0; i < plan->count; i++) {
        const xp_launch *launch = &plan->launches[i];
        const int handles[] = {variant_of(launch)->tuning, launch->host ? launch->request.call.chosen_by : 0};
        for (int h = 0; h < 2; h++)
            if (handles[h]) plan->tuned[handles[h] - 1].seconds += launch->seconds;
    }
    *out = plan->tuned;
    return plan->tuned_count;
}

static int by_seconds(const void *a, const void *b) {
    double x = ((const xp_profile_row *)a)->seconds, y = ((const xp_profile_row *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

double xp_plan_profiled_seconds(const xp_plan *plan) {
    return plan->profiled_seconds;
}

xp_status xp_plan_print_profile(xp_plan *plan, FILE *out) {
    if (plan->profiled_runs == 0)
        return xp_fail(XP_INVALID_ARGUMENT, "no step was profiled: open the device with profiling");
    if (plan->profiled_seconds <= 0) {
        fprintf(out, "no profile: %s reports no times for its commands\n", plan->device->name);
        return XP_OK;
    }
    xp_peak peak;
    const bool known = xp_peak_of(plan->device, &peak) == XP_OK; /* a full device may have no room to measure it */
    xp_profile_row *rows = calloc((size_t)plan->count + 1, sizeof *rows);
    if (!rows) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the profile");
    const int count = xp_plan_profile(plan, false, rows, plan->count);
    qsort(rows, (size_t)count, sizeof *rows, by_seconds);
    const double runs = (double)plan->profiled_runs;
    double total = 0, recomputed = 0;
    int copies = 0;
    for (int i = 0; i < plan->count; i++) {
        if (!runs_again(&plan->launches[i])) continue;
        recomputed += plan->launches[i].seconds;
        copies++;
    }
    fprintf(out, "%-36s %8s %10s %7s %10s %8s %8s\n", "kernel", "launches", "ms", "share", "GFLOP/s", "GB/s",
            "of peak");
    for (int i = 0; i < count; i++) {
        const xp_profile_row *r = &rows[i];
        const double giga = r->seconds > 0 ? 1e-9 / r->seconds : 0; /* a driver may know no times of one kernel */
        total += r->seconds;
        fprintf(out, "%-36.36s %8d %10.3f %6.1f%% %10.1f %8.1f %7.0f%%\n", r->name, r->launches,
                r->seconds / runs * 1e3, 100 * r->seconds / plan->profiled_seconds, r->flops * giga, r->bytes * giga,
                known ? 100 * xp_peak_share(&peak, r->flops, r->bytes, r->seconds) : 0);
    }
    fprintf(out, "%-36s %8d %10.3f %6.1f%%\n", "idle between launches", plan->count,
            (plan->profiled_seconds - total) / runs * 1e3, 100 * (1 - total / plan->profiled_seconds));
    if (copies)
        fprintf(out, "%-36s %8d %10.3f %6.1f%%   part of the rows above\n", "recomputed activations", copies,
                recomputed / runs * 1e3, 100 * recomputed / plan->profiled_seconds);
    fprintf(out, "%-36s %8d %10.3f %7s   per step, %lld steps\n", "all", plan->count,
            plan->profiled_seconds / runs * 1e3, "", (long long)plan->profiled_runs);
    free(rows);
    fflush(out); /* what was measured must not be lost to a crash of a driver that closes */
    return XP_OK;
}
