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

/* Order of doubles as order of integers. */
static uint64_t sort_key(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

void num_sort(double *x, size_t n, double *spare)
{
    enum { DIGIT = 11, DIGITS = 6, BUCKETS = 1 << DIGIT };
    uint32_t place[DIGITS][BUCKETS] = {{0}};
    for (size_t i = 0; i < n; i++) {
        const uint64_t key = sort_key(x[i]);
        for (unsigned d = 0; d < DIGITS; d++) place[d][key >> (DIGIT * d) & (BUCKETS - 1)]++;
    }
    double *from = x, *to = spare;
    for (unsigned d = 0; d < DIGITS && n > 1; d++) {
        if (place[d][sort_key(from[0]) >> (DIGIT * d) & (BUCKETS - 1)] == n) continue; /* all alike */
        uint32_t next = 0;
        for (unsigned b = 0; b < BUCKETS; b++) {
            const uint32_t count = place[d][b];
            place[d][b] = next;
            next += count;
        }
        for (size_t i = 0; i < n; i++) to[place[d][sort_key(from[i]) >> (DIGIT * d) & (BUCKETS - 1)]++] = from[i];
        double *swap = from;
        from = to;
        to = swap;
    }
    if (from != x) memcpy(x, from, n * sizeof *x);
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
