/* What the files of this room share, and nobody outside sees. */
#ifndef FPR_SHRINK_INNER_H
#define FPR_SHRINK_INNER_H

#include "shrink/shrink.h"

#include <stdatomic.h>

/* Work is cut into parts of about this many weights: 256 KiB of F32, so that a part stays in the second-level cache
 * between the loops that read it. */
#define PART_WEIGHTS 65536u
/* Kernels are looked at as doubles in tiles of this many weights: 32 KiB of stack. */
#define TILE_WEIGHTS 4096u
/* Magnitudes of so many kernels are taken at a time: 32 KiB of stack, and in HWIO several whole filters. */
#define MAGNITUDES 4096u

typedef struct shrink_view {
    const fpr_layer_shape *shape;
    fpr_dtype dtype;
    const uint8_t *weights;
    const double *scale; /* of the filters, or NULL: see shrink_known */
} shrink_view;

/* The filter that a kernel belongs to. */
static inline uint64_t shrink_filter(const fpr_layer_shape *s, uint64_t kernel)
{
    return s->transposed ? kernel % s->channels : kernel / s->channels;
}
static inline uint64_t shrink_filter_count(const fpr_layer_shape *s) { return s->transposed ? s->channels : s->filters; }

/* Outputs and inputs as the layer numbers them. Depthwise, [h, w, channels, multiplier]: each kernel is an output. */
static inline bool shrink_each_is_output(const fpr_layer_shape *s) { return s->depthwise && s->channels > 1; }
static inline uint64_t shrink_output(const fpr_layer_shape *s, uint64_t kernel)
{
    if (shrink_each_is_output(s)) return kernel % s->channels * s->filters + kernel / s->channels;
    return s->transposed ? kernel % s->channels : kernel / s->channels;
}
static inline uint64_t shrink_input(const fpr_layer_shape *s, uint64_t kernel)
{
    return s->transposed && !shrink_each_is_output(s) ? kernel / s->channels : kernel % s->channels;
}
static inline uint64_t shrink_output_count(const fpr_layer_shape *s)
{
    return shrink_each_is_output(s) ? s->kernels : s->transposed ? s->channels : s->filters;
}
static inline uint64_t shrink_input_count(const fpr_layer_shape *s)
{
    return s->transposed && !shrink_each_is_output(s) ? s->filters : s->channels;
}

/* The unit in the axes of the tensor: where one kernel is filter and channel, the kernel; where inputs stand before
 * outputs, the other. */
static inline fpr_structure shrink_unit(const fpr_layer_shape *s, fpr_structure structure)
{
    if (structure == FPR_STRUCTURE_KERNEL || s->depthwise) return FPR_STRUCTURE_KERNEL;
    if (!s->transposed) return structure;
    return structure == FPR_STRUCTURE_FILTER ? FPR_STRUCTURE_CHANNEL : FPR_STRUCTURE_FILTER;
}
static inline uint64_t shrink_at_least_one(uint64_t n) { return n ? n : 1; }
/* Kernels of one part, and of one tile (0: a kernel is larger than a tile). */
static inline uint64_t shrink_part_kernels(const fpr_layer_shape *s)
{
    return shrink_at_least_one(PART_WEIGHTS / s->k);
}
static inline uint64_t shrink_tile_kernels(const fpr_layer_shape *s) { return TILE_WEIGHTS / s->k; }
static inline size_t shrink_element_bytes(fpr_dtype dtype) { return fpr_dtype_bits(dtype) / 8; }
/* Where in the tensor weight i of a kernel is. */
static inline uint64_t shrink_place(const fpr_layer_shape *s, uint64_t kernel, uint64_t i)
{
    if (s->layout != FPR_LAYOUT_HWIO) return kernel * s->k + i;
    return (i * s->channels + kernel % s->channels) * s->filters + kernel / s->channels;
}

/* ---- score.c. A magnitude is the bit pattern of |w|: its integer order is the order of |w|, and it needs no
 * conversion, so the largest of a kernel is found at the speed of memory. */

