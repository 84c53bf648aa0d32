/* What the ways of coding an index share: what is remembered of the weights before, and logarithms of magnitudes. Only
 * for lattice_code.c and the headers that it is made of. */
#ifndef FPR_LATTICE_INNER_H
#define FPR_LATTICE_INNER_H

#include "lattice/lattice.h"
#include "pack/blend.h"
#include "pack/lattice_code.h"

#define COLUMNS_MOST 262144u /* weights of a filter: further channels share memory with those before */
#define MAGNITUDE_MOST 32767 /* as it is remembered */
#define PLACES 64u           /* places in a kernel told apart; those past the last are one with it */
#define FINE 40u             /* quarter octaves */
#define COARSE 24u           /* half octaves */
#define ABOUT 16u
#define NEAR 8u
#define SECONDS 32u
#define SLOTS 10u /* octaves told apart, 0 .. 7; 8 and 9 are 0 and 1 of the odd quantizer */
#define NOTHING_LG (-16)
#define CLUES 5u     /* what a magnitude is estimated from, besides its level */

#define CHANCE_BOUND 64 /* of 65536: how sure the mean of two counters may be */

/* ---- what is learnt */

enum { LARGER, UP, DOWN, UPPER, LOWER_0, LOWER_1, QUESTIONS };

typedef struct channel {
    uint64_t sum; /* of magnitudes, in sixteenths */
    uint32_t count, dead, kernels;
    uint8_t past; /* bit 0: its last kernel was dead; bit 1: the one before */
} channel;

typedef struct signs {
    counter row[27 * 4], place[PLACES * 9], sum[5 * 3 * 4], near[81];
    mixer mixers[4];
} signs;

typedef struct learnt {
    counter by_estimate[QUESTIONS][SLOTS][FINE], by_last[QUESTIONS][SLOTS][COARSE * NEAR];
    counter dead_near[8], dead_share[64];
    counter by_around[QUESTIONS][SLOTS][COARSE * ABOUT], by_column[QUESTIONS][SLOTS][COARSE * SECONDS];
    mixer octave_mixers[QUESTIONS][SLOTS * 4];
    signs signs;
} learnt;

#define SIZES 36u  /* quarter octaves */
#define LEVELS 18u /* half octaves */
#define BLENDS 9u  /* octaves */
/* What is learnt instead when indices are tokens; of either quantizer. */
typedef struct token_models {
    token_model by_size[2][SIZES], by_level[2][LEVELS * NEAR];
    counter dead_near[8], dead_share[64];
} token_models;

/* Four models for each index. */
typedef struct blend_models {
    token_model by_size[2][SIZES], by_level[2][LEVELS * NEAR], by_local[2][LEVELS * ABOUT], by_column[2][LEVELS * SECONDS];
    blend blends[2][BLENDS];
    counter dead_near[8], dead_share[64];
    signs signs;
} blend_models;

struct lattice_coder {
    lattice_code_shape shape;
    bit_tables tables;
    int16_t small[1024]; /* depth_of smaller magnitudes */
    int32_t shares[LATTICE_KERNEL_MOST]; /* 65536 / (n + 4) */
    coder coder;
    token_coder tokens;
    union {
        learnt learnt;
        token_models quick;
        blend_models blended;
    };
    uint32_t *events;  /* tokens, encoding: of a chunk */
    uint8_t *raw;
    size_t raw_most;
    uint64_t channels; /* as many as are told apart: channel c has the memory of c mod channels */
    int16_t *last;     /* [channels * k] index in the filter before, 0: there was none */
    channel *channel;  /* [channels] */
    uint64_t sum, count, place_sum[PLACES];
    uint32_t place_count[PLACES];
    int place_lg[PLACES]; /* tokens: of the mean at each place, as it was some kernels ago */
};

/* ---- logarithms, in sixteenths of an octave */

static inline int lg(uint64_t x)
{
    static const uint8_t parts[32] = {0, 1, 1,  2,  3,  3,  4,  5,  5,  6,  6,  7,  7,  8,  8,  9,
                                      9, 10, 10, 11, 11, 12, 12, 12, 13, 13, 14, 14, 14, 15, 15, 16};
    if (!x) return NOTHING_LG;
    const int n = 63 - __builtin_clzll(x);
    return 16 * n + parts[(n >= 5 ? x >> (n - 5) : x << (5 - n)) & 31];
}

static inline int lg_of(uint64_t x) { return lg(x); }

/* Of a magnitude. */
static inline int depth(const lattice_coder *c, uint32_t m)
{
    return m < 1024 ? c->small[m] : lg(16 * (uint64_t)m + 8) - 64;
}

/* Of a mean in which `usual` counts `weight` times. */
static inline int lg_mean(uint64_t sum, uint32_t count, unsigned weight, uint64_t usual)
{
    return lg(sum + weight * usual) - lg(count + weight);
}

/* ---- counters */

