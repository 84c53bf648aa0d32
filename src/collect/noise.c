/* The noise floor of a divergence, by dealing out. */
#include "collect/collect.h"
#include "num/num.h"

#include <math.h>
#include <stdlib.h>

#define EXACT_BELOW 10.0 /* expected: below, hands are found by inversion */

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

/* ln x!: the first factorials, then Stirling's series, good to 1e-9. */
static double log_factorial(double x)
{
    static const double first[16] = {
        0, 0, 0.6931471805599453, 1.791759469228055, 3.1780538303479458, 4.787491742782046, 6.579251212010101,
        8.525161361065415, 10.60460290274525, 12.801827480081469, 15.104412573075516, 17.502307845873887,
        19.987214495661885, 22.552163853123425, 25.19122118273868, 27.89927138384089};
    if (x < 16) return first[(unsigned)x];
    const double r = 1 / x;
    return (x + 0.5) * log(x) - x + 0.9189385332046727 + r * (1.0 / 12 - r * r / 360);
}

/* Few are expected: adds up the chances of 0, 1, 2 ... until they pass a uniform number. */
static uint64_t by_inversion(collect_random *random, double total, double marked, double n)
{
    double u = collect_random_uniform(random);
    double chance = exp(log_factorial(total - marked) + log_factorial(total - n) -
                        log_factorial(total - marked - n) - log_factorial(total));
    double x = 0;
    /* Beyond EXACT_BELOW + 200 nothing is left of the distribution, only rounding of u. */
    for (; u > chance && x < n && x < marked && x < EXACT_BELOW + 200; x++) {
        u -= chance;
        chance *= (marked - x) * (n - x) / ((x + 1) * (total - marked - n + x + 1));
    }
    return (uint64_t)x;
}

uint64_t collect_random_hand(collect_random *random, uint64_t total, uint64_t marked, uint64_t n)
{
    if (!n || !marked) return 0;
    if (n >= total) return marked;
    if (marked >= total) return n;
    if (n > total - n) return marked - collect_random_hand(random, total, marked, total - n);
    if (marked > total - marked) return n - collect_random_hand(random, total, total - marked, n);
    const double all = (double)total, one = 1 / all, share = (double)marked * one, hand = (double)n * one;
    const double mean = share * (double)n, most = (double)(n < marked ? n : marked);
    if (mean < EXACT_BELOW) return by_inversion(random, all, (double)marked, (double)n);
    const double others = 1 - share, rest = (1 - hand) * (all / (all - 1));
    const double lean = (1 - 2 * share) * (1 - 2 * hand); /* skewness times deviation */
    const double z = normal_quantile(collect_random_uniform(random));
    const double x = floor(mean + sqrt(mean * others * rest) * z + lean * (z * z - 1) / 6 + 0.5);
    return x <= 0 ? 0 : x >= most ? (uint64_t)most : (uint64_t)x;
}

/* Deals n of the numbers in the bins of a and b together to p, the rest to q, bin after bin. */
static void deal(collect_random *random, const uint64_t *a, const uint64_t *b, unsigned bins, uint64_t total, uint64_t n,
                 uint64_t *p, uint64_t *q)
{
    for (unsigned i = 0; i < bins; i++) {
        const uint64_t count = a[i] + b[i];
        p[i] = collect_random_hand(random, total, count, n);
        q[i] = count - p[i];
        n -= p[i];
        total -= count;
    }
}

static uint64_t sum_of(const uint64_t *counts, unsigned bins)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < bins; i++) sum += counts[i];
    return sum;
}

/* num_divergence of two hands, for many of them: what makes both sum to 1 cancels out of the logarithms but for a constant
 * that the differences, adding up to 0, do not see; so bins empty in both only count in the sums. */
