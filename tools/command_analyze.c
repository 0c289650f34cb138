/* expanse analyze: how much the heads of a trained model differ, layer by layer. */
#include "command.h"

#include "core/files.h"
#include "core/text.h"
#include "live.h"
#include "table.h"
#include "train/analyze.h"

#include <math.h>
#include <stdio.h>

static xp_status print_table(const xp_analysis *analysis, const char *model, const char *data, xp_table_format format) {
    static const xp_column columns[] = {{"layer", "layer", XP_CELL_WHOLE},
                                        {"heads", "heads", XP_CELL_WHOLE},
                                        {"map_distance", "map distance", XP_CELL_REAL, .digits = 5},
                                        {"output_distance", "output distance", XP_CELL_REAL, .digits = 5},
                                        {"effective_keys", "effective keys", XP_CELL_REAL, .digits = 2},
                                        {"most_attended", "most attended", XP_CELL_TEXT},
                                        {"bn_mean", "BN mean", XP_CELL_REAL, .digits = 4},
                                        {"bn_deviation", "BN deviation", XP_CELL_REAL, .digits = 4}};
    double maps = 0, outputs = 0;
    xp_table table;
    xp_table_open(&table, stdout, format, columns, sizeof columns / sizeof *columns, "layers");
    xp_table_fact_text(&table, "model", model);
    xp_table_fact_text(&table, "attention", analysis->attention);
    xp_table_fact_text(&table, "data", data);
    xp_table_fact(&table, "samples", json_integer(analysis->samples));
    xp_table_note(&table, "%s, %lld samples; the larger the distance, the less redundant the heads",
                  analysis->attention, (long long)analysis->samples);
    if (format == XP_TABLE_TEXT) xp_table_note(&table, "%s", "");
    for (int i = 0; i < analysis->layer_count; i++) {
        const xp_layer_analysis *layer = &analysis->layers[i];
        char most[64] = "";
        for (int k = 0; k < XP_MOST_ATTENDED && layer->most_attended[k] >= 0; k++)
            xp_text_add(most, sizeof most, "%s%d", k ? ", " : "", layer->most_attended[k]);
        xp_table_row(&table, (xp_cell[]){{.whole = layer->layer},
                                         {.whole = analysis->heads},
                                         {.real = layer->map_distance},
                                         {.real = layer->output_distance},
                                         {.real = layer->effective_keys},
                                         {.text = *most ? most : NULL},
                                         {.real = layer->mean},
                                         {.real = layer->deviation}});
        maps += layer->map_distance / analysis->layer_count;
        outputs += layer->output_distance / analysis->layer_count;
    }
    if (analysis->layer_count > 1 && isfinite(outputs)) {
        xp_table_note(&table, "%s", "");
        if (isfinite(maps)) xp_table_note(&table, "mean map distance %.5f", maps);
        xp_table_note(&table, "mean output distance %.5f", outputs);
    }
    return xp_table_close(&table, XP_OK);
}

static int report(const xp_analysis *analysis, const char *model, const char *data, xp_table_format format,
                  const char *out, bool quiet) {
    if (print_table(analysis, model, data, format) != XP_OK) return xp_command_fail();
    if (!out) return XP_EXIT_OK;
    if (xp_analysis_write(analysis, out, model, data) != XP_OK) return xp_command_fail();
    if (!quiet) fprintf(stderr, "analysis.json and attention.svg in %s\n", out);
    return XP_EXIT_OK;
}

int xp_command_analyze(int count, char **words) {
    const char *data = NULL, *part = NULL, *device = NULL, *family = NULL, *out = NULL;
    long limit = 0, batch = 0, layer = -1;
    int format = XP_TABLE_TEXT;
    bool quiet = false, trust_code = false;
    const xp_flag flags[] = {
        {"--data", "FILE", "the data set; -: standard input (required)", .text = &data},
        XP_PART_FLAG(&part),
        {"--limit", "N",
         "use only N samples: equally many of each class; of a text the first, of a table the latest (all)",
         .number = &limit},
        {"--layer", "L", "only this layer, counted from 0 (all)", .number = &layer},
        {"--out", "DIR", "folder for analysis.json and attention.svg, which must not exist yet", .text = &out},
        XP_DEVICE_FLAG(&device),
        XP_FAMILY_FLAG(&family),
        {"--batch", "N", "samples per step (as in training, or fewer if the maps are large)", .number = &batch,
         .highest = 65536},
        XP_TRUST_FLAG(&trust_code),
        XP_TABLE_FORMAT_FLAG(&format),
        {"--quiet", NULL, "no progress line", .on = &quiet},
    };
    const xp_usage usage = {
        .name = "analyze",
        .synopsis = "RUN --data FILE [--out DIR] [flags]",
        .description =
            "Prints for each layer how much its heads differ: the mean L2 distance between two heads, for\n"
            "their attention maps and for their outputs. The distance is the root of the mean squared\n"
            "difference of the entries, averaged over all pairs of heads and over the samples. Padding is\n"
            "excluded, and the weight of a pooled key is divided equally among the rows that it averages.\n"
            "Effective keys is the exponential of the entropy of a query's weights, averaged: the number\n"
            "of keys that act as support vectors. Most attended are the rows with the largest weights as\n"
            "keys, counted from 0. Of attention-BN, BN mean is the root mean square of mu and BN deviation\n"
            "the mean of s, unless they are those of prefixes. --out writes the same numbers as JSON, and a\n"
            "picture of the first sample and its maps, with at most 64 cells per side. RUN is a run folder, of\n"
            "which the best weights are used, or its folder best/ or last/.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .words = "RUN",
        .example = "  expanse analyze runs/waves --data waves_TEST.ts --limit 100 --out waves-heads\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arguments.word_count != 1) return xp_command_misuse("give one run folder: expanse analyze RUN --data FILE");
    if (!data) return xp_command_misuse("no data: give --data FILE");
    if (out && xp_path_exists(out))
        return xp_command_misuse("%s: already exists and is not overwritten; choose another --out", out);
    if (out && xp_folder_can_be_made(out, 0) != XP_OK) return xp_command_fail();

    const xp_evaluate_options options = {.data = data,
                                         .part = part,
                                         .device = device,
                                         .family = family,
                                         .limit = limit,
                                         .batch = (int)batch,
                                         .trust_code = trust_code};
    xp_live live;
    xp_trainer_callbacks callbacks = {0};
    xp_analysis analysis;
    xp_live_start(&live, stderr, quiet); /* stdout belongs to the table */
    xp_live_bind(&live, &callbacks);
    xp_status status = xp_analyze(arguments.words[0], &options, (int)layer, &callbacks, &analysis);
    xp_live_clear(&live);
    if (status != XP_OK) return xp_command_fail();
    code = report(&analysis, arguments.words[0], data, (xp_table_format)format, out, quiet);
    xp_analysis_release(&analysis);
    return code;
}
