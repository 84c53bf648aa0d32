/* Second sweep: the range of all coefficients of a kernel group. */
#include "conv/tile.h"

#include <math.h>

void conv_scaled_tile(const num_kernels *kernels, const conv_block *block, bool half, uint64_t at, size_t n,
                      double *x, double *peak, size_t stride)
{
    const unsigned k = (unsigned)block->shape->k;
    conv_tile(kernels, block->shape, block->dtype, block->weights, at, n, half, 1, x, stride);
    kernels->tile_peak(peak, x, stride, n, k);
    (block->dtype == FPR_F64 ? kernels->tile_divide : kernels->tile_divide_floats)(x, x, peak, stride, n, k);
}

typedef struct ranging {
    const conv_block *blocks;
    size_t count;
    const conv_settings *settings;
    const num_kernels *kernels;
    const fpr_basis *basis;
    uint64_t *parts;
    unsigned k;
    double *scratch;
    double (*ranges)[2];
} ranging;

static uint64_t range_part_count(const conv_block *block)
{
    const uint64_t size = conv_part_kernels(block->shape->k);
    return (block->shape->kernels + size - 1) / size;
}

static void range_task(void *context, size_t index, unsigned worker)
{
    ranging *r = context;
    const size_t b = conv_part_block(r->parts, r->count, index), stride = conv_tile_stride(r->k),
                 width = conv_tile_width(r->k);
    const conv_block *block = &r->blocks[b];
    const uint64_t size = conv_part_kernels(r->k), first = (index - r->parts[b]) * size;
    const uint64_t last = block->shape->kernels - first < size ? block->shape->kernels : first + size;
    double *x = r->scratch + worker * conv_projection_scratch(r->k), *c = x + r->k * stride, *peak = c + r->k * stride;
    double range[2] = {INFINITY, -INFINITY};
    r->ranges[index][0] = range[0];
    r->ranges[index][1] = range[1];
    if (base_cancelled()) return;
    for (uint64_t at = first; at < last; at += width) {
        const size_t n = last - at < width ? (size_t)(last - at) : width;
        conv_scaled_tile(r->kernels, block, r->settings->half, at, n, x, peak, stride);
        r->kernels->tile_project(c, x, stride, n, r->k, r->basis->mean, r->basis->components);
        for (unsigned j = 0; j < r->k; j++) r->kernels->range(range, c + j * stride, n);
    }
    r->ranges[index][0] = range[0];
    r->ranges[index][1] = range[1];
}

fpr_status conv_range_blocks(const conv_block *blocks, size_t count, const conv_settings *settings,
                             const fpr_basis *basis, double range[2], fpr_error *error)
{
    if (count == 0) return FPR_OK;
    ranging r = {.blocks = blocks, .count = count, .settings = settings, .kernels = conv_kernels_of(settings),
                 .basis = basis, .k = (unsigned)blocks[0].shape->k};
    const unsigned threads = settings->threads ? settings->threads : 1;
    fpr_status status = FPR_OK;
    r.parts = conv_parts(blocks, count, range_part_count);
    r.scratch = base_alloc_aligned((uint64_t)threads * conv_projection_scratch(r.k), sizeof *r.scratch);
    r.ranges = r.parts ? base_alloc(r.parts[count], sizeof *r.ranges) : NULL;
    if (r.parts && r.scratch && r.ranges) {
        base_parallel(settings->threads, (size_t)r.parts[count], range_task, &r);
        status = base_check_cancelled(error);
        for (uint64_t p = 0; p < r.parts[count]; p++) {
            range[0] = fmin(range[0], r.ranges[p][0]);
            range[1] = fmax(range[1], r.ranges[p][1]);
        }
    } else {
        status = base_no_memory(error, (uint64_t)threads * conv_projection_scratch(r.k) * sizeof(double));
    }
    base_free(r.parts);
    base_free(r.scratch);
    base_free(r.ranges);
    return status;
}
