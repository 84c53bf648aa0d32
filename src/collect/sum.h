/* Sums over layers: what a group of a collection is. */
#ifndef FPR_COLLECT_SUM_H
#define FPR_COLLECT_SUM_H

#include "collect/profile.h"

typedef struct collect_sum {
    uint64_t models, layers, kernels, sparse;
    const void *last;   /* model that was added last, so that models are counted */
    unsigned k, bins;
    uint64_t *cells;    /* [k][bins << COLLECT_ZOOM] */
    uint64_t *plane;    /* [COLLECT_SIDE][COLLECT_SIDE] */
    fpr_moments moments;
    double entropy;     /* of variance, normalised, summed over layers where it is defined */
    uint64_t entropies;
} collect_sum;

fpr_status collect_sum_init(collect_sum *sum, unsigned k, unsigned bins, fpr_error *error);
void collect_sum_free(collect_sum *sum);
/* Adds a finite, counted layer of k weights; model: anything that is the same for layers of one model, which come one
 * after the other. Moments are merged in the order of adding. */
void collect_sum_add(collect_sum *sum, const void *model, const collect_layer *layer);
/* Cells added up to bins: counts[k][bins]. */
void collect_bins(const uint64_t *cells, unsigned k, unsigned bins, uint64_t *counts);
/* T of the library torchconvquality and what it normalises, for 3x3 kernels; NaN for others and where T is not positive. */
double collect_normalized_entropy(unsigned k, double entropy, uint64_t kernels);

/* Density of one component from its cells: as SPEC of fpr_kde, no narrower than a cell. */
void collect_density(const uint64_t *cells, size_t count, const double range[2], fpr_bandwidth rule, double value,
                     double *scratch, fpr_kde *out);
#define COLLECT_DENSITY_SCRATCH(cells) (9216 + 3 * (size_t)(cells))

/* The weighted divergence of counts [k][bins] over one range; per_component: [k], or NULL. */
double collect_divergence(const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins, const double range[2],
                          const double *weights, double *per_component);

/* Five numbers of a list, which is sorted; by linear interpolation. n = 0: all NaN. */
void collect_box(double *values, size_t n, fpr_box *box);

#endif
