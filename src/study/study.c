/* The description of a study: from the YAML file to the list of its runs. */
#include "study/study.h"

#include "core/files.h"
#include "core/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 100000 };

typedef struct reader {
    xp_study *study;
    const char *data, *out;
    xp_writer faults;
} reader;

#define FAULT(in_, value_, ...)                                                                                        \
    xp_yaml_fault(&(in_)->faults, (in_)->study->name, (value_)->line, (value_)->column, __VA_ARGS__)

static void *keep(reader *in, void *allocated) {
    in->faults.failed = in->faults.failed || !allocated;
    return allocated;
}

/* ---- parts of the file ------------------------------------------------------------------------------------------- */

/* Rejects the keys of a mapping that are not among the words, which end in NULL. */
static void check_keys(reader *in, const xp_yaml *mapping, const char *const *words) {
    int count = 0;
    while (words[count]) count++;
    for (int i = 0; i < mapping->count; i++) {
        const xp_yaml *each = &mapping->items[i];
        bool known = false;
        for (int k = 0; k < count; k++) known = known || strcmp(each->key, words[k]) == 0;
        if (known) continue;
        const char *nearest = xp_text_nearest(each->key, words, count);
        char list[128] = "";
        for (int k = 0; k < count; k++) xp_text_add(list, sizeof list, "%s%s", k ? ", " : "", words[k]);
        xp_yaml_fault(&in->faults, in->study->name, each->key_line, each->key_column,
                      nearest ? "unknown key '%s'; did you mean '%s'?" : "unknown key '%s'; the keys here are %s",
                      each->key, nearest ? nearest : list);
    }
}

/* A list at the top that is not empty, and whose values are of one kind; NULL: there is a fault. */
static const xp_yaml *find_list(reader *in, const char *key, xp_yaml_kind kind, const char *wanted) {
    const xp_yaml *list = xp_yaml_find(&in->study->root, key);
    bool good = list && list->kind == XP_YAML_LIST && list->count > 0;
    if (!list)
        FAULT(in, &in->study->root, "the list '%s' is missing: %s", key, wanted);
    else if (!good)
        FAULT(in, list, "'%s' is not a list of at least one value: %s", key, wanted);
    for (int i = 0; good && i < list->count; i++) {
        if (list->items[i].kind == kind) continue;
        FAULT(in, &list->items[i], "expected %s", wanted);
        good = false;
    }
    return good ? list : NULL;
}

/* A text of a mapping; NULL: it has none, which is a fault if it is needed. */
static const char *find_text(reader *in, const xp_yaml *mapping, const char *key, bool needed) {
    const xp_yaml *value = xp_yaml_find(mapping, key);
    if (value && value->kind == XP_YAML_TEXT && *value->text) return value->text;
    if (value)
        FAULT(in, value, "'%s' needs one value", key);
    else if (needed)
        FAULT(in, mapping, "'%s' is missing here", key);
    return NULL;
}

/* Names become folders. */
static void check_name(reader *in, const xp_yaml *list, int index, const char *name) {
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
    char slug[64];
    xp_text_slug(name, slug, sizeof slug);
    const xp_yaml *value = xp_yaml_find(&list->items[index], "name");
    if (strlen(name) >= sizeof slug)
        FAULT(in, value, "the name '%.16s…' has %zu bytes; names, which become folders, have at most %zu", name,
              strlen(name), sizeof slug - 1);
    else if (strspn(name, characters) != strlen(name) || *name == '.')
        FAULT(in, value, "'%s' is not a name of letters, digits, '-' and '.', since it becomes a folder's", name);
    else if (strcmp(slug, name) != 0)
        FAULT(in, value, "'%s' has a '-' at an end, or several together; leave them out", name);
    for (int i = 0; i < index; i++) {
        const xp_yaml *other = xp_yaml_find(&list->items[i], "name");
        if (other && other->kind == XP_YAML_TEXT && strcmp(other->text, name) == 0)
            FAULT(in, value, "the name '%s' is given twice", name);
    }
}

static void find_options(reader *in, const xp_yaml *mapping, xp_study_part *part) {
    part->options = xp_yaml_find(mapping, "options");
    if (!part->options) return;
    if (part->options->kind != XP_YAML_MAPPING) {
        FAULT(in, part->options, "'options' needs lines 'key: value' below it, such as 'epochs: 20'");
        part->options = NULL;
        return;
    }
    for (int i = 0; i < part->options->count; i++)
        if (part->options->items[i].kind != XP_YAML_TEXT)
            FAULT(in, &part->options->items[i], "'%s' needs one value", part->options->items[i].key);
}

