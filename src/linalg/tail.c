/* The exponent of a power law's tail. */
#include "linalg/linalg.h"

#include <math.h>

#define FEW_VALUES 20u /* below, WeightWatcher corrects the bias of the estimate */
#define LEAST_TAIL 8u
#define SAMPLES 32u    /* points looked at first: most tails are worse than the best already there */

/* Largest distance of the values' distribution, from x_min on, to that of the power law; only whether it is below `bound`
 * is known once it is not. step: every step-th value is looked at. */
static double distance(const double *logs, size_t n, double alpha, size_t step, double bound)
{
    double most = 0;
    for (size_t i = 0; i < n && most < bound; i += step) {
        const double law = 1 - exp((1 - alpha) * (logs[i] - logs[0]));
        most = fmax(most, fabs(law - (double)i / (double)n));
    }
    return most;
}

double linalg_tail_exponent(const double *values, size_t n, double *scratch)
{
    double *logs = scratch, *sums = scratch + n; /* sums[i]: of the logarithms from i on */
    double best = INFINITY, alpha_of_best = NAN, sum = 0;
    for (size_t i = 0; i < n; i++) logs[i] = log(values[i]);
    for (size_t i = n; i-- > 0;) sums[i] = sum += logs[i];
    const bool few = n < FEW_VALUES;
    for (size_t i = 0; i + 1 < n; i++) {
        const size_t m = n - i;
        const double above = sums[i] - (double)m * logs[i];
        if (few && ((m < LEAST_TAIL && i > 0) || above <= 1e-12)) continue;
        const double alpha = 1 + (double)(few ? m - 1 : m) / above;
        if (!(alpha > 1)) continue;
        const size_t step = m / SAMPLES;
        if (step > 1 && distance(logs + i, m, alpha, step, best) >= best) continue;
        const double d = distance(logs + i, m, alpha, 1, best);
        if (d < best) best = d, alpha_of_best = alpha;
    }
    return best < 1 ? alpha_of_best : NAN;
}
