/* The inner loops, compiled once per instruction set by the kernels_*.c that include this text. NAME(f) gives each copy
 * its own names, TABLE and VARIANT those of the table at the end; VECTOR is the width of its registers in bytes.
 *
 * Equal bits on every path, by construction: sums run in NUM_LANES lanes that do not know each other until they are
 * folded in one fixed order, so that a copy may run them a register at a time, in STEPS passes or side by side;
 * everything else is elementwise or does not depend on order. No fused multiply-add (-ffp-contract=off). Two rules keep
 * it so and fast:
 *
 *   - Never a vector wider than VECTOR: gcc splits those through the stack, at three to ten times the time.
 *   - Whatever picks a number by comparison ends with + 0.0: zeros of both signs compare equal, and which of them is
 *     picked would depend on the width. */
#include "num/num.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define WIDE (VECTOR / sizeof(double))   /* lanes of doubles in a register */
#define STEPS (NUM_LANES / WIDE)         /* registers that hold them all */

typedef double vec __attribute__((vector_size(VECTOR), aligned(8), may_alias));
typedef int64_t vec_mask __attribute__((vector_size(VECTOR)));
typedef double vec_pair __attribute__((vector_size(16)));
typedef float narrow __attribute__((vector_size(VECTOR / 2), aligned(4), may_alias)); /* as many floats as vec has lanes */
typedef int32_t narrow_mask __attribute__((vector_size(VECTOR / 2)));

#define INLINE static inline __attribute__((always_inline))

/* ---------------------------------------------------------------- bit patterns */

static uint64_t NAME(peak16)(const uint16_t *w, size_t n)
{
    uint16_t peak = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t v = w[i] & 0x7fff;
        peak = v > peak ? v : peak;
    }
    return peak;
}

static uint64_t NAME(peak32)(const uint32_t *w, size_t n)
{
    uint32_t peak = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t v = w[i] & 0x7fffffff;
        peak = v > peak ? v : peak;
    }
    return peak;
}

static uint64_t NAME(peak64)(const uint64_t *w, size_t n)
{
    uint64_t peak = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = w[i] & INT64_MAX;
        peak = v > peak ? v : peak;
    }
    return peak;
}

