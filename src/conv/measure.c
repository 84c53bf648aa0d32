/* First sweep: what one layer says of itself, and the moments of its kernels.
 *
 * Three steps over a batch of blocks, each spread over the threads in parts of fixed size:
 *   peaks    the largest |w| of each layer, and whether all weights are finite
 *   kernels  kernels sorted into live, sparse and zero; moments of each, scaled and raw; dead filters and channels
 *   rows     orthogonality (orthogonality.c)
 * Results of parts are merged in the order of the parts. */
#include "conv/tile.h"
#include "conv/orthogonality.h"

#include <math.h>

#define PEAK_PART 65536u         /* weights whose peak one task finds */
#define POINTS_PART 65536u       /* kernels of one weight that one task looks at */
#define WAVE_BYTES (4u << 20)    /* memory for results of parts that wait to be merged */
#define NOT_FINITE (UINT64_C(1) << 63)

/* Moments of one part, or of one layer so far. Zero kernels are only counted: a point at the origin. */
typedef struct sums {
    fpr_moments scaled_live, scaled_sparse, raw_live, raw_sparse;
    uint64_t live_signed;
    uint64_t zeros, sparse; /* zeros: sparse kernels of nothing but zeros; sparse includes them */
    double sparse_peak;     /* of the sparse kernels, times the layer's unit */
} sums;

typedef struct measuring {
    const conv_block *blocks;
    size_t count;
    const conv_settings *settings;
    const num_kernels *kernels;
    conv_measure *results;
    /* peaks */
    uint64_t *peak_parts, *peaks;
    int64_t *tops;              /* largest bit pattern of each part as a signed number: below 0 where no weight is positive */
    double *positive;           /* [count] largest weight of each block, 0 where none is positive */
    /* kernels */
    uint64_t *parts, wave_first;
    unsigned k_max;
    sums *slots, *layers;       /* of the parts of a wave; of the layers that have parts in it */
    double *slots_memory, *layers_memory;
    size_t wave_size, wave_block; /* parts in a wave; first block with a part in this wave */
    uint64_t wave_count;
    uint8_t *alive;             /* per block: majors, then minors, that have a live kernel */
    uint64_t *alive_first;
    double *scratch;            /* per worker */
    size_t scratch_count;
    bool failed;                /* an eigenvalue problem */
} measuring;

/* ---------------------------------------------------------------- peaks */

static double bits_value(fpr_dtype dtype, uint64_t bits)
{
    uint32_t narrow = (uint32_t)bits;
    float f;
    double d;
    switch (dtype) {
    case FPR_F64: memcpy(&d, &bits, sizeof d); return d;
    case FPR_BF16: narrow <<= 16; break;
    case FPR_F16:
        num_kernels_best()->load_f16(&d, &(uint16_t){(uint16_t)bits}, 1, 1);
        return d;
    default: break;
    }
    memcpy(&f, &narrow, sizeof f);
    return f;
}

static uint64_t infinity_bits(fpr_dtype dtype)
{
    return dtype == FPR_F64    ? UINT64_C(0x7ff) << 52
           : dtype == FPR_F32  ? 0x7f800000u
           : dtype == FPR_BF16 ? 0x7f80u
                               : 0x7c00u;
}

/* Bit pattern without sign of one weight. */
static uint64_t magnitude_bits(fpr_dtype dtype, const void *weights, uint64_t i)
{
    switch (dtype) {
    case FPR_F64: return ((const uint64_t *)weights)[i] & INT64_MAX;
    case FPR_F32: return ((const uint32_t *)weights)[i] & INT32_MAX;
    default: return ((const uint16_t *)weights)[i] & INT16_MAX;
    }
}

static uint64_t peak_bits(const num_kernels *kernels, fpr_dtype dtype, const void *weights, uint64_t first, size_t n)
{
    uint64_t peak;
    switch (dtype) {
    case FPR_F64: peak = kernels->peak64((const uint64_t *)weights + first, n); break;
    case FPR_F32: peak = kernels->peak32((const uint32_t *)weights + first, n); break;
    default: peak = kernels->peak16((const uint16_t *)weights + first, n); break;
    }
    const uint64_t infinity = infinity_bits(dtype);
    if (peak < infinity) return peak;
    peak = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = magnitude_bits(dtype, weights, first + i);
        if (bits < infinity && bits > peak) peak = bits;
    }
    return peak | NOT_FINITE;
}

