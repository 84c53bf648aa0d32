/* The weights that the network computes with, where the file does not hold them as such. */
#include "shrink/view.h"

#include "shrink/inner.h"

#include <math.h>
#include <string.h>

#define RUN 512u /* weights that are doubles at a time */

static size_t element_bytes(fpr_dtype dtype) { return fpr_dtype_bits(dtype) / 8; }

/* ---------------------------------------------------------------- OHWI */

/* Filter by filter, k rows of `channels` become `channels` rows of k, or the other way round. */
static void turn(uint64_t filters, uint64_t rows, uint64_t columns, size_t bytes, const uint8_t *src, uint8_t *dst)
{
    for (uint64_t f = 0; f < filters; f++) {
        const uint8_t *from = src + f * rows * columns * bytes;
        uint8_t *to = dst + f * rows * columns * bytes;
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < columns; c++) memcpy(to + (c * rows + r) * bytes, from + (r * columns + c) * bytes, bytes);
    }
}

void shrink_ohwi_to_oihw(const fpr_layer_shape *s, fpr_dtype dtype, const void *src, void *dst)
{
    turn(s->filters, s->k, s->channels, element_bytes(dtype), src, dst);
}

void shrink_oihw_to_ohwi(const fpr_layer_shape *s, fpr_dtype dtype, const void *src, void *dst)
{
    turn(s->filters, s->channels, s->k, element_bytes(dtype), src, dst);
}

/* ---------------------------------------------------------------- weight normalization */

/* A power of two near 1 / max|w| of a row: squares of it stay in the range of a double. */
static double row_scale(fpr_dtype dtype, const uint8_t *row, uint64_t n)
{
    double w[RUN], peak = 0;
    for (uint64_t i = 0; i < n; i += RUN) {
        const uint64_t count = n - i < RUN ? n - i : RUN;
        shrink_cast(dtype, row + i * element_bytes(dtype), FPR_F64, w, count);
        for (uint64_t j = 0; j < count; j++) peak = fabs(w[j]) > peak ? fabs(w[j]) : peak;
    }
    return shrink_scale(peak);
}

static double sum_of_squares(fpr_dtype dtype, const uint8_t *row, uint64_t n, double scale)
{
    double w[RUN], sum = 0;
    for (uint64_t i = 0; i < n; i += RUN) {
        const uint64_t count = n - i < RUN ? n - i : RUN;
        shrink_cast(dtype, row + i * element_bytes(dtype), FPR_F64, w, count);
        for (uint64_t j = 0; j < count; j++) sum += w[j] * scale * (w[j] * scale);
    }
    return sum;
}

static void scale_row(fpr_dtype dtype, uint8_t *row, uint64_t n, double factor)
{
    double w[RUN];
    const size_t bytes = element_bytes(dtype);
    for (uint64_t i = 0; i < n; i += RUN) {
        const uint64_t count = n - i < RUN ? n - i : RUN;
        shrink_cast(dtype, row + i * bytes, FPR_F64, w, count);
        for (uint64_t j = 0; j < count; j++) w[j] *= factor;
        shrink_cast(FPR_F64, w, dtype, row + i * bytes, count);
    }
}

static double length_at(fpr_dtype g_dtype, const void *g, uint64_t filter)
{
    double length;
    shrink_cast(g_dtype, (const uint8_t *)g + filter * element_bytes(g_dtype), FPR_F64, &length, 1);
    return length;
}

void shrink_norm_weights(const fpr_layer_shape *s, fpr_dtype dtype, void *v, fpr_dtype g_dtype, const void *g)
{
    const uint64_t n = s->channels * s->k;
    for (uint64_t f = 0; f < s->filters; f++) {
        uint8_t *row = (uint8_t *)v + f * n * element_bytes(dtype);
        const double length = length_at(g_dtype, g, f), scale = row_scale(dtype, row, n);
        const double norm = sqrt(sum_of_squares(dtype, row, n, scale)) / scale;
        if (length == 0 && norm > 0) memset(row, 0, (size_t)n * element_bytes(dtype)); /* no -0 */
        else scale_row(dtype, row, n, length / norm);
    }
}

