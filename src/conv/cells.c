/* Coefficients of each block as integers that can be added up later: cells finer than the bins, and a plane of the first two
 * components. Sums of integers: in any order, by any number of threads, the same. */
#include "conv/tile.h"

#include <math.h>

typedef struct celling {
    const conv_block *blocks;
    size_t count;
    const conv_settings *settings;
    const num_kernels *kernels;
    const conv_grid *grid;
    conv_cells *results;
    uint64_t *parts;
    unsigned k;
    num_cells_view line, plane; /* each with a cell for what lies outside, first and last */
    double *scratch;            /* per worker: as for projecting */
    uint32_t *counts;           /* per worker: [k][line], [plane][plane], then rows of cells */
    size_t counts_size;
    double (*ranges)[2];        /* [parts] */
} celling;

static uint64_t cell_part_count(const conv_block *block)
{
    const uint64_t size = conv_part_kernels(block->shape->k);
    return (block->shape->kernels + size - 1) / size;
}

static size_t plane_size(const celling *c) { return c->k > 1 ? (size_t)c->plane.count * c->plane.count : 0; }

/* Counts one tile of coefficients. place: two rows of stride. */
static void count_tile(const celling *c, const double *x, size_t stride, size_t n, uint32_t *counts, uint32_t *place)
{
    uint32_t *other = place + stride;
    for (unsigned j = 0; j < c->k; j++) {
        c->kernels->cells(place, x + j * stride, n, &c->line);
        uint32_t *row = counts + (size_t)j * c->line.count;
        for (size_t i = 0; i < n; i++) row[num_cell_of(place[i])]++;
    }
    if (c->k < 2) return;
    uint32_t *plane = counts + (size_t)c->k * c->line.count;
    c->kernels->cells(place, x, n, &c->plane);
    c->kernels->cells(other, x + stride, n, &c->plane);
    for (size_t i = 0; i < n; i++) plane[(size_t)num_cell_of(other[i]) * c->plane.count + num_cell_of(place[i])]++;
}

static void add(uint64_t *sum, uint32_t count)
{
    if (count) __atomic_fetch_add(sum, count, __ATOMIC_RELAXED);
}

/* Into the result, without what lies outside. */
static void add_counts(const celling *c, const uint32_t *counts, conv_cells *result)
{
    const size_t cells = c->line.count - 2, side = c->plane.count - 2;
    for (unsigned j = 0; j < c->k; j++)
        for (size_t i = 0; i < cells; i++)
            add(&result->cells[j * cells + i], counts[(size_t)j * c->line.count + i + 1]);
    if (c->k < 2) return;
    const uint32_t *plane = counts + (size_t)c->k * c->line.count;
    for (size_t y = 0; y < side; y++)
        for (size_t x = 0; x < side; x++) add(&result->plane[y * side + x], plane[(y + 1) * c->plane.count + x + 1]);
}

static void cell_task(void *context, size_t index, unsigned worker)
{
    celling *c = context;
    const size_t b = conv_part_block(c->parts, c->count, index), stride = conv_tile_stride(c->k),
                 width = conv_tile_width(c->k);
    const conv_block *block = &c->blocks[b];
    const uint64_t size = conv_part_kernels(c->k), first = (index - c->parts[b]) * size;
    const uint64_t last = block->shape->kernels - first < size ? block->shape->kernels : first + size;
    double *x = c->scratch + worker * conv_projection_scratch(c->k), *y = x + c->k * stride, *peak = y + c->k * stride;
    uint32_t *counts = c->counts + worker * c->counts_size;
    uint32_t *place = counts + (size_t)c->k * c->line.count + plane_size(c);
    double range[2] = {INFINITY, -INFINITY};
    memcpy(c->ranges[index], range, sizeof range);
    if (base_cancelled()) return;
    memset(counts, 0, ((size_t)c->k * c->line.count + plane_size(c)) * sizeof *counts);
    for (uint64_t at = first; at < last; at += width) {
        const size_t n = last - at < width ? (size_t)(last - at) : width;
        conv_scaled_tile(c->kernels, block, c->settings->half, at, n, x, peak, stride);
        c->kernels->tile_project(y, x, stride, n, c->k, c->grid->basis->mean, c->grid->basis->components);
        for (unsigned j = 0; j < c->k; j++) c->kernels->range(range, y + j * stride, n);
        count_tile(c, y, stride, n, counts, place);
    }
    memcpy(c->ranges[index], range, sizeof range);
    add_counts(c, counts, &c->results[b]);
}

fpr_status conv_cell_blocks(const conv_block *blocks, size_t count, const conv_settings *settings,
                            const conv_grid *grid, conv_cells *results, double extent[2], fpr_error *error)
{
    if (count == 0) return FPR_OK;
    const unsigned k = (unsigned)blocks[0].shape->k, threads = settings->threads ? settings->threads : 1;
    double range[2] = {grid->range[0], grid->range[1]};
    num_widen(range);
    celling c = {.blocks = blocks, .count = count, .settings = settings, .kernels = conv_kernels_of(settings),
                 .grid = grid, .results = results, .k = k,
                 .line = {range[0], range[1], grid->bins, grid->zoom, -1, (grid->bins << grid->zoom) + 2},
                 .plane = {range[0], range[1], grid->side, 0, -1, grid->side + 2}};
    c.counts_size = (size_t)k * c.line.count + plane_size(&c) + 2 * conv_tile_stride(k);
    c.parts = conv_parts(blocks, count, cell_part_count);
    c.scratch = base_alloc_aligned((uint64_t)threads * conv_projection_scratch(k), sizeof *c.scratch);
    c.counts = base_alloc((uint64_t)threads * c.counts_size, sizeof *c.counts);
    c.ranges = c.parts ? base_alloc(c.parts[count], sizeof *c.ranges) : NULL;
    fpr_status status = FPR_OK;
    if (c.parts && c.scratch && c.counts && c.ranges) {
        base_parallel(settings->threads, (size_t)c.parts[count], cell_task, &c);
        for (uint64_t p = 0; p < c.parts[count]; p++) {
            extent[0] = fmin(extent[0], c.ranges[p][0]);
            extent[1] = fmax(extent[1], c.ranges[p][1]);
        }
        status = base_check_cancelled(error);
    } else {
        status = base_no_memory(error, (uint64_t)threads * c.counts_size * sizeof *c.counts);
    }
    base_free(c.ranges);
    base_free(c.parts);
    base_free(c.scratch);
    base_free(c.counts);
    return status;
}
