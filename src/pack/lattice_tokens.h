/* An index by one of sixteen symbols and a few bits as they are (tokens.h). Quick: two models foretell the symbol, FORMAT.md,
 * section 9.5. Blended: four do (blend.h), section 9.6. */
#ifndef FPR_LATTICE_TOKENS_H
#define FPR_LATTICE_TOKENS_H

#include "pack/lattice_inner.h"

static void begin_tokens(token_models *t)
{
    for (int i = 0; i < (int)SIZES; i++) token_begin(&t->by_size[0][i], 4 * i - 80 + 2, lg_of);
    for (int i = 0; i < (int)LEVELS; i++) {
        token_model *of = &t->by_level[0][i * (int)NEAR];
        token_begin(of, 8 * i - 80 + 4, lg_of);
        for (unsigned n = 1; n < NEAR; n++) of[n] = of[0];
    }
    memcpy(t->by_size[1], t->by_size[0], sizeof t->by_size[0]);
    memcpy(t->by_level[1], t->by_level[0], sizeof t->by_level[0]);
    begin_dead(t->dead_near, t->dead_share);
}

static void begin_blended(blend_models *t)
{
    for (int i = 0; i < (int)SIZES; i++) blend_begin(&t->by_size[0][i], 4 * i - 80 + 2, lg_of);
    for (int i = 0; i < (int)LEVELS; i++) {
        token_model of;
        blend_begin(&of, 8 * i - 80 + 4, lg_of);
        for (int n = 0; n < (int)NEAR; n++) t->by_level[0][i * (int)NEAR + n] = of;
        for (int n = 0; n < (int)ABOUT; n++) t->by_local[0][i * (int)ABOUT + n] = of;
        for (int n = 0; n < (int)SECONDS; n++) t->by_column[0][i * (int)SECONDS + n] = of;
    }
    memcpy(t->by_size[1], t->by_size[0], sizeof t->by_size[0]);
    memcpy(t->by_level[1], t->by_level[0], sizeof t->by_level[0]);
    memcpy(t->by_local[1], t->by_local[0], sizeof t->by_local[0]);
    memcpy(t->by_column[1], t->by_column[0], sizeof t->by_column[0]);
    for (unsigned odd = 0; odd < 2; odd++)
        for (unsigned i = 0; i < BLENDS; i++)
            t->blends[odd][i] = (blend){{BLEND_FIRST, BLEND_FIRST, BLEND_FIRST, BLEND_FIRST}};
    begin_dead(t->dead_near, t->dead_share);
    begin_signs(&t->signs);
}

/* The same from less: the last weight counts in `last` alone, so that the rest is known while that is decoded. */
INLINE void look_quickly(const lattice_coder *c, const outlook *o, const recent *r, uint64_t s, int32_t above, int32_t before,
                         int16_t column, int deviation, how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    w->level = clamp(o->filter + o->column - 64 + (h.spatial ? c->place_lg[w->place] - 2 * o->all : -o->all), -48, 400);
    w->last = depth(c, magnitude(r->a));
    w->around = lg(8 * (uint64_t)magnitude(column) + 4 * (magnitude(above) + magnitude(before)) + 2) - 64;
    if (h.spatial) w->local = w->level + (deviation * c->shares[s ? s - 1 : 0] >> 16);
    else w->local = w->level + ((depth(c, magnitude(r->b)) + depth(c, magnitude(r->c)) - 2 * w->level) * 13107 >> 16);
    w->estimate = (2 * w->local + w->level + w->around + 2) >> 2;
}

/* The same, but the estimate is made of clues by what they were worth before. */
INLINE void look_for_clues(const lattice_coder *c, const outlook *o, const recent *r, uint64_t s, int32_t above, int32_t before,
                           int16_t column, int deviation, const int32_t worth[CLUES], how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    w->by_column = o->filter + o->column - o->all - 64;
    w->level = clamp(w->by_column + (h.spatial ? c->place_lg[w->place] - o->all : 0), -48, 400);
    w->last = depth(c, magnitude(r->a));
    if (h.spatial) {
        w->local = w->level + (deviation * c->shares[s] >> 16);
        w->second = w->place < SECONDS ? w->place : SECONDS - 1;
    } else {
        w->local = w->level + ((w->last + depth(c, magnitude(r->b)) - 2 * w->level) * 13107 >> 16);
        w->second = (unsigned)clamp(((o->column - o->all + 4) >> 3) + 16, 0, 31);
    }
    w->clues[0] = w->local - w->level;
    w->clues[1] = w->last - w->level;
    w->clues[2] = depth(c, magnitude(column)) - w->level;
    w->clues[3] = depth(c, magnitude(above)) - w->level;
    w->clues[4] = depth(c, magnitude(before)) - w->level;
    int32_t sum = 32768;
    for (unsigned i = 0; i < CLUES; i++) sum += w->clues[i] * worth[i];
    w->foretold = w->level + (sum >> 16);
    w->estimate = clamp(w->foretold, -48, 400);
    look_at_signs(r, above, column, w);
}