/* Of a row: |v|^2 of its kernels that stay and of all, times a scale; whether any goes. */
typedef struct row_norms {
    double kept, all;
    bool goes;
} row_norms;

static row_norms norms_of(const fpr_layer_shape *s, fpr_dtype dtype, const uint8_t *v, const shrink_plan *plan,
                          uint64_t filter)
{
    const size_t bytes = element_bytes(dtype) * (size_t)s->k;
    const uint64_t first = filter * s->channels;
    const double scale = row_scale(dtype, v + first * bytes, s->channels * s->k);
    row_norms norms = {0};
    for (uint64_t c = 0; c < s->channels; c++) {
        const double sum = sum_of_squares(dtype, v + (first + c) * bytes, s->k, scale);
        const bool goes = plan->action[first + c] == CONV_ACTION_ZERO;
        norms.all += sum;
        norms.kept += goes ? 0 : sum;
        norms.goes |= goes;
    }
    return norms;
}

void shrink_norm_direction(const fpr_layer_shape *s, fpr_dtype dtype, void *v, const shrink_plan *plan)
{
    const size_t bytes = element_bytes(dtype) * (size_t)s->k;
    if (!plan->changes) return;
    for (uint64_t f = 0; f < s->filters; f++) {
        if (!(norms_of(s, dtype, v, plan, f).kept > 0)) continue; /* the whole filter: its length becomes 0 */
        for (uint64_t j = f * s->channels; j < (f + 1) * s->channels; j++)
            if (plan->action[j] == CONV_ACTION_ZERO) memset((uint8_t *)v + j * bytes, 0, bytes);
    }
}

void shrink_norm_length(const fpr_layer_shape *s, fpr_dtype dtype, const void *w, const shrink_plan *plan,
                        fpr_dtype g_dtype, void *g)
{
    if (!plan->changes) return;
    for (uint64_t f = 0; f < s->filters; f++) {
        const row_norms norms = norms_of(s, dtype, w, plan, f); /* rows of w are those of v, times a number each */
        if (!norms.goes || !(norms.all > 0)) continue;
        const double length = length_at(g_dtype, g, f) * sqrt(norms.kept / norms.all);
        const double stored = norms.kept > 0 ? length : 0;
        shrink_cast(FPR_F64, &stored, g_dtype, (uint8_t *)g + f * element_bytes(g_dtype), 1);
    }
}

/* ---------------------------------------------------------------- masks */

static void mask_values(fpr_dtype dtype, const uint8_t *mask, uint64_t count, double *out)
{
    if (dtype != FPR_BOOL && dtype != FPR_U8) {
        shrink_cast(dtype, mask, FPR_F64, out, count);
        return;
    }
    for (uint64_t i = 0; i < count; i++) out[i] = dtype == FPR_BOOL ? mask[i] != 0 : mask[i];
}

void shrink_mask_weights(fpr_dtype dtype, void *weights, fpr_dtype mask_dtype, const void *mask, uint64_t count)
{
    double w[RUN], m[RUN];
    const size_t bytes = element_bytes(dtype), mask_bytes = element_bytes(mask_dtype);
    for (uint64_t i = 0; i < count; i += RUN) {
        const uint64_t n = count - i < RUN ? count - i : RUN;
        uint8_t *at = (uint8_t *)weights + i * bytes;
        bool plain = true;
        mask_values(mask_dtype, (const uint8_t *)mask + i * mask_bytes, n, m);
        for (uint64_t j = 0; j < n; j++) plain &= m[j] == 1;
        if (plain) continue;
        shrink_cast(dtype, at, FPR_F64, w, n);
        for (uint64_t j = 0; j < n; j++) w[j] = m[j] == 0 && isfinite(w[j]) ? 0 : w[j] * m[j];
        shrink_cast(FPR_F64, w, dtype, at, n);
    }
}

void shrink_clear_kernels(const fpr_layer_shape *s, fpr_dtype dtype, void *tensor, const shrink_plan *plan)
{
    const size_t bytes = element_bytes(dtype) * (size_t)s->k;
    for (uint64_t j = 0; plan->changes && j < s->kernels; j++)
        if (plan->action[j] == CONV_ACTION_ZERO) memset((uint8_t *)tensor + j * bytes, 0, bytes);
}
