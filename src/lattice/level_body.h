/* Runs of weights, compiled once per level of instructions by the level_*.c that include this text; NAME(f) gives each copy
 * its own names, TABLE is the table at the end, VECTOR the width of its registers in bytes. Loops that compilers make vectors of; sums are always eight, whatever the
 * width of a register, and nothing is contracted (-ffp-contract=off). */
#include "base/half.h"
#include "lattice/level.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LATTICE_LANES 8u
#define WIDE (VECTOR / sizeof(double)) /* lanes of doubles in a register */
#define STEPS (LATTICE_LANES / WIDE)           /* registers that hold them all */
#define INLINE static inline __attribute__((always_inline))

typedef double vec __attribute__((vector_size(VECTOR), aligned(8), may_alias));
typedef int64_t vec_bits __attribute__((vector_size(VECTOR)));

/* ---- dtypes. base/half.h without branches. */

INLINE float NAME(float_of_half)(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13;
    const uint32_t finite = base_float_bits(base_bits_float(rest) * 0x1p112f), other = 0x7f800000u | rest;
    const uint32_t is_finite = -(uint32_t)((int32_t)rest < 0x0f800000);
    return base_bits_float(sign | (finite & is_finite) | (other & ~is_finite));
}

/* Not for NaN. */
INLINE uint16_t NAME(half_of)(float f)
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

