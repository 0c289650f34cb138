/* Numbers of 16 bits. Both formats are rounded by one function, straight from double: a step over fp32 would round
 * twice. */
#include "core/half.h"

#include <math.h>

/* The bits of a format with so many bits of mantissa and exponent. */
static uint16_t bits_of(double value, int mantissa, int exponent) {
    const int bias = (1 << (exponent - 1)) - 1, most = (1 << exponent) - 1;
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    if (isnan(value)) return (uint16_t)(sign | most << mantissa | 1 << (mantissa - 1));
    int power = 0;
    frexp(value, &power);                                     /* |value| is in [2^(power-1), 2^power) */
    if (value == 0 || power - 1 < 1 - bias) power = 2 - bias; /* subnormal: the spacing of the smallest normal */
    if (isinf(value) || power - 1 > bias) return (uint16_t)(sign | most << mantissa);
    /* In units of the spacing; the carry of a rounding reaches the next exponent by itself, and infinity at last. */
    const long units = (long)nearbyint(ldexp(fabs(value), mantissa - (power - 1)));
    return (uint16_t)(sign | (((long)(power - 1 + bias - 1) << mantissa) + units));
}

static double value_of(uint16_t bits, int mantissa, int exponent) {
    const int bias = (1 << (exponent - 1)) - 1, most = (1 << exponent) - 1;
    const int field = bits >> mantissa & most, units = bits & ((1 << mantissa) - 1);
    double value;
    if (field == most)
        value = units ? NAN : INFINITY;
    else if (field == 0)
        value = ldexp(units, 1 - bias - mantissa);
    else
        value = ldexp(units + (1 << mantissa), field - bias - mantissa);
    return bits & 0x8000 ? -value : value;
}

uint16_t xp_bf16_bits(double value) {
    return bits_of(value, 7, 8);
}

double xp_bf16_value(uint16_t bits) {
    return value_of(bits, 7, 8);
}

uint16_t xp_fp16_bits(double value) {
    return bits_of(value, 10, 5);
}

double xp_fp16_value(uint16_t bits) {
    return value_of(bits, 10, 5);
}
