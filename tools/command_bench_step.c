/* `expanse bench step` and `bench kernels`: whole training steps of an encoder on one synthetic batch, and the kernels
 * of such a step one by one. With --dry-run a step is planned and not timed, for training and for inference. With
 * --on-request the number of steps comes from lines on stdin, so that a peer can be timed in turn. */
#include "bench.h"
#include "command.h"

#include "synthetic.h"
#include "train/safetensors.h"

#include <expanse/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct timing {
    xp_synthetic_flags flags;
    xp_synthetic_setup setup;
    const char *device, *family, *save;
    int format;
    long repetitions;
    bool on_request, profile, dry_run;
    xp_synthetic run;
} timing;

/* Initial parameters and the batch, for a peer to start from the same point. */
static xp_status save_start(xp_session *session, const xp_dataset *batch, const char *path) {
    xp_safetensors set = {0};
    const xp_store *store = session->store;
    float **values = calloc((size_t)store->count, sizeof *values);
    int64_t *labels = malloc((size_t)batch->count * sizeof *labels);
    float *samples = malloc((size_t)(batch->count * batch->sample_elements) * sizeof *samples);
    xp_status status = values && labels && samples ? XP_OK : XP_OUT_OF_MEMORY;
    for (int i = 0; i < store->count && status == XP_OK; i++) {
        const xp_parameter *parameter = &store->parameters[i];
        values[i] = malloc((size_t)parameter->elements * sizeof **values);
        status = values[i] ? xp_store_read(session->store, XP_STORE_VALUES, i, values[i]) : XP_OUT_OF_MEMORY;
        if (status == XP_OK)
            status = xp_safetensors_add(&set, parameter->name, XP_SAFETENSORS_F32, parameter->rank, parameter->shape,
                                        values[i]);
    }
    for (int64_t b = 0; b < batch->count && status == XP_OK; b++) {
        labels[b] = batch->labels[b];
        status = xp_dataset_read(batch, b, samples + b * batch->sample_elements);
    }
    int64_t shape[1 + XP_SAMPLE_RANK] = {batch->count};
    const int rank = 1 + batch->kind->shape(batch, shape + 1);
    char name[32];
    snprintf(name, sizeof name, "batch.%s", batch->kind->name);
    if (status == XP_OK) status = xp_safetensors_add(&set, name, XP_SAFETENSORS_F32, rank, shape, samples);
    if (status == XP_OK)
        status = xp_safetensors_add(&set, "batch.labels", XP_SAFETENSORS_I64, 1, &batch->count, labels);
    if (status == XP_OK) status = xp_safetensors_write(&set, path);
    xp_safetensors_release(&set);
    for (int i = 0; values && i < store->count; i++) free(values[i]);
    free(values);
    free(labels);
    free(samples);
    return status;
}

static xp_status print_steps(timing *t, xp_bench_table *table) {
    double times[XP_BENCH_REPETITIONS], loss = 0, warm;
    XP_TRY(xp_synthetic_run(&t->run, 2, &warm, &loss));
    for (long i = 0; i < t->repetitions; i++) XP_TRY(xp_synthetic_run(&t->run, 1, &times[i], &loss));
    xp_plan_summary summary;
    xp_session_summarise(&t->run.session, &summary);
    xp_bench_row row = {.name = t->setup.config.model.attention,
                        .seconds = times,
                        .repetitions = (int)t->repetitions,
                        .flops = summary.flops,
                        .bytes = summary.bytes,
                        .arena_bytes = (double)summary.arena_bytes,
                        .unbounded = xp_bench_on_units(t->run.session.device, t->setup.config.training.precision)};
    xp_synthetic_describe(&t->setup, row.shape, sizeof row.shape);
    xp_bench_table_row(table, &row);
    return XP_OK;
}

