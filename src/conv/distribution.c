/* What the third sweep has counted, as histograms and density estimates; and how far two of them are apart. */
#include "conv/counter.h"

#include <math.h>

#define ZERO_SPREAD 1e-12 /* of the range: what rounding makes of coefficients that are equal */

/* The tables of a distribution that hold cells. */
static unsigned tables_of(const column *col, unsigned kinds, const table *tables[KINDS])
{
    unsigned n = 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (kinds >> kind & 1 && col->tables[kind].cells) tables[n++] = &col->tables[kind];
    return n;
}

/* Adds numbers to a histogram, by the same rule as cells. */
static void count_numbers(const conv_counter *c, const num_cells_view *view, const double *x, size_t n, uint64_t times,
                          uint64_t *counts)
{
    const num_cells_view bins = {
        .lo = view->lo, .hi = view->hi, .bins = view->bins, .first = -1, .count = view->bins + 2};
    uint32_t cell[256], fraction[256];
    for (size_t first = 0; first < n; first += 256) {
        const size_t m = n - first < 256 ? n - first : 256;
        c->kernels->cells(cell, fraction, x + first, m, &bins);
        for (size_t i = 0; i < m; i++)
            if (cell[i] >= 1 && cell[i] <= view->bins) counts[cell[i] - 1] += times;
    }
}

/* Histogram of one component. A bin is a run of cells. */
static void read_bins(const conv_counter *c, const column *col, unsigned kinds, uint64_t zeros, double origin,
                      uint64_t *counts)
{
    const num_cells_view *view = &col->view;
    const table *tables[KINDS];
    const unsigned n = tables_of(col, kinds, tables);
    if (zeros) count_numbers(c, view, &origin, 1, zeros, counts);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        const table *t = &col->tables[kind];
        if (kinds >> kind & 1 && t->numbers) count_numbers(c, view, t->numbers, (size_t)t->total, 1, counts);
    }
    for (int64_t b = 0; n && b < view->bins; b++) {
        int64_t begin = (b << view->zoom) - view->first, end = begin + (INT64_C(1) << view->zoom);
        begin = begin < 0 ? 0 : begin;
        end = end > view->count ? view->count : end;
        uint64_t sum = 0;
        for (unsigned t = 0; t < n; t++) {
            for (int64_t i = begin; i < end; i++) sum += tables[t]->cells[i] >> COUNT_SHIFT;
            for (int64_t i = begin; i < end && tables[t]->wide; i++) sum += tables[t]->wide[i].count;
        }
        counts[b] += sum;
    }
}

/* What a worker finishes components with. */
typedef struct desk {
    num_mass *masses; /* [cells + numbers + 1] */
    double *numbers;  /* [2 * numbers_max] */
    uint64_t numbers_max;
    double *scratch;
} desk;

/* The coefficients of a distribution that were kept as they are, sorted; returns how many. */
static size_t read_numbers(const column *col, unsigned kinds, double *x, double *spare)
{
    size_t n = 0;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        const table *t = &col->tables[kind];
        if (!(kinds >> kind & 1) || !t->numbers) continue;
        memcpy(x + n, t->numbers, (size_t)t->total * sizeof *x);
        n += (size_t)t->total;
    }
    num_sort(x, n, spare);
    return n;
}

/* One component as masses by rising x: numbers and zero kernels as points, cells at their means. Where all positions of
 * a cell agree, it is a point too; else it may be anything within the cell that has this mean. */
