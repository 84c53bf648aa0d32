/* Mergeable moments of kernels. Part of filterprune.h. */
#ifndef FILTERPRUNE_MOMENTS_H
#define FILTERPRUNE_MOMENTS_H

#include "report.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Mean and centered second moments of a set of vectors of k doubles. Updated by Chan, Golub and LeVeque's pairwise
 * rule (1983): merging (n1, m1, S1) and (n2, m2, S2) gives
 *     n = n1 + n2,  d = m2 - m1,  mean = m1 + d n2/n,  S = S1 + S2 + d d' n1 n2/n,
 * which never subtracts large sums of squares. Merging is not associative in the last bit: merge in a fixed order
 * for reproducible results. */
typedef struct fpr_moments {
    unsigned k;
    uint64_t count;
    double *mean;    /* [k] */
    double *scatter; /* [k][k], symmetric: sum of (x - mean)(x - mean)' */
} fpr_moments;

FPR_API fpr_status fpr_moments_init(fpr_moments *moments, unsigned k); /* FPR_NO_MEMORY, FPR_USAGE when k is 0 or > 128 */
FPR_API void fpr_moments_free(fpr_moments *moments);
/* Adds count vectors, rows of k doubles, all finite. */
FPR_API void fpr_moments_add(fpr_moments *moments, const double *rows, size_t count);
FPR_API void fpr_moments_merge(fpr_moments *into, const fpr_moments *from);
/* Principal components of the set: fills arrays of a basis made for k (mean [k], components [k][k], singular_values
 * [k], explained_variance_ratio [k]). Sign: the entry of largest magnitude of each component is positive. */
FPR_API fpr_status fpr_moments_finish(const fpr_moments *moments, fpr_basis *basis, fpr_error *error);

#ifdef __cplusplus
}
#endif
#endif
