/* The attention specification: what parses, what is rejected and where the message points. */
#include "core/random.h"
#include "model/expression.h"
#include "model/specification.h"
#include "support.h"

#include <locale.h>

static xp_specification parsed(const char *text) {
    xp_specification specification;
    if (xp_specification_parse(text, &specification) != XP_OK) fail_msg("%s: %s", text, xp_last_error());
    return specification;
}

/* Valid until the second call from here. */
static const char *printed(const xp_specification *specification) {
    static char texts[2][8192];
    static int next;
    char *text = texts[next++ % 2];
    xp_writer out = {0};
    xp_specification_write(&out, specification);
    assert_int_equal(xp_writer_status(&out, "specification"), XP_OK);
    assert_true(out.length < sizeof texts[0]);
    memcpy(text, out.text, out.length + 1);
    xp_writer_release(&out);
    return text;
}

static void assert_prints(const char *text, const char *expected) {
    const xp_specification specification = parsed(text);
    assert_string_equal(printed(&specification), expected);
}

static void assert_rejected(const char *text, int column, const char *reason) {
    xp_specification specification;
    char place[32];
    snprintf(place, sizeof place, "column %d: ", column);
    assert_int_equal(xp_specification_parse(text, &specification), XP_INVALID_ARGUMENT);
    if (!strstr(xp_last_error(), place) || !strstr(xp_last_error(), reason))
        fail_msg("%s: \"%s\" names neither \"%s\" nor \"%s\"", text, xp_last_error(), place, reason);
}

static bool equal(const xp_specification *a, const xp_specification *b) {
    bool same = a->features == b->features && a->unnormalised == b->unnormalised && a->bn == b->bn &&
                a->bn_beta == b->bn_beta && a->bn_beta_learned == b->bn_beta_learned && a->bn_scale == b->bn_scale &&
                a->bn_epsilon == b->bn_epsilon && a->conv1d == b->conv1d && a->conv2d == b->conv2d &&
                a->scale_count == b->scale_count && a->causal == b->causal && a->causal_last == b->causal_last &&
                a->window == b->window && a->left == b->left && a->right == b->right && a->stride == b->stride &&
                a->block == b->block && a->alibi == b->alibi && a->bias == b->bias && a->soft_cap == b->soft_cap &&
                a->scale == b->scale && a->name_count == b->name_count;
    same = same && memcmp(a->scales, b->scales, sizeof a->scales[0] * (size_t)a->scale_count) == 0 &&
           strcmp(a->block_file, b->block_file) == 0 && strcmp(a->mask_file, b->mask_file) == 0 &&
           strcmp(a->score, b->score) == 0 && strcmp(a->derivative, b->derivative) == 0;
    for (int i = 0; i < a->name_count && same; i++)
        same = strcmp(a->names[i].name, b->names[i].name) == 0 && strcmp(a->names[i].file, b->names[i].file) == 0 &&
               a->names[i].value == b->names[i].value;
    return same;
}

static void defaults_are_the_papers(void **state) {
    const xp_specification plain = parsed("softmax"), bn = parsed("softmax+bn"), both = parsed("softmax+bn+sh(1,2,4)");
    assert_false(plain.bn);
    assert_int_equal(plain.scale_count, 0);
    assert_true(bn.bn && bn.bn_scale && !bn.bn_beta_learned && bn.bn_beta == 1 && bn.bn_epsilon == 1e-5f);
    assert_true(both.bn && both.scale_count == 3 && both.scales[0] == 1 && both.scales[2] == 4);
    assert_true(parsed("softmax+bn(beta=learned)").bn_beta_learned);
    assert_float_equal(parsed("softmax+bn(beta=-.5)").bn_beta, -0.5, 0);
    assert_false(parsed("softmax+bn(scale=off)").bn_scale);
    assert_int_equal(parsed("softmax").features, XP_FEATURES_NONE);
    assert_int_equal(parsed("linear").features, XP_FEATURES_ELU);
    assert_int_equal(parsed("linear(square)").features, XP_FEATURES_SQUARE);
    assert_false(parsed("softmax+causal").causal_last);
}

