/* What a score may contain: one expression of OpenCL C that computes a number from its arguments, and nothing else.
 * Owns the grammar and the permitted functions; does not know the specification around it, and compiles nothing.
 *
 *     choice   = or [ "?" choice ":" choice ]          or = operand { operator operand }, of the operators
 *                                                      || && == != < > <= >= + - * / %, with C's precedence
 *     operand  = { "-" | "+" | "!" } ( NUMBER | NAME | TABLE "[" choice "]" | FUNCTION "(" choice { "," choice } ")"
 *              | "(" choice ")" )
 *
 * There is no other operator, so an expression cannot read an address, assign, cast or loop. Whole numbers can only be
 * divided by a literal whole number other than 0; the index of a table is a whole number (the kernels keep it within
 * the table). */
#ifndef XP_MODEL_EXPRESSION_H
#define XP_MODEL_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>

/* A name that the expression may use beside score, batch, head, query_index and key_index. */
typedef struct xp_expression_name {
    const char *text;
    bool table; /* of floats; else a float */
} xp_expression_name;

typedef struct xp_expression {
    bool additive; /* `score` plus or minus something that does not look at `score`: its derivative by score is 1 */
    /* Position of the error: */
    size_t place;
    char reason[256];
} xp_expression;

/* false: the expression is rejected. */
bool xp_expression_read(const char *text, const xp_expression_name *names, int count, xp_expression *out);

/* Whether a name of the user's would hide one that an expression has already. */
bool xp_expression_has(const char *name);

#endif
