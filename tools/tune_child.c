#include "tune.h"

#include "child.h"

#include <stdio.h>

xp_status xp_tune_child_trial(void *user, const xp_tune_order *order, double seconds, xp_tune_reply *reply) {
    enum { MOST_WORDS = 80, OWN_WORDS = 6 };
    const xp_tune_children *children = user;
    char steps[16];
    snprintf(steps, sizeof steps, "%d", order->steps);
    const char *words[MOST_WORDS] = {"tune",
                                     XP_TRIAL_WORD,
                                     order->defaults,
                                     order->candidates ? order->candidates : "-",
                                     order->in_turn ? XP_TRIAL_IN_TURN : XP_TRIAL_AFTER,
                                     steps};
    for (int i = 0; children->words[i] && OWN_WORDS + i < MOST_WORDS - 1; i++)
        words[OWN_WORDS + i] = children->words[i];
    xp_child child;
    XP_TRY(xp_child_run(words, NULL, seconds, &child));
    *reply = (xp_tune_reply){.answer = child.answer, .length = child.length, .status = child.status};
    snprintf(reply->reason, sizeof reply->reason, "%s", child.reason);
    return XP_OK;
}

xp_status xp_tune_child_check(void *user, const char *operation, const char *table, int cases, double seconds,
                              bool *right) {
    const xp_tune_children *children = user;
    char filter[96], count[16];
    snprintf(filter, sizeof filter, "^%s$", operation);
    snprintf(count, sizeof count, "%d", cases);
    const char *words[12] = {"check", "--filter", filter, "--cases", count, "--until-failure"},
               *environment[] = {"EXPANSE_TUNING", table, NULL};
    const char *const choices[][2] = {{"--device", children->device}, {"--family", children->family}};
    int used = 6;
    for (int i = 0; i < 2; i++)
        if (choices[i][1]) words[used++] = choices[i][0], words[used++] = choices[i][1];
    xp_child child;
    XP_TRY(xp_child_run(words, environment, seconds, &child));
    *right = child.code == 0;
    return XP_OK;
}
