/* Third sweep, over the blocks of one kernel group: how the coefficients are distributed.
 *
 * A chunk of kernels is projected by all threads, tile by tile, into a buffer of coefficients, sorted by kind of
 * kernel; then each component's coefficients are counted by one task, into tables that only this task touches. The
 * chunk after is projected while this one is counted. So there is one set of tables whatever the number of threads, and
 * counting in integers makes the result independent of order.
 *
 * Of up to some thousand kernels a table keeps the coefficients themselves. Beyond, it holds cells, a whole number of
 * them to each histogram bin (column.c). */
#include "conv/counter.h"

#include <math.h>

#define CHUNK_TILES 64        /* tiles in a chunk, at most: 64 * 256 * 9 coefficients are 1.2 MB */
#define CELLS_MIN 65536u      /* percentiles from at least so many cells, where few coefficients are counted in cells */
#define CELLS_HALVED 3        /* how often as many cells as that are halved where there are many */
#define MANY 131072u          /* coefficients for which half the cells do; twice as many, a quarter, and so on */
#define NUMBERS_MAX 32768u    /* coefficients that a table keeps as they are: sorting more takes longer than counting */
#define NUMBERS_TOTAL 524288u /* the same of all components of a kind: 4 MiB */
#define CELLS_TOTAL 1310720u  /* cells of all components of a kind, where k is large */

/* ---------------------------------------------------------------- first half: a tile's coefficients, by kind */

static uint64_t tile_count(const conv_block *block)
{
    const size_t width = conv_tile_width(block->shape->k);
    return (block->shape->kernels + width - 1) / width;
}

/* The kind of a kernel; KINDS for one that is not counted in this call. */
static unsigned kind_of(bool changed, unsigned fate, bool live)
{
    if (changed) return fate != CONV_FATE_CHANGED ? KINDS : live ? NEW_LIVE : NEW_SPARSE;
    if (fate == CONV_FATE_KEPT) return live ? KEPT_LIVE : KEPT_SPARSE;
    return live ? GONE_LIVE : GONE_SPARSE;
}

/* Lists of kernels of a tile: of each kind, those that are counted one by one, and after them the zero kernels. No
 * branches, because sparse and zero kernels come in no order. */
typedef struct sorting { uint32_t list[2 * (KINDS + 1)][256]; uint32_t count[2 * (KINDS + 1)]; } sorting;

static void sort_kinds(const conv_counter *c, const conv_block *block, uint64_t first, size_t n, const double *peak,
                       sorting *s, tile *t)
{
    const double limit = c->settings.eps * block->max_abs;
    const bool all_sparse = block->max_abs == 0, hwio = block->shape->layout == FPR_LAYOUT_HWIO;
    uint8_t kinds[4][2];
    for (unsigned fate = 0; fate < 4; fate++)
        for (unsigned live = 0; live < 2; live++) kinds[fate][live] = (uint8_t)kind_of(c->changed, fate, live);
    uint8_t fates[256] = {0};
    for (size_t i = 0; i < n && block->fate; i++)
        fates[i] = block->fate[hwio ? conv_kernel_at(block->shape, first + i) : first + i] & 3;
    uint32_t zeroed = 0, count[2 * (KINDS + 1)] = {0};
    for (size_t i = 0; i < n; i++) {
        const unsigned live = !((peak[i] < limit) | all_sparse);
        const unsigned kind = kinds[fates[i]][live] + (KINDS + 1u) * !(peak[i] > 0);
        s->list[kind][count[kind]++] = (uint32_t)i;
        zeroed += fates[i] == CONV_FATE_ZERO;
    }
    memcpy(s->count, count, sizeof count);
    memset(t, 0, sizeof *t);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        t->count[kind] = s->count[kind];
        for (unsigned w = 0; w < 4; w++)
            if (conv_kinds_of[w] >> kind & 1) t->zeros[w] += s->count[KINDS + 1 + kind];
    }
    if (c->changed) return;
    t->zeros[CONV_AFTER] += zeroed;
    if (limit == 0 && !all_sparse) t->zeros[CONV_LIVE_AFTER] += zeroed; /* nothing is sparse where eps is 0 */
}

