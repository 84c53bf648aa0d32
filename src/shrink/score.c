/* How large kernels, filters and channels are: peaks as bit patterns at the speed of memory, norms in double. */
#include "shrink/inner.h"

#include <math.h>
#include <string.h>

double shrink_magnitude_value(fpr_dtype dtype, uint64_t magnitude)
{
    uint8_t bytes[8];
    double value;
    base_store_le64(bytes, magnitude);
    shrink_cast(dtype, bytes, FPR_F64, &value, 1);
    return value;
}

static uint64_t magnitude_of(fpr_dtype dtype, double value)
{
    uint8_t bytes[8] = {0};
    shrink_cast(FPR_F64, &value, dtype, bytes, 1);
    return base_load_le64(bytes) & (UINT64_MAX >> (65 - fpr_dtype_bits(dtype)));
}

uint64_t shrink_magnitude_limit(fpr_dtype dtype, double threshold)
{
    uint64_t low = 0, high = magnitude_of(dtype, INFINITY);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (shrink_magnitude_value(dtype, middle) < threshold)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t shrink_sparse_limit(fpr_dtype dtype, double max_abs, double eps)
{
    return max_abs > 0 ? shrink_magnitude_limit(dtype, eps * max_abs) : 1;
}

/* value(m) * scale < threshold exactly when m < limit. */
static uint64_t scaled_limit(fpr_dtype dtype, double threshold, double scale)
{
    uint64_t low = 0, high = magnitude_of(dtype, INFINITY);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (shrink_magnitude_value(dtype, middle) * scale < threshold)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The largest |w| of the layer, times its filter's scale. */
static double scaled_peak(const shrink_view *v)
{
    uint64_t magnitudes[MAGNITUDES];
    double peak = 0;
    for (uint64_t j = 0; j < v->shape->kernels; j += MAGNITUDES) {
        size_t n = v->shape->kernels - j < MAGNITUDES ? (size_t)(v->shape->kernels - j) : MAGNITUDES;
        shrink_magnitudes(v, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            double size = shrink_magnitude_value(v->dtype, shrink_size(magnitudes[i])) * v->scale[shrink_filter(v->shape, j + i)];
            peak = size > peak ? size : peak;
        }
    }
    return peak;
}

void shrink_scaled_limits(const shrink_view *v, double eps, uint64_t *limits)
{
    const double peak = scaled_peak(v);
    const uint64_t all = magnitude_of(v->dtype, INFINITY), filters = shrink_filter_count(v->shape);
    for (uint64_t o = 0; o < filters; o++)
        limits[o] = !(peak > 0) ? all : v->scale[o] > 0 ? scaled_limit(v->dtype, eps * peak, v->scale[o]) : eps > 0 ? all : 0;
}

fpr_status shrink_count_scaled(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, double max_abs,
                               const double *scale, double eps, fpr_scaled *count, fpr_error *error)
{
    const shrink_view view = {s, dtype, weights, scale};
    const uint64_t limit = shrink_sparse_limit(dtype, max_abs, eps);
    uint64_t magnitudes[MAGNITUDES], *limits = base_alloc(shrink_filter_count(s), sizeof *limits);
    *count = (fpr_scaled){0};
    if (!limits) return base_no_memory(error, shrink_filter_count(s) * sizeof *limits);
    shrink_scaled_limits(&view, eps, limits);
    for (uint64_t j = 0; j < s->kernels; j += MAGNITUDES) {
        size_t n = s->kernels - j < MAGNITUDES ? (size_t)(s->kernels - j) : MAGNITUDES;
        shrink_magnitudes(&view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            const uint64_t size = shrink_size(magnitudes[i]);
            const bool raw = size < limit, scaled = size < limits[shrink_filter(s, j + i)];
            count->sparse += scaled;
            count->revived += raw && !scaled;
            count->silenced += scaled && !raw;
        }
    }
    base_free(limits);
    return FPR_OK;
}

/* Loads that compilers can vectorise. */
#define LOAD(name, type, swap)                                                                                         \
    static inline type name(const uint8_t *p)                                                                          \
    {                                                                                                                  \
        type v;                                                                                                        \
        memcpy(&v, p, sizeof v);                                                                                       \
        return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : swap(v);                                                \
    }
LOAD(load16, uint16_t, __builtin_bswap16)
LOAD(load32, uint32_t, __builtin_bswap32)
LOAD(load64, uint64_t, __builtin_bswap64)

/* One set of functions for each width: the largest of k bit patterns without their sign, step bytes apart, marked where
 * it is 0 but a sign is not. Inlined with constant k and step, so that the common kernels are straight code. */
#define PEAK(name, type, load)                                                                                         \
    static inline uint64_t name(const uint8_t *p, size_t k, size_t step)                                               \
    {                                                                                                                  \
        type peak = 0, any = 0;                                                                                        \
        for (size_t i = 0; i < k; i++) {                                                                               \
            type v = load(p + i * step), size = (type)(v & (type) ~((type)1 << (8 * sizeof(type) - 1)));               \
            any |= v;                                                                                                  \
            peak = size > peak ? size : peak;                                                                          \
        }                                                                                                              \
        return (uint64_t)peak | SHRINK_MINUS_ZERO * ((any != 0) & (peak == 0));                                        \
    }                                                                                                                  \
    static void name##s(const uint8_t *p, size_t k, size_t count, uint64_t *out)                                       \
    {                                                                                                                  \
        const size_t step = sizeof(type);                                                                              \
        if (k == 1) {                                                                                                  \
            for (size_t j = 0; j < count; j++) out[j] = name(p + j * step, 1, step);                                   \
        } else if (k == 9) {                                                                                           \
            for (size_t j = 0; j < count; j++) out[j] = name(p + j * 9 * step, 9, step);                               \
        } else {                                                                                                       \
            for (size_t j = 0; j < count; j++) out[j] = name(p + j * k * step, k, step);                               \
        }                                                                                                              \
    }
PEAK(peak16, uint16_t, load16)
PEAK(peak32, uint32_t, load32)
PEAK(peak64, uint64_t, load64)

/* HWIO: the weights of a kernel lie one plane of channels x filters apart, and kernels of neighbouring filters side by
 * side. So channel by channel, across the filters: a line of the cache then serves several kernels while it is there.
 */
static void scattered_magnitudes(const shrink_view *v, uint64_t first, size_t count, uint64_t *magnitudes)
{
    const fpr_layer_shape *s = v->shape;
    size_t k = (size_t)s->k, bytes = shrink_element_bytes(v->dtype), step = (size_t)s->kernels * bytes;
    for (size_t i = 0; i < count && i < s->channels; i++)
        for (size_t j = i; j < count; j += (size_t)s->channels) {
            const uint8_t *p = v->weights + shrink_place(s, first + j, 0) * bytes;
            magnitudes[j] = bytes == 2 ? peak16(p, k, step) : bytes == 4 ? peak32(p, k, step) : peak64(p, k, step);
        }
}

void shrink_magnitudes(const shrink_view *v, uint64_t first, size_t count, uint64_t *magnitudes)
{
    size_t k = (size_t)v->shape->k, bytes = shrink_element_bytes(v->dtype);
    const uint8_t *p = v->weights + first * k * bytes;
    if (v->shape->layout == FPR_LAYOUT_HWIO)
        scattered_magnitudes(v, first, count, magnitudes);
    else if (bytes == 2)
        peak16s(p, k, count, magnitudes);
    else if (bytes == 4)
        peak32s(p, k, count, magnitudes);
    else
        peak64s(p, k, count, magnitudes);
}

double shrink_scale(double max_abs)
{
    int exponent;
    frexp(max_abs, &exponent);
    return ldexp(1, exponent > 1000 ? -1000 : exponent < -1000 ? 1000 : -exponent);
}

void shrink_piece(const shrink_view *v, uint64_t kernel, uint64_t from, size_t n, double *out)
{
    /* The same tensor as kernels of one weight, in the order of memory. */
    uint64_t elements = v->shape->kernels * v->shape->k;
    fpr_layer_shape flat = {.filters = elements,
                            .channels = 1,
                            .kernel_rank = v->shape->kernel_rank,
                            .kernel_shape = {1, 1, 1},
                            .k = 1,
                            .kernels = elements,
                            .layout = FPR_LAYOUT_OIHW};
    if (v->shape->layout != FPR_LAYOUT_HWIO) {
        conv_kernels(&flat, v->dtype, v->weights, kernel * v->shape->k + from, n, out);
        return;
    }
    for (size_t i = 0; i < n; i++)
        conv_kernels(&flat, v->dtype, v->weights, shrink_place(v->shape, kernel, from + i), 1, out + i);
}

/* ---------------------------------------------------------------- scores */

/* structure as shrink_unit gives it. */
static uint64_t unit_count(const fpr_layer_shape *s, fpr_structure structure)
{
    return structure == FPR_STRUCTURE_KERNEL   ? s->kernels
           : structure == FPR_STRUCTURE_FILTER ? s->filters
                                               : s->channels;
}

uint64_t shrink_unit_count(const fpr_layer_shape *s, fpr_structure structure)
{
    return unit_count(s, shrink_unit(s, structure));
}

static double larger(double peak, const double *w, size_t n)
{
    for (size_t i = 0; i < n; i++) peak = fabs(w[i]) > peak ? fabs(w[i]) : peak;
    return peak;
}

/* Adds n weights of one kernel to a score: the largest |w|, or |w| scale, the sum of |w| or the sum of (w scale)^2. */
static double gain(double score, fpr_criterion criterion, const double *w, size_t n, double scale)
{
    switch (criterion) {
    case FPR_CRITERION_BN:
        return fmax(score, scale * larger(0, w, n));
    case FPR_CRITERION_PEAK: return larger(score, w, n);
    case FPR_CRITERION_L1:
        for (size_t i = 0; i < n; i++) score += fabs(w[i]);
        return score;
    default:
        for (size_t i = 0; i < n; i++) score += w[i] * scale * (w[i] * scale);
        return score;
    }
}

typedef struct score_run {
    const shrink_view *view;
    fpr_structure structure;
    fpr_criterion criterion;
    uint64_t part; /* kernels of one task */
    double scale;
    double *scores;
} score_run;

/* Adds count kernels from `first` to the scores of their units, in index order. */
static void score_kernels(const score_run *run, uint64_t first, uint64_t count)
{
    double tile[TILE_WEIGHTS];
    const fpr_layer_shape *s = run->view->shape;
    size_t k = (size_t)s->k;
    uint64_t step = shrink_tile_kernels(s), loaded = first;
    for (uint64_t j = first; j < first + count; j++) {
        uint64_t unit = run->structure == FPR_STRUCTURE_KERNEL   ? j
                        : run->structure == FPR_STRUCTURE_FILTER ? j / s->channels
                                                                 : j % s->channels;
        double *score = &run->scores[unit];
        const bool scaled = run->criterion == FPR_CRITERION_BN && run->view->scale;
        const double scale = scaled ? run->view->scale[shrink_filter(s, j)] : run->scale;
        for (size_t i = 0; !step && i < k; i += TILE_WEIGHTS) {
            size_t n = k - i < TILE_WEIGHTS ? k - i : TILE_WEIGHTS;
            shrink_piece(run->view, j, i, n, tile);
            *score = gain(*score, run->criterion, tile, n, scale);
        }
        if (!step) continue;
        if ((j - first) % step == 0) {
            uint64_t left = first + count - j;
            conv_kernels(s, run->view->dtype, run->view->weights, j, (size_t)(left < step ? left : step), tile);
            loaded = j;
        }
        *score = gain(*score, run->criterion, tile + (j - loaded) * k, k, scale);
    }
}

static void score_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    if (base_cancelled()) return;
    const score_run *run = context;
    uint64_t first = index * run->part, left = run->view->shape->kernels - first;
    score_kernels(run, first, left < run->part ? left : run->part);
}

static double layer_peak(const shrink_view *v)
{
    uint64_t magnitudes[MAGNITUDES], peak = 0;
    for (uint64_t j = 0; j < v->shape->kernels; j += MAGNITUDES) {
        size_t n = v->shape->kernels - j < MAGNITUDES ? (size_t)(v->shape->kernels - j) : MAGNITUDES;
        shrink_magnitudes(v, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            const uint64_t size = shrink_size(magnitudes[i]);
            peak = size > peak ? size : peak;
        }
    }
    return shrink_magnitude_value(v->dtype, peak);
}

/* A task owns whole units, so that each sum runs in index order whatever the number of threads; channels run across all
 * kernels, one task does them. */
void shrink_scores_threaded(const shrink_view *v, fpr_structure structure, fpr_criterion criterion, unsigned threads,
                            double *scores)
{
    const fpr_layer_shape *s = v->shape;
    uint64_t units = unit_count(s, structure), part = shrink_part_kernels(s);
    memset(scores, 0, units * sizeof *scores);
    if (!s->kernels) return;
    /* Squares of huge or tiny F64 weights leave the range: they are taken relative to a power of two near the largest.
     */
    double max_abs = 0, scale = 1;
    const bool peak = criterion == FPR_CRITERION_PEAK || criterion == FPR_CRITERION_BN;
    if (criterion == FPR_CRITERION_BN && v->scale) max_abs = scaled_peak(v);
    else if (peak || v->dtype == FPR_F64) max_abs = layer_peak(v);
    if (criterion == FPR_CRITERION_L2 && v->dtype == FPR_F64) scale = shrink_scale(max_abs);
    if (structure == FPR_STRUCTURE_CHANNEL)
        part = s->kernels;
    else if (structure == FPR_STRUCTURE_FILTER)
        part = shrink_at_least_one(part / s->channels) * s->channels;
    score_run run = {v, structure, criterion, part, scale, scores};
    base_parallel(threads, (size_t)((s->kernels + part - 1) / part), score_task, &run);
    for (uint64_t i = 0; i < units; i++) {
        if (peak) scores[i] = max_abs > 0 ? scores[i] / max_abs : 0;
        if (criterion == FPR_CRITERION_L2) scores[i] = sqrt(scores[i]) / scale;
    }
}

void shrink_scores(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, fpr_structure structure,
                   fpr_criterion criterion, const double *scale, double *scores)
{
    shrink_view view = {s, dtype, weights, scale};
    shrink_scores_threaded(&view, shrink_unit(s, structure), criterion, 1, scores);
}
