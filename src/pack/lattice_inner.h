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
#define NO_DEPTH (-16) /* of an index of 0 */
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
/* What is learnt instead when indices are tokens: two models for each index, of either quantizer. */
enum { OF_LEVEL = SIZES, QUICK_MODELS = OF_LEVEL + LEVELS * NEAR };
typedef struct token_models {
    token_model models[2 * QUICK_MODELS]; /* [2]: by size [SIZES], by level [LEVELS][NEAR] */
    uint8_t seen[2 * QUICK_MODELS];
    counter dead_near[8], dead_share[64];
} token_models;

/* Four models for each index. */
enum { OF_LOCAL = OF_LEVEL + LEVELS * NEAR, OF_COLUMN = OF_LOCAL + LEVELS * ABOUT, BLENDED_MODELS = OF_COLUMN + LEVELS * SECONDS };
typedef struct blend_models {
    token_model models[2 * BLENDED_MODELS]; /* [2]: those two, by local [LEVELS][ABOUT], by column [LEVELS][SECONDS] */
    uint8_t seen[2 * BLENDED_MODELS];
    blend blends[2 * BLENDS];
    counter dead_near[8], dead_share[64];
    signs signs;
} blend_models;

/* What follows from an estimate: the shift, and which models, in bytes from the first. */
typedef struct lattice_size { uint16_t sixteenths, size; uint8_t shift, blend; uint16_t unused; } lattice_size; /* of the shift */
#define MODEL sizeof(token_model)

#define LEVEL_LEAST (-48)
#define LEVEL_MOST 400
#define ESTIMATE_LEAST (-80) /* what is below is as this, and what is above LEVEL_MOST as that */
#define DEPTH_MOST 256       /* of a trace; the least is NO_DEPTH */
#define SHIFT_MOST 20

#define SMALL 1024u

/* Small functions of small integers, as tables: made once. */
typedef struct lattice_tables {
    int16_t depths[SMALL];   /* of smaller magnitudes */
    uint8_t arounds[SMALL];  /* lg(4 x + 2), and */
    uint8_t counts[SMALL];   /* lg(x + 6): of smaller numbers x */
    int32_t shares[LATTICE_KERNEL_MOST]; /* 65536 / (n + 4) */
    uint32_t reciprocals[SMALL]; /* 2^32 / (n + 1), rounded up; with n = 0 there is nothing to divide */
    lattice_size sizes[LEVEL_MOST - ESTIMATE_LEAST + 1]; /* at an estimate less ESTIMATE_LEAST */
    /* Where models lie, in bytes: */
    uint16_t levels[LEVEL_MOST - LEVEL_LEAST + 16 * SHIFT_MOST + 1]; /* a level's row, at the level less 16 shifts */
    uint8_t nears[DEPTH_MOST + LEVEL_MOST - NO_DEPTH - LEVEL_LEAST + 1]; /* in it, at the last depth less the level */
    uint16_t abouts[2 * (LEVEL_MOST - LEVEL_LEAST) + 1]; /* in another, at an estimate, clamped as levels are, less the level */
} lattice_tables;

INLINE size_t level_row(const lattice_tables *t, ptrdiff_t level, ptrdiff_t sixteenths)
{
    const uint16_t *at_level = &t->levels[level + 16 * SHIFT_MOST - LEVEL_LEAST];
    return at_level[-sixteenths];
}
/* The last depth is known latest of all. */
INLINE size_t near_of(const lattice_tables *t, ptrdiff_t last, ptrdiff_t level)
{
    const uint8_t *at_level = &t->nears[LEVEL_MOST - NO_DEPTH - level];
    return at_level[last];
}
INLINE size_t about_of(const lattice_tables *t, int estimate, int level)
{
    return t->abouts[estimate - level + LEVEL_MOST - LEVEL_LEAST];
}

struct lattice_coder {
    lattice_code_shape shape;
    const bit_tables *bits;
    const lattice_tables *tables;
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
    int16_t *last;     /* [channels * k] trace in the filter before */
    channel *channel;  /* [channels] */
    int16_t traces[2][LATTICE_KERNEL_MOST]; /* of this kernel, and of the last one that was not dead */
    uint64_t begin_sum, place_sum[PLACES];
    int place_lg[PLACES]; /* tokens: of the mean at each place, as it was some kernels ago */
};

