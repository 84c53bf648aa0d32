/* The instructions of AVX-512 that this program uses, written out after Intel's description of them, for processors without:
 * tests/avx512.sh builds all sources with this in front of them (`-include`). What runs is then the program's own
 * code of that level, and the dispatcher believes that the processor has it. */
#ifndef FPR_TESTS_AVX512_MODEL_H
#define FPR_TESTS_AVX512_MODEL_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Functions for AVX-512 are compiled for AVX2. */
#define target(features) target("avx2,fma,bmi,bmi2,popcnt")
#define __builtin_cpu_supports(feature) (!strncmp(feature, "avx512", 6) || __builtin_cpu_supports(feature))
#ifdef AVX512_MODELLED
#define __AVX512F__ 1
#endif

typedef union { __m512i v; __m512d d; __m512 f; int32_t i32[16]; uint32_t u32[16]; uint64_t u64[8]; double f64[8]; float f32[16]; } lanes512;
#define MODEL static inline __attribute__((always_inline, unused))

/* Lane by lane: i32 of the result r from the lanes of a and b. */
#define LANES(name, lane, expression)                                                                        \
    MODEL __m512i model_##name(__m512i first, __m512i second)                                                \
    {                                                                                                        \
        const lanes512 a = {.v = first}, b = {.v = second};                                                     \
        lanes512 r;                                                                                             \
        (void)b;                                                                                             \
        for (unsigned l = 0; l < 16; l++) r.lane[l] = expression;                                            \
        return r.v;                                                                                          \
    }
LANES(add, u32, a.u32[l] + b.u32[l])
LANES(sub, u32, a.u32[l] - b.u32[l])
LANES(mullo, u32, a.u32[l] * b.u32[l])
LANES(both, u32, a.u32[l] & b.u32[l])
LANES(either, u32, a.u32[l] | b.u32[l])
LANES(left, u32, b.u32[0] > 31 ? 0 : a.u32[l] << b.u32[0])
LANES(right, u32, b.u32[0] > 31 ? 0 : a.u32[l] >> b.u32[0])

MODEL __m512i model_all(int32_t x)
{
    lanes512 r;
    for (unsigned l = 0; l < 16; l++) r.i32[l] = x;
    return r.v;
}

/* Lanes of a mask from b, the others from a. */
MODEL __m512i model_choose(__m512i first, __mmask16 mask, __m512i second)
{
    const lanes512 a = {.v = first}, b = {.v = second};
    lanes512 r;
    for (unsigned l = 0; l < 16; l++) r.u32[l] = mask >> l & 1 ? b.u32[l] : a.u32[l];
    return r.v;
}

#define COMPARES(name, expression)                                                                           \
    MODEL __mmask16 model_##name(__m512i first, __m512i second)                                              \
    {                                                                                                        \
        const lanes512 a = {.v = first}, b = {.v = second};                                                     \
        unsigned mask = 0;                                                                                   \
        for (unsigned l = 0; l < 16; l++) mask |= (unsigned)(expression) << l;                               \
        return (__mmask16)mask;                                                                              \
    }
COMPARES(less, a.i32[l] < b.i32[l])
COMPARES(less_unsigned, a.u32[l] < b.u32[l])
COMPARES(not_less, a.i32[l] >= b.i32[l])
COMPARES(not_less_unsigned, a.u32[l] >= b.u32[l])

MODEL __m512i model_load(const void *from)
{
    lanes512 r;
    memcpy(&r, from, sizeof r);
    return r.v;
}

MODEL void model_store(void *to, __m512i v) { memcpy(to, &v, sizeof v); }

#define WIDENS(name, type, word, words)                                                                      \
    MODEL __m512i model_##name(type narrow)                                                                  \
    {                                                                                                        \
        word from[words];                                                                                    \
        lanes512 r;                                                                                             \
        memcpy(from, &narrow, sizeof from);                                                                  \
        for (unsigned l = 0; l < 16; l++) r.i32[l] = (int32_t)from[l];                                       \
        return r.v;                                                                                          \
    }
WIDENS(of_i8, __m128i, int8_t, 16)
WIDENS(of_u8, __m128i, uint8_t, 16)
WIDENS(of_u16, __m256i, uint16_t, 16)

MODEL __m128i model_to_i8(__m512i v)
{
    const lanes512 a = {.v = v};
    uint8_t to[16];
    __m128i r;
    for (unsigned l = 0; l < 16; l++) to[l] = (uint8_t)a.u32[l];
    memcpy(&r, to, sizeof r);
    return r;
}

