/* The tables of one component: what the third sweep counts into.
 *
 * A cell is one 64-bit number: how many coefficients it holds in the high bits, and in the low bits the sum of their
 * positions within the cell, in units of 2^-NUM_FRACTION_BITS of it. From these come the histogram, exactly, and
 * percentiles and density estimates, which see a cell as a point at its mean. Tables look at as narrow a window as the
 * coefficients seen so far allow: a component of small variance gets finer cells. When a coefficient falls outside, the
 * window is moved or its cells are merged in pairs. */
#include "conv/counter.h"

#include <math.h>

#define RUN 256     /* coefficients whose cells are found at a time */
#define ZOOM_MAX 34 /* cells of a bin, log2: what doubles can tell apart */

static void wide_add(table *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        t->wide[i].count += t->cells[i] >> COUNT_SHIFT;
        t->wide[i].positions += t->cells[i] & COUNT_MASK;
        t->cells[i] = 0;
    }
    t->kernels = 0;
}

/* The sum of positions of n coefficients in a cell, seen from the cell of 2^shift times its size that it goes into. */
static uint64_t merged_positions(uint64_t n, uint64_t positions, uint64_t within, unsigned shift)
{
    return (uint64_t)ldexp((double)positions + (double)n * ldexp((double)within, NUM_FRACTION_BITS), -(int)shift);
}

/* Cells merged in groups of 2^shift and moved to where a later view has them. */
static void regroup(const num_cells_view *old, const num_cells_view *now, const table *t, uint64_t *cells,
                    wide_cell *wide)
{
    const unsigned shift = old->zoom - now->zoom;
    for (uint32_t i = 0; i < old->count; i++) {
        const int64_t cell = old->first + i;
        const uint64_t within = (uint64_t)cell & ((UINT64_C(1) << shift) - 1);
        int64_t to = (cell >> shift) - now->first;
        to = to < 0 ? 0 : to >= now->count ? now->count - 1 : to;
        const uint64_t n = t->cells[i] >> COUNT_SHIFT;
        if (n) cells[to] += n << COUNT_SHIFT | merged_positions(n, t->cells[i] & COUNT_MASK, within, shift);
        if (!wide || !t->wide[i].count) continue;
        wide[to].count += t->wide[i].count;
        wide[to].positions += merged_positions(t->wide[i].count, t->wide[i].positions, within, shift);
    }
}

/* Position in cells of the given zoom, from lo. */
static double cell_position(const num_cells_view *view, unsigned zoom, double x)
{
    return floor((x - view->lo) / (view->hi - view->lo) * view->bins * ldexp(1, (int)zoom));
}

/* Chooses a window for range, never a finer one than before; true when it differs. */
static bool choose_view(column *col, const double range[2], unsigned coarsest)
{
    num_cells_view *view = &col->view, old = *view;
    unsigned zoom = col->seen ? old.zoom : ZOOM_MAX;
    /* Positions are rounded here, and the next chunk may need more. */
    const double room = 0.75 * view->count - 2;
    if (col->seen) {
        const double low = cell_position(view, zoom, range[0]) - (double)old.first;
        const double high = cell_position(view, zoom, range[1]) - (double)old.first;
        const bool whole = zoom == coarsest && range[0] >= view->lo && range[1] <= view->hi && old.first == 0;
        if (whole || (low >= 1 && high <= old.count - 2.0)) return false;
    }
    while (zoom > coarsest && cell_position(view, zoom, range[1]) - cell_position(view, zoom, range[0]) > room) zoom--;
    if (zoom == coarsest && range[0] >= view->lo && range[1] <= view->hi) {
        view->first = 0;
    } else {
        while (zoom > 0 && cell_position(view, zoom, range[1]) - cell_position(view, zoom, range[0]) > room) zoom--;
        const double low = cell_position(view, zoom, range[0]), high = cell_position(view, zoom, range[1]);
        view->first = (int64_t)(low - floor((view->count - (high - low)) / 2));
    }
    view->zoom = zoom;
    return col->seen && (old.zoom != zoom || old.first != view->first);
}

