/* Integers to weights and back. One multiplication by the step and one rounding: the same bits on every machine. */
#include "base/half.h"
#include "lattice/lattice.h"

/* ---- shape */

bool lattice_shape_of(fpr_dtype dtype, unsigned rank, const uint64_t *shape, bool hwio, lattice_shape *s)
{
    if (dtype != FPR_F64 && dtype != FPR_F32 && dtype != FPR_F16 && dtype != FPR_BF16) return false;
    if (rank < 2) return false;
    *s = (lattice_shape){.dtype = dtype, .k = 1, .hwio = hwio && rank > 2};
    s->filters = s->hwio ? shape[rank - 1] : shape[0];
    s->channels = s->hwio ? shape[rank - 2] : shape[1];
    const uint64_t *kernel = s->hwio ? shape : shape + 2;
    uint64_t total;
    bool threes = rank <= 5;
    for (unsigned i = 0; i + 2 < rank; i++) {
        if (!base_multiply(s->k, kernel[i], &s->k)) return false;
        threes = threes && kernel[i] == 3;
    }
    if (!base_multiply(s->filters, s->channels, &total) || !base_multiply(total, s->k, &total) || !total) return false;
    if (s->k > LATTICE_KERNEL_MOST) { /* as rows, in the order in which the weights lie */
        *s = (lattice_shape){.dtype = dtype, .filters = shape[0], .channels = total / shape[0], .k = 1};
        return true;
    }
    if (threes && rank > 2) s->axes = rank - 2;
    if (rank > 3 && s->k > 1) s->row = (unsigned)kernel[rank - 3];
    return true;
}

/* ---- dtypes */

static inline double get(fpr_dtype dtype, const uint8_t *p)
{
    switch (dtype) {
    case FPR_F64: {
        const uint64_t u = base_load_le64(p);
        double d;
        memcpy(&d, &u, sizeof d);
        return d;
    }
    case FPR_F32: return (double)base_bits_float(base_load_le32(p));
    case FPR_F16: return (double)base_half_float(base_load_le16(p));
    default: return (double)base_bf16_float(base_load_le16(p));
    }
}

static inline void put(fpr_dtype dtype, uint8_t *p, double value)
{
    uint64_t u;
    switch (dtype) {
    case FPR_F64:
        memcpy(&u, &value, sizeof u);
        base_store_le64(p, u);
        break;
    case FPR_F32: base_store_le32(p, base_float_bits((float)value)); break;
    case FPR_F16: base_store_le16(p, base_float_half((float)value)); break;
    default: base_store_le16(p, base_float_bf16((float)value)); break;
    }
}

static inline unsigned width_of(fpr_dtype dtype) { return dtype == FPR_F64 ? 8 : dtype == FPR_F32 ? 4 : 2; }

static inline uint64_t place_of(const lattice_shape *s, uint64_t kernel)
{
    return s->hwio ? kernel % s->channels * s->filters + kernel / s->channels : kernel * s->k;
}

void lattice_load(const lattice_shape *s, const void *bytes, uint64_t first, uint64_t n, double *w)
{
    const unsigned width = width_of(s->dtype);
    const uint64_t stride = s->hwio ? s->channels * s->filters : 1;
    if (!s->hwio && s->dtype == FPR_F32) { /* the case that time is spent on */
        const uint8_t *p = (const uint8_t *)bytes + first * s->k * 4;
        for (uint64_t i = 0; i < n * s->k; i++) w[i] = (double)base_bits_float(base_load_le32(p + 4 * i));
        return;
    }
    for (uint64_t kernel = first; kernel < first + n; kernel++) {
        const uint64_t place = place_of(s, kernel);
        for (uint64_t i = 0; i < s->k; i++) *w++ = get(s->dtype, (const uint8_t *)bytes + (place + i * stride) * width);
    }
}

void lattice_store(const lattice_shape *s, void *bytes, uint64_t first, uint64_t n, const double *w)
{
    const unsigned width = width_of(s->dtype);
    const uint64_t stride = s->hwio ? s->channels * s->filters : 1;
    for (uint64_t kernel = first; kernel < first + n; kernel++) {
        const uint64_t place = place_of(s, kernel);
        for (uint64_t i = 0; i < s->k; i++) put(s->dtype, (uint8_t *)bytes + (place + i * stride) * width, *w++);
    }
}

/* ---- the transform: the orthonormal cosine transform of three values along every axis of a kernel */

