/* Decides which kernels go and which become two-level, and changes the weights. Stores nothing: that is pack/'s.
 *
 * plan.c      thresholds, masks: a pure function of weights and options
 * score.c     how large kernels, filters and channels are
 * ranking.c   the lowest units of a layer or of all layers
 * binary.c    whether a layer is binary-like, by which scope, at which levels
 * tally.c     how well kernels do at two levels, counted
 * quantize.c  the best two levels of a set of weights
 * apply.c     carries a plan out in place and measures what it cost
 * became.c    which kernels rounding and casts took besides
 * cost.c      how many weights and live kernels a plan takes
 * view.h      weights that the file holds in another order, or computed from two tensors
 * glob.c      --only, --skip, --drop
 * cast.c      between float dtypes
 * Called by job/; sees conv/ and base/ only. */
#ifndef FPR_SHRINK_H
#define FPR_SHRINK_H

#include "conv/conv.h"

typedef struct shrink_plan {
    uint8_t *action;     /* [kernels] CONV_ACTION_*: ZERO only for kernels that are not all +0 already */
    uint64_t zeroed;   /* kernels of action ZERO that were not zero: of the others some zeros lose their sign */
    bool changes;      /* some action is not KEPT */
    bool kept_one;     /* all units of a depthwise layer, or the only one of another, were to go: the strongest stays */
    bool only_sparse;  /* what changes is that sparse kernels become zero, if anything does */
    fpr_binary binary; /* scope NONE: no quantization; max_relative_error over what is quantized */
    /* in the tensor's own dtype and byte order: pairs (low, high) per layer, filter or kernel by binary.scope,
     * meaningful for units with kernels of action CHANGED; NULL when there are none */
    uint8_t *levels;
} shrink_plan;

/* Score of every unit of one layer by structure and criterion (kernel: [kernels], filter: [filters], channel:
 * [channels]; of a depthwise layer [kernels] always); peak is max|w| / max|w| of the layer, bn the same of the weights
 * times their filters' scale (NULL: as peak), l1 and l2 are norms over the unit. Sums in double, index order. */
void shrink_scores(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, fpr_structure structure,
                   fpr_criterion criterion, const double *scale, double *scores);
/* Kernels that are sparse once each filter is multiplied with its scale, beside those that are sparse as they are. */
fpr_status shrink_count_scaled(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, double max_abs,
                               const double *scale, double eps, fpr_scaled *count, fpr_error *error);
uint64_t shrink_unit_count(const fpr_layer_shape *s, fpr_structure structure);

/* --global: collects the scores of all layers (each divided by its layer's mean score), then tells each layer how many
 * of its lowest units go. Ties: the lower layer, then the lower index goes first. Layers that may not be pruned are not
 * added. */
typedef struct shrink_ranking shrink_ranking;
fpr_status shrink_ranking_new(shrink_ranking **ranking, fpr_error *error);
fpr_status shrink_ranking_add(shrink_ranking *ranking, size_t layer, const double *scores, uint64_t count,
                              fpr_error *error);
/* counts[layer]: units to prune when the lowest round(amount * total) of all go, halves to even as in Python and torch.
 * May be asked again with another amount. */
fpr_status shrink_ranking_end(shrink_ranking *ranking, double amount, uint64_t *counts, size_t layers,
                              fpr_error *error);
void shrink_ranking_free(shrink_ranking *ranking);

#define SHRINK_BY_AMOUNT UINT64_MAX

/* What is known of a layer before its weights are looked at: the largest |w|, and where it was measured at full precision
 * (not --half), all the rest; NULL otherwise. What is known need not be found again: nearly all layers have few sparse
 * kernels or none. */
typedef struct shrink_known {
    double max_abs;
    const conv_measure *measure;
    const double *scale; /* [filters] by criterion BN each kernel counts as so many times as large; NULL: as it is */
} shrink_known;