static void every_part_fills_its_fields(void **state) {
    xp_specification s = parsed("linear(relu)+unnormalised+conv1d(5)+causal(last)+window(3,0)+strided(4)");
    assert_true(s.features == XP_FEATURES_RELU && s.unnormalised && s.conv1d == 5 && s.causal && s.causal_last);
    assert_true(s.window && s.left == 3 && s.right == 0 && s.stride == 4);
    s = parsed("softmax+conv2d(3)+block(16)+alibi+softcap(50)+scale(0.25)+bias");
    assert_true(s.conv2d == 3 && s.block == 16 && !s.block_file[0] && s.alibi && s.bias);
    assert_true(s.soft_cap == 50 && s.scale == 0.25f);
    s = parsed("softmax+block(a/b-1.npy,32)");
    assert_true(s.block == 32 && strcmp(s.block_file, "a/b-1.npy") == 0);
    assert_string_equal(parsed("softmax+block(\"16\",32)").block_file, "16");
    assert_string_equal(parsed("softmax+mask(\"my mask (1).npy\")").mask_file, "my mask (1).npy");
    s = parsed("softmax+score(\"c * score + t[head]\", derivative=\"c\", c=-.5, t=\"1.npy\", u=2.npy)");
    assert_string_equal(s.score, "c * score + t[head]");
    assert_string_equal(s.derivative, "c");
    assert_int_equal(s.name_count, 3);
    assert_true(s.names[0].value == -0.5f && !s.names[0].file[0]);
    assert_string_equal(s.names[1].name, "t");
    assert_string_equal(s.names[1].file, "1.npy");
    assert_string_equal(s.names[2].file, "2.npy");
}

static void printing_is_short_and_in_one_order(void **state) {
    assert_prints(" softmax + sh ( 1 , 02,4 ) +\tbn ", "softmax+bn+sh(1,2,4)");
    assert_prints("softmax+bn(beta=1,scale=on,eps=1e-5)", "softmax+bn");
    assert_prints("softmax+bn(eps=0.00100, beta = 0.600)", "softmax+bn(beta=0.6,eps=0.001)");
    assert_prints("softmax+bn(scale=off,beta=learned)", "softmax+bn(beta=learned,scale=off)");
    assert_prints("linear(elu)+unnormalised", "linear+unnormalised");
    assert_prints("softmax+causal(first)", "softmax+causal");
    assert_prints("softmax+score(\"score - 1\")+bias+scale(0.50)+softcap(5e1)+alibi+mask(\"a.npy\")+strided(2)+"
                  "window(1, 2)+causal(last)+conv1d(3)+sh(1)",
                  "softmax+sh(1)+conv1d(3)+causal(last)+window(1,2)+strided(2)+mask(a.npy)+alibi+softcap(50)+"
                  "scale(0.5)+bias+score(\"score - 1\")");
    assert_prints("softmax+block(\"7\",08)", "softmax+block(\"7\",8)");
    assert_prints("softmax+mask(\"a b\")", "softmax+mask(\"a b\")");
}

