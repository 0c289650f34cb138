/* Numbers out of text, the same in every locale. Knows nothing of files. */
#ifndef XP_CORE_TEXT_H
#define XP_CORE_TEXT_H

#include "core/status.h"

#include <stddef.h>

/* Reads the decimal number ("-12", ".5", "3.e-4") that `text` begins with into *value, correctly rounded and with '.'
 * as decimal point whatever the process's locale is. *length is the number of characters it took; 0, and *value
 * untouched, when text begins with no number. A magnitude that does not fit is an infinity. XP_OUT_OF_MEMORY. */
xp_status xp_text_number(const char *text, double *value, size_t *length);

#endif
