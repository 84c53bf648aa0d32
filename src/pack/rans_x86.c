/* The coder's inner loops in vectors: one lane of the coder is one lane of a register.
 *
 * Decoding stops while a full read of words is still inside the chunk; the plain loop in rans.c does the rest and is
 * the definition. Nothing here exists on other machines. */
#include "pack/blob.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET_AVX2 __attribute__((target("avx2,bmi2,popcnt")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,popcnt")))
#define TARGET_AVX512VBMI2 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")))

/* ---- AVX-512: 16 lanes a register */

TARGET_AVX512 static inline __m512i step_avx512(__m512i x, const uint32_t *slots, const int8_t *classes,
                                                const uint8_t **words, uint8_t *symbols)
{
    const __m512i low = _mm512_set1_epi32((1 << RANS_BITS) - 1);
    __m512i slot = _mm512_and_si512(x, low);
    if (classes) {
        __m512i table = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)classes));
        table = _mm512_slli_epi32(_mm512_and_si512(table, _mm512_set1_epi32(1)), RANS_BITS);
        slot = _mm512_or_si512(slot, table);
    }
    __m512i entry = _mm512_i32gather_epi32(slot, slots, 4);
    _mm_storeu_si128((__m128i *)symbols, _mm512_cvtepi32_epi8(entry));
    __m512i frequency = _mm512_add_epi32(_mm512_and_si512(_mm512_srli_epi32(entry, 8), low), _mm512_set1_epi32(1));
    x = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32(x, RANS_BITS)), _mm512_srli_epi32(entry, 20));
    __mmask16 need = _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32(65536));
    __m512i word = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)*words));
    word = _mm512_maskz_expand_epi32(need, word);
    *words += 2 * (unsigned)_mm_popcnt_u32(need);
    return _mm512_mask_or_epi32(x, need, _mm512_slli_epi32(x, 16), word);
}

TARGET_AVX512 size_t rans_decode_avx512(rans_decode_job *job)
{
    const unsigned lanes = job->lanes;
    const uint8_t *words = job->words;
    size_t i = 0;
    __m512i a = _mm512_loadu_si512(job->states);
    if (lanes == 16) {
        for (; i + 16 <= job->n && job->end - words >= 32; i += 16)
            a = step_avx512(a, job->slots, job->classes ? job->classes + i : NULL, &words, job->symbols + i);
    } else {
        __m512i b = _mm512_loadu_si512(job->states + 16);
        for (; i + 32 <= job->n && job->end - words >= 64; i += 32) {
            a = step_avx512(a, job->slots, job->classes ? job->classes + i : NULL, &words, job->symbols + i);
            b = step_avx512(b, job->slots, job->classes ? job->classes + i + 16 : NULL, &words, job->symbols + i + 16);
        }
        _mm512_storeu_si512(job->states + 16, b);
    }
    _mm512_storeu_si512(job->states, a);
    job->words = words;
    return i;
}

/* The way back. Symbols of 16 lanes are taken in at once; those that are over give up their words, which lie below the
 * words of all later symbols, the lowest lane's lowest. */
TARGET_AVX512VBMI2 static inline __m512i step_back_avx512(__m512i x, const uint32_t *ranges, const int8_t *classes,
                                                          const uint8_t *symbols, uint8_t **words)
{
    __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)symbols));
    if (classes) {
        __m512i table = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)classes));
        index = _mm512_or_si512(index, _mm512_slli_epi32(_mm512_and_si512(table, _mm512_set1_epi32(1)), 8));
    }
    __m512i range = _mm512_i32gather_epi32(index, ranges, 4);
    __m512i frequency = _mm512_srli_epi32(range, 16), start = _mm512_and_si512(range, _mm512_set1_epi32(65535));
    __mmask16 over = _mm512_cmpge_epu32_mask(_mm512_srli_epi32(x, 20), frequency);
    unsigned count = (unsigned)_mm_popcnt_u32(over);
    *words -= 2 * count;
    __m256i low = _mm256_maskz_compress_epi16(over, _mm512_cvtepi32_epi16(x));
    _mm256_mask_storeu_epi16(*words, (__mmask16)((1u << count) - 1), low);
    x = _mm512_mask_srli_epi32(x, over, x, 16);
    /* The quotient is below 2^20 and the rounding of x and of the division together below 2^-23 of it, so the float is
     * off by less than one: one step either way makes it exact. */
    __m512 quotient = _mm512_div_ps(_mm512_cvtepu32_ps(x), _mm512_cvtepu32_ps(frequency));
    __m512i q = _mm512_cvttps_epi32(quotient);
    __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(q, frequency));
    __mmask16 below = _mm512_cmplt_epi32_mask(rest, _mm512_setzero_si512());
    q = _mm512_mask_sub_epi32(q, below, q, _mm512_set1_epi32(1));
    rest = _mm512_mask_add_epi32(rest, below, rest, frequency);
    __mmask16 above = _mm512_cmpge_epi32_mask(rest, frequency);
    q = _mm512_mask_add_epi32(q, above, q, _mm512_set1_epi32(1));
    rest = _mm512_mask_sub_epi32(rest, above, rest, frequency);
    return _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(q, RANS_BITS), rest), start);
}

