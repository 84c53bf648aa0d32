/* What the third sweep has counted, as histograms and density estimates; and how far two of them are apart. */
#include "conv/counter.h"

#include <math.h>

#define ZERO_SPREAD 1e-12 /* of the range: what rounding makes of coefficients that are equal */

/* The tables of all workers for one component of a distribution: those with cells, those with numbers. */
typedef struct tables {
    const table *cells[8 * KINDS], *numbers[8 * KINDS];
    unsigned cells_count, numbers_count;
} tables;

static tables tables_of(const conv_counter *c, unsigned component, unsigned kinds)
{
    tables all = {.cells_count = 0};
    for (unsigned w = 0; w < c->workers; w++)
        for (unsigned kind = 0; kind < KINDS; kind++) {
            const table *t = &c->counting[w].tables[component * KINDS + kind];
            if (!(kinds >> kind & 1)) continue;
            if (t->cells) all.cells[all.cells_count++] = t;
            if (t->numbers) all.numbers[all.numbers_count++] = t;
        }
    return all;
}

static uint64_t zeros_of(const conv_counter *c, conv_which which)
{
    uint64_t zeros = 0;
    for (unsigned w = 0; w < c->workers; w++) zeros += c->counting[w].zeros[which];
    return zeros;
}

/* Coefficients of a kind, which are as many for every component. */
static uint64_t total_of(const conv_counter *c, unsigned kind)
{
    uint64_t total = 0;
    for (unsigned w = 0; w < c->workers; w++) total += c->counting[w].tables[kind].total;
    return total;
}

/* The sum of one cell over all tables. */
static wide_cell cell_at(const tables *all, uint32_t i)
{
    wide_cell sum = {0, 0};
    for (unsigned t = 0; t < all->cells_count; t++) {
        sum.count += all->cells[t]->cells[i] >> COUNT_SHIFT;
        sum.positions += all->cells[t]->cells[i] & COUNT_MASK;
        if (!all->cells[t]->wide) continue;
        sum.count += all->cells[t]->wide[i].count;
        sum.positions += all->cells[t]->wide[i].positions;
    }
    return sum;
}

/* Adds numbers to a histogram, by the same rule as cells. */
static void count_numbers(const conv_counter *c, const num_cells_view *view, const double *x, size_t n, uint64_t times,
                          uint64_t *counts)
{
    const num_cells_view bins = {
        .lo = view->lo, .hi = view->hi, .bins = view->bins, .first = -1, .count = view->bins + 2};
    uint32_t place[256];
    for (size_t first = 0; first < n; first += 256) {
        const size_t m = n - first < 256 ? n - first : 256;
        c->kernels->cells(place, x + first, m, &bins);
        for (size_t i = 0; i < m; i++) {
            const uint32_t cell = num_cell_of(place[i]);
            if (cell >= 1 && cell <= view->bins) counts[cell - 1] += times;
        }
    }
}

/* Adds cells from `at` of the tables on, which lie as the view says, to a histogram: a bin is a run of cells. */
static void count_view(const num_cells_view *view, uint32_t at, const tables *all, uint64_t *counts)
{
    for (uint32_t i = 0; i < view->count; i++) {
        const int64_t cell = view->first + i;
        if (cell < 0) continue; /* below the range */
        const uint64_t bin = (uint64_t)cell >> view->zoom;
        if (bin < view->bins) counts[bin] += cell_at(all, at + i).count;
    }
}

/* Histogram of one component. */
static void read_bins(const conv_counter *c, const window *w, const tables *all, uint64_t zeros, double origin,
                      uint64_t *counts)
{
    if (zeros) count_numbers(c, &w->fine, &origin, 1, zeros, counts);
    for (unsigned t = 0; t < all->numbers_count; t++)
        count_numbers(c, &w->fine, all->numbers[t]->numbers, (size_t)all->numbers[t]->total, 1, counts);
    if (!all->cells_count) return;
    count_view(&w->fine, 0, all, counts);
    for (unsigned side = 0; side < 2; side++)
        count_view(&w->coarse, w->fine.count + side * w->coarse.count, all, counts);
}

/* What a worker finishes components with. */
typedef struct worker_buffers {
    num_mass *masses; /* [cells + numbers + 1] */
    double *numbers;  /* [2 * numbers_max] */
    uint64_t numbers_max;
    double *scratch;
} worker_buffers;

/* The coefficients of a distribution that were kept as they are, sorted; returns how many. */
static size_t read_numbers(const tables *all, double *x, double *spare)
{
    size_t n = 0;
    for (unsigned t = 0; t < all->numbers_count; t++) {
        memcpy(x + n, all->numbers[t]->numbers, (size_t)all->numbers[t]->total * sizeof *x);
        n += (size_t)all->numbers[t]->total;
    }
    num_sort(x, n, spare);
    return n;
}

