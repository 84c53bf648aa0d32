/* An index by one of sixteen symbols and a few bits as they are (tokens.h). Quick: two models foretell the symbol, FORMAT.md,
 * section 9.5. Blended: four do (blend.h), section 9.6. */
#ifndef FPR_LATTICE_TOKENS_H
#define FPR_LATTICE_TOKENS_H

#include "pack/lattice_inner.h"

/* How an index is expected to be, from less than in 9.2: the last weight counts in `last` alone, so that the rest is known
 * while that is decoded. level: without what is known of the place. */
INLINE void look_quickly(const lattice_coder *c, const lattice_tables *t, int level, const recent *r, uint64_t s,
                         const neighbours *b, int deviation, how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    w->level = seldom_clamped(level + (h.spatial ? c->place_lg[w->place] : 0), LEVEL_LEAST, LEVEL_MOST);
    w->last = r->depth_a;
    const uint32_t near = 2 * (unsigned)b->column + (unsigned)(b->above + b->before);
    w->around = (__builtin_expect(near < SMALL, 1) ? t->arounds[near] : lg_positive(4 * (uint64_t)near + 2)) - 64;
    if (h.spatial) w->local = w->level + (deviation * t->shares[s ? s - 1 : 0] >> 16);
    else w->local = w->level + (((int)(r->depth_b + r->depth_c) - 2 * w->level) * 13107 >> 16);
    w->estimate = (2 * w->local + w->level + w->around + 2) >> 2;
}

/* The same, but the estimate is made of clues by what they were worth before. */
INLINE void look_for_clues(const lattice_coder *c, const lattice_tables *t, const outlook *o, const recent *r, uint64_t s,
                           const neighbours *b, int deviation, const int32_t worth[CLUES], how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    w->by_column = o->filter + o->column - o->all - 64;
    w->level = seldom_clamped(w->by_column + (h.spatial ? c->place_lg[w->place] - o->all : 0), LEVEL_LEAST, LEVEL_MOST);
    w->last = r->depth_a;
    if (h.spatial) {
        w->local = w->level + (deviation * t->shares[s] >> 16);
        w->second = w->place < SECONDS ? w->place : SECONDS - 1;
    } else {
        w->local = w->level + (((int)(w->last + r->depth_b) - 2 * w->level) * 13107 >> 16);
        w->second = (unsigned)clamp(((o->column - o->all + 4) >> 3) + 16, 0, 31);
    }
    w->clues[0] = w->local - w->level;
    w->clues[1] = (int)w->last - w->level;
    w->clues[2] = trace_depth(b->column) - w->level;
    w->clues[3] = trace_depth(b->above) - w->level;
    w->clues[4] = trace_depth(b->before) - w->level;
    int32_t sum = 32768;
    for (unsigned i = 0; i < CLUES; i++) sum += w->clues[i] * worth[i];
    w->foretold = w->level + (sum >> 16);
    w->estimate = seldom_clamped(w->foretold, LEVEL_LEAST, LEVEL_MOST);
}

#define CLUE_MOST (1 << 17) /* of 65536 */
static const int32_t clues_first[CLUES] = {32768, 3276, 6553, 3276, 3276};

/* Against the gradient of the squared error. */
INLINE void weigh_clues(int32_t worth[CLUES], const weight *w, int depth)
{
    const int miss = depth + 6 - w->foretold;
    unsigned i = 0;
#if defined(__AVX2__)
    __m128i *four_worth = (__m128i *)(void *)worth;
    const __m128i clues = _mm_set_epi32(w->clues[3], w->clues[2], w->clues[1], w->clues[0]);
    const __m128i step = _mm_add_epi32(_mm_mullo_epi32(clues, _mm_set1_epi32(miss)), _mm_set1_epi32(2));
    const __m128i now = _mm_add_epi32(_mm_loadu_si128(four_worth), _mm_srai_epi32(step, 2));
    const __m128i least = _mm_set1_epi32(-CLUE_MOST), most = _mm_set1_epi32(CLUE_MOST);
    _mm_storeu_si128(four_worth, _mm_min_epi32(_mm_max_epi32(now, least), most));
    i = 4;
#endif
    for (; i < CLUES; i++) worth[i] = seldom_clamped(worth[i] + ((w->clues[i] * miss + 2) >> 2), -CLUE_MOST, CLUE_MOST);
}