static inline void set(counter *counters, size_t n, counter first)
{
    for (size_t i = 0; i < n; i++) counters[i] = first;
}

#define SURE_ALIVE (UINT32_C(1) << 26 | 2) /* one kernel in 64 is dead, seen twice */
#define EVEN (UINT32_C(1) << 31 | 4)

/* Known when this is compiled: each of the ways is code of its own. */
typedef struct how {
    lattice_way way;
    bool decoding, spatial;
} how;

/* ---- a bit by the mean of two counters */

/* Either is used, while weights are coded. */
typedef struct both {
    coder bits;
    token_coder tokens;
} both;

INLINE uint32_t learn(const bit_tables *t, uint32_t c, unsigned bit)
{
    const int32_t goal = bit ? (1 << 22) - CHANCE_LEAST : CHANCE_LEAST, chance = (int32_t)(c >> 10);
    const uint32_t seen = c & 1023;
    const int32_t changed = chance + (((goal - chance) >> 7) * t->rates[seen] >> 8);
    return (uint32_t)changed << 10 | (seen + (seen < SEEN_MOST));
}

INLINE unsigned mean_bit(lattice_coder *c, both *coding, counter *a, counter *b, unsigned bit, how h)
{
    const bit_tables *t = &c->tables;
    const int mean = (int)(((*a >> 16) + (*b >> 16)) >> 1);
    const uint32_t one = (uint32_t)clamp(mean, CHANCE_BOUND, 65536 - CHANCE_BOUND);
    bit = h.way == LATTICE_MIXED ? code_bit(&coding->bits, bit, one, h.decoding) : token_bit(&coding->tokens, one >> 1, bit, h.decoding);
    *a = learn(t, *a, bit);
    *b = learn(t, *b, bit);
    return bit;
}

/* ---- what is expected of an index */

typedef struct outlook {
    int filter, column; /* magnitude by filter and by channel, of all: logarithms */
    int all;
    uint64_t mean;      /* of all magnitudes, in sixteenths, at least 1 */
} outlook;

typedef struct weight {
    int level, local, around, estimate, last; /* logarithms of magnitudes */
    int by_column;                            /* filter and channel alone */
    int clues[CLUES], foretold;               /* blended: what the estimate is made of; before it was clamped */
    unsigned place, second, odd;
    bool weigh; /* blended: models are weighed */
    int sign_last, sign_second, sign_above, sign_column;
} weight;

/* The last weights, whatever kernels they were in. */
typedef struct recent { int32_t a, b, c; } recent;

static inline uint32_t magnitude(int32_t x)
{
    const uint32_t m = (uint32_t)(x < 0 ? -x : x);
    return m < MAGNITUDE_MOST ? m : MAGNITUDE_MOST;
}
static inline int sign_of(int32_t x) { return (x > 0) - (x < 0); }

INLINE int lg_of_place(const lattice_coder *c, unsigned place, uint64_t mean)
{
    return lg_mean(c->place_sum[place], c->place_count[place], 8, mean);
}

static inline void begin_dead(counter near[8], counter share[64])
{
    set(near, 8, SURE_ALIVE);
    set(share, 64, SURE_ALIVE);
}

static inline void begin_signs(signs *s)
{
    set(s->row, sizeof s->row / sizeof(counter), EVEN);
    set(s->place, sizeof s->place / sizeof(counter), EVEN);
    set(s->sum, sizeof s->sum / sizeof(counter), EVEN);
    set(s->near, sizeof s->near / sizeof(counter), EVEN);
    set_mixers(s->mixers, 4);
}

/* ---- signs */

INLINE void look_at_signs(const recent *r, int32_t above, int16_t column, weight *w)
{
    w->sign_last = sign_of(r->a);
    w->sign_second = sign_of(r->b);
    w->sign_above = sign_of(above);
    w->sign_column = sign_of(column);
}

INLINE unsigned code_sign(const bit_tables *t, signs *l, both *coding, const weight *w, int octave, unsigned bit, how h)
{
    const int size = clamp(((w->estimate - 16 * (octave - 1) + 8) >> 4) + 1, 0, 3);
    const int last = w->sign_last + 1, second = w->sign_second + 1, above = w->sign_above + 1,
              column = w->sign_column + 1;
    counter *by_row = &l->row[(last * 9 + above * 3 + second) * 4 + size],
            *by_place = &l->place[w->place * 9 + (unsigned)(column * 3 + last)];
    counter *const inputs[INPUTS] = {by_row, by_place, &l->sum[((last + second) * 3 + above) * 4 + size],
                                     &l->near[last * 27 + second * 9 + above * 3 + column]};
    const mixing x = mix(t, inputs, &l->mixers[size]);
    bit = h.way == LATTICE_MIXED ? code_bit(&coding->bits, bit, x.one, h.decoding)
                                 : token_bit(&coding->tokens, x.one >> 1, bit, h.decoding);
    mix_learn(&x, inputs, &l->mixers[size], bit);
    return bit;
}

#endif