#define CLUE_MOST (1 << 17) /* of 65536 */
static const int32_t clues_first[CLUES] = {32768, 3276, 6553, 3276, 3276};

/* Against the gradient of the squared error. */
INLINE void weigh_clues(int32_t worth[CLUES], const weight *w, int depth)
{
    const int miss = depth + 6 - w->foretold;
    for (unsigned i = 0; i < CLUES; i++)
        worth[i] = clamp(worth[i] + ((w->clues[i] * miss + 2) >> 2), -CLUE_MOST, CLUE_MOST);
}

/* ---- the same in tokens: the first of a size or half a size, one symbol; then bits as they are */

/* The magnitude, given the symbol. */
INLINE uint32_t code_rest(token_coder *coding, unsigned symbol, uint32_t m, unsigned shift, bool decoding)
{
    if (symbol == TOKENS - 1) return token_escaped(coding, m, shift, decoding);
    const uint32_t base = (uint32_t)token_first[symbol] << shift;
    return base + token_raw(coding, m - base, token_extra[symbol] + shift, decoding);
}

INLINE int32_t code_tokens(lattice_coder *c, token_coder *coding, const weight *w, int32_t index, bool decoding)
{
    const unsigned shift = (unsigned)clamp((w->estimate >> 4) - 3, 0, 20);
    const int estimate = w->estimate - 16 * (int)shift, level = w->level - 16 * (int)shift;
    token_model *by_size = &c->quick.by_size[w->odd][clamp((estimate + 80) >> 2, 0, SIZES - 1)];
    token_model *by_level = &c->quick.by_level[w->odd][clamp((level + 80) >> 3, 0, LEVELS - 1) * (int)NEAR +
                                                      clamp(((w->last - w->level + 8) >> 4) + 5, 0, NEAR - 1)];
    const uint32_t m = (uint32_t)(index < 0 ? -index : index);
    const unsigned symbol = token_symbol(coding, by_size, by_level, decoding ? 0 : token_of(m >> shift), decoding);
    const uint32_t found = code_rest(coding, symbol, m, shift, decoding);
    /* Up to 27 bits were taken of 32 at least. */
    const unsigned sign = decoding && symbol != TOKENS - 1 ? token_take(coding, found > 0)
                                                           : token_raw(coding, index < 0, found > 0, decoding);
    return (int32_t)((found ^ -sign) + sign);
}

INLINE int32_t code_blended(lattice_coder *c, both *either, const weight *w, int32_t index, how h)
{
    blend_models *t = &c->blended;
    token_coder *coding = &either->tokens;
    const unsigned shift = (unsigned)clamp((w->estimate >> 4) - 3, 0, 20), odd = w->odd;
    const int base = 16 * (int)shift - 80;
    token_model *const models[BLENDED] = {
        &t->by_size[odd][clamp((w->estimate - base) >> 2, 0, SIZES - 1)],
        &t->by_level[odd][clamp((w->level - base) >> 3, 0, LEVELS - 1) * (int)NEAR +
                          clamp(((w->last - w->level + 8) >> 4) + 5, 0, NEAR - 1)],
        &t->by_local[odd][clamp((w->local - base) >> 3, 0, LEVELS - 1) * (int)ABOUT +
                          clamp(((w->estimate - w->level + 4) >> 3) + 8, 0, ABOUT - 1)],
        &t->by_column[odd][clamp((w->by_column - base) >> 3, 0, LEVELS - 1) * (int)SECONDS + (int)w->second]};
    blend *b = &t->blends[odd][clamp((w->estimate - base) >> 4, 0, BLENDS - 1)];
    const uint32_t m = (uint32_t)(index < 0 ? -index : index);
    const unsigned symbol = blend_symbol(coding, models, b, w->weigh, h.decoding ? 0 : token_of(m >> shift), h.decoding);
    const uint32_t found = code_rest(coding, symbol, m, shift, h.decoding);
    unsigned sign;
    if (!c->shape.signs) sign = token_raw(coding, index < 0, found > 0, h.decoding);
    else sign = found && code_sign(&c->tables, &t->signs, either, w, 32 - __builtin_clz(found), index < 0, h);
    return (int32_t)((found ^ -sign) + sign);
}

#endif
