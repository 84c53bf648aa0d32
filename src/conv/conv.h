/* From a tensor to its kernels, and from kernels to the numbers of the papers.
 *
 * layers.c         which shapes are those of convolution layers, and how they are laid out
 * roles.h          what each tensor of a checkpoint is, by name, shape and neighbours
 * names.c          what names say
 * gather.c         weights of any float dtype and layout -> tiles of kernels as doubles
 * measure.c        per layer: sparsity, entropy, moments (first sweep)
 * orthogonality.c  per layer: how far its filters are from orthogonal (first sweep)
 * farthest.c       per kernel group: the farthest kernels, from which the range of all coefficients follows, mostly
 * range.c          per kernel group: the range of all coefficients (second sweep), where it does not
 * untrained.c      per layer: whether it looks as an initialiser left it
 * cells.c          per layer: coefficients as integer counts that can be added up (collections)
 * count.c          per kernel group: coefficients by component and kind of kernel (third sweep)
 * column.c         the tables of one component
 * distribution.c   tables -> histograms, densities, divergences
 *
 * Sees no files. Called by job/. All sweeps take a batch of blocks, so that one huge tensor and ten thousand small ones
 * spread over the threads alike, and give the same bits for any number of threads. */
#ifndef FPR_CONV_H
#define FPR_CONV_H

#include "base/base.h"

/* ---- layers.c */

#define CONV_K_MIN 2   /* a kernel of one weight has no spatial distribution */
#define CONV_K_MAX 128 /* larger kernels (patch embeddings) get sparsity only */

/* Whether a tensor has the shape of a convolution layer when stored as `layout`; fills *out, with neither depthwise nor
 * transposed set. By rank and shape, never by name: what is asked of them in the comment of the definition. */
bool conv_layer_shape(fpr_dtype dtype, unsigned rank, const uint64_t *shape, fpr_layout layout, fpr_layer_shape *out);
/* The same for a tensor that is known to be one: any sides, but no scale vector and nothing empty. */
bool conv_read_shape(fpr_dtype dtype, unsigned rank, const uint64_t *shape, fpr_layout layout, fpr_layer_shape *out);
/* A scale of how well a layout explains one tensor: > 0 speaks for HWIO, < 0 for OIHW, 0 is neutral. The sum over a
 * file decides, see roles.h. */
int conv_layout_vote(fpr_dtype dtype, unsigned rank, const uint64_t *shape);
/* On the same scale: > 0 speaks for OHWI, against both others. */
int conv_layout_vote_ohwi(fpr_dtype dtype, unsigned rank, const uint64_t *shape);
/* Whether OHWI explains the shape well, whatever others do. */
bool conv_fits_ohwi(fpr_dtype dtype, unsigned rank, const uint64_t *shape);
/* Whether kernels of this shape have a basis (CONV_K_MIN <= k <= CONV_K_MAX). */
static inline bool conv_has_basis(const fpr_layer_shape *s) { return s->k >= CONV_K_MIN && s->k <= CONV_K_MAX; }

/* Filters among which all pairs are multiplied for orthogonality; of a layer of more, so many are taken. */
#define CONV_ORTHOGONALITY_FILTERS 2048u
static inline bool conv_orthogonality_is_sampled(const fpr_layer_shape *s)
{
    return conv_has_basis(s) && s->filters > CONV_ORTHOGONALITY_FILTERS;
}

/* ---- gather.c */

/* Kernels first .. first + count - 1 (kernel index = filter * channels + channel, any layout) as rows of k doubles. */
void conv_kernels(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint64_t first, size_t count,
                  double *rows);

#define CONV_SIZES_K_MAX 49u /* 7x7 */
#define CONV_SIZES_KERNELS 64u
/* Peak (largest magnitude) and L2 norm of n <= CONV_SIZES_KERNELS kernels of at most CONV_SIZES_K_MAX finite weights. */
void conv_sizes(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, const uint64_t *kernels, size_t n,
                double *peak, double *norm);

/* ---- the settings that the sweeps share */