#define TOP(bits, word, least)                                                                               \
    static int64_t NAME(top##bits)(const void *w, size_t n)                                                  \
    {                                                                                                        \
        const word *x = w;                                                                                   \
        word top = (least);                                                                                  \
        for (size_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;                                        \
        return top;                                                                                          \
    }
TOP(16, int16_t, INT16_MIN)
TOP(32, int32_t, INT32_MIN)
TOP(64, int64_t, INT64_MIN)

#define BELOW(bits, word, mask)                                                                             \
    static uint64_t NAME(below##bits)(const word *w, size_t n, uint64_t limit64, uint8_t *live)              \
    {                                                                                                        \
        if (limit64 > (mask)) return n;                                                                      \
        const word limit = (word)limit64;                                                                    \
        word below = 0;                                                                                      \
        uint64_t total = 0;                                                                                  \
        for (size_t i = 0; i < n;) {                                                                         \
            size_t end = n - i > 32768 ? i + 32768 : n;                                                      \
            for (below = 0; i < end; i++) {                                                                  \
                word is_below = (word)(w[i] & (mask)) < limit;                                               \
                below = (word)(below + is_below);                                                            \
                live[i] = (uint8_t)(live[i] | (is_below ^ 1));                                               \
            }                                                                                                \
            total += below;                                                                                  \
        }                                                                                                    \
        return total;                                                                                        \
    }
BELOW(16, uint16_t, 0x7fffu)
BELOW(32, uint32_t, 0x7fffffffu)
BELOW(64, uint64_t, (uint64_t)INT64_MAX)

/* ---------------------------------------------------------------- to doubles */

/* Shifting a half's exponent and fraction into a float's place makes it 2^112 times too small, denormals included. */
INLINE float half_value(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    f *= 0x1p112f;
    memcpy(&bits, &f, sizeof f);
    bits |= sign;
    memcpy(&f, &bits, sizeof f);
    return f;
}

INLINE float bfloat_value(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

INLINE double same_value(double x) { return x; }

#define LOADS(name, type, value)                                                                             \
    static void NAME(load_##name)(double *restrict y, const type *restrict x, size_t n, double scale)        \
    {                                                                                                        \
        for (size_t i = 0; i < n; i++) y[i] = (double)value(x[i]) * scale;                                           \
    }
LOADS(f16, uint16_t, half_value)
LOADS(bf16, uint16_t, bfloat_value)
LOADS(f32, float, same_value)
LOADS(f64, double, same_value)

#ifdef __AVX512F__
/* Eight vectors of nine floats lie as nine registers of eight. Weight d of vector i is element 9i + d = 8i + (i + d):
 * lane (i + d) % 8 of register i or i + 1. So a register that takes lane l from register (l - d) mod 9 holds weight d
 * of all eight, rotated by d; three rounds of blends, one for each bit of l, make all nine of them. */
static size_t NAME(turn_nine)(double *restrict x, size_t stride, const float *restrict rows, size_t n, double scale)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8, rows += 72) {
        __m512d v[9], w[9];
        for (unsigned j = 0; j < 9; j++) v[j] = _mm512_cvtps_pd(_mm256_loadu_ps(rows + 8 * j));
        for (unsigned j = 0; j < 9; j++) w[j] = _mm512_mask_blend_pd(0xaa, v[j], v[(j + 1) % 9]);
        for (unsigned j = 0; j < 9; j++) v[j] = _mm512_mask_blend_pd(0xcc, w[j], w[(j + 2) % 9]);
        for (unsigned j = 0; j < 9; j++) w[j] = _mm512_mask_blend_pd(0xf0, v[j], v[(j + 4) % 9]);
        const __m512d by = _mm512_set1_pd(scale);
#define TURN(d) _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(w[(9 - d) % 9]), \
                                                        _mm512_castpd_si512(w[(9 - d) % 9]), d % 8))
#define PUT(d) _mm512_storeu_pd(x + d * stride + i, _mm512_mul_pd(TURN(d), by))
        PUT(0), PUT(1), PUT(2), PUT(3), PUT(4), PUT(5), PUT(6), PUT(7), PUT(8);
#undef PUT
#undef TURN
    }
    return i;
}
#else
typedef float four_floats __attribute__((vector_size(16), aligned(4), may_alias));

INLINE void NAME(put_four)(double *x, four_floats v, double scale)
{
    for (unsigned s = 0; s < 4 / WIDE; s++) {
        narrow part;
        memcpy(&part, (const char *)&v + s * sizeof part, sizeof part);
        *(vec *)(x + s * WIDE) = __builtin_convertvector(part, vec) * scale;
    }
}

/* Columns `at` to `at` + 3 of four rows of nine. */
INLINE void NAME(turn_four)(double *restrict x, size_t stride, const float *restrict rows, double scale)
{
    const four_floats a = *(const four_floats *)rows, b = *(const four_floats *)(rows + 9);
    const four_floats c = *(const four_floats *)(rows + 18), d = *(const four_floats *)(rows + 27);
    const four_floats ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const four_floats AB = __builtin_shufflevector(a, b, 2, 6, 3, 7), CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    NAME(put_four)(x, __builtin_shufflevector(ab, cd, 0, 1, 4, 5), scale);
    NAME(put_four)(x + stride, __builtin_shufflevector(ab, cd, 2, 3, 6, 7), scale);
    NAME(put_four)(x + 2 * stride, __builtin_shufflevector(AB, CD, 0, 1, 4, 5), scale);
    NAME(put_four)(x + 3 * stride, __builtin_shufflevector(AB, CD, 2, 3, 6, 7), scale);
}

/* Four vectors of nine at a time, as two squares of four by four and what is left. */
static size_t NAME(turn_nine)(double *restrict x, size_t stride, const float *restrict rows, size_t n, double scale)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4, rows += 36) {
        NAME(turn_four)(x + i, stride, rows, scale);
        NAME(turn_four)(x + 4 * stride + i, stride, rows + 4, scale);
        NAME(put_four)(x + 8 * stride + i, (four_floats){rows[8], rows[17], rows[26], rows[35]}, scale);
    }
    return i;
}
#endif