static size_t read_masses(const column *col, unsigned kinds, uint64_t zeros, double origin, const desk *own)
{
    const num_cells_view *view = &col->view;
    const double width = (view->hi - view->lo) / view->bins / (double)(UINT64_C(1) << view->zoom);
    const table *tables[KINDS];
    const unsigned table_count = tables_of(col, kinds, tables);
    const double *x = own->numbers;
    num_mass *m = own->masses;
    size_t left = read_numbers(col, kinds, own->numbers, own->numbers + own->numbers_max);
    for (uint32_t i = 0; table_count && i < view->count; i++) {
        uint64_t count = 0, positions = 0;
        for (unsigned t = 0; t < table_count; t++) {
            count += tables[t]->cells[i] >> COUNT_SHIFT;
            positions += tables[t]->cells[i] & COUNT_MASK;
            if (!tables[t]->wide) continue;
            count += tables[t]->wide[i].count;
            positions += tables[t]->wide[i].positions;
        }
        if (!count) continue;
        const double mean = (double)positions / (double)count, at = (mean + 0.5) / (1 << NUM_FRACTION_BITS);
        const double here = view->lo + ((double)(view->first + i) + at) * width;
        for (; left && *x <= here; left--) *m++ = (num_mass){.x = *x++, .count = 1};
        const bool point = mean == (double)(uint64_t)mean;
        *m++ = (num_mass){.x = here, .count = count, .spread = point ? 0 : fmin(at, 1 - at) * width};
    }
    for (; left; left--) *m++ = (num_mass){.x = *x++, .count = 1};
    if (zeros) {
        num_mass *place = m++;
        for (; place > own->masses && place[-1].x > origin; place--) *place = place[-1];
        *place = (num_mass){.x = origin, .count = zeros};
    }
    return (size_t)(m - own->masses);
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
    bool with_kde;
    fpr_distribution *out;
    desk *desks; /* per worker */
} finishing;

static void finish_task(void *context, size_t component, unsigned worker)
{
    finishing *f = context;
    const conv_counter *c = f->counter;
    const column *col = &c->columns[component];
    const unsigned kinds = conv_kinds_of[f->which];
    const uint64_t zeros = c->zeros[f->which];
    const double origin = c->origin[component];
    uint64_t *counts = f->out->counts + component * c->settings.bins;
    read_bins(c, col, kinds, zeros, origin, counts);
    if (!f->with_kde) return;
    const desk *own = &f->desks[worker];
    const size_t n = read_masses(col, kinds, zeros, origin, own);
    double range[2] = {zeros ? origin : INFINITY, zeros ? origin : -INFINITY};
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (!(kinds >> kind & 1)) continue;
        range[0] = fmin(range[0], col->tables[kind].range[0]);
        range[1] = fmax(range[1], col->tables[kind].range[1]);
    }
    estimate_density(c, own->masses, n, range, own->scratch, &f->out->kde[component]);
}

/* The kinds of a distribution that occur. */
static unsigned kinds_seen(const conv_counter *c, conv_which which)
{
    unsigned kinds = 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (c->columns[0].tables[kind].total) kinds |= 1u << kind;
    return kinds & conv_kinds_of[which];
}

static const estimate *find_estimate(const conv_counter *c, conv_which which)
{
    const unsigned kinds = kinds_seen(c, which);
    for (unsigned i = 0; i < 4; i++) {
        const estimate *e = &c->estimates[i];
        if (e->kde && e->kinds == kinds && e->zeros == c->zeros[which]) return e;
    }
    return NULL;
}

static fpr_status finish_memory(finishing *f, unsigned threads, fpr_error *error)
{
    const conv_counter *c = f->counter;
    const unsigned kinds = kinds_seen(c, f->which);
    uint64_t numbers = 0, masses = 1;
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (kinds >> kind & 1 && c->columns[0].tables[kind].numbers) numbers += c->columns[0].tables[kind].total;
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (kinds >> kind & 1 && c->columns[0].tables[kind].cells) masses = 1 + c->columns[0].view.count;
    masses += numbers;
    f->desks = base_calloc(threads, sizeof *f->desks);
    if (!f->desks) return base_no_memory(error, threads * sizeof *f->desks);
    for (unsigned i = 0; i < threads; i++) {
        desk *d = &f->desks[i];
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
    finishing f = {.counter = counter, .which = which, .with_kde = with_kde && !known, .out = out};
    *out = (fpr_distribution){.kernels = counter->zeros[which]};
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (conv_kinds_of[which] >> kind & 1) out->kernels += counter->columns[0].tables[kind].total;
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
            keep->zeros = counter->zeros[which];
            if (keep->kde) memcpy(keep->kde, out->kde, k * sizeof *out->kde);
        }
    } else {
        base_free(out->counts);
        base_free(out->kde);
        *out = (fpr_distribution){0};
    }
    for (unsigned i = 0; f.desks && i < threads; i++) {
        base_free(f.desks[i].masses);
        base_free(f.desks[i].numbers);
        base_free(f.desks[i].scratch);
    }
    base_free(f.desks);
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
