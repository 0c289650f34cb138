/* Studies: attentions × data sets × seeds × settings, described by a YAML file, trained one by one as run folders, and
 * compared. An attention can be a name with candidate specifications: these are trained with a part of the training
 * data held out, and the best on this part is the attention's specification. Owns the description, the order and the
 * folders of the runs, and what they add up to. Trains nothing and prints nothing. */
#ifndef XP_STUDY_STUDY_H
#define XP_STUDY_STUDY_H

#include "core/yaml.h"
#include "task/task.h"
#include "train/config.h"

/* A data set or a setting. Texts without a comment belong to the tree. */
typedef struct xp_study_part {
    const char *name;
    const char *preset;     /* of a setting; NULL: none */
    char *train, *test;     /* of a data set, owned; test NULL: none */
    const xp_yaml *options; /* a mapping of options of the configuration; NULL: none */
} xp_study_part;

enum { XP_STUDY_CHOSEN = -1 }; /* no candidate, but what is compared */

/* One training. */
typedef struct xp_study_run {
    int set, setting, attention, seed; /* places in the lists of the study */
    int candidate;                     /* the specification of the attention that is tried; XP_STUDY_CHOSEN: none */
    char *folder;
} xp_study_run;

typedef struct xp_study {
    char *name; /* of the file */
    xp_yaml root;
    const xp_yaml *attentions, *validation;
    uint64_t *seeds;
    xp_study_part *sets, *settings;
    int attention_count, seed_count, set_count, setting_count;
    /* By data set, setting, seed and attention, in this order: what is done when a study is stopped can be compared.
     * After these run_count runs, up to total_count, those of candidates, with the first seed alone. */
    xp_study_run *runs;
    int run_count, total_count;
    /* [set_count][setting_count][attention_count]: the candidate, 0 if it is the only one; -1: not known */
    int *chosen;
} xp_study;

/* Reads the file. Paths of data are relative to the folder `data`; the folders of the runs are in `out`. All faults of
 * the file and of the runs that it describes are in one message, each with file:line:column. XP_BAD_DATA. */
xp_status xp_study_read(xp_study *study, const char *path, const char *data, const char *out);
/* That the files of data are there, in the same way. */
xp_status xp_study_check_data(const xp_study *study);
void xp_study_release(xp_study *study); /* an all-zero one is fine */

/* A name or a specification. */
const char *xp_study_attention(const xp_study *study, int attention);
/* "softmax+bn"; of an attention with candidates, "name: softmax+bn", or the name alone if the run's is not chosen, or
 * belongs to all data sets (set -1). */
void xp_study_label(const xp_study *study, const xp_study_run *run, char *text, size_t size);
/* The place in `chosen` of the attention of a run. */
int xp_study_choice(const xp_study *study, const xp_study_run *run);
/* The specification of a run; NULL: it is not chosen yet. */
const char *xp_study_specification(const xp_study *study, const xp_study_run *run);
/* The whole configuration of a run; before the choice, with the first candidate. */
xp_status xp_study_configure(const xp_study *study, const xp_study_run *run, xp_config *config);
/* The words of the command that trains it, from "train" on, if its specification is chosen; ends in NULL and is freed
 * by xp_study_words_free. */
xp_status xp_study_words(const xp_study *study, const xp_study_run *run, char ***words);
void xp_study_words_free(char **words);

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* What a run measured; NaN: it did not. */
typedef struct xp_study_result {
    bool finished;
    const xp_task *task;                /* best and final are of its deciding metric */
    double best, final;                 /* of the test set, else the validation set, else in training */
    double validation[XP_TASK_METRICS]; /* the metrics of the task in the best epoch; NaN: it has no such set */
    char set[16], judge[16];            /* these sets, by name: measured on, best epoch chosen on */
    int epochs, epoch_best;
    int64_t parameters;
    double seconds;      /* of the training, without the preparation of kernels */
    double step_flops;   /* of a training step */
    double memory_bytes; /* of the device, by the plan */
    double peak_bytes;   /* of the process */
    /* Means over the layers, by expanse analyze in the folder XP_STUDY_ANALYSIS of the run. */
    double map_distance, output_distance;
    char device[128];
} xp_study_result;

#define XP_STUDY_ANALYSIS "analysis"

/* A run that has no summary.json, or is to be continued, is not finished, nor is one whose specification is not chosen.
 * XP_INVALID_ARGUMENT: the folder holds another run. */
xp_status xp_study_result_read(const xp_study *study, const xp_study_run *run, xp_study_result *result);

/* Chooses the candidates where all of them are finished: the best on the validation set by the deciding metric, then by
 * the loss, then the first. results [total_count]. */
void xp_study_choose(xp_study *study, const xp_study_result *results);

/* The finished runs of an attention with a setting on a data set, or on all of them. */
typedef struct xp_study_group {
    int set; /* -1: all on which every attention has a run, each with the same weight */
    int setting, attention;
    const xp_task *task;
    int runs;                         /* finished ones */
    double best, final;               /* means */
    double best_spread, final_spread; /* standard deviations of the seeds; NaN: fewer than two, or all data sets */
    int pairs;                        /* runs whose data set and seed the first attention has finished, too */
    double difference, low,
        high; /* mean of the differences of these in `final`, and its interval of 95 %; NaN: one pair */
    double seconds, step_flops, parameters, memory_bytes, peak_bytes; /* means; peak_bytes: the largest */
    double map_distance, output_distance;                             /* means of the runs that have them */
} xp_study_group;

/* results [total_count]. By data set, setting and attention; then, where several data sets have the same task, those of
 * all. Groups without a finished run are left out. The caller frees *groups. XP_OUT_OF_MEMORY. */
xp_status xp_study_compare(const xp_study *study, const xp_study_result *results, xp_study_group **groups, int *count);

/* Writes the comparison, curves, pictures and configurations as one HTML page. failures [total_count]: why a run
 * failed; NULL: it did not. */
xp_status xp_study_report(const xp_study *study, const xp_study_result *results, char *const *failures,
                          const char *path);

/* For people, in text [size]: "95.33 ± 1.20 %", and "+0.67 (-1.33 … 2.00)" of a group's difference. A spread, a
 * difference or an interval that is NaN is left out. */
void xp_study_value_text(const xp_task *task, double mean, double spread, char *text, size_t size);
void xp_study_difference_text(const xp_study_group *group, char *text, size_t size);

#endif
