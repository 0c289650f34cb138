/* Whether the score in a folder comes from this user. A score is code, and ownership of a copied folder proves nothing;
 * therefore folders written by this user's runs have a mark beside config.yaml, which requires the user's key. Owns the
 * key and the mark; model/expression.h defines what a score may contain. */
#ifndef XP_TRAIN_TRUST_H
#define XP_TRAIN_TRUST_H

#include "core/status.h"

/* Leaves the mark of this attention's score in the folder; does nothing where it has none, or there is no key. */
void xp_trust_mark(const char *folder, const char *attention);

/* XP_INVALID_ARGUMENT: the attention has a score, but the folder has no valid mark by this user. The message shows the
 * score, says what to do, and if there is no key, why. */
xp_status xp_trust_check(const char *folder, const char *attention);

#endif
