/* Layers that tests of src/shrink make up: numbers that repeat, weights of any dtype and layout. */
#ifndef SHRINK_LAYERS_H
#define SHRINK_LAYERS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shrink/shrink.h"

/* splitmix64, Steele, Lea and Flood 2014 */
/* A layer that may be pruned, by the options alone. */
#define BY_AMOUNT(options) &(shrink_budget){(options)->amount, SHRINK_BY_AMOUNT}

static inline uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline double random_unit(uint64_t *state) { return (double)(random_bits(state) >> 11) * 0x1p-53; }

/* Nearly Gaussian: the sum of twelve uniform numbers. */
static inline double random_gauss(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += random_unit(state);
    return sum;
}

static inline fpr_layer_shape make_shape(uint64_t filters, uint64_t channels, uint64_t height, uint64_t width)
{
    return (fpr_layer_shape){.filters = filters,
                             .channels = channels,
                             .kernel_rank = 2,
                             .kernel_shape = {height, width},
                             .k = height * width,
                             .kernels = filters * channels,
                             .layout = FPR_LAYOUT_OIHW};
}

static inline size_t weights_of(const fpr_layer_shape *s) { return (size_t)(s->kernels * s->k); }
static inline size_t bytes_of(const fpr_layer_shape *s, fpr_dtype dtype)
{
    return weights_of(s) * fpr_dtype_bits(dtype) / 8;
}

/* Weights given OIHW as doubles, stored in dtype and the layout of the shape; base_free. */
static inline void *store_weights(const fpr_layer_shape *s, fpr_dtype dtype, const double *oihw)
{
    size_t n = weights_of(s), bytes = fpr_dtype_bits(dtype) / 8;
    uint8_t *out = base_alloc_aligned(n, bytes);
    assert_non_null(out);
    for (uint64_t kernel = 0; kernel < s->kernels; kernel++)
        for (uint64_t i = 0; i < s->k; i++) {
            uint64_t at = kernel * s->k + i;
            if (s->layout == FPR_LAYOUT_HWIO)
                at = (i * s->channels + kernel % s->channels) * s->filters + kernel / s->channels;
            shrink_cast(FPR_F64, &oihw[kernel * s->k + i], dtype, out + at * bytes, 1);
        }
    return out;
}

/* The way back. */
static inline void load_weights(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, double *oihw)
{
    size_t bytes = fpr_dtype_bits(dtype) / 8;
    for (uint64_t kernel = 0; kernel < s->kernels; kernel++)
        for (uint64_t i = 0; i < s->k; i++) {
            uint64_t at = kernel * s->k + i;
            if (s->layout == FPR_LAYOUT_HWIO)
                at = (i * s->channels + kernel % s->channels) * s->filters + kernel / s->channels;
            shrink_cast(dtype, (const uint8_t *)weights + at * bytes, FPR_F64, &oihw[kernel * s->k + i], 1);
        }
}

static inline double largest_of(const double *w, size_t n)
{
    double peak = 0;
    for (size_t i = 0; i < n; i++) peak = fmax(peak, fabs(w[i]));
    return peak;
}

static inline fpr_options make_options(void)
{
    return (fpr_options){.sizeof_options = sizeof(fpr_options),
                         .eps = 0.01,
                         .prune = true,
                         .amount = -1,
                         .binary = true,
                         .binary_tol = 0.01,
                         .binary_share = 0.9,
                         .threads = 1};
}

static inline shrink_known known_max(double max_abs) { return (shrink_known){.max_abs = max_abs}; }

/* One layer, planned. */
typedef struct planned {
    fpr_layer_shape shape;
    fpr_dtype dtype;
    void *weights;
    double max_abs;
    shrink_plan plan;
} planned;

static inline planned plan_weights(fpr_layer_shape shape, fpr_dtype dtype, const double *oihw,
                                   const fpr_options *options)
{
    planned p = {.shape = shape, .dtype = dtype, .weights = store_weights(&shape, dtype, oihw)};
    double *stored = base_alloc(weights_of(&shape), sizeof *stored);
    load_weights(&shape, dtype, p.weights, stored);
    p.max_abs = largest_of(stored, weights_of(&shape));
    base_free(stored);
    assert_int_equal(shrink_plan_layer(&p.shape, dtype, p.weights, known_max(p.max_abs), options, BY_AMOUNT(options), 2, &p.plan, NULL),
                     FPR_OK);
    return p;
}

static inline void planned_free(planned *p)
{
    shrink_plan_free(&p->plan);
    base_free(p->weights);
}

static inline void outcome_free(shrink_outcome *outcome)
{
    base_free(outcome->dead_filters);
    base_free(outcome->dead_channels);
}

#endif