typedef struct conv_settings {
    double eps;
    unsigned bins;
    fpr_bandwidth bandwidth;
    double bandwidth_value;
    bool half;
    bool moments_only; /* sweep one: skip entropy and orthogonality (their results are NaN), as compare does */
    unsigned threads;
    const struct num_kernels *kernels; /* NULL: the best inner loops for this processor; tests choose others */
} conv_settings;

/* What happens to a kernel in the output; written by shrink/, read by the third sweep. */
enum { CONV_ACTION_KEPT = 0, CONV_ACTION_ZERO = 1, CONV_ACTION_CHANGED = 2 };

typedef struct conv_block {
    const fpr_layer_shape *shape;
    fpr_dtype dtype;
    const void *weights;   /* the whole tensor, little-endian as in the file, any alignment >= 8 */
    const uint8_t *action;   /* [kernels], or NULL: all kept (third sweep only) */
    double max_abs;        /* of the layer before (sweep two and three; measured in sweep one) */
} conv_block;

/* ---- measure.c: first sweep */

typedef struct conv_measure {
    bool finite;           /* false: NaN or Inf inside; nothing else but max_abs of the finite weights is defined */
    double max_abs;
    uint64_t sparse;
    /* Kernels with max w >= eps * max w over the layer, signs kept, as the notebook of the paper on medical imaging counts;
     * 0 where the shape has no basis, and with moments_only. */
    uint64_t live_signed;
    double variance_entropy, variance_entropy_clean, orthogonality; /* NaN where not defined */
    bool orthogonality_sampled; /* taken over CONV_ORTHOGONALITY_FILTERS evenly spaced filters, not over all */
    double *explained_variance_ratio; /* [k] given by the caller, or NULL; of the layer's own centered SVD */
    double rms;            /* root mean square of the weights; NaN where the shape has no basis */
    uint64_t dead_filters, dead_channels; /* counts, by sparse kernels */
    /* What it costs when all sparse kernels become zero: the largest |w| in them, and sqrt(sum w^2 over them / sum w^2
     * over the layer). NaN where the shape has no basis. */
    double sparse_max_abs, sparse_relative_l2;
    fpr_moments all, live; /* of the scaled kernels; made by conv_measure_blocks when the shape has a basis (k = 0
                              otherwise), freed by the caller with fpr_moments_free */
    struct conv_farthest *farthest;  /* given by the caller, or NULL: takes the scaled kernels; blocks of one k may share it */
} conv_measure;

/* One result per block. FPR_NO_MEMORY leaves nothing in results to free. */
fpr_status conv_measure_blocks(const conv_block *blocks, size_t count, const conv_settings *settings,
                               conv_measure *results, fpr_error *error);
/* T(n) of the library torchconvquality: the variance entropy of n random 3x3 kernels. */
double conv_random_entropy(double n);

/* ---- untrained.c */

/* Both NULL: the layer does not look untrained. Static text: what its weights are drawn like; and by which rule their
 * width was chosen, NULL where it is none of the usual ones. */
typedef struct conv_untrained { const char *distribution, *rule; } conv_untrained;
/* From what the first sweep has measured, and the variance ratios [k], or NULL. */
bool conv_looks_untrained(const fpr_layer_shape *shape, const conv_measure *measured, const double *ratio,
                          conv_untrained *found);

/* ---- farthest.c: the farthest kernels of a group, gathered in the first sweep */

typedef struct conv_farthest conv_farthest;

/* For kernels of k weights: as many as fit into `bytes` at 8 * (k + 3) each, at least two. NULL: no memory. */
conv_farthest *conv_farthest_new(unsigned k, size_t bytes);
void conv_farthest_free(conv_farthest *farthest);
/* n scaled kernels: weight d of kernel i is x[d * stride + i], the sum of its squares square[i]. From any thread. */
void conv_farthest_add_tile(conv_farthest *farthest, const double *x, size_t stride, const double *square, size_t n);
void conv_farthest_merge(conv_farthest *into, const conv_farthest *from);
/* True: range is that of all kernels added, to the bit what conv_range_blocks finds. False: only that can tell. Which of
 * both may depend on the order of adding; the range does not. */