static void faults_are_marked_and_explained(void **state) {
    assert_rejected("", 1, "expected a kernel");
    assert_rejected("  ", 3, "expected a kernel");
    assert_rejected("bn", 1, "kernel first");
    assert_rejected("sotfmax", 1, "did you mean \"softmax\"?");
    assert_rejected("linear(", 8, "elu, relu, identity or square");
    assert_rejected("linear(ellu)", 8, "did you mean \"elu\"?");
    assert_rejected("linear(elu", 11, "\")\"");
    assert_rejected("linear+linear", 8, "once");
    assert_rejected("softmax(elu)", 8, "\"+\"");
    assert_rejected("softmax+causl", 9, "did you mean \"causal\"?");
    assert_rejected("softmax+causal(fist)", 16, "did you mean \"first\"?");
    assert_rejected("softmax+causal()", 16, "first or last");
    assert_rejected("softmax+causal+causal", 16, "twice");
    assert_rejected("softmax+window", 15, "\"(\"");
    assert_rejected("softmax+window(-1,2)", 16, "a whole number from 0");
    assert_rejected("softmax+window(1,-2)", 18, "a whole number from 0");
    assert_rejected("softmax+window(1)", 17, "the rows to the right");
    assert_rejected("softmax+window(1,2", 19, "\")\"");
    assert_rejected("softmax+window(1,9999999999)", 18, "to 1000000000");
    assert_rejected("softmax+strided(0)", 17, "a whole number from 1");
    assert_rejected("softmax+strided(x)", 17, "a whole number from 1");
    assert_rejected("softmax+conv1d(4)", 16, "odd width, such as 5");
    assert_rejected("softmax+conv2d(0)", 16, "odd width");
    assert_rejected("softmax+conv1d", 15, "conv1d(3)");
    assert_rejected("softmax+block(blocks.npy)", 25, "the rows of a block");
    assert_rejected("softmax+block()", 15, "a .npy file");
    assert_rejected("softmax+block(0)", 15, "a whole number from 1");
    assert_rejected("softmax+block(a,0)", 17, "a whole number from 1");
    assert_rejected("softmax+mask(my mask.npy)", 17, "\")\"");
    assert_rejected("softmax+mask(m*.npy)", 15, "\")\"");
    assert_rejected("softmax+mask()", 14, "a .npy file");
    assert_rejected("softmax+mask(\"\")", 14, "is empty");
    assert_rejected("softmax+mask(\"a.npy)", 14, "not closed");
    assert_rejected("softmax+softcap(0)", 17, "greater than 0");
    assert_rejected("softmax+softcap(-5)", 17, "greater than 0");
    assert_rejected("softmax+softcap", 16, "softcap(50)");
    assert_rejected("softmax+scale(0)", 15, "greater than 0");
    assert_rejected("softmax+scale(1e-60)", 15, "greater than 0");
    assert_rejected("softmax+scale()", 15, "a number for scale");
    assert_rejected("softmax+bias(1)", 13, "the end");
    assert_rejected("softmax+alibi+alibi", 15, "twice");
    assert_rejected("softmax+nb", 9, "did you mean");
    assert_rejected("softmax+quicksand", 9, "expected a part");
    assert_rejected("softmax+", 9, "expected a part");
    assert_rejected("softmax+softmax", 9, "once");
    assert_rejected("softmax bn", 9, "\"+\"");
    assert_rejected("softmax+bn+bn", 12, "twice");
    assert_rejected("softmax+sh(1)+sh(2)", 15, "twice");
    assert_rejected("softmax+sh(1)x", 14, "the end");
    assert_rejected("softmax+bn(", 12, "beta, scale or eps");
    assert_rejected("softmax+bn()", 12, "beta, scale or eps");
    assert_rejected("softmax+bn(bta=1)", 12, "did you mean \"beta\"?");
    assert_rejected("softmax+bn(beta=1", 18, "\")\"");
    assert_rejected("softmax+bn(beta 1)", 17, "\"=\"");
    assert_rejected("softmax+bn(beta=)", 17, "a number");
    assert_rejected("softmax+bn(beta=nan)", 17, "\"nan\" is not known");
    assert_rejected("softmax+bn(beta=1e99)", 17, "too large");
    assert_rejected("softmax+bn(beta=lerned)", 17, "did you mean \"learned\"?");
    assert_rejected("softmax+bn(beta=1,beta=2)", 19, "twice");
    assert_rejected("softmax+bn(beta=0,6)", 19, "\"6\" is not known");
    assert_rejected("softmax+bn(eps=0)", 16, "greater than 0");
    assert_rejected("softmax+bn(eps=-1e-5)", 16, "greater than 0");
    assert_rejected("softmax+bn(eps=1e-99)", 16, "greater than 0");
    assert_rejected("softmax+bn(scale=maybe)", 18, "on or off");
    assert_rejected("softmax+sh", 11, "the scales");
    assert_rejected("softmax+sh()", 12, "a whole number");
    assert_rejected("softmax+sh(0)", 12, "a whole number");
    assert_rejected("softmax+sh(-1)", 12, "a whole number");
    assert_rejected("softmax+sh(1.5)", 12, "a whole number");
    assert_rejected("softmax+sh(1,,2)", 14, "a whole number");
    assert_rejected("softmax+sh(99999999999999999999999)", 12, "a whole number");
    assert_rejected("softmax+sh(1;2)", 13, "\",\"");
    xp_specification specification;
    assert_int_equal(xp_specification_parse(NULL, &specification), XP_INVALID_ARGUMENT);
}

