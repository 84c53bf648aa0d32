/* Symbols as of tokens.h, foretold by four models, each of which counts as much as it was right before. FORMAT.md,
 * section 9.6, is the specification.
 *
 * The weight of a model is what is believed of it: Bayes' rule makes it more where the model gave the symbol a higher
 * probability than all of them together, slowly, so that the past is forgotten. */
#ifndef FPR_BLEND_H
#define FPR_BLEND_H

#include "pack/tokens.h"

#define BLENDED 4u
#define BLEND_ALL 65532   /* the weights together, at most: the mean is below 32752 then */
#define BLEND_FIRST (BLEND_ALL / 4)
#define BLEND_LEAST 2048  /* of one, before their sum is set right */
#define BLEND_SHIFT 4     /* how slowly they learn */
#define BLEND_TOP 32752   /* where models tend to: 16 less than what is coded with, one for each symbol */

typedef struct blend {
    _Alignas(16) uint32_t weights[BLENDED]; /* in 1/65536 */
} blend;

static inline void blend_begin(token_model *m, int size, int (*lg)(uint64_t))
{
    token_begin(m, size, lg);
    for (unsigned i = 1; i < TOKENS; i++) m->below[i] = m->below[i] < BLEND_TOP ? m->below[i] : BLEND_TOP;
}

static const token_model blend_targets[TOKENS] = {
#define T(s, i) (i <= s ? 0 : BLEND_TOP)
#define ROW(s)                                                                                                         \
    {.below = {T(s, 0), T(s, 1), T(s, 2),  T(s, 3),  T(s, 4),  T(s, 5),  T(s, 6),  T(s, 7),                                      \
     T(s, 8), T(s, 9), T(s, 10), T(s, 11), T(s, 12), T(s, 13), T(s, 14), T(s, 15)}}
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15)
#undef ROW
#undef T
};

