/* The -D text of a kernel variant. */
#include "device/device.h"

#include <stdio.h>

void xp_variant_set(xp_variant *variant, const char *name, long value) {
    if (variant->count == XP_VARIANT_OPTIONS) return; /* the #error in the kernel reports the missing option */
    variant->options[variant->count].name = name;
    variant->options[variant->count].value = value;
    variant->count++;
}

size_t xp_variant_print(const xp_variant *variant, char *text, size_t size) {
    size_t length = 0;
    if (size > 0) text[0] = 0;
    for (int i = 0; i < variant->count; i++) {
        int added = snprintf(length < size ? text + length : NULL, length < size ? size - length : 0, "%s-D%s=%ld",
                             i ? " " : "", variant->options[i].name, variant->options[i].value);
        length += (size_t)added;
    }
    return length;
}