double shrink_magnitude_value(fpr_dtype dtype, uint64_t magnitude);
/* The smallest magnitude whose value is >= threshold: value(m) < threshold exactly when m < limit. */
uint64_t shrink_magnitude_limit(fpr_dtype dtype, double threshold);
/* What sparse means: m < limit. In a layer of zeros every kernel is sparse. */
uint64_t shrink_sparse_limit(fpr_dtype dtype, double max_abs, double eps);
/* limits: [filters] the same of each, where the view has scales. */
void shrink_scaled_limits(const shrink_view *v, double eps, uint64_t *limits);
/* A power of two near 1 / max_abs: squares of weights times it stay in the range of a double. */
double shrink_scale(double max_abs);
/* The largest magnitude of each of count kernels; SHRINK_MINUS_ZERO where all weights are zero and not all of them +0. */
#define SHRINK_MINUS_ZERO (UINT64_C(1) << 63)
static inline uint64_t shrink_size(uint64_t magnitude) { return magnitude & ~SHRINK_MINUS_ZERO; }
void shrink_magnitudes(const shrink_view *v, uint64_t first, size_t count, uint64_t *magnitudes);
/* Weights from .. from + n - 1 of one kernel. */
void shrink_piece(const shrink_view *v, uint64_t kernel, uint64_t from, size_t n, double *out);
/* Scores as shrink_scores gives them, on several threads; structure as shrink_unit gives it. */
void shrink_scores_threaded(const shrink_view *v, fpr_structure structure, fpr_criterion criterion, unsigned threads,
                            double *scores);

/* ---- ranking.c: the lowest n of non-negative doubles, without sorting or copying */

typedef struct shrink_span {
    const double *scores;
    const float *rounded; /* used when scores is NULL */
    uint64_t count;
} shrink_span;

typedef struct shrink_cut {
    uint64_t key;  /* scores whose bits are below go */
    uint64_t ties; /* and so many of those that are equal, in index order */
} shrink_cut;

static inline uint64_t shrink_key(const shrink_span *span, uint64_t i)
{
    union {
        double d;
        uint64_t u;
    } bits = {span->scores ? span->scores[i] : (double)span->rounded[i]};
    return bits.u;
}
shrink_cut shrink_select(const shrink_span *spans, size_t count, uint64_t n);
/* round(amount * total) as Python and so torch rounds: halves to even. */
uint64_t shrink_share_of(double amount, uint64_t total);

/* ---- quantize.c */

typedef struct shrink_pair {
    double low, high;
    uint64_t low_count, high_count;
} shrink_pair;

/* Optimal two-means of n values, each counts[i] times (NULL: once); both arrays are sorted in place. All equal: the low
 * level takes all. */
shrink_pair shrink_two_means(double *values, uint64_t *counts, size_t n);

/* ---- binary.c */

/* A quick no for kernels of one to three weights. Kernels of action ZERO do not count. */
bool shrink_may_be_binary(const shrink_view *v, const fpr_options *options, shrink_plan *plan, unsigned threads);
/* Fills plan->binary, and where something changes plan->levels and CONV_ACTION_CHANGED. live: the count of kernels of
 * action KEPT; those that are zero already must have another action. */
fpr_status shrink_plan_binary(const shrink_view *v, const fpr_options *options, uint64_t live, unsigned threads,
                              shrink_plan *plan, fpr_error *error);

/* ---- cost.c */

/* What a plan changes: weights whose value becomes another, live kernels that become zero, and the sum of the squares of
 * the differences times scale. */
typedef struct shrink_cost {
    uint64_t weights, live;
    double square;
} shrink_cost;
/* Of the kernels first .. end - 1, as they are before the plan is carried out. limit: of sparse magnitudes. */
void shrink_cost_of_part(const shrink_view *v, const shrink_plan *plan, uint64_t limit, double scale, uint64_t first,
                         uint64_t end, shrink_cost *sum);
/* The pair of levels of a kernel of action CHANGED. */
static inline const uint8_t *shrink_levels(const shrink_view *v, const shrink_plan *plan, uint64_t kernel)
{
    size_t pair = 2 * shrink_element_bytes(v->dtype);
    switch (plan->binary.scope) {
    case FPR_SCOPE_KERNEL: return plan->levels + kernel * pair;
    case FPR_SCOPE_FILTER: return plan->levels + kernel / v->shape->channels * pair;
    default: return plan->levels;
    }
}

/* ---- apply.c: which filters and channels are dead */

/* Several parts may find the same channel alive: each only ever sets the flag. */
typedef struct live_flag {
    _Atomic uint8_t set;
} live_flag;

static inline void shrink_set_live(live_flag *flag)
{
    if (!atomic_load_explicit(&flag->set, memory_order_relaxed))
        atomic_store_explicit(&flag->set, 1, memory_order_relaxed);
}

/* The indices whose flag is not set, in place of a list that is there; base_free. */
fpr_status shrink_list_dead(const live_flag *live, uint64_t count, uint64_t **list, uint64_t *length, fpr_error *error);

/* ---- cast.c */

double shrink_round(fpr_dtype dtype, double value); /* to the nearest number of dtype */

#endif
