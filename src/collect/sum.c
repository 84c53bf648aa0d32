/* Sums over layers, and what is read off them. */
#include "collect/sum.h"
#include "num/num.h"

#include <math.h>
#include <stdlib.h>

fpr_status collect_sum_init(collect_sum *s, unsigned k, unsigned bins, fpr_error *error)
{
    *s = (collect_sum){.k = k, .bins = bins};
    s->cells = base_calloc((uint64_t)k * (bins << COLLECT_ZOOM), sizeof *s->cells);
    s->plane = base_calloc(COLLECT_SIDE * COLLECT_SIDE, sizeof *s->plane);
    if (s->cells && s->plane && fpr_moments_init(&s->moments, k) == FPR_OK) return FPR_OK;
    collect_sum_free(s);
    return base_no_memory(error, (uint64_t)k * (bins << COLLECT_ZOOM) * sizeof *s->cells);
}

void collect_sum_free(collect_sum *s)
{
    base_free(s->cells);
    base_free(s->plane);
    fpr_moments_free(&s->moments);
    *s = (collect_sum){0};
}

double collect_normalized_entropy(unsigned k, double entropy, uint64_t kernels)
{
    if (k != 9 || !kernels) return NAN;
    const double random = 1.2618047 / (1 + exp(-0.88767525 * (log2((double)kernels) - 2.30436435))) - 0.31050834;
    return random > 0 ? entropy / random : NAN;
}

void collect_sum_add(collect_sum *s, const void *model, const collect_layer *l)
{
    const size_t cells = (size_t)s->k * (s->bins << COLLECT_ZOOM);
    s->models += s->last != model;
    s->last = model;
    s->layers++;
    s->kernels += l->kernels;
    s->sparse += l->sparse;
    for (size_t i = 0; i < cells; i++) s->cells[i] += l->cells[i];
    for (size_t i = 0; i < COLLECT_SIDE * COLLECT_SIDE; i++) s->plane[i] += l->plane[i];
    fpr_moments_merge(&s->moments, &l->moments);
    const double entropy = collect_normalized_entropy(s->k, l->variance_entropy, l->kernels);
    if (!isfinite(entropy)) return;
    s->entropy += entropy;
    s->entropies++;
}

void collect_bins(const uint64_t *cells, unsigned k, unsigned bins, uint64_t *counts)
{
    for (size_t i = 0; i < (size_t)k * bins; i++) {
        counts[i] = 0;
        for (unsigned z = 0; z < 1u << COLLECT_ZOOM; z++) counts[i] += cells[(i << COLLECT_ZOOM) + z];
    }
}

/* ---- density */

static double bandwidth(const num_spread *spread, fpr_bandwidth rule, double value, bool *degenerate)
{
    *degenerate = spread->n < 2;
    if (rule == FPR_BANDWIDTH_FIXED) return value;
    return rule == FPR_BANDWIDTH_SCOTT ? num_scott(spread, degenerate) : num_silverman(spread, degenerate);
}

void collect_density(const uint64_t *cells, size_t count, const double range[2], fpr_bandwidth rule, double value,
                     double *scratch, fpr_kde *out)
{
    double wide[2] = {range[0], range[1]};
    num_widen(wide);
    const double width = (wide[1] - wide[0]) / (double)count;
    num_mass *masses = (num_mass *)(void *)(scratch + NUM_KDE_SCRATCH);
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (cells[i]) masses[n++] = (num_mass){wide[0] + ((double)i + 0.5) * width, width / 2, cells[i]};
    num_spread spread;
    num_spread_of(masses, n, &spread);
    *out = (fpr_kde){.bandwidth = 1};
    double h = bandwidth(&spread, rule, value, &out->degenerate);
    out->degenerate |= n < 2;
    if (n && h < width) h = width;
    if (out->degenerate) h = 1;
    const double low = n ? masses[0].x : 0, high = n ? masses[n - 1].x : 0;
    out->bandwidth = h;
    out->start = low - 3 * h;
    out->step = (high - low + 6 * h) / (FPR_KDE_POINTS - 1);
    if (!out->degenerate) num_kde(num_kernels_best(), masses, n, h, out->start, out->step, out->density, scratch);
}

/* ---- divergences */

double collect_divergence(const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins, const double range[2],
                          const double *weights, double *per_component)
{
    double wide[2] = {range[0], range[1]}, sum = 0;
    num_widen(wide);
    for (unsigned c = 0; c < k; c++) {
        const double d = num_divergence(p + (size_t)c * bins, q + (size_t)c * bins, bins, (wide[1] - wide[0]) / bins);
        if (per_component) per_component[c] = d;
        sum += weights[c] * d;
    }
    return sum;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void collect_box(double *values, size_t n, fpr_box *box)
{
    double *to[] = {&box->least, &box->low, &box->median, &box->high, &box->most};
    box->n = n;
    if (n) qsort(values, n, sizeof *values, by_value);
    for (unsigned i = 0; i < 5; i++) {
        const double rank = n ? (double)(n - 1) * i / 4 : 0;
        const size_t below = (size_t)rank, above = below + 1 < n ? below + 1 : below;
        *to[i] = n ? values[below] + (rank - (double)below) * (values[above] - values[below]) : NAN;
    }
}