INLINE void NAME(turn_f32)(double *restrict x, size_t stride, const float *restrict rows, size_t first, size_t n,
                           unsigned k, double scale)
{
    for (size_t i = first; i < n; i++)
        for (unsigned d = 0; d < k; d++) x[d * stride + i] = (double)rows[i * k + d] * scale;
}

static void NAME(tile_f32)(double *x, size_t stride, const float *rows, size_t n, unsigned k, double scale)
{
    if (k == 9)
        NAME(turn_f32)(x, stride, rows, NAME(turn_nine)(x, stride, rows, n, scale), n, 9, scale);
    else
        NAME(turn_f32)(x, stride, rows, 0, n, k, scale);
}

static void NAME(tile_f64)(double *restrict x, size_t stride, const double *restrict rows, size_t n, unsigned k,
                           double scale)
{
    for (size_t i = 0; i < n; i++)
        for (unsigned d = 0; d < k; d++) x[d * stride + i] = rows[i * k + d] * scale;
}

/* Floats hold halves and bfloats exactly. */
#define TILES_OF_16(name, value)                                                                             \
    static void NAME(tile_##name)(double *x, size_t stride, const uint16_t *rows, size_t n, unsigned k,      \
                                  double scale)                                                              \
    {                                                                                                        \
        float some[16 * NUM_K_MAX];                                                                          \
        const size_t at_once = 16 * NUM_K_MAX / k / 8 * 8;                                                   \
        for (size_t first = 0; first < n; first += at_once) {                                                \
            const size_t m = n - first < at_once ? n - first : at_once;                                      \
            for (size_t i = 0; i < m * k; i++) some[i] = value(rows[first * k + i]);                  \
            NAME(tile_f32)(x + first, stride, some, m, k, scale);                                            \
        }                                                                                                    \
    }
TILES_OF_16(f16, half_value)
TILES_OF_16(bf16, bfloat_value)

/* Adding and subtracting 1.5 * 2^52 units of the last place that a half has at this exponent rounds to that place. */
static void NAME(half)(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        int64_t exponent = (int64_t)(bits >> 52 & 0x7ff) - 1023;
        exponent = exponent < -14 ? -14 : exponent > 16 ? 16 : exponent;
        uint64_t magic_bits = (uint64_t)(exponent - 10 + 52 + 1023) << 52 | UINT64_C(1) << 51;
        double magic;
        memcpy(&magic, &magic_bits, sizeof magic);
        double size = x[i] < 0 ? -x[i] : x[i], rounded = size + magic - magic;
        rounded = size >= 65520.0 ? __builtin_inf() : rounded;
        x[i] = x[i] < 0 ? -rounded : rounded;
    }
}

/* ---------------------------------------------------------------- tiles */

/* The smaller and the larger of each two lanes. */
#if defined(__AVX512F__)
#define LEAST(a, b) ((vec)_mm512_min_pd((__m512d)(a), (__m512d)(b)))
#define MOST(a, b) ((vec)_mm512_max_pd((__m512d)(a), (__m512d)(b)))
#elif defined(__AVX2__)
#define LEAST(a, b) ((vec)_mm256_min_pd((__m256d)(a), (__m256d)(b)))
#define MOST(a, b) ((vec)_mm256_max_pd((__m256d)(a), (__m256d)(b)))
#elif defined(__x86_64__)
#define LEAST(a, b) ((vec)_mm_min_pd((__m128d)(a), (__m128d)(b)))
#define MOST(a, b) ((vec)_mm_max_pd((__m128d)(a), (__m128d)(b)))
#else
INLINE vec NAME(pick)(vec_mask first, vec a, vec b)
{
    return (vec)((first & (vec_mask)a) | (~first & (vec_mask)b));
}
#define LEAST(a, b) NAME(pick)((vec_mask)((a) < (b)), a, b)
#define MOST(a, b) NAME(pick)((vec_mask)((a) > (b)), a, b)
#endif

