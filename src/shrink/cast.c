/* Between float dtypes: round to nearest, ties to even, by bits where C has no type for it. */
#include "base/half.h"
#include "shrink/inner.h"

#include <math.h>
#include <string.h>

#define CANCEL_EVERY 65536u /* numbers converted between two looks at the cancel flag */

static inline uint64_t bits_of_double(double d)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

static inline double double_of_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

static inline double double_of_float(float f)
{
    uint32_t u = base_float_bits(f);
    if ((u & 0x7fffffffu) <= 0x7f800000u) return (double)f;
    /* The conversion would make a signalling NaN quiet. */
    return double_of_bits((uint64_t)(u & 0x80000000u) << 32 | UINT64_C(0x7ff) << 52 | (uint64_t)(u & 0x7fffffu) << 29);
}

static inline float float_of_double(double d)
{
    uint64_t u = bits_of_double(d);
    if ((u & INT64_MAX) <= UINT64_C(0x7ff) << 52) return (float)d;
    uint32_t payload = (uint32_t)(u >> 29) & 0x7fffffu;
    return base_bits_float((uint32_t)(u >> 32 & 0x80000000u) | 0x7f800000u | (payload ? payload : 1u));
}

/* A float between d and a 16-bit result must not round twice: toward zero, with the last bit set when anything was lost
 * (round to odd), the second rounding gives what one would (Boldo and Melquiond 2008: 24 >= 11 + 2 bits). */
static inline float odd_float_of_double(double d)
{
    float f = float_of_double(d);
    if (isnan(d) || (double)f == d) return f;
    uint32_t u = base_float_bits(f);
    if (fabs((double)f) > fabs(d)) u--;
    return base_bits_float(u | 1u);
}

static inline double load(fpr_dtype dtype, const uint8_t *p)
{
    switch (dtype) {
    case FPR_F64: return double_of_bits(base_load_le64(p));
    case FPR_F32: return double_of_float(base_bits_float(base_load_le32(p)));
    case FPR_F16: return double_of_float(base_half_float(base_load_le16(p)));
    default: return double_of_float(base_bits_float((uint32_t)base_load_le16(p) << 16));
    }
}

static inline void store(fpr_dtype dtype, uint8_t *p, double value)
{
    switch (dtype) {
    case FPR_F64: base_store_le64(p, bits_of_double(value)); break;
    case FPR_F32: base_store_le32(p, base_float_bits(float_of_double(value))); break;
    case FPR_F16: base_store_le16(p, base_float_half(odd_float_of_double(value))); break;
    default: base_store_le16(p, base_float_bf16(odd_float_of_double(value))); break;
    }
}

/* Called with constant dtypes, so that each pair becomes its own loop. */
static inline bool cast_loop(fpr_dtype from, const uint8_t *src, fpr_dtype to, uint8_t *dst, uint64_t count)
{
    size_t in = from == FPR_F64 ? 8 : from == FPR_F32 ? 4 : 2, out = to == FPR_F64 ? 8 : to == FPR_F32 ? 4 : 2;
    bool exact = true;
    for (uint64_t i = 0; i < count; i++) {
        if (i % CANCEL_EVERY == 0 && base_cancelled()) break; /* the caller looks at it, too */
        double value = load(from, src + i * in);
        store(to, dst + i * out, value);
        exact &= bits_of_double(load(to, dst + i * out)) == bits_of_double(value);
    }
    return exact;
}

static inline bool cast_from(fpr_dtype from, const uint8_t *src, fpr_dtype to, uint8_t *dst, uint64_t count)
{
    switch (to) {
    case FPR_F64: return cast_loop(from, src, FPR_F64, dst, count);
    case FPR_F32: return cast_loop(from, src, FPR_F32, dst, count);
    case FPR_F16: return cast_loop(from, src, FPR_F16, dst, count);
    default: return cast_loop(from, src, FPR_BF16, dst, count);
    }
}

bool shrink_cast(fpr_dtype from, const void *src, fpr_dtype to, void *dst, uint64_t count)
{
    if (from == to) {
        if (count) memmove(dst, src, count * shrink_element_bytes(from));
        return true;
    }
    switch (from) {
    case FPR_F64: return cast_from(FPR_F64, src, to, dst, count);
    case FPR_F32: return cast_from(FPR_F32, src, to, dst, count);
    case FPR_F16: return cast_from(FPR_F16, src, to, dst, count);
    default: return cast_from(FPR_BF16, src, to, dst, count);
    }
}

double shrink_round(fpr_dtype dtype, double value)
{
    uint8_t bytes[8];
    store(dtype, bytes, value);
    return load(dtype, bytes);
}