/* The path of a file of data. */
static char *path_of(reader *in, const char *text) {
    if (!text) return NULL;
    xp_writer path = {0};
    if (*text != '/' && in->data) xp_write(&path, "%s/", in->data);
    xp_write(&path, "%s", text);
    in->faults.failed = in->faults.failed || path.failed;
    return path.text;
}

static void read_sets(reader *in) {
    static const char *const keys[] = {"name", "train", "test", "options", NULL};
    const xp_yaml *list = find_list(in, "data", XP_YAML_MAPPING, "data sets, each with 'name', 'train' and 'test'");
    xp_study_part *sets = list ? keep(in, calloc((size_t)list->count, sizeof *sets)) : NULL;
    if (!sets) return;
    in->study->sets = sets;
    in->study->set_count = list->count;
    for (int i = 0; i < list->count; i++) {
        const xp_yaml *each = &list->items[i];
        check_keys(in, each, keys);
        sets[i].name = find_text(in, each, "name", true);
        sets[i].train = path_of(in, find_text(in, each, "train", true));
        sets[i].test = path_of(in, find_text(in, each, "test", false));
        find_options(in, each, &sets[i]);
        if (sets[i].name) check_name(in, list, i, sets[i].name);
    }
}

static void read_settings(reader *in) {
    static const char *const keys[] = {"name", "preset", "options", NULL};
    const xp_yaml *list = find_list(in, "settings", XP_YAML_MAPPING, "settings, each with 'name' and 'preset'");
    xp_study_part *settings = list ? keep(in, calloc((size_t)list->count, sizeof *settings)) : NULL;
    if (!settings) return;
    in->study->settings = settings;
    in->study->setting_count = list->count;
    for (int i = 0; i < list->count; i++) {
        const xp_yaml *each = &list->items[i];
        check_keys(in, each, keys);
        settings[i].name = find_text(in, each, "name", true);
        settings[i].preset = find_text(in, each, "preset", false);
        find_options(in, each, &settings[i]);
        if (settings[i].name) check_name(in, list, i, settings[i].name);
    }
}

static void slug_of(const xp_study *study, int attention, char slug[96]) {
    xp_text_slug(xp_study_attention(study, attention), slug, 96);
}

/* Commas part the values of a list, also within parentheses. */
static bool is_cut(const char *text) {
    int open = 0;
    for (; *text; text++) open += (*text == '(') - (*text == ')');
    return open > 0;
}

static void read_attentions(reader *in) {
    const xp_yaml *list = find_list(in, "attentions", XP_YAML_TEXT, "specifications such as softmax+bn");
    if (!list) return;
    in->study->attentions = list;
    in->study->attention_count = list->count;
    for (int i = 0; i < list->count; i++) {
        char one[96], other[96];
        if (is_cut(list->items[i].text)) {
            FAULT(in, &list->items[i],
                  "'%s' has a '(' without its ')'; put a specification with commas in quotes: \"softmax+sh(1,2)\"",
                  list->items[i].text);
            return;
        }
        slug_of(in->study, i, one);
        for (int k = 0; k < i; k++) {
            slug_of(in->study, k, other);
            if (strcmp(one, other) == 0)
                FAULT(in, &list->items[i], "'%s' and '%s' would have the same folder; leave one out",
                      list->items[k].text, list->items[i].text);
        }
    }
}

/* One seed; false: there is a fault. */
static bool read_seed(reader *in, const xp_yaml *value, uint64_t *seed) {
    char *end = NULL;
    errno = 0;
    if (value->kind == XP_YAML_TEXT) *seed = strtoull(value->text, &end, 10);
    if (end && errno == 0 && *end == '\0' && value->text[0] >= '0' && value->text[0] <= '9') return true;
    FAULT(in, value, "'seeds' is neither a number, such as 3 for the seeds 1, 2 and 3, nor a list of seeds");
    return false;
}

