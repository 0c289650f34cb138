/* The list of models, the only one: the values of model.kind, and the table of their rows (layers.h), are made from
 * it. */
#ifndef XP_MODEL_LIST_H
#define XP_MODEL_LIST_H

/* ROW(KIND, name): XP_MODEL_<KIND>, and "name" in a configuration; the row is xp_model_<name>. */
#define XP_MODEL_LIST(ROW)                                                                                             \
    ROW(ENCODER, encoder)                                                                                              \
    ROW(VISION, vision)                                                                                                \
    ROW(LANGUAGE, language)                                                                                            \
    ROW(TOKENS, tokens)

#endif
