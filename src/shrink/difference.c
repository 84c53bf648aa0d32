/* How far two tensors of the same shape are apart, whatever their float dtypes; whether they are the same. */
#include "base/norm.h"
#include "shrink/inner.h"

#include <math.h>

#define CHUNK 2048

bool shrink_difference(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count,
                       double *max_abs, double *relative_l2)
{
    double p[CHUNK], q[CHUNK], l2 = 0, norm = 0, most = 0;
    unsigned a_bytes = fpr_dtype_bits(a_type) / 8, b_bytes = fpr_dtype_bits(b_type) / 8;
    for (uint64_t i = 0; i < count && !base_cancelled(); i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        double of_difference = 0, of_all = 0, peak = 0;
        shrink_cast(a_type, (const uint8_t *)a + i * a_bytes, FPR_F64, p, n);
        shrink_cast(b_type, (const uint8_t *)b + i * b_bytes, FPR_F64, q, n);
        for (uint64_t j = 0; j < n; j++) {
            if (isnan(p[j]) != isnan(q[j])) return false;
            if (isfinite(p[j]) && fabs(p[j]) > peak) peak = fabs(p[j]);
            if (isfinite(q[j]) && fabs(q[j]) > peak) peak = fabs(q[j]);
        }
        const double scale = shrink_scale(peak); /* a power of two */
        for (uint64_t j = 0; j < n; j++) {
            const double d = p[j] == q[j] || isnan(p[j]) ? 0 : fabs(p[j] * scale - q[j] * scale);
            if (d > 0) most = fmax(most, fabs(p[j] - q[j]));
            of_difference += d * d;
            if (isfinite(q[j])) of_all += q[j] * scale * (q[j] * scale);
        }
        l2 = base_norm(l2, sqrt(of_difference) / scale);
        norm = base_norm(norm, sqrt(of_all) / scale);
    }
    *max_abs = most;
    *relative_l2 = l2 > 0 ? l2 / norm : 0;
    return true;
}

void shrink_cast_change(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count,
                        fpr_change *change)
{
    double p[CHUNK], q[CHUNK], l2 = 0, norm = 0;
    unsigned a_bytes = fpr_dtype_bits(a_type) / 8, b_bytes = fpr_dtype_bits(b_type) / 8;
    *change = (fpr_change){0};
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        double of_difference = 0, of_all = 0, peak = 0;
        shrink_cast(a_type, (const uint8_t *)a + i * a_bytes, FPR_F64, p, n);
        shrink_cast(b_type, (const uint8_t *)b + i * b_bytes, FPR_F64, q, n);
        for (uint64_t j = 0; j < n; j++)
            if (isfinite(q[j])) peak = fmax(peak, fabs(q[j]));
        const double scale = shrink_scale(peak);
        for (uint64_t j = 0; j < n; j++) {
            if (!isfinite(q[j])) continue;
            const double of = q[j] * scale, difference = isfinite(p[j]) ? (p[j] - q[j]) * scale : 0;
            change->weights += p[j] != q[j] || signbit(p[j]) != signbit(q[j]); /* zeros of two signs differ */
            change->to_inf += !isfinite(p[j]);
            change->to_zero += p[j] == 0 && q[j] != 0;
            of_difference += difference * difference;
            of_all += of * of;
        }
        l2 = base_norm(l2, sqrt(of_difference) / scale);
        norm = base_norm(norm, sqrt(of_all) / scale);
    }
    change->l2 = change->to_inf ? (double)INFINITY : l2;
    change->norm = norm;
}

bool shrink_same_values(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count)
{
    double p[CHUNK], q[CHUNK];
    unsigned a_bytes = fpr_dtype_bits(a_type) / 8, b_bytes = fpr_dtype_bits(b_type) / 8;
    for (uint64_t i = 0; i < count && !base_cancelled(); i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        shrink_cast(a_type, (const uint8_t *)a + i * a_bytes, FPR_F64, p, n);
        shrink_cast(b_type, (const uint8_t *)b + i * b_bytes, FPR_F64, q, n);
        if (memcmp(p, q, n * sizeof *p)) return false;
    }
    return true;
}