static double hand_divergence(const uint64_t *p, const uint64_t *q, unsigned bins, uint64_t n, uint64_t m, double width)
{
    const double empty = 1.1920929e-07, by_n = n ? 1 / ((double)n * width) : 0, by_m = m ? 1 / ((double)m * width) : 0;
    double sum_p = 0, sum_q = 0, of_p = 0, of_q = 0;
    for (unsigned i = 0; i < bins; i++) {
        const double x = p[i] ? (double)p[i] * by_n : empty, y = q[i] ? (double)q[i] * by_m : empty;
        sum_p += x;
        sum_q += y;
        if (!(p[i] | q[i])) continue;
        const double ratio_log = log(x / y);
        of_p += x * ratio_log;
        of_q += y * ratio_log;
    }
    return of_p / sum_p - of_q / sum_q;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which of two samples is dealt first must not depend on the order in which they came; the smaller is the faster one. */
static bool comes_second(const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins)
{
    const uint64_t n = sum_of(p, bins), m = sum_of(q, bins);
    if (n != m) return n > m;
    for (size_t i = 0; i < (size_t)k * bins; i++)
        if (p[i] != q[i]) return p[i] > q[i];
    return false;
}

collect_noise collect_noise_floor(const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins, double width,
                                  const double *weights, uint64_t *scratch)
{
    double drawn[COLLECT_DRAWS] = {0};
    if (comes_second(p, q, k, bins)) {
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
            deal(&random, a, b, bins, n + m, n, scratch, scratch + bins);
            drawn[d] += weights[c] * hand_divergence(scratch, scratch + bins, bins, n, m, width);
        }
    }
    qsort(drawn, COLLECT_DRAWS, sizeof *drawn, by_value);
    /* The quantile that one draw more exceeds with that chance: rank (draws + 1) * 0.95, counted from 1. */
    const double rank = (COLLECT_DRAWS + 1) * 0.95 - 1;
    const unsigned below = (unsigned)rank;
    return (collect_noise){.median = (drawn[COLLECT_DRAWS / 2 - 1] + drawn[COLLECT_DRAWS / 2]) / 2,
                           .q95 = drawn[below] + (rank - below) * (drawn[below + 1] - drawn[below])};
}

/* ---- all pairs */

typedef struct pairs {
    const uint64_t *const *counts;
    size_t n;
    unsigned k, bins;
    double width;
    const double *weights;
    const volatile int *cancel;
    double *median, *q95;
    uint64_t *scratch; /* [workers][2 * bins] */
} pairs;

/* Row i below the diagonal. */
static void draw_row(void *context, size_t index, unsigned worker)
{
    const pairs *p = context;
    const size_t i = p->n - 1 - index; /* the longest rows first */
    for (size_t j = 0; j < i; j++) {
        if (p->cancel && *p->cancel) return;
        const collect_noise floor = collect_noise_floor(p->counts[i], p->counts[j], p->k, p->bins, p->width, p->weights,
                                                        p->scratch + (size_t)worker * 2 * p->bins);
        p->median[i * p->n + j] = p->median[j * p->n + i] = floor.median;
        p->q95[i * p->n + j] = p->q95[j * p->n + i] = floor.q95;
    }
}

fpr_status collect_noise_matrix(const uint64_t *const *counts, size_t n, unsigned k, unsigned bins,
                                const double range[2], const double *weights, unsigned threads,
                                const volatile int *cancel, double *median, double *q95, fpr_error *error)
{
    double wide[2] = {range[0], range[1]};
    num_widen(wide);
    pairs p = {counts, n, k, bins, (wide[1] - wide[0]) / bins, weights, cancel, median, q95, NULL};
    if (!threads) threads = 1;
    p.scratch = base_alloc((uint64_t)threads * bins, 2 * sizeof *p.scratch);
    if (!p.scratch) return base_no_memory(error, (uint64_t)threads * bins * 2 * sizeof *p.scratch);
    memset(median, 0, n * n * sizeof *median);
    memset(q95, 0, n * n * sizeof *q95);
    base_parallel(threads, n, draw_row, &p);
    base_free(p.scratch);
    return FPR_OK;
}