static void scores_are_one_expression_with_names(void **state) {
    assert_rejected("softmax+score", 14, "score(\"");
    assert_rejected("softmax+score(score)", 15, "in double quotes");
    assert_rejected("softmax+score(\"\")", 15, "is empty");
    assert_rejected("softmax+score(\"  \")", 18, "ends too early");
    assert_rejected("softmax+score(\"score", 15, "not closed");
    assert_rejected("softmax+score(\"score\n\")", 21, "a new line");
    assert_rejected("softmax+score(\"(score\")", 16, "a \")\" is missing");
    assert_rejected("softmax+score(\"score)\")", 21, "has no opening bracket");
    assert_rejected("softmax+score(\"score + (t[head)]\",t=t.npy)", 31, "has no opening bracket");
    assert_rejected("softmax+score(\")(\")", 16, "is not allowed here");
    assert_rejected("softmax+score(\"score * 2\")", 15, "its derivative");
    assert_rejected("softmax+score(\"score * 2\", derivative=\"\")", 39, "is empty");
    assert_rejected("softmax+score(\"score * 2\", derivative=\"2)\")", 41, "has no opening bracket");
    assert_rejected("softmax+score(\"score\", derivative=\"1\", derivative=\"1\")", 40, "twice");
    assert_rejected("softmax+score(\"score\", 3)", 24, "derivative=");
    assert_rejected("softmax+score(\"score\", a)", 25, "\"=\"");
    assert_rejected("softmax+score(\"score\", a=)", 26, "a .npy file");
    assert_rejected("softmax+score(\"score\", a=1, a=2)", 29, "twice");
    assert_rejected("softmax+score(\"score\", head=1)", 24, "is already a name");
    assert_rejected("softmax+score(\"score\", exp=1)", 24, "is already a name");
    assert_rejected("softmax+score(\"score\", float=1)", 24, "is already a name");
    assert_rejected("softmax+score(\"score\", XP_D=1)", 24, "is already a name");
    assert_rejected("softmax+score(\"score\", a=1e99)", 26, "too large");
    assert_rejected("softmax+score(\"score\", a=1, b=2, c=3, d=4, e=5)", 44, "more than 4 names");
    assert_rejected("softmax+score(\"score\", abcdefghijklmnopqrstuvwxyzabcdefgh=1)", 24, "more than 31 letters");
    assert_rejected("softmax+score(\"score\" a=1)", 23, "\",\"");
}

/* Of each kind of text that would make a score more than a number: where it is rejected, and for what. */
static void a_score_is_a_number_and_nothing_else(void **state) {
    static const struct {
        const char *text;
        int column; /* within the text, from 1 */
        const char *reason;
    } wrong[] = {
        {"score + 0.0f * *(volatile __global float*)(8ul)", 16, "\"*\" is not allowed"},
        {"score + (float)1", 10, "\"float\" is not known"},
        {"score + (float2)(1.0f)", 10, "\"float2\" is not known"},
        {"score + &head", 9, "\"&\" is not allowed"},
        {"score + (head & 1)", 15, "\"&\" is not allowed"},
        {"score + (head | 1)", 15, "\"|\" is not allowed"},
        {"score + (head << 1)", 16, "\"<\" is not allowed"},
        {"score + ~head", 9, "\"~\" is not allowed"},
        {"score.x", 6, "\".\" is not allowed"},
        {"t[0].x + score", 5, "\".\" is not allowed"},
        {"t->x + score", 1, "\"t\" is a table"},
        {"score + t", 9, "\"t\" is a table"},
        {"score + *t", 9, "\"*\" is not allowed"},
        {"score[0]", 6, "\"[\" is not allowed"},
        {"score + (c + t)[1]", 14, "\"t\" is a table"},
        {"score + t[score]", 10, "not a whole number"},
        {"score + as_float(head)", 9, "\"as_float\" is not a known function"},
        {"score + printf(head)", 9, "\"printf\" is not a known function"},
        {"score + get_global_id(0)", 9, "is not a known function"},
        {"score + sincos(score, c)", 9, "is not a known function"},
        {"score + exp", 9, "\"exp\" is not known"},
        {"score + c(1)", 9, "\"c\" is not a known function"},
        {"score + (exp)(score)", 10, "\"exp\" is not known"},
        {"score + sizeof(head)", 9, "is not a known function"},
        {"score + __builtin_trap()", 9, "is not a known function"},
        {"score + (__global)", 10, "is not known"},
        {"score; x", 6, "\";\" is not allowed"},
        {"{score}", 1, "\"{\" is not allowed"},
        {"score}", 6, "\"}\" is not allowed"},
        {"#x", 1, "\"#\" is not allowed"},
        {"score + \\n", 9, "is not allowed"},
        {"score + '('", 9, "is not allowed"},
        {"score // 1", 7, "a comment"},
        {"score /* 1", 7, "a comment"},
        {"score ä", 7, "\"ä\" is not allowed"},
        {"score, 1", 6, "\",\" is not allowed"},
        {"score = 1", 7, "\"=\" is not allowed"},
        {"score += 1", 8, "\"=\" is not allowed"},
        {"score++", 6, "\"++\" is not allowed"},
        {"score - --c", 9, "\"--\" is not allowed"},
        {"score--1", 6, "\"--\" is not allowed"},
        {"score <: 1", 8, "\":\" is not allowed"},
        {"score ?\?/ 1", 8, "\"?\" is not allowed"},
        {"score ?: 1", 8, "\":\" is not allowed"},
        {"goto", 1, "is not known"},
        {"score + asm(1)", 9, "is not a known function"},
        {"score + 1.0f.x", 9, "expected a number"},
        {"score + 1e-3c", 9, "expected a number"},
        {"score + 0x10", 9, "expected a number"},
        {"score + 8ul", 9, "expected a number"},
        {"score + 010", 9, "must not begin with 0"},
        {"score + 99999999999", 9, "at most"},
        {"score + key_index / head", 19, "divided by a whole number other than 0"},
        {"score + key_index % 0", 19, "divided by a whole number other than 0"},
        {"score + key_index / (1 - 1)", 19, "divided by a whole number other than 0"},
        {"score % 2", 7, "fmod"},
        {"abs(score)", 1, "fabs"},
        {"score + max(1)", 14, "max takes 2 arguments"},
        {"score + exp(1.0f, 2.0f)", 17, "exp takes 1 argument"},
        {"score + exp()", 13, "\")\" is not allowed"},
        {"score + query_idx", 9, "did you mean \"query_index\"?"},
        {"score + d", 9, "\"d\" is not known"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "softmax+score(\"%s\",derivative=\"1\",c=1,t=t.npy)", wrong[i].text);
        assert_rejected(text, 15 + wrong[i].column, wrong[i].reason);
        snprintf(text, sizeof text, "softmax+score(\"1\",derivative=\"%s\",c=1,t=t.npy)", wrong[i].text);
        assert_rejected(text, 30 + wrong[i].column, wrong[i].reason);
    }
}

