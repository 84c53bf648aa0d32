/* Half precision and bfloat16 by bits: round to nearest, ties to even, for C has no type for them. */
#ifndef FPR_HALF_H
#define FPR_HALF_H

#include "base/base.h"

static inline uint32_t base_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float base_bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Shifting the 15 bits below the sign to float's places leaves an exponent that is 112 too low; multiplying by 2^112
 * mends it and normalises subnormals in one exact step. Inf and NaN need all exponent bits set instead. */
static inline float base_half_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13;
    if (rest >= 0x0f800000u) return base_bits_float(sign | 0x7f800000u | rest);
    return base_bits_float(sign | base_float_bits(base_bits_float(rest) * 0x1p112f));
}

/* Below the smallest normal half, adding 0.5 leaves the result's mantissa in the lowest bits of the sum, rounded as the
 * addition rounds; above it, the rounding is done by an integer addition that carries into the exponent. */
static inline uint16_t base_float_half(float f)
{
    uint32_t u = base_float_bits(f), a = u & 0x7fffffffu;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7c00u | ((a >> 13 & 0x3ffu) ? a >> 13 & 0x3ffu : 1u));
    if (a >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and above; below it the carry overflows to Inf */
    if (a < 0x38800000u) return (uint16_t)(sign | (base_float_bits(base_bits_float(a) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13);
}

static inline uint16_t base_float_bf16(float f)
{
    uint32_t u = base_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | ((u >> 16 & 0x7fu) ? 0u : 1u));
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float base_bf16_float(uint16_t b) { return base_bits_float((uint32_t)b << 16); }

#endif
