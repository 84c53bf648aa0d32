/* The exponent of a power law's tail. */
#include "linalg/linalg.h"

#include <math.h>

#define FEW_VALUES 20u /* below, WeightWatcher corrects the bias of the estimate */
#define LEAST_TAIL 8u
#define ROUGH 16u      /* of so many tails one is looked at in the first round */
#define SAMPLES 32u    /* points looked at first: most tails are worse than the best already there */

/* Largest distance of the values' distribution, from x_min on, to that of the power law; only whether it is below `bound`
 * is known once it is not. step: every step-th value is looked at. */
static double distance(const double *logs, size_t n, double alpha, size_t step, double bound)
{
    double most = 0;
    for (size_t i = 0; i < n && most < bound; i += step) {
        const double law = 1 - exp((1 - alpha) * (logs[i] - logs[0]));
        const double apart = fabs(law - (double)i / (double)n);
        most = apart > most ? apart : most;
    }
    return most;
}

/* Of the candidates from, from + step ... the one whose distance is least, the first of equal ones; only those nearer than
 * bound are looked at. */
static double best_of(const double *logs, const double *sums, size_t n, size_t step, double bound, double *alpha_of_best)
{
    const bool few = n < FEW_VALUES;
    double best = INFINITY;
    *alpha_of_best = NAN;
    for (size_t i = 0; i + 1 < n; i += step) {
        const size_t m = n - i;
        const double above = sums[i] - (double)m * logs[i];
        if (few && ((m < LEAST_TAIL && i > 0) || above <= 1e-12)) continue;
        const double alpha = 1 + (double)(few ? m - 1 : m) / above;
        if (!(alpha > 1)) continue;
        const double limit = best < bound ? best : bound;
        const size_t some = m / SAMPLES;
        if (some > 1 && distance(logs + i, m, alpha, some, limit) >= limit) continue;
        const double d = distance(logs + i, m, alpha, 1, limit);
        if (d < limit) best = d, *alpha_of_best = alpha;
    }
    return best;
}

double linalg_tail_exponent(const double *values, size_t n, double *scratch)
{
    double *logs = scratch, *sums = scratch + n; /* sums[i]: of the logarithms from i on */
    double sum = 0, alpha;
    for (size_t i = 0; i < n; i++) logs[i] = log(values[i]);
    for (size_t i = n; i-- > 0;) sums[i] = sum += logs[i];
    /* A few tails first: the best of them is near enough to the best of all that most are then given up at once. */
    const double near = best_of(logs, sums, n, ROUGH, INFINITY, &alpha);
    const double best = best_of(logs, sums, n, 1, nextafter(near, INFINITY), &alpha);
    return best < 1 ? alpha : NAN;
}