static unsigned coarsest_zoom(const num_cells_view *view)
{
    unsigned zoom = 0;
    while ((uint64_t)view->bins << (zoom + 1) <= view->count) zoom++;
    return zoom;
}

static bool move_view(column *col, const num_cells_view *old)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        table *t = &col->tables[kind];
        if (!t->cells) continue;
        uint64_t *cells = base_calloc(col->view.count, sizeof *cells);
        wide_cell *wide = t->wide ? base_calloc(col->view.count, sizeof *wide) : NULL;
        if (!cells || (t->wide && !wide)) {
            base_free(cells);
            base_free(wide);
            return false;
        }
        regroup(old, &col->view, t, cells, wide);
        base_free(t->cells);
        base_free(t->wide);
        t->cells = cells;
        t->wide = wide;
    }
    return true;
}

static void count_run(const conv_counter *c, const num_cells_view *view, table *t, const double *x, size_t n)
{
    uint32_t cell[RUN], fraction[RUN];
    for (size_t first = 0; first < n; first += RUN) {
        const size_t m = n - first < RUN ? n - first : RUN;
        c->kernels->cells(cell, fraction, x + first, m, view);
        for (size_t i = 0; i < m; i++) t->cells[cell[i]] += (UINT64_C(1) << COUNT_SHIFT) + fraction[i];
    }
    t->kernels += n;
}

/* Makes room for more coefficients; false without memory. */
static bool table_ready(const conv_counter *c, const num_cells_view *view, table *t, uint64_t more)
{
    if (!t->cells && t->total + more <= c->numbers_max) {
        if (!t->numbers) t->numbers = base_alloc(c->numbers_max, sizeof *t->numbers);
        return t->numbers;
    }
    if (!t->cells) { /* too many to keep: from now on in cells */
        t->cells = base_calloc(view->count, sizeof *t->cells);
        if (!t->cells) return false;
        count_run(c, view, t, t->numbers, (size_t)t->total);
        base_free(t->numbers);
        t->numbers = NULL;
    }
    if (t->kernels + more < c->cells_max) return true;
    if (!t->wide) t->wide = base_calloc(view->count, sizeof *t->wide);
    if (!t->wide) return false;
    wide_add(t, view->count);
    return true;
}

static void add_run(const conv_counter *c, const num_cells_view *view, table *t, const double *x, size_t n)
{
    if (t->cells)
        count_run(c, view, t, x, n);
    else if (n)
        memcpy(t->numbers + t->total, x, n * sizeof *x);
    t->total += n;
}

/* Coefficients of one component in the i-th tile of the chunk. */
static const double *coefficients_of(const conv_counter *c, size_t i, size_t component)
{
    return c->counting->coefficients + (i * c->k + component) * conv_tile_stride(c->k);
}

bool conv_column_add(conv_counter *c, size_t component)
{
    column *col = &c->columns[component];
    uint64_t count[KINDS] = {0};
    bool any = false, ready = true;
    for (size_t i = 0; i < c->counting->tile_count; i++) {
        const tile *t = &c->counting->tiles[i];
        const double *x = coefficients_of(c, i, component);
        for (unsigned kind = 0; kind < KINDS; x += t->count[kind++]) {
            c->kernels->range(col->tables[kind].range, x, t->count[kind]);
            count[kind] += t->count[kind];
        }
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        col->range[0] = fmin(col->range[0], col->tables[kind].range[0]);
        col->range[1] = fmax(col->range[1], col->tables[kind].range[1]);
        any = any || count[kind];
    }
    if (!any) return true;
    const num_cells_view old = col->view;
    if (choose_view(col, col->range, coarsest_zoom(&old))) ready = move_view(col, &old);
    col->seen = true;
    for (unsigned kind = 0; kind < KINDS && ready; kind++)
        if (count[kind]) ready = table_ready(c, &col->view, &col->tables[kind], count[kind]);
    for (size_t i = 0; ready && i < c->counting->tile_count; i++) {
        const tile *t = &c->counting->tiles[i];
        const double *x = coefficients_of(c, i, component);
        for (unsigned kind = 0; kind < KINDS; x += t->count[kind++])
            add_run(c, &col->view, &col->tables[kind], x, t->count[kind]);
    }
    return ready;
}