/* a * b + c, rounded once, where it is as fast as a product. */
#if defined(__AVX512F__)
#define FUSED(a, b, c) ((vec)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#elif defined(__FMA__)
#define FUSED(a, b, c) ((vec)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#endif

static void NAME(tile_peak)(double *restrict peak, const double *restrict x, size_t stride, size_t n, unsigned k)
{
    for (size_t i = 0; i < n; i++) peak[i] = __builtin_fabs(x[i]);
    for (unsigned d = 1; d < k; d++) {
        const double *restrict row = x + d * stride;
        for (size_t i = 0; i < n; i++) {
            double v = __builtin_fabs(row[i]);
            peak[i] = v > peak[i] ? v : peak[i];
        }
    }
}

static void NAME(tile_squares)(double *restrict square, const double *restrict x, size_t stride, size_t n, unsigned k)
{
    for (size_t i = 0; i < n; i++) square[i] = x[i] * x[i];
    for (unsigned d = 1; d < k; d++) {
        const double *restrict row = x + d * stride;
        for (size_t i = 0; i < n; i++) square[i] += row[i] * row[i];
    }
}

static void NAME(tile_pick)(double *restrict y, const double *restrict x, size_t stride, const uint32_t *restrict index,
                            size_t n, unsigned k)
{
    for (unsigned d = 0; d < k; d++) {
        const double *restrict from = x + d * stride;
        double *restrict to = y + d * stride;
        for (size_t i = 0; i < n; i++) to[i] = from[index[i]];
    }
}

static void NAME(tile_divide)(double *y, const double *x, const double *restrict peak, size_t stride, size_t n,
                              unsigned k)
{
    for (unsigned d = 0; d < k; d++) {
        const double *from = x + d * stride;
        double *to = y + d * stride;
        for (size_t i = 0; i < n; i++) to[i] = from[i] / (peak[i] > 0 ? peak[i] : 1);
    }
}

/* One division a vector instead of k. Multiplied by the reciprocal, a quotient errs by less than two units of its last
 * place; what it leaves of x is then exact, and corrects it. The corrected one errs by 2^-50 units before it is rounded,
 * while a quotient of floats is itself a double or 2^-25 units away from whatever rounds differently. Without fused
 * operations the division is made. */
static void NAME(tile_divide_floats)(double *y, const double *x, const double *restrict peak, size_t stride, size_t n,
                                     unsigned k)
{
    size_t i = 0;
#ifdef FUSED
    const vec one = (vec){0} + 1;
    for (; i + 2 * WIDE <= n; i += 2 * WIDE) {
        vec by[2], reciprocal[2];
        for (unsigned r = 0; r < 2; r++) {
            const vec p = *(const vec *)(peak + i + r * WIDE);
            by[r] = p + (vec)((vec_mask)(p == 0) & (vec_mask)one); /* no peak is negative */
            reciprocal[r] = one / by[r];
        }
        for (unsigned d = 0; d < k; d++)
            for (unsigned r = 0; r < 2; r++) {
                const vec v = *(const vec *)(x + d * stride + i + r * WIDE), q = v * reciprocal[r];
                *(vec *)(y + d * stride + i + r * WIDE) = FUSED(FUSED(-q, by[r], v), reciprocal[r], q);
            }
    }
#endif
    for (unsigned d = 0; d < k; d++)
        for (size_t j = i; j < n; j++) y[d * stride + j] = x[d * stride + j] / (peak[j] > 0 ? peak[j] : 1) + 0.0;
}