MODEL __m256i model_to_i16(__m512i v)
{
    const lanes512 a = {.v = v};
    uint16_t to[16];
    __m256i r;
    for (unsigned l = 0; l < 16; l++) to[l] = (uint16_t)a.u32[l];
    memcpy(&r, to, sizeof r);
    return r;
}

MODEL __m512i model_gather(__m512i index, const void *base, unsigned scale)
{
    const lanes512 at = {.v = index};
    lanes512 r;
    for (unsigned l = 0; l < 16; l++) memcpy(&r.u32[l], (const char *)base + (ptrdiff_t)at.i32[l] * scale, 4);
    return r.v;
}

/* The next lane of a goes to the next lane of the mask, the others become 0. */
MODEL __m512i model_expand(__mmask16 mask, __m512i v)
{
    const lanes512 a = {.v = v};
    lanes512 r;
    for (unsigned l = 0, next = 0; l < 16; l++) r.u32[l] = mask >> l & 1 ? a.u32[next++] : 0;
    return r.v;
}

MODEL __m256i model_compress(__mmask16 mask, __m256i v)
{
    uint16_t from[16], to[16] = {0};
    memcpy(from, &v, sizeof from);
    for (unsigned l = 0, next = 0; l < 16; l++)
        if (mask >> l & 1) to[next++] = from[l];
    memcpy(&v, to, sizeof v);
    return v;
}

MODEL void model_put_some(void *to, __mmask16 mask, __m256i v)
{
    for (unsigned l = 0; l < 16; l++)
        if (mask >> l & 1) memcpy((char *)to + 2 * l, (const char *)&v + 2 * l, 2);
}

MODEL __m512 model_floats(__m512i v)
{
    const lanes512 a = {.v = v};
    lanes512 r;
    for (unsigned l = 0; l < 16; l++) r.f32[l] = (float)a.u32[l];
    return r.f;
}

MODEL __m512i model_cut(__m512 v)
{
    const lanes512 a = {.f = v};
    lanes512 r;
    for (unsigned l = 0; l < 16; l++) /* what no integer holds, NaN included, becomes the least of them */
        r.i32[l] = a.f32[l] >= -0x1p31f && a.f32[l] < 0x1p31f ? (int32_t)a.f32[l] : INT32_MIN;
    return r.v;
}

MODEL __m512d model_doubles(__m256 v)
{
    float from[8];
    lanes512 r;
    memcpy(from, &v, sizeof from);
    for (unsigned l = 0; l < 8; l++) r.f64[l] = from[l];
    return r.d;
}

MODEL __m512d model_blend(__mmask8 mask, __m512d first, __m512d second)
{
    const lanes512 a = {.d = first}, b = {.d = second};
    lanes512 r;
    for (unsigned l = 0; l < 8; l++) r.f64[l] = mask >> l & 1 ? b.f64[l] : a.f64[l];
    return r.d;
}

/* Lanes `by` to by + 7 of b and, above them, a. */
MODEL __m512i model_align(__m512i high, __m512i low, unsigned by)
{
    const lanes512 a = {.v = high}, b = {.v = low};
    lanes512 r;
    for (unsigned l = 0; l < 8; l++) r.u64[l] = l + by % 8 < 8 ? b.u64[l + by % 8] : a.u64[l + by % 8 - 8];
    return r.v;
}

/* Where numbers are equal (zeros of both signs) or one is none, the second. */
#define DOUBLES(name, expression)                                                                            \
    MODEL __m512d model_##name(__m512d first, __m512d second, __m512d third)                                 \
    {                                                                                                        \
        const lanes512 a = {.d = first}, b = {.d = second}, c = {.d = third};                                   \
        lanes512 r;                                                                                             \
        (void)c;                                                                                             \
        for (unsigned l = 0; l < 8; l++) r.f64[l] = expression;                                              \
        return r.d;                                                                                          \
    }
DOUBLES(least, a.f64[l] < b.f64[l] ? a.f64[l] : b.f64[l])
DOUBLES(most, a.f64[l] > b.f64[l] ? a.f64[l] : b.f64[l])
DOUBLES(times, a.f64[l] * b.f64[l])
DOUBLES(fused, fma(a.f64[l], b.f64[l], c.f64[l]))

MODEL __m512d model_same(double x)
{
    lanes512 r;
    for (unsigned l = 0; l < 8; l++) r.f64[l] = x;
    return r.d;
}

