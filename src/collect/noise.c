/* The noise floor of a divergence, by drawing. */
#include "collect/collect.h"
#include "num/num.h"

#include <math.h>
#include <stdlib.h>

#define EXACT_BELOW 16.0 /* expected: below, binomial numbers are found by inversion */

uint64_t collect_random_bits(collect_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

double collect_random_uniform(collect_random *random)
{
    return ((double)(collect_random_bits(random) >> 12) + 0.5) * 0x1p-52;
}

static double ratio(const double *up, const double *down, double r)
{
    return (((up[3] * r + up[2]) * r + up[1]) * r + up[0]) / (((down[2] * r + down[1]) * r + down[0]) * r + 1);
}

/* The normal quantile to seven digits: Wichura, "Algorithm AS 241", Applied Statistics 37 (1988), routine PPND7. */
static double normal_quantile(double p)
{
    static const double a[] = {3.3871327179, 50.434271938, 159.29113202, 59.109374720},
                        b[] = {17.895169469, 78.757757664, 67.187563600},
                        c[] = {1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103},
                        d[] = {0.73700164250, 0.12021132975, 0},
                        e[] = {6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997},
                        f[] = {0.24197894225, 0.012258202635, 0};
    const double q = p - 0.5;
    if (fabs(q) <= 0.425) return q * ratio(a, b, 0.180625 - q * q);
    const double r = sqrt(-log(q < 0 ? p : 1 - p));
    const double z = r <= 5 ? ratio(c, d, r - 1.6) : ratio(e, f, r - 5);
    return q < 0 ? -z : z;
}

/* Few are expected: adds up the chances of 0, 1, 2 ... until they pass a uniform number. */
static uint64_t by_inversion(collect_random *random, uint64_t n, double p)
{
    double u = collect_random_uniform(random), chance = exp((double)n * log1p(-p));
    const double odds = p / (1 - p);
    uint64_t x = 0;
    /* Beyond EXACT_BELOW + 200 nothing is left of the distribution, only rounding of u. */
    while (u > chance && x < n && x < 216) {
        u -= chance;
        chance *= odds * (double)(n - x) / (double)(x + 1);
        x++;
    }
    return x;
}

uint64_t collect_random_binomial(collect_random *random, uint64_t n, double p)
{
    if (!(p > 0) || n == 0) return 0;
    if (p >= 1) return n;
    if (p > 0.5) return n - collect_random_binomial(random, n, 1 - p);
    const double mean = (double)n * p;
    if (mean < EXACT_BELOW) return by_inversion(random, n, p);
    const double z = normal_quantile(collect_random_uniform(random));
    const double x = floor(mean + sqrt(mean * (1 - p)) * z + (1 - 2 * p) * (z * z - 1) / 6 + 0.5);
    return x <= 0 ? 0 : x >= (double)n ? n : (uint64_t)x;
}

/* n numbers over the bins as the sum of a and b has them: bin after bin what is left of n, by what is left of the sum. */
static void draw_sample(collect_random *random, const uint64_t *a, const uint64_t *b, unsigned bins, uint64_t total,
                        uint64_t n, uint64_t *sample)
{
    memset(sample, 0, bins * sizeof *sample);
    for (unsigned i = 0; i < bins && n; i++) {
        const uint64_t count = a[i] + b[i];
        if (!count) continue;
        sample[i] = count >= total ? n : collect_random_binomial(random, n, (double)count / (double)total);
        n -= sample[i];
        total -= count;
    }
}

static uint64_t sum_of(const uint64_t *counts, unsigned bins)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < bins; i++) sum += counts[i];
    return sum;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which of two samples is drawn first must not depend on the order in which they came. */
static bool comes_second(const uint64_t *p, const uint64_t *q, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (p[i] != q[i]) return p[i] > q[i];
    return false;
}

collect_noise collect_noise_floor(const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins, double width,
                                  const double *weights, uint64_t *scratch)
{
    double drawn[COLLECT_DRAWS] = {0};
    if (comes_second(p, q, (size_t)k * bins)) {
        const uint64_t *swap = p;
        p = q;
        q = swap;
    }
    for (unsigned c = 0; c < k; c++) {
        const uint64_t *a = p + (size_t)c * bins, *b = q + (size_t)c * bins;
        const uint64_t n = sum_of(a, bins), m = sum_of(b, bins);
        if (weights[c] == 0) continue;
        for (unsigned d = 0; d < COLLECT_DRAWS; d++) {
            collect_random random = {((uint64_t)c << 32) + d};
            random.state = collect_random_bits(&random); /* streams of neighbours have nothing in common */
            draw_sample(&random, a, b, bins, n + m, n, scratch);
            draw_sample(&random, a, b, bins, n + m, m, scratch + bins);
            drawn[d] += weights[c] * num_divergence(scratch, scratch + bins, bins, width);
        }
    }
    qsort(drawn, COLLECT_DRAWS, sizeof *drawn, by_value);
    /* The quantile that one draw more exceeds with that chance: rank (draws + 1) * 0.95, counted from 1. */
    const double rank = (COLLECT_DRAWS + 1) * 0.95 - 1;
    const unsigned below = (unsigned)rank;
    return (collect_noise){.median = (drawn[COLLECT_DRAWS / 2 - 1] + drawn[COLLECT_DRAWS / 2]) / 2,
                           .q95 = drawn[below] + (rank - below) * (drawn[below + 1] - drawn[below])};
}