/* ---- the same in tokens: the first of a size or half a size, one symbol; then bits as they are */

/* The magnitude, given the symbol. */
INLINE uint32_t code_rest(token_coder *coding, token symbol, uint32_t m, unsigned shift, bool decoding)
{
    if (__builtin_expect(symbol.twice == TOKEN_LAST, 0)) return token_escaped(coding, m, shift, decoding);
    token_number n;
    memcpy(&n, (const uint8_t *)token_numbers + 2 * symbol.twice, sizeof n);
    const uint32_t base = (uint32_t)n.first << shift;
    return base + token_raw(coding, m - base, n.extra + shift, decoding);
}

/* What follows the symbol. */
INLINE coded code_magnitude(const lattice_tables *t, token_coder *coding, token symbol, int32_t index, unsigned shift,
                            bool decoding)
{
    const uint32_t m = absolute(index), found = code_rest(coding, symbol, m, shift, decoding);
    /* Up to 27 bits were taken of 32 at least. */
    const unsigned sign = decoding && symbol.twice != TOKEN_LAST ? token_take(coding, found > 0)
                                                           : token_raw(coding, index < 0, found > 0, decoding);
    return coded_as(t, found, sign);
}

INLINE coded code_tokens(lattice_coder *c, const lattice_tables *t, token_coder *coding, const weight *w, int32_t index, how h)
{
    /* Along rows it is made of what is clamped. */
    const int estimate = h.spatial ? seldom_clamped(w->estimate, ESTIMATE_LEAST, LEVEL_MOST) : w->estimate;
    const lattice_size size = t->sizes[estimate - ESTIMATE_LEAST];
    const unsigned shift = size.shift;
    const size_t of = w->odd ? QUICK_MODELS * MODEL : 0;
    const size_t at[2] = {of + size.size, of + OF_LEVEL * MODEL + level_row(t, w->level, size.sixteenths) + near_of(t, w->last, w->level)};
    const token wanted = token_numbered(h.decoding ? 0 : token_of(absolute(index) >> shift));
    const token symbol = token_symbol(coding, c->quick.models, c->quick.seen, at, wanted, h.decoding);
    return code_magnitude(t, coding, symbol, index, shift, h.decoding);
}

INLINE coded code_blended(lattice_coder *c, const lattice_tables *t, both *either, weight *w, const recent *r,
                          const neighbours *b, int32_t index, how h)
{
    blend_models *l = &c->blended;
    token_coder *coding = &either->tokens;
    const lattice_size size = t->sizes[w->estimate - ESTIMATE_LEAST];
    const unsigned shift = size.shift;
    const size_t of = w->odd ? BLENDED_MODELS * MODEL : 0;
    const int base = size.sixteenths - 80;
    const size_t at[BLENDED] = {
        of + size.size, of + OF_LEVEL * MODEL + level_row(t, w->level, size.sixteenths) + near_of(t, w->last, w->level),
        of + OF_LOCAL * MODEL + (size_t)seldom_clamped((w->local - base) >> 3, 0, LEVELS - 1) * (ABOUT * MODEL) +
            about_of(t, w->estimate, w->level),
        of + OF_COLUMN * MODEL + ((size_t)seldom_clamped((w->by_column - base) >> 3, 0, LEVELS - 1) * SECONDS + w->second) * MODEL};
    blend *mix = &l->blends[size.blend + (w->odd ? BLENDS : 0)];
    const token wanted = token_numbered(h.decoding ? 0 : token_of(absolute(index) >> shift));
    const token symbol = blend_symbol(coding, l->models, l->seen, at, mix, w->weigh, wanted, h.decoding);
    if (!c->shape.signs) return code_magnitude(t, coding, symbol, index, shift, h.decoding);
    const uint32_t found = code_rest(coding, symbol, absolute(index), shift, h.decoding);
    if (!found) return CODED_NOTHING;
    w->sign_last = trace_sign(r->a);
    w->sign_second = trace_sign(r->b);
    w->sign_above = trace_sign(b->above);
    w->sign_column = trace_sign(b->column);
    return coded_as(t, found, code_sign(c->bits, &l->signs, either, w, 32 - __builtin_clz(found), index < 0, h));
}

#endif