static void a_score_computes_with_numbers_names_and_tables(void **state) {
    static const char *const right[] = {"c * score*-c / 2 - -1",
                                        "score > 1 && !(head == 2) || batch != 0 ? exp(-score) : +t[head * 2]",
                                        "t[key_index / 16 + query_index % 3] <= t[abs(query_index - key_index)]",
                                        "clamp(score, -1.0f, 1e3f) + max(head, batch) + .5 + 3.e-4f",
                                        "mix(fma(c, score, c), pow(fabs(score), 0.5f), 0.5f)",
                                        "t[min(query_index, max(key_index, 0))]",
                                        "(((score)))",
                                        "score / head",
                                        "isnan(score) ? -INFINITY : M_PI_F * score"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "softmax+score(\"%s\",derivative=\"1\",c=1,t=t.npy)", right[i]);
        parsed(text);
    }
}

static void brackets_are_rejected_before_they_are_too_deep(void **state) {
    for (const char *const *opening = (const char *const[]){"(", "-(", "exp(", "t[", "score?1:", "- ", NULL}; *opening;
         opening++) {
        char text[XP_SPECIFICATION_BYTES + 100] = "softmax+score(\"";
        while (strlen(text) < 1000) strcat(text, *opening);
        strcat(text, "1\",derivative=\"1\",t=t.npy)");
        xp_specification specification;
        assert_int_equal(xp_specification_parse(text, &specification), XP_INVALID_ARGUMENT);
        assert_non_null(strstr(xp_last_error(), "more than 64"));
    }
}

static bool needs_no_derivative(const char *score) {
    char text[256];
    xp_specification specification;
    snprintf(text, sizeof text, "softmax+score(\"%s\",x=1,t=t.npy)", score);
    const xp_status status = xp_specification_parse(text, &specification);
    if (status != XP_OK && !strstr(xp_last_error(), "its derivative")) fail_msg("%s: %s", score, xp_last_error());
    return status == XP_OK;
}

