/* Weights of any float dtype and layout as doubles: in runs, in tiles, as rows of kernels. */
#include "conv/tile.h"

#include <math.h>

#define RUN 256 /* weights converted at a time where a run is all that is needed */

void conv_load(const num_kernels *kernels, fpr_dtype dtype, const void *weights, uint64_t first, size_t n, bool half,
               double scale, double *y)
{
    switch (dtype) {
    case FPR_F16: kernels->load_f16(y, (const uint16_t *)weights + first, n, scale); break;
    case FPR_BF16: kernels->load_bf16(y, (const uint16_t *)weights + first, n, scale); break;
    case FPR_F32: kernels->load_f32(y, (const float *)weights + first, n, scale); break;
    default: kernels->load_f64(y, (const double *)weights + first, n, scale); break;
    }
    if (half) kernels->half(y, n);
}

void conv_tile(const num_kernels *kernels, const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint64_t at,
               size_t n, bool half, double scale, double *x, size_t stride)
{
    const unsigned k = (unsigned)s->k;
    if (s->layout == FPR_LAYOUT_HWIO) {
        for (unsigned d = 0; d < k; d++)
            conv_load(kernels, dtype, weights, d * s->kernels + at, n, half, scale, x + d * stride);
        return;
    }
    switch (dtype) {
    case FPR_F16: kernels->tile_f16(x, stride, (const uint16_t *)weights + at * k, n, k, scale); break;
    case FPR_BF16: kernels->tile_bf16(x, stride, (const uint16_t *)weights + at * k, n, k, scale); break;
    case FPR_F32: kernels->tile_f32(x, stride, (const float *)weights + at * k, n, k, scale); break;
    default: kernels->tile_f64(x, stride, (const double *)weights + at * k, n, k, scale); break;
    }
    if (half)
        for (unsigned d = 0; d < k; d++) kernels->half(x + d * stride, n);
}

double conv_kernel_peak(const num_kernels *kernels, const fpr_layer_shape *s, fpr_dtype dtype, const void *weights,
                        uint64_t at, bool half)
{
    double run[RUN], range[2] = {0, 0};
    const bool planes = s->layout == FPR_LAYOUT_HWIO;
    for (uint64_t d = 0; d < s->k;) {
        size_t n = 0;
        if (planes) {
            for (; n < RUN && d < s->k; n++, d++)
                conv_load(kernels, dtype, weights, d * s->kernels + at, 1, half, 1, run + n);
        } else {
            n = s->k - d < RUN ? (size_t)(s->k - d) : RUN;
            conv_load(kernels, dtype, weights, at * s->k + d, n, half, 1, run);
            d += n;
        }
        kernels->range(range, run, n);
    }
    return -range[0] > range[1] ? -range[0] : range[1];
}

void conv_kernels(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint64_t first, size_t count,
                  double *rows)
{
    const num_kernels *kernels = num_kernels_best();
    if (s->layout != FPR_LAYOUT_HWIO) {
        conv_load(kernels, dtype, weights, first * s->k, (size_t)(count * s->k), false, 1, rows);
        return;
    }
    uint64_t filter = first / s->channels, channel = first % s->channels;
    for (size_t i = 0; i < count; i++) {
        const uint64_t at = channel * s->filters + filter;
        for (uint64_t d = 0; d < s->k; d++)
            conv_load(kernels, dtype, weights, d * s->kernels + at, 1, false, 1, rows + i * s->k + d);
        if (++channel == s->channels) {
            channel = 0;
            filter++;
        }
    }
}

/* As rows of weights of their dtype, then as a tile. Squares of doubles can leave their range, where those of a kernel
 * whose peak is 1 cannot. */
void conv_sizes(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, const uint64_t *kernels, size_t n,
                double *peak, double *norm)
{
    enum { STRIDE = CONV_SIZES_KERNELS + NUM_LANES };
    _Alignas(64) double x[CONV_SIZES_K_MAX * STRIDE], size[STRIDE], square[STRIDE];
    _Alignas(64) uint8_t rows[CONV_SIZES_KERNELS * CONV_SIZES_K_MAX * sizeof(double)];
    const num_kernels *inner = num_kernels_best();
    const size_t k = (size_t)s->k, width = conv_weight_bytes(dtype);
    const fpr_layer_shape row = {.k = k, .layout = FPR_LAYOUT_OIHW};
    const bool doubles = dtype == FPR_F64;
    uint8_t *to = rows;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = weights;
        if (s->layout != FPR_LAYOUT_HWIO) {
            memcpy(to, from + kernels[i] * k * width, k * width);
            to += k * width;
            continue;
        }
        from += (kernels[i] % s->channels * s->filters + kernels[i] / s->channels) * width;
        for (size_t d = 0; d < k; d++, from += s->kernels * width, to += width) memcpy(to, from, width);
    }
    conv_tile(inner, &row, dtype, rows, 0, n, false, 1, x, STRIDE);
    inner->tile_peak(size, x, STRIDE, n, (unsigned)k);
    if (doubles) inner->tile_divide(x, x, size, STRIDE, n, (unsigned)k);
    inner->tile_squares(square, x, STRIDE, n, (unsigned)k);
    for (size_t i = 0; i < n; i++) {
        peak[i] = size[i];
        norm[i] = sqrt(square[i]) * (doubles ? size[i] : 1);
    }
}

uint64_t *conv_parts(const conv_block *blocks, size_t count, uint64_t (*size)(const conv_block *))
{
    uint64_t *first = base_alloc((uint64_t)count + 1, sizeof *first);
    if (!first) return NULL;
    first[0] = 0;
    for (size_t b = 0; b < count; b++) first[b + 1] = first[b] + size(&blocks[b]);
    return first;
}

size_t conv_part_block(const uint64_t *first, size_t count, uint64_t part)
{
    size_t low = 0, high = count; /* first[low] <= part < first[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (first[middle] <= part)
            low = middle;
        else
            high = middle;
    }
    return low;
}