static void fill_task(conv_counter *c, size_t index, unsigned worker)
{
    const unsigned k = c->k;
    const size_t stride = conv_tile_stride(k), width = conv_tile_width(k);
    const uint64_t number = c->filling->first_tile + index;
    const size_t b = conv_part_block(c->parts, c->count, number);
    const conv_block *block = &c->blocks[b];
    const uint64_t first = (number - c->parts[b]) * width;
    const size_t n = block->shape->kernels - first < width ? (size_t)(block->shape->kernels - first) : width;
    double *x = c->scratch + worker * conv_projection_scratch(k), *sorted = x + k * stride, *peak = sorted + k * stride;
    double *to = c->filling->coefficients + index * k * stride;
    sorting lists;

    conv_scaled_tile(c->kernels, block, c->settings.half, first, n, x, peak, stride);
    sort_kinds(c, block, first, n, peak, &lists, &c->filling->tiles[index]);
    size_t m = 0;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        const uint32_t count = lists.count[kind];
        if (count == n) {
            c->kernels->tile_project(to, x, stride, n, k, c->mean, c->components);
            return;
        }
        c->kernels->tile_pick(sorted + m, x, stride, lists.list[kind], count, k);
        m += count;
    }
    if (m) c->kernels->tile_project(to, sorted, stride, m, k, c->mean, c->components);
}

/* ---------------------------------------------------------------- the third sweep */

static void chunk_task(void *context, size_t index, unsigned worker)
{
    conv_counter *c = context;
    const size_t columns = c->counting ? c->k : 0;
    if (index >= columns)
        fill_task(c, index - columns, worker);
    else if (!conv_column_add(c, index))
        __atomic_store_n(&c->no_memory, true, __ATOMIC_RELAXED);
}

/* Room in both chunks for a call of so many tiles. Few tiles are cut into eight chunks: touching new memory costs more
 * than starting the threads once more. */
static bool chunks_ready(conv_counter *c, uint64_t tiles)
{
    const size_t wanted = tiles / 8 < CHUNK_TILES ? (size_t)(tiles / 8 + 1) : CHUNK_TILES;
    if (wanted <= c->chunk_tiles) return true;
    c->chunk_tiles = 0;
    for (unsigned i = 0; i < 2; i++) {
        chunk *one = &c->chunks[i];
        base_free(one->tiles);
        base_free(one->coefficients);
        one->tiles = base_alloc(wanted, sizeof *one->tiles);
        one->coefficients = base_alloc_aligned(wanted * conv_tile_stride(c->k) * c->k, sizeof(double));
        if (!one->tiles || !one->coefficients) return false;
    }
    c->chunk_tiles = wanted;
    return true;
}

static fpr_status count_blocks(conv_counter *c, const conv_block *blocks, size_t count, bool changed,
                               fpr_error *error)
{
    if (count == 0) return FPR_OK;
    for (unsigned i = 0; i < 4; i++) {
        base_free(c->estimates[i].kde);
        c->estimates[i].kde = NULL;
    }
    c->parts = conv_parts(blocks, count, tile_count);
    if (!c->parts) return base_no_memory(error, count * sizeof *c->parts);
    if (!chunks_ready(c, c->parts[count])) {
        base_free(c->parts);
        c->parts = NULL;
        return base_no_memory(error, 2 * CHUNK_TILES * conv_tile_stride(c->k) * c->k * sizeof(double));
    }
    c->blocks = blocks;
    c->count = count;
    c->changed = changed;
    const uint64_t tiles = c->parts[count];
    c->filling = c->counting = NULL;
    for (uint64_t next = 0; next < tiles || c->filling;) {
        c->counting = c->filling;
        c->filling = NULL;
        if (next < tiles) {
            c->filling = c->counting == &c->chunks[0] ? &c->chunks[1] : &c->chunks[0];
            c->filling->first_tile = next;
            c->filling->tile_count = tiles - next < c->chunk_tiles ? (size_t)(tiles - next) : c->chunk_tiles;
            next += c->filling->tile_count;
        }
        const size_t fills = c->filling ? c->filling->tile_count : 0;
        base_parallel(c->settings.threads, (c->counting ? c->k : 0) + fills, chunk_task, c);
        for (size_t i = 0; i < fills; i++)
            for (unsigned w = 0; w < 4; w++) c->zeros[w] += c->filling->tiles[i].zeros[w];
    }
    base_free(c->parts);
    c->parts = NULL;
    return c->no_memory ? base_no_memory(error, c->columns[0].view.count * sizeof(uint64_t)) : FPR_OK;
}

fpr_status conv_counter_add(conv_counter *counter, const conv_block *blocks, size_t count, fpr_error *error)
{
    return count_blocks(counter, blocks, count, false, error);
}

fpr_status conv_counter_add_changed(conv_counter *counter, const conv_block *blocks, size_t count, fpr_error *error)
{
    return count_blocks(counter, blocks, count, true, error);
}

