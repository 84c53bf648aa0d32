/* Bandwidths, and density estimates at equally spaced points.
 *
 * The masses are first distributed to a grid of spacing d <= h/8 that contains the points, each to its four nearest
 * grid points by cubic interpolation, then the grid is correlated with one table of Gaussian weights. Interpolating the
 * Gaussian between grid points errs by at most 9/384 d^4 max |phi''''| = 3 * 9/384 / 8^4 = 1.8e-5 of its peak. Where h
 * is below half a step of the points, so fine a grid would cost more than adding up the few Gaussians near each point,
 * and that is done instead. */
#include "num/num.h"

#include <math.h>

#define REACH 6.5     /* sigmas: what lies farther adds less than 1e-9 of a Gaussian's peak */
#define PER_SIGMA 8   /* grid points in one bandwidth, at least */
#define SPLIT_MAX 16  /* grid points in one step, at most */

void num_spread_of(const num_mass *masses, size_t count, num_spread *spread)
{
    static const double shares[4] = {0.01, 0.25, 0.75, 0.99};
    double sum = 0, squares = 0, ranks[4], values[4];
    uint64_t n = 0;
    const double pivot = count ? masses[count / 2].x : 0; /* near the mean, so that the squares stay small */
    for (size_t i = 0; i < count; i++) {
        const double d = masses[i].x - pivot, weighted = (double)masses[i].count * d;
        n += masses[i].count;
        sum += weighted;
        squares += weighted * d;
    }
    spread->n = n;
    spread->sd = n > 1 ? sqrt(fmax(0, squares - sum * sum / (double)n) / (double)(n - 1)) : 0;
    for (unsigned i = 0; i < 4; i++) ranks[i] = n ? shares[i] * (double)(n - 1) : 0;
    num_rank_values(masses, count, ranks, values, 4);
    spread->p1 = values[0];
    spread->p25 = values[1];
    spread->p75 = values[2];
    spread->p99 = values[3];
}

/* KDEpy 1.1, bw_selection.py: silvermans_rule. */
double num_silverman(const num_spread *s, bool *degenerate)
{
    if (s->n < 2) {
        *degenerate = true;
        return 1;
    }
    double sigma = fmin(s->sd, (s->p75 - s->p25) / 1.3489795003921634);
    if (!(sigma > 0)) sigma = (s->p99 - s->p1) / 4.6526957480816815;
    *degenerate = !(sigma > 0);
    return *degenerate ? 1 : sigma * pow((double)s->n * 3 / 4, -0.2);
}

double num_scott(const num_spread *s, bool *degenerate)
{
    *degenerate = s->n < 2 || !(s->sd > 0);
    return *degenerate ? 1 : s->sd * pow((double)s->n, -0.2);
}

/* h far below a step: every mass adds to the few points within reach. */
static void add_directly(const num_mass *masses, size_t count, double h, double start, double step, double *density)
{
    for (size_t i = 0; i < count; i++) {
        const double at = (masses[i].x - start) / step, reach = REACH * h / step;
        const double first = fmax(0, ceil(at - reach)), last = fmin(FPR_KDE_POINTS - 1, floor(at + reach));
        for (double p = first; p <= last; p++) {
            const double z = (at - p) * step / h;
            density[(size_t)p] += (double)masses[i].count * exp(-0.5 * z * z);
        }
    }
}

/* What the masses of one grid interval give to its four grid points: the weights are cubic in the place t within the
 * interval, so the sums of 1, t, t^2 and t^3 are enough. */
static void give(double *g, double s0, double s1, double s2, double s3)
{
    g[-1] += (-s3 + 3 * s2 - 2 * s1) / 6;
    g[0] += (s3 - 2 * s2 - s1 + 2 * s0) / 2;
    g[1] += (-s3 + s2 + 2 * s1) / 2;
    g[2] += (s3 - s1) / 6;
}

static void distribute(const num_mass *masses, size_t count, double start, double d, double *grid)
{
    const double per_d = 1 / d;
    ptrdiff_t interval = 0;
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i < count; i++) {
        const double at = (masses[i].x - start) * per_d, n = (double)masses[i].count;
        const ptrdiff_t whole = (ptrdiff_t)at;
        if (whole != interval) {
            give(grid + interval, s0, s1, s2, s3);
            s0 = s1 = s2 = s3 = 0;
            interval = whole;
        }
        const double t = at - (double)whole, nt = n * t, ntt = nt * t;
        s0 += n;
        s1 += nt;
        s2 += ntt;
        s3 += ntt * t;
    }
    give(grid + interval, s0, s1, s2, s3);
}

void num_kde(const num_kernels *kernels, const num_mass *masses, size_t count, double h, double start, double step,
             double density[FPR_KDE_POINTS], double *scratch)
{
    double n = 0;
    for (size_t i = 0; i < count; i++) n += (double)masses[i].count;
    memset(density, 0, FPR_KDE_POINTS * sizeof *density);
    if (n == 0) return;
    /* Masses lie three bandwidths inside of the points, so the grid covers them. */
    const double split = ceil(PER_SIGMA * step / h);
    if (split > SPLIT_MAX) {
        add_directly(masses, count, h, start, step, density);
    } else {
        const size_t m = (size_t)split;
        const double d = step / split;
        const size_t reach = (size_t)(REACH * h / d) + 1, weights_count = 2 * reach + 1;
        const size_t grid_count = (FPR_KDE_POINTS - 1) * m + 1 + 2 * reach + 8;
        double *weights = scratch, *grid = weights + weights_count;
        for (size_t i = 0; i <= reach; i++) {
            const double z = (double)i * d / h;
            weights[reach - i] = weights[reach + i] = exp(-0.5 * z * z);
        }
        memset(grid, 0, grid_count * sizeof *grid);
        distribute(masses, count, start, d, grid + reach + 4);
        for (size_t p = 0; p < FPR_KDE_POINTS; p++)
            density[p] = kernels->dot(grid + 4 + p * m, weights, weights_count);
    }
    const double scale = 1 / (n * h * sqrt(2 * M_PI));
    for (size_t p = 0; p < FPR_KDE_POINTS; p++) density[p] = fmax(0, density[p] * scale);
}
