/* How far two tensors of the same shape are apart, whatever their float dtypes; whether they are the same. */
#include "shrink/shrink.h"

#include <math.h>

#define CHUNK 2048

bool shrink_difference(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count,
                       double *max_abs, double *relative_l2)
{
    double p[CHUNK], q[CHUNK], square = 0, norm = 0, peak = 0;
    unsigned a_bytes = fpr_dtype_bits(a_type) / 8, b_bytes = fpr_dtype_bits(b_type) / 8;
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        shrink_cast(a_type, (const uint8_t *)a + i * a_bytes, FPR_F64, p, n);
        shrink_cast(b_type, (const uint8_t *)b + i * b_bytes, FPR_F64, q, n);
        for (uint64_t j = 0; j < n; j++) {
            if (isnan(p[j]) != isnan(q[j])) return false;
            double d = p[j] == q[j] || isnan(p[j]) ? 0 : fabs(p[j] - q[j]);
            peak = fmax(peak, d);
            square += d * d;
            if (isfinite(q[j])) norm += q[j] * q[j];
        }
    }
    *max_abs = peak;
    *relative_l2 = square > 0 ? sqrt(square / norm) : 0;
    return true;
}

bool shrink_same_values(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count)
{
    double p[CHUNK], q[CHUNK];
    unsigned a_bytes = fpr_dtype_bits(a_type) / 8, b_bytes = fpr_dtype_bits(b_type) / 8;
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        shrink_cast(a_type, (const uint8_t *)a + i * a_bytes, FPR_F64, p, n);
        shrink_cast(b_type, (const uint8_t *)b + i * b_bytes, FPR_F64, q, n);
        if (memcmp(p, q, n * sizeof *p)) return false;
    }
    return true;
}