/* How many of WIDE times two vectors reach a limit, and of the rest, one by one. */
static size_t NAME(tile_above)(const double *x, size_t stride, size_t n, unsigned k, double limit)
{
    vec_mask reached = {0};
    size_t above = 0, i = 0;
    for (; i + 2 * WIDE <= n; i += 2 * WIDE) {
        vec a = *(const vec *)(x + i), b = *(const vec *)(x + i + WIDE);
        for (unsigned d = 1; d < k; d++) {
            a = MOST(*(const vec *)(x + d * stride + i), a);
            b = MOST(*(const vec *)(x + d * stride + i + WIDE), b);
        }
        reached -= (vec_mask)(a >= limit) + (vec_mask)(b >= limit);
    }
    for (unsigned l = 0; l < WIDE; l++) above += (size_t)reached[l];
    for (; i < n; i++) {
        double top = x[i];
        for (unsigned d = 1; d < k; d++) top = x[d * stride + i] > top ? x[d * stride + i] : top;
        above += top >= limit;
    }
    return above;
}

/* ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)) */
INLINE double NAME(fold)(const vec sum[STEPS])
{
    vec_pair p[4];
    memcpy(p, sum, sizeof p);
    p[0] = (p[0] + p[2]) + (p[1] + p[3]);
    return p[0][0] + p[0][1];
}

/* Takes the means of the first n numbers off rows of `padded` numbers, a multiple of NUM_LANES; what is behind the n-th
 * becomes 0. The mean is taken about the first number, so that equal ones leave exactly zero. Several rows at once hide
 * the latency of the additions. */
INLINE void NAME(center)(double *mean, double *x, size_t stride, size_t n, size_t padded, unsigned rows)
{
    vec sum[3][STEPS], pivot[3], shift[3];
    for (unsigned d = 0; d < rows; d++) {
        for (size_t i = n; i < padded; i++) x[d * stride + i] = x[d * stride];
        pivot[d] = (vec){0} + x[d * stride];
        for (unsigned s = 0; s < STEPS; s++) sum[d][s] = (vec){0};
    }
    for (size_t i = 0; i < padded; i += NUM_LANES)
        for (unsigned d = 0; d < rows; d++)
            for (unsigned s = 0; s < STEPS; s++) sum[d][s] += *(const vec *)(x + d * stride + i + s * WIDE) - pivot[d];
    for (unsigned d = 0; d < rows; d++) {
        const double by = NAME(fold)(sum[d]) / (double)n;
        mean[d] = x[d * stride] + by;
        shift[d] = (vec){0} + by;
    }
    for (unsigned d = 0; d < rows; d++) {
        for (size_t i = 0; i < padded; i += NUM_LANES)
            for (unsigned s = 0; s < STEPS; s++) {
                vec *v = (vec *)(x + d * stride + i + s * WIDE);
                *v = *v - pivot[d] - shift[d];
            }
        for (size_t i = n; i < padded; i++) x[d * stride + i] = 0;
    }
}

/* Sums of products of ni rows with nj rows: nine of them and their operands fit into 16 registers. Where both are the
 * same rows, of each with itself and those that follow. */
INLINE void NAME(products)(double *scatter, const double *a, const double *b, size_t stride, size_t n, unsigned k,
                           unsigned ni, unsigned nj, bool same)
{
    vec lanes[3][3][STEPS];
    for (unsigned s = 0; s < STEPS; s++) {
        vec sum[3][3];
        for (unsigned p = 0; p < ni; p++)
            for (unsigned q = same ? p : 0; q < nj; q++) sum[p][q] = (vec){0};
        for (size_t i = s * WIDE; i < n; i += NUM_LANES) {
            vec u[3], v[3];
            for (unsigned p = 0; p < ni; p++) u[p] = *(const vec *)(a + p * stride + i);
            for (unsigned q = 0; q < nj; q++) v[q] = same ? u[q] : *(const vec *)(b + q * stride + i);
            for (unsigned p = 0; p < ni; p++)
                for (unsigned q = same ? p : 0; q < nj; q++) sum[p][q] += u[p] * v[q];
        }
        for (unsigned p = 0; p < ni; p++)
            for (unsigned q = same ? p : 0; q < nj; q++) lanes[p][q][s] = sum[p][q];
    }
    for (unsigned p = 0; p < ni; p++)
        for (unsigned q = same ? p : 0; q < nj; q++) scatter[p * k + q] = NAME(fold)(lanes[p][q]);
}