/* A chunk: of questions; of tokens, at each level of instructions. */
typedef void lattice_code_loop(lattice_coder *c, const lattice_chunk *chunk, bool decoding);
lattice_code_loop lattice_code_mixed, lattice_code_base, lattice_code_avx2;

/* ---- logarithms, in sixteenths of an octave */

/* Not of 0. */
INLINE int lg_positive(uint64_t x)
{
    /* By the five bits after the first one; less 16 for every zero before it. */
#define P(n) 16 * 63 + n
    static const int16_t parts[64] = {
        [32] = P(0), P(1),  P(1),  P(2),  P(3),  P(3),  P(4),  P(5),  P(5),  P(6),  P(6),  P(7),  P(7),  P(8),  P(8),  P(9),
        P(9),        P(10), P(10), P(11), P(11), P(12), P(12), P(12), P(13), P(13), P(14), P(14), P(14), P(15), P(15), P(16)};
#undef P
    const int zeros = __builtin_clzll(x);
    return parts[x << zeros >> 58] - 16 * zeros;
}

INLINE int lg(uint64_t x) { return x ? lg_positive(x) : NOTHING_LG; }
static inline int lg_of(uint64_t x) { return lg(x); }

/* Of a magnitude. */
INLINE int depth_of(uint32_t m) { return lg_positive(16 * (uint64_t)m + 8) - 64; }

/* Of a mean in which `usual`, at least 1, counts `weight` times. */
INLINE int lg_mean(uint64_t sum, uint64_t count, unsigned weight, uint64_t usual)
{
    return lg_positive(sum + weight * usual) - lg_positive(count + weight);
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
    bool decoding, spatial, trellis;
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
    const bit_tables *t = c->bits;
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
    int level, local, around, estimate; /* logarithms of magnitudes */
    ptrdiff_t last;
    int by_column;                            /* filter and channel alone */
    int clues[CLUES], foretold;               /* blended: what the estimate is made of; before it was clamped */
    unsigned place, second, odd;
    bool weigh; /* blended: models are weighed */
    int sign_last, sign_second, sign_above, sign_column; /* 0, 1, 2: negative, zero, positive */
} weight;

/* An index as it was coded: its magnitude, which is small if it is at all, and the depth of that. */
typedef struct coded { int32_t index; uint32_t magnitude; ptrdiff_t depth; } coded;

/* What is remembered of an index, its trace: the magnitude if it is quick; four times its depth and the sign, as above, if it is
 * blended; else the index itself. Magnitudes above MAGNITUDE_MOST as that. */
INLINE int16_t trace_of(coded x, lattice_way way)
{
    if (way == LATTICE_QUICK) return (int16_t)x.magnitude;
    if (way == LATTICE_BLENDED) return (int16_t)(4 * (int)x.depth + (x.index > 0) - (x.index < 0) + 1);
    return (int16_t)(x.index < 0 ? -(int32_t)x.magnitude : (int32_t)x.magnitude);
}
#define CODED_NOTHING ((coded){0, 0, NO_DEPTH})
INLINE int trace_depth(int trace) { return trace >> 2; }
INLINE int trace_sign(int trace) { return trace & 3; }

/* The last weights, whatever kernels they were in: their traces, and depths. */
typedef struct recent { int a, b, c; ptrdiff_t depth_a, depth_b, depth_c; } recent;
/* Those beside a weight: traces. */
typedef struct neighbours { int above, before, column; } neighbours;

INLINE coded coded_as(const lattice_tables *t, uint32_t m, unsigned sign)
{
    const int32_t index = (int32_t)((m ^ -sign) + sign);
    if (__builtin_expect(m < SMALL, 1)) return (coded){index, m, t->depths[m]};
    const uint32_t remembered = m < MAGNITUDE_MOST ? m : MAGNITUDE_MOST;
    return (coded){index, remembered, depth_of(remembered)};
}
INLINE uint32_t absolute(int32_t x) { return (uint32_t)(x < 0 ? -x : x); }

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

INLINE unsigned code_sign(const bit_tables *t, signs *l, both *coding, const weight *w, int octave, unsigned bit, how h)
{
    const int size = clamp(((w->estimate - 16 * (octave - 1) + 8) >> 4) + 1, 0, 3);
    const int last = w->sign_last, second = w->sign_second, above = w->sign_above, column = w->sign_column;
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
