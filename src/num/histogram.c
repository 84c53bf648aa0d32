/* Cells under numpy's bins, and what can be read off a sorted list of them. The rule that puts a number into its cell
 * is the inner loop `cells` of kernels_body.h. */
#include "num/num.h"

void num_widen(double range[2])
{
    if (range[0] == range[1]) {
        range[0] -= 0.5;
        range[1] += 0.5;
    }
}

/* Where the i-th of the numbers of one mass lies, when they are spread evenly. */
static double member(const num_mass *mass, double i)
{
    if (mass->count < 2) return mass->x;
    return mass->x + mass->spread * (2 * (i + 0.5) / (double)mass->count - 1);
}

void num_rank_values(const num_mass *masses, size_t count, const double *ranks, double *values, size_t rank_count)
{
    uint64_t before = 0; /* numbers in the masses before i */
    size_t i = 0;
    for (size_t r = 0; r < rank_count; r++) {
        const uint64_t whole = (uint64_t)ranks[r];
        const double part = ranks[r] - (double)whole;
        while (i + 1 < count && whole >= before + masses[i].count) before += masses[i++].count;
        values[r] = count ? member(&masses[i], (double)(whole - before)) : 0;
        if (part == 0 || !count) continue;
        const bool next = whole + 1 >= before + masses[i].count && i + 1 < count;
        const double high = next ? member(&masses[i + 1], 0) : member(&masses[i], (double)(whole + 1 - before));
        values[r] += part * (high - values[r]);
    }
}
