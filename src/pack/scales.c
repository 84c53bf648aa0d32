/* Scales: how large the weights of a filter and of a channel are, so that exponents are coded relative to it.
 *
 * Within a layer the magnitude of a weight follows its filter and its input channel; a class in half octaves for each
 * costs a few bits per filter and channel and takes some 0.05 to 0.25 bits off every weight. */
#include "base/simd.h"
#include "pack/blob.h"

/* Of more filters than this of a few weights each, sums and classes would take more memory than the tensor. */
#define FILTERS_MANY (UINT64_C(1) << 20)
#define FIT_ELEMENTS (1u << 18) /* of a larger tensor only so many are looked at */
#define FIT_SEGMENT 64u

void pack_scales_free(pack_scales *scales)
{
    for (unsigned a = 0; a < scales->axis_count; a++) base_free(scales->axes[a].values);
    base_free(scales->pattern);
    memset(scales, 0, sizeof *scales);
}

/* The inner axes' sum repeats with the outer stride, a multiple of the inner axis' whole period. */
static bool make_pattern(pack_scales *scales)
{
    uint64_t length = scales->axes[0].stride;
    scales->pattern = base_calloc(length, 1);
    if (!scales->pattern) return false;
    if (scales->axis_count < 2) return true;
    const pack_axis *inner = &scales->axes[1];
    for (uint64_t i = 0, v = 0; i < length; v = v + 1 == inner->count ? 0 : v + 1)
        for (uint64_t j = 0; j < inner->stride; j++) scales->pattern[i++] = inner->values[v];
    return true;
}

void pack_scales_fill(const pack_scales *scales, uint64_t first, size_t n, int8_t *classes)
{
    const pack_axis *outer = &scales->axes[0];
    uint64_t at = first % outer->stride, v = first / outer->stride % outer->count;
    while (n) {
        size_t run = outer->stride - at < n ? (size_t)(outer->stride - at) : n;
        const int8_t *pattern = scales->pattern + at;
        int value = (int)outer->values[v];
        for (size_t i = 0; i < run; i++) classes[i] = (int8_t)(pattern[i] + value);
        classes += run;
        n -= run;
        at = 0;
        if (++v == outer->count) v = 0;
    }
}

/* ---- the stored form: per axis stride, count, smallest value, bits of a value; then the values above the smallest */

static unsigned axis_width(const pack_axis *axis, int *least)
{
    int low = (int)axis->values[0], high = low;
    for (uint64_t i = 1; i < axis->count; i++) {
        int value = (int)axis->values[i];
        if (value < low) low = value;
        if (value > high) high = value;
    }
    unsigned width = 1;
    while ((high - low) >> width) width++;
    *least = low;
    return width;
}

uint64_t pack_scales_bytes(const pack_scales *scales)
{
    uint64_t n = 0;
    for (unsigned a = 0; a < scales->axis_count; a++) {
        const pack_axis *axis = &scales->axes[a];
        int least;
        n += pack_varint_bytes(axis->stride) + pack_varint_bytes(axis->count) + 2;
        n += (axis->count * axis_width(axis, &least) + 7) / 8;
    }
    return n;
}

void pack_scales_write(const pack_scales *scales, uint8_t *dst)
{
    for (unsigned a = 0; a < scales->axis_count; a++) {
        const pack_axis *axis = &scales->axes[a];
        int least;
        unsigned width = axis_width(axis, &least), held = 0, count = 0;
        dst += pack_put_varint(dst, axis->stride);
        dst += pack_put_varint(dst, axis->count);
        *dst++ = (uint8_t)(int8_t)least;
        *dst++ = (uint8_t)width;
        for (uint64_t i = 0; i < axis->count; i++) {
            held |= (unsigned)(axis->values[i] - least) << count;
            for (count += width; count >= 8; count -= 8, held >>= 8) *dst++ = (uint8_t)held;
        }
        if (count) *dst++ = (uint8_t)held;
    }
}

static fpr_status read_values(const uint8_t **at, const uint8_t *end, unsigned width, int least, pack_axis *axis,
                              int *high, fpr_error *error)
{
    /* count <= 8 * bytes left: the allocation is one that the stored bytes justify */
    uint64_t bits;
    if (!base_multiply(axis->count, width, &bits) || bits / 8 + (bits % 8 != 0) > (uint64_t)(end - *at))
        return pack_bad(error, "the scales are cut short");
    axis->values = base_alloc(axis->count, 1);
    if (!axis->values) return base_no_memory(error, axis->count);
    unsigned held = 0, count = 0;
    for (uint64_t i = 0; i < axis->count; i++) {
        if (count < width) {
            held |= (unsigned)*(*at)++ << count;
            count += 8;
        }
        int value = least + (int)(held & ((1u << width) - 1));
        held >>= width;
        count -= width;
        if (value > INT8_MAX) return pack_bad(error, "a scale out of range");
        if (value > *high) *high = value;
        axis->values[i] = (int8_t)value;
    }
    return held ? pack_bad(error, "the scales end in other bits than zero") : FPR_OK;
}

