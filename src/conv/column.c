/* The tables of one component: what the third sweep counts into.
 *
 * A cell is one 64-bit number: how many coefficients it holds in the high bits, and in the low bits the sum of their
 * positions within the cell, in units of 2^-NUM_FRACTION_BITS of it. From these come the histogram, exactly, and
 * percentiles and density estimates, which see a cell as a point at its mean. Cells are fine where the component has its
 * mass, some standard deviations around the mean of the kernels: a component of small variance gets finer ones. The few
 * coefficients outside go into coarse cells. */
#include "conv/counter.h"

#include <math.h>

#define RUN 256              /* coefficients whose cells are found at a time */
#define ZOOM_MAX 34          /* cells of a bin, log2: what doubles can tell apart */
#define DEVIATIONS 6         /* fine cells reach so many standard deviations to both sides, at least */
#define FINE_MOST 65536u     /* fine cells, at least, where few coefficients are counted, */
#define FINE_LEAST 8192u    /* and where there are many: so few stay in the first cache level */
#define FINE_TOTAL 1310720u  /* of all components of a kind, where k is large */
#define COARSE 1024u         /* coarse cells of the range, and */
#define COARSE_MOST 8192u    /* with what lies beyond it */
#define NUMBERS_MAX 32768u
#define NUMBERS_TOTAL 524288u /* of all components of a kind: 4 MiB */

uint64_t conv_numbers_max(unsigned k) { return NUMBERS_TOTAL / k < NUMBERS_MAX ? NUMBERS_TOTAL / k : NUMBERS_MAX; }

/* The more coefficients, the fewer cells do: what a percentile is off by is about a cell's width over the square root of
 * what the cell holds. */
static uint32_t fine_cells(unsigned k, uint64_t kernels)
{
    uint32_t fine = FINE_MOST;
    while (fine > FINE_LEAST && kernels > (uint64_t)FINE_MOST * FINE_MOST / fine) fine /= 2;
    while ((uint64_t)fine * k > FINE_TOTAL) fine /= 2;
    return fine;
}

/* The cell of x, from lo. */
static double cell_of(const num_cells_view *v, double x)
{
    return floor((x - v->lo) / (v->hi - v->lo) * v->bins * ldexp(1, (int)v->zoom));
}

void conv_window_choose(window *w, const double range[2], unsigned bins, unsigned k, uint64_t kernels, double sd,
                        double reach)
{
    const double bin = (range[1] - range[0]) / bins, least = isfinite(sd) ? 2 * DEVIATIONS * sd : INFINITY;
    const uint32_t cells = fine_cells(k, kernels);
    w->fine = w->coarse = (num_cells_view){.lo = range[0], .hi = range[1], .bins = bins};

    /* All of the range; or, where that makes them finer, as much as is wanted around 0, where the mean kernel is. A guard
     * cell to both sides. */
    while (((uint64_t)bins << w->fine.zoom) < cells) w->fine.zoom++;
    w->fine.first = -1;
    w->fine.count = (bins << w->fine.zoom) + 2;
    const unsigned whole = w->fine.zoom;
    while (w->fine.zoom < ZOOM_MAX && cells * bin / ldexp(1, (int)w->fine.zoom + 1) >= least) w->fine.zoom++;
    if (w->fine.zoom > whole) {
        w->fine.first = (int64_t)cell_of(&w->fine, 0) - (int64_t)(cells / 2) - 1;
        w->fine.count = cells + 2;
    }

    /* Kernels that were changed may lie beyond the range of those before, up to the reach of any kernel. */
    while (((uint64_t)bins << (w->coarse.zoom + 1)) <= COARSE) w->coarse.zoom++;
    const double low = cell_of(&w->coarse, fmin(-reach, range[0])), high = cell_of(&w->coarse, fmax(reach, range[1]));
    const double inside = (double)((uint64_t)bins << w->coarse.zoom), most = fmax(COARSE_MOST, inside);
    const double beyond = (most - inside) / 2;
    const double begin = fmax(low, -beyond), end = fmin(high + 1, inside + beyond);
    w->coarse.first = (int64_t)begin;
    w->coarse.count = (uint32_t)(end - begin);
    w->count = w->fine.count + 2 * w->coarse.count;
}

static void empty_cells(table *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        t->wide[i].count += t->cells[i] >> COUNT_SHIFT;
        t->wide[i].positions += t->cells[i] & COUNT_MASK;
        t->cells[i] = 0;
    }
    t->counted = 0;
}

static uint64_t one_at(uint32_t place) { return (UINT64_C(1) << COUNT_SHIFT) + num_fraction_of(place); }

/* A number outside of the fine cells; is_right tells to which side. */
static void count_outside(const conv_counter *c, const window *w, table *t, double x, bool is_right)
{
    uint32_t place;
    c->kernels->cells(&place, &x, 1, &w->coarse);
    t->cells[w->fine.count + (is_right ? w->coarse.count : 0) + num_cell_of(place)] += one_at(place);
}

static void count_cells(const conv_counter *c, const window *w, table *t, const double *x, size_t n)
{
    uint32_t place[RUN];
    const uint32_t last = w->fine.count - 1, inside = 1u << NUM_FRACTION_BITS, end = last << NUM_FRACTION_BITS;
    for (size_t first = 0; first < n; first += RUN) {
        const size_t m = n - first < RUN ? n - first : RUN;
        uint32_t outside = 0;
        c->kernels->cells(place, x + first, m, &w->fine);
        for (size_t i = 0; i < m; i++) outside |= (uint32_t)((place[i] < inside) | (place[i] >= end));
        for (size_t i = 0; i < m; i++) t->cells[num_cell_of(place[i])] += one_at(place[i]);
        if (!outside) continue;
        t->cells[0] = t->cells[last] = 0;
        for (size_t i = 0; i < m; i++)
            if (place[i] < inside || place[i] >= end) count_outside(c, w, t, x[first + i], place[i] >= end);
    }
    t->counted += n;
}

static bool keep_numbers(table *t, const double *x, size_t n)
{
    if (t->capacity - t->total < n) {
        const uint64_t wanted = 2 * t->capacity > t->total + n ? 2 * t->capacity : t->total + n;
        double *longer = base_grow(t->numbers, wanted, sizeof *longer);
        if (!longer) return false;
        t->numbers = longer;
        t->capacity = wanted;
    }
    memcpy(t->numbers + t->total, x, n * sizeof *x);
    return true;
}

bool conv_table_add(const conv_counter *c, const window *w, unsigned kind, table *t, const double *x, size_t n)
{
    if (!n) return true;
    if (!c->many[kind]) {
        if (!keep_numbers(t, x, n)) return false;
    } else {
        if (!t->cells && !(t->cells = base_calloc(w->count, sizeof *t->cells))) return false;
        if (t->counted + n > c->cells_max) {
            if (!t->wide && !(t->wide = base_calloc(w->count, sizeof *t->wide))) return false;
            empty_cells(t, w->count);
        }
        count_cells(c, w, t, x, n);
    }
    c->kernels->range(t->range, x, n);
    t->total += n;
    return true;
}