/* Without optimization gcc's own are macros, too. */
#undef _mm512_add_epi32
#undef _mm512_sub_epi32
#undef _mm512_mullo_epi32
#undef _mm512_and_si512
#undef _mm512_or_si512
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#undef _mm512_set1_epi32
#undef _mm512_setzero_si512
#undef _mm512_mask_add_epi32
#undef _mm512_mask_sub_epi32
#undef _mm512_mask_or_epi32
#undef _mm512_mask_srli_epi32
#undef _mm512_cmplt_epi32_mask
#undef _mm512_cmplt_epu32_mask
#undef _mm512_cmpge_epi32_mask
#undef _mm512_cmpge_epu32_mask
#undef _mm512_loadu_si512
#undef _mm512_storeu_si512
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepi32_epi16
#undef _mm512_i32gather_epi32
#undef _mm512_maskz_expand_epi32
#undef _mm256_maskz_compress_epi16
#undef _mm256_mask_storeu_epi16
#undef _mm512_cvtepu32_ps
#undef _mm512_cvttps_epi32
#undef _mm512_div_ps
#undef _mm512_cvtps_pd
#undef _mm512_mask_blend_pd
#undef _mm512_alignr_epi64
#undef _mm512_castsi512_pd
#undef _mm512_castpd_si512
#undef _mm512_set1_pd
#undef _mm512_storeu_pd
#undef _mm512_mul_pd
#undef _mm512_min_pd
#undef _mm512_max_pd
#undef _mm512_fmadd_pd

#define _mm512_add_epi32(a, b) model_add(a, b)
#define _mm512_sub_epi32(a, b) model_sub(a, b)
#define _mm512_mullo_epi32(a, b) model_mullo(a, b)
#define _mm512_and_si512(a, b) model_both(a, b)
#define _mm512_or_si512(a, b) model_either(a, b)
#define _mm512_slli_epi32(a, n) model_left(a, model_all(n))
#define _mm512_srli_epi32(a, n) model_right(a, model_all(n))
#define _mm512_set1_epi32(x) model_all((int32_t)(x))
#define _mm512_setzero_si512() model_all(0)
#define _mm512_mask_add_epi32(s, m, a, b) model_choose(s, m, model_add(a, b))
#define _mm512_mask_sub_epi32(s, m, a, b) model_choose(s, m, model_sub(a, b))
#define _mm512_mask_or_epi32(s, m, a, b) model_choose(s, m, model_either(a, b))
#define _mm512_mask_srli_epi32(s, m, a, n) model_choose(s, m, model_right(a, model_all(n)))
#define _mm512_cmplt_epi32_mask(a, b) model_less(a, b)
#define _mm512_cmplt_epu32_mask(a, b) model_less_unsigned(a, b)
#define _mm512_cmpge_epi32_mask(a, b) model_not_less(a, b)
#define _mm512_cmpge_epu32_mask(a, b) model_not_less_unsigned(a, b)
#define _mm512_loadu_si512(p) model_load(p)
#define _mm512_storeu_si512(p, v) model_store(p, v)
#define _mm512_cvtepi8_epi32(v) model_of_i8(v)
#define _mm512_cvtepu8_epi32(v) model_of_u8(v)
#define _mm512_cvtepu16_epi32(v) model_of_u16(v)
#define _mm512_cvtepi32_epi8(v) model_to_i8(v)
#define _mm512_cvtepi32_epi16(v) model_to_i16(v)
#define _mm512_i32gather_epi32(i, p, s) model_gather(i, p, s)
#define _mm512_maskz_expand_epi32(m, v) model_expand(m, v)
#define _mm256_maskz_compress_epi16(m, v) model_compress(m, v)
#define _mm256_mask_storeu_epi16(p, m, v) model_put_some(p, m, v)
#define _mm512_cvtepu32_ps(v) model_floats(v)
#define _mm512_cvttps_epi32(v) model_cut(v)
#define _mm512_div_ps(a, b) ((a) / (b))
#define _mm512_cvtps_pd(v) model_doubles(v)
#define _mm512_mask_blend_pd(m, a, b) model_blend(m, a, b)
#define _mm512_alignr_epi64(a, b, n) model_align(a, b, n)
#define _mm512_castsi512_pd(v) ((__m512d)(v))
#define _mm512_castpd_si512(v) ((__m512i)(v))
#define _mm512_set1_pd(x) model_same(x)
#define _mm512_storeu_pd(p, v) model_store(p, (__m512i)(v))
#define _mm512_mul_pd(a, b) model_times(a, b, a)
#define _mm512_min_pd(a, b) model_least(a, b, a)
#define _mm512_max_pd(a, b) model_most(a, b, a)
#define _mm512_fmadd_pd(a, b, c) model_fused(a, b, c)

#endif