static fpr_status read_axis(const uint8_t **at, const uint8_t *end, uint64_t elements, pack_axis *axis, int *low,
                            int *high, fpr_error *error)
{
    uint64_t span;
    if (!pack_get_varint(at, end, &axis->stride) || !pack_get_varint(at, end, &axis->count) || end - *at < 2)
        return pack_bad(error, "the scales are cut short");
    int least = (*at)[0] < 128 ? (*at)[0] : (*at)[0] - 256;
    unsigned width = (*at)[1];
    *at += 2;
    if (!axis->stride || !axis->count || !base_multiply(axis->stride, axis->count, &span) || span > elements)
        return pack_bad(error, "the scales have another shape than the tensor");
    if (width < 1 || width > 8) return pack_bad(error, "scales of no known width");
    int most = least;
    fpr_status status = read_values(at, end, width, least, axis, &most, error);
    *low += least;
    *high += most;
    return status;
}

fpr_status pack_scales_read(const uint8_t **at, const uint8_t *end, unsigned axes, uint64_t elements,
                            pack_scales *scales, fpr_error *error)
{
    memset(scales, 0, sizeof *scales);
    if (axes > SCALES_AXES) return pack_bad(error, "scales of no known number of axes");
    if (!axes) return FPR_OK;
    int low = 0, high = 0;
    fpr_status status = FPR_OK;
    for (unsigned a = 0; a < axes && !status; a++) {
        scales->axis_count = a + 1;
        status = read_axis(at, end, elements, &scales->axes[a], &low, &high, error);
    }
    const pack_axis *axis = scales->axes;
    if (status) goto out;
    if (low < INT8_MIN || high > INT8_MAX)
        status = pack_bad(error, "a scale out of range");
    else if (axis[0].stride > SCALES_PATTERN)
        status = pack_bad(error, "scales of too large a stride");
    else if (axes == 2 && axis[0].stride % (axis[1].stride * axis[1].count))
        status = pack_bad(error, "scales whose axes do not nest");
    else if (!make_pattern(scales))
        status = base_no_memory(error, axis[0].stride);
out:
    if (status) pack_scales_free(scales);
    return status;
}

/* ---- fitting */

/* A load that compilers see through when they vectorise. */
static inline __attribute__((always_inline)) uint32_t load32(const uint8_t *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
#else
    return base_load_le32(p);
#endif
}

/* About |w|^(1/4), by dtype: the logarithm, which is nearly what the bits of a float are, divided by four. A mean of
 * these stands between the arithmetic mean, which the largest weights rule, and the geometric one, which those that
 * decayed to nothing do; it served best on trained networks. What is not finite counts as nothing. The value matters
 * only to the choice, never to the decoder. */