static void NAME(tile_moments)(double *mean, double *scatter, double *x, size_t stride, size_t n, unsigned k)
{
    const size_t padded = (n + NUM_LANES - 1) / NUM_LANES * NUM_LANES;
    unsigned d = 0;
    for (; d + 3 <= k; d += 3) NAME(center)(mean + d, x + d * stride, stride, n, padded, 3);
    for (; d < k; d++) NAME(center)(mean + d, x + d * stride, stride, n, padded, 1);
    for (unsigned i = 0; i < k; i += 3) {
        for (unsigned j = i; j < k; j += 3) {
            double *s = scatter + (size_t)i * k + j;
            const double *a = x + i * stride, *b = x + j * stride;
            unsigned ni = k - i < 3 ? k - i : 3, nj = k - j < 3 ? k - j : 3;
            switch ((i == j) * 16 + ni * 4 + nj) {
            case 15: NAME(products)(s, a, b, stride, padded, k, 3, 3, false); break;
            case 14: NAME(products)(s, a, b, stride, padded, k, 3, 2, false); break;
            case 13: NAME(products)(s, a, b, stride, padded, k, 3, 1, false); break;
            case 31: NAME(products)(s, a, b, stride, padded, k, 3, 3, true); break;
            case 26: NAME(products)(s, a, b, stride, padded, k, 2, 2, true); break;
            default: NAME(products)(s, a, b, stride, padded, k, 1, 1, true); break;
            }
        }
    }
}

/* Registers of vectors that are projected at a time: all that 16 of them hold beside the sums of three components. */
#if VECTOR == 32
#define ABREAST 4
#else
#define ABREAST 2
#endif

INLINE void NAME(project)(double *c, const double *x, size_t stride, size_t n, unsigned k, const double *v, unsigned nj)
{
    for (size_t i = 0; i < n; i += ABREAST * WIDE) {
        vec sum[3][ABREAST] = {{{0}}};
        for (unsigned d = 0; d < k; d++) {
            vec a[ABREAST];
            for (unsigned r = 0; r < ABREAST; r++) a[r] = *(const vec *)(x + d * stride + i + r * WIDE);
            for (unsigned j = 0; j < nj; j++)
                for (unsigned r = 0; r < ABREAST; r++) sum[j][r] += a[r] * v[j * k + d];
        }
        for (unsigned j = 0; j < nj; j++)
            for (unsigned r = 0; r < ABREAST; r++) *(vec *)(c + j * stride + i + r * WIDE) = sum[j][r];
    }
}

static void NAME(tile_project)(double *restrict c, double *restrict x, size_t stride, size_t n, unsigned k,
                               const double *restrict mean, const double *restrict components)
{
    size_t padded = (n + 2 * NUM_LANES - 1) / (2 * NUM_LANES) * (2 * NUM_LANES);
    for (unsigned d = 0; d < k; d++) {
        double *row = x + d * stride;
        for (size_t i = 0; i < n; i++) row[i] -= mean[d];
        for (size_t i = n; i < padded; i++) row[i] = 0;
    }
    for (unsigned j = 0; j < k; j += 3) {
        const double *v = components + (size_t)j * k;
        double *to = c + j * stride;
        if (k == 9)
            NAME(project)(to, x, stride, padded, 9, v, 3);
        else if (k - j >= 3)
            NAME(project)(to, x, stride, padded, k, v, 3);
        else if (k - j == 2)
            NAME(project)(to, x, stride, padded, k, v, 2);
        else
            NAME(project)(to, x, stride, padded, k, v, 1);
    }
}

