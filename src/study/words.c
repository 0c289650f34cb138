/* The command that trains a run of a study, as words. */
#include "core/text.h"
#include "study/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct word_list {
    char **words;
    int count, room;
    bool failed;
} word_list;

static void add_word(word_list *list, const char *word) {
    char *copy = list->failed ? NULL : strdup(word);
    list->failed = !copy || list->count + 1 >= list->room;
    if (list->failed)
        free(copy);
    else
        list->words[list->count++] = copy;
}

static void add_options(word_list *list, const xp_yaml *options) {
    for (int i = 0; options && i < options->count; i++) {
        xp_writer text = {0};
        xp_write(&text, "%s=%s", options->items[i].key, options->items[i].text);
        add_word(list, "--set");
        if (text.failed)
            list->failed = true;
        else
            add_word(list, text.text);
        xp_writer_release(&text);
    }
}

xp_status xp_study_words(const xp_study *study, const xp_study_run *run, char ***words) {
    const xp_study_part *set = &study->sets[run->set], *setting = &study->settings[run->setting];
    const int options = (set->options ? set->options->count : 0) + (setting->options ? setting->options->count : 0);
    char seed[32], validation[64];
    xp_config config;
    XP_TRY(xp_study_configure(study, run, &config));
    validation[0] = '\0';
    xp_text_add(validation, sizeof validation, "data.validation=%.17g", config.data.validation);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)study->seeds[run->seed]);
    word_list list = {.room = 24 + 2 * options};
    list.words = calloc((size_t)list.room, sizeof *list.words);
    list.failed = !list.words;
    add_word(&list, "train");
    if (setting->preset) add_word(&list, "--preset"), add_word(&list, setting->preset);
    add_options(&list, setting->options);
    add_word(&list, "--train"), add_word(&list, set->train);
    if (run->candidate == XP_STUDY_CHOSEN && set->test) add_word(&list, "--test"), add_word(&list, set->test);
    add_options(&list, set->options);
    if (run->candidate != XP_STUDY_CHOSEN) add_word(&list, "--set"), add_word(&list, validation);
    add_word(&list, "--attention"), add_word(&list, xp_study_specification(study, run));
    add_word(&list, "--seed"), add_word(&list, seed);
    add_word(&list, "--out"), add_word(&list, run->folder);
    add_word(&list, "--resume"), add_word(&list, "auto");
    *words = list.words;
    if (!list.failed) return XP_OK;
    xp_study_words_free(list.words);
    return xp_fail(XP_OUT_OF_MEMORY, "no memory for the command of a run");
}

void xp_study_words_free(char **words) {
    for (int i = 0; words && words[i]; i++) free(words[i]);
    free(words);
}
