/* The tables of one component: what the third sweep counts into.
 *
 * A cell is one 64-bit number: how many coefficients it holds in the high bits, and in the low bits the sum of their
 * positions within the cell, in units of 2^-NUM_FRACTION_BITS of it. From these come the histogram, exactly, and
 * percentiles and density estimates, which see a cell as a point at its mean. Tables look at as narrow a window as the
 * coefficients seen so far allow: a component of small variance gets finer cells. When a coefficient falls outside, cells
 * are merged in pairs and the window is moved. */
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

/* Cells merged in groups of 2^shift and moved to where a later view has them. A position in a cell, seen from the
 * merged cell, is that of the cell plus its own, in units 2^shift as large. */
static void regroup(const num_cells_view *old, const num_cells_view *now, const table *t, uint64_t *cells,
                    wide_cell *wide)
{
    const unsigned shift = old->zoom - now->zoom;
    const double unit = ldexp(1, -(int)shift), cell_units = 1 << NUM_FRACTION_BITS;
    for (uint32_t i = 0; i < old->count; i++) {
        const uint64_t n = t->cells[i] >> COUNT_SHIFT, wide_n = wide ? t->wide[i].count : 0;
        if (!(n | wide_n)) continue;
        const int64_t cell = old->first + i;
        const double before = (double)((uint64_t)cell & ((UINT64_C(1) << shift) - 1)) * cell_units;
        int64_t to = (cell >> shift) - now->first;
        to = to < 0 ? 0 : to >= now->count ? now->count - 1 : to;
        const double sum = (double)(t->cells[i] & COUNT_MASK) + (double)n * before;
        cells[to] += (n << COUNT_SHIFT) + (uint64_t)(sum * unit);
        if (!wide_n) continue;
        wide[to].count += wide_n;
        wide[to].positions += (uint64_t)(((double)t->wide[i].positions + (double)wide_n * before) * unit);
    }
}

/* Position in cells of the given zoom, from lo. */
static double cell_position(const num_cells_view *view, unsigned zoom, double x)
{
    return floor((x - view->lo) / (view->hi - view->lo) * view->bins * ldexp(1, (int)zoom));
}

/* Chooses a window for the range of the column, never a finer one than before; true when it differs. */
static bool choose_view(unsigned coarsest, column *col)
{
    num_cells_view *view = &col->view;
    const num_cells_view old = *view;
    const double low = col->range[0], high = col->range[1];
    const bool inside = low >= view->lo && high <= view->hi;
    if (col->seen) {
        const double first = cell_position(view, old.zoom, low) - (double)old.first;
        const double last = cell_position(view, old.zoom, high) - (double)old.first;
        if ((old.zoom == coarsest && inside && old.first == 0) || (first >= 1 && last <= old.count - 2.0)) return false;
    }
    /* Positions are rounded here, and the next chunk may need more. */
    const double room = 0.75 * view->count - 2;
    unsigned zoom = col->seen ? old.zoom : ZOOM_MAX;
    while (zoom > coarsest && cell_position(view, zoom, high) - cell_position(view, zoom, low) > room) zoom--;
    if (zoom == coarsest && inside) {
        view->first = 0;
    } else {
        while (zoom > 0 && cell_position(view, zoom, high) - cell_position(view, zoom, low) > room) zoom--;
        const double first = cell_position(view, zoom, low), last = cell_position(view, zoom, high);
        view->first = (int64_t)(first - floor((view->count - (last - first)) / 2));
    }
    view->zoom = zoom;
    return col->seen;
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
static bool table_ready(const conv_counter *c, const num_cells_view *view, unsigned kind, table *t, uint64_t more)
{
    if (!t->cells && !c->many[kind] && t->total + more <= c->numbers_max) {
        if (!t->numbers) t->numbers = base_alloc(c->numbers_max, sizeof *t->numbers);
        return t->numbers;
    }
    if (!t->cells) { /* too many to keep: from now on in cells */
        t->cells = base_calloc(view->count, sizeof *t->cells);
        if (!t->cells) return false;
        if (t->numbers) count_run(c, view, t, t->numbers, (size_t)t->total);
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
    uint64_t count[KINDS] = {0}, more = 0;
    bool ready = true;
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
        more += count[kind];
    }
    if (!more) return true;
    const num_cells_view old = col->view;
    if (choose_view(c->cells_zoom, col)) ready = move_view(col, &old);
    col->seen = true;
    for (unsigned kind = 0; kind < KINDS && ready; kind++)
        if (count[kind]) ready = table_ready(c, &col->view, kind, &col->tables[kind], count[kind]);
    for (size_t i = 0; ready && i < c->counting->tile_count; i++) {
        const tile *t = &c->counting->tiles[i];
        const double *x = coefficients_of(c, i, component);
        for (unsigned kind = 0; kind < KINDS; x += t->count[kind++])
            add_run(c, &col->view, &col->tables[kind], x, t->count[kind]);
    }
    return ready;
}
