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
    double sum = 0, squares = 0;
    uint64_t n = 0;
    const double pivot = count ? masses[0].x : 0;
    for (size_t i = 0; i < count; i++) {
        n += masses[i].count;
        sum += (double)masses[i].count * (masses[i].x - pivot);
    }
    const double mean = n ? sum / (double)n : 0;
    for (size_t i = 0; i < count; i++) {
        const double d = masses[i].x - pivot - mean;
        squares += (double)masses[i].count * d * d;
    }
    spread->n = n;
    spread->sd = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    const double last = n ? (double)(n - 1) : 0;
    spread->p1 = num_rank_value(masses, count, 0.01 * last);
    spread->p25 = num_rank_value(masses, count, 0.25 * last);
    spread->p75 = num_rank_value(masses, count, 0.75 * last);
    spread->p99 = num_rank_value(masses, count, 0.99 * last);
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

static void distribute(const num_mass *masses, size_t count, double start, double d, double *grid)
{
    for (size_t i = 0; i < count; i++) {
        const double at = (masses[i].x - start) / d, whole = floor(at), t = at - whole, n = (double)masses[i].count;
        double *g = grid + (ptrdiff_t)whole;
        g[-1] -= n * t * (t - 1) * (t - 2) / 6;
        g[0] += n * (t + 1) * (t - 1) * (t - 2) / 2;
        g[1] -= n * (t + 1) * t * (t - 2) / 2;
        g[2] += n * (t + 1) * t * (t - 1) / 6;
    }
}

void num_kde(const num_kernels *kernels, const num_mass *masses, size_t count, double h, double start, double step,
             double density[FPR_KDE_POINTS], double *scratch)
{
    double n = 0;
    for (size_t i = 0; i < count; i++) n += (double)masses[i].count;
    memset(density, 0, FPR_KDE_POINTS * sizeof *density);
    if (n == 0) return;
    const double split = ceil(PER_SIGMA * step / h);
    if (split > SPLIT_MAX) {
        add_directly(masses, count, h, start, step, density);
    } else {
        const size_t m = (size_t)split;
        const double d = step / split;
        const size_t reach = (size_t)(REACH * h / d) + 1, weights_count = 2 * reach + 1;
        const size_t grid_count = (FPR_KDE_POINTS - 1) * m + 1 + 2 * reach + 8;
        double *weights = scratch, *grid = weights + weights_count;
        if (weights_count + grid_count > NUM_KDE_SCRATCH) return;
        for (size_t i = 0; i < weights_count; i++) {
            const double z = ((double)i - (double)reach) * d / h;
            weights[i] = exp(-0.5 * z * z);
        }
        memset(grid, 0, grid_count * sizeof *grid);
        distribute(masses, count, start, d, grid + reach + 4);
        for (size_t p = 0; p < FPR_KDE_POINTS; p++)
            density[p] = kernels->dot(grid + 4 + p * m, weights, weights_count);
    }
    const double scale = 1 / (n * h * sqrt(2 * M_PI));
    for (size_t p = 0; p < FPR_KDE_POINTS; p++) density[p] = fmax(0, density[p] * scale);
}