/* One row for each variant of each kernel, the sum of its launches in one step, by the device's clock. */
static xp_status print_kernels(timing *t, xp_bench_table *table) {
    enum { MOST = 256 };
    xp_plan *plan = t->run.session.training_plan;
    xp_profile_row *rows = calloc(MOST, sizeof *rows);
    double *times = calloc((size_t)(MOST * t->repetitions), sizeof *times), loss, wall;
    xp_status status = rows && times ? xp_synthetic_run(&t->run, 2, &wall, &loss) : XP_OUT_OF_MEMORY;
    int count = 0;
    for (long i = 0; i < t->repetitions && status == XP_OK; i++) {
        xp_plan_forget_profile(plan);
        status = xp_synthetic_run(&t->run, 1, &wall, &loss);
        count = xp_plan_profile(plan, true, rows, MOST);
        for (int r = 0; r < count; r++) times[r * t->repetitions + i] = rows[r].seconds;
    }
    for (int r = 0; r < count && status == XP_OK; r++) {
        xp_bench_row row = {.name = rows[r].name,
                            .variant = rows[r].variant,
                            .seconds = times + r * t->repetitions,
                            .repetitions = (int)t->repetitions,
                            .flops = rows[r].flops,
                            .bytes = rows[r].bytes,
                            .unbounded = xp_bench_on_units(t->run.session.device, t->setup.config.training.precision)};
        snprintf(row.shape, sizeof row.shape, "%d launches per step",
                 rows[r].launches * t->run.config.training.accumulate);
        xp_bench_table_row(table, &row);
    }
    free(rows);
    free(times);
    return status;
}

static xp_status answer_requests(timing *t) {
    char line[64];
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        double seconds, loss;
        int count = atoi(line);
        if (count < 1) return xp_fail(XP_INVALID_ARGUMENT, "\"%.20s\" is not a number of steps", line);
        XP_TRY(xp_synthetic_run(&t->run, count, &seconds, &loss));
        printf("%.6f %.9g\n", seconds, loss);
        fflush(stdout);
    }
    return XP_OK;
}

/* ---- plans alone ------------------------------------------------------------------------------------------------- */

static xp_status plan_phase(timing *t, bool training, const xp_device_options *options, xp_table *table) {
    xp_plan_summary summary;
    char shape[128];
    xp_synthetic_close(&t->run);
    XP_TRY(xp_synthetic_plan(&t->run, &t->setup.config, &t->setup.shape, options, training));
    const xp_session *session = &t->run.session;
    if (training)
        xp_session_summarise(session, &summary);
    else
        xp_plan_summarise(session->evaluation_plan, &summary);
    xp_synthetic_describe(&t->setup, shape, sizeof shape);
    xp_table_row(table, (xp_cell[]){{.text = t->setup.config.model.attention},
                                    {.text = shape},
                                    {.text = training ? "training" : "inference"},
                                    {.whole = session->store->trainable_count},
                                    {.whole = summary.launches},
                                    {.real = summary.flops},
                                    {.real = summary.bytes},
                                    {.real = (double)xp_session_bytes(session)},
                                    {.real = (double)xp_session_arena_bytes(session)},
                                    {.text = session->device->name},
                                    {.text = session->device->driver},
                                    {.text = XP_VERSION}});
    return XP_OK;
}

static xp_status plan_steps(timing *t, const xp_device_options *options) {
    static const xp_column columns[] = {
        {"attention", "", XP_CELL_TEXT},
        {"shape", "shape", XP_CELL_TEXT},
        {"phase", "phase", XP_CELL_TEXT},
        {"parameters", "parameters", XP_CELL_WHOLE},
        {"launches", "launches", XP_CELL_WHOLE},
        {"flops", "MFLOP", XP_CELL_REAL, .digits = 2, .scale = 1e-6},
        {"moved_bytes", "MiB moved", XP_CELL_REAL, .digits = 2, .scale = XP_MIB},
        {"memory_bytes", "memory MiB", XP_CELL_REAL, .digits = 2, .scale = XP_MIB},
        {"arena_bytes", "arena MiB", XP_CELL_REAL, .digits = 2, .scale = XP_MIB},
        {"device", NULL, XP_CELL_TEXT},
        {"driver", NULL, XP_CELL_TEXT},
        {"version", NULL, XP_CELL_TEXT},
    };
    xp_table table;
    xp_table_open(&table, stdout, t->format, columns, sizeof columns / sizeof *columns, NULL);
    xp_status status = plan_phase(t, true, options, &table);
    if (status == XP_OK) status = plan_phase(t, false, options, &table);
    return xp_table_close(&table, status);
}

