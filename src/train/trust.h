/* Whose score a folder holds. A score is code, and a folder that was copied from elsewhere belongs to this user like any
 * other; so folders that this user's runs write carry a mark beside config.yaml, which nobody can make without the
 * user's key. Owns the key and the mark; what a score may say is for model/expression.h. */
#ifndef XP_TRAIN_TRUST_H
#define XP_TRAIN_TRUST_H

#include "core/status.h"

/* Leaves the mark of this attention's score in the folder; does nothing where it has none, or there is no key. */
void xp_trust_mark(const char *folder, const char *attention);

/* XP_INVALID_ARGUMENT: the attention has a score, and the folder no mark of it by this user. The message shows the score,
 * and says what there is to do, and why there is no key where that is so. */
xp_status xp_trust_check(const char *folder, const char *attention);

#endif
