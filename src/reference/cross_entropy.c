/* The oracle of the weighted, smoothed softmax cross-entropy and of its gradient. */
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/reference.h"

#include <tgmath.h>

static const double TIE = 1e-5;

/* What is known of the samples: their classes, or the shares of all classes. */
typedef struct truth {
    const int32_t *labels; /* [batch], or NULL */
    const xp_real *shares; /* [batch][classes], or NULL */
    const xp_real *weights;
    int64_t classes;
} truth;

static truth truth_of(const xp_reference_call *call, int labels, int64_t classes) {
    const bool soft = call->node->inputs[labels]->type == XP_F32;
    return (truth){.labels = soft ? NULL : call->inputs[labels],
                   .shares = soft ? call->inputs[labels] : NULL,
                   .weights = call->inputs[labels + 1],
                   .classes = classes};
}

static bool counts(const truth *t, int64_t b) {
    return t->weights[b] != 0 && (t->shares || (t->labels[b] >= 0 && t->labels[b] < t->classes));
}

static xp_real share(const truth *t, int64_t b, int64_t c) {
    return t->shares ? t->shares[b * t->classes + c] : c == t->labels[b] ? 1 : 0;
}

static bool is_right(const truth *t, int64_t b, int64_t answer) {
    for (int64_t c = 0; c < t->classes; c++)
        if (share(t, b, c) > share(t, b, answer)) return false;
    return true;
}

void XP_REFERENCE_NAME(cross_entropy)(const xp_reference_call *call) {
    xp_real smoothing = (xp_real)XP_ATTRIBUTES(xp_cross_entropy_attributes, call->node)->smoothing;
    int64_t batch = call->node->inputs[0]->shape[0], classes = call->node->inputs[0]->shape[1];
    const truth known = truth_of(call, 1, classes);
    const xp_real *weights = known.weights;
    xp_real *loss = call->outputs[0], *losses = call->outputs[2];
    xp_real *correct = call->outputs[3], *in_count = call->outputs[4];
    xp_real sum = 0, weight = 0;
    double sum_terms = 0;
    for (int64_t b = 0; b < batch; b++) {
        const xp_real *logits = (const xp_real *)call->inputs[0] + b * classes;
        xp_real *probabilities = (xp_real *)call->outputs[1] + b * classes;
        xp_real largest = logits[0], total = 0;
        for (int64_t c = 1; c < classes; c++)
            if (logits[c] > largest) largest = logits[c];
        for (int64_t c = 0; c < classes; c++) total += exp(logits[c] - largest);
        xp_real result = 0, terms = 0;
        bool finite = true;
        int64_t best = 0;
        bool close = false; /* to the likeliest class is another, which rounding may prefer */
        for (int64_t c = 0; c < classes; c++) {
            xp_real logarithm = logits[c] - largest - log(total);
            xp_real target = smoothing / (xp_real)classes + share(&known, b, c) * (1 - smoothing);
            probabilities[c] = exp(logits[c] - largest) / total;
            finite = finite && isfinite(probabilities[c]);
            if (probabilities[c] > probabilities[best]) {
                close = (double)(probabilities[c] - probabilities[best]) < TIE;
                best = c;
            } else if (c > best && (double)(probabilities[best] - probabilities[c]) < TIE) {
                close = true;
            }
            result -= target * logarithm;
            terms += target * (fabs(logits[c]) + fabs(largest) + fabs(log(total)));
            /* exp turns the rounding of its argument into a relative error of that size. */
            if (call->magnitudes[1])
                call->magnitudes[1][b * classes + c] =
                    (double)(probabilities[c] * (1 + fabs(logits[c]) + fabs(largest)));
        }
        bool counted = counts(&known, b);
        if (correct && call->magnitudes[3]) call->magnitudes[3][b] = close ? 1e9 : 0;
        if (correct) correct[b] = !finite ? (xp_real)NAN : counted && is_right(&known, b, best);
        if (in_count) in_count[b] = counted;
        losses[b] = counted ? result : 0;
        if (call->magnitudes[2]) call->magnitudes[2][b] = counted ? (double)terms : 0;
        if (!counted) continue;
        sum += weights[b] * result;
        weight += weights[b];
        sum_terms += (double)(weights[b] * terms);
    }
    loss[0] = weight > 0 ? sum / weight : 0;
    if (call->magnitudes[0]) call->magnitudes[0][0] = weight > 0 ? sum_terms / (double)weight : 0;
}

void XP_REFERENCE_NAME(cross_entropy_backward)(const xp_reference_call *call) {
    xp_real smoothing = (xp_real)XP_ATTRIBUTES(xp_cross_entropy_attributes, call->node)->smoothing;
    int64_t batch = call->node->inputs[1]->shape[0], classes = call->node->inputs[1]->shape[1];
    const xp_real *d_loss = call->inputs[0], *probabilities = call->inputs[1];
    const truth known = truth_of(call, 2, classes);
    const xp_real *weights = known.weights;
    xp_real *d_logits = call->outputs[0], weight = 0;
    for (int64_t b = 0; b < batch; b++)
        if (counts(&known, b)) weight += weights[b];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t c = 0; c < classes; c++) {
            int64_t i = b * classes + c;
            bool counted = weight > 0 && counts(&known, b);
            xp_real target = smoothing / (xp_real)classes + share(&known, b, c) * (1 - smoothing);
            xp_real factor = counted ? d_loss[0] * weights[b] / weight : 0;
            d_logits[i] = counted ? factor * (probabilities[i] - target) : 0;
            if (call->magnitudes[0])
                call->magnitudes[0][i] = counted ? (double)(fabs(factor) * (probabilities[i] + target)) : 0;
        }
}
