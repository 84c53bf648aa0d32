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
    uint32_t weights[BLENDED]; /* in 1/65536 */
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

typedef union blend_sum {
    eight half[2];
    uint16_t below[TOKENS + 1];
} blend_sum;

/* What all of them together say; every symbol has a chance of 1/32768 more than that. */
INLINE void blend_mean(token_model *const models[BLENDED], const blend *b, blend_sum *sum)
{
#if defined(__SSE2__)
    const __m128i w0 = _mm_set1_epi16((short)b->weights[0]), w1 = _mm_set1_epi16((short)b->weights[1]),
                  w2 = _mm_set1_epi16((short)b->weights[2]), w3 = _mm_set1_epi16((short)b->weights[3]);
    for (unsigned h = 0; h < 2; h++) {
        const __m128i x = _mm_add_epi16(_mm_mulhi_epu16((__m128i)models[0]->half[h], w0),
                                        _mm_mulhi_epu16((__m128i)models[1]->half[h], w1)),
                      y = _mm_add_epi16(_mm_mulhi_epu16((__m128i)models[2]->half[h], w2),
                                        _mm_mulhi_epu16((__m128i)models[3]->half[h], w3)),
                      own = h ? _mm_set_epi16(15, 14, 13, 12, 11, 10, 9, 8) : _mm_set_epi16(7, 6, 5, 4, 3, 2, 1, 0);
        sum->half[h] = (eight)_mm_add_epi16(_mm_add_epi16(x, y), own);
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
INLINE void blend_weigh(token_model *const models[BLENDED], blend *b, unsigned symbol, uint32_t frequency)
{
    const uint32_t share = (UINT32_C(1) << 21) / frequency;
    int64_t all = 0;
    for (unsigned j = 0; j < BLENDED; j++) {
        const uint32_t end = symbol == TOKENS - 1 ? 1u << TOKEN_SCALE : (uint32_t)models[j]->below[symbol + 1];
        const uint32_t own = end - (uint32_t)models[j]->below[symbol], w = b->weights[j];
        const uint64_t deserved = (uint64_t)(w * own >> 8) * share >> 13;
        const int32_t goal = (int32_t)(deserved < 4 * w ? deserved : 4 * w);
        const int32_t now = (int32_t)w + ((goal - (int32_t)w) >> BLEND_SHIFT);
        b->weights[j] = (uint32_t)(now > BLEND_LEAST ? now : BLEND_LEAST);
        all += b->weights[j];
    }
    const int64_t rest = BLEND_ALL - all;
    for (unsigned j = 0; j < BLENDED; j++) b->weights[j] = (uint32_t)(b->weights[j] + (b->weights[j] * rest >> 16));
}

/* weigh: whether the models are weighed anew, which takes a quarter of the time and is done for one symbol in four. */
INLINE unsigned blend_symbol(token_coder *c, token_model *const models[BLENDED], blend *b, bool weigh, unsigned symbol,
                             bool decoding)
{
    blend_sum sum;
    blend_mean(models, b, &sum);
    if (decoding) symbol = token_find(sum.half, (unsigned)c->state & ((1u << TOKEN_SCALE) - 1));
    const unsigned start = sum.below[symbol], frequency = sum.below[symbol + 1] - start;
    token_advance(c, start, frequency, decoding);
    if (weigh) blend_weigh(models, b, symbol, frequency);
    for (unsigned j = 0; j < BLENDED; j++) token_move(models[j], &blend_targets[symbol]);
    return symbol;
}

#endif