TARGET_AVX512VBMI2 uint8_t *rans_encode_avx512(const uint32_t *ranges, const uint8_t *symbols, const int8_t *classes,
                                               size_t n, unsigned lanes, uint32_t *states, uint8_t *words)
{
    __m512i a = _mm512_loadu_si512(states);
    if (lanes == 16) {
        for (size_t i = n; i;) {
            i -= 16;
            a = step_back_avx512(a, ranges, classes ? classes + i : NULL, symbols + i, &words);
        }
    } else {
        __m512i b = _mm512_loadu_si512(states + 16);
        for (size_t i = n; i;) {
            i -= 32;
            b = step_back_avx512(b, ranges, classes ? classes + i + 16 : NULL, symbols + i + 16, &words);
            a = step_back_avx512(a, ranges, classes ? classes + i : NULL, symbols + i, &words);
        }
        _mm512_storeu_si512(states + 16, b);
    }
    _mm512_storeu_si512(states, a);
    return words;
}

/* ---- AVX2: 8 lanes a register */

TARGET_AVX2 static inline __m256i step_avx2(__m256i x, const uint32_t *slots, const int8_t *classes,
                                            const uint8_t **words, uint8_t *symbols)
{
    const __m256i low = _mm256_set1_epi32((1 << RANS_BITS) - 1);
    __m256i slot = _mm256_and_si256(x, low);
    if (classes) {
        __m256i table = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)classes));
        table = _mm256_slli_epi32(_mm256_and_si256(table, _mm256_set1_epi32(1)), RANS_BITS);
        slot = _mm256_or_si256(slot, table);
    }
    __m256i entry = _mm256_i32gather_epi32((const int *)slots, slot, 4);
    /* the lowest byte of each entry */
    const __m256i pick = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                                          -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i bytes = _mm256_shuffle_epi8(entry, pick);
    uint32_t half = (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(bytes));
    memcpy(symbols, &half, 4);
    half = (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(bytes, 1));
    memcpy(symbols + 4, &half, 4);
    __m256i frequency = _mm256_add_epi32(_mm256_and_si256(_mm256_srli_epi32(entry, 8), low), _mm256_set1_epi32(1));
    x = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(x, RANS_BITS)), _mm256_srli_epi32(entry, 20));
    __m256i need = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
    unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(need));
    /* word number j goes to the j-th lane that needs one: deposit the bytes 0 1 2 ... into those lanes */
    uint64_t lanes = _pdep_u64(mask, UINT64_C(0x0101010101010101)) * 255;
    __m256i from = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)_pdep_u64(UINT64_C(0x0706050403020100), lanes)));
    __m256i word = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)*words));
    word = _mm256_permutevar8x32_epi32(word, from);
    *words += 2 * (unsigned)_mm_popcnt_u32(mask);
    return _mm256_blendv_epi8(x, _mm256_or_si256(_mm256_slli_epi32(x, 16), word), need);
}