/* Cells of a bin, log2: enough for percentiles, fewer where there are many columns.
 *
 * The more coefficients, the fewer cells do. What a percentile is off by is about a cell's width over the square root
 * of what the cell holds, and a small table stays in the first cache level: eight times fewer cells are counted into
 * five times faster. */
static unsigned zoom_for(unsigned bins, unsigned k, uint64_t kernels)
{
    unsigned zoom = 0, halved = 0;
    while (((uint64_t)bins << zoom) < CELLS_MIN && ((uint64_t)bins << zoom) * 2 * k <= CELLS_TOTAL) zoom++;
    while (halved < CELLS_HALVED && halved < zoom && kernels > (uint64_t)MANY << halved) halved++;
    return zoom - halved;
}

static bool counter_memory(conv_counter *c)
{
    const unsigned k = c->k, threads = c->settings.threads ? c->settings.threads : 1;
    c->memory = base_calloc(2 * (size_t)k + (size_t)k * k, sizeof *c->memory);
    c->columns = base_calloc(k, sizeof *c->columns);
    c->scratch = base_alloc_aligned((uint64_t)threads * conv_projection_scratch(k), sizeof *c->scratch);
    return c->memory && c->columns && c->scratch;
}

fpr_status conv_counter_new(const fpr_basis *basis, unsigned k, const double range[2], uint64_t kernels, uint64_t live,
                            const conv_settings *settings, conv_counter **counter, fpr_error *error)
{
    *counter = NULL;
    conv_counter *c = base_calloc(1, sizeof *c);
    if (!c) return base_no_memory(error, sizeof *c);
    c->k = k;
    c->settings = *settings;
    c->kernels = conv_kernels_of(settings);
    c->numbers_max = NUMBERS_TOTAL / k < NUMBERS_MAX ? NUMBERS_TOTAL / k : NUMBERS_MAX;
    c->cells_max = UINT64_C(1) << (64 - COUNT_SHIFT);
    c->many[KEPT_LIVE] = c->many[GONE_LIVE] = live > c->numbers_max;
    c->many[KEPT_SPARSE] = c->many[GONE_SPARSE] = kernels - live > c->numbers_max;
    c->cells_zoom = zoom_for(settings->bins, k, live > c->numbers_max ? live : kernels);
    if (!counter_memory(c)) {
        conv_counter_free(c);
        return base_no_memory(error, conv_projection_scratch(k) * sizeof(double));
    }
    c->mean = c->memory;
    c->origin = c->mean + k;
    c->components = c->origin + k;
    memcpy(c->mean, basis->mean, k * sizeof *c->mean);
    memcpy(c->components, basis->components, (size_t)k * k * sizeof *c->components);
    const bool any = range[0] <= range[1]; /* else no kernel was seen */
    c->range[0] = any ? range[0] : 0;
    c->range[1] = any ? range[1] : 0;
    num_widen(c->range);

    const size_t stride = conv_tile_stride(k);
    memset(c->scratch, 0, k * stride * sizeof *c->scratch);
    c->kernels->tile_project(c->scratch + k * stride, c->scratch, stride, 1, k, c->mean, c->components);
    for (unsigned j = 0; j < k; j++) {
        c->origin[j] = c->scratch[(k + j) * stride];
        column *col = &c->columns[j];
        col->view = (num_cells_view){.lo = c->range[0], .hi = c->range[1], .bins = settings->bins,
                                     .count = settings->bins << c->cells_zoom};
        col->range[0] = INFINITY;
        col->range[1] = -INFINITY;
        for (unsigned kind = 0; kind < KINDS; kind++) {
            col->tables[kind].range[0] = INFINITY;
            col->tables[kind].range[1] = -INFINITY;
        }
    }
    *counter = c;
    return FPR_OK;
}

void conv_counter_free(conv_counter *counter)
{
    if (!counter) return;
    for (unsigned j = 0; j < counter->k && counter->columns; j++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            base_free(counter->columns[j].tables[kind].numbers);
            base_free(counter->columns[j].tables[kind].cells);
            base_free(counter->columns[j].tables[kind].wide);
        }
    }
    base_free(counter->memory);
    base_free(counter->columns);
    base_free(counter->scratch);
    for (unsigned i = 0; i < 4; i++) base_free(counter->estimates[i].kde);
    for (unsigned i = 0; i < 2; i++) {
        base_free(counter->chunks[i].tiles);
        base_free(counter->chunks[i].coefficients);
    }
    base_free(counter);
}