static xp_status time_steps(timing *t, bool kernels) {
    xp_bench_table table;
    const xp_device_options options = {.size = sizeof(xp_device_options),
                                       .select = t->device,
                                       .family = t->family,
                                       .profiling = t->profile || kernels};
    if (t->dry_run) return plan_steps(t, &options);
    XP_TRY(xp_synthetic_open(&t->run, &t->setup.config, &t->setup.shape, &options));
    xp_bench_tell(t->run.session.training_plan);
    if (*t->setup.assumed) fprintf(stderr, "%s\n", t->setup.assumed);
    if (t->save) XP_TRY(save_start(&t->run.session, t->run.batch, t->save));
    if (t->on_request) return answer_requests(t);
    XP_TRY(xp_bench_table_open(&table, t->format, t->run.session.device));
    const xp_status status = xp_bench_table_close(&table, kernels ? print_kernels(t, &table) : print_steps(t, &table));
    if (status != XP_OK || !t->profile) return status;
    return xp_session_print_profile(&t->run.session, t->format == XP_TABLE_TEXT ? stdout : stderr);
}

static int command(bool kernels, int count, char **words) {
    timing t = {.flags = XP_SYNTHETIC_NO_FLAGS, .repetitions = 10};
    const xp_flag flags[] = {
        XP_SYNTHETIC_FLAGS(t.flags),
        {"--repetitions", "N", "timed steps", .number = &t.repetitions, .lowest = 1, .highest = XP_BENCH_REPETITIONS},
        XP_DEVICE_FLAG(&t.device),
        XP_FAMILY_FLAG(&t.family),
        XP_TABLE_FORMAT_FLAG(&t.format),
        {"--dry-run", NULL, "print the arithmetic and memory of training and inference by their plans; run nothing",
         .on = &t.dry_run},
        {"--save-start", "FILE", "write the initial parameters and the batch as safetensors", .text = &t.save},
        {"--on-request", NULL, "read numbers of steps from standard input and print \"seconds loss\" for each",
         .on = &t.on_request},
        {"--profile", NULL, "print a table of kernel times", .on = &t.profile},
    };
    const int step_alone = 4;
    const xp_usage usage = {
        .name = kernels ? "bench kernels" : "bench step",
        .synopsis = "[flags]",
        .description =
            kernels
                ? "Times each kernel variant of a training step by the clock of the device.\n" XP_SYNTHETIC_DESCRIPTION
                : "Times whole training steps (forward, backward, optimiser) on one synthetic "
                  "batch.\n" XP_SYNTHETIC_DESCRIPTION,
        .flags = flags,
        .flag_count = (int)(sizeof flags / sizeof flags[0]) - (kernels ? step_alone : 0),
        .example = kernels ? "  expanse bench kernels --length 512 -o csv\n"
                           : "  expanse bench step --width 64 --heads 2 --ffn 128 --batch 32 --length 1024\n"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (xp_synthetic_configure(&t.flags, &arguments, &t.setup) != XP_OK) {
        xp_command_fail();
        return XP_EXIT_USAGE;
    }
    const xp_status status = time_steps(&t, kernels);
    xp_synthetic_close(&t.run);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}

int xp_command_bench_step(int count, char **words) {
    return command(false, count, words);
}

int xp_command_bench_kernels(int count, char **words) {
    return command(true, count, words);
}