static void NAME(range)(double range[2], const double *x, size_t n)
{
    double low = range[0], high = range[1];
    size_t i = 0;
    if (n >= 4 * WIDE) {
        /* Four chains of comparisons hide each other's latency. (Begun with four loads, gcc sends them through memory.) */
        vec least[4], most[4];
        for (unsigned c = 0; c < 4; c++) least[c] = most[c] = (vec){0} + x[0];
        for (; i + 4 * WIDE <= n; i += 4 * WIDE)
            for (unsigned c = 0; c < 4; c++) {
                const vec v = *(const vec *)(x + i + c * WIDE);
                least[c] = LEAST(v, least[c]);
                most[c] = MOST(v, most[c]);
            }
        least[0] = LEAST(LEAST(least[0], least[1]), LEAST(least[2], least[3]));
        most[0] = MOST(MOST(most[0], most[1]), MOST(most[2], most[3]));
        for (unsigned l = 0; l < WIDE; l++) {
            low = least[0][l] < low ? least[0][l] : low;
            high = most[0][l] > high ? most[0][l] : high;
        }
    }
    for (; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    range[0] = low + 0.0;
    range[1] = high + 0.0;
}

/* Largest integer not above v, for |v| < 2^51. */
INLINE double floor_small(double v)
{
#ifdef __SSE4_1__
    return __builtin_floor(v);
#else
    double r = v + 0x1.8p52 - 0x1.8p52;
    return r > v ? r - 1 : r;
#endif
}

/* A number above an edge by no more than rounding counts as below it. This matters: the zero kernel lies exactly
 * between a kernel and its negative, so that where these two span the range, its coefficient is that of the middle
 * edge, and the last bit would decide where all dead kernels of a model go. */
INLINE void NAME(cells_by)(uint32_t *restrict place, const double *restrict x, size_t n, const num_cells_view *view,
                           bool careful, uint64_t *doubtful)
{
    const double lo = view->lo, hi = view->hi, bins = view->bins, width = hi - lo, step = width / bins;
    const double per_width = bins / width, rounding = width * 0x1p-48, middle = bins / 2;
    /* In units of a place: powers of two change no bit of what follows. */
    const double unit = 1 << NUM_FRACTION_BITS, fine = (double)(UINT64_C(1) << view->zoom) * unit;
    const double first = (double)view->first * unit, far = 0x1p50 * unit / fine;
    const double end = fine - 0.5, limit = view->count * unit - 0.5;
    uint64_t doubts = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = x[i];
        double q = (v - lo) * per_width;
        if (careful) {
            q = q > far ? far : q;
            q = q < -far ? -far : q;
        }
        double b = floor_small(q);
        if (careful) {
            b = v < lo + b * step ? b - 1 : b;
            b = v >= lo + (b + 1) * step ? b + 1 : b;
            const double most = b > bins - 1 ? bins - 1 : b, least = b < bins ? bins : b;
            b = v <= hi ? most : least;
            const double over = v - (lo + b * step);
            b = ((over > 0) & (over <= rounding) & (b > 0) & (b < bins)) ? b - 1 : b;
        }
        double t = q - b;
        if (!careful) {
            /* Not within rounding of an edge, nor outside of the range: b stands. */
            const double from_middle = t - 0.5, from_centre = q - middle;
            doubts |= (uint64_t)(__builtin_fabs(from_middle) > 0.5 - 0x1p-32) |
                      (uint64_t)(__builtin_fabs(from_centre) > middle);
        }
        t *= fine;
        if (careful) t = t < 0 ? 0 : t;
        t = t > end ? end : t;
        double at = b * fine - first + t;
        at = at < 0 ? 0 : at;
        at = at > limit ? limit : at;
        place[i] = (uint32_t)(int32_t)at;
    }
    *doubtful = doubts;
}

static void NAME(cells)(uint32_t *place, const double *x, size_t n, const num_cells_view *view)
{
    uint64_t doubtful;
    NAME(cells_by)(place, x, n, view, false, &doubtful);
    if (doubtful) NAME(cells_by)(place, x, n, view, true, &doubtful);
}

