/* The length of two lengths together. */
#ifndef FPR_BASE_NORM_H
#define FPR_BASE_NORM_H

#include <math.h>

/* sqrt(x^2 + y^2) of numbers that are not negative, within their range whatever it is. hypot of the C library rounds
 * otherwise from one processor to the next; NaN and infinity come through. */
static inline double base_norm(double x, double y)
{
    const double most = x > y ? x : y;
    int exponent;
    if (!(most > 0) || !isfinite(most)) return x + y;
    frexp(most, &exponent);
    x = ldexp(x, -exponent);
    y = ldexp(y, -exponent);
    return ldexp(sqrt(x * x + y * y), exponent);
}

#endif
