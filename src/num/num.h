/* Numbers: arrays of floats and doubles in, statistics out.
 *
 * kernels_*.c  the inner loops, one text (kernels_body.h) compiled for several instruction sets
 * moments.c    mean and scatter, merged by Chan, Golub and LeVeque's rule
 * svd.c        principal components of a scatter matrix
 * histogram.c  numpy's histogram rule with cells finer than the bins; percentiles from cells
 * kde.c        bandwidths and Gaussian density estimates
 * divergence.c symmetric Kullback-Leibler divergence of two histograms
 *
 * Refuses to know tensors, dtypes, layers or files. Allocates nothing: callers pass scratch memory (the public moments
 * of filterprune.h section 8 are the one exception). Called by conv/. */
#ifndef FPR_NUM_H
#define FPR_NUM_H

#include "base/base.h"

/* Vectors are summed in eight lanes, element i in lane i % 8, and the lanes folded in one fixed order, whatever the
 * instruction set: that is what makes results equal in every bit on every path. Rows are padded to this. */
#define NUM_LANES 8

/* ---- kernels.c: the inner loops. A tile holds n vectors of k weights in rows of `stride` doubles: weight d of vector
 * i is x[d * stride + i]; stride is a multiple of NUM_LANES, rows are 64-byte aligned, and what follows the n-th
 * element of a row, up to the next multiple of 2 * NUM_LANES, belongs to the kernels as scratch. */

typedef struct num_cells_view num_cells_view;

/* n rows of floats, `stride` apart, any alignment. */
typedef struct num_rows { const float *w; size_t stride, n; } num_rows;