/* The largest weight: bit patterns of positive numbers rise with them, those of negative numbers are below 0. */
static int64_t top_bits(const num_kernels *kernels, fpr_dtype dtype, const void *weights, uint64_t first, size_t n)
{
    switch (dtype) {
    case FPR_F64: return kernels->top64((const uint64_t *)weights + first, n);
    case FPR_F32: return kernels->top32((const uint32_t *)weights + first, n);
    default: return kernels->top16((const uint16_t *)weights + first, n);
    }
}

static uint64_t peak_part_count(const conv_block *block)
{
    return (block->shape->kernels * block->shape->k + PEAK_PART - 1) / PEAK_PART;
}

static void peak_task(void *context, size_t index, unsigned worker)
{
    measuring *m = context;
    (void)worker;
    m->peaks[index] = 0;
    if (base_cancelled()) return;
    const size_t b = conv_part_block(m->peak_parts, m->count, index);
    const conv_block *block = &m->blocks[b];
    const uint64_t first = (index - m->peak_parts[b]) * PEAK_PART, all = block->shape->kernels * block->shape->k;
    const size_t n = all - first < PEAK_PART ? (size_t)(all - first) : PEAK_PART;
    m->peaks[index] = peak_bits(m->kernels, block->dtype, block->weights, first, n);
    m->tops[index] = m->settings->moments_only ? INT64_MIN : top_bits(m->kernels, block->dtype, block->weights, first, n);
}

static fpr_status find_peaks(measuring *m, fpr_error *error)
{
    m->peak_parts = conv_parts(m->blocks, m->count, peak_part_count);
    if (!m->peak_parts) return base_no_memory(error, m->count * sizeof *m->peak_parts);
    const uint64_t parts = m->peak_parts[m->count];
    m->peaks = base_alloc(parts, sizeof *m->peaks);
    m->tops = base_alloc(parts, sizeof *m->tops);
    m->positive = base_calloc(m->count, sizeof *m->positive);
    if (!m->peaks || !m->tops || !m->positive) return base_no_memory(error, parts * 2 * sizeof *m->peaks);
    base_parallel(m->settings->threads, (size_t)parts, peak_task, m);
    if (base_cancelled()) return base_check_cancelled(error);
    for (size_t b = 0; b < m->count; b++) {
        conv_measure *r = &m->results[b];
        uint64_t peak = 0, flags = 0;
        int64_t top = INT64_MIN;
        for (uint64_t p = m->peak_parts[b]; p < m->peak_parts[b + 1]; p++) {
            flags |= m->peaks[p] & NOT_FINITE;
            if ((m->peaks[p] & ~NOT_FINITE) > peak) peak = m->peaks[p] & ~NOT_FINITE;
            if (m->tops[p] > top) top = m->tops[p];
        }
        r->finite = !flags;
        r->max_abs = bits_value(m->blocks[b].dtype, peak);
        m->positive[b] = top > 0 ? bits_value(m->blocks[b].dtype, (uint64_t)top) : 0;
        if (m->settings->half) m->kernels->half(&m->positive[b], 1);
        if (m->settings->half) { /* rounding keeps the order, so the peak of the rounded is the rounded peak */
            m->kernels->half(&r->max_abs, 1);
            if (isinf(r->max_abs)) r->finite = false;
        }
    }
    return FPR_OK;
}

/* ---------------------------------------------------------------- kernels */

static bool is_point(const conv_block *block) { return block->shape->k == 1; }

static uint64_t kernel_part_count(const conv_block *block)
{
    const uint64_t size = is_point(block) ? POINTS_PART : conv_part_kernels(block->shape->k);
    return (block->shape->kernels + size - 1) / size;
}

