/* Third sweep, over the blocks of one kernel group: how the coefficients are distributed.
 *
 * A task takes some tiles: projects them, sorts their coefficients by kind of kernel, and counts them component after
 * component into tables of its worker's own. So a coefficient never leaves the cache of the core that made it, and a
 * table is in the first level while it is counted into. Counting in integers makes the sum over the workers independent
 * of who counted what.
 *
 * Of up to some thousand kernels a table keeps the coefficients themselves. Beyond, it holds cells (column.c). */
#include "conv/counter.h"

#include <math.h>

#define TASK_TILES 16u          /* tiles of a task, and */
#define TASK_BYTES (320u << 10) /* what their coefficients may take: 16 * 264 * 9 are 300 KB */
#define WORKERS_MAX 8u          /* who count, and */
#define TABLES_BYTES (12u << 20) /* what the cells of one kind may take if it is more than two: memory is bounded */

/* ---------------------------------------------------------------- first half: a tile's coefficients, by kind */

static uint64_t tile_count(const conv_block *block)
{
    const size_t width = conv_tile_width(block->shape->k);
    return (block->shape->kernels + width - 1) / width;
}

/* The kind of a kernel; KINDS for one that is not counted in this call. */
static unsigned kind_of(bool changed, unsigned action, bool live)
{
    if (changed) return action != CONV_ACTION_CHANGED ? KINDS : live ? NEW_LIVE : NEW_SPARSE;
    if (action == CONV_ACTION_KEPT) return live ? KEPT_LIVE : KEPT_SPARSE;
    return live ? GONE_LIVE : GONE_SPARSE;
}

/* Whether nothing tells the kernels of a tile from each other: all of them are live and stay as they are. */
static bool are_alike(const conv_counter *c, const conv_block *block, const double *peak, size_t n)
{
    if (c->changed || block->action || block->max_abs == 0) return false;
    double peaks[2] = {INFINITY, 0};
    c->kernels->range(peaks, peak, n);
    return peaks[0] > 0 && peaks[0] >= c->settings.eps * block->max_abs;
}

/* Lists of kernels of a tile: of each kind, those that are counted one by one, and after them the zero kernels. No
 * branches, because sparse and zero kernels come in no order. */
typedef struct sorting { uint32_t list[2 * (KINDS + 1)][256]; uint32_t count[2 * (KINDS + 1)]; } sorting;

static void sort_kinds(const conv_counter *c, const conv_block *block, uint64_t first, size_t n, const double *peak,
                       sorting *s, tile *t, uint64_t zeros[4])
{
    const double limit = c->settings.eps * block->max_abs;
    const bool all_sparse = block->max_abs == 0, hwio = block->shape->layout == FPR_LAYOUT_HWIO;
    uint8_t kinds[4][2];
    for (unsigned action = 0; action < 4; action++)
        for (unsigned live = 0; live < 2; live++) kinds[action][live] = (uint8_t)kind_of(c->changed, action, live);
    uint8_t actions[256] = {0};
    for (size_t i = 0; i < n && block->action; i++)
        actions[i] = block->action[hwio ? conv_kernel_at(block->shape, first + i) : first + i] & 3;
    uint32_t zeroed = 0, count[2 * (KINDS + 1)] = {0};
    for (size_t i = 0; i < n; i++) {
        const unsigned live = !((peak[i] < limit) | all_sparse);
        const unsigned kind = kinds[actions[i]][live] + (KINDS + 1u) * !(peak[i] > 0);
        s->list[kind][count[kind]++] = (uint32_t)i;
        zeroed += actions[i] == CONV_ACTION_ZERO;
    }
    memcpy(s->count, count, sizeof count);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        t->count[kind] = s->count[kind];
        for (unsigned w = 0; w < 4; w++)
            if (conv_kinds_of[w] >> kind & 1) zeros[w] += s->count[KINDS + 1 + kind];
    }
    if (c->changed) return;
    zeros[CONV_AFTER] += zeroed;
    if (limit == 0 && !all_sparse) zeros[CONV_LIVE_AFTER] += zeroed; /* nothing is sparse where eps is 0 */
}

