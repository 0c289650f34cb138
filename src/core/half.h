/* Numbers of 16 bits as their bits: IEEE's fp16 and bf16, the upper half of an fp32. Owns the conversions, which round
 * to nearest, ties to even. */
#ifndef XP_CORE_HALF_H
#define XP_CORE_HALF_H

#include <stdint.h>

uint16_t xp_bf16_bits(double value);
double xp_bf16_value(uint16_t bits);
uint16_t xp_fp16_bits(double value);
double xp_fp16_value(uint16_t bits);

#endif
