/* How well kernels do at two levels, counted: private to binary.c. */
#ifndef FPR_SHRINK_TALLY_H
#define FPR_SHRINK_TALLY_H

#include "shrink/inner.h"

/* The levels of a unit, rounded to the dtype; alpha is for levels -alpha, alpha. */
typedef struct levels {
    double low, high, alpha;
} levels;

/* How a scope does over some kernels; the fields of *_symmetric are the same at levels -a, a. */
typedef struct tally {
    uint64_t met, exact, exact_symmetric;
    /* kernels that lose the tolerance or their exactness at -a, a */
    uint64_t broken;
    /* pairs of levels needed; and of these, really two levels with more than one weight each */
    uint64_t units, proven;
    /* weights at each level */
    uint64_t low, high, low_symmetric, high_symmetric;
    /* the largest squared relative error of the kernels that meet the tolerance */
    double worst, worst_symmetric;
    double low_range[2], high_range[2], alpha_range[2];
} tally;

extern const tally tally_none;

typedef enum kernel_kind { KIND_DENSE, KIND_NEARLY, KIND_EXACT } kernel_kind;

/* The quick test: DENSE for a kernel that is further from any two levels than the tolerance e allows, EXACT for one
 * that has one or two values. reach is 2 e sqrt(k). *low and *high are its smallest and largest weight. */
kernel_kind tally_kind(const double *w, size_t k, double reach, double *low, double *high);

typedef struct verdict {
    bool met, exact;
    double error; /* squared, relative */
    uint64_t low; /* weights at the lower level */
} verdict;

/* A kernel at the nearer of two levels; tolerance is e^2. */
verdict tally_try(const double *w, size_t k, double low, double high, double tolerance);
/* Counts one live kernel at its unit's levels. Returns whether it meets the tolerance. */
bool tally_kernel(tally *t, const double *w, size_t k, const levels *l, double tolerance);
/* Counts a unit of kernels that hold exactly the levels of the pair: nothing has to be tried. */
void tally_exact(tally *t, uint64_t kernels, const shrink_pair *pair, double tolerance);
/* Counts the levels of a unit, and how many weights are at each. */
void tally_unit(tally *t, const levels *l, uint64_t low, uint64_t high, double tolerance);
void tally_add(tally *sum, const tally *t);

#endif