typedef struct num_kernels {
    const char *name; /* "baseline", "avx2", "avx512" */

    /* Largest bit pattern without its sign bit: for IEEE formats the largest magnitude, and NaN and Inf above all. */
    uint64_t (*peak16)(const uint16_t *w, size_t n);
    uint64_t (*peak32)(const uint32_t *w, size_t n);
    uint64_t (*peak64)(const uint64_t *w, size_t n);
    /* The largest of n > 0 bit patterns as signed integers: that of the largest number, below 0 where none is positive. */
    int64_t (*top16)(const void *w, size_t n);
    int64_t (*top32)(const void *w, size_t n);
    int64_t (*top64)(const void *w, size_t n);
    /* How many bit patterns without sign are below a limit; live[i] |= 1 where one is not. */
    uint64_t (*below16)(const uint16_t *w, size_t n, uint64_t limit, uint8_t *live);
    uint64_t (*below32)(const uint32_t *w, size_t n, uint64_t limit, uint8_t *live);
    uint64_t (*below64)(const uint64_t *w, size_t n, uint64_t limit, uint8_t *live);

    /* n numbers to doubles times scale. Finite input only. */
    void (*load_f16)(double *y, const uint16_t *x, size_t n, double scale);
    void (*load_bf16)(double *y, const uint16_t *x, size_t n, double scale);
    void (*load_f32)(double *y, const float *x, size_t n, double scale);
    void (*load_f64)(double *y, const double *x, size_t n, double scale);
    /* The same for n vectors of k that follow one another, into a tile. */
    void (*tile_f16)(double *x, size_t stride, const uint16_t *rows, size_t n, unsigned k, double scale);
    void (*tile_bf16)(double *x, size_t stride, const uint16_t *rows, size_t n, unsigned k, double scale);
    void (*tile_f32)(double *x, size_t stride, const float *rows, size_t n, unsigned k, double scale);
    void (*tile_f64)(double *x, size_t stride, const double *rows, size_t n, unsigned k, double scale);
    /* Rounds to the nearest IEEE half, ties to even, overflow to infinity. */
    void (*half)(double *x, size_t n);

    /* peak[i] = max |x_d[i]|. */
    void (*tile_peak)(double *peak, const double *x, size_t stride, size_t n, unsigned k);
    /* square[i] = sum of x_d[i]^2. */
    void (*tile_squares)(double *square, const double *x, size_t stride, size_t n, unsigned k);
    /* y_d[i] = x_d[i] / peak[i], 0 where peak is 0. y may be x. */
    void (*tile_divide)(double *y, const double *x, const double *peak, size_t stride, size_t n, unsigned k);
    /* The same of floats, also times a power of two, in a third of the time; zeros are positive. */
    void (*tile_divide_floats)(double *y, const double *x, const double *peak, size_t stride, size_t n, unsigned k);
    /* How many of the vectors have an x_d[i] >= limit. */
    size_t (*tile_above)(const double *x, size_t stride, size_t n, unsigned k, double limit);
    /* y_d[i] = x_d[index[i]]. */
    void (*tile_pick)(double *y, const double *x, size_t stride, const uint32_t *index, size_t n, unsigned k);
    /* Mean of the n > 0 vectors, and the upper triangle of their centered second moments, scatter[i * k + j], i <= j;
     * x is centered in place. */
    void (*tile_moments)(double *mean, double *scatter, double *x, size_t stride, size_t n, unsigned k);
    /* c_j[i] = sum_d (x_d[i] - mean[d]) * components[j * k + d]; x is centered in place. */
    void (*tile_project)(double *c, double *x, size_t stride, size_t n, unsigned k, const double *mean,
                         const double *components);
    /* Widens range by n finite numbers. */
    void (*range)(double range[2], const double *x, size_t n);
    /* The place of each of n finite numbers: its cell, counted from view->first, and below NUM_FRACTION_BITS where it lies
     * in the cell, in units of 2^-NUM_FRACTION_BITS of it: see num_cells_view. */
    void (*cells)(uint32_t *place, const double *x, size_t n, const num_cells_view *view);

    double (*sum_squares)(const double *x, size_t n);
    double (*float_sum_squares)(const float *x, size_t n); /* the same in every bit, of the same numbers */
    /* sum |x[i]| by[i], products and sums in doubles. */
    double (*sum_abs)(const float *x, const double *by, size_t n);
    double (*dot)(const double *x, const double *y, size_t n);
    /* g[i * b->n + j] = sum over depth of row i of a times row j of b, or that much more where add is set, in floats;
     * with the same rows twice only for j >= i, the rest of g is undefined. */
    void (*gram)(float *g, const num_rows *a, const num_rows *b, size_t depth, bool add);
    /* y[i] = (float)(x[i] * unit * scale). */
    void (*pack)(float *y, const double *x, size_t n, double unit, double scale);
} num_kernels;

/* Those of the instruction sets in use (base/simd.h). */
const num_kernels *num_kernels_best(void);
/* All that this processor can run, the portable one first; for tests. NULL past the end. */
const num_kernels *num_kernels_variant(unsigned index);

/* ---- moments.c: the internal side of fpr_moments, over memory that somebody else owns */

#define NUM_K_MAX 128
#define NUM_MOMENTS_DOUBLES(k) ((size_t)(k) + (size_t)(k) * (k)) /* memory of one set of moments */

void num_moments_over(fpr_moments *moments, unsigned k, double *memory); /* empty moments in that memory */
/* Adds the n vectors of a tile; x is overwritten. scratch: NUM_MOMENTS_DOUBLES(k). */
void num_moments_add_tile(fpr_moments *moments, const num_kernels *kernels, double *x, size_t stride, size_t n,
                          double *scratch);
/* Adds count vectors that are all zero. */
void num_moments_add_zeros(fpr_moments *moments, uint64_t count);

/* ---- svd.c */

#define NUM_EIGEN_SCRATCH(k) (2 * (size_t)(k) * (k) + 4 * (size_t)(k))

/* Principal components of moments of rank at most count - 1. singular_values and ratio: [k], by falling value;
 * components [k][k] may be NULL. Values that cannot be told from rounding (below k * 2^-52 of the largest) are zero;
 * ratio is all zero without variance. scratch: NUM_EIGEN_SCRATCH(k). FPR_USAGE for moments that are not finite. */
