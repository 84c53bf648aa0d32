/* Private to collect/: dealing kernels out anew, COLLECT_DRAWS times at once.
 *
 * The draws of one bin have their total and their marked ones in common and only differ in how much of the hand is left,
 * so they are found side by side, a register of them at a time (deal_body.h, once for each instruction set). What chance
 * brings is the same for every pair of samples: a table of it is made once (collect_dice). */
#ifndef FPR_COLLECT_DEAL_H
#define FPR_COLLECT_DEAL_H

#include "collect/collect.h"

#define DEAL_EXACT_BELOW 10.0  /* expected on the rarer side: below, hands are found by inversion */
#define DEAL_FACTORIALS 171u   /* 170! is the last that a double holds */
#define DEAL_ROWS 1024u        /* of chances; more bins than that take them again, a draw further on */

struct collect_dice {
    unsigned rows;
    double factorials[DEAL_FACTORIALS];
    /* [rows][2 * COLLECT_DRAWS], the draws twice, so that they may begin at any: in (0, 1), and what the normal distribution
     * makes of that. */
    double *uniform, *normal;
};

typedef struct deal_kernels {
    /* normal[i]: the normal quantile of uniform[i]. */
    void (*normals)(const double *uniform, size_t count, double *normal);
    /* x[d]: how many of `marked` among `total` are found in a hand of n[d], as the d-th chances will have it. Exact where
     * fewer than DEAL_EXACT_BELOW are expected on the rarer side, else normal with the term of skewness (Cornish & Fisher,
     * 1937). */
    void (*hands)(const double *factorials, double total, double marked, const double *n, const double *uniform,
                  const double *normal, double *x);
    /* Deals the counts of one component out to two samples of the sizes of a and b, bin after bin; adds weight times the
     * divergence of each draw to drawn[COLLECT_DRAWS]. row: where in the dice its chances begin. */
    void (*deal)(const collect_dice *dice, size_t row, const uint64_t *a, const uint64_t *b, unsigned bins, double width,
                 double weight, double *drawn);
} deal_kernels;

extern const deal_kernels deal_kernels_base, deal_kernels_avx2, deal_kernels_avx512;
/* Those that this processor has; the same bits from all. */
const deal_kernels *deal_kernels_best(void);

#endif