INLINE uint16_t NAME(bf16_of)(float f)
{
    const uint32_t u = base_float_bits(f);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static void NAME(load)(fpr_dtype dtype, const uint8_t *bytes, size_t n, double *w)
{
    uint64_t u;
    switch (dtype) {
    case FPR_F64:
        for (size_t i = 0; i < n; i++) {
            u = base_load_le64(bytes + 8 * i);
            memcpy(&w[i], &u, sizeof u);
        }
        break;
    case FPR_F32:
        for (size_t i = 0; i < n; i++) w[i] = (double)base_bits_float(base_load_le32(bytes + 4 * i));
        break;
    case FPR_F16:
        for (size_t i = 0; i < n; i++) w[i] = (double)NAME(float_of_half)(base_load_le16(bytes + 2 * i));
        break;
    default:
        for (size_t i = 0; i < n; i++) w[i] = (double)base_bf16_float(base_load_le16(bytes + 2 * i));
    }
}

static void NAME(store)(fpr_dtype dtype, double step, const double *x, size_t n, uint8_t *bytes)
{
    if (dtype == FPR_F64) {
        for (size_t i = 0; i < n; i++) {
            const double w = x[i] * step;
            uint64_t u;
            memcpy(&u, &w, sizeof u);
            base_store_le64(bytes + 8 * i, u);
        }
    } else if (dtype == FPR_F32) {
        for (size_t i = 0; i < n; i++) base_store_le32(bytes + 4 * i, base_float_bits((float)(x[i] * step)));
    } else if (dtype == FPR_F16) {
        for (size_t i = 0; i < n; i++) base_store_le16(bytes + 2 * i, NAME(half_of)((float)(x[i] * step)));
    } else {
        for (size_t i = 0; i < n; i++) base_store_le16(bytes + 2 * i, NAME(bf16_of)((float)(x[i] * step)));
    }
}

/* ---- the transform: the orthonormal cosine transform of three values along every axis of a kernel, eight kernels at once */

#define EVEN 0.57735026918962576451  /* 1 / sqrt 3 */
#define SLOPE 0.70710678118654752440 /* 1 / sqrt 2 */
#define BEND 0.40824829046386301637  /* 1 / sqrt 6 */

/* One line of eight kernels, whose weights lie beside one another, `step` weights apart. */
INLINE void NAME(line)(double *at, size_t step, bool back)
{
    for (size_t j = 0; j < STEPS; j++) {
        vec *first = (vec *)(at + j * WIDE), *second = (vec *)(at + step * LATTICE_LANES + j * WIDE);
        vec *third = (vec *)(at + 2 * step * LATTICE_LANES + j * WIDE);
        const vec x = *first, y = *second, z = *third;
        if (back) {
            const vec p = x * EVEN, q = y * SLOPE, r = z * BEND, sum = p + r;
            *first = sum + q;
            *second = p - (r + r);
            *third = sum - q;
        } else {
            *first = (x + y + z) * EVEN;
            *second = (x - z) * SLOPE;
            *third = (x - y - y + z) * BEND;
        }
    }
}

/* Along the last axis first. k is known when this is compiled. */
INLINE void NAME(lines)(size_t k, bool back, double *lanes)
{
    for (size_t i = 0; i < k; i += 3) NAME(line)(lanes + i * LATTICE_LANES, 1, back);
    for (size_t i = 0; k > 3 && i < k; i += 9)
        for (size_t j = i; j < i + 3; j++) NAME(line)(lanes + j * LATTICE_LANES, 3, back);
    for (size_t j = 0; k > 9 && j < 9; j++) NAME(line)(lanes + j * LATTICE_LANES, 9, back);
}

/* Kernels of k weights, eight at most: beside one another, and one after another again. */
INLINE void NAME(gather)(size_t k, size_t kernels, const double *w, double *lanes)
{
    for (size_t l = 0; l < kernels; l++)
        for (size_t i = 0; i < k; i++) lanes[i * LATTICE_LANES + l] = w[l * k + i];
}

INLINE void NAME(scatter)(size_t k, size_t kernels, const double *lanes, double *w)
{
    for (size_t l = 0; l < kernels; l++)
        for (size_t i = 0; i < k; i++) w[l * k + i] = lanes[i * LATTICE_LANES + l];
}

INLINE void NAME(turn_of)(size_t k, size_t kernels, const double *w, double *turned)
{
    for (size_t kernel = 0; kernel < kernels; kernel += LATTICE_LANES, w += LATTICE_LANES * k, turned += LATTICE_LANES * k) {
        const size_t m = kernels - kernel < LATTICE_LANES ? kernels - kernel : LATTICE_LANES;
        if (m < LATTICE_LANES) memset(turned, 0, LATTICE_LANES * k * sizeof *turned);
        NAME(gather)(k, m, w, turned);
    }
}

static void NAME(turn)(size_t k, size_t kernels, const double *w, double *turned)
{
    if (k == 3) NAME(turn_of)(3, kernels, w, turned);
    else if (k == 9) NAME(turn_of)(9, kernels, w, turned);
    else NAME(turn_of)(27, kernels, w, turned);
}

INLINE void NAME(transform)(size_t k, size_t kernels, double inverse_step, bool turned, double *w)
{
    double apart[27 * LATTICE_LANES] = {0};
    for (size_t kernel = 0; kernel < kernels; kernel += LATTICE_LANES, w += LATTICE_LANES * k) {
        const size_t m = kernels - kernel < LATTICE_LANES ? kernels - kernel : LATTICE_LANES;
        double *lanes = turned ? w : apart;
        if (!turned) NAME(gather)(k, m, w, lanes);
        NAME(lines)(k, false, lanes);
        for (size_t i = 0; i < k * LATTICE_LANES; i++) lanes[i] *= inverse_step;
        if (!turned) NAME(scatter)(k, m, lanes, w);
    }
}

INLINE void NAME(transform_back)(size_t k, size_t kernels, bool turned, const int32_t *points, double *x)
{
    double apart[27 * LATTICE_LANES] = {0};
    for (size_t kernel = 0; kernel < kernels; kernel += LATTICE_LANES, points += LATTICE_LANES * k, x += LATTICE_LANES * k) {
        const size_t m = kernels - kernel < LATTICE_LANES ? kernels - kernel : LATTICE_LANES;
        double *lanes = turned ? x : apart;
        if (turned)
            for (size_t i = 0; i < LATTICE_LANES * k; i++) x[i] = points[i];
        else
            for (size_t l = 0; l < m; l++)
                for (size_t i = 0; i < k; i++) lanes[i * LATTICE_LANES + l] = points[l * k + i];
        NAME(lines)(k, true, lanes);
        if (!turned) NAME(scatter)(k, m, lanes, x);
    }
}

static void NAME(scale)(const lattice *l, size_t k, size_t kernels, bool turned, double *w)
{
    const double inverse_step = 1 / l->step;
    if (!l->transformed)
        for (size_t i = 0; i < kernels * k; i++) w[i] *= inverse_step;
    else if (k == 3) NAME(transform)(3, kernels, inverse_step, turned, w);
    else if (k == 9) NAME(transform)(9, kernels, inverse_step, turned, w);
    else NAME(transform)(27, kernels, inverse_step, turned, w);
}

static void NAME(steps)(const lattice *l, size_t k, size_t kernels, bool turned, const int32_t *points, double *x)
{
    if (!l->transformed)
        for (size_t i = 0; i < kernels * k; i++) x[i] = points[i];
    else if (k == 3) NAME(transform_back)(3, kernels, turned, points, x);
    else if (k == 9) NAME(transform_back)(9, kernels, turned, points, x);
    else NAME(transform_back)(27, kernels, turned, points, x);
}

/* ---- rounding, and what it costs */

static bool NAME(nearest)(const double *x, size_t n, int32_t *points)
{
    int32_t far = 0;
    for (size_t i = 0; i < n; i++) {
        const bool near = fabs(x[i]) < LATTICE_POINT_MOST;
        points[i] = (int32_t)(near ? lattice_nearest(x[i]) : 0);
        far |= !near;
    }
    return !far;
}

INLINE vec_bits NAME(bits)(vec v)
{
    vec_bits b;
    memcpy(&b, &v, sizeof b);
    return b;
}

INLINE vec NAME(larger)(vec a, vec b)
{
    const vec_bits from_a = a > b, bits = (from_a & NAME(bits)(a)) | (~from_a & NAME(bits)(b));
    vec v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void NAME(compare)(const double *w, const double *v, size_t n, lattice_cost *cost)
{
    vec sum[STEPS], peak[STEPS];
    vec_bits changed[STEPS];
    double rest[2][LATTICE_LANES] = {{0}};
    memset(sum, 0, sizeof sum);
    memset(peak, 0, sizeof peak);
    memset(changed, 0, sizeof changed);
    for (size_t i = 0; i < n; i += LATTICE_LANES, w += LATTICE_LANES, v += LATTICE_LANES) {
        if (n - i < LATTICE_LANES) {
            memcpy(rest[0], w, (n - i) * sizeof *w);
            memcpy(rest[1], v, (n - i) * sizeof *v);
            w = rest[0];
            v = rest[1];
        }
        for (size_t j = 0; j < STEPS; j++) {
            const vec a = *(const vec *)(w + j * WIDE), b = *(const vec *)(v + j * WIDE), d = a - b;
            sum[j] += d * d;
            peak[j] = NAME(larger)(NAME(larger)(d, -d), peak[j]);
            changed[j] += NAME(bits)(a) != NAME(bits)(b); /* -1 each */
        }
    }
    double sums[LATTICE_LANES], peaks[LATTICE_LANES];
    int64_t changes[LATTICE_LANES];
    for (size_t j = 0; j < STEPS; j++) {
        memcpy(sums + j * WIDE, &sum[j], sizeof sum[j]);
        memcpy(peaks + j * WIDE, &peak[j], sizeof peak[j]);
        memcpy(changes + j * WIDE, &changed[j], sizeof changed[j]);
    }
    for (size_t half = LATTICE_LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++) {
            sums[j] += sums[j + half];
            peaks[j] = fmax(peaks[j], peaks[j + half]);
            changes[j] += changes[j + half];
        }
    cost->error_square += sums[0];
    cost->max_abs = fmax(cost->max_abs, peaks[0]);
    cost->weights -= (uint64_t)changes[0];
}

/* ---- the trellis */

#include "lattice/path_body.h"

const lattice_level TABLE = {.load = NAME(load),   .store = NAME(store), .turn = NAME(turn),      .scale = NAME(scale),
                             .steps = NAME(steps), .nearest = NAME(nearest), .compare = NAME(compare),
                             .path = NAME(path)};