/* What all of them together say; every symbol has a chance of 1/32768 more than that. */
INLINE void blend_mean(token_model *const models[BLENDED], const blend *b, token_sum *sum)
{
#if defined(__AVX2__)
    __m256i x = _mm256_set_epi16(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (unsigned j = 0; j < BLENDED; j++)
        x = _mm256_add_epi16(x, _mm256_mulhi_epu16((__m256i)models[j]->all, _mm256_set1_epi16((short)b->weights[j])));
    sum->all = (sixteen)x;
#elif defined(__SSE2__)
    for (unsigned h = 0; h < 2; h++) {
        __m128i x = h ? _mm_set_epi16(15, 14, 13, 12, 11, 10, 9, 8) : _mm_set_epi16(7, 6, 5, 4, 3, 2, 1, 0);
        for (unsigned j = 0; j < BLENDED; j++)
            x = _mm_add_epi16(x, _mm_mulhi_epu16((__m128i)models[j]->half[h], _mm_set1_epi16((short)b->weights[j])));
        sum->half[h] = (eight)x;
    }
#else
    for (unsigned i = 0; i < TOKENS; i++) {
        uint32_t x = i;
        for (unsigned j = 0; j < BLENDED; j++) x += (uint32_t)models[j]->below[i] * b->weights[j] >> 16;
        sum->below[i] = (uint16_t)x;
    }
#endif
    sum->below[TOKENS] = 1u << TOKEN_SCALE;
}

/* frequency: of the symbol, as it was coded. In the end their sum is BLEND_ALL again, or a little less. */
INLINE void blend_weigh_plainly(token_model *const models[BLENDED], blend *b, token symbol, uint32_t frequency)
{
    const uint32_t share = (UINT32_C(1) << 21) / frequency;
    int64_t all = 0;
    for (unsigned j = 0; j < BLENDED; j++) {
        const uint32_t end = symbol.twice == TOKEN_LAST ? 1u << TOKEN_SCALE : token_below(models[j], symbol.twice + 2);
        const uint32_t own = end - token_below(models[j], symbol.twice), w = b->weights[j];
        const uint64_t deserved = (uint64_t)(w * own >> 8) * share >> 13;
        const int32_t goal = (int32_t)(deserved < 4 * w ? deserved : 4 * w);
        const int32_t now = (int32_t)w + ((goal - (int32_t)w) >> BLEND_SHIFT);
        b->weights[j] = (uint32_t)(now > BLEND_LEAST ? now : BLEND_LEAST);
        all += b->weights[j];
    }
    const int64_t rest = BLEND_ALL - all;
    for (unsigned j = 0; j < BLENDED; j++) b->weights[j] = (uint32_t)(b->weights[j] + (b->weights[j] * rest >> 16));
}

INLINE void blend_weigh(token_model *const models[BLENDED], blend *b, token symbol, uint32_t frequency)
{
#if defined(__AVX2__)
    if (__builtin_expect(symbol.twice == TOKEN_LAST, 0)) {
        blend_weigh_plainly(models, b, symbol, frequency);
        return;
    }
    /* Of each model where the symbol starts and where it ends, one beside the other; then numbers of 32 bits, of which only one
     * product has more. */
    uint32_t both[BLENDED];
    for (unsigned j = 0; j < BLENDED; j++) memcpy(&both[j], (const uint8_t *)models[j] + symbol.twice, sizeof both[j]);
    const __m128i ends = _mm_set_epi32((int)both[3], (int)both[2], (int)both[1], (int)both[0]);
    const __m128i own = _mm_sub_epi32(_mm_srli_epi32(ends, 16), _mm_and_si128(ends, _mm_set1_epi32(0xffff)));
    const __m128i w = _mm_load_si128((const __m128i *)(const void *)b->weights);
    const __m128i share = _mm_set1_epi32((int)((UINT32_C(1) << 21) / frequency));
    const __m128i part = _mm_srli_epi32(_mm_mullo_epi32(w, own), 8);
    const __m128i even = _mm_srli_epi64(_mm_mul_epu32(part, share), 13);
    const __m128i odd = _mm_srli_epi64(_mm_mul_epu32(_mm_srli_epi64(part, 32), share), 13);
    const __m128i goal = _mm_min_epu32(_mm_or_si128(even, _mm_slli_epi64(odd, 32)), _mm_slli_epi32(w, 2));
    const __m128i moved = _mm_add_epi32(w, _mm_srai_epi32(_mm_sub_epi32(goal, w), BLEND_SHIFT));
    const __m128i now = _mm_max_epi32(moved, _mm_set1_epi32(BLEND_LEAST));
    const __m128i pairs = _mm_add_epi32(now, _mm_shuffle_epi32(now, 0x4e));
    const __m128i rest = _mm_sub_epi32(_mm_set1_epi32(BLEND_ALL), _mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0xb1)));
    const __m128i set_right = _mm_add_epi32(now, _mm_srai_epi32(_mm_mullo_epi32(now, rest), 16));
    _mm_store_si128((__m128i *)(void *)b->weights, set_right);
#else
    blend_weigh_plainly(models, b, symbol, frequency);
#endif
}

/* at: which four of the models, in bytes from the first. weigh: whether these are weighed anew, which takes a quarter of the time and is done for one
 * symbol in four. */
INLINE token blend_symbol(token_coder *c, token_model *models, uint8_t *seen, const size_t at[BLENDED], blend *b, bool weigh,
                          token symbol, bool decoding)
{
    token_model *const of[BLENDED] = {token_at(models, at[0]), token_at(models, at[1]), token_at(models, at[2]), token_at(models, at[3])};
    token_sum sum;
    blend_mean(of, b, &sum);
    if (decoding) symbol = token_find(&sum, (unsigned)c->state & ((1u << TOKEN_SCALE) - 1));
    unsigned frequency;
    const unsigned start = token_range(&sum, symbol, &frequency);
    token_advance(c, start, frequency, decoding);
    if (weigh) blend_weigh(of, b, symbol, frequency);
    for (unsigned j = 0; j < BLENDED; j++) token_move(of[j], &seen[at[j] / sizeof *of[j]], token_target(blend_targets, symbol));
    return symbol;
}

#endif