static void sums_with_the_score_need_no_derivative(void **state) {
    static const char *const yes[] = {"score",
                                      "score - 0.1f * abs(query_index - key_index)",
                                      "1.0f + score",
                                      "score+1e-3f*head",
                                      "x * -2 + score",
                                      "score + (batch > 1 ? x : -x)",
                                      "score - t[head * 3 + (key_index % 2)]",
                                      "+score - -1",
                                      "exp(x) + score",
                                      "2e+3f + score",
                                      "(score)",
                                      "1 + (score - x)"};
    static const char *const no[] = {"x",
                                     "score * 2",
                                     "2 * score + 1",
                                     "-score",
                                     "- +score",
                                     "1 - score",
                                     "score + score",
                                     "score - score",
                                     "score + exp(score)",
                                     "score > 1",
                                     "score + x > 1",
                                     "score + 1 ? 2 : 3",
                                     "x ? score : 1",
                                     "score + x && x",
                                     "x * +score",
                                     "!score",
                                     "exp(score)",
                                     "1 - (x - score)",
                                     "score + t[score > 1]"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (!needs_no_derivative(yes[i])) fail_msg("\"%s\" is the score plus something", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (needs_no_derivative(no[i])) fail_msg("\"%s\" is not the score plus something", no[i]);
}

static void long_texts_are_quoted_around_the_place(void **state) {
    char text[2048] = "softmax+mask(\"mask";
    while (strlen(text) < 900) strcat(text, " + 1.0f * ä");
    strcat(text, "\")+wnidow(1,1)");
    xp_specification specification;
    assert_int_equal(xp_specification_parse(text, &specification), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "wnidow"));
    assert_non_null(strstr(xp_last_error(), "did you mean \"window\"?"));
    assert_true(strlen(xp_last_error()) < 400);
}

static void too_many_scales_are_rejected(void **state) {
    char text[512] = "softmax+sh(1";
    for (int i = 1; i < XP_SPECIFICATION_SCALES; i++) strcat(text, ",1");
    char *end = text + strlen(text);
    strcpy(end, ")");
    assert_int_equal(parsed(text).scale_count, XP_SPECIFICATION_SCALES);
    strcpy(end, ",1)");
    assert_rejected(text, (int)(end - text) + 2, "more than 64");
}

static void a_failure_leaves_the_struct_alone(void **state) {
    xp_specification specification = parsed("softmax+sh(3)");
    assert_int_equal(xp_specification_parse("softmax+bn+what", &specification), XP_INVALID_ARGUMENT);
    assert_true(specification.scale_count == 1 && !specification.bn);
}

static void messages_hold_no_control_bytes(void **state) {
    xp_specification specification;
    assert_int_equal(xp_specification_parse("softmax+\033[31mbn", &specification), XP_INVALID_ARGUMENT);
    assert_null(strchr(xp_last_error(), '\033'));
}

static const xp_specification_use SERIES = {.heads = 4, .longest = 40},
                                  IMAGE = {.heads = 4, .longest = 14, .grid = true};

static void assert_allowed(const char *text, const xp_specification_use *use) {
    const xp_specification specification = parsed(text);
    if (xp_specification_check(&specification, use) != XP_OK) fail_msg("%s: %s", text, xp_last_error());
}

static void assert_denied(const char *text, const xp_specification_use *use, const char *reason) {
    const xp_specification specification = parsed(text);
    if (xp_specification_check(&specification, use) != XP_INVALID_ARGUMENT) fail_msg("%s is let through", text);
    if (!strstr(xp_last_error(), reason) || !strstr(xp_last_error(), "attention \""))
        fail_msg("%s: \"%s\" does not name \"%s\"", text, xp_last_error(), reason);
}

static void models_limit_scales(void **state) {
    assert_allowed("softmax+bn", &(xp_specification_use){.heads = 7, .longest = 1});
    assert_allowed("softmax+sh(1,2,4)", &(xp_specification_use){.heads = 6, .longest = 4});
    assert_denied("softmax+sh(1,2,4)", &(xp_specification_use){.heads = 8, .longest = 4}, "8 heads");
    assert_denied("softmax+sh(1,2,4)", &(xp_specification_use){.heads = 6, .longest = 3}, "scale 4");
    assert_denied("softmax+sh(1,2)", &(xp_specification_use){.heads = 4, .key_heads = 2, .longest = 9}, "key_heads");
    assert_allowed("softmax+sh(1,2)", &(xp_specification_use){.heads = 4, .key_heads = 4, .longest = 9});
}

static void parts_that_do_not_go_together_are_rejected(void **state) {
    assert_denied("linear+alibi", &SERIES, "alibi works only with softmax");
    assert_denied("linear+softcap(5)", &SERIES, "softcap works only with softmax");
    assert_denied("linear+bias", &SERIES, "bias works only with softmax");
    assert_denied("linear+score(\"score\")", &SERIES, "score works only with softmax");
    assert_denied("softmax+unnormalised", &SERIES, "unnormalised works only with linear");
    assert_denied("softmax+conv1d(3)+conv2d(3)", &SERIES, "choose one");
    assert_denied("softmax+conv2d(3)", &SERIES, "conv2d needs the patch grid");
    assert_denied("softmax+conv1d(3)", &IMAGE, "conv1d needs a sequence");
    assert_denied("softmax+conv2d(3)+causal", &IMAGE, "after a query");
    assert_denied("softmax+conv2d(3)+window(3,0)", &IMAGE, "after a query");
    assert_denied("softmax+sh(1,2)+causal", &IMAGE, "causal cannot be combined with sh on an image");
    assert_denied("softmax+sh(1,2)+window(2,2)", &IMAGE, "window cannot be combined with sh on an image");
    assert_denied("softmax+sh(1,2)+strided(2)", &IMAGE, "strided cannot be combined with sh on an image");
    assert_denied("softmax+sh(1,2)+alibi", &IMAGE, "alibi cannot be combined with sh on an image");
    assert_denied("softmax+sh(1,2)+causal(last)", &SERIES, "causal(last) cannot be combined with sh");
    assert_denied("softmax+block(4)+mask(m.npy)", &SERIES, "block and mask");
    assert_allowed("softmax+causal+window(3,2)+strided(2)+sh(1,2)+conv1d(3)+bn(scale=off)+alibi", &SERIES);
    assert_allowed("linear(identity)+unnormalised+scale(2)+causal(last)+block(4)", &SERIES);
    assert_allowed("softmax+conv2d(3)+sh(1,2)+mask(m.npy)+bias+softcap(3)", &IMAGE);
    assert_allowed("softmax+causal+strided(2)+window(9,9)", &IMAGE);
}

static void one_sided_patterns_are_told(void **state) {
    static const struct {
        const char *text;
        bool answer;
    } cases[] = {{"softmax", false},
                 {"softmax+causal", true},
                 {"linear+causal(last)", true},
                 {"softmax+window(3,0)", true},
                 {"softmax+window(3,1)", false},
                 {"softmax+window(3,1)+causal", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const xp_specification specification = parsed(cases[i].text);
        assert_int_equal(xp_specification_is_one_sided(&specification), cases[i].answer);
    }
}

/* Any positive finite number. */
static float draw_positive(xp_random *random) {
    const uint32_t bits = 1 + xp_random_below(random, 0x7f7fffff);
    float value;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static void draw_file(xp_random *random, char *out) {
    static const char letters[] = "abcXYZ0189._-/ ()+,=*";
    const uint32_t plain = xp_random_below(random, 2), length = 1 + xp_random_below(random, 12);
    for (uint32_t i = 0; i < length; i++)
        out[i] = letters[xp_random_below(random, plain ? 14 : (uint32_t)sizeof letters - 1)];
    out[length] = 0;
}

static void draw_score(xp_random *random, xp_specification *out) {
    static const char *const texts[] = {"score", "score - 0.1f * abs(query_index - key_index)", "a * score",
                                        "tanh(score)"};
    static const char *const derivatives[] = {"", "1.0f", "a", "1.0f - tanh(score) * tanh(score)"};
    static const char *const names[] = {"a", "b_2", "Table", "x"};
    const uint32_t choice = xp_random_below(random, 4);
    strcpy(out->score, texts[choice]);
    strcpy(out->derivative, derivatives[choice]);
    const bool named = choice == 2; /* its first name is a number */
    out->name_count = named + (int)xp_random_below(random, 5 - named);
    for (int i = 0; i < out->name_count; i++) {
        strcpy(out->names[i].name, names[i]);
        if (!(named && i == 0) && xp_random_below(random, 2))
            draw_file(random, out->names[i].file);
        else
            out->names[i].value = (float)xp_random_normal(random);
    }
}

static xp_specification draw(xp_random *random) {
    xp_specification specification = parsed("softmax");
    specification.features = (int)xp_random_below(random, 5);
    specification.unnormalised = xp_random_below(random, 4) == 0;
    if (xp_random_below(random, 3)) {
        specification.bn = true;
        specification.bn_beta_learned = xp_random_below(random, 3) == 0;
        if (!specification.bn_beta_learned && xp_random_below(random, 2))
            specification.bn_beta = (float)xp_random_normal(random);
        specification.bn_scale = xp_random_below(random, 2);
        if (xp_random_below(random, 2)) specification.bn_epsilon = draw_positive(random);
    }
    if (xp_random_below(random, 3) == 0) specification.scale_count = 1 + (int)xp_random_below(random, 64);
    for (int i = 0; i < specification.scale_count; i++)
        specification.scales[i] = 1 + (int)xp_random_below(random, xp_random_below(random, 2) ? 9 : 32767);
    if (xp_random_below(random, 3) == 0) specification.conv1d = 1 + 2 * (int)xp_random_below(random, 64);
    if (xp_random_below(random, 3) == 0) specification.conv2d = 1 + 2 * (int)xp_random_below(random, 64);
    specification.causal = xp_random_below(random, 2);
    specification.causal_last = specification.causal && xp_random_below(random, 2);
    if ((specification.window = xp_random_below(random, 3) == 0)) {
        specification.left = (int)xp_random_below(random, 1000);
        specification.right = (int)xp_random_below(random, 1000000001);
    }
    if (xp_random_below(random, 3) == 0) specification.stride = 1 + (int)xp_random_below(random, 99);
    if (xp_random_below(random, 3) == 0) specification.block = 1 + (int)xp_random_below(random, 99);
    if (specification.block && xp_random_below(random, 2)) draw_file(random, specification.block_file);
    if (xp_random_below(random, 3) == 0) draw_file(random, specification.mask_file);
    specification.alibi = xp_random_below(random, 3) == 0;
    specification.bias = xp_random_below(random, 3) == 0;
    if (xp_random_below(random, 3) == 0) specification.soft_cap = draw_positive(random);
    if (xp_random_below(random, 3) == 0) specification.scale = draw_positive(random);
    if (xp_random_below(random, 3) == 0) draw_score(random, &specification);
    return specification;
}

static void printing_and_parsing_are_inverse(void **state) {
    xp_random random;
    xp_random_start(&random, 41, 0);
    /* where the machine has it, a locale with a decimal comma must change nothing */
    setlocale(LC_ALL, "de_DE.UTF-8");
    for (int i = 0; i < 5000; i++) {
        const xp_specification drawn = draw(&random);
        const char *text = printed(&drawn);
        const xp_specification back = parsed(text);
        if (!equal(&drawn, &back)) fail_msg("%s does not parse back to what was printed", text);
        assert_string_equal(text, printed(&back));
    }
    setlocale(LC_ALL, "C");
}

static void damaged_texts_never_crash(void **state) {
    xp_random random;
    xp_random_start(&random, 43, 0);
    int accepted = 0, rejected = 0;
    for (int i = 0; i < 20000; i++) {
        char text[8192];
        const xp_specification drawn = draw(&random);
        strcpy(text, printed(&drawn));
        const size_t length = strlen(text);
        for (uint32_t edits = 1 + xp_random_below(&random, 3); edits > 0; edits--) {
            const size_t at = xp_random_below(&random, (uint32_t)length);
            static const char syntax[] = "+(),=.-e019 \"bnshbeta\t";
            if (xp_random_below(&random, 4) == 0)
                text[at] = (char)xp_random_below(&random, 256);
            else
                text[at] = syntax[xp_random_below(&random, sizeof syntax)];
        }
        char *copy = strdup(text); /* of exactly its length, so that a read beyond it is seen by a sanitizer */
        assert_non_null(copy);
        xp_specification specification;
        const xp_status status = xp_specification_parse(copy, &specification);
        if (status == XP_OK) {
            const xp_specification back = parsed(printed(&specification));
            assert_true(equal(&specification, &back));
            accepted++;
        } else {
            assert_int_equal(status, XP_INVALID_ARGUMENT);
            assert_non_null(strstr(xp_last_error(), "column "));
            rejected++;
        }
        free(copy);
    }
    assert_true(accepted > 100 && rejected > 100);
}

static void random_bytes_never_crash(void **state) {
    xp_random random;
    xp_random_start(&random, 47, 0);
    for (int i = 0; i < 20000; i++) {
        const size_t length = xp_random_below(&random, 60), kernel = xp_random_below(&random, 2) ? 8 : 0;
        char *text = malloc(kernel + length + 1);
        assert_non_null(text);
        memcpy(text, "softmax+", kernel);
        for (size_t j = 0; j < length; j++) text[kernel + j] = (char)(1 + xp_random_below(&random, 255));
        text[kernel + length] = 0;
        xp_specification specification;
        if (xp_specification_parse(text, &specification) != XP_OK) assert_non_null(strstr(xp_last_error(), "column "));
        xp_expression expression;
        if (!xp_expression_read(text, NULL, 0, &expression)) assert_true(expression.place <= strlen(text));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_papers),
        cmocka_unit_test(every_part_fills_its_fields),
        cmocka_unit_test(printing_is_short_and_in_one_order),
        cmocka_unit_test(faults_are_marked_and_explained),
        cmocka_unit_test(scores_are_one_expression_with_names),
        cmocka_unit_test(a_score_is_a_number_and_nothing_else),
        cmocka_unit_test(a_score_computes_with_numbers_names_and_tables),
        cmocka_unit_test(brackets_are_rejected_before_they_are_too_deep),
        cmocka_unit_test(sums_with_the_score_need_no_derivative),
        cmocka_unit_test(long_texts_are_quoted_around_the_place),
        cmocka_unit_test(too_many_scales_are_rejected),
        cmocka_unit_test(a_failure_leaves_the_struct_alone),
        cmocka_unit_test(messages_hold_no_control_bytes),
        cmocka_unit_test(models_limit_scales),
        cmocka_unit_test(parts_that_do_not_go_together_are_rejected),
        cmocka_unit_test(one_sided_patterns_are_told),
        cmocka_unit_test(printing_and_parsing_are_inverse),
        cmocka_unit_test(damaged_texts_never_crash),
        cmocka_unit_test(random_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