/* Sums over n numbers in lanes: TERM(i) is a register of terms from element i on, TAIL(i) the term of element i. */
#define SUM_IN_LANES(TERM, TAIL)                                                                             \
    vec sum[STEPS] = {{0}};                                                                                  \
    size_t i = 0;                                                                                            \
    for (; i + NUM_LANES <= n; i += NUM_LANES)                                                               \
        for (unsigned s = 0; s < STEPS; s++) sum[s] += TERM(i + s * WIDE);                                   \
    for (unsigned l = 0; i < n; i++, l++) sum[l / WIDE][l % WIDE] += TAIL(i);                                \
    return NAME(fold)(sum)

INLINE vec NAME(squares)(const double *x)
{
    const vec v = *(const vec *)x;
    return v * v;
}

static double NAME(sum_squares)(const double *x, size_t n)
{
#define TERM(i) NAME(squares)(x + (i))
#define TAIL(i) x[i] * x[i]
    SUM_IN_LANES(TERM, TAIL);
#undef TERM
#undef TAIL
}

INLINE vec NAME(float_squares)(const float *x)
{
    const vec v = __builtin_convertvector(*(const narrow *)x, vec);
    return v * v;
}

static double NAME(float_sum_squares)(const float *x, size_t n)
{
#define TERM(i) NAME(float_squares)(x + (i))
#define TAIL(i) (double)x[i] * (double)x[i]
    SUM_IN_LANES(TERM, TAIL);
#undef TERM
#undef TAIL
}

INLINE vec NAME(sizes)(const float *x)
{
    narrow v = *(const narrow *)x;
    v = (narrow)((narrow_mask)v & INT32_MAX);
    return __builtin_convertvector(v, vec);
}

static double NAME(sum_abs)(const float *x, const double *by, size_t n)
{
#define TERM(i) NAME(sizes)(x + (i)) * *(const vec *)(by + (i))
#define TAIL(i) (double)__builtin_fabsf(x[i]) * by[i]
    SUM_IN_LANES(TERM, TAIL);
#undef TERM
#undef TAIL
}

static double NAME(dot)(const double *x, const double *y, size_t n)
{
#define TERM(i) *(const vec *)(x + (i)) * *(const vec *)(y + (i))
#define TAIL(i) x[i] * y[i]
    SUM_IN_LANES(TERM, TAIL);
#undef TERM
#undef TAIL
}

#include "num/kernels_gram.h"

static void NAME(pack)(float *restrict y, const double *restrict x, size_t n, double unit, double scale)
{
    for (size_t i = 0; i < n; i++) y[i] = (float)(x[i] * unit * scale);
}

const num_kernels TABLE = {
    .name = VARIANT,
    .peak16 = NAME(peak16), .peak32 = NAME(peak32), .peak64 = NAME(peak64),
    .top16 = NAME(top16), .top32 = NAME(top32), .top64 = NAME(top64),
    .below16 = NAME(below16), .below32 = NAME(below32), .below64 = NAME(below64),
    .load_f16 = NAME(load_f16), .load_bf16 = NAME(load_bf16),
    .load_f32 = NAME(load_f32), .load_f64 = NAME(load_f64),
    .tile_f16 = NAME(tile_f16), .tile_bf16 = NAME(tile_bf16),
    .tile_f32 = NAME(tile_f32), .tile_f64 = NAME(tile_f64),
    .half = NAME(half),
    .tile_peak = NAME(tile_peak), .tile_squares = NAME(tile_squares),
    .tile_divide = NAME(tile_divide), .tile_divide_floats = NAME(tile_divide_floats),
    .tile_above = NAME(tile_above), .tile_pick = NAME(tile_pick),
    .tile_moments = NAME(tile_moments), .tile_project = NAME(tile_project),
    .range = NAME(range), .cells = NAME(cells),
    .sum_squares = NAME(sum_squares), .float_sum_squares = NAME(float_sum_squares), .sum_abs = NAME(sum_abs), .dot = NAME(dot),
    .gram = NAME(gram), .pack = NAME(pack),
};