/* Projects one tile into `to`. */
static void fill_tile(const conv_counter *c, uint64_t number, counting *own, double *to, tile *t)
{
    const unsigned k = c->k;
    const size_t stride = conv_tile_stride(k), width = conv_tile_width(k);
    const size_t b = conv_part_block(c->parts, c->count, number);
    const conv_block *block = &c->blocks[b];
    const uint64_t first = (number - c->parts[b]) * width;
    const size_t n = block->shape->kernels - first < width ? (size_t)(block->shape->kernels - first) : width;
    double *x = own->scratch, *sorted = x + k * stride, *peak = sorted + k * stride;
    sorting lists;

    conv_scaled_tile(c->kernels, block, c->settings.half, first, n, x, peak, stride);
    if (are_alike(c, block, peak, n)) {
        *t = (tile){.count = {[KEPT_LIVE] = (uint32_t)n}};
        c->kernels->tile_project(to, x, stride, n, k, c->mean, c->components);
        return;
    }
    sort_kinds(c, block, first, n, peak, &lists, t, own->zeros);
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

static void count_task(void *context, size_t index, unsigned worker)
{
    conv_counter *c = context;
    if (base_cancelled()) return;
    counting *own = &c->counting[worker];
    const unsigned k = c->k;
    const size_t stride = conv_tile_stride(k);
    const uint64_t first = (uint64_t)index * c->task_tiles, left = c->parts[c->count] - first;
    const size_t tiles = left < c->task_tiles ? (size_t)left : c->task_tiles;
    tile sorted[TASK_TILES];
    for (size_t i = 0; i < tiles; i++) fill_tile(c, first + i, own, own->coefficients + i * k * stride, &sorted[i]);
    bool fine = true;
    for (unsigned j = 0; j < k; j++)
        for (size_t i = 0; i < tiles; i++) {
            const double *x = own->coefficients + (i * k + j) * stride;
            for (unsigned kind = 0; kind < KINDS && fine; x += sorted[i].count[kind++])
                fine =
                    conv_table_add(c, &c->windows[j], kind, &own->tables[j * KINDS + kind], x, sorted[i].count[kind]);
        }
    if (!fine) __atomic_store_n(&c->no_memory, true, __ATOMIC_RELAXED);
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
    c->blocks = blocks;
    c->count = count;
    c->changed = changed;
    base_parallel(c->workers, (size_t)((c->parts[count] + c->task_tiles - 1) / c->task_tiles), count_task, c);
    base_free(c->parts);
    c->parts = NULL;
    if (base_cancelled()) return base_check_cancelled(error);
    return c->no_memory ? base_no_memory(error, c->windows[0].count * sizeof(uint64_t)) : FPR_OK;
}

fpr_status conv_counter_add(conv_counter *counter, const conv_block *blocks, size_t count, fpr_error *error)
{
    return count_blocks(counter, blocks, count, false, error);
}

fpr_status conv_counter_add_changed(conv_counter *counter, const conv_block *blocks, size_t count, fpr_error *error)
{
    return count_blocks(counter, blocks, count, true, error);
}

/* Where coefficients can be expected: sd of each component, and how far any kernel can be from the mean. */
static void choose_windows(conv_counter *c, const fpr_basis *basis, uint64_t kernels, uint64_t live)
{
    const unsigned k = c->k;
    double mean = 0;
    for (unsigned d = 0; d < k; d++) mean += c->mean[d] * c->mean[d];
    /* |x| is at most sqrt(k), for no weight of a scaled kernel is above 1. */
    const double reach = sqrt(k) + sqrt(mean);
    const uint64_t fewest = live > conv_numbers_max(k) ? live : kernels;
    for (unsigned j = 0; j < k; j++) {
        /* Not known of a basis that was given without it. Of the basis of more kernels than these it is too large, which
         * makes the window wider than it need be. */
        const double value = basis->singular_values[j];
        const double sd = kernels > 1 && value > 0 ? value / sqrt((double)kernels - 1) : NAN;
        conv_window_choose(&c->windows[j], c->range, c->settings.bins, k, fewest, sd, reach);
    }
}

static unsigned count_workers(const conv_counter *c)
{
    const unsigned threads = c->settings.threads ? c->settings.threads : 1;
    uint64_t bytes = 1;
    for (unsigned j = 0; j < c->k; j++) bytes += c->windows[j].count * sizeof(uint64_t);
    uint64_t most = TABLES_BYTES / bytes;
    most = most < 2 ? 2 : most > WORKERS_MAX ? WORKERS_MAX : most;
    return threads < most ? threads : (unsigned)most;
}

static bool worker_memory(conv_counter *c)
{
    const unsigned k = c->k;
    const size_t one = k * conv_tile_stride(k);
    c->task_tiles = TASK_TILES;
    while (c->task_tiles > 1 && c->task_tiles * one * sizeof(double) > TASK_BYTES) c->task_tiles /= 2;
    const size_t tiles = c->task_tiles * one;
    c->workers = count_workers(c);
    c->counting = base_calloc(c->workers, sizeof *c->counting);
    if (!c->counting) return false;
    for (unsigned w = 0; w < c->workers; w++) {
        counting *own = &c->counting[w];
        own->tables = base_calloc((size_t)k * KINDS, sizeof *own->tables);
        own->coefficients = base_alloc_aligned(tiles, sizeof *own->coefficients);
        own->scratch = base_alloc_aligned(conv_projection_scratch(k), sizeof *own->scratch);
        if (!own->tables || !own->coefficients || !own->scratch) return false;
        for (size_t i = 0; i < (size_t)k * KINDS; i++) {
            own->tables[i].range[0] = INFINITY;
            own->tables[i].range[1] = -INFINITY;
        }
    }
    return true;
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
    c->cells_max = UINT64_C(1) << (64 - COUNT_SHIFT);
    const uint64_t some = conv_numbers_max(k);
    c->many[KEPT_LIVE] = c->many[GONE_LIVE] = live > some;
    c->many[KEPT_SPARSE] = c->many[GONE_SPARSE] = kernels - live > some;
    c->many[NEW_LIVE] = c->many[NEW_SPARSE] = kernels > some;
    c->memory = base_calloc(2 * (size_t)k + (size_t)k * k, sizeof *c->memory);
    c->windows = base_calloc(k, sizeof *c->windows);
    if (!c->memory || !c->windows) {
        conv_counter_free(c);
        return base_no_memory(error, k * (k * sizeof *c->memory + sizeof *c->windows));
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
    choose_windows(c, basis, kernels, live);
    if (!worker_memory(c)) {
        conv_counter_free(c);
        return base_no_memory(error, conv_projection_scratch(k) * sizeof(double));
    }

    const size_t stride = conv_tile_stride(k);
    double *zero = c->counting[0].scratch, *projected = zero + k * stride;
    memset(zero, 0, k * stride * sizeof *zero);
    c->kernels->tile_project(projected, zero, stride, 1, k, c->mean, c->components);
    for (unsigned j = 0; j < k; j++) c->origin[j] = projected[j * stride];
    *counter = c;
    return FPR_OK;
}

void conv_counter_free(conv_counter *counter)
{
    if (!counter) return;
    for (unsigned w = 0; counter->counting && w < counter->workers; w++) {
        counting *own = &counter->counting[w];
        for (size_t i = 0; own->tables && i < (size_t)counter->k * KINDS; i++) {
            base_free(own->tables[i].numbers);
            base_free(own->tables[i].cells);
            base_free(own->tables[i].wide);
        }
        base_free(own->tables);
        base_free(own->coefficients);
        base_free(own->scratch);
    }
    for (unsigned i = 0; i < 4; i++) base_free(counter->estimates[i].kde);
    base_free(counter->memory);
    base_free(counter->windows);
    base_free(counter->counting);
    base_free(counter);
}