/* Masses by rising x, and the numbers that have not been put between them yet. */
typedef struct merging { num_mass *end; const double *x; size_t left; } merging;

/* Adds cells from `at` of the tables on as masses at their means. Where all positions of a cell agree, it is a point;
 * else it may be anything within the cell that has this mean. */
static void add_cells(merging *m, const num_cells_view *view, uint32_t at, const tables *all)
{
    const double width = (view->hi - view->lo) / view->bins / (double)(UINT64_C(1) << view->zoom);
    for (uint32_t i = 0; i < view->count; i++) {
        const wide_cell cell = cell_at(all, at + i);
        if (!cell.count) continue;
        const double mean = (double)cell.positions / (double)cell.count;
        const double inside = (mean + 0.5) / (1 << NUM_FRACTION_BITS);
        const double here = view->lo + ((double)(view->first + i) + inside) * width;
        for (; m->left && *m->x <= here; m->left--) *m->end++ = (num_mass){.x = *m->x++, .count = 1};
        const bool point = mean == (double)(uint64_t)mean;
        const double spread = point ? 0 : fmin(inside, 1 - inside) * width;
        *m->end++ = (num_mass){.x = here, .count = cell.count, .spread = spread};
    }
}

/* One component as masses by rising x: numbers and zero kernels as points, cells at their means. */
static size_t read_masses(const window *w, const tables *all, uint64_t zeros, double origin, const worker_buffers *own)
{
    merging m = {own->masses, own->numbers, read_numbers(all, own->numbers, own->numbers + own->numbers_max)};
    if (all->cells_count) {
        add_cells(&m, &w->coarse, w->fine.count, all);
        add_cells(&m, &w->fine, 0, all);
        add_cells(&m, &w->coarse, w->fine.count + w->coarse.count, all);
    }
    for (; m.left; m.left--) *m.end++ = (num_mass){.x = *m.x++, .count = 1};
    if (zeros) {
        num_mass *place = m.end++;
        for (; place > own->masses && place[-1].x > origin; place--) *place = place[-1];
        *place = (num_mass){.x = origin, .count = zeros};
    }
    return (size_t)(m.end - own->masses);
}

static void estimate_density(const conv_counter *c, const num_mass *masses, size_t count, const double range[2],
                             double *scratch, fpr_kde *kde)
{
    num_spread spread;
    bool degenerate = false;
    num_spread_of(masses, count, &spread);
    const bool flat = !(range[1] - range[0] > ZERO_SPREAD * (c->range[1] - c->range[0]));
    if (flat) spread.sd = spread.p1 = spread.p25 = spread.p75 = spread.p99 = 0;
    double h = c->settings.bandwidth == FPR_BANDWIDTH_SCOTT ? num_scott(&spread, &degenerate)
                                                            : num_silverman(&spread, &degenerate);
    if (c->settings.bandwidth == FPR_BANDWIDTH_FIXED) {
        h = c->settings.bandwidth_value;
        degenerate = flat;
    }
    const double low = count ? range[0] : 0, high = count ? range[1] : 0;
    kde->bandwidth = h;
    kde->start = low - 3 * h;
    kde->step = (high - low + 6 * h) / (FPR_KDE_POINTS - 1);
    kde->degenerate = degenerate;
    num_kde(c->kernels, masses, count, h, kde->start, kde->step, kde->density, scratch);
}

typedef struct finishing {
    conv_counter *counter;
    conv_which which;
    uint64_t zeros;
    bool with_kde;
    fpr_distribution *out;
    worker_buffers *buffers; /* per worker */
} finishing;

static void finish_task(void *context, size_t component, unsigned worker)
{
    finishing *f = context;
    const conv_counter *c = f->counter;
    const window *w = &c->windows[component];
    const tables all = tables_of(c, (unsigned)component, conv_kinds_of[f->which]);
    const double origin = c->origin[component];
    read_bins(c, w, &all, f->zeros, origin, f->out->counts + component * c->settings.bins);
    if (!f->with_kde) return;
    const worker_buffers *own = &f->buffers[worker];
    const size_t n = read_masses(w, &all, f->zeros, origin, own);
    double range[2] = {f->zeros ? origin : INFINITY, f->zeros ? origin : -INFINITY};
    for (unsigned t = 0; t < all.cells_count + all.numbers_count; t++) {
        const table *one = t < all.cells_count ? all.cells[t] : all.numbers[t - all.cells_count];
        range[0] = fmin(range[0], one->range[0]);
        range[1] = fmax(range[1], one->range[1]);
    }
    estimate_density(c, own->masses, n, range, own->scratch, &f->out->kde[component]);
}