TARGET_AVX2 size_t rans_decode_avx2(rans_decode_job *job)
{
    const unsigned lanes = job->lanes, registers = lanes / 8;
    const uint8_t *words = job->words;
    __m256i x[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    size_t i = 0;
    for (unsigned r = 0; r < registers; r++) x[r] = _mm256_loadu_si256((const __m256i *)(job->states + 8 * r));
    for (; i + lanes <= job->n && job->end - words >= 2 * (ptrdiff_t)lanes; i += lanes)
        for (unsigned r = 0; r < registers; r++)
            x[r] = step_avx2(x[r], job->slots, job->classes ? job->classes + i + 8 * r : NULL, &words,
                             job->symbols + i + 8 * r);
    for (unsigned r = 0; r < registers; r++) _mm256_storeu_si256((__m256i *)(job->states + 8 * r), x[r]);
    job->words = words;
    return i;
}

/* The way back, as for AVX-512. A whole register of words is written, those that count at its upper end: what lies below
 * them comes later. upper[over]: the lanes that are over, in their order, as bytes, at the upper end. */
TARGET_AVX2 static inline __m256i step_back_avx2(__m256i x, const uint32_t *ranges, const int8_t *classes,
                                                 const uint8_t *symbols, const uint64_t upper[256], uint8_t **words)
{
    const __m256i low = _mm256_set1_epi32(65535);
    __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)symbols));
    if (classes) {
        __m256i table = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)classes));
        index = _mm256_or_si256(index, _mm256_slli_epi32(_mm256_and_si256(table, _mm256_set1_epi32(1)), 8));
    }
    uint32_t at[8]; /* eight loads take less time than a gather (Zen 3) */
    _mm256_storeu_si256((__m256i *)at, index);
    __m256i range = _mm256_setr_epi32((int)ranges[at[0]], (int)ranges[at[1]], (int)ranges[at[2]], (int)ranges[at[3]],
                                      (int)ranges[at[4]], (int)ranges[at[5]], (int)ranges[at[6]], (int)ranges[at[7]]);
    __m256i frequency = _mm256_srli_epi32(range, 16), start = _mm256_and_si256(range, low);
    __m256i under = _mm256_cmpgt_epi32(frequency, _mm256_srli_epi32(x, 20));
    unsigned over = ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(under)) & 255;
    __m256i from = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(upper + over)));
    __m256i word = _mm256_and_si256(_mm256_permutevar8x32_epi32(x, from), low);
    _mm_storeu_si128((__m128i *)(*words - 16),
                     _mm_packus_epi32(_mm256_castsi256_si128(word), _mm256_extracti128_si256(word, 1)));
    *words -= 2 * (unsigned)_mm_popcnt_u32(over);
    x = _mm256_srlv_epi32(x, _mm256_andnot_si256(under, _mm256_set1_epi32(16)));
    /* As there; there is no conversion of unsigned numbers here, but both halves are exact, and one sum rounds. The
     * quotient less a half is cut to the right one or to one less, never to more. */
    __m256 whole = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16)), _mm256_set1_ps(65536)),
                                 _mm256_cvtepi32_ps(_mm256_and_si256(x, low)));
    __m256 ratio = _mm256_div_ps(whole, _mm256_cvtepi32_ps(frequency));
    __m256i q = _mm256_cvttps_epi32(_mm256_sub_ps(ratio, _mm256_set1_ps(0.5f)));
    __m256i rest = _mm256_sub_epi32(x, _mm256_mullo_epi32(q, frequency));
    __m256i inside = _mm256_cmpgt_epi32(frequency, rest);
    __m256i more = _mm256_andnot_si256(inside, _mm256_sub_epi32(_mm256_set1_epi32(1 << RANS_BITS), frequency));
    return _mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(q, RANS_BITS), rest), _mm256_add_epi32(start, more));
}

TARGET_AVX2 static inline __attribute__((always_inline)) uint8_t *
groups_back_avx2(const uint32_t *ranges, const uint8_t *symbols, const int8_t *classes, size_t *n, unsigned lanes,
                 uint32_t *states, uint8_t *words, const uint8_t *floor)
{
    uint64_t upper[256];
    __m256i x[4];
    size_t i = *n;
    for (unsigned over = 0; over < 256; over++) {
        uint64_t chosen = _pext_u64(UINT64_C(0x0706050403020100), _pdep_u64(over, UINT64_C(0x0101010101010101)) * 255);
        upper[over] = over ? chosen << 8 * (8 - (unsigned)_mm_popcnt_u32(over)) : 0;
    }
    for (unsigned r = 0; r < lanes / 8; r++) x[r] = _mm256_loadu_si256((const __m256i *)(states + 8 * r));
    while (i && words - floor >= 2 * (ptrdiff_t)lanes + 16) {
        i -= lanes;
        for (unsigned r = lanes / 8; r-- > 0;)
            x[r] = step_back_avx2(x[r], ranges, classes ? classes + i + 8 * r : NULL, symbols + i + 8 * r, upper, &words);
    }
    for (unsigned r = 0; r < lanes / 8; r++) _mm256_storeu_si256((__m256i *)(states + 8 * r), x[r]);
    *n = i;
    return words;
}

TARGET_AVX2 uint8_t *rans_encode_avx2(const uint32_t *ranges, const uint8_t *symbols, const int8_t *classes, size_t *n,
                                      unsigned lanes, uint32_t *states, uint8_t *words, const uint8_t *floor)
{
    if (lanes == 8) return groups_back_avx2(ranges, symbols, classes, n, 8, states, words, floor);
    if (lanes == 16) return groups_back_avx2(ranges, symbols, classes, n, 16, states, words, floor);
    return groups_back_avx2(ranges, symbols, classes, n, 32, states, words, floor);
}

#else

typedef int rans_x86_is_elsewhere; /* a translation unit must not be empty */

#endif
