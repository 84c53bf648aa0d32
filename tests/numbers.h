/* Shared by the tests of num and conv: repeatable random numbers, comparisons of doubles, and the plain definitions
 * that the fast code is held against. */
#ifndef TESTS_NUMBERS_H
#define TESTS_NUMBERS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static uint64_t random_state;

/* splitmix64 (Steele, Lea & Flood 2014) */
static inline uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline double random_unit(void) { return (double)(random_bits() >> 11) * 0x1p-53; }

static inline double random_normal(void)
{
    const double u = 1 - random_unit(), v = random_unit();
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

#define assert_close(a, b, tolerance)                                                                        \
    do {                                                                                                     \
        const double close_a = (a), close_b = (b);                                                           \
        if (!(fabs(close_a - close_b) <= (tolerance))) {                                                     \
            printf("%s:%d: %s = %.17g, %s = %.17g\n", __FILE__, __LINE__, #a, close_a, #b, close_b);         \
            fail();                                                                                          \
        }                                                                                                    \
    } while (0)

#define assert_relative(a, b, tolerance) assert_close(a, b, (tolerance)*fabs(b))

static inline int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Percentile of sorted numbers, linear interpolation (numpy's default). */
static inline double exact_percentile(const double *sorted, size_t n, double share)
{
    const double rank = share * (double)(n - 1);
    const size_t i = (size_t)rank;
    return i + 1 < n ? sorted[i] + (rank - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

/* Silverman's rule as SPEC states it, from the numbers themselves. */
static inline double exact_silverman(double *x, size_t n)
{
    double sum = 0, squares = 0;
    qsort(x, n, sizeof *x, by_value);
    for (size_t i = 0; i < n; i++) sum += x[i];
    for (size_t i = 0; i < n; i++) squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    const double sd = sqrt(squares / (double)(n - 1));
    const double iqr = exact_percentile(x, n, 0.75) - exact_percentile(x, n, 0.25);
    double sigma = fmin(sd, iqr / 1.3489795003921634);
    if (sigma == 0) sigma = (exact_percentile(x, n, 0.99) - exact_percentile(x, n, 0.01)) / 4.6526957480816815;
    return sigma * pow(0.75 * (double)n, -0.2);
}

/* Gaussian kernel estimate by its definition. */
static inline void exact_density(const double *x, size_t n, double h, double start, double step, double *density,
                                 size_t points)
{
    for (size_t p = 0; p < points; p++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            const double z = (start + (double)p * step - x[i]) / h;
            if (fabs(z) < 9) sum += exp(-0.5 * z * z);
        }
        density[p] = sum / ((double)n * h * sqrt(2 * M_PI));
    }
}

static inline double largest(const double *x, size_t n)
{
    double peak = 0;
    for (size_t i = 0; i < n; i++) peak = fmax(peak, fabs(x[i]));
    return peak;
}

static inline double largest_difference(const double *x, const double *y, size_t n)
{
    double peak = 0;
    for (size_t i = 0; i < n; i++) peak = fmax(peak, fabs(x[i] - y[i]));
    return peak;
}

#endif
