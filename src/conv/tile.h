/* Private to conv/: a layer in the order of its memory, in tiles.
 *
 * Memory order is what the sweeps walk in: OIHW weights are rows of kernels, filter by filter; HWIO weights are k
 * planes of [channels][filters], so that a tile is k contiguous runs. `major` and `minor` name the slow and the fast
 * index of that order: filter and channel for OIHW, channel and filter for HWIO. */
#ifndef FPR_CONV_TILE_H
#define FPR_CONV_TILE_H

#include "conv/conv.h"
#include "num/num.h"

/* Kernels in a tile: rows stay in the first cache level (9 x 256 doubles: 18 KiB). */
static inline size_t conv_tile_width(uint64_t k) { return k <= 32 ? 256 : 64; }
/* Rows are 8 doubles longer, so that they do not fall on the same cache sets. */
static inline size_t conv_tile_stride(uint64_t k) { return conv_tile_width(k) + 8; }

static inline uint64_t conv_minor_count(const fpr_layer_shape *s)
{
    return s->layout == FPR_LAYOUT_HWIO ? s->filters : s->channels;
}
static inline uint64_t conv_major_count(const fpr_layer_shape *s)
{
    return s->layout == FPR_LAYOUT_HWIO ? s->channels : s->filters;
}
/* Index (filter * channels + channel) of the kernel at place `at` of the memory order. */
static inline uint64_t conv_kernel_at(const fpr_layer_shape *s, uint64_t at)
{
    return s->layout == FPR_LAYOUT_HWIO ? at % s->filters * s->channels + at / s->filters : at;
}

static inline const num_kernels *conv_kernels_of(const conv_settings *settings)
{
    return settings->kernels ? settings->kernels : num_kernels_best();
}

/* Bytes of one weight: 2, 4 or 8. */
static inline size_t conv_weight_bytes(fpr_dtype dtype) { return dtype == FPR_F64 ? 8 : dtype == FPR_F32 ? 4 : 2; }

/* n weights from element `first` of the tensor on, times scale, as doubles. With half they are rounded to float16 and
 * scale must be 1. Finite weights only. */
void conv_load(const num_kernels *kernels, fpr_dtype dtype, const void *weights, uint64_t first, size_t n, bool half,
               double scale, double *y);
/* The same for n kernels from place `at` of the memory order on, as a tile. */
void conv_tile(const num_kernels *kernels, const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint64_t at,
               size_t n, bool half, double scale, double *x, size_t stride);
/* max |w| of a kernel of any size at place `at`. */
double conv_kernel_peak(const num_kernels *kernels, const fpr_layer_shape *s, fpr_dtype dtype, const void *weights,
                        uint64_t at, bool half);

/* Kernels from place `at` on, each divided by its peak: what coefficients are made of. */
void conv_scaled_tile(const num_kernels *kernels, const conv_block *block, bool half, uint64_t at, size_t n,
                      double *x, double *peak, size_t stride);
/* Doubles for projecting: two tiles and a row of peaks. */
static inline size_t conv_projection_scratch(uint64_t k) { return (2 * (size_t)k + 1) * conv_tile_stride(k); }

/* Parts: the fixed units of work that blocks are cut into, so that the sums over them, taken in order, do not depend on
 * threads. first[b] is the first part of block b, first[count] their number. */
static inline uint64_t conv_part_kernels(uint64_t k) { return k <= 32 ? 4096 : 1024; }
/* NULL: no memory. */
uint64_t *conv_parts(const conv_block *blocks, size_t count, uint64_t (*size)(const conv_block *));
/* The block that a part belongs to. */
size_t conv_part_block(const uint64_t *first, size_t count, uint64_t part);

#endif
