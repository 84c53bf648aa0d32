/* The noise floor of a divergence, by dealing out. */
#include "collect/deal.h"
#include "num/num.h"

#include <stdlib.h>

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

/* Which of two samples is dealt first must not depend on the order in which they came; the smaller is the faster one. */
static bool comes_second(const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins)
{
    const uint64_t n = sum_of(p, bins), m = sum_of(q, bins);
    if (n != m) return n > m;
    for (size_t i = 0; i < (size_t)k * bins; i++)
        if (p[i] != q[i]) return p[i] > q[i];
    return false;
}

collect_noise collect_noise_floor(const collect_dice *dice, const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins,
                                  double width, const double *weights)
{
    const deal_kernels *kernels = deal_kernels_best();
    double drawn[COLLECT_DRAWS] = {0};
    if (comes_second(p, q, k, bins)) {
        const uint64_t *swap = p;
        p = q;
        q = swap;
    }
    for (unsigned c = 0; c < k; c++)
        if (weights[c] != 0)
            kernels->deal(dice, (size_t)c * bins, p + (size_t)c * bins, q + (size_t)c * bins, bins, width, weights[c], drawn);
    qsort(drawn, COLLECT_DRAWS, sizeof *drawn, by_value);
    /* The quantile that one draw more exceeds with that chance: rank (draws + 1) * 0.95, counted from 1. */
    const double rank = (COLLECT_DRAWS + 1) * 0.95 - 1;
    const unsigned below = (unsigned)rank;
    return (collect_noise){.median = (drawn[COLLECT_DRAWS / 2 - 1] + drawn[COLLECT_DRAWS / 2]) / 2,
                           .q95 = drawn[below] + (rank - below) * (drawn[below + 1] - drawn[below])};
}

/* ---- all pairs */

typedef struct pairs {
    const collect_dice *dice;
    const uint64_t *const *counts;
    size_t n;
    unsigned k, bins;
    double width;
    const double *weights;
    const volatile int *cancel;
    double *median, *q95;
} pairs;

/* Row i below the diagonal. */
static void draw_row(void *context, size_t index, unsigned worker)
{
    const pairs *p = context;
    (void)worker;
    const size_t i = p->n - 1 - index; /* the longest rows first */
    for (size_t j = 0; j < i; j++) {
        if (p->cancel && *p->cancel) return;
        const collect_noise floor =
            collect_noise_floor(p->dice, p->counts[i], p->counts[j], p->k, p->bins, p->width, p->weights);
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
    collect_dice *dice;
    fpr_status status = collect_dice_new((size_t)k * bins, &dice, error);
    if (status) return status;
    pairs p = {dice, counts, n, k, bins, (wide[1] - wide[0]) / bins, weights, cancel, median, q95};
    memset(median, 0, n * n * sizeof *median);
    memset(q95, 0, n * n * sizeof *q95);
    base_parallel(threads ? threads : 1, n, draw_row, &p);
    collect_dice_free(dice);
    return FPR_OK;
}