/* How much of one layer goes. */
typedef struct shrink_budget {
    double amount;  /* the share of its units, the lowest ones; negative: the sparse ones, by options->eps */
    uint64_t units; /* so many of the lowest, whatever the amount (from a ranking); SHRINK_BY_AMOUNT: not so */
} shrink_budget;

/* Plans one finite layer: which units go, then (if options->binary) whether the rest is binary-like.
 * budget: NULL where none may go, because --only, --skip or --pointwise do not choose the layer. options->amount is not
 * read. */
fpr_status shrink_plan_layer(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, shrink_known known,
                             const fpr_options *options, const shrink_budget *budget, unsigned threads,
                             shrink_plan *plan, fpr_error *error);
void shrink_plan_free(shrink_plan *plan);

typedef struct shrink_outcome {
    uint64_t *dead_filters, *dead_channels; /* indices, ascending, every kernel of it sparse now (or zero); base_free */
    uint64_t dead_filter_count, dead_channel_count;
    double error_max_abs, error_relative_l2;
    fpr_change change;    /* to_inf and to_zero are a cast's */
    uint64_t live_zeroed; /* kernels that were live and are zero now */
    bool wholly_zero;     /* there were weights, and none is left */
} shrink_outcome;

/* Changes weights in place as planned. Kernels of action ZERO become +0 in every bit; others keep every bit or take their
 * levels. */
fpr_status shrink_apply(const fpr_layer_shape *s, fpr_dtype dtype, void *weights, shrink_known known, double eps,
                        const shrink_plan *plan, unsigned threads, shrink_outcome *outcome, fpr_error *error);

/* Only the dead filters and channels of weights as they are: fills those fields of *outcome, the errors are 0. */
fpr_status shrink_dead(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, shrink_known known, double eps,
                       unsigned threads, shrink_outcome *outcome, fpr_error *error);

/* [kernels] what each kernel is before anything is changed, by max|w| of its layer; base_free. */
enum { SHRINK_KIND_ZERO, SHRINK_KIND_SPARSE, SHRINK_KIND_LIVE };
fpr_status shrink_kinds(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, double max_abs, double eps,
                        uint8_t **kinds, fpr_error *error);
/* Of weights as they are written, rounded or cast: counts every kernel that became zero, planned or not, into
 * plan->zeroed and *outcome, and lists the filters and channels anew that are dead then: every kernel sparse before or zero
 * now. kinds: as above; kernels that are zero now become ZERO. */
fpr_status shrink_became(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint8_t *kinds, shrink_plan *plan,
                         shrink_outcome *outcome, fpr_error *error);

/* The two levels a < b (a == b when all are equal) that minimise sum (w - q)^2 over n values: optimal one-dimensional
 * two-means, exact by sorting for any n. Returns the squared error; *split is the count of values at the lower level.
 * values is sorted in place. */
double shrink_two_levels(double *values, size_t n, double *low, double *high, size_t *split);

/* Shell pattern over a tensor name: * ? [a-z] [!a], backslash escapes; * matches any character, dots too. */
bool shrink_glob(const char *pattern, const char *name);
bool shrink_any_matches(const fpr_globs *globs, const char *name);
bool shrink_selected(const fpr_globs *only, const fpr_globs *skip, const char *name);

/* --cast: converts count elements between float dtypes, round to nearest even, NaN stays NaN, overflow becomes Inf.
 * Returns whether all values survived exactly. */
bool shrink_cast(fpr_dtype from, const void *src, fpr_dtype to, void *dst, uint64_t count);

/* Largest |a - b| and |a - b| / |b| (L2) of count elements of any float dtypes. false: NaN stands where a number is. */
bool shrink_difference(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count,
                       double *max_abs, double *relative_l2);
/* What a cast from b to a changed, over the finite values of b; l2 is infinite where one became so. */
void shrink_cast_change(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count,
                        fpr_change *change);
/* Whether they hold the same values, bit for bit as doubles: what shrink_cast says when it returns true. */
bool shrink_same_values(fpr_dtype a_type, const void *a, fpr_dtype b_type, const void *b, uint64_t count);

#endif