static inline __attribute__((always_inline)) float magnitude(const uint8_t *p, pack_element element)
{
    uint32_t bits;
    if (element.width == 4) {
        bits = load32(p);
    } else if (element.width == 2 && element.exponent_bits == 8) {
        bits = (uint32_t)base_load_le16(p) << 16;
    } else if (element.width == 2) {
        /* binary16 as a binary32 of the same digits is too small by 2^112, the same factor for every weight */
        bits = (uint32_t)(base_load_le16(p) & 0x7fff) << 13;
    } else {
        double d;
        uint64_t wide = base_load_le64(p) & INT64_MAX;
        memcpy(&d, &wide, 8);
        float narrow = d < 3e38 ? (float)d : 0;
        memcpy(&bits, &narrow, 4);
    }
    bits &= 0x7fffffff;
    bits = bits < 0x7f800000 ? bits : 0;
    bits = (bits >> 2) + 0x2fa00000; /* three quarters of the exponent's bias */
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

#define INLINE static inline __attribute__((always_inline))

/* Sixteen fixed partial sums: the same result in every build. */
INLINE float sum_all(const uint8_t *p, size_t n, pack_element element)
{
    float part[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (unsigned l = 0; l < 16; l++) part[l] += magnitude(p + element.width * (i + l), element);
    for (; i < n; i++) part[i % 16] += magnitude(p + element.width * i, element);
    float sum = 0;
    for (unsigned l = 0; l < 16; l++) sum += part[l];
    return sum;
}

INLINE void add_all(const uint8_t *restrict p, size_t n, pack_element element, float *restrict sums)
{
    for (size_t i = 0; i < n; i++) sums[i] += magnitude(p + element.width * i, element);
}

/* The common dtype as constants, and for the vector units there are. */
#define EACH_ELEMENT(call)                                                                                             \
    if (element.width == 4) return call(((pack_element){4, 8}));                                                       \
    if (element.width == 2 && element.exponent_bits == 5) return call(((pack_element){2, 5}));                         \
    return call(element)
#define SUM(e) sum_all(p, n, e)
#define ADD(e) add_all(p, n, e, sums)

static float sum_plain(const uint8_t *p, size_t n, pack_element element) { EACH_ELEMENT(SUM); }
static void add_plain(const uint8_t *p, size_t n, pack_element element, float *sums) { EACH_ELEMENT(ADD); }
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))
AVX2 static float sum_avx2(const uint8_t *p, size_t n, pack_element element) { EACH_ELEMENT(SUM); }
AVX2 static void add_avx2(const uint8_t *p, size_t n, pack_element element, float *sums) { EACH_ELEMENT(ADD); }
#endif

static float run_sum(const uint8_t *p, size_t n, pack_element element)
{
#if defined(__x86_64__)
    if (base_simd_level() >= BASE_SIMD_AVX2) return sum_avx2(p, n, element);
#endif
    return sum_plain(p, n, element);
}

static void run_add(const uint8_t *p, size_t n, pack_element element, float *sums)
{
#if defined(__x86_64__)
    if (base_simd_level() >= BASE_SIMD_AVX2) {
        add_avx2(p, n, element, sums);
        return;
    }
#endif
    add_plain(p, n, element, sums);
}

/* 2 log2 of the magnitude whose fourth root is sum / count, to the nearest integer; INT32_MIN for nothing. */
static int half_octaves(float sum, float count)
{
    if (!(count > 0)) return INT32_MIN;
    double x = 8 * pack_log2((double)sum / (double)count) + 0.5;
    int whole = (int)x;
    return whole > x ? whole - 1 : whole;
}

/* Classes relative to their median, clamped so that two axes add up within a byte. */
static bool axis_classes(pack_axis *axis, const float *sums, const float *counts)
{
    axis->values = base_alloc(axis->count, 1);
    if (!axis->values) return false;
    uint32_t histogram[1024] = {0};
    uint64_t known = 0, seen = 0;
    for (uint64_t i = 0; i < axis->count; i++) {
        int c = half_octaves(sums[i], counts[i]);
        if (c == INT32_MIN) continue;
        histogram[(c + 512) & 1023]++;
        known++;
    }
    int median = 0;
    for (int c = -512; c < 512 && known; c++) {
        seen += histogram[c + 512];
        if (2 * seen >= known) {
            median = c;
            break;
        }
    }
    for (uint64_t i = 0; i < axis->count; i++) {
        int c = half_octaves(sums[i], counts[i]);
        c = c == INT32_MIN ? 0 : c - median;
        axis->values[i] = (int8_t)(c < -60 ? -60 : c > 60 ? 60 : c);
    }
    return true;
}

/* Sums of |w| over the outer and the inner index of the tensor seen as outer x inner, inner falling into `columns`
 * runs of `run`. Large tensors are looked at in part: some rows for the columns, some segments for the rows. */
static void sum_dense(const pack_values *v, uint64_t outer, uint64_t inner, float *rows, float *row_counts,
                      float *columns)
{
    uint64_t skip = v->count / FIT_ELEMENTS + 1;
    for (uint64_t o = 0; o < outer; o++) {
        const uint8_t *row = v->bytes + o * inner * v->element.width;
        if (skip == 1 || inner < 4 * FIT_SEGMENT) {
            rows[o] = run_sum(row, inner, v->element);
            row_counts[o] = (float)inner;
        } else {
            for (uint64_t j = (o % skip) * FIT_SEGMENT; j + FIT_SEGMENT <= inner; j += skip * FIT_SEGMENT) {
                rows[o] += run_sum(row + j * v->element.width, FIT_SEGMENT, v->element);
                row_counts[o] += (float)FIT_SEGMENT;
            }
        }
        if (o % skip == 0) run_add(row, inner, v->element, columns);
    }
}

