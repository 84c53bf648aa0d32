/* Dealing, compiled once per instruction set by the deal_*.c that include this text; NAME(f) gives each copy its own names,
 * TABLE is the table at the end.
 *
 * Loops over draws are elementwise, of + - * / sqrt and comparisons, logarithms and powers of e included, and nothing is
 * contracted (-ffp-contract=off): equal bits however wide a register is. */
#include "collect/deal.h"

#include <math.h>

#define DRAWS COLLECT_DRAWS
#define INLINE static inline __attribute__((always_inline))
#define TWO_52 4503599627370496.0

/* ln of a normal number above 0, to some 1e-15: m 2^e with m near 1, then 2 atanh((m - 1) / (m + 1)). */
INLINE double ln(double x)
{
    uint64_t bits, exponent_bits;
    double m, e;
    memcpy(&bits, &x, sizeof bits);
    exponent_bits = bits >> 52 | UINT64_C(0x4330000000000000);
    memcpy(&e, &exponent_bits, sizeof e);
    bits = (bits & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x3ff0000000000000);
    memcpy(&m, &bits, sizeof m);
    e -= TWO_52 + 1023;
    e = m > 1.4142135623730951 ? e + 1 : e;
    m = m > 1.4142135623730951 ? m * 0.5 : m;
    const double s = (m - 1) / (m + 1), t = s * s;
    const double sum = ((((((((t / 17 + 1.0 / 15) * t + 1.0 / 13) * t + 1.0 / 11) * t + 1.0 / 9) * t + 1.0 / 7) * t +
                           1.0 / 5) * t + 1.0 / 3) * t + 1);
    return e * 0.6931471805599453 + 2 * s * sum;
}

/* e^x for -700 <= x <= 1; below, that of -700. */
INLINE double power_of_e(double x)
{
    x = x < -700 ? -700 : x;
    const double shifted = x * 1.4426950408889634 + (1.5 * TWO_52), k = shifted - 1.5 * TWO_52;
    const double r = x - k * 0.693147180369123816490 - k * 1.90821492927058770002e-10;
    uint64_t bits;
    double scale;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52; /* the low bits of shifted are k */
    memcpy(&scale, &bits, sizeof scale);
    const double high = ((((r / 39916800 + 1.0 / 3628800) * r + 1.0 / 362880) * r + 1.0 / 40320) * r + 1.0 / 5040) * r + 1.0 / 720;
    return (((((high * r + 1.0 / 120) * r + 1.0 / 24) * r + 1.0 / 6) * r + 0.5) * r + 1) * r * scale + scale;
}

/* Wichura, "Algorithm AS 241", Applied Statistics 37 (1988), routine PPND7: seven digits. */
static void NAME(normals)(const double *uniform, size_t count, double *normal)
{
    for (size_t i = 0; i < count; i++) {
        const double p = uniform[i], q = p - 0.5, r = 0.180625 - q * q;
        const double middle = q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179) /
                              (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1);
        const double far = sqrt(-ln(q < 0 ? p : 1 - p)), s = far - 1.6, t = far - 5;
        const double near = (((0.17023821103 * s + 1.3067284816) * s + 2.7568153900) * s + 1.4234372777) /
                            ((0.12021132975 * s + 0.73700164250) * s + 1);
        const double out = (((0.017337203997 * t + 0.42868294337) * t + 3.0812263860) * t + 6.6579051150) /
                           ((0.012258202635 * t + 0.24197894225) * t + 1);
        const double tail = far <= 5 ? near : out;
        normal[i] = fabs(q) <= 0.425 ? middle : q < 0 ? -tail : tail;
    }
}

/* The chance that a hand of n[d] has none of `few`: a ratio of factorials, by Stirling's series where they are large. A
 * draw whose total minus few minus n is small then is one of which more than DEAL_EXACT_BELOW are expected: not asked for. */
INLINE void chances_of_none(const double *factorials, double total, double few, const double *n, double *chance)
{
    if (total < DEAL_FACTORIALS) {
        const double others = factorials[(unsigned)(total - few)] / factorials[(unsigned)total];
        for (unsigned d = 0; d < DRAWS; d++)
            chance[d] = others * (factorials[(unsigned)(total - n[d])] / factorials[(unsigned)(total - few - n[d])]);
        return;
    }
    const double a = total - few;
    const double common = (a + 0.5) * ln(a) - (total + 0.5) * ln(total) + (1 / a - 1 / total) / 12;
    for (unsigned d = 0; d < DRAWS; d++) {
        const double up = total - n[d], least = up - few, down = least > 1 ? least : 1;
        const double own = (up + 0.5) * ln(up) - (down + 0.5) * ln(down) + (1 / up - 1 / down) / 12;
        chance[d] = power_of_e(own + common);
    }
}

