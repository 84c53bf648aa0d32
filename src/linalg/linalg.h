/* Dense linear algebra of whole layers, over OpenBLAS and LAPACKE.
 *
 * blas.c      the libraries, loaded when first needed: who does not ask for spectra does not pay for them
 * singular.c  singular values of a matrix that lies in a tensor
 * tail.c      the exponent of a power law's tail
 * spectrum.c  what a layer's spectrum says
 *
 * Kernels have their own SVD in num/, of 9 by 9 and with the same bits everywhere. Matrices here have hundreds to thousands
 * of rows. Every call runs on one thread, and ours above it work on a fixed partition, so that a result does not depend on
 * their number; it does depend on the processor and the version of OpenBLAS, in its last digits. So nothing that decides
 * about bytes may read it, and figures are rounded to nine digits, of which eight are significant everywhere.
 *
 * Called by job/. */
#ifndef FPR_LINALG_H
#define FPR_LINALG_H

#include "base/base.h"

/* ---- blas.c */

/* Loads the libraries if need be; their own threads are switched off until linalg_end. FPR_IO with a line that says what to
 * install when they are missing. Pairs may nest. */
fpr_status linalg_begin(fpr_error *error);
void linalg_end(void);

/* Row-major: c += a b' (m x n, depth k); c += a' b; lower triangle of c += a a'; lower triangle of c += a' a. */
void linalg_add_abt(int m, int n, int k, const double *a, int lda, const double *b, int ldb, double *c, int ldc);
void linalg_add_atb(int m, int n, int k, const double *a, int lda, const double *b, int ldb, double *c, int ldc);
void linalg_add_aat(int n, int k, const double *a, int lda, double *c, int ldc);
void linalg_add_ata(int n, int k, const double *a, int lda, double *c, int ldc);
/* Eigenvalues, ascending, of the symmetric matrix whose lower triangle (row-major) is a; a is destroyed. */
fpr_status linalg_eigenvalues(int n, double *a, double *values, fpr_error *error);
/* a: rows x columns, row-major, rows <= columns. Its lower triangle becomes L of a = L Q; what is right of it is not 0. */
fpr_status linalg_lq(int rows, int columns, double *a, int lda, fpr_error *error);
/* Singular values, descending, of a square matrix, which is destroyed. */
fpr_status linalg_square_values(int n, double *a, double *values, fpr_error *error);

/* ---- singular.c */

/* A matrix in a tensor: element (r, c) with c = outer index * inner + inner index is
 * weights[first + r * row_stride + outer index * outer_stride + inner index * inner_stride]. */
typedef struct linalg_view {
    fpr_dtype dtype; /* F64, F32, F16 or BF16; finite */
    const void *weights;
    uint64_t first, rows, row_stride, outer, outer_stride, inner, inner_stride;
} linalg_view;

uint64_t linalg_columns(const linalg_view *v);
/* Whether n weights are numbers all: nothing else may be given to what follows. */
bool linalg_is_finite(fpr_dtype dtype, const void *weights, uint64_t n);
/* The min(rows, columns) squares of singular values, ascending, from the eigenvalues of the smaller Gram matrix: each with
 * an error of some 1e-16 of the largest. *singular: a row or column of the smaller side is all zero. Memory: 8 bytes an element of that matrix's lower triangle, and 16 MiB. */
fpr_status linalg_squares(const linalg_view *v, unsigned threads, double *squares, bool *singular, fpr_error *error);
/* The smallest singular value by LQ, which loses nothing by squaring: relative to the largest within some 1e-15. Memory:
 * 12 bytes an element of the smaller Gram matrix, or 4 MiB. */
fpr_status linalg_smallest(const linalg_view *v, double *smallest, fpr_error *error);

/* ---- tail.c */

/* Exponent of the tail of n > 0 values, as WeightWatcher 0.7.7 (pl_package "WW_powerlaw") fits it: Clauset, Shalizi and
 * Newman, "Power-law distributions in empirical data" (2009): for each x_min among the values, the maximum likelihood
 * alpha = 1 + m / sum ln(x / x_min) of the m values from it on; that x_min counts whose Kolmogorov-Smirnov distance is
 * least. Below 20 values m - 1 stands for m (bias), and tails of fewer than eight are passed over, but for all values together. NaN where no tail has an
 * alpha above 1. values: ascending, positive. scratch: [2 n]. */
double linalg_tail_exponent(const double *values, size_t n, double *scratch);

/* ---- spectrum.c */

typedef struct linalg_layer {
    const fpr_layer_shape *shape; /* a depthwise layer has no alpha: its slices are single numbers */
    bool linear;     /* no convolution: WeightWatcher does not scale it */
    fpr_dtype dtype;
    const void *weights;
    uint64_t bytes_free; /* memory that may be taken beside the tensor for what only the condition needs: where it is too
                          * little, that is NaN */
} linalg_layer;

/* The spectrum of a layer, W as out x (in k). Fills *out, whose values are base_free's. */
fpr_status linalg_spectrum(const linalg_layer *layer, unsigned threads, fpr_spectrum *out, fpr_error *error);

#endif