#define EVEN 0.57735026918962576451 /* 1 / sqrt 3 */
#define SLOPE 0.70710678118654752440 /* 1 / sqrt 2 */
#define BEND 0.40824829046386301637 /* 1 / sqrt 6 */

static inline void forward(double *a, size_t step)
{
    const double x = a[0], y = a[step], z = a[2 * step];
    a[0] = (x + y + z) * EVEN;
    a[step] = (x - z) * SLOPE;
    a[2 * step] = (x - y - y + z) * BEND;
}

/* Along the last axis first. k is known when this is compiled. */
static inline __attribute__((always_inline)) void transform_kernels(uint64_t n, size_t k, double *w)
{
    for (uint64_t kernel = 0; kernel < n; kernel++, w += k)
        for (size_t step = 1; step < k; step *= 3)
            for (size_t i = 0; i < k; i += 3 * step)
                for (size_t j = i; j < i + step; j++) forward(w + j, step);
}

static void transform(const lattice_shape *s, uint64_t n, double *w)
{
    if (s->k == 3) transform_kernels(n, 3, w);
    else if (s->k == 9) transform_kernels(n, 9, w);
    else transform_kernels(n, 27, w);
}

#define LANES 8u

/* One line of so many kernels, which lie beside one another. */
static inline __attribute__((always_inline)) void inverse_lanes(double (*a)[LANES], size_t step)
{
    for (size_t l = 0; l < LANES; l++) {
        const double p = a[0][l] * EVEN, q = a[step][l] * SLOPE, r = a[2 * step][l] * BEND, sum = p + r;
        a[0][l] = sum + q;
        a[step][l] = p - (r + r);
        a[2 * step][l] = sum - q;
    }
}

static inline __attribute__((always_inline)) void transform_back_of(uint64_t n, size_t k, const int32_t *points, double *w)
{
    double lanes[27][LANES] = {{0}};
    for (uint64_t kernel = 0, m; kernel < n; kernel += m, points += m * k, w += m * k) {
        m = n - kernel < LANES ? n - kernel : LANES;
        for (size_t l = 0; l < m; l++)
            for (size_t i = 0; i < k; i++) lanes[i][l] = points[l * k + i];
        for (size_t step = 1; step < k; step *= 3)
            for (size_t i = 0; i < k; i += 3 * step)
                for (size_t j = i; j < i + step; j++) inverse_lanes(lanes + j, step);
        for (size_t l = 0; l < m; l++)
            for (size_t i = 0; i < k; i++) w[l * k + i] = lanes[i][l];
    }
}

/* What n kernels of points are in steps. */
static void transform_back(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, double *w)
{
    if (!l->transformed)
        for (uint64_t i = 0; i < n * s->k; i++) w[i] = points[i];
    else if (s->k == 3) transform_back_of(n, 3, points, w);
    else if (s->k == 9) transform_back_of(n, 9, points, w);
    else transform_back_of(n, 27, points, w);
}

void lattice_scale(const lattice_shape *s, const lattice *l, uint64_t n, double *w)
{
    if (l->transformed) transform(s, n, w);
    const double inverse_step = 1 / l->step;
    for (uint64_t i = 0; i < n * s->k; i++) w[i] *= inverse_step;
}

void lattice_values(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, double *w)
{
    const uint64_t count = n * s->k;
    transform_back(s, l, n, points, w);
    if (s->dtype == FPR_F64)
        for (uint64_t i = 0; i < count; i++) w[i] *= l->step;
    else if (s->dtype == FPR_F32)
        for (uint64_t i = 0; i < count; i++) w[i] = (double)(float)(w[i] * l->step);
    else if (s->dtype == FPR_F16)
        for (uint64_t i = 0; i < count; i++) w[i] = (double)base_half_float(base_float_half((float)(w[i] * l->step)));
    else
        for (uint64_t i = 0; i < count; i++) w[i] = (double)base_bf16_float(base_float_bf16((float)(w[i] * l->step)));
}

/* ---- weights as bytes. The same as lattice_values and lattice_store, without a number of 64 bits for each. */

#define BLOCK 864u /* weights at a time, near the processor: LANES kernels of 27 or 9 some times */

/* base_float_half without branches; not for NaN. */
static inline uint16_t half_of(float f)
{
    const uint32_t u = base_float_bits(f);
    const int32_t a = (int32_t)(u & 0x7fffffffu);
    const int32_t normal = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
    const int32_t small = (int32_t)(base_float_bits(base_bits_float((uint32_t)a) + 0.5f) - 0x3f000000u);
    /* Masks for choices, whose additions could not be made for every number otherwise. */
    const int32_t is_small = -(int32_t)(a < 0x38800000), is_large = -(int32_t)(a > 0x477fffff);
    const int32_t finite = (small & is_small) | (normal & ~is_small);
    return (uint16_t)((u >> 16 & 0x8000u) | (uint32_t)((finite & ~is_large) | (0x7c00 & is_large)));
}

