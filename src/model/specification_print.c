/* Printing the attention specification: the shortest text that parses back to the same struct. */
#include "model/specification.h"

#include "core/text.h"
#include "model/specification_parts.h"

/* "(" before the first knob, "," before the others. */
static void write_knob(xp_writer *out, int *count, const char *name) {
    xp_write(out, "%s%s=", (*count)++ ? "," : "(", name);
}

static void write_bn(xp_writer *out, const xp_specification *s) {
    int count = 0;
    xp_write(out, "+bn");
    if (s->bn_beta_learned || s->bn_beta != XP_BN_BETA) {
        write_knob(out, &count, "beta");
        if (s->bn_beta_learned)
            xp_write(out, "learned");
        else
            xp_write_float(out, s->bn_beta);
    }
    if (!s->bn_scale) {
        write_knob(out, &count, "scale");
        xp_write(out, "off");
    }
    if (s->bn_epsilon != XP_BN_EPSILON) {
        write_knob(out, &count, "eps");
        xp_write_float(out, s->bn_epsilon);
    }
    if (count) xp_write(out, ")");
}

/* Bare where it reads back as a file. */
static void write_file(xp_writer *out, const char *file) {
    double value;
    size_t length = 0;
    const char *c = file;
    while (xp_is_bare(*c)) c++;
    const bool number = xp_text_number(file, &value, &length) != XP_OK || file[length] == 0;
    xp_write(out, *c || number ? "\"%s\"" : "%s", file);
}

/* "+name(value)", nothing where the value is 0. */
static void write_whole_part(xp_writer *out, const char *name, int value) {
    if (value != 0) xp_write(out, "+%s(%d)", name, value);
}

static void write_number_part(xp_writer *out, const char *name, float value) {
    if (value == 0) return;
    xp_write(out, "+%s(", name);
    xp_write_float(out, value);
    xp_write(out, ")");
}

static void write_training_set(xp_writer *out, const xp_specification *s) {
    if (s->causal) xp_write(out, s->causal_last ? "+causal(last)" : "+causal");
    if (s->window) xp_write(out, "+window(%d,%d)", s->left, s->right);
    write_whole_part(out, "strided", s->stride);
    if (s->block) {
        xp_write(out, "+block(");
        if (s->block_file[0]) {
            write_file(out, s->block_file);
            xp_write(out, ",");
        }
        xp_write(out, "%d)", s->block);
    }
    if (s->mask_file[0]) {
        xp_write(out, "+mask(");
        write_file(out, s->mask_file);
        xp_write(out, ")");
    }
}

static void write_score(xp_writer *out, const xp_specification *s) {
    xp_write(out, "+score(\"%s\"", s->score);
    if (s->derivative[0]) xp_write(out, ",derivative=\"%s\"", s->derivative);
    for (int i = 0; i < s->name_count; i++) {
        xp_write(out, ",%s=", s->names[i].name);
        if (s->names[i].file[0])
            write_file(out, s->names[i].file);
        else
            xp_write_float(out, s->names[i].value);
    }
    xp_write(out, ")");
}

void xp_specification_write(xp_writer *out, const xp_specification *s) {
    xp_write(out, "%s", xp_kernel_names[s->features ? XP_KERNEL_LINEAR : XP_KERNEL_SOFTMAX]);
    if (s->features && s->features != XP_FEATURES_ELU) xp_write(out, "(%s)", xp_feature_names[s->features]);
    if (s->unnormalised) xp_write(out, "+unnormalised");
    if (s->bn) write_bn(out, s);
    for (int i = 0; i < s->scale_count; i++) xp_write(out, "%s%d", i ? "," : "+sh(", s->scales[i]);
    if (s->scale_count) xp_write(out, ")");
    write_whole_part(out, "conv1d", s->conv1d);
    write_whole_part(out, "conv2d", s->conv2d);
    write_training_set(out, s);
    if (s->alibi) xp_write(out, "+alibi");
    write_number_part(out, "softcap", s->soft_cap);
    write_number_part(out, "scale", s->scale);
    if (s->bias) xp_write(out, "+bias");
    if (s->score[0]) write_score(out, s);
}
