/* Symmetric Kullback-Leibler divergence of two histograms. */
#include "num/num.h"

#include <math.h>

#define FLOAT_EPS 1.1920929e-07 /* 2^-23 as numpy prints it */

/* Density of a bin, before it is made to sum to 1. */
static double density(uint64_t count, double n, double width)
{
    return count ? (double)count / (n * width) : FLOAT_EPS;
}

double num_divergence(const uint64_t *p, const uint64_t *q, unsigned bins, double width)
{
    double np = 0, nq = 0, sum_p = 0, sum_q = 0, forth = 0, back = 0;
    for (unsigned b = 0; b < bins; b++) {
        np += (double)p[b];
        nq += (double)q[b];
    }
    for (unsigned b = 0; b < bins; b++) {
        sum_p += density(p[b], np, width);
        sum_q += density(q[b], nq, width);
    }
    for (unsigned b = 0; b < bins; b++) {
        const double x = density(p[b], np, width) / sum_p, y = density(q[b], nq, width) / sum_q;
        const double log_ratio = log(x / y);
        forth += x * log_ratio;
        back += y * log_ratio;
    }
    return forth - back;
}