static inline uint16_t bf16_of(float f)
{
    const uint32_t u = base_float_bits(f);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* A block of numbers in steps. Each loop is one that compilers make vectors of. */
static void put_block(fpr_dtype dtype, double step, const double *x, size_t n, uint8_t *to)
{
    if (dtype == FPR_F64) {
        for (size_t i = 0; i < n; i++) put(dtype, to + 8 * i, x[i] * step);
        return;
    }
    float f[BLOCK];
    uint16_t h[BLOCK];
    for (size_t i = 0; i < n; i++) f[i] = (float)(x[i] * step);
    if (dtype == FPR_F16)
        for (size_t i = 0; i < n; i++) h[i] = half_of(f[i]);
    else if (dtype == FPR_BF16)
        for (size_t i = 0; i < n; i++) h[i] = bf16_of(f[i]);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (dtype == FPR_F32) memcpy(to, f, n * sizeof *f);
    else memcpy(to, h, n * sizeof *h);
#else
    for (size_t i = 0; i < n; i++) {
        if (dtype == FPR_F32) base_store_le32(to + 4 * i, base_float_bits(f[i]));
        else base_store_le16(to + 2 * i, h[i]);
    }
#endif
}

static void restore_run(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, uint8_t *to)
{
    double x[BLOCK];
    /* Without a transform it is all the same where a kernel ends. */
    lattice_shape flat = *s;
    if (!l->transformed) flat.k = 1;
    const uint64_t count = n * s->k, step = BLOCK / flat.k * flat.k;
    for (uint64_t at = 0; at < count; at += step) {
        const uint64_t m = count - at < step ? count - at : step;
        transform_back(&flat, l, m / flat.k, points + at, x);
        put_block(s->dtype, l->step, x, m, to + at * width_of(s->dtype));
    }
}

#define TILE 16u

/* Weights of filters [f, f + filters), m of them in each from the s-th one of channel c on, in the order of kernels, to where
 * they lie in an HWIO tensor: filters are beside one another there. */
static inline __attribute__((always_inline)) void turn(const lattice_shape *s, const uint8_t *from, uint64_t f, uint64_t filters,
                                                       uint64_t at, uint64_t m, uint8_t *bytes, unsigned width)
{
    const uint64_t row = s->channels * s->k;
    for (uint64_t j = 0; j < m; j++) {
        const uint64_t place = (at + j) % s->k * s->channels + (at + j) / s->k;
        uint8_t *to = bytes + (place * s->filters + f) * width;
        for (uint64_t i = 0; i < filters; i++) memcpy(to + i * width, from + (i * row + j) * width, width);
    }
}

/* A chunk begins and ends in the midst of filters: what is whole is turned in tiles, which use what was read of memory. */
static void turn_all(const lattice_shape *s, const uint8_t *from, uint64_t first, uint64_t n, uint8_t *bytes)
{
    const uint64_t row = s->channels * s->k, end = (first + n) * s->k;
    const unsigned width = width_of(s->dtype);
    for (uint64_t begin = first * s->k, filters; begin < end; begin += filters * row - begin % row) {
        const uint64_t f = begin / row, whole = begin % row ? 1 : (end - begin) / row;
        filters = whole < 1 ? 1 : whole > TILE ? TILE : whole;
        const uint64_t stop = end - f * row < row ? end - f * row : row;
        for (uint64_t at = begin % row, m; at < stop; at += m) {
            m = stop - at < TILE ? stop - at : TILE;
            const uint8_t *tile = from + (f * row + at - first * s->k) * width;
            if (width == 4) turn(s, tile, f, filters, at, m, bytes, 4);
            else if (width == 2) turn(s, tile, f, filters, at, m, bytes, 2);
            else turn(s, tile, f, filters, at, m, bytes, 8);
        }
    }
}

void lattice_restore(const lattice_shape *s, const lattice *l, uint64_t first, uint64_t n, const int32_t *points, void *scratch,
                     void *bytes)
{
    if (!s->hwio) {
        restore_run(s, l, n, points, (uint8_t *)bytes + first * s->k * width_of(s->dtype));
        return;
    }
    restore_run(s, l, n, points, scratch);
    turn_all(s, scratch, first, n, bytes);
}
