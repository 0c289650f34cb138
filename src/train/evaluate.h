/* What evaluation shares with other uses of a trained model: data as the model knows them. */
#ifndef XP_TRAIN_EVALUATE_H
#define XP_TRAIN_EVALUATE_H

#include "train/checkpoint.h"
#include "train/session.h"
#include "train/trainer.h"

/* Opens the data and makes them look like the training data: class numbers, padding, missing values, standardisation.
 * The caller closes *out, also after a failure. */
xp_status xp_evaluate_data(const xp_checkpoint *checkpoint, const xp_evaluate_options *options, xp_dataset **out);

/* Passes the status of a session's step on; if an answer was not a number, the message gets its remedy. */
xp_status xp_evaluate_advise(const xp_session *session, xp_status status);

#endif