static void read_seeds(reader *in) {
    const xp_yaml *value = xp_yaml_find(&in->study->root, "seeds");
    uint64_t count = 3;
    const bool list = value && value->kind == XP_YAML_LIST;
    if (list)
        count = (uint64_t)value->count;
    else if (value && !read_seed(in, value, &count))
        return;
    if (count < 1 || count > 1000) {
        FAULT(in, value, "a study has 1 to 1000 seeds");
        return;
    }
    in->study->seeds = keep(in, calloc(count, sizeof *in->study->seeds));
    if (!in->study->seeds) return;
    for (uint64_t i = 0; i < count; i++) {
        in->study->seeds[i] = i + 1;
        if (list && !read_seed(in, &value->items[i], &in->study->seeds[i])) return;
    }
    in->study->seed_count = (int)count;
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

const char *xp_study_attention(const xp_study *study, int attention) {
    return study->attentions->items[attention].text;
}

static char *folder_of(reader *in, const xp_study_run *run) {
    const xp_study *study = in->study;
    char slug[96];
    slug_of(study, run->attention, slug);
    xp_writer path = {0};
    xp_write(&path, "%s/%s/%s/%s-seed%llu", in->out, study->sets[run->set].name, study->settings[run->setting].name,
             slug, (unsigned long long)study->seeds[run->seed]);
    in->faults.failed = in->faults.failed || path.failed;
    return path.text;
}

static void list_runs(reader *in) {
    xp_study *study = in->study;
    const double wanted = (double)study->set_count * study->setting_count * study->seed_count * study->attention_count;
    if (wanted > MOST_RUNS) {
        FAULT(in, &study->root, "the study has %.0f runs, more than %d", wanted, MOST_RUNS);
        return;
    }
    study->runs = keep(in, calloc((size_t)wanted, sizeof *study->runs));
    if (!study->runs) return;
    for (int set = 0; set < study->set_count; set++)
        for (int setting = 0; setting < study->setting_count; setting++)
            for (int seed = 0; seed < study->seed_count; seed++)
                for (int attention = 0; attention < study->attention_count; attention++) {
                    xp_study_run *run = &study->runs[study->run_count++];
                    *run = (xp_study_run){set, setting, attention, seed, NULL};
                    run->folder = folder_of(in, run);
                }
}

static xp_status set_option(xp_config *config, const char *key, const char *value) {
    xp_writer text = {0};
    xp_write(&text, "%s=%s", key, value);
    xp_status status = xp_writer_status(&text, key);
    if (status == XP_OK) status = xp_config_set(config, text.text);
    xp_writer_release(&text);
    return status;
}

/* Applies options. A failure leaves its place in *at, as in configure. */
static xp_status set_options(xp_config *config, const xp_yaml *options, const xp_yaml **at) {
    for (int i = 0; options && i < options->count; i++) {
        *at = &options->items[i];
        XP_TRY(set_option(config, options->items[i].key, options->items[i].text));
    }
    return XP_OK;
}

static xp_status configure(const xp_study *study, const xp_study_run *run, xp_config *config, const xp_yaml **at) {
    const xp_study_part *set = &study->sets[run->set], *setting = &study->settings[run->setting];
    xp_config_default(config);
    *at = xp_yaml_find(&xp_yaml_find(&study->root, "settings")->items[run->setting], "preset");
    if (setting->preset) XP_TRY(xp_config_preset(config, setting->preset));
    XP_TRY(set_options(config, setting->options, at));
    *at = &xp_yaml_find(&study->root, "data")->items[run->set];
    XP_TRY(set_option(config, "data.train", set->train));
    if (set->test) XP_TRY(set_option(config, "data.test", set->test));
    XP_TRY(set_options(config, set->options, at));
    *at = &study->attentions->items[run->attention];
    XP_TRY(set_option(config, "model.attention", xp_study_attention(study, run->attention)));
    config->training.seed = study->seeds[run->seed];
    return XP_OK;
}

xp_status xp_study_configure(const xp_study *study, const xp_study_run *run, xp_config *config) {
    const xp_yaml *at;
    return configure(study, run, config, &at);
}

/* One line. The same one is told once, though many runs may have it: at this place, or (`once`) anywhere. */
static void tell_fault(reader *in, const xp_yaml *at, const char *message, size_t length, bool once) {
    xp_writer line = {0};
    xp_yaml_fault(&line, in->study->name, at->line, at->column, "%.*s", (int)length, message);
    in->faults.failed = in->faults.failed || line.failed;
    const char *key = line.failed ? "" : once ? line.text + (line.length - 1 - length) : line.text;
    if (!line.failed && !(in->faults.text && strstr(in->faults.text, key))) xp_write(&in->faults, "%s", line.text);
    xp_writer_release(&line);
}

/* What is wrong with a whole configuration, a line each. */
static void tell_faults(reader *in, const xp_study_run *run, const char *messages) {
    const xp_yaml *attention = &in->study->attentions->items[run->attention];
    const xp_yaml *set = &xp_yaml_find(&in->study->root, "data")->items[run->set];
    for (const char *at = messages; *at; at += strspn(at, "\n")) {
        const size_t length = strcspn(at, "\n");
        tell_fault(in, strncmp(at, "model.attention", 15) == 0 ? attention : set, at, length, true);
        at += length;
    }
}

static void check_runs(reader *in) {
    const xp_study *study = in->study;
    for (int i = 0; i < study->run_count && !in->faults.failed; i++) {
        const xp_study_run *run = &study->runs[i];
        const xp_yaml *at = NULL;
        xp_config config;
        if (run->seed > 0) continue;
        xp_status status = configure(study, run, &config, &at);
        if (status != XP_OK)
            tell_fault(in, at, xp_last_error(), strlen(xp_last_error()), false);
        else if ((status = xp_config_check(&config)) != XP_OK)
            tell_faults(in, run, xp_last_error());
        if (status == XP_OUT_OF_MEMORY) in->faults.failed = true;
    }
}

static void read_all(reader *in) {
    static const char *const keys[] = {"attentions", "seeds", "data", "settings", NULL};
    const xp_yaml *root = &in->study->root;
    if (in->faults.failed || in->faults.length) return; /* it is no YAML */
    if (root->kind != XP_YAML_MAPPING) {
        xp_yaml_fault(&in->faults, in->study->name, 1, 1, "expected the keys attentions, seeds, data and settings");
        return;
    }
    check_keys(in, root, keys);
    read_attentions(in);
    read_seeds(in);
    read_sets(in);
    read_settings(in);
    if (in->faults.failed || in->faults.length) return;
    list_runs(in);
    if (!in->faults.failed) check_runs(in);
}

xp_status xp_study_read(xp_study *study, const char *path, const char *data, const char *out) {
    reader in = {.study = study, .data = data, .out = out};
    char *text = NULL;
    size_t length = 0;
    *study = (xp_study){0};
    XP_TRY(xp_file_read(path, &text, &length));
    study->name = keep(&in, strdup(path));
    if (study->name) xp_yaml_read(path, text, length, &study->root, &in.faults);
    free(text);
    if (study->name) read_all(&in);
    const xp_status status = xp_faults_report(&in.faults, path, XP_BAD_DATA);
    if (status != XP_OK) xp_study_release(study);
    return status;
}

xp_status xp_study_check_data(const xp_study *study) {
    static const char *const keys[] = {"train", "test"};
    const xp_yaml *sets = xp_yaml_find(&study->root, "data");
    xp_writer faults = {0};
    for (int i = 0; i < study->set_count; i++) {
        const char *const paths[] = {study->sets[i].train, study->sets[i].test};
        for (int k = 0; k < 2; k++) {
            if (!paths[k] || xp_path_exists(paths[k])) continue;
            const xp_yaml *value = xp_yaml_find(&sets->items[i], keys[k]);
            const char *hint =
                faults.length ? "" : "; paths are relative to the folder of --data, or else the current one";
            xp_yaml_fault(&faults, study->name, value->line, value->column, "%s does not exist%s", paths[k], hint);
        }
    }
    return xp_faults_report(&faults, study->name, XP_BAD_DATA);
}

static void release_parts(xp_study_part *parts, int count) {
    for (int i = 0; i < count; i++) {
        free(parts[i].train);
        free(parts[i].test);
    }
    free(parts);
}

void xp_study_release(xp_study *study) {
    for (int i = 0; i < study->run_count; i++) free(study->runs[i].folder);
    free(study->runs);
    release_parts(study->sets, study->set_count);
    release_parts(study->settings, study->setting_count);
    free(study->seeds);
    free(study->name);
    xp_yaml_release(&study->root);
    *study = (xp_study){0};
}

/* ---- the command of a run ---------------------------------------------------------------------------------------- */

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
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)study->seeds[run->seed]);
    word_list list = {.room = 24 + 2 * options};
    list.words = calloc((size_t)list.room, sizeof *list.words);
    list.failed = !list.words;
    add_word(&list, "train");
    if (setting->preset) add_word(&list, "--preset"), add_word(&list, setting->preset);
    add_options(&list, setting->options);
    add_word(&list, "--train"), add_word(&list, set->train);
    if (set->test) add_word(&list, "--test"), add_word(&list, set->test);
    add_options(&list, set->options);
    add_word(&list, "--attention"), add_word(&list, xp_study_attention(study, run->attention));
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
