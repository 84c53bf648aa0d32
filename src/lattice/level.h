/* Private to lattice/: what is done to runs of weights, which lie one after another; once for each level of instructions
 * (level_body.h), the same bits from all. */
#ifndef FPR_LATTICE_LEVEL_H
#define FPR_LATTICE_LEVEL_H

#include "lattice/lattice.h"

typedef struct lattice_level {
    /* n weights as doubles. */
    void (*load)(fpr_dtype dtype, const uint8_t *bytes, size_t n, double *w);
    /* n numbers times the step, rounded to the dtype. */
    void (*store)(fpr_dtype dtype, double step, const double *x, size_t n, uint8_t *bytes);
    /* Kernels of 3, 9 or 27 weights, eight by eight: their first weights, their second ones ... `turned` holds whole eights, the
     * last of them filled up with kernels of zeros, which stay what they are. */
    void (*turn)(size_t k, size_t kernels, const double *w, double *turned);
    /* In place: kernels of k weights, turned or not, transformed where that is so, divided by the step. */
    void (*scale)(const lattice *l, size_t k, size_t kernels, bool turned, double *w);
    /* What kernels of k points are, in steps. */
    void (*steps)(const lattice *l, size_t k, size_t kernels, bool turned, const int32_t *points, double *x);
    /* The nearest integers. false: some numbers are LATTICE_POINT_MOST and larger, or none; their points are 0. */
    bool (*nearest)(const double *x, size_t n, int32_t *points);
    /* Adds what it costs to have weights v for w. -0 that becomes +0 has changed, as where kernels go. */
    void (*compare)(const double *w, const double *v, size_t n, lattice_cost *cost);
    /* lattice_path_find; came: a byte for each number. */
    double (*path)(uint8_t *came, const double *x, size_t n, int32_t *points);
} lattice_level;

extern const lattice_level lattice_level_base, lattice_level_avx2, lattice_level_avx512;
const lattice_level *lattice_level_best(void); /* that this processor has */

#endif