fpr_status num_principal(const fpr_moments *moments, double *singular_values, double *ratio, double *components,
                         double *scratch, fpr_error *error);
/* -sum r log10 r over variance ratios; 0 where there is no variance. */
double num_entropy(const double *ratio, unsigned k);

/* ---- histogram.c: numpy's rule, and finer cells under it
 *
 * Bin of x: int((x - lo) * bins / (hi - lo)), then moved by one when x lies outside the edges linspace(lo, hi, bins +
 * 1) of that bin; half-open, the last closed. Each bin is divided into 2^zoom equal cells. A view shows `count` cells
 * from cell `first` on (counted from lo; negative below it). The bin of a number inside [lo, hi] can be read off its
 * cell exactly; numbers outside are in cells below 0 or from bins << zoom on. */
struct num_cells_view {
    double lo, hi;
    unsigned bins;
    unsigned zoom;  /* log2 of the cells in a bin */
    int64_t first;
    uint32_t count; /* cells in view, at most 2^21: numbers outside of it fall into its first or last cell */
};

#define NUM_FRACTION_BITS 10 /* position within a cell, as counted in first moments */

static inline uint32_t num_cell_of(uint32_t place) { return place >> NUM_FRACTION_BITS; }
static inline uint32_t num_fraction_of(uint32_t place) { return place & ((1u << NUM_FRACTION_BITS) - 1); }

/* range widened by 0.5 to both sides when it is of zero width (numpy's rule). */
void num_widen(double range[2]);

/* Sorts fewer than 2^32 finite numbers; spare has room for n. */
void num_sort(double *x, size_t n, double *spare);

/* A sorted list of point masses and cells, as distribution of one component. */
typedef struct num_mass {
    double x;      /* mean of what is in the cell */
    double spread; /* half width of where it can be; 0 for exact point masses */
    uint64_t count;
} num_mass;

/* Values of some ranks (rising, 0 .. n - 1, fractions interpolate) of masses in rising order. */
void num_rank_values(const num_mass *masses, size_t count, const double *ranks, double *values, size_t rank_count);

/* ---- kde.c */

/* What the rules of SPEC ask of a distribution of n numbers. */
typedef struct num_spread { uint64_t n; double sd, p1, p25, p75, p99; } num_spread;

void num_spread_of(const num_mass *masses, size_t count, num_spread *spread);
/* Silverman's rule as KDEpy defines it: sigma = min(sd, IQR / 1.3489795003921634), h = sigma (3n/4)^(-1/5); when sigma
 * is 0, (P99 - P1) / 4.6526957480816815 takes its place; when that is 0 too, *degenerate and 1. n <= 1: 1. */
double num_silverman(const num_spread *spread, bool *degenerate);
/* Scott's rule: sd n^(-1/5); 1 and *degenerate when that is 0. */
double num_scott(const num_spread *spread, bool *degenerate);

/* Doubles of scratch that num_kde needs: at most 511 * 16 + 9 + 2 * 106 grid points and 2 * 106 + 1 weights, or 512 + 9
 * + 2 * 555 and 2 * 555 + 1. */
#define NUM_KDE_SCRATCH 9216
/* Density of a Gaussian kernel estimate of bandwidth h at points start + i * step. No mass may lie nearer than 3h to
 * either end of them. */
void num_kde(const num_kernels *kernels, const num_mass *masses, size_t count, double h, double start, double step,
             double density[FPR_KDE_POINTS], double *scratch);

/* ---- divergence.c */

/* Symmetric KL of two histograms over one range: empty bins become float32 eps (1.1920929e-07) in the density
 * count / (n * width), then each is renormalised to sum 1; sum p ln(p/q) + sum q ln(q/p). (Gavrikov & Keuper, "CNN
 * Filter DB", CVPR 2022.) A histogram without counts is uniform. */
double num_divergence(const uint64_t *p, const uint64_t *q, unsigned bins, double width);

#endif
