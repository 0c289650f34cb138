/* Which combination a kernel tries next. */
#include "tune/search.h"

/* The combination that represents all equivalent ones: those with an exclusive value, whatever the other parameters. */
static int representative(const xp_tune_request *q, int combination) {
    for (int p = 0, unit = 1; p < q->parameters; unit *= q->sizes[p++]) {
        const int own = xp_tune_digit(q, combination, p);
        if (q->exclusive[p] && q->values[p][own] == q->exclusive[p])
            return q->fallback + (own - xp_tune_digit(q, q->fallback, p)) * unit;
    }
    return combination;
}

/* Untried, and of no value that has failed three times and never worked. */
static bool worth_trying(const xp_tune_request *q, int combination) {
    if (q->ratio[combination] != XP_TUNE_UNTRIED || representative(q, combination) != combination) return false;
    for (int p = 0; p < q->parameters; p++) {
        int failed = 0, worked = 0;
        for (int c = 0; c < q->combinations; c++)
            if (xp_tune_digit(q, c, p) == xp_tune_digit(q, combination, p))
                failed += q->ratio[c] == XP_TUNE_REJECTED, worked += q->ratio[c] > 0;
        if (failed >= 3 && worked == 0) return false;
    }
    return true;
}

static int random_untried(xp_search *s, const xp_tune_request *q) {
    int untried = 0, chosen = q->fallback;
    for (int c = 0; c < q->combinations; c++)
        if (worth_trying(q, c) && xp_random_below(&s->random, (uint32_t)++untried) == 0) chosen = c;
    return chosen;
}

/* An untried combination one step away from the best in one parameter; the default if there is none. */
static int untried_neighbour(xp_search *s, const xp_tune_request *q) {
    int found = 0, chosen = q->fallback;
    for (int p = 0, unit = 1; p < q->parameters; unit *= q->sizes[p++])
        for (int step = -1; step <= 1; step += 2) {
            const int at = xp_tune_digit(q, q->best, p) + step;
            if (at < 0 || at >= q->sizes[p]) continue;
            const int c = representative(q, q->best + step * unit);
            if (!worth_trying(q, c)) continue;
            if (xp_random_below(&s->random, (uint32_t)++found) == 0) chosen = c;
        }
    return chosen;
}

/* A request of the kernel with untried combinations, more often one with a large share; NULL: none. */
static xp_tune_request *leader_of(xp_search *s, int kernel) {
    xp_tune_request *leader = NULL;
    double sum = 0;
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        if (q->group != kernel || !q->searched || random_untried(s, q) == q->fallback) continue;
        sum += q->share;
        if (xp_random_unit(&s->random) * sum <= q->share) leader = q;
    }
    return leader;
}

bool xp_tune_pick(xp_search *s, int kernel) {
    const xp_tune_request *leader = leader_of(s, kernel);
    int combination = 0;
    if (leader) {
        combination = s->rounds % 3 == 0 ? leader->fallback : untried_neighbour(s, leader);
        if (combination == leader->fallback) combination = random_untried(s, leader);
    }
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        if (q->group != kernel) continue;
        q->pick = leader && q->searched && q->ratio[combination] == XP_TUNE_UNTRIED ? combination : q->base;
    }
    return leader != NULL;
}