bool conv_farthest_range(const conv_farthest *farthest, const conv_settings *settings, const fpr_basis *basis, double range[2]);

/* ---- range.c, count.c: second and third sweep, for the blocks of one kernel group */

/* Widens range[0..1] (start with +inf, -inf) by the coefficients of all finite kernels of the blocks. */
fpr_status conv_range_blocks(const conv_block *blocks, size_t count, const conv_settings *settings,
                             const fpr_basis *basis, double range[2], fpr_error *error);

/* ---- cells.c: coefficients of each block as integers, to be added up later */

typedef struct conv_grid {
    const fpr_basis *basis;
    double range[2];
    unsigned bins, zoom; /* each bin is cut into 2^zoom cells */
    unsigned side;       /* the plane has side x side cells over the same range */
} conv_grid;

/* cells: [k][bins << zoom], numpy's rule for the bins that they make up; plane: [side][side], row by the second component,
 * column by the first; untouched where k is 1. What lies outside of the range is not counted. */
typedef struct conv_cells { uint64_t *cells, *plane; } conv_cells;

/* Adds the kernels of each block, all of one k and finite, to its result; the caller has made and zeroed them. extent is
 * widened by all coefficients. */
fpr_status conv_cell_blocks(const conv_block *blocks, size_t count, const conv_settings *settings,
                            const conv_grid *grid, conv_cells *results, double extent[2], fpr_error *error);

typedef struct conv_counter conv_counter;

/* For so many kernels, live ones among them, which says how fine to count. Memory, for each kind of kernel that occurs
 * (live or sparse; kept, gone or new), and each of two workers (up to eight while they take less than 12 MB together):
 * 80 KB a component and the usual 70 bins where there are more than a quarter of a million kernels, up to 0.6 MB where
 * there are fewer, and 10.5 MB in all. basis and settings are copied. */
fpr_status conv_counter_new(const fpr_basis *basis, unsigned k, const double range[2], uint64_t kernels, uint64_t live,
                            const conv_settings *settings, conv_counter **counter, fpr_error *error);
void conv_counter_free(conv_counter *counter);
/* Counts the kernels of the blocks as they are before the job, and by their action as they are after it: KEPT counts in
 * both, ZERO counts as a zero kernel after, CHANGED counts only before; its new value is counted by
 * conv_counter_add_changed once the weights have been changed. Live: by the layer's max_abs and eps. */
fpr_status conv_counter_add(conv_counter *counter, const conv_block *blocks, size_t count, fpr_error *error);
/* The kernels of action CHANGED, as they are now in weights; live by max_abs of the layer as it is now. */
fpr_status conv_counter_add_changed(conv_counter *counter, const conv_block *blocks, size_t count, fpr_error *error);
/* Densities are within 1e-4 of their peak of the exact sum, for bandwidths down to some 1/1000 of the range of a
 * component (Silverman's are 1/30 to 1/500); below that, 512 points show no curve, and what shares a cell is drawn as
 * one point. */
typedef enum conv_which { CONV_BEFORE, CONV_AFTER, CONV_LIVE_BEFORE, CONV_LIVE_AFTER } conv_which;
/* Fills out->kernels, out->counts ([k][bins], allocated here) and out->kde ([k], allocated here unless with_kde is
 * false). Coefficients outside the range are not counted (numpy's rule), but belong to the KDE. */
fpr_status conv_counter_finish(conv_counter *counter, conv_which which, bool with_kde, fpr_distribution *out,
                               fpr_error *error);

/* Symmetric KL of two distributions over the same range, SPEC of the formula in num.h; out->per_component allocated. */
fpr_status conv_divergence(const fpr_distribution *p, const fpr_distribution *q, unsigned k, unsigned bins,
                           const double range[2], const double *ratio, fpr_divergence *out, fpr_error *error);

#endif