/* Flags are only ever set, so that several parts may set the same one. */
static void mark(uint8_t *flag)
{
    if (!__atomic_load_n(flag, __ATOMIC_RELAXED)) __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

static void sums_over(sums *s, unsigned k, double *memory)
{
    const size_t one = NUM_MOMENTS_DOUBLES(k);
    num_moments_over(&s->scaled_live, k, memory);
    num_moments_over(&s->scaled_sparse, k, memory + one);
    num_moments_over(&s->raw_live, k, memory + 2 * one);
    num_moments_over(&s->raw_sparse, k, memory + 3 * one);
    s->zeros = s->sparse = s->live_signed = 0;
    s->sparse_peak = 0;
}

static void sums_merge(sums *into, const sums *from)
{
    fpr_moments_merge(&into->scaled_live, &from->scaled_live);
    fpr_moments_merge(&into->scaled_sparse, &from->scaled_sparse);
    fpr_moments_merge(&into->raw_live, &from->raw_live);
    fpr_moments_merge(&into->raw_sparse, &from->raw_sparse);
    into->zeros += from->zeros;
    into->sparse += from->sparse;
    into->live_signed += from->live_signed;
    into->sparse_peak = fmax(into->sparse_peak, from->sparse_peak);
}

/* Power of two that brings the layer's largest weight near 1: raw second moments stay in range whatever the scale. */
static double layer_unit(const measuring *m, double max_abs)
{
    if (m->settings->half || !(max_abs > 0)) return 1;
    int exponent;
    frexp(max_abs, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : -exponent);
}

/* Kernels of one kind, gathered until they fill a tile. */
typedef struct gathered { double *raw, *scaled; size_t n; fpr_moments *raw_moments, *scaled_moments; } gathered;

static void flush(const num_kernels *kernels, gathered *g, size_t stride, double *scratch)
{
    num_moments_add_tile(g->raw_moments, kernels, g->raw, stride, g->n, scratch);
    num_moments_add_tile(g->scaled_moments, kernels, g->scaled, stride, g->n, scratch);
    g->n = 0;
}

static void gather(const num_kernels *kernels, gathered *g, const double *raw, const double *scaled,
                   const uint32_t *index, size_t n, size_t width, size_t stride, unsigned k, double *scratch)
{
    while (n) {
        const size_t take = n < width - g->n ? n : width - g->n;
        kernels->tile_pick(g->raw + g->n, raw, stride, index, take, k);
        kernels->tile_pick(g->scaled + g->n, scaled, stride, index, take, k);
        g->n += take;
        index += take;
        n -= take;
        if (g->n == width) flush(kernels, g, stride, scratch);
    }
}

typedef struct flags { uint8_t *major, *minor; uint64_t minors; } flags;

static void mark_all(const flags *f, uint64_t at, size_t n)
{
    const uint64_t last = at + n - 1;
    for (uint64_t i = at / f->minors; i <= last / f->minors; i++) mark(&f->major[i]);
    for (uint64_t i = 0, minor = at % f->minors; i < n && i < f->minors; i++) {
        mark(&f->minor[minor]);
        if (++minor == f->minors) minor = 0;
    }
}

/* One tile whose raw kernels are in raw: sorts, adds to moments. */
typedef struct sorter {
    const num_kernels *kernels;
    unsigned k;
    size_t width, stride;
    double limit; /* kernels whose peak is below are sparse */
    bool all_sparse;
    bool floats; /* the weights are */
    double *raw, *scaled, *peak, *scratch;
    conv_farthest *farthest;
    gathered live, sparse;
    sums *sums;
    flags flags;
} sorter;

/* Lists of the live kernels of a tile and of the sparse ones that are not zero. No branches: they come in no order. */
typedef struct sorted { uint32_t live[256], sparse[256]; size_t live_count, sparse_count; } sorted;

static void sort_peaks(sorter *s, size_t n, sorted *to)
{
    size_t live = 0, sparse = 0, zeros = 0;
    double sparse_peak = s->sums->sparse_peak;
    for (size_t i = 0; i < n; i++) {
        const bool is_sparse = s->peak[i] < s->limit || s->all_sparse, is_zero = s->peak[i] == 0;
        to->live[live] = to->sparse[sparse] = (uint32_t)i;
        sparse_peak = is_sparse && s->peak[i] > sparse_peak ? s->peak[i] : sparse_peak;
        zeros += is_sparse && is_zero;
        live += !is_sparse;
        sparse += is_sparse && !is_zero;
    }
    to->live_count = live;
    to->sparse_count = sparse;
    s->sums->sparse += n - live;
    s->sums->zeros += zeros;
    s->sums->sparse_peak = sparse_peak;
}

static bool all_live(const sorter *s, size_t n)
{
    double peaks[2] = {INFINITY, 0};
    s->kernels->range(peaks, s->peak, n);
    return peaks[0] >= s->limit && !s->all_sparse;
}

static void sort_tile(sorter *s, uint64_t at, size_t n, bool moments)
{
    sorted by;
    const bool all = all_live(s, n);
    if (all) {
        mark_all(&s->flags, at, n);
    } else {
        sort_peaks(s, n, &by);
        for (size_t i = 0; i < by.live_count; i++) {
            mark(&s->flags.major[(at + by.live[i]) / s->flags.minors]);
            mark(&s->flags.minor[(at + by.live[i]) % s->flags.minors]);
        }
    }
    if (!moments) return;
    (s->floats ? s->kernels->tile_divide_floats : s->kernels->tile_divide)(s->scaled, s->raw, s->peak, s->stride, n, s->k);
    if (s->farthest) {
        s->kernels->tile_squares(s->peak, s->scaled, s->stride, n, s->k);
        conv_farthest_add_tile(s->farthest, s->scaled, s->stride, s->peak, n);
    }
    if (all) {
        num_moments_add_tile(s->live.raw_moments, s->kernels, s->raw, s->stride, n, s->scratch);
        num_moments_add_tile(s->live.scaled_moments, s->kernels, s->scaled, s->stride, n, s->scratch);
        return;
    }
    gather(s->kernels, &s->live, s->raw, s->scaled, by.live, by.live_count, s->width, s->stride, s->k, s->scratch);
    gather(s->kernels, &s->sparse, s->raw, s->scaled, by.sparse, by.sparse_count, s->width, s->stride, s->k, s->scratch);
}

/* Doubles of scratch for kernels of k weights: six tiles, one row of peaks, one set of moments. */
static size_t sorter_scratch(uint64_t k)
{
    return (6 * (size_t)k + 1) * conv_tile_stride(k) + NUM_MOMENTS_DOUBLES(k);
}

static void sort_part(measuring *m, size_t b, uint64_t first, uint64_t last, sums *result, double *scratch)
{
    const conv_block *block = &m->blocks[b];
    const fpr_layer_shape *shape = block->shape;
    const unsigned k = (unsigned)shape->k;
    const size_t stride = conv_tile_stride(k), tile = k * stride;
    const double max_abs = m->results[b].max_abs, unit = layer_unit(m, max_abs);
    uint8_t *alive = m->alive + m->alive_first[b];
    sorter s = {
        .kernels = m->kernels, .k = k, .width = conv_tile_width(k), .stride = stride,
        .limit = m->settings->eps * max_abs * unit, .all_sparse = max_abs == 0,
        .floats = block->dtype != FPR_F64,
        .raw = scratch, .scaled = scratch + tile, .peak = scratch + 6 * tile, .scratch = scratch + 6 * tile + stride,
        .farthest = m->results[b].farthest,
        .live = {scratch + 2 * tile, scratch + 3 * tile, 0, &result->raw_live, &result->scaled_live},
        .sparse = {scratch + 4 * tile, scratch + 5 * tile, 0, &result->raw_sparse, &result->scaled_sparse},
        .sums = result,
        .flags = {alive, alive + conv_major_count(shape), conv_minor_count(shape)},
    };
    const bool moments = conv_has_basis(shape);
    for (uint64_t at = first; at < last; at += s.width) {
        const size_t n = last - at < s.width ? (size_t)(last - at) : s.width;
        conv_tile(m->kernels, shape, block->dtype, block->weights, at, n, m->settings->half, unit, s.raw, stride);
        m->kernels->tile_peak(s.peak, s.raw, stride, n, k);
        if (m->positive[b] > 0)
            result->live_signed += m->kernels->tile_above(s.raw, stride, n, k, m->settings->eps * m->positive[b] * unit);
        sort_tile(&s, at, n, moments);
    }
    if (!moments) return;
    flush(m->kernels, &s.live, stride, s.scratch);
    flush(m->kernels, &s.sparse, stride, s.scratch);
}

/* Kernels too large for a tile: only how many are sparse. */
static void sort_large(measuring *m, size_t b, uint64_t first, uint64_t last, sums *result)
{
    const conv_block *block = &m->blocks[b];
    const fpr_layer_shape *s = block->shape;
    const double max_abs = m->results[b].max_abs, limit = m->settings->eps * max_abs;
    const uint64_t minors = conv_minor_count(s);
    uint8_t *major = m->alive + m->alive_first[b], *minor = major + conv_major_count(s);
    for (uint64_t at = first; at < last; at++) {
        const double peak = conv_kernel_peak(m->kernels, s, block->dtype, block->weights, at, m->settings->half);
        if (peak < limit || max_abs == 0) {
            result->sparse++;
        } else {
            mark(&major[at / minors]);
            mark(&minor[at % minors]);
        }
    }
}

/* The smallest bit pattern whose value is not below limit. */
static uint64_t limit_bits(fpr_dtype dtype, double limit)
{
    uint64_t low = 0, high = infinity_bits(dtype); /* low: not known to be enough; high: enough */
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (bits_value(dtype, middle) >= limit)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Kernels of one weight: comparisons of bit patterns, row by row of the memory order. */
static void sort_points(measuring *m, size_t b, uint64_t first, uint64_t last, sums *result, uint8_t *seen)
{
    const conv_block *block = &m->blocks[b];
    const fpr_layer_shape *s = block->shape;
    const uint64_t minors = conv_minor_count(s);
    uint8_t *major = m->alive + m->alive_first[b], *minor = major + conv_major_count(s);
    if (m->results[b].max_abs == 0) {
        result->sparse = last - first;
        return;
    }
    const uint64_t limit = limit_bits(block->dtype, m->settings->eps * m->results[b].max_abs);
    memset(seen, 0, (size_t)minors);
    for (uint64_t at = first; at < last;) {
        const uint64_t row = at / minors, offset = at % minors;
        const size_t n = (size_t)(minors - offset < last - at ? minors - offset : last - at);
        const void *w = (const uint8_t *)block->weights + at * conv_weight_bytes(block->dtype);
        uint64_t below;
        switch (block->dtype) {
        case FPR_F64: below = m->kernels->below64(w, n, limit, seen + offset); break;
        case FPR_F32: below = m->kernels->below32(w, n, limit, seen + offset); break;
        default: below = m->kernels->below16(w, n, limit, seen + offset); break;
        }
        if (below < n) mark(&major[row]);
        result->sparse += below;
        at += n;
    }
    for (uint64_t i = 0; i < minors; i++)
        if (seen[i]) mark(&minor[i]);
}

static void kernels_task(void *context, size_t index, unsigned worker)
{
    measuring *m = context;
    const uint64_t part = m->wave_first + index;
    const size_t b = conv_part_block(m->parts, m->count, part);
    const conv_block *block = &m->blocks[b];
    const uint64_t k = block->shape->k;
    const uint64_t size = is_point(block) ? POINTS_PART : conv_part_kernels(k);
    const uint64_t first = (part - m->parts[b]) * size;
    const uint64_t last = block->shape->kernels - first < size ? block->shape->kernels : first + size;
    double *scratch = m->scratch + worker * m->scratch_count;
    sums *slot = &m->slots[index];
    const unsigned moments_k = conv_has_basis(block->shape) ? (unsigned)k : 0;
    sums_over(slot, moments_k, m->slots_memory + index * 4 * NUM_MOMENTS_DOUBLES(m->k_max));
    if (!m->results[b].finite || base_cancelled()) return;
    if (is_point(block) && !m->settings->half)
        sort_points(m, b, first, last, slot, (uint8_t *)scratch);
    else if (k <= CONV_K_MAX)
        sort_part(m, b, first, last, slot, scratch);
    else
        sort_large(m, b, first, last, slot);
}

/* ---------------------------------------------------------------- layers */

/* Sum of the squares of all elements of the vectors. */
static double sum_of_squares(const fpr_moments *m)
{
    double sum = 0;
    for (unsigned i = 0; i < m->k; i++)
        sum += m->scatter[(size_t)i * m->k + i] + (double)m->count * m->mean[i] * m->mean[i];
    return sum;
}

static fpr_status finish_layer(const measuring *m, size_t b, sums *layer, double *scratch)
{
    const fpr_layer_shape *s = m->blocks[b].shape;
    conv_measure *r = &m->results[b];
    const uint8_t *major = m->alive + m->alive_first[b], *minor = major + conv_major_count(s);
    uint64_t dead_major = 0, dead_minor = 0;
    if (!r->finite) return FPR_OK;
    for (uint64_t i = 0; i < conv_major_count(s); i++) dead_major += !major[i];
    for (uint64_t i = 0; i < conv_minor_count(s); i++) dead_minor += !minor[i];
    r->dead_filters = s->layout == FPR_LAYOUT_HWIO ? dead_minor : dead_major;
    r->dead_channels = s->layout == FPR_LAYOUT_HWIO ? dead_major : dead_minor;
    r->sparse = layer->sparse;
    if (!conv_has_basis(s)) return FPR_OK;
    r->live_signed = layer->live_signed;

    sums *l = layer;
    const double of_sparse = sum_of_squares(&l->raw_sparse), of_all = of_sparse + sum_of_squares(&l->raw_live);
    r->sparse_relative_l2 = of_all > 0 ? sqrt(of_sparse / of_all) : 0;
    r->rms = sqrt(of_all / ((double)s->kernels * (double)s->k)) / layer_unit(m, r->max_abs);
    r->sparse_max_abs = l->sparse_peak / layer_unit(m, r->max_abs);
    num_moments_add_zeros(&l->scaled_sparse, l->zeros);
    num_moments_add_zeros(&l->raw_sparse, l->zeros);
    fpr_moments_merge(&r->live, &l->scaled_live);
    fpr_moments_merge(&r->all, &l->scaled_live);
    fpr_moments_merge(&r->all, &l->scaled_sparse);

    if (m->settings->moments_only) return FPR_OK;
    const unsigned k = (unsigned)s->k;
    double *ratio = scratch, *values = ratio + k, *work = values + k;
    fpr_status status = num_principal(&l->raw_live, values, ratio, NULL, work, NULL);
    if (status) return status;
    r->variance_entropy_clean = num_entropy(ratio, k);
    if (l->raw_sparse.count) {
        fpr_moments_merge(&l->raw_live, &l->raw_sparse);
        status = num_principal(&l->raw_live, values, ratio, NULL, work, NULL);
        if (status) return status;
    }
    r->variance_entropy = num_entropy(ratio, k);
    if (r->explained_variance_ratio) memcpy(r->explained_variance_ratio, ratio, k * sizeof *ratio);
    return FPR_OK;
}

/* Merges the parts of one layer that are in this wave, and ends the layer with its last part. */
static void layers_task(void *context, size_t index, unsigned worker)
{
    measuring *m = context;
    const size_t b = m->wave_block + index;
    sums *layer = &m->layers[index];
    const unsigned k = conv_has_basis(m->blocks[b].shape) ? (unsigned)m->blocks[b].shape->k : 0;
    if (m->parts[b] >= m->wave_first) /* begins here; else the wave before left its sums in layers[0] */
        sums_over(layer, k, m->layers_memory + index * 4 * NUM_MOMENTS_DOUBLES(m->k_max));
    const uint64_t end = m->wave_first + m->wave_count;
    for (uint64_t p = m->parts[b]; p < m->parts[b + 1] && p < end; p++)
        if (p >= m->wave_first) sums_merge(layer, &m->slots[p - m->wave_first]);
    if (m->parts[b + 1] > end) return;
    if (finish_layer(m, b, layer, m->scratch + worker * m->scratch_count))
        __atomic_store_n(&m->failed, true, __ATOMIC_RELAXED);
}

static void sums_copy(sums *to, double *memory, const sums *from, unsigned k)
{
    sums_over(to, k, memory);
    sums_merge(to, from);
}

static fpr_status sort_kernels(measuring *m, fpr_error *error)
{
    const size_t set = 4 * NUM_MOMENTS_DOUBLES(m->k_max), slot_bytes = set * sizeof(double) + sizeof(sums);
    const uint64_t parts = m->parts[m->count];
    m->wave_size = WAVE_BYTES / slot_bytes < 16 ? 16 : WAVE_BYTES / slot_bytes;
    if (m->wave_size > parts) m->wave_size = (size_t)parts;
    m->slots = base_alloc(m->wave_size, sizeof *m->slots);
    m->layers = base_alloc(m->wave_size, sizeof *m->layers);
    m->slots_memory = base_alloc_aligned(m->wave_size, set * sizeof(double));
    m->layers_memory = base_alloc_aligned(m->wave_size, set * sizeof(double));
    if (!m->slots || !m->layers || !m->slots_memory || !m->layers_memory)
        return base_no_memory(error, 2 * m->wave_size * slot_bytes);
    for (m->wave_first = 0; m->wave_first < parts; m->wave_first += m->wave_count) {
        const uint64_t left = parts - m->wave_first;
        m->wave_count = left < m->wave_size ? left : m->wave_size;
        base_parallel(m->settings->threads, (size_t)m->wave_count, kernels_task, m);
        if (base_cancelled()) return base_check_cancelled(error);
        const size_t first = conv_part_block(m->parts, m->count, m->wave_first);
        const size_t last = conv_part_block(m->parts, m->count, m->wave_first + m->wave_count - 1);
        m->wave_block = first;
        base_parallel(m->settings->threads, last - first + 1, layers_task, m);
        if (last > first && m->parts[last + 1] > m->wave_first + m->wave_count) {
            const unsigned k = m->layers[last - first].raw_live.k;
            sums_copy(&m->layers[0], m->layers_memory, &m->layers[last - first], k);
        }
    }
    return m->failed ? base_fail(error, FPR_USAGE, "an eigenvalue problem did not converge") : FPR_OK;
}

/* ---------------------------------------------------------------- the sweep */

double conv_random_entropy(double n)
{
    return 1.2618047 / (1 + exp(-0.88767525 * (log2(n) - 2.30436435))) - 0.31050834;
}

static fpr_status prepare(measuring *m, fpr_error *error)
{
    uint64_t alive = 0;
    m->alive_first = base_alloc((uint64_t)m->count + 1, sizeof *m->alive_first);
    m->parts = conv_parts(m->blocks, m->count, kernel_part_count);
    if (!m->alive_first || !m->parts) return base_no_memory(error, 2 * m->count * sizeof *m->parts);
    m->scratch_count = 1;
    for (size_t b = 0; b < m->count; b++) {
        const fpr_layer_shape *s = m->blocks[b].shape;
        conv_measure *r = &m->results[b];
        double *ratio = r->explained_variance_ratio;
        r->variance_entropy = r->variance_entropy_clean = r->orthogonality = NAN;
        r->sparse_max_abs = r->sparse_relative_l2 = r->rms = NAN;
        m->alive_first[b] = alive;
        alive += s->filters + s->channels;
        size_t scratch = s->k <= CONV_K_MAX ? sorter_scratch(s->k) : 0;
        const size_t points = s->k == 1 ? (size_t)(conv_minor_count(s) / sizeof(double) + 1) : 0;
        if (points > scratch) scratch = points;
        if (conv_has_basis(s)) {
            const unsigned k = (unsigned)s->k;
            if (fpr_moments_init(&r->all, k) || fpr_moments_init(&r->live, k))
                return base_no_memory(error, NUM_MOMENTS_DOUBLES(k) * sizeof(double));
            if (ratio) memset(ratio, 0, k * sizeof *ratio);
            if (k > m->k_max) m->k_max = k;
            if (NUM_EIGEN_SCRATCH(k) + 2 * k > scratch) scratch = NUM_EIGEN_SCRATCH(k) + 2 * k;
        }
        if (scratch > m->scratch_count) m->scratch_count = scratch;
    }
    m->alive_first[m->count] = alive;
    m->scratch_count = (m->scratch_count + 15) / 8 * 8;
    const unsigned threads = m->settings->threads ? m->settings->threads : 1;
    m->alive = base_calloc(alive, 1);
    m->scratch = base_alloc_aligned((uint64_t)threads * m->scratch_count, sizeof *m->scratch);
    if (!m->alive || !m->scratch) return base_no_memory(error, alive + threads * m->scratch_count * sizeof(double));
    return FPR_OK;
}

fpr_status conv_measure_blocks(const conv_block *blocks, size_t count, const conv_settings *settings,
                               conv_measure *results, fpr_error *error)
{
    if (count == 0) return FPR_OK;
    measuring m = {.blocks = blocks, .count = count, .settings = settings, .kernels = conv_kernels_of(settings),
                   .results = results};
    for (size_t b = 0; b < count; b++) {
        const conv_measure given = results[b];
        results[b] = (conv_measure){.explained_variance_ratio = given.explained_variance_ratio, .farthest = given.farthest};
    }
    fpr_status status = prepare(&m, error);
    if (status == FPR_OK) status = find_peaks(&m, error);
    if (status == FPR_OK) status = sort_kernels(&m, error);
    if (status == FPR_OK && !settings->moments_only)
        status = conv_orthogonality(blocks, count, settings, results, error);
    if (status) {
        for (size_t b = 0; b < count; b++) {
            fpr_moments_free(&results[b].all);
            fpr_moments_free(&results[b].live);
        }
    }
    base_free(m.peak_parts);
    base_free(m.peaks);
    base_free(m.tops);
    base_free(m.positive);
    base_free(m.parts);
    base_free(m.slots);
    base_free(m.layers);
    base_free(m.slots_memory);
    base_free(m.layers_memory);
    base_free(m.alive);
    base_free(m.alive_first);
    base_free(m.scratch);
    return status;
}