/* Adds up the chances of 0, 1, 2 ... until they pass a uniform number. */
INLINE void by_inversion(const double *factorials, double total, double few, const double *n, const double *uniform, double *x)
{
    double chance[DRAWS], u[DRAWS];
    chances_of_none(factorials, total, few, n, chance);
    for (unsigned d = 0; d < DRAWS; d++) u[d] = uniform[d], x[d] = 0;
    /* Beyond that nothing is left of the distribution, only rounding of u. */
    uint64_t some = 1;
    for (double step = 0; some && step < few && step < DEAL_EXACT_BELOW + 200; step++) {
        some = 0;
        for (unsigned d = 0; d < DRAWS; d++) {
            const double next = chance[d] * ((few - step) * (n[d] - step) / ((step + 1) * (total - few - n[d] + step + 1)));
            const uint64_t on = (uint64_t)(u[d] > chance[d]) & (uint64_t)(step < n[d]);
            u[d] = on ? u[d] - chance[d] : u[d];
            chance[d] = on ? next : chance[d];
            x[d] = on ? step + 1 : x[d];
            some |= on;
        }
    }
}

INLINE void by_normal(double total, double few, const double *n, const double *normal, double *x)
{
    const double one = 1 / total, share = few * one, others = 1 - share, rest = total / (total - 1);
    for (unsigned d = 0; d < DRAWS; d++) {
        const double z = normal[d], hand = n[d] * one, mean = share * n[d], most = n[d] < few ? n[d] : few;
        const double lean = (1 - 2 * share) * (1 - 2 * hand); /* skewness times deviation */
        const double v = floor(mean + sqrt(mean * others * ((1 - hand) * rest)) * z + lean * (z * z - 1) / 6 + 0.5);
        x[d] = v > most ? most : v > 0 ? v : 0;
    }
}

static void NAME(hands)(const double *factorials, double total, double marked, const double *n, const double *uniform,
                        const double *normal, double *x)
{
    /* The rarer side of both: the rest follows. */
    const bool turned = marked > total - marked;
    const double few = turned ? total - marked : marked, share = few / total;
    double hand[DRAWS], exact[DRAWS], least = total, most = 0;
    for (unsigned d = 0; d < DRAWS; d++) hand[d] = n[d] > total - n[d] ? total - n[d] : n[d];
    for (unsigned d = 0; d < DRAWS; d++) {
        least = hand[d] < least ? hand[d] : least;
        most = hand[d] > most ? hand[d] : most;
    }
    if (share * most >= DEAL_EXACT_BELOW) by_normal(total, few, hand, normal, x);
    if (share * least < DEAL_EXACT_BELOW) {
        by_inversion(factorials, total, few, hand, uniform, exact);
        for (unsigned d = 0; d < DRAWS; d++) x[d] = share * hand[d] < DEAL_EXACT_BELOW ? exact[d] : x[d];
    }
    for (unsigned d = 0; d < DRAWS; d++) {
        const double found = turned ? hand[d] - x[d] : x[d];
        x[d] = n[d] > total - n[d] ? marked - found : found;
    }
}

/* The divergence is num_divergence's: what makes both densities sum to 1 cancels out of the logarithms but for a constant
 * that the differences, adding up to 0, do not see; so bins empty in both only count in the sums. */
static void NAME(deal)(const collect_dice *dice, size_t row, const uint64_t *a, const uint64_t *b, unsigned bins, double width,
                       double weight, double *drawn)
{
    const double empty = 1.1920929e-07;
    double left[DRAWS], x[DRAWS], sum_p[DRAWS], sum_q[DRAWS], of_p[DRAWS], of_q[DRAWS];
    uint64_t n = 0, m = 0;
    for (unsigned i = 0; i < bins; i++) n += a[i], m += b[i];
    double total = (double)(n + m), both = 0;
    const double by_n = n ? 1 / ((double)n * width) : 0, by_m = m ? 1 / ((double)m * width) : 0;
    for (unsigned d = 0; d < DRAWS; d++) left[d] = (double)n, sum_p[d] = sum_q[d] = of_p[d] = of_q[d] = 0;
    for (unsigned i = 0; i < bins; i++) {
        const double count = (double)(a[i] + b[i]);
        if (!(a[i] + b[i])) {
            both += empty;
            continue;
        }
        const size_t at = (row + i) % dice->rows * 2 * DRAWS + (row + i) / dice->rows % DRAWS;
        NAME(hands)(dice->factorials, total, count, left, dice->uniform + at, dice->normal + at, x);
        for (unsigned d = 0; d < DRAWS; d++) {
            const double rest = count - x[d];
            const double p = x[d] > 0 ? x[d] * by_n : empty, q = rest > 0 ? rest * by_m : empty;
            const double ratio_log = ln(p / q);
            left[d] -= x[d];
            sum_p[d] += p;
            sum_q[d] += q;
            of_p[d] += p * ratio_log;
            of_q[d] += q * ratio_log;
        }
        total -= count;
    }
    for (unsigned d = 0; d < DRAWS; d++) drawn[d] += weight * (of_p[d] / (sum_p[d] + both) - of_q[d] / (sum_q[d] + both));
}

const deal_kernels TABLE = {NAME(normals), NAME(hands), NAME(deal)};