/* The kinds of a distribution that occur. */
static unsigned kinds_seen(const conv_counter *c, conv_which which)
{
    unsigned kinds = 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (total_of(c, kind)) kinds |= 1u << kind;
    return kinds & conv_kinds_of[which];
}

static const estimate *find_estimate(const conv_counter *c, conv_which which)
{
    const unsigned kinds = kinds_seen(c, which);
    for (unsigned i = 0; i < 4; i++) {
        const estimate *e = &c->estimates[i];
        if (e->kde && e->kinds == kinds && e->zeros == zeros_of(c, which)) return e;
    }
    return NULL;
}

static fpr_status finish_memory(finishing *f, unsigned threads, fpr_error *error)
{
    const conv_counter *c = f->counter;
    uint64_t numbers = 0, masses = 1;
    const tables all = tables_of(c, 0, conv_kinds_of[f->which]);
    for (unsigned t = 0; t < all.numbers_count; t++) numbers += all.numbers[t]->total;
    for (unsigned j = 0; j < c->k && all.cells_count; j++)
        if (c->windows[j].count > masses) masses = c->windows[j].count;
    masses += 1 + numbers;
    f->buffers = base_calloc(threads, sizeof *f->buffers);
    if (!f->buffers) return base_no_memory(error, threads * sizeof *f->buffers);
    for (unsigned i = 0; i < threads; i++) {
        worker_buffers *d = &f->buffers[i];
        d->numbers_max = numbers;
        d->masses = base_alloc(masses, sizeof *d->masses);
        d->numbers = base_alloc(2 * numbers, sizeof *d->numbers);
        d->scratch = base_alloc_aligned(NUM_KDE_SCRATCH, sizeof *d->scratch);
        if (!d->masses || !d->numbers || !d->scratch) return base_no_memory(error, masses * sizeof *d->masses);
    }
    return FPR_OK;
}

fpr_status conv_counter_finish(conv_counter *counter, conv_which which, bool with_kde, fpr_distribution *out,
                               fpr_error *error)
{
    const unsigned k = counter->k, bins = counter->settings.bins;
    unsigned threads = counter->settings.threads ? counter->settings.threads : 1;
    if (threads > k) threads = k;
    const estimate *known = with_kde ? find_estimate(counter, which) : NULL;
    finishing f = {.counter = counter, .which = which, .zeros = zeros_of(counter, which),
                   .with_kde = with_kde && !known, .out = out};
    *out = (fpr_distribution){.kernels = f.zeros};
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (conv_kinds_of[which] >> kind & 1) out->kernels += total_of(counter, kind);
    out->counts = base_calloc((uint64_t)k * bins, sizeof *out->counts);
    out->kde = with_kde ? base_calloc(k, sizeof *out->kde) : NULL;
    fpr_status status = FPR_OK;
    if (!out->counts || (with_kde && !out->kde)) status = base_no_memory(error, k * (sizeof *out->kde + 8 * bins));
    if (status == FPR_OK) status = finish_memory(&f, threads, error);
    if (status == FPR_OK) {
        base_parallel(threads, k, finish_task, &f);
        if (known) {
            memcpy(out->kde, known->kde, k * sizeof *out->kde);
        } else if (with_kde) {
            estimate *keep = &counter->estimates[which];
            if (!keep->kde) keep->kde = base_alloc(k, sizeof *keep->kde); /* without memory it is made again */
            keep->kinds = kinds_seen(counter, which);
            keep->zeros = f.zeros;
            if (keep->kde) memcpy(keep->kde, out->kde, k * sizeof *out->kde);
        }
    } else {
        base_free(out->counts);
        base_free(out->kde);
        *out = (fpr_distribution){0};
    }
    for (unsigned i = 0; f.buffers && i < threads; i++) {
        base_free(f.buffers[i].masses);
        base_free(f.buffers[i].numbers);
        base_free(f.buffers[i].scratch);
    }
    base_free(f.buffers);
    return status;
}

fpr_status conv_divergence(const fpr_distribution *p, const fpr_distribution *q, unsigned k, unsigned bins,
                           const double range[2], const double *ratio, fpr_divergence *out, fpr_error *error)
{
    double edges[2] = {range[0], range[1]};
    num_widen(edges);
    out->weighted = 0;
    out->per_component = base_alloc(k, sizeof *out->per_component);
    if (!out->per_component) return base_no_memory(error, k * sizeof *out->per_component);
    for (unsigned j = 0; j < k; j++) {
        out->per_component[j] = num_divergence(p->counts + (size_t)j * bins, q->counts + (size_t)j * bins, bins,
                                               (edges[1] - edges[0]) / bins);
        out->weighted += ratio[j] * out->per_component[j];
    }
    return FPR_OK;
}
