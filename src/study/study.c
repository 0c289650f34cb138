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

/* A list at the top that is not empty, and whose values are of one kind (NONE: of any); NULL: there is a fault. */
static const xp_yaml *find_list(reader *in, const char *key, xp_yaml_kind kind, const char *wanted) {
    const xp_yaml *list = xp_yaml_find(&in->study->root, key);
    bool good = list && list->kind == XP_YAML_LIST && list->count > 0;
    if (!list)
        FAULT(in, &in->study->root, "the list '%s' is missing: %s", key, wanted);
    else if (!good)
        FAULT(in, list, "'%s' is not a list of at least one value: %s", key, wanted);
    for (int i = 0; good && i < list->count; i++) {
        if (kind == XP_YAML_NONE || list->items[i].kind == kind) continue;
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
static void check_name(reader *in, const char *name, size_t line, size_t column) {
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
    const xp_yaml at = {.line = line, .column = column};
    char slug[64];
    xp_text_slug(name, slug, sizeof slug);
    if (strlen(name) >= sizeof slug)
        FAULT(in, &at, "the name '%.16s…' has %zu bytes; names, which become folders, have at most %zu", name,
              strlen(name), sizeof slug - 1);
    else if (strspn(name, characters) != strlen(name) || *name == '.')
        FAULT(in, &at, "'%s' is not a name of letters, digits, '-' and '.', since it becomes a folder's", name);
    else if (strcmp(slug, name) != 0)
        FAULT(in, &at, "'%s' has a '-' at an end, or several together; leave them out", name);
}

/* The name of a value of a list. */
static void check_part(reader *in, const xp_yaml *list, int index, const char *name) {
    const xp_yaml *value = xp_yaml_find(&list->items[index], "name");
    check_name(in, name, value->line, value->column);
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
        if (sets[i].name) check_part(in, list, i, sets[i].name);
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
        if (settings[i].name) check_part(in, list, i, settings[i].name);
    }
}

/* ---- attentions -------------------------------------------------------------------------------------------------- */

/* A specification, or a name with a list of them: a mapping of one key. */
static bool has_candidates(const xp_yaml *attention) {
    return attention->kind == XP_YAML_MAPPING;
}

static int count_candidates(const xp_yaml *attention) {
    return has_candidates(attention) ? attention->items[0].count : 1;
}

static const xp_yaml *candidate_at(const xp_yaml *attention, int candidate) {
    return has_candidates(attention) ? &attention->items[0].items[candidate] : attention;
}

static const char *name_of(const xp_yaml *attention) {
    return has_candidates(attention) ? attention->items[0].key : attention->text;
}

/* Commas part the values of a list, also within parentheses. */
static bool is_cut(const char *text) {
    int open = 0;
    for (; *text; text++) open += (*text == '(') - (*text == ')');
    return open > 0;
}

/* A specification; false: there is a fault. */
static bool check_text(reader *in, const xp_yaml *value) {
    if (value->kind != XP_YAML_TEXT) {
        FAULT(in, value, "expected a specification such as softmax+bn");
        return false;
    }
    if (!is_cut(value->text)) return true;
    FAULT(in, value, "'%s' has a '(' without its ')'; put a specification with commas in quotes: \"softmax+sh(1,2)\"",
          value->text);
    return false;
}

static void check_slugs(reader *in, const char *one, const char *other, const xp_yaml *at) {
    char slug[96], other_slug[96];
    xp_text_slug(one, slug, sizeof slug);
    xp_text_slug(other, other_slug, sizeof other_slug);
    if (strcmp(slug, other_slug) == 0)
        FAULT(in, at, "'%s' and '%s' would have the same folder; leave one out", other, one);
}

static bool check_candidates(reader *in, const xp_yaml *attention) {
    const xp_yaml *list = attention->items;
    if (attention->count != 1 || list->kind != XP_YAML_LIST || list->count < 2) {
        FAULT(in, attention,
              "expected a name with a list of two or more specifications: "
              "{bn: [softmax+bn, softmax+bn(beta=0.5)]}");
        return false;
    }
    check_name(in, list->key, list->key_line, list->key_column);
    for (int i = 0; i < list->count; i++) {
        if (!check_text(in, &list->items[i])) return false;
        for (int k = 0; k < i; k++) check_slugs(in, list->items[i].text, list->items[k].text, &list->items[i]);
    }
    return true;
}

static void read_attentions(reader *in) {
    const xp_yaml *list = find_list(in, "attentions", XP_YAML_NONE, "specifications such as softmax+bn");
    bool good = list, any = false;
    for (int i = 0; good && i < list->count; i++) {
        const xp_yaml *each = &list->items[i];
        good = has_candidates(each) ? check_candidates(in, each) : check_text(in, each);
        any = any || has_candidates(each);
        for (int k = 0; good && k < i; k++) check_slugs(in, name_of(each), name_of(&list->items[k]), each);
    }
    if (!good) return;
    in->study->attentions = list;
    in->study->attention_count = list->count;
    in->study->validation = xp_yaml_find(&in->study->root, "validation");
    if (!in->study->validation) return;
    if (in->study->validation->kind != XP_YAML_TEXT)
        FAULT(in, in->study->validation, "'validation' needs one value");
    else if (!any)
        FAULT(in, in->study->validation, "'validation' is for attentions with candidates, and there is none");
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
    return name_of(&study->attentions->items[attention]);
}

int xp_study_choice(const xp_study *study, const xp_study_run *run) {
    return (run->set * study->setting_count + run->setting) * study->attention_count + run->attention;
}

/* -1: it is not chosen yet. */
static int candidate_of(const xp_study *study, const xp_study_run *run) {
    return run->candidate == XP_STUDY_CHOSEN ? study->chosen[xp_study_choice(study, run)] : run->candidate;
}

/* Where the specification of a run is; before the choice, the first candidate. */
static const xp_yaml *specification_at(const xp_study *study, const xp_study_run *run) {
    const int candidate = candidate_of(study, run);
    return candidate_at(&study->attentions->items[run->attention], candidate < 0 ? 0 : candidate);
}

const char *xp_study_specification(const xp_study *study, const xp_study_run *run) {
    return candidate_of(study, run) < 0 ? NULL : specification_at(study, run)->text;
}

void xp_study_label(const xp_study *study, const xp_study_run *run, char *text, size_t size) {
    const char *specification = run->set < 0 ? NULL : xp_study_specification(study, run);
    const bool named = has_candidates(&study->attentions->items[run->attention]);
    snprintf(text, size, "%s%s%s", xp_study_attention(study, run->attention), named && specification ? ": " : "",
             named && specification ? specification : "");
}

/* "OUT/SET/SETTING/ATTENTION-seed1", of a candidate "OUT/SET/SETTING/ATTENTION-candidates/SPECIFICATION-seed1". */
static char *folder_of(reader *in, const xp_study_run *run) {
    const xp_study *study = in->study;
    const bool tried = run->candidate != XP_STUDY_CHOSEN;
    char name[96], slug[96] = "";
    xp_writer path = {0};
    xp_text_slug(xp_study_attention(study, run->attention), name, sizeof name);
    if (tried) xp_text_slug(xp_study_specification(study, run), slug, sizeof slug);
    xp_write(&path, "%s/%s/%s/%s%s%s-seed%llu", in->out, study->sets[run->set].name, study->settings[run->setting].name,
             name, tried ? "-candidates/" : "", slug, (unsigned long long)study->seeds[run->seed]);
    in->faults.failed = in->faults.failed || path.failed;
    return path.text;
}

static void add_run(reader *in, xp_study_run run) {
    xp_study *study = in->study;
    run.folder = folder_of(in, &run);
    study->runs[study->total_count++] = run;
}

static void list_compared(reader *in) {
    xp_study *study = in->study;
    for (int set = 0; set < study->set_count; set++)
        for (int setting = 0; setting < study->setting_count; setting++)
            for (int seed = 0; seed < study->seed_count; seed++)
                for (int attention = 0; attention < study->attention_count; attention++)
                    add_run(in, (xp_study_run){set, setting, attention, seed, XP_STUDY_CHOSEN, NULL});
    study->run_count = study->total_count;
}

static void list_candidates(reader *in) {
    const xp_study *study = in->study;
    for (int set = 0; set < study->set_count; set++)
        for (int setting = 0; setting < study->setting_count; setting++)
            for (int attention = 0; attention < study->attention_count; attention++) {
                const xp_yaml *value = &study->attentions->items[attention];
                for (int i = 0; has_candidates(value) && i < count_candidates(value); i++)
                    add_run(in, (xp_study_run){set, setting, attention, 0, i, NULL});
            }
}

static void list_runs(reader *in) {
    xp_study *study = in->study;
    const int groups = study->set_count * study->setting_count;
    double each = (double)study->seed_count * study->attention_count;
    for (int i = 0; i < study->attention_count; i++) {
        const xp_yaml *attention = &study->attentions->items[i];
        if (has_candidates(attention)) each += count_candidates(attention);
    }
    if (each * groups > MOST_RUNS) {
        FAULT(in, &study->root, "the study has %.0f runs, more than %d", each * groups, MOST_RUNS);
        return;
    }
    study->runs = keep(in, calloc((size_t)(each * groups), sizeof *study->runs));
    study->chosen = keep(in, calloc((size_t)(groups * study->attention_count), sizeof *study->chosen));
    if (!study->runs || !study->chosen) return;
    for (int i = 0; i < groups * study->attention_count; i++)
        study->chosen[i] = has_candidates(&study->attentions->items[i % study->attention_count]) ? -1 : 0;
    list_compared(in);
    list_candidates(in);
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

/* Candidates see no test set. */
static bool has_test(const xp_study *study, const xp_study_run *run) {
    return study->sets[run->set].test && run->candidate == XP_STUDY_CHOSEN;
}

/* The part on which candidates are compared, where the options of the data and the setting have none. */
static xp_status hold_out(const xp_study *study, xp_config *config, const xp_yaml **at) {
    if (config->data.validation > 0) return XP_OK;
    if (study->validation) *at = study->validation;
    XP_TRY(set_option(config, "data.validation", study->validation ? study->validation->text : "0.2"));
    if (config->data.validation > 0) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "candidates are compared on this part of the training data, which cannot be 0");
}

static xp_status configure(const xp_study *study, const xp_study_run *run, xp_config *config, const xp_yaml **at) {
    const xp_study_part *set = &study->sets[run->set], *setting = &study->settings[run->setting];
    xp_config_default(config);
    *at = xp_yaml_find(&xp_yaml_find(&study->root, "settings")->items[run->setting], "preset");
    if (setting->preset) XP_TRY(xp_config_preset(config, setting->preset));
    XP_TRY(set_options(config, setting->options, at));
    *at = &xp_yaml_find(&study->root, "data")->items[run->set];
    XP_TRY(set_option(config, "data.train", set->train));
    if (has_test(study, run)) XP_TRY(set_option(config, "data.test", set->test));
    XP_TRY(set_options(config, set->options, at));
    if (run->candidate != XP_STUDY_CHOSEN) XP_TRY(hold_out(study, config, at));
    *at = specification_at(study, run);
    XP_TRY(set_option(config, "model.attention", (*at)->text));
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
    const xp_yaml *attention = specification_at(in->study, run);
    const xp_yaml *set = &xp_yaml_find(&in->study->root, "data")->items[run->set];
    for (const char *at = messages; *at; at += strspn(at, "\n")) {
        const size_t length = strcspn(at, "\n");
        tell_fault(in, strncmp(at, "model.attention", 15) == 0 ? attention : set, at, length, true);
        at += length;
    }
}

static void check_runs(reader *in) {
    const xp_study *study = in->study;
    for (int i = 0; i < study->total_count && !in->faults.failed; i++) {
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
    static const char *const keys[] = {"attentions", "validation", "seeds", "data", "settings", NULL};
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
    for (int i = 0; i < study->total_count; i++) free(study->runs[i].folder);
    free(study->runs);
    free(study->chosen);
    release_parts(study->sets, study->set_count);
    release_parts(study->settings, study->setting_count);
    free(study->seeds);
    free(study->name);
    xp_yaml_release(&study->root);
    *study = (xp_study){0};
}