static fpr_status fit_dense(const pack_values *v, pack_scales *s, fpr_error *error)
{
    const pack_layer *l = &v->layer;
    /* axes by falling stride. OIHW: filter, channel; HWIO: channel, filter. A linear layer's channels are its k. */
    uint64_t channels = l->channels == 1 ? l->k : l->channels, k = l->channels == 1 ? 1 : l->k;
    uint64_t outer = l->hwio ? k * channels : l->filters, inner = l->hwio ? l->filters : channels * k;
    uint64_t outer_fold = l->hwio ? channels : l->filters, inner_run = l->hwio ? 1 : k;
    float *sums = base_calloc(outer * 2 + inner * 2, sizeof *sums);
    if (!sums) return base_no_memory(error, (outer + inner) * 8);
    float *row_counts = sums + outer, *columns = row_counts + outer, *ones = columns + inner;
    sum_dense(v, outer, inner, sums, row_counts, columns);
    for (uint64_t o = outer_fold; o < outer; o++) {
        sums[o % outer_fold] += sums[o];
        row_counts[o % outer_fold] += row_counts[o];
    }
    for (uint64_t i = 0; i < inner / inner_run; i++) {
        float sum = 0;
        for (uint64_t j = 0; j < inner_run; j++) sum += columns[i * inner_run + j];
        columns[i] = sum;
        ones[i] = 1;
    }
    s->axis_count = 2;
    s->axes[0] = (pack_axis){.stride = inner, .count = outer_fold};
    s->axes[1] = (pack_axis){.stride = inner_run, .count = inner / inner_run};
    bool made =
        axis_classes(&s->axes[0], sums, row_counts) && axis_classes(&s->axes[1], columns, ones) && make_pattern(s);
    base_free(sums);
    return made ? FPR_OK : base_no_memory(error, v->count);
}

/* Gathered kernels: the classes are those of the OIHW order, fitted to the dense kernels alone. */
static fpr_status fit_gathered(const pack_values *v, pack_scales *s, fpr_error *error)
{
    const pack_layer *l = &v->layer;
    bool linear = l->channels == 1;
    uint64_t channels = linear ? l->k : l->channels;
    float *sums = base_calloc((l->filters + channels) * 2, sizeof *sums);
    uint8_t *kernel = base_alloc(l->k, v->element.width);
    if (!sums || !kernel) {
        base_free(sums);
        base_free(kernel);
        return base_no_memory(error, (l->filters + channels) * 8 + l->k * v->element.width);
    }
    float *counts = sums + l->filters + channels;
    for (uint64_t f = 0, id = 0; f < l->filters && !base_cancelled(); f++)
        for (uint64_t c = 0; c < l->channels; c++, id++) {
            if (pack_map_get(v->map, id) != PACK_DENSE) continue;
            pack_kernel_copy(l, v->element.width, v->bytes, id, 0, l->k, kernel);
            float sum = run_sum(kernel, l->k, v->element);
            sums[f] += sum;
            counts[f] += (float)l->k;
            if (linear) {
                run_add(kernel, l->k, v->element, sums + l->filters);
                for (uint64_t i = 0; i < l->k; i++) counts[l->filters + i] += 1;
            } else {
                sums[l->filters + c] += sum;
                counts[l->filters + c] += (float)l->k;
            }
        }
    s->axis_count = 2;
    s->axes[0] = (pack_axis){.stride = l->channels * l->k, .count = l->filters};
    s->axes[1] = (pack_axis){.stride = linear ? 1 : l->k, .count = channels};
    bool made = axis_classes(&s->axes[0], sums, counts) &&
                axis_classes(&s->axes[1], sums + l->filters, counts + l->filters) && make_pattern(s);
    base_free(sums);
    base_free(kernel);
    return made ? FPR_OK : base_no_memory(error, v->count);
}

fpr_status pack_scales_fit(const pack_values *v, pack_scales *scales, fpr_error *error)
{
    memset(scales, 0, sizeof *scales);
    const pack_layer *l = &v->layer;
    if (!l->filters || !v->element.exponent_bits) return FPR_OK;
    uint64_t stride = l->hwio && !v->map ? l->filters : l->channels * l->k;
    if (stride > SCALES_PATTERN || l->channels * l->k < 2 || l->filters * l->channels * l->k < 256) return FPR_OK;
    if (l->filters > FILTERS_MANY && l->channels * l->k < 16) return FPR_OK;
    fpr_status status = v->map ? fit_gathered(v, scales, error) : fit_dense(v, scales, error);
    if (status) pack_scales_free(scales);
    return status;
}
